//! Caches a record key that a [`ReadPlan`](keyproof_store::ReadPlan) derives from a record it has read, so that taking the result
//! out does not encode that key a second time.

use std::sync::{Arc, OnceLock};

/// The value derived from the first input. For any other input it is computed anew, because a plan may be run over several states.
pub(crate) struct Derived<F, P>(Arc<OnceLock<(F, P)>>);

impl<F: Clone + PartialEq, P: Clone> Derived<F, P> {
    /// Returns `make(found)`, cached for the first input. `make` must be a pure function.
    pub(crate) fn of(&self, found: &F, make: impl Fn(&F) -> P) -> P {
        let (first, made) = self.0.get_or_init(|| (found.clone(), make(found)));
        if first == found {
            made.clone()
        } else {
            make(found)
        }
    }
}

impl<F, P> Clone for Derived<F, P> {
    /// All clones share one cache.
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F, P> Default for Derived<F, P> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn the_first_is_made_once_and_of_another_it_is_made_anew() {
        let (derived, made) = (Derived::default(), Cell::new(0));
        let double = |number: &u32| {
            made.set(made.get() + 1);
            2 * number
        };
        assert_eq!(derived.clone().of(&2, double), 4);
        assert_eq!((derived.of(&2, double), made.get()), (4, 1));
        assert_eq!((derived.of(&3, double), made.get()), (6, 2));
        assert_eq!(derived.of(&2, double), 4);
    }
}
