//! OCRA (RFC 6287): responses to challenges, and signatures over them.
//!
//! Both parties share a key and a [`Suite`], which says what goes into a response: a challenge
//! question always, and as the suite names them a counter, the hash of a PIN, session information
//! and the time.
//!
//! | mode (RFC 6287 section 7) | who computes | the [`Input`] |
//! |---|---|---|
//! | one-way challenge-response | client | [`Input::new`] of the server's question |
//! | mutual challenge-response | server first | [`Input::mutual`] of the client's question, then the server's; without a PIN |
//! | | then client | [`Input::mutual`] of the server's question, then the client's |
//! | plain signature | client | [`Input::new`] of what is signed, or of its hash in hexadecimal |
//! | signature with server authentication | both | as mutual challenge-response, without a session |
//!
//! In the mutual modes the client must verify the server's response before it shows its own.
//!
//! A response is as good as its question is new: a verifier draws each question at random
//! ([`Suite::draw_question`]), accepts
//! one answer to it, and gives it up after a few wrong ones and after a while. What is signed may
//! come twice, so that a suite for signatures needs a counter or the time, and the verifier stores
//! [`Accepted::next_counter`] and [`Accepted::step`] before it grants anything.
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

use self::{input::Checked, suite::SuiteText};
use crate::{LookAhead, OtpError, Secret, Window, hotp::Found, mac::KeyedMac};

pub use self::{
    input::{Input, PinHash},
    question::Question,
    response::Response,
    suite::{QuestionFormat, ResponseLength, Suite},
};

/// OCRA with its key prepared.
///
/// Unless set otherwise, [`Ocra::verify`] tries no counter beyond the expected one and one time
/// step either side of the current one.
///
/// ```
/// use keyproof_otp::ocra::{Input, Ocra, Suite};
/// use keyproof_otp::{LookAhead, Secret};
///
/// let suite: Suite = "OCRA-1:HOTP-SHA1-6:C-QN08".parse()?;
/// let secret = Secret::from_bytes(b"12345678901234567890")?;
/// let (token, server) = (Ocra::new(&secret, suite), Ocra::new(&secret, suite));
///
/// // The token has counted to 3, of which the server has seen nothing yet.
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
    /// As it goes into each response.
    text: SuiteText,
    look_ahead: LookAhead,
    window: Window,
}

impl Ocra {
    /// The most pairs of a counter and a time step that one check tries: 2,048.
    pub const MAX_TRIES: u32 = 2048;

    /// Prepares a secret.
    pub fn new(secret: &Secret, suite: Suite) -> Self {
        Self::from_key(secret.as_bytes(), suite)
    }

    /// Prepares a key of any length: the way for keys too long for a [`Secret`].
    pub fn from_key(key: &[u8], suite: Suite) -> Self {
        Self {
            mac: KeyedMac::new(suite.algorithm(), key),
            suite,
            text: suite.text(),
            look_ahead: LookAhead::default(),
            window: Window::default(),
        }
    }

    /// Sets how many counters beyond the expected one are accepted; nothing to a suite without
    /// counter.
    pub fn with_look_ahead(self, look_ahead: LookAhead) -> Self {
        Self { look_ahead, ..self }
    }

    /// Sets how many time steps beside the current one are accepted; nothing to a suite without
    /// time.
    pub fn with_window(self, window: Window) -> Self {
        Self { window, ..self }
    }

    /// The suite.
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// The response to a challenge, or the signature of it.
    ///
    /// # Errors
    ///
    /// [`OcraInputMissing`](OtpError::OcraInputMissing) or
    /// [`OcraInputUnexpected`](OtpError::OcraInputUnexpected) if the input is not exactly what the
    /// suite names; [`OcraPinHash`](OtpError::OcraPinHash),
    /// [`OcraQuestion`](OtpError::OcraQuestion),
    /// [`OcraQuestionLength`](OtpError::OcraQuestionLength) or
    /// [`OcraSession`](OtpError::OcraSession) if a part of it is not as the suite says.
    pub fn response(&self, input: &Input<'_>) -> Result<Response, OtpError> {
        let input = input.check(&self.suite)?;
        Ok(self.compute(&input, input.counter(), input.step()))
    }

    /// Checks a response: from the input's counter on over the look-ahead, and in the window around
    /// the input's time, after the step accepted last. Pass `None` for `last_step` where nothing
    /// has been accepted yet, or where the suite has no time.
    ///
    /// The input's counter is the next one expected, so that responses of counters below it are
    /// spent; `u64::MAX` is never accepted. If several pairs fit, the lowest counter counts, and
    /// with it the latest step. All are computed and compared in constant time whatever is found.
    ///
    /// # Errors
    ///
    /// [`Refused`]: wrong, a replay, or an input that the suite does not take (see
    /// [`Ocra::response`]; a look-ahead and a window that are together more than
    /// [`Ocra::MAX_TRIES`] are [`OcraTries`](OtpError::OcraTries)).
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
            // Of a suite without counter the sum is 1, and means nothing.
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
            self.text.as_bytes(),
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Accepted {
    /// The counter to expect next, if the suite has one: every lower one is spent.
    pub next_counter: Option<u64>,
    /// The time step that the response belongs to, if the suite has one: spent, and every earlier
    /// one with it.
    pub step: Option<u64>,
}

/// Why a response was refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// The input was not taken, so that nothing was compared.
    #[error(transparent)]
    Input(#[from] OtpError),
    /// The response is right for a time step of the window, but that step or a later one has been
    /// accepted before.
    #[error("the response belongs to a time step already spent")]
    Replay,
    /// Not the response to this input.
    #[error("not the response to this challenge")]
    Wrong,
}
