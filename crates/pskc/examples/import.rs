//! Imports the tokens of a manufacturer's delivery into a register: what to check, what to reject and what to store.
//!
//! `cargo run --example import [CONTAINER [KEY]]`: a PSKC file and, if the manufacturer sent one, its key in
//! hexadecimal or its password. Without arguments, imports the two tokens of `delivery.xml`.

use std::{collections::BTreeMap, env, error::Error, fs, num::NonZeroU64};

use keyproof_pskc::{Container, DecryptionKey, Key, KeyInfo, KeyUsage, PinUsage, Secret};

/// A delivery of two tokens, encrypted with the key 00 01 02 … 0f.
const DELIVERY: &str = include_str!("delivery.xml");

/// A token in the register. A real register encrypts the secret.
struct Token {
    algorithm: String,
    /// `SHA1`, `SHA256` or `SHA512`, which keyproof-otp's `Algorithm` parses.
    hash: &'static str,
    digits: u32,
    secret: Secret,
    /// The next counter of an event-based token.
    counter: u64,
    /// The seconds between two codes of a time-based token.
    period: NonZeroU64,
}

/// The tokens by manufacturer and serial number, as printed on the devices.
type Register = BTreeMap<String, Token>;

/// Returns a token and its name in the register, or why it is rejected.
fn token(key: Key) -> Result<(String, Token), String> {
    let (hash, digits) = (key.info.hash(), key.info.digits());
    let KeyInfo {
        id,
        algorithm,
        device,
        policy,
        ..
    } = key.info;
    let refuse = |why: &str| format!("key {id}: {why}");
    let algorithm =
        algorithm.filter(|name| [KeyInfo::HOTP, KeyInfo::TOTP].contains(&name.as_str()));
    let algorithm = algorithm.ok_or_else(|| refuse("neither HOTP nor TOTP"))?;
    // A policy with unknown parts permits nothing.
    if let Some(policy) = policy {
        if !policy.permits(KeyUsage::Otp) {
            return Err(refuse("its policy does not permit one-time passwords"));
        }
        // This register cannot store these limits, and without them the key would be valid for ever.
        if policy.start_date.is_some()
            || policy.expiry_date.is_some()
            || policy.transactions.is_some()
        {
            return Err(refuse(
                "its policy bounds when, or how often, it may be used",
            ));
        }
        let pin = policy.pin.and_then(|pin| pin.usage);
        if pin.is_some_and(PinUsage::is_part_of_code) {
            return Err(refuse("its codes are entered with a PIN, or depend on one"));
        }
    }
    if device.start_date.is_some() || device.expiry_date.is_some() {
        return Err(refuse("its device may only be used between two dates"));
    }
    let secret = key
        .data
        .secret
        .ok_or_else(|| refuse("no secret comes with it"))?;
    let maker = device.manufacturer.unwrap_or_default();
    let serial = device
        .serial_number
        .ok_or_else(|| refuse("its device has no serial number"))?;
    let period = NonZeroU64::new(key.data.time_interval.unwrap_or(30));
    let token = Token {
        algorithm,
        hash: hash.ok_or_else(|| refuse("a hash function that is not known here"))?,
        digits: digits.ok_or_else(|| refuse("its codes are not plain decimal digits"))?,
        secret,
        counter: key.data.counter.unwrap_or(0),
        period: period.ok_or_else(|| refuse("its time steps are 0 seconds long"))?,
    };
    Ok((format!("{maker} {serial}"), token))
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (document, given) = match arguments.next() {
        Some(path) => (fs::read_to_string(path)?, arguments.next()),
        None => (
            DELIVERY.to_owned(),
            Some("000102030405060708090a0b0c0d0e0f".to_owned()),
        ),
    };
    let container = Container::parse(&document)?;
    println!("{} keys", container.keys().len());
    // The manufacturer says whether there is a key: with one, no plain secret of a swapped file is accepted.
    let key = given.as_deref().and_then(bytes);
    let unlock = match (&given, container.key_derivation(), &key) {
        (None, ..) => DecryptionKey::None,
        (Some(_), None, Some(key)) => DecryptionKey::Key(key),
        (Some(password), ..) => DecryptionKey::Password(password),
    };

    let mut register = Register::new();
    for key in container.open(unlock)? {
        match token(key) {
            // The same token twice would be two keys for one device.
            Ok((name, _)) if register.contains_key(&name) => {
                println!("refused {name}: it is there already")
            }
            Ok((name, token)) => drop(register.insert(name, token)),
            Err(why) => println!("refused {why}"),
        }
    }
    for (
        name,
        Token {
            algorithm,
            hash,
            digits,
            secret,
            counter,
            period,
        },
    ) in &register
    {
        let bits = secret.as_bytes().len() * 8;
        let next = match algorithm.as_str() {
            KeyInfo::TOTP => format!("every {period} seconds"),
            _ => format!("from counter {counter} on"),
        };
        println!("{name}: {algorithm} over {hash}, {digits} digits, {bits} bits, {next}");
    }
    Ok(())
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pair = |at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    (0..hex.len()).step_by(2).map(pair).collect()
}
