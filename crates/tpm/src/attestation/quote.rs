//! The check of a quote: whether the attestation key's TPM reports these PCR values, for this
//! nonce.

use alloc::vec::Vec;

use keyproof_x509::SignatureVerificationAlgorithm;

use super::{
    Asked, AttestationEvidence, AttestationReason, AttestationReport, CheckedAttestation, Found,
    NOTHING_TO_READ, PARENT_NAME, attestation_checks, check_frame, read,
};
use crate::{
    algorithm::HashAlgorithm,
    attest::{Attested, TpmsAttest, TpmsClockInfo, TpmsQuoteInfo},
    key_policy::AttestationKeyPolicy,
    name::{Hierarchy, QualifiedName},
    pcr::{QuotedRegisters, TpmlPcrSelection},
    public::TpmtPublic,
};

/// The evidence that a device sends for a quote.
///
/// ```
/// use keyproof_tpm::QuoteEvidence;
///
/// // The files that `tpm2_quote -m ATTEST -s SIGNATURE -o VALUES -F values` writes.
/// let evidence = QuoteEvidence {
///     attest: include_bytes!("../../tests/vectors/rsa2048/quote.tpms_attest.bin"),
///     signature: include_bytes!("../../tests/vectors/rsa2048/quote.tpmt_signature.bin"),
///     pcr_values: Some(include_bytes!("../../tests/vectors/rsa2048/quote.pcrs.values.bin")),
/// };
/// # assert_eq!(evidence.pcr_values.map(<[u8]>::len), Some(9 * 32));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct QuoteEvidence<'a> {
    /// The `TPMS_ATTEST` as received. The signature covers exactly these bytes.
    pub attest: &'a [u8],
    /// The `TPMT_SIGNATURE`, as received.
    pub signature: &'a [u8],
    /// The values of the quoted registers, concatenated in selection order, if available.
    pub pcr_values: Option<&'a [u8]>,
}

/// A verifier's requirements for a quote.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct QuotePolicy<'a> {
    /// The nonce that was sent to the device for this quote.
    pub nonce: &'a [u8],
    /// The registers that must be quoted; `None` accepts any, with a warning
    /// ([`QuotePolicy::without_selection`]).
    pub selection: Option<&'a TpmlPcrSelection>,
    /// The attestation key's parent, a primary key of the endorsement hierarchy. `None` leaves
    /// `qualifiedSigner` unchecked.
    pub ek: Option<&'a TpmtPublic>,
    /// Clock and counters of the last accepted quote by this key.
    pub last_seen: Option<TpmsClockInfo>,
    /// The accepted attestation keys.
    pub key_policy: AttestationKeyPolicy,
    /// The signature algorithms to verify with, such as those of
    /// [`keyproof_x509::algorithms`].
    pub algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
}

impl<'a> QuotePolicy<'a> {
    /// Creates a policy from the nonce that was sent to the device, the registers that must be
    /// quoted, and the signature algorithms. It has the default key policy, and leaves the key's
    /// qualified name and earlier clock values unchecked. Set the other fields afterwards:
    ///
    /// ```
    /// # fn asked(nonce: &[u8], ek: &keyproof_tpm::TpmtPublic) -> Result<(), keyproof_tpm::TpmError> {
    /// # #[cfg(feature = "ring")] {
    /// use keyproof_tpm::{QuotePolicy, algorithms::RING};
    ///
    /// let selection = "sha256:0,1,2,3,4,5,6,7".parse()?;
    /// let mut policy = QuotePolicy::new(nonce, &selection, RING);
    /// policy.ek = Some(ek);
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(
        nonce: &'a [u8],
        selection: &'a TpmlPcrSelection,
        algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
    ) -> Self {
        Self {
            selection: Some(selection),
            ..Self::without_selection(nonce, algorithms)
        }
    }

    /// Creates a policy that accepts any registers, with a warning. The device chooses them, so a
    /// quote may leave out every register that matters.
    pub fn without_selection(
        nonce: &'a [u8],
        algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
    ) -> Self {
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
        /// `pcr-selection`: it quotes the requested registers, and at least one.
        PcrSelection = "pcr-selection", "it quotes the registers that were asked for";
        /// `pcr-digest`: its digest matches the given values, over all banks.
        PcrDigest = "pcr-digest", "the digest of the given values";
    }
}

/// The result of checking a quote.
#[derive(Clone, Debug)]
#[must_use = "its report has the verdict on the quote"]
#[non_exhaustive]
pub struct CheckedQuote {
    /// The checks.
    pub report: AttestationReport<QuoteCheck>,
    /// The contents of the quote, if the report accepts it.
    pub accepted: Option<AcceptedQuote>,
}

/// The contents of a quote that was accepted. Only [`check_quote`] creates it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AcceptedQuote {
    /// The quote. Store its `clock_info` as [`QuotePolicy::last_seen`] of the next check.
    pub attest: TpmsAttest,
    /// The quoted registers with their values; `None` if the evidence contained no values.
    pub registers: Option<QuotedRegisters>,
}

/// Checks a quote (`TPM2_Quote`; Part 2, 10.12.4) signed by the key with the public area `ak`.
///
/// The check needs the whole public area, not just the key: a key that is not restricted signs
/// forged attestations. Only a public area that a credential or a certificate binds to its TPM
/// shows that the key is restricted.
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
/// let selection = "sha256:0,1,2,3,4,5,6,7,16".parse()?;
/// let quote = check_quote(&ak, &evidence, &QuotePolicy::new(b"another one", &selection, RING));
/// assert!(quote.accepted.is_none());
/// let report = quote.report;
/// assert_eq!(report.outcome(QuoteCheck::ExtraData), Outcome::Fail); // genuine, and made for another request
/// assert_eq!(report.outcome(QuoteCheck::Signature), Outcome::Pass);
/// # }
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
pub fn check_quote(
    ak: &TpmtPublic,
    evidence: &QuoteEvidence<'_>,
    policy: &QuotePolicy<'_>,
) -> CheckedQuote {
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
    let found = read(&mut report, ak, evidence_read, &asked);
    let Some((read, Attested::Quote(quote))) =
        found.as_ref().map(|read| (read, &read.attest.attested))
    else {
        report.remaining_not_evaluated(NOTHING_TO_READ);
        return CheckedQuote {
            report,
            accepted: None,
        };
    };
    check_selection(&mut report, quote, policy.selection);
    check_digest(&mut report, quote, evidence.pcr_values, read.signed_hash);
    let banks = quote
        .pcr_select
        .banks()
        .iter()
        .filter(|bank| bank.registers().next().is_some())
        .map(|bank| ("a quoted bank", Some(bank.hash())));
    let parent = policy.ek.and_then(|ek| ek.name_alg);
    let hashes: Vec<_> = banks.chain([(PARENT_NAME, parent)]).collect();
    check_frame(&mut report, ak, read, &asked, &hashes);
    // If the values were given, an accepted report has compared them with the digest.
    let values = evidence.pcr_values;
    let registers = values.map(|values| QuotedRegisters::new(quote.pcr_select.clone(), values));
    let CheckedAttestation { report, accepted } = CheckedAttestation::new(report, found);
    CheckedQuote {
        accepted: accepted.map(|attest| AcceptedQuote { attest, registers }),
        report,
    }
}

fn check_selection(
    report: &mut AttestationReport<QuoteCheck>,
    quote: &TpmsQuoteInfo,
    asked: Option<&TpmlPcrSelection>,
) {
    let quoted = &quote.pcr_select;
    let reason = match asked {
        _ if quoted.is_empty() => AttestationReason::SelectionEmpty,
        None => AttestationReason::SelectionNotChecked(quoted.clone()),
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
        return report.not_evaluated(check, "not checked: the signature's hash is unknown");
    };
    let expected = quote.pcr_select.values_size();
    match values {
        _ if quote.pcr_digest.len() != hash.digest_size() => {
            report.found(check, AttestationReason::DigestSize(hash));
        }
        None => report.not_requested(check, "no register values were given"),
        Some(values) if values.len() != expected => {
            let found = values.len();
            report.found(check, AttestationReason::ValuesSize { expected, found });
        }
        Some(values) => report.unless_ok(
            hash.digest(&[values])
                .map(|digest| digest == *quote.pcr_digest),
            check,
            AttestationReason::DigestMismatch,
        ),
    }
}
