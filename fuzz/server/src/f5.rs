//! The target of the F5 dialect: provision requests, from the bytes of the body to keys and certificates.

use data_encoding::BASE64;
use keyproof::dialect::f5::provision_request;
use keyproof_tpm::{
    AttestationKeyPolicy, AttestationTemplate, EkCertificate, EndorsementTemplate, TpmtPublic,
};
use serde_json::{Value, json};

/// Requests with a TPM's keys, certificates and signatures.
const GENUINE: [&str; 2] = [
    include_str!("../corpus/f5_provision/eccp256"),
    include_str!("../corpus/f5_provision/rsa2048"),
];

/// The public areas of the attestation keys in these requests.
const AK_PUBLIC: [&[u8]; 2] = [
    include_bytes!("../vectors/eccp256/ak.pub.tpm2b"),
    include_bytes!("../vectors/rsa2048/ak.pub.tpm2b"),
];

/// The certification request comes first, because all the others may be another device's.
const BINARY: [&str; 5] = ["csr", "ek_cert", "ek_pub_key", "ak_pub_key", "ak_public"];

/// A text that begins like an object is a body. Otherwise it is changes to a genuine request, which the first byte selects. Each
/// further four bytes give the field, the offset and the change.
pub fn provision(data: &[u8]) {
    match data.split_first() {
        Some((b'{', _)) => {
            decodes(data);
        }
        Some((choice, edits)) => changed(usize::from(choice & 1), edits),
        None => {}
    }
}

fn changed(choice: usize, edits: &[u8]) {
    let mut body: Value = serde_json::from_str(GENUINE[choice]).expect("the seed is JSON");
    body["ak_public"] = json!(BASE64.encode(AK_PUBLIC[choice]));
    let genuine = BINARY.map(|field| {
        let text = body[field].as_str().expect("the seed has the field");
        BASE64.decode(text.as_bytes()).expect("the seed is Base64")
    });
    let mut fields = genuine.clone();
    for edit in edits.chunks_exact(4) {
        let field = &mut fields[usize::from(edit[0] & 0x3f) % BINARY.len()];
        let at = usize::from(u16::from_be_bytes([edit[1], edit[2]]));
        match edit[0] >> 6 {
            0 if at < field.len() => {
                field.remove(at);
            }
            1 if at <= field.len() => field.insert(at, edit[3]),
            _ if at < field.len() => field[at] ^= edit[3],
            _ => {}
        }
    }
    for (name, der) in BINARY.iter().zip(&fields) {
        body[name] = json!(BASE64.encode(der));
    }
    let decodes = decodes(body.to_string().as_bytes());
    assert!(decodes || fields != genuine, "what a TPM made is refused");
    assert!(
        !decodes || fields[0] == genuine[0],
        "a changed certification request is taken"
    );
}

/// Returns whether a body decodes, and checks the result if it does.
fn decodes(body: &[u8]) -> bool {
    let Ok(request) = provision_request(body) else {
        return false;
    };
    let Ok(decoded) = request.decode() else {
        return false;
    };
    // Only the devices of the seeds have signed requests.
    let (serial, vendor) = (decoded.device.serial(), decoded.device.vendor());
    assert_eq!((serial, vendor), ("SN0001", "ExampleCorp"));
    assert!(EkCertificate::parse(decoded.ek_certificate).is_ok());
    assert!(EndorsementTemplate::of(&decoded.ek).is_ok());
    let template = AttestationTemplate::below(&decoded.ek).expect("its template has a Name");
    let ak = decoded.attestation_key(&template).expect("it was judged");
    assert!(AttestationKeyPolicy::default().check(&ak).accepted());
    let bare = TpmtPublic::attestation_from_spki(decoded.ak_spki, &template);
    assert_eq!(bare.map(|bare| bare.to_spki()), Ok(ak.to_spki()));

    // White space makes no difference to Base64. A member that is not used may be JSON that `Value` does not accept.
    let Ok(mut wrapped) = serde_json::from_slice::<Value>(body) else {
        return true;
    };
    for field in ["csr", "ek_cert", "ek_pub_key", "ak_pub_key"] {
        let text = wrapped[field].as_str().expect("it was read");
        if !text.contains('-') {
            wrapped[field] = text
                .chars()
                .flat_map(|c| [c, '\n'])
                .collect::<String>()
                .into();
        }
    }
    let wrapped = provision_request(wrapped.to_string().as_bytes()).expect("it was read");
    assert_eq!(wrapped.decode().as_ref(), Ok(&decoded));
    true
}
