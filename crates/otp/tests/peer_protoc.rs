//! Compares exports with `protoc`, which decodes what we write and encodes what we read.
#![cfg(feature = "alloc")]
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test reports by a panic"
)]

use std::{
    fs,
    io::{ErrorKind, Write},
    process::{Command, Stdio},
};

use data_encoding::{BASE64, HEXLOWER};
use keyproof_otp::{
    Algorithm, Digits, Secret,
    migration::Migration,
    otpauth::{Kind, OtpauthUri},
};
use percent_encoding::percent_decode_str;

/// The fields of the export, as documented by other implementations.
const SCHEMA: &str = r#"
syntax = "proto3";
message Payload {
    message Account {
        bytes secret = 1; string name = 2; string issuer = 3;
        int32 algorithm = 4; int32 digits = 5; int32 type = 6; int64 counter = 7;
    }
    repeated Account accounts = 1;
    int32 version = 2; int32 batch_size = 3; int32 batch_index = 4; int32 batch_id = 5;
}
"#;

/// Runs `protoc --encode` or `--decode` on a message.
fn protoc(direction: &str, input: &[u8]) -> Vec<u8> {
    let folder =
        std::env::temp_dir().join(format!("keyproof-otp-{}-{direction}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("export.proto"), SCHEMA).unwrap();
    let child = Command::new("protoc")
        .arg(format!("--{direction}=Payload"))
        .arg("export.proto")
        .current_dir(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap_or_else(|error| match error.kind() {
        ErrorKind::NotFound => panic!("this test needs protoc: apt-get install protobuf-compiler"),
        _ => panic!("protoc does not start: {error}"),
    });
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    fs::remove_dir_all(&folder).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

#[test]
fn protoc_reads_what_we_write() {
    let secret = Secret::from_bytes(b"1234567890").unwrap();
    let totp = OtpauthUri::new(Kind::TOTP, Some("ACME"), "ada", secret.clone()).unwrap();
    let hotp = OtpauthUri::new(Kind::Hotp { counter: 300 }, None, "grace", secret).unwrap();
    let hotp = hotp
        .with_algorithm(Algorithm::Sha512)
        .with_digits(Digits::EIGHT);
    let codes = Migration::batch(&[totp, hotp], -2).unwrap();
    let uri = codes.first().unwrap().to_string();
    let data = uri
        .strip_prefix("otpauth-migration://offline?data=")
        .unwrap();
    let data = percent_decode_str(data).collect::<Vec<u8>>();
    let read = protoc("decode", &BASE64.decode(&data).unwrap());
    let expected = r#"accounts {
  secret: "1234567890"
  name: "ACME:ada"
  issuer: "ACME"
  algorithm: 1
  digits: 1
  type: 2
}
accounts {
  secret: "1234567890"
  name: "grace"
  algorithm: 3
  digits: 2
  type: 1
  counter: 300
}
version: 1
batch_size: 1
batch_id: -2
"#;
    assert_eq!(String::from_utf8(read).unwrap(), expected);
}

#[test]
fn we_read_what_protoc_writes() {
    let text = r#"
        accounts { secret: "\001\377" name: "ACME:ada" issuer: "ACME" algorithm: 2 digits: 2 type: 2 }
        accounts { secret: "abc" name: "grace" type: 1 counter: 9223372036854775807 }
        version: 2 batch_size: 4 batch_index: 3 batch_id: -2147483648
    "#;
    let message = protoc("encode", text.as_bytes());
    let code = Migration::from_message(&message)
        .unwrap_or_else(|error| panic!("{error}: {}", HEXLOWER.encode(&message)));
    let accounts: Vec<String> = code.accounts().iter().map(ToString::to_string).collect();
    let expected = [
        "otpauth://totp/ACME:ada?secret=AH7Q&issuer=ACME&algorithm=SHA256&digits=8&period=30",
        "otpauth://hotp/grace?secret=MFRGG&digits=6&counter=9223372036854775807",
    ];
    assert_eq!(accounts, expected);
    let part = code.part();
    assert_eq!((part.id, part.size, part.index), (i32::MIN, 4, 3));
}
