//! The calls into what needs an allocator.

use alloc::vec::Vec;

use keyproof_mfa::{
    Fingerprint, KeyKind, NewDevice, Password, Policy as MfaPolicy, Proof, UnixMillis, User,
    UserId, UserRecords,
};
use keyproof_otp::Secret;
use keyproof_otp::otpauth::OtpauthUri;
use keyproof_tpm::{
    Agreement, AttestationKeyPolicy, Credential, CredentialProvider, DeviceInfo, EccCurve,
    EkCertificatePolicy, HashAlgorithm, Name, QuoteEvidence, QuotePolicy, Structure, TpmError,
    TpmtPublic, check_ek_certificate, check_quote, make_credential,
};
use keyproof_x509::{Policy, Upload, VerificationCode, algorithms::RING, prove};

/// Whether a text is an otpauth URI.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn keyproof_otpauth_parses(uri: &[u8; 64]) -> bool {
    core::str::from_utf8(uri).is_ok_and(|uri| OtpauthUri::parse(uri).is_ok())
}

/// Whether a code logs in and makes a device trusted: enrolment, both steps and recovery codes.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn keyproof_mfa_logs_in(
    key: &[u8; 20],
    code: &[u8; 6],
    random: &[[u8; 10]; 10],
    now: u64,
) -> bool {
    let (policy, now) = (MfaPolicy::default(), UnixMillis::from_secs(now));
    let text = core::str::from_utf8(code).unwrap_or_default();
    let (Ok(secret), Ok(fingerprint)) = (Secret::from_bytes(key), Fingerprint::new(text)) else {
        return false;
    };
    let secret = &secret;
    let proof = Proof::Typed { text, secret };
    let device = NewDevice::new(fingerprint, [0; 4]);
    let user = UserRecords::new(User::new(UserId::new("tenant", "user"), 0))
        .enrol(KeyKind::default(), Password::Correct, [0; 16], now, &policy)
        .next
        .activate(&proof, now, &policy)
        .next
        .make_recovery_codes(Password::Correct, random, now, &policy)
        .next
        .begin_login(Password::Correct, None, now, &policy)
        .next;
    let login = user.answer_challenge(&proof, Some(device), now, &policy);
    login.verdict.is_ok()
}

/// Whether a leaf proves possession of a CA's key: uploads, codes, checks and ring's signatures.
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
    prove(&ca, leaf, &code, now, &Policy::new(RING)).accepted()
}
