//! A software TPM as the device, with tpm2-tools: provisioned by a server over HTTP, the credential activated in the TPM, the
//! certificate decrypted, and a quote checked by `keyproof tpm check-quote`.
//!
//! A missing `swtpm`, `swtpm_setup`, tpm2-tools or `openssl` fails these tests; nothing is skipped.

mod server;
pub(crate) mod station;
mod tpm;

use data_encoding::BASE64;
use keyproof_tpm::{PublicKey, Structure, TpmtPublic};
use serde_json::{Value, json};

use server::Server;
use tpm::Tpm;

/// A kind of key, with its options for tpm2-tools.
struct Kind {
    group: &'static str,
    scheme: &'static str,
    /// The options that make `swtpm_setup` certify such an endorsement key.
    setup: &'static str,
    /// The NV index of the endorsement key's certificate, if `swtpm_setup` made one.
    certificate_at: Option<&'static str>,
    /// Whether the endorsement key is used by its policy, or otherwise by its empty authorisation value.
    by_policy: bool,
}

#[test]
fn rsa_2048() {
    onboard(&Kind {
        group: "rsa",
        scheme: "rsassa",
        setup: "",
        certificate_at: Some("0x1c00002"),
        by_policy: true,
    });
}

#[test]
fn rsa_3072() {
    onboard(&Kind {
        group: "rsa3072",
        scheme: "rsassa",
        setup: "--rsa-keysize 3072",
        certificate_at: Some("0x1c0001c"),
        by_policy: false,
    });
}

#[test]
fn ecc_p256() {
    onboard(&Kind {
        group: "ecc",
        scheme: "ecdsa",
        setup: "",
        certificate_at: None,
        by_policy: true,
    });
}

#[test]
fn ecc_p384() {
    onboard(&Kind {
        group: "ecc384",
        scheme: "ecdsa",
        setup: "",
        certificate_at: Some("0x1c00016"),
        by_policy: false,
    });
}

/// Returns a crypto-agile log with only a SHA-256 bank, with these events: PCR, digest and data.
pub(crate) fn event_log(events: &[(u32, &[u8], &[u8])]) -> Vec<u8> {
    const EV_NO_ACTION: u32 = 3;
    const EV_S_CRTM_VERSION: u32 = 8;
    const SHA256: u16 = 0x0b;
    let sized = |data: &[u8]| [&u32::try_from(data.len()).unwrap().to_le_bytes(), data].concat();
    let mut head = b"Spec ID Event03\0".to_vec();
    head.extend([0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 0x0b, 0, 32, 0, 0]);
    let mut log = [0, EV_NO_ACTION].map(u32::to_le_bytes).concat();
    log.extend([0; 20]);
    log.extend(sized(&head));
    for (register, digest, data) in events {
        log.extend(
            [*register, EV_S_CRTM_VERSION, 1]
                .map(u32::to_le_bytes)
                .concat(),
        );
        log.extend(SHA256.to_le_bytes());
        log.extend(*digest);
        log.extend(sized(data));
    }
    log
}

/// Runs the complete protocol between a station, a server and one TPM.
fn onboard(kind: &Kind) {
    let tpm = Tpm::manufacture(kind.setup);
    let server = Server::start();
    make_keys(&tpm, kind);

    let api_key = furnish(&server, &tpm);
    let device = json!({
        "name": "device-0001", "serial": "SN0001", "vendor": "ExampleCorp", "version": "1",
    });
    let preauth = json!({ "api_key": api_key, "device": device });
    let status = server.post("/api/tpm/tpm/preauth", &preauth);
    assert_eq!(status["status"], "PREAUTH_RSP_SUCCESS");
    let base64 = |file: &str| BASE64.encode(&tpm.read(file));
    let request = json!({
        "api_key": api_key,
        "device": device,
        "ek_cert": base64("ek.crt"),
        "ek_pub_key": base64("ek.spki"),
        "ak_pub_key": base64("ak.spki"),
        "csr": base64("device.csr"),
    });
    let answer = server.post("/api/tpm/tpm/provision", &request);

    only_the_attestation_key_opens(&tpm, kind, &answer);
    the_certificate_is_the_attestation_keys(&server, &tpm, &answer);
    quotes_are_checked(&server, &tpm);

    let again = server.post("/api/tpm/tpm/provision", &request);
    assert_ne!(again["nonce"], answer["nonce"]);
    let first = tpm.read("key.bin");
    activate(&tpm, kind, &again);
    assert_ne!(tpm.read("key.bin"), first, "a fresh key each time");
}

/// Has the manufacturer's CA certify the P-256 endorsement key, for which `swtpm_setup` makes no certificate.
fn certify_p256(tpm: &Tpm, ek: &str) {
    let ek = TpmtPublic::parse_sized(&tpm.read(ek)).unwrap();
    let PublicKey::Ecc(point) = ek.key else {
        panic!("not an EC key");
    };
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    tpm.certify_ek(&format!(
        "x={},y={},id=secp256r1",
        hex(&point.x),
        hex(&point.y)
    ));
}

/// Creates an endorsement key with its certificate, two attestation keys, and a certification request for a key of the device.
fn make_keys(tpm: &Tpm, kind: &Kind) {
    let Kind { group, scheme, .. } = kind;
    tpm.run(&format!(
        "tpm2_createek -G {group} -c ek.ctx -u ek.pub -f tss"
    ));
    tpm.run("tpm2_readpublic -c ek.ctx -f der -o ek.spki");
    for name in ["ak", "other"] {
        tpm.run(&format!(
            "tpm2_createak -C ek.ctx -c {name}.ctx -G {group} -g sha256 -s {scheme} -u {name}.pub -f tss"
        ));
    }
    tpm.run("tpm2_readpublic -c ak.ctx -f der -o ak.spki");
    match kind.certificate_at {
        Some(at) => tpm.run(&format!("tpm2_nvread -C o -o ek.crt {at}")),
        None => certify_p256(tpm, "ek.pub"),
    }
    tpm.shell(
        "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout device.key \
         -subj /O=ExampleCorp/CN=device-0001/serialNumber=SN0001 -outform der -out device.csr",
    );
}

/// Creates a manager that trusts the TPM's manufacturer, a category and an API key.
fn furnish(server: &Server, tpm: &Tpm) -> String {
    let make = |kind: &str, spec: Value| {
        let body = json!({ "metadata": { "name": "factory" }, "spec": spec });
        server.post(&format!("/api/tpm/namespaces/default/{kind}"), &body)
    };
    let pem = |file: &str| String::from_utf8(tpm.read(file)).unwrap();
    let trusted = [
        pem("ca/issuercert.pem"),
        pem("ca/swtpm-localca-rootca-cert.pem"),
    ];
    let manager = make("tpm_managers", json!({ "ek_root_certificates": trusted }));
    let root = manager["spec"]["ak_root_ca_certificate"].as_str().unwrap();
    tpm.write("ak-root.pem", root.as_bytes());
    make(
        "tpm_categorys",
        json!({ "tpm_manager_ref": [{ "name": "factory" }] }),
    );
    let key = make(
        "tpm_api_keys",
        json!({ "category_ref": [{ "name": "factory" }] }),
    );
    key["api_key"].as_str().unwrap().to_owned()
}

fn only_the_attestation_key_opens(tpm: &Tpm, kind: &Kind, answer: &Value) {
    let other = tpm.try_run(&activation(tpm, kind, answer, "other.ctx"));
    assert!(!other, "another key of the same TPM opened the credential");
    activate(tpm, kind, answer);
    assert_eq!(tpm.read("key.bin").len(), 32);
    tpm.write("response.json", answer.to_string().as_bytes());
}

fn activate(tpm: &Tpm, kind: &Kind, answer: &Value) {
    let command = activation(tpm, kind, answer, "ak.ctx");
    tpm.run(&command);
    if kind.by_policy {
        tpm.run("tpm2_flushcontext s.ctx");
    }
}

/// Prepares the use of the endorsement key, and returns the command to run then.
fn activation(tpm: &Tpm, kind: &Kind, answer: &Value, ak: &str) -> String {
    let bundle = answer["credential_bundle"].as_str().unwrap();
    tpm.write("cred.blob", &BASE64.decode(bundle.as_bytes()).unwrap());
    let command = format!("tpm2_activatecredential -c {ak} -C ek.ctx -i cred.blob -o key.bin");
    if !kind.by_policy {
        return command;
    }
    tpm.try_run("tpm2_flushcontext -l");
    tpm.run("tpm2_startauthsession --policy-session -S s.ctx");
    tpm.run("tpm2_policysecret -S s.ctx -c e");
    format!("{command} -P session:s.ctx")
}

fn the_certificate_is_the_attestation_keys(server: &Server, tpm: &Tpm, answer: &Value) {
    let opened = server.keyproof(
        &tpm.folder(),
        "tpm open-provision --key key.bin response.json",
    );
    assert_eq!(opened.status.code(), Some(0));
    tpm.write("ak.pem", &opened.stdout);
    let chain = answer["ak_cert_chain"].as_str().unwrap();
    tpm.write("chain.pem", chain.as_bytes());
    tpm.shell("openssl verify -x509_strict -CAfile ak-root.pem -untrusted chain.pem ak.pem");
    tpm.shell("openssl x509 -in ak.pem -noout -pubkey -out ak.key.pem");
    tpm.shell("openssl pkey -pubin -in ak.key.pem -outform der -out certified.spki");
    assert_eq!(tpm.read("certified.spki"), tpm.read("ak.spki"));
    let wrong = server.keyproof(
        &tpm.folder(),
        "tpm open-provision --key ek.spki response.json",
    );
    assert_eq!(wrong.status.code(), Some(1));

    let roots = "--roots ca/swtpm-localca-rootca-cert.pem --intermediates ca/issuercert.pem";
    let command = format!("tpm check-ek --cert ek.crt --pub ek.pub {roots}");
    let checked = server.keyproof(&tpm.folder(), &command);
    let report = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert_eq!(checked.status.code(), Some(0), "{report}");
}

fn quotes_are_checked(server: &Server, tpm: &Tpm) {
    let nonce = "c3".repeat(20);
    tpm.run(&format!("tpm2_pcrextend 16:sha256={}", "7b".repeat(32)));
    tpm.run(&format!(
        "tpm2_quote -c ak.ctx -l sha256:0,7,16 -q {nonce} -m attest -s signature -o values -F values -g sha256"
    ));
    let check = |nonce: &str, selection: &str, ek: &str| {
        let command = format!(
            "tpm check-quote --ak ak.pub --attest attest --signature signature --nonce {nonce} \
             --pcrs values --selection {selection} --ek {ek} --json"
        );
        let output = server.keyproof(&tpm.folder(), &command);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), report)
    };
    let (code, report) = check(&nonce, "sha256:0,7,16", "ek.pub");
    assert_eq!(
        (code, &report["accepted"]),
        (Some(0), &true.into()),
        "{report}"
    );
    // The default format of tpm2_quote, with more PCRs than one of its lists holds.
    let all: Vec<_> = (0..24).map(|register| register.to_string()).collect();
    let all = format!("sha256:{}", all.join(","));
    tpm.run(&format!(
        "tpm2_quote -c ak.ctx -l {all} -q {nonce} -m attest2 -s signature2 -o serialized -g sha256"
    ));
    let command = format!(
        "tpm check-quote --ak ak.pub --attest attest2 --signature signature2 --nonce {nonce} \
         --pcrs serialized --selection {all}"
    );
    assert_ne!(tpm.read("serialized").len(), 24 * 32);
    let output = server.keyproof(&tpm.folder(), &command);
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{report}");
    for (nonce, selection, ek, fails) in [
        ("00", "sha256:0,7,16", "ek.pub", "extra-data"),
        (&*nonce, "sha256:0,7", "ek.pub", "pcr-selection"),
        (&*nonce, "sha256:0,7,16", "other.pub", "qualified-signer"),
    ] {
        let (code, report) = check(nonce, selection, ek);
        assert_eq!(code, Some(1), "{report}");
        let checks = report["checks"].as_array().unwrap();
        let failed = checks.iter().filter(|check| check["outcome"] == "fail");
        let names: Vec<&Value> = failed.map(|check| &check["name"]).collect();
        assert!(names.contains(&&json!(fails)), "{report}");
    }
}
