//! The second step of a login, from the stored secret, the typed code and the last used step; and the URI that enrolled the secret.

use std::error::Error;

use keyproof_otp::{
    Algorithm, Base32Profile, Code, Digits, Secret, Totp, Window,
    otpauth::{Kind, OtpauthUri},
};

pub fn task() -> Result<(), Box<dyn Error>> {
    let secret = Secret::from_base32("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", Base32Profile::Lenient)?;
    let uri = OtpauthUri::new(Kind::TOTP, Some("Example"), "ada", secret.clone())?.to_string();
    assert!(uri.starts_with("otpauth://totp/"));
    let totp = Totp::new(&secret, Algorithm::Sha1, Digits::SIX).with_window(Window::symmetric(1));
    let code = Code::parse("287082", Digits::SIX)?;
    let accepted = totp.verify(&code, 59, Some(0))?;
    assert!(totp.verify(&code, 59, Some(accepted.step)).is_err());
    Ok(())
}
