//! The checks of attestations: one module a type, and here what is judged of all of them.

mod certify;
mod creation;
mod finding;
mod nv;
mod quote;
mod time;

use alloc::borrow::Cow;

use keyproof_x509::{
    Check, Curve, Hash, Scheme, SignatureVerificationAlgorithm, SubjectPublicKeyInfo,
};

use crate::{
    TpmError,
    algorithm::{EccCurve, HashAlgorithm},
    attest::{AttestType, TPM_GENERATED, TpmsAttest, TpmsClockInfo},
    key_policy::AttestationKeyPolicy,
    name::{Hierarchy, Name, QualifiedName},
    public::{EccScheme, PublicKey, RsaScheme, TpmtPublic},
    signature::TpmtSignature,
    spki::ecdsa_sig_value,
    wire::{Reader, Structure},
};
use finding::Found;

pub use certify::{CertifyCheck, CertifyPolicy, check_certify};
pub use creation::{CreationCheck, CreationEvidence, CreationPolicy, check_creation};
pub use finding::{AttestationFinding, AttestationReason, AttestationReport};
pub use nv::{NvCertifyCheck, NvCertifyPolicy, check_nv_certify};
pub use quote::{QuoteCheck, QuoteEvidence, QuotePolicy, check_quote};
pub use time::{TimeCheck, TimePolicy, check_time};

/// An attestation and its signature, as a device sends them.
#[derive(Clone, Copy, Debug)]
pub struct AttestationEvidence<'a> {
    /// The `TPMS_ATTEST`, as received: the signature is over these bytes.
    pub attest: &'a [u8],
    /// The `TPMT_SIGNATURE`, as received.
    pub signature: &'a [u8],
}

/// What a verifier asks of an attestation, whatever its type.
///
/// ```
/// # #[cfg(feature = "ring")] {
/// use keyproof_tpm::{AttestationPolicy, Hierarchy, QualifiedName, Structure, TpmtPublic, algorithms::RING};
///
/// let ek = TpmtPublic::parse_sized(include_bytes!("../../tests/vectors/rsa2048/ek.pub.tpm2b"))?;
/// let ak = TpmtPublic::parse_sized(include_bytes!("../../tests/vectors/rsa2048/ak.pub.tpm2b"))?;
/// let place = QualifiedName::of_primary(Hierarchy::Endorsement, &ek)?.of_child(&ak)?;
/// let nonce = include_bytes!("../../tests/vectors/rsa2048/quote.nonce.bin");
/// let mut policy = AttestationPolicy::new(nonce, RING);
/// policy.qualified_signer = Some(&place);
/// assert!(policy.last_seen.is_none()); // nothing was accepted from this key before
/// # }
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AttestationPolicy<'a> {
    /// The nonce that was sent to the device for this attestation; `None` takes any, with a warning: such
    /// an attestation may be of any time.
    pub nonce: Option<&'a [u8]>,
    /// The attestation key's qualified name; `None` leaves `qualifiedSigner` unchecked.
    pub qualified_signer: Option<&'a QualifiedName>,
    /// Clock and counters of the last attestation that was accepted from this key.
    pub last_seen: Option<TpmsClockInfo>,
    /// Which attestation keys are taken.
    pub key_policy: AttestationKeyPolicy,
    /// The signature algorithms to verify with, such as those of
    /// [`keyproof_x509::algorithms`].
    pub algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
}

impl<'a> AttestationPolicy<'a> {
    /// A nonce and the algorithms; of any key of the default policy, wherever it stands and whatever was seen before. What is known
    /// beside that is set afterwards.
    pub fn new(nonce: &'a [u8], algorithms: &'a [&'a dyn SignatureVerificationAlgorithm]) -> Self {
        Self {
            nonce: Some(nonce),
            qualified_signer: None,
            last_seen: None,
            key_policy: AttestationKeyPolicy::default(),
            algorithms,
        }
    }
}

/// What an object stands below.
#[derive(Clone, Copy, Debug)]
pub enum ObjectParent<'a> {
    /// A hierarchy: it is a primary object.
    Hierarchy(Hierarchy),
    /// Another object.
    Object {
        /// Its Name.
        name: &'a Name,
        /// Its qualified name.
        qualified_name: &'a QualifiedName,
    },
}

impl ObjectParent<'_> {
    /// The qualified name of an object in this place.
    fn qualified_name_of(&self, object: &TpmtPublic) -> Result<QualifiedName, TpmError> {
        match self {
            ObjectParent::Hierarchy(hierarchy) => QualifiedName::of_primary(*hierarchy, object),
            ObjectParent::Object { qualified_name, .. } => qualified_name.of_child(object),
        }
    }
}

/// The checks that each type of attestation has, beside its own.
trait AttestationCheck: Check {
    /// The type that is taken, or the types.
    const TYPES: &'static [AttestType];
    /// The type in words.
    const WHAT: &'static str;
    const ATTESTING_KEY: Self;
    const SIGNATURE: Self;
    const MAGIC: Self;
    const TYPE: Self;
    const STRUCTURE: Self;
    const EXTRA_DATA: Self;
    const WEAK_HASHES: Self;
    const QUALIFIED_SIGNER: Self;
    const RESET_COUNTERS: Self;
    const CLOCK: Self;
}

/// Declares the checks of a type of attestation: its own, between those that all have.
macro_rules! attestation_checks {
    (
        $(#[$meta:meta])*
        $vis:vis $name:ident of [$($of:ident),+], $what:literal {
            $($(#[$own_meta:meta])* $own:ident = $text:literal, $well:literal;)*
        }
    ) => {
        keyproof_x509::checks! {
            $(#[$meta])*
            #[non_exhaustive]
            $vis $name {
                /// `attesting-key`: the public area is that of an attestation key
                /// ([`AttestationKeyPolicy::check`](crate::AttestationKeyPolicy::check)).
                AttestingKey = "attesting-key", "a restricted signing key that cannot leave its TPM";
                /// `signature`: it verifies over the received bytes, by the key's own scheme.
                Signature = "signature", "it verifies";
                /// `magic`: the attestation begins with `TPM_GENERATED_VALUE`.
                Magic = "magic", "made by a TPM";
                /// `type`: it is of this type.
                Type = "type", $what;
                /// `structure`: it is one `TPMS_ATTEST`, with nothing left over.
                Structure = "structure", "one TPMS_ATTEST";
                /// `extra-data`: it carries the nonce.
                ExtraData = "extra-data", "it carries the nonce";
                $($(#[$own_meta])* $own = $text, $well;)*
                /// `weak-hashes`: neither signature nor Name nor anything attested is of a weak hash.
                WeakHashes = "weak-hashes", "no hash is weak";
                /// `qualified-signer`: it names the key, in its place in the TPM.
                QualifiedSigner = "qualified-signer", "the key, in its place in the TPM";
                /// `reset-counters`: the TPM's resets and restarts have not gone back.
                ResetCounters = "reset-counters", "neither reset nor restarted since";
                /// `clock`: the TPM's clock has not gone back.
                Clock = "clock", "it has not gone back";
            }
        }

        impl $crate::attestation::AttestationCheck for $name {
            const TYPES: &'static [$crate::attest::AttestType] = &[$($crate::attest::AttestType::$of),+];
            const WHAT: &'static str = $what;
            const ATTESTING_KEY: Self = $name::AttestingKey;
            const SIGNATURE: Self = $name::Signature;
            const MAGIC: Self = $name::Magic;
            const TYPE: Self = $name::Type;
            const STRUCTURE: Self = $name::Structure;
            const EXTRA_DATA: Self = $name::ExtraData;
            const WEAK_HASHES: Self = $name::WeakHashes;
            const QUALIFIED_SIGNER: Self = $name::QualifiedSigner;
            const RESET_COUNTERS: Self = $name::ResetCounters;
            const CLOCK: Self = $name::Clock;
        }
    };
}
use attestation_checks;

/// What is asked of every attestation.
struct Asked<'a> {
    nonce: Option<&'a [u8]>,
    signer: Option<Result<Cow<'a, [u8]>, TpmError>>,
    last_seen: Option<&'a TpmsClockInfo>,
    key_policy: &'a AttestationKeyPolicy,
    algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
}

impl<'a> From<&'a AttestationPolicy<'a>> for Asked<'a> {
    fn from(policy: &'a AttestationPolicy<'a>) -> Self {
        Asked {
            nonce: policy.nonce,
            signer: policy
                .qualified_signer
                .map(|name| Ok(name.as_bytes().into())),
            last_seen: policy.last_seen.as_ref(),
            key_policy: &policy.key_policy,
            algorithms: policy.algorithms,
        }
    }
}

/// An attestation that could be read, and the hash that it was signed with, if its signature could.
struct ReadAttestation {
    attest: TpmsAttest,
    signed_hash: Option<HashAlgorithm>,
}

/// Judges key, signature and form; `None` if there is nothing of this type to judge further, which
/// has failed `type` or `structure`.
fn read<C: AttestationCheck>(
    report: &mut AttestationReport<C>,
    ak: &TpmtPublic,
    evidence: AttestationEvidence<'_>,
    asked: &Asked<'_>,
) -> Option<ReadAttestation> {
    check_key(report, ak, asked.key_policy);
    let signed_hash = check_signature(report, ak, evidence, asked.algorithms);
    check_head(report, evidence.attest);
    let attest = check_structure(report, evidence.attest)?;
    C::TYPES
        .contains(&attest.attest_type())
        .then_some(ReadAttestation {
            attest,
            signed_hash,
        })
}

/// Judges what stands around the body; `hashes` are those that the body rests on.
fn check_frame<C: AttestationCheck>(
    report: &mut AttestationReport<C>,
    ak: &TpmtPublic,
    read: &ReadAttestation,
    asked: &Asked<'_>,
    hashes: &[(&'static str, Option<HashAlgorithm>)],
) {
    let attest = &read.attest;
    check_nonce(report, attest, asked.nonce);
    check_hashes(report, ak, read.signed_hash, hashes);
    check_signer(report, attest, asked.signer.as_ref());
    check_counters(report, &attest.clock_info, asked.last_seen);
    check_clock(report, &attest.clock_info, asked.last_seen);
}

/// For the checks of a body that there is none of.
const NOTHING_TO_READ: &str = "not judged: there is no attestation of this type to read";

fn check_key<C: AttestationCheck>(
    report: &mut AttestationReport<C>,
    ak: &TpmtPublic,
    policy: &AttestationKeyPolicy,
) {
    let found = policy.check(ak);
    if found.accepted() {
        report.done(C::ATTESTING_KEY);
    }
    for finding in found.refusals() {
        let finding = finding.clone();
        report.found(C::ATTESTING_KEY, AttestationReason::AttestingKey(finding));
    }
}

/// Returns the hash that was signed with, if the signature can be read at all.
fn check_signature<C: AttestationCheck>(
    report: &mut AttestationReport<C>,
    ak: &TpmtPublic,
    evidence: AttestationEvidence<'_>,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
) -> Option<HashAlgorithm> {
    let signature = match TpmtSignature::parse(evidence.signature) {
        Ok(signature) => signature,
        Err(error) => {
            report.found(C::SIGNATURE, AttestationReason::SignatureUnreadable(error));
            return None;
        }
    };
    let verified = verify(ak, evidence.attest, &signature, algorithms);
    report.found(
        C::SIGNATURE,
        match verified {
            Ok(scheme) => AttestationReason::SignatureVerified(scheme),
            Err(reason) => reason,
        },
    );
    Some(signature.hash())
}

/// Verifies by the one scheme that key and signature agree on.
fn verify(
    ak: &TpmtPublic,
    message: &[u8],
    signature: &TpmtSignature,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
) -> Result<Scheme, AttestationReason> {
    let (schemes, encoded) = match (&ak.key, signature) {
        (PublicKey::Ecc(key), TpmtSignature::Ecdsa { hash, r, s })
            if key.scheme == Some(EccScheme::Ecdsa(*hash)) =>
        {
            let curve = match key.curve {
                EccCurve::NistP256 => Curve::P256,
                EccCurve::NistP384 => Curve::P384,
                EccCurve::NistP521 => Curve::P521,
                other => return Err(AttestationReason::CurveUnsupported(other)),
            };
            let encoded = ecdsa_sig_value(r, s).map_err(AttestationReason::Unverifiable)?;
            (
                [Some(Scheme::Ecdsa(curve, sha2(*hash)?)), None],
                Cow::Owned(encoded),
            )
        }
        (PublicKey::Rsa(key), TpmtSignature::Rsassa { hash, signature })
            if key.scheme == Some(RsaScheme::Rsassa(*hash)) =>
        {
            (
                [Some(Scheme::RsaPkcs1(sha2(*hash)?)), None],
                Cow::Borrowed(&signature[..]),
            )
        }
        // The salt is as long as the hash, or on some TPMs as long as there is room (Part 1, B.7).
        (PublicKey::Rsa(key), TpmtSignature::Rsapss { hash, signature })
            if key.scheme == Some(RsaScheme::Rsapss(*hash)) =>
        {
            let hash = sha2(*hash)?;
            let schemes = [Scheme::RsaPss(hash), Scheme::RsaPssMaxSalt(hash)];
            (schemes.map(Some), Cow::Borrowed(&signature[..]))
        }
        _ => return Err(AttestationReason::SchemeMismatch),
    };
    let spki = ak.to_spki().map_err(AttestationReason::Unverifiable)?;
    let spki =
        SubjectPublicKeyInfo::from_der(&spki).map_err(AttestationReason::SignatureRefused)?;
    let mut refusal = None;
    for scheme in schemes.into_iter().flatten() {
        match scheme.verify(algorithms, &spki, message, &encoded) {
            Ok(()) => return Ok(scheme),
            Err(error) => refusal = refusal.or(Some(AttestationReason::SignatureRefused(error))),
        }
    }
    Err(refusal.unwrap_or(AttestationReason::SchemeMismatch))
}

fn sha2(hash: HashAlgorithm) -> Result<Hash, AttestationReason> {
    match hash {
        HashAlgorithm::Sha256 => Ok(Hash::Sha256),
        HashAlgorithm::Sha384 => Ok(Hash::Sha384),
        HashAlgorithm::Sha512 => Ok(Hash::Sha512),
        weak if weak.is_weak() => Err(AttestationReason::SignatureHashWeak(weak)),
        other => Err(AttestationReason::HashUnsupported(other)),
    }
}

/// Magic and type are judged even where the rest cannot be read.
fn check_head<C: AttestationCheck>(report: &mut AttestationReport<C>, attest: &[u8]) {
    let mut reader = Reader::new(attest);
    report.unless(
        reader.u32() == Ok(TPM_GENERATED),
        C::MAGIC,
        AttestationReason::MagicWrong,
    );
    match AttestType::read(&mut reader) {
        Ok(found) if C::TYPES.contains(&found) => report.done(C::TYPE),
        Ok(found) => report.found(
            C::TYPE,
            AttestationReason::TypeOther {
                found,
                wanted: C::WHAT,
            },
        ),
        Err(error) => report.found(C::TYPE, AttestationReason::TypeUnreadable(error)),
    }
}

fn check_structure<C: AttestationCheck>(
    report: &mut AttestationReport<C>,
    attest: &[u8],
) -> Option<TpmsAttest> {
    match TpmsAttest::parse(attest) {
        Ok(attest) => {
            report.done(C::STRUCTURE);
            Some(attest)
        }
        Err(error) => {
            report.found(C::STRUCTURE, AttestationReason::StructureMalformed(error));
            None
        }
    }
}

fn check_nonce<C: AttestationCheck>(
    report: &mut AttestationReport<C>,
    attest: &TpmsAttest,
    nonce: Option<&[u8]>,
) {
    let reason = match nonce {
        None => AttestationReason::NonceAny,
        Some([]) => AttestationReason::NonceEmpty,
        Some(nonce) if *attest.extra_data != *nonce => AttestationReason::NonceMismatch,
        Some(nonce) if nonce.len() < USUAL_NONCE => {
            let bytes = nonce.len();
            AttestationReason::NonceShort { bytes }
        }
        Some(_) => return report.done(C::EXTRA_DATA),
    };
    report.found(C::EXTRA_DATA, reason);
}

/// Fewer bytes than this may repeat.
const USUAL_NONCE: usize = 16;

fn check_hashes<C: AttestationCheck>(
    report: &mut AttestationReport<C>,
    ak: &TpmtPublic,
    signed_hash: Option<HashAlgorithm>,
    hashes: &[(&'static str, Option<HashAlgorithm>)],
) {
    let weak = [
        ("the signature", signed_hash),
        ("the key's Name", ak.name_alg),
    ]
    .into_iter()
    .chain(hashes.iter().copied())
    .find_map(|(what, hash)| Some((what, hash.filter(|hash| hash.is_weak())?)));
    match weak {
        Some((what, hash)) => {
            report.found(C::WEAK_HASHES, AttestationReason::HashWeak { what, hash })
        }
        None => report.done(C::WEAK_HASHES),
    }
}

fn check_signer<C: AttestationCheck>(
    report: &mut AttestationReport<C>,
    attest: &TpmsAttest,
    expected: Option<&Result<Cow<'_, [u8]>, TpmError>>,
) {
    let check = C::QUALIFIED_SIGNER;
    match expected {
        None => report.not_asked(check, "it was not said where the key stands"),
        Some(Ok(expected)) => report.unless(
            **expected == *attest.qualified_signer,
            check,
            AttestationReason::SignerMismatch,
        ),
        Some(Err(error)) => report.found(check, AttestationReason::Unsupported(error.clone())),
    }
}

/// Resets first, then restarts, which a reset sets back to zero.
fn check_counters<C: AttestationCheck>(
    report: &mut AttestationReport<C>,
    now: &TpmsClockInfo,
    last: Option<&TpmsClockInfo>,
) {
    let check = C::RESET_COUNTERS;
    let Some(last) = last else {
        report.not_asked(check, "no earlier attestation was given");
        return;
    };
    let resets = advance(last.reset_count, now.reset_count);
    let restarts = advance(last.restart_count, now.restart_count);
    let reason = match (resets, restarts) {
        (..0, _) => AttestationReason::ResetsFell {
            by: resets.unsigned_abs(),
        },
        (0, ..0) => AttestationReason::RestartsFell {
            by: restarts.unsigned_abs(),
        },
        (0, 0) => return report.done(check),
        (0, _) => AttestationReason::Restarted {
            times: restarts.unsigned_abs(),
        },
        _ => AttestationReason::Reset {
            times: resets.unsigned_abs(),
        },
    };
    report.found(check, reason);
}

/// A TPM that lost its power in disorder may set its clock back to what it last stored, and says so
/// until it has passed the highest value that it reported.
fn check_clock<C: AttestationCheck>(
    report: &mut AttestationReport<C>,
    now: &TpmsClockInfo,
    last: Option<&TpmsClockInfo>,
) {
    let check = C::CLOCK;
    let Some(last) = last else {
        report.not_asked(check, "no earlier attestation was given");
        return;
    };
    let lost_power = advance(last.reset_count, now.reset_count) > 0 && !now.safe;
    let reason = match now.clock.checked_sub(last.clock) {
        Some(by) => AttestationReason::ClockAdvanced { by },
        None if lost_power => AttestationReason::ClockSetBack,
        None => AttestationReason::ClockFell {
            by: last.clock.saturating_sub(now.clock),
        },
    };
    report.found(check, reason);
}

/// How far a counter went; outside the endorsement and platform hierarchies an unknown constant is
/// added to it, so that it may wrap.
fn advance(from: u32, to: u32) -> i32 {
    to.wrapping_sub(from).cast_signed()
}
