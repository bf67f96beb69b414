//! A user's actions at `/account`.

use std::time::Duration;

use data_encoding::BASE64;
use keyproof_service::accounts::{Role, UserChange};
use keyproof_store::{
    Timestamp,
    faults::{CommitMode, FaultyEngine},
};
use serde_json::json;

use super::browser::{ANOTHER_PASSWORD, Browser};
use crate::emnify::{
    dialect::{ADA, AUTHENTICATE, BOB, PASSWORD, Phone},
    site::{Site, trusted_proxy},
};

#[tokio::test]
async fn a_user_sets_up_a_phone_and_loses_it() {
    let site = Site::start().await;
    let mut ada = Browser::new(&site);
    // Nobody is signed in.
    assert_eq!(
        ada.get("/account").await.is(303).header("location"),
        "/account/sign-in?over"
    );
    ada.sign_in(ADA).await.is(200);
    ada.sees("No phone is set up.");
    ada.sees(&format!("<bdi>{ADA}</bdi>"));
    let before = ada.session().unwrap().to_owned();

    // A wrong password first; then the QR code and the secret, which are shown only once.
    ada.get("/account/phone").await.is(200);
    ada.post("/account/phone", &[("password", "wrong horse")])
        .await
        .is(422);
    ada.sees("This password is wrong.");
    ada.post("/account/phone", &[("password", PASSWORD)])
        .await
        .is(200);
    ada.sees("<svg role=\"img\" aria-label=\"QR code");
    ada.sees("otpauth://totp/");
    // A page in another language would be without the secret.
    ada.sees_not("?lang=");
    ada.get("/account/phone").await.is(200);
    ada.sees("?lang=");
    ada.sees_not("otpauth://");
    ada.sees("If your phone has the key, type the code");
    ada.sees("<button class=\"quiet\">Show the QR code</button>");
    let key = ada.hidden("key").unwrap();
    let wrong = ada
        .post(
            "/account/phone/activate",
            &[("key", &key), ("code", "000000")],
        )
        .await;
    wrong.is(422);
    ada.sees("This code is wrong.");
    let phone = ada.set_up().await;
    ada.sees("Your phone is set up.");

    // Recovery codes need no code now, and are shown only once.
    ada.sees_not("name=\"code\"");
    ada.post("/account/recovery-codes", &[("password", PASSWORD)])
        .await
        .is(200);
    ada.sees_not("?lang=");
    let codes: Vec<_> = ada.page.split("<li><code>").skip(1).collect();
    let codes: Vec<_> = codes
        .iter()
        .map(|rest| rest.split('<').next().unwrap().to_owned())
        .collect();
    assert_eq!(codes.len(), 10);
    let (_, file) = ada.page.split_once("base64,").unwrap();
    let file = BASE64.decode(
        file.split('"')
            .next()
            .unwrap()
            .replace("&#43;", "+")
            .as_bytes(),
    );
    let file = String::from_utf8(file.unwrap()).unwrap();
    assert!(file.starts_with(&format!("Your recovery codes: {ADA}\n")));
    assert!(codes.iter().all(|code| file.contains(&**code)));
    ada.get("/account/recovery-codes").await.is(200);
    ada.sees("10 of 10 are left.");
    ada.sees_not(&codes[0]);
    ada.sees("name=\"code\"");

    // The next login requires a code. A wrong one is rejected, one with a space, as apps show it, is accepted, and the session is
    // new.
    ada.post("/account/sign-out", &[]).await.is(303);
    assert_eq!(ada.session(), None);
    ada.sign_in(ADA).await.is(200);
    ada.sees("Enter your code");
    assert_eq!(ada.session(), None);
    let wrong = phone.never_shows(site.now());
    ada.post("/account/code", &[("code", &wrong)]).await.is(422);
    let code = phone.shows(site.now());
    let spaced = format!("{} {}", &code[..3], &code[3..]);
    ada.submit("/account/code", &[("code", &spaced)])
        .await
        .is(200);
    ada.sees("You need a code from your phone to sign in. Set up on <time");
    assert_ne!(ada.session().unwrap(), before);

    // The phone is lost: a recovery code signs in, but only once.
    let mut elsewhere = Browser::of_ada(&site).await;
    elsewhere
        .submit("/account/code", &[("code", &codes[3])])
        .await
        .is(200);
    elsewhere.sees("9 of 10 are left.");
    let key = key_of(&mut elsewhere).await;
    elsewhere
        .submit("/account/phone/remove", &[("key", &key)])
        .await
        .is(200);
    elsewhere.sees("The phone is removed.");
    elsewhere.sees("No phone is set up.");
}

/// Returns the number of the active key from the form that removes it.
async fn key_of(browser: &mut Browser<'_>) -> String {
    browser.get("/account/phone").await.is(200);
    browser.hidden("key").unwrap()
}

#[tokio::test]
async fn what_weakens_an_account_asks_for_password_and_code_again() {
    let site = Site::start().await;
    let mut ada = Browser::of_ada(&site).await;
    let phone = ada.set_up().await;
    ada.get("/account/phone").await.is(200);
    let key = ada.hidden("key").unwrap();
    let csrf = ada.csrf();
    let logged_in = keyproof_service::Clock::now(&*site.clock);
    site.clock
        .set(logged_in.saturating_sub(Duration::from_secs(9 * 60)));
    ada.get("/account/phone").await.is(200);
    ada.sees("href=\"/account/confirm?to=/account/phone\"");
    site.clock
        .set(logged_in.saturating_add(Duration::from_secs(5 * 60)));
    ada.get("/account/phone").await.is(200);
    ada.sees("href=\"/account/confirm?to=/account/phone\"");
    let early = ada
        .post_with("/account/phone/remove", &csrf, &[("key", &key)])
        .await;
    let confirm = "/account/confirm?to=/account/phone";
    assert_eq!(early.is(303).header("location"), confirm);
    ada.get(confirm).await.is(200);
    // The page is kept, too, if the session ends before the form is sent.
    ada.sees(&format!("action=\"{confirm}\""));
    let to = ada.hidden("to").unwrap();
    let before = ada.session().unwrap().to_owned();
    ada.post("/account/confirm", &[("password", "wrong horse")])
        .await
        .is(422);
    ada.submit("/account/confirm", &[("password", PASSWORD), ("to", &to)])
        .await
        .is(200);
    ada.sees("Enter your code");
    let to = ada.hidden("to").unwrap();
    // The former session lasts until the new one begins.
    assert_eq!(ada.session().unwrap(), before);
    let code = phone.shows(ada.next_step());
    ada.submit("/account/code", &[("code", &code), ("to", &to)])
        .await
        .is(200);
    let after = ada.session().unwrap().to_owned();
    assert_ne!(after, before);
    ada.sees("action=\"/account/phone/remove\"");
    // The former session has ended.
    ada.cookies.insert("keyproof-account".to_owned(), before);
    ada.get("/account").await.is(303);
    ada.cookies.insert("keyproof-account".to_owned(), after);
    ada.get("/account/phone").await.is(200);
    ada.submit("/account/phone/remove", &[("key", &key)])
        .await
        .is(200);
    ada.sees("The phone is removed.");
}

#[tokio::test]
async fn a_trusted_browser_signs_in_without_a_code_and_decides_nothing() {
    let site = Site::start().await;
    let mut ada =
        Browser::new(&site).sending("user-agent", "Mozilla/5.0 (X11; Linux) Firefox/140.0");
    ada.sign_in(ADA).await.is(200);
    let phone = ada.set_up().await;
    ada.get("/account").await.is(200);
    ada.post("/account/sign-out", &[]).await.is(303);
    ada.sign_in_with(&phone, true).await.is(200);
    ada.get("/account/devices").await.is(200);
    ada.sees("<bdi>Firefox</bdi> (this one)");
    ada.sees("<bdi>Linux</bdi>");
    ada.post("/account/sign-out", &[]).await.is(303);
    ada.sign_in(ADA).await.is(200);
    ada.sees("You signed in without a code.");
    // The session may read, but requires a code before it may change anything.
    ada.get("/account/devices").await.is(200);
    let id = ada.page.split("/account/devices/").nth(1).unwrap();
    let path = format!("/account/devices/{}/revoke", id.split('/').next().unwrap());
    for (deed, page) in [
        (&*path, "/account/devices"),
        ("/account/sessions/end", "/account"),
    ] {
        let refused = ada.post(deed, &[]).await;
        let confirm = format!("/account/confirm?to={page}");
        assert_eq!(refused.is(303).header("location"), confirm);
    }
    // Nobody types passwords into a form that would not be accepted.
    for page in ["/account/recovery-codes", "/account/password"] {
        ada.get(page).await.is(200);
        ada.sees(&format!("href=\"/account/confirm?to={page}\""));
        ada.sees_not("type=\"password\"");
    }
    let refused = ada.post("/account/password", &ANOTHER_PASSWORD).await;
    assert_eq!(
        refused.is(303).header("location"),
        "/account/confirm?to=/account/password"
    );
    // A URL of another site is replaced by the overview.
    let evil = "//evil.example";
    ada.get(&format!("/account/confirm?to={evil}"))
        .await
        .is(200);
    assert_eq!(ada.hidden("to").unwrap(), "/account");
    let fields = [("password", PASSWORD), ("to", evil)];
    ada.submit("/account/confirm", &fields).await.is(200);
    assert_eq!(ada.hidden("to").unwrap(), "/account");
    let code = phone.shows(ada.next_step());
    let answered = ada
        .post("/account/code", &[("code", &code), ("to", evil)])
        .await;
    assert_eq!(answered.is(303).location(), "/account");
    ada.get("/account/devices").await.is(200);
    ada.submit(&path, &[]).await.is(200);
    ada.sees("The device is no longer trusted.");
    ada.sees("No device is trusted.");
    ada.get("/account/devices").await.is(200);
    ada.post(&path, &[]).await.is(404);
}

/// A copied cookie of a trusted browser is worthless once the device was revoked.
#[tokio::test]
async fn a_browser_that_is_trusted_again_is_known_by_another_cookie() {
    const DEVICE: &str = "keyproof-device";
    let site = Site::start().await;
    let copying = |cookie: &str| {
        let mut thief = Browser::new(&site);
        thief.cookies.insert(DEVICE.to_owned(), cookie.to_owned());
        thief
    };
    let mut ada = Browser::of_ada(&site).await;
    let phone = ada.set_up().await;
    ada.get("/account").await.is(200);
    ada.post("/account/sign-out", &[]).await.is(303);
    ada.sign_in_with(&phone, true).await.is(200);
    let before = ada.cookies[DEVICE].clone();
    let mut thief = copying(&before);
    thief.sign_in(ADA).await.is(200);
    thief.sees("You signed in without a code.");

    // The device is revoked, and trusted again.
    ada.get("/account/devices").await.is(200);
    let id = ada.page.split("/account/devices/").nth(1).unwrap();
    let path = format!("/account/devices/{}/revoke", id.split('/').next().unwrap());
    ada.submit(&path, &[]).await.is(200);
    // From then on the browser does not send the revoked device's fingerprint.
    assert!(!ada.cookies.contains_key(DEVICE));
    ada.post("/account/sign-out", &[]).await.is(303);
    ada.next_step();
    ada.sign_in_with(&phone, true).await.is(200);
    let between = ada.cookies[DEVICE].clone();
    assert_ne!(between, before);
    let mut thief = copying(&before);
    thief.sign_in(ADA).await.is(200);
    thief.sees("Enter your code");

    // Trusted once more, it replaces its own device, so that a copied cookie is invalid without a revocation.
    ada.get("/account/confirm").await.is(200);
    let fields = [("password", PASSWORD), ("to", "/account/devices")];
    ada.submit("/account/confirm", &fields).await.is(200);
    let code = phone.shows(ada.next_step());
    let fields = [
        ("code", &*code),
        ("trust", "on"),
        ("to", "/account/devices"),
    ];
    ada.submit("/account/code", &fields).await.is(200);
    assert_ne!(ada.cookies[DEVICE], between);
    assert_eq!(ada.page.matches("/revoke\"").count(), 1);
    let mut thief = copying(&between);
    thief.sign_in(ADA).await.is(200);
    thief.sees("Enter your code");
}

#[tokio::test]
async fn a_new_password_ends_every_session_and_is_typed_twice() {
    let site = Site::start().await;
    let (mut ada, mut other) = (Browser::new(&site), Browser::new(&site));
    ada.sign_in(ADA).await.is(200);
    other.sign_in(ADA).await.is(200);
    ada.get("/account/password").await.is(200);
    for (old, new, repeat, says) in [
        (
            PASSWORD,
            "another horse",
            "another hose",
            "The two new passwords differ.",
        ),
        (PASSWORD, "short", "short", "too short"),
        (
            "wrong horse",
            "another horse",
            "another horse",
            "This password is wrong.",
        ),
    ] {
        let fields = [("old", old), ("new", new), ("repeat", repeat)];
        ada.post("/account/password", &fields).await.is(422);
        ada.sees(says);
    }
    ada.submit("/account/password", &ANOTHER_PASSWORD)
        .await
        .is(200);
    ada.sees("Your password is changed.");
    other.get("/account").await.is(303);
    ada.submit(
        "/account/sign-in",
        &[("name", ADA), ("password", "another horse")],
    )
    .await
    .is(200);
    ada.sees("Change of the password");
}

/// Logs in to the API with password and code. Returns an access token and a refresh token.
async fn tokens(site: &Site, phone: &Phone) -> [String; 2] {
    let challenge = site.challenge(ADA).await;
    let body = json!({ "mfa_token": challenge, "code": phone.shows(site.now()) });
    let given = site.authenticate(body).await;
    given.is(200);
    ["auth_token", "refresh_token"].map(|member| given.text(member))
}

async fn have_ended(site: &Site, [access, refresh]: &[String; 2]) {
    let list = site.get("/api/v1/user/mfa/trusted_device");
    list.send_as(access).await.is(401);
    let refreshed = site.authenticate(json!({ "refresh_token": refresh }));
    refreshed.await.is(401);
}

#[tokio::test]
async fn other_sessions_end_and_this_one_stays() {
    let site = Site::start().await;
    let (mut ada, mut other) = (Browser::new(&site), Browser::new(&site));
    ada.sign_in(ADA).await.is(200);
    let phone = ada.set_up().await;
    other.sign_in_with(&phone, false).await.is(200);
    ada.next_step();
    let tokens = tokens(&site, &phone).await;
    let before = ada.session().unwrap().to_owned();
    ada.get("/account").await.is(200);
    ada.submit("/account/sessions/end", &[]).await.is(200);
    ada.sees("All other sessions are ended.");
    assert_ne!(ada.session().unwrap(), before);
    other.get("/account").await.is(303);
    have_ended(&site, &tokens).await;
    // The session keeps its factor.
    ada.get("/account/password").await.is(200);
    ada.submit("/account/password", &ANOTHER_PASSWORD)
        .await
        .is(200);
    ada.sees("Your password is changed.");
}

#[tokio::test]
async fn other_sessions_end_with_the_phone_and_this_one_stays() {
    let site = Site::start().await;
    let (mut ada, mut other) = (Browser::new(&site), Browser::new(&site));
    ada.sign_in(ADA).await.is(200);
    let phone = ada.set_up().await;
    other.sign_in_with(&phone, true).await.is(200);
    other.post("/account/sign-out", &[]).await.is(303);
    // A trusted browser has shown no factor, and must not gain rights when the key is gone.
    other.sign_in(ADA).await.is(200);
    other.sees("You signed in without a code.");
    ada.next_step();
    let tokens = tokens(&site, &phone).await;
    let key = key_of(&mut ada).await;
    ada.submit("/account/phone/remove", &[("key", &key)])
        .await
        .is(200);
    ada.sees("The phone is removed.");
    other.get("/account").await.is(303);
    have_ended(&site, &tokens).await;
    ada.get("/account").await.is(200);
    ada.sees("Removal of the phone");
}

#[tokio::test]
async fn wrong_tries_lock_and_the_page_says_how_long() {
    let site = Site::start().await;
    let mut ada = Browser::new(&site);
    ada.get("/account/sign-in").await.is(200);
    for _ in 0..2 {
        ada.post(
            "/account/sign-in",
            &[("name", ADA), ("password", "wrong horse")],
        )
        .await
        .is(422);
        ada.sees("The user name or the password is wrong.");
        ada.sees(&format!("value=\"{ADA}\""));
        ada.sees_not("wrong horse");
    }
    for password in ["wrong horse", PASSWORD] {
        let locked = ada
            .post("/account/sign-in", &[("name", ADA), ("password", password)])
            .await;
        assert_eq!(locked.is(429).header("retry-after"), "300");
        ada.sees("try again in 5 minutes");
    }
    // The counter is shared with the API.
    site.password(ADA, PASSWORD).await.refuses(401, 1105, "");
    site.clock.advance(Duration::from_secs(300));
    ada.submit("/account/sign-in", &[("name", ADA), ("password", PASSWORD)])
        .await
        .is(200);
}

#[tokio::test]
async fn logins_of_an_address_are_limited_with_those_of_the_api() {
    let site = Site::configured(&[("auth.address_limit", 3.into())]).await;
    site.password(BOB, PASSWORD).await.is(401);
    let mut browser = Browser::new(&site);
    browser.get("/account/sign-in").await.is(200);
    for name in ["ben", "cy"] {
        browser
            .post(
                "/account/sign-in",
                &[("name", name), ("password", PASSWORD)],
            )
            .await
            .is(422);
    }
    let limited = browser
        .post(
            "/account/sign-in",
            &[("name", "di"), ("password", PASSWORD)],
        )
        .await;
    assert!(!limited.is(429).header("retry-after").is_empty());
    browser.sees("<h1>Too many requests</h1>");
    browser.sees("Too many requests came from your address");
}

#[tokio::test]
async fn a_phone_whose_clock_is_off_is_told_of() {
    let site = Site::start().await;
    let mut ada = Browser::of_ada(&site).await;
    let phone = ada.set_up().await;
    ada.get("/account").await.is(200);
    ada.sees("It is right.");
    // A user may read a code at the end of its step and send it in the next one, although the clock is right.
    for (seconds, told) in [
        (30, "It was about 30 seconds fast"),
        (0, "It is right."),
        (-30, "It is right."),
        (-60, " slow when it last made a code."),
    ] {
        ada.post("/account/sign-out", &[]).await.is(303);
        ada.next_step();
        ada.next_step();
        ada.sign_in(ADA).await.is(200);
        let at = site.now().as_secs().checked_add_signed(seconds).unwrap();
        let code = phone.shows(Timestamp::from_secs(at));
        ada.submit("/account/code", &[("code", &code)])
            .await
            .is(200);
        ada.sees(told);
    }
}

#[tokio::test]
async fn a_phone_whose_clock_is_a_minute_ahead_is_not_set_up() {
    let site = Site::start().await;
    let mut ada = Browser::of_ada(&site).await;
    let (phone, key) = ada.draw().await;
    let ahead = phone.shows(site.now().saturating_add(Duration::from_secs(60)));
    let fields = [("key", &*key), ("code", &*ahead)];
    ada.post("/account/phone/activate", &fields).await.is(422);
    ada.sees("If none works, the phone’s clock is off, or it has another key");
}

/// Another window has drawn another key, which the page now asks for a code of.
#[tokio::test]
async fn a_code_of_a_key_that_was_replaced_is_told_of() {
    let site = Site::start().await;
    let mut ada = Browser::of_ada(&site).await;
    let (phone, key) = ada.draw().await;
    ada.draw().await;
    let code = phone.shows(site.now());
    let fields = [("key", &*key), ("code", &*code)];
    ada.post("/account/phone/activate", &fields).await.is(422);
    ada.sees("The key that you scanned is no longer valid");
    assert_ne!(ada.hidden("key"), Some(key));
}

#[tokio::test]
async fn the_activity_is_the_users_own() {
    let site = Site::start().await;
    let (mut ada, mut bob) = (Browser::new(&site), Browser::new(&site));
    bob.sign_in(BOB).await.is(200);
    ada.mistypes(ADA).await.is(422);
    ada.sign_in(ADA).await.is(200);
    site.change(ADA, UserChange::Unlock).await;
    ada.get("/account/activity").await.is(200);
    for seen in [
        "Sign-in <strong class=\"refused\">refused</strong>",
        "Lifting of locks",
        "<bdi>127.0.0.1</bdi>",
        "2023-11-14",
    ] {
        ada.sees(seen);
    }
    ada.get("/account/activity?before=x").await.is(404);
    // Bob has signed in once, and sees nothing of Ada's.
    bob.get("/account/activity").await.is(200);
    bob.sees_not("Lifting of locks");
    assert_eq!(
        bob.page.matches("<tr role=\"row\"><td").count(),
        2,
        "his account, and his login"
    );
}

/// The failures of a minute are one row, and one of them may be the user's own.
#[tokio::test]
async fn the_activity_has_every_address_of_a_row() {
    let site = Site::configured(&[trusted_proxy()]).await;
    site.add(ADA, "Example Org", Role::User).await;
    let body = json!({ "username": ADA, "password": "wrong horse" });
    for address in ["192.0.2.1", "198.51.100.1"] {
        let call = site.post(AUTHENTICATE, &body);
        let answer = call.header("x-forwarded-for", address).send().await;
        answer.is(401);
    }
    let mut ada = Browser::of_ada(&site).await;
    ada.get("/account/activity").await.is(200);
    ada.sees("<bdi>192.0.2.1</bdi>, <bdi>198.51.100.1</bdi>");
}

/// Somebody who copied the session before its second factor gains nothing from the factor.
#[tokio::test]
async fn a_phone_that_is_activated_gives_the_session_another_id() {
    let site = Site::start().await;
    let mut ada = Browser::of_ada(&site).await;
    let mut other = Browser::new(&site);
    other.cookies = ada.cookies.clone();
    let before = ada.session().unwrap().to_owned();
    let _phone = ada.set_up().await;
    ada.sees("Your phone is set up.");
    assert_ne!(ada.session().unwrap(), before);
    for (path, to) in [
        ("/account", ""),
        ("/account/recovery-codes", "&to=/account/recovery-codes"),
    ] {
        let location = other.get(path).await.is(303).location();
        assert_eq!(location, format!("/account/sign-in?over{to}"));
    }
    // It is still the same session: recovery codes need no code now, and the sign-in is recent.
    ada.get("/account/recovery-codes").await.is(200);
    ada.sees_not("name=\"code\"");
    ada.get("/account/phone").await.is(200);
    ada.sees("action=\"/account/phone/remove\"");
}

/// The page says that the database does not answer, and to try again.
#[tokio::test]
async fn an_activation_that_is_tried_again_gives_the_session_another_id_too() {
    let engine = FaultyEngine::new();
    let site = Site::on(engine.clone(), &[]).await;
    site.add(ADA, "Example Org", Role::User).await;
    let mut ada = Browser::of_ada(&site).await;
    let (phone, key) = ada.draw().await;
    let (csrf, before) = (ada.csrf(), ada.session().unwrap().to_owned());
    let code = phone.shows(site.now());
    let fields = [("key", &*key), ("code", &*code)];
    // The activation is committed, and the session's new token is not.
    engine.commits(CommitMode::MadeOnly(1));
    ada.post_with("/account/phone/activate", &csrf, &fields)
        .await
        .is(503);
    engine.commits(CommitMode::Made);
    assert_eq!(ada.session(), Some(&*before));
    let again = ada.post_with("/account/phone/activate", &csrf, &fields);
    let to = again.await.is(303).location();
    assert_eq!(to, "/account/recovery-codes?activated");
    assert_ne!(ada.session(), Some(&*before));
    ada.get(&to).await.is(200);
    ada.sees("Your phone is set up.");
}

/// The page was shown without a field for it, while the code of the activation still counted.
#[tokio::test]
async fn whoever_has_typed_no_code_is_told_that_one_is_needed_and_not_that_it_is_wrong() {
    let site = Site::start().await;
    let mut ada = Browser::of_ada(&site).await;
    let phone = ada.set_up().await;
    ada.sees_not("name=\"code\"");
    site.clock.advance(Duration::from_secs(300));
    ada.post("/account/recovery-codes", &[("password", PASSWORD)])
        .await
        .is(422);
    ada.sees("A code is needed, too.");
    ada.sees_not("This code is wrong");
    ada.sees("name=\"code\"");
    let code = phone.shows(site.now());
    let fields = [("password", PASSWORD), ("code", &*code)];
    ada.post("/account/recovery-codes", &fields).await.is(200);
    ada.sees("<li><code>");
}

/// Everybody who knows the name can cause any number of failures.
#[tokio::test]
async fn failures_at_a_users_name_hide_no_sign_in() {
    let site = Site::start().await;
    let (mut ada, mut other) = (Browser::new(&site), Browser::new(&site));
    ada.sign_in(ADA).await.is(200);
    for _ in 0..8 {
        site.clock.advance(Duration::from_secs(60));
        other.mistypes(ADA).await;
    }
    ada.get("/account").await.is(200);
    assert_eq!(ada.page.matches("<tr role=\"row\"><td").count(), 5);
    ada.sees("Creation of the account");
    ada.get("/account/activity").await.is(200);
    assert!(ada.page.matches("<tr role=\"row\"><td").count() > 5);
}

#[tokio::test]
async fn a_page_of_fifty_rows_is_light_and_the_next_has_the_rest() {
    let site = Site::start().await;
    for _ in 0..60 {
        site.clock.advance(Duration::from_secs(1));
        site.change(ADA, UserChange::Unlock).await;
    }
    let mut ada = Browser::of_ada(&site).await;
    ada.get("/account/activity").await.is(200);
    assert_eq!(ada.page.matches("<tr role=\"row\"><td").count(), 50);
    let page = ada.page.len();
    let older = ada.link_to("/account/activity?before=");
    let style = ada.link_to("/account/style.css");
    let style = ada.get(&style).await;
    let kept = style.is(200).header("cache-control");
    assert_eq!(kept, "public, max-age=31536000, immutable");
    assert!(page + style.body.len() < 60 * 1024, "{page} bytes");
    ada.get(&older).await.is(200);
    // A change of the language stays there.
    ada.sees(&format!(
        "href=\"{}\"",
        older.replace("?before=", "?lang=de&amp;before=")
    ));
    // The account, the lifting of sixty locks that did not exist, and the login.
    assert_eq!(ada.page.matches("<tr role=\"row\"><td").count(), 12);
    ada.sees("Creation of the account");
}

#[tokio::test]
async fn the_help_is_everybodys_and_prolongs_no_session() {
    let site = Site::start().await;
    let mut ada = Browser::new(&site);
    ada.get("/account/help").await.is(200);
    ada.sees_not("/account/sign-out");
    ada.sign_in(ADA).await.is(200);
    for minutes in [7, 7] {
        site.clock.advance(Duration::from_secs(minutes * 60));
        ada.get("/account/help").await.is(200);
        ada.sees(&format!("<bdi>{ADA}</bdi>"));
        ada.sees("href=\"/account/devices\"");
    }
    site.clock.advance(Duration::from_secs(60));
    ada.get("/account").await.is(303);
    ada.get("/account/help").await.is(200);
    ada.sees_not("/account/sign-out");
    // The form on it has the session's token.
    ada.sign_in(ADA).await.is(200);
    ada.get("/account/help").await.is(200);
    let out = ada.post("/account/sign-out", &[]).await;
    assert_eq!(out.is(303).location(), "/account/sign-in?out");
}

#[tokio::test]
async fn a_refusal_signs_nobody_out_and_says_so() {
    const STAYS: &str = "This did not sign you out.";
    let site = Site::start().await;
    let mut ada = Browser::new(&site);
    ada.get("/account/nowhere").await.is(404);
    ada.sees_not(STAYS);
    ada.sign_in(ADA).await.is(200);
    ada.get("/account/nowhere").await.is(404);
    ada.sees(STAYS);
    ada.get("/account").await.is(200);
}

#[tokio::test]
async fn pages_are_in_the_language_that_the_browser_asks_for_or_that_was_chosen() {
    let site = Site::start().await;
    let mut ada = Browser::new(&site).sending("accept-language", "de-AT, en;q=0.5");
    ada.get("/account/sign-in").await.is(200);
    ada.sees("<html lang=\"de\">");
    ada.sees("Benutzername");
    ada.get("/account/sign-in?lang=en").await.is(200);
    ada.sees("<html lang=\"en\">");
    ada.sign_in(ADA).await.is(200);
    ada.sees("<html lang=\"en\">");
    ada.get("/account?lang=de").await.is(200);
    ada.sees("Es ist kein Telefon eingerichtet.");
    ada.get("/account/nowhere").await.is(404);
    ada.sees("Diese Seite gibt es nicht");
    // A change of the language keeps the page to return to.
    ada.get("/account/confirm?to=/account/phone").await.is(200);
    let link = "/account/confirm?lang=en&amp;to=/account/phone";
    ada.sees(&format!("href=\"{link}\""));
    ada.get(&link.replace("&amp;", "&")).await.is(200);
    ada.sees("Confirm that it is you");
    assert_eq!(ada.hidden("to").unwrap(), "/account/phone");
}

/// After going back in the browser, in a second window, or with a form that another window was faster with.
#[tokio::test]
async fn no_sign_in_page_throws_a_live_session_away() {
    let site = Site::start().await;
    let mut ada = Browser::of_ada(&site).await;
    let session = ada.session().unwrap().to_owned();
    for query in ["changed", "out", "over"] {
        let answer = ada.get(&format!("/account/sign-in?{query}")).await;
        assert_eq!(answer.is(303).header("location"), "/account", "{query}");
        assert_eq!(ada.session(), Some(&*session), "{query}");
    }
    ada.get("/account").await.is(200);
    // A session that may have ended by another server's clock is neither reported as ended nor deleted.
    site.clock.advance(Duration::from_secs(13 * 60));
    let asked = "/account/sign-in?over&to=/account/devices";
    ada.get(asked).await.is(200);
    ada.sees_not("Please sign in.");
    assert_eq!(ada.hidden("to").unwrap(), "/account/devices");
    assert_eq!(ada.session(), Some(&*session));
    // A session that has ended is deleted, and reported.
    site.clock.advance(Duration::from_secs(2 * 60));
    ada.get("/account/sign-in?over").await.is(200);
    ada.sees("Please sign in.");
    assert_eq!(ada.session(), None);
}

#[tokio::test]
async fn a_wrong_code_takes_no_tick_away() {
    let site = Site::start().await;
    let mut ada = Browser::of_ada(&site).await;
    let phone = ada.set_up().await;
    ada.post("/account/sign-out", &[]).await.is(303);
    ada.sign_in(ADA).await.is(200);
    ada.sees_not(" checked>");
    let wrong = phone.never_shows(site.now());
    ada.post("/account/code", &[("code", &wrong), ("trust", "on")])
        .await
        .is(422);
    ada.sees(" checked>");
    ada.post("/account/code", &[("code", &wrong)]).await.is(422);
    ada.sees_not(" checked>");
}

#[tokio::test]
async fn a_blank_behind_a_name_is_none_of_it() {
    let site = Site::start().await;
    let mut ada = Browser::new(&site);
    ada.sign_in(&format!(" {ADA} ")).await.is(200);
    ada.sees(&format!("<bdi>{ADA}</bdi>"));
}

#[tokio::test]
async fn whoever_has_lost_a_phone_is_told_in_german_whom_to_ask() {
    let site = Site::start().await;
    let mut ada = Browser::new(&site).sending("accept-language", "de");
    ada.get("/account/help").await.is(200);
    ada.sees("wenden Sie sich an den Betreiber dieses Servers");
}

/// The pages that users visit when they fear for their account list what stays valid.
#[tokio::test]
async fn what_stays_valid_is_said_where_something_is_ended() {
    let site = Site::start().await;
    for (language, tokens, devices, sign_ins, button) in [
        (
            "en",
            "Application tokens stay valid: ask whoever runs this server to revoke those that are not yours.",
            "Trusted devices stay trusted",
            "Its sessions continue until you end other sessions.",
            "End other sessions",
        ),
        (
            "de",
            "Anwendungstoken bleiben gültig: Bitten Sie den Betreiber dieses Servers, fremde zu widerrufen.",
            "Vertrauenswürdigen Geräten wird weiter vertraut",
            "Seine Sitzungen bestehen weiter, bis Sie andere Sitzungen beenden.",
            "Andere Sitzungen beenden",
        ),
    ] {
        let mut ada = Browser::new(&site).sending("accept-language", language);
        ada.sign_in(ADA).await.is(200);
        for page in ["password", "help"] {
            ada.get(&format!("/account/{page}")).await.is(200);
            ada.sees(tokens);
        }
        ada.get("/account").await.is(200);
        ada.sees(devices);
        // Only after the revocation of a device.
        for other in ["", "?activated", "?ended", "?removed"] {
            ada.get(&format!("/account/devices{other}")).await.is(200);
            ada.sees_not(button);
            ada.sees_not("role=\"status\"");
        }
        ada.get("/account/devices?revoked").await.is(200);
        ada.sees(sign_ins);
        ada.sees(button);
        let ended = ada.post("/account/sessions/end", &[]).await;
        assert_eq!(ended.is(303).location(), "/account?ended");
    }
}

/// A browser would cut it off at a field's `maxlength`, twice in the same place, and the cut one would be set.
#[tokio::test]
async fn a_password_that_is_too_long_is_told_so() {
    let site = Site::start().await;
    let mut ada = Browser::of_ada(&site).await;
    ada.get("/account/password").await.is(200);
    let inputs = ada.page.split("type=\"password\"").skip(1);
    let inputs: Vec<_> = inputs.filter_map(|rest| rest.split('>').next()).collect();
    assert_eq!(inputs.len(), 3);
    assert!(!inputs.concat().contains("maxlength"), "{inputs:?}");
    let long = "€".repeat(1024);
    for long in [&*"x".repeat(1025), &*long] {
        let fields = [("old", PASSWORD), ("new", long), ("repeat", long)];
        ada.post("/account/password", &fields).await.is(422);
        ada.sees("The new password is too long: at most 1024 bytes.");
    }
    let fields = [("old", &*long), ("new", &*long), ("repeat", &*long)];
    ada.post("/account/password", &fields).await.is(422);
    // Where no new password is chosen, one that is too long is reported only as wrong.
    ada.get("/account/phone").await.is(200);
    let wrong = [("password", &*long)];
    ada.post("/account/phone", &wrong).await.is(422);
    ada.sees("This password is wrong.");
}

#[tokio::test]
async fn whoever_has_to_sign_in_comes_to_the_page_that_they_asked_for_and_nowhere_else() {
    let site = Site::start().await;
    let mut ada = Browser::new(&site);
    let sent = ada.get("/account/devices").await.is(303).location();
    assert_eq!(sent, "/account/sign-in?over&to=/account/devices");
    ada.get(&sent).await.is(200);
    let to = ada.hidden("to").unwrap();
    let wrong = [("name", ADA), ("password", "wrong horse"), ("to", &*to)];
    ada.post("/account/sign-in", &wrong).await.is(422);
    let to = ada.hidden("to").unwrap();
    let right = [("name", ADA), ("password", PASSWORD), ("to", &*to)];
    let signed_in = ada.post("/account/sign-in", &right).await;
    assert_eq!(signed_in.is(303).location(), "/account/devices");
    // The code's page leads there, too, if somebody starts again.
    let mut another = Browser::new(&site);
    another.get("/account/sign-in").await.is(200);
    let code = another.get("/account/code?to=/account/devices").await;
    code.is(200);
    another.sees("href=\"/account/sign-in?to=/account/devices\"");
    // Another window was sent to the sign-in page before, or still shows a step of it.
    let there = ada.get(&sent).await;
    assert_eq!(there.is(303).location(), "/account/devices");
    ada.cookies.clear();
    for step in ["code", "confirm"] {
        for (to, page) in [
            ("/account/devices", "&to=/account/devices"),
            ("//evil.example", ""),
        ] {
            let step = format!("/account/{step}?to={to}");
            let location = ada.get(&step).await.is(303).location();
            assert_eq!(location, format!("/account/sign-in?over{page}"), "{step}");
        }
    }

    let mut bob = Browser::new(&site);
    bob.get("/account/sign-in?to=//evil.example").await.is(200);
    assert_eq!(bob.hidden("to").unwrap(), "/account");
    let evil = [
        ("name", BOB),
        ("password", PASSWORD),
        ("to", "//evil.example"),
    ];
    let signed_in = bob.post("/account/sign-in", &evil).await;
    assert_eq!(signed_in.is(303).location(), "/account");
}

#[tokio::test]
async fn the_list_of_devices_marks_the_browser_that_it_is_shown_in() {
    const MARK: &str = " (this one)";
    let site = Site::start().await;
    let (mut ada, mut other) = (Browser::new(&site), Browser::new(&site));
    ada.sign_in(ADA).await.is(200);
    let phone = ada.set_up().await;
    other.sign_in_with(&phone, true).await.is(200);
    for (browser, marked) in [(&mut other, 1), (&mut ada, 0)] {
        browser.get("/account/devices").await.is(200);
        assert_eq!(browser.page.matches("/revoke\"").count(), 1);
        assert_eq!(browser.page.matches(MARK).count(), marked);
    }
    // A cookie with an unknown value marks no device.
    let cookies = &mut ada.cookies;
    cookies.insert("keyproof-device".to_owned(), "x".to_owned());
    ada.get("/account/devices").await.is(200);
    ada.sees_not(MARK);
}
