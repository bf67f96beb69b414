//! Templates of endorsement and attestation keys, which complete a bare public key to a public
//! area.

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

/// A default template for endorsement keys (TCG EK Credential Profile for TPM Family 2.0, Annex B).
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

/// The assumed properties of an attestation key of which only the bare public key is known.
///
/// The assumption is safe for a credential: it opens only in a TPM that has an object with exactly
/// the resulting Name. It is not safe for a quote until such a credential has been opened.
///
/// ```
/// use keyproof_tpm::{AttestationTemplate, EndorsementTemplate, Name, ObjectAttributes, Structure, TpmtPublic};
///
/// let ek = TpmtPublic::parse_sized(include_bytes!("../tests/vectors/rsa2048/ek.pub.tpm2b"))?;
/// assert_eq!(EndorsementTemplate::of(&ek)?.name(), "L-1"); // of the TCG's profile
/// // For a device that sends its attestation key as PEM or DER: the Name, if `tpm2_createak` made the
/// // key.
/// let template = AttestationTemplate::below(&ek)?;
/// assert!(template.is_attestation_key() && template.object_attributes.contains(ObjectAttributes::RESTRICTED));
/// let ak = TpmtPublic::attestation_from_spki(include_bytes!("../tests/vectors/rsa2048/ak.pub.spki.der"), &template)?;
/// assert_eq!(Name::of(&ak)?.as_bytes(), include_bytes!("../tests/vectors/rsa2048/ak.name.bin"));
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttestationTemplate {
    /// The name algorithm; `tpm2_createak` uses that of the endorsement key.
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

/// The attributes that bind a restricted key to its TPM.
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

/// PolicyB: PolicyA, or the policy in an NV index of the vendor.
const POLICY_B_SHA256: &[u8] = b"\xca\x3d\x0a\x99\xa2\xb9\x39\x06\xf7\xa3\x34\x24\x14\xef\xcf\xb3\
    \xa3\x85\xd4\x4c\xd1\xfd\x45\x90\x89\xd1\x9b\x50\x71\xc0\xb7\xa0";

/// PolicyB with SHA-384.
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
    /// For each type of key, the first template is the one assumed for a bare public key.
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

    /// Returns the template's name in the profile, such as `L-1`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the template that matches `public` in everything except the key itself.
    ///
    /// # Errors
    ///
    /// [`TpmError::TemplateMismatch`] with the first property that differs from the default
    /// template for the type and size.
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

    /// Returns the first property in which `public` differs from this template.
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

    /// Creates the public area with this template and `key`.
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
    /// 0x00050072: the attributes that `tpm2_createak` sets.
    pub const ATTRIBUTES: ObjectAttributes = FIXED
        .union(ObjectAttributes::USER_WITH_AUTH)
        .union(ObjectAttributes::SIGN);

    /// Returns the template that `tpm2_createak` uses below an endorsement key: its name algorithm,
    /// and SHA-256 for signatures.
    ///
    /// # Errors
    ///
    /// [`TpmError::NoNameAlgorithm`] if the endorsement key has no name algorithm.
    pub fn below(ek: &TpmtPublic) -> Result<Self, TpmError> {
        Ok(Self {
            name_alg: ek.name_alg.ok_or(TpmError::NoNameAlgorithm)?,
            object_attributes: Self::ATTRIBUTES,
            scheme_hash: HashAlgorithm::Sha256,
        })
    }

    /// Returns whether keys of this template are attestation keys: restricted, for signing only,
    /// made in the TPM and fixed to it, and without a weak hash.
    pub fn is_attestation_key(&self) -> bool {
        let attributes = self.object_attributes;
        attributes.contains(FIXED.union(ObjectAttributes::SIGN))
            && !attributes.contains(ObjectAttributes::DECRYPT)
            && !self.scheme_hash.is_weak()
            && !self.name_alg.is_weak()
    }
}

impl TpmtPublic {
    /// Builds the public area of the endorsement key with the bare public key `spki` (DER), from
    /// the default template for its type: low range for RSA 2048 and P-256, high range for RSA
    /// 3072, RSA 4096 and P-384.
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

    /// Builds the public area of the attestation key with the bare public key `spki` (DER),
    /// assuming that it was made with `template`.
    ///
    /// Any key yields a public area, including a software key that signs forged attestations. Only
    /// a credential for its Name ([`make_credential`](crate::make_credential)) proves the
    /// assumption. Until that has been opened, do not rely on any attestation under this public
    /// area, whatever its report states.
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

/// Returns whether there is a default template for endorsement keys of this type and size.
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

/// Creates a key with the parameters of a template.
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

/// Returns the size in bits of a modulus whose top bit is set.
fn rsa_bits(modulus: &[u8]) -> Result<u16, TpmError> {
    let full = modulus.first().is_some_and(|first| first >> 7 == 1);
    match modulus.len() {
        256 if full => Ok(2048),
        384 if full => Ok(3072),
        512 if full => Ok(4096),
        _ => Err(unsupported("its RSA size is not 2048, 3072 or 4096")),
    }
}
