//! Decryption of values, which detects a wrong key as far as the cipher can.

use alloc::vec::Vec;

use aes::{Aes128, Aes192, Aes256};
use aes_kw::{AesKw, AesKwp};
use cbc::{
    Decryptor,
    cipher::{
        BlockCipherDecrypt, BlockModeDecrypt, KeyInit, KeyIvInit, block_padding::NoPadding,
        consts::U16,
    },
};
use zeroize::{Zeroize, Zeroizing};

use super::Cipher;
use crate::PskcError;

impl Cipher {
    /// Decrypts a value whose length [`Cipher::makes`] accepts.
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
}

/// The first block is the initialisation vector. The last byte is the number of padding bytes; the
/// other padding bytes are ignored (XML Encryption section 5.2).
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
