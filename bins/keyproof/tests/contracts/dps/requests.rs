//! Requests that are rejected for their form, and the order of the checks.

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::{
    dps::{
        dialect::{CERTIFICATES, Ca, VERSION},
        site::Site,
    },
    stack::Client,
};

#[tokio::test]
async fn refusals_come_in_the_order_of_the_contract() {
    let site = Site::start().await;
    let ca = Ca::new("Root");
    let etag = site.put("c", &ca.body()).await.etag();
    let elsewhere = site.operator_token(&["certificates:other"], None).await;
    let without_version = format!("{CERTIFICATES}/c");
    let with_version = format!("{CERTIFICATES}/c?api-version={VERSION}");
    let (name, value) = ("content-type", "application/json");

    // Everything is wrong, and is corrected one by one.
    let call = site
        .call("PUT", &without_version)
        .header(name, value)
        .body("{");
    call.send()
        .await
        .refuses_as_arm(401, "AuthenticationFailed");
    let call = site
        .call("PUT", &without_version)
        .header(name, value)
        .body("{");
    let call = call.send_as(&elsewhere).await;
    call.refuses_as_arm(400, "MissingApiVersionParameter");
    let call = site
        .call("PUT", &with_version)
        .header(name, value)
        .body("{");
    let call = call.send_as(&elsewhere).await;
    call.refuses_as_arm(403, "AuthorizationFailed");
    let call = site
        .call("PUT", &with_version)
        .header(name, value)
        .body("{");
    let call = call.send_as(&site.admin).await;
    call.refuses(412, 412_001);
    let call = site
        .to("PUT", "/c")
        .if_match(&etag)
        .header(name, value)
        .body("{");
    call.send().await.refuses(400, 400_001);
    let call = site.to("PUT", "/c").if_match(&etag).json(&ca.body());
    call.send().await.is(200);
    // Existence is checked before any precondition, and before the body.
    let call = site
        .to("POST", "/absent/verify")
        .if_match("x")
        .header(name, value)
        .body("{");
    call.send().await.refuses(404, 404_001);
}

#[tokio::test]
async fn versions_are_known_or_refused_with_those_that_are() {
    let site = Site::start().await;
    for (query, code) in [
        ("", "MissingApiVersionParameter"),
        ("?", "MissingApiVersionParameter"),
        ("?api-version=", "MissingApiVersionParameter"),
        ("?apiversion=2022-12-12", "MissingApiVersionParameter"),
        ("?api-version=2022-12-13", "InvalidApiVersionParameter"),
        ("?api-version=latest", "InvalidApiVersionParameter"),
        ("?api-version=2023-03-01", "InvalidApiVersionParameter"),
    ] {
        let target = format!("{CERTIFICATES}{query}");
        let answer = site.call("GET", &target).send_as(&site.admin).await;
        answer.refuses_as_arm(400, code);
        let message = answer.json["error"]["message"].as_str().unwrap();
        assert!(message.contains("2022-12-12"), "{message}");
    }
}

#[tokio::test]
async fn bodies_are_json_of_the_right_form() {
    let site = Site::start().await;
    let ca = Ca::new("Root");
    let etag = site.put("c", &ca.body()).await.etag();
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for wrong in [
        "{",
        "[]",
        "7",
        "null",
        "\"text\"",
        "{\"certificate\": 7}",
        "{\"certificate\": \"x\"} more",
        "{\"certificate\": \"x\", \"certificate\": \"y\"}",
        &nested,
    ] {
        let put = site.to("PUT", "/new").body(wrong.to_owned()).send().await;
        put.refuses(400, 400_001);
        let verify = site
            .to("POST", "/c/verify")
            .if_match(&etag)
            .body(wrong.to_owned());
        verify.send().await.refuses(400, 400_001);
    }
    site.to("PUT", "/new").send().await.refuses(400, 400_001);
    for wrong in [
        "{\"properties\": 7}",
        "{\"properties\": {\"isVerified\": \"true\"}}",
    ] {
        let put = site.to("PUT", "/new").body(wrong).send().await;
        put.refuses(400, 400_001);
    }
    for empty in [
        "{}",
        "{\"certificate\": null}",
        "{\"certificate\": \" \"}",
        "{\"properties\": {}}",
    ] {
        let put = site.to("PUT", "/new").body(empty).send().await;
        put.refuses(400, 400_007);
        let verify = site.to("POST", "/c/verify").if_match(&etag).body(empty);
        verify.send().await.refuses(400, 400_007);
    }
    site.get("new").await.refuses(404, 404_001);
    assert_eq!(site.get("c").await.etag(), etag);
}

#[tokio::test]
async fn a_bodys_type_is_not_asked_for_unless_it_is_plainly_another() {
    let site = Site::start().await;
    let ca = Ca::new("Root");
    for taken in [
        None,
        Some("application/json"),
        Some("text/json; charset=utf-8"),
        Some("application/x-www-form-urlencoded"),
        Some("text/plain"),
    ] {
        let mut put = site
            .to("PUT", "/c")
            .header("if-match", "*")
            .body(ca.body().to_string());
        if let Some(taken) = taken {
            put = put.header("content-type", taken);
        }
        put.send().await.is(200);
    }
    let marked = format!("\u{feff}{}", ca.body());
    site.to("PUT", "/c")
        .header("if-match", "*")
        .body(marked)
        .send()
        .await
        .is(200);
    for refused in [
        "application/xml",
        "image/png",
        "multipart/form-data; boundary=x",
    ] {
        let put = site
            .to("PUT", "/c")
            .header("if-match", "*")
            .body(ca.body().to_string());
        let put = put.header("content-type", refused).send().await;
        put.refuses(415, 415_001);
    }
    let coded = |coding: &str| {
        let put = site.to("PUT", "/c").header("if-match", "*");
        let put = put.header("content-encoding", coding);
        put.body(ca.body().to_string())
    };
    for coding in ["gzip", "identity, gzip"] {
        coded(coding).send().await.refuses(415, 415_001);
    }
    // The only content coding that changes nothing.
    for coding in ["identity", "Identity", ""] {
        coded(coding).send().await.is(200);
    }
}

#[tokio::test]
async fn uploads_that_are_no_certificate_say_what_they_are() {
    const PKCS7: &[u8] = include_bytes!("../../../../../crates/x509/tests/data/p256-ca.p7b");
    let site = Site::start().await;
    let ca = Ca::new("Root");
    let key = rcgen::KeyPair::generate().unwrap();
    let cut = &ca.der[..100];
    for (upload, code) in [
        ("no certificate!".to_owned(), 400_004),
        (BASE64.encode(b"no certificate"), 400_004),
        ("-----BEGIN CERTIFICATE-----\nAAAA".to_owned(), 400_004),
        (
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----"
                .to_owned(),
            400_004,
        ),
        (BASE64.encode(cut), 400_005),
        (BASE64.encode(&[&ca.der[..], b"\0"].concat()), 400_005),
        (BASE64.encode(PKCS7), 400_005),
        (key.serialize_pem(), 400_006),
        (BASE64.encode(&key.serialize_der()), 400_006),
        (format!("{}{}", ca.pem, key.serialize_pem()), 400_006),
    ] {
        let body = json!({"properties": {"certificate": upload}});
        let put = site.to("PUT", "/c").json(&body).send().await;
        put.refuses(400, code);
        assert!(!put.message().contains(&upload), "{put:?}");
    }
    let long = json!({"certificate": "A".repeat(200_000)});
    site.to("PUT", "/c")
        .json(&long)
        .send()
        .await
        .refuses(413, 413_001);
    site.get("c").await.refuses(404, 404_001);
}

#[tokio::test]
async fn names_have_1_to_256_characters_and_no_control_characters() {
    let site = Site::start().await;
    let ca = Ca::new("Root");
    site.put(&"n".repeat(256), &ca.body()).await;
    site.put(&"%C3%A4".repeat(256), &ca.body()).await;
    let long = format!("/{}", "n".repeat(257));
    let put = site.to("PUT", &long).json(&ca.body()).send().await;
    put.refuses(400, 400_003);
    site.to("GET", &long).send().await.refuses(404, 404_001);
    for control in ["%00", "%0A", "%0d", "%1B", "%7F", "%C2%85"] {
        let path = format!("/a{control}b");
        let put = site.to("PUT", &path).json(&ca.body()).send().await;
        put.refuses(400, 400_003);
        site.to("GET", &path).send().await.refuses(404, 404_001);
    }
}

#[tokio::test]
async fn no_name_on_the_way_to_a_certificate_holds_a_control_character() {
    let site = Site::start().await;
    let ca = Ca::new("Root");
    for control in ["%00", "%0A", "%0d", "%1B", "%7F", "%C2%85"] {
        let odd = format!("a{control}b");
        for [subscription, group, service] in
            [[&*odd, "g", "p"], ["s", &odd, "p"], ["s", "g", &odd]]
        {
            let path = format!(
                "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Devices\
                 /provisioningServices/{service}/certificates/c?api-version={VERSION}"
            );
            let put = site.call("PUT", &path).bearer(&site.admin);
            put.json(&ca.body()).send().await.refuses(400, 400_003);
            let get = site.call("GET", &path).bearer(&site.admin);
            get.send().await.refuses(404, 404_001);
        }
    }
}

#[tokio::test]
async fn other_paths_and_methods_are_told_so() {
    let site = Site::start().await;
    for rest in ["/", "/c/other", "/c/verify/", "//verify"] {
        site.to("GET", rest).send().await.refuses(404, 404_002);
    }
    let target = format!("/subscriptions/s?api-version={VERSION}");
    let answer = site.call("GET", &target).send_as(&site.admin).await;
    answer.refuses(404, 404_002);
    let target = format!("/Subscriptions/%zz?api-version={VERSION}");
    let answer = site.call("GET", &target).send_as(&site.admin).await;
    answer.refuses(400, 400_002);
    for (method, rest, allow) in [
        ("POST", "", "GET, HEAD"),
        ("PATCH", "/c", "DELETE, GET, HEAD, PUT"),
        ("GET", "/c/verify", "POST"),
        ("PUT", "/c/generateVerificationCode", "POST"),
        ("OPTIONS", "/c", "DELETE, GET, HEAD, PUT"),
    ] {
        let answer = site.to(method, rest).send().await;
        answer.refuses(405, 405_001);
        assert_eq!(answer.header("allow"), allow, "{method} {rest}");
    }
}

#[tokio::test]
async fn a_head_that_cannot_be_parsed_is_told_so_in_this_contracts_form() {
    const GENERAL: &str = "not a valid HTTP/1.1 head";
    let site = Site::start().await;
    let target = format!("{CERTIFICATES}?api-version={VERSION}");
    let placeholder = target.replace("Sub-1", "<subscription>");
    for (target, field, why) in [
        (&placeholder, "", "must be percent-encoded"),
        (&target, "Content-Length: -1\r\n", GENERAL),
        (&target, "no field\r\n", GENERAL),
    ] {
        let mut client = Client::connect(site.server.address()).await;
        client
            .send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            .await;
        assert_eq!(client.answer().await.status, 200);
        client
            .send(format!(
                "PUT {target} HTTP/1.1\r\nHost: x\r\n{field}\r\n{{}}"
            ))
            .await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.header("x-ms-request-id").is_some(), "{answer:?}");
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(body["code"], 400_002);
        let message = body["message"].as_str().unwrap();
        assert!(message.contains(why), "{message}");
    }
}

#[tokio::test]
async fn what_is_too_long_is_told_so() {
    let site = Site::start().await;
    let name = |length: usize| {
        let rest = format!("/c?api-version={VERSION}&certificate.name=");
        format!(
            "{CERTIFICATES}{rest}{}",
            "n".repeat(length - CERTIFICATES.len() - rest.len())
        )
    };
    let fits = site
        .call("DELETE", &name(16 * 1024))
        .send_as(&site.admin)
        .await;
    fits.is(204);
    let long = site
        .call("DELETE", &name(16 * 1024 + 1))
        .send_as(&site.admin)
        .await;
    long.refuses(414, 414_001);
}

#[tokio::test]
async fn an_upload_needs_no_more_than_256_kib() {
    const MOST: usize = 2 * 128 * 1024;
    let site = Site::start().await;
    site.put("c", &Ca::new("Root").body()).await;
    for (method, rest) in [("PUT", "/c"), ("POST", "/c/verify")] {
        let send = async |length: usize| {
            let body = format!("[{}]", " ".repeat(length - 2));
            site.to(method, rest)
                .header("if-match", "*")
                .body(body)
                .send()
                .await
        };
        let judged = send(MOST).await;
        assert_ne!(judged.status, 413, "{method} {rest}: {judged:?}");
        send(MOST + 1).await.refuses(413, 413_001);
    }
}
