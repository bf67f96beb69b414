//! The system calls that `strace` has recorded: on which file or socket, when they began and when they ended.
//!
//! strace stops a thread before and after each call. So for two calls in one causal chain, the recorded end of the first is never
//! later than the start of the second, even with two straces.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::node::PATIENCE;

/// A system call that returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SystemCall {
    pub(crate) name: String,
    /// The path of the file, or `TCP:[…]`.
    pub(crate) target: String,
    /// The arguments as strace quotes them: data as a C string.
    pub(crate) arguments: String,
    pub(crate) result: i64,
    /// The start, in microseconds since the Unix epoch.
    pub(crate) begun: u64,
    pub(crate) ended: u64,
}

impl SystemCall {
    pub(crate) fn is_sync(&self) -> bool {
        matches!(&*self.name, "fsync" | "fdatasync") && self.result == 0
    }

    pub(crate) fn is_write(&self) -> bool {
        let writes = ["write", "writev", "pwrite64", "pwritev", "sendto"];
        writes.contains(&&*self.name) && self.result > 0
    }
}

/// Returns the command under strace, which writes to `output`. As without strace, the spawned process is the program.
pub(crate) fn traced(command: &Command, output: &Path) -> Command {
    // strace is the grandchild.
    under_strace(command, &["-D"], output)
}

/// Runs a command that must succeed, and returns its system calls; strace writes to `output`.
#[track_caller]
pub(crate) fn calls_of(command: &Command, output: &Path) -> Vec<SystemCall> {
    let ended = under_strace(command, &[], output).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    parse(&fs::read_to_string(output).unwrap())
}

fn under_strace(command: &Command, flags: &[&str], output: &Path) -> Command {
    let mut strace = Command::new("strace");
    // Other calls run without a stop.
    strace
        .args(STRACE)
        .args(flags)
        .args(["--seccomp-bpf", "-o"])
        .arg(output);
    strace.arg(command.get_program()).args(command.get_args());
    strace.env_clear();
    let variables = command.get_envs();
    strace.envs(variables.filter_map(|(name, value)| Some((name, value?))));
    strace
}

/// Includes threads, times and durations, descriptors by name, and complete data.
const STRACE: [&str; 8] = [
    "-f",
    "-ttt",
    "-T",
    "-yy",
    "-s",
    "1000000",
    "-e",
    "trace=sendto,write,writev,pwrite64,pwritev,fsync,fdatasync",
];

/// strace, attached to running processes and their future children.
pub(crate) struct Attached {
    strace: Child,
    output: PathBuf,
}

impl Attached {
    /// Attaches strace. This needs root, or a system that allows tracing of one's own processes.
    pub(crate) fn to(processes: &[u32], output: PathBuf) -> Self {
        let mut strace = Command::new("strace");
        strace.args(STRACE).arg("-o").arg(&output);
        for process in processes {
            strace.arg("-p").arg(process.to_string());
        }
        let mut strace = strace.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(strace.stderr.take().unwrap()).lines();
        for _ in processes {
            let line = lines.next().expect("strace runs").unwrap();
            // A child may have ended meanwhile.
            let is_gone = line.contains("No such process");
            assert!(is_gone || line.ends_with(" attached"), "{line}");
        }
        // strace writes more when it detaches.
        thread::spawn(move || lines.for_each(drop));
        Self { strace, output }
    }

    /// Detaches, and returns the system calls of the processes.
    pub(crate) fn detach(mut self) -> Vec<SystemCall> {
        kill_process(Pid::from_child(&self.strace), Signal::INT).unwrap();
        self.strace.wait().unwrap();
        parse(&fs::read_to_string(&self.output).unwrap())
    }
}

/// Otherwise the traced processes would stay stopped.
impl Drop for Attached {
    fn drop(&mut self) {
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

/// Returns a process and its children.
pub(crate) fn family(process: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
    let children = children.unwrap();
    let children = children
        .split_whitespace()
        .map(|child| child.parse().unwrap());
    [process].into_iter().chain(children).collect()
}

/// Returns whether strace has written this file for this process.
pub(crate) fn is_of(output: &Path, process: u32) -> bool {
    let text = fs::read_to_string(output).unwrap();
    text.lines().any(|line| is_by(line, process))
}

fn is_by(line: &str, thread: u32) -> bool {
    line.split(' ').next() == Some(&thread.to_string())
}

/// Parses what strace has written about a killed process. Waits until the file is complete.
pub(crate) fn read(output: &Path, process: u32) -> Vec<SystemCall> {
    let started = Instant::now();
    loop {
        // The program's data need not be UTF-8, but strace quotes it.
        let text = fs::read_to_string(output).unwrap();
        let is_end =
            |line: &str| is_by(line, process) && line.ends_with("+++ killed by SIGKILL +++");
        if text.lines().rev().take(100).any(is_end) {
            return parse(&text);
        }
        assert!(started.elapsed() < PATIENCE, "strace has not ended");
        sleep(Duration::from_millis(20));
    }
}

pub(crate) fn parse(text: &str) -> Vec<SystemCall> {
    let mut unfinished = HashMap::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let Some((time, rest)) = rest.trim_start().split_once(' ') else {
            continue;
        };
        if let Some(begin) = rest.strip_suffix(" <unfinished ...>") {
            unfinished.insert(thread, (time, begin));
        } else if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some((time, begin)) = unfinished.remove(thread) else {
                continue;
            };
            let end = resumed.split_once(" resumed>").map_or("", |(_, end)| end);
            calls.extend(call(time, &format!("{begin}{end}")));
        } else {
            calls.extend(call(time, rest));
        }
    }
    calls
}

/// Parses `fsync(3</a/b>) = 0 <0.000123>`. Signals, exits and calls that never returned are skipped.
fn call(time: &str, text: &str) -> Option<SystemCall> {
    let (name, rest) = text.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let (_, named) = arguments.split_once('<')?;
    // `</a/b>`, or `<TCP:[127.0.0.1:1->127.0.0.1:2]>`.
    let end = if named.starts_with('/') { ">" } else { "]>" };
    let (target, arguments) = named.split_once(end)?;
    let (result, duration) = result.split_once(" <")?;
    let begun = micros(time)?;
    Some(SystemCall {
        name: name.to_owned(),
        target: target.to_owned(),
        arguments: arguments.to_owned(),
        result: result.split(' ').next()?.parse().ok()?,
        begun,
        ended: begun + micros(duration.strip_suffix('>')?)?,
    })
}

/// `1.000123`
fn micros(seconds: &str) -> Option<u64> {
    let (whole, fraction) = seconds.split_once('.')?;
    let (whole, fraction): (u64, u64) = (whole.parse().ok()?, fraction.parse().ok()?);
    Some(whole * 1_000_000 + fraction)
}

#[test]
fn calls_are_read_whole_and_interrupted() {
    let text = r#"7  10.000001 pwrite64(3</a/k.db-wal>, "x = (1) \n", 9, 32) = 9 <0.000010>
7  10.000020 fdatasync(3</a/k.db-wal> <unfinished ...>
8  10.000030 sendto(4<TCP:[127.0.0.1:1->127.0.0.1:2]>, "HTTP/1.1 200", 12, MSG_NOSIGNAL, NULL, 0) = 12 <0.000001>
7  11.500000 <... fdatasync resumed>) = 0 <1.499980>
7  11.600000 fsync(3</a/k.db-wal>) = -1 EIO (Input/output error) <0.000005>
7  11.700000 --- SIGTERM {si_signo=SIGTERM} ---
9  11.700000 fsync(3</a/k.db-wal> <unfinished ...>
7  11.800000 +++ killed by SIGKILL +++
"#;
    let calls = parse(text);
    let read: Vec<_> = calls
        .iter()
        .map(|call| {
            (
                &*call.name,
                &*call.target,
                call.result,
                call.begun,
                call.ended,
            )
        })
        .collect();
    let wal = "/a/k.db-wal";
    assert_eq!(
        read,
        [
            ("pwrite64", wal, 9, 10_000_001, 10_000_011),
            (
                "sendto",
                "TCP:[127.0.0.1:1->127.0.0.1:2",
                12,
                10_000_030,
                10_000_031
            ),
            ("fdatasync", wal, 0, 10_000_020, 11_500_000),
            ("fsync", wal, -1, 11_600_000, 11_600_005),
        ]
    );
    assert!(calls[0].is_write() && !calls[0].is_sync());
    assert!(calls[0].arguments.contains("x = (1)"));
    assert!(calls[2].is_sync() && !calls[2].is_write() && !calls[3].is_sync());
}
