//! Configuration: its layers, and what is rejected.

use std::{fs, os::unix::fs::PermissionsExt, process::Output};

use keyproof::dialect::DialectName;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::json;
use tempfile::TempDir;

use super::{fails, json_output, keyproof, run, succeeds, text, write_file};

/// Runs `config check` with a file.
fn check(file: &str, variables: &[(&str, &str)], flags: &[&str]) -> Output {
    let home = TempDir::new().unwrap();
    let path = write_file(&home, "keyproof.toml", file, 0o600);
    let mut command = keyproof(&home);
    command
        .args(["config", "check", "--config", &path])
        .args(flags);
    command.envs(variables.iter().copied()).output().unwrap()
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let file = "[http]\nlisten = \"127.0.0.1:1\"\nmax_connections = 11\nmax_body_bytes = 22\n";
    let variables = [
        ("KEYPROOF_HTTP__LISTEN", "127.0.0.1:2"),
        ("KEYPROOF_HTTP__MAX_CONNECTIONS", "12"),
        ("KEYPROOF_HTTP__TRUSTED_PROXIES", "[\"10.0.0.0/8\"]"),
        ("KEYPROOF_TALER__CURRENCY", "EUR"),
        ("KEYPROOF_TLS__SELF_SIGNED", "true"),
        ("KEYPROOF_METRICS__LISTEN", "127.0.0.1:4"),
    ];
    let output = check(file, &variables, &["--listen", "127.0.0.1:3", "--json"]);
    let effective = json_output(&output, 0);
    assert_eq!(effective["http"]["listen"], "127.0.0.1:3");
    assert_eq!(effective["http"]["max_connections"], 12);
    assert_eq!(effective["http"]["max_body_bytes"], 22);
    assert_eq!(effective["http"]["header_timeout_ms"], 10_000);
    assert_eq!(effective["http"]["trusted_proxies"][0], "10.0.0.0/8");
    assert_eq!(effective["taler"]["currency"], "EUR");
    assert_eq!(effective["tls"]["self_signed"], true);
    assert_eq!(effective["metrics"]["listen"], "127.0.0.1:4");
}

#[test]
fn trusted_proxies_are_networks_or_addresses() {
    let both = "http.trusted_proxies = [\"10.0.0.0/8\", \"::1\"]";
    let variable = [("KEYPROOF_HTTP__TRUSTED_PROXIES", "10.0.0.0/8, ::1")];
    for (file, variables) in [(both, &[][..]), ("", &variable[..])] {
        let effective = json_output(&check(file, variables, &["--json"]), 0);
        let proxies = &effective["http"]["trusted_proxies"];
        assert_eq!(*proxies, json!(["10.0.0.0/8", "::1/128"]));
    }
    for wrong in ["proxy", "10.0.0.0/8,", "7"] {
        let variable = [("KEYPROOF_HTTP__TRUSTED_PROXIES", wrong)];
        fails(&check("", &variable, &[]), 2, "TRUSTED_PROXIES: ");
    }
}

#[test]
fn the_limit_of_an_address_has_an_older_name() {
    for (file, limit, window) in [
        ("", 100, 300),
        ("auth.address_limit = 0", 0, 300),
        ("emnify.authenticate_limit = 7", 7, 300),
        (
            "[emnify]\nauthenticate_limit = 7\nauthenticate_window_s = 8\n[auth]\naddress_limit = 7\n",
            7,
            8,
        ),
    ] {
        let effective = json_output(&check(file, &[], &["--json"]), 0);
        assert_eq!(effective["auth"]["address_limit"], limit, "{file}");
        assert_eq!(effective["auth"]["address_window_s"], window, "{file}");
        assert_eq!(effective["emnify"].get("authenticate_limit"), None);
    }
    // The environment wins over the file, whichever name each of them uses.
    for (file, variable) in [
        (
            "emnify.authenticate_limit = 7",
            "KEYPROOF_AUTH__ADDRESS_LIMIT",
        ),
        (
            "auth.address_limit = 7",
            "KEYPROOF_EMNIFY__AUTHENTICATE_LIMIT",
        ),
    ] {
        let effective = json_output(&check(file, &[(variable, "8")], &["--json"]), 0);
        assert_eq!(effective["auth"]["address_limit"], 8, "{file}");
    }
    let file = "emnify.authenticate_window_s = 7";
    let variable = [("KEYPROOF_AUTH__ADDRESS_WINDOW", "8s")];
    let effective = json_output(&check(file, &variable, &["--json"]), 0);
    assert_eq!(effective["auth"]["address_window_s"], 8);
}

#[test]
fn what_config_check_prints_is_a_configuration() {
    let first = check("", &[], &[]);
    let printed = succeeds(&first);
    let again = check(printed, &[], &[]);
    assert_eq!(printed, text(&again.stdout));

    // A database URL is shown without the password.
    let key = data_encoding::BASE64.encode(&[7; 32]);
    let key = [("KEYPROOF_STORE__MASTER_KEY_BASE64", &*key)];
    let url = |password: &str| {
        let parameters = "sslmode=require&target_session_attrs=primary&connect_timeout=3";
        format!("store.url = \"postgres://u{password}@192.0.2.1,192.0.2.2:1/d?{parameters}\"")
    };
    let first = check(&url(":hunter2"), &key, &[]);
    let printed = succeeds(&first);
    let shown = url("").replace("store.url", "url");
    assert!(printed.contains(&shown), "{printed}");
    let again = check(printed, &key, &[]);
    assert_eq!(printed, text(&again.stdout));
}

#[test]
fn a_wrong_configuration_is_named_with_its_place() {
    for (file, says) in [
        (
            "[http]\n\nlistn = 1\n",
            "keyproof.toml:3: unknown field `listn`",
        ),
        ("[http]\nmax_connections = 0\n", "keyproof.toml:2: "),
        (
            "http.max_connections = 1\ndialects.taler.listen = \"127.0.0.1:0\"",
            "http.max_connections: 1 is too few for 2 listeners",
        ),
        (
            "[log]\nlevel = \"loud\"\n",
            "keyproof.toml:2: unknown variant",
        ),
        ("[nonsense]\n", "keyproof.toml:1: unknown field `nonsense`"),
        ("[http\n", "keyproof.toml:1: "),
        ("http.listen = \"0.0.0.0:80\"", "http.insecure"),
        ("dialects.taler.listen = \"192.0.2.1:80\"", "192.0.2.1:80"),
        ("tls.key = \"key.pem\"", "tls: "),
        (
            "tls = { key = \"/none\", certificate = \"/none\" }",
            "/none",
        ),
        ("store.url = \"mysql:x\"", "store.url"),
        (
            "store.url = \"postgres://u:hun@ter2@h/d\"",
            "store.url: not postgres://USER:PASSWORD",
        ),
        (
            "store.url = \"postgres://u:p@h/hunter2@127.0.0.1/d\"",
            "store.url: not postgres://USER:PASSWORD",
        ),
        (
            "store.url = \"postgres://u:hunter2@h/d?sslmode=allow\"",
            "store.url: sslmode is",
        ),
        (
            "store.url = \"postgres://u:hunter2@h/d?channel_binding=require\"",
            "store.url: channel_binding=require is not supported",
        ),
        ("taler.currency = \"euro\"", "taler.currency"),
        ("auth.argon2_memory_kib = 1024", "auth.argon2"),
        ("metrics.listen = \"0.0.0.0:9464\"", "0.0.0.0:9464"),
        (
            "metrics.listen = \"127.0.0.1:8080\"",
            "metrics.listen: another listener has 127.0.0.1:8080",
        ),
        ("metrics.lisen = \"127.0.0.1:1\"", "unknown field"),
        (
            "dps.max_certificates = 0",
            "keyproof.toml:1: invalid value: integer `0`, expected a whole number from 1 to 4294967295",
        ),
        (
            "f5.rate_limit_per_minute = -1",
            "expected a whole number from 0 to 4294967295",
        ),
        (
            "dialects.taler = true",
            "keyproof.toml:1: invalid type: boolean `true`, expected a table",
        ),
        // The error names keys as the reference does.
        (
            "http.nix = 1",
            "`header_timeout`, `body_timeout`, `handler_timeout`",
        ),
        (
            "[[dps.issuers]]\nissuer = \"i\"\naudience = \"a\"\njwks_file = \"/nowhere\"\nscopes = { all = \"root\" }",
            "dps.issuers: the scopes of \"all\" of i",
        ),
        (
            "[[dps.issuers]]\nissuer = \"i\"\naudience = \"a\"\njwks_file = \"/nowhere\"",
            "dps.issuers: /nowhere",
        ),
        (
            "[[dps.issuers]]\nissuer = \"i\"\naudience = \"a\"\njwks_file = \"/one\"\n\
             [[dps.issuers]]\nissuer = \"i\"\naudience = \"a\"\njwks_file = \"/other\"\nscope_claim = \"roles\"",
            "dps.issuers: two entries have the issuer i and the audience a",
        ),
        (
            "[[dps.issuers]]\nissuer = \"https://a/b\"\naudience = \"a\"\njwks_file = \"/one\"\n\
             [[dps.issuers]]\nissuer = \"https://a\"\naudience = \"other\"\njwks_file = \"/other\"",
            "dps.issuers: the issuer https://a/b begins with the issuer https://a and a slash",
        ),
        (
            "[[dps.issuers]]\nissuer = \"https://a\"\naudience = \"a\"\njwks_file = \"/one\"\n\
             [[dps.issuers]]\nissuer = \"https://a/\"\naudience = \"a\"\njwks_file = \"/other\"",
            "dps.issuers: the issuer https://a/ begins with the issuer https://a and a slash",
        ),
        // Without the slash no subject is ambiguous, so only the missing file is wrong.
        (
            "[[dps.issuers]]\nissuer = \"https://a/\"\naudience = \"a\"\njwks_file = \"/one\"\n\
             [[dps.issuers]]\nissuer = \"https://a/b\"\naudience = \"a\"\njwks_file = \"/other\"",
            "dps.issuers: /one",
        ),
        (
            "auth.argon2_concurrency = 1025",
            "auth.argon2_concurrency: 1025 is not in 1 to 1024",
        ),
        (
            "auth.address_limit = 5\nemnify.authenticate_limit = 6",
            "auth.address_limit and emnify.authenticate_limit are the same",
        ),
        (
            "auth.address_window_s = 5\nemnify.authenticate_window_s = 6",
            "auth.address_window_s and emnify.authenticate_window_s are the same",
        ),
        ("auth.address_window_s = 0", "a whole number from 1"),
        (
            "auth.argon2_concurrency = 0",
            "expected a whole number from 1\n",
        ),
        ("emnify.lockout_failures = 0", "a whole number from 1"),
        (
            "emnify.lockout = 5",
            "keyproof.toml:1: emnify.lockout: expected a time with its unit",
        ),
        (
            "[http]\nheader_timeout = \"10\"\n",
            "keyproof.toml:2: http.header_timeout: expected a time with its unit, in whole milliseconds",
        ),
        (
            "http.max_body = \"1.5 parsec\"",
            "http.max_body: expected a size with its unit",
        ),
        (
            "[emnify]\n\nlockout = \"0s\"\n",
            "keyproof.toml:3: emnify.lockout: expected more than zero, and at most 4294967295 seconds",
        ),
        (
            "emnify.lockout = \"1500ms\"",
            "emnify.lockout: expected a time with its unit, in whole seconds",
        ),
        ("http.header_timeout_ms = \"10s\"", "invalid type: string"),
        (
            "[http]\nheader_timeout = \"10s\"\n\nheader_timeout_ms = 10000\n",
            "keyproof.toml:4: http.header_timeout and http.header_timeout_ms are the same",
        ),
        (
            "http.max_body_bytes = 1\nhttp.max_body = \"1B\"\n",
            "keyproof.toml:2: http.max_body and http.max_body_bytes are the same",
        ),
        ("emnify.rotate_refresh_tokens = 1", "expected a boolean"),
        (
            "store.max_connections = 1001",
            "store.max_connections: 1001 is not in 1 to 1000",
        ),
        (
            "[telemetry]\notlp = \"collector:4318\"\n",
            "keyproof.toml:2: not http:// or https://",
        ),
        (
            "telemetry.otlp = \"http://user@127.0.0.1:4318\"",
            "without user",
        ),
    ] {
        let output = check(file, &[], &[]);
        fails(&output, 2, says);
        assert!(!text(&output.stderr).contains("hunter2"));
    }
    for (variable, value, says) in [
        ("HTTP__LISTN", "x", "unknown"),
        ("LOG__LEVEL", "loud", ""),
        (
            "HTTP__HEADER_TIMEOUT",
            "10",
            "expected a time with its unit",
        ),
    ] {
        let variable = format!("KEYPROOF_{variable}");
        let output = check("", &[(&*variable, value)], &[]);
        fails(&output, 2, &format!("{variable}: {says}"));
    }
    let both = [
        ("KEYPROOF_HTTP__HEADER_TIMEOUT", "10s"),
        ("KEYPROOF_HTTP__HEADER_TIMEOUT_MS", "10000"),
    ];
    fails(&check("", &both, &[]), 2, "are the same: give one of them");
    fails(
        &check("", &[], &["--dialects", "taler,radius"]),
        2,
        "not a dialect",
    );
    fails(
        &run(&["config", "check", "--config", "/nonexistent"]),
        2,
        "the configuration file /nonexistent",
    );
    // Two sockets, one of them for both dialects.
    let shared = "http.max_connections = 2\n[dialects]\ntaler.listen = \"127.0.0.1:1\"\ndps.listen = \"127.0.0.1:1\"";
    succeeds(&check(shared, &[], &[]));
    let floor = "auth.argon2_memory_kib = 1024\nauth.argon2_insecure_for_tests = true";
    succeeds(&check(floor, &[], &[]));
}

/// The variables that Kubernetes sets in each pod beside a service with the name keyproof.
#[test]
fn links_to_services_are_passed_over_and_whatever_else_is_no_key_is_refused() {
    let links = [
        ("KEYPROOF_SERVICE_HOST", "192.0.2.1"),
        ("KEYPROOF_SERVICE_PORT", "8443"),
        ("KEYPROOF_SERVICE_PORT_HTTPS", "8443"),
        ("KEYPROOF_PORT", "tcp://192.0.2.1:8443"),
        ("KEYPROOF_PORT_8443_TCP", "tcp://192.0.2.1:8443"),
        ("KEYPROOF_PORT_8443_TCP_PROTO", "tcp"),
        ("KEYPROOF_PORT_8443_TCP_PORT", "8443"),
        ("KEYPROOF_PORT_8443_TCP_ADDR", "192.0.2.1"),
    ];
    succeeds(&check("", &links, &[]));
    for (variable, value) in [
        ("KEYPROOF_HTTP_LISTEN", "127.0.0.1:1"),
        ("KEYPROOF_PORT", "8443"),
        ("KEYPROOF_PORT__LISTEN", "127.0.0.1:1"),
        ("KEYPROOF_SERVICE_HOSTS", "192.0.2.1"),
    ] {
        let says = format!("{variable}: unknown field");
        fails(&check("", &[(variable, value)], &[]), 2, &says);
    }
}

#[test]
fn traces_are_refused_by_a_program_that_has_none_and_else_warned_of_where_others_read_along() {
    let output = check("telemetry.otlp = \"http://127.0.0.1:4318\"", &[], &[]);
    if cfg!(not(feature = "otlp")) {
        fails(&output, 2, "telemetry.otlp: this program was built without");
        return;
    }
    assert!(succeeds(&output).contains("otlp = \"http://127.0.0.1:4318\""));
    assert_eq!(text(&output.stderr), "");
    let output = check("telemetry.otlp = \"http://192.0.2.1:4318\"", &[], &[]);
    succeeds(&output);
    assert!(text(&output.stderr).contains("telemetry.otlp: what is sent to http://192.0.2.1:4318"));
}

#[cfg(feature = "otlp")]
#[test]
fn fields_for_a_collector_are_checked_and_neither_shown_nor_sent_where_others_read_along() {
    let home = TempDir::new().unwrap();
    let good = write_file(&home, "good", "api-key: hunter2\n", 0o600);
    let wrong = write_file(&home, "wrong", "hunter2\n", 0o600);
    let open = write_file(&home, "open", "api-key: hunter2\n", 0o644);
    let absent = home.path().join("absent").display().to_string();
    let configured = |otlp: &str, file: &str| {
        format!("[telemetry]\notlp = \"{otlp}\"\notlp_headers = \"{file}\"\n")
    };
    let here = "http://127.0.0.1:4318";
    let output = check(&configured(here, &good), &[], &[]);
    assert!(!succeeds(&output).contains("hunter2"));
    for (configuration, says) in [
        (configured(here, &wrong), "wrong:1: not `name: value`"),
        (
            configured(here, &open),
            "open can be read by others (mode 644)",
        ),
        (configured(here, &absent), "telemetry.otlp_headers: "),
        (
            configured(here, "api-key: hunter2"),
            "telemetry.otlp_headers: this is a header field",
        ),
        (
            configured(here, "api-key=hunter2"),
            "telemetry.otlp_headers: this is a header field",
        ),
        (
            configured("http://192.0.2.1:4318", &good),
            "telemetry.otlp_headers: on the way to http://192.0.2.1:4318",
        ),
        (
            format!("telemetry.otlp_headers = \"{good}\""),
            "telemetry.otlp_headers: there is no collector",
        ),
    ] {
        let output = check(&configuration, &[], &[]);
        fails(&output, 2, says);
        assert!(!text(&output.stderr).contains("hunter2"));
    }
    // The system's CAs are needed for `https` alone.
    let no_roots = [("SSL_CERT_FILE", &*absent)];
    let secure = "telemetry.otlp = \"https://collector.example\"";
    let says = "telemetry.otlp: the system trusts no CA";
    fails(&check(secure, &no_roots, &[]), 2, says);
    succeeds(&check(&configured(here, &good), &no_roots, &[]));
    // A systemd credential is accepted although others may read it.
    let credentials = TempDir::new().unwrap();
    let variable = credentials.path().display().to_string();
    let variables = [("CREDENTIALS_DIRECTORY", &*variable)];
    let configuration = format!("telemetry.otlp = \"{here}\"");
    for (fields, code) in [("api-key: hunter2", 0), ("hunter2", 2)] {
        write_file(&credentials, "keyproof-otlp-headers", fields, 0o644);
        let output = check(&configuration, &variables, &[]);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    }
}

#[test]
fn a_private_key_in_the_place_of_its_file_is_refused_and_not_shown() {
    let CertifiedKey { signing_key, .. } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let pem = signing_key.serialize_pem();
    let secret = pem.lines().nth(1).unwrap();
    let variables = [
        ("KEYPROOF_TLS__CERTIFICATE", "cert.pem"),
        ("KEYPROOF_TLS__KEY", &*pem),
    ];
    let output = check("", &variables, &[]);
    fails(&output, 2, "tls.key: this is a private key");
    assert!(!text(&output.stderr).contains(secret));
}

/// A new store would get another key, in a file with the key as its name, and what was given would open nothing.
#[test]
fn a_master_key_in_the_place_of_its_file_is_refused_and_not_shown() {
    let key = data_encoding::BASE64.encode(&[7; 32]);
    let file = format!("store.master_key = \"{key}\"");
    let variable = [("KEYPROOF_STORE__MASTER_KEY", &*key)];
    let flag = ["--master-key", &*key];
    for (file, variables, flags) in [
        (&*file, &[][..], &[][..]),
        ("", &variable[..], &[][..]),
        ("", &[][..], &flag[..]),
    ] {
        let output = check(file, variables, flags);
        fails(&output, 2, "store.master_key: this is a key");
        assert!(!text(&output.stderr).contains(&key));
    }
    // As many characters as a raw key or its Base64 has bytes are a path.
    for length in [32, 44] {
        let path = "k".repeat(length);
        succeeds(&check("", &[], &["--master-key", &path]));
    }
}

#[test]
fn what_the_store_would_not_open_under_is_refused_and_nothing_made() {
    let home = TempDir::new().unwrap();
    let path = |name: &str| home.path().join(name).display().to_string();
    let junk = write_file(&home, "junk", "hunter2", 0o600);
    let key = data_encoding::BASE64.encode(&[7; 32]);
    let (embedded, shared) = (path("state/k.db"), "postgres://u:hunter2@127.0.0.1:1/d");
    let embedded = format!("sqlite:{embedded}");
    let without_roots = format!("{shared}?sslrootcert={}", path("absent.pem"));
    let check = |store: &str, flags: &[&str], base64: Option<&str>| {
        let mut command = keyproof(&home);
        command
            .args(["config", "check", "--store", store])
            .args(flags);
        command.envs(base64.map(|key| ("KEYPROOF_STORE__MASTER_KEY_BASE64", key)));
        command.output().unwrap()
    };
    for (store, flags, base64, says) in [
        (shared, &[][..], None, "needs a master key"),
        (
            shared,
            &["--master-key", &path("absent")],
            None,
            "is missing",
        ),
        (shared, &["--master-key", &junk], None, "not 32 bytes"),
        (shared, &[], Some("junk"), "not 32 bytes"),
        (&without_roots, &[], Some(&*key), "absent.pem"),
        (&embedded, &["--master-key", &junk], None, "not 32 bytes"),
        (
            &embedded,
            &["--master-key", &path("absent/key")],
            None,
            "absent/key: its folder does not exist",
        ),
        (&embedded, &[], Some("junk"), "not 32 bytes"),
        (
            "memory:",
            &["--master-key", &path("absent")],
            None,
            "is missing",
        ),
        ("memory:", &[], Some("junk"), "not 32 bytes"),
    ] {
        let output = check(store, flags, base64);
        fails(&output, 2, says);
        assert!(!text(&output.stderr).contains("hunter2"));
    }
    for (store, flags, base64) in [
        (shared, &[][..], Some(&*key)),
        (&embedded, &[], None),
        (&embedded, &["--master-key", &path("absent")], None),
        ("memory:", &[], None),
    ] {
        succeeds(&check(store, flags, base64));
    }
    let left: Vec<_> = fs::read_dir(home.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn without_a_state_folder_the_variables_that_lack_its_path_are_named() {
    let home = TempDir::new().unwrap();
    for variables in [
        &[("HOME", "")][..],
        &[("HOME", "home"), ("XDG_STATE_HOME", "state")],
    ] {
        let mut command = keyproof(&home);
        command
            .args(["config", "check"])
            .envs(variables.iter().copied());
        let says = "store.url: neither XDG_STATE_HOME nor HOME has an absolute path; set store.url";
        fails(&command.output().unwrap(), 2, says);
    }
}

#[test]
fn no_secret_is_printed() {
    let key = (
        "KEYPROOF_STORE__MASTER_KEY_BASE64",
        "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=",
    );
    let output = check("", &[key], &["--json"]);
    succeeds(&output);
    for stream in [&output.stdout, &output.stderr] {
        assert!(!text(stream).contains("MTIz"));
    }
    // Not even a key in the wrong place.
    let misplaced = check("store.master_key_base64 = \"MTIz\"", &[], &[]);
    fails(&misplaced, 2, "unknown field `master_key_base64`");
    assert!(!text(&misplaced.stderr).contains("MTIz"));
    // Nor a database's URL that is given to the table of its key.
    let url = "postgres://u:hunter2@h/d";
    let misplaced = [
        check(&format!("store = \"{url}\""), &[], &[]),
        check("", &[("KEYPROOF_STORE", url)], &[]),
    ];
    for output in misplaced {
        fails(&output, 2, "invalid type: string, expected a table");
        assert!(!text(&output.stderr).contains("hunter2"));
    }
}

#[test]
fn times_and_sizes_are_taken_as_people_write_them_in_each_layer() {
    let file = "[http]\nheader_timeout = \"1m 30s\"\nbody_timeout = \"20s\"\nmax_body = \"64KiB\"\n\
                [auth]\nargon2_memory = \"32MiB\"\naddress_window = \"10m\"\n\
                [emnify]\nlockout = \"1h\"\n[dps]\ncode_lifetime = \"7d\"\n";
    let variables = [
        ("KEYPROOF_HTTP__BODY_TIMEOUT", "25s"),
        ("KEYPROOF_EMNIFY__LOCKOUT_S", "60"),
    ];
    let effective = json_output(&check(file, &variables, &["--json"]), 0);
    assert_eq!(effective["http"]["header_timeout_ms"], 90_000);
    assert_eq!(effective["http"]["body_timeout_ms"], 25_000);
    assert_eq!(effective["http"]["max_body_bytes"], 65_536);
    assert_eq!(effective["auth"]["argon2_memory_kib"], 32_768);
    assert_eq!(effective["auth"]["address_window_s"], 600);
    assert_eq!(effective["emnify"]["lockout_s"], 60);
    assert_eq!(effective["dps"]["code_lifetime_s"], 604_800);
}

#[test]
fn the_reference_is_the_page_that_is_committed() {
    let page = run(&["config", "reference", "--format", "markdown"]);
    let committed = include_str!("../../../../../docs/operate/configuration.md");
    assert!(
        succeeds(&page) == committed,
        "keyproof config reference --format markdown > docs/operate/configuration.md"
    );
    let plain = run(&["config", "reference"]);
    assert!(text(&plain.stdout).contains(
        "http.header_timeout = \"10s\"\n    time; or http.header_timeout_ms, a number of milliseconds; \
         KEYPROOF_HTTP__HEADER_TIMEOUT\n"
    ));
    let manual = run(&["config", "reference", "--format", "man"]);
    assert!(text(&manual.stdout).contains(".TH keyproof.toml 5"));
    assert!(text(&manual.stdout).contains("\\fBdps.issuers[].jwks_file\\fR"));
}

#[test]
fn quietly_only_what_is_unwise_or_wrong_is_printed() {
    let quiet = check("", &[], &["--quiet"]);
    assert_eq!((succeeds(&quiet), text(&quiet.stderr)), ("", ""));
    let unwise = check("tls.self_signed = true", &[], &["--quiet"]);
    assert_eq!(succeeds(&unwise), "");
    assert!(text(&unwise.stderr).starts_with("warning: tls.self_signed"));
    let wrong = check("http.listn = 1", &[], &["--quiet"]);
    fails(&wrong, 2, "unknown field `listn`");
    // The unit does not write the configuration to its journal at each start.
    let unit = include_str!("../../../../../contrib/systemd/keyproof.service");
    let before = unit.lines().find(|line| line.starts_with("ExecStartPre="));
    assert!(before.unwrap().contains("config check --quiet --config"));
}

#[test]
fn what_is_unwise_is_a_warning_and_no_failure() {
    let key = data_encoding::BASE64.encode(&[7; 32]);
    let key = ("KEYPROOF_STORE__MASTER_KEY_BASE64", &*key);
    let switches = DialectName::ALL.iter().map(|name| name.enabled_key());
    let all_off: Vec<_> = switches.map(|key| format!("{key} = false\n")).collect();
    let all_off = all_off.concat();
    for (file, variables, warnings) in [
        ("", &[][..], &[][..]),
        (
            "http.listen = \"0.0.0.0:80\"\nhttp.insecure = true\ndialects.dps.listen = \"[::]:81\"",
            &[],
            &["plain HTTP on 0.0.0.0:80", "plain HTTP on [::]:81"],
        ),
        (
            "http.trusted_proxies = [\"10.0.0.0/8\", \"0.0.0.0/0\", \"::/0\"]",
            &[],
            &[
                "http.trusted_proxies: 0.0.0.0/0",
                "http.trusted_proxies: ::/0",
            ],
        ),
        (
            "store.url = \"memory:\"",
            &[],
            &["store.url: a memory: store"],
        ),
        (
            "store.url = \"sqlite:nowhere/k.db\"",
            &[],
            &["store.url: nowhere/k.db is another file in each folder"],
        ),
        (
            "store.url = \"postgres://u:hunter2@192.0.2.1/d\"",
            &[key],
            &[
                "reads and changes every record, and can make themselves an administrator (sslmode=verify-full)",
                "KEYPROOF_STORE__MASTER_KEY_BASE64",
            ],
        ),
        ("tls.self_signed = true", &[], &["tls.self_signed: "]),
        (
            "tls.self_signed = true\nmetrics.listen = \"0.0.0.0:9\"",
            &[],
            &["tls.self_signed: ", "metrics.listen: "],
        ),
        (
            "http.insecure = true\nmetrics.listen = \"0.0.0.0:9\"",
            &[],
            &["metrics.listen: "],
        ),
        (
            &*all_off,
            &[],
            &["dialects: all are off: no contract is served"],
        ),
        (
            "log.level = \"off\"\nauth.address_limit = 0\nf5.rate_limit_per_minute = 0",
            &[],
            &[
                "log.level: ",
                "auth.address_limit: ",
                "f5.rate_limit_per_minute: ",
            ],
        ),
    ] {
        let output = check(file, variables, &[]);
        succeeds(&output);
        let lines: Vec<_> = text(&output.stderr).lines().collect();
        assert_eq!(lines.len(), warnings.len(), "{file}: {lines:?}");
        let json = check(file, variables, &["--json"]);
        assert_eq!(text(&json.stderr), "");
        let document = json_output(&json, 0);
        let listed = document["warnings"].as_array().unwrap();
        assert_eq!(listed.len(), warnings.len(), "{listed:?}");
        for ((line, listed), warning) in lines.iter().zip(listed).zip(warnings) {
            assert!(
                line.starts_with("warning: ") && line.contains(warning),
                "{line}"
            );
            assert!(listed.as_str().unwrap().contains(warning));
            assert!(!line.contains("hunter2"));
        }
    }
}

/// `serve` does not read them either.
#[test]
fn files_of_a_dialect_that_is_off_are_not_read() {
    let home = TempDir::new().unwrap();
    let open = write_file(&home, "jwks.json", "no key set", 0o666);
    for file in ["/nowhere", &*open] {
        let issuer =
            format!("[[dps.issuers]]\nissuer = \"i\"\naudience = \"a\"\njwks_file = {file:?}\n");
        fails(&check(&issuer, &[], &[]), 2, "dps.issuers: ");
        let off = check(&issuer, &[], &["--quiet", "--dialects", "taler"]);
        assert_eq!((succeeds(&off), text(&off.stderr)), ("", ""));
    }
}

#[test]
fn a_certificate_without_extensions_is_refused_for_what_it_is() {
    // Made by `openssl x509 -req`.
    const OLD: &str = "-----BEGIN CERTIFICATE-----\n\
     MIIBIzCBywIUa1aFlNwkkBa7p0wU1IIiWDGB14EwCgYIKoZIzj0EAwIwFDESMBAG\n\
     A1UEAwwJbG9jYWxob3N0MCAXDTI2MTIwMjA5NDEzN1oYDzIxMjYxMTA4MDk0MTM3\n\
     WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC\n\
     AATR4U7ZCNJ0koQAK/XuFzz0VAGi5Hse0tZLXhy1or5VzS2QelyN8nI3JGxx+hWX\n\
     GNIaGnaxlOzPJvIJehOKd4BiMAoGCCqGSM49BAMCA0cAMEQCIFMDDMjFtx5I81gf\n\
     YfGU108YE1MqQ3KHzQorGztHeHe5AiBOnPU/x91dbNWFpC+37wbwIOrNZrsiuMXk\n\
     OaXLxt7KWA==\n\
     -----END CERTIFICATE-----\n";
    let home = TempDir::new().unwrap();
    let old = write_file(&home, "old.pem", OLD, 0o644);
    let flags = ["--tls-cert", &old, "--tls-key", &old];
    fails(&check("", &[], &flags), 2, "tls.certificate: ");
    fails(&check("", &[], &flags), 2, "not of X.509 version 3");
}

#[test]
fn files_that_others_can_read_or_write_are_warned_of() {
    let home = TempDir::new().unwrap();
    let path = |name: &str| home.path().join(name);
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    write_file(&home, "cert.pem", cert.pem(), 0o644);
    let tls = format!(
        "[tls]\ncertificate = {:?}\nkey = {:?}\n",
        path("cert.pem"),
        path("key.pem")
    );
    let with_password = "store.url = \"postgres://u:hunter2@127.0.0.1:1/d\"\n";
    let without = "store.url = \"postgres://u@127.0.0.1:1/d\"\n";
    let folder = path("folder");
    fs::create_dir(&folder).unwrap();
    let embedded = format!("store.url = \"sqlite:{}\"\n", folder.join("k.db").display());
    let key = data_encoding::BASE64.encode(&[7; 32]);
    for (file, [of_file, of_key, of_folder], says) in [
        (&*tls, [0o644, 0o640, 0o700], None),
        (&tls, [0o644, 0o644, 0o700], Some("tls.key: ")),
        (&tls, [0o644, 0o660, 0o700], Some("tls.key: ")),
        (&tls, [0o664, 0o600, 0o700], Some("--config: ")),
        (with_password, [0o640, 0o600, 0o700], None),
        (with_password, [0o644, 0o600, 0o700], Some("--config: ")),
        (without, [0o644, 0o600, 0o700], None),
        (&embedded, [0o600, 0o600, 0o1777], None),
        (&embedded, [0o600, 0o600, 0o777], Some("store.url: ")),
    ] {
        write_file(&home, "keyproof.toml", file, of_file);
        write_file(&home, "key.pem", signing_key.serialize_pem(), of_key);
        fs::set_permissions(&folder, fs::Permissions::from_mode(of_folder)).unwrap();
        let mut command = keyproof(&home);
        command
            .args(["config", "check", "--quiet", "--config"])
            .arg(path("keyproof.toml"));
        if !file.contains("sqlite:") {
            command.env("KEYPROOF_STORE__MASTER_KEY_BASE64", &key);
        }
        let output = command.output().unwrap();
        succeeds(&output);
        let mut lines: Vec<_> = text(&output.stderr).lines().collect();
        lines.retain(|line| !line.contains("MASTER_KEY_BASE64"));
        assert_eq!(lines.len(), usize::from(says.is_some()), "{lines:?}");
        if let Some(says) = says {
            let line = lines[0].strip_prefix("warning: ").unwrap();
            assert!(
                line.starts_with(says) && line.contains("by others (mode "),
                "{line}"
            );
        }
    }
    // Anyone who can write to a key set can add keys to it.
    let jwks = path("jwks.json");
    let point = &signing_key.public_key_raw()[1..];
    let base64 = |bytes| data_encoding::BASE64URL_NOPAD.encode(bytes);
    let set = json!({"keys": [{
        "kty": "EC", "crv": "P-256", "kid": "k", "use": "sig", "alg": "ES256",
        "x": base64(&point[..32]), "y": base64(&point[32..]),
    }]});
    write_file(&home, "jwks.json", set.to_string(), 0o666);
    let issuer =
        format!("[[dps.issuers]]\nissuer = \"i\"\naudience = \"a\"\njwks_file = {jwks:?}\n");
    let output = check(&issuer, &[], &["--quiet"]);
    let said = text(&output.stderr);
    assert!(
        said.contains("dps.issuers[].jwks_file: ") && said.contains("can be written by others"),
        "{said}"
    );
}

#[test]
fn an_issuers_key_that_cannot_be_used_is_warned_of() {
    let home = TempDir::new().unwrap();
    let modulus = data_encoding::BASE64URL_NOPAD.encode(&[0xff; 128]);
    let set = json!({"keys": [
        // RFC 8037, appendix A.2.
        {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
        {"kty": "RSA", "kid": "short", "n": modulus, "e": "AQAB"},
    ]});
    let jwks = write_file(&home, "jwks.json", set.to_string(), 0o600);
    let issuer =
        format!("[[dps.issuers]]\nissuer = \"i\"\naudience = \"a\"\njwks_file = {jwks:?}\n");
    let output = check(&issuer, &[], &["--quiet"]);
    succeeds(&output);
    let expected = format!(
        "warning: dps.issuers: {jwks}: an issuer's key is ignored: key \"short\": its modulus has 1024 bits, \
         not 2048 to 8192"
    );
    let said = text(&output.stderr);
    assert!(said.lines().any(|line| line == expected), "{said}");
}
