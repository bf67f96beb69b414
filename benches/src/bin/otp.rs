//! One-time codes, compared with the bare compression functions in them, and with `totp-rs`.
//!
//! One build contains both, so the peer's hashes are compiled with the `zeroize` feature that ours require; built alone it is 1 to
//! 4 % faster.

use std::hint::black_box;

use clap::Parser;
use keyproof_benches::{Aim, Contender, CountingAllocator, allocations, medians, report};
use keyproof_otp::{Algorithm, Code, Digits, Hotp, LookAhead, Secret, Totp, Window};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const SECRET: &[u8; 20] = b"12345678901234567890";
const NOW: u64 = 1_800_000_000;
const ROUNDS: usize = 101;
const TIMES: u64 = 20_000;

/// Compares one-time codes with bare compression functions and `totp-rs`; there are no options
#[derive(Parser)]
struct Options {}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Options {} = Options::parse();
    let secret = Secret::from_bytes(SECRET)?;
    let hotp = Hotp::new(&secret, Algorithm::Sha1, Digits::SIX);
    let totp = Totp::new(&secret, Algorithm::Sha1, Digits::SIX).with_window(Window::symmetric(1));
    // The peer's usual interface, with its object prepared once like ours.
    let peer = totp_rs::Builder::new()
        .with_algorithm(totp_rs::Algorithm::SHA1)
        .with_digits(6)
        .with_skew(1)
        .with_step_duration(30)
        .with_secret(*SECRET)
        .build()?;
    assert_eq!(totp.code(NOW).to_string(), peer.generate(NOW).to_string());

    println!("one code (HMAC-SHA-1, 6 digits):");
    let [bare, ours, theirs] = medians(
        [
            Contender::new("two bare SHA-1 compressions", |times| {
                let mut state = [0_u32; 5];
                let block = [[0x5a_u8; 64]];
                for _ in 0..2 * times {
                    sha1::block_api::compress(&mut state, black_box(&block));
                }
                black_box(state);
            }),
            Contender::new("keyproof-otp Totp::code", |times| {
                for step in 0..times {
                    black_box(black_box(&totp).code(NOW + 30 * step));
                }
            }),
            Contender::new("totp-rs Totp::generate", |times| {
                for step in 0..times {
                    black_box(black_box(&peer).generate(NOW + 30 * step));
                }
            }),
        ],
        ROUNDS,
        TIMES,
    );

    println!("one check of a window of one step either side:");
    // A code that is not in the window, so that the peer too must try all of it.
    let wrong = "000000";
    assert_eq!(peer.check(wrong, NOW), None);
    let wrong_code = Code::parse(wrong, Digits::SIX)?;
    let right = totp.code(NOW).to_string();
    let check =
        |text: &str| Code::parse(text, Digits::SIX).map(|code| totp.verify(&code, NOW, None));
    let [our_miss, their_miss, our_hit, their_hit] = medians(
        [
            Contender::repeating("keyproof-otp, wrong code", || check(black_box(wrong))),
            Contender::repeating("totp-rs, wrong code", || {
                black_box(&peer).check(black_box(wrong), NOW)
            }),
            Contender::repeating("keyproof-otp, current code", || check(black_box(&right))),
            Contender::repeating("totp-rs, current code (stops there)", || {
                black_box(&peer).check(black_box(&right), NOW)
            }),
        ],
        ROUNDS,
        TIMES / 4,
    );

    report(
        "one code / two bare compressions",
        ours / bare,
        Aim::AtMost(1.7),
    );
    report(
        "one code, totp-rs / keyproof-otp",
        theirs / ours,
        Aim::AtLeast(1.6),
    );
    report(
        "window check, totp-rs / keyproof-otp",
        their_miss / our_miss,
        Aim::AtLeast(1.5),
    );
    println!(
        "window check that totp-rs ends at the match: {:.2}",
        their_hit / our_hit
    );

    let control = allocations(|| drop(black_box(Box::new(NOW))));
    let count = allocations(|| {
        for counter in 0..1000 {
            black_box(hotp.code(counter));
            let _ = black_box(hotp.verify(&wrong_code, counter, LookAhead::default()));
            let _ = black_box(totp.verify(&wrong_code, counter, None));
        }
    });
    println!(
        "allocations in 1,000 codes and 2,000 checks: {count} (aim 0; one box counts {control})"
    );
    Ok(())
}
