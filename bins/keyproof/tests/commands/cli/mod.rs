//! The commands as a script uses them: exit codes, standard output, standard error, signals.

mod config;
mod demo;
mod otp;
mod serve;
mod tpm;
mod tpm_station;
mod user;
mod x509;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Output},
};

use keyproof::dialect::DialectName;
use serde_json::Value;
use tempfile::TempDir;

/// Returns the program's command with a separate environment.
fn keyproof(home: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyproof"));
    command.env_clear().env("HOME", home.path());
    command
}

fn run(arguments: &[&str]) -> Output {
    let home = TempDir::new().unwrap();
    keyproof(&home).args(arguments).output().unwrap()
}

/// Runs a command of words without blanks.
fn run_line(line: &str) -> Output {
    let words: Vec<&str> = line.split_whitespace().collect();
    run(&words)
}

/// Writes a file with this mode, and returns its path.
fn write_file(folder: &TempDir, name: &str, contents: impl AsRef<[u8]>, mode: u32) -> String {
    let path = folder.path().join(name);
    fs::write(&path, contents).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path.display().to_string()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Asserts that the command ended with 0, and returns its standard output.
#[track_caller]
fn succeeds(output: &Output) -> &str {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    text(&output.stdout)
}

/// Asserts that the command ended with this exit code, and returns the document that it printed.
#[track_caller]
fn json_output(output: &Output, code: i32) -> Value {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Asserts that the command ended with this exit code, printed this text to standard error, and nothing to standard output.
#[track_caller]
fn fails(output: &Output, code: i32, says: &str) {
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains(says),
        "{}",
        text(&output.stderr)
    );
    assert!(output.stdout.is_empty());
}

/// Every command that scripts rely on, with its flags. The flags of all commands that use a store, and `--json`, are below.
const RELIED_ON: &[(&str, &str)] = &[
    ("audit", "--follow --since"),
    ("backup", "--with-master-key --stdin --keep"),
    ("config check", ""),
    ("demo", ""),
    ("device forget", "--yes"),
    ("device list", ""),
    ("device relearn", ""),
    ("device show", ""),
    ("instance add", "--stdin"),
    ("instance list", ""),
    ("instance remove", "--yes"),
    ("instance set-password", "--stdin"),
    ("keys rotate finish", ""),
    ("keys rotate prepare", ""),
    ("keys rotate switch", ""),
    ("keys signing end", ""),
    ("keys signing list", ""),
    ("keys signing rotate", ""),
    ("migrate", ""),
    ("otp code", "--uri --secret-file --at"),
    ("otp secret", "--bytes"),
    ("otp uri", "--uri --secret-file --qr"),
    ("otp verify", "--uri --secret-file --at --window"),
    ("restore", "--unspent --stdin"),
    ("store copy", "--move"),
    ("token create", "--scope --subject --lifetime --quiet"),
    ("token list", ""),
    ("token revoke", ""),
    ("tpm check-certify", "--ak --attest --signature --nonce"),
    ("tpm check-creation", "--ak --attest --signature"),
    (
        "tpm check-ek",
        "--cert --pub --roots --intermediates --crl --at",
    ),
    (
        "tpm check-quote",
        "--ak --attest --signature --nonce --pcrs --selection --ek",
    ),
    ("tpm check-time", "--ak --attest --signature --nonce"),
    ("tpm make-credential", "--ek --name --secret-file --out"),
    ("tpm open-provision", "--key"),
    ("tpm replay-log", "--pcrs"),
    ("tpm show", ""),
    (
        "tpm station attest",
        "--url --token-file --client-cert --client-key --api-key-file --namespace --category --ca-file --device",
    ),
    (
        "tpm station provision",
        "--url --token-file --client-cert --client-key --api-key-file --namespace --category --ca-file --device",
    ),
    ("tpm trust add", ""),
    ("tpm trust check", ""),
    ("tpm trust list", ""),
    ("tpm trust remove", ""),
    ("user activate", ""),
    ("user add", "--organisation --role --stdin"),
    ("user list", ""),
    ("user remove", "--yes --forget"),
    ("user set-password", "--stdin"),
    ("user suspend", ""),
    ("user tokens ada list", ""),
    ("user tokens ada revoke", ""),
    ("user unlock", ""),
    ("x509 check", "--ca --leaf --code --at --policy"),
    ("x509 code", ""),
    ("x509 prove", "--ca --ca-key --code --out"),
    ("x509 show", ""),
];

/// The same for commands that print no JSON document.
const WITHOUT_A_DOCUMENT: &[(&str, &str)] = &[
    ("audit export", "--after"),
    ("completions", ""),
    ("config reference", "--format"),
    (
        "serve",
        "--listen --insecure-http --tls-cert --tls-key --tls-self-signed --metrics-listen --log-format --log-level \
         --dialects --migrate",
    ),
];

#[test]
fn what_scripts_rely_on_is_there() {
    let flags_of = |command: &str| {
        let help = run_line(&format!("{command} --help"));
        let words = succeeds(&help).split_whitespace();
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    for (commands, json) in [(RELIED_ON, "--json"), (WITHOUT_A_DOCUMENT, "")] {
        for (command, flags) in commands {
            let mut expected: Vec<_> = flags.split(' ').chain([json]).collect();
            let of = command.split(' ').next().unwrap();
            let is_on_a_store = match of {
                "completions" | "demo" | "otp" | "x509" => false,
                "config" => *command == "config check",
                "tpm" => command.starts_with("tpm trust"),
                _ => true,
            };
            if is_on_a_store {
                expected.extend(["--config", "--master-key"]);
            }
            // `store copy` takes its stores as arguments.
            if is_on_a_store && of != "store" {
                expected.push("--store");
            }
            let there = flags_of(command);
            for flag in expected.into_iter().filter(|flag| !flag.is_empty()) {
                assert!(
                    there.iter().any(|word| word == flag),
                    "{command} {flag}: {there:?}"
                );
            }
        }
    }
}

#[test]
fn the_examples_in_the_help_have_the_flags_of_their_commands() {
    for command in [
        "otp verify",
        "token create",
        "tpm check-quote",
        "user add",
        "x509 check",
        "x509 prove",
    ] {
        let help = run_line(&format!("{command} --help"));
        let (flags, example) = succeeds(&help).split_once("Example: keyproof ").unwrap();
        assert!(example.starts_with(command), "{example}");
        let words = example.split_whitespace();
        for flag in words.filter(|word| word.starts_with("--")) {
            assert!(
                flags.split_whitespace().any(|word| word == flag),
                "{command} {flag}"
            );
        }
    }
}

#[test]
fn audit_help_says_where_repeated_events_are_listed() {
    let help = run(&["audit", "--help"]);
    let words: Vec<_> = text(&help.stdout).split_whitespace().collect();
    let says = "Repeated events are one line with a `count`, listed at the end of their minute";
    assert!(words.join(" ").contains(says), "{words:?}");
}

#[test]
fn help_says_what_is_meant_and_what_is_taken_otherwise() {
    for (command, says) in [
        (
            "instance list",
            "keyproof/keyproof.db in the user's state folder",
        ),
        (
            "instance list",
            "a URL with a password belongs in the configuration file or in KEYPROOF_STORE__URL",
        ),
        ("keys", "rotate Rotate the master key, while servers run"),
        ("otp", "code Print the code for a moment, or for a counter"),
        ("otp code", "whose secret others on this machine can see"),
        ("store copy", "The master key's file, for both stores"),
        ("user suspend", "<NAME> The name of the user or instance"),
        (
            "tpm station attest",
            "A file whose first line is the API key",
        ),
    ] {
        let help = run_line(&format!("{command} --help"));
        let words: Vec<_> = succeeds(&help).split_whitespace().collect();
        assert!(words.join(" ").contains(says), "{command}: {words:?}");
    }
}

#[test]
fn pskc_help_says_what_encryption_does_not_protect() {
    let help = run(&["otp", "pskc", "write", "--help"]);
    let words: Vec<_> = text(&help.stdout).split_whitespace().collect();
    let says = "they can forge others, because the key of the authentication codes is encrypted with the same key";
    assert!(words.join(" ").contains(says), "{words:?}");
}

#[test]
fn completions_are_scripts_that_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        assert!(output.status.success(), "{shell}");
        for word in ["set-password", "check-quote", "--master-key"] {
            let word = if shell == "fish" {
                word.trim_start_matches('-')
            } else {
                word
            };
            assert!(text(&output.stdout).contains(word), "{shell}: {word}");
        }
    }
    let script = run(&["completions", "bash"]).stdout;
    let home = TempDir::new().unwrap();
    let path = home.path().join("completions");
    fs::write(&path, script).unwrap();
    let completed = Command::new("bash")
        .arg("-c")
        .arg(". \"$0\"; COMP_WORDS=(keyproof tok); COMP_CWORD=1; _keyproof keyproof tok keyproof; echo \"${COMPREPLY[*]}\"")
        .arg(path)
        .output()
        .unwrap();
    assert_eq!(text(&completed.stdout).trim(), "token");
}

#[test]
fn each_man_page_that_another_names_is_there() {
    let home = TempDir::new().unwrap();
    let folder = home.path().join("pages");
    fs::create_dir(&folder).unwrap();
    let written = keyproof(&home).arg("manual").arg(&folder).output().unwrap();
    succeeds(&written);
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let page = fs::read_to_string(entry.unwrap().path()).unwrap();
        let page = page.replace("\\-", "-");
        let named = page.lines().filter_map(|line| line.strip_suffix("(1)"));
        for name in named.filter(|name| name.starts_with("keyproof-")) {
            assert!(folder.join(format!("{name}.1")).is_file(), "{name}");
            count += 1;
        }
    }
    assert!(count > 10, "{count}");
}

#[test]
fn wrong_flags_end_with_2_and_are_told_the_right_ones() {
    for wrong in [
        "serve --listen nowhere",
        "serve --no-such-flag",
        "serve --dialects taler,nonsense",
        "no-such-command",
        "otp code",
        "",
    ] {
        let output = run_line(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        assert!(!output.stderr.is_empty());
    }
    let dialects: Vec<_> = DialectName::ALL.iter().map(|name| name.as_str()).collect();
    for (wrong, right) in [
        (
            "serve --listen nowhere",
            &["127.0.0.1:8080", "[::1]:8080"][..],
        ),
        ("serve --metrics-listen 8080", &["127.0.0.1:8080"]),
        ("serve --dialects azure", &dialects),
        ("serve --port 8443", &["--listen 127.0.0.1:8443"]),
        ("serve --port", &["--listen"]),
        (
            "serve --store mysql://h/d",
            &["memory:", "sqlite:PATH", "postgres://"],
        ),
        (
            "serve --store postgres://u@h/d?ssl_mode=require",
            &["sslmode", "sslrootcert"],
        ),
        (
            "serve --store postgres://u@h/d?sslmode=on",
            &["verify-full", "require"],
        ),
        (
            "token create --scope operator",
            &[
                "admin",
                "certificates[:SUB[/GROUP[/SERVICE]]]",
                "tpm[:NAMESPACE]",
                "tpm-station",
            ],
        ),
        (
            "user add ada --organisation Acme --role root",
            &["User", "Observer", "Administrator", "SuperAdmin"],
        ),
        (
            "user tokens ada revoke x",
            &["'<ID>'", "a number, as `user tokens NAME list` shows it"],
        ),
        (
            "backup k --keep x",
            &["'--keep <N>'", "a whole number of backups from 1"],
        ),
        (
            "otp secret --bytes many",
            &["'--bytes <N>'", "a whole number of bytes from 16 to 128"],
        ),
        (
            "otp secret --bytes 15",
            &["a whole number of bytes from 16 to 128"],
        ),
        (
            "otp code --secret-file F --digits six",
            &["a whole number from 6 to 10"],
        ),
        (
            "otp code --secret-file F --period 30s",
            &["a whole number of seconds from 1"],
        ),
        (
            "otp code --secret-file F --counter first",
            &["a whole number from 0"],
        ),
        (
            "otp code --secret-file F --at now",
            &["a moment in whole seconds since 1970, from 0"],
        ),
        (
            "otp verify --secret-file F --window 1 123456",
            &["two whole numbers from 0 to 255"],
        ),
    ] {
        let output = run_line(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        let said = text(&output.stderr);
        for right in right {
            assert!(said.contains(right), "{wrong}: {said}");
        }
    }
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).contains("serve"));
}
