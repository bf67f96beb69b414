//! `keyproof otp`

use std::{
    fs,
    process::{Command, Output, Stdio},
    thread,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{fails, json_output, keyproof, run, run_line, succeeds, text};

/// RFC 6238, appendix B.
const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

fn secret_file(folder: &TempDir, secret: &str) -> String {
    let path = folder.path().join("secret");
    fs::write(&path, secret).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Runs `keyproof otp` with these words.
fn otp(line: &str) -> Output {
    run_line(&format!("otp {line}"))
}

#[track_caller]
fn prints(line: &str, expected: &str) {
    assert_eq!(succeeds(&otp(line)).trim_end(), expected);
}

#[test]
fn otp_code_prints_the_code() {
    let folder = TempDir::new().unwrap();
    let file = secret_file(&folder, "gezd gnbv gy3t qojq gezd gnbv gy3t qojq\n");
    let code = format!("code --secret-file {file}");
    prints(&format!("{code} --digits 8 --at 59"), "94287082");
    prints(&format!("{code} --counter 9"), "520489");
    // A time cannot be combined with a counter.
    for command in ["code", "verify 520489"] {
        let output = otp(&format!(
            "{command} --secret-file {file} --counter 9 --at 59"
        ));
        assert_eq!(output.status.code(), Some(2));
    }
    let uri = format!("otpauth://totp/a?secret={SECRET}&digits=8");
    prints(&format!("code --uri {uri} --at 1111111109"), "07081804");

    let output = run(&["otp", "code", "--uri", &uri, "--at", "59", "--json"]);
    let document = json_output(&output, 0);
    let expected = serde_json::json!({ "code": "94287082", "step": 1, "valid_until": 60 });
    assert_eq!(document, expected);
}

#[test]
fn otp_secret_draws_none_where_nobody_would_see_it() {
    let folder = TempDir::new().unwrap();
    let mut null = keyproof(&folder);
    null.args(["otp", "secret"]).stdout(Stdio::null());
    let mut closed = Command::new("/bin/sh");
    let program = env!("CARGO_BIN_EXE_keyproof");
    closed.args(["-c", "exec \"$0\" otp secret --json >&-", program]);
    for mut command in [null, closed] {
        let says = "standard output is /dev/null: the secret would be lost";
        fails(&command.output().unwrap(), 2, says);
    }
}

#[test]
fn otp_secret_draws_a_secret() {
    let draw = |arguments: &[&str]| {
        let output = run(&[&["otp", "secret"], arguments].concat());
        succeeds(&output).trim_end().to_owned()
    };
    for (arguments, length) in [
        (&[][..], 32),
        (&["--bytes", "16"], 26),
        (&["--bytes", "128"], 205),
    ] {
        let secret = draw(arguments);
        assert_eq!(secret.len(), length);
        assert!(
            secret
                .bytes()
                .all(|c| c.is_ascii_uppercase() || (b'2'..=b'7').contains(&c))
        );
        assert_ne!(secret, draw(arguments));
    }
    let document: Value = serde_json::from_str(&draw(&["--json"])).unwrap();
    assert_eq!(document["bytes"], 20);
    let secret = document["secret"].as_str().unwrap();
    let folder = TempDir::new().unwrap();
    let file = secret_file(&folder, secret);
    assert_eq!(
        run(&["otp", "code", "--secret-file", &file]).status.code(),
        Some(0)
    );
    for wrong in ["0", "15", "129", "many"] {
        fails(&run(&["otp", "secret", "--bytes", wrong]), 2, "--bytes");
    }
}

#[test]
fn otp_uri_is_drawn_for_a_phone() {
    let uri = format!("otpauth://totp/Acme:ada?secret={SECRET}&issuer=Acme");
    let output = run(&["otp", "uri", "--uri", &uri, "--qr"]);
    let (drawing, below) = succeeds(&output).trim_end().rsplit_once('\n').unwrap();
    assert!(below.starts_with("otpauth://totp/Acme:ada?"), "{below}");
    let blocks = |line: &str| line.chars().all(|c| " ▀▄█".contains(c));
    assert!(
        drawing.lines().count() > 20 && drawing.lines().all(blocks),
        "{drawing}"
    );
    fails(
        &run(&["otp", "uri", "--uri", &uri, "--qr", "--json"]),
        2,
        "--qr",
    );
    let long = "a".repeat(3_000);
    let drawn = run(&["otp", "uri", "--uri", &uri, "--account", &long, "--qr"]);
    fails(&drawn, 1, "no QR code: data too long");
}

/// A shell's `<(…)` is a pipe.
#[test]
fn files_are_regular_or_pipes_and_bounded() {
    let folder = TempDir::new().unwrap();
    let code = |file: &str| run(&["otp", "code", "--at", "59", "--secret-file", file]);
    let neither = "neither a regular file nor a pipe";
    fails(&code("/dev/zero"), 2, neither);
    fails(&code(folder.path().to_str().unwrap()), 2, "directory");
    for arguments in [
        &["x509", "show", "/dev/zero"][..],
        &["tpm", "show", "/dev/zero"],
        &["config", "check", "--config", "/dev/zero"],
        &[
            "config",
            "check",
            "--tls-cert",
            "/dev/zero",
            "--tls-key",
            "/dev/zero",
        ],
        &["config", "check", "--master-key", "/dev/zero"],
        &[
            "config",
            "check",
            "--master-key",
            "/dev/zero",
            "--store",
            "memory:",
        ],
    ] {
        fails(&run(arguments), 2, neither);
    }
    let long = folder.path().join("long");
    fs::File::create(&long).unwrap().set_len(1 << 40).unwrap();
    let long = long.to_str().unwrap();
    fails(&code(long), 2, "longer than");
    fails(
        &run(&["config", "check", "--config", long]),
        2,
        "longer than",
    );
    // It can be read, but it does not parse.
    let binary = folder.path().join("binary");
    fs::write(&binary, b"\xff").unwrap();
    fails(&code(binary.to_str().unwrap()), 1, "it is not UTF-8");

    let pipe = folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let pipe = pipe.to_str().unwrap();
    fails(&code(pipe), 2, "pipe");
    let writer = {
        let pipe = pipe.to_owned();
        thread::spawn(move || fs::write(pipe, SECRET).unwrap())
    };
    let code = format!("code --at 59 --digits 8 --secret-file {pipe}");
    prints(&code, "94287082");
    writer.join().unwrap();
}

#[test]
fn otp_verify_reports() {
    let uri = format!("otpauth://totp/a?secret={SECRET}&digits=8");
    let verify = |code: &str, window: &str| {
        otp(&format!(
            "verify --uri {uri} --at 60 --window {window} --json {code}"
        ))
    };
    let report = json_output(&verify("94287082", "1,0"), 0);
    assert_eq!(report.get("accepted"), Some(&true.into()));
    assert_eq!(
        (&report["step"], &report["drift"]),
        (&1.into(), &(-1).into())
    );
    assert_eq!(report["checks"][0]["outcome"], "pass");

    let report = json_output(&verify("94287082", "0,1"), 1);
    assert_eq!(report.get("accepted"), Some(&false.into()));
    assert_eq!(report["checks"][0]["outcome"], "fail");

    fails(&verify("9428708", "1,1"), 1, "7 bytes, not 8 digits");
    fails(&verify("٩٤٢٨٧٠٨٢", "1,1"), 1, "16 bytes, not 8 digits");
    let folder = TempDir::new().unwrap();
    let long = secret_file(&folder, &"A".repeat(400));
    let code = ["otp", "code", "--secret-file", &long];
    fails(
        &run(&code),
        1,
        "secret: the secret is too long: it has more than 128 bytes",
    );
    // There is no next counter.
    let last = u64::MAX.to_string();
    let file = secret_file(&folder, SECRET);
    let of_last = ["--secret-file", &file, "--counter", &last];
    let printed = run(&[&["otp", "code"], &of_last[..]].concat());
    let code = text(&printed.stdout).trim_end();
    let verified = run(&[&["otp", "verify", code], &of_last[..]].concat());
    assert_eq!(verified.status.code(), Some(1));
    assert!(
        text(&verified.stdout).contains("the counter is at its end"),
        "{verified:?}"
    );
    fails(&verify("94287082", "1"), 2, "two whole numbers");
}

/// HMAC accepts an empty key, whose codes anybody can compute.
#[test]
fn an_empty_secret_or_pin_is_refused_and_a_weak_secret_told() {
    const SUITE: &str = "OCRA-1:HOTP-SHA256-8:QN08-PSHA1";
    let folder = TempDir::new().unwrap();
    let key = secret_file(&folder, SECRET);
    let file = folder.path().join("empty");
    let empty = file.to_str().unwrap();
    for contents in ["", "\n", " \r\n"] {
        fs::write(&file, contents).unwrap();
        let says = "empty: the secret is empty";
        for command in ["code", "verify 123456"] {
            let line = format!("{command} --secret-file {empty} --at 59");
            fails(&otp(&line), 1, says);
        }
        let ocra = |secret: &str, pin: &str| {
            otp(&format!(
                "ocra verify --suite {SUITE} --secret-file {secret} --pin-file {pin} \
                 --question 12345678 12345678"
            ))
        };
        fails(&ocra(empty, &key), 1, says);
        if !contents.contains(' ') {
            fails(&ocra(&key, empty), 1, "empty: the PIN is empty");
        }
    }
    fails(&otp("code --uri otpauth://totp/a?secret="), 1, "secret");

    let weak = secret_file(&folder, "GEZDGNBVGY3TQOJQ");
    let of = format!("--secret-file {weak} --at 59");
    let code = otp(&format!("code {of}"));
    assert_eq!(
        text(&code.stderr),
        "warning: the secret has less than 128 bits (RFC 4226, R6)\n"
    );
    let code = succeeds(&code);
    let report = json_output(&otp(&format!("verify {code} {of} --json")), 0);
    assert_eq!(report["accepted"], true);
    let secret = &report["checks"][1];
    assert_eq!(
        (&secret["name"], &secret["outcome"]),
        (&"secret".into(), &"warn".into())
    );
}

#[test]
fn otp_uri_builds_what_otp_code_reads() {
    let folder = TempDir::new().unwrap();
    let file = secret_file(&folder, SECRET);
    let built = format!("otpauth://totp/ACME:alice?secret={SECRET}&issuer=ACME&digits=6&period=30");
    let uri = format!("uri --secret-file {file} --account alice --issuer ACME");
    prints(&uri, &built);
    prints(&format!("code --uri {built} --at 59"), "287082");
}

#[test]
fn otp_inputs_that_do_not_parse_end_with_1_and_files_that_cannot_be_read_with_2() {
    let folder = TempDir::new().unwrap();
    let file = secret_file(&folder, "not base32!");
    for (input, code, says) in [
        (&*format!("--secret-file {file}"), 1, "keyproof: "),
        ("--uri https://example.com", 1, "keyproof: "),
        ("--secret-file /nonexistent", 2, "/nonexistent"),
    ] {
        fails(&otp(&format!("code {input}")), code, says);
    }
}

#[test]
fn otp_takes_a_uri_or_a_secret_and_says_so() {
    let folder = TempDir::new().unwrap();
    let file = secret_file(&folder, SECRET);
    let none = run(&["otp", "code", "--at", "59"]);
    for way in ["--uri <URI>", "--secret-file <FILE>"] {
        fails(&none, 2, way);
    }
    let uri = format!("otpauth://totp/a?secret={SECRET}");
    let both = ["otp", "code", "--uri", &uri, "--secret-file", &file];
    fails(&run(&both), 2, "cannot be used with");
    let further = ["otp", "code", "--uri", &uri, "--digits", "8"];
    fails(&run(&further), 2, "cannot be used with");
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let folder = TempDir::new().unwrap();
    let file = secret_file(&folder, SECRET);
    let mut child = keyproof(&folder)
        .args(["otp", "code", "--secret-file", &file])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}

/// RFC 6287 appendix C.
#[test]
fn otp_ocra_responds_and_verifies() {
    let folder = TempDir::new().unwrap();
    let file = secret_file(
        &folder,
        "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA",
    );
    let pin = folder.path().join("pin");
    fs::write(&pin, "1234\n").unwrap();
    let pin = pin.to_str().unwrap();
    let suite = "OCRA-1:HOTP-SHA256-8:C-QN08-PSHA1";
    let with = |command: &str, more: &str| {
        otp(&format!(
            "ocra {command} --suite {suite} --secret-file {file} --question 12345678 --pin-file {pin} {more}"
        ))
    };

    let output = with("response", "--counter 3");
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(0), "71565254\n")
    );
    let document = json_output(&with("response", "--counter 3 --json"), 0);
    assert_eq!(
        document,
        serde_json::json!({ "suite": suite, "response": "71565254" })
    );

    let verify = |counter: u8| {
        let more = format!("--counter {counter} --look-ahead 2 --json 71565254");
        with("verify", &more)
    };
    let report = json_output(&verify(1), 0);
    assert_eq!(
        (&report["accepted"], &report["next_counter"]),
        (&true.into(), &4.into())
    );
    let report = json_output(&verify(4), 1);
    assert_eq!(
        (&report["accepted"], &report["checks"][0]["outcome"]),
        (&false.into(), &"fail".into())
    );

    for (command, more, says) in [
        ("response", "", "requires a counter"),
        ("response", "--counter 3 --at 59", "has no time"),
        ("verify", "--counter 3 1234", "4 bytes, not 8"),
    ] {
        fails(&with(command, more), 1, says);
    }
    fails(&otp("ocra response --suite OCRA-1"), 2, "RFC 6287");
    let odd = with("response", "--counter 3 --session abc");
    fails(&odd, 2, "not hexadecimal, with two digits for each byte");
}

#[test]
fn otp_ocra_draws_challenges() {
    let draw = || {
        let output = otp("ocra challenge --suite OCRA-1:HOTP-SHA1-6:QH64");
        succeeds(&output).trim_end().to_owned()
    };
    let question = draw();
    assert_eq!(question.len(), 64);
    assert!(
        question.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{question}"
    );
    assert_ne!(question, draw());
}

/// RFC 6287 appendix C: the time is 0x132d0b6 minutes. The client responds to a server's question and adds its own.
#[test]
fn otp_ocra_takes_the_time_and_two_questions() {
    let folder = TempDir::new().unwrap();
    let key = "GEZDGNBVGY3TQOJQ".repeat(6) + "GEZDGNA";
    let file = secret_file(&folder, &key);
    let at = 0x132_d0b6 * 60;
    for (suite, more, response) in [
        (
            "QN08-T1M",
            &*format!("--question 00000000 --at {at}"),
            "95209754",
        ),
        (
            "QA08",
            "--question CLI22220 --own-question SRV11110",
            "79496648",
        ),
    ] {
        let suite = format!("OCRA-1:HOTP-SHA512-8:{suite}");
        let line = format!("ocra response --suite {suite} --secret-file {file} {more}");
        prints(&line, response);
    }
}

#[test]
fn otp_migration_reads_what_it_writes_and_shows_secrets_only_when_asked() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let uris: Vec<String> = (0..12)
        .map(|n| {
            format!("otpauth://totp/ACME:user{n}?secret={SECRET}&issuer=ACME&digits=6&period=30")
        })
        .collect();
    fs::write(path("uris"), uris.join("\n") + "\n\n").unwrap();
    let migration = |command: &str, file: &str| otp(&format!("migration {command} {}", path(file)));
    let output = migration("write", "uris");
    let codes: Vec<&str> = succeeds(&output).lines().collect();
    assert_eq!(codes.len(), 2);
    let reversed = format!("{}\n{}\n", codes[1], codes[0]);
    fs::write(path("codes"), reversed).unwrap();

    let output = migration("read --show-secrets", "codes");
    assert_eq!(succeeds(&output).trim_end(), uris.join("\n"));
    for command in ["read", "read --json"] {
        let output = migration(command, "codes");
        let shown = text(&output.stdout);
        assert!(
            shown.contains("user11") && !shown.contains("GEZD"),
            "{shown}"
        );
    }
    let document = json_output(&migration("read --show-secrets --json", "codes"), 0);
    assert_eq!(document["accounts"][11]["uri"], uris[11].as_str());
    assert_eq!(document["accounts"][0]["weak"], false);

    fs::write(path("half"), codes[1]).unwrap();
    fs::write(path("wrong"), "\notpauth-migration://offline?data=CgA").unwrap();
    fs::write(path("empty"), "").unwrap();
    for (command, file, code, says) in [
        ("read", "half", 1, "code 1 of the export is missing"),
        ("read", "wrong", 1, "wrong: line 2: the account at byte 2"),
        ("read", "nowhere", 2, "nowhere"),
        ("write", "empty", 1, "no account"),
    ] {
        fails(&migration(command, file), code, says);
    }

    let output = migration("write --qr", "uris");
    let drawn = succeeds(&output);
    assert_eq!(drawn.matches("otpauth-migration://").count(), 2);
    assert!(drawn.contains('▀'));
}

/// Names in an export cannot send control sequences to a terminal.
#[test]
fn otp_migration_shows_names_as_text() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("uris");
    fs::write(&file, format!("otpauth://totp/a%1B%5B2J?secret={SECRET}")).unwrap();
    let output = otp(&format!("migration write {}", file.display()));
    fs::write(&file, &output.stdout).unwrap();
    prints(
        &format!("migration read {}", file.display()),
        "a\\u{1b}[2J (TOTP every 30 s, SHA1, 6 digits)",
    );
}

/// RFC 6030 figure 6.
#[test]
fn otp_pskc_shows_keys_and_their_secrets_only_when_asked() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let document = include_str!("../../../../../fuzz/pskc/corpus/pskc_container/figure_6.xml");
    fs::write(path("container"), document).unwrap();
    fs::write(path("key"), "12345678901234567890123456789012\n").unwrap();
    fs::write(path("wrong"), "00".repeat(16)).unwrap();
    fs::write(path("password"), "qwerty\n").unwrap();
    let [container, key, wrong, password] = ["container", "key", "wrong", "password"].map(path);
    let show = |more: &str| otp(&format!("pskc show {container} {more}"));
    let with_key = |more: &str| show(&format!("--key-file {key} {more}"));

    // Data that is not secret is shown without the key.
    let output = show("");
    let told = "key 12345678: HOTP, manufacturer Manufacturer, serial 987654321, issuer Issuer";
    assert_eq!(succeeds(&output), format!("{told}\n"));
    assert!(text(&output.stderr).contains("give --key-file or --password-file"));
    let output = with_key("");
    assert_eq!(
        text(&output.stdout),
        format!("{told}, secret bytes 20, counter 0\n")
    );

    let uri = format!(
        "otpauth://hotp/Issuer:987654321?secret={SECRET}&issuer=Issuer&digits=8&counter=0\n"
    );
    let output = with_key("--show-secrets");
    assert_eq!(text(&output.stdout), uri);
    let document = json_output(&with_key("--json"), 0);
    let shown = &document["keys"][0];
    assert_eq!(
        (&document["encrypted"], &shown["secret_bytes"]),
        (&true.into(), &20.into())
    );
    assert_eq!(
        (&shown["secret"], &shown["uri"]),
        (&Value::Null, &Value::Null)
    );
    let document = json_output(&with_key("--json --show-secrets"), 0);
    assert_eq!(document["keys"][0]["uri"], uri.trim_end());

    for (more, says) in [
        ("--show-secrets", "encrypted with a key, and none was given"),
        (
            &*format!("--key-file {wrong}"),
            &*format!("{container}: wrong key or password"),
        ),
        (&*format!("--password-file {password}"), "none was given"),
        (
            &*format!("--key-file {container}"),
            "not hexadecimal, with two digits for each byte",
        ),
    ] {
        fails(&show(more), 1, says);
    }
    let empty = r#"<KeyContainer Version="1.0" xmlns="urn:ietf:params:xml:ns:keyprov:pskc"/>"#;
    fs::write(path("none"), empty).unwrap();
    let none = otp(&format!("pskc show {}", path("none")));
    assert_eq!(succeeds(&none), "");
    assert!(text(&none.stderr).contains("the container has no key"));
    let no_xml = otp(&format!("pskc show {password}"));
    fails(&no_xml, 1, &format!("{password}: not well-formed XML"));
    let nowhere = otp(&format!("pskc show {}", path("nowhere")));
    fails(&nowhere, 2, "nowhere");
}

/// The properties of devices and PINs that an otpauth URI cannot contain.
#[test]
fn otp_pskc_tells_of_the_dates_of_devices_and_of_pins() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("container");
    let show = |device: &str, policy: &str, more: &[&str]| {
        let document = format!(
            r#"<KeyContainer Version="1.0" xmlns="urn:ietf:params:xml:ns:keyprov:pskc"><KeyPackage>
              <DeviceInfo><SerialNo>1</SerialNo>{device}</DeviceInfo>
              <Key Id="7" Algorithm="urn:ietf:params:xml:ns:keyprov:pskc:totp">
                <Data><Secret><PlainValue>MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=</PlainValue></Secret></Data>
                {policy}
              </Key></KeyPackage></KeyContainer>"#
        );
        fs::write(&path, document).unwrap();
        let command = ["otp", "pskc", "show", path.to_str().unwrap()];
        let output = run(&[&command[..], more].concat());
        succeeds(&output);
        output
    };
    let pin = |mode: &str| format!(r#"<Policy><PINPolicy {mode}/></Policy>"#);
    let (start, end) = (
        "<StartDate>2026-05-01T00:00:00Z</StartDate>",
        "<ExpiryDate>2026-05-31T00:00:00Z</ExpiryDate>",
    );
    for (device, policy, says, member) in [
        (
            start,
            "",
            "device from 2026-05-01T00:00:00Z",
            "device_start_date",
        ),
        (
            end,
            "",
            "device until 2026-05-31T00:00:00Z",
            "device_expiry_date",
        ),
        (
            "",
            &*pin(r#"PINUsageMode="Local""#),
            "with a PIN (Local)",
            "policy",
        ),
        ("", &*pin(""), "with a PIN", "policy"),
    ] {
        let shown = show(device, policy, &[]);
        assert!(
            text(&shown.stdout).contains(says),
            "{}",
            text(&shown.stdout)
        );
        let document = json_output(&show(device, policy, &["--json"]), 0);
        assert!(!document["keys"][0][member].is_null(), "{document}");
        let output = show(device, policy, &["--show-secrets"]);
        assert!(text(&output.stdout).contains("otpauth://totp/1?"));
        assert!(text(&output.stderr).starts_with("warning: key 7 is limited"));
    }
    // A code from the key without the PIN would be rejected.
    for mode in ["Append", "Prepend", "Algorithmic"] {
        let policy = pin(&format!(r#"PINUsageMode="{mode}""#));
        let output = show("", &policy, &["--show-secrets"]);
        let shown = text(&output.stdout);
        assert!(!shown.contains("otpauth://"), "{shown}");
        assert!(shown.contains(&format!("with a PIN ({mode})")), "{shown}");
        let document = json_output(&show("", &policy, &["--show-secrets", "--json"]), 0);
        let key = &document["keys"][0];
        assert_eq!(
            (&key["policy"]["pin"]["usage"], &key["uri"]),
            (&mode.into(), &Value::Null)
        );
    }
}

/// RFC 6030 section 5: a reader that cannot follow a policy must not use the key. An otpauth URI cannot contain a policy.
#[test]
fn otp_pskc_makes_no_uri_of_a_key_that_is_not_for_codes() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("container");
    let show = |policy: &str, more: &[&str]| {
        let document = format!(
            r#"<KeyContainer Version="1.0" xmlns="urn:ietf:params:xml:ns:keyprov:pskc"><KeyPackage>
              <Key Id="7" Algorithm="urn:ietf:params:xml:ns:keyprov:pskc:totp">
                <Data><Secret><PlainValue>MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=</PlainValue></Secret></Data>
                <Policy>{policy}</Policy>
              </Key></KeyPackage></KeyContainer>"#
        );
        fs::write(&path, document).unwrap();
        let file = path.to_str().unwrap();
        let command = ["otp", "pskc", "show", "--show-secrets", file];
        let output = run(&[&command[..], more].concat());
        succeeds(&output);
        output
    };
    let hex = "3132333435363738393031323334353637383930";
    for policy in [
        "<KeyUsage>CR</KeyUsage>",
        "<KeyUsage>OTP</KeyUsage><KeyUsage>Tea</KeyUsage>",
        r#"<x:Only xmlns:x="urn:x"/>"#,
    ] {
        let output = show(policy, &[]);
        let shown = text(&output.stdout);
        assert!(!shown.contains("otpauth://"), "{shown}");
        assert!(shown.contains("not to be used for codes") && shown.contains(hex));
        let document = json_output(&show(policy, &["--json"]), 0);
        let key = document["keys"][0].as_object().unwrap();
        assert_eq!((&key["secret"], &key["uri"]), (&hex.into(), &Value::Null));
    }
    for (policy, is_limited) in [
        ("<KeyUsage>OTP</KeyUsage>", false),
        ("<StartDate>2026-05-01T00:00:00Z</StartDate>", true),
        ("<ExpiryDate>2026-05-31T00:00:00Z</ExpiryDate>", true),
        ("<NumberOfTransactions>3</NumberOfTransactions>", true),
    ] {
        for more in [&[][..], &["--json"]] {
            let output = show(policy, more);
            assert!(text(&output.stdout).contains("otpauth://totp/7?"));
            let warned = text(&output.stderr).contains("key 7 is limited");
            assert_eq!(warned, is_limited, "{policy}");
        }
    }
}

#[test]
fn otp_pskc_writes_what_it_shows_and_secrets_only_where_nobody_else_reads() {
    use std::os::unix::fs::PermissionsExt;

    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let uris = [
        format!("otpauth://totp/ACME:ada?secret={SECRET}&issuer=ACME&digits=6&period=60"),
        format!("otpauth://hotp/bert?secret={SECRET}&algorithm=SHA256&digits=8&counter=7"),
    ];
    fs::write(path("uris"), uris.join("\n") + "\n").unwrap();
    fs::write(path("key"), "000102030405060708090a0b0c0d0e0f\n").unwrap();
    fs::write(path("short"), "0001").unwrap();
    fs::write(path("password"), "correct horse\n").unwrap();
    fs::write(path("nothing"), "\n").unwrap();
    let write = |more: &[&str]| run(&[&["otp", "pskc", "write", &path("uris")], more].concat());
    let shows = |file: &str, more: &[&str]| {
        let more = more.join(" ");
        prints(
            &format!("pskc show --show-secrets {file} {more}"),
            &uris.join("\n"),
        );
    };

    // A plain container is written to a new file with mode 0600, or printed on request.
    fails(&write(&[]), 2, "--show-secrets");
    let output = write(&["--out", &path("plain"), "--manufacturer", "Müller & Söhne"]);
    assert_eq!(succeeds(&output), "");
    let mode = fs::metadata(path("plain")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    shows(&path("plain"), &[]);
    // A plain container is rejected if a key or password is given.
    for (given, file) in [("--key-file", "key"), ("--password-file", "password")] {
        let command = ["otp", "pskc", "show", &path("plain"), given, &path(file)];
        fails(&run(&command), 1, "is not encrypted");
    }
    let output = run(&["otp", "pskc", "show", &path("plain")]);
    let shown = text(&output.stdout);
    assert!(shown.contains("manufacturer Müller & Söhne"), "{shown}");
    assert!(shown.contains("user bert, suite HMAC-SHA256, "), "{shown}");
    fails(&write(&["--out", &path("plain")]), 2, "exists");
    let output = write(&["--show-secrets"]);
    fs::write(path("printed"), &output.stdout).unwrap();
    shows(&path("printed"), &[]);

    // Encrypted, with a key or with a password.
    let few = ["--iterations", "1000"];
    for (given, file, more) in [
        ("--key-file", "key", &[][..]),
        ("--password-file", "password", &few[..]),
    ] {
        let named = [given, &path(file), "--name", "of 2027"];
        let output = write(&[&named[..], more].concat());
        let document = succeeds(&output);
        assert!(
            document.contains("of 2027") && !document.contains("PlainValue>MTIz"),
            "{document}"
        );
        fs::write(path("encrypted"), document).unwrap();
        shows(&path("encrypted"), &[given, &path(file)]);
        fails(
            &run(&["otp", "pskc", "show", "--show-secrets", &path("encrypted")]),
            1,
            "none was given",
        );
    }
    fails(&write(&few), 2, "--password-file");
    for iterations in ["0", "10000001"] {
        let named = [
            "--password-file",
            &path("password"),
            "--iterations",
            iterations,
        ];
        fails(&write(&named), 2, iterations);
    }
    fails(
        &write(&["--key-file", &path("short")]),
        1,
        "16, 24 or 32 bytes, not 2",
    );
    fails(
        &write(&["--password-file", &path("nothing")]),
        1,
        "password is empty",
    );
    fails(
        &run(&["otp", "pskc", "write", &path("nothing"), "--show-secrets"]),
        1,
        "at least one key",
    );
}
