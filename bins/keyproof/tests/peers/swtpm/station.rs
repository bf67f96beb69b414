//! `keyproof tpm station` with a software TPM and tpm2-tools: a device from its provisioning to its revocation.

use std::{fs, os::unix::fs::PermissionsExt, process::Output};

use data_encoding::HEXLOWER;
use keyproof_tpm::{PublicKey, Structure, TpmtPublic};
use rcgen::generate_simple_self_signed;
use serde_json::{Value, json};

use super::{
    certify_p256, event_log, furnish,
    server::{PUBLIC_URL, Server},
    tpm::Tpm,
};

/// A device with its TPM, a server that trusts its manufacturer, and the files that a station's flags name.
pub(crate) struct Field {
    pub(crate) tpm: Tpm,
    pub(crate) server: Server,
}

impl Field {
    pub(crate) fn new() -> Self {
        let tpm = Tpm::manufacture("");
        let server = Server::start();
        let api_key = furnish(&server, &tpm);
        tpm.write("api-key", api_key.as_bytes());
        tpm.write("token", server.token("tpm-station").as_bytes());
        // Any other mode causes a warning.
        tpm.shell("chmod 600 api-key token");
        let device = json!({
            "name": "device-0001", "vendor": "ExampleCorp", "serial": "SN0001", "version": "1",
        });
        tpm.write("device.json", device.to_string().as_bytes());
        Self { tpm, server }
    }

    /// Runs `keyproof tpm station`, and asserts that it leaves nothing in the TPM.
    fn station(&self, line: &str) -> Output {
        let with_token = format!("{line} --url {} --token-file token", self.server.url());
        self.station_by(&with_token)
    }

    /// The same, with the server and the station's credentials in `line`.
    fn station_by(&self, line: &str) -> Output {
        self.station_of("--namespace default --category factory", line)
    }

    /// The same, with the given category.
    fn station_of(&self, category: &str, line: &str) -> Output {
        let line = format!(
            "tpm station {line} --api-key-file api-key {category} --device device.json --state state-of-it"
        );
        let mut command = self.server.command(&self.tpm.folder(), &line);
        let output = command
            .env("PATH", "/usr/bin:/bin")
            .env("TPM2TOOLS_TCTI", self.tpm.tcti())
            .output()
            .unwrap();
        for kind in ["transient", "loaded-session", "saved-session"] {
            let left = self.tpm.output(&format!("tpm2_getcap handles-{kind}"));
            assert_eq!(left, "", "{kind}");
        }
        output
    }

    #[track_caller]
    pub(crate) fn provisions(&self, more: &str) -> Value {
        let output = self.station(&format!("provision --json {more}"));
        succeeds(&output);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Attests, and returns the report. Asserts that the exit code agrees with it.
    #[track_caller]
    pub(crate) fn attests(&self, more: &str) -> Value {
        let output = self.station(&format!("attest --json {more}"));
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
        let accepted = report["accepted"].as_bool().unwrap();
        let code = if accepted { 0 } else { 1 };
        assert_eq!(output.status.code(), Some(code), "{report}");
        report
    }

    #[track_caller]
    fn is_accepted(&self, more: &str) {
        let report = self.attests(more);
        assert_eq!(report["accepted"], true, "{report}");
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

#[track_caller]
fn succeeds(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", said(output));
}

#[track_caller]
fn fails(output: &Output, says: &str) {
    let told = said(output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(says), "{told}");
}

/// Asserts that openssl finds the attestation key in the certificate, and that only the owner can read the files.
fn the_files_are_in_order(field: &Field) {
    let tpm = &field.tpm;
    let folder = tpm.folder().join("state-of-it");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let files = fs::read_dir(&folder).unwrap();
    let mut names: Vec<String> = files
        .map(|file| {
            let file = file.unwrap();
            assert_eq!(mode(&file.path()), 0o600, "{file:?}");
            file.file_name().into_string().unwrap()
        })
        .collect();
    names.sort();
    let expected = [
        "ak.pem",
        "ak.priv",
        "ak.pub",
        "chain.pem",
        "ek.der",
        "station.json",
    ];
    assert_eq!(names, expected);

    tpm.shell(
        "openssl verify -x509_strict -CAfile ak-root.pem -untrusted state-of-it/chain.pem state-of-it/ak.pem",
    );
    tpm.shell("openssl x509 -in state-of-it/ak.pem -noout -pubkey -out certified.pem");
    tpm.shell("openssl pkey -pubin -in certified.pem -outform der -out certified.der");
    let ak = TpmtPublic::parse_sized(&tpm.read("state-of-it/ak.pub")).unwrap();
    assert_eq!(tpm.read("certified.der"), ak.to_spki().unwrap());
}

/// Returns what `openssl x509 -text` prints of each extension, trimmed.
fn extensions(text: &str) -> Vec<(String, String)> {
    let (_, after) = text.split_once("X509v3 extensions:\n").unwrap();
    let (extensions, _) = after.split_once("\n    Signature Algorithm:").unwrap();
    let mut found: Vec<(String, String)> = Vec::new();
    for line in extensions.lines() {
        match line.strip_prefix("            ") {
            Some(name) if !name.starts_with(' ') => {
                found.push((name.trim_end().to_owned(), String::new()));
            }
            _ => found.last_mut().unwrap().1.push_str(line.trim()),
        }
    }
    found.sort();
    found
}

fn openssl_reads_the_profile(field: &Field) {
    let text = field
        .tpm
        .output("openssl x509 -in state-of-it/ak.pem -noout -text");
    assert!(text.contains("Subject: \n"), "{text}");
    let found = extensions(&text);
    let value = |name: &str| {
        let found = found.iter().find(|(found, _)| found == name);
        &*found.unwrap_or_else(|| panic!("{name}: {text}")).1
    };
    assert_eq!(found.len(), 7, "{text}");
    assert_eq!(value("X509v3 Key Usage: critical"), "Digital Signature");
    assert_eq!(value("X509v3 Extended Key Usage:"), "2.23.133.8.3");
    assert_eq!(value("X509v3 Basic Constraints: critical"), "CA:FALSE");
    let names = value("X509v3 Subject Alternative Name: critical");
    for part in [
        "2.23.133.2.1=id:00001014",
        "2.23.133.2.2=swtpm",
        "2.23.133.2.3=id:20191023",
        "serialNumber=SN0001",
    ] {
        assert!(names.contains(part), "{names}");
    }
    assert_eq!(names.matches("DirName:").count(), 2, "{names}");
    let hex = |text: &str| text.bytes().filter(|byte| *byte == b':').count();
    assert_eq!(hex(value("X509v3 Subject Key Identifier:")), 19);
    let issuer = field
        .tpm
        .output("openssl x509 -in state-of-it/chain.pem -noout -ext subjectKeyIdentifier");
    let issuer = issuer.lines().last().unwrap().trim();
    assert_eq!(value("X509v3 Authority Key Identifier:"), issuer);
    let url = format!("{PUBLIC_URL}/api/tpm/namespaces/default/tpm_categorys/factory/crl");
    let points = value("X509v3 CRL Distribution Points:");
    assert_eq!(points, format!("Full Name:URI:{url}"));
}

#[test]
fn a_device_is_provisioned_by_one_command() {
    let field = Field::new();
    let first = field.provisions("");
    assert_eq!(first["accepted"], true);
    the_files_are_in_order(&field);
    openssl_reads_the_profile(&field);
    // Again, after a restart of the TPM: the same key, the same certificate.
    let certificate = field.tpm.read("state-of-it/ak.pem");
    let mut field = field;
    field.tpm.reset();
    let again = field.provisions("");
    assert_eq!(again["ak_name"], first["ak_name"]);
    assert_eq!(field.tpm.read("state-of-it/ak.pem"), certificate);
    // Another key, with another signature scheme.
    let other = field.provisions("--ak-scheme rsapss");
    assert_ne!(other["ak_name"], first["ak_name"]);
    the_files_are_in_order(&field);
}

#[test]
fn whoever_is_not_let_in_is_told_in_one_line() {
    let field = Field::new();
    let refused = |line: &str, says: &str| {
        let output = field.station(line);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        let error = String::from_utf8(output.stderr.clone()).unwrap();
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.contains(says), "{error}");
    };
    let key = field.tpm.read("api-key");
    field.tpm.write("api-key", b"another");
    refused("provision", "the server refuses the API key");
    field.tpm.write("api-key", &key);
    let token = field.tpm.read("token");
    field.tpm.write("token", b"another");
    refused("provision", "401 Unauthorized");
    field.tpm.write("token", &token);
    // The certificate of a key that this TPM does not have.
    let other = Tpm::manufacture("");
    other.run("tpm2_nvread -o ek.crt 0x1c00002");
    field.tpm.write("other.crt", &other.read("ek.crt"));
    refused(
        "provision --ek-cert other.crt",
        "not for the key that the TPM creates from the template L-1",
    );
    field.provisions("");
}

#[test]
fn a_category_that_is_not_the_api_keys_is_refused_before_anything_is_active() {
    let field = Field::new();
    let line = format!("provision --url {} --token-file token", field.server.url());
    for (category, says) in [
        (
            "--namespace default --category wrong",
            "--category: the API key belongs to factory",
        ),
        (
            "--namespace wrong --category factory",
            "--namespace: the API key belongs to default",
        ),
    ] {
        fails(&field.station_of(category, &line), says);
        assert!(!field.tpm.folder().join("state-of-it/station.json").exists());
    }
    field.provisions("");
}

/// Endorsement keys that `swtpm_setup` makes no certificate for, and P-384.
#[test]
fn each_kind_of_endorsement_key_is_known_by_its_place_or_its_certificate() {
    let field = Field::new();
    field.provisions("--ek-index 0x01c00016");
    the_files_are_in_order(&field);

    // P-256, with its certificate in a file.
    let field = Field::new();
    let tpm = &field.tpm;
    tpm.run("tpm2_createek -G ecc -c ek.ctx -u ek.pub -f tss");
    certify_p256(tpm, "ek.pub");
    field.provisions("--ek-cert ek.crt");
    the_files_are_in_order(&field);

    // RSA of the high range, with its certificate at the TCG's NV index.
    let field = Field::new();
    let tpm = &field.tpm;
    let policy = "ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0";
    tpm.write("policy", &HEXLOWER.decode(policy.as_bytes()).unwrap());
    tpm.run(
        "tpm2_createprimary -C e -g sha256 -G rsa2048:null:aes128cfb -L policy -c ek.ctx \
         -a fixedtpm|fixedparent|sensitivedataorigin|adminwithpolicy|restricted|decrypt|userwithauth",
    );
    tpm.run("tpm2_readpublic -c ek.ctx -f tss -o ek.pub");
    let ek = TpmtPublic::parse_sized(&tpm.read("ek.pub")).unwrap();
    let PublicKey::Rsa(key) = ek.key else {
        panic!("not an RSA key");
    };
    tpm.certify_ek(&HEXLOWER.encode(&key.modulus));
    tpm.store("0x01c00012", &tpm.read("ek.crt"));
    field.provisions("--ek-index 0x01c00012");
    the_files_are_in_order(&field);
}

/// Returns the failed checks of a report.
fn failed(report: &Value) -> Vec<&str> {
    let checks = report["checks"].as_array().unwrap().iter();
    checks
        .filter(|check| check["outcome"] == "fail")
        .map(|check| check["name"].as_str().unwrap())
        .collect()
}

/// Runs a device's life: provision, accepted attestations, one that is rejected after a PCR was extended, a reset, a TPM whose
/// earlier state was restored, and the revocation.
#[track_caller]
fn a_device_lives(keys: &str, scheme: &str) {
    let mut field = Field::new();
    field.provisions(keys);
    the_files_are_in_order(&field);
    let shown = field.tpm.folder().join("state-of-it/ak.pub");
    let shown = field.server.keyproof(
        &field.tpm.folder(),
        &format!("tpm show {}", shown.display()),
    );
    assert_eq!(shown.status.code(), Some(0));
    let selection = "--selection sha256:0,7,16";
    field.is_accepted(selection);
    let signed = TpmtPublic::parse_sized(&field.tpm.read("state-of-it/ak.pub")).unwrap();
    assert_eq!(signs_by(&signed), scheme);

    let digest = "7b".repeat(32);
    field.tpm.run(&format!("tpm2_pcrextend 16:sha256={digest}"));
    let report = field.attests(selection);
    assert_eq!(failed(&report), ["pcr-policy"], "{report}");
    // For people: the reason is on the last line.
    let told = field.station(&format!("attest {selection}"));
    assert_eq!(told.status.code(), Some(1));
    let told = String::from_utf8(told.stdout).unwrap();
    assert_eq!(
        told.lines().last(),
        Some("refused: pcr-policy: other than learnt: sha256:16")
    );

    // A reset clears the PCR.
    let before = field.tpm.remember();
    field.tpm.reset();
    field.is_accepted(selection);
    field.tpm.reset();
    field.is_accepted(selection);
    // The TPM's earlier state is restored.
    field.tpm.put_back(&before);
    let report = field.attests(selection);
    assert_eq!(failed(&report), ["reset-counters", "clock"], "{report}");

    revoked_it_shows_in_the_list(&field);
    let report = field.attests(selection);
    assert!(failed(&report).contains(&"ak-certificate"), "{report}");
}

fn signs_by(ak: &TpmtPublic) -> String {
    let scheme = match &ak.key {
        PublicKey::Ecc(key) => format!("{:?}", key.scheme.unwrap()),
        PublicKey::Rsa(key) => format!("{:?}", key.scheme.unwrap()),
    };
    scheme.to_lowercase()
}

/// Revokes the API key and everything made with it since. openssl finds the certificate on the CRL.
fn revoked_it_shows_in_the_list(field: &Field) {
    let Field { tpm, server } = field;
    let list = "/api/tpm/namespaces/default/tpm_categorys/factory/crl";
    let serial = tpm.output("openssl x509 -in state-of-it/ak.pem -noout -serial");
    let serial = serial.trim().strip_prefix("serial=").unwrap();
    let lists = || {
        tpm.write("list.der", &server.get(list));
        let text = tpm.output("openssl crl -inform DER -in list.der -noout -text");
        text.contains(&format!("Serial Number: {serial}\n"))
    };
    let verify = "openssl verify -crl_check -CAfile ak-root.pem -untrusted state-of-it/chain.pem \
         -CRLfile list.pem state-of-it/ak.pem";
    let to_pem = || tpm.shell("openssl crl -inform DER -in list.der -out list.pem");
    assert!(!lists());
    to_pem();
    tpm.shell(verify);

    let change = json!({
        "metadata": { "name": "factory", "namespace": "default" },
        "spec": { "revoke_reason": "stolen", "revoked_timestamp": "1970-01-01T00:00:00Z" },
    });
    server.put("/api/tpm/namespaces/default/tpm_api_keys/factory", &change);
    assert!(lists());
    to_pem();
    assert!(!tpm.try_run(verify));
}

#[test]
fn rsa_2048_from_provision_to_revocation() {
    a_device_lives("", "rsassa(sha256)");
}

#[test]
fn rsa_2048_with_pss_from_provision_to_revocation() {
    a_device_lives("--ak-scheme rsapss", "rsapss(sha256)");
}

#[test]
fn p384_from_provision_to_revocation() {
    a_device_lives("--ek-index 0x01c00016", "ecdsa(sha384)");
}

/// The event log of a boot is sent with the quote, and is rejected if its replay does not give the PCR values.
#[test]
fn an_event_log_that_is_not_of_this_boot_is_refused() {
    let field = Field::new();
    field.provisions("");
    field.tpm.write("log", &event_log(&[]));
    let report = field.attests("--selection sha256:16 --event-log log");
    let names: Vec<&str> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| check["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"log-registers"), "{report}");
}

/// The manufacturer stores its CA's certificate in the TPM, in as many NV indices as it takes, and the operator has only the root.
#[test]
fn the_chain_that_the_tpm_carries_is_sent() {
    let field = Field::new();
    let Field { tpm, server } = &field;
    let root = String::from_utf8(tpm.read("ca/swtpm-localca-rootca-cert.pem")).unwrap();
    let change = json!({
        "metadata": { "name": "factory", "namespace": "default" },
        "spec": { "ek_root_certificates": [root] },
    });
    server.put("/api/tpm/namespaces/default/tpm_managers/factory", &change);
    fails(&field.station("provision"), "403 Forbidden");

    tpm.shell("openssl x509 -in ca/issuercert.pem -outform der -out issuer.der");
    let issuer = tpm.read("issuer.der");
    let (first, second) = issuer.split_at(500);
    for (index, part) in [("0x01c00100", first), ("0x01c00101", second)] {
        tpm.store(index, part);
    }
    field.provisions("");
    the_files_are_in_order(&field);
}

/// If provision could not activate the key, the next attestation does: with the ticket that provision left or, an hour later, with
/// a new one.
#[test]
fn an_attestation_activates_a_key_that_is_not_active() {
    let field = Field::new();
    let Field { tpm, server } = &field;
    field.provisions("");
    let forgotten = server.keyproof(
        &tpm.folder(),
        "device forget default/factory/ExampleCorp/SN0001",
    );
    succeeds(&forgotten);
    let selection = "--selection sha256:0,7";
    let report = field.attests(selection);
    assert!(failed(&report).contains(&"activation"), "{report}");

    let file = "state-of-it/station.json";
    let active = tpm.read(file);
    let pending = |since: u64| {
        let mut record: Value = serde_json::from_slice(&active).unwrap();
        record["state"] = json!({ "pending": { "ticket": "old", "proof": "old", "since": since } });
        tpm.write(file, record.to_string().as_bytes());
    };
    pending(u64::from(u32::MAX));
    field.is_accepted(selection);
    assert_eq!(tpm.read(file), active);

    // An invalid ticket does not affect an active key.
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    pending(now.as_secs());
    field.is_accepted(selection);
    assert_eq!(tpm.read(file), active);

    // Nor does it that the key cannot be provisioned again.
    server.delete("/api/tpm/namespaces/default/tpm_api_keys/factory");
    pending(u64::from(u32::MAX));
    field.is_accepted(selection);
    assert_eq!(tpm.read(file), active);
}

/// TPMs whose manufacturers made the endorsement key with a nonce, their own template or both, which are in NV memory.
#[test]
fn an_endorsement_key_by_the_makers_template_is_found() {
    // The input of `tpm2_createprimary`: TPM2B_ECC_PARAMETER twice, each with space for 128 bytes.
    let unique = |x: &[u8; 32]| {
        let sized = |value: &[u8]| [&32_u16.to_ne_bytes()[..], value, &[0; 96]].concat();
        [sized(x), sized(&[0; 32])].concat()
    };
    let policy = "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa";
    // With noDA, which the default does not set.
    let (default, no_da) = (0x300b2, 0x304b2);
    for (nonce, attributes) in [([7; 32], default), ([0; 32], no_da), ([9; 32], no_da)] {
        let field = Field::new();
        let Field { tpm, .. } = &field;
        tpm.write("unique", &unique(&nonce));
        tpm.write("policy", &HEXLOWER.decode(policy.as_bytes()).unwrap());
        tpm.run(&format!(
            "tpm2_createprimary -C e -g sha256 -G ecc256:null:aes128cfb -a {attributes:#x} \
             -L policy -u unique -c ek.ctx"
        ));
        tpm.run("tpm2_readpublic -c ek.ctx -f tss -o own.pub");
        certify_p256(tpm, "own.pub");
        let refused = field.station("provision --ek-cert ek.crt");
        fails(&refused, "the template L-2, nor from one");
        if nonce != [0; 32] {
            tpm.store("0x01c0000b", &nonce);
        }
        if attributes != default {
            // A TPMT_PUBLIC without a key in it.
            let public = tpm.read("own.pub");
            let (_, public) = public.split_at(2);
            let parameters = public.len() - 2 * (2 + 32);
            let empty = [&[0, 32][..], &[0; 32]].concat().repeat(2);
            tpm.store("0x01c0000c", &[&public[..parameters], &empty].concat());
        }
        field.provisions("--ek-cert ek.crt");
        the_files_are_in_order(&field);
        field.is_accepted("--selection sha256:0,7");
    }
}

/// Owners may set an authorisation value for the endorsement hierarchy.
#[test]
fn the_endorsement_hierarchys_authorization_comes_from_a_file() {
    for index in ["0x01c00002", "0x01c00016"] {
        let field = Field::new();
        let Field { tpm, .. } = &field;
        tpm.run("tpm2_changeauth -c e hex:736563726574");
        let without = field.station(&format!("provision --ek-index {index}"));
        fails(&without, "authorization failure");
        tpm.write("hierarchy", b"secret\n");
        let with = "--endorsement-auth-file hierarchy";
        field.provisions(&format!("--ek-index {index} {with}"));
        field.is_accepted(&format!("--selection sha256:0 {with}"));
        tpm.run("tpm2_changeauth -c e -p secret");
    }
}

/// A station without a token: it uses its category's client certificate, and an API key that requires one.
#[test]
fn a_client_certificate_lets_a_station_in() {
    let mut field = Field::new();
    let Field { tpm, server } = &mut field;
    let make = |kind: &str, name: &str, spec: Value| {
        let body = json!({ "metadata": { "name": name }, "spec": spec });
        server.post(&format!("/api/tpm/namespaces/default/{kind}"), &body)
    };
    let mtls = json!({ "tpm_manager_ref": [{ "name": "factory" }] });
    let mtls = make("tpm_categorys", "line-2", mtls);
    for (file, member) in [("client.pem", "client_cert"), ("client.key", "client_key")] {
        tpm.write(file, mtls["spec"][member].as_str().unwrap().as_bytes());
    }
    let bound = json!({ "category_ref": [{ "name": "line-2" }], "need_mtls": true });
    let bound = make("tpm_api_keys", "line-2", bound);
    let bound = bound["api_key"].as_str().unwrap().to_owned();

    let own = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    tpm.write("server.pem", own.cert.pem().as_bytes());
    tpm.write("server.key", own.signing_key.serialize_pem().as_bytes());
    let at = |file: &str| tpm.folder().join(file).display().to_string();
    server.restart(&[
        "--tls-cert",
        &at("server.pem"),
        "--tls-key",
        &at("server.key"),
    ]);
    let url = format!("https://{} --ca-file server.pem", server.address());
    let by_certificate = "--client-cert client.pem --client-key client.key";
    // The API key of another category, which does not require a certificate: the certificate of any category admits the station.
    let provision = format!("provision --url {url} {by_certificate}");
    succeeds(&field.station_by(&provision));
    the_files_are_in_order(&field);
    let attest = format!("attest --selection sha256:0 --url {url} {by_certificate}");
    succeeds(&field.station_by(&attest));

    // The key that requires one, with the certificate and with only a token.
    field.tpm.write("api-key", bound.as_bytes());
    let output = field.station_by(&format!("provision --url {url} --token-file token"));
    fails(&output, "the server refuses the API key");
    let of_its_category = "--namespace default --category line-2";
    succeeds(&field.station_of(of_its_category, &provision));
    // A certificate of an unknown issuer.
    field.tpm.shell(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=stranger \
         -keyout other.key -out other.pem",
    );
    let stranger = "--client-cert other.pem --client-key other.key";
    let output = field.station_by(&format!("provision --url {url} {stranger}"));
    fails(&output, "401");
}
