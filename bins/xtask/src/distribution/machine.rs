//! A fresh system booted with systemd by systemd-nspawn, in which the units are enabled as an operator would.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    failure::Failure,
    process::status,
    tools::{Program, need_programs},
    workspace::{copy, write},
};

const PROGRAMS: &[Program] = &[Program::on_path("systemd-nspawn", "systemd-container")];

/// The packages that it needs in addition to a small system.
pub(super) const PACKAGES: &str = "ca-certificates,dbus,systemd-sysv";

const SCRIPT: &str = "usr/local/sbin/keyproof-trial";
const UNIT: &str = "etc/systemd/system/keyproof-trial.service";
const FOUND: &str = "keyproof-trial";
/// Not in /tmp, which is emptied at boot.
const AGAIN: &str = "keyproof-trial.deb";

/// Runs when the system is up, and shuts it down. Bash is the only HTTP client in a small system.
const TRIAL: &str = r#"#!/bin/bash
exec > /keyproof-trial 2>&1
say() { echo "$1=$2"; }
unit() { systemctl is-active "$1"; }
show() { systemctl show keyproof.service --property "$1" --value; }
ask() {
    exec 3<> /dev/tcp/127.0.0.1/8080 || return
    printf 'GET /%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' "$1" >&3
    read -r -t 30 _ status _ <&3
    exec 3>&-
    [ "$status" = 200 ]
}
say booted yes
say service "$(unit keyproof.service)"
say watchdog "$(show WatchdogUSec)"
say core "$(show LimitCORE)"
SOCKET_LINES
say socket "$(unit keyproof.socket) $(unit keyproof.service)"
systemctl stop keyproof.service
say waiting "$(unit keyproof.socket) $(unit keyproof.service)"
ask readyz; say first $?
say started "$(unit keyproof.service)"
(
    answered=0 failed=0
    until [ -e /run/enough ] && [ $answered -gt 100 ]; do
        # One that drains says truly that it is not ready.
        if ask healthz; then answered=$((answered + 1)); else failed=$((failed + 1)); fi
    done
    say answered $((answered > 100))
    say failed $failed
) &
for _ in 1 2 3; do sleep 1; systemctl restart keyproof.service; done
sleep 1; touch /run/enough; wait
systemctl reload keyproof.service; say reload $?
# Whoever restarts it so often in ten seconds has used up what systemd lets itself restart it.
systemctl reset-failed keyproof.service
before=$(show MainPID)
systemctl kill --signal KILL keyproof.service
for _ in $(seq 600); do
    [ "$(show NRestarts)" = 1 ] && [ "$(unit keyproof.service)" = active ] && break
    sleep 0.1
done
say killed "$(unit keyproof.service) $((before != $(show MainPID)))"
ask readyz; say afterwards $?
# The timer is off until somebody turns it on; what it starts makes a backup.
say timer "$(systemctl is-enabled keyproof-backup.timer)"
backups=/var/backups/keyproof
install -d -o keyproof -g keyproof -m 0700 $backups
systemctl start keyproof-backup.service; say backup $?
say kept "$(ls $backups | wc -l) $(stat --format '%a %U' $backups/*)"
# The master key as a credential: from where only systemd reads it.
systemctl disable --now keyproof.socket
systemctl stop keyproof.service
key=/var/lib/keyproof/keyproof.db.master-key
kept=/etc/keyproof/master-key
credential=LoadCredential=keyproof-master-key:$kept
install -o root -g root -m 0600 $key $kept; rm $key
for of in keyproof keyproof-backup; do
    mkdir /etc/systemd/system/$of.service.d
    printf '[Service]\n%s\n' "$credential" > /etc/systemd/system/$of.service.d/trial.conf
done
# And a watchdog that is not waited for as long as a server is given.
printf 'WatchdogSec=3s\nTimeoutAbortSec=1s\n' >> /etc/systemd/system/keyproof.service.d/trial.conf
systemctl daemon-reload
systemctl start keyproof.service; say with-credential "$(unit keyproof.service)"
systemctl start keyproof-backup.service; say backup-with-credential $?
systemd-run --quiet --pipe --wait --uid keyproof --property "$credential" \
    keyproof token list --config /etc/keyproof/keyproof.toml; say command-with-credential $?
# One that stands still is started again.
before=$(show MainPID)
kill -STOP "$before"
for _ in $(seq 600); do
    [ "$(show MainPID)" != "$before" ] && [ "$(unit keyproof.service)" = active ] && break
    sleep 0.1
done
ask readyz; say stalled "$? $((before != $(show MainPID)))"
systemctl stop keyproof.service
say stopped "$(show Result)"
install -o keyproof -g keyproof -m 0600 $kept $key
rm -r $kept $backups /etc/systemd/system/keyproof{,-backup}.service.d
# Removed and installed again, it runs as after the first time, and so does what was turned on.
systemctl enable --now keyproof.socket keyproof-backup.timer
say enabled "$(unit keyproof.socket) $(unit keyproof-backup.timer)"
dpkg --remove keyproof
say removed "$(unit keyproof.service)"
dpkg --install /keyproof-trial.deb
say again "$(unit keyproof.service)"
say enabled-again "$(unit keyproof.socket) $(unit keyproof-backup.timer)"
systemctl poweroff
"#;

/// The page with the lines that enable the socket.
const PAGE: &str = include_str!("../../../../docs/operate/packages.md");
const PAGE_SECTION: &str = "## A socket that outlives the server";

/// The expected results.
const WANTED: [(&str, &str); 25] = [
    ("service", "active"),
    ("watchdog", "30s"),
    ("core", "0"),
    ("socket", "active active"),
    ("waiting", "active inactive"),
    ("first", "0"),
    ("started", "active"),
    // During three restarts, no connection is refused, and each request is answered.
    ("answered", "1"),
    ("failed", "0"),
    ("reload", "0"),
    ("killed", "active 1"),
    ("afterwards", "0"),
    ("timer", "disabled"),
    ("backup", "0"),
    ("kept", "1 600 keyproof"),
    ("with-credential", "active"),
    ("backup-with-credential", "0"),
    ("command-with-credential", "0"),
    ("stalled", "0 1"),
    ("stopped", "success"),
    ("enabled", "active active"),
    ("removed", "inactive"),
    ("again", "active"),
    ("enabled-again", "active active"),
    ("booted", "yes"),
];

/// Boots the system in this folder, in which this package is installed. Returns false if this machine cannot boot one.
pub(super) fn tries(system: &Path, package: &Path) -> Result<bool, Failure> {
    need_programs(PROGRAMS)?;
    let trial = TRIAL.replace("SOCKET_LINES", socket_lines());
    write(&system.join(SCRIPT), trial.as_bytes())?;
    let again = system.join(AGAIN);
    copy(package, &again)?;
    let unit = format!(
        "[Unit]\nAfter=keyproof.service\n[Service]\nExecStart=/bin/bash /{SCRIPT}\n\
         [Install]\nWantedBy=multi-user.target\n"
    );
    write(&system.join(UNIT), unit.as_bytes())?;
    let wanted = system.join("etc/systemd/system/multi-user.target.wants/keyproof-trial.service");
    symlink("../keyproof-trial.service", &wanted).map_err(Failure::at(&wanted))?;
    // With its own network, and without a unit or registration on this machine, which may not run systemd.
    let ended = status(
        Command::new("timeout")
            .args(["--kill-after=10", "600", "systemd-nspawn", "--quiet"])
            .args(["--register=no", "--keep-unit", "--private-network"])
            .args(["--boot", "--console=pipe", "--directory"])
            .arg(system)
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    )?
    .code();
    let found = fs::read_to_string(system.join(FOUND)).unwrap_or_default();
    for path in [system.join(SCRIPT), system.join(UNIT), wanted, again] {
        let _ = fs::remove_file(path);
    }
    if found.is_empty() {
        println!("systemd-nspawn boots no system here ({ended:?}): the units were not started");
        return Ok(false);
    }
    println!("{found}");
    let found: BTreeMap<_, _> = found
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    for (what, wanted) in WANTED {
        super::trial::expect(what, found.get(what).copied(), Some(wanted))?;
    }
    Ok(true)
}

/// Returns the page's lines. If they are missing, the result is empty and the trial fails.
fn socket_lines() -> &'static str {
    let section = PAGE.split_once(PAGE_SECTION).map(|(_, section)| section);
    let lines = section.and_then(|section| section.split("```").nth(1));
    lines.unwrap_or_default().trim()
}
