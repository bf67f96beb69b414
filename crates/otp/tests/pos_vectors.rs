//! Every published vector of Taler's confirmation codes, through the public API only.

use keyproof_otp::{
    Base32Profile,
    pos::{Amount, PosAlgorithm, confirmation_codes},
};
use serde_json::Value;

#[test]
fn every_vector_agrees() {
    let vectors: Vec<Value> =
        serde_json::from_str(include_str!("vectors/pos-confirmation.json")).unwrap();
    assert_eq!(vectors.len(), 72);
    let mut without_codes = 0;
    for vector in &vectors {
        let mut key = [0; 128];
        let text = vector["otp_key"].as_str().unwrap();
        let len = Base32Profile::Taler.decode_to(text, &mut key).unwrap();
        let number = vector["otp_algorithm"].as_u64().unwrap();
        let algorithm = PosAlgorithm::try_from(u8::try_from(number).unwrap()).unwrap();
        let price = vector["price"]
            .as_str()
            .and_then(|price| price.parse::<Amount>().ok());
        let now = vector["timestamp_s"].as_u64().unwrap();

        let codes = confirmation_codes(&key[..len], algorithm, price.as_ref(), now);

        let expected = vector["otp_code"].as_str();
        assert_eq!(
            codes.map(|codes| codes.to_string()).as_deref(),
            expected,
            "{vector}"
        );
        without_codes += usize::from(expected.is_none());
    }
    assert_eq!(without_codes, 3, "the vectors without a usable price");
}
