//! The PCR policy of a category: expected values, values learnt for each device, or any values.

use data_encoding::HEXLOWER;
use keyproof_tpm::{HashAlgorithm, TpmlPcrSelection};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// What a category requires of its devices' PCRs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PcrPolicy {
    /// Any values are accepted.
    Any,
    /// Each of these PCRs must be quoted with one of its expected values.
    Expected(Vec<ExpectedRegister>),
    /// Each device must keep the values of its first accepted attestation.
    #[default]
    Learn,
}

/// A PCR's expected values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedRegister {
    /// The name of the PCR bank.
    pub bank: String,
    /// The PCR's index, at most 23.
    pub index: u8,
    /// The accepted values, in lower-case hexadecimal: 1 to 64.
    pub values: Vec<String>,
}

/// Why a policy was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PcrPolicyError {
    /// A PCR does not exist or is listed twice, or there are too few or too many.
    #[error(
        "expected names 1 to 48 registers, each once: a bank of sha256, sha384 or sha512 and an index of 0 to 23"
    )]
    Register,
    /// A PCR has no values, too many, or malformed ones.
    #[error("values are 1 to 64 digests of the bank's size, in hexadecimal")]
    Values,
}

/// A PCR with its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearntRegister {
    /// The name of the PCR bank.
    pub bank: String,
    /// The PCR's index.
    pub index: u8,
    /// The value, in lower-case hexadecimal.
    pub value: String,
}

impl PcrPolicy {
    /// Returns the policy's fingerprint, with which a page names the policy that it shows.
    pub fn fingerprint(&self) -> String {
        let text = match self {
            Self::Any => "any".to_owned(),
            Self::Learn => "learn".to_owned(),
            Self::Expected(registers) => {
                let lines = registers.iter().flat_map(|register| {
                    let (bank, index) = (&register.bank, register.index);
                    let values = register.values.iter();
                    values.map(move |value| format!("{bank}:{index} = {value}\n"))
                });
                lines.collect()
            }
        };
        HEXLOWER.encode(digest(&SHA256, text.as_bytes()).as_ref())
    }

    pub(super) fn check(&self) -> Result<(), PcrPolicyError> {
        let Self::Expected(registers) = self else {
            return Ok(());
        };
        if !(1..=48).contains(&registers.len()) {
            return Err(PcrPolicyError::Register);
        }
        for (at, register) in registers.iter().enumerate() {
            let same = |other: &ExpectedRegister| {
                (&other.bank, other.index) == (&register.bank, register.index)
            };
            let bank = HashAlgorithm::from_name(&register.bank).filter(|hash| {
                use HashAlgorithm::{Sha256, Sha384, Sha512};
                matches!(hash, Sha256 | Sha384 | Sha512)
            });
            let Some(bank) = bank.filter(|_| register.index < 24) else {
                return Err(PcrPolicyError::Register);
            };
            if registers.iter().take(at).any(same) {
                return Err(PcrPolicyError::Register);
            }
            let is_digest = |value: &String| {
                let bytes = HEXLOWER.decode(value.as_bytes());
                bytes.is_ok_and(|bytes| bytes.len() == bank.digest_size())
            };
            let values = &register.values;
            if !(1..=64).contains(&values.len()) || !values.iter().all(is_digest) {
                return Err(PcrPolicyError::Values);
            }
        }
        Ok(())
    }
}

/// The result of comparing quoted with required PCRs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Compared {
    /// PCRs with another value.
    pub(super) differ: Vec<String>,
    /// Required PCRs that are not quoted.
    pub(super) missing: Vec<String>,
    /// Quoted PCRs that are not required.
    pub(super) beside: Vec<String>,
}

/// Splits the values of a quote by PCR. Returns `None` if their length does not match the selection.
pub(super) fn registers(
    selection: &TpmlPcrSelection,
    values: &[u8],
) -> Option<Vec<LearntRegister>> {
    let split = selection.split(values)?;
    let register = |(bank, index, value): (HashAlgorithm, u8, &[u8])| LearntRegister {
        bank: bank.name().to_owned(),
        index,
        value: HEXLOWER.encode(value),
    };
    Some(split.into_iter().map(register).collect())
}

/// Compares quoted PCRs with the required ones and their accepted values.
pub(super) fn compare<'a>(
    quoted: &[LearntRegister],
    wanted: impl Iterator<Item = (&'a str, u8, &'a [String])> + Clone,
) -> Compared {
    let called = |bank: &str, index: u8| format!("{bank}:{index}");
    let mut compared = Compared::default();
    for (bank, index, values) in wanted.clone() {
        let mut own = quoted
            .iter()
            .filter(|register| register.bank == bank && register.index == index)
            .peekable();
        if own.peek().is_none() {
            compared.missing.push(called(bank, index));
        } else if !own.all(|register| values.contains(&register.value)) {
            compared.differ.push(called(bank, index));
        }
    }
    for register in quoted {
        let is_wanted = |(bank, index, _): (&str, u8, &[String])| {
            bank == register.bank && index == register.index
        };
        if !wanted.clone().any(is_wanted) {
            let LearntRegister { bank, index, .. } = register;
            compared.beside.push(called(bank, *index));
        }
    }
    compared
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(bank: &str, index: u8, values: &[&str]) -> PcrPolicy {
        PcrPolicy::Expected(vec![register(bank, index, values)])
    }

    fn register(bank: &str, index: u8, values: &[&str]) -> ExpectedRegister {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        ExpectedRegister {
            bank: bank.to_owned(),
            index,
            values,
        }
    }

    #[test]
    fn a_policy_names_registers_that_there_are_and_digests_of_their_banks() {
        let (zeros, long) = ("00".repeat(32), "00".repeat(48));
        for good in [
            PcrPolicy::Any,
            PcrPolicy::Learn,
            expected("sha256", 23, &[&zeros]),
            expected("sha384", 0, &[&long, &long]),
        ] {
            assert_eq!(good.check(), Ok(()), "{good:?}");
        }
        for (bad, why) in [
            (
                expected("sha1", 0, &[&"00".repeat(20)]),
                PcrPolicyError::Register,
            ),
            (expected("sm3_256", 0, &[&zeros]), PcrPolicyError::Register),
            (expected("sha256", 24, &[&zeros]), PcrPolicyError::Register),
            (PcrPolicy::Expected(Vec::new()), PcrPolicyError::Register),
            (
                PcrPolicy::Expected(vec![
                    register("sha256", 0, &[&zeros]),
                    register("sha256", 0, &[&zeros]),
                ]),
                PcrPolicyError::Register,
            ),
            (expected("sha256", 0, &[]), PcrPolicyError::Values),
            (expected("sha256", 0, &[&long]), PcrPolicyError::Values),
            (
                expected("sha256", 0, &[&"AA".repeat(32)]),
                PcrPolicyError::Values,
            ),
            (
                expected("sha256", 0, &[&*zeros; 65]),
                PcrPolicyError::Values,
            ),
        ] {
            assert_eq!(bad.check(), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn registers_are_compared_by_bank_and_number() {
        let selection: TpmlPcrSelection = "sha256:0,7+sha384:0".parse().unwrap();
        let values = [&[1; 32][..], &[2; 32], &[3; 48]].concat();
        let quoted = registers(&selection, &values).unwrap();
        assert_eq!(registers(&selection, &values[1..]), None);
        let digest = |byte: &str, size| byte.repeat(size);
        let (one, two) = ([digest("01", 32), digest("09", 32)], [digest("02", 32)]);
        let all = [("sha256", 0, &one[..]), ("sha256", 7, &two[..])];
        let compared = compare(&quoted, all.into_iter());
        assert_eq!(compared.beside, ["sha384:0"]);
        assert!(compared.differ.is_empty() && compared.missing.is_empty());
        let wrong = [("sha256", 0, &two[..]), ("sha256", 8, &two[..])];
        let compared = compare(&quoted, wrong.into_iter());
        assert_eq!(compared.differ, ["sha256:0"]);
        assert_eq!(compared.missing, ["sha256:8"]);
        assert_eq!(compared.beside, ["sha256:7", "sha384:0"]);
    }
}
