//! Compares with `openssl`: verification leaves made with its common commands, for each type of key.
//!
//! A missing `openssl` fails these tests; nothing is skipped.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a peer that does not answer fails the test"
)]
#![cfg(all(feature = "prover", feature = "ring", feature = "aws-lc-rs"))]

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use keyproof_x509::{
    CertificateSummary, Encoding, Finding as _, Outcome, OwnedCertificate, Policy, ProofCheck,
    ProofFinding, Report, Strictness, Upload, Validity, VerificationCode, X509Error, algorithms,
    prove,
    prover::{
        AwsLcRsSigner, CertificationRequest, PrivateKey, RingSigner, Signer, VerificationLeaf,
    },
};
use tempfile::TempDir;

const CODE: &str = "7D9BDFF9BD7037666A250E4214735E3A0B1A063D7D81F638";
const POLICY: Policy<'static> = Policy::new(algorithms::ALL);

const STRICT: Policy<'static> = {
    let mut policy = POLICY;
    policy.strictness = Strictness::Strict;
    policy
};

const CONFIG: &str = "
[req]
distinguished_name = dn
prompt = no
[dn]
CN = unused
[v3_ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[ca_false]
basicConstraints = critical,CA:FALSE
[no_cert_sign]
basicConstraints = critical,CA:TRUE
keyUsage = critical,digitalSignature
[not_critical]
basicConstraints = CA:TRUE
keyUsage = critical,keyCertSign
[cert_sign_without_ca]
basicConstraints = critical,CA:FALSE
keyUsage = critical,keyCertSign
[leaf]
basicConstraints = CA:FALSE
keyUsage = digitalSignature
extendedKeyUsage = clientAuth,serverAuth
[leaf_unknown_critical]
1.2.3.4.5 = critical,DER:0500
";

/// `genpkey` arguments of common types of key.
const RSA_2048: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
const RSA_3072: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"];
const RSA_PSS: &[&str] = &["-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"];
const P256: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const P384: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"];
const P521: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"];
const ED25519: &[&str] = &["-algorithm", "ED25519"];

/// `genpkey` arguments and additional signing arguments for each type of key.
const KEYS: [(&str, &[&str], &[&str]); 18] = [
    ("rsa2048", RSA_2048, &["-sha256"]),
    ("rsa3072", RSA_3072, &["-sha512"]),
    ("rsa2048-384", RSA_2048, &["-sha384"]),
    (
        "rsa-signing-pss",
        RSA_2048,
        &[
            "-sha384",
            "-sigopt",
            "rsa_padding_mode:pss",
            "-sigopt",
            "rsa_pss_saltlen:digest",
        ],
    ),
    // The longest salt is openssl's default.
    (
        "rsa-signing-pss-longest-salt",
        RSA_3072,
        &["-sha512", "-sigopt", "rsa_padding_mode:pss"],
    ),
    ("rsa-pss-key-longest-salt", RSA_PSS, &["-sha256"]),
    (
        "rsa-pss-key",
        RSA_PSS,
        &["-sha256", "-sigopt", "rsa_pss_saltlen:digest"],
    ),
    (
        "rsa-pss-restricted",
        &[
            "-algorithm",
            "RSA-PSS",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
            "-pkeyopt",
            "rsa_pss_keygen_md:sha512",
            "-pkeyopt",
            "rsa_pss_keygen_mgf1_md:sha512",
            "-pkeyopt",
            "rsa_pss_keygen_saltlen:64",
        ],
        &["-sha512", "-sigopt", "rsa_pss_saltlen:digest"],
    ),
    ("p256", P256, &["-sha256"]),
    ("p256-384", P256, &["-sha384"]),
    ("p256-512", P256, &["-sha512"]),
    ("p384", P384, &["-sha384"]),
    ("p384-256", P384, &["-sha256"]),
    ("p384-512", P384, &["-sha512"]),
    ("p521", P521, &["-sha512"]),
    ("p521-256", P521, &["-sha256"]),
    ("p521-384", P521, &["-sha384"]),
    ("ed25519", ED25519, &[]),
];

/// Splits arguments that contain no blanks themselves.
fn words(arguments: &str) -> Vec<&str> {
    arguments.split(' ').collect()
}

/// A directory in which `openssl` is run.
struct Workshop(TempDir);

impl Workshop {
    fn new() -> Self {
        let workshop = Self(tempfile::tempdir().unwrap());
        fs::write(workshop.path("openssl.cnf"), CONFIG).unwrap();
        workshop
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    /// Runs one command in the directory and returns what it printed.
    #[track_caller]
    fn openssl(&self, arguments: &[&str]) -> String {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(self.0.path())
            .env("OPENSSL_CONF", self.path("openssl.cnf"))
            .output()
            .unwrap_or_else(|error| {
                panic!("the peer `openssl` cannot be run ({error}): install the package openssl")
            });
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments:?}: {told}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn key(&self, name: &str, algorithm: &[&str]) {
        let file = format!("{name}.key");
        self.openssl(&[&["genpkey", "-out", &file], algorithm].concat());
    }

    /// Creates a self-signed CA with the key of this name.
    fn ca(&self, name: &str, subject: &str, extensions: &str, signing: &[&str]) {
        let files = format!("-key {name}.key -config openssl.cnf -out {name}.pem");
        let request = ["req", "-x509", "-new", "-subj", subject, "-days", "30"];
        let extensions = ["-extensions", extensions];
        self.openssl(&[&request[..], &words(&files), &extensions, signing].concat());
    }

    /// Creates a request with its own key and this common name.
    fn request(&self, common_name: &str) {
        self.key("leaf", P256);
        let subject = format!("/CN={common_name}");
        let files = words("-key leaf.key -config openssl.cnf -out leaf.csr");
        self.openssl(&[&["req", "-new", "-subj", &subject], &files[..]].concat());
    }

    /// Runs `openssl x509 -req`, as in widely copied instructions.
    fn sign_request(&self, ca: &str, more: &[&str]) -> Vec<u8> {
        let issuer = format!("-CA {ca}.pem -CAkey {ca}.key -CAcreateserial");
        let sign = words("x509 -req -in leaf.csr -days 1 -out leaf.pem");
        self.openssl(&[&sign[..], &words(&issuer), more].concat());
        self.read("leaf.pem")
    }

    fn certificate(&self, name: &str) -> OwnedCertificate {
        let file = self.read(&format!("{name}.pem"));
        let upload = Upload::decode(&file).unwrap();
        upload.certificate().unwrap().into()
    }

    #[track_caller]
    fn judge(&self, ca: &str, leaf: &[u8], policy: &Policy<'_>) -> Report<ProofFinding> {
        let ca = self.certificate(ca);
        let ca = ca.certificate();
        let code = code().bound_to(ca.sha256_thumbprint(), None);
        prove(&ca, leaf, &code, now(), policy)
    }
}

fn code() -> VerificationCode {
    VerificationCode::parse(CODE).unwrap()
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

#[test]
fn leaves_of_every_type_of_key_are_accepted() {
    for (name, algorithm, signing) in KEYS {
        let workshop = Workshop::new();
        workshop.key(name, algorithm);
        workshop.ca(name, "/C=DE/O=Example, Inc./CN=Peer CA", "v3_ca", signing);
        workshop.request(CODE);

        // Without -extfile, openssl 3.0 issues version 1, which Azure's service accepts.
        let leaf = workshop.sign_request(name, signing);
        let report = workshop.judge(name, &leaf, &POLICY);
        assert!(report.accepted(), "{name}\n{report}");
        let version =
            CertificateSummary::from(&Upload::decode(&leaf).unwrap().certificate().unwrap())
                .version;
        let strict = workshop.judge(name, &leaf, &STRICT);
        assert_eq!(strict.accepted(), version == 3, "{name}\n{strict}");

        let with_extensions =
            [&["-extfile", "openssl.cnf", "-extensions", "leaf"], signing].concat();
        let leaf = workshop.sign_request(name, &with_extensions);
        for policy in [POLICY, STRICT] {
            let report = workshop.judge(name, &leaf, &policy);
            assert!(report.accepted(), "{name}\n{report}");
            for row in report.rows() {
                assert_eq!(row.outcome, Outcome::Pass, "{name}\n{report}");
            }
        }
        // With one bit of the signature changed, no table verifies it.
        let mut changed = Upload::decode(&leaf).unwrap().into_der();
        *changed.last_mut().unwrap() ^= 1;
        let report = workshop.judge(name, &changed, &POLICY);
        assert!(
            matches!(
                report.first_refusal(),
                Some(ProofFinding::SignatureRefused(
                    X509Error::SignatureInvalid { .. }
                ))
            ),
            "{name}\n{report}"
        );
    }
}

#[test]
fn every_upload_encoding_is_read() {
    let workshop = Workshop::new();
    workshop.key("p256", P256);
    workshop.ca("p256", "/CN=Peer CA", "v3_ca", &[]);
    workshop.request(CODE);
    let pem = workshop.sign_request("p256", &[]);
    workshop.openssl(&words("x509 -in leaf.pem -outform DER -out leaf.der"));
    workshop.openssl(&["base64", "-in", "leaf.der", "-out", "leaf.b64"]);
    workshop.openssl(&["base64", "-A", "-in", "leaf.pem", "-out", "leaf.pem.b64"]);
    let text = workshop.openssl(&["x509", "-in", "leaf.pem", "-text"]);
    let crlf = String::from_utf8_lossy(&pem).replace('\n', "\r\n");
    let utf16: Vec<u8> = format!("\u{feff}{crlf}")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let chain = [pem.as_slice(), &workshop.read("p256.pem")].concat();

    let cases = [
        (workshop.read("leaf.der"), Encoding::Der, 0),
        (workshop.read("leaf.b64"), Encoding::Base64Der, 0),
        (workshop.read("leaf.pem.b64"), Encoding::Base64Pem, 0),
        (pem, Encoding::Pem, 0),
        (text.into_bytes(), Encoding::Pem, 0),
        (crlf.clone().into_bytes(), Encoding::Pem, 0),
        (format!("\u{feff}{crlf}").into_bytes(), Encoding::Pem, 0),
        (utf16, Encoding::Pem, 0),
        (chain, Encoding::Pem, 1),
    ];
    let der = workshop.read("leaf.der");
    for (upload, encoding, further) in cases {
        let report = workshop.judge("p256", &upload, &POLICY);
        assert!(report.accepted(), "{encoding}\n{report}");
        let upload = Upload::decode(&upload).unwrap();
        assert_eq!(
            (upload.encoding(), upload.further_certificates()),
            (encoding, further)
        );
        assert_eq!(upload.as_der(), der, "{encoding}");
    }
}

#[test]
fn wrong_leaves_are_refused() {
    let workshop = Workshop::new();
    for name in ["ca", "other"] {
        workshop.key(name, P256);
        workshop.ca(name, &format!("/CN={name}"), "v3_ca", &[]);
    }
    // Another name for the key of `ca`, and another key for its name.
    fs::copy(workshop.path("ca.key"), workshop.path("renamed.key")).unwrap();
    workshop.ca("renamed", "/CN=renamed", "v3_ca", &[]);
    workshop.key("impostor", P256);
    workshop.ca("impostor", "/CN=ca", "v3_ca", &[]);
    workshop.request(CODE);

    let first_refusal = |leaf: &[u8]| {
        let report = workshop.judge("ca", leaf, &POLICY);
        assert!(!report.accepted(), "{report}");
        report.first_refusal().cloned().unwrap()
    };
    let leaf = workshop.sign_request("other", &[]);
    assert!(matches!(
        first_refusal(&leaf),
        ProofFinding::IssuerMismatch { .. }
    ));
    // The right key under the wrong name.
    let leaf = workshop.sign_request("renamed", &[]);
    let report = workshop.judge("ca", &leaf, &POLICY);
    assert_eq!(
        report.outcome(ProofCheck::Signature),
        Outcome::Pass,
        "{report}"
    );
    assert!(matches!(
        first_refusal(&leaf),
        ProofFinding::IssuerMismatch { .. }
    ));
    // The right name with the wrong key.
    let leaf = workshop.sign_request("impostor", &[]);
    assert!(matches!(
        first_refusal(&leaf),
        ProofFinding::SignatureRefused(X509Error::SignatureInvalid { .. })
    ));
    // Self-signed, with the code as its name.
    workshop.ca("leaf", &format!("/CN={CODE}"), "leaf", &[]);
    let report = workshop.judge("ca", &workshop.read("leaf.pem"), &POLICY);
    assert_eq!(
        report.outcome(ProofCheck::Issuer),
        Outcome::Fail,
        "{report}"
    );
    assert_eq!(
        report.outcome(ProofCheck::Signature),
        Outcome::Fail,
        "{report}"
    );
    // From an intermediate below the CA that was uploaded.
    workshop.request("intermediate");
    fs::copy(workshop.path("leaf.key"), workshop.path("intermediate.key")).unwrap();
    workshop.sign_request("ca", &["-extfile", "openssl.cnf", "-extensions", "v3_ca"]);
    fs::rename(workshop.path("leaf.pem"), workshop.path("intermediate.pem")).unwrap();
    workshop.request(CODE);
    let leaf = workshop.sign_request("intermediate", &[]);
    assert!(matches!(
        first_refusal(&leaf),
        ProofFinding::IssuerMismatch { .. }
    ));
    assert!(workshop.judge("intermediate", &leaf, &POLICY).accepted());
    // The CA itself.
    assert!(matches!(
        workshop
            .judge("ca", &workshop.read("ca.pem"), &POLICY)
            .first_refusal(),
        Some(ProofFinding::CommonNameMismatch { .. })
    ));

    workshop.request(&CODE.to_lowercase());
    let leaf = workshop.sign_request("ca", &[]);
    assert!(matches!(
        first_refusal(&leaf),
        ProofFinding::CommonNameMismatch { nearly: true, .. }
    ));
    workshop.request(CODE);
    let unknown = words("-extfile openssl.cnf -extensions leaf_unknown_critical");
    let leaf = workshop.sign_request("ca", &unknown);
    assert!(matches!(
        first_refusal(&leaf),
        ProofFinding::CriticalExtensionUnknown { .. }
    ));
    let leaf = workshop.sign_request("ca", &["-sha1"]);
    assert!(matches!(
        first_refusal(&leaf),
        ProofFinding::WeakHash { .. }
    ));

    let leaf = workshop.sign_request("ca", &[]);
    let mut der = Upload::decode(&leaf).unwrap().into_der();
    let report = workshop.judge("ca", &der, &POLICY);
    assert!(report.accepted(), "{report}");
    let ca = workshop.certificate("ca");
    let ca = ca.certificate();
    let code = code().bound_to(ca.sha256_thumbprint(), None);
    let at = |now| prove(&ca, &der, &code, now, &POLICY);
    let in_a_week = at(now() + 7 * 86_400);
    assert!(matches!(
        in_a_week.first_refusal(),
        Some(ProofFinding::Expired { .. })
    ));
    let last_week = at(now() - 7 * 86_400);
    assert!(matches!(
        last_week.first_refusal(),
        Some(ProofFinding::NotYetValid { .. })
    ));
    let length = der.len();
    der.push(0);
    match first_refusal(&der) {
        ProofFinding::LeafUnreadable(X509Error::Malformed { at, .. }) => assert_eq!(at, length),
        other => panic!("{other}"),
    }
}

#[test]
fn cas_that_may_not_issue_are_refused() {
    let workshop = Workshop::new();
    workshop.request(CODE);
    let rsa_1024: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"];
    let secp256k1: &[&str] = &words("-algorithm EC -pkeyopt ec_paramgen_curve:secp256k1");
    let explicit: &[&str] = &[P256, &["-pkeyopt", "ec_param_enc:explicit"]].concat();
    let ed448: &[&str] = &["-algorithm", "ED448"];
    let odd_salt: &[&str] = &words("-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:40");
    let cases: [(&[&str], &str, &[&str], ProofCheck); 7] = [
        (P256, "ca_false", &[], ProofCheck::CaConstraints),
        (P256, "no_cert_sign", &[], ProofCheck::CaKeyUsage),
        (rsa_1024, "v3_ca", &[], ProofCheck::KeyStrength),
        (secp256k1, "v3_ca", &[], ProofCheck::Signature),
        (explicit, "v3_ca", &[], ProofCheck::Signature),
        (ed448, "v3_ca", &[], ProofCheck::Signature),
        (RSA_2048, "v3_ca", odd_salt, ProofCheck::Signature),
    ];
    for (algorithm, extensions, signing, check) in cases {
        workshop.key("ca", algorithm);
        workshop.ca("ca", "/CN=ca", extensions, signing);
        let leaf = workshop.sign_request("ca", signing);
        let report = workshop.judge("ca", &leaf, &POLICY);
        assert!(!report.accepted(), "{algorithm:?}\n{report}");
        assert_eq!(
            report.first_refusal().map(ProofFinding::check),
            Some(check),
            "{algorithm:?}\n{report}"
        );
        if check == ProofCheck::Signature {
            // An unsupported algorithm, which is distinguished from an invalid signature.
            let refusal = report.first_refusal().unwrap();
            assert!(
                matches!(
                    refusal,
                    ProofFinding::SignatureRefused(
                        X509Error::AlgorithmUnsupported { .. }
                            | X509Error::AlgorithmParameters { .. }
                    )
                ),
                "{refusal}"
            );
        }
    }
}

#[test]
fn names_in_other_string_types_match_as_for_openssl() {
    let workshop = Workshop::new();
    workshop.key("utf8", P256);
    workshop.request(CODE);
    // The masks of UTF8String, PrintableString, T61String and BMPString. openssl cannot create names with UniversalString.
    let masks = [
        ("utf8", "MASK:0x2000", 0x0C),
        ("printable", "MASK:0x2", 0x13),
        ("t61", "MASK:0x4", 0x14),
        ("bmp", "MASK:0x800", 0x1E),
    ];
    let ca = |name: &str, mask: &str, subject: &str| {
        let config = CONFIG.replace("[req]", &format!("[req]\nstring_mask = {mask}"));
        fs::write(workshop.path("openssl.cnf"), config).unwrap();
        if name != "utf8" {
            let key = workshop.path(&format!("{name}.key"));
            fs::copy(workshop.path("utf8.key"), key).unwrap();
        }
        workshop.ca(name, subject, "v3_ca", &["-utf8"]);
    };
    for subject in ["/O=Acme/CN=Acme Root", "/CN=Müller"] {
        for (name, mask, _) in masks {
            if name != "printable" || subject.is_ascii() {
                ca(name, mask, subject);
            }
        }
        for (name, _, tag) in masks {
            if name == "printable" && !subject.is_ascii() {
                continue;
            }
            let certificate = workshop.certificate(name);
            let certificate = certificate.certificate();
            let name_of_ca = certificate.subject().common_names().next().unwrap();
            assert_eq!(name_of_ca.as_der().first(), Some(&tag), "{name}");

            let leaf =
                workshop.sign_request(name, &["-extfile", "openssl.cnf", "-extensions", "leaf"]);
            let report = workshop.judge("utf8", &leaf, &STRICT);
            assert!(report.accepted(), "{name}\n{report}");
            workshop.openssl(&["verify", "-CAfile", "utf8.pem", "leaf.pem"]);
        }
    }
}

#[test]
fn strict_refuses_what_openssl_refuses_strictly() {
    let workshop = Workshop::new();
    workshop.key("ca", P256);
    workshop.request(CODE);
    for (ca, leaf, finding) in [
        ("v3_ca", "leaf", None),
        (
            "not_critical",
            "leaf",
            Some(ProofFinding::BasicConstraintsNotCritical),
        ),
        (
            "v3_ca",
            "cert_sign_without_ca",
            Some(ProofFinding::KeyCertSignWithoutCa),
        ),
    ] {
        workshop.ca("ca", "/CN=ca", ca, &[]);
        // `openssl verify -x509_strict` requires key identifiers, which these leaves lack otherwise.
        let config = CONFIG.replace(
            &format!("[{leaf}]"),
            &format!("[{leaf}]\nsubjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid"),
        );
        fs::write(workshop.path("openssl.cnf"), config).unwrap();
        let made = workshop.sign_request("ca", &["-extfile", "openssl.cnf", "-extensions", leaf]);
        let report = workshop.judge("ca", &made, &STRICT);
        assert_eq!(report.first_refusal(), finding.as_ref(), "{report}");
        assert!(workshop.judge("ca", &made, &POLICY).accepted());
        let verify = Command::new("openssl")
            .args(words(
                "verify -x509_strict -check_ss_sig -CAfile ca.pem leaf.pem",
            ))
            .current_dir(workshop.0.path())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&verify.stderr);
        assert_eq!(
            verify.status.success(),
            finding.is_none(),
            "{ca} {leaf}: {told}"
        );
    }
}

#[test]
fn facts_are_those_that_openssl_tells() {
    for (name, algorithm, signing) in KEYS {
        let workshop = Workshop::new();
        workshop.key(name, algorithm);
        let subject = "/C=DE/ST=Baden/L=Karlsruhe/O=Äpfel, \"Birnen\" & Co/emailAddress=ca@example.com/CN= #1 CA ";
        workshop.ca(name, subject, "v3_ca", &[signing, &["-utf8"]].concat());
        let facts = CertificateSummary::from(&workshop.certificate(name).certificate());

        let ask = |what: &[&str]| {
            let file = format!("{name}.pem");
            let told = workshop.openssl(&[&["x509", "-noout", "-in", &file], what].concat());
            told.trim_end_matches('\n')
                .split_once('=')
                .map(|(_, value)| value.to_owned())
                .unwrap()
        };
        assert_eq!(
            facts.sha1_thumbprint,
            ask(&["-fingerprint", "-sha1"]).replace(':', "")
        );
        assert_eq!(
            facts.sha256_thumbprint,
            ask(&["-fingerprint", "-sha256"]).replace(':', "")
        );
        assert_eq!(facts.serial, ask(&["-serial"]));
        let subject = ask(&["-subject", "-nameopt", "RFC2253,-esc_msb,utf8"]);
        assert_eq!(facts.subject, subject, "{name}");
        assert_eq!(
            facts.issuer,
            ask(&["-issuer", "-nameopt", "RFC2253,-esc_msb,utf8"])
        );
        assert_eq!(facts.subject_common_name.as_deref(), Some(" #1 CA "));
        assert!(facts.self_issued);
        let start = ask(&["-startdate", "-dateopt", "iso_8601"]).replace(' ', "T");
        assert_eq!(facts.not_before, start);
        let end = ask(&["-enddate", "-dateopt", "iso_8601"]).replace(' ', "T");
        assert_eq!(facts.not_after, end);
        assert_eq!(
            facts.basic_constraints.map(|constraints| constraints.ca),
            Some(true)
        );
        let usage: Vec<_> = facts.key_usage.unwrap().names().collect();
        assert_eq!(usage, ["keyCertSign", "cRLSign"]);
        let text = workshop.openssl(&["x509", "-noout", "-text", "-in", &format!("{name}.pem")]);
        if name != "ed25519" {
            let bits = facts.key_bits.unwrap();
            assert!(
                text.contains(&format!("Public-Key: ({bits} bit)")),
                "{bits}\n{text}"
            );
        }
    }
}

#[test]
fn serial_numbers_are_written_as_openssl_writes_them() {
    let workshop = Workshop::new();
    workshop.key("p256", P256);
    // The second needs a leading zero octet in DER, because its first bit is set.
    for serial in ["0x7FABCD", "0xF0ABCD", "0x00", "0x01"] {
        workshop.ca("p256", "/CN=Peer CA", "v3_ca", &["-set_serial", serial]);
        let facts = CertificateSummary::from(&workshop.certificate("p256").certificate());
        let told = workshop.openssl(&["x509", "-noout", "-in", "p256.pem", "-serial"]);
        assert_eq!(told.trim_end(), format!("serial={}", facts.serial));
    }
}

#[test]
fn leaves_of_the_prover_satisfy_openssl() {
    for (name, algorithm, signing) in KEYS {
        let workshop = Workshop::new();
        workshop.key(name, algorithm);
        // A name with two equal attribute types, which map-like name types lose.
        workshop.ca(name, "/O=Peer/OU=One/OU=Two/CN=Peer CA", "v3_ca", signing);
        let ca = workshop.certificate(name);
        let ca = ca.certificate();
        let key = PrivateKey::from_pem_or_der(&workshop.read(&format!("{name}.key"))).unwrap();
        let validity = Validity::between(now() - 3600, now() + 86_400);
        let code = VerificationCode::issue(&[0x5A; 24], &ca, None);
        let leaf = VerificationLeaf {
            ca: &ca,
            code: &code,
            validity,
            serial: [0xFF; 16],
        };
        let random = ring::rand::SystemRandom::new();
        let on_ring = RingSigner::new(&key, &ca, &random);
        let on_aws_lc_rs = AwsLcRsSigner::new(&key, &ca).unwrap();
        let shown = format!("AwsLcRsSigner({})", on_aws_lc_rs.scheme());
        assert_eq!(format!("{on_aws_lc_rs:?}"), shown);
        assert_eq!(on_ring.is_ok(), !name.starts_with("p521"), "{name}");
        let mut signers: Vec<&dyn Signer> = vec![&on_aws_lc_rs];
        signers.extend(on_ring.as_ref().ok().map(|signer| signer as &dyn Signer));

        workshop.request(code.digits());
        workshop.openssl(&words("req -in leaf.csr -outform DER -out csr.der"));
        let request = workshop.read("csr.der");
        let request = CertificationRequest::from_der(&request).unwrap();
        for signer in signers {
            let from_code = leaf.sign(signer, algorithms::ALL).unwrap();
            let from_request = leaf
                .sign_request(&request, signer, algorithms::ALL)
                .unwrap();
            for der in [from_code, from_request] {
                for policy in [POLICY, STRICT] {
                    let report = prove(&ca, &der, &code, now(), &policy);
                    assert!(report.accepted(), "{name}\n{report}");
                }
                fs::write(workshop.path("made.der"), &der).unwrap();
                workshop.openssl(&words("x509 -inform DER -in made.der -out made.pem"));
                let verify = ["verify", "-x509_strict", "-CAfile"];
                workshop.openssl(&[&verify[..], &[&format!("{name}.pem"), "made.pem"]].concat());
            }
        }

        workshop.request("another name");
        workshop.openssl(&words("req -in leaf.csr -outform DER -out csr.der"));
        let request = workshop.read("csr.der");
        let request = CertificationRequest::from_der(&request).unwrap();
        assert_eq!(
            leaf.sign_request(&request, &on_aws_lc_rs, algorithms::ALL),
            Err(X509Error::CsrCommonName)
        );
    }
}

#[test]
fn private_keys_are_read_in_every_form() {
    let workshop = Workshop::new();
    for (name, algorithm, traditional) in [
        ("rsa", RSA_2048, true),
        ("ec", P256, true),
        ("ed", ED25519, false),
    ] {
        workshop.key(name, algorithm);
        workshop.ca(name, "/CN=Peer CA", "v3_ca", &[]);
        let ca = workshop.certificate(name);
        let ca = ca.certificate();
        let key = format!("{name}.key");
        let mut forms = vec![workshop.read(&key)];
        let convert = |how: &str| workshop.openssl(&words(&format!("pkey -in {key} {how}")));
        convert("-outform DER -out key.der");
        forms.push(workshop.read("key.der"));
        if traditional {
            convert("-traditional -out traditional.pem");
            forms.push(workshop.read("traditional.pem"));
            convert("-traditional -outform DER -out key.der");
            forms.push(workshop.read("key.der"));
        }
        let random = ring::rand::SystemRandom::new();
        for form in &forms {
            let key = PrivateKey::from_pem_or_der(form).unwrap();
            assert!(RingSigner::new(&key, &ca, &random).is_ok(), "{name}");
            assert!(AwsLcRsSigner::new(&key, &ca).is_ok(), "{name}");
            // As an upload it is rejected with its own error, which reveals nothing of the key.
            match Upload::decode(form) {
                Err(X509Error::PrivateKeyInUpload { kind }) => assert!(kind.len() < 25, "{kind}"),
                other => panic!("{name}: {other:?}"),
            }
        }
        convert("-aes256 -passout pass:x -out locked.pem");
        let locked = workshop.read("locked.pem");
        assert!(matches!(
            PrivateKey::from_pem_or_der(&locked),
            Err(X509Error::PrivateKeyUnusable { kind }) if kind.contains("decrypt")
        ));
        assert!(matches!(
            Upload::decode(&locked),
            Err(X509Error::PrivateKeyInUpload { .. })
        ));
        // Another key of the same kind.
        workshop.key("other", algorithm);
        let other = PrivateKey::from_pem_or_der(&workshop.read("other.key")).unwrap();
        let refused = RingSigner::new(&other, &ca, &random).map(drop);
        assert_eq!(refused, Err(X509Error::PrivateKeyMismatch), "{name}");
        assert_eq!(
            AwsLcRsSigner::new(&other, &ca).map(drop),
            Err(X509Error::PrivateKeyMismatch)
        );
    }
}

#[test]
fn an_rsa_modulus_of_2041_bits_is_the_smallest() {
    for (bits, accepted) in [(2040, false), (2041, true), (2046, true)] {
        let workshop = Workshop::new();
        let algorithm = format!("-algorithm RSA -pkeyopt rsa_keygen_bits:{bits}");
        workshop.key("rsa", &words(&algorithm));
        workshop.ca("rsa", "/CN=Peer CA", "v3_ca", &[]);
        workshop.request(CODE);
        let leaf = workshop.sign_request("rsa", &[]);
        let report = workshop.judge("rsa", &leaf, &POLICY);
        assert_eq!(report.accepted(), accepted, "{bits}\n{report}");
    }
}
