//! Tokens signed by another library than the one that verifies them.

use std::{
    fs,
    path::Path,
    sync::{LazyLock, atomic::Ordering},
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
        RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
    },
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::testing::{START, Warnings};

const ISSUER: &str = "https://login.example/tenant/";
const AUDIENCE: &str = "https://management.example";

/// A key pair that signs.
struct Signer {
    id: &'static str,
    pair: Pair,
}

enum Pair {
    Ec(&'static str, EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl Signer {
    fn p256(id: &'static str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self {
            id,
            pair: Pair::Ec("P-256", pair),
        }
    }

    fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let mut jwk = match &self.pair {
            Pair::Ec(curve, pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({"kty": "EC", "crv": curve, "x": text(x), "y": text(y)})
            }
            Pair::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref())})
            }
            Pair::Rsa(pair) => {
                let public = pair.public_key();
                json!({
                    "kty": "RSA",
                    "n": text(public.modulus().big_endian_without_leading_zero()),
                    "e": text(public.exponent().big_endian_without_leading_zero()),
                })
            }
        };
        jwk["kid"] = self.id.into();
        jwk
    }

    /// Signs a token with `alg`, whatever the header contains.
    fn token_of(&self, alg: &str, header: &Value, claims: &Value) -> String {
        let text = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let message = format!("{}.{}", text(header), text(claims));
        let signature = self.sign(alg, message.as_bytes());
        format!("{message}.{}", BASE64URL_NOPAD.encode(&signature))
    }

    fn token(&self, alg: &str, claims: &Value) -> String {
        self.token_of(
            alg,
            &json!({"alg": alg, "kid": self.id, "typ": "JWT"}),
            claims,
        )
    }

    fn sign(&self, alg: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ec(_, pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let encoding: &'static dyn RsaEncoding = match alg {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut signature)
                    .unwrap();
                signature
            }
        }
    }
}

/// One key of each kind.
struct Keys {
    ed: Signer,
    p256: Signer,
    p384: Signer,
    rsa: Signer,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    Keys {
        ed: Signer {
            id: "ed",
            pair: Pair::Ed(Ed25519KeyPair::generate().unwrap()),
        },
        p256: Signer::p256("p256"),
        p384: Signer {
            id: "p384",
            pair: Pair::Ec("P-384", p384),
        },
        rsa: Signer {
            id: "rsa",
            pair: Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
        },
    }
});

impl Keys {
    fn all(&self) -> [&Signer; 4] {
        [&self.ed, &self.p256, &self.p384, &self.rsa]
    }
}

fn set_of<'a>(signers: impl IntoIterator<Item = &'a Signer>) -> Value {
    let keys: Vec<_> = signers.into_iter().map(Signer::jwk).collect();
    json!({ "keys": keys })
}

fn claims() -> Value {
    json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ada",
        "exp": START.as_secs() + 600,
        "nbf": START.as_secs(),
        "scp": "openid user_impersonation",
    })
}

/// The claims with these changes; `null` removes a claim.
fn with(changed: Value) -> Value {
    let mut claims = claims();
    for (name, value) in changed.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
        .as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    claims
}

fn scopes(texts: &[&str]) -> OperatorScopes {
    OperatorScopes::parse(texts.iter().copied()).unwrap()
}

fn settings(file: &Path, scope_claim: &str) -> IssuerSettings {
    IssuerSettings {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        jwks_file: file.to_owned(),
        scope_claim: scope_claim.to_owned(),
        scopes: BTreeMap::from([
            (
                "user_impersonation".to_owned(),
                scopes(&["certificates:sub"]),
            ),
            ("All Admins".to_owned(), scopes(&["admin"])),
            ("two".to_owned(), scopes(&["certificates:a", "tpm-station"])),
        ]),
    }
}

/// Issuers with these keys in their file.
fn issuers(set: &Value, scope_claim: &str) -> (TempDir, Issuers) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    fs::write(&file, set.to_string()).unwrap();
    let issuers = Issuers::load(vec![settings(&file, scope_claim)]).unwrap();
    (folder, issuers)
}

async fn judged(token: &str) -> Result<Operator, ExternalTokenError> {
    let (_folder, issuers) = issuers(&set_of(KEYS.all()), "scp");
    issuers.authenticate(token, START).await
}

fn reaches(operator: &Operator, scope: &str) -> bool {
    operator.may(&scope.parse().unwrap())
}

#[tokio::test]
async fn every_algorithm_is_taken_from_its_own_key() {
    let Keys {
        ed,
        p256,
        p384,
        rsa,
    } = &*KEYS;
    for (alg, signer) in [
        ("RS256", rsa),
        ("RS384", rsa),
        ("RS512", rsa),
        ("PS256", rsa),
        ("PS384", rsa),
        ("PS512", rsa),
        ("ES256", p256),
        ("ES384", p384),
        ("EdDSA", ed),
    ] {
        let operator = judged(&signer.token(alg, &claims())).await.unwrap();
        assert_eq!(operator.subject, "ada");
        assert_eq!(operator.who.to_string(), format!("external:{ISSUER}/ada"));
        assert!(reaches(&operator, "certificates:SUB/g"), "{alg}");
        assert!(!reaches(&operator, "certificates"), "{alg}");
        // The same token under any other algorithm name is rejected.
        for other in [
            "RS256", "RS384", "PS256", "PS384", "ES256", "ES384", "EdDSA", "HS256",
        ] {
            if other != alg {
                let header = json!({"alg": other, "kid": signer.id});
                let refused = judged(&signer.token_of(alg, &header, &claims())).await;
                assert!(
                    matches!(
                        refused,
                        Err(ExternalTokenError::Key | ExternalTokenError::Signature)
                    ),
                    "{alg} as {other}: {refused:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn tokens_that_nobody_signed_are_refused() {
    let part = |value: Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let payload = part(claims());
    for alg in ["none", "None", "NONE", "", "ES512", "ES256K"] {
        let header = part(json!({"alg": alg, "kid": "rsa"}));
        for signature in ["", "AAAA"] {
            let refused = judged(&format!("{header}.{payload}.{signature}")).await;
            assert_eq!(refused, Err(ExternalTokenError::Malformed), "{alg}");
        }
    }
    // A public key is no shared secret: not as JSON, not as its numbers, not as a symmetric key in the set.
    let jwk = KEYS.rsa.jwk();
    let modulus = BASE64URL_NOPAD
        .decode(jwk["n"].as_str().unwrap().as_bytes())
        .unwrap();
    let message = format!("{}.{payload}", part(json!({"alg": "HS256", "kid": "rsa"})));
    for secret in [jwk.to_string().into_bytes(), modulus.clone()] {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
        let tag = aws_lc_rs::hmac::sign(&key, message.as_bytes());
        let token = format!("{message}.{}", BASE64URL_NOPAD.encode(tag.as_ref()));
        assert_eq!(judged(&token).await, Err(ExternalTokenError::Key));
        let symmetric = json!({"keys": [
            {"kty": "oct", "kid": "rsa", "alg": "HS256", "k": BASE64URL_NOPAD.encode(&secret)},
            KEYS.p256.jwk(),
        ]});
        let (_folder, issuers) = issuers(&symmetric, "scp");
        let refused = issuers.authenticate(&token, START).await;
        assert_eq!(refused, Err(ExternalTokenError::Key));
    }
}

/// For the neutral element as the key, `0·B` and the number 0 sign every message (RFC 8032, section 5.1.7).
#[tokio::test]
async fn a_signature_that_anybody_can_make_for_a_key_of_small_order_is_no_signature() {
    let mut neutral = [0; 64];
    neutral[0] = 1;
    let (point, _) = neutral.split_at(32);
    let small =
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "small", "x": BASE64URL_NOPAD.encode(point)});
    let (_folder, issuers) = issuers(&json!({"keys": [small, KEYS.p256.jwk()]}), "scp");
    let part = |value: Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let header = part(json!({"alg": "EdDSA", "kid": "small"}));
    let forged = BASE64URL_NOPAD.encode(&neutral);
    let token = format!("{header}.{}.{forged}", part(claims()));
    let refused = issuers.authenticate(&token, START).await;
    assert_eq!(refused, Err(ExternalTokenError::Key));
}

#[tokio::test]
async fn a_changed_token_does_not_verify() {
    let token = KEYS.p256.token("ES256", &claims());
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        panic!("{token}");
    };
    let forged = BASE64URL_NOPAD.encode(with(json!({"sub": "eve"})).to_string().as_bytes());
    let stranger = Signer::p256("p256").token("ES256", &claims());
    let stranger = stranger.rsplit('.').next().unwrap();
    for wrong in [
        format!("{header}.{forged}.{signature}"),
        format!("{header}.{payload}.{stranger}"),
        format!("{header}.{payload}."),
    ] {
        assert_eq!(
            judged(&wrong).await,
            Err(ExternalTokenError::Signature),
            "{wrong}"
        );
    }
    for wrong in [
        "",
        ".",
        "..",
        "a.b.c",
        &format!("{header}.{payload}"),
        &format!("{token}.x"),
        &format!("{header}..{signature}"),
        &format!("{header}=.{payload}.{signature}"),
    ] {
        assert_eq!(
            judged(wrong).await,
            Err(ExternalTokenError::Malformed),
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn issuer_and_audience_are_the_configured_ones() {
    for (changed, verdict) in [
        (
            json!({"iss": "https://login.example/tenant"}),
            ExternalTokenError::Issuer,
        ),
        (json!({"iss": [ISSUER]}), ExternalTokenError::Malformed),
        (json!({"iss": null}), ExternalTokenError::Malformed),
        (
            json!({"aud": "https://elsewhere.example"}),
            ExternalTokenError::Audience,
        ),
        (
            json!({"aud": ["https://elsewhere.example"]}),
            ExternalTokenError::Audience,
        ),
        (json!({"aud": []}), ExternalTokenError::Audience),
        (json!({"aud": null}), ExternalTokenError::Malformed),
    ] {
        let token = KEYS.p256.token("ES256", &with(changed.clone()));
        assert_eq!(judged(&token).await, Err(verdict), "{changed}");
    }
    let both = with(json!({"aud": ["https://elsewhere.example", AUDIENCE]}));
    assert!(judged(&KEYS.p256.token("ES256", &both)).await.is_ok());
}

#[tokio::test]
async fn a_token_is_taken_in_its_time_alone() {
    let now = START.as_secs();
    for (changed, verdict) in [
        (json!({"exp": now + 1}), Ok(())),
        (json!({"exp": now}), Err(ExternalTokenError::Expired)),
        (json!({"exp": now - 3600}), Err(ExternalTokenError::Expired)),
        (json!({"exp": -1}), Err(ExternalTokenError::Expired)),
        (json!({"exp": 0.5}), Err(ExternalTokenError::Expired)),
        (json!({"exp": 1e300}), Ok(())),
        (json!({"exp": null}), Err(ExternalTokenError::Malformed)),
        (
            json!({"exp": "4102444800"}),
            Err(ExternalTokenError::Malformed),
        ),
        (json!({"nbf": null}), Ok(())),
        (json!({"nbf": now + CLOCK_SKEW.as_secs()}), Ok(())),
        (
            json!({"nbf": now + CLOCK_SKEW.as_secs() + 1}),
            Err(ExternalTokenError::NotYetValid),
        ),
        (json!({"nbf": "soon"}), Err(ExternalTokenError::Malformed)),
    ] {
        let token = KEYS.p256.token("ES256", &with(changed.clone()));
        assert_eq!(judged(&token).await.map(drop), verdict, "{changed}");
    }
}

#[tokio::test]
async fn a_bearers_end_is_that_of_the_token() {
    let now = START.as_secs();
    let after = |millis| Some(START.saturating_add(Duration::from_millis(millis)));
    for (exp, end) in [
        (json!(now + 1), after(1_000)),
        (
            json!(format!("{now}.25").parse::<f64>().unwrap()),
            after(250),
        ),
        (json!(1e300), None),
    ] {
        let token = KEYS.p256.token("ES256", &with(json!({"exp": exp.clone()})));
        assert_eq!(judged(&token).await.unwrap().expires_at, end, "{exp}");
    }
}

#[tokio::test]
async fn a_key_is_named_or_there_is_no_choice() {
    let unnamed = json!({"alg": "ES256"});
    let token = KEYS.p256.token_of("ES256", &unnamed, &claims());
    assert!(judged(&token).await.is_ok());
    let second = Signer::p256("second");
    let (_folder, two) = issuers(&set_of([&KEYS.p256, &second]), "scp");
    assert_eq!(
        two.authenticate(&token, START).await,
        Err(ExternalTokenError::Key)
    );
    assert!(
        two.authenticate(&second.token("ES256", &claims()), START)
            .await
            .is_ok()
    );

    for header in [
        json!({"alg": "ES256", "kid": "unknown"}),
        json!({"alg": "ES256", "kid": "p384"}),
        json!({"alg": "ES256", "kid": ""}),
    ] {
        let token = KEYS.p256.token_of("ES256", &header, &claims());
        assert_eq!(
            judged(&token).await,
            Err(ExternalTokenError::Key),
            "{header}"
        );
    }
    let critical = json!({"alg": "ES256", "kid": "p256", "crit": ["b64"], "b64": false});
    let token = KEYS.p256.token_of("ES256", &critical, &claims());
    assert_eq!(judged(&token).await, Err(ExternalTokenError::Malformed));
    // A key contained in the token is not trusted.
    let eve = Signer::p256("eve");
    let own = json!({"alg": "ES256", "jwk": eve.jwk(), "jku": "https://eve.example/jwks"});
    let token = eve.token_of("ES256", &own, &claims());
    assert_eq!(judged(&token).await, Err(ExternalTokenError::Signature));
}

#[tokio::test]
async fn what_a_key_is_for_binds() {
    let token = KEYS.rsa.token("RS256", &claims());
    for (member, value, taken) in [
        ("alg", json!("RS256"), true),
        ("alg", json!("RS384"), false),
        ("alg", json!("RSA-OAEP"), false),
        ("alg", json!("new"), false),
        ("use", json!("sig"), true),
        ("use", json!("enc"), false),
        ("key_ops", json!(["verify"]), true),
        ("key_ops", json!(["encrypt"]), false),
    ] {
        let mut jwk = KEYS.rsa.jwk();
        jwk[member] = value.clone();
        let (_folder, issuers) = issuers(&json!({"keys": [jwk, KEYS.p256.jwk()]}), "scp");
        let verdict = issuers.authenticate(&token, START).await.map(drop);
        let expected = if taken {
            Ok(())
        } else {
            Err(ExternalTokenError::Key)
        };
        assert_eq!(verdict, expected, "{member}: {value}");
    }
}

#[tokio::test]
async fn a_claims_values_are_mapped_to_scopes_and_others_to_nothing() {
    for (claim, value, reached, not_reached) in [
        (
            "scp",
            json!("a user_impersonation b"),
            "certificates:sub",
            "tpm-station",
        ),
        (
            "roles",
            json!(["x", "user_impersonation", 7]),
            "certificates:sub",
            "admin",
        ),
        ("roles", json!(["two"]), "tpm-station", "certificates:b"),
        ("groups", json!("All Admins"), "admin", ""),
        ("groups", json!(["All Admins"]), "admin", ""),
        // The words of an array's strings are not values.
        (
            "roles",
            json!(["a user_impersonation"]),
            "",
            "certificates:sub",
        ),
        ("scp", json!("USER_IMPERSONATION"), "", "certificates:sub"),
        (
            "scp",
            json!({"user_impersonation": true}),
            "",
            "certificates:sub",
        ),
        ("scp", json!(null), "", "certificates:sub"),
    ] {
        let (_folder, issuers) = issuers(&set_of(KEYS.all()), claim);
        let mut changed = json!({"scp": null});
        changed[claim] = value.clone();
        let token = KEYS.ed.token("EdDSA", &with(changed));
        let operator = issuers.authenticate(&token, START).await.unwrap();
        assert!(
            reached.is_empty() || reaches(&operator, reached),
            "{claim}: {value}"
        );
        assert!(
            not_reached.is_empty() || !reaches(&operator, not_reached),
            "{claim}: {value}"
        );
    }
}

#[tokio::test]
async fn one_issuer_may_be_configured_for_two_audiences() {
    let (folder, _) = issuers(&set_of(KEYS.all()), "scp");
    let file = folder.path().join("jwks.json");
    let other = IssuerSettings {
        audience: "https://other.example".to_owned(),
        scopes: BTreeMap::new(),
        ..settings(&file, "scp")
    };
    let both = Issuers::load(vec![other, settings(&file, "scp")]).unwrap();
    let operator = both
        .authenticate(&KEYS.ed.token("EdDSA", &claims()), START)
        .await;
    assert!(reaches(&operator.unwrap(), "certificates:sub"));
    let other = with(json!({"aud": "https://other.example"}));
    let operator = both
        .authenticate(&KEYS.ed.token("EdDSA", &other), START)
        .await;
    assert!(!reaches(&operator.unwrap(), "certificates:sub"));
    let neither = with(json!({"aud": "https://third.example"}));
    let refused = both
        .authenticate(&KEYS.ed.token("EdDSA", &neither), START)
        .await;
    assert_eq!(refused, Err(ExternalTokenError::Audience));
}

/// As an identity provider that signs an application's tokens with keys of the application's own.
#[tokio::test]
async fn each_audience_of_an_issuer_may_have_its_own_keys() {
    // A key of another audience has the same id.
    let namesake = Signer::p256("p256");
    let (first, _) = issuers(&set_of([&KEYS.p256]), "scp");
    let (second, _) = issuers(&set_of([&KEYS.ed, &namesake]), "scp");
    let [first, second] = [&first, &second].map(|folder| folder.path().join("jwks.json"));
    let other = IssuerSettings {
        audience: "https://other.example".to_owned(),
        ..settings(&first, "scp")
    };
    let both = Issuers::load(vec![other, settings(&second, "scp")]).unwrap();
    let third = with(json!({"aud": "https://third.example"}));
    for (token, verdict) in [
        (KEYS.ed.token("EdDSA", &claims()), Ok(())),
        (namesake.token("ES256", &claims()), Ok(())),
        // The other audience's key.
        (
            KEYS.p256.token("ES256", &claims()),
            Err(ExternalTokenError::Audience),
        ),
        (
            KEYS.p256.token("ES256", &third),
            Err(ExternalTokenError::Audience),
        ),
        (
            KEYS.rsa.token("RS256", &claims()),
            Err(ExternalTokenError::Key),
        ),
    ] {
        // The second time it is cached, if it is accepted.
        for _ in 0..2 {
            let judged = both.authenticate(&token, START).await.map(drop);
            assert_eq!(judged, verdict);
        }
    }
}

/// Waits until the next token makes the files be looked at again.
async fn a_second() {
    tokio::time::advance(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn keys_are_read_again_when_the_file_changes_and_kept_when_it_breaks() {
    let (old, new) = (Signer::p256("old"), Signer::p256("new"));
    let (folder, issuers) = issuers(&set_of([&old]), "scp");
    let file = folder.path().join("jwks.json");
    let verdicts = async || {
        a_second().await;
        let mut taken = Vec::new();
        for signer in [&old, &new] {
            let token = signer.token("ES256", &claims());
            taken.push(issuers.authenticate(&token, START).await.is_ok());
        }
        taken
    };
    assert_eq!(verdicts().await, [true, false]);
    fs::write(&file, set_of([&old, &new]).to_string()).unwrap();
    assert_eq!(verdicts().await, [true, true]);
    // Replaced atomically: another file with the same name and length.
    let replacement = folder.path().join("next.json");
    fs::write(&replacement, set_of([&new]).to_string()).unwrap();
    fs::rename(&replacement, &file).unwrap();
    assert_eq!(verdicts().await, [false, true]);
    for broken in ["{\"keys\":", "[]", &" ".repeat(300 * 1024)] {
        fs::write(&file, broken).unwrap();
        assert_eq!(verdicts().await, [false, true], "{:.20}", broken);
    }
    fs::remove_file(&file).unwrap();
    assert_eq!(verdicts().await, [false, true]);
    // An empty set is valid: it disables the issuer.
    fs::write(&file, "{\"keys\":[]}").unwrap();
    assert_eq!(verdicts().await, [false, false]);
    fs::write(&file, set_of([&old]).to_string()).unwrap();
    assert_eq!(verdicts().await, [true, false]);
}

#[test]
fn a_file_that_cannot_be_used_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    let load = || Issuers::load(vec![settings(&file, "scp")]).err();
    assert!(matches!(load(), Some(KeyFileError::Unreadable { .. })));
    for (text, fits) in [
        ("{", "Malformed"),
        ("{\"keys\": 7}", "Malformed"),
        ("{\"keys\": []}", "Empty"),
        (
            "{\"keys\": [{\"kty\": \"oct\", \"k\": \"AAAA\"}, {}, 7]}",
            "Empty",
        ),
        (&"x".repeat(300 * 1024), "TooLong"),
    ] {
        fs::write(&file, text).unwrap();
        let error = format!("{:?}", load().unwrap());
        assert!(error.starts_with(fits), "{text:.40}: {error}");
    }
}

/// An RSA key that is too short.
fn weak() -> Value {
    json!({"kty": "RSA", "kid": "weak", "n": BASE64URL_NOPAD.encode(&[0xff; 128]), "e": "AQAB"})
}

#[tokio::test]
async fn a_weak_key_is_warned_of_and_the_others_of_its_set_are_used() {
    let mut for_encryption = KEYS.p384.jwk();
    for_encryption["use"] = "enc".into();
    let (warnings, _counting) = Warnings::counted("issuers::key_file");
    let set = json!({"keys": [weak(), for_encryption, KEYS.rsa.jwk()]});
    let (_folder, issuers) = issuers(&set, "scp");
    assert_eq!(warnings.load(Ordering::Relaxed), 1);
    let of = |header: Value| KEYS.rsa.token_of("RS256", &header, &claims());
    let weakly = of(json!({"alg": "RS256", "kid": "weak"}));
    let refused = issuers.authenticate(&weakly, START).await;
    assert_eq!(refused, Err(ExternalTokenError::Key));
    // Only one key fits a token without a kid.
    for header in [
        json!({"alg": "RS256", "kid": "rsa"}),
        json!({"alg": "RS256"}),
    ] {
        assert!(issuers.authenticate(&of(header), START).await.is_ok());
    }
}

#[test]
fn a_file_of_nothing_but_unusable_keys_is_refused_by_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    fs::write(&file, json!({"keys": [weak(), 7]}).to_string()).unwrap();
    let refused = Issuers::load(vec![settings(&file, "scp")]).unwrap_err();
    let expected = format!(
        "{}: it contains no key that verifies signatures; key \"weak\": its modulus has 1024 bits, \
         not 2048 to 8192; a key without kid: it is malformed",
        file.display()
    );
    assert_eq!(refused.to_string(), expected);
}

#[test]
fn subjects_are_printable_and_bounded() {
    let of = |sub: Value| subject(with(json!({ "sub": sub })).as_object().unwrap());
    assert_eq!(of(json!("a\nb\u{1b}[0m")), "a\\nb\\u{1b}[0m");
    assert_eq!(of(Value::Null), "-");
    assert_eq!(of(json!(7)), "7");
    assert_eq!(of(json!("é".repeat(256))), "é".repeat(256));
    assert!(of(json!("é".repeat(500))).len() <= 512);
}

/// As the workloads of one project, whose subjects differ at their ends.
#[test]
fn subjects_that_begin_alike_are_not_one_subject() {
    let of = |sub: String| subject(with(json!({ "sub": sub })).as_object().unwrap());
    for length in [128, 600] {
        let [one, other] = ["one", "other"].map(|end| of(format!("{}{end}", "x".repeat(length))));
        assert_ne!(one, other, "{length}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_verified_once_and_again_when_its_issuers_keys_change() {
    let (mine, other) = (Signer::p256("mine"), Signer::p256("other"));
    let (folder, issuers) = issuers(&set_of([&mine]), "scp");
    let file = folder.path().join("jwks.json");
    let token = mine.token("ES256", &claims());
    for _ in 0..2 {
        let operator = issuers.authenticate(&token, START).await.unwrap();
        assert!(reaches(&operator, "certificates:sub"));
        assert_eq!(issuers.verified.len(), 1);
    }
    // A cached text is accepted without checking its signature.
    let known = issuers.verified.get(&digest_of(&token)).unwrap();
    issuers.verified.remember(digest_of("x.y.z"), known);
    assert!(issuers.authenticate("x.y.z", START).await.is_ok());
    fs::write(&file, set_of([&mine, &other]).to_string()).unwrap();
    a_second().await;
    let refused = issuers.authenticate("x.y.z", START).await;
    assert_eq!(refused, Err(ExternalTokenError::Malformed));
    assert!(issuers.authenticate(&token, START).await.is_ok());
    // Its key is removed, then added again.
    fs::write(&file, set_of([&other]).to_string()).unwrap();
    a_second().await;
    for _ in 0..2 {
        let refused = issuers.authenticate(&token, START).await;
        assert_eq!(refused, Err(ExternalTokenError::Key));
        assert_eq!(issuers.verified.len(), 0);
    }
    fs::write(&file, set_of([&other, &mine]).to_string()).unwrap();
    a_second().await;
    assert!(issuers.authenticate(&token, START).await.is_ok());
}

#[tokio::test]
async fn a_remembered_token_is_taken_in_its_time_alone_and_allows_what_is_mapped_now() {
    let (_folder, mut issuers) = issuers(&set_of(KEYS.all()), "scp");
    let now = START.as_secs();
    let token = KEYS
        .p256
        .token("ES256", &with(json!({"exp": now + 60, "nbf": now})));
    let at = |seconds| Timestamp::from_secs(now + seconds);
    let operator = issuers.authenticate(&token, at(59)).await.unwrap();
    assert!(reaches(&operator, "certificates:sub"));
    let before = Timestamp::from_secs(now - CLOCK_SKEW.as_secs() - 1);
    for (moment, verdict) in [
        (at(60), ExternalTokenError::Expired),
        (before, ExternalTokenError::NotYetValid),
    ] {
        assert_eq!(issuers.verified.len(), 1);
        let refused = issuers.authenticate(&token, moment).await;
        assert_eq!(refused, Err(verdict));
    }
    issuers.issuers[0].settings.scopes =
        BTreeMap::from([("user_impersonation".to_owned(), scopes(&["tpm-station"]))]);
    let operator = issuers.authenticate(&token, START).await.unwrap();
    assert!(!reaches(&operator, "certificates:sub"));
    assert!(reaches(&operator, "tpm-station"));
}

#[tokio::test]
async fn what_was_refused_is_not_remembered() {
    let (_folder, issuers) = issuers(&set_of(KEYS.all()), "scp");
    let token = KEYS.p256.token("ES256", &claims());
    let over = with(json!({"exp": START.as_secs()}));
    let elsewhere = with(json!({"aud": "https://elsewhere.example"}));
    for wrong in [
        "x.y.z",
        &token[..token.len() - 4],
        &KEYS.p256.token("ES256", &over),
        &KEYS.p256.token("ES256", &elsewhere),
        &Signer::p256("p256").token("ES256", &claims()),
    ] {
        for _ in 0..2 {
            assert!(issuers.authenticate(wrong, START).await.is_err(), "{wrong}");
        }
    }
    assert_eq!(issuers.verified.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_judged_anew_when_the_keys_of_any_that_was_asked_change() {
    let (mine, other) = (Signer::p256("mine"), Signer::p256("other"));
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (
        folder.path().join("first.json"),
        folder.path().join("second.json"),
    );
    for file in [&first, &second] {
        fs::write(file, set_of([&mine]).to_string()).unwrap();
    }
    let elsewhere = IssuerSettings {
        audience: "https://other.example".to_owned(),
        ..settings(&first, "scp")
    };
    let issuers = Issuers::load(vec![elsewhere, settings(&second, "scp")]).unwrap();
    let token = mine.token("ES256", &claims());
    assert!(issuers.authenticate(&token, START).await.is_ok());
    fs::write(&first, set_of([&mine, &other]).to_string()).unwrap();
    a_second().await;
    assert!(issuers.authenticate(&token, START).await.is_ok());
    fs::write(&second, set_of([&other]).to_string()).unwrap();
    a_second().await;
    let refused = issuers.authenticate(&token, START).await;
    assert_eq!(refused, Err(ExternalTokenError::Audience));
    fs::write(&first, set_of([&other]).to_string()).unwrap();
    a_second().await;
    let refused = issuers.authenticate(&token, START).await;
    assert_eq!(refused, Err(ExternalTokenError::Key));
}
