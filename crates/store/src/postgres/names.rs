//! The ids of batches' attempts, until they are deleted.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::Changes;

/// How many are deleted at a time.
const MANY: usize = 512;
/// How often to look for old ids that no node deletes.
const PERIOD: Duration = Duration::from_secs(60 * 60);

/// A batch's id with the number of the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name([u8; Changes::ID_LEN + 1]);

impl Name {
    pub(super) fn new(id: &[u8; Changes::ID_LEN], attempt: u8) -> Self {
        let mut name = [attempt; Changes::ID_LEN + 1];
        let (head, _) = name.split_at_mut(id.len());
        head.copy_from_slice(id);
        Self(name)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Names that are no longer needed.
#[derive(Default)]
pub(super) struct Names {
    settled: Mutex<Vec<Name>>,
    forgot_old: Mutex<Option<Instant>>,
}

impl Names {
    /// Records that a name is no longer needed. Once there are many, returns them for the caller to delete.
    pub(super) fn settle(&self, name: Name) -> Option<Vec<Name>> {
        let mut settled = lock(&self.settled);
        settled.push(name);
        (settled.len() >= MANY).then(|| std::mem::take(&mut *settled))
    }

    pub(super) fn take_all(&self) -> Vec<Name> {
        std::mem::take(&mut *lock(&self.settled))
    }

    /// Returns `true` once in each period: the caller should then delete old names.
    pub(super) fn is_cleanup_due(&self) -> bool {
        let mut last = lock(&self.forgot_old);
        let is_due = last.is_none_or(|last| last.elapsed() >= PERIOD);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }
}

/// A panic cannot leave the data here half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_try_has_a_name_of_its_own() {
        let names: Vec<_> = (0..8)
            .map(|attempt| Name::new(&[7; Changes::ID_LEN], attempt))
            .collect();
        let id = [7; Changes::ID_LEN];
        assert_eq!(names[3].as_bytes(), [id.as_slice(), &[3]].concat());
        for (at, name) in names.iter().enumerate() {
            assert!(!names[..at].contains(name));
        }
    }

    #[test]
    fn settled_names_are_handed_out_once_and_many_at_a_time() {
        let names = Names::default();
        let name = Name::new(&[1; Changes::ID_LEN], 0);
        for _ in 1..MANY {
            assert_eq!(names.settle(name), None);
        }
        assert_eq!(names.settle(name).map(|names| names.len()), Some(MANY));
        assert_eq!(names.settle(name), None);
        assert_eq!(names.take_all(), [name]);
        assert_eq!(names.take_all(), []);
    }

    #[test]
    fn old_names_are_looked_for_now_and_then() {
        let names = Names::default();
        assert!(names.is_cleanup_due());
        assert!(!names.is_cleanup_due());
    }
}
