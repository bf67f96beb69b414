//! A software TPM with endorsement certificates, on two loopback ports.

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use tempfile::TempDir;

pub(crate) struct Tpm {
    folder: TempDir,
    swtpm: Option<Child>,
    tcti: String,
}

impl Tpm {
    /// Makes a TPM with its manufacturer's certificates, and starts it. `options` are those of `swtpm_setup`.
    pub(crate) fn manufacture(options: &str) -> Self {
        let mut tpm = Self {
            folder: TempDir::new().unwrap(),
            swtpm: None,
            tcti: String::new(),
        };
        for folder in ["state", "ca"] {
            fs::create_dir(tpm.path(folder)).unwrap();
        }
        let at = |name: &str| tpm.path(name).display().to_string();
        let ca = format!(
            "statedir = {0}\nsigningkey = {0}/signkey.pem\nissuercert = {0}/issuercert.pem\ncertserial = {0}/certserial\n",
            at("ca")
        );
        tpm.write("localca.conf", ca.as_bytes());
        tpm.write("localca.options", b"");
        let setup = format!(
            "create_certs_tool= /usr/bin/swtpm_localca\ncreate_certs_tool_config = {}\n\
             create_certs_tool_options = {}\nactive_pcr_banks = sha256\n",
            at("localca.conf"),
            at("localca.options")
        );
        tpm.write("setup.conf", setup.as_bytes());
        tpm.shell(&format!(
            "swtpm_setup --tpm2 --tpmstate dir://{} --config {} --create-ek-cert --vmid device-0001 --overwrite {options}",
            at("state"),
            at("setup.conf")
        ));
        let deadline = Instant::now() + Duration::from_secs(60);
        while !tpm.start() {
            // Another process may have taken a port between the choice and the start.
            assert!(Instant::now() < deadline, "swtpm does not answer");
        }
        tpm
    }

    fn start(&mut self) -> bool {
        self.power_off();
        let (server, control) = free_ports();
        // An absolute path: with a relative one the TPM fails at its first write.
        let state = self.path("state");
        let swtpm = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .arg("--tpmstate")
            .arg(format!("dir={}", state.display()))
            .arg("--server")
            .arg(format!("type=tcp,bindaddr=127.0.0.1,port={server}"))
            .arg("--ctrl")
            .arg(format!("type=tcp,bindaddr=127.0.0.1,port={control}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.swtpm = Some(swtpm.unwrap_or_else(|error| panic!("swtpm: {error}")));
        self.tcti = format!("swtpm:host=127.0.0.1,port={server}");
        for _ in 0..100 {
            if !self.runs() {
                return false;
            }
            if self.try_run("tpm2_getcap properties-fixed") {
                // If it has ended, another TPM took the port, and answered.
                return self.runs();
            }
            sleep(Duration::from_millis(50));
        }
        false
    }

    fn runs(&mut self) -> bool {
        let swtpm = self.swtpm.as_mut();
        swtpm.is_some_and(|swtpm| swtpm.try_wait().unwrap().is_none())
    }

    /// Kills it without a shutdown command, and starts it again: loaded objects are gone, and PCRs and counters are those of a
    /// reset.
    pub(crate) fn reset(&mut self) {
        self.run("tpm2_shutdown -c");
        self.power_off();
        assert!((0..5).any(|_| self.start()), "swtpm does not answer");
    }

    fn power_off(&mut self) {
        if let Some(mut swtpm) = self.swtpm.take() {
            let _ = swtpm.kill();
            let _ = swtpm.wait();
        }
    }

    /// Returns the TPM's state, as files.
    pub(crate) fn remember(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let files = fs::read_dir(self.path("state")).unwrap();
        let paths = files.map(|file| file.unwrap().path());
        paths
            .filter(|path| path.is_file())
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect()
    }

    /// Starts it with an earlier state.
    pub(crate) fn put_back(&mut self, kept: &[(PathBuf, Vec<u8>)]) {
        self.power_off();
        for (path, contents) in kept {
            fs::write(path, contents).unwrap();
        }
        assert!((0..5).any(|_| self.start()), "swtpm does not answer");
    }

    /// Returns the TPM's address, as tpm2-tools read it from `TPM2TOOLS_TCTI`.
    pub(crate) fn tcti(&self) -> &str {
        &self.tcti
    }

    /// Returns a tool's output.
    pub(crate) fn output(&self, line: &str) -> String {
        let output = self.command(line).output().unwrap();
        assert!(output.status.success(), "{line}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Has the manufacturer's CA certify an endorsement key that `swtpm_setup` has no certificate for.
    pub(crate) fn certify_ek(&self, ek: &str) {
        let folder = self.folder();
        let folder = folder.display();
        self.shell(&format!(
            "swtpm_localca --type ek --ek {ek} --dir {folder} --vmid device-0001 --tpm2 \
             --tpm-spec-family 2.0 --tpm-spec-level 0 --tpm-spec-revision 164 \
             --tpm-manufacturer id:00001014 --tpm-model swtpm --tpm-version id:20191023 \
             --configfile {folder}/localca.conf --optsfile {folder}/localca.options"
        ));
        fs::rename(self.path("ek.cert"), self.path("ek.crt")).unwrap();
    }

    /// Stores data at a new NV index.
    pub(crate) fn store(&self, index: &str, contents: &[u8]) {
        self.write("contents", contents);
        let size = contents.len();
        self.run(&format!(
            "tpm2_nvdefine -C o -s {size} -a ownerread|ownerwrite|authread|authwrite {index}"
        ));
        self.run(&format!("tpm2_nvwrite -C o -i contents {index}"));
    }

    /// Runs a tool, then frees the TPM's few slots, because there is no resource manager to do it.
    pub(crate) fn run(&self, line: &str) {
        self.shell(line);
        self.shell("tpm2_flushcontext -t");
    }

    /// Runs a tool that may fail.
    pub(crate) fn try_run(&self, line: &str) -> bool {
        let done = self
            .command(line)
            .output()
            .is_ok_and(|output| output.status.success());
        self.command("tpm2_flushcontext -t").output().unwrap();
        done
    }

    /// Runs a program with blank-separated arguments.
    pub(crate) fn shell(&self, line: &str) {
        let output = self.command(line).output();
        let output = output.unwrap_or_else(|error| panic!("{line}: {error}"));
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(output.status.success(), "{line}: {said}");
    }

    fn command(&self, line: &str) -> Command {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().unwrap());
        command
            .args(words)
            .current_dir(self.folder())
            .env("TPM2TOOLS_TCTI", &self.tcti)
            .env("TSS2_LOG", "all+none");
        command
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    pub(crate) fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    pub(crate) fn write(&self, file: &str, bytes: &[u8]) {
        fs::write(self.path(file), bytes).unwrap();
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        self.power_off();
    }
}

/// Returns two free ports, the second one directly after the first: tpm2-tools expects the control channel there. They are below
/// the range for outgoing connections, which could take one of them while nobody listens on it.
fn free_ports() -> (u16, u16) {
    loop {
        let drawn = RandomState::new().hash_one(());
        let port = 10_000 + u16::try_from(drawn % 22_000).unwrap();
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + 1) {
            return (port, port + 1);
        }
    }
}
