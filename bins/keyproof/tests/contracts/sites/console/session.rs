//! Signing in with a token, and the end of a session.

use std::time::Duration;

use crate::{
    emnify::site::{Site, command_line, trusted_proxy},
    sites::browser::Browser,
};

#[tokio::test]
async fn an_operator_signs_in_with_a_token_that_no_page_and_no_cookie_has() {
    let site = Site::start().await;
    let mut ops = Browser::new(&site);
    let away = ops.get("/console").await;
    assert_eq!(away.is(303).header("location"), "/console/sign-in?over");
    let token = ops.sign_in_as(&["users:Org", "audit-read"]).await;
    ops.sees("Signed in as <bdi>test</bdi>");
    ops.sees("<bdi><code>users:Org</code></bdi>");
    ops.sees_not(&token);
    let session = ops.console().unwrap().to_owned();
    assert!(!token.contains(&session) && !session.contains("keyproof_"));
    // Surrounding spaces are ignored.
    ops.paste(&format!(" {token} ")).await.is(200);
    // The former session is invalid.
    assert_ne!(ops.console().unwrap(), session);
    let mut stale = Browser::new(&site);
    stale.cookies.insert("keyproof-console".to_owned(), session);
    stale.get("/console").await.is(303);

    ops.get("/console").await.is(200);
    let before = ops.console().unwrap().to_owned();
    let out = ops.post("/console/sign-out", &[]).await;
    out.is(303);
    // At once, not only on the next page.
    assert_eq!(ops.console(), None);
    ops.get(&out.location()).await.is(200);
    ops.sees("You are signed out.");
    assert_eq!(ops.console(), None);
    stale.cookies.insert("keyproof-console".to_owned(), before);
    stale.get("/console").await.is(303);
}

#[tokio::test]
async fn what_is_no_valid_token_gives_nothing() {
    let site = Site::start().await;
    let token = site
        .operator_token(&["admin"], Some(Duration::from_secs(60)))
        .await;
    site.clock.advance(Duration::from_secs(60));
    let mut ops = Browser::new(&site);
    for wrong in ["x", "keyproof_", &token, &token[..token.len() - 1]] {
        ops.get("/console/sign-in").await.is(200);
        let refused = ops.post("/console/sign-in", &[("token", wrong)]).await;
        refused.is(422);
        ops.sees("or no longer. Paste the whole of it");
        ops.sees("aria-invalid=\"true\"");
        ops.sees_not("keyproof_<");
        assert_eq!(ops.console(), None);
    }
    // A user's session is not valid as an operator's, nor the reverse.
    ops.sign_in_as(&["admin"]).await;
    let session = ops.console().unwrap().to_owned();
    for (name, path) in [
        ("keyproof-account", "/account"),
        ("keyproof-console", "/console"),
    ] {
        let mut other = Browser::new(&site);
        other.cookies.insert(name.to_owned(), session.clone());
        other
            .get(path)
            .await
            .is(if path == "/console" { 200 } else { 303 });
    }
}

#[tokio::test]
async fn a_session_ends_unused_with_its_token_and_everywhere_at_once() {
    let site = Site::start().await;
    let (mut ops, token) = Browser::of_operator(&site, &["admin"]).await;
    site.clock.advance(Duration::from_secs(15 * 60));
    ops.get("/console").await.is(303);
    ops.get("/console/sign-in?over").await.is(200);
    ops.sees("A session ends after 15 minutes without use");

    let (mut here, mut there) = (Browser::new(&site), Browser::new(&site));
    here.paste(&token).await.is(200);
    there.paste(&token).await.is(200);
    here.submit("/console/sign-out/everywhere", &[])
        .await
        .is(200);
    here.sees("Every session of your token has ended.");
    there.get("/console").await.is(303);
    // The token stays valid until it is revoked.
    there.paste(&token).await.is(200);
    let access = &site.console.access;
    for listed in access.list().await.unwrap() {
        access.revoke(&listed.id, &command_line()).await.unwrap();
    }
    there.get("/console").await.is(303);
}

/// A mistyped URL does not end the session, and the page shows that.
#[tokio::test]
async fn a_refusal_signs_nobody_out_and_says_so() {
    const STAYS: &str = "This did not sign you out.";
    let site = Site::start().await;
    let mut ops = Browser::new(&site);
    ops.get("/console/nowhere").await.is(404);
    ops.sees_not(STAYS);
    ops.sign_in_as(&["users-read"]).await;
    for (path, status) in [("/console/nowhere", 404), ("/console/audit", 403)] {
        ops.get(path).await.is(status);
        ops.sees(STAYS);
    }
    ops.get("/console").await.is(200);
    // The session may have expired meanwhile, but the statement is still true.
    site.clock.advance(Duration::from_secs(15 * 60));
    ops.get("/console/nowhere").await.is(404);
    ops.sees(STAYS);
    ops.get("/console").await.is(303);
}

#[tokio::test]
async fn the_token_is_shown_again_by_the_same_operator_and_leads_nowhere_else() {
    let site = Site::start().await;
    let (mut ops, token) = Browser::of_operator(&site, &["admin"]).await;
    let other = site.operator_token(&["admin"], None).await;
    let before = ops.console().unwrap().to_owned();
    ops.get("/console/confirm?to=/console/users").await.is(200);
    ops.post(
        "/console/confirm",
        &[("token", &other), ("to", "/console/users")],
    )
    .await
    .is(422);
    ops.sees("This is another token");
    assert_eq!(ops.console().unwrap(), before);
    for (to, there) in [
        ("/console/users/7", "/console/users/7?done=confirmed"),
        (
            "/console/tills/kiosk/device?id=a%20b#remove",
            "/console/tills/kiosk/device?id=a%20b&done=confirmed#remove",
        ),
        ("//evil.example", "/console?done=confirmed"),
        ("https://evil.example", "/console?done=confirmed"),
        ("/console/../account", "/console?done=confirmed"),
    ] {
        ops.get("/console/confirm").await.is(200);
        let before = ops.console().unwrap().to_owned();
        let fields = [("token", &*token), ("to", to)];
        let confirmed = ops.post("/console/confirm", &fields).await;
        assert_eq!(confirmed.is(303).header("location"), there);
        assert_ne!(ops.console().unwrap(), before);
    }
}

#[tokio::test]
async fn a_form_is_taken_from_our_own_page_alone() {
    let site = Site::start().await;
    let token = site.operator_token(&["admin"], None).await;
    let mut ops = Browser::new(&site);
    ops.get("/console/sign-in").await.is(200);
    let (ours, fields) = (ops.csrf(), [("token", &*token)]);
    for wrong in ["", "x"] {
        ops.post_with("/console/sign-in", wrong, &fields)
            .await
            .is(403);
    }
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let mut forged = Browser::new(&site).sending(name, value);
        forged.cookies = ops.cookies.clone();
        forged
            .post_with("/console/sign-in", &ours, &fields)
            .await
            .is(403);
        forged.sees("a proxy in front of this server does not preserve Host");
    }
    ops.post_with("/console/sign-in", &ours, &fields)
        .await
        .is(303);
    // Actions in a session require the session's own CSRF token.
    for path in ["/console/sign-out", "/console/sign-out/everywhere"] {
        ops.post_with(path, &ours, &[]).await.is(403);
    }
    ops.get("/console").await.is(200);
}

#[tokio::test]
async fn sign_in_is_on_a_safe_connection_alone_and_bounded() {
    let site = Site::configured(&[("auth.address_limit", 3.into()), trusted_proxy()]).await;
    let proxied = |proto: &'static str| {
        let call = site.call("GET", "/console/sign-in").of_another_dialect();
        let call = call.header("x-forwarded-for", "198.51.100.7");
        call.header("x-forwarded-proto", proto).send()
    };
    assert!(
        proxied("http")
            .await
            .is(403)
            .headers
            .get("set-cookie")
            .is_none()
    );
    let answer = proxied("https").await;
    let cookie = answer.is(200).header("set-cookie");
    assert!(
        cookie.starts_with("__Host-keyproof-console-visit="),
        "{cookie}"
    );
    let attributes = "; Path=/; HttpOnly; SameSite=Strict; Secure";
    assert!(cookie.ends_with(attributes), "{cookie}");

    let mut guesser = Browser::new(&site);
    let mut answers = Vec::new();
    for _ in 0..4 {
        guesser.get("/console/sign-in").await.is(200);
        let answer = guesser.post("/console/sign-in", &[("token", "x")]).await;
        answers.push(answer.status.as_u16());
    }
    assert_eq!(answers, [422, 422, 422, 429]);
    guesser.sees("<h1>Too many requests</h1>");
    guesser.sees("Too many requests came from your address");
}

#[tokio::test]
async fn whoever_shows_a_token_or_a_password_is_counted_by_their_address() {
    let site = Site::configured(&[("auth.address_limit", 4.into())]).await;
    let (mut ops, token) = Browser::of_operator(&site, &["users"]).await;
    let mut answers = Vec::new();
    for _ in 0..4 {
        ops.get("/console/confirm").await.is(200);
        let fields = [("token", "x"), ("to", "")];
        answers.push(ops.post("/console/confirm", &fields).await.status.as_u16());
    }
    assert_eq!(answers, [422, 422, 422, 429]);
    // The same limit applies to other forms that cost a hash.
    ops.get("/console/users/add").await.is(200);
    let fields = [
        ("organisation", "Example Org"),
        ("name", "eve"),
        ("role", "User"),
        ("password", &token),
    ];
    ops.post("/console/users/add", &fields).await.is(429);
}

#[tokio::test]
async fn a_token_in_a_form_is_counted_by_its_address() {
    let site = Site::configured(&[("auth.address_limit", 3.into())]).await;
    let (mut ops, _) = Browser::of_operator(&site, &["instances"]).await;
    ops.get("/console/tills").await.is(200);
    site.clock.advance(Duration::from_secs(300));
    let fields = [
        ("name", "kiosk"),
        ("password", "correct horse"),
        ("confirmation", "x"),
    ];
    let mut last = 0;
    for _ in 0..4 {
        ops.get("/console/tills").await.is(200);
        last = ops.post("/console/tills", &fields).await.status.as_u16();
    }
    assert_eq!(last, 429);
}

#[tokio::test]
async fn the_session_of_before_the_token_was_shown_again_is_none() {
    let site = Site::start().await;
    let (mut ops, token) = Browser::of_operator(&site, &["admin"]).await;
    let before = ops.console().unwrap().to_owned();
    ops.confirms(&token).await;
    let mut stale = Browser::new(&site);
    stale.cookies.insert("keyproof-console".to_owned(), before);
    stale.get("/console").await.is(303);
    // A new confirmation does not extend the session.
    for _ in 0..34 {
        site.clock.advance(Duration::from_secs(14 * 60));
        ops.get("/console").await.is(200);
    }
    ops.confirms(&token).await;
    site.clock.advance(Duration::from_secs(4 * 60));
    ops.get("/console").await.is(303);
}

/// The scopes' permissions in the APIs are unchanged.
#[tokio::test]
async fn the_scopes_of_the_console_give_nothing_over_an_api() {
    let site = Site::start().await;
    let scopes = ["instances", "users", "audit", "status"];
    let token = site.operator_token(&scopes, None).await;
    let dps = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Devices/provisioningServices/p/certificates?api-version=2022-02-05";
    for (method, path, kind, expected) in [
        ("GET", dps, "Bearer", 403),
        (
            "GET",
            "/api/tpm/namespaces/system/tpm_managers",
            "APIToken",
            403,
        ),
        ("POST", "/api/tpm/tpm/preauth", "APIToken", 403),
        ("GET", "/private/otp-devices", "Bearer", 401),
        (
            "GET",
            "/instances/default/private/otp-devices",
            "Bearer",
            401,
        ),
        ("GET", "/api/v1/user", "Bearer", 401),
    ] {
        let call = site.call(method, path).of_another_dialect();
        let call = call.header("authorization", &format!("{kind} {token}"));
        let answer = call.body("{}").send().await;
        assert_eq!(answer.status, expected, "{path}: {answer:?}");
    }
}

/// After going back in the browser, in a second window, or with a form that another window was faster with.
#[tokio::test]
async fn no_sign_in_page_throws_a_live_session_away() {
    let site = Site::start().await;
    let (mut ops, _) = Browser::of_operator(&site, &["admin"]).await;
    let session = ops.console().unwrap().to_owned();
    for query in ["out", "everywhere", "over"] {
        let answer = ops.get(&format!("/console/sign-in?{query}")).await;
        assert_eq!(answer.is(303).header("location"), "/console", "{query}");
        assert_eq!(ops.console(), Some(&*session), "{query}");
    }
    ops.get("/console").await.is(200);
    // A session that may have ended by another server's clock is neither reported as ended nor deleted.
    site.clock.advance(Duration::from_secs(13 * 60));
    let asked = "/console/sign-in?over&to=%2Fconsole%2Faudit";
    ops.get(asked).await.is(200);
    ops.sees_not("Please sign in.");
    assert_eq!(ops.hidden("to").unwrap(), "/console/audit");
    assert_eq!(ops.console(), Some(&*session));
    // A session that has ended is deleted.
    site.clock.advance(Duration::from_secs(2 * 60));
    ops.get("/console/sign-in?over").await.is(200);
    ops.sees("Please sign in.");
    assert_eq!(ops.console(), None);
}

#[tokio::test]
async fn whoever_has_to_sign_in_comes_to_the_page_that_they_asked_for_and_nowhere_else() {
    const PAGE: &str = "/console/audit?what=user.add&who=user%3Aada";
    let site = Site::start().await;
    let token = site.operator_token(&["audit-read"], None).await;
    let mut ops = Browser::new(&site);
    // The message about an earlier action is not repeated.
    let sent = ops.get(&format!("{PAGE}&done=changed")).await;
    let sent = sent.is(303).location();
    assert!(sent.starts_with("/console/sign-in?over&to="), "{sent}");
    ops.get(&sent).await.is(200);
    let to = ops.hidden("to").unwrap();
    assert_eq!(to, PAGE);
    ops.post("/console/sign-in", &[("token", "x"), ("to", &*to)])
        .await
        .is(422);
    let to = ops.hidden("to").unwrap();
    let fields = [("token", &*token), ("to", &*to)];
    let signed_in = ops.post("/console/sign-in", &fields).await;
    assert_eq!(signed_in.is(303).location(), PAGE);
    // The same in another window that was sent to the sign-in page before.
    assert_eq!(ops.get(&sent).await.is(303).location(), PAGE);

    // A download would leave the browser on a useless form, so the page with its link is shown instead, and says so.
    let mut other = Browser::new(&site);
    let export = "/console/audit/export?what=user.add&who=user%3Aada";
    for (scope, is_offered) in [("audit-read", false), ("audit", true)] {
        let token = site.operator_token(&[scope], None).await;
        other.cookies.clear();
        let sent = other.get(export).await.is(303).location();
        other.get(&sent).await.is(200);
        let to = other.hidden("to").unwrap();
        assert_eq!(to, format!("{PAGE}&interrupted=on"));
        let fields = [("token", &*token), ("to", &*to)];
        other.submit("/console/sign-in", &fields).await.is(200);
        let told = other.page.contains("the file is not downloaded");
        assert_eq!(told, is_offered);
        let link = "href=\"/console/audit/export?who=user%3Aada&#38;what=user.add\"";
        assert_eq!(other.page.contains(link), is_offered);
    }

    for evil in ["//evil.example", "/console/../account", "/account"] {
        ops.get(&format!("/console/sign-in?to={evil}"))
            .await
            .is(200);
        assert_eq!(ops.hidden("to").unwrap(), "/console");
        let fields = [("token", &*token), ("to", evil)];
        let signed_in = ops.post("/console/sign-in", &fields).await;
        assert_eq!(signed_in.is(303).location(), "/console");
    }
}

/// If the session ended before a confirmation, signing in counts as the confirmation.
#[tokio::test]
async fn a_token_that_signs_in_is_not_asked_for_once_more() {
    let site = Site::start().await;
    let (mut ops, token) = Browser::of_operator(&site, &["instances"]).await;
    site.clock.advance(Duration::from_secs(5 * 60));
    ops.get("/console/tills/default").await.is(200);
    let to_confirm = "/console/confirm?to=%2Fconsole%2Ftills%2Fdefault%23remove";
    ops.sees(to_confirm);
    site.clock.advance(Duration::from_secs(15 * 60));
    let sent = ops.get(to_confirm).await.is(303).location();
    ops.get(&sent).await.is(200);
    let to = ops.hidden("to").unwrap();
    assert_eq!(to, "/console/tills/default#remove");
    let fields = [("token", &*token), ("to", &*to)];
    let signed_in = ops.post("/console/sign-in", &fields).await;
    assert_eq!(signed_in.is(303).location(), to);
    ops.get("/console/tills/default").await.is(200);
    ops.sees("action=\"/console/tills/default/remove\"");

    site.clock.advance(Duration::from_secs(15 * 60));
    for nowhere in ["", "?to=", "?to=//evil.example", "?to=/console/../account"] {
        let sent = ops.get(&format!("/console/confirm{nowhere}")).await;
        assert_eq!(
            sent.is(303).location(),
            "/console/sign-in?over",
            "{nowhere}"
        );
    }
}
