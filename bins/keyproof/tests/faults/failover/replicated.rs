//! A database on three machines: etcd, Patroni and PostgreSQL on each, and haproxy in front of them.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use keyproof_peer_postgres::programs_folder;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::machine::{HERE, Machine, address, owner, succeed};
use crate::node::PATIENCE;

pub(crate) const MACHINES: [u8; 3] = [1, 2, 3];
const PASSWORD: &str = "of-a-test";
const PAUSE: Duration = Duration::from_millis(50);
/// The time limit for Patroni to elect a leader and for a machine to catch up, far more than they need.
const CONVALESCENCE: Duration = Duration::from_secs(300);
/// The programs of a machine's database.
const DATABASE: [&str; 2] = ["patroni", "postgres"];

/// When a commit is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replication {
    /// Once one machine has it.
    Asynchronous,
    /// Once two machines have it, never by one alone.
    Synchronous,
}

pub(crate) struct Replicated {
    machines: Vec<Machine>,
    haproxy: Child,
    replication: Replication,
    folder: TempDir,
}

impl Replicated {
    /// Starts the database, and waits until all machines are up to date.
    pub(crate) fn start(replication: Replication, disk: u64) -> Self {
        let folder = tempfile::Builder::new().prefix("failover-").tempdir();
        let folder = folder.unwrap();
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let owner = owner();
        let machines = MACHINES.map(|number| Machine::start(number, folder.path(), owner, disk));
        let mut database = Self {
            machines: machines.into(),
            haproxy: haproxy(folder.path()),
            replication,
            folder,
        };
        for number in MACHINES {
            database.start_etcd(number);
            let machine = database.machine(number);
            machine.write("patroni.yml", &configuration(machine, replication));
            database.bring_up(number);
        }
        database.leader_other_than(None);
        database.convalesce();
        database.sql("postgres", "CREATE DATABASE keyproof");
        database
    }

    pub(crate) fn url() -> String {
        url("keyproof")
    }

    /// The URL without the proxy: a client tries the machines in turn until one accepts writes.
    pub(crate) fn url_of_all_machines() -> String {
        let hosts = MACHINES.map(|number| format!("{}:5432", address(number)));
        format!(
            "postgres://keyproof:{PASSWORD}@{}/keyproof?target_session_attrs=read-write",
            hosts.join(",")
        )
    }

    pub(crate) fn machine(&self, number: u8) -> &Machine {
        &self.machines[usize::from(number) - 1]
    }

    fn machine_mut(&mut self, number: u8) -> &mut Machine {
        &mut self.machines[usize::from(number) - 1]
    }

    fn start_etcd(&mut self, number: u8) {
        let machine = self.machine_mut(number);
        let own = machine.address();
        let members = MACHINES.map(|n| format!("m{n}=http://{}:2380", address(n)));
        let mut etcd = machine.command("etcd");
        // With etcd's newer API, Patroni 3.0 overwrites another machine's leader key without a check after a partition: see
        // docs/operate/failover.md.
        etcd.args([
            "--enable-v2=true",
            "--name",
            &format!("m{number}"),
            "--data-dir",
        ])
        .arg(machine.folder().join("etcd"))
        .args(["--listen-peer-urls", &format!("http://{own}:2380")])
        .args([
            "--initial-advertise-peer-urls",
            &format!("http://{own}:2380"),
        ])
        .args(["--listen-client-urls", &format!("http://{own}:2379")])
        .args(["--advertise-client-urls", &format!("http://{own}:2379")])
        .args(["--initial-cluster", &members.join(",")]);
        machine.serve("etcd.log", &mut etcd);
    }

    /// Starts a machine's database, as its supervisor would.
    pub(crate) fn bring_up(&mut self, number: u8) {
        let machine = self.machine_mut(number);
        // Debian's own python3, whichever one is on the path.
        let mut patroni = machine.command("/usr/bin/patroni");
        patroni.arg(machine.folder().join("patroni.yml"));
        machine.serve("patroni.log", &mut patroni);
    }

    /// Kills a machine's database with SIGKILL, and whatever would restart it.
    pub(crate) fn kill(&self, number: u8) {
        self.machine(number).kill(&DATABASE);
    }

    /// Stops all processes of a machine's database.
    pub(crate) fn freeze(&self, number: u8) {
        assert!(self.machine(number).signal(&DATABASE, Signal::STOP));
    }

    /// Continues them, as if no time had passed.
    pub(crate) fn thaw(&self, number: u8) {
        self.machine(number).signal(&DATABASE, Signal::CONT);
    }

    /// Performs a planned switchover from the leader to another machine.
    pub(crate) fn switch_over(&self, from: u8) {
        let machine = self.machine(from);
        succeed(
            machine
                .command("/usr/bin/patronictl")
                .arg("--config-file")
                .arg(machine.folder().join("patroni.yml"))
                .args([
                    "switchover",
                    "--force",
                    "--leader",
                    &format!("m{from}"),
                    "keyproof",
                ]),
        );
    }

    /// Waits for a leader other than this machine.
    pub(crate) fn leader_other_than(&self, former: Option<u8>) -> u8 {
        let deadline = Instant::now() + CONVALESCENCE;
        loop {
            let leads =
                |number: &u8| get(*number, "/primary").is_some_and(|(status, _)| status == 200);
            let mut others = MACHINES
                .into_iter()
                .filter(|number| Some(*number) != former);
            if let Some(leader) = others.find(leads) {
                return leader;
            }
            assert!(Instant::now() < deadline, "no machine leads");
            sleep(PAUSE);
        }
    }

    fn members(&self) -> Vec<Value> {
        let leader = self.leader_other_than(None);
        let (_, body) = get(leader, "/cluster").unwrap_or_default();
        let cluster: Value = serde_json::from_str(&body).unwrap_or_default();
        cluster["members"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until a leader has two standbys that are up to date.
    pub(crate) fn convalesce(&self) {
        let deadline = Instant::now() + CONVALESCENCE;
        loop {
            let members = self.members();
            let leader = members.iter().find(|member| member["role"] == "leader");
            let timeline = leader.map(|leader| &leader["timeline"]);
            let is_well = |member: &&Value| {
                member["role"] != "leader"
                    && matches!(member["state"].as_str(), Some("running" | "streaming"))
                    && Some(&member["timeline"]) == timeline
                    && member["lag"].as_u64().is_some_and(|lag| lag < 1 << 20)
            };
            // Only the synchronous standby may take over.
            let is_waited_for = members
                .iter()
                .any(|member| member["role"] == "sync_standby");
            let is_safe = is_waited_for || self.replication == Replication::Asynchronous;
            if members.iter().filter(is_well).count() == MACHINES.len() - 1 && is_safe {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "not all machines are well: {members:#?}"
            );
            sleep(PAUSE);
        }
    }

    /// Runs SQL on the leader, and returns the result.
    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let psql = Command::new("psql")
                .args(["-XAtq", "-c", sql, &url(database)])
                .output()
                .unwrap();
            if psql.status.success() {
                return String::from_utf8(psql.stdout).unwrap().trim().to_owned();
            }
            assert!(Instant::now() < deadline, "{psql:?}");
            sleep(PAUSE);
        }
    }
}

impl Drop for Replicated {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for number in MACHINES {
                let log = self.machine(number).folder().join("patroni.log");
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                let lines: Vec<_> = log.lines().rev().take(25).collect();
                eprintln!("machine {number}'s Patroni, the last first: {lines:#?}");
            }
        }
        let _ = self.haproxy.kill();
        let _ = self.haproxy.wait();
        self.machines.clear();
        let _ = &self.folder;
    }
}

fn url(database: &str) -> String {
    format!("postgres://keyproof:{PASSWORD}@{HERE}:5432/{database}")
}

/// The shortest times that Patroni allows: a machine that has not renewed its leader key for eight seconds has lost it.
fn configuration(machine: &Machine, replication: Replication) -> String {
    let etcd = MACHINES.map(|number| format!("'{}:2379'", address(number)));
    let (own, folder) = (machine.address(), machine.folder().display());
    let synchronous = replication == Replication::Synchronous;
    let programs = programs_folder().unwrap();
    format!(
        "scope: keyproof\n\
         name: m{number}\n\
         restapi: {{listen: '{own}:8008', connect_address: '{own}:8008'}}\n\
         etcd: {{hosts: [{etcd}]}}\n\
         bootstrap:\n\
         \x20 dcs:\n\
         \x20   ttl: 8\n\
         \x20   loop_wait: 1\n\
         \x20   retry_timeout: 3\n\
         \x20   primary_start_timeout: 0\n\
         \x20   synchronous_mode: {synchronous}\n\
         \x20   synchronous_mode_strict: {synchronous}\n\
         \x20   postgresql:\n\
         \x20     use_pg_rewind: true\n\
         \x20     parameters: {{max_connections: 100, wal_log_hints: 'on', wal_retrieve_retry_interval: 500ms}}\n\
         \x20 initdb: [{{encoding: UTF8}}, {{locale: C}}]\n\
         \x20 pg_hba: ['host replication replicator 0.0.0.0/0 scram-sha-256', 'host all all 0.0.0.0/0 scram-sha-256']\n\
         postgresql:\n\
         \x20 listen: '{own}:5432'\n\
         \x20 connect_address: '{own}:5432'\n\
         \x20 data_dir: '{folder}/data'\n\
         \x20 bin_dir: '{programs}'\n\
         \x20 pgpass: '{folder}/pgpass'\n\
         \x20 authentication:\n\
         \x20   superuser: {{username: keyproof, password: {PASSWORD}}}\n\
         \x20   replication: {{username: replicator, password: {PASSWORD}}}\n\
         \x20 parameters: {{unix_socket_directories: '{folder}', password_encryption: scram-sha-256}}\n",
        number = own.octets()[3],
        etcd = etcd.join(", "),
        programs = programs.display(),
    )
}

/// Forwards connections to the machine that Patroni reports as the leader, and closes those to a former one.
fn haproxy(folder: &Path) -> Child {
    let servers = MACHINES.map(|number| {
        let address = address(number);
        format!("    server m{number} {address}:5432 check port 8008\n")
    });
    let text = format!(
        "global\n    maxconn 1000\n\
         defaults\n    mode tcp\n    timeout connect 2s\n    timeout client 1h\n    timeout server 1h\n    timeout check 1s\n\
         listen primary\n    bind {HERE}:5432\n    option httpchk OPTIONS /primary\n    http-check expect status 200\n\
         \x20   default-server inter 500ms fastinter 250ms fall 2 rise 1 on-marked-down shutdown-sessions\n{}",
        servers.concat()
    );
    let path = folder.join("haproxy.cfg");
    std::fs::write(&path, text).unwrap();
    Command::new("/usr/sbin/haproxy")
        .args(["-db", "-f"])
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("haproxy (`cargo xtask test tools` installs it)")
}

/// Returns the answer of a machine's Patroni, if there is one.
fn get(number: u8, path: &str) -> Option<(u16, String)> {
    const SOON: Duration = Duration::from_secs(1);
    let address = SocketAddr::from((address(number), 8008));
    let mut stream = TcpStream::connect_timeout(&address, SOON).ok()?;
    stream.set_read_timeout(Some(SOON)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}
