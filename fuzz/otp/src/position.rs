//! Positions in errors.

use keyproof_otp::OtpError;

/// Asserts that an error's position, if it has one, is in the text or directly after it.
pub(crate) fn assert_position(error: OtpError, text: &str) {
    let at = match error {
        OtpError::AmountCurrency { at }
        | OtpError::AmountFraction { at }
        | OtpError::AmountValue { at }
        | OtpError::Base32Length { at }
        | OtpError::Base32Padding { at }
        | OtpError::Base32Symbol { at }
        | OtpError::Base32TrailingBits { at }
        | OtpError::CodeSymbol { at }
        | OtpError::OcraQuestion { at }
        | OtpError::OcraResponseSymbol { at }
        | OtpError::OcraSuite { at }
        | OtpError::UriDuplicateParameter { at }
        | OtpError::UriEscape { at }
        | OtpError::UriFragment { at }
        | OtpError::UriNumber { at }
        | OtpError::UriSecret { at }
        | OtpError::UriType { at } => at,
        _ => 0,
    };
    assert!(at <= text.len(), "{error:?} in {} bytes", text.len());
    assert!(text.is_char_boundary(at), "{error:?} within a character");
}
