//! Single structures: public areas, attestations, signatures, selections, credentials, creation data.

use keyproof_tpm::{
    Agreement, AttestationKeyPolicy, Credential, CredentialError, CredentialProvider,
    DevIdKeyPolicy, EccCurve, EncryptedSecret, EndorsementTemplate, HashAlgorithm, Name,
    ObjectAttributes, ProviderError, Structure, TpmError, TpmlPcrSelection, TpmsAttest,
    TpmsCreationData, TpmsIdObject, TpmtPublic, TpmtSignature, TpmtTkCreation, make_credential,
    make_credential_with_seed,
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
    credential(&public);
}

/// A credential for any public area as endorsement key: if it can be made, it is bound to the Name, and its file comes back.
fn credential(ek: &TpmtPublic) {
    let Ok(name) = Name::of(ek) else { return };
    let mut other = ek.clone();
    other.object_attributes = if ek.object_attributes.contains(ObjectAttributes::RESTRICTED) {
        ek.object_attributes.without(ObjectAttributes::RESTRICTED)
    } else {
        ek.object_attributes | ObjectAttributes::RESTRICTED
    };
    let other = Name::of(&other).expect("it has the same name algorithm");
    let make = |name: &Name, secret: &[u8]| {
        let mut random = |bytes: &mut [u8]| {
            bytes.fill(7);
            Ok::<(), u8>(())
        };
        make_credential(&Unencrypted, ek, name, secret, &mut random)
    };
    let made = match make(&name, b"secret") {
        Ok(made) => made,
        Err(CredentialError::Tpm(error)) => return assert!(!error.to_string().is_empty()),
        Err(error) => panic!("{error}"),
    };
    assert_eq!(Credential::parse(&made.to_bytes()).as_ref(), Ok(&made));
    let bound = make(&other, b"secret").expect("the key is the same");
    assert_ne!(
        bound.id_object.integrity_hmac,
        made.id_object.integrity_hmac
    );
    assert_ne!(bound.id_object.enc_identity, made.id_object.enc_identity);
    let too_long = make(&name, &[0; 65]);
    assert!(matches!(
        too_long,
        Err(CredentialError::Tpm(TpmError::SecretSize { .. }))
    ));
    let failed = make_credential(&Unencrypted, ek, &name, b"secret", &mut |_| Err(7_u8));
    assert!(matches!(failed, Err(CredentialError::Random(7))));
    let seed = make_credential_with_seed(&Unencrypted, ek, &name, b"secret", &[]);
    assert!(matches!(seed, Err(TpmError::WrongSize { .. })));
}

/// Takes the place of the cryptography, so that only the code around it runs.
struct Unencrypted;

impl CredentialProvider for Unencrypted {
    fn rsa_oaep_encrypt(
        &self,
        spki: &[u8],
        _hash: HashAlgorithm,
        label: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, ProviderError> {
        assert!(!spki.is_empty() && label == b"IDENTITY\0");
        Ok(plaintext.to_vec())
    }

    fn ecdh(
        &self,
        _curve: EccCurve,
        private_key: &[u8],
        peer: &[u8],
    ) -> Result<Agreement, ProviderError> {
        assert_eq!(peer.len(), 2 * private_key.len() + 1);
        Ok(Agreement {
            public_key: peer.to_vec(),
            shared_x: private_key.to_vec().into(),
        })
    }

    fn aes_cfb_encrypt(&self, key: &[u8], data: &mut [u8]) -> Result<(), ProviderError> {
        for (byte, key) in data.iter_mut().zip(key.iter().cycle()) {
            *byte ^= key;
        }
        Ok(())
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
