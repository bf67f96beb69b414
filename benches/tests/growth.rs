//! Tests that the growth benchmark runs on both engines, with stores that are filled in seconds.

use std::process::Command;

#[test]
fn the_smallest_stores_are_filled_and_measured() {
    let run = Command::new(env!("CARGO_BIN_EXE_growth"))
        .args([
            "--smoke",
            "--postgres",
            "--folder",
            env!("CARGO_TARGET_TMPDIR"),
        ])
        .output()
        .expect("the benchmark");
    let printed = String::from_utf8_lossy(&run.stdout);
    let complaint = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{printed}{complaint}");
    for engine in ["SQLite", "PostgreSQL"] {
        let stores = printed.lines().filter(|line| {
            line.starts_with(engine)
                && line.contains(" records: ")
                && line.contains(" MB, filled at ")
        });
        assert_eq!(stores.count(), 2, "{printed}");
    }
    for what in [
        "read of a device",
        "read of a certificate",
        "second step of a login",
        "page of users",
        "page of the audit trail",
    ] {
        for share in ["p50", "p99"] {
            let ratio = format!("  {what}, {share}, of that at ");
            let ratios = printed.lines().filter(|line| line.starts_with(&ratio));
            assert_eq!(ratios.count(), 2, "{ratio}: {printed}");
        }
    }
    assert_eq!(printed.matches("  resident memory, of that at ").count(), 2);
}
