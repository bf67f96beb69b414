//! Password hashing with Argon2id (RFC 9106), in memory that the caller owns and reuses.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::{fmt, str::FromStr};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{self, Output, ParamsString, Salt},
};
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

use crate::{AuthError, NewPasswordError};

/// The length of a password's salt, in bytes (RFC 9106, section 3.1).
pub const SALT_BYTES: usize = 16;

/// The length of the tag that this crate stores, in bytes.
const TAG_BYTES: usize = 32;

/// The cost of one hash.
///
/// ```
/// use keyproof_auth::Cost;
///
/// let cost = Cost::new(64 * 1024, 3, 1)?;
/// assert_eq!((cost.memory_kib(), cost.iterations(), cost.lanes()), (65_536, 3, 1));
/// assert!(Cost::new(1024, 1, 1).is_err()); // too little to protect a stolen database
/// # Ok::<(), keyproof_auth::AuthError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(
        into = "crate::stored::CostFields",
        try_from = "crate::stored::CostFields"
    )
)]
pub struct Cost {
    memory_kib: u32,
    iterations: u32,
    lanes: u32,
}

impl Cost {
    /// OWASP's minimum for Argon2id (Password Storage Cheat Sheet): 19 MiB, two passes, one lane.
    pub const MINIMUM: Self = Self {
        memory_kib: 19_456,
        iterations: 2,
        lanes: 1,
    };

    /// The highest cost of any hash, whatever a configuration or a stored string requests: 256 MiB, 16 passes, 16
    /// lanes.
    pub const MAXIMUM: Self = Self {
        memory_kib: 262_144,
        iterations: 16,
        lanes: 16,
    };

    /// Creates a cost, with the parameters in the order of a PHC string: `m`, `t`, `p`. Each must be between those of
    /// [`Cost::MINIMUM`] and [`Cost::MAXIMUM`].
    ///
    /// # Errors
    ///
    /// [`AuthError::CostOutOfRange`] for the first parameter that is out of range.
    pub fn new(memory_kib: u32, iterations: u32, lanes: u32) -> Result<Self, AuthError> {
        let cost = Self {
            memory_kib,
            iterations,
            lanes,
        };
        cost.at_least(Self::MINIMUM)
    }

    /// Creates a cost that may be below [`Cost::MINIMUM`], down to Argon2's own minimum (RFC 9106, section 3.1). For
    /// tests only: it protects nothing.
    ///
    /// # Errors
    ///
    /// [`AuthError::CostOutOfRange`], as for [`Cost::new`].
    pub fn insecure_for_tests(
        memory_kib: u32,
        iterations: u32,
        lanes: u32,
    ) -> Result<Self, AuthError> {
        let cost = Self {
            memory_kib,
            iterations,
            lanes,
        };
        cost.at_least(Self {
            memory_kib: lanes.saturating_mul(8).max(Params::MIN_M_COST),
            iterations: Params::MIN_T_COST,
            lanes: Params::MIN_P_COST,
        })
    }

    /// The memory of one hash, in KiB.
    pub const fn memory_kib(&self) -> u32 {
        self.memory_kib
    }

    /// The number of passes over the memory.
    pub const fn iterations(&self) -> u32 {
        self.iterations
    }

    /// The number of lanes of the memory that can be filled in parallel.
    pub const fn lanes(&self) -> u32 {
        self.lanes
    }

    /// Returns the work that a hash of this cost takes beyond one of `other`, or `None` if it does not take more. Spend
    /// it after a hash of `other`, so that the two cannot be distinguished by their time. Work is counted in passes
    /// over a KiB. The result may be below [`Cost::MINIMUM`].
    ///
    /// ```
    /// use keyproof_auth::Cost;
    ///
    /// let (before, now) = (Cost::MINIMUM, Cost::new(19_456, 5, 1)?);
    /// let missing = now.excess_over(before).expect("it is dearer");
    /// assert_eq!((missing.memory_kib(), missing.iterations()), (19_456, 3));
    /// assert_eq!(before.excess_over(now), None);
    /// # Ok::<(), keyproof_auth::AuthError>(())
    /// ```
    pub fn excess_over(self, other: Self) -> Option<Self> {
        let passes = self.passes().checked_sub(other.passes())?;
        // The fewest iterations for which this memory suffices. Rounding up adds less than one pass over a KiB for each
        // iteration, unless the minimum memory is more.
        let iterations = passes.div_ceil(self.memory_kib).max(Params::MIN_T_COST);
        let least = self.lanes.saturating_mul(8).max(Params::MIN_M_COST);
        (passes > 0).then(|| Self {
            memory_kib: passes.div_ceil(iterations).max(least),
            iterations,
            lanes: self.lanes,
        })
    }

    /// The number of passes over a KiB: at most 2^22, because each parameter is bounded.
    const fn passes(self) -> u32 {
        self.memory_kib.saturating_mul(self.iterations)
    }

    fn at_least(self, minimum: Self) -> Result<Self, AuthError> {
        for (parameter, found, minimum, maximum) in [
            ("lanes", self.lanes, minimum.lanes, Self::MAXIMUM.lanes),
            (
                "memory",
                self.memory_kib,
                minimum.memory_kib,
                Self::MAXIMUM.memory_kib,
            ),
            (
                "iterations",
                self.iterations,
                minimum.iterations,
                Self::MAXIMUM.iterations,
            ),
        ] {
            if !(minimum..=maximum).contains(&found) {
                return Err(AuthError::CostOutOfRange {
                    parameter,
                    found,
                    minimum,
                    maximum,
                });
            }
        }
        Ok(self)
    }

    fn params(self) -> Result<Params, AuthError> {
        Params::new(
            self.memory_kib,
            self.iterations,
            self.lanes,
            Some(TAG_BYTES),
        )
        .map_err(|_| AuthError::MalformedPasswordHash {
            reason: "parameters that Argon2 does not allow",
        })
    }
}

/// The working memory of hashes. It is allocated by the first hash, reused by the next ones, and wiped after each.
///
/// ```
/// use keyproof_auth::{Cost, HashingMemory, PasswordHash};
///
/// let mut memory = HashingMemory::new();
/// assert_eq!(memory.allocated_kib(), 0);
/// PasswordHash::create(b"correct horse", [7; 16], Cost::MINIMUM, &mut memory)?;
/// assert!(memory.allocated_kib() >= 19 * 1024); // kept for the next hash
/// memory.shrink_to(Cost::MINIMUM); // frees what a more expensive hash allocated
/// # Ok::<(), keyproof_auth::AuthError>(())
/// ```
#[derive(Default)]
pub struct HashingMemory {
    blocks: Vec<Block>,
}

impl HashingMemory {
    /// Creates a `HashingMemory` with nothing allocated yet.
    pub const fn new() -> Self {
        Self { blocks: Vec::new() }
    }

    /// The allocated memory, in KiB.
    pub fn allocated_kib(&self) -> usize {
        self.blocks.capacity()
    }

    /// Frees memory beyond what a hash of this cost needs. A stored hash may once have needed more than the current
    /// cost.
    pub fn shrink_to(&mut self, cost: Cost) {
        let blocks = cost.memory_kib as usize;
        if self.blocks.len() > blocks {
            self.blocks.truncate(blocks);
            self.blocks.shrink_to_fit();
        }
    }

    /// Writes the password's Argon2id hash to `tag`.
    fn hash(
        &mut self,
        password: &[u8],
        salt: &[u8],
        cost: Cost,
        tag: &mut [u8; TAG_BYTES],
    ) -> Result<(), AuthError> {
        let params = cost.params()?;
        let needed = params.block_count();
        let missing = needed.saturating_sub(self.blocks.len());
        self.blocks
            .try_reserve_exact(missing)
            .map_err(|_| AuthError::OutOfMemory {
                kib: cost.memory_kib,
            })?;
        self.blocks
            .resize(needed.max(self.blocks.len()), Block::new());
        let outcome = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(password, salt, tag, self.blocks.as_mut_slice());
        // The blocks would let an attacker who reads this memory test guesses without doing the work.
        self.blocks
            .iter_mut()
            .take(needed)
            .for_each(Zeroize::zeroize);
        outcome.map_err(|_| AuthError::MalformedPasswordHash {
            reason: "a salt or tag that Argon2 does not allow",
        })
    }
}

impl fmt::Debug for HashingMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashingMemory")
            .field("allocated_kib", &self.allocated_kib())
            .finish_non_exhaustive()
    }
}

/// A password hash, stored as a PHC string, `$argon2id$v=19$m=…,t=…,p=…$<salt>$<tag>`.
///
/// ```
/// use keyproof_auth::{Cost, HashingMemory, PasswordHash, PasswordMatch};
///
/// let mut memory = HashingMemory::new();
/// let salt = [7; 16]; // from a random source, different for each password
/// let stored = PasswordHash::create(b"correct horse", salt, Cost::MINIMUM, &mut memory)?.to_phc();
///
/// let hash = PasswordHash::parse(&stored)?;
/// assert_eq!(hash.verify(b"correct horse", &mut memory)?, PasswordMatch::Correct);
/// assert!(!hash.verify(b"wrong", &mut memory)?.is_correct());
/// // The policy now requires more: hash the password again after the next login.
/// assert!(hash.needs_rehash(Cost::new(64 * 1024, 3, 1)?));
/// # Ok::<(), keyproof_auth::AuthError>(())
/// ```
#[derive(Clone)]
pub struct PasswordHash {
    cost: Cost,
    salt: Salt,
    tag: [u8; TAG_BYTES],
}

/// The result of verifying a password. It is not a `bool`, because a `?` in front of one discards it without a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "otherwise a wrong password is not noticed"]
pub enum PasswordMatch {
    /// The password is correct.
    Correct,
    /// The password is wrong.
    Wrong,
}

impl PasswordMatch {
    /// Whether the password is correct.
    #[must_use = "otherwise a wrong password is not noticed"]
    pub const fn is_correct(self) -> bool {
        matches!(self, Self::Correct)
    }
}

impl PasswordHash {
    /// Hashes a password of any length; [`check_new_password`] has the rules for a new one. `salt` must come from a
    /// cryptographic random source.
    ///
    /// # Errors
    ///
    /// [`AuthError::OutOfMemory`].
    pub fn create(
        password: &[u8],
        salt: [u8; SALT_BYTES],
        cost: Cost,
        memory: &mut HashingMemory,
    ) -> Result<Self, AuthError> {
        let salt =
            Salt::new(&salt).map_err(|_| AuthError::MalformedPasswordHash { reason: "salt" })?;
        let mut tag = [0; TAG_BYTES];
        memory.hash(password, &salt, cost, &mut tag)?;
        Ok(Self { cost, salt, tag })
    }

    /// Parses a stored string. Its parameters may be below [`Cost::MINIMUM`] (from an older policy or a test), but
    /// never above [`Cost::MAXIMUM`].
    ///
    /// # Errors
    ///
    /// [`AuthError::MalformedPasswordHash`], [`AuthError::CostOutOfRange`].
    pub fn parse(text: &str) -> Result<Self, AuthError> {
        let malformed = |reason| AuthError::MalformedPasswordHash { reason };
        let phc = phc::PasswordHash::new(text).map_err(|_| malformed("not a PHC string"))?;
        if phc.algorithm.as_str() != "argon2id" {
            return Err(malformed("another algorithm"));
        }
        if phc.version != Some(u32::from(Version::V0x13)) {
            return Err(malformed("another version"));
        }
        let parameter = |name| {
            phc.params
                .get_decimal(name)
                .ok_or(malformed("a missing parameter"))
        };
        let (memory_kib, iterations, lanes) = (parameter("m")?, parameter("t")?, parameter("p")?);
        if phc.params.iter().count() != 3 {
            return Err(malformed("unknown parameters"));
        }
        Ok(Self {
            cost: Cost::insecure_for_tests(memory_kib, iterations, lanes)?,
            salt: phc.salt.ok_or(malformed("no salt"))?,
            tag: phc
                .hash
                .and_then(|output| output.as_bytes().try_into().ok())
                .ok_or(malformed("not a tag of 32 bytes"))?,
        })
    }

    /// Verifies a password. Hashes it with the stored parameters, and compares in constant time.
    ///
    /// # Errors
    ///
    /// [`AuthError::OutOfMemory`].
    pub fn verify(
        &self,
        password: &[u8],
        memory: &mut HashingMemory,
    ) -> Result<PasswordMatch, AuthError> {
        let mut tag = Zeroizing::new([0; TAG_BYTES]);
        memory.hash(password, &self.salt, self.cost, &mut tag)?;
        let equal: Choice = tag.as_slice().ct_eq(&self.tag);
        Ok(if bool::from(equal) {
            PasswordMatch::Correct
        } else {
            PasswordMatch::Wrong
        })
    }

    /// Takes as much work as [`PasswordHash::verify`], and never accepts. Use it for an account that does not exist, so
    /// that the time of a login does not reveal which accounts exist.
    ///
    /// ```
    /// use keyproof_auth::{Cost, HashingMemory, PasswordHash};
    ///
    /// // No account has this name, but the login takes as long as if one had.
    /// let mut memory = HashingMemory::new();
    /// let answer = PasswordHash::verify_dummy(b"a guess", Cost::MINIMUM, &mut memory)?;
    /// assert!(!answer.is_correct());
    /// # Ok::<(), keyproof_auth::AuthError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`AuthError::OutOfMemory`].
    pub fn verify_dummy(
        password: &[u8],
        cost: Cost,
        memory: &mut HashingMemory,
    ) -> Result<PasswordMatch, AuthError> {
        let mut tag = Zeroizing::new([0; TAG_BYTES]);
        memory.hash(password, &[0; SALT_BYTES], cost, &mut tag)?;
        Ok(PasswordMatch::Wrong)
    }

    /// The cost of this hash.
    pub const fn cost(&self) -> Cost {
        self.cost
    }

    /// Whether the hash has another cost than `cost`, the current one.
    #[must_use = "otherwise the password keeps its former cost"]
    pub fn needs_rehash(&self, cost: Cost) -> bool {
        self.cost != cost
    }

    /// Returns the string to store. It is less sensitive than the password, but lets others test guesses: keep it out
    /// of logs.
    pub fn to_phc(&self) -> String {
        let mut params = ParamsString::new();
        for (name, value) in [
            ("m", self.cost.memory_kib),
            ("t", self.cost.iterations),
            ("p", self.cost.lanes),
        ] {
            // Three short decimals always fit into the 127 bytes of a parameter string.
            let added = params.add_decimal(name, value);
            debug_assert!(added.is_ok(), "{name} did not fit");
        }
        phc::PasswordHash {
            algorithm: Algorithm::Argon2id.ident(),
            version: Some(Version::V0x13.into()),
            params,
            salt: Some(self.salt),
            hash: Output::new(&self.tag).ok(),
        }
        .to_string()
    }
}

impl FromStr for PasswordHash {
    type Err = AuthError;

    /// The same as [`PasswordHash::parse`].
    fn from_str(text: &str) -> Result<Self, AuthError> {
        Self::parse(text)
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordHash")
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}

/// Validates a new password: at least 8 characters (Unicode scalar values) and at most 1024 bytes.
///
/// ```
/// use keyproof_auth::{NewPasswordError, check_new_password};
///
/// assert!(check_new_password("correct horse").is_ok());
/// assert!(matches!(check_new_password("horse"), Err(NewPasswordError::TooShort { .. })));
/// ```
///
/// # Errors
///
/// [`NewPasswordError::TooShort`], [`NewPasswordError::TooLong`].
pub fn check_new_password(password: &str) -> Result<(), NewPasswordError> {
    const MINIMUM: usize = 8;
    const MAXIMUM: usize = 1024;
    if password.len() > MAXIMUM {
        return Err(NewPasswordError::TooLong {
            found: password.len(),
            maximum: MAXIMUM,
        });
    }
    match password.chars().count() {
        found if found < MINIMUM => Err(NewPasswordError::TooShort {
            found,
            minimum: MINIMUM,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use proptest::prelude::*;

    fn cheap() -> Cost {
        Cost::insecure_for_tests(8, 1, 1).unwrap()
    }

    fn hash_of(password: &str, cost: Cost) -> PasswordHash {
        PasswordHash::create(
            password.as_bytes(),
            [7; SALT_BYTES],
            cost,
            &mut HashingMemory::new(),
        )
        .unwrap()
    }

    #[test]
    fn a_cost_says_what_it_was_made_of() {
        let cost = Cost::insecure_for_tests(64, 3, 2).unwrap();
        assert_eq!(
            (cost.memory_kib(), cost.iterations(), cost.lanes()),
            (64, 3, 2)
        );
    }

    #[test]
    fn a_string_of_the_reference_implementation_verifies() {
        // `echo -n "password" | argon2 somesalt -id -v 13 -t 2 -k 65536 -p 1` (argon2's own test suite).
        let stored = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$\
                      CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let hash = PasswordHash::parse(stored).unwrap();
        let mut memory = HashingMemory::new();
        assert_eq!(
            hash.verify(b"password", &mut memory),
            Ok(PasswordMatch::Correct)
        );
        assert_eq!(
            hash.verify(b"differentpassword", &mut memory),
            Ok(PasswordMatch::Wrong)
        );
        assert_eq!(hash.to_phc(), stored);
        assert_eq!(memory.allocated_kib(), 65_536);
        memory.shrink_to(cheap());
        assert_eq!(memory.allocated_kib(), 8);
    }

    #[test]
    fn the_floor_is_owasps() {
        assert_eq!(Cost::new(19_456, 2, 1), Ok(Cost::MINIMUM));
        for (memory, iterations, lanes, parameter) in [
            (19_455, 2, 1, "memory"),
            (19_456, 1, 1, "iterations"),
            (19_456, 2, 0, "lanes"),
            (262_145, 2, 1, "memory"),
            (19_456, 17, 1, "iterations"),
            (19_456, 2, 17, "lanes"),
        ] {
            match Cost::new(memory, iterations, lanes) {
                Err(AuthError::CostOutOfRange {
                    parameter: found, ..
                }) => assert_eq!(found, parameter),
                other => panic!("{memory}/{iterations}/{lanes}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_stored_string_cannot_ask_for_gigabytes() {
        for parameters in [
            "m=4294967295,t=2,p=1",
            "m=19456,t=4294967295,p=1",
            "m=19456,t=2,p=16777215",
        ] {
            let stored = format!(
                "$argon2id$v=19${parameters}$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
            );
            assert!(
                matches!(
                    PasswordHash::parse(&stored),
                    Err(AuthError::CostOutOfRange { .. })
                ),
                "{parameters}"
            );
        }
    }

    #[test]
    fn other_algorithms_and_odd_strings_are_refused() {
        let good = hash_of("correct horse", cheap()).to_phc();
        for (from, to) in [
            ("argon2id", "argon2i"),
            ("v=19", "v=16"),
            ("$v=19", ""),
            ("p=1", "p=1,keyid=AAAA"),
            ("m=8,", ""),
            ("m=8", "m=7"),
        ] {
            assert!(
                PasswordHash::parse(&good.replacen(from, to, 1)).is_err(),
                "{from} -> {to}"
            );
        }
        let (without_tag, _) = good.rsplit_once('$').unwrap();
        assert!(PasswordHash::parse(without_tag).is_err());
        assert!(PasswordHash::parse("").is_err());
    }

    #[test]
    fn another_cost_asks_for_a_rehash() {
        let hash = hash_of("correct horse", cheap());
        assert!(!hash.needs_rehash(cheap()));
        assert!(hash.needs_rehash(Cost::MINIMUM));
    }

    #[test]
    fn what_a_cheaper_hash_lacks_is_made_up_for_to_a_pass() {
        let cost = |(memory_kib, iterations, lanes)| {
            Cost::insecure_for_tests(memory_kib, iterations, lanes).unwrap()
        };
        for (dearer, cheaper) in [
            ((64, 1, 1), (8, 1, 1)),
            ((64, 4, 1), (64, 1, 1)),
            ((64, 4, 1), (100, 2, 1)),
            ((19_456, 3, 1), (19_455, 3, 1)),
            ((262_144, 16, 16), (8, 1, 1)),
        ] {
            let (dearer, cheaper) = (cost(dearer), cost(cheaper));
            let missing = dearer.excess_over(cheaper).unwrap();
            let made = cheaper.passes() + missing.passes();
            let most = dearer.passes() + missing.iterations().max(8 * missing.lanes());
            assert!((dearer.passes()..=most).contains(&made), "{missing:?}");
            assert!(missing.memory_kib() <= dearer.memory_kib(), "{missing:?}");
            assert!(missing.at_least(cost((8, 1, 1))).is_ok());
            assert_eq!(cheaper.excess_over(dearer), None);
        }
        // Twice the passes over half the memory.
        assert_eq!(cost((64, 2, 1)).excess_over(cost((32, 4, 1))), None);
    }

    #[test]
    fn memory_is_reused_wiped_and_kept() {
        let mut memory = HashingMemory::new();
        assert_eq!(memory.allocated_kib(), 0);
        assert_eq!(
            format!("{memory:?}"),
            "HashingMemory { allocated_kib: 0, .. }"
        );
        let cost = Cost::insecure_for_tests(64, 1, 1).unwrap();
        let hash = PasswordHash::create(b"correct horse", [1; 16], cost, &mut memory).unwrap();
        assert_eq!(memory.allocated_kib(), 64);
        assert!(
            memory
                .blocks
                .iter()
                .all(|block| block.as_ref().iter().all(|word| *word == 0))
        );
        assert_eq!(
            hash.verify(b"correct horse", &mut memory),
            Ok(PasswordMatch::Correct)
        );
        assert_eq!(
            PasswordHash::verify_dummy(b"correct horse", cost, &mut memory),
            Ok(PasswordMatch::Wrong)
        );
        assert_eq!(memory.allocated_kib(), 64);
    }

    #[test]
    fn nothing_of_the_hash_is_printed() {
        let printed = format!("{:?}", hash_of("correct horse", cheap()));
        assert!(printed.starts_with("PasswordHash { cost"), "{printed}");
        assert!(
            !printed.contains("tag") && !printed.contains("salt"),
            "{printed}"
        );
    }

    #[test]
    fn characters_are_counted_for_the_minimum_and_bytes_for_the_maximum() {
        assert_eq!(check_new_password("pässwörd"), Ok(()));
        assert_eq!(
            check_new_password("pässwör"),
            Err(NewPasswordError::TooShort {
                found: 7,
                minimum: 8
            })
        );
        assert_eq!(check_new_password(&"x".repeat(1024)), Ok(()));
        assert!(check_new_password(&"ä".repeat(513)).is_err());
    }

    proptest! {
        #[test]
        fn only_the_same_password_verifies(password in ".{0,40}", other in ".{0,40}", salt: [u8; 16]) {
            let mut memory = HashingMemory::new();
            let hash = PasswordHash::create(password.as_bytes(), salt, cheap(), &mut memory).unwrap();
            let stored = PasswordHash::parse(&hash.to_phc()).unwrap();
            prop_assert!(stored.verify(password.as_bytes(), &mut memory).unwrap().is_correct());
            prop_assert_eq!(stored.verify(other.as_bytes(), &mut memory).unwrap().is_correct(), other == password);
        }

        #[test]
        fn no_text_panics(text in "\\$?(argon2id)?[$=,a-z0-9]{0,80}") {
            let _ = PasswordHash::parse(&text);
        }
    }
}
