//! A vector: the input of a verifier, and the checks that should fail.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test reports by a panic"
)]

use keyproof_tpm::{
    AttestationEvidence, AttestationKeyPolicy, AttestationPolicy, AwsLcRs, CertifyPolicy,
    CreationEvidence, CreationPolicy, Credential, DevIdKeyPolicy, EventLogPolicy, Finding,
    Hierarchy, KeyProfile, Name, NvCertifyPolicy, ObjectParent, Outcome, QualifiedName,
    QuoteEvidence, QuotePolicy, Report, Structure, TimePolicy, TpmlPcrSelection, TpmsClockInfo,
    TpmsNvPublic, TpmtPublic, activate, algorithms, check_certify, check_creation, check_event_log,
    check_nv_certify, check_quote, check_time,
};
use serde_json::Value;

/// A vector in the form of its file.
pub(crate) struct Vector(pub(crate) Value);

impl Vector {
    pub(crate) fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap()
    }

    pub(crate) fn fails(&self) -> Vec<&str> {
        let lines = self.0["fails"].as_array().unwrap().iter();
        lines.map(|line| line.as_str().unwrap()).collect()
    }

    fn input(&self, field: &str) -> Option<&str> {
        self.0["input"]
            .get(field)
            .map(|text| text.as_str().unwrap())
    }

    pub(crate) fn bytes(&self, field: &str) -> Option<Vec<u8>> {
        self.input(field).map(unhex)
    }

    fn public(&self, field: &str) -> TpmtPublic {
        TpmtPublic::parse(&self.bytes(field).unwrap()).unwrap()
    }

    pub(crate) fn selection(&self) -> TpmlPcrSelection {
        self.input("selection").unwrap().parse().unwrap()
    }

    fn last_seen(&self) -> Option<TpmsClockInfo> {
        let last = self.0["input"].get("last_seen")?;
        let number = |field: &str| last[field].as_u64().unwrap();
        Some(TpmsClockInfo {
            clock: number("clock"),
            reset_count: number("reset_count").try_into().unwrap(),
            restart_count: number("restart_count").try_into().unwrap(),
            safe: last["safe"].as_bool().unwrap(),
        })
    }

    fn profile(&self) -> KeyProfile {
        match self.input("profile").unwrap() {
            "attestation" => KeyProfile::Attestation(AttestationKeyPolicy::default()),
            "devid" => KeyProfile::DevId(DevIdKeyPolicy::default()),
            other => unreachable!("{other}"),
        }
    }

    /// The names of the checks that fail.
    pub(crate) fn check(&self) -> Vec<&'static str> {
        match self.text("kind") {
            "quote" => self.check_quote(),
            "certify" => self.check_certify(),
            "creation" => self.check_creation(),
            "time" => self.check_time(),
            "nv" => self.check_nv(),
            "event-log" => self.check_event_log(),
            "credential" => self.check_credential(),
            "attestation-key" => {
                let policy = AttestationKeyPolicy::default();
                failed(&policy.check(&self.public("public")))
            }
            "device-key" => {
                let policy = DevIdKeyPolicy::default();
                failed(&policy.check(&self.public("public")))
            }
            other => unreachable!("{other}"),
        }
    }

    fn check_quote(&self) -> Vec<&'static str> {
        let (nonce, selection) = (self.bytes("nonce").unwrap(), self.selection());
        let ek = self.public("ek");
        let values = self.bytes("pcr_values");
        let mut policy = QuotePolicy::new(&nonce, &selection, algorithms::RING);
        policy.ek = Some(&ek);
        policy.last_seen = self.last_seen();
        let evidence = QuoteEvidence {
            attest: &self.bytes("attest").unwrap(),
            signature: &self.bytes("signature").unwrap(),
            pcr_values: values.as_deref(),
        };
        failed(&check_quote(&self.public("ak"), &evidence, &policy).report)
    }

    /// Calls `check` with the input common to all attestations except quotes.
    fn attested<T>(
        &self,
        check: impl FnOnce(&TpmtPublic, AttestationEvidence<'_>, AttestationPolicy<'_>) -> T,
    ) -> T {
        let (ak, ek) = (self.public("ak"), self.public("ek"));
        let parent = QualifiedName::of_primary(Hierarchy::Endorsement, &ek).unwrap();
        let signer = parent.of_child(&ak).unwrap();
        let (attest, signature) = (
            self.bytes("attest").unwrap(),
            self.bytes("signature").unwrap(),
        );
        let nonce = self.bytes("nonce").unwrap();
        let mut policy = AttestationPolicy::new(&nonce, algorithms::RING);
        policy.qualified_signer = Some(&signer);
        policy.last_seen = self.last_seen();
        let evidence = AttestationEvidence {
            attest: &attest,
            signature: &signature,
        };
        check(&ak, evidence, policy)
    }

    fn check_certify(&self) -> Vec<&'static str> {
        self.attested(|ak, evidence, attestation| {
            let object = self.public("object");
            let mut policy = CertifyPolicy::new(attestation, &object, self.profile());
            policy.parent = Some(ObjectParent::Hierarchy(Hierarchy::Owner));
            failed(&check_certify(ak, evidence, &policy).report)
        })
    }

    fn check_creation(&self) -> Vec<&'static str> {
        self.attested(|ak, attestation_evidence, attestation| {
            let outside_info = self.bytes("outside_info").unwrap();
            let object = self.public("object");
            let mut policy = CreationPolicy::new(attestation, &object, self.profile());
            policy.parent = Some(ObjectParent::Hierarchy(Hierarchy::Owner));
            policy.outside_info = Some(&outside_info);
            let (data, ticket) = (self.bytes("creation_data").unwrap(), self.bytes("ticket"));
            let evidence = CreationEvidence {
                attestation: attestation_evidence,
                creation_data: &data,
                ticket: ticket.as_deref(),
            };
            failed(&check_creation(ak, &evidence, &policy).report)
        })
    }

    fn check_time(&self) -> Vec<&'static str> {
        self.attested(|ak, evidence, attestation| {
            let firmware: [u8; 8] = self.bytes("firmware_version").unwrap().try_into().unwrap();
            let mut policy = TimePolicy::new(attestation);
            policy.firmware_version = Some(u64::from_be_bytes(firmware));
            failed(&check_time(ak, evidence, &policy).report)
        })
    }

    fn check_nv(&self) -> Vec<&'static str> {
        self.attested(|ak, evidence, attestation| {
            let contents = self.bytes("contents").unwrap();
            let offset: [u8; 2] = self.bytes("offset").unwrap().try_into().unwrap();
            let index = TpmsNvPublic::parse(&self.bytes("index").unwrap()).unwrap();
            let mut policy = NvCertifyPolicy::new(attestation, &index);
            policy.contents = Some(&contents);
            policy.offset = u16::from_be_bytes(offset);
            failed(&check_nv_certify(ak, evidence, &policy).report)
        })
    }

    fn check_event_log(&self) -> Vec<&'static str> {
        let (selection, values) = (self.selection(), self.bytes("pcr_values").unwrap());
        let mut policy = EventLogPolicy::with_unverified_registers(&selection, &values);
        policy.require_secure_boot = true;
        failed(&check_event_log(&self.bytes("event_log").unwrap(), &policy).report)
    }

    fn check_credential(&self) -> Vec<&'static str> {
        let name = Name::parse(&self.bytes("name").unwrap()).unwrap();
        let opened = activate(
            &AwsLcRs,
            &self.public("ek"),
            &self.bytes("ek_private_key").unwrap(),
            &name,
            &Credential::parse(&self.bytes("credential").unwrap()).unwrap(),
        );
        let secret = self.bytes("secret").unwrap();
        match opened {
            Ok(opened) if **opened == *secret => Vec::new(),
            _ => vec!["credential"],
        }
    }
}

fn failed<F: Finding>(report: &Report<F>) -> Vec<&'static str> {
    let rows = report.rows();
    let failed: Vec<_> = rows
        .filter(|row| row.outcome == Outcome::Fail)
        .map(|row| row.name)
        .collect();
    assert_eq!(failed.is_empty(), report.accepted());
    failed
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2) && text.is_ascii());
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
