//! `keyproof tpm`, with files from a software TPM.

use std::{fs, process::Output};

use keyproof_service::device_identity::DeviceCheck;
use keyproof_tpm::{
    AwsLcRs, CertifyCheck, Check, CreationCheck, Credential, EkCertificateCheck, EventLogCheck,
    Name, NvCertifyCheck, QuoteCheck, Structure, TimeCheck, TpmtPublic, activate,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension,
    DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, RevokedCertParams,
    date_time_ymd,
};
use serde_json::Value;
use tempfile::TempDir;

use super::{fails, json_output, run, run_line, succeeds, text};

fn vector(name: &str) -> String {
    let vectors = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../crates/tpm/tests/vectors"
    );
    format!("{vectors}/{name}")
}

fn hex(name: &str) -> String {
    data_encoding::HEXLOWER.encode(&fs::read(vector(name)).unwrap())
}

/// Runs `keyproof tpm` with these words.
fn tpm(line: &str) -> Output {
    run_line(&format!("tpm {line}"))
}

/// Returns the words that check the quote of a vector, without the nonce.
fn check_quote(kind: &str) -> String {
    let file = |name: &str| vector(&format!("{kind}/{name}"));
    format!(
        "check-quote --ak {} --attest {} --signature {}",
        file("ak.pub.tpm2b"),
        file("quote.tpms_attest.bin"),
        file("quote.tpmt_signature.bin")
    )
}

fn pem(der: &[u8]) -> String {
    let base64 = data_encoding::BASE64.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
}

/// Writes a file, and returns its path.
fn write(folder: &TempDir, name: &str, contents: impl AsRef<[u8]>) -> String {
    let path = folder.path().join(name);
    fs::write(&path, contents).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn check_quote_reports_each_check() {
    for kind in ["rsa2048", "eccp256"] {
        let file = |name: &str| vector(&format!("{kind}/{name}"));
        let quote = check_quote(kind);
        let nonce = hex(&format!("{kind}/quote.nonce.bin"));
        let check = |nonce: &str, more: &str| tpm(&format!("{quote} --nonce {nonce} {more}"));
        let whole = format!(
            "--pcrs {} --selection sha256:0,1,2,3,4,5,6,7,16 --ek {} --json",
            file("quote.pcrs.values.bin"),
            file("ek.pub.tpm2b")
        );
        let report = json_output(&check(&nonce.to_uppercase(), &whole), 0);
        assert_eq!(report["accepted"], true);
        assert_eq!(report["ak_name"], hex(&format!("{kind}/ak.name.bin")));
        let checks = report["checks"].as_array().unwrap();
        let outcome = |report: &[Value], name: &str| {
            let found = report.iter().find(|check| check["name"] == name);
            found.unwrap()["outcome"].as_str().unwrap().to_owned()
        };
        for name in [
            "signature",
            "magic",
            "extra-data",
            "pcr-selection",
            "qualified-signer",
        ] {
            assert_eq!(outcome(checks, name), "pass", "{name}");
        }

        let report = json_output(&check("00", &whole), 1);
        assert_eq!(report["accepted"], false);
        assert_eq!(
            outcome(report["checks"].as_array().unwrap(), "extra-data"),
            "fail"
        );

        let output = check(&nonce, "");
        let told = succeeds(&output);
        assert!(told.contains("warn     pcr-selection"), "{told}");
        assert!(told.ends_with("accepted\n"));
        for (nonce, more) in [
            ("xyz", ""),
            (&*nonce, "--selection="),
            (&*nonce, "--pcrs /nonexistent"),
        ] {
            assert_eq!(check(nonce, more).status.code(), Some(2));
        }
        // A file of the wrong kind.
        let swapped = quote.replace("ak.pub.tpm2b", "quote.tpms_attest.bin");
        let swapped = tpm(&format!("{swapped} --nonce {nonce}"));
        fails(&swapped, 1, "quote.tpms_attest.bin");
    }
}

#[test]
fn check_ek_follows_the_chain() {
    let folder = TempDir::new().unwrap();
    let other = rcgen::generate_simple_self_signed(vec![]).unwrap();
    let other = write(&folder, "other.pem", other.cert.pem());
    let file = |name: &str| vector(&format!("rsa2048/{name}"));
    let (cert, public) = (file("ek.cert.der"), file("ek.pub.tpm2b"));
    let authority = |name: &str| {
        let der = fs::read(file(&format!("{name}.der"))).unwrap();
        write(&folder, name, pem(&der))
    };
    let (roots, between) = (authority("ca.root"), authority("ca.intermediate"));
    let check = |roots: &str, more: &str| {
        let output = tpm(&format!(
            "check-ek --cert {cert} --roots {roots} --intermediates {between} --json {more}"
        ));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), report)
    };
    let (code, report) = check(&roots, &format!("--pub {public} --at 1800000000"));
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["tpm"]["manufacturer"], "id:00001014");
    let (code, report) = check(&other, "--at 1800000000");
    assert_eq!((code, &report["accepted"]), (Some(1), &false.into()));
    assert_eq!(check(&roots, "--at 1").0, Some(1));
    let stranger = vector("eccp256/ek.pub.tpm2b");
    let stranger = format!("--pub {stranger} --at 1800000000");
    assert_eq!(check(&roots, &stranger).0, Some(1));
}

/// The library's tests cover revocation itself. This covers the files, and CRLs that claim to be the issuer's.
#[test]
fn check_ek_asks_revocation_lists() {
    let folder = TempDir::new().unwrap();
    let der = |name: &str| fs::read(vector(&format!("rsa2048/{name}.der"))).unwrap();
    let [roots, between] =
        ["ca.root", "ca.intermediate"].map(|name| write(&folder, name, pem(&der(name))));
    let cert = vector("rsa2048/ek.cert.der");
    let check = |crl: &str| {
        tpm(&format!(
            "check-ek --cert {cert} --roots {roots} --intermediates {between} --at 1800000000 --crl {crl}"
        ))
    };
    let certificate = der("ek.cert");
    let certificate = keyproof_x509::Certificate::from_der(&certificate).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let issuer = certificate.issuer().common_name().unwrap().into_owned();
    params.distinguished_name.push(DnType::CommonName, issuer);
    let key = KeyPair::generate().unwrap();
    let list = |key_identifier_method| {
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2027, 1, 1),
            next_update: date_time_ymd(2028, 1, 1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method,
        };
        let issuer = Issuer::from_params(&params, &key);
        list.signed_by(&issuer).unwrap()
    };
    // A CRL with the issuer's name and another key, whose identifier it contains.
    let another = list(rcgen::KeyIdMethod::Sha256);
    for path in [
        write(&folder, "another.der", another.der()),
        write(&folder, "another.pem", another.pem().unwrap()),
    ] {
        let output = check(&path);
        let told = succeeds(&output);
        assert!(told.contains("of other keys than the issuer's"), "{told}");
    }
    // A CRL that claims to be the issuer's, with the key identifier of the issuer's certificate.
    let identifier = certificate
        .extensions()
        .iter()
        .find(|extension| extension.id.as_bytes() == [0x55, 0x1D, 35])
        .unwrap();
    let identifier = identifier.value[4..24].to_vec();
    let claimed = list(rcgen::KeyIdMethod::PreSpecified(identifier));
    let output = check(&write(&folder, "claimed.pem", claimed.pem().unwrap()));
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stdout);
    assert!(told.contains("keyUsage lacks cRLSign"), "{told}");
    // A file that is not a CRL revokes nothing, and must not be accepted as one.
    fails(&check(&roots), 1, "block 1: it is a certificate");
    fails(&check(&write(&folder, "no.pem", "no")), 1, "no.pem");
}

/// Same as on a server: manufacturers publish their intermediates together with their roots.
#[test]
fn check_ek_has_a_listed_intermediate_stand_below_its_root() {
    let folder = TempDir::new().unwrap();
    let authority = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(7.into());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params, KeyPair::generate().unwrap())
    };
    let (root_params, root_key) = authority("TPM root");
    let root = root_params.self_signed(&root_key).unwrap().pem();
    let root_issuer = Issuer::from_params(&root_params, &root_key);
    let (params, key) = authority("TPM intermediate");
    let between = params.signed_by(&key, &root_issuer).unwrap().pem();
    let issuer = Issuer::from_params(&params, &key);

    let real = fs::read(vector("rsa2048/ek.cert.der")).unwrap();
    let real = keyproof_x509::Certificate::from_der(&real).unwrap();
    let mut extensions = real.extensions().iter();
    let names = extensions.find(|one| one.id.as_bytes() == [0x55, 0x1D, 17]);
    let names = names.unwrap().value.to_vec();
    let mut names = CustomExtension::from_oid_content(&[2, 5, 29, 17], names);
    names.set_criticality(true);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    params.custom_extensions = vec![names];
    let ek = params.signed_by(&KeyPair::generate().unwrap(), &issuer);
    let cert = write(&folder, "ek.der", ek.unwrap().der());

    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2027, 1, 1),
        next_update: date_time_ymd(2028, 1, 1),
        crl_number: 1.into(),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: 7.into(),
            revocation_time: date_time_ymd(2026, 12, 24),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: root_params.key_identifier_method.clone(),
    };
    let revoking = list.signed_by(&root_issuer).unwrap().pem().unwrap();
    let revoking = write(&folder, "revoking.pem", revoking);
    let both = write(&folder, "both.pem", [&*root, &*between].concat());
    let root = write(&folder, "root.pem", root);
    let alone = write(&folder, "between.pem", between);

    for (roots, more, code) in [
        (&both, &[][..], 0),
        (&both, &["--crl", &revoking], 1),
        (&alone, &[], 0),
        (&alone, &["--intermediates", &root], 0),
        (&alone, &["--intermediates", &root, "--crl", &revoking], 1),
        // The CRL's issuer is unknown.
        (&alone, &["--crl", &revoking], 0),
    ] {
        let mut arguments = vec!["tpm", "check-ek", "--cert", &cert, "--roots", roots];
        arguments.extend(["--at", "1800000000"]);
        arguments.extend(more);
        let output = run(&arguments);
        let told = text(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{more:?}: {told}");
        let is_revoked = told.contains("CN=TPM intermediate: it is revoked since 2026-12-24");
        assert_eq!(is_revoked, code == 1, "{more:?}: {told}");
    }
}

/// The user must learn that a listed root is ignored.
#[test]
fn a_broken_block_of_a_bundle_is_refused_by_its_number() {
    let folder = TempDir::new().unwrap();
    let cert = vector("rsa2048/ek.cert.der");
    let base64 = |name: &str| data_encoding::BASE64.encode(&fs::read(vector(name)).unwrap());
    let block = |base64: &str| {
        format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
    };
    let root = base64("rsa2048/ca.root.der");
    let whole = block(&root);
    let no_base64 = block(&root.replacen('A', "*", 1));
    let cut = block(&root[..root.len() / 8 * 4]);
    let endless = whole.replace("-----END CERTIFICATE-----\n", "");
    let sound = write(&folder, "sound.pem", &whole);
    for (bundle, number) in [
        (format!("{no_base64}{whole}"), 1),
        (format!("# Example\n{whole}{no_base64}{whole}"), 2),
        (format!("{whole}{whole}{cut}"), 3),
        (format!("{whole}{endless}{whole}"), 2),
        (format!("{whole}{endless}"), 2),
        (format!("{whole}{}", endless.trim_end()), 2),
        (
            format!(
                "{whole}{}",
                whole.replace("CERTIFICATE", "TRUSTED CERTIFICATE")
            ),
            2,
        ),
        (
            format!("{}{whole}", whole.replace("-----BEGIN", "----BEGIN")),
            1,
        ),
        (format!("{whole}-----END CERTIFICATE-----\n{whole}"), 2),
        (
            format!("{whole}{}", whole.replace("CERTIFICATE", "X509 CRL")),
            2,
        ),
    ] {
        let bundle = write(&folder, "bundle.pem", &bundle);
        for more in [
            format!("--roots {bundle}"),
            format!("--roots {sound} --intermediates {bundle}"),
        ] {
            let says = format!("{bundle}: PEM block {number}: ");
            fails(&tpm(&format!("check-ek --cert {cert} {more}")), 1, &says);
        }
    }
    // Text around the blocks is allowed.
    let bundle = format!("# Roots\nthe end\n{}", whole.replace('\n', "\r\n"));
    let between = block(&base64("rsa2048/ca.intermediate.der"));
    let between = write(&folder, "between.pem", between);
    let bundle = write(&folder, "bundle.pem", bundle);
    succeeds(&tpm(&format!(
        "check-ek --cert {cert} --roots {bundle} --intermediates {between} --at 1800000000"
    )));
}

/// Returns the layout that tpm2_quote and tpm2_pcrread write with `-F serialized`, for these selections of the SHA-256 bank.
fn serialized(selections: &[[u8; 3]], values: &[u8]) -> Vec<u8> {
    let values: Vec<_> = values.chunks(32).collect();
    let mut file = u32::try_from(selections.len())
        .unwrap()
        .to_le_bytes()
        .to_vec();
    for octets in selections {
        file.extend([0x0b, 0, 3]);
        file.extend(octets);
        file.extend([0, 0]);
    }
    file.resize(4 + 16 * 8, 0);
    let lists = values.chunks(8);
    file.extend(u32::try_from(lists.len()).unwrap().to_le_bytes());
    for list in lists {
        file.extend(u32::try_from(list.len()).unwrap().to_le_bytes());
        for number in 0..8 {
            let value = list.get(number).copied().unwrap_or_default();
            file.extend(u16::try_from(value.len()).unwrap().to_le_bytes());
            file.extend(value);
            file.resize(file.len() + 64 - value.len(), 0);
        }
    }
    file
}

#[test]
fn registers_are_read_as_tpm2_tools_write_them_and_a_key_in_pem_is_explained() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| vector(&format!("eccp256/{name}"));
    let path = folder.path().join("pcrs.bin");
    let values = fs::read(file("quote.pcrs.values.bin")).unwrap();
    let nonce = hex("eccp256/quote.nonce.bin");
    let ak = file("ak.pub.tpm2b");
    let check = |key: &str| {
        let quote = check_quote("eccp256").replace(&ak, key);
        tpm(&format!(
            "{quote} --nonce {nonce} --pcrs {}",
            path.display()
        ))
    };
    let sound = serialized(&[QUOTED], &values);
    fs::write(&path, &sound).unwrap();
    succeeds(&check(&ak));
    // A changed value, a value that is longer than its field, and one list too few.
    let first = 4 + 16 * 8 + 4 + 4;
    let (mut other, mut longer) = (sound.clone(), sound.clone());
    other[first + 2] ^= 1;
    longer[first] = 65;
    for bytes in [&other, &longer, &sound[..sound.len() - 532].to_vec()] {
        fs::write(&path, bytes).unwrap();
        assert_eq!(check(&ak).status.code(), Some(1));
    }
    let pem = folder.path().join("ak.pem");
    let key = TpmtPublic::parse_sized(&fs::read(&ak).unwrap()).unwrap();
    let base64 = data_encoding::BASE64.encode(&key.to_spki().unwrap());
    let key = format!("-----BEGIN PUBLIC KEY-----\n{base64}\n-----END PUBLIC KEY-----\n");
    fs::write(&pem, key).unwrap();
    let pem = pem.to_str().unwrap();
    fails(&check(pem), 1, "tpm2_readpublic");
    fails(&run(&["tpm", "show", pem]), 1, "tpm2_readpublic");
}

/// The PCRs in the vectors' quotes: 0 to 7, and 16.
const QUOTED: [u8; 3] = [0xff, 0, 1];

/// A file's PCR numbers are not signed.
#[test]
fn registers_under_other_names_than_the_quotes_are_refused() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| vector(&format!("eccp256/{name}"));
    let path = folder.path().join("pcrs.bin");
    let values = fs::read(file("quote.pcrs.values.bin")).unwrap();
    let line = format!(
        "{} --nonce {} --pcrs {}",
        check_quote("eccp256"),
        hex("eccp256/quote.nonce.bin"),
        path.display()
    );
    for more in ["", " --selection sha256:0,1,2,3,4,5,6,7,16"] {
        let line = format!("{line}{more}");
        let check = |selections: &[[u8; 3]]| {
            fs::write(&path, serialized(selections, &values)).unwrap();
            tpm(&line)
        };
        succeeds(&check(&[QUOTED]));
        // The value of PCR 16 is labelled as that of PCR 8.
        let output = check(&[[0xff, 1, 0]]);
        assert_eq!(output.status.code(), Some(1));
        let told = text(&output.stdout);
        assert!(told.contains("fail     pcr-selection"), "{told}");
        let says =
            "the given values are for sha256:0,1,2,3,4,5,6,7,8, not for sha256:0,1,2,3,4,5,6,7,16";
        assert!(told.contains(says), "{told}");
        // It is labelled as that of PCR 7.
        let twice = check(&[[0x7f, 1, 0], [0x80, 0, 0]]);
        fails(&twice, 1, "it names the bank sha256 twice");
    }
}

#[test]
fn what_a_file_is_is_found_out() {
    for (name, kind) in [
        ("rsa2048/ak.pub.tpm2b", "TPMT_PUBLIC"),
        ("rsa2048/quote.tpms_attest.bin", "TPMS_ATTEST"),
        ("eccp256/quote.tpmt_signature.bin", "TPMT_SIGNATURE"),
        ("eccp256/cred.blob.tpm2tools.bin", "credential"),
        ("rsa2048/ek.cert.der", "certificate"),
    ] {
        let facts = json_output(&run(&["tpm", "show", &vector(name), "--json"]), 0);
        assert_eq!(facts["type"], kind, "{name}");
        let told = run(&["tpm", "show", &vector(name)]);
        assert!(text(&told.stdout).contains(&format!("type: {kind}")));
    }
    fails(
        &run(&["tpm", "show", &vector("rsa2048/quote.nonce.bin")]),
        1,
        "it is not",
    );
    fails(&run(&["tpm", "show", "/nonexistent"]), 2, "/nonexistent");
    // An ECDSA signature without the scheme and the hash before it.
    let folder = TempDir::new().unwrap();
    let plain = folder.path().join("plain.sig");
    fs::write(&plain, [0x30, 6, 2, 1, 5, 2, 1, 7]).unwrap();
    let shown = run(&["tpm", "show", plain.to_str().unwrap()]);
    fails(&shown, 1, "leave out -f plain");
}

#[test]
fn a_credential_is_a_file_that_tpm2_tools_read() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (secret, out) = (path("secret"), path("out"));
    let name = hex("eccp256/ak.name.bin");
    let make_with = |secret: &str, name: &str, more: &str| {
        let ek = vector("eccp256/ek.pub.tpm2b");
        tpm(&format!(
            "make-credential --ek {ek} --name {name} --secret-file {secret} --out {out} {more}"
        ))
    };
    let make = |secret: &str, name: &str| make_with(secret, name, "");
    fs::write(&secret, [7; 32]).unwrap();
    succeeds(&make(&secret, &name));
    assert!(
        fs::read(&out)
            .unwrap()
            .starts_with(&[0xba, 0xdc, 0xc0, 0xde, 0, 0, 0, 1])
    );
    let document = json_output(&make_with(&secret, &name, "--json"), 0);
    let written = data_encoding::BASE64.encode(&fs::read(&out).unwrap());
    assert_eq!(
        document,
        serde_json::json!({ "credential": written, "out": out })
    );
    fs::write(&secret, [7; 33]).unwrap();
    fails(&make(&secret, &name), 1, "33 bytes");
    fails(&make(&secret, "000b"), 1, "keyproof: --name: ");
    fails(&make("/nonexistent", &name), 2, "/nonexistent");
}

#[test]
fn a_provision_answer_opens_with_its_key_only() {
    use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[1; 32]).unwrap());
    let mut sealed = b"certificate".to_vec();
    let nonce = Nonce::assume_unique_for_key([2; 12]);
    key.seal_in_place_append_tag(nonce, Aad::empty(), &mut sealed)
        .unwrap();
    let base64 = |bytes: &[u8]| data_encoding::BASE64.encode(bytes);
    let response = serde_json::json!({
        "encrypted_ak_cert": base64(&sealed),
        "nonce": base64(&[2; 12]),
        "credential_bundle": "",
        "ak_cert_chain": "chain",
    });
    fs::write(path("response.json"), response.to_string()).unwrap();
    fs::write(path("key"), [1; 32]).unwrap();
    fs::write(path("other"), [3; 32]).unwrap();
    let open = |key: &str, more: &str| {
        let (key, response) = (path(key), path("response.json"));
        tpm(&format!("open-provision --key {key} {response} {more}"))
    };
    let pem = pem(b"certificate");
    assert_eq!(text(&open("key", "").stdout), pem);
    let document = json_output(&open("key", "--json"), 0);
    assert_eq!(
        (&document["certificate"], &document["chain"]),
        (&pem.into(), &"chain".into())
    );
    let of_another = open("other", "");
    fails(&of_another, 1, "cannot be decrypted");
    fails(&of_another, 1, &format!("{}: ", path("response.json")));
    fs::write(path("response.json"), "{}").unwrap();
    fails(&open("key", ""), 1, "not a provision response");
}

/// Unreadable files give exit code 2, malformed ones 1. Nothing is written, and the error names the file.
#[test]
fn bad_files_and_arguments_are_told_apart() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (out, nothing) = (path("out"), path("nothing"));
    let garbage = write(&folder, "garbage", "garbage");
    let roots = write(&folder, "roots.pem", EMPTY_PEM);
    let file = |name: &str| vector(&format!("eccp256/{name}"));
    let (ak, ek, certificate) = (
        file("ak.pub.tpm2b"),
        file("ek.pub.tpm2b"),
        file("ek.cert.der"),
    );
    let name = hex("eccp256/ak.name.bin");
    let secret = file("cred.secret.bin");
    let quote = check_quote("eccp256");
    let unknown = format!("{garbage}: it is not");
    for (line, code, says) in [
        (format!("{quote} --nonce 00 --ek {nothing}"), 2, &*nothing),
        (format!("{quote} --nonce 00 --ek {garbage}"), 1, &garbage),
        (format!("{quote} --nonce 0"), 2, "two digits for each byte"),
        (
            format!("{quote} --nonce 00 --selection sha256:"),
            2,
            "--selection",
        ),
        (
            format!("{quote} --nonce 00 --selection sha256:0,0"),
            2,
            "--selection",
        ),
        (quote.clone(), 2, "--nonce"),
        (
            format!("check-ek --cert {nothing} --roots {roots}"),
            2,
            &nothing,
        ),
        (
            format!("check-ek --cert {certificate} --roots {nothing}"),
            2,
            &nothing,
        ),
        (
            format!("check-ek --cert {certificate} --roots {garbage}"),
            1,
            &garbage,
        ),
        (
            format!("check-ek --cert {certificate} --roots {roots} --at yesterday"),
            2,
            "--at",
        ),
        (format!("check-ek --cert {certificate}"), 2, "--roots"),
        (
            format!(
                "make-credential --ek {garbage} --name {name} --secret-file {secret} --out {out}"
            ),
            1,
            &garbage,
        ),
        (
            format!("make-credential --ek {ak} --name {name} --secret-file {secret} --out {out}"),
            1,
            "endorsement key",
        ),
        (
            format!(
                "make-credential --ek {ek} --name {name} --secret-file {garbage} --out {nothing}/x"
            ),
            2,
            &nothing,
        ),
        (
            format!("open-provision --key {nothing} {garbage}"),
            2,
            &nothing,
        ),
        (
            format!("open-provision --key {secret} {nothing}"),
            2,
            &nothing,
        ),
        (
            format!("open-provision --key {secret} {garbage}"),
            1,
            "not a provision response",
        ),
        (format!("show {garbage}"), 1, &unknown),
        (format!("show {}", folder.path().display()), 2, "directory"),
    ] {
        fails(&tpm(&line), code, says);
    }
    assert!(fs::metadata(&out).is_err());

    // The report rejects malformed evidence.
    for (evidence, fails) in [
        ("quote.tpms_attest.bin", "structure"),
        ("quote.tpmt_signature.bin", "signature"),
    ] {
        let quote = quote.replace(&file(evidence), &garbage);
        let output = tpm(&format!("{quote} --nonce 00 --json"));
        let report = json_output(&output, 1);
        let checks = report["checks"].as_array().unwrap();
        let found = checks.iter().find(|check| check["name"] == fails);
        assert_eq!(found.unwrap()["outcome"], "fail", "{report}");
    }
}

/// The form of a certificate without its contents.
const EMPTY_PEM: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

#[test]
fn each_kind_of_endorsement_key_opens_its_credential() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (secret, out) = (write(&folder, "secret", "a secret"), path("out"));
    for kind in ["eccp256", "eccp384", "rsa2048", "rsa3072", "rsa4096"] {
        let file = |suffix: &str| fs::read(vector(&format!("software/{kind}.{suffix}"))).unwrap();
        let ek = TpmtPublic::parse_sized(&file("ek.pub.tpm2b")).unwrap();
        let name = Name::parse(&file("name.bin")).unwrap();
        let public = vector(&format!("software/{kind}.ek.pub.tpm2b"));
        succeeds(&tpm(&format!(
            "make-credential --ek {public} --name {name} --secret-file {secret} --out {out}"
        )));
        let credential = Credential::parse(&fs::read(&out).unwrap()).unwrap();
        let opened = activate(&AwsLcRs, &ek, &file("ek.pkcs8.der"), &name, &credential);
        assert_eq!(**opened.unwrap(), *b"a secret", "{kind}");
    }
}

#[test]
fn other_attestations_are_checked_with_and_without_a_nonce() {
    for kind in ["rsa2048", "eccp256"] {
        let file = |name: &str| vector(&format!("{kind}/{name}"));
        let check = |command: &str, what: &str, more: &str| {
            let output = tpm(&format!(
                "{command} --ak {} --attest {} --signature {} --json {more}",
                file("ak.pub.tpm2b"),
                file(&format!("{what}.tpms_attest.bin")),
                file(&format!("{what}.tpmt_signature.bin")),
            ));
            let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let failed = report["checks"].as_array().map(|checks| {
                let failed = checks.iter().filter(|check| check["outcome"] == "fail");
                failed
                    .map(|check| check["name"].as_str().unwrap().to_owned())
                    .collect::<Vec<_>>()
            });
            (output.status.code(), failed.unwrap_or_default(), report)
        };
        let (dev, ek, srk) = (
            file("dev.pub.tpm2b"),
            file("ek.pub.tpm2b"),
            file("srk.pub.tpm2b"),
        );
        let accepted = |(code, failed, report): (Option<i32>, Vec<String>, Value)| {
            assert_eq!((code, failed), (Some(0), vec![]), "{report}");
            report
        };
        let refused = |(code, failed, report): (Option<i32>, Vec<String>, Value), by: &str| {
            assert_eq!((code, failed), (Some(1), vec![by.to_owned()]), "{report}");
        };
        let object = format!("--object {dev} --parent {srk} --hierarchy owner --ek {ek}");
        let report = accepted(check("check-certify", "certify", &object));
        assert_eq!(report["object_name"], hex(&format!("{kind}/dev.name.bin")));
        let nonce = format!("{object} --nonce 00ff55aa");
        accepted(check("check-certify", "certify", &nonce));
        let stale = format!("{object} --nonce 00ff55ab");
        refused(check("check-certify", "certify", &stale), "extra-data");
        let no_parent = format!("--object {dev} --hierarchy owner");
        refused(
            check("check-certify", "certify", &no_parent),
            "object-qualified-name",
        );
        let profile = format!("--object {dev} --profile attestation");
        refused(
            check("check-certify", "certify", &profile),
            "object-profile",
        );
        let unknown = format!("--object {dev} --parent {srk}");
        assert_eq!(check("check-certify", "certify", &unknown).0, Some(2));

        let data = format!(
            "{object} --creation-data {}",
            file("dev.creation_data.tpm2b")
        );
        let outside = format!("{data} --outside-info 0011223344556677");
        accepted(check("check-creation", "certifycreation", &outside));
        let other = format!("{data} --outside-info 00");
        refused(
            check("check-creation", "certifycreation", &other),
            "outside-info",
        );
        refused(check("check-certify", "certifycreation", &object), "type");

        // The second is as `tpm show` prints it.
        for firmware in ["2019102300163636", "0x2019102300163636"] {
            let firmware = format!("--firmware {firmware}");
            accepted(check("check-time", "gettime", &firmware));
        }
        let other = "--firmware 2019102300163637";
        refused(check("check-time", "gettime", other), "firmware-version");
        assert_eq!(check("check-time", "gettime", "--firmware 20").0, Some(2));

        let folder = TempDir::new().unwrap();
        let index = folder.path().join("index");
        fs::write(&index, b"\x01\x80\0\x01\0\x0b\x20\x06\0\x06\0\0\0\x0d").unwrap();
        let index = format!("--index {}", index.display());
        refused(check("check-nv", "certify", &index), "type");

        for what in ["certify", "certifycreation", "gettime"] {
            let shown = run(&["tpm", "show", &file(&format!("{what}.tpms_attest.bin"))]);
            assert!(text(&shown.stdout).contains("attested: TPM_ST_ATTEST_"));
        }
    }
}

/// Returns a log with one event in PCR 0 and a separator in PCR 7, with SHA-256.
fn event_log() -> (Vec<u8>, Vec<u8>) {
    use ring::digest::{SHA256, digest};
    let mut log = [&[0, 0, 0, 0, 3, 0, 0, 0][..], &[0; 20], &[33, 0, 0, 0]].concat();
    log.extend(b"Spec ID Event03\0\0\0\0\0\x00\x02\x00\x02\x01\0\0\0\x0b\0\x20\0\0");
    let mut values = Vec::new();
    for (pcr, event_type, data) in [(0, 8, &b"1.0"[..]), (7, 4, &[0; 4])] {
        let measured = digest(&SHA256, data);
        log.extend([pcr, 0, 0, 0, event_type, 0, 0, 0, 1, 0, 0, 0, 0x0b, 0]);
        log.extend(measured.as_ref());
        log.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        log.extend(data);
        let joined = [&[0; 32], measured.as_ref()].concat();
        values.extend(digest(&SHA256, &joined).as_ref());
    }
    (log, values)
}

#[test]
fn an_event_log_is_replayed_and_compared() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (log, pcrs) = (path("log"), path("pcrs"));
    let (bytes, values) = event_log();
    fs::write(&log, &bytes).unwrap();
    fs::write(&pcrs, &values).unwrap();

    let output = run(&["tpm", "replay-log", &log]);
    let first = data_encoding::HEXLOWER.encode(&values[..32]);
    let told = succeeds(&output);
    assert!(told.starts_with(&format!("sha256:0  {first}\n")), "{told}");

    let compare = |more: &str| tpm(&format!("replay-log {log} --pcrs {pcrs} {more}"));
    succeeds(&compare("--selection sha256:0,7"));
    let report = json_output(&compare("--selection sha256:0,7 --json"), 0);
    assert_eq!(report["accepted"], true);
    assert_eq!(report["form"], "crypto-agile");
    assert_eq!(report["registers"][1]["matched"], true);
    assert_eq!(report["events"][0]["trust"], "data");
    assert_eq!(report["secure_boot"]["enabled"], Value::Null);
    let output = compare("--selection sha256:0,7 --secure-boot");
    assert_eq!(output.status.code(), Some(1));
    let output = compare("--selection sha256:7,8");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("NOT MATCHED"));
    fails(&compare(""), 2, "--selection");

    // A file written by tpm2_quote contains its PCR selection.
    let all: Vec<u8> = [&values[..32], &[0; 6 * 32], &values[32..]].concat();
    fs::write(&pcrs, serialized(&[[0xff, 0, 0]], &all)).unwrap();
    let same = "--selection sha256:0,1,2,3,4,5,6,7";
    for more in ["", same] {
        succeeds(&compare(more));
    }
    let other = compare("--selection sha256:0,1,2,3,4,5,6,8");
    fails(&other, 1, "it has values of sha256:0,1,2,3,4,5,6,7, not");
    // Twice one bank, and the value of PCR 16 could be called that of PCR 7.
    fs::write(&pcrs, serialized(&[[0x7f, 1, 0], [0x80, 0, 0]], &all)).unwrap();
    fails(&compare(""), 1, "it names the bank sha256 twice");
    fails(&compare(same), 1, "it names the bank sha256 twice");

    fs::write(&log, &bytes[..bytes.len() - 1]).unwrap();
    let output = run(&["tpm", "replay-log", &log]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("fail     event-log"));
}

/// Returns the names in the table below a heading of docs/tpms.md.
fn documented(heading: &str) -> Vec<&'static str> {
    const PAGE: &str = include_str!("../../../../../docs/tpms.md");
    let heading = format!("\n### {heading}\n");
    let (_, section) = PAGE.split_once(&*heading).unwrap();
    let is_row = |line: &&str| line.starts_with('|');
    let table = section.lines().skip_while(|line| !is_row(line));
    table
        .take_while(is_row)
        .skip(2)
        .map(|row| row.split('|').nth(1).unwrap().trim().trim_matches('`'))
        .collect()
}

fn names<C: Check>() -> Vec<&'static str> {
    C::ALL.iter().map(|check| check.name()).collect()
}

/// Scripts rely on these names.
#[test]
fn the_checks_of_each_report_are_documented_in_their_order() {
    let every_type = documented("Attestations of every type");
    let own = every_type.iter().position(|name| *name == "…").unwrap();
    let (before, after) = (&every_type[..own], &every_type[own + 1..]);
    let attestation = |heading: &str| [before, &documented(heading)[..], after].concat();
    assert_eq!(attestation("Quotes"), names::<QuoteCheck>());
    assert_eq!(attestation("Certified objects"), names::<CertifyCheck>());
    assert_eq!(attestation("Certified creations"), names::<CreationCheck>());
    assert_eq!(
        attestation("Certified NV indices"),
        names::<NvCertifyCheck>()
    );
    assert_eq!(attestation("Attested times"), names::<TimeCheck>());
    assert_eq!(documented("Event logs"), names::<EventLogCheck>());
    assert_eq!(
        documented("Endorsement certificates"),
        names::<EkCertificateCheck>()
    );
    assert_eq!(
        documented("Attestations that a server judges"),
        names::<DeviceCheck>()
    );
}
