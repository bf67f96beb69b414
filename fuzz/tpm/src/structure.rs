//! Single structures: public areas, attestations, signatures, selections, credentials, creation data.

use keyproof_tpm::{
    AttestationKeyPolicy, Credential, DevIdKeyPolicy, EncryptedSecret, EndorsementTemplate, Name,
    ObjectAttributes, Structure, TpmError, TpmlPcrSelection, TpmsAttest, TpmsCreationData,
    TpmsIdObject, TpmtPublic, TpmtSignature, TpmtTkCreation,
};

use crate::report::sound;

/// Public areas, and values derived from them.
pub fn public(data: &[u8]) {
    comes_back::<TpmtPublic>(data);
    let Ok(public) = TpmtPublic::parse_any(data) else {
        return;
    };
    let _ = Name::of(&public);
    sound(&AttestationKeyPolicy::default().check(&public));
    sound(&DevIdKeyPolicy::default().check(&public));
    // The displayed attributes name exactly those that are set.
    let attributes = public.object_attributes;
    let restricted = attributes.to_string().contains("restricted");
    assert_eq!(
        restricted,
        attributes.contains(ObjectAttributes::RESTRICTED)
    );
    let without = attributes.without(ObjectAttributes::RESTRICTED);
    assert!(!without.contains(ObjectAttributes::RESTRICTED));
    let with = without | ObjectAttributes::RESTRICTED;
    assert!(with.contains(ObjectAttributes::RESTRICTED) && with.contains(without));
    assert!(format!("{public:?}").contains("ObjectAttributes"));
    if let Ok(spki) = public.to_spki()
        && let Ok(ek) = TpmtPublic::endorsement_from_spki(&spki)
    {
        assert_eq!(ek.to_spki().as_ref(), Ok(&spki));
        assert!(EndorsementTemplate::of(&ek).is_ok());
    }
}

/// Attestations.
pub fn attest(data: &[u8]) {
    comes_back::<TpmsAttest>(data);
}

/// Signatures.
pub fn signature(data: &[u8]) {
    comes_back::<TpmtSignature>(data);
}

/// PCR selections, as bytes and as text.
pub fn pcr_selection(data: &[u8]) {
    comes_back::<TpmlPcrSelection>(data);
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    match text.parse::<TpmlPcrSelection>() {
        Ok(selection) => {
            let shown = selection.to_string();
            assert_eq!(shown.parse().as_ref(), Ok(&selection));
            assert_eq!(
                TpmlPcrSelection::parse(&selection.to_bytes()),
                Ok(selection)
            );
        }
        Err(error) => points_into(data, &error),
    }
}

/// The first output of `TPM2_MakeCredential`.
pub fn id_object(data: &[u8]) {
    comes_back::<TpmsIdObject>(data);
}

/// The second output of `TPM2_MakeCredential`.
pub fn encrypted_secret(data: &[u8]) {
    comes_back::<EncryptedSecret>(data);
}

/// Creation data.
pub fn creation_data(data: &[u8]) {
    comes_back::<TpmsCreationData>(data);
    comes_back::<TpmtTkCreation>(data);
}

/// Credential files of tpm2-tools.
pub fn credential_file(data: &[u8]) {
    comes_back::<Credential>(data);
}

/// Asserts that an accepted structure encodes to the same bytes, with or without its size prefix, and that an error's position is
/// within the input.
pub(crate) fn comes_back<S: Structure>(data: &[u8]) {
    match S::parse(data) {
        Ok(structure) => assert_eq!(structure.to_bytes(), data),
        Err(error) => points_into(data, &error),
    }
    match S::parse_sized(data) {
        Ok(structure) => assert_eq!(structure.to_sized_bytes(), data),
        Err(error) => points_into(data, &error),
    }
}

pub(crate) fn points_into(data: &[u8], error: &TpmError) {
    assert!(
        error.position().is_none_or(|at| at <= data.len()),
        "{error:?}"
    );
}
