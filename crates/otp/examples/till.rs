//! A till that verifies payments by GNU Taler's confirmation codes, without a network.
//!
//! To set up, the shop generates a key, stores it, and gives it to the backend (and as an `otpauth`
//! URI to the shop's own phone). To sell, the buyer shows the code that the backend issued for the
//! payment, and the till compares it with its own. Each code is accepted once, and for one price
//! only.
//!
//! `cargo run --example till --features alloc`

use std::{
    collections::BTreeSet,
    fs::File,
    io::Read,
    time::{SystemTime, UNIX_EPOCH},
};

use keyproof_otp::{
    Code, Digits, Secret,
    otpauth::{Kind, OtpauthUri},
    pos::{Amount, PosAlgorithm, confirmation_codes},
};

struct Till {
    key: Secret,
    /// Codes that have been accepted. A buyer could show them again.
    used: BTreeSet<String>,
}

impl Till {
    /// Whether the buyer's code proves that this price was paid just now.
    fn accepts(&mut self, shown: &str, price: &Amount, now: u64) -> bool {
        let Ok(code) = Code::parse(shown.trim(), Digits::EIGHT) else {
            return false;
        };
        let codes = confirmation_codes(
            self.key.as_bytes(),
            PosAlgorithm::TotpWithPrice,
            Some(price),
            now,
        );
        let paid = codes.is_some_and(|codes| codes.contains(&code));
        paid && self.used.insert(format!("{price} {code}"))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let key = Secret::generate(|bytes| File::open("/dev/urandom")?.read_exact(bytes))?;
    println!("otp_key for the backend: {}", key.base32());
    let uri = OtpauthUri::new(Kind::TOTP, Some("Corner shop"), "till 1", key.clone())?;
    println!(
        "for the shop's own phone: {}",
        uri.with_digits(Digits::EIGHT)
    );

    let mut till = Till {
        key: key.clone(),
        used: BTreeSet::new(),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let price: Amount = "EUR:4.20".parse()?;
    // The backend shows the buyer five codes, in case clocks differ. The third is the current one.
    let paid = confirmation_codes(
        key.as_bytes(),
        PosAlgorithm::TotpWithPrice,
        Some(&price),
        now,
    );
    let paid = paid.ok_or("this algorithm has codes")?;
    let [_, _, present, _, _] = paid.codes();
    let shown = present.to_string();

    println!("{shown} for {price}: {}", till.accepts(&shown, &price, now));
    let typed = format!("{shown} ");
    println!("the same code again: {}", till.accepts(&typed, &price, now));
    let dearer: Amount = "EUR:42".parse()?;
    println!("for {dearer}: {}", till.accepts(&shown, &dearer, now));
    Ok(())
}
