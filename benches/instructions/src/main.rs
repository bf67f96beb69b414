//! Prints the processor features by which hashes, signatures and ciphers are selected at run time. Under Valgrind these are the
//! features of the processor that Valgrind emulates, on which the instructions are counted.

fn main() {
    let found: Vec<&str> = features()
        .into_iter()
        .filter_map(|(name, is_there)| is_there.then_some(name))
        .collect();
    println!("{} {}", std::env::consts::ARCH, found.join(" "));
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<(&'static str, bool)> {
    macro_rules! ask {
        ($($name:tt)*) => { vec![$(($name, std::is_x86_feature_detected!($name))),*] };
    }
    ask!("adx" "aes" "avx" "avx2" "avx512f" "avx512ifma" "bmi1" "bmi2" "pclmulqdq" "sha" "sse4.1" "ssse3" "vaes" "vpclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn features() -> Vec<(&'static str, bool)> {
    macro_rules! ask {
        ($($name:tt)*) => { vec![$(($name, std::arch::is_aarch64_feature_detected!($name))),*] };
    }
    ask!("aes" "neon" "pmull" "sha2" "sha3")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<(&'static str, bool)> {
    Vec::new()
}
