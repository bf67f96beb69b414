//! The hot paths of the protocol crates, each from the bytes that a program starts with. The preparation is not counted.

#![expect(
    clippy::expect_used,
    missing_docs,
    unused_qualifications,
    reason = "a benchmark that fails has nothing to count; gungraun's macros use absolute paths"
)]

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, DefaultHasher},
    hint::black_box,
};

use gungraun::prelude::*;
use keyproof_auth::{Generation, Token, TokenDigest, UnixMillis as AuthMillis, Validity};
use keyproof_mfa::{
    Client, KeyKind, Password, Policy as LoginPolicy, Proof, SessionId, UnixMillis, User, UserId,
    UserRecords,
};
use keyproof_otp::{
    Algorithm, Base32Profile, Code, Digits, Hotp, LookAhead, Secret, Totp, Window,
    ocra::{Input, Ocra, Response},
};
use keyproof_pskc::{Container, DecryptionKey, Key};
use keyproof_tpm::{
    EkCertificatePolicy, QuoteEvidence, QuotePolicy, Structure, TpmlPcrSelection, TpmtPublic,
    algorithms, check_ek_certificate, check_quote,
};
use keyproof_x509::{
    Certificate, Policy, VerificationCode,
    path::{CertificatePool, PathOptions, TrustAnchors, find},
    prove,
};

/// 2027-01-15, when the vectors' certificates are valid.
const NOW: u64 = 1_800_000_000;

macro_rules! x509 {
    ($file:literal) => {
        include_bytes!(concat!("../../../crates/x509/tests/data/", $file))
    };
}

macro_rules! tpm {
    ($file:literal) => {
        include_bytes!(concat!("../../../crates/tpm/tests/vectors/rsa2048/", $file))
    };
}

// --- otp ---

const SECRET: &[u8; 20] = b"12345678901234567890";

fn secret() -> Secret {
    Secret::from_bytes(SECRET).expect("a secret of 20 bytes")
}

fn hotp() -> (Hotp, Code, LookAhead) {
    let wrong = Code::parse("000000", Digits::SIX).expect("six digits");
    let ahead = LookAhead::try_from(10).expect("ten");
    (
        Hotp::new(&secret(), Algorithm::Sha1, Digits::SIX),
        wrong,
        ahead,
    )
}

fn totp() -> (Totp, &'static str) {
    let totp = Totp::new(&secret(), Algorithm::Sha1, Digits::SIX);
    (totp.with_window(Window::symmetric(1)), "000000")
}

// The counter and the ten after it; none of them has the code.
#[library_benchmark]
#[bench::ten_ahead(hotp())]
fn otp_hotp_verify((hotp, wrong, ahead): (Hotp, Code, LookAhead)) {
    let verdict = hotp.verify(black_box(&wrong), black_box(7), ahead);
    assert!(verdict.is_none(), "a wrong code");
}

// The step and its two neighbours; none of them has the code.
#[library_benchmark]
#[bench::three_steps(totp())]
fn otp_totp_verify((totp, typed): (Totp, &'static str)) {
    let code = Code::parse(black_box(typed), Digits::SIX).expect("six digits");
    let verdict = totp.verify(&code, black_box(NOW), None);
    assert!(verdict.is_err(), "a wrong code");
}

// 32 letters in groups, as people type them.
#[library_benchmark]
#[bench::typed("gezd gnbv gy3t qojq gezd gnbv gy3t qojq")]
fn otp_base32_decode(text: &str) -> Secret {
    Secret::from_base32(black_box(text), Base32Profile::Lenient).expect("a secret")
}

fn ocra() -> (Ocra, &'static str) {
    let suite = "OCRA-1:HOTP-SHA1-6:QN08".parse().expect("a suite");
    (Ocra::new(&secret(), suite), "000000")
}

// A wrong response to one question.
#[library_benchmark]
#[bench::one_question(ocra())]
fn otp_ocra_verify((ocra, typed): (Ocra, &'static str)) {
    let response = Response::parse(black_box(typed), &ocra.suite()).expect("six digits");
    let verdict = ocra.verify(&response, &Input::new(black_box("00000000")), None);
    assert!(verdict.is_err(), "a wrong response");
}

// --- pskc ---

// Two tokens of a manufacturer, from the text of the container.
#[library_benchmark]
#[bench::two_wrapped(include_str!("../../../crates/pskc/examples/delivery.xml"))]
fn pskc_container_open(document: &str) -> Vec<Key> {
    let key: [u8; 16] = core::array::from_fn(|at| at as u8);
    let container = Container::parse(black_box(document)).expect("a container");
    let opened = container.open(DecryptionKey::Key(&key)).expect("its key");
    assert_eq!(opened.len(), 2, "two tokens");
    opened
}

// --- x509 ---

// A leaf below its anchor, on P-256, from the DER of both.
#[library_benchmark]
#[bench::p256(x509!("p256-leaf.der"), x509!("p256-ca.der"))]
fn x509_path_check(leaf: &[u8], anchor: &[u8]) {
    let leaf = Certificate::from_der(black_box(leaf)).expect("a certificate");
    let (intermediates, anchors) = (CertificatePool::default(), TrustAnchors::new(&[anchor]));
    let options = PathOptions::new(keyproof_x509::algorithms::RING, NOW);
    let found = find(&leaf, &intermediates, &anchors, &options);
    assert!(found.accepted(), "a path");
}

fn code(ca: &[u8]) -> VerificationCode {
    let ca = Certificate::from_der(ca).expect("a certificate");
    VerificationCode::parse("7D9BDFF9BD7037666A250E4214735E3A0B1A063D7D81F638")
        .expect("a code")
        .bound_to(ca.sha256_thumbprint(), Some(NOW + 60))
}

// The complete report on a verification leaf, from the DER of the leaf and of the CA certificate.
#[library_benchmark]
#[bench::p256(x509!("p256-ca.der"), x509!("p256-leaf.der"), code(x509!("p256-ca.der")))]
#[bench::rsa2048(x509!("rsa2048-ca.der"), x509!("rsa2048-leaf.der"), code(x509!("rsa2048-ca.der")))]
fn x509_proof_check(ca: &[u8], leaf: &[u8], code: VerificationCode) {
    let policy = Policy::new(keyproof_x509::algorithms::RING);
    let ca = Certificate::from_der(black_box(ca)).expect("a certificate");
    let report = prove(&ca, black_box(leaf), &code, NOW, &policy);
    assert!(report.accepted(), "a sound pair");
}

// --- tpm ---

fn selection() -> TpmlPcrSelection {
    "sha256:0,1,2,3,4,5,6,7,16".parse().expect("a selection")
}

// The complete report on a quote, from the bytes of all its parts.
#[library_benchmark]
#[bench::rsa2048(selection())]
fn tpm_quote_check(selection: TpmlPcrSelection) {
    let key = |bytes| TpmtPublic::parse_sized(black_box(bytes)).expect("a public area");
    let (ak, ek) = (key(tpm!("ak.pub.tpm2b")), key(tpm!("ek.pub.tpm2b")));
    let evidence = QuoteEvidence {
        attest: black_box(tpm!("quote.tpms_attest.bin")),
        signature: black_box(tpm!("quote.tpmt_signature.bin")),
        pcr_values: Some(tpm!("quote.pcrs.values.bin")),
    };
    let mut policy = QuotePolicy::new(tpm!("quote.nonce.bin"), &selection, algorithms::RING);
    policy.ek = Some(&ek);
    let report = check_quote(&ak, &evidence, &policy).report;
    assert!(report.accepted(), "a sound quote");
}

// The complete report on an endorsement certificate, from the DER of the certificate, its intermediate and its root.
#[library_benchmark]
#[bench::rsa2048(tpm!("ek.cert.der"), tpm!("ca.intermediate.der"), tpm!("ca.root.der"))]
fn tpm_ek_certificate_check(leaf: &[u8], intermediate: &[u8], root: &[u8]) {
    let (roots, intermediates) = ([black_box(root)], [black_box(intermediate)]);
    let mut policy = EkCertificatePolicy::without_key(&roots, NOW, algorithms::RING);
    policy.intermediates = &intermediates;
    let report = check_ek_certificate(black_box(leaf), &policy);
    assert!(report.accepted(), "a sound chain");
}

// --- mfa ---

const SESSION: &str = "drawn at random when she logged in";

fn challenged() -> (UserRecords, Secret, String, UnixMillis) {
    let (policy, secret) = (LoginPolicy::default(), secret());
    let (enrolled, login) = (UnixMillis::from_secs(NOW), UnixMillis::from_secs(NOW + 60));
    let phone = Totp::new(&secret, Algorithm::default(), Digits::default());
    let (first, second) = (
        phone.code(NOW).to_string(),
        phone.code(NOW + 60).to_string(),
    );
    let session = SessionId::new(SESSION);
    let proof = Proof::Typed {
        text: &first,
        secret: &secret,
    };
    let user = UserRecords::new(User::new(UserId::new("example.org", "ada"), 0));
    let kind = KeyKind::default();
    let user = user.enrol(kind, Password::Correct, [1; 16], session, enrolled, &policy);
    let user = user.next.activate(&proof, session, enrolled, &policy).next;
    let user = user.begin_login(Password::Correct, Client::UNKNOWN, login, &policy);
    (user.next, secret, second, login)
}

// The code that answers a login's challenge, and the records to store.
#[library_benchmark]
#[bench::right_code(challenged())]
fn mfa_login_decision(
    (user, secret, typed, now): (UserRecords, Secret, String, UnixMillis),
) -> (usize, UserRecords) {
    let proof = Proof::Typed {
        text: black_box(&typed),
        secret: &secret,
    };
    let decided = user
        .clone()
        .answer_challenge(&proof, None, None, now, &LoginPolicy::default());
    let changes = user.changes(&decided.next).count();
    assert!(decided.verdict.is_ok(), "the right code");
    (changes, decided.next)
}

// --- auth ---

/// The hashes have no random seed, so that the counts are the same in each run.
type Issued = HashMap<TokenDigest, Validity, BuildHasherDefault<DefaultHasher>>;

fn issued() -> (Issued, Generation, String) {
    let generation = Generation::from_random([1; 16]);
    let validity = Validity {
        generation,
        expires_at: Some(AuthMillis::from_millis(NOW * 1_000 + 1)),
    };
    let token = |seed: u8| Token::from_random_at([seed; 32], AuthMillis::from_secs(NOW));
    let all = (0..=u8::MAX).map(|seed| (token(seed).digest(), validity));
    (all.collect(), generation, token(7).text().to_string())
}

// The lookup of a token's text among 256, and whether the token is valid.
#[library_benchmark]
#[bench::one_of_256(issued())]
fn auth_token_lookup((issued, generation, text): (Issued, Generation, String)) {
    let token = Token::parse(black_box(&text)).expect("a token");
    let found = issued.get(&token.digest()).expect("an issued token");
    let in_force = found.check(&generation, black_box(AuthMillis::from_secs(NOW)));
    assert!(in_force.is_ok(), "a token in force");
}

library_benchmark_group!(
    name = protocols,
    benchmarks = [
        otp_hotp_verify,
        otp_totp_verify,
        otp_base32_decode,
        otp_ocra_verify,
        pskc_container_open,
        x509_path_check,
        x509_proof_check,
        tpm_quote_check,
        tpm_ek_certificate_check,
        mfa_login_decision,
        auth_token_lookup
    ]
);

main!(library_benchmark_groups = protocols);
