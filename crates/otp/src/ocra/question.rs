//! Challenge questions that a verifier draws.

use core::fmt;

use super::{QuestionFormat, Suite};

/// A challenge question (RFC 6287 section 5.1) of its suite's full length, drawn by
/// [`Suite::random_question`]. It is not secret: it is shown to the party that answers it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Question {
    /// ASCII, of the suite's format.
    characters: [u8; Self::MAX_LEN],
    len: usize,
}

impl Question {
    const MAX_LEN: usize = 64;
    /// Random bytes per character. With 8 of them, the characters' probabilities differ by less
    /// than 2^-57.
    const RANDOM: usize = 8;

    /// The question, for an [`Input`](super::Input).
    pub fn as_str(&self) -> &str {
        let characters = self.characters.get(..self.len).unwrap_or_default();
        str::from_utf8(characters).unwrap_or_default()
    }
}

impl Suite {
    /// Returns a random challenge question of the suite's full length. `fill` is the caller's cryptographic
    /// random source and fills the bytes that it is given. RFC 6287 section 8.2 asks for new,
    /// unpredictable questions each time.
    ///
    /// ```
    /// use keyproof_otp::ocra::Suite;
    ///
    /// # fn fill(bytes: &mut [u8]) -> Result<(), std::io::Error> { Ok(bytes.fill(7)) }
    /// let suite: Suite = "OCRA-1:HOTP-SHA1-6:QN08".parse()?;
    /// let question = suite.random_question(fill)?; // such as getrandom::fill
    /// assert_eq!(question.as_str().len(), 8);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The error that `fill` returns.
    pub fn random_question<E>(
        &self,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Question, E> {
        let alphabet: &[u8] = match self.question_format() {
            QuestionFormat::Alphanumeric => {
                b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
            }
            QuestionFormat::Hexadecimal => b"0123456789abcdef",
            QuestionFormat::Numeric => b"0123456789",
        };
        let mut random = [[0; Question::RANDOM]; Question::MAX_LEN];
        let len = usize::from(self.question_len());
        let drawn = random.get_mut(..len).unwrap_or_default();
        fill(drawn.as_flattened_mut())?;
        let mut characters = [0; Question::MAX_LEN];
        for (character, drawn) in characters.iter_mut().zip(drawn) {
            let index = u64::from_be_bytes(*drawn) % alphabet.len() as u64;
            *character = alphabet.get(index as usize).copied().unwrap_or_default();
        }
        Ok(Question { characters, len })
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Question({self})")
    }
}
