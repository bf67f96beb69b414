//! A login with a second factor over a SQLite database of its own: a table of users with their
//! passwords' hashes would stand beside it.
//!
//! Each command is one transaction: read a user's records, decide, write what the decision says,
//! and tell the verdict only after the commit. Two requests at once cannot both use one code.
//!
//! Whoever answers a challenge is the one whose password made it: a random token goes to them, and
//! its digest is kept beside the records. By the user's name alone, anybody who sees one of Ada's codes
//! could answer the challenge that Ada's password has opened.
//!
//! `cargo run --package keyproof-example-login`

use std::{
    fs::File,
    io::{self, Read},
    time::SystemTime,
};

use keyproof_mfa::{
    Client, Decision, KeyKind, Password, Policy, Proof, SessionId, UnixMillis, User, UserId,
    UserRecords,
    otp::{
        Secret, Totp,
        otpauth::{Kind, OtpauthUri},
    },
};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use sha2::{Digest, Sha256};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

struct Database(Connection);

impl Database {
    fn in_memory() -> Outcome<Self> {
        let connection = Connection::open_in_memory()?;
        connection.execute(
            "CREATE TABLE second_factors
             (user TEXT PRIMARY KEY, records TEXT NOT NULL, challenge BLOB UNIQUE) STRICT",
            [],
        )?;
        Ok(Self(connection))
    }

    /// Runs a command over a user's records, refusals included: they carry what was counted.
    fn decide<T, E>(
        &mut self,
        user: &str,
        command: impl FnOnce(UserRecords) -> Decision<T, E>,
    ) -> Outcome<Result<T, E>> {
        let transaction = self
            .0
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let stored: Option<String> = transaction
            .query_row(
                "SELECT records FROM second_factors WHERE user = ?1",
                [user],
                |row| row.get(0),
            )
            .optional()?;
        let records = match stored {
            Some(stored) => serde_json::from_str(&stored)?,
            None => UserRecords::new(User::new(UserId::new("example.org", user), 0)),
        };
        let Decision { next, verdict } = command(records);
        transaction.execute(
            "INSERT INTO second_factors (user, records) VALUES (?1, ?2)
             ON CONFLICT DO UPDATE SET records = ?2",
            params![user, serde_json::to_string(&next)?],
        )?;
        transaction.commit()?;
        Ok(verdict)
    }

    /// The token by which the user's open challenge is answered, and none of before.
    fn challenge_token(&mut self, user: &str) -> Outcome<Token> {
        let token: Token = random()?;
        self.0.execute(
            "UPDATE second_factors SET challenge = ?2 WHERE user = ?1",
            params![user, digest(&token)],
        )?;
        Ok(token)
    }

    /// Whose challenge this token answers.
    fn challenged(&self, token: &Token) -> Outcome<Option<String>> {
        let user = self.0.query_row(
            "SELECT user FROM second_factors WHERE challenge = ?1",
            params![digest(token)],
            |row| row.get(0),
        );
        Ok(user.optional()?)
    }
}

/// What the client of step one is given, and shows with the code.
type Token = [u8; 16];

fn digest(token: &Token) -> [u8; 32] {
    Sha256::digest(token).into()
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn main() -> Outcome<()> {
    let (mut database, policy) = (Database::in_memory()?, Policy::default());
    let now = UnixMillis::try_from(SystemTime::now())?;

    // Enrolment: a key for the phone, good once it has shown a code. A program seals the secret.
    let secret = Secret::generate(|bytes| File::open("/dev/urandom")?.read_exact(bytes))?;
    let uri = OtpauthUri::new(Kind::TOTP, Some("Example"), "ada", secret.clone())?;
    println!("for the phone: {uri}");
    let phone = Totp::new(&secret, Default::default(), Default::default());
    let session = SessionId::new("of her login without a second factor");
    let generation = random()?;
    database.decide("ada", |ada| {
        ada.enrol(
            KeyKind::default(),
            Password::Correct,
            generation,
            session,
            now,
            &policy,
        )
    })??;
    let first = phone.code(now.as_secs()).to_string();
    let proof = Proof::Typed {
        text: &first,
        secret: &secret,
    };
    database.decide("ada", |ada| ada.activate(&proof, session, now, &policy))??;

    // A minute later: the password, then the code.
    let later = UnixMillis::from_secs(now.as_secs() + 60);
    let begun = database.decide("ada", |ada| {
        ada.begin_login(Password::Correct, Client::STRANGER, later, &policy)
    })??;
    println!("after the password: {begun:?}");
    let token = database.challenge_token("ada")?;
    let code = phone.code(later.as_secs()).to_string();
    let proof = Proof::Typed {
        text: &code,
        secret: &secret,
    };
    let answer = |ada: UserRecords| ada.answer_challenge(&proof, None, None, later, &policy);
    let user = database.challenged(&token)?.ok_or("no such challenge")?;
    println!("after the code: {:?}", database.decide(&user, answer)?);

    // Somebody without the password has no token.
    let guessed = database.challenged(&random()?)?;
    println!("a token that nobody was given: {guessed:?}");

    // The same code again, over somebody's shoulder.
    let _ = database.decide("ada", |ada| {
        ada.begin_login(Password::Correct, Client::STRANGER, later, &policy)
    })?;
    let again = database.decide("ada", answer)?;
    println!(
        "the same code again: {}",
        again.map_or_else(|no| no.to_string(), |yes| format!("{yes:?}"))
    );
    Ok(())
}
