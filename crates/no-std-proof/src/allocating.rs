//! The calls into what needs an allocator.

use keyproof_mfa::{
    Fingerprint, KeyKind, NewDevice, Password, Policy as MfaPolicy, Proof, UnixMillis, User,
    UserId, UserRecords,
};
use keyproof_otp::Secret;
use keyproof_otp::otpauth::OtpauthUri;
use keyproof_tpm::{
    AttestationKeyPolicy, QuoteEvidence, QuotePolicy, Structure, TpmtPublic, check_quote,
};
use keyproof_tpm::{
    AttestationKeyPolicy, Credential, CredentialProvider, DeviceInfo, EkCertificatePolicy, Name,
    QuoteEvidence, QuotePolicy, Structure, TpmtPublic, check_ek_certificate, check_quote,
    make_credential,
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

/// Whether a quote passes: the TPM's structures, names, digests of registers and signatures.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn keyproof_tpm_quote_passes(
    ak: &[u8; 280],
    attest: &[u8; 145],
    signature: &[u8; 262],
    nonce: &[u8; 32],
) -> bool {
    let Ok(ak) = TpmtPublic::parse(ak) else {
        return false;
    };
    let evidence = QuoteEvidence {
        attest,
        signature,
        pcr_values: Some(nonce),
    };
    let policy = QuotePolicy {
        nonce,
        selection: None,
        ek: None,
        last_seen: None,
        key_policy: AttestationKeyPolicy::default(),
        algorithms: RING,
    };
    check_quote(&ak, &evidence, &policy).accepted()
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

/// Whether a quote and the endorsement certificate behind it are accepted: structures, names, ring's
/// signatures and the chain.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn keyproof_tpm_accepts(
    keys: &[[u8; 512]; 2],
    quote: &[[u8; 512]; 2],
    certificates: &[[u8; 2048]; 2],
    nonce: &[u8; 32],
    now: u64,
) -> bool {
    let [ek, ak] = keys;
    let (Ok(ek), Ok(ak)) = (TpmtPublic::parse_either(ek), TpmtPublic::parse_either(ak)) else {
        return false;
    };
    let [attest, signature] = quote;
    let evidence = QuoteEvidence { attest, signature, pcr_values: None };
    let policy = QuotePolicy {
        nonce,
        selection: None,
        ek: Some(&ek),
        last_seen: None,
        key_policy: AttestationKeyPolicy::default(),
        algorithms: RING,
    };
    let [stored, root] = certificates;
    let manufacturer = EkCertificatePolicy {
        ek: Some(&ek),
        roots: &[root],
        intermediates: &[],
        now,
        algorithms: RING,
    };
    check_quote(&ak, &evidence, &policy).accepted()
        && check_ek_certificate(stored, &manufacturer).accepted()
}

/// Whether a credential can be made with a provider of the caller's: templates, key derivations and
/// credential files.
pub(crate) fn tpm_credential_is_made(
    provider: &dyn CredentialProvider,
    spki: &[u8],
    name: &[u8],
    random: &mut dyn FnMut(&mut [u8]),
) -> bool {
    let device = DeviceInfo::new(Some("device"), Some("1"), Some("vendor"), Some("1"));
    let (Ok(ek), Ok(name), Ok(_)) =
        (TpmtPublic::endorsement_from_spki(spki), Name::parse(name), device)
    else {
        return false;
    };
    make_credential(provider, &ek, &name, &[1; 32], random)
        .is_ok_and(|made| Credential::parse(&made.to_bytes()).is_ok())
}
