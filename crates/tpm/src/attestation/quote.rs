//! The check of a quote: whether this is what the TPM with this attestation key says, now, of these
//! registers.

use alloc::vec::Vec;

use keyproof_x509::SignatureVerificationAlgorithm;

use super::{
    Asked, AttestationEvidence, AttestationReason, AttestationReport, Found, NOTHING_TO_READ,
    attestation_checks, check_frame, read,
};
use crate::{
    algorithm::HashAlgorithm,
    attest::{Attested, TpmsClockInfo, TpmsQuoteInfo},
    key_policy::AttestationKeyPolicy,
    name::{Hierarchy, QualifiedName},
    pcr::TpmlPcrSelection,
    public::TpmtPublic,
};

/// What a device sends.
///
/// ```
/// use keyproof_tpm::QuoteEvidence;
///
/// // As `tpm2_quote -m ATTEST -s SIGNATURE -o VALUES -F values` writes them.
/// let evidence = QuoteEvidence {
///     attest: include_bytes!("../../tests/vectors/rsa2048/quote.tpms_attest.bin"),
///     signature: include_bytes!("../../tests/vectors/rsa2048/quote.tpmt_signature.bin"),
///     pcr_values: Some(include_bytes!("../../tests/vectors/rsa2048/quote.pcrs.values.bin")),
/// };
/// # assert_eq!(evidence.pcr_values.map(<[u8]>::len), Some(9 * 32));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct QuoteEvidence<'a> {
    /// The `TPMS_ATTEST`, as received: the signature is over these bytes.
    pub attest: &'a [u8],
    /// The `TPMT_SIGNATURE`, as received.
    pub signature: &'a [u8],
    /// The values of the quoted registers, concatenated in the order of the selection, if they are
    /// known.
    pub pcr_values: Option<&'a [u8]>,
}

/// What a verifier asks for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct QuotePolicy<'a> {
    /// The nonce that was sent to the device for this quote.
    pub nonce: &'a [u8],
    /// The registers that were asked for; `None` takes any, with a warning.
    pub selection: Option<&'a TpmlPcrSelection>,
    /// The attestation key's parent, a primary key of the endorsement hierarchy; `None` leaves
    /// `qualifiedSigner` unchecked.
    pub ek: Option<&'a TpmtPublic>,
    /// Clock and counters of the last quote that was accepted from this key.
    pub last_seen: Option<TpmsClockInfo>,
    /// Which attestation keys are taken.
    pub key_policy: AttestationKeyPolicy,
    /// The signature algorithms to verify with, such as those of
    /// [`keyproof_x509::algorithms`].
    pub algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
}

impl<'a> QuotePolicy<'a> {
    /// A nonce and the algorithms; for any registers, of any key of the default policy, wherever it stands and whatever was seen
    /// before. What is known beside that is set afterwards:
    ///
    /// ```
    /// # fn asked(nonce: &[u8], ek: &keyproof_tpm::TpmtPublic) -> Result<(), keyproof_tpm::TpmError> {
    /// # #[cfg(feature = "ring")] {
    /// use keyproof_tpm::{QuotePolicy, algorithms::RING};
    ///
    /// let selection = "sha256:0,1,2,3,4,5,6,7".parse()?;
    /// let mut policy = QuotePolicy::new(nonce, RING);
    /// policy.selection = Some(&selection);
    /// policy.ek = Some(ek);
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(nonce: &'a [u8], algorithms: &'a [&'a dyn SignatureVerificationAlgorithm]) -> Self {
        Self {
            nonce,
            selection: None,
            ek: None,
            last_seen: None,
            key_policy: AttestationKeyPolicy::default(),
            algorithms,
        }
    }
}

attestation_checks! {
    /// The checks of a quote, in the order of reports.
    pub QuoteCheck of [Quote], "a quote" {
        /// `pcr-selection`: it quotes the registers that were asked for, and at least one.
        PcrSelection = "pcr-selection", "it quotes the registers that were asked for";
        /// `pcr-digest`: its digest is that of the given values, over all banks.
        PcrDigest = "pcr-digest", "the digest of the given values";
    }
}

/// Checks a quote by the key with the public area `ak`.
///
/// The whole public area is needed, never the key alone: a key that is not restricted signs forged
/// attestations, and only the public area, once it is bound to its TPM by a credential or a
/// certificate, says that it is.
///
/// ```
/// # #[cfg(feature = "ring")] {
/// use keyproof_tpm::{Outcome, QuoteCheck, QuoteEvidence, QuotePolicy, Structure, TpmtPublic, algorithms::RING, check_quote};
///
/// let ak = TpmtPublic::parse_sized(include_bytes!("../../tests/vectors/rsa2048/ak.pub.tpm2b"))?;
/// let evidence = QuoteEvidence {
///     attest: include_bytes!("../../tests/vectors/rsa2048/quote.tpms_attest.bin"),
///     signature: include_bytes!("../../tests/vectors/rsa2048/quote.tpmt_signature.bin"),
///     pcr_values: None,
/// };
/// let report = check_quote(&ak, &evidence, &QuotePolicy::new(b"another one", RING));
/// assert!(!report.accepted());
/// assert_eq!(report.outcome(QuoteCheck::ExtraData), Outcome::Fail); // genuine, and made for another request
/// assert_eq!(report.outcome(QuoteCheck::Signature), Outcome::Pass);
/// # }
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
pub fn check_quote(
    ak: &TpmtPublic,
    evidence: &QuoteEvidence<'_>,
    policy: &QuotePolicy<'_>,
) -> AttestationReport<QuoteCheck> {
    let mut report = AttestationReport::new();
    let asked = Asked {
        nonce: Some(policy.nonce),
        signer: policy.ek.map(|ek| {
            QualifiedName::of_primary(Hierarchy::Endorsement, ek)
                .and_then(|parent| parent.of_child(ak))
                .map(|signer| signer.as_bytes().to_vec().into())
        }),
        last_seen: policy.last_seen.as_ref(),
        key_policy: &policy.key_policy,
        algorithms: policy.algorithms,
    };
    let evidence_read = AttestationEvidence {
        attest: evidence.attest,
        signature: evidence.signature,
    };
    let read = read(&mut report, ak, evidence_read, &asked);
    let Some((read, Attested::Quote(quote))) =
        read.as_ref().map(|read| (read, &read.attest.attested))
    else {
        report.others_not_judged(NOTHING_TO_READ);
        return report;
    };
    check_selection(&mut report, quote, policy.selection);
    check_digest(&mut report, quote, evidence.pcr_values, read.signed_hash);
    let banks: Vec<_> = quote
        .pcr_select
        .banks()
        .iter()
        .filter(|bank| bank.registers().next().is_some())
        .map(|bank| ("a quoted bank", Some(bank.hash())))
        .collect();
    check_frame(&mut report, ak, read, &asked, &banks);
    report
}

fn check_selection(
    report: &mut AttestationReport<QuoteCheck>,
    quote: &TpmsQuoteInfo,
    asked: Option<&TpmlPcrSelection>,
) {
    let quoted = &quote.pcr_select;
    let reason = match asked {
        _ if quoted.is_empty() => AttestationReason::SelectionEmpty,
        None => AttestationReason::SelectionAny(quoted.clone()),
        Some(asked) if !quoted.selects_same(asked) => AttestationReason::SelectionMismatch {
            asked: asked.clone(),
            quoted: quoted.clone(),
        },
        Some(_) => AttestationReason::Selection(quoted.clone()),
    };
    report.found(QuoteCheck::PcrSelection, reason);
}

fn check_digest(
    report: &mut AttestationReport<QuoteCheck>,
    quote: &TpmsQuoteInfo,
    values: Option<&[u8]>,
    signed_hash: Option<HashAlgorithm>,
) {
    let check = QuoteCheck::PcrDigest;
    let Some(hash) = signed_hash else {
        report.not_judged(check, "not judged: the signature says no hash");
        return;
    };
    let expected = quote.pcr_select.values_size();
    match values {
        _ if quote.pcr_digest.len() != hash.digest_size() => {
            report.found(check, AttestationReason::DigestSize(hash));
        }
        None => report.not_asked(check, "no register values were given"),
        Some(values) if values.len() != expected => {
            let found = values.len();
            report.found(check, AttestationReason::ValuesSize { expected, found });
        }
        Some(values) => match hash.digest(&[values]) {
            Ok(digest) => report.unless(
                digest == *quote.pcr_digest,
                check,
                AttestationReason::DigestMismatch,
            ),
            Err(error) => report.found(check, AttestationReason::Unsupported(error)),
        },
    }
}
