//! List, get, create or update, delete: shapes, states and uploads.

use std::time::Duration;

use data_encoding::{BASE64, HEXUPPER};
use keyproof_service::otp_devices::{Lifetime, TokenRequest};
use rcgen::CustomExtension;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

use crate::dps::{
    dialect::{CERTIFICATES, Ca, VERSION},
    site::{Site, administrator, begin_list, console_origin, secret},
};

const CREATED: &str = "Tue, 14 Nov 2023 22:13:20 GMT";

#[tokio::test]
async fn a_certificate_has_the_shape_of_the_contract_and_nothing_more() {
    let site = Site::start().await;
    let ca = Ca::new("Root");
    site.to("GET", "").send().await.is(200);
    let empty = site.to("GET", "").send().await;
    assert_eq!(&*empty.body, br#"{"value":[]}"#);

    let put = site.put("My-Cert", &ca.body()).await;
    let etag = put.etag();
    let expected = json!({
        "properties": {
            "subject": "CN=Root,O=Acme",
            "expiry": "Mon, 06 May 2030 00:00:00 GMT",
            "thumbprint": HEXUPPER.encode(&Sha1::digest(&ca.der)),
            "isVerified": false,
            "certificate": BASE64.encode(&ca.der),
            "created": CREATED,
            "updated": CREATED,
        },
        "id": format!("{CERTIFICATES}/My-Cert"),
        "name": "My-Cert",
        "type": "Microsoft.Devices/provisioningServices/Certificates",
        "etag": etag,
    });
    assert_eq!(put.json, expected);
    assert_eq!(site.get("My-Cert").await.is(200).json, expected);
    let list = site.to("GET", "").send().await;
    assert_eq!(list.is(200).json, json!({ "value": [expected] }));

    let head = site.to("HEAD", "/My-Cert").send().await;
    assert!(head.is(200).body.is_empty());

    site.clock.advance(Duration::from_secs(41));
    let (_, _) = site.code("My-Cert", &etag).await;
    let code = site.get("My-Cert").await;
    assert_eq!(code.json["properties"]["created"], CREATED);
    assert_eq!(
        code.json["properties"]["updated"],
        "Tue, 14 Nov 2023 22:14:01 GMT"
    );
}

#[tokio::test]
async fn a_code_comes_with_the_certificate_and_its_new_etag() {
    let site = Site::start().await;
    let ca = Ca::new("Root");
    let put = site.put("c", &ca.body()).await;
    let answer = site
        .to("POST", "/c/generateVerificationCode")
        .header("if-match", &put.etag())
        .header("content-length", "0")
        .send()
        .await;
    answer.is(200);
    let mut expected = put.json.clone();
    let digits = answer.json["properties"]["verificationCode"].clone();
    expected["properties"]["verificationCode"] = digits.clone();
    expected["etag"] = answer.etag().into();
    assert_eq!(answer.json, expected);
    assert_ne!(answer.etag(), put.etag());
    let digits = digits.as_str().unwrap();
    assert_eq!(digits.len(), 48);
    assert!(
        digits
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'))
    );
    let shown = site.get("c").await;
    assert_eq!(shown.etag(), answer.etag());
    assert!(shown.json["properties"].get("verificationCode").is_none());
}

#[tokio::test]
async fn every_upload_encoding_and_both_bodies_are_taken_under_every_version() {
    let site = Site::start().await;
    let (ca, second) = (Ca::new("Root"), Ca::new("Second"));
    let crlf = ca.pem.replace('\n', "\r\n");
    let encodings = [
        BASE64.encode(&ca.der),
        ca.pem.clone(),
        crlf.clone(),
        BASE64.encode(ca.pem.as_bytes()),
        BASE64.encode(crlf.as_bytes()),
        BASE64.encode(format!("\u{feff}{crlf}").as_bytes()),
        BASE64.encode(format!("{}{}", ca.pem, second.pem).as_bytes()),
    ];
    let mut number = 0;
    for version in ["2017-11-15", "2021-10-15", VERSION, "2026-11-01"] {
        for encoding in &encodings {
            for body in [
                json!({"certificate": encoding}),
                json!({"certificate": encoding, "isVerified": null}),
                json!({"properties": {"certificate": encoding, "isVerified": null}}),
            ] {
                number += 1;
                let target = format!("{CERTIFICATES}/c?api-version={version}");
                let put = site
                    .call("PUT", &target)
                    .bearer(&site.admin)
                    .header("if-match", "*")
                    .json(&body)
                    .send()
                    .await;
                let subject = &put.is(200).json["properties"]["subject"];
                assert_eq!(subject, "CN=Root,O=Acme", "{version} {body}");
            }
        }
    }
    assert_eq!(site.told().await.len(), number);
}

#[tokio::test]
async fn the_certificate_is_answered_as_the_file_that_was_uploaded() {
    let site = Site::start().await;
    let (ca, second) = (Ca::new("Root"), Ca::new("Second"));
    let crlf = ca.pem.replace('\n', "\r\n");
    let der = BASE64.encode(&ca.der);
    let base64 = |text: &str| BASE64.encode(text.as_bytes());
    for (upload, answered) in [
        (der.clone(), der.clone()),
        (ca.pem.clone(), base64(&ca.pem)),
        (base64(&ca.pem), base64(&ca.pem)),
        (base64(&crlf), base64(&crlf)),
        // More than the one certificate: the answer has the DER of the one that was checked.
        (base64(&format!("{}{}", ca.pem, second.pem)), der.clone()),
        (
            base64(&format!("subject=CN = Root\n{}", ca.pem)),
            der.clone(),
        ),
        (base64(&format!("\u{feff}{}", ca.pem)), der.clone()),
        // Whitespace, which every list would otherwise contain.
        (format!("{}{}", ca.pem, " ".repeat(100 * 1024)), der.clone()),
    ] {
        let put = site
            .to("PUT", "/c")
            .header("if-match", "*")
            .json(&json!({"properties": {"certificate": upload}}))
            .send()
            .await;
        let of = |answer: &Value| answer["properties"]["certificate"].clone();
        assert_eq!(of(&put.is(200).json), *answered, "{upload}");
        assert_eq!(of(&site.get("c").await.json), *answered);
        // Other operations leave the file as it is.
        let code = site
            .to("POST", "/c/generateVerificationCode")
            .header("if-match", "*")
            .send()
            .await;
        assert_eq!(of(&code.is(200).json), *answered);
        let list = site.to("GET", "").send().await;
        assert_eq!(of(&list.is(200).json["value"][0]), *answered);
    }
}

#[tokio::test]
async fn every_known_version_is_served_and_early_ones_leave_the_certificate_out() {
    let site = Site::start().await;
    site.put("c", &Ca::new("Root").body()).await;
    for (version, shown) in [
        ("2017-08-21-preview", false),
        ("2017-11-15", false),
        ("2018-01-22", false),
        ("2020-03-01", true),
        ("2021-10-15", true),
        ("2022-02-05", true),
        ("2022-12-12", true),
        ("2023-03-01-preview", true),
        ("2025-02-01-preview", true),
        ("2026-03-01-preview", true),
        ("2026-04-01", true),
        ("2026-06-01-preview", true),
        ("2026-08-01", true),
        ("2026-08-31", true),
        ("2026-11-01", true),
    ] {
        let target = format!("{CERTIFICATES}/c?api-version={version}");
        let get = site.call("GET", &target).send_as(&site.admin).await;
        let properties = get.is(200).json["properties"].as_object().unwrap();
        assert_eq!(properties.contains_key("certificate"), shown, "{version}");
        let target = format!("{CERTIFICATES}?api-version={version}");
        let list = site.call("GET", &target).send_as(&site.admin).await;
        let listed = &list.is(200).json["value"][0]["properties"];
        assert_eq!(listed.get("certificate").is_some(), shown, "{version}");
    }
}

#[tokio::test]
async fn the_eight_old_query_parameters_are_taken_and_ignored() {
    let site = Site::start().await;
    let ca = Ca::new("Root");
    let etag = site.put("c", &ca.body()).await.etag();
    // A known client sends a whole PEM file as a name.
    let pem: String = percent_encoding::utf8_percent_encode(
        &ca.pem.repeat(14),
        percent_encoding::NON_ALPHANUMERIC,
    )
    .to_string();
    let query = format!(
        "certificate.name={pem}&certificate.rawBytes=%2B%2F%2F%2BIHJhdw%3D%3D&certificate.isVerified=maybe\
         &certificate.purpose=clientAuthentication&certificate.created=2026-01-02T03%3A04%3A05.000Z\
         &certificate.lastUpdated=never&certificate.hasPrivateKey=false&certificate.nonce=NONCE%2F%2B%3D&api-version={VERSION}"
    );
    assert!(
        query.len() > 8_000 && query.len() < 15_000,
        "{}",
        query.len()
    );
    let target = |rest: &str| format!("{CERTIFICATES}/c{rest}?{query}");
    let code = site
        .call("POST", &target("/generateVerificationCode"))
        .bearer(&site.admin)
        .if_match(&etag)
        .send()
        .await;
    let digits = code.is(200).json["properties"]["verificationCode"]
        .as_str()
        .unwrap();
    let leaf = json!({"certificate": BASE64.encode(&ca.leaf(digits))});
    let verified = site
        .call("POST", &target("/verify"))
        .bearer(&site.admin)
        .if_match(&code.etag())
        .json(&leaf)
        .send()
        .await;
    assert_eq!(verified.is(200).json["properties"]["isVerified"], true);
    let deleted = site
        .call("DELETE", &target(""))
        .bearer(&site.admin)
        .if_match(&verified.etag())
        .send()
        .await;
    assert!(deleted.is(200).body.is_empty());
}

#[tokio::test]
async fn names_have_no_case_and_are_answered_as_first_written() {
    let site = Site::start().await;
    let ca = Ca::new("Root");
    site.put("My-Cert", &ca.body()).await;
    let shouted = format!(
        "{}/MY-CERT?API-VERSION={VERSION}",
        CERTIFICATES.to_uppercase()
    );
    let get = site.call("GET", &shouted).send_as(&site.admin).await;
    assert_eq!(get.is(200).json["id"], format!("{CERTIFICATES}/My-Cert"));
    let updated = site
        .call("PUT", &shouted)
        .bearer(&site.admin)
        .if_match(&get.etag())
        .json(&ca.body())
        .send()
        .await;
    assert_eq!(updated.is(200).json["name"], "My-Cert");
    let list = site.to("GET", "").send().await;
    assert_eq!(list.json["value"].as_array().unwrap().len(), 1);
    // An escaped slash is part of the name.
    let put = site.put("a%2Fb%20c", &ca.body()).await;
    assert_eq!(put.json["name"], "a/b c");
    site.get("A%2fB%20C").await.is(200);
}

#[tokio::test]
async fn etags_decide_in_every_form_that_clients_write() {
    let site = Site::start().await;
    let ca = Ca::new("Root");
    let mut etag = site.put("c", &ca.body()).await.etag();
    let forms: [fn(&str) -> String; 5] = [
        |etag| etag.to_owned(),
        |etag| format!("\"{etag}\""),
        |etag| format!("W/\"{etag}\""),
        |_| "*".to_owned(),
        |etag| format!("\"x\", \"{etag}\""),
    ];
    for form in forms {
        let put = site
            .to("PUT", "/c")
            .header("if-match", &form(&etag))
            .json(&ca.body());
        let next = put.send().await;
        let next = next.is(200).etag();
        assert_ne!(next, etag);
        let stale = site
            .to("PUT", "/c")
            .header("if-match", &form(&etag))
            .json(&ca.body());
        let stale = stale.send().await;
        if form(&etag) == "*" {
            etag = stale.is(200).etag();
        } else {
            stale.refuses(412, 412_001);
            assert!(stale.message().contains("ETag"), "{stale:?}");
            etag = next;
        }
    }
    for (method, rest) in [
        ("PUT", "/c"),
        ("DELETE", "/c"),
        ("POST", "/c/generateVerificationCode"),
        ("POST", "/c/verify"),
    ] {
        // The precondition is missing, and this is refused before the body is read.
        let call = site
            .to(method, rest)
            .header("content-type", "image/png")
            .body("nonsense");
        call.send().await.refuses(412, 412_001);
    }
    site.to("GET", "/c").if_match(&etag).send().await.is(200);
    site.to("GET", "/c")
        .if_match("x")
        .send()
        .await
        .refuses(412, 412_001);
    assert_eq!(site.get("c").await.etag(), etag);
    let unless = async |method: &str, tag: &str| {
        let call = site.to(method, "/c").header("if-none-match", tag);
        call.send().await
    };
    for form in forms {
        for method in ["GET", "HEAD"] {
            let known = unless(method, &form(&etag)).await;
            assert!(known.is(304).body.is_empty());
        }
    }
    assert_eq!(unless("GET", "\"x\"").await.is(200).etag(), etag);
    // No change is made without If-Match.
    unless("PUT", "*").await.refuses(412, 412_001);
    unless("DELETE", "\"x\"").await.refuses(412, 412_001);
}

#[tokio::test]
async fn what_is_absent_is_404_but_a_deletion_is_done() {
    let site = Site::start().await;
    for if_match in [None, Some("*"), Some("AAAAAAAAAAA=")] {
        for (method, rest) in [
            ("GET", "/c"),
            ("POST", "/c/generateVerificationCode"),
            ("POST", "/c/verify"),
        ] {
            let mut call = site.to(method, rest);
            if let Some(if_match) = if_match {
                call = call.header("if-match", if_match);
            }
            call.send().await.refuses(404, 404_001);
        }
        let mut call = site.to("DELETE", "/c");
        if let Some(if_match) = if_match {
            call = call.header("if-match", if_match);
        }
        assert!(call.send().await.is(204).body.is_empty());
        // Ignored when a new one is created.
        let mut call = site.to("PUT", "/c").json(&Ca::new("Root").body());
        if let Some(if_match) = if_match {
            call = call.header("if-match", if_match);
        }
        let etag = call.send().await.is(200).etag();
        let deleted = site.to("DELETE", "/c").if_match(&etag).send().await;
        assert!(deleted.is(200).body.is_empty());
    }
}

#[tokio::test]
async fn is_verified_is_believed_kept_and_cleared() {
    let site = Site::start().await;
    let (ca, other) = (Ca::new("Root"), Ca::new("Other"));
    let put = async |ca: &Ca, verified: Value| {
        let body =
            json!({"properties": {"certificate": BASE64.encode(&ca.der), "isVerified": verified}});
        let put = site
            .to("PUT", "/c")
            .header("if-match", "*")
            .json(&body)
            .send()
            .await;
        put.is(200).json["properties"]["isVerified"]
            .as_bool()
            .unwrap()
    };
    assert!(put(&ca, json!(true)).await);
    assert!(put(&ca, json!(null)).await);
    assert!(!put(&ca, json!(false)).await);
    assert!(put(&ca, json!(true)).await);
    assert!(!put(&other, json!(null)).await);
    assert!(put(&ca, json!(true)).await);
    let told = site.told().await;
    let unproven = told.iter().filter(|event| {
        event
            .detail
            .as_deref()
            .unwrap()
            .contains("possession NOT proven")
    });
    assert_eq!(unproven.count(), 4);
    assert!(told.iter().all(|event| event.who.starts_with("operator:")));
}

#[tokio::test]
async fn is_verified_is_refused_where_it_is_not_believed() {
    let site = Site::with("allow_unproven = false").await;
    let ca = Ca::new("Root");
    let certificate = BASE64.encode(&ca.der);
    for body in [
        json!({"certificate": certificate, "isVerified": true}),
        json!({"properties": {"certificate": certificate, "isVerified": true}}),
    ] {
        let put = site.to("PUT", "/c").json(&body).send().await;
        put.refuses(400, 400_008);
    }
    site.get("c").await.refuses(404, 404_001);
    let etag = site.put("c", &ca.body()).await.etag();
    let (digits, etag) = site.code("c", &etag).await;
    let verified = site.verify("c", &etag, &ca.leaf(&digits)).await;
    // A verified certificate may be sent back as it was returned.
    let back = site
        .to("PUT", "/c")
        .if_match(&verified.etag())
        .json(&verified.json);
    assert_eq!(
        back.send().await.is(200).json["properties"]["isVerified"],
        true
    );
}

#[tokio::test]
async fn there_are_so_many_certificates_and_no_more() {
    let site = Site::with("max_certificates = 2").await;
    let ca = Ca::new("Root");
    site.put("a", &ca.body()).await;
    let etag = site.put("b", &ca.body()).await.etag();
    let full = site.to("PUT", "/c").json(&ca.body()).send().await;
    full.refuses(409, 409_001);
    assert!(full.message().contains('2'), "{full:?}");
    // Changing a certificate does not add one, and another service's certificates do not count.
    site.to("PUT", "/b")
        .if_match(&etag)
        .json(&ca.body())
        .send()
        .await
        .is(200);
    let elsewhere = CERTIFICATES.replace("/Dps/", "/Other/");
    let target = format!("{elsewhere}/c?api-version={VERSION}");
    let other = site
        .call("PUT", &target)
        .bearer(&site.admin)
        .json(&ca.body());
    other.send().await.is(200);
    site.to("DELETE", "/a")
        .header("if-match", "*")
        .send()
        .await
        .is(200);
    site.put("c", &ca.body()).await;
}

/// A list has no pages, and is in memory as a whole until its client has read it.
#[tokio::test]
async fn whoever_does_not_read_lists_has_few_of_them() {
    let site = Site::with("max_certificates = 100").await;
    // More than the system buffers for a client that does not read: each of these is 112 KiB of base64.
    let ca = Ca::made("Root", |params| {
        let content = vec![0; 84 * 1024];
        let oid = [1, 3, 6, 1, 4, 1, 99_999, 1];
        params.custom_extensions = vec![CustomExtension::from_oid_content(&oid, content)];
    });
    for number in 0..100 {
        site.put(&format!("c{number}"), &ca.body()).await;
    }
    let target = format!("{CERTIFICATES}?api-version={VERSION}");
    let (address, authorization) = (site.server.address(), format!("Bearer {}", site.admin));
    let begun = |target| begin_list(address, target, &authorization);
    site.to("GET", "").send().await.is(200);
    // It is one service, however its name is written.
    let written_otherwise = target.replace("Sub-1", "SUB-1").replace("/Dps/", "/dPS/");
    let unread = [begun(&target).await, begun(&written_otherwise).await];
    let refused = site.to("GET", "").send().await;
    assert_eq!(refused.refuses(503, 503_003).header("retry-after"), "1");
    // No other token is refused, and nothing but lists.
    let other = site.operator_token(&["certificates"], None).await;
    let other = site.call("GET", &target).send_as(&other).await;
    other.is(200);
    site.get("c7").await.is(200);
    drop(unread);
    site.to("GET", "").send().await.is(200);
}

/// A scope may cover any number of services, each of which has places of its own.
#[tokio::test]
async fn one_token_takes_not_all_places_for_lists() {
    let site = Site::with("max_certificates = 100").await;
    // As above: the system buffers less for a client that does not read.
    let ca = Ca::made("Root", |params| {
        let content = vec![0; 84 * 1024];
        let oid = [1, 3, 6, 1, 4, 1, 99_999, 1];
        params.custom_extensions = vec![CustomExtension::from_oid_content(&oid, content)];
    });
    let body = ca.body();
    let services = ["/A/", "/B/", "/C/", "/D/"];
    let services = services.map(|service| CERTIFICATES.replace("/Dps/", service));
    for certificates in &services {
        for number in 0..60 {
            let target = format!("{certificates}/c{number}?api-version={VERSION}");
            let put = site.call("PUT", &target).bearer(&site.admin).json(&body);
            put.send().await.is(200);
        }
    }
    let mut lists = tokio::task::JoinSet::new();
    for certificates in &services {
        for _ in 0..2 {
            let target = format!("{certificates}?api-version={VERSION}");
            let (address, authorization) =
                (site.server.address(), format!("Bearer {}", site.admin));
            lists.spawn(async move { begin_list(address, &target, &authorization).await });
        }
    }
    let unread = lists.join_all().await;
    let is_list = |(_, beginning): &&(_, [u8; 100])| beginning.starts_with(b"HTTP/1.1 200");
    let begun = unread.iter().filter(is_list).count();
    assert_eq!(begun, 2, "however many services there are");

    let (devices, origin) = (&site.console.otp_devices, console_origin());
    let password = || secret("correct horse");
    let administrator = administrator("default");
    let set = devices.set_password(&administrator, password());
    set.await.unwrap();
    let login = devices.log_in("default", "default", password(), &origin);
    let request = TokenRequest {
        scope: "all".parse().unwrap(),
        lifetime: Lifetime::Forever,
        description: None,
    };
    let issued = devices.issue(&login.await.unwrap(), &request).await;
    let till = site
        .call("GET", "/private/otp-devices")
        .bearer(&format!("secret-token:{}", *issued.unwrap().text))
        .of_another_dialect();
    till.send().await.is(200);
    drop(unread);
}

#[tokio::test]
async fn the_default_is_25_certificates() {
    let site = Site::start().await;
    let ca = Ca::new("Root");
    for number in 0..25 {
        site.put(&format!("c{number}"), &ca.body()).await;
    }
    let full = site.to("PUT", "/one-more").json(&ca.body()).send().await;
    full.refuses(409, 409_001);
}

#[tokio::test]
async fn the_subject_can_be_the_bare_common_name() {
    let site = Site::with("subject = \"common_name\"").await;
    let put = site.put("c", &Ca::new("Root").body()).await;
    assert_eq!(put.json["properties"]["subject"], "Root");
    let nameless = Ca::made("Root", |params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::OrganizationName, "Acme");
    });
    let put = site.put("d", &nameless.body()).await;
    assert_eq!(put.json["properties"]["subject"], "O=Acme");
}

#[tokio::test]
async fn a_certificate_without_an_end_is_shown_with_its_last_second() {
    let site = Site::start().await;
    let ca = Ca::made("Root", |params| {
        params.not_after = rcgen::date_time_ymd(9999, 12, 31);
    });
    let put = site.put("c", &ca.body()).await;
    assert_eq!(
        put.json["properties"]["expiry"],
        "Fri, 31 Dec 9999 00:00:00 GMT"
    );
}
