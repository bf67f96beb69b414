//! The person at the command line: their identity, and the secrets that they type.

use std::{
    env,
    fs::File,
    io::{self, BufRead, ErrorKind, IsTerminal, Write, stdin},
    os::unix::process::CommandExt,
    process::{self, Command},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use clap::Args;
use keyproof_auth::check_new_password;
use keyproof_service::CommandLine;
use rpassword::{ConfigBuilder, prompt_password_with_config};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::SignalKind,
};
use zeroize::Zeroizing;

use super::{Failure, Outcome, output, with_store::runtime};
use crate::interruption::Interruption;

/// The longest line that is read as a password, in bytes. Longer ones are refused later because of their length.
const MAX_LINE: u16 = 8 * 1024;

/// Where a password comes from. Never from an argument: everyone on the machine can see those.
#[derive(Args, Debug)]
pub(super) struct PasswordSource {
    /// Read the password from the first line of standard input
    #[arg(long)]
    stdin: bool,
}

impl PasswordSource {
    /// Reads a new one from standard input, or asks for it twice.
    pub(super) fn read_new(&self) -> Result<Zeroizing<String>, Failure> {
        read_new(self.stdin, "password", "Password: ", |password| {
            check_new_password(password).map_err(Failure::refused)
        })
    }
}

/// Where the passphrase comes from that encrypts a master key in a backup.
#[derive(Args, Debug)]
pub(super) struct PassphraseSource {
    /// Read the passphrase from the first line of standard input
    #[arg(long)]
    stdin: bool,
}

impl PassphraseSource {
    /// The minimum number of characters of a new one.
    const SHORTEST: usize = 8;

    /// Reads a new one from standard input, or asks for it twice.
    pub(super) fn read_new(&self) -> Result<Zeroizing<String>, Failure> {
        let prompt = "Passphrase for the master key: ";
        read_new(self.stdin, "passphrase", prompt, |passphrase| {
            if passphrase.chars().count() < Self::SHORTEST {
                let message = format!("a passphrase has at least {} characters", Self::SHORTEST);
                return Err(Failure::Refused(message));
            }
            Ok(())
        })
    }

    /// Reads it from standard input, or asks for it.
    pub(super) fn read(&self, prompt: &str) -> Result<Zeroizing<String>, Failure> {
        read(self.stdin, "passphrase", prompt)
    }

    /// Whether it is read from standard input, so that nothing else can be.
    pub(super) fn is_standard_input(&self) -> bool {
        self.stdin
    }
}

/// Reads a secret from standard input, or asks for it twice: the second time only if the first was valid.
fn read_new(
    from_stdin: bool,
    what: &str,
    prompt: &str,
    check: impl FnOnce(&str) -> Outcome,
) -> Result<Zeroizing<String>, Failure> {
    let secret = read(from_stdin, what, prompt)?;
    check(&secret)?;
    if !from_stdin && read(from_stdin, what, "The same again: ")? != secret {
        return Err(Failure::Refused(format!("the {what}s differ")));
    }
    Ok(secret)
}

/// Reads a secret from standard input, or asks for it.
fn read(from_stdin: bool, what: &str, prompt: &str) -> Result<Zeroizing<String>, Failure> {
    if !from_stdin && !stdin().is_terminal() {
        return Err(Failure::Usage(format!(
            "there is no terminal to ask for the {what}: use --stdin"
        )));
    }
    let secret = if from_stdin {
        first_line(stdin().lock())
    } else {
        ask(prompt)
    };
    secret.map_err(|error| match error.kind() {
        ErrorKind::InvalidData => Failure::Refused(format!("the {what} is not UTF-8")),
        // Ctrl-D.
        ErrorKind::UnexpectedEof => Failure::Refused(format!("no {what} was typed")),
        _ => error.into(),
    })
}

/// The terminal's modes before a prompt, while one is open. Only the holder of this lock changes the terminal.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Asks at the terminal without echoing the answer. The terminal's modes are restored in any case.
fn ask(prompt: &str) -> io::Result<Zeroizing<String>> {
    restore_on_signals()?;
    // `rpassword` does not change the modes of a terminal that it did not open itself.
    let reading = ConfigBuilder::new().input_reader(terminal()?);
    let config = reading.output_writer(terminal()?).build();
    hide()?;
    let typed = prompt_password_with_config(prompt, config).map(Zeroizing::new);
    restore(&mut before_it());
    if matches!(&typed, Err(error) if error.kind() == ErrorKind::Interrupted) {
        end_by(SignalKind::interrupt());
    }
    typed
}

/// Turns off the terminal's echo, and makes it pass on each key, including Ctrl-C, until [`restore`].
fn hide() -> io::Result<()> {
    let mut before = before_it();
    let terminal = terminal()?;
    let shown = tcgetattr(&terminal)?;
    let mut hidden = shown.clone();
    let modes = LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG;
    hidden.local_modes.remove(modes);
    hidden.special_codes[SpecialCodeIndex::VMIN] = 1;
    hidden.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(&terminal, OptionalActions::Now, &hidden)?;
    *before = Some(shown);
    Ok(())
}

/// Restores the terminal and starts a new line, if a prompt is open.
fn restore(before: &mut Option<Termios>) {
    if let (Some(before), Ok(mut terminal)) = (before.take(), terminal()) {
        // The prompt is over, so a failure is not reported.
        let _ = tcsetattr(&terminal, OptionalActions::Now, &before);
        let _ = writeln!(terminal);
    }
}

fn terminal() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/tty")
}

fn before_it() -> MutexGuard<'static, Option<Termios>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a thread that ends the program on a signal, once it has restored the terminal. Without it, the program would end
/// at once, and leave a shell without echo.
fn restore_on_signals() -> io::Result<()> {
    static RESTORES: AtomicBool = AtomicBool::new(false);
    if RESTORES.swap(true, Ordering::SeqCst) {
        return Ok(());
    }
    let runtime = runtime(&mut Builder::new_current_thread())?;
    let mut interruption = {
        let _within = runtime.enter();
        Interruption::listen()?
    };
    let end = move || end_on_signal(&runtime, &mut interruption);
    thread::Builder::new().spawn(end).map(drop)
}

fn end_on_signal(runtime: &Runtime, interruption: &mut Interruption) {
    let by = runtime.block_on(interruption.comes());
    // Locked to the end, so that the terminal is not changed again.
    let mut before = before_it();
    restore(&mut before);
    end_by(by)
}

/// Ends the program by a signal, so that its parent sees that: a shell's loop then ends, too.
fn end_by(signal: SignalKind) -> ! {
    let number = signal.as_raw_value();
    // This process ignores the signals that it has listened to, but the shell that replaces it does not.
    // A signal does not end the first process of a container: the shell then exits with this code.
    let script = format!("kill -{number} $$; exit {}", 128 + number);
    let _ = Command::new("/bin/sh").args(["-c", &script]).exec();
    // There is no shell. This is the exit code with which shells report a signal.
    process::exit(128 + number)
}

/// Whether the person at the terminal confirms what cannot be undone.
#[derive(Args, Debug)]
pub(super) struct Consent {
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Consent {
    /// Asks, if there is a terminal; a script without one has consented.
    pub(super) fn given(&self, question: &str) -> Result<(), Failure> {
        if self.yes || !stdin().is_terminal() {
            return Ok(());
        }
        output::ask(&format!("{question}? [y/N] "));
        match &*first_line(stdin().lock())?.trim().to_ascii_lowercase() {
            "y" | "yes" => Ok(()),
            _ => Err(Failure::Refused("nothing was changed".to_owned())),
        }
    }
}

/// Reads the first line, without its line end.
fn first_line(input: impl BufRead) -> io::Result<Zeroizing<String>> {
    // The buffer is large enough from the start, so that it leaves no copy of the password behind by growing.
    let mut line = Zeroizing::new(String::with_capacity(MAX_LINE.into()));
    input.take(MAX_LINE.into()).read_line(&mut line)?;
    let end = line.trim_end_matches('\n').trim_end_matches('\r').len();
    line.truncate(end);
    Ok(line)
}

/// Returns the person who runs this command, with their permissions.
pub(super) fn command_line() -> CommandLine {
    let name = ["LOGNAME", "USER"]
        .iter()
        .find_map(|name| env::var(name).ok());
    let user = name.filter(|name| !name.is_empty());
    let user = user.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
    CommandLine::of(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_at_its_end_and_nothing_else_is_cut() {
        for (input, expected) in [
            ("secret\nmore\n", "secret"),
            ("secret\r\n", "secret"),
            ("secret", "secret"),
            (" sec ret \n", " sec ret "),
            ("\n", ""),
            ("", ""),
        ] {
            assert_eq!(
                *first_line(input.as_bytes()).unwrap(),
                expected,
                "{input:?}"
            );
        }
        let long = "x".repeat(20_000);
        assert_eq!(first_line(long.as_bytes()).unwrap().len(), 8 * 1024);
        assert!(first_line(&b"\xff\n"[..]).is_err());
    }
}
