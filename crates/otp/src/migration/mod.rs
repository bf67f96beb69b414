//! `otpauth-migration` URIs: the text in the QR codes with which Google Authenticator exports
//! accounts.
//!
//! The format has no specification. This module reads and writes the following:
//!
//! - `otpauth-migration://offline?data=`, then the Base64 (RFC 4648 section 4, percent-escaped,
//!   with or without padding) of a Protocol Buffers message. The message contains accounts, and the
//!   code's position in its batch. Other parameters are rejected.
//! - An account has a secret, a name (`issuer:account` or `account`), an issuer, a hash function, 6
//!   or 8 digits, and a type: HOTP with its counter, or TOTP with a step of 30 seconds. Defaults
//!   are SHA-1, six digits and TOTP.
//! - Unknown fields are skipped. A code is rejected if a field is repeated, or if a hash function,
//!   number of digits or type is unknown.
//! - A batch has up to [`Migration::MAX_CODES`] codes. [`join`] combines them, in any order.
//!
//! The dozen fields are encoded and decoded here, because the types of a Protocol Buffers library
//! would keep secrets in vectors that grow and are not wiped on drop.
//!
//! ```
//! use keyproof_otp::migration::{Migration, join};
//!
//! let code = "otpauth-migration://offline?data=\
//!     CjEKCkhlbGxvId6tvu8SGEV4YW1wbGU6YWxpY2VAZ29vZ2xlLmNvbRoHRXhhbXBsZTAC";
//! let accounts = join([Migration::parse(code)?])?;
//! assert_eq!(
//!     accounts[0].to_string(),
//!     "otpauth://totp/Example:alice@google.com?secret=JBSWY3DPEHPK3PXP&issuer=Example&digits=6&period=30"
//! );
//!
//! for code in Migration::batch(&accounts, 7)? {
//!     assert!(code.to_string().starts_with("otpauth-migration://offline?data=")); // draw as a QR code
//! }
//! # Ok::<(), keyproof_otp::OtpError>(())
//! ```

mod protobuf;

use alloc::{string::String, vec::Vec};
use core::{fmt, str::FromStr};

use data_encoding::{BASE64, BASE64_NOPAD};
use zeroize::Zeroizing;

use self::protobuf::{Field, Reader, Writer};
use crate::{
    Algorithm, Digits, OtpError, Secret,
    otpauth::{self, Kind, OtpauthUri},
};

const PREFIX: &str = "otpauth-migration://offline?data=";

/// The fields of the outer message.
mod payload {
    pub(super) const ACCOUNT: u8 = 1;
    pub(super) const VERSION: u8 = 2;
    pub(super) const BATCH_SIZE: u8 = 3;
    pub(super) const BATCH_INDEX: u8 = 4;
    pub(super) const BATCH_ID: u8 = 5;
}

/// The fields of an account.
mod account {
    pub(super) const SECRET: u8 = 1;
    pub(super) const NAME: u8 = 2;
    pub(super) const ISSUER: u8 = 3;
    pub(super) const ALGORITHM: u8 = 4;
    pub(super) const DIGITS: u8 = 5;
    pub(super) const TYPE: u8 = 6;
    pub(super) const COUNTER: u8 = 7;
}

/// One QR code of an export.
///
/// `Display` writes the URI *with the secrets*; `Debug` hides them. Parsing what `Display` writes
/// returns an equal value.
///
/// ```
/// use keyproof_otp::migration::Migration;
/// use keyproof_otp::otpauth::OtpauthUri;
///
/// let account: OtpauthUri = "otpauth://totp/alice?secret=JBSWY3DPEHPK3PXP".parse()?;
/// let codes = Migration::batch(&[account.clone()], 7)?;
/// let scanned = Migration::parse(&codes[0].to_string())?;
/// assert_eq!(scanned.accounts(), [account]);
/// assert_eq!((scanned.part().id, scanned.part().index, scanned.part().size), (7, 0, 1));
/// # Ok::<(), keyproof_otp::OtpError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    accounts: Vec<OtpauthUri>,
    part: Part,
}

/// Which part of its batch a code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Part {
    /// A number that all codes of the batch share.
    pub id: i32,
    /// The number of codes in the batch: 1 to [`Migration::MAX_CODES`].
    pub size: u8,
    /// The index of this code, from 0.
    pub index: u8,
}

impl Migration {
    /// The longest accepted message, in bytes: several times the capacity of a QR code.
    pub const MAX_MESSAGE_LEN: usize = 16 * 1024;
    /// The longest accepted URI, in bytes: that of the longest message with each symbol escaped.
    pub const MAX_URI_LEN: usize = PREFIX.len() + Self::MAX_MESSAGE_LEN.div_ceil(3) * 4 * 3;
    /// The largest number of codes in a batch: 100.
    pub const MAX_CODES: u8 = 100;
    /// The largest number of accounts that [`Migration::batch`] puts into one code, as Google
    /// Authenticator does.
    pub const ACCOUNTS_PER_CODE: usize = 10;

    /// The message length in bytes beyond which `batch` begins another code. Its Base64 would not
    /// fit a QR code if all symbols were escaped, but does with the few that usually are.
    const COMFORTABLE_LEN: usize = 1500;

    /// Parses a URI.
    ///
    /// # Errors
    ///
    /// The `Migration…` variants of [`OtpError`], but neither
    /// [`MigrationIncomplete`](OtpError::MigrationIncomplete) nor
    /// [`MigrationUnsupported`](OtpError::MigrationUnsupported);
    /// [`SecretTooLong`](OtpError::SecretTooLong) and [`UriEscape`](OtpError::UriEscape).
    pub fn parse(uri: &str) -> Result<Self, OtpError> {
        if uri.len() > Self::MAX_URI_LEN {
            return Err(OtpError::MigrationTooLong);
        }
        let (prefix, data) = uri
            .split_at_checked(PREFIX.len())
            .ok_or(OtpError::MigrationScheme)?;
        if !prefix.eq_ignore_ascii_case(PREFIX) {
            return Err(OtpError::MigrationScheme);
        }
        let escaped = otpauth::unescape(data, PREFIX.len())?;
        let text = Zeroizing::new(escaped.into_owned());
        // The library accepts padding in the middle, as in concatenated texts.
        let data = text.trim_end_matches('=');
        let encoding = if text.ends_with('=') {
            BASE64
        } else {
            BASE64_NOPAD
        };
        let wrong = OtpError::MigrationBase64 { at: PREFIX.len() };
        if data.contains('=') {
            return Err(wrong);
        }
        let len = encoding.decode_len(text.len()).map_err(|_| wrong)?;
        let mut message = Zeroizing::new(alloc::vec![0; len]);
        let len = encoding
            .decode_mut(text.as_bytes(), &mut message)
            .map_err(|_| wrong)?;
        Self::from_message(message.get(..len).unwrap_or_default())
    }

    /// Parses the message in the URI, for callers that have it in another form.
    ///
    /// # Errors
    ///
    /// The same as [`Migration::parse`], without what concerns the URI.
    pub fn from_message(message: &[u8]) -> Result<Self, OtpError> {
        if message.len() > Self::MAX_MESSAGE_LEN {
            return Err(OtpError::MigrationTooLong);
        }
        // Counted first, because a vector that grows leaves copies of secrets behind.
        let mut accounts = Vec::with_capacity(count_accounts(message)?);
        let mut seen = Seen::default();
        let [mut size, mut index, mut id] = [1, 0, 0];
        let mut reader = Reader::new(message, 0);
        while let Some(field) = reader.next()? {
            let Ok(number) = u8::try_from(field.number) else {
                continue;
            };
            match number {
                payload::ACCOUNT => {
                    let bytes = field.bytes()?;
                    accounts.push(read_account(bytes, reader.at() - bytes.len())?);
                    continue;
                }
                payload::VERSION => drop(int32(&field)?),
                payload::BATCH_SIZE => size = int32(&field)?,
                payload::BATCH_INDEX => index = int32(&field)?,
                payload::BATCH_ID => id = int32(&field)?,
                _ => continue,
            }
            seen.once(number, &field)?;
        }
        let sizes = 1..=i32::from(Self::MAX_CODES);
        // A size of 0 means a single code.
        let size = if size == 0 { 1 } else { size };
        if !sizes.contains(&size) || !(0..size).contains(&index) {
            return Err(OtpError::MigrationBatch);
        }
        let part = Part {
            id,
            size: size as u8,
            index: index as u8,
        };
        let code = Self { accounts, part };
        // Optional fields may be missing here but are always written: the result must be short
        // enough too.
        if code.message()?.len() > Self::MAX_MESSAGE_LEN {
            return Err(OtpError::MigrationTooLong);
        }
        Ok(code)
    }

    /// Distributes accounts over as many codes as they need, in order. A code has at most
    /// [`Migration::ACCOUNTS_PER_CODE`] accounts and fits a QR code. `id` distinguishes the codes of
    /// this batch from others: any number, preferably a random one.
    ///
    /// The format cannot contain other parameters ([`OtpauthUri::other_parameters`]); they are left out.
    ///
    /// # Errors
    ///
    /// [`MigrationUnsupported`](OtpError::MigrationUnsupported) if the format cannot represent an
    /// account. [`MigrationTooLong`](OtpError::MigrationTooLong) if an account is too long for a QR
    /// code, or if more than [`Migration::MAX_CODES`] codes are needed.
    pub fn batch(accounts: &[OtpauthUri], id: i32) -> Result<Vec<Self>, OtpError> {
        let mut codes: Vec<Vec<OtpauthUri>> = Vec::new();
        let mut len = 0;
        for account in accounts {
            let more = account_len(account);
            // Rejects an account that the format cannot represent.
            write_account(account)?;
            if more > Self::COMFORTABLE_LEN {
                return Err(OtpError::MigrationTooLong);
            }
            match codes.last_mut() {
                Some(code)
                    if code.len() < Self::ACCOUNTS_PER_CODE
                        && len + more <= Self::COMFORTABLE_LEN =>
                {
                    code.push(account.clone().for_export());
                    len += more;
                }
                _ => {
                    let mut code = Vec::with_capacity(Self::ACCOUNTS_PER_CODE);
                    code.push(account.clone().for_export());
                    codes.push(code);
                    len = more;
                }
            }
        }
        let size = u8::try_from(codes.len())
            .ok()
            .filter(|size| *size <= Self::MAX_CODES);
        let size = size.ok_or(OtpError::MigrationTooLong)?;
        Ok((0..size)
            .zip(codes)
            .map(|(index, accounts)| Self {
                accounts,
                part: Part { id, size, index },
            })
            .collect())
    }

    /// The accounts, in order.
    pub fn accounts(&self) -> &[OtpauthUri] {
        &self.accounts
    }

    /// Which part of its batch this code is.
    pub fn part(&self) -> Part {
        self.part
    }

    /// The message in the URI.
    fn message(&self) -> Result<Zeroizing<Vec<u8>>, OtpError> {
        let room = self.accounts.iter().map(account_len).sum::<usize>();
        let mut writer = Writer::with_capacity(room + MESSAGE_OVERHEAD);
        for account in &self.accounts {
            writer.bytes(payload::ACCOUNT, &write_account(account)?);
        }
        writer.varint(payload::VERSION, 1);
        writer.varint(payload::BATCH_SIZE, self.part.size.into());
        writer.varint(payload::BATCH_INDEX, self.part.index.into());
        writer.varint(payload::BATCH_ID, self.part.id.into());
        Ok(writer.into_bytes())
    }
}

impl FromStr for Migration {
    type Err = OtpError;

    /// The same as [`Migration::parse`].
    fn from_str(uri: &str) -> Result<Self, OtpError> {
        Self::parse(uri)
    }
}

impl fmt::Display for Migration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Both constructors accept only accounts that can be written.
        let message = self.message().map_err(|_| fmt::Error)?;
        f.write_str(PREFIX)?;
        BASE64.encode_write(&message, &mut Escaped(f))
    }
}

struct Escaped<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl fmt::Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write!(self.0, "{}", otpauth::escape(text))
    }
}

/// Combines the codes of a batch, in any order. A code given twice counts once.
///
/// # Errors
///
/// [`MigrationBatch`](OtpError::MigrationBatch) if codes belong to different batches, or if two
/// different ones claim the same index. [`MigrationIncomplete`](OtpError::MigrationIncomplete) if a
/// code is missing, or if there is none.
pub fn join(codes: impl IntoIterator<Item = Migration>) -> Result<Vec<OtpauthUri>, OtpError> {
    let mut parts: Vec<Option<Migration>> = Vec::new();
    let mut batch = None;
    for code in codes {
        let Part { id, size, index } = code.part;
        if *batch.get_or_insert((id, size)) != (id, size) {
            return Err(OtpError::MigrationBatch);
        }
        parts.resize(size.into(), None);
        match parts.get_mut(usize::from(index)) {
            Some(part @ None) => *part = Some(code),
            Some(Some(part)) if *part == code => {}
            _ => return Err(OtpError::MigrationBatch),
        }
    }
    if let Some(missing) = parts.iter().position(Option::is_none) {
        return Err(OtpError::MigrationIncomplete {
            missing: missing as u8,
        });
    }
    if parts.is_empty() {
        return Err(OtpError::MigrationIncomplete { missing: 0 });
    }
    let count = parts.iter().flatten().map(|part| part.accounts.len()).sum();
    let mut accounts = Vec::with_capacity(count);
    for part in parts.into_iter().flatten() {
        accounts.extend(part.accounts);
    }
    Ok(accounts)
}

fn count_accounts(message: &[u8]) -> Result<usize, OtpError> {
    let mut reader = Reader::new(message, 0);
    let mut count = 0;
    while let Some(field) = reader.next()? {
        count += usize::from(field.number == payload::ACCOUNT.into());
    }
    Ok(count)
}

/// The fields of a message that have been read.
#[derive(Default)]
struct Seen(u8);

impl Seen {
    fn once(&mut self, number: u8, field: &Field<'_>) -> Result<(), OtpError> {
        let bit = 1 << (number & 7);
        if self.0 & bit != 0 {
            return Err(OtpError::MigrationDuplicate { at: field.at });
        }
        self.0 |= bit;
        Ok(())
    }
}

/// Negative numbers are encoded as 64 bits.
fn int32(field: &Field<'_>) -> Result<i32, OtpError> {
    let value = field.varint()?.cast_signed();
    i32::try_from(value).map_err(|_| OtpError::MigrationValue { at: field.at })
}

fn read_account(message: &[u8], at: usize) -> Result<OtpauthUri, OtpError> {
    let mut reader = Reader::new(message, at);
    let mut seen = Seen::default();
    let (mut secret, mut name, mut issuer) = (None, "", "");
    let (mut algorithm, mut digits) = (Algorithm::Sha1, Digits::SIX);
    let (mut is_hotp, mut counter) = (false, 0);
    while let Some(field) = reader.next()? {
        let Ok(number) = u8::try_from(field.number) else {
            continue;
        };
        let wrong = OtpError::MigrationValue { at: field.at };
        let text = || str::from_utf8(field.bytes()?).map_err(|_| wrong);
        match number {
            account::SECRET => {
                let bytes = field.bytes()?;
                // An empty field is the same as none.
                if !bytes.is_empty() {
                    secret = Some(Secret::from_bytes(bytes)?);
                }
            }
            account::NAME => name = text()?,
            account::ISSUER => issuer = text()?,
            account::ALGORITHM => {
                algorithm = match field.varint()? {
                    0 | 1 => Algorithm::Sha1,
                    2 => Algorithm::Sha256,
                    3 => Algorithm::Sha512,
                    // 4 is MD5.
                    _ => return Err(wrong),
                }
            }
            account::DIGITS => {
                digits = match field.varint()? {
                    0 | 1 => Digits::SIX,
                    2 => Digits::EIGHT,
                    _ => return Err(wrong),
                }
            }
            account::TYPE => {
                is_hotp = match field.varint()? {
                    1 => true,
                    0 | 2 => false,
                    _ => return Err(wrong),
                }
            }
            account::COUNTER => {
                let value = field.varint()?;
                counter = u64::try_from(value.cast_signed()).map_err(|_| wrong)?;
            }
            _ => continue,
        }
        seen.once(number, &field)?;
    }
    let secret = secret.ok_or(OtpError::MigrationSecret { at })?;
    let kind = if is_hotp {
        Kind::Hotp { counter }
    } else {
        Kind::TOTP
    };
    let issuer = Some(issuer).filter(|issuer| !issuer.is_empty());
    let uri = OtpauthUri::labelled(kind, name, issuer, secret);
    Ok(uri.with_algorithm(algorithm).with_digits(digits))
}

fn write_account(account: &OtpauthUri) -> Result<Zeroizing<Vec<u8>>, OtpError> {
    let unsupported = |what| Err(OtpError::MigrationUnsupported { what });
    let digits = match account.digits() {
        Digits::SIX => 1,
        Digits::EIGHT => 2,
        _ => return unsupported("digits"),
    };
    let algorithm = match account.algorithm() {
        Algorithm::Sha1 => 1,
        Algorithm::Sha256 => 2,
        Algorithm::Sha512 => 3,
    };
    let counter = match account.kind() {
        Kind::Hotp { counter } => match i64::try_from(counter) {
            Ok(counter) => Some(counter),
            Err(_) => return unsupported("counter"),
        },
        Kind::TOTP => None,
        Kind::Totp { .. } => return unsupported("period"),
    };
    let name = name(account);
    if OtpauthUri::split_label(&name) != (account.label_issuer(), account.account()) {
        return unsupported("label");
    }
    let mut writer = Writer::with_capacity(account_len(account));
    writer.bytes(account::SECRET, account.secret().as_bytes());
    writer.bytes(account::NAME, name.as_bytes());
    if let Some(issuer) = account.issuer_parameter() {
        writer.bytes(account::ISSUER, issuer.as_bytes());
    }
    writer.varint(account::ALGORITHM, algorithm);
    writer.varint(account::DIGITS, digits);
    writer.varint(account::TYPE, if counter.is_some() { 1 } else { 2 });
    if let Some(counter) = counter {
        writer.varint(account::COUNTER, counter);
    }
    Ok(writer.into_bytes())
}

fn name(account: &OtpauthUri) -> String {
    let mut name = String::new();
    if let Some(issuer) = account.label_issuer() {
        name.push_str(issuer);
        name.push(':');
    }
    name.push_str(account.account());
    name
}

/// The largest size of a message without accounts: four numbers with their tags.
const MESSAGE_OVERHEAD: usize = 4 * 11;

/// An upper bound for an account's length in its message: three texts with their tags and lengths,
/// and four numbers, one of them of ten bytes.
fn account_len(account: &OtpauthUri) -> usize {
    let texts = [
        account.label_issuer(),
        Some(account.account()),
        account.issuer_parameter(),
    ];
    let texts: usize = texts.into_iter().flatten().map(str::len).sum();
    account.secret().as_bytes().len() + texts + 64
}
