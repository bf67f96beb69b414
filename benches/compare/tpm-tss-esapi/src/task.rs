//! The same task with tss-esapi, which parses the structures (with the TSS, in C). ring verifies; the checks are the caller's own.

use std::error::Error;

use ring::{
    digest::{SHA256, digest},
    signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents},
};
use tss_esapi::{
    interface_types::algorithm::HashingAlgorithm,
    structures::{Attest, AttestInfo, PcrSlot, Public, Signature},
    traits::UnMarshall,
};

macro_rules! vector {
    ($name:literal) => {
        include_bytes!(concat!(
            "../../../../crates/tpm/tests/vectors/rsa2048/",
            $name
        ))
    };
}

const REGISTERS: [PcrSlot; 9] = [
    PcrSlot::Slot0,
    PcrSlot::Slot1,
    PcrSlot::Slot2,
    PcrSlot::Slot3,
    PcrSlot::Slot4,
    PcrSlot::Slot5,
    PcrSlot::Slot6,
    PcrSlot::Slot7,
    PcrSlot::Slot16,
];

pub fn task() -> Result<(), Box<dyn Error>> {
    let ak = Public::unmarshall(&vector!("ak.pub.tpm2b")[2..])?;
    let Public::Rsa {
        object_attributes,
        parameters,
        unique,
        ..
    } = ak
    else {
        return Err("not an RSA key".into());
    };
    let is_attestation_key = object_attributes.restricted()
        && object_attributes.sign_encrypt()
        && !object_attributes.decrypt()
        && object_attributes.fixed_tpm()
        && object_attributes.fixed_parent()
        && object_attributes.sensitive_data_origin();

    let received = vector!("quote.tpms_attest.bin");
    let attest = Attest::unmarshall(received)?;
    let AttestInfo::Quote { info } = attest.attested() else {
        return Err("not a quote".into());
    };
    let is_fresh = attest.extra_data().value() == vector!("quote.nonce.bin");
    let is_of_registers =
        info.pcr_digest().value() == digest(&SHA256, vector!("quote.pcrs.values.bin")).as_ref();
    let selections = info.pcr_selection().get_selections();
    let is_of_selection = matches!(selections, [one]
        if one.hashing_algorithm() == HashingAlgorithm::Sha256 && one.selected() == REGISTERS);

    let Signature::RsaSsa(signature) = Signature::unmarshall(vector!("quote.tpmt_signature.bin"))?
    else {
        return Err("another scheme".into());
    };
    let exponent = match parameters.exponent().value() {
        0 => 65_537_u32,
        other => other,
    };
    let key = RsaPublicKeyComponents {
        n: unique.value(),
        e: &exponent.to_be_bytes()[1..],
    };
    key.verify(
        &RSA_PKCS1_2048_8192_SHA256,
        received,
        signature.signature().value(),
    )
    .map_err(|_| "the signature does not verify")?;
    assert!(is_attestation_key && is_fresh && is_of_registers && is_of_selection);
    Ok(())
}
