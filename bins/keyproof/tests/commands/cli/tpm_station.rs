//! `keyproof tpm station` with scripts in place of tpm2-tools, which fail, hang or are missing. `peers` runs it with the real
//! tools.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, generate_simple_self_signed};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;

use super::{fails, keyproof, serve::Serving, text};

const TOOLS: [&str; 9] = [
    "tpm2_activatecredential",
    "tpm2_createak",
    "tpm2_createek",
    "tpm2_flushcontext",
    "tpm2_getcap",
    "tpm2_load",
    "tpm2_nvread",
    "tpm2_policysecret",
    "tpm2_startauthsession",
];

/// A machine with the files that the flags name.
struct Machine {
    home: TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self {
            home: TempDir::new().unwrap(),
        };
        fs::create_dir(machine.path("bin")).unwrap();
        for (file, text) in [("token", "a-token\n"), ("api-key", "a-key\n")] {
            fs::write(machine.path(file), text).unwrap();
            machine.permit(file, 0o600);
        }
        let device = json!({
            "name": "device-0001", "vendor": "ExampleCorp", "serial": "SN0001", "version": "1",
        });
        fs::write(machine.path("device.json"), device.to_string()).unwrap();
        machine
    }

    /// Uses this script for every tool. `$tool` is the tool's name; each call is recorded.
    fn with_tools(script: &str) -> Self {
        let machine = Self::new();
        let script = format!(
            "#!/bin/sh\ntool=${{0##*/}}\necho \"$tool $*\" >> {}\n{script}\n",
            machine.path("calls").display()
        );
        let file = machine.path("bin/script");
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        for tool in TOOLS {
            symlink(&file, machine.path(&format!("bin/{tool}"))).unwrap();
        }
        machine
    }

    /// Adds the folder that a provision leaves, for the endorsement key of the vectors.
    fn provisioned(self) -> Self {
        let state = self.path(".local/state/keyproof/station");
        fs::create_dir_all(&state).unwrap();
        let vector = |name: &str| fs::read(vector(name)).unwrap();
        fs::write(state.join("ak.pub"), vector("ak.pub.tpm2b")).unwrap();
        fs::write(state.join("ak.priv"), b"private").unwrap();
        fs::write(state.join("ek.der"), vector("ek.cert.der")).unwrap();
        let record = json!({
            "namespace": "default",
            "category": "factory",
            "device": { "name": "device-0001", "vendor": "ExampleCorp", "serial": "SN0001", "version": "1" },
            "endorsement_key": "L-1",
            "state": "active",
        });
        fs::write(state.join("station.json"), record.to_string()).unwrap();
        self
    }

    fn permit(&self, file: &str, mode: u32) {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(self.path(file), permissions).unwrap();
    }

    fn path(&self, file: &str) -> PathBuf {
        self.home.path().join(file)
    }

    fn command(&self, what: &str, url: &str, more: &[&str]) -> Command {
        let mut command = keyproof(&self.home);
        command
            .env("PATH", self.path("bin"))
            .current_dir(self.home.path())
            .args(["tpm", "station", what, "--url", url])
            .args(["--token-file", "token", "--api-key-file", "api-key"])
            .args(["--namespace", "default", "--category", "factory"])
            .args(["--device", "device.json"])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, what: &str, more: &[&str]) -> Output {
        // Nobody listens on this port.
        let mut command = self.command(what, "http://127.0.0.1:9", more);
        command.output().unwrap()
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.path("calls")).unwrap_or_default()
    }
}

fn vector(name: &str) -> String {
    let vectors = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../crates/tpm/tests/vectors/rsa2048"
    );
    format!("{vectors}/{name}")
}

/// Waits until the process has ended.
fn must_end(pid: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while fs::metadata(format!("/proc/{}", pid.trim())).is_ok() {
        assert!(Instant::now() < deadline, "{pid} runs on");
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn without_tpm2_tools_their_package_is_named() {
    let machine = Machine::new();
    let output = machine.run("provision", &[]);
    fails(
        &output,
        2,
        "tpm2_getcap is not installed: Debian has it in the package tpm2-tools",
    );
}

#[test]
fn flags_and_files_are_judged_before_the_tpm_is_asked() {
    let machine = Machine::with_tools("exit 1");
    let exposed = machine
        .command("provision", "http://192.0.2.1", &[])
        .output();
    fails(&exposed.unwrap(), 2, "plain HTTP to another machine");
    for (more, says) in [
        (&["--client-cert", "token"][..], "cannot be used with"),
        (&["--ek-index", "29360130"], "hexadecimal"),
        (&["--timeout", "0"], "--timeout"),
        (&["--ca-file", "absent"], "absent"),
    ] {
        fails(&machine.run("provision", more), 2, says);
    }
    let mut unnamed = keyproof(&machine.home);
    unnamed
        .args(["tpm", "station", "attest", "--url", "https://192.0.2.1"])
        .args(["--api-key-file", "api-key", "--device", "device.json"])
        .args(["--namespace", "default", "--category", "factory"]);
    let either = "<--token-file <FILE>|--client-cert <FILE>>";
    fails(&unnamed.output().unwrap(), 2, either);
    let attest = machine.run("attest", &[]);
    fails(&attest, 2, "run `keyproof tpm station provision` first");
    let log = machine.run("attest", &["--event-log", "absent"]);
    fails(&log, 2, "absent");
    // As some editors and shells write it.
    let marked =
        "\u{feff}{\"name\": \"short\", \"vendor\": \"V\", \"serial\": \"S\", \"version\": \"1\"}";
    fs::write(machine.path("device.json"), marked).unwrap();
    let short = "device.json: the device's name has 5 characters";
    fails(&machine.run("provision", &[]), 1, short);
    fs::write(machine.path("device.json"), r#"{"name": "device-0001"}"#).unwrap();
    fails(&machine.run("provision", &[]), 1, "device.json");
    fs::write(machine.path("api-key"), "\n").unwrap();
    assert_eq!(machine.calls(), "");
}

#[test]
fn what_is_wrong_with_a_clients_certificate_is_told_by_its_flag() {
    let machine = Machine::with_tools("exit 1");
    let certified = || generate_simple_self_signed(["station".to_owned()]).unwrap();
    let (own, other) = (certified(), certified());
    let put = |file: &str, text: String| fs::write(machine.path(file), text).unwrap();
    put("own.pem", own.cert.pem());
    put("own.key", own.signing_key.serialize_pem());
    put("other.key", other.signing_key.serialize_pem());
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    put("broken.pem", broken.to_owned());
    for (certificate, key, says) in [
        ("absent", "own.key", "--client-cert: absent: "),
        (
            "token",
            "own.key",
            "--client-cert: token: no certificate in it",
        ),
        (
            "broken.pem",
            "own.key",
            "--client-cert: broken.pem: certificate 1: ",
        ),
        ("own.pem", "absent", "--client-key: absent: "),
        (
            "own.pem",
            "own.pem",
            "--client-key: own.pem: no private key in it",
        ),
        (
            "own.pem",
            "other.key",
            "--client-key: it does not belong to --client-cert",
        ),
    ] {
        let mut command = keyproof(&machine.home);
        command
            .current_dir(machine.home.path())
            .args([
                "tpm",
                "station",
                "provision",
                "--url",
                "https://127.0.0.1:9",
            ])
            .args(["--client-cert", certificate, "--client-key", key])
            .args(["--api-key-file", "api-key", "--device", "device.json"])
            .args(["--namespace", "default", "--category", "factory"]);
        fails(&command.output().unwrap(), 2, says);
    }
    assert_eq!(machine.calls(), "");
}

#[test]
fn what_a_tool_says_of_its_failure_is_one_line() {
    let machine = Machine::with_tools(
        "echo 'ERROR:tcti:src/a.c:452:Init() Failed to open /dev/tpmrm0' >&2\n\
         echo 'ERROR: Could not load tcti' >&2\necho 'ERROR: Unable to run' >&2\nexit 1",
    );
    let output = machine.run("provision", &[]);
    fails(&output, 1, "keyproof: tpm2_getcap: Could not load tcti\n");
    assert_eq!(text(&output.stderr).lines().count(), 1);
}

#[test]
fn files_that_others_can_read_are_warned_of() {
    let machine = Machine::with_tools("exit 1");
    for file in ["token", "api-key"] {
        machine.permit(file, 0o644);
        let output = machine.run("provision", &[]);
        let warning = format!("warning: --{file}");
        let said = text(&output.stderr);
        assert_eq!(said.matches(&warning).count(), 1, "{said}");
        assert_eq!(said.matches("chmod 600").count(), 1, "{said}");
        machine.permit(file, 0o640);
        let said = machine.run("provision", &[]).stderr;
        assert!(!text(&said).contains("warning"), "{}", text(&said));
    }
}

#[test]
fn a_tpm_without_an_endorsement_certificate_is_told_what_to_do() {
    let machine = Machine::with_tools("exit 0");
    let output = machine.run("provision", &[]);
    fails(&output, 1, "--ek-cert");
    let output = machine.run("provision", &["--ek-index", "0x01c00003"]);
    fails(
        &output,
        2,
        "0x01c00003 is not an NV index of an endorsement certificate",
    );
}

#[test]
fn a_tool_that_hangs_is_ended() {
    let machine = Machine::with_tools("echo $$ > $HOME/pid; exec /bin/sleep 600");
    // Long enough for the tool to tell its id first.
    let output = machine.run("provision", &["--timeout", "5"]);
    fails(&output, 1, "tpm2_getcap did not end within 5 seconds");
    must_end(&fs::read_to_string(machine.path("pid")).unwrap());
}

/// Objects are unloaded even if the command is stopped while they are loaded.
#[test]
fn nothing_is_left_loaded_by_a_command_that_is_ended() {
    let machine = Machine::with_tools(
        "case \"$tool\" in *createek) echo $$ > $HOME/pid; exec /bin/sleep 600 ;; esac\nexit 0",
    );
    let machine = machine.provisioned();
    let child = machine.command("attest", "http://127.0.0.1:9", &[]).spawn();
    ended(&machine, child.unwrap());
    assert!(
        machine.calls().ends_with("tpm2_flushcontext -t\n"),
        "{}",
        machine.calls()
    );
}

/// Stops a command whose tool is running.
#[track_caller]
fn ended(machine: &Machine, child: Child) {
    let pid = machine.path("pid");
    while !fs::read_to_string(&pid).is_ok_and(|pid| pid.ends_with('\n')) {
        sleep(Duration::from_millis(10));
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    fails(&child.wait_with_output().unwrap(), 1, "interrupted");
    must_end(&fs::read_to_string(&pid).unwrap());
}

/// The endorsement key is used in a session, which must be flushed: by its file or, if a stopped tool has damaged that, by its
/// handle. Other sessions must not be flushed.
#[test]
fn no_session_is_left_however_a_tool_ends() {
    let ek = vector("ek.pub.tpm2b");
    let script = |load: &str, flush: &str| {
        format!(
            "case \"$tool $*\" in\n\
             *createek*) /bin/cp {ek} ek.pub ;;\n\
             *startauthsession*) > $HOME/open ;;\n\
             *flushcontext\\ session.ctx) {flush} ;;\n\
             *saved-session) echo '- 0x2000000'; [ -f $HOME/open ] && echo '- 0x2000001' ;;\n\
             tpm2_load\\ *) {load} ;;\n\
             esac\nexit 0"
        )
    };
    let ends = |calls: &str, last: &str| {
        let (_, after) = calls.split_once("tpm2_load ").unwrap();
        assert!(after.contains(last), "{calls}");
        assert!(!after.contains("tpm2_flushcontext 0x02000000"), "{calls}");
    };

    let machine = Machine::with_tools(&script("exit 1", "exit 0")).provisioned();
    let output = machine.run("attest", &[]);
    fails(&output, 1, "run `keyproof tpm station provision` again");
    ends(&machine.calls(), "tpm2_flushcontext session.ctx\n");

    let machine = Machine::with_tools(&script("exec /bin/sleep 600", "exit 1")).provisioned();
    // Long enough for the other tools.
    let output = machine.run("attest", &["--timeout", "5"]);
    fails(&output, 1, "tpm2_load did not end within 5 seconds");
    ends(&machine.calls(), "tpm2_flushcontext 0x02000001\n");

    // A signal stops the command.
    let machine = Machine::with_tools(&script(
        "echo $$ > $HOME/pid; exec /bin/sleep 600",
        "exit 1",
    ));
    let machine = machine.provisioned();
    let child = machine.command("attest", "http://127.0.0.1:9", &[]).spawn();
    ended(&machine, child.unwrap());
    ends(&machine.calls(), "tpm2_flushcontext 0x02000001\n");
}

/// `tpm2_createek` and others open sessions of their own, of which only they have a file. A TPM has room for three.
#[test]
fn no_session_of_a_tool_that_is_killed_is_left() {
    let script = "case \"$tool $*\" in\n\
         *createek*) > $HOME/open; echo $$ > $HOME/pid; exec /bin/sleep 600 ;;\n\
         *saved-session) echo '- 0x2000000'; [ -f $HOME/open ] && echo '- 0x2000001' ;;\n\
         esac\nexit 0";
    let ends = |machine: &Machine| {
        let calls = machine.calls();
        assert!(calls.contains("tpm2_flushcontext 0x02000001\n"), "{calls}");
        assert!(!calls.contains("tpm2_flushcontext 0x02000000"), "{calls}");
    };

    let machine = Machine::with_tools(script).provisioned();
    // Long enough for the other tools.
    let output = machine.run("attest", &["--timeout", "5"]);
    fails(&output, 1, "tpm2_createek did not end within 5 seconds");
    ends(&machine);

    let machine = Machine::with_tools(script).provisioned();
    let child = machine.command("attest", "http://127.0.0.1:9", &[]).spawn();
    ended(&machine, child.unwrap());
    ends(&machine);
}

/// The server is authenticated by its certificate, with the given CAs.
#[test]
fn the_server_is_known_by_its_certificate() {
    let script = format!(
        "case \"$tool $*\" in\n\
         *nv-index) echo '- 0x1C00002' ;;\n\
         *nvread*) /bin/cp {} nv ;;\n\
         esac\nexit 0",
        vector("ek.cert.der")
    );
    let machine = Machine::with_tools(&script);
    let certified = |name: &str| generate_simple_self_signed([name.to_owned()]).unwrap();
    let own = certified("127.0.0.1");
    let put = |file: &str, text: String| fs::write(machine.path(file), text).unwrap();
    put("server.pem", own.cert.pem());
    put("server.key", own.signing_key.serialize_pem());
    put("other.pem", certified("127.0.0.1").cert.pem());

    let mut serve = keyproof(&machine.home);
    serve.current_dir(machine.home.path()).args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--tls-cert",
        "server.pem",
        "--tls-key",
        "server.key",
    ]);
    let serving = Serving::start(&mut serve);
    let mut create = keyproof(&machine.home);
    create.args(["token", "create", "--scope", "tpm-station", "--quiet"]);
    fs::write(machine.path("token"), create.output().unwrap().stdout).unwrap();

    // As openssl makes one by default.
    let mut of_ca = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    of_ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    put("ca.pem", of_ca.self_signed(&own.signing_key).unwrap().pem());
    let mut serve = keyproof(&machine.home);
    serve.current_dir(machine.home.path()).args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--store",
        "memory:",
        "--tls-cert",
        "ca.pem",
        "--tls-key",
        "server.key",
    ]);
    let as_ca = Serving::start(&mut serve);

    let url = format!("https://{}", serving.address());
    let says = |url: &str, ca: &[&str], says: &str| {
        let output = machine.command("provision", url, ca).output().unwrap();
        fails(&output, 1, says);
    };
    says(
        &url,
        &["--ca-file", "server.pem"],
        "the server refuses the API key",
    );
    says(
        &url,
        &["--ca-file", "other.pem"],
        "cannot connect: invalid peer certificate",
    );
    says(
        &format!("https://{}", as_ca.address()),
        &["--ca-file", "ca.pem"],
        "it says CA:TRUE",
    );
    let elsewhere = url.replace("127.0.0.1", "localhost");
    says(
        &elsewhere,
        &["--ca-file", "server.pem"],
        "cannot connect: invalid peer certificate",
    );
    says(&url.replace("https", "http"), &[], "/api/tpm/tpm/preauth: ");
    fs::write(machine.path("token"), "another\n").unwrap();
    says(
        &url,
        &["--ca-file", "server.pem"],
        "401 Unauthorized: the token is not accepted",
    );
}

#[test]
fn the_folder_of_another_device_is_left_alone() {
    let machine = Machine::with_tools("exit 1").provisioned();
    for (from, to) in [("SN0001", "SN0002"), ("ExampleCorp", "OtherCorp")] {
        let device = fs::read_to_string(machine.path("device.json")).unwrap();
        fs::write(machine.path("device.json"), device.replace(from, to)).unwrap();
        fails(&machine.run("attest", &[]), 2, "are of another device");
        fs::write(machine.path("device.json"), device).unwrap();
    }
    assert_eq!(machine.calls(), "");
}
