//! The checks of attestations: one module per type, and the parts common to all.

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
pub use quote::{AcceptedQuote, CheckedQuote, QuoteCheck, QuoteEvidence, QuotePolicy, check_quote};
pub use time::{TimeCheck, TimePolicy, check_time};

/// An attestation and its signature, as a device sends them.
#[derive(Clone, Copy, Debug)]
pub struct AttestationEvidence<'a> {
    /// The `TPMS_ATTEST` as received. The signature covers exactly these bytes.
    pub attest: &'a [u8],
    /// The `TPMT_SIGNATURE`, as received.
    pub signature: &'a [u8],
}

/// A verifier's requirements common to all types of attestation.
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
/// assert!(policy.last_seen.is_none()); // no attestation by this key has been accepted before
/// # }
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AttestationPolicy<'a> {
    /// The nonce that was sent to the device for this attestation. `None` accepts any nonce, with a
    /// warning ([`AttestationPolicy::without_nonce`]).
    pub nonce: Option<&'a [u8]>,
    /// The attestation key's qualified name; `None` leaves `qualifiedSigner` unchecked.
    pub qualified_signer: Option<&'a QualifiedName>,
    /// Clock and counters of the last accepted attestation by this key.
    pub last_seen: Option<TpmsClockInfo>,
    /// The accepted attestation keys.
    pub key_policy: AttestationKeyPolicy,
    /// The signature algorithms to verify with, such as those of
    /// [`keyproof_x509::algorithms`].
    pub algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
}

impl<'a> AttestationPolicy<'a> {
    /// Creates a policy with the default key policy, which leaves the key's qualified name and
    /// earlier clock values unchecked. Set the other fields afterwards.
    pub fn new(nonce: &'a [u8], algorithms: &'a [&'a dyn SignatureVerificationAlgorithm]) -> Self {
        Self {
            nonce: Some(nonce),
            ..Self::without_nonce(algorithms)
        }
    }

    /// Creates a policy that accepts any nonce, with a warning: the attestation may be old.
    pub fn without_nonce(algorithms: &'a [&'a dyn SignatureVerificationAlgorithm]) -> Self {
        Self {
            nonce: None,
            qualified_signer: None,
            last_seen: None,
            key_policy: AttestationKeyPolicy::default(),
            algorithms,
        }
    }
}

/// The result of checking an attestation. That of a quote is a [`CheckedQuote`].
#[derive(Clone, Debug)]
#[must_use = "its report has the verdict on the attestation"]
#[non_exhaustive]
pub struct CheckedAttestation<C: Check> {
    /// The checks.
    pub report: AttestationReport<C>,
    /// The attestation, if the report accepts it. Store its `clock_info` as
    /// [`AttestationPolicy::last_seen`] of the next check.
    pub accepted: Option<TpmsAttest>,
}

impl<C: Check> CheckedAttestation<C> {
    fn new(report: AttestationReport<C>, read: Option<ReadAttestation>) -> Self {
        let attest = read.map(|read| read.attest);
        Self {
            accepted: attest.filter(|_| report.accepted()),
            report,
        }
    }
}

/// The parent of an object.
#[derive(Clone, Copy, Debug)]
pub enum ObjectParent<'a> {
    /// A hierarchy: the object is a primary object.
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
    /// Computes the qualified name of `object` under this parent.
    fn qualified_name_of(&self, object: &TpmtPublic) -> Result<QualifiedName, TpmError> {
        match self {
            ObjectParent::Hierarchy(hierarchy) => QualifiedName::of_primary(*hierarchy, object),
            ObjectParent::Object { qualified_name, .. } => qualified_name.of_child(object),
        }
    }

    /// Returns the algorithm of its Name; a hierarchy has none.
    fn name_alg(&self) -> Option<HashAlgorithm> {
        match self {
            ObjectParent::Hierarchy(_) => None,
            ObjectParent::Object { name, .. } => name.hash(),
        }
    }
}

/// Where a weak hash in a parent's Name is found.
const PARENT_NAME: &str = "the parent's Name";

/// The checks common to all types of attestation.
trait AttestationCheck: Check {
    /// The accepted attestation types.
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

/// Declares the checks of one type of attestation: its own, between the common ones.
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
                /// `signature`: it verifies over the received bytes, under the key's own scheme.
                Signature = "signature", "it verifies";
                /// `magic`: the attestation begins with `TPM_GENERATED_VALUE`.
                Magic = "magic", "made by a TPM";
                /// `type`: it is an attestation of this type.
                Type = "type", $what;
                /// `structure`: it is a `TPMS_ATTEST` without trailing bytes.
                Structure = "structure", "one TPMS_ATTEST";
                /// `extra-data`: it contains the nonce.
                ExtraData = "extra-data", "it carries the nonce";
                $($(#[$own_meta])* $own = $text, $well;)*
                /// `weak-hashes`: the signature, the Names (also the parent's, if it is known) and
                /// the attested data use no weak hash.
                WeakHashes = "weak-hashes", "no hash is weak";
                /// `qualified-signer`: it contains the key's qualified name.
                QualifiedSigner = "qualified-signer", "the key, in its place in the TPM";
                /// `reset-counters`: the counters of resets and restarts did not go backwards.
                ResetCounters = "reset-counters", "neither reset nor restarted since";
                /// `clock`: the TPM's clock did not go backwards.
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

/// The requirements common to all attestations, including quotes.
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

/// A parsed attestation, with the hash of its signature if that could be parsed.
struct ReadAttestation {
    attest: TpmsAttest,
    signed_hash: Option<HashAlgorithm>,
}

/// Checks key, signature and form. Returns `None` if there is no attestation of this type; then the
/// check `type` or `structure` has failed.
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

/// Checks the fields common to all types. `hashes` are the hashes that the body depends on.
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

/// The reason given for body checks when there is no body.
const NOTHING_TO_READ: &str = "not checked: there is no attestation of this type to read";

fn check_key<C: AttestationCheck>(
    report: &mut AttestationReport<C>,
    ak: &TpmtPublic,
    policy: &AttestationKeyPolicy,
) {
    let found = policy.check(ak);
    if found.accepted() {
        report.done(C::ATTESTING_KEY);
    }
    for finding in found.refusals().cloned() {
        report.found(C::ATTESTING_KEY, AttestationReason::AttestingKey(finding));
    }
}

/// Returns the hash of the signature, if the signature can be parsed.
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
    let (Ok(reason) | Err(reason)) = verified.map(AttestationReason::SignatureVerified);
    report.found(C::SIGNATURE, reason);
    Some(signature.hash())
}

/// Verifies the signature if its scheme is the key's.
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
        // The salt has the size of the hash or, on some TPMs, the maximum size (Part 1, B.7).
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

/// Checks magic and type, even if the rest cannot be parsed.
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
            AttestationReason::TypeMismatch {
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
        None => AttestationReason::NonceNotChecked,
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

/// The nonce size, in bytes, below which nonces may repeat.
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
        None => report.not_requested(check, "the key's qualified name was not given"),
        Some(Ok(expected)) => report.unless(
            **expected == *attest.qualified_signer,
            check,
            AttestationReason::SignerMismatch,
        ),
        Some(Err(error)) => report.found(check, AttestationReason::Unsupported(error.clone())),
    }
}

/// Compares resets first: a reset sets the restart counter to zero.
fn check_counters<C: AttestationCheck>(
    report: &mut AttestationReport<C>,
    now: &TpmsClockInfo,
    last: Option<&TpmsClockInfo>,
) {
    let check = C::RESET_COUNTERS;
    let Some(last) = last else {
        return report.not_requested(check, "no earlier attestation was given");
    };
    let resets = advance(last.reset_count, now.reset_count);
    let restarts = advance(last.restart_count, now.restart_count);
    let reason = match (resets, restarts) {
        (..0, _) => AttestationReason::ResetCountDecreased {
            by: resets.unsigned_abs(),
        },
        (0, ..0) => AttestationReason::RestartCountDecreased {
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

/// After a loss of power without shutdown, a TPM may set its clock back to the last stored value.
/// Until the clock exceeds the highest value reported before, the TPM reports it as not safe.
fn check_clock<C: AttestationCheck>(
    report: &mut AttestationReport<C>,
    now: &TpmsClockInfo,
    last: Option<&TpmsClockInfo>,
) {
    let check = C::CLOCK;
    let Some(last) = last else {
        return report.not_requested(check, "no earlier attestation was given");
    };
    let lost_power = advance(last.reset_count, now.reset_count) > 0 && !now.safe;
    let reason = match now.clock.checked_sub(last.clock) {
        Some(by) => AttestationReason::ClockAdvanced { by },
        None if lost_power => AttestationReason::ClockNotSafe,
        None => AttestationReason::ClockDecreased {
            by: last.clock.saturating_sub(now.clock),
        },
    };
    report.found(check, reason);
}

/// Returns how far a counter advanced. Outside the endorsement and platform hierarchies, the TPM
/// adds an unknown constant to counters, so they may wrap.
fn advance(from: u32, to: u32) -> i32 {
    to.wrapping_sub(from).cast_signed()
}
