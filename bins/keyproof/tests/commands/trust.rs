//! `keyproof tpm trust`: what is accepted, what is rejected with its position, and what is listed.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use serde_json::{Value, json};

use crate::store_commands::Home;

struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
}

impl Authority {
    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Chips and Sons");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }

    fn root() -> Self {
        let (params, key) = (Self::params("Root"), KeyPair::generate().unwrap());
        let pem = params.self_signed(&key).unwrap().pem();
        Self { params, key, pem }
    }

    fn below(&self) -> Self {
        let (params, key) = (Self::params("Intermediate"), KeyPair::generate().unwrap());
        let issuer = Issuer::from_params(&self.params, &self.key);
        let pem = params.signed_by(&key, &issuer).unwrap().pem();
        Self { params, key, pem }
    }

    fn leaf(&self) -> rcgen::Certificate {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::ExplicitNoCa;
        let issuer = Issuer::from_params(&self.params, &self.key);
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, &issuer).unwrap()
    }

    fn list(&self, year: i32) -> String {
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(year, 1, 1),
            next_update: date_time_ymd(year, 2, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(9),
                revocation_time: date_time_ymd(year, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: self.params.key_identifier_method.clone(),
        };
        let issuer = Issuer::from_params(&self.params, &self.key);
        list.signed_by(&issuer).unwrap().pem().unwrap()
    }
}

fn file(home: &Home, name: &str, contents: impl AsRef<[u8]>) -> String {
    let path: PathBuf = home.0.path().join(name);
    fs::write(&path, contents).unwrap();
    path.to_str().unwrap().to_owned()
}

fn entries(home: &Home) -> Vec<Value> {
    let listed = home.document(&["tpm", "trust", "list", "--json"], "");
    let makers = listed["makers"].as_array().unwrap().iter();
    makers
        .flat_map(|maker| {
            assert_eq!(maker["maker"], "Chips and Sons");
            maker["entries"].as_array().unwrap().clone()
        })
        .collect()
}

#[test]
fn a_bundle_is_added_listed_checked_and_removed() {
    let home = Home::new();
    assert_eq!(
        home.document(&["tpm", "trust", "list", "--json"], ""),
        json!({ "makers": [] })
    );
    let root = Authority::root();
    let intermediate = root.below();
    let leaf = file(&home, "ek.der", intermediate.leaf().der());
    let check = |more: &[&str]| {
        let arguments = [&["tpm", "trust", "check", &leaf], more].concat();
        let output = home.run_with(&arguments, "");
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text)
    };
    let (code, text) = check(&[]);
    assert_eq!(code, Some(1), "{text}");
    for says in [
        "manufacturer: Chips and Sons\n",
        "missing: the certificate of CN=Intermediate,O=Chips and Sons\n",
    ] {
        assert!(text.contains(says), "{text}");
    }

    let all = [&*root.list(2026), &root.pem, &intermediate.pem].concat();
    let all = file(&home, "all.pem", format!("Text stands between.\n{all}"));
    let added = home.document(&["tpm", "trust", "add", &all, "--json"], "");
    let kinds: Vec<&Value> = added["added"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["kind"])
        .collect();
    assert_eq!(kinds, ["revocation_list", "root", "intermediate"]);
    assert_eq!(added["known"], 0);
    let again = home.document(&["tpm", "trust", "add", &all, "--json"], "");
    assert_eq!(again, json!({ "added": [], "replaced": [], "known": 3 }));
    // The intermediate alone, in DER, is not a root unless a flag makes it one.
    let der = pem_to_der(&intermediate.pem);
    let der = file(&home, "intermediate.der", der);
    let known = home.document(&["tpm", "trust", "add", &der, "--json"], "");
    assert_eq!(known["known"], 1);

    // The same in PKCS #7, as OpenSSL writes it.
    for encoding in ["DER", "PEM"] {
        let p7b = home.0.path().join("all.p7b");
        let packed = Command::new("openssl")
            .args(["crl2pkcs7", "-outform", encoding])
            .args(["-in", &all, "-certfile", &all, "-out"])
            .arg(&p7b)
            .output()
            .expect("the peer `openssl` cannot be run: install the package openssl");
        assert!(packed.status.success(), "{packed:?}");
        let known = ["tpm", "trust", "add", p7b.to_str().unwrap(), "--json"];
        assert_eq!(home.document(&known, "")["known"], 3, "{encoding}");
    }

    let listed = entries(&home);
    let of = |kind: &str| {
        let mut all = listed.iter().filter(|entry| entry["kind"] == kind);
        all.next().unwrap().clone()
    };
    assert_eq!(listed.len(), 3);
    assert_eq!(of("root")["name"], "CN=Root,O=Chips and Sons");
    assert_eq!(of("root")["not_before"], "1975-01-01T00:00:00Z");
    assert_eq!(of("root")["not_after"], "4096-01-01T00:00:00Z");
    let list = of("revocation_list");
    assert_eq!(list["this_update"], "2026-01-01T00:00:00Z");
    assert_eq!(list["next_update"], "2026-02-01T00:00:00Z");
    assert_eq!(list["revoked"], 1);
    let text = home.prints(&["tpm", "trust", "list"], "");
    assert!(text.starts_with("Chips and Sons\n  "), "{text}");
    assert_eq!(text.lines().count(), 4);

    // The chain is complete now, so it breaks once the intermediate is removed.
    let chain = |text: &str| {
        let report: Value = serde_json::from_str(text).unwrap();
        let checks = report["checks"].as_array().unwrap().iter();
        let mut chain = checks.filter(|check| check["name"] == "chain");
        let outcome = chain.next().unwrap()["outcome"]
            .as_str()
            .unwrap()
            .to_owned();
        (outcome, report["missing"].clone())
    };
    let (_, text) = check(&["--json"]);
    let (outcome, missing) = chain(&text);
    assert!(outcome == "pass" || outcome == "warn", "{text}");
    assert_eq!(missing, Value::Null);
    let fingerprint = of("intermediate")["fingerprint"]
        .as_str()
        .unwrap()
        .to_owned();
    let colons: Vec<&str> = (0..32).map(|at| &fingerprint[2 * at..2 * at + 2]).collect();
    let colons = colons.join(":").to_lowercase();
    let said = home.prints(&["tpm", "trust", "remove", &colons], "");
    assert!(
        said.starts_with(&format!("removed {fingerprint}")),
        "{said}"
    );
    assert_eq!(entries(&home).len(), 2);
    let (code, text) = check(&["--json"]);
    assert_eq!(
        (code, chain(&text).1),
        (Some(1), json!("CN=Intermediate,O=Chips and Sons"))
    );

    let removed = ["tpm", "trust", "remove", &fingerprint];
    home.fails(&removed, "", 1, "no entry of the trust bundle");
    home.fails(&["tpm", "trust", "remove", "AB"], "", 2, "64 digits");
    let trail = home.prints(&["audit"], "");
    for told in ["tpm_trust.add", "tpm_trust.remove", &fingerprint] {
        assert!(trail.contains(told), "{trail}");
    }
}

/// RFC 5280, 4.1.2.5: 99991231235959Z means that a certificate does not expire.
#[test]
fn a_root_without_an_end_is_listed_with_its_date() {
    let home = Home::new();
    let mut params = Authority::params("Root");
    let last_day = date_time_ymd(9999, 12, 31);
    params.not_after = last_day + Duration::from_secs(24 * 60 * 60 - 1);
    let root = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    let root = file(&home, "root.pem", root.pem());
    home.prints(&["tpm", "trust", "add", &root], "");
    assert_eq!(entries(&home)[0]["not_after"], "9999-12-31T23:59:59Z");
    let text = home.prints(&["tpm", "trust", "list"], "");
    let says = "1975-01-01T00:00:00Z to 9999-12-31T23:59:59Z";
    assert!(text.contains(says), "{text}");
}

#[test]
fn a_store_that_cannot_be_read_is_not_held_against_the_file() {
    let home = Home::new();
    let first = file(&home, "first.pem", Authority::root().pem);
    home.prints(&["tpm", "trust", "add", &first], "");
    home.damage("tpm_trust_bundle");
    let second = file(&home, "second.pem", Authority::root().pem);
    let output = home.run_with(&["tpm", "trust", "add", &second], "");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        !said.contains("second.pem") && said.contains("(store sqlite:"),
        "{said}"
    );
}

#[test]
fn what_is_no_ca_or_no_certificate_is_refused_by_its_number_and_nothing_is_added() {
    let home = Home::new();
    let root = Authority::root();
    let leaf = root.leaf().pem();
    let key = root.key.serialize_pem();
    let broken = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";
    for (second, says) in [
        (&*leaf, "block 2: it is not the certificate of a CA"),
        (&key, "block 2: it is something else"),
        (broken, "block 2: "),
    ] {
        let wrong = file(&home, "wrong.pem", [&root.pem, second].concat());
        home.fails(&["tpm", "trust", "add", &wrong], "", 1, says);
        let as_roots = ["tpm", "trust", "add", "--roots", &wrong];
        home.fails(&as_roots, "", 1, says);
    }
    let nonsense = file(&home, "nonsense", "nothing of the kind");
    home.fails(
        &["tpm", "trust", "add", &nonsense],
        "",
        1,
        "nonsense: it is neither PEM",
    );
    home.fails(&["tpm", "trust", "add", "/nowhere"], "", 2, "/nowhere");
    let other = Authority::root();
    let forged = file(
        &home,
        "forged.pem",
        [&root.pem, &*other.list(2026)].concat(),
    );
    let says = "block 2: none of its issuer's certificates verifies its signature";
    home.fails(&["tpm", "trust", "add", &forged], "", 1, says);
    assert!(entries(&home).is_empty());

    // A certificate that is not self-signed, such as AMD's, is a root only if a flag makes it one.
    let intermediate = file(&home, "intermediate.pem", root.below().pem);
    for (arguments, kind) in [
        (vec!["tpm", "trust", "add", &*intermediate], "intermediate"),
        (
            vec!["tpm", "trust", "add", "--roots", &*intermediate],
            "root",
        ),
        (vec!["tpm", "trust", "add", &*intermediate], "root"),
    ] {
        home.prints(&arguments, "");
        let kinds: Vec<Value> = entries(&home)
            .iter()
            .map(|entry| entry["kind"].clone())
            .collect();
        assert_eq!(kinds, [kind]);
    }
}

fn pem_to_der(pem: &str) -> Vec<u8> {
    let upload = keyproof_x509::Upload::decode(pem.as_bytes()).unwrap();
    upload.as_der().to_vec()
}
