//! The form in which passwords are hashed, whichever way they come.

use data_encoding::HEXLOWER;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use zeroize::{Zeroize, Zeroizing};

/// 40 hex digits, which clients that never send a password as it was typed send in its place, in lower case; anything
/// else becomes its SHA-1 in hex. It is no protection, only one spelling of two: Argon2id comes on top.
pub(super) fn canonical(password: Zeroizing<String>) -> Zeroizing<String> {
    let mut password = password;
    if password.len() == 40 && password.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        password.make_ascii_lowercase();
        return password;
    }
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    password.zeroize();
    Zeroizing::new(HEXLOWER.encode(hash.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_and_hashed_passwords_meet() {
        // As `echo -n 'correct horse' | openssl sha1` prints it.
        let hashed = "2f9e53523b62abc141a2b4d6019d23cba835dbd0";
        let of = |text: &str| canonical(Zeroizing::new(text.to_owned()));
        let typed = of("correct horse");
        assert_eq!(typed, of(&typed));
        assert_eq!(typed, of(&typed.to_uppercase()));
        assert_eq!(
            of("abc").as_str(),
            "a9993e364706816aba3e25717850c26c9cd0d89d"
        );
        assert_ne!(of(hashed.get(..39).unwrap_or_default()).len(), 39);
        assert_eq!(of(&"g".repeat(40)).len(), 40);
        assert_ne!(of(&"A".repeat(41)), of(&"a".repeat(41)));
        assert_ne!(of(&"g".repeat(40)).as_str(), "g".repeat(40));
    }
}
