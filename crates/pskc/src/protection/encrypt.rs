//! Encryption of values.

use alloc::vec::Vec;
use core::mem;

use aes::{Aes128, Aes192, Aes256};
use aes_kw::{AesKw, AesKwp};
use cbc::{
    Encryptor,
    cipher::{
        BlockCipherEncrypt, BlockModeEncrypt, KeyInit, KeyIvInit, block_padding::Pkcs7, consts::U16,
    },
};
use zeroize::Zeroizing;

use super::Cipher;
use crate::writer::{Random, WriteError};

impl Cipher {
    /// Encrypts a value with a key of [`Cipher::key_len`] bytes. CBC takes its initialisation
    /// vector from `random`. Returns `None` if the cipher does not accept the value's length: key
    /// wrap requires whole half blocks, at least two of them, and only CBC accepts an empty value.
    ///
    /// # Errors
    ///
    /// The error of `random`.
    pub(crate) fn encrypt(
        self,
        key: &[u8],
        value: &[u8],
        random: &mut Random<'_>,
    ) -> Result<Option<Vec<u8>>, WriteError> {
        let mut iv = [0; 16];
        if !self.is_authenticated() {
            random(&mut iv)?;
        }
        Ok(match self {
            Self::Aes128Cbc => encrypt_cbc::<Aes128>(key, iv, value),
            Self::Aes192Cbc => encrypt_cbc::<Aes192>(key, iv, value),
            Self::Aes256Cbc => encrypt_cbc::<Aes256>(key, iv, value),
            Self::Aes128KeyWrap => wrap_key::<Aes128>(key, value),
            Self::Aes192KeyWrap => wrap_key::<Aes192>(key, value),
            Self::Aes256KeyWrap => wrap_key::<Aes256>(key, value),
            Self::Aes128KeyWrapPad => wrap_padded_key::<Aes128>(key, value),
            Self::Aes192KeyWrapPad => wrap_padded_key::<Aes192>(key, value),
            Self::Aes256KeyWrapPad => wrap_padded_key::<Aes256>(key, value),
        })
    }
}

/// Pads the value as PKCS #7 does, which XML Encryption section 5.2 accepts.
fn encrypt_cbc<C>(key: &[u8], iv: [u8; 16], value: &[u8]) -> Option<Vec<u8>>
where
    C: BlockCipherEncrypt + KeyInit,
{
    // Overwritten by the ciphertext, or wiped on failure.
    let mut sealed = Zeroizing::new(alloc::vec![0; 16 + (value.len() / 16 + 1) * 16]);
    let (first, blocks) = sealed.split_at_mut_checked(16)?;
    first.copy_from_slice(&iv);
    blocks.get_mut(..value.len())?.copy_from_slice(value);
    let encryptor = Encryptor::<C>::new_from_slices(key, &iv).ok()?;
    encryptor
        .encrypt_padded::<Pkcs7>(blocks, value.len())
        .ok()?;
    Some(mem::take(&mut *sealed))
}

fn wrap_key<C>(key: &[u8], value: &[u8]) -> Option<Vec<u8>>
where
    C: BlockCipherEncrypt<BlockSize = U16> + KeyInit,
{
    // RFC 3394 section 2 requires at least two half blocks; the library accepts fewer.
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
