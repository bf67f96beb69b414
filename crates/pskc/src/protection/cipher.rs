//! The ciphers that encrypt values: identifiers, key lengths and value lengths.

use core::fmt;

use crate::{PskcError, xml::Element};

/// The algorithm that encrypts values (XML Encryption sections 5.2 and 5.6).
///
/// Every reader supports AES-128 in CBC mode. Prefer key wrap with padding where the reader supports it: with CBC, whoever
/// knows one secret of a container and can change the container can make its authentication codes, because RFC 6030
/// encrypts their key with CBC and without a code.
///
/// ```
/// use keyproof_pskc::Cipher;
///
/// assert_eq!((Cipher::Aes128Cbc.key_len(), Cipher::Aes256KeyWrap.key_len()), (16, 32));
/// // CBC is rejected unless the container has an authentication code.
/// assert!(!Cipher::Aes128Cbc.is_authenticated() && Cipher::Aes256KeyWrap.is_authenticated());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cipher {
    /// `xmlenc#aes128-cbc`: AES-128 in CBC mode, which RFC 6030 requires everybody to support.
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

    /// The length of the key in bytes.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128Cbc | Self::Aes128KeyWrap | Self::Aes128KeyWrapPad => 16,
            Self::Aes192Cbc | Self::Aes192KeyWrap | Self::Aes192KeyWrapPad => 24,
            Self::Aes256Cbc | Self::Aes256KeyWrap | Self::Aes256KeyWrapPad => 32,
        }
    }

    /// Whether decryption itself detects a changed value. If not, RFC 6030 section 6.1.1 requires
    /// an authentication code.
    pub const fn is_authenticated(self) -> bool {
        !matches!(self, Self::Aes128Cbc | Self::Aes192Cbc | Self::Aes256Cbc)
    }

    pub(crate) fn read(element: Element<'_, '_>) -> Result<Self, PskcError> {
        let uri = element.needed("Algorithm")?;
        Self::ALL
            .into_iter()
            .find(|cipher| cipher.uri() == uri)
            .ok_or_else(|| PskcError::algorithm(uri, element.at()))
    }

    /// Whether the cipher produces values of this length. CBC: an initialisation vector and at
    /// least one block. Key wrap: at least two half blocks and the check value; with padding, at
    /// least one half block and the check value.
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
}

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.uri().rsplit('#').next().unwrap_or_default())
    }
}
