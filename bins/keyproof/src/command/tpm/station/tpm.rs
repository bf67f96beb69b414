//! The TPM of this machine, or the one that `TPM2TOOLS_TCTI` names, and its keys.

use std::time::Duration;

use data_encoding::HEXLOWER;
use keyproof_tpm::{
    ActivationKey, EccScheme, EkCertificate, EkChain, HashAlgorithm, PublicKey, RsaScheme,
    Structure, TpmError, TpmlPcrSelection, TpmtPublic,
};
use zeroize::Zeroizing;

use super::{
    endorsement::{CHAIN, KINDS, Kind, ToolsFor},
    tools::{ToolError, Tools},
};

/// Why the TPM does not do its part.
#[derive(Debug, thiserror::Error)]
pub(super) enum TpmUseError {
    /// There is no endorsement certificate where the TPM should have one.
    #[error("the TPM has no endorsement certificate in its NV memory: name a file (--ek-cert)")]
    NoCertificate,
    /// The certificate is of another key.
    #[error("the endorsement certificate is not of the key that the TPM makes by the template {0}")]
    OtherKey(&'static str),
    /// There are no certificates of such keys.
    #[error("{0:#010x} is not where an endorsement certificate is")]
    OtherPlace(u32),
    /// One of tpm2-tools failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// What the TPM has or made is not what it should be.
    #[error("{what}: {source}")]
    Unreadable {
        what: &'static str,
        source: TpmError,
    },
}

/// A TPM at work.
pub(super) struct Tpm {
    tools: Tools,
}

/// An endorsement certificate, without what stands around it in NV memory, and the kind of its key.
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
    /// The TPM2B_PRIVATE, which only its TPM can use.
    pub(super) private: Vec<u8>,
}

/// A quote as the TPM made it.
pub(super) struct Quote {
    pub(super) attest: Vec<u8>,
    pub(super) signature: Vec<u8>,
    pub(super) values: Vec<u8>,
}

/// PolicyB with SHA-256 (TCG EK Credential Profile for TPM Family 2.0, B.6.2).
const POLICY_B: &[u8] = b"\xca\x3d\x0a\x99\xa2\xb9\x39\x06\xf7\xa3\x34\x24\x14\xef\xcf\xb3\
    \xa3\x85\xd4\x4c\xd1\xfd\x45\x90\x89\xd1\x9b\x50\x71\xc0\xb7\xa0";

const EK_ATTRIBUTES: &str =
    "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|adminwithpolicy|restricted|decrypt";
const AK_ATTRIBUTES: &str = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign";

impl AttestationKey {
    /// The scheme and the hash with which it signs, as tpm2-tools call them.
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
    /// `limit` is how long each of tpm2-tools may take.
    pub(super) fn new(limit: Duration) -> Result<Self, TpmUseError> {
        let tools = Tools::new(limit)?;
        Ok(Self { tools })
    }

    /// Ends the work, leaving nothing in the TPM.
    pub(super) async fn close(self) {
        self.tools.close().await;
    }

    /// The endorsement certificate at an index of NV memory, or the first that is there.
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

    /// The certificates that the TPM carries of its endorsement certificate's chain, if it does.
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
        // By the index's own authorization, which is empty; some have the owner's alone.
        let by_itself = self.tools.run("tpm2_nvread", &["-o", "nv", &*index]).await;
        if let Err(ToolError::Failed { .. }) = by_itself {
            let by_owner = ["-C", "o", "-o", "nv", &*index];
            self.tools.run("tpm2_nvread", &by_owner).await?;
        } else {
            by_itself?;
        }
        Ok(self.tools.read("nv")?)
    }

    /// The endorsement key of a kind, which is the same each time it is made.
    pub(super) async fn endorsement_key(
        &self,
        kind: &'static Kind,
    ) -> Result<EndorsementKey, TpmUseError> {
        let Kind {
            algorithm, hash, ..
        } = kind;
        match kind.tools {
            ToolsFor::CreateEk { .. } => {
                let made = ["-G", algorithm, "-c", "ek.ctx", "-u", "ek.pub", "-f", "tss"];
                self.tools.run("tpm2_createek", &made).await?;
            }
            ToolsFor::CreatePrimary => {
                self.tools.write("policy", POLICY_B)?;
                let algorithm = format!("{algorithm}:null:aes128cfb");
                let key = ["-C", "e", "-g", hash, "-G", &*algorithm, "-c", "ek.ctx"];
                let of = ["-a", EK_ATTRIBUTES, "-L", "policy"];
                let made = [&key[..], &of].concat();
                self.tools.run("tpm2_createprimary", &made).await?;
                let read = ["-c", "ek.ctx", "-f", "tss", "-o", "ek.pub"];
                self.tools.run("tpm2_readpublic", &read).await?;
            }
        }
        Ok(EndorsementKey {
            kind,
            public: self.public("ek.pub", "the endorsement key")?,
        })
    }

    /// Makes a new attestation key below an endorsement key, which signs by `scheme`.
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
                // It knows how the endorsement key is used.
                let key = ["-G", algorithm, "-g", hash, "-s", scheme];
                let as_tss = ["-f", "tss", "-c", "ak.ctx"];
                let made = [&files[..], &key, &as_tss].concat();
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

    /// Loads an attestation key that was made before: `None` if the TPM does not know it.
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

    /// Takes the key from a credential file (`TPM2_ActivateCredential`).
    pub(super) async fn activate(
        &mut self,
        ek: &EndorsementKey,
        credential: &[u8],
    ) -> Result<ActivationKey, TpmUseError> {
        self.tools.write("credential", credential)?;
        let opened = [
            "-c",
            "ak.ctx",
            "-C",
            "ek.ctx",
            "-i",
            "credential",
            "-o",
            "key",
        ];
        self.as_endorsement_key(ek, "tpm2_activatecredential", &opened)
            .await?;
        let key: Zeroizing<Vec<u8>> = self.tools.take_secret("key")?;
        ActivationKey::from_bytes(&key).map_err(unreadable("the credential's key"))
    }

    /// Runs a tool that uses the endorsement key, and takes its authorization by `-P`.
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

    /// Has registers quoted by the attestation key that was made or loaded last.
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
        let written = [
            "-m",
            "attest",
            "-s",
            "signature",
            "-o",
            "values",
            "-F",
            "values",
        ];
        self.tools
            .run("tpm2_quote", &[&asked[..], &signed, &written].concat())
            .await?;
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

fn unreadable(what: &'static str) -> impl Fn(TpmError) -> TpmUseError {
    move |source| TpmUseError::Unreadable { what, source }
}
