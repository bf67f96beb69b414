//! The templates of endorsement and attestation keys: from a bare public key to its public area.

use crate::{
    TpmError,
    algorithm::{EccCurve, HashAlgorithm},
    attributes::ObjectAttributes,
    public::{
        EccPublic, EccScheme, PublicKey, RsaPublic, RsaScheme, SymmetricAlgorithm, SymmetricMode,
        SymmetricObject, TpmtPublic,
    },
    spki::{BareKey, unsupported},
    wire::Buffer,
};

/// A default template for endorsement keys: one of those in TCG EK Credential Profile for TPM
/// Family 2.0, Annex B.
///
/// ```
/// use keyproof_tpm::{EndorsementTemplate, Structure, TpmError, TpmtPublic};
///
/// let ek = TpmtPublic::parse_sized(include_bytes!("../tests/vectors/rsa2048/ek.pub.tpm2b"))?;
/// assert_eq!(EndorsementTemplate::of(&ek)?.name(), "L-1"); // the low range, RSA-2048
/// let ak = TpmtPublic::parse_sized(include_bytes!("../tests/vectors/rsa2048/ak.pub.tpm2b"))?;
/// assert!(matches!(EndorsementTemplate::of(&ak), Err(TpmError::TemplateMismatch { .. })));
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndorsementTemplate {
    name: &'static str,
    key: TemplateKey,
    name_alg: HashAlgorithm,
    object_attributes: ObjectAttributes,
    auth_policy: &'static [u8],
    aes_bits: u16,
}

/// What an attestation key is assumed to be when only its bare public key is known.
///
/// The assumption is safe for credentials: one opens only in a TPM that has an object with exactly the
/// Name that it yields. For a quote it is not, until such a credential was opened.
///
/// ```
/// use keyproof_tpm::{AttestationTemplate, EndorsementTemplate, Name, ObjectAttributes, Structure, TpmtPublic};
///
/// let ek = TpmtPublic::parse_sized(include_bytes!("../tests/vectors/rsa2048/ek.pub.tpm2b"))?;
/// assert_eq!(EndorsementTemplate::of(&ek)?.name(), "L-1"); // of the TCG's profile
/// // A device sent its attestation key as PEM or DER: this is its Name, if it was made as `tpm2_createak` does.
/// let template = AttestationTemplate::below(&ek)?;
/// assert!(template.attests() && template.object_attributes.contains(ObjectAttributes::RESTRICTED));
/// let ak = TpmtPublic::attestation_from_spki(include_bytes!("../tests/vectors/rsa2048/ak.pub.spki.der"), &template)?;
/// assert_eq!(Name::of(&ak)?.as_bytes(), include_bytes!("../tests/vectors/rsa2048/ak.name.bin"));
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttestationTemplate {
    /// The name algorithm; `tpm2_createak` takes that of the endorsement key.
    pub name_alg: HashAlgorithm,
    /// The attributes, usually [`AttestationTemplate::ATTRIBUTES`].
    pub object_attributes: ObjectAttributes,
    /// The hash of the signing scheme, RSASSA or ECDSA.
    pub scheme_hash: HashAlgorithm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum TemplateKey {
    Ecc(EccCurve),
    Rsa(u16),
}

/// What all restricted keys of a TPM have in common that cannot leave it.
const FIXED: ObjectAttributes = ObjectAttributes::FIXED_TPM
    .union(ObjectAttributes::FIXED_PARENT)
    .union(ObjectAttributes::SENSITIVE_DATA_ORIGIN)
    .union(ObjectAttributes::RESTRICTED);

/// 0x000300b2: the low range.
const LOW: ObjectAttributes = FIXED
    .union(ObjectAttributes::ADMIN_WITH_POLICY)
    .union(ObjectAttributes::DECRYPT);

/// 0x000300f2: the high range.
const HIGH: ObjectAttributes = LOW.union(ObjectAttributes::USER_WITH_AUTH);

/// PolicyA: `TPM2_PolicySecret(TPM_RH_ENDORSEMENT)`.
const POLICY_A: &[u8] = b"\x83\x71\x97\x67\x44\x84\xb3\xf8\x1a\x90\xcc\x8d\x46\xa5\xd7\x24\
    \xfd\x52\xd7\x6e\x06\x52\x0b\x64\xf2\xa1\xda\x1b\x33\x14\x69\xaa";

/// PolicyB: PolicyA or the policy in an NV index of the vendor's.
const POLICY_B_SHA256: &[u8] = b"\xca\x3d\x0a\x99\xa2\xb9\x39\x06\xf7\xa3\x34\x24\x14\xef\xcf\xb3\
    \xa3\x85\xd4\x4c\xd1\xfd\x45\x90\x89\xd1\x9b\x50\x71\xc0\xb7\xa0";

/// The same with SHA-384.
const POLICY_B_SHA384: &[u8] = b"\xb2\x6e\x7d\x28\xd1\x1a\x50\xbc\x53\xd8\x82\xbc\xf5\xfd\x3a\x1a\
    \x07\x41\x48\xbb\x35\xd3\xb4\xe4\xcb\x1c\x0a\xd9\xbd\xe4\x19\xca\
    \xcb\x47\xba\x09\x69\x96\x46\x15\x0f\x9f\xc0\x00\xf3\xf8\x0e\x12";

const fn template(
    name: &'static str,
    key: TemplateKey,
    name_alg: HashAlgorithm,
    object_attributes: ObjectAttributes,
    auth_policy: &'static [u8],
    aes_bits: u16,
) -> EndorsementTemplate {
    EndorsementTemplate {
        name,
        key,
        name_alg,
        object_attributes,
        auth_policy,
        aes_bits,
    }
}

impl EndorsementTemplate {
    /// For each type of key the one that a bare public key is taken for comes first.
    const ALL: [Self; 7] = {
        use EccCurve::{NistP256, NistP384};
        use HashAlgorithm::{Sha256, Sha384};
        use TemplateKey::{Ecc, Rsa};
        [
            template("L-1", Rsa(2048), Sha256, LOW, POLICY_A, 128),
            template("L-2", Ecc(NistP256), Sha256, LOW, POLICY_A, 128),
            template("H-1", Rsa(2048), Sha256, HIGH, POLICY_B_SHA256, 128),
            template("H-2", Ecc(NistP256), Sha256, HIGH, POLICY_B_SHA256, 128),
            template("H-3", Ecc(NistP384), Sha384, HIGH, POLICY_B_SHA384, 256),
            template("H-6", Rsa(3072), Sha384, HIGH, POLICY_B_SHA384, 256),
            template("H-7", Rsa(4096), Sha384, HIGH, POLICY_B_SHA384, 256),
        ]
    };

    /// The template's name in the profile, such as `L-1`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The template that `public` follows in everything but the key itself.
    ///
    /// # Errors
    ///
    /// [`TpmError::TemplateMismatch`] names the first property in which it departs from the default
    /// template for its type and size.
    pub fn of(public: &TpmtPublic) -> Result<Self, TpmError> {
        let key = match &public.key {
            PublicKey::Ecc(key) => TemplateKey::Ecc(key.curve),
            PublicKey::Rsa(key) => TemplateKey::Rsa(key.key_bits),
        };
        let mut departure = None;
        for template in Self::ALL.into_iter().filter(|template| template.key == key) {
            match template.departure(public) {
                None => return Ok(template),
                Some(property) => departure = departure.or(Some(property)),
            }
        }
        Err(TpmError::TemplateMismatch {
            property: departure.unwrap_or("size or curve"),
        })
    }

    /// The first property in which `public` is not of this template.
    fn departure(&self, public: &TpmtPublic) -> Option<&'static str> {
        let (symmetric, scheme_is_null, exponent) = match &public.key {
            PublicKey::Ecc(key) => (key.symmetric, key.scheme.is_none() && key.kdf.is_none(), 0),
            PublicKey::Rsa(key) => (key.symmetric, key.scheme.is_none(), key.exponent),
        };
        [
            (public.name_alg == Some(self.name_alg), "name algorithm"),
            (
                public.object_attributes == self.object_attributes,
                "attributes",
            ),
            (*public.auth_policy == *self.auth_policy, "policy"),
            (symmetric == self.symmetric(), "symmetric algorithm"),
            (scheme_is_null, "scheme"),
            (exponent == 0, "exponent"),
        ]
        .into_iter()
        .find_map(|(follows, property)| (!follows).then_some(property))
    }

    fn symmetric(&self) -> Option<SymmetricObject> {
        Some(SymmetricObject {
            algorithm: SymmetricAlgorithm::Aes,
            key_bits: self.aes_bits,
            mode: Some(SymmetricMode::Cfb),
        })
    }

    /// The public area of this template with a key in it.
    fn fill(&self, key: &BareKey) -> Result<TpmtPublic, TpmError> {
        Ok(TpmtPublic {
            name_alg: Some(self.name_alg),
            object_attributes: self.object_attributes,
            auth_policy: Buffer::new(self.auth_policy)?,
            key: fill(key, self.symmetric(), None, None)?,
        })
    }
}

impl AttestationTemplate {
    /// 0x00050072: what `tpm2_createak` gives a key.
    pub const ATTRIBUTES: ObjectAttributes = FIXED
        .union(ObjectAttributes::USER_WITH_AUTH)
        .union(ObjectAttributes::SIGN);

    /// What `tpm2_createak` makes below an endorsement key: its name algorithm, and SHA-256 to sign
    /// with.
    ///
    /// # Errors
    ///
    /// [`TpmError::NoNameAlgorithm`] for an endorsement key without one.
    pub fn below(ek: &TpmtPublic) -> Result<Self, TpmError> {
        Ok(Self {
            name_alg: ek.name_alg.ok_or(TpmError::NoNameAlgorithm)?,
            object_attributes: Self::ATTRIBUTES,
            scheme_hash: HashAlgorithm::Sha256,
        })
    }

    /// Whether every key of the template is an attestation key: restricted, for signatures alone, made in
    /// its TPM and fixed there, with no weak hash.
    pub fn attests(&self) -> bool {
        let attributes = self.object_attributes;
        attributes.contains(FIXED.union(ObjectAttributes::SIGN))
            && !attributes.contains(ObjectAttributes::DECRYPT)
            && !self.scheme_hash.is_weak()
            && !self.name_alg.is_weak()
    }
}

impl TpmtPublic {
    /// The endorsement key whose bare public key is `spki` (DER), by the default template for its
    /// type: RSA 2048 and P-256 of the low range, RSA 3072 and 4096 and P-384 of the high one.
    ///
    /// # Errors
    ///
    /// [`TpmError::UnsupportedPublicKey`].
    pub fn endorsement_from_spki(spki: &[u8]) -> Result<Self, TpmError> {
        let key = BareKey::from_spki(spki)?;
        let template_key = TemplateKey::of(&key)?;
        EndorsementTemplate::ALL
            .iter()
            .find(|template| template.key == template_key)
            .ok_or(unsupported("its size or curve has no template"))?
            .fill(&key)
    }

    /// The attestation key whose bare public key is `spki` (DER), if it was made by `template`.
    ///
    /// That it was is an assumption: any key gives a public area, also one in software that signs forged attestations. Only a
    /// credential for its Name ([`make_credential`](crate::make_credential)) shows that it holds, so until that was opened
    /// no attestation by this public area is worth anything, whatever its report says.
    ///
    /// # Errors
    ///
    /// [`TpmError::UnsupportedPublicKey`].
    pub fn attestation_from_spki(
        spki: &[u8],
        template: &AttestationTemplate,
    ) -> Result<Self, TpmError> {
        let hash = template.scheme_hash;
        let key = BareKey::from_spki(spki)?;
        Ok(Self {
            name_alg: Some(template.name_alg),
            object_attributes: template.object_attributes,
            auth_policy: Buffer::default(),
            key: fill(
                &key,
                None,
                Some(RsaScheme::Rsassa(hash)),
                Some(EccScheme::Ecdsa(hash)),
            )?,
        })
    }
}

/// Whether endorsement keys of its type and size have a default template here.
pub(crate) fn has_template(key: &BareKey) -> bool {
    let mut templates = EndorsementTemplate::ALL.into_iter();
    TemplateKey::of(key).is_ok_and(|key| templates.any(|template| template.key == key))
}

impl TemplateKey {
    fn of(key: &BareKey) -> Result<Self, TpmError> {
        match key {
            BareKey::Ecc { curve, .. } => Ok(Self::Ecc(*curve)),
            BareKey::Rsa { modulus, .. } => rsa_bits(modulus).map(TemplateKey::Rsa),
        }
    }
}

/// A key with the parameters of a template.
fn fill(
    key: &BareKey,
    symmetric: Option<SymmetricObject>,
    rsa_scheme: Option<RsaScheme>,
    ecc_scheme: Option<EccScheme>,
) -> Result<PublicKey, TpmError> {
    Ok(match key {
        BareKey::Ecc { curve, x, y } => PublicKey::Ecc(EccPublic {
            symmetric,
            scheme: ecc_scheme,
            curve: *curve,
            kdf: None,
            x: Buffer::new(x.as_slice())?,
            y: Buffer::new(y.as_slice())?,
        }),
        BareKey::Rsa { modulus, .. } => PublicKey::Rsa(RsaPublic {
            symmetric,
            scheme: rsa_scheme,
            key_bits: rsa_bits(modulus)?,
            exponent: 0,
            modulus: Buffer::new(modulus.as_slice())?,
        }),
    })
}

/// The size of a modulus that has the top bit of its first byte.
fn rsa_bits(modulus: &[u8]) -> Result<u16, TpmError> {
    let full = modulus.first().is_some_and(|first| first >> 7 == 1);
    match modulus.len() {
        256 if full => Ok(2048),
        384 if full => Ok(3072),
        512 if full => Ok(4096),
        _ => Err(unsupported("its RSA size is not 2048, 3072 or 4096")),
    }
}
