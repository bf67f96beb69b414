//! OCRA (RFC 6287): responses to challenges, and signatures.
//!
//! Both parties share a key and a [`Suite`]. The suite names the inputs of a response: always a
//! challenge question, and optionally a counter, the hash of a PIN, session information and the
//! time.
//!
//! | mode (RFC 6287 section 7) | who computes | the [`Input`] |
//! |---|---|---|
//! | one-way challenge-response | client | [`Input::new`] of the server's question |
//! | mutual challenge-response | server first | [`Input::for_server_response`] of both [`Questions`], without a PIN |
//! | | then client | [`Input::for_client_response`] of the same |
//! | plain signature | client | [`Input::new`] of what is signed, or of its hash in hexadecimal |
//! | signature with server authentication | both | as mutual challenge-response, without a session |
//!
//! In the mutual modes the client must verify the server's response before it shows its own.
//!
//! A response proves something only if its question is new. A verifier draws each question at
//! random ([`Suite::random_question`]), accepts one response to it, and discards it after a few wrong
//! responses or some time. Signed data may come twice, so a suite for signatures needs a counter or
//! the time. The verifier stores [`Accepted::next_counter`] and [`Accepted::step`] before it grants
//! anything.
//!
//! ```
//! use keyproof_otp::Secret;
//! use keyproof_otp::ocra::{Input, Ocra, Refused, Response, Suite};
//!
//! let suite: Suite = "OCRA-1:HOTP-SHA512-8:C-QN08".parse()?;
//! let key = b"1234567890".repeat(7);
//! let ocra = Ocra::new(&Secret::from_bytes(&key[..64])?, suite);
//!
//! // The server's question, and what the user's token showed.
//! let (question, typed) = ("11111111", "63947962");
//! let response = Response::parse(typed, &suite)?;
//! let accepted = ocra.verify(&response, &Input::new(question).with_counter(1), None).unwrap();
//! assert_eq!(accepted.next_counter, Some(2));
//! let again = ocra.verify(&response, &Input::new(question).with_counter(2), None);
//! assert_eq!(again, Err(Refused::Wrong));
//! # Ok::<(), keyproof_otp::OtpError>(())
//! ```

mod input;
mod question;
mod response;
mod suite;

use core::fmt;

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use thiserror::Error;

use self::input::Checked;
use crate::{LookAhead, OtpError, Secret, Window, hotp::Found, mac::KeyedMac};

pub use self::{
    input::{Input, PinHash, Questions},
    question::Question,
    response::Response,
    suite::{QuestionFormat, ResponseLength, Suite},
};

/// OCRA with a prepared key.
///
/// By default, [`Ocra::verify`] tries only the expected counter, and one time step on either side
/// of the current one.
///
/// ```
/// use keyproof_otp::ocra::{Input, Ocra, Suite};
/// use keyproof_otp::{LookAhead, Secret};
///
/// let suite: Suite = "OCRA-1:HOTP-SHA1-6:C-QN08".parse()?;
/// let secret = Secret::from_bytes(b"12345678901234567890")?;
/// let (token, server) = (Ocra::new(&secret, suite), Ocra::new(&secret, suite));
///
/// // The token's counter is at 3, the server's still at 0.
/// let response = token.response(&Input::new("11223344").with_counter(3))?;
/// let server = server.with_look_ahead(LookAhead::new(5)?);
/// let accepted = server.verify(&response, &Input::new("11223344").with_counter(0), None);
/// assert_eq!(accepted.unwrap().next_counter, Some(4));
/// # Ok::<(), keyproof_otp::OtpError>(())
/// ```
#[derive(Clone)]
pub struct Ocra {
    mac: KeyedMac,
    suite: Suite,
    look_ahead: LookAhead,
    window: Window,
}

impl Ocra {
    /// The largest number of pairs of counter and time step that one verification tries: 2,048.
    pub const MAX_TRIES: u32 = 2048;

    /// Prepares a secret.
    pub fn new(secret: &Secret, suite: Suite) -> Self {
        Self::from_key(secret.as_bytes(), suite)
    }

    /// Prepares a key of any length, for keys longer than [`Secret::MAX_LEN`]. Nothing is checked:
    /// anybody can compute the responses of an empty key.
    pub fn from_key(key: &[u8], suite: Suite) -> Self {
        Self {
            mac: KeyedMac::new(suite.algorithm(), key),
            suite,
            look_ahead: LookAhead::default(),
            window: Window::default(),
        }
    }

    /// Sets how many counters beyond the expected one are accepted. Has no effect on a suite
    /// without a counter.
    #[must_use = "only what it returns has the setting"]
    pub fn with_look_ahead(self, look_ahead: LookAhead) -> Self {
        Self { look_ahead, ..self }
    }

    /// Sets how many time steps before and after the current one are accepted. Has no effect on a
    /// suite without the time.
    #[must_use = "only what it returns has the setting"]
    pub fn with_window(self, window: Window) -> Self {
        Self { window, ..self }
    }

    /// The suite.
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// Computes the response to a challenge, or a signature.
    ///
    /// # Errors
    ///
    /// [`OcraInputMissing`](OtpError::OcraInputMissing) or
    /// [`OcraInputUnexpected`](OtpError::OcraInputUnexpected) if the input does not contain exactly
    /// what the suite names. [`OcraPinHash`](OtpError::OcraPinHash),
    /// [`OcraQuestion`](OtpError::OcraQuestion),
    /// [`OcraQuestionLength`](OtpError::OcraQuestionLength) or
    /// [`OcraSession`](OtpError::OcraSession) if a part of it does not match the suite.
    pub fn response(&self, input: &Input<'_>) -> Result<Response, OtpError> {
        let input = input.check(&self.suite)?;
        Ok(self.compute(&input, input.counter(), input.step()))
    }

    /// Verifies a response. Tries the counters from the input's one on over the look-ahead, and the
    /// time steps in the window around the input's time that are after `last_step`, the step
    /// accepted last. Pass `None` for `last_step` if nothing has been accepted yet, or if the suite
    /// has no time.
    ///
    /// The input's counter is the next expected one; responses of lower counters are spent, and
    /// `u64::MAX` is never accepted. If several pairs match, the lowest counter is used, with its
    /// latest step. All pairs are computed and compared in constant time, whatever is found.
    ///
    /// # Errors
    ///
    /// [`Refused`] if the response is wrong or a replay, or if the input does not match the suite
    /// (see [`Ocra::response`]). A look-ahead and a window with more than [`Ocra::MAX_TRIES`] pairs
    /// are [`OcraTries`](OtpError::OcraTries).
    #[must_use = "the next counter and the accepted step must be stored, or the response can be used again"]
    pub fn verify(
        &self,
        response: &Response,
        input: &Input<'_>,
        last_step: Option<u64>,
    ) -> Result<Accepted, Refused> {
        let input = input.check(&self.suite)?;
        let (has_counter, has_time) = (self.suite.has_counter(), self.suite.time_step().is_some());
        let look_ahead = if has_counter {
            u64::from(self.look_ahead.get())
        } else {
            0
        };
        let window = if has_time { self.window } else { Window::NONE };
        let tries = (u32::from(self.look_ahead.get()) * u32::from(has_counter) + 1)
            * (u32::from(window.before) + u32::from(window.after) + 1);
        if tries > Self::MAX_TRIES {
            return Err(OtpError::OcraTries { found: tries }.into());
        }
        let earliest = input.step().saturating_sub(window.before.into());
        let latest = input.step().saturating_add(window.after.into());

        let mut fresh = Found::nothing();
        let mut accepted_step = 0;
        let mut any = Choice::from(0);
        for offset in 0..=look_ahead {
            // Without a counter the sum is 1, and is not used.
            let Some(after) = input.counter().checked_add(offset + 1) else {
                break;
            };
            let mut steps = Found::nothing();
            for step in earliest..=latest {
                let fits = self.compute(&input, after - 1, step).ct_eq(response);
                let unspent = !has_time || last_step.is_none_or(|last| step > last);
                steps.last(step, fits & Choice::from(u8::from(unspent)));
                any |= fits;
            }
            let (step, fits) = steps.into_parts();
            accepted_step.conditional_assign(&step, fits & !fresh.any());
            fresh.first(after, fits);
        }
        match fresh.into_option() {
            Some(next) => Ok(Accepted {
                next_counter: has_counter.then_some(next),
                step: has_time.then_some(accepted_step),
            }),
            None if bool::from(any) => Err(Refused::Replay),
            None => Err(Refused::Wrong),
        }
    }

    fn compute(&self, input: &Checked<'_>, counter: u64, step: u64) -> Response {
        let (counter, step) = (counter.to_be_bytes(), step.to_be_bytes());
        let tag = self.mac.tag(&[
            self.suite.text().as_bytes(),
            &[0],
            if self.suite.has_counter() {
                &counter
            } else {
                &[]
            },
            input.question(),
            input.pin_hash(),
            input.session(),
            if self.suite.time_step().is_some() {
                &step
            } else {
                &[]
            },
        ]);
        Response::from_tag(&tag, self.suite.response_length())
    }
}

impl fmt::Debug for Ocra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ocra")
            .field("suite", &self.suite)
            .field("look_ahead", &self.look_ahead)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

/// An accepted response.
#[must_use = "the next counter and the accepted step must be stored, or the response can be used again"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Accepted {
    /// The next expected counter, if the suite has one. Every lower one is spent.
    pub next_counter: Option<u64>,
    /// The time step that the response belongs to, if the suite has the time. This step and every
    /// earlier one are spent.
    pub step: Option<u64>,
}

/// Why a response was refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// The input was rejected, so nothing was compared.
    #[error(transparent)]
    Input(#[from] OtpError),
    /// The response matches a time step of the window, but that step or a later one has been
    /// accepted before.
    #[error("the response belongs to a time step already spent")]
    Replay,
    /// The response does not match this input.
    #[error("not the response to this challenge")]
    Wrong,
}
