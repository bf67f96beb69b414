//! `otpauth` URIs: the text in the QR codes that authenticators scan.
//!
//! The format is Google Authenticator's "Key Uri Format"; no RFC defines it. Where it is ambiguous,
//! this module does the following:
//!
//! - Scheme and type are read in any case, parameter names in lower case only.
//! - A label `issuer:account` is split at its first literal `:`, or at its first escaped one if
//!   there is none. Spaces before the account are dropped.
//! - Escapes are those of RFC 3986, so `+` is a plus sign. Characters that should have been escaped
//!   are accepted, except `#`, which would begin a fragment.
//! - The secret is lenient Base32 ([`Base32Profile::Lenient`]). It may be short, but not empty.
//! - An empty issuer counts as none, in the label (`:account`) and as a parameter.
//! - Any parameter given twice is rejected. Parameters unknown to the type are kept
//!   ([`OtpauthUri::other_parameters`]).
//! - Parameters are written in the order secret, issuer, algorithm, digits, period or counter, then
//!   the others by name. Digits and period are always written, the algorithm only if it is not
//!   SHA-1, because many authenticators mishandle it.
//!
//! ```
//! use keyproof_otp::Algorithm;
//! use keyproof_otp::otpauth::OtpauthUri;
//!
//! let text = "otpauth://totp/ACME:alice@example.com?secret=gezd%20gnbv%20gy3t%20qojq&issuer=ACME";
//! let uri = OtpauthUri::parse_strict(text)?;
//! assert_eq!((uri.issuer(), uri.account()), (Some("ACME"), "alice@example.com"));
//! assert_eq!(uri.algorithm(), Algorithm::Sha1);
//! assert_eq!(uri.totp().unwrap().code(59).to_string().len(), 6);
//! assert_eq!(
//!     uri.to_string(),
//!     "otpauth://totp/ACME:alice@example.com?secret=GEZDGNBVGY3TQOJQ&issuer=ACME&digits=6&period=30"
//! );
//! # Ok::<(), keyproof_otp::OtpError>(())
//! ```

use alloc::{
    borrow::{Cow, ToOwned},
    collections::BTreeMap,
    string::String,
    vec::Vec,
};
use core::{fmt, mem, num::NonZeroU64, str::FromStr};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use zeroize::Zeroize;

use crate::{Algorithm, Base32Profile, Digits, Hotp, OtpError, Secret, Totp, totp::DEFAULT_PERIOD};

/// The characters to escape: all but RFC 3986's unreserved ones and `@`, which path and query
/// allow.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'@');

const SCHEME: &str = "otpauth://";

const MISSING_SECRET: OtpError = OtpError::UriMissingParameter { name: "secret" };

/// An `otpauth` URI, parsed or built.
///
/// `Display` writes the URI *with the secret*; `Debug` hides the secret. Parsing what `Display`
/// writes returns an equal value.
///
/// ```
/// use keyproof_otp::otpauth::{Kind, OtpauthUri};
/// use keyproof_otp::{Algorithm, Digits, Secret};
///
/// let secret = Secret::from_bytes(b"12345678901234567890")?; // for a user: Secret::generate(getrandom::fill)
/// let uri = OtpauthUri::new(Kind::TOTP, Some("ACME"), "alice@example.com", secret)?
///     .with_algorithm(Algorithm::Sha256)
///     .with_digits(Digits::EIGHT);
/// let text = uri.to_string(); // for the QR code
/// assert!(text.starts_with("otpauth://totp/ACME:alice@example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&"));
///
/// let read = OtpauthUri::parse(&text)?;
/// assert_eq!((read.algorithm(), read.digits(), read.secret()), (Algorithm::Sha256, Digits::EIGHT, uri.secret()));
/// assert_eq!(read.totp().unwrap().code(59).to_string().len(), 8);
/// # Ok::<(), keyproof_otp::OtpError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtpauthUri {
    kind: Kind,
    label_issuer: Option<String>,
    account: String,
    issuer: Option<String>,
    secret: Secret,
    algorithm: Algorithm,
    digits: Digits,
    other_parameters: BTreeMap<String, String>,
}

/// The type of a URI, with its moving factor.
///
/// ```
/// use keyproof_otp::otpauth::{Kind, OtpauthUri};
///
/// let of_a_token = OtpauthUri::parse("otpauth://hotp/alice?secret=GEZDGNBVGY3TQOJQ&counter=7")?;
/// assert_eq!(of_a_token.kind(), Kind::Hotp { counter: 7 });
/// let of_a_phone = OtpauthUri::parse("otpauth://totp/alice?secret=GEZDGNBVGY3TQOJQ")?;
/// assert_eq!(of_a_phone.kind(), Kind::TOTP); // a step of 30 seconds is the default
/// # Ok::<(), keyproof_otp::OtpError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Counter-based codes.
    Hotp {
        /// The first counter to use.
        counter: u64,
    },
    /// Time-based codes.
    Totp {
        /// The length of a step, in seconds.
        period: NonZeroU64,
    },
}

impl Kind {
    /// TOTP with a step of 30 seconds.
    pub const TOTP: Self = Self::Totp {
        period: DEFAULT_PERIOD,
    };
}

impl OtpauthUri {
    /// Creates a URI with SHA-1 and six digits. The issuer is written both in the label and as a
    /// parameter.
    ///
    /// # Errors
    ///
    /// [`UriLabel`](OtpError::UriLabel) if issuer or account is empty, begins with a space or
    /// contains a colon.
    pub fn new(
        kind: Kind,
        issuer: Option<&str>,
        account: &str,
        secret: Secret,
    ) -> Result<Self, OtpError> {
        if [Some(account), issuer]
            .into_iter()
            .flatten()
            .any(is_ambiguous)
        {
            return Err(OtpError::UriLabel);
        }
        Ok(Self {
            kind,
            label_issuer: issuer.map(ToOwned::to_owned),
            account: account.to_owned(),
            issuer: issuer.map(ToOwned::to_owned),
            secret,
            algorithm: Algorithm::default(),
            digits: Digits::default(),
            other_parameters: BTreeMap::new(),
        })
    }

    /// Creates the URI of an exported account. Its label is not escaped, and its issuer is
    /// optional.
    pub(crate) fn labelled(kind: Kind, label: &str, issuer: Option<&str>, secret: Secret) -> Self {
        let (label_issuer, account) = Self::split_label(label);
        Self {
            kind,
            label_issuer: label_issuer.map(ToOwned::to_owned),
            account: account.to_owned(),
            issuer: issuer.map(ToOwned::to_owned),
            secret,
            algorithm: Algorithm::default(),
            digits: Digits::default(),
            other_parameters: BTreeMap::new(),
        }
    }

    /// Splits an unescaped label into issuer and account.
    pub(crate) fn split_label(label: &str) -> (Option<&str>, &str) {
        let (issuer, account) = match label.split_once(':') {
            Some((issuer, account)) => (Some(issuer), account),
            None => (None, label),
        };
        (issuer, account.trim_start_matches(' '))
    }

    /// Removes what an export cannot contain: the other parameters.
    pub(crate) fn for_export(self) -> Self {
        Self {
            other_parameters: BTreeMap::new(),
            ..self
        }
    }

    /// Sets the algorithm.
    #[must_use = "only what it returns has the setting"]
    pub fn with_algorithm(self, algorithm: Algorithm) -> Self {
        Self { algorithm, ..self }
    }

    /// Sets the number of digits.
    #[must_use = "only what it returns has the setting"]
    pub fn with_digits(self, digits: Digits) -> Self {
        Self { digits, ..self }
    }

    /// Parses a URI. Two different issuers are not an error here; see
    /// [`OtpauthUri::issuer_mismatch`].
    ///
    /// # Errors
    ///
    /// The `Uri…` variants of [`OtpError`], with the byte of the URI where that helps, but neither
    /// [`UriIssuerMismatch`](OtpError::UriIssuerMismatch) nor [`UriLabel`](OtpError::UriLabel);
    /// [`Digits`](OtpError::Digits), [`SecretTooLong`](OtpError::SecretTooLong) and
    /// [`UnknownAlgorithm`](OtpError::UnknownAlgorithm).
    pub fn parse(uri: &str) -> Result<Self, OtpError> {
        if let Some(at) = uri.find('#') {
            return Err(OtpError::UriFragment { at });
        }
        let (scheme, rest) = uri
            .split_at_checked(SCHEME.len())
            .ok_or(OtpError::UriScheme)?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return Err(OtpError::UriScheme);
        }
        let (path, query) = split_optional(rest, '?');
        let (kind, label) = split_optional(path, '/');
        let is_hotp = kind.eq_ignore_ascii_case("hotp");
        if !is_hotp && !kind.eq_ignore_ascii_case("totp") {
            return Err(OtpError::UriType { at: SCHEME.len() });
        }
        let (label_issuer, account) = parse_label(label, SCHEME.len() + kind.len() + 1)?;

        let mut parameters = Parameters::parse(query, SCHEME.len() + path.len() + 1)?;
        let secret = parameters.take("secret").ok_or(MISSING_SECRET)?.secret()?;
        let issuer = parameters
            .take("issuer")
            .map(Parameter::into_value)
            .filter(|issuer| !issuer.is_empty());
        let algorithm = parameters
            .take("algorithm")
            .map(|algorithm| algorithm.value.parse());
        let digits = parameters
            .take("digits")
            .map(|digits| Digits::new(digits.number()?));
        let kind = if is_hotp {
            let counter = parameters.take("counter");
            let counter = counter.ok_or(OtpError::UriMissingParameter { name: "counter" })?;
            Kind::Hotp {
                counter: counter.number()?,
            }
        } else {
            let period = parameters.take("period").map(|period| period.number());
            Kind::Totp {
                period: period.transpose()?.unwrap_or(DEFAULT_PERIOD),
            }
        };
        Ok(Self {
            kind,
            label_issuer,
            account,
            issuer,
            secret,
            algorithm: algorithm.transpose()?.unwrap_or_default(),
            digits: digits.transpose()?.unwrap_or_default(),
            other_parameters: parameters.into_others(),
        })
    }

    /// Parses a URI as [`OtpauthUri::parse`] does, and rejects one with two different issuers.
    ///
    /// # Errors
    ///
    /// [`UriIssuerMismatch`](OtpError::UriIssuerMismatch), or what `parse` returns.
    pub fn parse_strict(uri: &str) -> Result<Self, OtpError> {
        let uri = Self::parse(uri)?;
        if uri.issuer_mismatch() {
            Err(OtpError::UriIssuerMismatch)
        } else {
            Ok(uri)
        }
    }

    /// The type, and its counter or period.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The account: the label without its issuer. May be empty in a parsed URI.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The issuer: the parameter, or the label's if there is no parameter.
    pub fn issuer(&self) -> Option<&str> {
        self.issuer_parameter().or(self.named_in_label())
    }

    /// The issuer in the parameter.
    pub fn issuer_parameter(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// The issuer in the label: the text before its colon, which may be empty in a parsed URI.
    pub fn label_issuer(&self) -> Option<&str> {
        self.label_issuer.as_deref()
    }

    fn named_in_label(&self) -> Option<&str> {
        self.label_issuer().filter(|issuer| !issuer.is_empty())
    }

    /// Whether label and parameter both name an issuer, and the two differ.
    ///
    /// ```
    /// use keyproof_otp::otpauth::OtpauthUri;
    ///
    /// let uri = OtpauthUri::parse("otpauth://totp/ACME:alice?secret=GEZDGNBVGY3TQOJQ&issuer=Other")?;
    /// assert_eq!((uri.label_issuer(), uri.issuer_parameter(), uri.issuer_mismatch()), (Some("ACME"), Some("Other"), true));
    /// assert_eq!(uri.issuer(), Some("Other"));
    /// # Ok::<(), keyproof_otp::OtpError>(())
    /// ```
    #[must_use = "the two issuers may differ"]
    pub fn issuer_mismatch(&self) -> bool {
        let both = self.named_in_label().zip(self.issuer_parameter());
        both.is_some_and(|(label, parameter)| label != parameter)
    }

    /// The shared secret.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The hash function.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// How many digits the codes have.
    pub fn digits(&self) -> Digits {
        self.digits
    }

    /// Names and values of the parameters that this type does not use, sorted by name.
    pub fn other_parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.other_parameters
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The prepared key and the first counter, if the URI is of type HOTP.
    pub fn hotp(&self) -> Option<(Hotp, u64)> {
        match self.kind {
            Kind::Hotp { counter } => Some((self.prepare(), counter)),
            Kind::Totp { .. } => None,
        }
    }

    /// The prepared key with its period, if the URI is of type TOTP.
    pub fn totp(&self) -> Option<Totp> {
        match self.kind {
            Kind::Hotp { .. } => None,
            Kind::Totp { period } => Some(Totp::from(self.prepare()).with_period(period)),
        }
    }

    fn prepare(&self) -> Hotp {
        Hotp::new(&self.secret, self.algorithm, self.digits)
    }
}

impl FromStr for OtpauthUri {
    type Err = OtpError;

    /// The same as [`OtpauthUri::parse`].
    fn from_str(uri: &str) -> Result<Self, OtpError> {
        Self::parse(uri)
    }
}

impl fmt::Display for OtpauthUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Hotp { .. } => "hotp",
            Kind::Totp { .. } => "totp",
        };
        write!(f, "{SCHEME}{kind}/")?;
        if let Some(issuer) = &self.label_issuer {
            write!(f, "{}:", escape(issuer))?;
        }
        write!(
            f,
            "{}?secret={}",
            escape(&self.account),
            self.secret.base32()
        )?;
        if let Some(issuer) = &self.issuer {
            write!(f, "&issuer={}", escape(issuer))?;
        }
        if self.algorithm != Algorithm::Sha1 {
            write!(f, "&algorithm={}", self.algorithm)?;
        }
        write!(f, "&digits={}", self.digits)?;
        match self.kind {
            Kind::Hotp { counter } => write!(f, "&counter={counter}")?,
            Kind::Totp { period } => write!(f, "&period={period}")?,
        }
        self.other_parameters()
            .try_for_each(|(name, value)| write!(f, "&{}={}", escape(name), escape(value)))
    }
}

/// Escapes a part of a URI.
pub(crate) fn escape(text: &str) -> impl fmt::Display + '_ {
    utf8_percent_encode(text, ESCAPED)
}

/// Whether `new` rejects a name in the label, because parsers would split or trim it differently.
fn is_ambiguous(name: &str) -> bool {
    name.is_empty() || name.starts_with(' ') || name.contains(':')
}

fn parse_label(label: &str, at: usize) -> Result<(Option<String>, String), OtpError> {
    let (issuer, account) = match label.split_once(':') {
        Some((issuer, account)) => {
            let account_at = at + issuer.len() + 1;
            (
                Some(unescape(issuer, at)?.into_owned()),
                unescape(account, account_at)?,
            )
        }
        None => {
            let whole = unescape(label, at)?;
            let (issuer, account) = OtpauthUri::split_label(&whole);
            (
                issuer.map(ToOwned::to_owned),
                Cow::Owned(account.to_owned()),
            )
        }
    };
    Ok((issuer, account.trim_start_matches(' ').to_owned()))
}

/// The unescaped parameters of the query, each with the position of its value.
struct Parameters<'a>(BTreeMap<Cow<'a, str>, Parameter<'a>>);

impl<'a> Parameters<'a> {
    /// `start` is the position of the query in the URI.
    fn parse(query: &'a str, start: usize) -> Result<Self, OtpError> {
        let mut parameters = BTreeMap::new();
        let mut at = start;
        for part in query.split('&') {
            if !part.is_empty() {
                let (name, value) = split_optional(part, '=');
                let value_at = at + part.len() - value.len();
                let parameter = Parameter {
                    value: unescape(value, value_at)?,
                    at: value_at,
                };
                if parameters.insert(unescape(name, at)?, parameter).is_some() {
                    return Err(OtpError::UriDuplicateParameter { at });
                }
            }
            at += part.len() + 1;
        }
        Ok(Self(parameters))
    }

    fn take(&mut self, name: &'static str) -> Option<Parameter<'a>> {
        self.0.remove(name)
    }

    fn into_others(self) -> BTreeMap<String, String> {
        let other_parameters = self.0.into_iter();
        other_parameters
            .map(|(name, other)| (name.into_owned(), other.into_value()))
            .collect()
    }
}

struct Parameter<'a> {
    value: Cow<'a, str>,
    at: usize,
}

impl Parameter<'_> {
    /// Parses a decimal number without a sign.
    fn number<T: FromStr>(&self) -> Result<T, OtpError> {
        let number = self
            .value
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| self.value.parse());
        number
            .and_then(Result::ok)
            .ok_or(OtpError::UriNumber { at: self.at })
    }

    fn secret(&self) -> Result<Secret, OtpError> {
        Secret::from_base32(&self.value, Base32Profile::Lenient).map_err(|error| match error {
            OtpError::SecretEmpty => MISSING_SECRET,
            OtpError::SecretTooLong => error,
            _ => OtpError::UriSecret { at: self.at },
        })
    }

    fn into_value(mut self) -> String {
        mem::take(&mut self.value).into_owned()
    }
}

impl Drop for Parameter<'_> {
    /// Wipes a copy of the URI's text, which may be that of the secret.
    fn drop(&mut self) {
        if let Cow::Owned(text) = &mut self.value {
            text.zeroize();
        }
    }
}

/// Splits at the first `separator`. Without one, the second part is empty.
fn split_optional(text: &str, separator: char) -> (&str, &str) {
    text.split_once(separator).unwrap_or((text, ""))
}

/// Resolves the percent escapes of a part of the URI that begins at byte `start`. The part may
/// contain secrets, so the text is decoded into a buffer that never grows, which would leave a copy
/// behind.
pub(crate) fn unescape(part: &str, start: usize) -> Result<Cow<'_, str>, OtpError> {
    // The library passes invalid escapes through. A truncated one more likely means a damaged URI.
    for (index, _) in part.match_indices('%') {
        let escape = part.as_bytes().get(index + 1..index + 3);
        if !escape.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            return Err(OtpError::UriEscape { at: start + index });
        }
    }
    if !part.contains('%') {
        return Ok(Cow::Borrowed(part));
    }
    let mut bytes = Vec::with_capacity(part.len());
    bytes.extend(percent_decode_str(part));
    String::from_utf8(bytes).map(Cow::Owned).map_err(|error| {
        error.into_bytes().zeroize();
        OtpError::UriEscape { at: start }
    })
}
