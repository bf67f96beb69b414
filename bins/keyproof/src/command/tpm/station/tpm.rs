//! The TPM of this machine, or the one in `TPM2TOOLS_TCTI`, and its keys.

use std::time::Duration;

use data_encoding::HEXLOWER;
use keyproof_tpm::{
    ActivationKey, EccScheme, EkCertificate, EkChain, HashAlgorithm, PublicKey, RsaScheme,
    Structure, TpmError, TpmlPcrSelection, TpmtPublic,
};
use zeroize::Zeroizing;

use super::{
    endorsement::{CHAIN, KINDS, Kind, ToolsFor, is_of},
    tools::{ToolError, Tools},
};

/// A failure of the TPM.
#[derive(Debug, thiserror::Error)]
pub(super) enum TpmUseError {
    /// There is no endorsement certificate where the TPM should have one.
    #[error("the TPM has no endorsement certificate in its NV memory: name a file (--ek-cert)")]
    NoCertificate,
    /// The certificate is for another key.
    #[error(
        "the endorsement certificate is not for the key that the TPM creates from the template {0}, nor from one in its NV memory"
    )]
    OtherKey(&'static str),
    /// No endorsement certificate is expected at this index.
    #[error("{0:#010x} is not an NV index of an endorsement certificate")]
    OtherPlace(u32),
    /// One of tpm2-tools failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The TPM's data cannot be parsed.
    #[error("{what}: {source}")]
    Unreadable {
        what: &'static str,
        source: TpmError,
    },
}

/// A TPM in use.
pub(super) struct Tpm {
    tools: Tools,
}

/// An endorsement certificate, without the bytes around it in NV memory, and the kind of its key.
pub(super) struct EndorsementCertificate {
    pub(super) kind: &'static Kind,
    pub(super) der: Vec<u8>,
}

/// An endorsement key in the TPM.
pub(super) struct EndorsementKey {
    pub(super) kind: &'static Kind,
    pub(super) public: TpmtPublic,
}

/// An attestation key in the TPM.
pub(super) struct AttestationKey {
    pub(super) public: TpmtPublic,
    /// The TPM2B_PRIVATE, which can be used only in its TPM.
    pub(super) private: Vec<u8>,
}

/// A quote from the TPM.
pub(super) struct Quote {
    pub(super) attest: Vec<u8>,
    pub(super) signature: Vec<u8>,
    pub(super) values: Vec<u8>,
}

/// PolicyB with SHA-256 (TCG EK Credential Profile for TPM Family 2.0, B.6.2).
const POLICY_B: &[u8] = b"\xca\x3d\x0a\x99\xa2\xb9\x39\x06\xf7\xa3\x34\x24\x14\xef\xcf\xb3\
    \xa3\x85\xd4\x4c\xd1\xfd\x45\x90\x89\xd1\x9b\x50\x71\xc0\xb7\xa0";

/// PolicyA: the endorsement hierarchy's authorization (same profile, B.6.2).
const POLICY_A: &[u8] = b"\x83\x71\x97\x67\x44\x84\xb3\xf8\x1a\x90\xcc\x8d\x46\xa5\xd7\x24\
    \xfd\x52\xd7\x6e\x06\x52\x0b\x64\xf2\xa1\xda\x1b\x33\x14\x69\xaa";

/// The attributes of the low-range default templates.
const LOW_ATTRIBUTES: u32 = 0x0003_00b2;

const EK_ATTRIBUTES: &str =
    "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|adminwithpolicy|restricted|decrypt";
const AK_ATTRIBUTES: &str = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign";

impl AttestationKey {
    /// Returns the scheme and the hash of its signatures, by their names in tpm2-tools.
    fn signs_by(&self) -> (&'static str, &'static str) {
        let (scheme, hash) = match &self.public.key {
            PublicKey::Ecc(key) => match key.scheme {
                Some(EccScheme::Ecdsa(hash)) => ("ecdsa", hash),
                _ => ("null", HashAlgorithm::Sha256),
            },
            PublicKey::Rsa(key) => match key.scheme {
                Some(RsaScheme::Rsapss(hash)) => ("rsapss", hash),
                Some(RsaScheme::Rsassa(hash)) => ("rsassa", hash),
                _ => ("null", HashAlgorithm::Sha256),
            },
        };
        (scheme, hash.name())
    }
}

impl Tpm {
    /// `limit` applies to each call of tpm2-tools; `authorization` is the endorsement hierarchy's, if it has one.
    pub(super) fn new(limit: Duration, authorization: Option<&[u8]>) -> Result<Self, TpmUseError> {
        let tools = Tools::new(limit, authorization)?;
        Ok(Self { tools })
    }

    /// Ends the work and frees everything in the TPM.
    pub(super) async fn close(self) {
        self.tools.close().await;
    }

    /// Reads the endorsement certificate at an NV index, or the first one found.
    pub(super) async fn endorsement_certificate(
        &self,
        at: Option<u32>,
    ) -> Result<EndorsementCertificate, TpmUseError> {
        let kind = match at {
            Some(at) => {
                let kind = KINDS.iter().find(|kind| kind.certificate_at == at);
                kind.ok_or(TpmUseError::OtherPlace(at))?
            }
            None => {
                let indices = self.tools.handles("handles-nv-index").await?;
                let kind = KINDS
                    .iter()
                    .find(|kind| indices.contains(&kind.certificate_at));
                kind.ok_or(TpmUseError::NoCertificate)?
            }
        };
        let stored = self.nv(kind.certificate_at).await?;
        let certificate =
            EkCertificate::parse(&stored).map_err(unreadable("the endorsement certificate"))?;
        Ok(EndorsementCertificate {
            kind,
            der: certificate.as_der().to_vec(),
        })
    }

    /// Reads the intermediate CA certificates that the TPM carries, if any.
    pub(super) async fn endorsement_chain(&self) -> Result<Option<EkChain>, TpmUseError> {
        let indices = self.tools.handles("handles-nv-index").await?;
        let mut stored = Vec::new();
        for index in indices.range(CHAIN) {
            stored.extend(self.nv(*index).await?);
        }
        if stored.is_empty() {
            return Ok(None);
        }
        let chain = EkChain::from_der(&stored);
        chain.map(Some).map_err(unreadable("the endorsement chain"))
    }

    async fn nv(&self, index: u32) -> Result<Vec<u8>, TpmUseError> {
        let index = format!("{index:#010x}");
        // With the index's own authorization, which is empty. Some indices accept only the owner's.
        let by_itself = self.tools.run("tpm2_nvread", &["-o", "nv", &*index]).await;
        if let Err(ToolError::Failed { .. }) = by_itself {
            let by_owner = ["-C", "o", "-o", "nv", &*index];
            self.tools.run("tpm2_nvread", &by_owner).await?;
        } else {
            by_itself?;
        }
        Ok(self.tools.read("nv")?)
    }

    /// Creates the endorsement key of a certificate, which is the same each time: from the default template for its
    /// kind or, if that results in another key, from the TPM manufacturer's template.
    pub(super) async fn endorsement_key(
        &self,
        kind: &'static Kind,
        certificate: &EkCertificate<'_>,
    ) -> Result<EndorsementKey, TpmUseError> {
        let ek = self.by_default(kind).await?;
        if is_of(certificate, &ek.public) {
            return Ok(ek);
        }
        if let Some(ek) = self.by_the_makers_template(kind).await?
            && is_of(certificate, &ek.public)
        {
            return Ok(ek);
        }
        Err(TpmUseError::OtherKey(kind.template))
    }

    async fn by_default(&self, kind: &'static Kind) -> Result<EndorsementKey, TpmUseError> {
        let algorithm = kind.algorithm;
        match kind.tools {
            ToolsFor::CreateEk { .. } => {
                let made = ["-G", algorithm, "-c", "ek.ctx", "-u", "ek.pub", "-f", "tss"];
                let made = [&made[..], self.tools.hierarchy()].concat();
                self.tools.run("tpm2_createek", &made).await?;
                self.created(kind)
            }
            ToolsFor::CreatePrimary => {
                self.tools.write("policy", POLICY_B)?;
                let of = ["-a", EK_ATTRIBUTES];
                self.create_primary(kind, algorithm, &of).await
            }
        }
    }

    /// Creates an endorsement key with these further arguments, and with the policy in the file `policy`.
    async fn create_primary(
        &self,
        kind: &'static Kind,
        algorithm: &str,
        of: &[&str],
    ) -> Result<EndorsementKey, TpmUseError> {
        let algorithm = format!("{algorithm}:null:aes128cfb");
        let key = ["-C", "e", "-g", kind.hash, "-G", &*algorithm];
        let files = ["-c", "ek.ctx", "-L", "policy"];
        let made = [&key[..], &files, of, self.tools.hierarchy()].concat();
        self.tools.run("tpm2_createprimary", &made).await?;
        let read = ["-c", "ek.ctx", "-f", "tss", "-o", "ek.pub"];
        self.tools.run("tpm2_readpublic", &read).await?;
        self.created(kind)
    }

    /// Returns the endorsement key that was created last.
    fn created(&self, kind: &'static Kind) -> Result<EndorsementKey, TpmUseError> {
        let public = self.public("ek.pub", "the endorsement key")?;
        Ok(EndorsementKey { kind, public })
    }

    /// Creates the key of a kind from the manufacturer's nonce and template in the TPM; the default applies to a missing one.
    /// `tpm2_createek --template` of version 5.4 creates another key each time.
    async fn by_the_makers_template(
        &self,
        kind: &'static Kind,
    ) -> Result<Option<EndorsementKey>, TpmUseError> {
        let Some([nonce_at, template_at]) = kind.own_template_at else {
            return Ok(None);
        };
        let indices = self.tools.handles("handles-nv-index").await?;
        let [has_nonce, has_template] = [nonce_at, template_at].map(|at| indices.contains(&at));
        if !has_nonce && !has_template {
            return Ok(None);
        }
        let (mut nonce, mut template) = (Vec::new(), Vec::new());
        if has_nonce {
            nonce = self.nv(nonce_at).await?;
        }
        if has_template {
            template = self.nv(template_at).await?;
        }
        let template = (!template.is_empty()).then(|| TpmtPublic::parse(&template));
        let template = template.transpose();
        let template = template.map_err(unreadable("the template of the endorsement key"))?;
        let attributes = template
            .as_ref()
            .map_or(LOW_ATTRIBUTES, |template| template.object_attributes.bits());
        let policy = template
            .as_ref()
            .map_or(POLICY_A, |template| &template.auth_policy);
        self.tools.write("policy", policy)?;
        let unique = unique(kind, template.as_ref(), &nonce);
        self.tools.write("unique", &unique)?;
        let algorithm = if kind.is_rsa() { "rsa2048" } else { "ecc256" };
        let attributes = format!("{attributes:#010x}");
        let of = ["-a", &*attributes, "-u", "unique"];
        self.create_primary(kind, algorithm, &of).await.map(Some)
    }

    /// Creates an attestation key below an endorsement key. It signs with `scheme`.
    pub(super) async fn make_attestation_key(
        &mut self,
        ek: &EndorsementKey,
        scheme: &str,
    ) -> Result<AttestationKey, TpmUseError> {
        let Kind {
            algorithm, hash, ..
        } = ek.kind;
        let files = ["-C", "ek.ctx", "-u", "ak.pub", "-r", "ak.priv"];
        match ek.kind.tools {
            ToolsFor::CreateEk { .. } => {
                // `tpm2_createak` knows how the endorsement key is authorised.
                let key = ["-G", algorithm, "-g", hash, "-s", scheme];
                let as_tss = ["-f", "tss", "-c", "ak.ctx"];
                let made = [&files[..], &key, &as_tss, self.tools.hierarchy()].concat();
                self.tools.run("tpm2_createak", &made).await?;
            }
            ToolsFor::CreatePrimary => {
                let algorithm = format!("{algorithm}:{scheme}-{hash}:null");
                let key = ["-G", &*algorithm, "-g", hash, "-a", AK_ATTRIBUTES];
                let made = [&files[..], &key].concat();
                self.tools.run("tpm2_create", &made).await?;
                self.load(ek).await?;
            }
        }
        Ok(AttestationKey {
            public: self.public("ak.pub", "the attestation key")?,
            private: self.tools.read("ak.priv")?,
        })
    }

    /// Loads an earlier attestation key. Returns `None` if the TPM does not accept it.
    pub(super) async fn load_attestation_key(
        &mut self,
        ek: &EndorsementKey,
        public: TpmtPublic,
        private: Vec<u8>,
    ) -> Result<Option<AttestationKey>, TpmUseError> {
        self.tools.write("ak.pub", &public.to_sized_bytes())?;
        self.tools.write("ak.priv", &private)?;
        match self.load(ek).await {
            Ok(()) => Ok(Some(AttestationKey { public, private })),
            Err(ToolError::Failed {
                tool: "tpm2_load", ..
            }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn load(&mut self, ek: &EndorsementKey) -> Result<(), ToolError> {
        let loaded = [
            "-C", "ek.ctx", "-u", "ak.pub", "-r", "ak.priv", "-c", "ak.ctx",
        ];
        self.as_endorsement_key(ek, "tpm2_load", &loaded).await
    }

    /// Recovers the key from a credential file (`TPM2_ActivateCredential`).
    pub(super) async fn activate(
        &mut self,
        ek: &EndorsementKey,
        credential: &[u8],
    ) -> Result<ActivationKey, TpmUseError> {
        self.tools.write("credential", credential)?;
        let keys = ["-c", "ak.ctx", "-C", "ek.ctx"];
        let files = ["-i", "credential", "-o", "key"];
        let opened = [keys, files].concat();
        self.as_endorsement_key(ek, "tpm2_activatecredential", &opened)
            .await?;
        let key: Zeroizing<Vec<u8>> = self.tools.take_secret("key")?;
        ActivationKey::from_bytes(&key).map_err(unreadable("the credential's key"))
    }

    /// Runs a tool that uses the endorsement key and takes its authorization by `-P`.
    async fn as_endorsement_key(
        &mut self,
        ek: &EndorsementKey,
        tool: &'static str,
        arguments: &[&str],
    ) -> Result<(), ToolError> {
        match ek.kind.tools {
            ToolsFor::CreateEk { by_policy: true } => {
                self.tools.run_by_policy(tool, arguments).await
            }
            ToolsFor::CreateEk { by_policy: false } | ToolsFor::CreatePrimary => {
                self.tools.run(tool, arguments).await
            }
        }
    }

    /// Quotes registers with the attestation key that was created or loaded last.
    pub(super) async fn quote(
        &self,
        ak: &AttestationKey,
        nonce: &[u8],
        selection: &TpmlPcrSelection,
    ) -> Result<Quote, TpmUseError> {
        let (nonce, selection) = (HEXLOWER.encode(nonce), selection.to_string());
        let (scheme, hash) = ak.signs_by();
        let asked = ["-c", "ak.ctx", "-q", &*nonce, "-l", &*selection];
        let signed = ["-g", hash, "--scheme", scheme];
        let written = ["-m", "attest", "-s", "signature"];
        let values = ["-o", "values", "-F", "values"];
        let quoted = [&asked[..], &signed, &written, &values].concat();
        self.tools.run("tpm2_quote", &quoted).await?;
        Ok(Quote {
            attest: self.tools.read("attest")?,
            signature: self.tools.read("signature")?,
            values: self.tools.read("values")?,
        })
    }

    fn public(&self, file: &str, what: &'static str) -> Result<TpmtPublic, TpmUseError> {
        TpmtPublic::parse_sized(&self.tools.read(file)?).map_err(unreadable(what))
    }
}

/// Returns a template's `unique` before the key is created, which begins with the nonce (same profile, B.4): a
/// `TPMU_PUBLIC_ID` as in memory, for tpm2-tools.
fn unique(kind: &Kind, template: Option<&TpmtPublic>, nonce: &[u8]) -> Vec<u8> {
    /// The size of an RSA 2048 modulus, of a P-256 coordinate, and of the buffer for one.
    const MODULUS: usize = 256;
    const COORDINATE: usize = 32;
    const ROOM: usize = 128;
    let of_template: [&[u8]; 2] = match template.map(|template| &template.key) {
        Some(PublicKey::Rsa(key)) => [&key.modulus, &[]],
        Some(PublicKey::Ecc(key)) => [&key.x, &key.y],
        None => [&[], &[]],
    };
    let sized = |value: &[u8], size: usize, room: usize| {
        let mut bytes = u16::try_from(size)
            .unwrap_or_default()
            .to_ne_bytes()
            .to_vec();
        let mut value = value.to_vec();
        value.resize(size, 0);
        value.resize(room, 0);
        bytes.append(&mut value);
        bytes
    };
    let [first, second] = of_template;
    let with_nonce = if nonce.is_empty() { first } else { nonce };
    if kind.is_rsa() {
        return sized(with_nonce, MODULUS, MODULUS);
    }
    let [x, y] = [with_nonce, second].map(|value| sized(value, COORDINATE, ROOM));
    [x, y].concat()
}

fn unreadable(what: &'static str) -> impl Fn(TpmError) -> TpmUseError {
    move |source| TpmUseError::Unreadable { what, source }
}
