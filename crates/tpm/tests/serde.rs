//! The JSON of reports and facts.

mod vectors;

use keyproof_tpm::{AttestationKeyPolicy, EkCertificate, Structure, TpmtPublic};
use serde_json::json;

use vectors::read;

#[test]
fn a_report_is_its_verdict_and_its_rows() {
    let device = TpmtPublic::parse_sized(&read("eccp256", "dev.pub.tpm2b")).unwrap();
    let report = AttestationKeyPolicy::default().check(&device);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["accepted"], false);
    let checks = json["checks"].as_array().unwrap();
    assert_eq!(checks.len(), report.rows().count());
    assert_eq!(
        checks[0],
        json!({
            "name": "restricted",
            "outcome": "fail",
            "detail": "it is not restricted: it signs any forged attestation",
        })
    );
    assert_eq!(checks[1]["outcome"], "pass");
}

#[test]
fn facts_of_a_certificate_are_objects() {
    let stored = read("eccp256", "ek.cert.der");
    let certificate = EkCertificate::parse(&stored).unwrap();
    assert_eq!(
        serde_json::to_value(certificate.tpm_attributes().unwrap()).unwrap(),
        json!({
            "manufacturer": "id:00001014",
            "vendor": null,
            "model": "swtpm",
            "version": "id:20191023",
        })
    );
    assert_eq!(
        serde_json::to_value(certificate.tpm_specification().unwrap()).unwrap(),
        json!({ "family": "2.0", "level": 0, "revision": 164 })
    );
}
