//! Base32 (RFC 4648 section 6), in three profiles for the ways in which secrets are written.

use data_encoding::{BASE32_NOPAD, BASE32_NOPAD_NOCASE, Encoding};

use crate::OtpError;

/// Which spellings of Base32 are accepted.
///
/// [`Lenient`](Self::Lenient) accepts everything that [`Strict`](Self::Strict) does. So does
/// [`Taler`](Self::Taler), except for padding longer than two. All decode it to the same bytes.
///
/// ```
/// use keyproof_otp::Base32Profile;
///
/// // Grouped and in lower case, as people write it.
/// let mut bytes = [0; Base32Profile::max_decoded_len(19)];
/// let len = Base32Profile::Lenient.decode_to("gezd gnbv-gy3t qojq", &mut bytes)?;
/// assert_eq!(&bytes[..len], b"1234567890");
/// assert!(Base32Profile::Strict.decode_to("gezd gnbv-gy3t qojq", &mut bytes).is_err());
/// # Ok::<(), keyproof_otp::OtpError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Base32Profile {
    /// Exactly RFC 4648 section 6: upper case, full padding, unused bits zero.
    Strict,
    /// As people type and paste it: any case, ASCII white space and hyphens anywhere, and padding
    /// either missing or as RFC 4648 requires. Unused bits must be zero here too.
    Lenient,
    /// The RFC 3548 dialect of GNU Taler's merchant backend: any case and any number of symbols.
    /// Bits short of a byte are dropped unread, so `""` and `"A"` are both the empty key. At most
    /// two `=` are allowed, at the very end, so a correct padding of three, four or six is
    /// rejected.
    Taler,
}

impl Base32Profile {
    /// Returns an upper bound for the number of bytes that a text of `text_len` bytes decodes to.
    pub const fn max_decoded_len(text_len: usize) -> usize {
        // Five bytes for every started block of eight symbols.
        text_len.div_ceil(8).saturating_mul(5)
    }

    /// Decodes `text` into the start of `out`, and returns the number of bytes written.
    ///
    /// # Errors
    ///
    /// A `Base32…` variant if the text is invalid, with the position.
    /// [`SecretTooLong`](OtpError::SecretTooLong) if `out` is too short. In both cases `out` may
    /// contain some of the decoded bytes.
    pub fn decode_to(self, text: &str, out: &mut [u8]) -> Result<usize, OtpError> {
        let padding_at = text.find('=').unwrap_or(text.len());
        let (data, padding) = text.split_at(padding_at);

        let alphabet = self.alphabet();
        let mut free = out.iter_mut();
        let mut written = 0;
        let mut symbols = 0_usize;
        let mut last_at = 0;
        // The bits not yet written: fewer than eight between two symbols.
        let (mut bits, mut bit_count) = (0_u16, 0_u32);
        for (at, byte) in self.significant(data) {
            let Some(value) = alphabet.interpret_byte(byte).is_symbol() else {
                return Err(OtpError::Base32Symbol { at });
            };
            symbols += 1;
            last_at = at;
            bits = bits << 5 | value as u16;
            bit_count += 5;
            if bit_count >= 8 {
                bit_count -= 8;
                *free.next().ok_or(OtpError::SecretTooLong)? = (bits >> bit_count) as u8;
                written += 1;
                bits &= (1 << bit_count) - 1;
            }
        }

        if self != Self::Taler {
            if matches!(symbols % 8, 1 | 3 | 6) {
                return Err(OtpError::Base32Length { at: padding_at });
            }
            if bits != 0 {
                return Err(OtpError::Base32TrailingBits { at: last_at });
            }
        }
        self.check_padding(padding, padding_at, symbols)?;
        Ok(written)
    }

    /// Validates `padding`, which is the text from the first `=` on.
    fn check_padding(
        self,
        padding: &str,
        padding_at: usize,
        symbols: usize,
    ) -> Result<(), OtpError> {
        let mut count = 0;
        for (index, byte) in self.significant(padding) {
            if byte != b'=' {
                return Err(OtpError::Base32Padding {
                    at: padding_at + index,
                });
            }
            count += 1;
        }
        let full = symbols.next_multiple_of(8) - symbols;
        let right = match self {
            Self::Strict => count == full,
            Self::Lenient => count == 0 || count == full,
            Self::Taler => count <= 2,
        };
        if right {
            Ok(())
        } else {
            Err(OtpError::Base32Padding { at: padding_at })
        }
    }

    const fn alphabet(self) -> Encoding {
        match self {
            Self::Strict => BASE32_NOPAD,
            Self::Lenient | Self::Taler => BASE32_NOPAD_NOCASE,
        }
    }

    /// The bytes that the profile does not ignore, with their positions.
    fn significant(self, text: &str) -> impl Iterator<Item = (usize, u8)> {
        let ignored = |byte: u8| byte.is_ascii_whitespace() || byte == b'-';
        let bytes = text.bytes().enumerate();
        bytes.filter(move |(_, byte)| self != Self::Lenient || !ignored(*byte))
    }
}
