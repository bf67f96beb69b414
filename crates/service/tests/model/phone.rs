//! A phone, which shows the codes of a key.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{Hash, Hasher},
    sync::{Arc, Mutex},
};

use keyproof_otp::{Algorithm, Base32Profile, Digits, Secret, Totp};
use keyproof_store::Timestamp;

use crate::setting::{START, STEP};

pub(crate) struct Phone {
    pub(crate) key: u32,
    totp: Totp,
    /// The codes by step, each computed once.
    codes: Mutex<BTreeMap<i64, Arc<str>>>,
}

impl Phone {
    pub(crate) fn new(key: u32, secret: &str) -> Self {
        let secret = Secret::from_base32(secret, Base32Profile::Strict).unwrap();
        Self {
            key,
            totp: Totp::new(&secret, Algorithm::Sha1, Digits::SIX),
            codes: Mutex::default(),
        }
    }

    /// Returns the code of a step, counted from the start of the model.
    pub(crate) fn code(&self, step: i64) -> Arc<str> {
        let first = START.as_secs() / STEP.as_secs();
        let mut codes = self.codes.lock().unwrap();
        let code = codes.entry(step).or_insert_with(|| {
            let step = first.checked_add_signed(step).unwrap();
            self.totp.code_at_step(step).to_string().into()
        });
        Arc::clone(code)
    }

    /// Returns the step that this code belongs to, among the steps that could be accepted.
    pub(crate) fn step_of(&self, code: &str, now: Timestamp) -> Option<i64> {
        // A window of one step on either side, with a drift of at most two.
        const REACH: i64 = 3;
        let around = step(now);
        (around - REACH..=around + REACH).find(|step| *self.code(*step) == *code)
    }
}

/// Returns the step of a time, counted from the start of the model.
pub(crate) fn step(now: Timestamp) -> i64 {
    let since = now.as_secs().cast_signed() - START.as_secs().cast_signed();
    since.div_euclid(STEP.as_secs().cast_signed())
}

impl PartialEq for Phone {
    fn eq(&self, other: &Self) -> bool {
        (self.key, self.code(0)) == (other.key, other.code(0))
    }
}

impl Eq for Phone {}

impl Hash for Phone {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Phone({})", self.key)
    }
}
