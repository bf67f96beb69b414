//! `keyproof tpm station provision`

use std::{
    io::{IsTerminal, stdout},
    path::PathBuf,
};

use clap::Args;
use data_encoding::BASE64;
use keyproof_tpm::{EkCertificate, Name, Structure};
use keyproof_x509::{Certificate, ObjectIdentifier};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde::Deserialize;
use serde_json::json;

use super::{
    Device, Scheme, Station, StationArguments,
    endorsement::Kind,
    files::{Enrolled, Record, State},
    server::{Activation, Provision},
    tpm::{AttestationKey, EndorsementCertificate, EndorsementKey, Tpm, TpmUseError},
};
use crate::command::{
    Failure, Outcome,
    files::{pem, read},
    output,
    tpm::{
        SealedAnswer,
        files::{certificate, wrong},
    },
};

/// id-at-organizationName, which has the namespace in the certificate of a category's CA.
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
/// id-at-organizationalUnitName, which has the category there.
const ORGANIZATIONAL_UNIT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.11");

#[derive(Args, Debug)]
pub(in crate::command) struct Arguments {
    #[command(flatten)]
    station: StationArguments,
    #[command(flatten)]
    keys: KeyArguments,
}

/// The arguments about keys.
#[derive(Args, Debug)]
struct KeyArguments {
    /// The NV index of the endorsement certificate, such as 0x01c0000a; if absent, the first that the TPM has
    #[arg(long, value_name = "INDEX", value_parser = nv_index)]
    ek_index: Option<u32>,
    /// The endorsement certificate, if the TPM has none: its manufacturer's server may offer it
    #[arg(long, value_name = "FILE", conflicts_with = "ek_index")]
    ek_cert: Option<PathBuf>,
    /// The signature scheme of a new attestation key; if absent, rsassa or ecdsa, by the endorsement key's type
    #[arg(long, value_name = "SCHEME")]
    ak_scheme: Option<Scheme>,
}

/// The part of a provision response that the device needs.
#[derive(Deserialize)]
struct ProvisionAnswer {
    #[serde(flatten)]
    sealed: SealedAnswer,
    /// In Base64.
    credential_bundle: String,
    activation_ticket: String,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let station = arguments.station.read()?;
    arguments
        .station
        .with_tpm(async |tpm| station.provision(tpm, &arguments.keys).await)
}

fn nv_index(text: &str) -> Result<u32, &'static str> {
    let digits = text.strip_prefix("0x").or(text.strip_prefix("0X"));
    let index = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    index.ok_or("hexadecimal, as in 0x01c00002")
}

impl KeyArguments {
    async fn certificate(&self, tpm: &Tpm) -> Result<EndorsementCertificate, Failure> {
        let Some(path) = &self.ek_cert else {
            return Ok(tpm.endorsement_certificate(self.ek_index).await?);
        };
        let stored = certificate(&read(path)?).map_err(|problem| wrong(path, &problem))?;
        let parsed = EkCertificate::parse(&stored).map_err(|error| wrong(path, &error))?;
        Ok(EndorsementCertificate {
            kind: Kind::of(&parsed).map_err(|error| wrong(path, &error))?,
            der: parsed.as_der().to_vec(),
        })
    }

    /// Returns the signature scheme of a new key.
    fn scheme(&self, kind: &Kind) -> Result<Scheme, Failure> {
        match (kind.is_rsa(), self.ak_scheme) {
            (true, None) => Ok(Scheme::Rsassa),
            (false, None) => Ok(Scheme::Ecdsa),
            (true, Some(Scheme::Ecdsa)) => Err(Failure::Usage(
                "--ak-scheme: an RSA key signs with rsassa or rsapss".to_owned(),
            )),
            (false, Some(Scheme::Rsapss | Scheme::Rsassa)) => Err(Failure::Usage(
                "--ak-scheme: an elliptic-curve key signs with ecdsa".to_owned(),
            )),
            (_, Some(scheme)) => Ok(scheme),
        }
    }
}

impl Station {
    async fn provision(&self, tpm: &mut Tpm, arguments: &KeyArguments) -> Outcome {
        let certificate = arguments.certificate(tpm).await?;
        let scheme = arguments.scheme(certificate.kind)?;
        self.server.preauth(&self.api_key, &self.device).await?;
        self.report("the server accepts the API key and the device")?;
        let parsed = EkCertificate::parse(&certificate.der)?;
        let ek = tpm.endorsement_key(certificate.kind, &parsed).await?;
        let template = certificate.kind.template;
        self.report(&format!("endorsement key: template {template}"))?;
        let ak = match arguments.ak_scheme {
            // A scheme applies only to a new key.
            Some(_) => None,
            None => self.earlier_key(tpm, &ek).await?,
        };
        let ak = match ak {
            Some(ak) => ak,
            None => tpm.make_attestation_key(&ek, scheme.name()).await?,
        };
        let name = Name::of(&ak.public)?.to_string();
        self.report(&format!("attestation key: {name}"))?;

        let mut record = self.enrol(tpm, &certificate.der, &ek, &ak).await?;
        if let State::Pending { activation, .. } = &record.state {
            self.server.activate(activation).await?;
        }
        record.state = State::Active;
        self.folder.write_record(&record)?;
        let folder = self.folder.path().display().to_string();
        if self.json {
            return output::print_json(&json!({
                "accepted": true,
                "ak_name": name,
                "device": self.device,
                "state": folder,
            }));
        }
        let verdict =
            format!("accepted: the attestation key is active; its certificate is in {folder}");
        output::print(&output::coloured(&verdict, true, stdout().is_terminal()))
    }

    /// Returns the attestation key of an earlier provision, if its parent is the same endorsement key and the TPM can
    /// still load it. The server then keeps its certificate.
    async fn earlier_key(
        &self,
        tpm: &mut Tpm,
        ek: &EndorsementKey,
    ) -> Result<Option<AttestationKey>, Failure> {
        match self.folder.read()? {
            Some(kept) if kept.record.endorsement_key == ek.kind.template => Ok(tpm
                .load_attestation_key(ek, kept.public, kept.private)
                .await?),
            _ => Ok(None),
        }
    }

    /// Has an attestation key certified, opens the certificate in the TPM, and stores the result.
    pub(super) async fn enrol(
        &self,
        tpm: &mut Tpm,
        ek_certificate: &[u8],
        ek: &EndorsementKey,
        ak: &AttestationKey,
    ) -> Result<Record, Failure> {
        // A certificate that needs no intermediates is accepted without them.
        let chain = tpm.endorsement_chain().await.or_else(|error| match error {
            TpmUseError::Unreadable { .. } => {
                self.report(&format!("left out: {error}")).map(|()| None)
            }
            other => Err(other.into()),
        })?;
        let chain = chain.map(|chain| chain.certificates().map(pem).collect::<Result<String, _>>());
        let ak_spki = ak.public.to_spki()?;
        let request = Provision {
            api_key: &self.api_key,
            device: &self.device,
            ek_cert: BASE64.encode(ek_certificate),
            ek_chain: chain.transpose()?,
            ek_pub_key: BASE64.encode(&ek.public.to_spki()?),
            ak_pub_key: BASE64.encode(&ak_spki),
            ak_public: BASE64.encode(&ak.public.to_sized_bytes()),
            csr: BASE64.encode(&certification_request(&self.device)?),
        };
        let answer: ProvisionAnswer = self.server.provision(&request).await?;

        let unreadable = |_| Failure::Refused("credential_bundle is not Base64".to_owned());
        let credential = BASE64.decode(answer.credential_bundle.as_bytes());
        let key = tpm.activate(ek, &credential.map_err(unreadable)?).await?;
        let der = answer.sealed.open(&key)?;
        let certificate = Certificate::from_der(&der)?;
        must_be_of(&certificate, &ak_spki)?;
        self.must_be_here(&certificate)?;
        self.report("the TPM has opened the attestation key's certificate")?;

        let proof = key.proof(&Name::of(&ak.public)?);
        let record = Record {
            namespace: self.namespace.clone(),
            category: self.category.clone(),
            device: self.device.clone(),
            endorsement_key: ek.kind.template.to_owned(),
            state: State::pending(Activation {
                ticket: answer.activation_ticket,
                proof: BASE64.encode(&proof),
            }),
        };
        self.folder.write(&Enrolled {
            record: &record,
            ek_certificate,
            public: &ak.public,
            private: &ak.private,
            certificate: &pem(&der)?,
            chain: &answer.sealed.ak_cert_chain,
        })?;
        Ok(record)
    }

    /// Refuses a certificate from another category's CA. Only the API key determines the category, and the stored
    /// record would name the wrong one.
    fn must_be_here(&self, certificate: &Certificate<'_>) -> Outcome {
        for (flag, kind, given) in [
            ("--namespace", ORGANIZATION, &self.namespace),
            ("--category", ORGANIZATIONAL_UNIT, &self.category),
        ] {
            let mut attributes = certificate.issuer().attributes();
            let named = attributes.find(|attribute| attribute.kind == kind);
            // A CA that names none may belong to any.
            let Some(named) = named.and_then(|attribute| attribute.value.text()) else {
                continue;
            };
            if named != given.as_str() {
                return Err(Failure::Refused(format!(
                    "{flag}: the API key belongs to {}, not to {given}: nothing was activated",
                    output::printable(&named)
                )));
            }
        }
        Ok(())
    }
}

/// Refuses a certificate of another key than the attestation key.
fn must_be_of(certificate: &Certificate<'_>, ak_spki: &[u8]) -> Outcome {
    if certificate.public_key().as_der() == ak_spki {
        Ok(())
    } else {
        Err(Failure::Refused(
            "the server's certificate is for another key".to_owned(),
        ))
    }
}

/// Builds a certification request with a temporary key: an attestation key cannot sign one, and the server uses only
/// the other fields.
fn certification_request(device: &Device) -> Result<Vec<u8>, Failure> {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, &*device.vendor);
    subject.push(DnType::CommonName, &*device.name);
    // id-at-serialNumber
    subject.push(DnType::CustomDnType(vec![2, 5, 4, 5]), &*device.serial);
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    let key = KeyPair::generate().map_err(Failure::refused)?;
    let request = params.serialize_request(&key).map_err(Failure::refused)?;
    Ok(request.der().to_vec())
}
