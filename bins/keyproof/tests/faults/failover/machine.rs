//! The test's own machines: each is a process namespace and a network namespace, on a bridge of the test.
//!
//! The test itself runs in such namespaces, which disappear with it, however it ends.

use std::{
    env,
    fs::{self, File},
    io::{self, Write},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::{inner::run_again, node::PATIENCE};

const INNER: &str = "KEYPROOF_TEST_MACHINES";
const BRIDGE: &str = "machines";
const PAUSE: Duration = Duration::from_millis(20);

/// The test's own address on the bridge. The network is the one that RFC 2544 reserves for benchmarks, so that no real host is
/// reached.
pub(crate) const HERE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 254);

/// Returns whether this is the test itself. Otherwise runs the test with its own processes, mounts and network.
pub(crate) fn is_inside(test: &str) -> bool {
    if env::var_os(INNER).is_some() {
        ip(&["link", "set", "lo", "up"]);
        ip(&["link", "add", BRIDGE, "type", "bridge"]);
        ip(&["address", "add", &format!("{HERE}/24"), "dev", BRIDGE]);
        ip(&["link", "set", BRIDGE, "up"]);
        return true;
    }
    assert!(
        geteuid().is_root(),
        "{test} makes network name spaces and runs servers as another user: it takes root"
    );
    let mut unshare = Command::new("unshare");
    unshare
        .args(["--mount", "--net", "--pid", "--fork", "--mount-proc"])
        .arg("--kill-child")
        .env(INNER, "1")
        // Such a test takes minutes, so it prints its progress.
        .stderr(Stdio::inherit());
    run_again(test, &mut unshare, &["--ignored"], "name spaces of its own");
    false
}

/// A running machine.
pub(crate) struct Machine {
    /// Numbers start at 1.
    number: u8,
    holder: Child,
    /// Its first process, which reaps the others.
    first: Pid,
    folder: PathBuf,
    /// The user and group of the servers on it.
    owner: [u32; 2],
    entered: Vec<Child>,
}

impl Machine {
    /// Starts the machine, with its data in a subfolder of `folder`, on a disk of `disk` bytes. The disk is in memory, which
    /// survives the end of every process: on a slow real disk, etcd and Patroni would change leaders for no reason.
    pub(crate) fn start(number: u8, folder: &Path, owner: [u32; 2], disk: u64) -> Self {
        let folder = folder.join(format!("machine{number}"));
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::chown(&folder, Some(owner[0]), Some(owner[1])).unwrap();
        Disk::mount(&folder, disk, owner);
        let holder = Command::new("unshare")
            .args(["--net", "--pid", "--fork", "--mount-proc", "--kill-child"])
            .args(["sh", "-c", "while sleep 1; do :; done"])
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare, of util-linux");
        let first = first_child(holder.id());
        let (own, link) = (first.to_string(), format!("machine{number}"));
        let machine = Self {
            number,
            holder,
            first,
            folder,
            owner,
            entered: Vec::new(),
        };
        ip(&[
            "link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &own,
        ]);
        ip(&["link", "set", &link, "master", BRIDGE, "up"]);
        let address = format!("{}/24", machine.address());
        machine.ip(&["address", "add", &address, "dev", "eth0"]);
        machine.ip(&["link", "set", "eth0", "up"]);
        machine.ip(&["link", "set", "lo", "up"]);
        machine
    }

    pub(crate) fn address(&self) -> Ipv4Addr {
        address(self.number)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a file that the servers can read.
    pub(crate) fn write(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, contents).unwrap();
        std::os::unix::fs::chown(&path, Some(self.owner[0]), Some(self.owner[1])).unwrap();
        path
    }

    /// Returns a command that runs on the machine.
    pub(crate) fn command(&self, program: &str) -> Command {
        let [user, group] = self.owner;
        let mut command = self.enter();
        command
            .args(["--mount", "--pid", "setpriv", "--clear-groups"])
            .args([format!("--reuid={user}"), format!("--regid={group}")])
            .arg(program)
            .env("HOME", &self.folder)
            .stdin(Stdio::null());
        command
    }

    /// Starts a server on the machine, with its output in a file.
    pub(crate) fn serve(&mut self, log: &str, command: &mut Command) {
        let path = self.folder.join(log);
        let log = File::options().create(true).append(true).open(path);
        let log = log.unwrap();
        let child = command
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.entered.push(child);
    }

    /// Sends a signal to every process with one of these names. Returns whether there was one.
    pub(crate) fn signal(&self, names: &[&str], signal: Signal) -> bool {
        let processes = self.processes(names);
        for process in &processes {
            // An error means that it has ended already.
            let _ = kill_process(*process, signal);
        }
        !processes.is_empty()
    }

    /// Kills every process with one of these names with SIGKILL. Returns when they are gone.
    pub(crate) fn kill(&self, names: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        while self.signal(names, Signal::KILL) {
            assert!(Instant::now() < deadline, "{names:?} do not end");
            sleep(PAUSE);
        }
    }

    /// Disconnects its network cable.
    pub(crate) fn unplug(&self) {
        ip(&["link", "set", &format!("machine{}", self.number), "down"]);
    }

    /// Blocks traffic from this machine to another one; both remain reachable from elsewhere.
    pub(crate) fn cut_off_from(&self, other: u8) {
        self.ip(&["route", "add", "blackhole", &address(other).to_string()]);
    }

    /// Undoes both.
    pub(crate) fn reconnect(&self) {
        ip(&["link", "set", &format!("machine{}", self.number), "up"]);
        self.ip(&["route", "flush", "type", "blackhole"]);
    }

    /// Fills the disk completely.
    pub(crate) fn fill_disk(&self) -> Ballast {
        let path = self.folder.join("ballast");
        let mut file = File::create(&path).unwrap();
        let block = vec![0; 1 << 20];
        for block in [&block[..], &block[..4096]] {
            while file.write_all(block).is_ok() {}
        }
        Ballast(path)
    }

    fn processes(&self, names: &[&str]) -> Vec<Pid> {
        let space = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let own = space(&self.first.to_string());
        let all = fs::read_dir("/proc").unwrap().flatten();
        let pids = all.filter_map(|entry| entry.file_name().into_string().ok());
        let named = |pid: &String| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let is = |line: &str, of: &str| {
                status
                    .lines()
                    .any(|l| l.starts_with(line) && l.contains(of))
            };
            names.iter().any(|name| is("Name:", &format!("\t{name}")))
                && !is("State:", "Z (zombie)")
        };
        pids.filter(|pid| own.is_some() && space(pid) == own && named(pid))
            .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
            .collect()
    }

    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.first.to_string(), "--net"])
            .stdin(Stdio::null());
        command
    }

    fn ip(&self, arguments: &[&str]) {
        let mut command = self.enter();
        succeed(command.arg("ip").args(arguments));
    }
}

/// A small in-memory disk of a machine.
pub(crate) struct Disk;

impl Disk {
    /// More than a run writes.
    pub(crate) const ROOMY: u64 = 4 << 30;
    /// Enough until it is filled.
    pub(crate) const SMALL: u64 = 400 << 20;

    /// Mounts a disk below the later contents of this folder.
    pub(crate) fn mount(folder: &Path, bytes: u64, owner: [u32; 2]) {
        let [user, group] = owner;
        let options = format!("size={bytes},mode=0755,uid={user},gid={group}");
        succeed(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
                .arg(folder),
        );
    }
}

/// A file that fills a disk.
pub(crate) struct Ballast(PathBuf);

impl Ballast {
    pub(crate) fn remove(self) {
        fs::remove_file(self.0).unwrap();
    }
}

impl Drop for Machine {
    /// All other processes end with its first one.
    fn drop(&mut self) {
        let _ = kill_process(self.first, Signal::KILL);
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        for child in &mut self.entered {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub(crate) fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 0, number)
}

/// Returns the user and group of an unprivileged user, because PostgreSQL refuses to run as root.
pub(crate) fn owner() -> [u32; 2] {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.starts_with("postgres:"));
    let mut fields = line.expect("a user `postgres`").split(':').skip(2);
    let mut number = || fields.next().unwrap().parse().unwrap();
    [number(), number()]
}

fn first_child(parent: u32) -> Pid {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        let child = children.unwrap_or_default().trim().parse().ok();
        if let Some(child) = child.and_then(Pid::from_raw) {
            return child;
        }
        sleep(PAUSE);
    }
    panic!("no machine could be made");
}

fn ip(arguments: &[&str]) {
    succeed(Command::new("ip").args(arguments));
}

pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.output();
    let output = output.unwrap_or_else(|error: io::Error| panic!("{command:?}: {error}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {complaint}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
