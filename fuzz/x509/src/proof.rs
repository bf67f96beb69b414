//! A CA and an upload for it, both from the input.

use keyproof_x509::{
    Certificate, Outcome, Policy, ProofCheck, Redemption, Sha256Thumbprint, Strictness,
    VerificationCode, algorithms,
};

use crate::{
    pairs::{CODE, NOW},
    report::sound,
};

const IS_BOUND: u8 = 1;
const IS_OF_ANOTHER: u8 = 1 << 1;
const IS_EXPIRED: u8 = 1 << 2;
const IS_STRICT: u8 = 1 << 3;

/// Byte 0 selects how the code is bound and under which policy it is redeemed, two bytes give the CA's length, and the rest is the
/// upload. A code is spent exactly by an accepted leaf, and never if it is not bound, is another certificate's or has expired.
pub fn proof(data: &[u8]) {
    let [flags, high, low, rest @ ..] = data else {
        return;
    };
    let Some((ca, upload)) = rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))
    else {
        return;
    };
    let Ok(ca) = Certificate::from_der_lenient(ca) else {
        return;
    };
    let code = VerificationCode::parse(CODE).expect("48 digits");
    let expires_at = match flags & IS_EXPIRED {
        0 => NOW + 1,
        _ => NOW,
    };
    let code = match (flags & IS_BOUND != 0, flags & IS_OF_ANOTHER != 0) {
        (false, _) => code,
        (true, false) => code.bound_to(ca.sha256_thumbprint(), Some(expires_at)),
        (true, true) => code.bound_to(Sha256Thumbprint::of_der(b""), Some(expires_at)),
    };
    assert!(
        !format!("{code:?}").contains(CODE),
        "Debug hides the digits"
    );
    let mut policy = Policy::new(algorithms::RING);
    if flags & IS_STRICT != 0 {
        policy.strictness = Strictness::Strict;
    }
    let is_refused = flags & IS_BOUND == 0 || flags & (IS_OF_ANOTHER | IS_EXPIRED) != 0;
    match code.redeem(&ca, upload, NOW, &policy) {
        Redemption::Kept { report, code } => {
            sound(&report);
            assert!(!report.accepted());
            assert_eq!(code.digits(), CODE);
            assert_eq!(code.certificate().is_some(), flags & IS_BOUND != 0);
            assert!(code.expires_at().is_none_or(|moment| moment == expires_at));
        }
        Redemption::Spent { report } => {
            sound(&report);
            assert!(report.accepted() && !is_refused, "{report}");
            assert_eq!(report.outcome(ProofCheck::Signature), Outcome::Pass);
            assert_eq!(report.outcome(ProofCheck::Code), Outcome::Pass);
        }
    }
}
