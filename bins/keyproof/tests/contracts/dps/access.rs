//! Who may make requests: keyproof's own tokens, and those of external issuers.

use std::{fs, time::Duration};

use data_encoding::BASE64URL_NOPAD;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::dps::{
    dialect::{CERTIFICATES, Ca, START, VERSION},
    site::{Answer, Site, command_line},
};

#[tokio::test]
async fn nobody_gets_in_without_a_token() {
    let site = Site::start().await;
    let target = format!("{CERTIFICATES}?api-version={VERSION}");
    for (authorization, code, challenge) in [
        (None, "AuthenticationFailed", "Bearer realm=\"keyproof\""),
        (
            Some("Basic YTpi"),
            "AuthenticationFailed",
            "Bearer realm=\"keyproof\"",
        ),
        (
            Some("Bearer"),
            "AuthenticationFailed",
            "Bearer realm=\"keyproof\"",
        ),
        (
            Some("Bearer "),
            "AuthenticationFailed",
            "Bearer realm=\"keyproof\"",
        ),
        (
            Some("Bearer x"),
            "InvalidAuthenticationToken",
            "error=\"invalid_token\"",
        ),
        (
            Some("Bearer keyproof_x"),
            "InvalidAuthenticationToken",
            "error=\"invalid_token\"",
        ),
        (
            Some("Bearer keyproof_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
            "InvalidAuthenticationToken",
            "error=\"invalid_token\"",
        ),
        (
            Some("Bearer a.b.c"),
            "InvalidAuthenticationToken",
            "error=\"invalid_token\"",
        ),
    ] {
        let mut call = site.call("GET", &target);
        if let Some(authorization) = authorization {
            call = call.header("authorization", authorization);
        }
        let answer = call.send().await;
        answer.refuses_as_arm(401, code);
        let said = answer.header("www-authenticate");
        assert!(
            said.starts_with("Bearer ") && said.contains(challenge),
            "{said}"
        );
    }
    let lower = site
        .call("GET", &target)
        .header("authorization", &format!("bEARER  {}", site.admin));
    lower.send().await.is(200);
    // For paths of any length.
    let long = format!("/subscriptions{}", "/x".repeat(70));
    let answer = site.call("GET", &long).send().await;
    answer.refuses_as_arm(401, "AuthenticationFailed");
}

#[tokio::test]
async fn a_token_reaches_what_its_scope_says() {
    let site = Site::start().await;
    for (scope, allowed) in [
        ("certificates", true),
        ("admin", true),
        ("certificates:sub-1", true),
        ("certificates:SUB-1/group", true),
        ("certificates:Sub-1/Group/DPS", true),
        ("certificates:sub", false),
        ("certificates:sub-1/other", false),
        ("certificates:sub-1/group/dps2", false),
        ("tpm", false),
        ("tpm-station", false),
    ] {
        let token = site.operator_token(&[scope], None).await;
        let target = format!("{CERTIFICATES}/c?api-version={VERSION}");
        let delete = site.call("DELETE", &target).send_as(&token).await;
        if allowed {
            delete.is(204);
        } else {
            delete.refuses_as_arm(403, "AuthorizationFailed");
            assert!(
                delete
                    .header("www-authenticate")
                    .contains("insufficient_scope"),
                "{delete:?}"
            );
            let id = Some(delete.header("x-ms-request-id").to_owned());
            let mut told = site.told().await;
            told.retain(|event| event.request_id == id);
            let [refused] = told.as_slice() else {
                panic!("{told:?}");
            };
            assert_eq!(refused.action, "certificate.delete");
            assert!(refused.who.starts_with("operator:"), "{refused:?}");
        }
    }
}

#[tokio::test]
async fn expired_and_revoked_tokens_are_refused() {
    let site = Site::start().await;
    let token = site
        .operator_token(&["certificates"], Some(Duration::from_secs(60)))
        .await;
    let target = format!("{CERTIFICATES}?api-version={VERSION}");
    site.call("GET", &target).send_as(&token).await.is(200);
    site.clock.advance(Duration::from_secs(60));
    let refused = site.call("GET", &target).send_as(&token).await;
    refused.refuses_as_arm(401, "InvalidAuthenticationToken");
    let all = site.console.access.list().await.unwrap();
    for token in all {
        site.console
            .access
            .revoke(&token.id, &command_line())
            .await
            .unwrap();
    }
    let refused = site.call("GET", &target).send_as(&site.admin).await;
    refused.refuses_as_arm(401, "InvalidAuthenticationToken");
}

/// An identity provider.
struct Issuer {
    folder: TempDir,
    pair: EcdsaKeyPair,
}

impl Issuer {
    fn new() -> Self {
        let issuer = Self {
            folder: tempfile::tempdir().unwrap(),
            pair: new_pair(),
        };
        issuer.publish();
        issuer
    }

    fn publish(&self) {
        let point = &self.pair.public_key().as_ref()[1..];
        let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let set = json!({"keys": [{
            "kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "alg": "ES256",
            "x": text(&point[..32]), "y": text(&point[32..]),
        }]});
        fs::write(self.folder.path().join("jwks.json"), set.to_string()).unwrap();
    }

    async fn site(&self) -> Site {
        let file = self.folder.path().join("jwks.json");
        Site::with(&format!(
            "[[dps.issuers]]\nissuer = \"https://sts.example/t/\"\naudience = \"https://management.example\"\n\
             jwks_file = {file:?}\nscope_claim = \"scp\"\n\
             scopes = {{ user_impersonation = \"certificates:Sub-1\", read = [\"tpm-station\"] }}"
        ))
        .await
    }

    fn token(&self, header: Value, changed: Value) -> String {
        let mut claims = json!({
            "iss": "https://sts.example/t/",
            "aud": "https://management.example",
            "sub": "ada",
            "exp": START + 3600,
            "nbf": START,
            "scp": "user_impersonation",
        });
        for (name, value) in changed.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let text = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let message = format!("{}.{}", text(&header), text(&claims));
        let signature = self
            .pair
            .sign(&SystemRandom::new(), message.as_bytes())
            .unwrap();
        format!("{message}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
    }

    fn good(&self) -> String {
        self.token(json!({"alg": "ES256", "kid": "k1"}), json!({}))
    }
}

fn new_pair() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap()
}

async fn put(site: &Site, token: &str) -> Answer {
    let target = format!("{CERTIFICATES}/c?api-version={VERSION}");
    let put = site
        .call("PUT", &target)
        .header("if-match", "*")
        .bearer(token);
    put.json(&Ca::new("Root").body()).send().await
}

#[tokio::test]
async fn a_token_of_a_configured_issuer_gets_in_and_is_named_in_the_trail() {
    let issuer = Issuer::new();
    let site = issuer.site().await;
    put(&site, &issuer.good()).await.is(200);
    let told = site.told().await;
    assert_eq!(told[0].who, "external:https://sts.example/t//ada");
    // The map limits what the token may access.
    let elsewhere = CERTIFICATES.replace("Sub-1", "Sub-2");
    let target = format!("{elsewhere}?api-version={VERSION}");
    let other = site.call("GET", &target).send_as(&issuer.good()).await;
    other.refuses_as_arm(403, "AuthorizationFailed");
    let header = json!({"alg": "ES256", "kid": "k1"});
    for scp in [json!("read"), json!("unmapped"), json!(null)] {
        let token = issuer.token(header.clone(), json!({ "scp": scp }));
        put(&site, &token)
            .await
            .refuses_as_arm(403, "AuthorizationFailed");
    }
    // keyproof's own tokens still work.
    put(&site, &site.admin).await.is(200);
}

/// Returns the token with another first character of its signature.
fn with_another_signature(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{signed}.{first}{}", &signature[1..])
}

#[tokio::test]
async fn other_tokens_are_refused_with_the_reason() {
    let issuer = Issuer::new();
    let site = issuer.site().await;
    let header = json!({"alg": "ES256", "kid": "k1"});
    for (token, code, reason) in [
        (
            issuer.token(header.clone(), json!({"exp": START})),
            "ExpiredAuthenticationToken",
            "expired",
        ),
        (
            issuer.token(header.clone(), json!({"nbf": START + 60})),
            "InvalidAuthenticationToken",
            "not valid yet",
        ),
        (
            issuer.token(header.clone(), json!({"aud": "x"})),
            "InvalidAuthenticationToken",
            "audience",
        ),
        (
            issuer.token(header.clone(), json!({"iss": "https://sts.example/t"})),
            "InvalidAuthenticationToken",
            "issuer",
        ),
        (
            issuer.token(json!({"alg": "none"}), json!({})),
            "InvalidAuthenticationToken",
            "not a signed JWT",
        ),
        (
            issuer.token(json!({"alg": "HS256", "kid": "k1"}), json!({})),
            "InvalidAuthenticationToken",
            "names no key",
        ),
        (
            issuer.token(json!({"alg": "ES256", "kid": "k2"}), json!({})),
            "InvalidAuthenticationToken",
            "names no key",
        ),
        (
            with_another_signature(&issuer.good()),
            "InvalidAuthenticationToken",
            "",
        ),
    ] {
        let refused = put(&site, &token).await;
        refused.refuses_as_arm(401, code);
        assert!(
            refused.header("www-authenticate").contains("invalid_token"),
            "{refused:?}"
        );
        let message = refused.json["error"]["message"].as_str().unwrap();
        assert!(message.contains(reason), "{message}");
        assert!(!message.contains(&token), "{message}");
    }
    assert_eq!(site.told().await, []);
}

#[tokio::test]
async fn new_keys_are_taken_without_a_restart() {
    let mut issuer = Issuer::new();
    let site = issuer.site().await;
    let old = issuer.good();
    put(&site, &old).await.is(200);
    issuer.pair = new_pair();
    put(&site, &issuer.good())
        .await
        .refuses_as_arm(401, "InvalidAuthenticationToken");
    issuer.publish();
    // The file is looked at once a second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    put(&site, &issuer.good()).await.is(200);
    put(&site, &old)
        .await
        .refuses_as_arm(401, "InvalidAuthenticationToken");
}
