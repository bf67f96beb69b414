//! Keys that are derived from passwords.

use alloc::{string::String, vec::Vec};

use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use super::{Cipher, MacAlgorithm};
use crate::{
    PskcError, WriteError,
    xml::{Element, PKCS5, PSKC, XENC, XENC11, decimal, once},
};

/// The pseudorandom function of PBKDF2: any of the HMACs.
pub type Prf = MacAlgorithm;

/// PBKDF2 (RFC 8018 section 5.2) with a container's parameters, which are within bounds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyDerivation {
    salt: Vec<u8>,
    iterations: u32,
    key_len: usize,
    prf: Prf,
    names: Vec<String>,
}

impl KeyDerivation {
    /// The largest accepted number of iterations: 10 million, some seconds of work.
    pub const MAX_ITERATIONS: u32 = 10_000_000;
    /// The length of the shortest salt, in bytes: 8, as RFC 8018 section 4.1 requires.
    pub const MIN_SALT_LEN: usize = 8;
    /// The length of the longest salt, in bytes.
    pub const MAX_SALT_LEN: usize = 1024;
    /// The identifier in RFC 6030 section 6.2.
    pub(crate) const PBKDF2: &str =
        "http://www.rsasecurity.com/rsalabs/pkcs/schemas/pkcs-5v2-0#pbkdf2";

    /// Creates a derivation of keys for a cipher, with the [recommended
    /// iterations](MacAlgorithm::recommended_iterations). The salt must be random, and different
    /// for each container.
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
    /// [`WriteError::KeyDerivation`] if the salt does not have [`KeyDerivation::MIN_SALT_LEN`] to
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

    /// Sets the number of iterations, for example for a slow reader.
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

    /// Sets the name that both sides use for the password.
    #[must_use = "only what it returns has the setting"]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.names = Vec::from([name.into()]);
        self
    }

    /// The salt.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// The number of iterations: 1 to [`KeyDerivation::MAX_ITERATIONS`].
    pub const fn iterations(&self) -> u32 {
        self.iterations
    }

    /// The length of the key in bytes: 16, 24 or 32.
    pub const fn key_len(&self) -> usize {
        self.key_len
    }

    /// The pseudorandom function: HMAC-SHA-1 if the container names none.
    pub const fn prf(&self) -> Prf {
        self.prf
    }

    /// The container's names for the password.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Parses an `xenc11:DerivedKey`.
    pub(crate) fn read(element: Element<'_, '_>) -> Result<Self, PskcError> {
        let (mut method, mut names) = (None, Vec::new());
        for child in element.children()? {
            match (child.namespace(), child.name()) {
                (XENC11, "KeyDerivationMethod") => once(&mut method, child, child)?,
                (XENC11, "MasterKeyName" | "DerivedKeyName") => names.push(child.owned_text()?),
                // The values encrypted with this key, which all encrypted values are.
                (XENC, "ReferenceList") => {}
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
            return Err(PskcError::algorithm(uri, method.at()));
        }
        Self::read_parameters(method, names)
    }

    /// RFC 6030 figure 7 has the parameters in PKCS #5's namespace and their children in none. XML
    /// Encryption 1.1 has all in its own. With other writers, the children inherit the container's.
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
                        let bytes = source.base64()?;
                        once(&mut specified, bytes, source)?;
                    }
                    let specified = specified.ok_or(out_of_range("salt"))?;
                    once(&mut salt, specified.to_vec(), child)?;
                }
                "IterationCount" => once(&mut iterations, number()?, child)?,
                "KeyLength" => once(&mut key_len, number()?, child)?,
                "PRF" => {
                    // Figure 7 has it empty, which means the default. python-pskc writes the
                    // identifier as its text and not as the attribute.
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
