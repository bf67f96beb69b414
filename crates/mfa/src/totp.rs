//! TOTP keys: which codes they accept, and the state they keep.

use core::num::NonZeroU64;

use keyproof_otp::{
    Accepted, Algorithm, Code, DEFAULT_PERIOD, Digits, Refused, Secret, Totp, Window,
};

use crate::UnixMillis;

/// The parameters of a TOTP key (RFC 6238). The default, SHA-1 with six digits every 30 seconds, is
/// supported by every authenticator app.
///
/// ```
/// use keyproof_mfa::otp::Digits;
/// use keyproof_mfa::{KeyKind, TotpParameters};
///
/// let parameters = TotpParameters { digits: Digits::EIGHT, ..TotpParameters::default() };
/// assert_eq!(parameters.period.get(), 30);
/// let kind = KeyKind::Totp(parameters); // the argument of UserRecords::enrol
/// assert_ne!(kind, KeyKind::default());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TotpParameters {
    /// The hash function.
    pub algorithm: Algorithm,
    /// The length of a code.
    pub digits: Digits,
    /// The length of a step, in seconds.
    pub period: NonZeroU64,
}

impl Default for TotpParameters {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::default(),
            digits: Digits::default(),
            period: DEFAULT_PERIOD,
        }
    }
}

/// The largest drift of a phone's clock that is learned, in steps.
pub(crate) const MAX_DRIFT: i8 = 2;

/// A key's parameters, and the last step it has accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TotpKey {
    pub(crate) parameters: TotpParameters,
    /// `None` before activation.
    pub(crate) spent: Option<Spent>,
}

/// The state that an accepted code leaves, also as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Spent {
    /// Its step. That step and all earlier ones are never accepted again.
    pub(crate) step: u64,
    /// How many steps the code was ahead of the clock, limited to [`MAX_DRIFT`] either way.
    pub(crate) drift: i8,
}

/// Why a code was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// The code belongs to a spent step: the last one, or one within the window.
    Replayed,
    /// The code is not valid for this key at this time.
    Code,
}

impl TotpKey {
    /// Returns the key after it has accepted `code` at `now`.
    pub(crate) fn accept(
        &self,
        secret: &Secret,
        code: &Code,
        now: UnixMillis,
    ) -> Result<Self, Wrong> {
        let TotpParameters {
            algorithm,
            digits,
            period,
        } = self.parameters;
        let totp = Totp::new(secret, algorithm, digits)
            .with_period(period)
            .with_window(window(self.spent.map_or(0, |spent| spent.drift)));
        let last_step = self.spent.map(|spent| spent.step);
        match totp.verify(code, now.as_secs(), last_step) {
            Ok(Accepted { step, drift, .. }) => {
                let bound = i64::from(MAX_DRIFT);
                // It is clamped, so it fits; zero would only lose what was learned.
                let drift = i8::try_from(drift.clamp(-bound, bound)).unwrap_or_default();
                let spent = Some(Spent { step, drift });
                Ok(Self { spent, ..*self })
            }
            // The window moves with the drift just learned, so a duplicate request's code may be
            // outside it.
            Err(refused)
                if refused == Refused::Replay
                    || last_step.is_some_and(|s| totp.code_at_step(s) == *code) =>
            {
                Err(Wrong::Replayed)
            }
            Err(_) => Err(Wrong::Code),
        }
    }

    /// See [`KeyRecord::spent_until`](crate::KeyRecord::spent_until).
    pub(crate) fn spent_until(&self, now: UnixMillis) -> Option<Self> {
        let spent = self.spent?;
        // The last step in the window of any drift.
        let ahead = u64::from(MAX_DRIFT.unsigned_abs()) + 1;
        let last = (now.as_secs() / self.parameters.period).saturating_add(ahead);
        let step = spent.step.max(last);
        Some(Self {
            spent: Some(Spent { step, ..spent }),
            ..*self
        })
    }
}

/// The window: one step either side of the learned drift, widened to include the true current step.
/// So a phone whose clock is corrected is not locked out.
fn window(drift: i8) -> Window {
    let reach = |steps: i8| u8::try_from(steps).unwrap_or(0);
    Window {
        before: reach(1_i8.saturating_sub(drift)),
        after: reach(1_i8.saturating_add(drift)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_followed_a_step_at_a_time() {
        const NOW: u64 = 100 * 30 + 7;
        let secret = Secret::from_bytes(&[7; 20]).unwrap();
        let totp = Totp::new(&secret, Algorithm::default(), Digits::default());
        let fresh = TotpKey {
            parameters: TotpParameters::default(),
            spent: None,
        };
        let accepted = |key: &TotpKey, now: u64, ahead: i64| {
            let code = totp.code(now.checked_add_signed(ahead).unwrap());
            key.accept(&secret, &code, UnixMillis::from_secs(now))
        };
        for direction in [1, -1] {
            let at_once = accepted(&fresh, NOW, direction * 70);
            assert_eq!(at_once, Err(Wrong::Code), "{direction}");
            let (mut key, mut now) = (fresh, NOW);
            for ahead in [30, 60, 90] {
                now += 600;
                key = accepted(&key, now, direction * ahead).unwrap();
            }
            let too_far = accepted(&key, now + 600, direction * 120);
            assert_eq!(too_far, Err(Wrong::Code), "{direction}");
        }
    }

    #[test]
    fn no_code_that_may_have_been_accepted_is_accepted_after_a_return_to_earlier_records() {
        let secret = Secret::from_bytes(&[7; 20]).unwrap();
        for drift in -MAX_DRIFT..=MAX_DRIFT {
            let spent = Some(Spent { step: 10, drift });
            let key = TotpKey {
                parameters: TotpParameters::default(),
                spent,
            };
            let totp = Totp::new(&secret, Algorithm::default(), Digits::default());
            let now = UnixMillis::from_secs(100 * 30 + 7);
            let after = key.spent_until(now).unwrap();
            for step in 90..=110 {
                let code = totp.code_at_step(step);
                for later in 0..4 {
                    let later = UnixMillis::from_secs(now.as_secs() + 30 * later);
                    let could = (90..=100).any(|before| {
                        let then = UnixMillis::from_secs(before * 30 + 7);
                        // Whichever drift was learned meanwhile.
                        (-MAX_DRIFT..=MAX_DRIFT).any(|drift| {
                            let spent = Some(Spent { step: 10, drift });
                            TotpKey { spent, ..key }
                                .accept(&secret, &code, then)
                                .is_ok()
                        })
                    });
                    if could {
                        assert!(after.accept(&secret, &code, later).is_err(), "{step}");
                    }
                }
            }
            let later = UnixMillis::from_secs(now.as_secs() + 4 * 30);
            let code = totp.code_at_step(104);
            assert!(after.accept(&secret, &code, later).is_ok());
        }
        let later = TotpKey {
            parameters: TotpParameters::default(),
            spent: Some(Spent {
                step: 500,
                drift: 0,
            }),
        };
        let kept = later.spent_until(UnixMillis::from_secs(100 * 30));
        assert_eq!(kept, Some(later), "a clock that goes back frees nothing");
    }
}
