//! Tokens that only an attacker would make.

use data_encoding::BASE64URL_NOPAD;
use ring::{
    digest::{SHA256, digest},
    hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING,
        ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair,
    },
};
use serde_json::{Value, json};

use crate::emnify::{
    dialect::{ADA, BOB},
    site::Site,
};

fn encode(part: &[u8]) -> String {
    BASE64URL_NOPAD.encode(part)
}

fn decode(part: &str) -> Value {
    serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap()
}

fn pair(algorithm: &'static EcdsaSigningAlgorithm) -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let private = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(algorithm, private.as_ref(), &random).unwrap()
}

fn signed(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let text = format!(
        "{}.{}",
        encode(header.to_string().as_bytes()),
        encode(claims.to_string().as_bytes())
    );
    let signature = sign(text.as_bytes());
    format!("{text}.{}", encode(&signature))
}

#[tokio::test]
async fn only_es256_by_the_key_of_that_id_is_a_signature() {
    let site = Site::start().await;
    let good = site.token(ADA).await;
    let parts: Vec<_> = good.split('.').collect();
    let (header, claims) = (decode(parts[0]), decode(parts[1]));
    let jwks = site.get("/keyproof/v1/jwks.json").send().await.json;
    let public = &jwks["keys"][0];
    let point = |name: &str| {
        BASE64URL_NOPAD
            .decode(public[name].as_str().unwrap().as_bytes())
            .unwrap()
    };
    // SEC 1: the public key, which everybody knows.
    let known = [&[4][..], &point("x"), &point("y")].concat();

    let with = |member: &str, value: Value| {
        let mut header = header.clone();
        header[member] = value;
        header
    };
    let ecdsa = |pair: &EcdsaKeyPair, text: &[u8]| {
        let signature = pair.sign(&SystemRandom::new(), text).unwrap();
        signature.as_ref().to_vec()
    };
    let own = pair(&ECDSA_P256_SHA256_FIXED_SIGNING);
    let by_own = |text: &[u8]| ecdsa(&own, text);
    let (_, own_point) = own.public_key().as_ref().split_first().unwrap();
    let (x, y) = own_point.split_at(32);
    let jwk = json!({ "kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y) });
    let members = format!(
        r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
        encode(x),
        encode(y)
    );
    let own_id = encode(digest(&SHA256, members.as_bytes()).as_ref());
    let mac = |algorithm, text: &[u8]| {
        hmac::sign(&hmac::Key::new(algorithm, &known), text)
            .as_ref()
            .to_vec()
    };
    let without_id = json!({ "typ": "JWT", "alg": "ES256" });
    let p384 = pair(&ECDSA_P384_SHA384_FIXED_SIGNING);
    let asn1 = pair(&ECDSA_P256_SHA256_ASN1_SIGNING);
    let mut administrator = claims.clone();
    administrator["role"] = "SuperAdmin".into();
    let mut bobs = claims.clone();
    let bob = site.token(BOB).await;
    bobs["sub"] = decode(bob.split('.').nth(1).unwrap())["sub"].clone();
    let signature = BASE64URL_NOPAD.decode(parts[2].as_bytes()).unwrap();
    let mut flipped = signature.clone();
    flipped[0] ^= 1;

    let forged = [
        signed(&with("alg", "none".into()), &claims, |_| Vec::new()),
        signed(&with("alg", "None".into()), &claims, |_| Vec::new()),
        signed(&with("alg", "HS256".into()), &claims, |text| {
            mac(hmac::HMAC_SHA256, text)
        }),
        signed(&with("alg", "HS512".into()), &claims, |text| {
            mac(hmac::HMAC_SHA512, text)
        }),
        signed(&with("alg", "ES384".into()), &claims, |text| {
            ecdsa(&p384, text)
        }),
        signed(&with("alg", "ES384".into()), &claims, |_| signature.clone()),
        signed(&with("alg", "RS256".into()), &claims, |_| signature.clone()),
        signed(&header, &claims, by_own),
        signed(&header, &claims, |text| ecdsa(&asn1, text)),
        signed(&with("jwk", jwk.clone()), &claims, by_own),
        signed(&with("kid", own_id.into()), &claims, by_own),
        signed(&with("kid", "../signing_key".into()), &claims, by_own),
        signed(&with("kid", "".into()), &claims, by_own),
        signed(&with("kid", Value::Null), &claims, |_| signature.clone()),
        signed(&with("kid", 5.into()), &claims, |_| signature.clone()),
        signed(&without_id, &claims, |_| signature.clone()),
        signed(&header, &administrator, |_| signature.clone()),
        signed(&header, &bobs, |_| signature.clone()),
        signed(&header, &claims, |_| flipped.clone()),
        signed(&header, &claims, |_| Vec::new()),
        signed(&header, &claims, |_| vec![0; 64]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{good}.{}", parts[2]),
        format!("{good}="),
        format!("{good} {good}"),
        "a".repeat(4_000),
    ];
    for token in &forged {
        let answer = site.users(token).await;
        answer.refuses(401, 1102, "token");
    }
    site.users(&good).await.is(200);
}
