//! The stage `package`: tries both packages as a user does who installs them on a fresh system.

#![expect(clippy::indexing_slicing, reason = "an absent JSON member is null")]

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use super::{Contents, Made, debian, image, machine, read, root};
use crate::{
    failure::Failure,
    process::{cargo, line, output, run},
    test::Ran,
    tools::{Program, is_root, need_programs},
    workspace::{self, write},
};

const PROGRAMS: &[Program] = &[
    Program::on_path("runc", "runc"),
    Program::on_path("setpriv", "util-linux"),
    Program::on_path("strip", "binutils"),
    Program::on_path("timeout", "coreutils"),
];

/// The maximum lifetime of a server, in seconds.
const PATIENCE: &str = "180";

/// Packs the program that the tests have built, and tries both packages: with the units in a booted system, if this
/// machine can boot one.
pub(crate) fn hold() -> Result<Ran, Failure> {
    if !is_root()? {
        println!("a fresh system is made and entered by root alone: nothing was installed");
        return Ok(Ran::NotRun);
    }
    need_programs(PROGRAMS)?;
    // With the features of examples and tests, so that nothing is rebuilt.
    run(cargo(["build", "--locked", "--examples", "--bin", "keyproof"]).args(workspace::WHOLE))?;
    let home = tempfile::tempdir().map_err(Failure::at(env::temp_dir()))?;
    let program = home.path().join("keyproof");
    run(Command::new("strip")
        .arg("--strip-debug")
        .arg("-o")
        .arg(&program)
        .arg(workspace::target_folder().join("debug/keyproof")))?;
    let contents = Contents::of(&program)?;
    let made = Made::pack(&contents, 1)?;
    let folder = made.write(&contents)?;
    let newer = folder.join(debian::name(&contents, 2));
    write(&newer, &debian::pack(&contents, 2)?)?;

    let system = System::install(&home.path().join("system"))?;
    let booted = system.tries(&folder.join(&made.debian.0), &newer)?;
    let layout = folder.join(format!("keyproof-{}-oci", contents.version));
    image_runs(&layout, &home.path().join("bundle"))?;
    Ok(if booted { Ran::Passed } else { Ran::NotWhole })
}

/// Fails unless the value is the expected one.
#[track_caller]
pub(super) fn expect<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: T,
    wanted: T,
) -> Result<(), Failure> {
    if found == wanted {
        return Ok(());
    }
    Err(Failure::wrong(
        "the package's trial",
        format!("{what}: found {found:?}, not {wanted:?}"),
    ))
}

/// A fresh Debian system.
struct System(PathBuf);

const DATA: &str = "var/lib/keyproof/keyproof.db";
const KEY: &str = "var/lib/keyproof/keyproof.db.master-key";
const CONFIGURATION: &str = "etc/keyproof/keyproof.toml";

impl System {
    fn install(folder: &Path) -> Result<Self, Failure> {
        root::install(machine::PACKAGES, folder)?;
        Ok(Self(folder.to_owned()))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("chroot");
        command.arg(&self.0).args(arguments);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Returns a keyproof command as the service's user.
    fn keyproof(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&["setpriv", "--reuid=keyproof", "--regid=keyproof"]);
        command
            .args(["--clear-groups", "/usr/bin/keyproof"])
            .args(arguments)
            .args(["--config", "/etc/keyproof/keyproof.toml"]);
        command
    }

    fn has(&self, path: &str) -> bool {
        self.0.join(path).exists()
    }

    fn dpkg(&self, arguments: &[&str]) -> Result<(), Failure> {
        run(self.command(&["dpkg"]).args(arguments))
    }

    fn take(&self, package: &Path) -> Result<(), Failure> {
        let name = "tmp/keyproof.deb";
        workspace::copy(package, self.0.join(name))?;
        self.dpkg(&["--install", &format!("/{name}")])
    }

    /// Returns whether the system booted, too.
    fn tries(&self, first: &Path, newer: &Path) -> Result<bool, Failure> {
        self.take(first)?;
        self.is_installed()?;
        let token = self.serves(true)?;

        let path = self.0.join(CONFIGURATION);
        let changed =
            fs::read_to_string(&path).map(|text| text + "\n[taler]\ncurrency = \"EUR\"\n");
        changed
            .and_then(|text| fs::write(&path, text))
            .map_err(Failure::at(&path))?;
        self.take(newer)?;
        self.is_installed()?;
        let checked = output(self.keyproof(&["config", "check"]).arg("--json"))?;
        let checked: Value = serde_json::from_str(&checked).unwrap_or_default();
        expect(
            "a changed configuration, after an upgrade",
            &checked["taler"]["currency"],
            &json!("EUR"),
        )?;
        expect(
            "what was stored before the upgrade",
            self.serves(false)?,
            token,
        )?;

        let booted = machine::tries(&self.0, newer)?;

        self.dpkg(&["--remove", "keyproof"])?;
        let left = [DATA, KEY, CONFIGURATION, "usr/bin/keyproof"].map(|path| self.has(path));
        expect("what removing leaves", left, [true, true, true, false])?;
        self.dpkg(&["--purge", "keyproof"])?;
        let left = [DATA, KEY, CONFIGURATION].map(|path| self.has(path));
        expect("what purging leaves", left, [true, true, false])?;

        // The key opens backups, too.
        let backup = self.0.join("var/backups/keyproof/keyproof.backup");
        write(&backup, b"a backup")?;
        self.take(newer)?;
        self.purge_with_data()?;
        expect(
            "with a backup",
            [DATA, KEY].map(|path| self.has(path)),
            [false, true],
        )?;
        fs::remove_file(&backup).map_err(Failure::at(&backup))?;
        // A key whose data is elsewhere or lost must not be deleted.
        self.take(newer)?;
        self.purge_with_data()?;
        expect("a key alone", self.has(KEY), true)?;
        write(&self.0.join(DATA), b"")?;
        self.take(newer)?;
        self.purge_with_data()?;
        expect("all of it", self.has("var/lib/keyproof"), false)?;
        Ok(booted)
    }

    fn purge_with_data(&self) -> Result<(), Failure> {
        run(self
            .command(&["dpkg", "--purge", "keyproof"])
            .env("KEYPROOF_PURGE_DATA", "yes"))
    }

    fn is_installed(&self) -> Result<(), Failure> {
        expect(
            "files that differ from the package's, the configuration's aside",
            output(&mut self.command(&["dpkg", "--verify", "keyproof"]))?
                .lines()
                .filter(|line| !line.contains(CONFIGURATION))
                .count(),
            0,
        )?;
        for path in [
            "usr/share/man/man1/keyproof.1.gz",
            "usr/share/man/man1/keyproof-user-add.1.gz",
            "usr/share/man/man5/keyproof.toml.5.gz",
            "usr/share/bash-completion/completions/keyproof",
            "usr/share/fish/vendor_completions.d/keyproof.fish",
            "usr/share/zsh/vendor-completions/_keyproof",
            "usr/lib/systemd/system/keyproof.service",
            "usr/lib/systemd/system-preset/50-keyproof.preset",
            "usr/share/doc/keyproof/copyright",
            "usr/share/doc/keyproof/docs/operate/one-machine.md",
            "usr/share/doc/keyproof/docs/users.md",
            "usr/share/doc/keyproof/sbom.cdx.json",
        ] {
            expect(path, self.has(path), true)?;
        }
        let users = fs::read_to_string(self.0.join("etc/passwd")).unwrap_or_default();
        let user = users.lines().find(|line| line.starts_with("keyproof:"));
        let fields: Vec<&str> = user.unwrap_or_default().split(':').collect();
        let id = |at: usize| fields.get(at).and_then(|id| id.parse::<u32>().ok());
        let (user, group) = (id(2).unwrap_or_default(), id(3).unwrap_or_default());
        for (path, wanted) in [
            ("etc/keyproof", (0o750, 0, group)),
            (CONFIGURATION, (0o640, 0, group)),
            ("var/lib/keyproof", (0o700, user, group)),
        ] {
            let path = self.0.join(path);
            let found = fs::metadata(&path).map_err(Failure::at(&path))?;
            let found = (found.mode() & 0o7777, found.uid(), found.gid());
            expect(&path.to_string_lossy(), found, wanted)?;
        }
        Ok(())
    }

    /// Starts the server as its unit does, sends it requests, and stops it. Returns the store's tokens, with
    /// `and_stores` after adding one.
    fn serves(&self, and_stores: bool) -> Result<String, Failure> {
        let mut serve = self.keyproof(&["serve"]);
        serve.args(["--listen", "127.0.0.1:0"]);
        let server = Running::start(serve)?;
        server.is_healthy()?;
        if and_stores {
            let mut create = self.keyproof(&["token", "create", "--scope", "admin", "--quiet"]);
            output(&mut create)?;
        }
        let tokens = output(self.keyproof(&["token", "list"]).arg("--json"))?;
        server.stop()?;
        Ok(tokens)
    }
}

/// A server that ends by itself if it outlives its trial.
struct Running {
    child: Child,
    address: String,
}

impl Running {
    fn start(command: Command) -> Result<Self, Failure> {
        let mut bounded = Command::new("timeout");
        bounded.args(["--kill-after=5", PATIENCE]);
        bounded.arg(command.get_program()).args(command.get_args());
        bounded.envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        let line = line(&bounded);
        println!("$ {line}");
        let failed = |source| Failure::Start {
            line: line.clone(),
            source,
        };
        let mut child = bounded
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let mut address = None;
        if let Some(errors) = child.stderr.take() {
            let mut lines = BufReader::new(errors).lines();
            for said in lines.by_ref() {
                let said = said.map_err(failed)?;
                println!("{said}");
                if let Some(found) = said.split("listening on http://").nth(1) {
                    address = Some(found.trim_end_matches('"').to_owned());
                    break;
                }
            }
            // A program ends when it writes to a pipe without a reader.
            std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        }
        match address {
            Some(address) => Ok(Self { child, address }),
            None => Err(Failure::Command {
                line: line.clone(),
                status: child.wait().map_err(failed)?,
            }),
        }
    }

    fn is_healthy(&self) -> Result<(), Failure> {
        let ask = || -> std::io::Result<String> {
            let mut client = TcpStream::connect(&self.address)?;
            client.set_read_timeout(Some(Duration::from_secs(30)))?;
            client.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            client.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = ask().map_err(|source| Failure::Start {
            line: format!("GET http://{}/readyz", self.address),
            source,
        })?;
        expect("/readyz", answer.split(' ').nth(1), Some("200"))
    }

    /// Stops it, and expects it to end successfully.
    fn stop(mut self) -> Result<(), Failure> {
        // timeout passes the signal on.
        run(Command::new("kill").arg(self.child.id().to_string()))?;
        let status = self.child.wait().map_err(|source| Failure::Start {
            line: "the server".to_owned(),
            source,
        })?;
        // timeout returns the command's own exit code if that ended by itself.
        expect("how the server ended", status.code(), Some(0))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

/// Runs the image with runc and its own configuration: not as root, and with a read-only root file system.
fn image_runs(layout: &Path, bundle: &Path) -> Result<(), Failure> {
    let rootfs = bundle.join("rootfs");
    write(&rootfs.join(".keep"), b"")?;
    let image = image::unpack(layout, &rootfs)?;
    let own = &image["config"];
    run(Command::new("runc").args(["spec", "--bundle"]).arg(bundle))?;
    let path = bundle.join("config.json");
    let mut spec: Value = serde_json::from_slice(&read(&path)?).unwrap_or_default();
    let mut user = own["User"].as_str().unwrap_or_default().split(':');
    let mut id = || {
        user.next()
            .and_then(|id| id.parse::<u32>().ok())
            .unwrap_or_default()
    };
    let (uid, gid) = (id(), id());
    expect("the image's user is root", uid == 0 || gid == 0, false)?;
    let mut arguments = vec![own["Entrypoint"][0].clone()];
    arguments.extend(own["Cmd"].as_array().cloned().unwrap_or_default());
    if let Some(listen) = arguments
        .iter_mut()
        .find(|argument| **argument == image::LISTEN)
    {
        *listen = json!("127.0.0.1:0");
    }
    spec["process"]["terminal"] = json!(false);
    spec["process"]["user"] = json!({ "uid": uid, "gid": gid });
    spec["process"]["args"] = json!(arguments);
    spec["process"]["env"] = own["Env"].clone();
    spec["process"]["cwd"] = own["WorkingDir"].clone();
    spec["root"]["readonly"] = json!(true);
    if let Some(mounts) = spec["mounts"].as_array_mut() {
        mounts.push(json!({
            "destination": "/var/lib/keyproof",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "nodev", format!("uid={uid}"), format!("gid={gid}"), "mode=0700"],
        }));
    }
    // With this machine's network, so that the trial can reach it.
    if let Some(namespaces) = spec["linux"]["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "network");
    }
    write(&path, spec.to_string().as_bytes())?;
    write(&rootfs.join(CONFIGURATION), b"[store]\nurl = \"memory:\"\n")?;
    let name = format!("keyproof-trial-{}", std::process::id());
    let mut container = Command::new("runc");
    container.args(["run", "--bundle"]).arg(bundle).arg(&name);
    let server = Running::start(container)?;
    server.is_healthy()?;
    let mut create = Command::new("runc");
    create.args(["exec", &name, "/usr/bin/keyproof", "token", "create"]);
    output(create.args(["--scope", "admin", "--quiet"]))?;
    let mut check = Command::new("runc");
    check.args(["exec", &name, "/usr/bin/keyproof", "config", "check"]);
    check.args(["--json", "--config", &format!("/{CONFIGURATION}")]);
    let checked: Value = serde_json::from_str(&output(&mut check)?).unwrap_or_default();
    let store = &checked["store"]["url"];
    expect("the store that a file names", store, &json!("memory:"))?;
    server.stop()
}
