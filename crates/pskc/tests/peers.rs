//! Reads containers of python3-pskc, and has python3-pskc and `pskctool` read ours.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test reports by a panic"
)]

use std::{
    convert::Infallible,
    io::{ErrorKind, Write},
    process::{Command, Stdio},
};

use keyproof_pskc::{
    Cipher, Container, DecryptionKey, Encoding, Key, KeyData, KeyDerivation, KeyInfo,
    KeyProtection, KeyUsage, MacAlgorithm, Policy, PskcError, ResponseFormat, Secret, Writer,
};

/// Runs a peer with the given standard input.
fn run(command: &mut Command, package: &str, input: &[u8]) -> String {
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap_or_else(|error| match error.kind() {
        ErrorKind::NotFound => panic!("this test needs {package}: apt-get install {package}"),
        _ => panic!("{command:?} does not start: {error}"),
    });
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ({package}): {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Writes a container of two keys, encrypted as the arguments specify.
const WRITE: &str = r#"
import sys
from pskc import PSKC
kind, algorithm, mac, prf = sys.argv[1:]
container = PSKC()
for serial in ("1", "2"):
    key = container.add_key(
        id="key " + serial, serial=serial, manufacturer="M\u00fcller & <S\u00f6hne>", issuer="ACME",
        algorithm="urn:ietf:params:xml:ns:keyprov:pskc:totp", response_length=8, response_encoding="DECIMAL",
        secret=b"secret of " + serial.encode() + b"." * 13, counter=300, time_interval=60, time_drift=4)
    key.policy.key_usage.append("OTP")
fields = ["secret", "counter"] if algorithm.endswith("-cbc") else ["secret"]
container.mac.algorithm = mac or None
if kind == "key":
    container.encryption.setup_preshared_key(
        key=bytes(range(int(algorithm[-7:-4] if algorithm.endswith("-cbc") else algorithm[-3:]) // 8)),
        key_name="ours", algorithm=algorithm, fields=fields)
elif kind == "password":
    container.encryption.setup_pbkdf2("p\u00e4ssword", iterations=1234, algorithm=algorithm, fields=fields, prf=prf or None)
container.write(sys.stdout)
"#;

fn written(kind: &str, algorithm: &str, mac: &str, prf: &str) -> String {
    // Debian's own interpreter, because it finds Debian's packages.
    let mut python = Command::new("/usr/bin/python3");
    python
        .args(["-c", WRITE, kind, algorithm, mac, prf])
        .env("PYTHONIOENCODING", "utf-8");
    run(&mut python, "python3-pskc", b"")
}

fn opens(document: &str, unlock: DecryptionKey<'_>) {
    let container =
        Container::parse(document).unwrap_or_else(|error| panic!("{error}: {document}"));
    let keys = container
        .open(unlock)
        .unwrap_or_else(|error| panic!("{error}: {document}"));
    assert_eq!(keys.len(), 2);
    for (serial, key) in ["1", "2"].into_iter().zip(&keys) {
        let secret = format!("secret of {serial}.............");
        assert_eq!(
            key.data.secret.as_ref().unwrap().as_bytes(),
            secret.as_bytes()
        );
        assert_eq!(key.data.counter, Some(300));
        assert_eq!(
            (key.data.time_interval, key.data.time_drift),
            (Some(60), Some(4))
        );
        assert_eq!(key.info.id, format!("key {serial}"));
        assert_eq!(
            key.info.device.manufacturer.as_deref(),
            Some("Müller & <Söhne>")
        );
        assert_eq!(key.info.response.unwrap().length, 8);
    }
}

#[test]
fn we_open_what_python3_pskc_writes() {
    opens(&written("none", "-cbc", "", ""), DecryptionKey::None);
    let key: Vec<u8> = (0..32).collect();
    for (algorithm, len) in [
        ("aes128-cbc", 16),
        ("aes192-cbc", 24),
        ("aes256-cbc", 32),
        ("kw-aes128", 16),
        ("kw-aes192", 24),
        ("kw-aes256", 32),
    ] {
        let document = written("key", algorithm, "", "");
        opens(&document, DecryptionKey::Key(key.get(..len).unwrap()));
        let wrong = Container::parse(&document)
            .unwrap()
            .open(DecryptionKey::Key(&vec![9; len]));
        assert_eq!(wrong, Err(PskcError::Authentication));
    }
    for mac in ["hmac-sha256", "hmac-sha384", "hmac-sha512"] {
        opens(
            &written("key", "aes128-cbc", mac, ""),
            DecryptionKey::Key(key.get(..16).unwrap()),
        );
    }
    for prf in ["", "hmac-sha256", "hmac-sha384", "hmac-sha512"] {
        opens(
            &written("password", "aes256-cbc", "", prf),
            DecryptionKey::Password("pässword"),
        );
    }
}

#[test]
fn pskctool_reads_the_same() {
    let document = written("none", "-cbc", "", "");
    let mut pskctool = Command::new("pskctool");
    let told = run(
        pskctool.args(["--info", "--strict"]),
        "pskctool",
        document.as_bytes(),
    );
    let container = Container::parse(&document).unwrap();
    for key in container.open(DecryptionKey::None).unwrap() {
        let secret = data_encoding::BASE64.encode(key.data.secret.as_ref().unwrap().as_bytes());
        let counter = key.data.counter.unwrap().to_string();
        for said in [
            &key.info.id,
            key.info.device.serial_number.as_ref().unwrap(),
            &secret,
            &counter,
        ] {
            assert!(told.contains(said.as_str()), "{said}: {told}");
        }
    }
}

/// Prints what python3-pskc reads from a container on its standard input.
const READ: &str = r#"
import io, json, sys
from pskc import PSKC
kind, given = sys.argv[1:]
container = PSKC(io.BytesIO(sys.stdin.buffer.read()))
if kind == "key":
    container.encryption.key = bytes.fromhex(given)
elif kind == "password":
    container.encryption.derive_key(given)
for key in container.keys:
    print(key.id, key.algorithm, key.secret.hex(), key.counter, key.time_interval, key.serial, key.manufacturer,
          key.response_length, key.userid, key.policy.key_usage, key.check(), sep="|")
"#;

/// Two keys, with a manufacturer's name that must be escaped.
fn two_keys() -> Vec<Key> {
    let key = |serial: &str| {
        let mut info = KeyInfo::new(format!("key {serial}"));
        info.algorithm = Some(KeyInfo::TOTP.to_owned());
        info.user_id = Some("ada".to_owned());
        info.response = Some(ResponseFormat::new(Encoding::Decimal, 8));
        info.device.manufacturer = Some("Müller & <Söhne>".to_owned());
        info.device.serial_number = Some(serial.to_owned());
        let mut policy = Policy::default();
        policy.usages.push(KeyUsage::Otp);
        info.policy = Some(policy);
        let mut data = KeyData::default();
        data.secret = Some(Secret::from(&b"a secret of 24 bytes ..."[..]));
        (data.counter, data.time_interval) = (Some(300), Some(60));
        Key::new(info, data)
    };
    vec![key("1"), key("2")]
}

fn python_reads(document: &str, kind: &str, given: &str) {
    let mut python = Command::new("/usr/bin/python3");
    python
        .args(["-c", READ, kind, given])
        .env("PYTHONIOENCODING", "utf-8");
    let told = run(&mut python, "python3-pskc", document.as_bytes());
    let secret = data_encoding::HEXLOWER.encode(b"a secret of 24 bytes ...");
    let expected: String = ["1", "2"]
        .map(|serial| {
            let totp = KeyInfo::TOTP;
            format!("key {serial}|{totp}|{secret}|300|60|{serial}|Müller & <Söhne>|8|ada|['OTP']|")
        })
        .concat();
    let without_check: String = told
        .lines()
        .map(|line| line.trim_end_matches("True").trim_end_matches("None"))
        .collect();
    assert_eq!(without_check, expected, "{document}");
}

/// Validates a document against the schemas of RFC 6030, XML Encryption and XML Signature.
fn pskctool_validates(document: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("container.xml");
    std::fs::write(&file, document).unwrap();
    let mut pskctool = Command::new("pskctool");
    let told = run(pskctool.arg("--validate").arg(&file), "pskctool", b"");
    assert!(told.contains("OK"), "{told}: {document}");
}

#[test]
fn python3_pskc_and_pskctool_read_what_we_write() {
    let keys = two_keys();
    let random = |bytes: &mut [u8]| {
        bytes.fill(7);
        Ok::<_, Infallible>(())
    };
    let document = Writer::new(KeyProtection::None)
        .with_id("delivery-1")
        .write(&keys, random)
        .unwrap();
    python_reads(&document, "nothing", "");
    pskctool_validates(&document);
    let mut pskctool = Command::new("pskctool");
    let told = run(
        pskctool.args(["--info", "--strict"]),
        "pskctool",
        document.as_bytes(),
    );
    for said in ["key 1", "key 2", "YSBzZWNyZXQgb2YgMjQgYnl0ZXMgLi4u", "300"] {
        assert!(told.contains(said), "{said}: {told}");
    }

    // python3-pskc does not support padding after RFC 5649.
    let shared: Vec<u8> = (0..32).collect();
    for cipher in [
        Cipher::Aes128Cbc,
        Cipher::Aes192Cbc,
        Cipher::Aes256Cbc,
        Cipher::Aes128KeyWrap,
        Cipher::Aes192KeyWrap,
        Cipher::Aes256KeyWrap,
    ] {
        let key = shared.get(..cipher.key_len()).unwrap();
        for mac in [
            MacAlgorithm::HmacSha1,
            MacAlgorithm::HmacSha256,
            MacAlgorithm::HmacSha384,
            MacAlgorithm::HmacSha512,
        ] {
            // There are no codes for wrapped keys.
            if cipher.is_authenticated() && mac != MacAlgorithm::HmacSha256 {
                continue;
            }
            let lock = KeyProtection::Key {
                cipher,
                key,
                name: "ours",
            };
            let document = Writer::new(lock)
                .with_mac(mac)
                .write(&keys, random)
                .unwrap();
            python_reads(&document, "key", &data_encoding::HEXLOWER.encode(key));
            pskctool_validates(&document);
            let derivation = KeyDerivation::new(cipher, mac, &[7; 16])
                .and_then(|derivation| derivation.with_iterations(1234))
                .unwrap()
                .with_name("theirs");
            let lock = KeyProtection::Password {
                cipher,
                derivation: &derivation,
                password: "pässword",
            };
            let document = Writer::new(lock)
                .with_mac(mac)
                .write(&keys, random)
                .unwrap();
            python_reads(&document, "password", "pässword");
            pskctool_validates(&document);
        }
    }
}
