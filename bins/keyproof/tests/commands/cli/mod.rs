//! The commands as a script sees them: exit codes, standard output, standard error, signals.

mod config;
mod demo;
mod otp;
mod serve;
mod tpm;
mod tpm_station;
mod user;
mod x509;

use std::process::{Command, Output};

use tempfile::TempDir;

/// The program, in an environment of its own.
fn keyproof(home: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyproof"));
    command.env_clear().env("HOME", home.path());
    command
}

fn run(arguments: &[&str]) -> Output {
    let home = TempDir::new().unwrap();
    keyproof(&home).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Ends with this exit code, says this on standard error, and nothing on standard output.
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

#[test]
fn audit_help_says_where_an_event_of_several_stands() {
    let help = run(&["audit", "--help"]);
    let words: Vec<_> = text(&help.stdout).split_whitespace().collect();
    let says = "An event of several (`count`) stands at the end of its minute";
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
    std::fs::write(&path, script).unwrap();
    let completed = Command::new("bash")
        .arg("-c")
        .arg(". \"$0\"; COMP_WORDS=(keyproof tok); COMP_CWORD=1; _keyproof keyproof tok keyproof; echo \"${COMPREPLY[*]}\"")
        .arg(path)
        .output()
        .unwrap();
    assert_eq!(text(&completed.stdout).trim(), "token");
}

#[test]
fn wrong_flags_end_with_2_and_are_told_the_right_ones() {
    for wrong in [
        &["serve", "--listen", "nowhere"][..],
        &["serve", "--no-such-flag"],
        &["serve", "--dialects", "taler,nonsense"],
        &["no-such-command"],
        &["otp", "code"],
        &[],
    ] {
        let output = run(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(!output.stderr.is_empty());
    }
    let said = |arguments: &[&str]| {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        text(&output.stderr).to_owned()
    };
    for (wrong, right) in [
        (
            &["serve", "--listen", "nowhere"][..],
            &["127.0.0.1:8080", "[::1]:8080"][..],
        ),
        (&["serve", "--metrics-listen", "8080"], &["127.0.0.1:8080"]),
        (
            &["serve", "--dialects", "azure"],
            &["taler", "dps", "f5", "emnify"],
        ),
        (&["serve", "--port", "8443"], &["--listen 127.0.0.1:8443"]),
        (&["serve", "--port"], &["--listen"]),
        (
            &["serve", "--store", "mysql://h/d"],
            &["memory:", "sqlite:PATH", "postgres://"],
        ),
        (
            &["serve", "--store", "postgres://u@h/d?ssl_mode=require"],
            &["sslmode", "sslrootcert"],
        ),
        (
            &["serve", "--store", "postgres://u@h/d?sslmode=on"],
            &["verify-full", "require"],
        ),
        (
            &["token", "create", "--scope", "operator"],
            &[
                "admin",
                "certificates[:SUB[/GROUP[/SERVICE]]]",
                "tpm[:NAMESPACE]",
                "tpm-station",
            ],
        ),
        (
            &[
                "user",
                "add",
                "ada",
                "--organisation",
                "Acme",
                "--role",
                "root",
            ],
            &["User", "Observer", "Administrator", "SuperAdmin"],
        ),
    ] {
        let said = said(wrong);
        for right in right {
            assert!(said.contains(right), "{wrong:?}: {said}");
        }
    }
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).contains("serve"));
}
