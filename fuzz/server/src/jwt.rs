//! The target of `keyproof-service`: tokens of external issuers.

use keyproof_service::access::KeySet;
use std::sync::LazyLock;

static KEYS: LazyLock<Option<KeySet>> =
    LazyLock::new(|| KeySet::parse(include_bytes!("../vectors/jwks.json")).ok());

/// Signed by the keys of the set, whose private halves are gone.
const TOKENS: [&str; 3] = [
    include_str!("../vectors/ed.jwt"),
    include_str!("../vectors/ec.jwt"),
    include_str!("../vectors/rsa.jwt"),
];

/// By the first byte: the rest as a token; the rest as a set of keys; or the rest as changes to one of the good tokens,
/// two bytes of place and one to combine with each. No token is accepted but the good ones to the letter.
pub fn jwt(data: &[u8]) {
    let keys = KEYS.as_ref().expect("the committed set is one");
    let Some((&choice, rest)) = data.split_first() else {
        return;
    };
    match choice {
        0xff => judge(keys, &String::from_utf8_lossy(rest)),
        0xfe => {
            if let Ok(keys) = KeySet::parse(rest) {
                for token in TOKENS {
                    let _ = keys.verify(token, "i", "a");
                }
            }
        }
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
