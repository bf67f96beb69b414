//! Names and qualified names, which identify an object and its position in a hierarchy.

use alloc::vec::Vec;
use core::{fmt, str::FromStr};

use crate::{
    TpmError,
    algorithm::HashAlgorithm,
    nv_public::TpmsNvPublic,
    public::TpmtPublic,
    wire::{Buffer, MAX_DIGEST, Reader, Structure},
};

/// An object's Name (Part 1, 16): its name algorithm and the digest of its public area.
///
/// ```
/// use keyproof_tpm::{Name, Structure, TpmtPublic};
///
/// let ak = TpmtPublic::parse_sized(include_bytes!("../tests/vectors/rsa2048/ak.pub.tpm2b"))?;
/// let name = Name::of(&ak)?;
/// assert_eq!(name.as_bytes(), include_bytes!("../tests/vectors/rsa2048/ak.name.bin")); // as `tpm2_readpublic -n` writes it
/// assert_eq!(Name::parse(name.as_bytes())?, name);
/// let printed = name.to_string(); // as `tpm2_readpublic` prints it
/// assert!(printed.starts_with("000b")); // SHA-256
/// assert_eq!(printed.parse::<Name>()?, name);
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Vec<u8>);

/// An object's qualified name (Part 1, 16): its name algorithm, and the digest of its parent's
/// qualified name followed by its own Name.
///
/// ```
/// use keyproof_tpm::{Hierarchy, QualifiedName, Structure, TpmtPublic};
///
/// let ek = TpmtPublic::parse_sized(include_bytes!("../tests/vectors/rsa2048/ek.pub.tpm2b"))?;
/// let ak = TpmtPublic::parse_sized(include_bytes!("../tests/vectors/rsa2048/ak.pub.tpm2b"))?;
/// let below_the_ek = QualifiedName::of_primary(Hierarchy::Endorsement, &ek)?.of_child(&ak)?;
/// assert_eq!(below_the_ek.as_bytes(), include_bytes!("../tests/vectors/rsa2048/ak.qname.bin"));
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QualifiedName(Vec<u8>);

/// The hierarchies of primary objects (`TPMI_RH_HIERARCHY`, Part 2, 9.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hierarchy {
    /// `TPM_RH_ENDORSEMENT`.
    Endorsement,
    /// `TPM_RH_NULL`.
    Null,
    /// `TPM_RH_OWNER`.
    Owner,
    /// `TPM_RH_PLATFORM`.
    Platform,
}

impl Name {
    /// Computes the Name of the object with this public area.
    ///
    /// # Errors
    ///
    /// [`TpmError::NoNameAlgorithm`] if it has no name algorithm; [`TpmError::UnsupportedHash`] if
    /// the algorithm is not supported.
    pub fn of(public: &TpmtPublic) -> Result<Self, TpmError> {
        let hash = public.name_alg.ok_or(TpmError::NoNameAlgorithm)?;
        tagged_digest(hash, &[&public.to_bytes()]).map(Name)
    }

    /// Computes the Name of the NV index with this public area.
    ///
    /// # Errors
    ///
    /// [`TpmError::UnsupportedHash`] if the name algorithm is not supported.
    pub fn of_nv_index(index: &TpmsNvPublic) -> Result<Self, TpmError> {
        tagged_digest(index.name_alg, &[&index.to_bytes()]).map(Name)
    }

    /// Parses a Name in the TPM's form: the algorithm's identifier and a digest of its size.
    ///
    /// # Errors
    ///
    /// [`TpmError::UnexpectedEnd`] for fewer than two bytes, [`TpmError::UnknownSelector`] for an
    /// unknown algorithm, [`TpmError::WrongSize`] for a digest of the wrong size.
    pub fn parse(bytes: &[u8]) -> Result<Self, TpmError> {
        check_digest_name(bytes, 0)?;
        Ok(Self(bytes.to_vec()))
    }

    /// Returns the Name in the TPM's form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns its algorithm, which every Name begins with.
    pub(crate) fn hash(&self) -> Option<HashAlgorithm> {
        HashAlgorithm::read(&mut Reader::new(&self.0)).ok()
    }
}

impl QualifiedName {
    /// Computes the qualified name of a primary object.
    ///
    /// # Errors
    ///
    /// Those of [`Name::of`].
    pub fn of_primary(hierarchy: Hierarchy, object: &TpmtPublic) -> Result<Self, TpmError> {
        Self::below(&hierarchy.handle().to_be_bytes(), object)
    }

    /// Computes the qualified name of a child of the object that `self` names.
    ///
    /// # Errors
    ///
    /// Those of [`Name::of`].
    pub fn of_child(&self, object: &TpmtPublic) -> Result<Self, TpmError> {
        Self::below(&self.0, object)
    }

    /// Returns the qualified name in the TPM's form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn below(parent: &[u8], object: &TpmtPublic) -> Result<Self, TpmError> {
        let hash = object.name_alg.ok_or(TpmError::NoNameAlgorithm)?;
        let name = Name::of(object)?;
        tagged_digest(hash, &[parent, name.as_bytes()]).map(QualifiedName)
    }
}

impl Hierarchy {
    /// Returns the hierarchy's permanent handle (`TPM_RH`, Part 2, 7.4). It is also its qualified
    /// name.
    pub fn handle(self) -> u32 {
        match self {
            Self::Endorsement => 0x4000_000b,
            Self::Null => 0x4000_0007,
            Self::Owner => 0x4000_0001,
            Self::Platform => 0x4000_000c,
        }
    }

    /// Returns the hierarchy with this permanent handle, if there is one.
    pub fn from_handle(handle: u32) -> Option<Self> {
        [Self::Endorsement, Self::Null, Self::Owner, Self::Platform]
            .into_iter()
            .find(|hierarchy| hierarchy.handle() == handle)
    }
}

fn tagged_digest(hash: HashAlgorithm, parts: &[&[u8]]) -> Result<Vec<u8>, TpmError> {
    let mut name = hash.id().to_be_bytes().to_vec();
    name.extend(hash.digest(parts)?);
    Ok(name)
}

/// Reads a `TPM2B_NAME` (Part 2, 10.5.3): empty, a handle, or an algorithm and its digest.
pub(crate) fn read_name(reader: &mut Reader<'_>) -> Result<Buffer, TpmError> {
    let at = reader.at();
    let name = reader.buffer("TPM2B_NAME", MAX_NAME)?;
    if !matches!(name.len(), 0 | 4) {
        check_digest_name(&name, at.saturating_add(2))?;
    }
    Ok(name)
}

/// Checks a Name that begins at offset `at`.
fn check_digest_name(bytes: &[u8], at: usize) -> Result<(), TpmError> {
    let hash = HashAlgorithm::read(&mut Reader::new(bytes)).map_err(|error| error.moved_by(at))?;
    if bytes.len() == 2 + hash.digest_size() {
        Ok(())
    } else {
        Err(TpmError::WrongSize {
            at,
            found: bytes.len(),
            what: "TPM2B_NAME",
        })
    }
}

/// The longest Name: a 2-byte algorithm identifier and the longest digest.
const MAX_NAME: usize = 2 + MAX_DIGEST;

const MAX_NAME_DIGITS: usize = 2 * MAX_NAME;

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl AsRef<[u8]> for Name {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for QualifiedName {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Writes lower-case hexadecimal.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl FromStr for Name {
    type Err = TpmError;

    /// Parses hexadecimal digits of either case. [`Display`](fmt::Display) and tpm2-tools write
    /// this form.
    ///
    /// # Errors
    ///
    /// [`TpmError::NameText`] for text that is not hexadecimal, and those of [`Name::parse`].
    fn from_str(text: &str) -> Result<Self, TpmError> {
        let digit = |at: usize| {
            let byte = text.as_bytes().get(at).copied().map(char::from);
            byte.and_then(|character| character.to_digit(16))
                .ok_or(TpmError::NameText { at })
        };
        if text.len() > MAX_NAME_DIGITS {
            return Err(TpmError::NameText {
                at: MAX_NAME_DIGITS,
            });
        }
        let bytes = (0..text.len()).step_by(2).map(|at| {
            // Two digits are a byte.
            Ok((digit(at)? << 4 | digit(at + 1)?) as u8)
        });
        Self::parse(&bytes.collect::<Result<Vec<_>, TpmError>>()?)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

/// Writes lower-case hexadecimal.
impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QualifiedName({self})")
    }
}
