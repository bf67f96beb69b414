//! Users, as operators with various scopes see and change them.

use std::time::Duration;

use keyproof_service::accounts::{Role, UserChange};

use crate::{
    emnify::{
        dialect::{ADA, BOB, PASSWORD},
        site::Site,
    },
    sites::browser::Browser,
};

/// The actions on a user, as in the paths.
const DEEDS: [&str; 5] = [
    "suspend",
    "activate",
    "unlock",
    "end-sessions",
    "remove-key",
];

/// A number that is never generated.
const NO_NUMBER: u32 = 1 << 24;

/// Returns the path of a user's page, by name, from the displayed list of an organisation.
#[track_caller]
fn path_of(browser: &Browser<'_>, name: &str) -> String {
    let mark = format!("\"><bdi>{name}</bdi></a>");
    let (before, _) = browser.page.split_once(&mark).expect("the user is listed");
    before.rsplit("href=\"").next().unwrap().to_owned()
}

/// Opens the list of the only accessible organisation, or of the one with this name.
async fn list(ops: &mut Browser<'_>, organisation: &str) -> String {
    let answer = ops.get("/console/users").await;
    let path = match answer.status.as_u16() {
        303 => answer.header("location").to_owned(),
        _ => path_of(ops, organisation),
    };
    ops.get(&path).await.is(200);
    path
}

/// Returns the names on a page of a list, in order.
fn names(browser: &Browser<'_>) -> Vec<String> {
    let rows = browser.page.split("data-label=\"Name\">").skip(1);
    let name = |row: &str| {
        let (_, name) = row.split_once("<bdi>").unwrap();
        name.split("</bdi>").next().unwrap().to_owned()
    };
    rows.map(name).collect()
}

#[tokio::test]
async fn a_help_desk_helps_somebody_who_has_lost_their_phone() {
    let site = Site::start().await;
    let mut ada = Browser::of_ada(&site).await;
    let _phone = ada.set_up().await;
    let (mut ops, token) = Browser::of_operator(&site, &["users"]).await;
    list(&mut ops, "Example Org").await;
    let path = path_of(&ops, ADA);
    ops.get(&path).await.is(200);
    ops.sees("set up, since");
    ops.sees("Ending all sessions leaves trusted devices and application tokens as they are.");
    // Nobody sees a secret.
    ops.sees_not("otpauth");
    ops.sees_not("argon2");

    // Locked after wrong passwords, and unlocked.
    for _ in 0..3 {
        ada.post("/account/sign-out", &[]).await;
        Browser::new(&site).mistypes(ADA).await;
    }
    ops.get(&path).await.is(200);
    ops.sees("locked after wrong tries");
    ops.submit(&format!("{path}/unlock"), &[]).await.is(200);
    ops.sees("The locks are lifted.");
    ops.sees_not("locked after wrong tries");

    // Removing the key requires the token again.
    site.clock.advance(Duration::from_secs(5 * 60));
    ops.get(&path).await.is(200);
    ops.sees("to remove the phone’s key</a>");
    ops.sent_to_confirm(&format!("{path}/remove-key"), &token)
        .await;
    let key = ops.hidden("key").unwrap();
    let fields = [("key", &*key)];
    ops.submit(&format!("{path}/remove-key"), &fields)
        .await
        .is(200);
    ops.sees("key is removed.");
    ops.sees("none: the password alone signs in");
    let again = ops.post(&format!("{path}/remove-key"), &[]).await;
    again.is(404);
    // From then on the password alone is enough.
    let elsewhere = Browser::of_ada(&site).await;
    elsewhere.sees("No phone is set up.");
}

#[tokio::test]
async fn a_key_that_an_operator_removes_takes_every_session_with_it() {
    let site = Site::start().await;
    let enrolled = site.enrol(ADA).await;
    let mut ada = Browser::new(&site);
    ada.sign_in_with(&enrolled.phone, false).await.is(200);
    let (mut ops, _) = Browser::of_operator(&site, &["users"]).await;
    list(&mut ops, "Example Org").await;
    let path = path_of(&ops, ADA);
    ops.get(&path).await.is(200);
    let key = ops.hidden("key").unwrap();
    let fields = [("key", &*key)];
    ops.submit(&format!("{path}/remove-key"), &fields)
        .await
        .is(200);
    ops.sees("key is removed.");
    ada.get("/account").await.is(303);
    let users = site.get("/api/v1/user").bearer(&enrolled.token);
    users.send().await.is(401);
}

/// Of two who help, one may have opened the page before the other was done.
#[tokio::test]
async fn no_page_of_before_removes_a_phone_that_was_set_up_since() {
    let site = Site::start().await;
    let mut ada = Browser::of_ada(&site).await;
    let _lost = ada.set_up().await;
    let (mut ops, _) = Browser::of_operator(&site, &["users"]).await;
    list(&mut ops, "Example Org").await;
    let path = path_of(&ops, ADA);
    ops.get(&path).await.is(200);
    let remove = format!("{path}/remove-key");
    let key = ops.hidden("key").unwrap();
    let lost = [("key", &*key)];
    ops.submit(&remove, &lost).await.is(200);
    let mut ada = Browser::of_ada(&site).await;
    let _next = ada.set_up().await;
    for fields in [&lost[..], &[]] {
        ops.post(&remove, fields).await.is(409);
        ops.sees("The user has set up another phone since this page was shown.");
        ops.sees("set up, since");
    }
    ada.get("/account").await.is(200);
    assert_eq!(site.events_of("mfa_key.remove").await.len(), 1);
    let key = ops.hidden("key").unwrap();
    ops.submit(&remove, &[("key", &*key)]).await.is(200);
    ops.sees("key is removed.");
}

#[tokio::test]
async fn whatever_lets_somebody_in_again_asks_for_the_token_and_shutting_out_does_not() {
    let site = Site::start().await;
    let (mut ops, token) = Browser::of_operator(&site, &["users"]).await;
    list(&mut ops, "Example Org").await;
    let path = path_of(&ops, ADA);
    site.clock.advance(Duration::from_secs(5 * 60));
    for deed in ["end-sessions", "suspend"] {
        ops.get(&path).await.is(200);
        ops.sees("aria-describedby=\"ended\">Suspend the user</button>");
        let done = ops.post(&format!("{path}/{deed}"), &[]).await;
        assert!(done.is(303).location().starts_with(&*path), "{deed}");
    }
    for deed in ["activate", "unlock", "remove-key"] {
        ops.get(&path).await.is(200);
        ops.sees("href=\"/console/confirm?to=");
        let early = ops.post(&format!("{path}/{deed}"), &[]).await;
        let to = early.is(303).location();
        ops.get(&to).await.is(200);
        assert_eq!(ops.hidden("to").unwrap(), path, "{deed}");
    }
    ops.get(&path).await.is(200);
    ops.sees(">suspended</strong>");
    ops.get(&format!("/console/confirm?to={path}"))
        .await
        .is(200);
    ops.submit("/console/confirm", &[("token", &token), ("to", &path)])
        .await
        .is(200);
    ops.submit(&format!("{path}/activate"), &[]).await.is(200);
    ops.sees("The user may sign in again.");
}

#[tokio::test]
async fn sessions_and_accounts_are_ended_and_let_in_again() {
    let site = Site::start().await;
    let mut ada = Browser::of_ada(&site).await;
    let (mut ops, _) = Browser::of_operator(&site, &["users"]).await;
    list(&mut ops, "Example Org").await;
    let path = path_of(&ops, ADA);
    ops.get(&path).await.is(200);
    ops.submit(&format!("{path}/end-sessions"), &[])
        .await
        .is(200);
    ops.sees("All sessions of the user have ended.");
    ada.get("/account").await.is(303);
    ada.sign_in(ADA).await.is(200);
    ada.sees("End of all sessions");

    ops.submit(&format!("{path}/suspend"), &[]).await.is(200);
    ops.sees(">suspended</strong>");
    ada.get("/account").await.is(303);
    ada.get("/account/sign-in").await.is(200);
    let fields = [("name", ADA), ("password", PASSWORD)];
    ada.post("/account/sign-in", &fields).await.is(422);
    ops.submit(&format!("{path}/activate"), &[]).await.is(200);
    ada.sign_in(ADA).await.is(200);
    // The trail names the operator.
    for action in ["user_session.end_all", "user.suspend", "user.activate"] {
        let told = site.events_of(action).await;
        let told = told.first().unwrap();
        assert!(told.who.starts_with("operator:"), "{told:?}");
    }
}

#[tokio::test]
async fn a_token_reaches_its_organisation_alone_and_reading_changes_nothing() {
    let site = Site::start().await;
    site.add("eve", "Other Org", Role::User).await;
    let (mut admin, _) = Browser::of_operator(&site, &["admin"]).await;
    list(&mut admin, "Other Org").await;
    let eve = path_of(&admin, "eve");
    list(&mut admin, "Example Org").await;
    let (ada, bob) = (path_of(&admin, ADA), path_of(&admin, BOB));
    assert_ne!(ada, bob);

    // A token for one organisation has no choice, and no access to others.
    let (mut other, _) = Browser::of_operator(&site, &["users:Other%20Org"]).await;
    let own = list(&mut other, "").await;
    other.sees("Users of <bdi>Other Org</bdi>");
    other.get(&eve).await.is(200);
    let csrf = other.csrf();
    let theirs = ada.rsplit_once('/').unwrap().0;
    for path in [&*ada, theirs] {
        other.get(path).await.is(403);
        other.sees("Your token does not reach this");
        other.sees_not(ADA);
    }
    for deed in DEEDS {
        let path = format!("{ada}/{deed}");
        other.post_with(&path, &csrf, &[]).await.is(403);
    }
    let fields = [
        ("organisation", "Example Org"),
        ("name", "mallory"),
        ("role", "User"),
        ("password", PASSWORD),
    ];
    other
        .post_with("/console/users/add", &csrf, &fields)
        .await
        .is(403);
    other.get("/console/audit").await.is(403);
    other.get("/console/audit/export").await.is(403);

    // A token that may only read sees no buttons, and is refused.
    let (mut reader, _) = Browser::of_operator(&site, &["users-read"]).await;
    reader.get(&own).await.is(200);
    reader.sees_not("Add a user");
    reader.get(&eve).await.is(200);
    reader.sees_not("/suspend");
    let csrf = reader.csrf();
    for deed in DEEDS {
        let path = format!("{eve}/{deed}");
        reader.post_with(&path, &csrf, &[]).await.is(403);
    }
    reader.get("/console/users/add").await.is(403);
    reader
        .post_with("/console/users/add", &csrf, &fields)
        .await
        .is(403);
    // The refusals are in the trail, and nothing was changed.
    let mut eves = Browser::new(&site);
    eves.sign_in("eve").await.is(200);
    admin
        .get("/console/audit?what=user.suspend&outcome=refused")
        .await
        .is(200);
    admin.sees("reach the organisation");

    // A token with scopes for other areas sees nothing of users.
    let (mut auditor, _) = Browser::of_operator(&site, &["audit-read"]).await;
    auditor.sees_not("/console/users");
    for path in ["/console/users", "/console/users/add", &*own, &*eve] {
        auditor.get(path).await.is(403);
    }
    // Requests by scripts do not show more either.
    reader.get("/console/audit/latest").await.is(403);
}

/// It does not learn either which numbers exist in others.
#[tokio::test]
async fn a_token_of_one_organisation_learns_nothing_of_the_numbers_of_others() {
    let site = Site::start().await;
    site.add("eve", "Other Org", Role::User).await;
    let (mut all, _) = Browser::of_operator(&site, &["users"]).await;
    let theirs = list(&mut all, "Example Org").await;
    let (mut other, _) = Browser::of_operator(&site, &["users:Other%20Org"]).await;
    let own = list(&mut other, "").await;

    let nobody = |organisation: &str| format!("{organisation}/{NO_NUMBER}");
    let nowhere = nobody("/console/users");
    other.get(&nowhere).await.is(403);
    all.get(&nowhere).await.is(404);
    for (organisation, status) in [(&theirs, 403), (&nowhere, 403), (&own, 404)] {
        let path = nobody(organisation);
        other.get(&path).await.is(status);
        all.get(&path).await.is(404);
        for deed in DEEDS {
            let path = format!("{path}/{deed}");
            for (browser, status) in [(&mut other, status), (&mut all, 404)] {
                browser.get("/console/users/add").await.is(200);
                browser.post(&path, &[]).await.is(status);
            }
        }
    }
}

#[tokio::test]
async fn who_adds_a_user_of_the_only_organisation_is_told_so() {
    let site = Site::start().await;
    let (mut ops, _) = Browser::of_operator(&site, &["users:Example%20Org"]).await;
    let path = list(&mut ops, "").await;
    ops.get("/console/users/add").await.is(200);
    let fields = [
        ("organisation", "Example Org"),
        ("name", "eve"),
        ("role", "User"),
        ("password", PASSWORD),
    ];
    let added = ops.post("/console/users/add", &fields).await;
    let sent_on = ops.get(&added.is(303).location()).await;
    let to = sent_on.is(303).location();
    assert!(to.starts_with(&*path), "{to}");
    ops.get(&to).await.is(200);
    ops.sees("The user is added.");
    ops.sees("<bdi>eve</bdi>");
}

#[tokio::test]
async fn whoever_adds_a_user_from_a_list_has_its_organisation_named_and_comes_back_to_it() {
    let site = Site::start().await;
    site.add("eve", "Other & Org", Role::User).await;
    let (mut ops, _) = Browser::of_operator(&site, &["users"]).await;
    for (organisation, escaped, name) in [
        ("Example Org", "Example Org", "anna"),
        ("Other & Org", "Other &#38; Org", "otto"),
    ] {
        let path = list(&mut ops, escaped).await;
        let form = ops.link("Add a user");
        ops.get(&form).await.is(200);
        ops.sees(&format!("value=\"{escaped}\""));
        assert_eq!(ops.link("Cancel"), path);
        // The same after an error in the form, and after the user was added.
        let fields = |name| {
            [
                ("organisation", organisation),
                ("name", name),
                ("role", "User"),
                ("password", PASSWORD),
            ]
        };
        let (to, _) = form.split_once('&').unwrap();
        ops.sees(&format!("action=\"{to}\""));
        ops.post(to, &fields("a b")).await.is(422);
        assert_eq!(ops.link("Cancel"), path);
        let added = ops.post(to, &fields(name)).await.is(303).location();
        assert_eq!(added, format!("{path}?done=added"));
        ops.get(&added).await.is(200);
        ops.sees("The user is added.");
        ops.sees(&format!("<bdi>{name}</bdi>"));
    }
    ops.get("/console/users/add?from=%2F%2Fevil").await.is(200);
    assert_eq!(ops.link("Cancel"), "/console/users");
}

#[tokio::test]
async fn a_user_is_added_and_found_again() {
    let site = Site::start().await;
    let (mut ops, _) = Browser::of_operator(&site, &["users"]).await;
    ops.get("/console/users/add").await.is(200);
    for (name, password, what) in [
        ("a b", PASSWORD, "A name has 1 to 254 bytes"),
        ("my", PASSWORD, "nor mfa, my, password, role or status."),
        (ADA, PASSWORD, "There is a user of this name already"),
        ("eve", "short", "A password has at least 8 characters"),
    ] {
        let fields = [
            ("organisation", "New Org"),
            ("name", name),
            ("role", "Observer"),
            ("password", password),
        ];
        ops.post("/console/users/add", &fields).await.is(422);
        ops.sees(what);
        ops.sees("value=\"New Org\"");
        ops.sees("<option selected>Observer</option>");
        ops.sees_not(&format!("value=\"{password}\""));
    }
    let fields = [
        ("organisation", "New Org"),
        ("name", "eve"),
        ("role", "Observer"),
        ("password", PASSWORD),
    ];
    ops.submit("/console/users/add", &fields).await.is(200);
    ops.sees("The user is added.");
    list(&mut ops, "New Org").await;
    ops.sees("<bdi>eve</bdi>");
    ops.sees("Observer");
    let mut eve = Browser::new(&site);
    eve.sign_in("eve").await.is(200);
}

#[tokio::test]
async fn long_lists_are_paged_and_searched() {
    let site = Site::start().await;
    for number in (0..53).map(|number| number * 20 % 53) {
        site.add(&format!("user-{number:02}"), "Many", Role::User)
            .await;
    }
    let named = |numbers: std::ops::Range<u32>| -> Vec<String> {
        numbers.map(|number| format!("user-{number:02}")).collect()
    };
    for number in 0..51 {
        let (name, organisation) = (format!("of-{number:02}"), format!("Org {number:02}"));
        site.add(&name, &organisation, Role::User).await;
    }
    let (mut ops, _) = Browser::of_operator(&site, &["users-read"]).await;
    let path = list(&mut ops, "Many").await;
    ops.sees("53 users, page 1 of 2");
    assert_eq!(names(&ops), named(0..50));
    // A page with fifty rows and the stylesheet is small.
    let page = ops.get(&path).await.body.len();
    let style = ops.get("/console/style.css").await.body.len();
    assert!(page + style < 60 * 1024, "{page} and {style} bytes");
    ops.get(&format!("{path}?name=&page=2")).await.is(200);
    assert_eq!(names(&ops), named(50..53));
    ops.get(&format!("{path}?name=SER-07")).await.is(200);
    ops.sees("1 user, by name.");
    assert_eq!(names(&ops), named(7..8));
    for wrong in [
        "page=x",
        "page=1000000",
        "page=-1",
        "page=18446744073709551616",
    ] {
        ops.get(&format!("{path}?{wrong}")).await.is(404);
    }
    ops.get(&format!("{path}?page=0")).await.is(200);
    ops.sees("page 1 of 2");
    // Behind the last page, it is shown instead, which does not say that there is nobody.
    let behind = ops.get(&format!("{path}?name=user&page=3")).await;
    let last = behind.is(303).location();
    assert_eq!(last, format!("{path}?name=user&page=2"));
    ops.get(&last).await.is(200);
    assert_eq!(names(&ops), named(50..53));
    let behind = ops.get(&format!("{path}?name=nobody&page=2")).await;
    let only = behind.is(303).location();
    ops.get(&only).await.is(200);
    ops.sees("No user is found.");
    // The list of organisations too.
    ops.get("/console/users").await.is(200);
    let next = ops.link_to("/console/users?after=");
    ops.sees_not("Org 50<");
    ops.get(&next).await.is(200);
    ops.sees("Org 50<");
    ops.sees_not("Org 00<");
    ops.get("/console/users?after=zzz").await.is(200);
    ops.sees("There are no more organisations.");
}

#[tokio::test]
async fn a_row_tells_what_there_is_of_a_user() {
    let site = Site::start().await;
    site.add("eve", "Example Org", Role::User).await;
    site.enrol(ADA).await;
    site.change(BOB, UserChange::Suspend).await;
    let (mut ops, _) = Browser::of_operator(&site, &["users-read"]).await;
    list(&mut ops, "Example Org").await;
    assert_eq!(names(&ops), [ADA, BOB, "eve"]);
    let suspended = "<strong class=\"refused\">suspended</strong>";
    for (name, role, status, phone) in [
        (ADA, "User", "active", "set up"),
        (BOB, "Administrator", suspended, "none"),
        ("eve", "User", "active", "none"),
    ] {
        let path = path_of(&ops, name);
        ops.sees(&format!(
            "<a href=\"{path}\"><bdi>{name}</bdi></a></th><td role=\"cell\" data-label=\"Role\">{role}</td>\
             <td role=\"cell\" data-label=\"Status\">{status}</td><td role=\"cell\" data-label=\"Phone\">{phone}</td>\
             <td role=\"cell\" data-label=\"Added\"><time"
        ));
    }
    let added = ops.page.matches(">2023-11-14 22:13 UTC</time></td></tr>");
    assert_eq!(added.count(), 3);
}

#[tokio::test]
async fn names_from_outside_are_text_on_a_page() {
    let site = Site::start().await;
    let hostile = "<script>alert(1)</script>\"'&\u{202e}gro";
    site.add(hostile, "<b>Org</b>", Role::User).await;
    let (mut ops, _) = Browser::of_operator(&site, &["admin"]).await;
    for path in [
        "/console/users",
        "/console/audit",
        "/console/audit?who=%3Cscript%3E&target=%22%3E%3Cb%3E",
    ] {
        ops.get(path).await.is(200);
        ops.sees_not("<script>alert");
        ops.sees_not("<b>");
    }
    list(&mut ops, "&#60;b&#62;Org&#60;/b&#62;").await;
    ops.sees_not("<script>alert");
    ops.sees("&#60;script&#62;alert(1)&#60;/script&#62;");
    // What would turn the rest of the name around is shown.
    ops.sees("\\u{202e}gro");
    ops.sees_not("\u{202e}");
}

/// With an unattended console nobody can create a password.
#[tokio::test]
async fn whoever_adds_a_user_shows_the_token_again() {
    const FORM: &str = "/console/users/add?from=7&organisation=Example%20Org";
    let site = Site::start().await;
    let (mut ops, token) = Browser::of_operator(&site, &["users"]).await;
    let (mut reader, _) = Browser::of_operator(&site, &["users-read"]).await;
    site.clock.advance(Duration::from_secs(5 * 60));
    ops.get(FORM).await.is(200);
    ops.sees("value=\"Example Org\"");
    ops.sees("name=\"confirmation\"");
    let mut fields = vec![
        ("organisation", "Example Org"),
        ("name", "eve"),
        ("role", "Administrator"),
        ("password", PASSWORD),
    ];
    let form = "/console/users/add?from=7";
    reader.post(form, &fields).await.is(403);
    ops.post(form, &fields).await.is(422);
    // The form keeps what was typed, except the password.
    for kept in [
        "Nothing is done yet.",
        "value=\"Example Org\"",
        "value=\"eve\"",
        "<option selected>Administrator</option>",
        "id=\"password-error\">This is not kept",
        "action=\"/console/users/add?from=7\"",
    ] {
        ops.sees(kept);
    }
    ops.sees_not(PASSWORD);
    let before = site.events_of("user.add").await.len();
    fields.push(("confirmation", &*token));
    ops.post(form, &fields).await.is(303);
    assert_eq!(site.events_of("user.add").await.len(), before + 1);
}

/// For a link on another site's page, directly or through one of our pages that redirects.
#[tokio::test]
async fn a_page_elsewhere_fills_in_nothing() {
    const FORM: &str = "/console/users/add?organisation=Example%20Org&done=added";
    let site = Site::start().await;
    let (ops, token) = Browser::of_operator(&site, &["users"]).await;
    let led_from = |from: &str, browser: &Browser<'_>| {
        let mut led = browser.operator();
        led.headers = vec![("sec-fetch-site", from.to_owned())];
        led
    };
    let told = "The user is added.";
    let mut led = led_from("same-site", &ops);
    led.get(FORM).await.is(200);
    let filled = ["value=\"Example Org\"", told];
    for filled in filled {
        led.sees_not(filled);
    }
    // For a browser whose session cookie is not sent with such links, after the sign-in.
    let stranger = Browser::new(&site);
    let by_sign_in = format!("/console/sign-in?{}", to(FORM));
    let by_confirm = format!("/console/confirm?{}", to(FORM));
    for asked in [FORM, &by_sign_in, &by_confirm] {
        let mut led = led_from("cross-site", &stranger);
        let answer = led.get(asked).await;
        if answer.status == 303 {
            led.get(&answer.location()).await.is(200);
        }
        let to = led.hidden("to").unwrap();
        assert!(to.ends_with("&elsewhere=on"), "{to}");
        led.headers.clear();
        let wrong = [("token", "x"), ("to", &*to)];
        led.post("/console/sign-in", &wrong).await.is(422);
        let shown = [("token", &*token), ("to", &*to)];
        led.submit("/console/sign-in", &shown).await.is(200);
        led.sees("name=\"password\"");
        for filled in filled {
            led.sees_not(filled);
        }
    }
    // The same after a confirmation of the token.
    site.clock.advance(Duration::from_secs(5 * 60));
    let mut led = led_from("same-site", &ops);
    led.get(&by_confirm).await.is(200);
    let to = led.hidden("to").unwrap();
    led.headers.clear();
    let shown = [("token", &*token), ("to", &*to)];
    led.submit("/console/confirm", &shown).await.is(200);
    led.sees("name=\"password\"");
    for filled in filled {
        led.sees_not(filled);
    }
    // A URL that the user typed is trusted.
    let mut typed = led_from("none", &ops);
    typed.cookies = led.cookies.clone();
    typed.get(FORM).await.is(200);
    typed.sees("value=\"Example Org\"");
}

/// Returns the query that leads on to this page.
fn to(page: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("to", page).finish()
}
