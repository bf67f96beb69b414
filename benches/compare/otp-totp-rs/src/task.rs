//! The same task with totp-rs, which leaves the rejection of used codes to the caller.

use std::error::Error;

use totp_rs::{Algorithm, Builder, Secret};

pub fn task() -> Result<(), Box<dyn Error>> {
    let secret = Secret::try_from_base32("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")?;
    let totp = Builder::new()
        .with_algorithm(Algorithm::SHA1)
        .with_digits(6)
        .with_skew(1)
        .with_step_duration(30)
        .with_secret(secret)
        .with_issuer(Some("Example".to_owned()))
        .with_account_name("ada".to_owned())
        .build()?;
    assert!(totp.to_url()?.starts_with("otpauth://totp/"));
    let last_step = Some(0);
    let check = |last_step: Option<u64>| {
        let step = totp.check("287082", 59)?;
        last_step.is_none_or(|last| step > last).then_some(step)
    };
    let step = check(last_step).ok_or("wrong code")?;
    assert!(check(Some(step)).is_none());
    Ok(())
}
