//! Accounts with passwords and bearer tokens, stored in memory. Shows what a service does at sign-up, at login and at
//! each request, and how a new password ends every earlier token.
//!
//! `cargo run --example accounts --features std`

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    time::{Duration, SystemTime},
};

use keyproof_auth::{
    AuthError, Cost, Generation, HashingMemory, PasswordHash, Token, TokenDigest, UnixMillis,
    Validity, ValidityError, check_new_password,
};

/// What a database would store for a user: neither the password nor anything that logs in.
struct Account {
    password: String,
    generation: Generation,
}

/// What it would store for a token, under the token's digest.
struct Issued {
    user: String,
    validity: Validity,
}

#[derive(Default)]
struct Service {
    accounts: HashMap<String, Account>,
    tokens: HashMap<TokenDigest, Issued>,
    memory: HashingMemory,
}

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

impl Service {
    /// Signs up a user, or sets a new password. The new generation ends every token of the old one.
    fn set_password(&mut self, user: &str, password: &str) -> Outcome<()> {
        check_new_password(password)?;
        let hash = PasswordHash::create(
            password.as_bytes(),
            random()?,
            Cost::MINIMUM,
            &mut self.memory,
        )?;
        let account = Account {
            password: hash.to_phc(),
            generation: Generation::from_random(random()?),
        };
        self.accounts.insert(user.to_owned(), account);
        Ok(())
    }

    fn log_in(&mut self, user: &str, password: &str, now: UnixMillis) -> Outcome<Option<String>> {
        let Some(account) = self.accounts.get(user) else {
            // Hashes here too, so that the time taken does not reveal which users exist.
            let password = password.as_bytes();
            let _ = PasswordHash::verify_dummy(password, Cost::MINIMUM, &mut self.memory)?;
            return Ok(None);
        };
        let hash = PasswordHash::parse(&account.password)?;
        let answer = hash.verify(password.as_bytes(), &mut self.memory)?;
        if !answer.is_correct() {
            return Ok(None);
        }
        let token = Token::from_random_at(random()?, now);
        let issued = Issued {
            user: user.to_owned(),
            validity: Validity {
                generation: account.generation,
                expires_at: Some(now.saturating_add(Duration::from_secs(3_600))),
            },
        };
        self.tokens.insert(token.digest(), issued);
        Ok(Some(token.text().to_string()))
    }

    /// Returns the user whose request has this token.
    fn authenticate(&self, token: &str, now: UnixMillis) -> Outcome<&str> {
        let digest = Token::parse(token)?.digest();
        let issued = self.tokens.get(&digest).ok_or(AuthError::MalformedToken)?;
        let account = self
            .accounts
            .get(&issued.user)
            .ok_or(ValidityError::Superseded)?;
        issued.validity.check(&account.generation, now)?;
        Ok(&issued.user)
    }
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn main() -> Outcome<()> {
    let now = UnixMillis::try_from(SystemTime::now())?;
    let mut service = Service::default();
    service.set_password("ada", "correct horse battery staple")?;
    println!("wrong password: {:?}", service.log_in("ada", "guess", now)?);
    let token = service.log_in("ada", "correct horse battery staple", now)?;
    let token = token.ok_or("the right password logs in")?;
    println!("whose request: {:?}", service.authenticate(&token, now));
    let in_two_hours = now.saturating_add(Duration::from_secs(7_200));
    println!(
        "in two hours: {:?}",
        service.authenticate(&token, in_two_hours)
    );
    service.set_password("ada", "another, after the theft")?;
    println!(
        "after a new password: {:?}",
        service.authenticate(&token, now)
    );
    Ok(())
}
