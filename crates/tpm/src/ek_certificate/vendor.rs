//! The TCG's registry of TPM vendors.

/// Vendor identifiers by number (TCG TPM Vendor ID Registry 1.08, "TPM Capabilities Vendor ID").
const VENDORS: [(u32, &str); 30] = [
    (0x414d_4400, "AMD"),
    (0x414e_5400, "Ant Group"),
    (0x4152_4d00, "Arm"),
    (0x4154_4d4c, "Atmel"),
    (0x4252_434d, "Broadcom"),
    (0x4353_434f, "Cisco"),
    (0x464c_5953, "FlySlice Technologies"),
    (0x474f_4f47, "Google"),
    (0x4849_5349, "Huawei"),
    (0x4850_4500, "Hewlett Packard Enterprise"),
    (0x4850_4900, "HP Inc."),
    (0x4942_4d00, "IBM"),
    (0x4946_5800, "Infineon"),
    (0x494e_5443, "Intel"),
    (0x4c45_4e00, "Lenovo"),
    (0x4d53_4654, "Microsoft"),
    (0x4e53_4700, "NSING"),
    (0x4e53_4d20, "National Semiconductor"),
    (0x4e54_4300, "Nuvoton Technology"),
    (0x4e54_5a00, "Nationz"),
    (0x5143_4f4d, "Qualcomm"),
    (0x524f_4343, "Fuzhou Rockchip"),
    (0x5345_414c, "Wisekey"),
    (0x5345_4345, "SecEdge"),
    (0x534d_5343, "SMSC"),
    (0x534d_534e, "Samsung"),
    (0x534e_5300, "Sinosun"),
    (0x5354_4d20, "STMicroelectronics"),
    (0x5458_4e00, "Texas Instruments"),
    (0x5745_4300, "Winbond"),
];

/// Returns the registered name of a vendor, by the number in `tpmManufacturer`.
pub(super) fn name(id: u32) -> Option<&'static str> {
    VENDORS
        .iter()
        .find(|(vendor, _)| *vendor == id)
        .map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The identifiers are four ASCII characters, padded with zeros or a space.
    #[test]
    fn identifiers_are_ascii_ascending_and_found() {
        for (vendor, expected) in VENDORS {
            let bytes = vendor.to_be_bytes();
            assert!(bytes[..3].iter().all(u8::is_ascii_uppercase), "{vendor:#x}");
            assert!(matches!(bytes[3], 0 | b' ' | b'A'..=b'Z'), "{vendor:#x}");
            assert_eq!(name(vendor), Some(expected));
        }
        assert!(VENDORS.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(name(0x0000_1014), None);
        for (bytes, expected) in [
            (b"ARM\0", "Arm"),
            (b"IFX\0", "Infineon"),
            (b"SEAL", "Wisekey"),
            (b"STM ", "STMicroelectronics"),
        ] {
            assert_eq!(name(u32::from_be_bytes(*bytes)), Some(expected));
        }
    }
}
