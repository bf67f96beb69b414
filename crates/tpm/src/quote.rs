//! The check of a quote: is this what the TPM with this attestation key says, now, of these
//! registers?

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;

use keyproof_x509::{Curve, Hash, Scheme, SignatureVerificationAlgorithm, SubjectPublicKeyInfo};

use crate::algorithm::{EccCurve, HashAlgorithm};
use crate::attest::{
    AttestType, Attested, TPM_GENERATED, TpmsAttest, TpmsClockInfo, TpmsQuoteInfo,
};
use crate::key_policy::AttestationKeyPolicy;
use crate::name::{Hierarchy, QualifiedName};
use crate::pcr::TpmlPcrSelection;
use crate::public::{EccScheme, PublicKey, RsaScheme, TpmtPublic};
use crate::report::{Report, Tell, checks};
use crate::signature::TpmtSignature;
use crate::spki::ecdsa_sig_value;
use crate::wire::{Reader, Structure};

/// What a device sends.
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

checks! {
    /// The checks of a quote, in the order of reports.
    pub QuoteCheck {
        /// `attesting-key`: the public area is that of an attestation key
        /// ([`AttestationKeyPolicy::check`]).
        AttestingKey = "attesting-key";
        /// `signature`: it verifies over the received bytes, by the key's own scheme.
        Signature = "signature";
        /// `magic`: the attestation begins with `TPM_GENERATED_VALUE`.
        Magic = "magic";
        /// `type`: it is a quote.
        Type = "type";
        /// `structure`: it is one `TPMS_ATTEST`, with nothing left over.
        Structure = "structure";
        /// `extra-data`: it carries the nonce.
        ExtraData = "extra-data";
        /// `pcr-selection`: it quotes the registers that were asked for, and at least one.
        PcrSelection = "pcr-selection";
        /// `pcr-digest`: its digest is that of the given values, over all banks.
        PcrDigest = "pcr-digest";
        /// `weak-hashes`: no quoted bank, signature or Name is of a weak hash.
        WeakHashes = "weak-hashes";
        /// `qualified-signer`: it names the key, below the endorsement key.
        QualifiedSigner = "qualified-signer";
        /// `reset-counters`: the TPM's resets and restarts have not gone back.
        ResetCounters = "reset-counters";
        /// `clock`: the TPM's clock has not gone back.
        Clock = "clock";
    }
}

/// Fewer bytes than this may repeat.
const USUAL_NONCE: usize = 16;

/// Checks a quote by the key with the public area `ak`.
///
/// The whole public area is needed, never the key alone: a key that is not restricted signs forged
/// attestations, and only the public area, once it is bound to its TPM by a credential or a
/// certificate, says that it is.
pub fn check_quote(
    ak: &TpmtPublic,
    evidence: &QuoteEvidence<'_>,
    policy: &QuotePolicy<'_>,
) -> Report<QuoteCheck> {
    let mut report = Report::new();
    check_key(&mut report, ak, policy);
    let signed_hash = check_signature(&mut report, ak, evidence, policy);
    check_head(&mut report, evidence.attest);
    let attest = check_structure(&mut report, evidence.attest);
    let Some((attest, Attested::Quote(quote))) =
        attest.as_ref().map(|attest| (attest, &attest.attested))
    else {
        // `type` or `structure` has failed.
        report.others_not_judged("not judged: there is no quote to read");
        return report;
    };
    check_nonce(&mut report, attest, policy.nonce);
    check_selection(&mut report, quote, policy.selection);
    check_digest(&mut report, quote, evidence.pcr_values, signed_hash);
    check_hashes(&mut report, ak, quote, signed_hash);
    check_signer(&mut report, ak, attest, policy.ek);
    check_counters(&mut report, &attest.clock_info, policy.last_seen.as_ref());
    check_clock(&mut report, &attest.clock_info, policy.last_seen.as_ref());
    report
}

fn check_key(report: &mut Report<QuoteCheck>, ak: &TpmtPublic, policy: &QuotePolicy<'_>) {
    let found = policy.key_policy.check(ak);
    report.judge(
        QuoteCheck::AttestingKey,
        found.accepted(),
        "a restricted signing key that cannot leave its TPM",
        found.reasons(),
    );
}

/// Returns the hash that was signed with, if the signature can be read at all.
fn check_signature(
    report: &mut Report<QuoteCheck>,
    ak: &TpmtPublic,
    evidence: &QuoteEvidence<'_>,
    policy: &QuotePolicy<'_>,
) -> Option<HashAlgorithm> {
    let check = QuoteCheck::Signature;
    let signature = match TpmtSignature::parse(evidence.signature) {
        Ok(signature) => signature,
        Err(error) => {
            report.fail(check, format!("not a TPMT_SIGNATURE: {error}"));
            return None;
        }
    };
    match verify(ak, evidence.attest, &signature, policy.algorithms) {
        Ok(scheme) => report.pass(check, scheme.name()),
        Err(reason) => report.fail(check, reason),
    }
    Some(signature.hash())
}

/// Verifies by the one scheme that key and signature agree on.
fn verify(
    ak: &TpmtPublic,
    message: &[u8],
    signature: &TpmtSignature,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
) -> Result<Scheme, Cow<'static, str>> {
    let (schemes, encoded) = match (&ak.key, signature) {
        (PublicKey::Ecc(key), TpmtSignature::Ecdsa { hash, r, s })
            if key.scheme == Some(EccScheme::Ecdsa(*hash)) =>
        {
            let curve = match key.curve {
                EccCurve::NistP256 => Curve::P256,
                EccCurve::NistP384 => Curve::P384,
                EccCurve::NistP521 => Curve::P521,
                other => return Err(format!("{other} is not supported").into()),
            };
            let encoded = ecdsa_sig_value(r, s).map_err(|error| format!("{error}"))?;
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
        _ => return Err("its scheme is not the key's".into()),
    };
    let spki = ak.to_spki().map_err(|error| format!("{error}"))?;
    let spki = SubjectPublicKeyInfo::from_der(&spki).map_err(|error| format!("{error}"))?;
    let mut refusal = None;
    for scheme in schemes.into_iter().flatten() {
        match scheme.verify(algorithms, &spki, message, &encoded) {
            Ok(()) => return Ok(scheme),
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    Err(refusal.map_or("no scheme".into(), |error| format!("{error}").into()))
}

fn sha2(hash: HashAlgorithm) -> Result<Hash, String> {
    match hash {
        HashAlgorithm::Sha256 => Ok(Hash::Sha256),
        HashAlgorithm::Sha384 => Ok(Hash::Sha384),
        HashAlgorithm::Sha512 => Ok(Hash::Sha512),
        weak if weak.is_weak() => Err(format!("a signature over {weak} proves nothing")),
        other => Err(format!("{other} is not supported")),
    }
}

/// Magic and type are judged even where the rest cannot be read.
fn check_head(report: &mut Report<QuoteCheck>, attest: &[u8]) {
    let mut reader = Reader::new(attest);
    report.judge(
        QuoteCheck::Magic,
        reader.u32() == Ok(TPM_GENERATED),
        "made by a TPM",
        "it does not begin with TPM_GENERATED_VALUE: no TPM made it",
    );
    match AttestType::read(&mut reader) {
        Ok(AttestType::Quote) => report.pass(QuoteCheck::Type, "a quote"),
        Ok(other) => report.fail(QuoteCheck::Type, format!("{other} is not a quote")),
        Err(error) => report.fail(QuoteCheck::Type, format!("{error}")),
    }
}

fn check_structure(report: &mut Report<QuoteCheck>, attest: &[u8]) -> Option<TpmsAttest> {
    match TpmsAttest::parse(attest) {
        Ok(attest) => {
            report.pass(QuoteCheck::Structure, "one TPMS_ATTEST");
            Some(attest)
        }
        Err(error) => {
            report.fail(QuoteCheck::Structure, format!("not a TPMS_ATTEST: {error}"));
            None
        }
    }
}

fn check_nonce(report: &mut Report<QuoteCheck>, attest: &TpmsAttest, nonce: &[u8]) {
    let check = QuoteCheck::ExtraData;
    if nonce.is_empty() {
        report.fail(
            check,
            "an empty nonce shows nothing about when the quote was made",
        );
    } else if *attest.extra_data != *nonce {
        report.fail(
            check,
            "it does not carry the nonce: it was made for another request",
        );
    } else if nonce.len() < USUAL_NONCE {
        report.warn(
            check,
            format!("a nonce of {} bytes may repeat", nonce.len()),
        );
    } else {
        report.pass(check, "it carries the nonce");
    }
}

fn check_selection(
    report: &mut Report<QuoteCheck>,
    quote: &TpmsQuoteInfo,
    asked: Option<&TpmlPcrSelection>,
) {
    let check = QuoteCheck::PcrSelection;
    let quoted = &quote.pcr_select;
    match asked {
        _ if quoted.is_empty() => report.fail(check, "it quotes no register"),
        None => report.warn(check, format!("any selection was taken: {quoted}")),
        Some(asked) if !quoted.selects_same(asked) => {
            report.fail(check, format!("it quotes {quoted}, not {asked}"));
        }
        Some(_) => report.pass(check, format!("{quoted}")),
    }
}

fn check_digest(
    report: &mut Report<QuoteCheck>,
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
            report.fail(check, format!("it is no digest of {hash}"));
        }
        None => report.not_asked(check, "no register values were given"),
        Some(values) if values.len() != expected => report.fail(
            check,
            format!(
                "{} bytes of register values, not the {expected} of the selection",
                values.len()
            ),
        ),
        Some(values) => match hash.digest(&[values]) {
            Ok(digest) => report.judge(
                check,
                digest == *quote.pcr_digest,
                "the digest of the given values",
                "the given values have another digest",
            ),
            Err(error) => report.fail(check, format!("{error}")),
        },
    }
}

fn check_hashes(
    report: &mut Report<QuoteCheck>,
    ak: &TpmtPublic,
    quote: &TpmsQuoteInfo,
    signed_hash: Option<HashAlgorithm>,
) {
    let banks = quote
        .pcr_select
        .banks()
        .iter()
        .filter(|bank| bank.registers().next().is_some());
    let weak = [
        ("the signature", signed_hash),
        ("the key's Name", ak.name_alg),
    ]
    .into_iter()
    .chain(banks.map(|bank| ("a quoted bank", Some(bank.hash()))))
    .find(|(_, hash)| hash.is_some_and(HashAlgorithm::is_weak));
    match weak {
        Some((what, hash)) => {
            let name = hash.map_or("", HashAlgorithm::name);
            report.fail(
                QuoteCheck::WeakHashes,
                format!("{what} is of {name}, which is weak"),
            );
        }
        None => report.pass(QuoteCheck::WeakHashes, "no hash is weak"),
    }
}

fn check_signer(
    report: &mut Report<QuoteCheck>,
    ak: &TpmtPublic,
    attest: &TpmsAttest,
    ek: Option<&TpmtPublic>,
) {
    let check = QuoteCheck::QualifiedSigner;
    let Some(ek) = ek else {
        report.not_asked(check, "no endorsement key was given");
        return;
    };
    let expected = QualifiedName::of_primary(Hierarchy::Endorsement, ek)
        .and_then(|parent| parent.of_child(ak));
    match expected {
        Ok(expected) => report.judge(
            check,
            *expected.as_bytes() == *attest.qualified_signer,
            "the key, below the endorsement key",
            "it does not name this key below this endorsement key",
        ),
        Err(error) => report.fail(check, format!("{error}")),
    }
}

/// Resets first, then restarts, which a reset sets back to zero.
fn check_counters(
    report: &mut Report<QuoteCheck>,
    now: &TpmsClockInfo,
    last: Option<&TpmsClockInfo>,
) {
    let check = QuoteCheck::ResetCounters;
    let Some(last) = last else {
        report.not_asked(check, "no earlier quote was given");
        return;
    };
    let resets = advance(last.reset_count, now.reset_count);
    let restarts = advance(last.restart_count, now.restart_count);
    match (resets, restarts) {
        (..0, _) => report.fail(
            check,
            format!("{} resets fewer than before", resets.unsigned_abs()),
        ),
        (0, ..0) => {
            report.fail(
                check,
                format!("{} restarts fewer than before", restarts.unsigned_abs()),
            );
        }
        (0, 0) => report.pass(check, "neither reset nor restarted since"),
        (0, _) => report.pass(check, format!("restarted {restarts} times since")),
        _ => report.pass(check, format!("reset {resets} times since")),
    }
}

/// A TPM that lost its power in disorder may set its clock back to what it last stored, and says so
/// until it has passed the highest value that it reported.
fn check_clock(report: &mut Report<QuoteCheck>, now: &TpmsClockInfo, last: Option<&TpmsClockInfo>) {
    let check = QuoteCheck::Clock;
    let Some(last) = last else {
        report.not_asked(check, "no earlier quote was given");
        return;
    };
    let lost_power = advance(last.reset_count, now.reset_count) > 0 && !now.safe;
    if now.clock >= last.clock {
        report.pass(
            check,
            format!("{} ms later", now.clock.saturating_sub(last.clock)),
        );
    } else if lost_power {
        report.warn(check, "set back, as the TPM says after a reset in disorder");
    } else {
        report.fail(
            check,
            format!("{} ms earlier", last.clock.saturating_sub(now.clock)),
        );
    }
}

/// How far a counter went; outside the endorsement and platform hierarchies an unknown constant is
/// added to it, so that it may wrap.
fn advance(from: u32, to: u32) -> i32 {
    to.wrapping_sub(from).cast_signed()
}
