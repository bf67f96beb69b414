//! Valid and invalid bodies: JSON's rules, sizes, compression.

use std::io::Write;

use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use serde_json::json;

use crate::taler::{
    dialect::{DEVICES, KEY, LIMIT, device, with},
    site::Site,
};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn each_member_is_what_the_contract_says_or_named() {
    let site = Site::start().await;
    let token = &site.token("all").await;
    let post = async |body| site.post(DEVICES, &body).send_as(token).await;
    for name in [
        "otp_device_id",
        "otp_device_description",
        "otp_key",
        "otp_algorithm",
    ] {
        let mut missing = device("till");
        missing.as_object_mut().unwrap().remove(name);
        post(missing).await.refuses_field(name);
        let mut null = device("till");
        null[name] = json!(null);
        post(null).await.refuses_field(name);
    }
    for (name, wrong) in [
        ("otp_device_id", json!(5)),
        ("otp_device_id", json!("")),
        ("otp_device_id", json!("x".repeat(4097))),
        // Clients remove these from URLs.
        ("otp_device_id", json!(".")),
        ("otp_device_id", json!("..")),
        ("otp_device_description", json!(["x"])),
        ("otp_device_description", json!("ä".repeat(8193))),
        ("otp_key", json!(5)),
        ("otp_key", json!("0")),
        ("otp_key", json!("A B")),
        ("otp_key", json!("AB===")),
        ("otp_key", json!("A=B")),
        ("otp_key", json!("é")),
        ("otp_algorithm", json!(3)),
        ("otp_algorithm", json!(-1)),
        ("otp_algorithm", json!(1.0)),
        ("otp_algorithm", json!("1")),
        ("otp_algorithm", json!("HOTP")),
        ("otp_algorithm", json!(" NONE")),
        ("otp_algorithm", json!(true)),
        ("otp_algorithm", json!(256)),
        ("otp_ctr", json!("5")),
        ("otp_ctr", json!(-1)),
        ("otp_ctr", json!(1.0)),
        ("otp_ctr", json!(1.5)),
        ("otp_ctr", json!(true)),
    ] {
        post(with(device("till"), json!({ name: wrong })))
            .await
            .refuses_field(name);
    }
    // For a value of the right type, the answer contains the reason for its rejection.
    for (name, wrong, why) in [
        ("otp_device_id", "x".repeat(4097), "at most 4096 bytes"),
        ("otp_device_id", ".".to_owned(), "neither . nor .."),
        (
            "otp_device_description",
            "x".repeat(16_385),
            "at most 16384 bytes",
        ),
        ("otp_key", "AB======".to_owned(), "padding at byte 2"),
        ("otp_key", "AB CD".to_owned(), "symbol at byte 2"),
    ] {
        let refused = post(with(device("till"), json!({ name: wrong }))).await;
        let detail = refused.json["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(why), "{refused:?}");
    }
    let too_large = format!(
        r#"{{"otp_device_id":"x","otp_device_description":"","otp_key":"","otp_algorithm":0,"otp_ctr":{}}}"#,
        "18446744073709551616"
    );
    let answer = site
        .call("POST", DEVICES)
        .bearer(token)
        .body(too_large)
        .send()
        .await;
    answer.refuses_field("otp_ctr");
    // None of these was stored.
    let listed = site.get(DEVICES).send_as(token).await;
    assert_eq!(listed.json, json!({ "otp_devices": [] }));
}

#[tokio::test]
async fn what_the_contract_allows_is_taken() {
    let site = Site::start().await;
    let token = &site.token("all").await;
    for (number, details) in [
        json!({ "otp_key": "" }),
        json!({ "otp_key": "A" }),
        json!({ "otp_key": "gezdgnbv" }),
        json!({ "otp_key": "AB=" }),
        json!({ "otp_key": "AB==" }),
        json!({ "otp_key": "A".repeat(3_000) }),
        json!({ "otp_algorithm": 0 }),
        json!({ "otp_algorithm": "None" }),
        json!({ "otp_algorithm": "totp_with_price" }),
        json!({ "otp_ctr": 0 }),
        json!({ "otp_ctr": u64::MAX }),
        json!({ "unknown": { "otp_key": 5 } }),
    ]
    .into_iter()
    .enumerate()
    {
        site.add(token, with(device(&number.to_string()), details))
            .await;
    }
    let shown = site.get("/private/otp-devices/10").send_as(token).await;
    assert_eq!(shown.json["otp_ctr"], u64::MAX);
}

#[tokio::test]
async fn patch_bodies_follow_the_same_rules() {
    let site = Site::start().await;
    let token = &site.token("all").await;
    site.add(token, device("till")).await;
    let patch = async |body: &str| {
        let call = site
            .call("PATCH", "/private/otp-devices/till")
            .bearer(token);
        call.body(body.to_owned()).send().await
    };
    for (body, field) in [
        ("{}", "otp_device_description"),
        (
            r#"{"otp_device_description":null}"#,
            "otp_device_description",
        ),
        (
            &json!({ "otp_device_description": "x".repeat(16_385) }).to_string(),
            "otp_device_description",
        ),
        (r#"{"otp_device_description":"x","otp_key":"0"}"#, "otp_key"),
        (r#"{"otp_device_description":"x","otp_key":5}"#, "otp_key"),
        (
            r#"{"otp_device_description":"x","otp_algorithm":"1"}"#,
            "otp_algorithm",
        ),
        (r#"{"otp_device_description":"x","otp_ctr":-1}"#, "otp_ctr"),
    ] {
        patch(body).await.refuses_field(field);
    }
    let long = json!({ "otp_device_description": "x".repeat(16_385) }).to_string();
    let refused = patch(&long).await;
    let detail = refused.json["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("at most 16384 bytes"), "{refused:?}");
    let refused = patch(r#"{"otp_device_description":"x","otp_key":"0"}"#).await;
    let detail = refused.json["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("symbol at byte 0"), "{refused:?}");
    patch("{").await.refuses(400, 22);
    // Existence is checked before the body.
    let unknown = site
        .call("PATCH", "/private/otp-devices/none")
        .bearer(token)
        .body("{");
    unknown.send().await.refuses(404, 2021);
}

#[tokio::test]
async fn what_is_no_json_object_is_400() {
    let site = Site::start().await;
    let token = &site.token("all").await;
    let good = device("till").to_string();
    let twice = good.replacen('{', r#"{"otp_algorithm":2,"#, 1);
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    for body in [
        "",
        "{",
        "nonsense",
        "[]",
        "5",
        "null",
        "\"x\"",
        &twice,
        &deep,
        &format!("{good}{good}"),
        "{\"a\":\u{1}}",
    ] {
        let call = site
            .call("POST", DEVICES)
            .bearer(token)
            .body(body.to_owned());
        call.send().await.refuses(400, 22);
    }
    let latin1 = [&b"{\"otp_device_id\":\"\xe9\"}"[..]].concat();
    site.call("POST", DEVICES)
        .bearer(token)
        .body(latin1)
        .send()
        .await
        .refuses(400, 22);
    // The content type is ignored; only the content matters.
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "nonsense",
    ] {
        let call = site.call("POST", DEVICES).bearer(token).body(good.clone());
        call.header("content-type", content_type)
            .send()
            .await
            .is_empty();
    }
}

#[tokio::test]
async fn bodies_may_be_compressed_and_stay_bounded() {
    let site = Site::start().await;
    let token = &site.token("all").await;
    // taler-php compresses bodies of 4,096 bytes and more, as a long description makes them.
    let description = "long ".repeat(3_000);
    let long = json!({ "otp_device_description": description });
    let body = with(device("till"), long).to_string();
    let post = async |coding: &str, body: Vec<u8>| {
        let call = site
            .call("POST", DEVICES)
            .bearer(token)
            .header("content-encoding", coding);
        call.body(body).send().await
    };
    post("gzip", gzip(body.as_bytes())).await.is_empty();
    post("GZIP", gzip(body.as_bytes())).await.is_empty();
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
    zlib.write_all(body.as_bytes()).unwrap();
    post("deflate", zlib.finish().unwrap()).await.is_empty();
    post("identity", body.clone().into_bytes()).await.is_empty();
    let shown = site.get("/private/otp-devices/till").send_as(token).await;
    assert_eq!(shown.is(200).json["device_description"], description);

    let whole = gzip(body.as_bytes());
    post("gzip", whole[..whole.len() / 2].to_vec())
        .await
        .refuses(400, 28);
    post("gzip", body.clone().into_bytes())
        .await
        .refuses(400, 28);
    post("br", whole.clone()).await.refuses(400, 28);
    post("gzip, gzip", gzip(&whole)).await.refuses(400, 28);
    let bomb = gzip(format!("{{\"x\":\"{}\"}}", "x".repeat(50 << 20)).as_bytes());
    assert!(bomb.len() < LIMIT, "{}", bomb.len());
    post("gzip", bomb).await.refuses(413, 32);
}

#[tokio::test]
async fn a_body_announced_over_the_limit_is_413_before_anything_else() {
    let site = Site::start().await;
    let token = &site.token("all").await;
    let fits = with(device("till"), json!({ "more": "PAD" })).to_string();
    let pad = LIMIT - fits.len() + "PAD".len();
    let exact = fits.replace("PAD", &"x".repeat(pad));
    assert_eq!(exact.len(), LIMIT);
    site.call("POST", DEVICES)
        .bearer(token)
        .body(exact.clone())
        .send()
        .await
        .is_empty();
    let over = site.call("POST", DEVICES).body(format!("{exact} "));
    over.send_as(token).await.refuses(413, 32);
    let unknown = site.call("POST", DEVICES).body(format!("{exact} "));
    unknown.send().await.refuses(413, 32);
}

#[tokio::test]
async fn a_device_needs_no_more_than_128_kib_inflated_or_not() {
    const MOST: usize = 128 * 1024;
    let site = Site::start_with(&[("http.max_body_bytes", (1 << 20).into())]).await;
    let token = &site.token("all").await;
    site.add(token, device("till")).await;
    let body = with(device("till"), json!({ "otp_ctr": 7 })).to_string();
    for (method, path) in [
        ("POST", DEVICES.to_owned()),
        ("PATCH", format!("{DEVICES}/till")),
    ] {
        let send = async |length: usize, is_gzip: bool| {
            let padded = [body.as_bytes(), &vec![b' '; length - body.len()]].concat();
            let call = site.call(method, &path).bearer(token);
            let call = if is_gzip {
                call.header("content-encoding", "gzip").body(gzip(&padded))
            } else {
                call.body(padded)
            };
            call.send().await
        };
        for is_gzip in [false, true] {
            assert_ne!(send(MOST, is_gzip).await.status, 413, "{method} {path}");
            send(MOST + 1, is_gzip).await.refuses(413, 32);
        }
    }
}

#[tokio::test]
async fn a_key_is_compared_as_it_was_written() {
    let site = Site::start().await;
    let token = &site.token("all").await;
    site.add(
        token,
        with(device("till"), json!({ "otp_key": KEY.to_lowercase() })),
    )
    .await;
    let upper = site.post(DEVICES, &device("till")).send_as(token).await;
    upper.refuses(409, 2851);
}
