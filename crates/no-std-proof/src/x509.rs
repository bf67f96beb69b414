//! The call into `keyproof-x509`.

use keyproof_x509::{
    Certificate, Policy, Upload, VerificationCode,
    algorithms::RING,
    crl::Crl,
    path::{CertificatePool, PathOptions, TrustAnchors, find},
    prove,
};

/// Returns whether a leaf proves possession of a CA's key: uploads, codes, checks and ring's signatures.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn keyproof_x509_proves(
    ca: &[u8; 2048],
    leaf: &[u8; 2048],
    code: &[u8; 48],
    now: u64,
) -> bool {
    let Ok(ca) = Upload::decode(ca) else {
        return false;
    };
    let code = VerificationCode::parse(core::str::from_utf8(code).unwrap_or_default());
    let (Ok(ca), Ok(code)) = (ca.certificate(), code) else {
        return false;
    };
    let code = code.bound_to(ca.sha256_thumbprint(), None);
    prove(&ca, leaf, &code, now, &Policy::new(RING)).accepted()
}

/// Returns whether there is a valid path from a certificate to a trust anchor, with no revoked certificate.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn keyproof_x509_finds_a_path(
    leaf: &[u8; 2048],
    intermediate: &[u8; 2048],
    anchor: &[u8; 2048],
    list: &[u8; 2048],
    now: u64,
) -> bool {
    let (Ok(leaf), Ok(list)) = (Certificate::from_der(leaf), Crl::from_der(list)) else {
        return false;
    };
    let (intermediates, anchors) = (
        CertificatePool::new(&[intermediate]),
        TrustAnchors::new(&[anchor]),
    );
    let lists = [list];
    let mut options = PathOptions::new(RING, now);
    options.crls = &lists;
    find(&leaf, &intermediates, &anchors, &options).accepted()
}
