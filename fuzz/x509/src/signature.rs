//! Signatures by any key with any algorithm.

use keyproof_x509::{
    AlgorithmIdentifier, Scheme, SubjectPublicKeyInfo, X509Error, algorithms, verify,
};

/// The input is an AlgorithmIdentifier and a SubjectPublicKeyInfo (DER), a signature and the message, each but the last after its
/// length in two bytes. Weak algorithms and keys verify nothing, and a signature that verifies is not one of another message.
pub fn signature(data: &[u8]) {
    let mut rest = data;
    let Some([algorithm, key, signature]) = [(); 3]
        .map(|()| part(&mut rest))
        .into_iter()
        .collect::<Option<Vec<&[u8]>>>()
        .and_then(|parts| <[&[u8]; 3]>::try_from(parts).ok())
    else {
        return;
    };
    let message = rest;
    let (Ok(algorithm), Ok(key)) = (
        AlgorithmIdentifier::from_der(algorithm).inspect_err(shown),
        SubjectPublicKeyInfo::from_der(key).inspect_err(shown),
    ) else {
        return;
    };
    assert!(!algorithm.to_string().is_empty());
    let kind = key.kind().inspect_err(shown);
    if let Ok(kind) = &kind {
        assert!(!kind.to_string().is_empty());
    }
    let _ = key.bits();
    let scheme = Scheme::of(&algorithm, &key).inspect_err(shown);
    assert!(algorithm.weak_hash().is_none() || scheme.is_err());
    let verified = verify(algorithms::RING, &key, &algorithm, message, signature);
    match verified.inspect_err(shown) {
        Ok(by) => {
            assert_eq!(scheme.as_ref(), Ok(&by));
            let other = [message, b"."].concat();
            assert!(
                by.verify(algorithms::RING, &key, &other, signature)
                    .is_err()
            );
        }
        // ring has no table for some schemes, such as ECDSA P-256 with SHA-512.
        Err(error) => assert!(
            scheme.is_err() || scheme.is_ok_and(|scheme| !scheme.name().is_empty()),
            "{error}"
        ),
    }
}

/// Asserts that the error can be displayed.
fn shown(error: &X509Error) {
    assert!(!error.to_string().is_empty());
}

fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<2>()?;
    let (part, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    *rest = after;
    Some(part)
}
