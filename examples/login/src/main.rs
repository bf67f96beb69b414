//! A login with a second factor over its own SQLite database. A real program also has a table of users with their password hashes.
//!
//! Each command is one transaction: it reads a user's records, decides, writes the new records, and returns the verdict only after
//! the commit. Two concurrent requests cannot both use one code.
//!
//! A challenge is answered by the client whose password opened it. That client gets a random token, whose digest is stored with the
//! records and deleted with the challenge. If the user name were enough, anybody who sees one of Ada's codes could answer the
//! challenge that Ada's password has opened.
//!
//! `cargo run --package keyproof-example-login`

use std::{
    fs::File,
    io::{self, Read},
    time::SystemTime,
};

use keyproof_mfa::{
    Client, Decision, FirstFactor, KeyKind, Password, PasswordRefusal, Policy, Proof, SessionId,
    UnixMillis, User, UserId, UserRecords,
    otp::{
        Secret, Totp,
        otpauth::{Kind, OtpauthUri},
    },
};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
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

    /// Runs a command on a user's records. The new records are stored even if the command is refused: they count the attempt.
    fn decide<T, E>(
        &mut self,
        user: &str,
        command: impl FnOnce(UserRecords) -> Decision<T, E>,
    ) -> Outcome<Result<T, E>> {
        let transaction = self.transaction()?;
        let Decision { next, verdict } = command(read(&transaction, user)?);
        write(&transaction, user, &next, None)?;
        transaction.commit()?;
        Ok(verdict)
    }

    /// Runs step one. If it opens a challenge, only the returned token answers it; earlier tokens are invalid from then on.
    fn begin(
        &mut self,
        user: &str,
        command: impl FnOnce(UserRecords) -> Decision<FirstFactor, PasswordRefusal>,
    ) -> Outcome<Result<(FirstFactor, Option<Token>), PasswordRefusal>> {
        let token: Token = random()?;
        let transaction = self.transaction()?;
        let Decision { next, verdict } = command(read(&transaction, user)?);
        let token = (verdict == Ok(FirstFactor::Challenged)).then_some(token);
        write(&transaction, user, &next, token.as_ref())?;
        transaction.commit()?;
        Ok(verdict.map(|first| (first, token)))
    }

    /// Runs step two for the challenge of this token. Returns `None` if the token has no open challenge.
    fn answer<T, E>(
        &mut self,
        token: &Token,
        command: impl FnOnce(UserRecords) -> Decision<T, E>,
    ) -> Outcome<Option<Result<T, E>>> {
        let transaction = self.transaction()?;
        let user: Option<String> = transaction
            .query_row(
                "SELECT user FROM second_factors WHERE challenge = ?1",
                params![digest(token)],
                |row| row.get(0),
            )
            .optional()?;
        let Some(user) = user else { return Ok(None) };
        let Decision { next, verdict } = command(read(&transaction, &user)?);
        write(&transaction, &user, &next, None)?;
        transaction.commit()?;
        Ok(Some(verdict))
    }

    /// Takes the write lock at once, so that nobody else writes between its read and its write.
    fn transaction(&mut self) -> rusqlite::Result<Transaction<'_>> {
        self.0
            .transaction_with_behavior(TransactionBehavior::Immediate)
    }
}

fn read(transaction: &Transaction<'_>, user: &str) -> Outcome<UserRecords> {
    let stored: Option<String> = transaction
        .query_row(
            "SELECT records FROM second_factors WHERE user = ?1",
            [user],
            |row| row.get(0),
        )
        .optional()?;
    Ok(match stored {
        Some(stored) => serde_json::from_str(&stored)?,
        None => UserRecords::new(User::new(UserId::new("example.org", user), 0)),
    })
}

/// Stores the records. `made` is the token of a new challenge; without it, an open challenge keeps its token. The digest is deleted
/// when no challenge is open.
fn write(
    transaction: &Transaction<'_>,
    user: &str,
    next: &UserRecords,
    made: Option<&Token>,
) -> Outcome<()> {
    transaction.execute(
        "INSERT INTO second_factors (user, records, challenge) VALUES (?1, ?2, ?3)
         ON CONFLICT (user) DO UPDATE
         SET records = ?2, challenge = CASE WHEN ?4 THEN coalesce(?3, challenge) END",
        params![
            user,
            serde_json::to_string(next)?,
            made.map(digest),
            next.challenge.is_some()
        ],
    )?;
    Ok(())
}

/// The token that step one returns. The client sends it with the code in step two.
type Token = [u8; 16];

fn digest(token: &Token) -> [u8; 32] {
    Sha256::digest(token).into()
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Returns the code that the phone displays.
fn code(secret: &Secret, at: UnixMillis) -> String {
    let phone = Totp::new(secret, Default::default(), Default::default());
    phone.code(at.as_secs()).to_string()
}

/// Enrols a key for Ada's phone, and activates it with its first code.
fn enrol(
    database: &mut Database,
    secret: &Secret,
    now: UnixMillis,
    policy: &Policy,
) -> Outcome<()> {
    let session = SessionId::new("of her login without a second factor");
    let generation = random()?;
    database.decide("ada", |ada| {
        ada.enrol(
            KeyKind::default(),
            Password::Correct,
            generation,
            session,
            now,
            policy,
        )
    })??;
    let first = code(secret, now);
    let proof = Proof::Typed {
        text: &first,
        secret,
    };
    database.decide("ada", |ada| ada.activate(&proof, session, now, policy))??;
    Ok(())
}

fn main() -> Outcome<()> {
    let (mut database, policy) = (Database::in_memory()?, Policy::default());
    let now = UnixMillis::try_from(SystemTime::now())?;

    // Enrolment. A real program encrypts the secret before it stores it.
    let secret = Secret::generate(|bytes| File::open("/dev/urandom")?.read_exact(bytes))?;
    let uri = OtpauthUri::new(Kind::TOTP, Some("Example"), "ada", secret.clone())?;
    println!("URI for the phone: {uri}");
    enrol(&mut database, &secret, now, &policy)?;

    // One minute later: the password, then the code.
    let later = UnixMillis::from_secs(now.as_secs() + 60);
    let begin =
        |ada: UserRecords| ada.begin_login(Password::Correct, Client::UNKNOWN, later, &policy);
    let (begun, token) = database.begin("ada", begin)??;
    println!("after the password: {begun:?}");
    let token = token.ok_or("no challenge was made")?;
    let code = code(&secret, later);
    let proof = Proof::Typed {
        text: &code,
        secret: &secret,
    };
    let answer = |ada: UserRecords| ada.answer_challenge(&proof, None, None, later, &policy);
    let answered = database.answer(&token, answer)?;
    println!("after the code: {:?}", answered.ok_or("no such challenge")?);

    // A client without the password has no token.
    let guessed = database.answer(&random()?, answer)?;
    println!("with a token that was never issued: {guessed:?}");

    // The same code again, from somebody who has seen it.
    let (_, again) = database.begin("ada", begin)??;
    let again = database.answer(&again.ok_or("no challenge was made")?, answer)?;
    println!(
        "the same code a second time: {}",
        again
            .ok_or("no such challenge")?
            .map_or_else(|no| no.to_string(), |yes| format!("{yes:?}"))
    );
    let former = database.answer(&token, answer)?;
    println!("with the token of the first login: {former:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_answers_the_challenge_that_it_was_given_for_and_no_other() {
        let (mut database, policy) = (Database::in_memory().unwrap(), Policy::default());
        let secret = Secret::from_bytes(&[7; 20]).unwrap();
        let now = UnixMillis::from_secs(1_800_000_000);
        enrol(&mut database, &secret, now, &policy).unwrap();
        let later = UnixMillis::from_secs(now.as_secs() + 60);
        let begin = |password: Password| {
            move |ada: UserRecords| {
                ada.begin_login(password, Client::UNKNOWN, later, &Policy::default())
            }
        };
        let code = code(&secret, later);
        let answer = |text: &str, ada: UserRecords| {
            let proof = Proof::Typed {
                text,
                secret: &secret,
            };
            ada.answer_challenge(&proof, None, None, later, &policy)
        };
        let kept = |database: &Database| -> Option<Vec<u8>> {
            let sql = "SELECT challenge FROM second_factors";
            database.0.query_row(sql, [], |row| row.get(0)).unwrap()
        };

        let begun = database.begin("ada", begin(Password::Correct)).unwrap();
        let first = begun.unwrap().1.unwrap();
        // An open challenge keeps its token after a wrong password and after a wrong code.
        let refused = database.begin("ada", begin(Password::Wrong)).unwrap();
        refused.unwrap_err();
        let refused = database.answer(&first, |ada| answer("not a code", ada));
        refused.unwrap().unwrap().unwrap_err();
        assert_eq!(kept(&database).unwrap(), digest(&first));

        // A second login gets a new token, even in the same millisecond.
        let begun = database.begin("ada", begin(Password::Correct)).unwrap();
        let second = begun.unwrap().1.unwrap();
        let former = database.answer(&first, |ada| answer(&code, ada));
        assert!(former.unwrap().is_none());
        let latter = database.answer(&second, |ada| answer(&code, ada));
        latter.unwrap().unwrap().unwrap();
        assert_eq!(kept(&database), None);
    }
}
