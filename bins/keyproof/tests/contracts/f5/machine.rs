//! A machine with a TPM in software: its PCRs, its clock, and its firmware's log.

use data_encoding::BASE64;
use keyproof_tpm::{
    Attested, Buffer, HashAlgorithm, Name, Structure, TpmlPcrSelection, TpmsAttest, TpmsClockInfo,
    TpmsQuoteInfo,
};
use serde_json::{Value, json};

use crate::f5::{
    device::Device,
    dialect::{ATTEST, NONCE},
    site::{Answer, Site},
};

/// The selection that most tests use.
pub(crate) const SELECTION: &str = "sha256:0,1,7";

pub(crate) struct Machine {
    pub(crate) device: Device,
    pub(crate) clock: TpmsClockInfo,
    /// The PCRs of the SHA-256 bank.
    registers: [[u8; 32]; 24],
    /// The events that extended them: PCR, type and data.
    events: Vec<(u32, u32, Vec<u8>)>,
}

impl Machine {
    pub(crate) fn new(device: Device) -> Self {
        Self {
            device,
            clock: TpmsClockInfo {
                clock: 1000,
                reset_count: 1,
                restart_count: 0,
                safe: true,
            },
            registers: [[0; 32]; 24],
            events: Vec::new(),
        }
    }

    /// Returns a booted machine: firmware and separators are in its PCRs.
    pub(crate) fn booted(device: Device) -> Self {
        const EV_S_CRTM_VERSION: u32 = 8;
        const EV_SEPARATOR: u32 = 4;
        let mut machine = Self::new(device);
        machine.extends(0, EV_S_CRTM_VERSION, b"firmware 1");
        for register in 0..8 {
            machine.extends(register, EV_SEPARATOR, &[0; 4]);
        }
        machine
    }

    pub(crate) fn extends(&mut self, register: u32, kind: u32, data: &[u8]) {
        let hash = |parts: &[&[u8]]| HashAlgorithm::Sha256.digest(parts).unwrap();
        let at = &mut self.registers[usize::try_from(register).unwrap()];
        let next = hash(&[&at[..], &hash(&[data])]);
        at.copy_from_slice(&next);
        self.events.push((register, kind, data.to_vec()));
    }

    /// Returns the firmware's log (TCG PC Client Platform Firmware Profile, 10.2), with a SHA-256 bank.
    pub(crate) fn log(&self) -> Vec<u8> {
        let mut head = b"Spec ID Event03\0".to_vec();
        head.extend([0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 0x0b, 0, 32, 0, 0]);
        let mut log = [0_u32, 3].map(u32::to_le_bytes).concat();
        log.extend([0; 20]);
        log.extend(u32::try_from(head.len()).unwrap().to_le_bytes());
        log.extend(head);
        for (register, kind, data) in &self.events {
            log.extend([*register, *kind, 1].map(u32::to_le_bytes).concat());
            log.extend(0x0b_u16.to_le_bytes());
            log.extend(HashAlgorithm::Sha256.digest(&[data]).unwrap());
            log.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
            log.extend(data);
        }
        log
    }

    pub(crate) fn values(&self, selection: &str) -> Vec<u8> {
        let selection: TpmlPcrSelection = selection.parse().unwrap();
        let banks = selection.banks().iter();
        let registers = banks.flat_map(|bank| bank.registers());
        registers
            .flat_map(|register| self.registers[usize::from(register)])
            .collect()
    }

    pub(crate) fn ak_name(&self) -> Vec<u8> {
        let name = Name::of(&self.device.ak_public()).unwrap();
        name.as_bytes().to_vec()
    }

    /// Returns a nonce request.
    pub(crate) fn asks(&self, selection: &str) -> Value {
        json!({
            "namespace": "default",
            "category": "category",
            "ak_name": BASE64.encode(&self.ak_name()),
            "pcr_selection": selection,
        })
    }

    /// Requests a nonce for this selection.
    pub(crate) async fn nonce(&self, site: &Site, selection: &str) -> Vec<u8> {
        let answer = site.post(NONCE, &self.asks(selection)).await;
        let nonce = answer.is(200).json["nonce"].as_str().unwrap();
        BASE64.decode(nonce.as_bytes()).unwrap()
    }

    /// `TPM2_Quote`.
    pub(crate) fn quote(&self, nonce: &[u8], selection: &str) -> Vec<u8> {
        let digest = HashAlgorithm::Sha256.digest(&[&self.values(selection)]);
        let attest = TpmsAttest {
            qualified_signer: Buffer::new(self.ak_name()).unwrap(),
            extra_data: Buffer::new(nonce).unwrap(),
            clock_info: self.clock,
            firmware_version: 1,
            attested: Attested::Quote(TpmsQuoteInfo {
                pcr_select: selection.parse().unwrap(),
                pcr_digest: Buffer::new(digest.unwrap()).unwrap(),
            }),
        };
        attest.to_bytes()
    }

    /// Returns the attestation for a nonce.
    pub(crate) fn attests(&self, nonce: &[u8], selection: &str) -> Value {
        let attest = self.quote(nonce, selection);
        json!({
            "namespace": "default",
            "category": "category",
            "nonce": BASE64.encode(nonce),
            "ak_public": BASE64.encode(&self.device.ak_public().to_sized_bytes()),
            "attest": BASE64.encode(&attest),
            "signature": BASE64.encode(&self.device.signs(&attest)),
            "pcr_values": BASE64.encode(&self.values(selection)),
        })
    }

    /// Requests a nonce and attests, one second after the last time.
    pub(crate) async fn attested(&mut self, site: &Site) -> Answer {
        self.attested_with(site, SELECTION, |_| {}).await
    }

    /// The same, with a modified request.
    pub(crate) async fn attested_with(
        &mut self,
        site: &Site,
        selection: &str,
        change: impl FnOnce(&mut Value),
    ) -> Answer {
        self.clock.clock += 1000;
        let mut body = self.attests(&self.nonce(site, selection).await, selection);
        change(&mut body);
        site.post(ATTEST, &body).await
    }
}

impl Answer {
    /// Asserts a report that accepts. Returns the outcomes of the checks that did not pass.
    #[track_caller]
    pub(crate) fn accepts(&self) -> Vec<(String, String)> {
        self.reports(true)
    }

    /// Asserts a report that refuses. Returns the names of the failed checks.
    #[track_caller]
    pub(crate) fn fails(&self) -> Vec<String> {
        let outcomes = self.reports(false);
        let failed = outcomes
            .into_iter()
            .filter(|(_, outcome)| outcome == "fail");
        failed.map(|(name, _)| name).collect()
    }

    #[track_caller]
    fn reports(&self, accepted: bool) -> Vec<(String, String)> {
        self.is(200);
        assert_eq!(self.json["accepted"], accepted, "{:#}", self.json);
        let checks = self.json["checks"].as_array().unwrap();
        let outcome = |check: &Value| {
            let text = |member: &str| check[member].as_str().unwrap().to_owned();
            assert!(!text("detail").is_empty(), "{check}");
            (text("name"), text("outcome"))
        };
        let all = checks.iter().map(outcome);
        all.filter(|(_, outcome)| outcome != "pass").collect()
    }

    /// Returns the outcome and detail of a check in a report.
    #[track_caller]
    pub(crate) fn check(&self, name: &str) -> (&str, &str) {
        let checks = self.json["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == name).unwrap();
        let text = |member: &str| check[member].as_str().unwrap();
        (text("outcome"), text("detail"))
    }
}
