//! What a device sends: its properties, its certification request, and the keys that a template completes.

use keyproof_tpm::{
    AttestationTemplate, DeviceField, DeviceInfo, DeviceInfoError, DeviceProperties, EkCertificate,
    EndorsementTemplate, Name, Structure, TpmtPublic, ak_certificate_extensions, algorithms,
    check_certification_request,
};

use crate::vectors::vector;

/// The first line has four properties, separated by tabs; the rest is a certification request (DER). A request with another key, or
/// for another device, is rejected. What goes into a certificate names the device.
pub fn device(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (line, request) = data.split_at(end.unwrap_or(data.len()));
    let Ok(line) = str::from_utf8(line) else {
        return;
    };
    let mut properties = line.split('\t');
    let [name, serial, vendor, version] = [(); 4].map(|()| properties.next().unwrap_or_default());
    let device = match DeviceInfo::new(DeviceProperties {
        name,
        serial,
        vendor,
        version,
    }) {
        Ok(device) => device,
        Err(error) => {
            match error {
                DeviceInfoError::Length {
                    field,
                    found,
                    minimum,
                    maximum,
                } => {
                    assert!(found < minimum || found > maximum, "{error}");
                    assert_eq!(minimum == 6, field == DeviceField::Name);
                }
                DeviceInfoError::Text { field, .. } => {
                    let is_identity = matches!(field, DeviceField::Serial | DeviceField::Vendor);
                    assert!(is_identity || line.contains(char::is_control), "{error}");
                }
                _ => panic!("{error}"),
            }
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert_eq!(
        [name, serial, vendor, version],
        [
            device.name(),
            device.serial(),
            device.vendor(),
            device.version()
        ]
    );
    // Cutting at control characters or trimming does not change the device.
    for text in [device.serial(), device.vendor()] {
        assert!(!text.contains(char::is_control) && text.trim() == text);
    }
    let request = request.get(1..).unwrap_or_default();
    if check_certification_request(request, &device, algorithms::RING).is_ok() {
        // The subject contains the device's name or serial, in any string type.
        let names = [device.name(), device.serial()];
        let is_there = |name: &str| {
            let wide: Vec<u8> = name.encode_utf16().flat_map(u16::to_be_bytes).collect();
            let is_in = |bytes: &[u8]| request.windows(bytes.len()).any(|part| part == bytes);
            is_in(name.as_bytes()) || is_in(&wide) || !name.is_ascii()
        };
        assert!(names.into_iter().any(is_there));
    }
    let genuine = EkCertificate::parse(vector!("eccp256/ek.cert.der")).expect("a certificate");
    let attributes = genuine.tpm_attributes().expect("it has them");
    for tpm in [None, Some(&attributes)] {
        let extensions = ak_certificate_extensions(tpm, device.serial()).expect("short texts");
        let [usage, purpose, names] = &extensions[..] else {
            panic!("three extensions");
        };
        assert!(usage.critical && !purpose.critical && names.critical);
        let serial = device.serial().as_bytes();
        assert!(names.value.windows(serial.len()).any(|part| part == serial));
    }
}

/// 1.2.840.113549.1.1.7 (RFC 4055, section 4.1).
const RSAES_OAEP: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x07";

/// A SubjectPublicKeyInfo (DER) of an endorsement key, and of an attestation key below it. The key that a template makes of it
/// follows that template, and has the same bare key.
pub fn template(data: &[u8]) {
    let Ok(ek) = TpmtPublic::endorsement_from_spki(data) else {
        return;
    };
    let bare = ek.to_spki().expect("X.509 names its kind");
    // RSAES-OAEP, which names the key's use, comes back as the plain key type.
    assert!(bare == data || data.windows(RSAES_OAEP.len()).any(|oid| oid == RSAES_OAEP));
    assert_eq!(TpmtPublic::endorsement_from_spki(&bare).as_ref(), Ok(&ek));
    let template = EndorsementTemplate::of(&ek).expect("it was made by one");
    assert!(template.name().starts_with(['H', 'L']));
    let below = AttestationTemplate::below(&ek).expect("it has a name algorithm");
    assert!(below.is_attestation_key());
    let ak = TpmtPublic::attestation_from_spki(data, &below).expect("the same key");
    assert!(ak.is_same_key(&ek));
    assert_ne!(Name::of(&ak), Name::of(&ek));
    let name = Name::of(&ak).expect("a Name");
    assert_eq!(Name::parse(name.as_bytes()).as_ref(), Ok(&name));
    assert_eq!(format!("Name({name})"), format!("{name:?}"));
    assert_eq!(TpmtPublic::parse(&ak.to_bytes()), Ok(ak));
}
