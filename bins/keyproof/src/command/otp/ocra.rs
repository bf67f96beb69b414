//! `keyproof otp ocra`: challenges and responses (RFC 6287), offline.

use std::{fmt, path::PathBuf};

use clap::{Args, Subcommand};
use data_encoding::HEXLOWER_PERMISSIVE;
use keyproof_otp::{
    LookAhead, OtpError, Secret,
    ocra::{Accepted, Input, Ocra, PinHash, Questions, Refused, Response, Suite},
};
use keyproof_store::{Entropy, SystemEntropy};
use keyproof_x509::{Finding, Report, Severity, checks};
use serde_json::{Map, Value, json};

use super::{
    Moment, STRENGTHEN, WEAK, WindowArgument, conclude, is_weak, read_secret, warn_of_weakness,
};
use crate::command::{
    Failure, Outcome,
    files::read_text,
    flags::{NOT_HEX, number},
    output,
};

#[derive(Debug, Subcommand)]
pub(in crate::command) enum Command {
    /// Generate a challenge question
    Challenge(ChallengeArguments),
    /// Compute the response to a challenge
    Response(ResponseArguments),
    /// Check the response to a challenge
    Verify(VerifyArguments),
}

#[derive(Args, Debug)]
pub(in crate::command) struct ChallengeArguments {
    /// The OCRA suite, which defines the inputs of a response, such as OCRA-1:HOTP-SHA1-6:QN08
    #[arg(long)]
    suite: Suite,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(in crate::command) struct ResponseArguments {
    #[command(flatten)]
    challenge: Challenge,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(in crate::command) struct VerifyArguments {
    #[command(flatten)]
    challenge: Challenge,
    /// The response
    response: String,
    /// Counters accepted after the expected one
    #[arg(long, value_name = "N", default_value = "0", value_parser = look_ahead)]
    look_ahead: LookAhead,
    /// Time steps accepted before and after the current one
    #[arg(long, value_name = "B,A", default_value = "1,1")]
    window: WindowArgument,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct Challenge {
    /// The OCRA suite, which defines the inputs of a response, such as OCRA-1:HOTP-SHA1-6:QN08
    #[arg(long)]
    suite: Suite,
    /// A file with the secret in Base32, in any common spelling
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,
    /// The challenge question, or the data to sign
    #[arg(long)]
    question: String,
    /// The responding party's own question, in the mutual modes
    #[arg(long, value_name = "QUESTION")]
    own_question: Option<String>,
    /// The counter, if the suite has one; for verify, the next expected one
    #[arg(long, value_parser = number::<u64>("a whole number", 0, None))]
    counter: Option<u64>,
    /// A file with the PIN, if the suite has one
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
    /// The session information in hexadecimal, if the suite has one
    #[arg(long, value_name = "HEX", value_parser = hex)]
    session: Option<Hex>,
    #[command(flatten)]
    moment: Moment,
}

#[derive(Clone, Debug)]
struct Hex(Vec<u8>);

fn hex(text: &str) -> Result<Hex, &'static str> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes());
    bytes.map(Hex).map_err(|_| NOT_HEX)
}

fn look_ahead(text: &str) -> Result<LookAhead, String> {
    let number = number("a whole number", 0, Some(LookAhead::MAX));
    LookAhead::new(number(text)?).map_err(|error| error.to_string())
}

impl Challenge {
    fn secret(&self) -> Result<Secret, Failure> {
        let secret = read_secret(&self.secret_file)?;
        warn_of_weakness(&secret);
        Ok(secret)
    }

    fn pin_hash(&self) -> Result<Option<PinHash>, Failure> {
        let Some(file) = &self.pin_file else {
            return Ok(None);
        };
        let missing = OtpError::OcraInputUnexpected { name: "PIN hash" };
        let algorithm = self.suite.pin_hash().ok_or(missing)?;
        let pin = read_text(file)?;
        let pin = pin.trim_end_matches(['\r', '\n']);
        let named = |error: OtpError| Failure::from(error).about(file);
        PinHash::new(algorithm, pin).map(Some).map_err(named)
    }

    /// Collects the inputs. The time is included if the suite has one, or if a moment is given, which the suite must
    /// then accept.
    fn input<'a>(&'a self, pin_hash: Option<&'a PinHash>) -> Input<'a> {
        let mut input = match &self.own_question {
            // The server's response is computed alike, with the parties exchanged.
            Some(own) => Input::for_client_response(Questions {
                client: own,
                server: &self.question,
            }),
            None => Input::new(&self.question),
        };
        if let Some(counter) = self.counter {
            input = input.with_counter(counter);
        }
        if let Some(pin_hash) = pin_hash {
            input = input.with_pin_hash(pin_hash);
        }
        if let Some(Hex(session)) = &self.session {
            input = input.with_session(session);
        }
        if self.suite.time_step().is_some() || self.moment.is_named() {
            input = input.with_time(self.moment.seconds());
        }
        input
    }
}

pub(super) fn run(command: Command) -> Outcome {
    match command {
        Command::Challenge(arguments) => challenge(&arguments),
        Command::Response(arguments) => response(&arguments),
        Command::Verify(arguments) => verify(&arguments),
    }
}

fn challenge(arguments: &ChallengeArguments) -> Outcome {
    let suite = arguments.suite;
    let question = suite.random_question(|bytes| {
        SystemEntropy::new().fill(bytes);
        Ok::<(), Failure>(())
    })?;
    let document = json!({ "suite": suite.to_string(), "question": question.as_str() });
    output::print_either(arguments.json, &document, question.as_str())
}

fn response(arguments: &ResponseArguments) -> Outcome {
    let challenge = &arguments.challenge;
    let pin_hash = challenge.pin_hash()?;
    let response = Ocra::new(&challenge.secret()?, challenge.suite)
        .response(&challenge.input(pin_hash.as_ref()))?
        .to_string();
    let document = json!({ "suite": challenge.suite.to_string(), "response": response });
    output::print_either(arguments.json, &document, &response)
}

fn verify(arguments: &VerifyArguments) -> Outcome {
    let challenge = &arguments.challenge;
    let pin_hash = challenge.pin_hash()?;
    let response = Response::parse(&arguments.response, &challenge.suite)?;
    let WindowArgument(window) = arguments.window;
    let secret = challenge.secret()?;
    let ocra = Ocra::new(&secret, challenge.suite)
        .with_look_ahead(arguments.look_ahead)
        .with_window(window);
    let input = challenge.input(pin_hash.as_ref());
    let finding = match ocra.verify(&response, &input, None) {
        Ok(accepted) => ResponseFinding::Right(accepted),
        Err(Refused::Input(error)) => return Err(error.into()),
        Err(refused) => ResponseFinding::Refused(refused),
    };
    let facts = finding.facts();
    let mut found = Report::new();
    found.judged(ResponseCheck::Response, finding);
    let weak = is_weak(&secret).then_some(ResponseFinding::WeakSecret);
    found.judged(ResponseCheck::Secret, weak);
    conclude(&found, arguments.json, &facts)
}

checks! {
    /// The checks of a response.
    ResponseCheck {
        /// `response`: it is the response to the challenge, for a counter and a step within the window.
        Response = "response", "it is right";
        /// `secret`: the secret is as long as RFC 4226 requires (R6).
        Secret = "secret", "it has the 128 bits that RFC 4226 requires (R6)";
    }
}

/// The result of checking a response.
enum ResponseFinding {
    Refused(Refused),
    Right(Accepted),
    /// The secret is too short.
    WeakSecret,
}

impl ResponseFinding {
    fn facts(&self) -> Value {
        let mut facts = Map::new();
        if let Self::Right(accepted) = self {
            let named = [
                ("next_counter", accepted.next_counter),
                ("step", accepted.step),
            ];
            for (name, value) in named {
                facts.extend(value.map(|value| (name.to_owned(), value.into())));
            }
        }
        facts.into()
    }
}

impl Finding for ResponseFinding {
    type Check = ResponseCheck;

    fn check(&self) -> ResponseCheck {
        match self {
            Self::Refused(_) | Self::Right(_) => ResponseCheck::Response,
            Self::WeakSecret => ResponseCheck::Secret,
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::Refused(_) => Severity::Refusal,
            Self::Right(_) => Severity::Remark,
            Self::WeakSecret => Severity::Warning,
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::Refused(_) => "check secret, challenge, counter and clock, or widen the window",
            Self::Right(_) => "nothing: no problem found",
            Self::WeakSecret => STRENGTHEN,
        }
    }
}

impl fmt::Display for ResponseFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let accepted = match self {
            Self::Refused(refused) => return refused.fmt(f),
            Self::Right(accepted) => accepted,
            Self::WeakSecret => return f.write_str(WEAK),
        };
        f.write_str("the response to this challenge")?;
        if let Some(next) = accepted.next_counter {
            write!(f, ", the next counter is {next}")?;
        }
        match accepted.step {
            Some(step) => write!(f, ", of step {step}"),
            None => Ok(()),
        }
    }
}
