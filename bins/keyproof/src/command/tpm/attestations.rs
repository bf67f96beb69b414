//! `keyproof tpm check-certify`, `check-creation`, `check-nv` and `check-time`: attestations other than quotes.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use keyproof_tpm::{
    AttestationEvidence, AttestationKeyPolicy, AttestationPolicy, CertifyPolicy, CreationEvidence,
    CreationPolicy, DevIdKeyPolicy, Hierarchy, KeyProfile, Name, NvCertifyPolicy, ObjectParent,
    QualifiedName, Structure, TimePolicy, TpmsNvPublic, TpmtPublic, algorithms, check_certify,
    check_creation, check_nv_certify, check_time,
};
use keyproof_x509::{Finding, Report};
use serde_json::json;

use super::{
    Hex,
    files::{public, wrong},
    hex,
};
use crate::command::{Failure, Outcome, files::read, flags::number, report};

/// An attestation or quote, and the key that signed it.
#[derive(Args, Debug)]
pub(super) struct Signed {
    /// The attestation key's TPM2B_PUBLIC or TPMT_PUBLIC
    #[arg(long, value_name = "PUB")]
    ak: PathBuf,
    /// The TPMS_ATTEST
    #[arg(long, value_name = "FILE")]
    attest: PathBuf,
    /// The TPMT_SIGNATURE
    #[arg(long, value_name = "FILE")]
    signature: PathBuf,
}

impl Signed {
    /// Reads the key, the attestation and the signature.
    pub(super) fn read(&self) -> Result<(TpmtPublic, Vec<u8>, Vec<u8>), Failure> {
        Ok((
            public(&self.ak)?,
            read(&self.attest)?,
            read(&self.signature)?,
        ))
    }
}

/// The arguments for every attestation other than a quote.
#[derive(Args, Debug)]
struct Common {
    #[command(flatten)]
    signed: Signed,
    /// The nonce that was sent with the request; without it, the attestation may be a replay
    #[arg(long, value_name = "HEX")]
    nonce: Option<Hex>,
    /// The endorsement key that is the attestation key's parent
    #[arg(long, value_name = "PUB")]
    ek: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(in crate::command) struct CertifyArguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    object: ObjectArguments,
}

#[derive(Args, Debug)]
pub(in crate::command) struct CreationArguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    object: ObjectArguments,
    /// The object's TPM2B_CREATION_DATA or TPMS_CREATION_DATA
    #[arg(long, value_name = "FILE")]
    creation_data: PathBuf,
    /// The object's TPMT_TK_CREATION
    #[arg(long, value_name = "FILE")]
    ticket: Option<PathBuf>,
    /// The expected outsideInfo of the object's creation
    #[arg(long, value_name = "HEX")]
    outside_info: Option<Hex>,
}

#[derive(Args, Debug)]
pub(in crate::command) struct NvArguments {
    #[command(flatten)]
    common: Common,
    /// The index's TPM2B_NV_PUBLIC or TPMS_NV_PUBLIC
    #[arg(long, value_name = "FILE")]
    index: PathBuf,
    /// The expected contents of the index
    #[arg(long, value_name = "FILE")]
    contents: Option<PathBuf>,
    /// The offset of these contents in the index, in bytes
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 0,
        value_parser = number("a whole number of bytes", 0, Some(u16::MAX))
    )]
    offset: u16,
}

#[derive(Args, Debug)]
pub(in crate::command) struct TimeArguments {
    #[command(flatten)]
    common: Common,
    /// The TPM's expected firmware version: 16 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    firmware: Option<Hex>,
}

/// The certified object.
#[derive(Args, Debug)]
struct ObjectArguments {
    /// The object's TPM2B_PUBLIC or TPMT_PUBLIC
    #[arg(long, value_name = "PUB")]
    object: PathBuf,
    /// The required kind of object
    #[arg(long, value_enum, default_value_t = Profile::Devid)]
    profile: Profile,
    /// The primary key that must be the object's parent
    #[arg(long, value_name = "PUB")]
    parent: Option<PathBuf>,
    /// The hierarchy of that key, or of the object itself if there is no parent
    #[arg(long, value_enum)]
    hierarchy: Option<Root>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Profile {
    /// Any object, with a warning
    Any,
    /// A restricted signing key that cannot leave its TPM
    Attestation,
    /// A signing key that cannot leave its TPM, for TLS and the like
    Devid,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Root {
    Endorsement,
    Null,
    Owner,
    Platform,
}

/// The contents of the files of [`Common`].
struct Evidence {
    ak: TpmtPublic,
    attest: Vec<u8>,
    signature: Vec<u8>,
    signer: Option<QualifiedName>,
}

impl Common {
    fn read(&self) -> Result<Evidence, Failure> {
        let (ak, attest, signature) = self.signed.read()?;
        let ek = self.ek.as_deref().map(public).transpose()?;
        let signer = ek.map(|ek| {
            QualifiedName::of_primary(Hierarchy::Endorsement, &ek)
                .and_then(|parent| parent.of_child(&ak))
        });
        Ok(Evidence {
            signer: signer.transpose()?,
            attest,
            signature,
            ak,
        })
    }

    fn policy<'a>(&'a self, evidence: &'a Evidence) -> AttestationPolicy<'a> {
        let mut policy = AttestationPolicy::without_nonce(algorithms::ALL);
        policy.nonce = self.nonce.as_ref().map(|nonce| &*nonce.0);
        policy.qualified_signer = evidence.signer.as_ref();
        policy
    }

    /// Prints the report with the names of the attestation key and the attested object. Returns its verdict.
    fn finish<F: Finding>(
        &self,
        report: &Report<F>,
        evidence: &Evidence,
        object: Option<Name>,
    ) -> Outcome {
        let hex = |name: Name| hex(name.as_bytes());
        let facts = json!({
            "ak_name": Name::of(&evidence.ak).ok().map(hex),
            "object_name": object.map(hex),
        });
        report::finish(report, self.json, &facts)
    }
}

impl Evidence {
    fn attestation(&self) -> AttestationEvidence<'_> {
        AttestationEvidence {
            attest: &self.attest,
            signature: &self.signature,
        }
    }
}

/// The names of a primary key.
struct Parent {
    name: Name,
    qualified_name: QualifiedName,
}

impl ObjectArguments {
    fn parent(&self) -> Result<Option<Parent>, Failure> {
        let Some(path) = &self.parent else {
            return Ok(None);
        };
        let Some(root) = self.hierarchy else {
            return Err(Failure::Usage("--parent requires --hierarchy".to_owned()));
        };
        let parent = public(path)?;
        Ok(Some(Parent {
            name: Name::of(&parent)?,
            qualified_name: QualifiedName::of_primary(root.into(), &parent)?,
        }))
    }

    fn place<'a>(&self, parent: Option<&'a Parent>) -> Option<ObjectParent<'a>> {
        match parent {
            Some(parent) => Some(ObjectParent::Object {
                name: &parent.name,
                qualified_name: &parent.qualified_name,
            }),
            None => self
                .hierarchy
                .map(|root| ObjectParent::Hierarchy(root.into())),
        }
    }
}

impl From<Root> for Hierarchy {
    fn from(root: Root) -> Self {
        match root {
            Root::Endorsement => Self::Endorsement,
            Root::Null => Self::Null,
            Root::Owner => Self::Owner,
            Root::Platform => Self::Platform,
        }
    }
}

impl From<Profile> for KeyProfile {
    fn from(profile: Profile) -> Self {
        match profile {
            Profile::Any => Self::Any,
            Profile::Attestation => Self::Attestation(AttestationKeyPolicy::default()),
            Profile::Devid => Self::DevId(DevIdKeyPolicy::default()),
        }
    }
}

pub(super) fn certify(arguments: &CertifyArguments) -> Outcome {
    let evidence = arguments.common.read()?;
    let object = public(&arguments.object.object)?;
    let parent = arguments.object.parent()?;
    let mut policy = CertifyPolicy::new(
        arguments.common.policy(&evidence),
        &object,
        arguments.object.profile.into(),
    );
    policy.parent = arguments.object.place(parent.as_ref());
    let report = check_certify(&evidence.ak, evidence.attestation(), &policy).report;
    let name = Name::of(&object).ok();
    arguments.common.finish(&report, &evidence, name)
}

pub(super) fn creation(arguments: &CreationArguments) -> Outcome {
    let evidence = arguments.common.read()?;
    let object = public(&arguments.object.object)?;
    let parent = arguments.object.parent()?;
    let creation_data = read(&arguments.creation_data)?;
    let ticket = arguments.ticket.as_deref().map(read).transpose()?;
    let mut policy = CreationPolicy::new(
        arguments.common.policy(&evidence),
        &object,
        arguments.object.profile.into(),
    );
    policy.parent = arguments.object.place(parent.as_ref());
    policy.outside_info = arguments.outside_info.as_ref().map(|info| &*info.0);
    let creation = CreationEvidence {
        attestation: evidence.attestation(),
        creation_data: unsized_content(&creation_data),
        ticket: ticket.as_deref(),
    };
    let report = check_creation(&evidence.ak, &creation, &policy).report;
    let name = Name::of(&object).ok();
    arguments.common.finish(&report, &evidence, name)
}

pub(super) fn time(arguments: &TimeArguments) -> Outcome {
    let evidence = arguments.common.read()?;
    let firmware = arguments.firmware.as_ref().map(|firmware| {
        let bytes: Result<[u8; 8], _> = firmware.0.as_slice().try_into();
        bytes
            .map(u64::from_be_bytes)
            .map_err(|_| Failure::Usage("--firmware has 16 hexadecimal digits".to_owned()))
    });
    let mut policy = TimePolicy::new(arguments.common.policy(&evidence));
    policy.firmware_version = firmware.transpose()?;
    let report = check_time(&evidence.ak, evidence.attestation(), &policy).report;
    arguments.common.finish(&report, &evidence, None)
}

pub(super) fn nv(arguments: &NvArguments) -> Outcome {
    let evidence = arguments.common.read()?;
    let index = nv_public(&arguments.index)?;
    let contents = arguments.contents.as_deref().map(read).transpose()?;
    let mut policy = NvCertifyPolicy::new(arguments.common.policy(&evidence), &index);
    policy.contents = contents.as_deref();
    policy.offset = arguments.offset;
    let report = check_nv_certify(&evidence.ak, evidence.attestation(), &policy).report;
    let name = Name::of_nv_index(&index).ok();
    arguments.common.finish(&report, &evidence, name)
}

fn nv_public(path: &Path) -> Result<TpmsNvPublic, Failure> {
    let bytes = read(path)?;
    TpmsNvPublic::parse(unsized_content(&bytes)).map_err(|error| wrong(path, &error))
}

/// Strips a 16-bit size if it matches, else returns all bytes.
fn unsized_content(bytes: &[u8]) -> &[u8] {
    match bytes.split_first_chunk() {
        Some((size, content)) if usize::from(u16::from_be_bytes(*size)) == content.len() => content,
        _ => bytes,
    }
}
