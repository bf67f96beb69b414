//! `keyproof tpm show`: detects what a file contains, by trying to parse it as each kind.

use std::path::Path;

use der::{Decode, Reader, SliceReader, asn1::UintRef};
use keyproof_tpm::{
    Attested, Credential, EkCertificate, Name, PublicKey, Structure, TPM_GENERATED, TpmsAttest,
    TpmtPublic, TpmtSignature,
};
use serde_json::{Map, Value, json};

use super::{
    files::{self, KEY_IN_PEM, is_key_in_pem},
    hex,
};
use crate::command::{Failure, Outcome, files::read, output};

pub(super) fn run(path: &Path, as_json: bool) -> Outcome {
    let facts = recognised(&read(path)?).map_err(|failure| failure.about(path))?;
    if as_json {
        return output::print_json(&facts);
    }
    let lines: Vec<String> = facts
        .iter()
        .map(|(name, value)| match value {
            Value::String(text) => format!("{name}: {}", output::printable(text)),
            other => format!("{name}: {}", output::printable(&other.to_string())),
        })
        .collect();
    output::print(&lines.join("\n"))
}

fn recognised(bytes: &[u8]) -> Result<Map<String, Value>, Failure> {
    let facts = match bytes {
        [0xba, 0xdc, 0xc0, 0xde, ..] => credential(&Credential::parse(bytes)?),
        _ if bytes.starts_with(&TPM_GENERATED.to_be_bytes()) => attest(&TpmsAttest::parse(bytes)?),
        _ if is_key_in_pem(bytes) => return Err(Failure::Refused(KEY_IN_PEM.to_owned())),
        _ => match (TpmtPublic::parse_any(bytes), TpmtSignature::parse(bytes)) {
            (Ok(key), _) => public(&key),
            (_, Ok(found)) => signature(&found),
            _ => certificate(bytes)?,
        },
    };
    match facts {
        Value::Object(facts) => Ok(facts),
        _ => Ok(Map::new()),
    }
}

fn public(key: &TpmtPublic) -> Value {
    let (kind, size) = match &key.key {
        PublicKey::Ecc(ecc) => ("ecc", ecc.curve.to_string()),
        PublicKey::Rsa(rsa) => ("rsa", rsa.key_bits.to_string()),
    };
    json!({
        "type": "TPMT_PUBLIC",
        "algorithm": kind,
        "size": size,
        "name_algorithm": key.name_alg.map(|hash| hash.name()),
        "attributes": format!("{:#010x}", key.object_attributes.bits()),
        "auth_policy": hex(&key.auth_policy),
        "name": Name::of(key).ok().map(|name| name.to_string()),
    })
}

fn attest(attest: &TpmsAttest) -> Value {
    let mut facts = json!({
        "type": "TPMS_ATTEST",
        "qualified_signer": hex(&attest.qualified_signer),
        "extra_data": hex(&attest.extra_data),
        "clock": attest.clock_info.clock,
        "reset_count": attest.clock_info.reset_count,
        "restart_count": attest.clock_info.restart_count,
        "safe": attest.clock_info.safe,
        "firmware_version": format!("{:#018x}", attest.firmware_version),
        "attested": attest.attest_type().name(),
    });
    let attested = match &attest.attested {
        Attested::Quote(quote) => json!({
            "pcr_selection": quote.pcr_select.to_string(),
            "pcr_digest": hex(&quote.pcr_digest),
        }),
        Attested::Certify(body) => json!({
            "name": hex(&body.name),
            "qualified_name": hex(&body.qualified_name),
        }),
        Attested::CommandAudit(body) => json!({
            "audit_counter": body.audit_counter,
            "digest_algorithm": body.digest_alg.name(),
            "audit_digest": hex(&body.audit_digest),
            "command_digest": hex(&body.command_digest),
        }),
        Attested::Creation(body) => json!({
            "object_name": hex(&body.object_name),
            "creation_hash": hex(&body.creation_hash),
        }),
        Attested::Nv(body) => json!({
            "index_name": hex(&body.index_name),
            "offset": body.offset,
            "nv_contents": hex(&body.nv_contents),
        }),
        Attested::NvDigest(body) => json!({
            "index_name": hex(&body.index_name),
            "nv_digest": hex(&body.nv_digest),
        }),
        Attested::SessionAudit(body) => json!({
            "exclusive_session": body.exclusive_session,
            "session_digest": hex(&body.session_digest),
        }),
        Attested::Time(body) => json!({
            "time": body.time,
            "true_clock": body.clock_info.clock,
            "true_reset_count": body.clock_info.reset_count,
            "true_restart_count": body.clock_info.restart_count,
            "true_firmware_version": format!("{:#018x}", body.firmware_version),
        }),
        _ => json!({}),
    };
    if let (Some(facts), Some(attested)) = (facts.as_object_mut(), attested.as_object()) {
        facts.extend(attested.clone());
    }
    facts
}

fn signature(signature: &TpmtSignature) -> Value {
    let scheme = match signature {
        TpmtSignature::Ecdsa { .. } => "ecdsa",
        TpmtSignature::Rsapss { .. } => "rsapss",
        TpmtSignature::Rsassa { .. } => "rsassa",
        _ => "other",
    };
    json!({
        "type": "TPMT_SIGNATURE",
        "scheme": scheme,
        "hash": signature.hash().name(),
    })
}

fn credential(credential: &Credential) -> Value {
    json!({
        "type": "credential",
        "integrity_hmac": hex(&credential.id_object.integrity_hmac),
        "encrypted_identity_bytes": credential.id_object.enc_identity.len(),
        "encrypted_secret_bytes": credential.encrypted_secret.0.len(),
    })
}

/// Whether it is an ECDSA signature without its algorithm: a SEQUENCE of two INTEGERs (RFC 3279, section 2.2.3).
fn is_plain_signature(bytes: &[u8]) -> bool {
    let numbers = |reader: &mut SliceReader<'_>| -> der::Result<()> {
        reader.sequence(|numbers| {
            UintRef::decode(numbers)?;
            UintRef::decode(numbers)?;
            Ok(())
        })
    };
    SliceReader::new(bytes).is_ok_and(|mut reader| numbers(&mut reader).is_ok())
}

fn certificate(bytes: &[u8]) -> Result<Value, Failure> {
    let stored = files::certificate(bytes).map_err(Failure::Refused)?;
    let parsed = EkCertificate::parse(&stored).map_err(|_| {
        let kinds = "a public area, attestation, signature, credential file or certificate";
        let hint = if is_plain_signature(bytes) {
            "; it may be a signature from tpm2_quote -f plain, which does not name its algorithm: \
             leave out -f plain"
        } else {
            ""
        };
        Failure::Refused(format!("it is not {kinds}{hint}"))
    })?;
    let certificate = parsed.certificate();
    Ok(json!({
        "type": "certificate",
        "subject": certificate.subject().to_string(),
        "issuer": certificate.issuer().to_string(),
        "serial": certificate.serial().to_string(),
        "tpm": parsed.tpm_attributes().ok(),
        "tpm_specification": parsed.tpm_specification().ok().flatten(),
    }))
}
