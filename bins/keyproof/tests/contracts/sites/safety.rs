//! The protection against strangers, neighbouring hosts and other pages.

use std::time::Duration;

use http::HeaderMap;
use keyproof_service::accounts::{Role, UserChange};
use keyproof_store::faults::FaultyEngine;
use tokio::time::sleep;

use super::{browser::Browser, console::operator::Operator};
use crate::{
    emnify::{
        dialect::{ADA, BOB, PASSWORD},
        site::{Site, command_line, secret, trusted_proxy},
    },
    stack::within,
};

fn cookies(headers: &HeaderMap) -> Vec<&str> {
    let all = headers.get_all("set-cookie").iter();
    all.map(|cookie| cookie.to_str().unwrap()).collect()
}

/// A page elsewhere can direct a browser here. The browser then sends no cookies, but stores those in the answer.
#[tokio::test]
async fn no_page_elsewhere_signs_anybody_out() {
    let site = Site::start().await;
    for path in [
        "/account/sign-in?out",
        "/account/sign-in?changed",
        "/console/sign-in?out",
        "/console/sign-in?everywhere",
    ] {
        for (from, is_told) in [
            ("cross-site", false),
            ("same-site", false),
            ("same-origin", true),
            ("none", true),
        ] {
            let mut browser = Browser::new(&site).sending("sec-fetch-site", from);
            let answer = browser.get(path).await;
            answer.is(200);
            let ended = cookies(&answer.headers);
            let ended = ended.iter().any(|cookie| cookie.contains("Max-Age=0"));
            assert_eq!(ended, is_told, "{path} from {from}");
            assert_eq!(
                browser.page.contains("role=\"status\""),
                is_told,
                "{path} from {from}"
            );
        }
    }
}

/// A page on a neighbouring host can direct a browser here with its cookies (`SameSite` refers to the site, not to the host).
#[tokio::test]
async fn no_page_elsewhere_has_us_say_that_something_was_done() {
    let site = Site::start().await;
    let mut ada = Browser::of_ada(&site).await;
    let (mut ops, _) = Browser::of_operator(&site, &["admin"]).await;
    for (browser, paths) in [
        (
            &mut ada,
            [
                "/account?ended",
                "/account?removed",
                "/account/devices?revoked",
                "/account/recovery-codes?activated",
            ],
        ),
        (
            &mut ops,
            [
                "/console?done=confirmed",
                "/console/tills?done=instance-removed",
                "/console/users/add?done=added",
                "/console/tpms?done=key-deleted",
            ],
        ),
    ] {
        for path in paths {
            for (from, is_told) in [("same-site", false), ("same-origin", true)] {
                browser.headers = vec![("sec-fetch-site", from.to_owned())];
                browser.get(path).await.is(200);
                let is_said = browser.page.contains("role=\"status\">");
                assert_eq!(is_said, is_told, "{path} from {from}");
            }
        }
    }
}

#[tokio::test]
async fn a_form_is_taken_from_our_own_page_alone() {
    let site = Site::start().await;
    let mut ada = Browser::new(&site);
    ada.get("/account/sign-in").await.is(200);
    let ours = ada.csrf();
    let fields = [("name", ADA), ("password", PASSWORD)];
    // Without the CSRF token, with another user's, and without the cookie.
    let mut stranger = Browser::new(&site);
    stranger.get("/account/sign-in").await.is(200);
    let theirs = stranger.csrf();
    for wrong in ["", "x", &theirs] {
        ada.post_with("/account/sign-in", wrong, &fields)
            .await
            .is(403);
        ada.sees("This form is out of date");
        assert_eq!(ada.session(), None);
    }
    let mut without = Browser::new(&site);
    without
        .post_with("/account/sign-in", &ours, &fields)
        .await
        .is(403);
    // From another origin, according to either header.
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let mut forged = Browser::new(&site).sending(name, value);
        forged.cookies = ada.cookies.clone();
        forged
            .post_with("/account/sign-in", &ours, &fields)
            .await
            .is(403);
    }
    let mut own = Browser::new(&site).sending("origin", "http://localhost");
    own.cookies = ada.cookies.clone();
    own.post_with("/account/sign-in", &ours, &fields)
        .await
        .is(303);
    // Forged attempts are not counted.
    site.password(ADA, PASSWORD).await.is(200);

    // After the sign-in there is a new CSRF token, and the former one is invalid.
    ada.post_with("/account/sign-in", &ours, &fields)
        .await
        .is(303);
    ada.get("/account").await.is(200);
    assert_ne!(ada.csrf(), ours);
    for path in ["/account/sign-out", "/account/sessions/end"] {
        ada.post_with(path, &ours, &[]).await.is(403);
    }
    ada.get("/account").await.is(200);
}

/// Each of these replaces the cookie that the forms of other windows are bound to.
#[tokio::test]
async fn a_form_that_another_window_has_put_out_of_date_is_told_why() {
    let site = Site::start().await;
    let mut ada = Browser::of_ada(&site).await;
    ada.get("/account").await.is(200);
    let window = ada.page.clone();
    ada.post("/account/sessions/end", &[]).await.is(303);
    ada.page = window;
    ada.post("/account/phone", &[("password", PASSWORD)])
        .await
        .is(403);
    ada.sees("before you signed in or out, confirmed that it is you, set up a phone or ended other sessions");
    let (mut ops, token) = Browser::of_operator(&site, &["admin"]).await;
    ops.get("/console/tills").await.is(200);
    let window = ops.page.clone();
    ops.confirms(&token).await;
    ops.page = window;
    let fields = [("name", "kiosk"), ("password", PASSWORD)];
    ops.post("/console/tills", &fields).await.is(403);
    ops.sees("before you signed in or out or showed your token again");
}

#[tokio::test]
async fn a_form_has_the_fields_of_its_page_and_nothing_else() {
    let site = Site::start().await;
    let mut ada = Browser::new(&site);
    ada.get("/account/sign-in").await.is(200);
    let long = "x".repeat(1025);
    for fields in [
        &[("name", ADA), ("password", PASSWORD), ("admin", "1")][..],
        &[("name", ADA), ("name", BOB), ("password", PASSWORD)],
        &[("name", "a\nb"), ("password", PASSWORD)],
        &[("name", &long), ("password", PASSWORD)],
    ] {
        ada.get("/account/sign-in").await.is(200);
        ada.post("/account/sign-in", fields).await.is(400);
    }
    ada.get("/account/sign-in").await.is(200);
    let csrf = ada.csrf();
    let cookie = format!("keyproof-visit={}", ada.cookies["keyproof-visit"]);
    let post = |kind: &'static str, body: String| {
        let call = site.call("POST", "/account/sign-in").of_another_dialect();
        let call = call.header("cookie", &cookie).header("content-type", kind);
        call.body(body).send()
    };
    let form = "application/x-www-form-urlencoded";
    post("application/json", "{}".to_owned()).await.is(415);
    post("multipart/form-data; boundary=x", String::new())
        .await
        .is(415);
    post(form, format!("csrf={csrf}&name=%ff")).await.is(400);
    post(form, "x".repeat(49 * 1024)).await.is(413);
    let put = site
        .call("PUT", "/account/sign-in")
        .of_another_dialect()
        .send()
        .await;
    assert_eq!(put.is(405).header("allow"), "GET, HEAD, POST");
}

#[tokio::test]
async fn a_session_ends_unused_and_in_any_case_after_eight_hours() {
    let site = Site::start().await;
    let mut ada = Browser::of_ada(&site).await;
    site.clock.advance(Duration::from_secs(15 * 60));
    assert_eq!(
        ada.get("/account").await.is(303).header("location"),
        "/account/sign-in?over"
    );
    ada.get("/account/sign-in?over").await.is(200);
    ada.sees("A session ends after 15 minutes without use");
    assert_eq!(ada.session(), None);

    ada.sign_in(ADA).await.is(200);
    for _ in 0..34 {
        site.clock.advance(Duration::from_secs(14 * 60));
        ada.get("/account").await.is(200);
    }
    site.clock.advance(Duration::from_secs(4 * 60));
    ada.get("/account").await.is(303);
}

#[tokio::test]
async fn a_session_ends_with_what_ends_its_user() {
    let site = Site::start().await;
    for end in ["suspend", "password", "remove"] {
        let mut ada = Browser::of_ada(&site).await;
        let (accounts, command) = (&site.console.accounts, command_line());
        match end {
            "suspend" => {
                site.change(ADA, UserChange::Suspend).await;
                ada.get("/account").await.is(303);
                site.change(ADA, UserChange::Activate).await;
            }
            "password" => {
                let set = accounts.set_user_password(ADA, secret(PASSWORD), &command);
                set.await.unwrap();
            }
            _ => accounts.remove_user(ADA, &command).await.map(drop).unwrap(),
        }
        // The overview reads the user again, and would notice by itself.
        for path in ["/account", "/account/activity", "/account/password"] {
            ada.get(path).await.is(303);
        }
    }
}

#[tokio::test]
async fn cookies_are_for_this_site_alone_and_sign_in_is_on_a_safe_connection_alone() {
    let site = Site::configured(&[trusted_proxy()]).await;
    // On this machine: without the prefix, which needs TLS.
    let mut near = Browser::new(&site);
    let answer = near.get("/account/sign-in").await;
    let [cookie] = cookies(&answer.headers)[..] else {
        panic!("{answer:?}")
    };
    assert!(cookie.starts_with("keyproof-visit="), "{cookie}");
    assert!(
        cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"),
        "{cookie}"
    );

    // Behind a proxy that uses TLS with its client.
    let proxied = |proto: &'static str| {
        let call = site.call("GET", "/account/sign-in").of_another_dialect();
        let call = call.header("x-forwarded-for", "198.51.100.7");
        call.header("x-forwarded-proto", proto).send()
    };
    let answer = proxied("https").await;
    let [cookie] = cookies(&answer.is(200).headers)[..] else {
        panic!("{answer:?}")
    };
    assert!(cookie.starts_with("__Host-keyproof-visit="), "{cookie}");
    assert!(
        cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict; Secure"),
        "{cookie}"
    );

    // Behind a proxy that does not.
    let answer = proxied("http").await;
    assert!(cookies(&answer.is(403).headers).is_empty());
    assert!(String::from_utf8_lossy(&answer.body).contains("https://"));
}

#[tokio::test]
async fn what_a_neighbour_has_a_browser_keep_shuts_nobody_out() {
    let site = Site::start().await;
    let mut ada = Browser::new(&site);
    // Another program's cookie of the same name, before ours in the same line.
    ada.cookies.insert("a".to_owned(), "Zoë".to_owned());
    ada.sign_in(ADA).await.is(200);
    ada.get("/account/devices").await.is(200);
    ada.sign_in_as(&["status-read"]).await;
    ada.get("/console").await.is(200);
}

/// Searches for events use a limited number of places, which all users share.
#[tokio::test]
async fn whoever_asks_for_their_activity_forty_times_at_once_hides_nobody_elses() {
    let engine = FaultyEngine::new();
    let site = Site::on(engine.clone(), &[("auth.address_limit", 0.into())]).await;
    for name in [ADA, BOB] {
        site.add(name, "Example Org", Role::User).await;
    }
    let (mut ada, mut bob) = (Browser::new(&site), Browser::new(&site));
    ada.sign_in(ADA).await.is(200);
    bob.sign_in(BOB).await.is(200);
    // All requests reach the trail at the same time.
    engine.stall();
    engine.steps();
    let asked = |mut who: Operator, path: &'static str| {
        tokio::spawn(async move {
            let answer = who.get(path).await;
            (answer.status.as_u16(), who.page)
        })
    };
    let bobs: Vec<_> = (0..40)
        .map(|_| asked(bob.operator(), "/account/activity"))
        .collect();
    let overviews: Vec<_> = (0..4).map(|_| asked(bob.operator(), "/account")).collect();
    let adas = asked(ada.operator(), "/account/activity");
    within(async {
        let mut come = 0;
        while come < 45 {
            sleep(Duration::from_millis(1)).await;
            come += engine.steps();
        }
    })
    .await;
    engine.resume_reads();
    assert_eq!(adas.await.unwrap().0, 200);
    let mut shown = 0;
    for bobs in bobs {
        let (status, _) = bobs.await.unwrap();
        assert!([200, 503].contains(&status), "{status}");
        shown += usize::from(status == 200);
    }
    assert!((1..40).contains(&shown), "{shown}");
    // The rest of the overview is shown.
    let mut without = 0;
    for overview in overviews {
        let (status, page) = overview.await.unwrap();
        assert_eq!(status, 200);
        without += usize::from(page.contains("too busy to show it just now"));
    }
    assert!(without > 0);
    bob.get("/account").await.is(200);
    bob.sees_not("too busy");
}

#[tokio::test]
async fn names_from_outside_are_text_on_a_page() {
    let site = Site::start().await;
    let hostile = "<script>alert(1)</script>\"'&\u{202e}gro";
    site.add(hostile, "<b>Org</b>", Role::User).await;
    let mut browser = Browser::new(&site);
    browser.sign_in(hostile).await.is(200);
    for path in [
        "/account",
        "/account/phone",
        "/account/password",
        "/account/activity",
        "/account/confirm",
    ] {
        browser.get(path).await.is(200);
        browser.sees_not("<script>");
        browser.sees("&#60;script&#62;alert(1)&#60;/script&#62;");
        browser.sees("<bdi>");
    }
    browser
        .post("/account/phone", &[("password", PASSWORD)])
        .await;
    browser.sees_not("<script>");
    browser.sees_not("<b>Org");
    // The form contains the text as it was typed.
    let mut other = Browser::new(&site);
    other.mistypes(hostile).await.is(422);
    other.sees_not("<script>");
    other.sees_not("value=\"<");
    let path = format!("/account/{}", "%3Cscript%3E");
    other.get(&path).await.is(404);
    other.sees_not("<script>");
}

#[tokio::test]
async fn a_name_too_long_for_a_qr_code_has_its_key_to_type() {
    let site = Site::start().await;
    let long = "é".repeat(127);
    site.add(&long, &long, Role::User).await;
    let mut browser = Browser::new(&site);
    browser.sign_in(&long).await.is(200);
    browser.draw().await;
    browser.sees("id=\"secret\"");
    browser.sees_not("<svg");
}

#[tokio::test]
async fn neither_the_store_nor_the_page_has_a_session_in_the_clear() {
    let site = Site::start().await;
    let mut ada = Browser::of_ada(&site).await;
    let session = ada.session().unwrap().to_owned();
    ada.get("/account").await.is(200);
    ada.sees_not(&session);
    let rows = site.all_rows().await;
    assert!(
        rows.iter()
            .any(|row| row.key().to_string().contains("user_session"))
    );
    for row in rows {
        assert!(!String::from_utf8_lossy(row.json()).contains(&session));
        assert!(!row.key().to_string().contains(&session));
    }
    // Values in a session's form that are not one.
    for wrong in ["x", &session[1..], &session.replace(&session[..1], "_")] {
        ada.cookies
            .insert("keyproof-account".to_owned(), wrong.to_owned());
        ada.get("/account").await.is(303);
    }
}

#[tokio::test]
async fn no_page_elsewhere_uses_up_what_an_address_may_try() {
    let site = Site::configured(&[("auth.address_limit", 3.into())]).await;
    site.add(ADA, "Example Org", Role::User).await;
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "cross-site"),
    ] {
        for path in ["/account/sign-in", "/account/code", "/console/sign-in"] {
            let mut forged = Browser::new(&site).sending(name, value);
            for _ in 0..2 {
                forged.post_with(path, "x", &[]).await.is(403);
            }
        }
    }
    Browser::of_ada(&site).await;
}
