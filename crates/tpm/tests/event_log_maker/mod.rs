//! Builds event logs in both forms, with the content of real ones.

#![allow(dead_code, reason = "not every test makes every kind of log")]
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test reports by a panic"
)]

use keyproof_tpm::{EventType, HashAlgorithm, TpmlPcrSelection};

/// `EFI_GLOBAL_VARIABLE` and `EFI_IMAGE_SECURITY_DATABASE`, in memory byte order.
pub(crate) const GLOBAL: [u8; 16] = [
    0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c,
];
pub(crate) const IMAGE_SECURITY: [u8; 16] = [
    0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f,
];

pub(crate) const NO_ACTION: u32 = EventType::NO_ACTION.0;
pub(crate) const SEPARATOR: u32 = EventType::SEPARATOR.0;
pub(crate) const CRTM_VERSION: u32 = 0x0000_0008;
pub(crate) const IPL: u32 = 0x0000_000d;
pub(crate) const VARIABLE_CONFIG: u32 = EventType::EFI_VARIABLE_DRIVER_CONFIG.0;
pub(crate) const VARIABLE_BOOT: u32 = EventType::EFI_VARIABLE_BOOT.0;
pub(crate) const VARIABLE_AUTHORITY: u32 = EventType::EFI_VARIABLE_AUTHORITY.0;
pub(crate) const HCRTM: u32 = EventType::EFI_HCRTM_EVENT.0;
pub(crate) const EFI_ACTION: u32 = 0x8000_0007;

/// A log under construction, with the resulting registers of the TPM.
#[derive(Clone)]
pub(crate) struct LogMaker {
    is_agile: bool,
    pub(crate) banks: Vec<HashAlgorithm>,
    pub(crate) bytes: Vec<u8>,
    registers: Vec<Vec<Vec<u8>>>,
}

impl LogMaker {
    /// A crypto-agile log with its header.
    pub(crate) fn agile(banks: &[HashAlgorithm]) -> Self {
        let sizes: Vec<(u16, u16)> = banks
            .iter()
            .map(|bank| (bank.id(), u16::try_from(bank.digest_size()).unwrap()))
            .collect();
        Self {
            bytes: sha1_event(0, NO_ACTION, &[0; 20], &spec_id(&sizes, b"\0")),
            ..Self::empty(true, banks)
        }
    }

    /// A SHA-1 log without a header, the oldest form.
    pub(crate) fn sha1() -> Self {
        Self::empty(false, &[HashAlgorithm::Sha1])
    }

    fn empty(is_agile: bool, banks: &[HashAlgorithm]) -> Self {
        let registers = banks.iter().map(|bank| {
            let zero = |index: usize| {
                let filler = if (17..=22).contains(&index) { 0xff } else { 0 };
                vec![filler; bank.digest_size()]
            };
            (0..24).map(zero).collect()
        });
        Self {
            is_agile,
            registers: registers.collect(),
            banks: banks.to_vec(),
            bytes: Vec::new(),
        }
    }

    /// Starts the TPM at a locality, without an event in the log.
    pub(crate) fn start_at(&mut self, locality: u8) {
        for bank in &mut self.registers {
            *bank[0].last_mut().unwrap() = locality;
        }
    }

    /// Appends an event that states the locality.
    pub(crate) fn say_locality(&mut self, locality: u8) {
        let said = [&b"StartupLocality\0"[..], &[locality]].concat();
        self.remark(0, &said);
    }

    /// Appends an event that is not extended.
    pub(crate) fn remark(&mut self, pcr: u32, data: &[u8]) {
        let zeros: Vec<_> = self
            .banks
            .iter()
            .map(|bank| (bank.id(), vec![0; bank.digest_size()]))
            .collect();
        self.raw(pcr, NO_ACTION, &zeros, data);
    }

    /// Appends an event whose data is measured.
    pub(crate) fn measure(&mut self, pcr: u32, event_type: u32, data: &[u8]) {
        self.measure_as(pcr, event_type, data, data);
    }

    /// Appends an event with `data` that differs from the measured data.
    pub(crate) fn measure_as(&mut self, pcr: u32, event_type: u32, measured: &[u8], data: &[u8]) {
        let digests = self.extend(pcr, measured);
        self.raw(pcr, event_type, &digests, data);
    }

    /// Extends the TPM without an event in the log.
    pub(crate) fn extend(&mut self, pcr: u32, measured: &[u8]) -> Vec<(u16, Vec<u8>)> {
        let index = usize::try_from(pcr).unwrap();
        let mut digests = Vec::new();
        for (bank, registers) in self.banks.iter().zip(&mut self.registers) {
            let digest = bank.digest(&[measured]).unwrap();
            if let Some(register) = registers.get_mut(index) {
                if (17..=22).contains(&pcr) && register.iter().all(|byte| *byte == 0xff) {
                    register.fill(0);
                }
                *register = bank.digest(&[register, &digest]).unwrap();
            }
            digests.push((bank.id(), digest));
        }
        digests
    }

    /// Appends an event with these digests, without extending the TPM.
    pub(crate) fn raw(
        &mut self,
        pcr: u32,
        event_type: u32,
        digests: &[(u16, Vec<u8>)],
        data: &[u8],
    ) {
        if !self.is_agile {
            let event = sha1_event(pcr, event_type, &digests[0].1, data);
            return self.bytes.extend(event);
        }
        self.bytes.extend(pcr.to_le_bytes());
        self.bytes.extend(event_type.to_le_bytes());
        let count = u32::try_from(digests.len()).unwrap();
        self.bytes.extend(count.to_le_bytes());
        for (id, digest) in digests {
            self.bytes.extend(id.to_le_bytes());
            self.bytes.extend(digest);
        }
        put_sized(&mut self.bytes, data);
    }

    /// Appends separators in PCR 0 to 7.
    pub(crate) fn hand_over(&mut self) {
        for pcr in 0..8 {
            self.measure(pcr, SEPARATOR, &[0; 4]);
        }
    }

    /// Appends the events of a boot by UEFI firmware, with Secure Boot on or off.
    pub(crate) fn boot(&mut self, secure_boot: bool) {
        self.measure(0, CRTM_VERSION, b"v\x001\x00");
        self.measure_as(0, 0x8000_0008, b"the firmware itself", &[7; 16]);
        let on = [u8::from(secure_boot)];
        self.measure(7, VARIABLE_CONFIG, &variable(&GLOBAL, "SecureBoot", &on));
        self.measure(7, VARIABLE_CONFIG, &variable(&GLOBAL, "PK", b"pk"));
        self.measure(7, VARIABLE_CONFIG, &variable(&GLOBAL, "KEK", b"kek"));
        self.measure(7, VARIABLE_CONFIG, &variable(&IMAGE_SECURITY, "db", b"db"));
        self.measure(7, VARIABLE_CONFIG, &variable(&IMAGE_SECURITY, "dbx", b""));
        let order = variable(&GLOBAL, "BootOrder", &[0, 0]);
        self.measure_as(1, VARIABLE_BOOT, &[0, 0], &order);
        self.measure(4, EFI_ACTION, b"Calling EFI Application from Boot Option");
        self.hand_over();
        let entry = variable(&IMAGE_SECURITY, "db", b"the entry of the boot loader");
        self.measure(7, VARIABLE_AUTHORITY, &entry);
        self.measure_as(4, 0x8000_0003, b"the boot loader", &[8; 32]);
        self.measure_as(8, IPL, b"linux /vmlinuz", b"kernel_cmdline: /vmlinuz\0");
        self.measure(5, EFI_ACTION, b"Exit Boot Services Invocation");
    }

    /// Returns the concatenated values of the selected registers.
    pub(crate) fn values(&self, selection: &TpmlPcrSelection) -> Vec<u8> {
        let mut values = Vec::new();
        for bank in selection.banks() {
            let at = self.banks.iter().position(|own| *own == bank.hash());
            let registers = &self.registers[at.unwrap()];
            for index in bank.registers() {
                values.extend(&registers[usize::from(index)]);
            }
        }
        values
    }
}

/// The content of a crypto-agile log's header: the banks, and the bytes that follow them.
pub(crate) fn spec_id(banks: &[(u16, u16)], vendor: &[u8]) -> Vec<u8> {
    let mut head = b"Spec ID Event03\0\0\0\0\0\x00\x02\x00\x02".to_vec();
    head.extend(u32::try_from(banks.len()).unwrap().to_le_bytes());
    for (id, size) in banks {
        head.extend(id.to_le_bytes());
        head.extend(size.to_le_bytes());
    }
    head.extend(vendor);
    head
}

pub(crate) fn sha1_event(pcr: u32, event_type: u32, digest: &[u8], data: &[u8]) -> Vec<u8> {
    let mut event = pcr.to_le_bytes().to_vec();
    event.extend(event_type.to_le_bytes());
    event.extend(digest);
    put_sized(&mut event, data);
    event
}

fn put_sized(out: &mut Vec<u8>, data: &[u8]) {
    out.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    out.extend(data);
}

/// A `UEFI_VARIABLE_DATA`.
pub(crate) fn variable(vendor: &[u8; 16], name: &str, value: &[u8]) -> Vec<u8> {
    let name: Vec<u16> = name.encode_utf16().collect();
    let mut data = vendor.to_vec();
    data.extend(u64::try_from(name.len()).unwrap().to_le_bytes());
    data.extend(u64::try_from(value.len()).unwrap().to_le_bytes());
    data.extend(name.iter().flat_map(|unit| unit.to_le_bytes()));
    data.extend(value);
    data
}
