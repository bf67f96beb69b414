//! The algorithms that protect values: ciphers, authentication codes, key derivation.

use alloc::string::String;
use alloc::vec::Vec;
use core::{fmt, mem};

use aes::{Aes128, Aes192, Aes256};
use aes_kw::{AesKw, AesKwp};
use cbc::cipher::block_padding::{NoPadding, Pkcs7};
use cbc::cipher::consts::U16;
use cbc::cipher::{
    BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, KeyInit, KeyIvInit,
};
use cbc::{Decryptor, Encryptor};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use zeroize::{Zeroize, Zeroizing};

use crate::xml::{Element, PKCS5, PSKC, XENC11, decimal, once};
use crate::{PskcError, WriteError};

/// How values are encrypted (XML Encryption sections 5.2 and 5.6).
///
/// ```
/// use keyproof_pskc::Cipher;
///
/// assert_eq!((Cipher::Aes128Cbc.key_len(), Cipher::Aes256KeyWrap.key_len()), (16, 32));
/// // Without an authentication code of the container's, CBC is refused.
/// assert!(!Cipher::Aes128Cbc.is_authenticated() && Cipher::Aes256KeyWrap.is_authenticated());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cipher {
    /// `xmlenc#aes128-cbc`: AES-128 in CBC mode, the one that RFC 6030 asks everybody for.
    Aes128Cbc,
    /// `xmlenc#aes192-cbc`: AES-192 in CBC mode.
    Aes192Cbc,
    /// `xmlenc#aes256-cbc`: AES-256 in CBC mode.
    Aes256Cbc,
    /// `xmlenc#kw-aes128`: AES-128 key wrap (RFC 3394).
    Aes128KeyWrap,
    /// `xmlenc#kw-aes192`: AES-192 key wrap.
    Aes192KeyWrap,
    /// `xmlenc#kw-aes256`: AES-256 key wrap.
    Aes256KeyWrap,
    /// `xmlenc11#kw-aes-128-pad`: AES-128 key wrap with padding (RFC 5649), for keys of any length.
    Aes128KeyWrapPad,
    /// `xmlenc11#kw-aes-192-pad`: AES-192 key wrap with padding.
    Aes192KeyWrapPad,
    /// `xmlenc11#kw-aes-256-pad`: AES-256 key wrap with padding.
    Aes256KeyWrapPad,
}

impl Cipher {
    const ALL: [Self; 9] = [
        Self::Aes128Cbc,
        Self::Aes192Cbc,
        Self::Aes256Cbc,
        Self::Aes128KeyWrap,
        Self::Aes192KeyWrap,
        Self::Aes256KeyWrap,
        Self::Aes128KeyWrapPad,
        Self::Aes192KeyWrapPad,
        Self::Aes256KeyWrapPad,
    ];

    /// The identifier in a container.
    pub const fn uri(self) -> &'static str {
        match self {
            Self::Aes128Cbc => "http://www.w3.org/2001/04/xmlenc#aes128-cbc",
            Self::Aes192Cbc => "http://www.w3.org/2001/04/xmlenc#aes192-cbc",
            Self::Aes256Cbc => "http://www.w3.org/2001/04/xmlenc#aes256-cbc",
            Self::Aes128KeyWrap => "http://www.w3.org/2001/04/xmlenc#kw-aes128",
            Self::Aes192KeyWrap => "http://www.w3.org/2001/04/xmlenc#kw-aes192",
            Self::Aes256KeyWrap => "http://www.w3.org/2001/04/xmlenc#kw-aes256",
            Self::Aes128KeyWrapPad => "http://www.w3.org/2009/xmlenc11#kw-aes-128-pad",
            Self::Aes192KeyWrapPad => "http://www.w3.org/2009/xmlenc11#kw-aes-192-pad",
            Self::Aes256KeyWrapPad => "http://www.w3.org/2009/xmlenc11#kw-aes-256-pad",
        }
    }

    /// How many bytes its keys have.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128Cbc | Self::Aes128KeyWrap | Self::Aes128KeyWrapPad => 16,
            Self::Aes192Cbc | Self::Aes192KeyWrap | Self::Aes192KeyWrapPad => 24,
            Self::Aes256Cbc | Self::Aes256KeyWrap | Self::Aes256KeyWrapPad => 32,
        }
    }

    /// Whether decrypting shows by itself that a value was changed. Where it does not, RFC 6030
    /// section 6.1.1 asks for an authentication code.
    pub const fn is_authenticated(self) -> bool {
        !matches!(self, Self::Aes128Cbc | Self::Aes192Cbc | Self::Aes256Cbc)
    }

    pub(crate) fn read(element: Element<'_, '_>) -> Result<Self, PskcError> {
        let uri = element.needed("Algorithm")?;
        Self::ALL
            .into_iter()
            .find(|cipher| cipher.uri() == uri)
            .ok_or_else(|| unsupported(uri, element.at()))
    }

    /// Whether it makes values of this length: an initialisation vector and at least a block; at
    /// least two halves of one and the check value; or, with padding, one half and the check value.
    pub(crate) const fn makes(self, len: usize) -> bool {
        match self {
            Self::Aes128Cbc | Self::Aes192Cbc | Self::Aes256Cbc => {
                len >= 32 && len.is_multiple_of(16)
            }
            Self::Aes128KeyWrap | Self::Aes192KeyWrap | Self::Aes256KeyWrap => {
                len >= 24 && len.is_multiple_of(8)
            }
            Self::Aes128KeyWrapPad | Self::Aes192KeyWrapPad | Self::Aes256KeyWrapPad => {
                len >= 16 && len.is_multiple_of(8)
            }
        }
    }

    /// Decrypts a value of a length that [`Cipher::makes`].
    pub(crate) fn decrypt(self, key: &[u8], value: &[u8]) -> Result<Zeroizing<Vec<u8>>, PskcError> {
        if key.len() != self.key_len() {
            return Err(PskcError::KeyLength {
                cipher: self,
                expected: self.key_len(),
                found: key.len(),
            });
        }
        let decrypted = match self {
            Self::Aes128Cbc => decrypt_cbc::<Aes128>(key, value),
            Self::Aes192Cbc => decrypt_cbc::<Aes192>(key, value),
            Self::Aes256Cbc => decrypt_cbc::<Aes256>(key, value),
            Self::Aes128KeyWrap => unwrap_key::<Aes128>(key, value),
            Self::Aes192KeyWrap => unwrap_key::<Aes192>(key, value),
            Self::Aes256KeyWrap => unwrap_key::<Aes256>(key, value),
            Self::Aes128KeyWrapPad => unwrap_padded_key::<Aes128>(key, value),
            Self::Aes192KeyWrapPad => unwrap_padded_key::<Aes192>(key, value),
            Self::Aes256KeyWrapPad => unwrap_padded_key::<Aes256>(key, value),
        };
        decrypted.ok_or(PskcError::Authentication)
    }

    /// Encrypts a value under a key of [`Cipher::key_len`] bytes; CBC asks `random` for its
    /// initialisation vector. None for a value of a length that it does not take: key wrap takes
    /// half blocks, two of them at least, and none but CBC nothing.
    pub(crate) fn encrypt(
        self,
        key: &[u8],
        value: &[u8],
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Option<Vec<u8>> {
        match self {
            Self::Aes128Cbc => encrypt_cbc::<Aes128>(key, value, random),
            Self::Aes192Cbc => encrypt_cbc::<Aes192>(key, value, random),
            Self::Aes256Cbc => encrypt_cbc::<Aes256>(key, value, random),
            Self::Aes128KeyWrap => wrap_key::<Aes128>(key, value),
            Self::Aes192KeyWrap => wrap_key::<Aes192>(key, value),
            Self::Aes256KeyWrap => wrap_key::<Aes256>(key, value),
            Self::Aes128KeyWrapPad => wrap_padded_key::<Aes128>(key, value),
            Self::Aes192KeyWrapPad => wrap_padded_key::<Aes192>(key, value),
            Self::Aes256KeyWrapPad => wrap_padded_key::<Aes256>(key, value),
        }
    }
}

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.uri().rsplit('#').next().unwrap_or_default())
    }
}

/// The first block is the initialisation vector, and the last byte says how many bytes of padding
/// there are; what the others of them are says nothing (XML Encryption section 5.2).
fn decrypt_cbc<C>(key: &[u8], value: &[u8]) -> Option<Zeroizing<Vec<u8>>>
where
    C: BlockCipherDecrypt + KeyInit,
{
    let (iv, blocks) = value.split_at_checked(16)?;
    let mut blocks = Zeroizing::new(Vec::from(blocks));
    let decryptor = Decryptor::<C>::new_from_slices(key, iv).ok()?;
    decryptor.decrypt_padded::<NoPadding>(&mut blocks).ok()?;
    let padding = usize::from(*blocks.last()?);
    let len = blocks.len().checked_sub(padding)?;
    if !(1..=16).contains(&padding) {
        return None;
    }
    blocks.get_mut(len..)?.zeroize();
    blocks.truncate(len);
    Some(blocks)
}

fn unwrap_key<C>(key: &[u8], value: &[u8]) -> Option<Zeroizing<Vec<u8>>>
where
    C: BlockCipherDecrypt<BlockSize = U16> + KeyInit,
{
    let mut unwrapped = Zeroizing::new(alloc::vec![0; value.len().checked_sub(8)?]);
    let cipher = AesKw::<C>::new_from_slice(key).ok()?;
    cipher.unwrap_key(value, &mut unwrapped).ok()?;
    Some(unwrapped)
}

fn unwrap_padded_key<C>(key: &[u8], value: &[u8]) -> Option<Zeroizing<Vec<u8>>>
where
    C: BlockCipherDecrypt<BlockSize = U16> + KeyInit,
{
    let mut unwrapped = Zeroizing::new(alloc::vec![0; value.len()]);
    let cipher = AesKwp::<C>::new_from_slice(key).ok()?;
    let len = cipher.unwrap_key(value, &mut unwrapped).ok()?.len();
    unwrapped.truncate(len);
    Some(unwrapped)
}

/// The value is padded as PKCS #7 has it, which XML Encryption section 5.2 takes, too.
fn encrypt_cbc<C>(key: &[u8], value: &[u8], random: &mut dyn FnMut(&mut [u8])) -> Option<Vec<u8>>
where
    C: BlockCipherEncrypt + KeyInit,
{
    // Overwritten by what it is encrypted to; wiped if it is not.
    let mut sealed = Zeroizing::new(alloc::vec![0; 16 + (value.len() / 16 + 1) * 16]);
    let (iv, blocks) = sealed.split_at_mut_checked(16)?;
    random(iv);
    blocks.get_mut(..value.len())?.copy_from_slice(value);
    let encryptor = Encryptor::<C>::new_from_slices(key, iv).ok()?;
    encryptor
        .encrypt_padded::<Pkcs7>(blocks, value.len())
        .ok()?;
    Some(mem::take(&mut *sealed))
}

fn wrap_key<C>(key: &[u8], value: &[u8]) -> Option<Vec<u8>>
where
    C: BlockCipherEncrypt<BlockSize = U16> + KeyInit,
{
    // RFC 3394 section 2 begins at two halves of a block; the library takes fewer.
    if value.len() < 16 {
        return None;
    }
    let mut wrapped = alloc::vec![0; value.len() + 8];
    let cipher = AesKw::<C>::new_from_slice(key).ok()?;
    cipher.wrap_key(value, &mut wrapped).ok()?;
    Some(wrapped)
}

fn wrap_padded_key<C>(key: &[u8], value: &[u8]) -> Option<Vec<u8>>
where
    C: BlockCipherEncrypt<BlockSize = U16> + KeyInit,
{
    if value.is_empty() {
        return None;
    }
    let mut wrapped = alloc::vec![0; value.len().next_multiple_of(8) + 8];
    let cipher = AesKwp::<C>::new_from_slice(key).ok()?;
    cipher.wrap_key(value, &mut wrapped).ok()?;
    Some(wrapped)
}

/// How values are authenticated: HMAC (RFC 2104).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MacAlgorithm {
    /// `xmldsig#hmac-sha1`, the one that RFC 6030 asks everybody for.
    HmacSha1,
    /// `xmldsig-more#hmac-sha256`.
    HmacSha256,
    /// `xmldsig-more#hmac-sha384`.
    HmacSha384,
    /// `xmldsig-more#hmac-sha512`.
    HmacSha512,
}

impl MacAlgorithm {
    const ALL: [Self; 4] = [
        Self::HmacSha1,
        Self::HmacSha256,
        Self::HmacSha384,
        Self::HmacSha512,
    ];

    /// The identifier in a container.
    pub const fn uri(self) -> &'static str {
        match self {
            Self::HmacSha1 => "http://www.w3.org/2000/09/xmldsig#hmac-sha1",
            Self::HmacSha256 => "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256",
            Self::HmacSha384 => "http://www.w3.org/2001/04/xmldsig-more#hmac-sha384",
            Self::HmacSha512 => "http://www.w3.org/2001/04/xmldsig-more#hmac-sha512",
        }
    }

    /// How many iterations of PBKDF2 over it OWASP recommends (Password Storage Cheat Sheet, 2023):
    /// 600,000 for HMAC-SHA-256.
    pub const fn recommended_iterations(self) -> u32 {
        match self {
            Self::HmacSha1 => 1_300_000,
            Self::HmacSha256 => 600_000,
            Self::HmacSha384 | Self::HmacSha512 => 210_000,
        }
    }

    /// How many bytes its codes have.
    pub(crate) const fn code_len(self) -> usize {
        match self {
            Self::HmacSha1 => 20,
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }

    pub(crate) fn of(uri: &str, at: usize) -> Result<Self, PskcError> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.uri() == uri)
            .ok_or_else(|| unsupported(uri, at))
    }

    /// The code of a value.
    pub(crate) fn code(self, key: &[u8], value: &[u8]) -> Vec<u8> {
        match self {
            Self::HmacSha1 => code::<Hmac<Sha1>>(key, value),
            Self::HmacSha256 => code::<Hmac<Sha256>>(key, value),
            Self::HmacSha384 => code::<Hmac<Sha384>>(key, value),
            Self::HmacSha512 => code::<Hmac<Sha512>>(key, value),
        }
    }

    /// In constant time, and over the whole code: a shorter one is refused.
    pub(crate) fn verify(self, key: &[u8], value: &[u8], code: &[u8]) -> Result<(), PskcError> {
        let verified = match self {
            Self::HmacSha1 => verify::<Hmac<Sha1>>(key, value, code),
            Self::HmacSha256 => verify::<Hmac<Sha256>>(key, value, code),
            Self::HmacSha384 => verify::<Hmac<Sha384>>(key, value, code),
            Self::HmacSha512 => verify::<Hmac<Sha512>>(key, value, code),
        };
        if verified {
            Ok(())
        } else {
            Err(PskcError::Authentication)
        }
    }
}

/// HMAC takes keys of any length.
fn code<M: Mac + KeyInit>(key: &[u8], value: &[u8]) -> Vec<u8> {
    <M as KeyInit>::new_from_slice(key).map_or_else(
        |_| Vec::new(),
        |mac| mac.chain_update(value).finalize().into_bytes().to_vec(),
    )
}

/// Such as `hmac-sha256`.
impl fmt::Display for MacAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.uri().rsplit('#').next().unwrap_or_default())
    }
}

fn verify<M: Mac + KeyInit>(key: &[u8], value: &[u8], code: &[u8]) -> bool {
    <M as KeyInit>::new_from_slice(key)
        .is_ok_and(|mac| mac.chain_update(value).verify_slice(code).is_ok())
}

/// The function under PBKDF2: any of the HMACs.
pub type Prf = MacAlgorithm;

/// PBKDF2 (RFC 8018 section 5.2) with the parameters of a container, which are within bounds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyDerivation {
    salt: Vec<u8>,
    iterations: u32,
    key_len: usize,
    prf: Prf,
    names: Vec<String>,
}

impl KeyDerivation {
    /// The most iterations that are carried out: 10 million, some seconds of work.
    pub const MAX_ITERATIONS: u32 = 10_000_000;
    /// The shortest salt, in bytes: 8, as RFC 8018 section 4.1 asks for.
    pub const MIN_SALT_LEN: usize = 8;
    /// The longest salt, in bytes.
    pub const MAX_SALT_LEN: usize = 1024;
    /// What RFC 6030 section 6.2 calls it.
    pub(crate) const PBKDF2: &str =
        "http://www.rsasecurity.com/rsalabs/pkcs/schemas/pkcs-5v2-0#pbkdf2";

    /// A derivation of keys for a cipher, with
    /// [as many iterations as are recommended](MacAlgorithm::recommended_iterations). The salt is
    /// random, and another one for each container.
    ///
    /// ```
    /// use keyproof_pskc::{Cipher, KeyDerivation, Prf};
    ///
    /// # let random_bytes = [7; 16];
    /// let derivation = KeyDerivation::new(Cipher::Aes256Cbc, Prf::HmacSha256, &random_bytes)?;
    /// assert_eq!((derivation.key_len(), derivation.iterations()), (32, 600_000));
    /// assert!(KeyDerivation::new(Cipher::Aes256Cbc, Prf::HmacSha256, b"short").is_err());
    /// # Ok::<(), keyproof_pskc::WriteError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`WriteError::KeyDerivation`] if the salt is not of [`KeyDerivation::MIN_SALT_LEN`] to
    /// [`KeyDerivation::MAX_SALT_LEN`] bytes.
    pub fn new(cipher: Cipher, prf: Prf, salt: &[u8]) -> Result<Self, WriteError> {
        if !(Self::MIN_SALT_LEN..=Self::MAX_SALT_LEN).contains(&salt.len()) {
            return Err(WriteError::KeyDerivation { what: "salt" });
        }
        Ok(Self {
            salt: Vec::from(salt),
            iterations: prf.recommended_iterations(),
            key_len: cipher.key_len(),
            prf,
            names: Vec::new(),
        })
    }

    /// The same with another number of iterations, for a reader that is slow.
    ///
    /// # Errors
    ///
    /// [`WriteError::KeyDerivation`] if it is 0 or above [`KeyDerivation::MAX_ITERATIONS`].
    pub fn with_iterations(mut self, iterations: u32) -> Result<Self, WriteError> {
        if !(1..=Self::MAX_ITERATIONS).contains(&iterations) {
            return Err(WriteError::KeyDerivation { what: "iterations" });
        }
        self.iterations = iterations;
        Ok(self)
    }

    /// The same with what both sides call the password.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.names = Vec::from([name.into()]);
        self
    }

    /// The salt.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// How many iterations: 1 to [`KeyDerivation::MAX_ITERATIONS`].
    pub const fn iterations(&self) -> u32 {
        self.iterations
    }

    /// How many bytes the key has: 16, 24 or 32.
    pub const fn key_len(&self) -> usize {
        self.key_len
    }

    /// The function underneath: HMAC-SHA-1 unless the container names another.
    pub const fn prf(&self) -> Prf {
        self.prf
    }

    /// What the container calls the password.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Reads an `xenc11:DerivedKey`.
    pub(crate) fn read(element: Element<'_, '_>) -> Result<Self, PskcError> {
        let (mut method, mut names) = (None, Vec::new());
        for child in element.children()? {
            match (child.namespace(), child.name()) {
                (XENC11, "KeyDerivationMethod") => once(&mut method, child, child)?,
                (XENC11, "MasterKeyName" | "DerivedKeyName") => names.push(child.owned_text()?),
                // What is encrypted with it, which every encrypted value is.
                (crate::xml::XENC, "ReferenceList") => {}
                _ => return Err(child.unexpected()),
            }
        }
        let name = "KeyDerivationMethod";
        let method = method.ok_or(PskcError::MissingElement {
            name,
            at: element.at(),
        })?;
        let uri = method.needed("Algorithm")?;
        let known = [
            Self::PBKDF2,
            "http://www.rsasecurity.com/rsalabs/pkcs/schemas/pkcs-5#pbkdf2",
            "http://www.w3.org/2009/xmlenc11#pbkdf2",
        ];
        if !known.contains(&uri) {
            return Err(unsupported(uri, method.at()));
        }
        Self::read_parameters(method, names)
    }

    /// RFC 6030 figure 7 has the parameters in PKCS #5's namespace and what is in them in none,
    /// XML Encryption 1.1 all in its own; others inherit the container's.
    fn read_parameters(method: Element<'_, '_>, names: Vec<String>) -> Result<Self, PskcError> {
        let mut parameters = None;
        for child in method.children()? {
            if !matches!(child.namespace(), PKCS5 | XENC11) || child.name() != "PBKDF2-params" {
                return Err(child.unexpected());
            }
            once(&mut parameters, child, child)?;
        }
        let name = "PBKDF2-params";
        let parameters = parameters.ok_or(PskcError::MissingElement {
            name,
            at: method.at(),
        })?;
        let at = parameters.at();
        let out_of_range = |what| PskcError::KeyDerivation { what, at };
        let (mut salt, mut iterations, mut key_len, mut prf) = (None, None, None, None);
        for child in parameters.children()? {
            if !matches!(child.namespace(), "" | PKCS5 | PSKC | XENC11) {
                return Err(child.unexpected());
            }
            let number = || decimal(child.text()?).ok_or(PskcError::Number { at: child.at() });
            match child.name() {
                "Salt" => {
                    let mut specified = None;
                    for source in child.children()? {
                        if source.name() != "Specified" || source.namespace() != child.namespace() {
                            return Err(source.unexpected());
                        }
                        let bytes = base64(source)?;
                        once(&mut specified, bytes, source)?;
                    }
                    let specified = specified.ok_or(out_of_range("salt"))?;
                    once(&mut salt, specified.to_vec(), child)?;
                }
                "IterationCount" => once(&mut iterations, number()?, child)?,
                "KeyLength" => once(&mut key_len, number()?, child)?,
                "PRF" => {
                    // Figure 7 has it without saying which, and means the default; python-pskc
                    // writes as its text what is the attribute's.
                    let text = Some(child.text()?).filter(|text| !text.is_empty());
                    let uri = match (child.attribute("Algorithm"), text) {
                        (Some(_), Some(_)) => return Err(PskcError::Text { at: child.at() }),
                        (attribute, text) => attribute.or(text),
                    };
                    let named = uri.map(|uri| Prf::of(uri, child.at()));
                    once(&mut prf, named.transpose()?.unwrap_or(Prf::HmacSha1), child)?;
                }
                _ => return Err(child.unexpected()),
            }
        }
        let salt = salt.ok_or(out_of_range("salt"))?;
        if !(Self::MIN_SALT_LEN..=Self::MAX_SALT_LEN).contains(&salt.len()) {
            return Err(out_of_range("salt"));
        }
        let iterations = iterations
            .and_then(|count| u32::try_from(count).ok())
            .filter(|count| (1..=Self::MAX_ITERATIONS).contains(count));
        let key_len = match key_len {
            Some(len @ (16 | 24 | 32)) => len as usize,
            _ => return Err(out_of_range("key length")),
        };
        Ok(Self {
            salt,
            iterations: iterations.ok_or(out_of_range("iterations"))?,
            key_len,
            prf: prf.unwrap_or(Prf::HmacSha1),
            names,
        })
    }

    pub(crate) fn derive(&self, password: &str) -> Zeroizing<Vec<u8>> {
        let mut key = Zeroizing::new(alloc::vec![0; self.key_len]);
        let (password, rounds) = (password.as_bytes(), self.iterations);
        match self.prf {
            Prf::HmacSha1 => pbkdf2::pbkdf2_hmac::<Sha1>(password, &self.salt, rounds, &mut key),
            Prf::HmacSha256 => {
                pbkdf2::pbkdf2_hmac::<Sha256>(password, &self.salt, rounds, &mut key)
            }
            Prf::HmacSha384 => {
                pbkdf2::pbkdf2_hmac::<Sha384>(password, &self.salt, rounds, &mut key)
            }
            Prf::HmacSha512 => {
                pbkdf2::pbkdf2_hmac::<Sha512>(password, &self.salt, rounds, &mut key)
            }
        }
        key
    }
}

fn unsupported(uri: &str, at: usize) -> PskcError {
    let uri = uri.chars().take(100).collect();
    PskcError::Algorithm { uri, at }
}

/// Base64 with its padding, blanks anywhere.
pub(crate) fn base64(element: Element<'_, '_>) -> Result<Zeroizing<Vec<u8>>, PskcError> {
    let text = element.text()?;
    let mut symbols = Zeroizing::new(Vec::with_capacity(text.len()));
    symbols.extend(
        text.bytes()
            .filter(|byte| !crate::xml::is_blank(char::from(*byte))),
    );
    let wrong = PskcError::Base64 { at: element.at() };
    // The library takes padding in the middle, as of texts one after another.
    let data = symbols
        .iter()
        .position(|symbol| *symbol == b'=')
        .unwrap_or(symbols.len());
    if symbols.len() - data > 2 {
        return Err(wrong);
    }
    let Ok(len) = data_encoding::BASE64.decode_len(symbols.len()) else {
        return Err(wrong);
    };
    let mut bytes = Zeroizing::new(alloc::vec![0; len]);
    match data_encoding::BASE64.decode_mut(&symbols, &mut bytes) {
        Ok(len) => {
            bytes.truncate(len);
            Ok(bytes)
        }
        Err(_) => Err(wrong),
    }
}
