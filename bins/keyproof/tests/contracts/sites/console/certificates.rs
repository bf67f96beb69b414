//! An operator's actions at `/console/certificates`.

use std::time::Duration;

use super::operator::Operator;
use crate::dps::{dialect::Ca, site::Site};

const SERVICE: &str = "/console/certificates/service?subscription=Sub-1&group=Group&service=Dps";

const HOSTILE: &str = "<script>alert(1)</script>\u{202e}\"'&";

/// Returns the URL of an action on a certificate of that service.
fn of(what: &str, name: &str) -> String {
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([
            ("subscription", "Sub-1"),
            ("group", "Group"),
            ("service", "Dps"),
            ("name", name),
        ])
        .finish();
    format!("/console/certificates/certificate{what}?{query}")
}

#[tokio::test]
async fn an_operator_walks_to_possession() {
    let site = Site::start().await;
    let (mut ops, token) = site.operator(&["certificates:sub-1/group"]).await;
    ops.get("/console/certificates").await.is(200);
    ops.get(SERVICE).await.is(200);
    ops.sees("The service has none yet.");
    let ca = Ca::new("Acme Root");
    let parts = [
        ("name", &b"root"[..]),
        ("file", ca.pem.as_bytes()),
        ("text", b""),
    ];
    let uploaded = ops.upload(SERVICE, &parts).await;
    let page = uploaded.is(303).location();
    assert_eq!(page, format!("{}&done=certificate-added", of("", "root")));
    ops.get(&page).await.is(200);
    ops.sees("The certificate is added.");
    ops.sees("not proven");
    ops.sees("CN=Acme Root,O=Acme");

    let etag = ops.hidden("etag").unwrap();
    // Without a code.
    let leaf = ca.leaf(&"0".repeat(48));
    let parts = [("etag", etag.as_bytes()), ("file", &leaf)];
    ops.upload(&of("/verify", "root"), &parts).await.is(422);
    ops.sees("There is no live code");
    ops.post(&of("/code", "root"), &[("etag", &etag)])
        .await
        .is(200);
    let code = ops.text_of("secret");
    assert_eq!(code.len(), 48);
    ops.sees(&format!("-subj &#39;/CN={code}&#39;"));
    ops.sees(&format!("-Subject &#39;CN={code}&#39;"));
    // A user who comes back continues at the same step.
    ops.get(&of("", "root")).await.is(200);
    ops.sees_not(&code);
    ops.sees("go to step 3: a new code replaces it.");
    ops.sees("shown together with a new code.");
    ops.sees("<h2 id=\"prove\">Prove possession</h2>");
    let etag = ops.hidden("etag").unwrap();

    // Another CA's leaf: the report shows each check and the remedy.
    let foreign = Ca::new("Another").leaf(&code);
    let parts = [
        ("etag", etag.as_bytes()),
        ("code", code.as_bytes()),
        ("file", &foreign),
    ];
    ops.upload(&of("/verify", "root"), &parts).await.is(422);
    ops.sees("Possession is not proven");
    ops.sees("issuer");
    ops.sees("<strong>To do:</strong> sign the leaf with");
    ops.sees("the leaf’s issuer is <code>CN=Another,O=Acme</code>");
    // The code is still valid, and its commands are still shown.
    ops.sees(&format!("/CN={code}"));
    // Without a leaf, none is judged.
    for (text, error) in [("", "file-error"), (" \r\n", "text-error")] {
        let parts = [
            ("etag", etag.as_bytes()),
            ("code", code.as_bytes()),
            ("file", b""),
            ("text", text.as_bytes()),
        ];
        ops.upload(&of("/verify", "root"), &parts).await.is(422);
        ops.sees(&format!("id=\"{error}\">Choose a file, or paste its text."));
        ops.sees_not("Possession is not proven");
        ops.sees(&format!("/CN={code}"));
    }
    // The page and its code are of an earlier certificate.
    let leaf = ca.leaf(&code);
    for file in [&b""[..], &leaf] {
        let parts = [
            ("etag", &b"earlier"[..]),
            ("code", code.as_bytes()),
            ("file", file),
            ("text", b""),
        ];
        ops.upload(&of("/verify", "root"), &parts).await.is(409);
        ops.sees("The certificate has changed since this page was shown.");
        ops.sees_not(&code);
    }

    // Pasted as text.
    let leaf = data_encoding::BASE64.encode(&leaf);
    let parts = [
        ("etag", etag.as_bytes()),
        ("file", b""),
        ("text", leaf.as_bytes()),
    ];
    ops.upload(&of("/verify", "root"), &parts).await.is(200);
    ops.sees("Possession is proven");
    ops.sees("The leaf passes every check that could refuse it.");
    ops.sees("<details>\n<summary><h2 id=\"prove\">Prove possession again</h2>");
    ops.get(SERVICE).await.is(200);
    ops.sees(">proven<");

    ops.get(&of("", "root")).await.is(200);
    let etag = ops.hidden("etag").unwrap();
    site.clock.advance(Duration::from_secs(301));
    ops.get(&of("", "root")).await.is(200);
    ops.sent_to_confirm(&of("/delete", "root"), &token).await;
    // Another user's change is not overwritten.
    ops.post(&of("/delete", "root"), &[("etag", "00")])
        .await
        .is(409);
    ops.post(&of("/delete", "root"), &[("etag", &etag)])
        .await
        .is(303);
    ops.get(&of("", "root")).await.is(404);
    // What is not there is not said to be deleted.
    ops.get(SERVICE).await.is(200);
    ops.post(&of("/delete", "root"), &[("etag", &etag)])
        .await
        .is(404);
}

/// After a form, a phone shows the result instead of the page's head. Without a result it shows the head, which contains the
/// reason.
#[tokio::test]
async fn a_browser_is_led_to_a_code_and_to_a_report() {
    let site = Site::start().await;
    let ca = Ca::new("Acme Root");
    site.put("root", &ca.body()).await.is(200);
    let (mut ops, _) = site.operator(&["certificates"]).await;
    let (code, report) = ("id=\"code-step\"", "id=\"report\"");
    ops.get(&of("", "root")).await.is(200);
    for (what, part) in [("/code", "code-step"), ("/verify", "report")] {
        let action = format!("action=\"{}#{part}\"", of(what, "root"));
        ops.sees(&action.replace('&', "&#38;"));
    }
    ops.sees_not(code);
    let etag = ops.hidden("etag").unwrap();
    ops.post(&of("/code", "root"), &[("etag", "00")])
        .await
        .is(409);
    ops.sees_not(code);
    ops.post(&of("/code", "root"), &[("etag", &etag)])
        .await
        .is(200);
    ops.sees(code);
    ops.sees_not(report);
    let etag = ops.hidden("etag").unwrap();
    let parts = [("etag", etag.as_bytes()), ("file", ca.pem.as_bytes())];
    ops.upload(&of("/verify", "root"), &parts).await.is(422);
    ops.sees(report);
}

#[tokio::test]
async fn a_file_is_taken_from_our_own_page_alone() {
    let site = Site::start().await;
    let (mut ops, token) = site.operator(&["certificates"]).await;
    ops.get(SERVICE).await.is(200);
    let ours = ops.csrf();
    let ca = Ca::new("Acme Root");
    let parts = [("name", &b"root"[..]), ("file", ca.pem.as_bytes())];
    let theirs = {
        let other = Operator::signed_in(site.server.address(), &token).await;
        other.csrf()
    };
    for wrong in ["", "x", &theirs] {
        ops.upload_as(SERVICE, wrong, &parts).await.is(403);
    }
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "same-site"),
    ] {
        let mut forged = ops.clone();
        forged.headers.push((name, value.to_owned()));
        forged.upload_as(SERVICE, &ours, &parts).await.is(403);
    }
    ops.get(SERVICE).await.is(200);
    ops.sees("The service has none yet.");
    ops.upload_as(SERVICE, &ours, &parts).await.is(303);
}

#[tokio::test]
async fn what_is_no_certificate_is_said_to_be_none() {
    let site = Site::start().await;
    let (mut ops, _) = site.operator(&["certificates"]).await;
    ops.get(SERVICE).await.is(200);
    for (file, told) in [
        (&b""[..], "Choose a file, or paste its text."),
        (b"hello", "This is not one X.509 certificate"),
        (
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "private key",
        ),
    ] {
        ops.upload(SERVICE, &[("name", b"c"), ("file", file)])
            .await
            .is(422);
        ops.sees(told);
    }
    let ca = Ca::new("Root");
    ops.upload(SERVICE, &[("name", b""), ("file", &ca.der)])
        .await
        .is(422);
    ops.upload(SERVICE, &[("name", b"c"), ("file", &ca.der)])
        .await
        .is(303);
    ops.get(SERVICE).await.is(200);
    ops.upload(SERVICE, &[("name", b"c"), ("file", &ca.der)])
        .await
        .is(422);
    ops.sees("There is a certificate of this name.");
    // A file that is too long, a repeated field, and one that the page does not have.
    let long = vec![b'x'; 64 * 1024 + 1];
    ops.upload(SERVICE, &[("name", b"d"), ("file", &long)])
        .await
        .is(400);
    ops.sees("one certificate has at most 64 KiB, a file of several 256 KiB");
    ops.get(SERVICE).await.is(200);
    ops.upload(SERVICE, &[("name", b"d"), ("name", b"e")])
        .await
        .is(400);
    ops.get(SERVICE).await.is(200);
    ops.upload(SERVICE, &[("other", b"d")]).await.is(400);
    ops.get(SERVICE).await.is(200);
    ops.post(SERVICE, &[("name", "d")]).await.is(415);
    let csrf = "AAAA";
    let parts = [("name", &b"d"[..]), ("file", &ca.der)];
    ops.upload_as(SERVICE, csrf, &parts).await.is(403);
}

#[tokio::test]
async fn each_sees_what_their_scopes_reach_and_no_more() {
    let site = Site::start().await;
    let ca = Ca::new("Root");
    site.put("root", &ca.body()).await.is(200);
    for (scope, area, service) in [
        ("admin", 200, 200),
        ("certificates", 200, 200),
        ("certificates:sub-1/group/dps", 200, 200),
        ("certificates:sub-2", 200, 403),
        ("instances", 403, 403),
        ("tpm", 403, 403),
    ] {
        let (mut ops, _) = site.operator(&[scope]).await;
        let csrf = ops.csrf();
        ops.get("/console/certificates").await.is(area);
        if area == 200 {
            let is_listed = ops.page.contains("Sub-1");
            assert_eq!(is_listed, service == 200, "{scope}");
        }
        ops.get(SERVICE).await.is(service);
        ops.get(&of("", "root")).await.is(service);
        if service == 403 {
            let parts = [("name", &b"d"[..]), ("file", &ca.der)];
            ops.upload_as(SERVICE, &csrf, &parts).await.is(403);
            ops.post_with(&of("/code", "root"), &csrf, &[("etag", "x")])
                .await
                .is(403);
            ops.post_with(&of("/delete", "root"), &csrf, &[("etag", "x")])
                .await
                .is(403);
            let parts = [("etag", &b"x"[..]), ("file", &ca.der)];
            ops.upload_as(&of("/verify", "root"), &csrf, &parts)
                .await
                .is(403);
        }
    }
}

#[tokio::test]
async fn long_lists_are_paged() {
    let site = Site::with("max_certificates = 60").await;
    let ca = Ca::new("Root").body();
    for number in 0..51 {
        site.put(&format!("ca-{number:02}"), &ca).await;
    }
    let (mut ops, _) = site.operator(&["certificates"]).await;
    ops.get(SERVICE).await.is(200);
    ops.sees(">ca-49<");
    ops.sees_not(">ca-50<");
    let next = ops.link("Show more certificates");
    ops.get(&next).await.is(200);
    ops.sees(">ca-50<");
    ops.sees_not(">ca-49<");
    ops.sees_not("Show more certificates");
    ops.get(&format!("{SERVICE}&after=zzz")).await.is(200);
    ops.sees("There are no more certificates.");
    let behind = "/console/certificates?subscription=z&group=z&service=z";
    ops.get(behind).await.is(200);
    ops.sees("There are no more services.");
}

#[tokio::test]
async fn hostile_names_are_text() {
    let site = Site::start().await;
    let (mut ops, _) = site.operator(&["certificates"]).await;
    let ca = Ca::new(HOSTILE);
    for name in [HOSTILE, "..", "a/b?c#d%2F", "*+ x", "\u{202e}gnp.exe"] {
        ops.get(SERVICE).await.is(200);
        let parts = [("name", name.as_bytes()), ("file", &ca.der)];
        let uploaded = ops.upload(SERVICE, &parts).await;
        let page = uploaded.is(303).location();
        ops.get(&page).await.is(200);
        ops.sees_not("<script>alert");
        let etag = ops.hidden("etag").unwrap();
        let code = page.replace("/certificate?", "/certificate/code?");
        ops.post(&code, &[("etag", &etag)]).await.is(200);
        ops.sees_not("<script>alert");
        ops.get(SERVICE).await.is(200);
        ops.sees_not("<script>alert");
    }
}

#[tokio::test]
async fn a_service_is_found_by_its_exact_name_and_typed_with_blanks_around_it() {
    let site = Site::start().await;
    let (mut ops, _) = site.operator(&["certificates"]).await;
    let exact = format!("{SERVICE}%20");
    ops.get(&exact).await.is(200);
    let ca = Ca::new("Acme Root");
    let parts = [("name", &b"root"[..]), ("file", &ca.der)];
    ops.upload(&exact, &parts).await.is(303);
    ops.get("/console/certificates").await.is(200);
    ops.sees(&format!("href=\"{}\"", exact.replace('&', "&#38;")));
    ops.sees("name=\"typed\" value=\"on\"");
    ops.get(&exact).await.is(200);
    ops.sees(">root<");
    for other in [SERVICE, &format!("{exact}&typed=on")] {
        ops.get(other).await.is(200);
        ops.sees("The service has none yet.");
    }
}

#[tokio::test]
async fn the_start_tells_what_ends_within_ninety_days() {
    /// The end of the tests' CAs: 6 May 2030.
    const END: u64 = 1_904_256_000;
    const DAY: u64 = 24 * 60 * 60;
    let site = Site::start().await;
    let (mut ops, token) = site.operator(&["admin"]).await;
    ops.get(SERVICE).await.is(200);
    let ca = Ca::new("Acme Root");
    let parts = [("name", &b"root"[..]), ("file", ca.pem.as_bytes())];
    ops.upload(SERVICE, &parts).await.is(303);
    for (now, is_told, has_ended) in [
        (END - 91 * DAY, false, false),
        (END - 89 * DAY, true, false),
        (END + DAY, true, true),
    ] {
        let wait = now - site.now().as_secs();
        site.clock.advance(Duration::from_secs(wait));
        let ops = Operator::signed_in(site.server.address(), &token).await;
        for (seen, is_seen) in [
            ("certificate/sub-1/group/dps/root", is_told),
            ("2030-05-06 00:00 UTC", is_told),
            ("<time datetime=\"2030-05-06T00:00Z\">", is_told),
            ("has expired", has_ended),
            ("No CA certificate", !is_told),
        ] {
            assert_eq!(
                ops.page.contains(seen),
                is_seen,
                "{now}, {seen}: {}",
                ops.page
            );
        }
    }
}

/// The server's state may be visible to operators who may not see the objects.
#[tokio::test]
async fn what_ends_soon_is_named_to_those_who_reach_it() {
    let site = Site::start().await;
    let (mut ops, _) = site.operator(&["certificates:sub-1/group"]).await;
    ops.get(SERVICE).await.is(200);
    let ca = Ca::made("Acme Root", |params| {
        params.not_after = rcgen::date_time_ymd(2023, 12, 1);
    });
    let parts = [
        ("name", &b"root"[..]),
        ("file", ca.pem.as_bytes()),
        ("text", b""),
    ];
    ops.upload(SERVICE, &parts).await.is(303);
    for (scope, is_named) in [
        ("certificates:sub-1", true),
        ("certificates:sub-2", false),
        ("tpm", false),
    ] {
        let (mut reader, _) = site.operator(&["status-read", scope]).await;
        reader.get("/console").await.is(200);
        reader.sees("2023-12-01");
        let (named, unnamed) = ("sub-1", "a CA certificate");
        if is_named {
            reader.sees(named);
        } else {
            reader.sees(unnamed);
            reader.sees_not(named);
        }
    }
}
