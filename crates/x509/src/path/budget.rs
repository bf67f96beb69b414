//! Limits the work of a search, whatever its input.

use super::{MAX_SIGNATURE_CHECKS, report::Reason};

/// The maximum number of steps up from a certificate; repeated visits count again.
const MAX_STEPS: usize = 512;

/// The maximum number of comparisons of names and policies.
const MAX_COMPARISONS: usize = 500_000;

/// The remaining budget of a search. Each of its methods fails with [`Reason::BudgetExhausted`] when it is used up.
pub(super) struct Budget {
    signatures: usize,
    steps: usize,
    comparisons: usize,
}

impl Budget {
    pub(super) const fn new() -> Self {
        Self {
            signatures: MAX_SIGNATURE_CHECKS,
            steps: MAX_STEPS,
            comparisons: MAX_COMPARISONS,
        }
    }

    pub(super) fn check_signature(&mut self) -> Result<(), Reason> {
        spend(&mut self.signatures, 1)
    }

    pub(super) fn step(&mut self) -> Result<(), Reason> {
        spend(&mut self.steps, 1)
    }

    pub(super) fn compare(&mut self, count: usize) -> Result<(), Reason> {
        spend(&mut self.comparisons, count)
    }

    pub(super) fn signatures_checked(&self) -> usize {
        MAX_SIGNATURE_CHECKS.saturating_sub(self.signatures)
    }
}

fn spend(left: &mut usize, count: usize) -> Result<(), Reason> {
    *left = left.checked_sub(count).ok_or(Reason::BudgetExhausted)?;
    Ok(())
}
