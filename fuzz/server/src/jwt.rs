//! Tokens of external issuers, and the key sets that verify them.

use std::sync::LazyLock;

use data_encoding::{BASE64URL_NOPAD, Encoding};
use keyproof_service::access::KeySet;
use serde_json::Value;

static KEYS: LazyLock<Option<KeySet>> =
    LazyLock::new(|| KeySet::parse(include_bytes!("../vectors/jwks.json")).ok());

/// Signed by the keys of the set, whose private halves were deleted.
const TOKENS: [&str; 3] = [
    include_str!("../vectors/ed.jwt"),
    include_str!("../vectors/ec.jwt"),
    include_str!("../vectors/rsa.jwt"),
];

/// The first byte selects whether the rest is a token or changes to one of the valid tokens. A change is an offset of two bytes and
/// a byte to combine with. Only the exact valid tokens are accepted.
pub fn jwt(data: &[u8]) {
    let keys = KEYS.as_ref().expect("the committed set is one");
    let Some((&choice, rest)) = data.split_first() else {
        return;
    };
    match choice {
        0xff => judge(keys, &String::from_utf8_lossy(rest)),
        choice => {
            let token = TOKENS[usize::from(choice) % TOKENS.len()];
            let mut changed = token.as_bytes().to_vec();
            let (changes, _) = rest.as_chunks::<3>();
            for [high, low, mask] in changes {
                let place = usize::from(u16::from_be_bytes([*high, *low])) % changed.len();
                changed[place] ^= mask;
            }
            judge(keys, &String::from_utf8_lossy(&changed));
        }
    }
}

fn judge(keys: &KeySet, token: &str) {
    let verdict = keys.verify(token, "i", "a");
    assert_eq!(
        verdict.is_ok(),
        TOKENS.contains(&token),
        "{token}: {verdict:?}"
    );
    assert!(keys.verify(token, "j", "a").is_err());
    assert!(keys.verify(token, "i", "b").is_err());
}

/// Any key set. It has no more keys than the input contains, and no symmetric ones. It verifies a valid token only if it contains
/// the key that signed it.
pub fn jwks(data: &[u8]) {
    let Ok(keys) = KeySet::parse(data) else {
        return;
    };
    let set: Value = serde_json::from_slice(data).expect("what is taken is JSON");
    let members = set["keys"].as_array().expect("what is taken has keys");
    let is_public = |key: &&Value| matches!(key["kty"].as_str(), Some("EC" | "OKP" | "RSA"));
    assert!(keys.len() <= members.iter().filter(is_public).count());
    let genuine: Value =
        serde_json::from_slice(include_bytes!("../vectors/jwks.json")).expect("it is JSON");
    for (place, token) in TOKENS.iter().enumerate() {
        if keys.verify(token, "i", "a").is_ok() {
            let signer = point(&genuine["keys"][place]);
            assert!(members.iter().any(|key| point(key) == signer), "{token}");
        }
    }
}

/// Returns what distinguishes a key from others: a coordinate, or the modulus.
fn point(key: &Value) -> Option<Vec<u8>> {
    let text = key["x"].as_str().or(key["n"].as_str())?;
    let mut bytes = LOOSE.decode(text.as_bytes()).ok()?;
    // A number may have leading zeros.
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.drain(..zeros);
    Some(bytes)
}

/// Base64, decoded as leniently as any reader of keys may.
static LOOSE: LazyLock<Encoding> = LazyLock::new(|| {
    let mut loose = BASE64URL_NOPAD.specification();
    loose.check_trailing_bits = false;
    loose.ignore.push_str("= \r\n\t");
    loose.encoding().expect("an encoding")
});
