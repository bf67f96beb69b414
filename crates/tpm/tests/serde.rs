//! The JSON form of reports and facts.
#![expect(clippy::unwrap_used, reason = "a test reports by a panic")]

mod vectors;

use keyproof_tpm::{
    AttestationKeyPolicy, EccCurve, EkCertificate, HashAlgorithm, Name, Structure,
    TpmlPcrSelection, TpmsAttest, TpmsClockInfo, TpmtPublic,
};
use serde::{Serialize, de::DeserializeOwned};
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

/// Stored between attestations, so it must round-trip with these names.
#[test]
fn a_clock_comes_back_as_it_was_kept() {
    let attest = TpmsAttest::parse(&read("eccp256", "quote.tpms_attest.bin")).unwrap();
    let seen = attest.clock_info;
    let kept = serde_json::to_string(&seen).unwrap();
    let expected = format!(
        r#"{{"clock":{},"reset_count":{},"restart_count":{},"safe":{}}}"#,
        seen.clock, seen.reset_count, seen.restart_count, seen.safe
    );
    assert_eq!(kept, expected);
    assert_eq!(serde_json::from_str::<TpmsClockInfo>(&kept).unwrap(), seen);
    assert!(serde_json::from_str::<TpmsClockInfo>(r#"{"clock":1}"#).is_err());
}

/// Asserts that the value serialises to this text, round-trips, and rejects other JSON.
#[track_caller]
fn is_text<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: T, text: &str) {
    assert_eq!(serde_json::to_value(&value).unwrap(), json!(text));
    assert_eq!(serde_json::from_value::<T>(json!(text)).unwrap(), value);
    for wrong in [json!(format!("{text}!")), json!(7), json!(null)] {
        assert!(
            serde_json::from_value::<T>(wrong.clone()).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn what_people_type_and_keep_is_text() {
    is_text(HashAlgorithm::Sha384, "sha384");
    let error = serde_json::from_value::<HashAlgorithm>(json!(7)).unwrap_err();
    let expected = "expected the name of a hash algorithm, such as sha256";
    assert!(error.to_string().ends_with(expected), "{error}");
    let error = serde_json::from_value::<HashAlgorithm>(json!("SHA256")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "not the name of a TPMI_ALG_HASH, such as sha256 or P-256; letter case matters"
    );
    is_text(EccCurve::NistP256, "P-256");
    let name = read("rsa2048", "ak.name.bin");
    let text: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
    is_text(Name::parse(&name).unwrap(), &text);
    let selection = "sha256:0,1,7+sha384:0";
    is_text(selection.parse::<TpmlPcrSelection>().unwrap(), selection);
}
