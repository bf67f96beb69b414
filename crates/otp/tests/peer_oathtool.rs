//! Compares codes with those of `oathtool`, over random keys, digits, algorithms, periods and
//! times.
//!
//! The cases are drawn from a fixed seed, so that a failure is reproducible.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test reports by a panic"
)]

use std::{io::ErrorKind, num::NonZeroU64, process::Command, thread};

use keyproof_otp::{Algorithm, Digits, Hotp, Totp};
use proptest::{collection::vec, prelude::*, strategy::ValueTree, test_runner::TestRunner};

const TOTP_CASES: usize = 2_000;
const HOTP_CASES: usize = 200;

#[test]
fn totp_codes_agree() {
    let case = (
        vec(any::<u8>(), 1..=150),
        prop::sample::select(vec![Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512]),
        6_u8..=8,
        prop_oneof![Just(30_u64), 1_u64..=4_000],
        prop_oneof![Just(0_u64), 0_u64..=2_000_000_000],
        // oathtool rejects a time before the start.
        prop_oneof![0_u64..=4_000_000_000, 0_u64..=40_000_000_000],
    );
    agree(
        TOTP_CASES,
        &case,
        |(key, algorithm, digits, period, t0, since_t0)| {
            let now = t0 + since_t0;
            let totp = Totp::from(Hotp::from_key(
                key,
                *algorithm,
                Digits::new(*digits).unwrap(),
            ))
            .with_period(NonZeroU64::new(*period).unwrap())
            .with_t0(*t0);
            let mut oathtool = Command::new("oathtool");
            oathtool
                .arg(format!("--totp={}", algorithm.name().to_lowercase()))
                .arg(format!("--digits={digits}"))
                .arg(format!("--time-step-size={period}s"))
                .arg(format!("--start-time=@{t0}"))
                .arg(format!("--now=@{now}"))
                .arg(hex(key));
            (totp.code(now).to_string(), oathtool)
        },
    );
}

#[test]
fn hotp_codes_agree() {
    let counter = prop_oneof![0_u64..=10_000, any::<u64>(), Just(u64::MAX)];
    agree(
        HOTP_CASES,
        &(vec(any::<u8>(), 1..=150), 6_u8..=8, counter),
        |(key, digits, counter)| {
            let hotp = Hotp::from_key(key, Algorithm::Sha1, Digits::new(*digits).unwrap());
            let mut oathtool = Command::new("oathtool");
            oathtool
                .arg("--hotp")
                .arg(format!("--digits={digits}"))
                .arg(format!("--counter={counter}"))
                .arg(hex(key));
            (hotp.code(*counter).to_string(), oathtool)
        },
    );
}

/// Draws cases and compares our code for each with what the command prints.
fn agree<S: Strategy>(
    cases: usize,
    strategy: &S,
    compute: impl Fn(&S::Value) -> (String, Command) + Sync,
) where
    S::Value: Send + Sync,
{
    let mut runner = TestRunner::deterministic();
    let cases: Vec<S::Value> = (0..cases)
        .map(|_| strategy.new_tree(&mut runner).unwrap().current())
        .collect();
    let parts = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for part in cases.chunks(cases.len().div_ceil(parts)) {
            let compute = &compute;
            scope.spawn(move || {
                for case in part {
                    let (ours, mut oathtool) = compute(case);
                    assert_eq!(ours, printed(&mut oathtool), "{oathtool:?}");
                }
            });
        }
    });
}

fn printed(oathtool: &mut Command) -> String {
    let output = oathtool
        .output()
        .unwrap_or_else(|error| match error.kind() {
            ErrorKind::NotFound => panic!("this test needs oathtool: apt-get install oathtool"),
            _ => panic!("oathtool does not start: {error}"),
        });
    assert!(
        output.status.success(),
        "{oathtool:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
