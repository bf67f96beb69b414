//! Names and qualified names: how the TPM identifies an object, and its place in a hierarchy.

use alloc::vec::Vec;
use core::{fmt, str::FromStr};

use crate::{
    TpmError,
    algorithm::HashAlgorithm,
    nv_public::TpmsNvPublic,
    public::TpmtPublic,
    wire::{Reader, Structure},
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

/// An object's qualified name (Part 1, 16): its name algorithm and the digest of its parent's
/// qualified name and its own Name.
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
    /// The Name of the object with this public area.
    ///
    /// # Errors
    ///
    /// [`TpmError::NoNameAlgorithm`] without a name algorithm; [`TpmError::UnsupportedHash`] with one
    /// that is not computed here.
    pub fn of(public: &TpmtPublic) -> Result<Self, TpmError> {
        let hash = public.name_alg.ok_or(TpmError::NoNameAlgorithm)?;
        tagged_digest(hash, &[&public.to_bytes()]).map(Name)
    }

    /// The Name of the NV index with this public area.
    ///
    /// # Errors
    ///
    /// [`TpmError::UnsupportedHash`] with a name algorithm that is not computed here.
    pub fn of_nv_index(index: &TpmsNvPublic) -> Result<Self, TpmError> {
        tagged_digest(index.name_alg, &[&index.to_bytes()]).map(Name)
    }

    /// Takes a Name as the TPM writes it: the algorithm's number and a digest of its size.
    ///
    /// # Errors
    ///
    /// [`TpmError::UnknownSelector`] for another algorithm, [`TpmError::WrongSize`] for another size.
    pub fn parse(bytes: &[u8]) -> Result<Self, TpmError> {
        check_digest_name(bytes, 0)?;
        Ok(Self(bytes.to_vec()))
    }

    /// The Name as the TPM writes it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl QualifiedName {
    /// The qualified name of a primary object.
    ///
    /// # Errors
    ///
    /// Those of [`Name::of`].
    pub fn of_primary(hierarchy: Hierarchy, object: &TpmtPublic) -> Result<Self, TpmError> {
        Self::below(&hierarchy.handle().to_be_bytes(), object)
    }

    /// The qualified name of a child of the object named by `self`.
    ///
    /// # Errors
    ///
    /// Those of [`Name::of`].
    pub fn of_child(&self, object: &TpmtPublic) -> Result<Self, TpmError> {
        Self::below(&self.0, object)
    }

    /// The qualified name as the TPM writes it.
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
    /// The hierarchy's permanent handle (`TPM_RH`, Part 2, 7.4), which is its qualified name too.
    pub fn handle(self) -> u32 {
        match self {
            Self::Endorsement => 0x4000_000b,
            Self::Null => 0x4000_0007,
            Self::Owner => 0x4000_0001,
            Self::Platform => 0x4000_000c,
        }
    }

    /// The hierarchy with this permanent handle (TPM 2.0 Part 2, TPM_RH), if it is one of these.
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

/// Checks the content of a `TPM2B_NAME` (Part 2, 10.5.3) whose size stands at `at`: nothing, a
/// handle, or a digest behind its algorithm.
pub(crate) fn check_name(bytes: &[u8], at: usize) -> Result<(), TpmError> {
    match bytes.len() {
        0 | 4 => Ok(()),
        _ => check_digest_name(bytes, at.saturating_add(2)),
    }
}

/// Checks a Name that starts at `at`.
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

/// The longest Name has an algorithm's number and 64 bytes.
const MAX_NAME_DIGITS: usize = 2 * (2 + 64);

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Lower-case hex.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl FromStr for Name {
    type Err = TpmError;

    /// Hexadecimal digits in either case, as [`Display`](fmt::Display) and tpm2-tools write them.
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

/// Lower-case hex.
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
