//! An operator's actions at `/console/tills`.

use std::time::Duration;

use keyproof_otp::pos::{PosAlgorithm, confirmation_codes};
use keyproof_service::{Clock as _, audit::Event};

use super::operator::{Answer, Operator};
use crate::taler::site::{Site, administrator, secret};

const KEY: &[u8] = b"12345678901234567890";
const BASE32: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

/// The pages of `with_till`'s device.
const DEVICE: &str = "/console/tills/default/device?id=till";
const CHECK: &str = "/console/tills/default/device/check?id=till";

/// Text that would do harm if it were not treated as text.
const HOSTILE: &str = "<script>alert(1)</script>\u{202e}\"'&";

/// Returns an operator who has added the device `till` with this algorithm to the default instance.
async fn with_till(site: &Site, algorithm: &str) -> Operator {
    let (mut ops, _) = site.operator(&["instances:default"]).await;
    ops.get("/console/tills/default").await.is(200);
    let fields = [("id", "till"), ("algorithm", algorithm), ("key", BASE32)];
    ops.post("/console/tills/default/devices", &fields)
        .await
        .is(200);
    ops
}

/// Submits a code for a price, to be checked.
async fn check(ops: &mut Operator, code: &str, price: &str) -> Answer {
    ops.post(CHECK, &[("code", code), ("of", price)]).await
}

/// Returns the stored devices, with their versions.
async fn records(site: &Site) -> String {
    let rows = site.rows("otp_device").await;
    assert_eq!(rows.len(), 1);
    format!("{rows:?}")
}

/// Returns the code of a time that is this number of steps from now.
fn code(site: &Site, steps: i64, price: Option<&str>) -> String {
    let at = site.clock.now().as_secs().checked_add_signed(30 * steps);
    let price = price.map(|price| price.parse().unwrap());
    let algorithm = match price {
        Some(_) => PosAlgorithm::TotpWithPrice,
        None => PosAlgorithm::TotpWithoutPrice,
    };
    let codes = confirmation_codes(KEY, algorithm, price.as_ref(), at.unwrap()).unwrap();
    codes.codes()[2].to_string()
}

#[tokio::test]
async fn an_operator_adds_a_till_its_device_and_removes_both() {
    let site = Site::start().await;
    let (mut ops, token) = site.operator(&["instances"]).await;
    ops.get("/console/tills").await.is(200);
    ops.sees("default");
    let fields = [("name", "kiosk"), ("password", "correct horse")];
    let added = ops.post("/console/tills", &fields).await;
    assert_eq!(
        added.is(303).location(),
        "/console/tills/kiosk?done=instance-added"
    );
    ops.get("/console/tills/kiosk").await.is(200);
    ops.sees("The instance has no devices yet.");

    let fields = [
        ("id", "till 1"),
        ("description", "by the door"),
        ("algorithm", "1"),
        ("key", ""),
    ];
    ops.post("/console/tills/kiosk/devices", &fields)
        .await
        .is(200);
    ops.sees("<svg role=\"img\"");
    ops.sees("Scan this with the till’s device, or with an authenticator app.");
    let drawn = ops.text_of("secret");
    assert_eq!(drawn.len(), 32);
    ops.get("/console/tills/kiosk").await.is(200);
    ops.sees("by the door");
    ops.sees_not(&drawn);
    let device = "/console/tills/kiosk/device?id=till%201";
    ops.get(device).await.is(200);
    ops.sees_not(&drawn);
    ops.sees("present");

    // Changes that weaken security require the token again, once the last confirmation is old.
    site.clock.advance(Duration::from_secs(301));
    ops.get(device).await.is(200);
    ops.sees("/console/confirm?to=");
    let remove = "/console/tills/kiosk/device/remove?id=till%201";
    ops.sent_to_confirm(remove, &token).await;
    ops.submit(remove, &[]).await.is(200);
    ops.sees("The device is removed.");
    ops.get(device).await.is(404);
    site.clock.advance(Duration::from_secs(301));
    ops.get("/console/tills/kiosk").await.is(200);
    ops.sent_to_confirm("/console/tills/kiosk/remove", &token)
        .await;
    ops.submit("/console/tills/kiosk/remove", &[]).await.is(200);
    ops.sees("The instance is removed.");
    ops.get("/console/tills/kiosk").await.is(404);
    // What is not there is not said to be removed.
    ops.get("/console/tills/default").await.is(200);
    for nothing in ["kiosk/remove", "default/device/remove?id=till"] {
        let remove = format!("/console/tills/{nothing}");
        let csrf = ops.csrf();
        ops.post_with(&remove, &csrf, &[]).await.is(404);
        ops.get("/console/tills/default").await.is(200);
    }
}

/// An address has six bytes for each letter of such a name, and ten if it is in another one.
#[tokio::test]
async fn whoever_confirms_returns_to_the_page_of_a_device_with_a_long_name() {
    let site = Site::start().await;
    let (mut ops, token) = site.operator(&["instances"]).await;
    let (id, escaped) = ("é".repeat(500), "%C3%A9".repeat(500));
    ops.get("/console/tills/default").await.is(200);
    let fields = [("id", &*id), ("algorithm", "1"), ("key", "")];
    ops.post("/console/tills/default/devices", &fields)
        .await
        .is(200);
    site.clock.advance(Duration::from_secs(301));
    let device = format!("/console/tills/default/device?id={escaped}");
    ops.get(&device).await.is(200);
    let remove = format!("/console/tills/default/device/remove?id={escaped}");
    ops.sent_to_confirm(&remove, &token).await;
    // The same if the session has ended.
    site.clock.advance(Duration::from_secs(15 * 60));
    let sent = ops.get(&device).await.is(303).location();
    ops.get(&sent).await.is(200);
    assert_eq!(ops.hidden("to").unwrap(), device);
}

/// A device's key is typed off its label or its manual, which show it in groups.
#[tokio::test]
async fn a_key_is_typed_as_it_is_printed() {
    let site = Site::start().await;
    let (mut ops, _) = site.operator(&["instances"]).await;
    let warning = "This key is short";
    for (id, algorithm, typed, key, is_weak) in [
        (
            "a",
            "1",
            "gezd gnbv-gy3t qojq\u{a0}gezd gnbv gy3t qojq",
            BASE32,
            false,
        ),
        (
            "b",
            "2",
            " GEZDGNBVGY3TQOJQ====== ",
            "GEZDGNBVGY3TQOJQ",
            true,
        ),
        ("c", "1", "A", "A", true),
        ("d", "0", "A", "A", false),
    ] {
        ops.get("/console/tills/default").await.is(200);
        let fields = [("id", id), ("algorithm", algorithm), ("key", typed)];
        ops.post("/console/tills/default/devices", &fields)
            .await
            .is(200);
        assert!(ops.text_of("secret").eq_ignore_ascii_case(key), "{id}");
        assert_eq!(ops.page.contains(warning), is_weak, "{id}");
    }
    ops.get("/console/tills/default").await.is(200);
    let fields = [("id", "e"), ("algorithm", "1"), ("key", "GEZD 1")];
    ops.post("/console/tills/default/devices", &fields)
        .await
        .is(422);
    ops.sees("A key in Base32 has only letters from A to Z and digits from 2 to 7.");
    // Of blanks alone nothing is left, and a key is drawn.
    let fields = [("id", "f"), ("algorithm", "1"), ("key", " - ")];
    ops.post("/console/tills/default/devices", &fields)
        .await
        .is(200);
    assert_eq!(ops.text_of("secret").len(), 32);
}

/// With an unattended console nobody can set an instance's password or add a device's key.
#[tokio::test]
async fn whoever_adds_a_till_or_a_device_shows_the_token_again() {
    let site = Site::start().await;
    let (mut ops, token) = site.operator(&["instances"]).await;
    let other = site.operator_token(&["instances"], None).await;
    let instance: &[_] = &[("name", "kiosk"), ("password", "correct horse")];
    let device: &[_] = &[
        ("id", "till 1"),
        ("description", "by the door"),
        ("algorithm", "2"),
        ("key", BASE32),
    ];
    let typed_device: &[_] = &[
        "value=\"till 1\"",
        "value=\"by the door\"",
        "<option value=\"2\" selected>",
    ];
    let typed_instance: &[_] = &["value=\"kiosk\""];
    for (page, form, fields, typed, secret, added) in [
        (
            "/console/tills",
            "/console/tills",
            instance,
            typed_instance,
            "password",
            303,
        ),
        (
            "/console/tills/default",
            "/console/tills/default/devices",
            device,
            typed_device,
            "key",
            200,
        ),
    ] {
        ops.get(page).await.is(200);
        ops.sees_not("name=\"confirmation\"");
        // Five minutes are over while the form is filled in.
        site.clock.advance(Duration::from_secs(300));
        let before = ops.cookies.clone();
        let (wrong, another) = (("confirmation", "keyproof_x"), ("confirmation", &*other));
        for (shown, told) in [
            (None, "Nothing is done yet."),
            (Some(wrong), "This is not an operator’s token"),
            (Some(another), "This is another token"),
        ] {
            let fields: Vec<_> = fields.iter().copied().chain(shown).collect();
            ops.post(form, &fields).await.is(422);
            ops.sees(told);
            ops.sees("aria-invalid=\"true\" autofocus");
            for kept in typed {
                ops.sees(kept);
            }
            // Neither a secret nor the token is shown, and whoever takes a key for sent would have another drawn.
            for lost in ["correct horse", BASE32, "keyproof_x", &other] {
                ops.sees_not(lost);
            }
            ops.sees(&format!("id=\"{secret}-error\">This is not kept"));
            assert_eq!(ops.cookies, before);
        }
        let shown = ("confirmation", &*token);
        let fields: Vec<_> = fields.iter().copied().chain([shown]).collect();
        ops.post(form, &fields).await.is(added);
        // The session that the token confirms is another.
        assert_ne!(ops.cookies, before);
        ops.get(page).await.is(200);
    }
}

/// The session that a token confirms replaces the former, so a refusal must not lose it.
#[tokio::test]
async fn a_token_in_a_form_confirms_the_session_whatever_becomes_of_the_form() {
    let site = Site::start().await;
    let (mut ops, token) = site.operator(&["instances"]).await;
    ops.get("/console/tills").await.is(200);
    for (form, fields, status) in [
        (
            "/console/tills",
            &[("name", "default"), ("password", "correct horse")][..],
            422,
        ),
        ("/console/tills/nowhere/devices", &[("id", "x")], 404),
    ] {
        site.clock.advance(Duration::from_secs(300));
        let before = ops.cookies.clone();
        let shown = ("confirmation", &*token);
        let fields: Vec<_> = fields.iter().copied().chain([shown]).collect();
        ops.post(form, &fields).await.is(status);
        assert_ne!(ops.cookies, before, "{form}");
        ops.get("/console/tills").await.is(200);
        ops.sees_not("name=\"confirmation\"");
    }
}

#[tokio::test]
async fn a_page_names_the_step_of_a_code_and_a_price() {
    let site = Site::start().await;
    let mut ops = with_till(&site, "2").await;
    // Authenticator apps do not know the price.
    ops.sees("<p>Scan this with the till’s device.</p>");
    let before = records(&site).await;
    ops.get(DEVICE).await.is(200);
    ops.sees("type that price to see the codes");
    ops.get(&format!("{DEVICE}&price=EUR:4.50")).await.is(200);
    // As it was typed, and not as an amount in the contract.
    ops.sees("For <bdi>EUR:4.50</bdi>:");
    assert_eq!(ops.page.matches("value=\"EUR:4.50\"").count(), 2);
    for step in -2..=2 {
        ops.sees(&code(&site, step, Some("EUR:4.50")));
    }
    ops.sees_not(&code(&site, 0, Some("EUR:4.51")));
    for (step, price, told) in [
        (0, "EUR:4.50", "It confirms a payment now."),
        (-2, "EUR:4.50", "2 steps ago"),
        (-5, "EUR:4.50", "It confirms no payment now"),
        (
            0,
            "EUR:4.51",
            "it is mistyped, or the key, the price or the clock is not the same.",
        ),
    ] {
        let code = code(&site, step, Some("EUR:4.50"));
        check(&mut ops, &code, price).await.is(200);
        ops.sees(told);
        // The page shows the checked code, because the field is empty again.
        ops.sees(&format!("role=\"status\"><code>{code}</code>: "));
    }
    for (code, price) in [("12345678", ""), ("12345678", "4.50"), ("1234", "EUR:1")] {
        check(&mut ops, code, price).await.is(422);
    }
    ops.get(&format!("{DEVICE}&price=-1")).await.is(422);
    ops.sees("value=\"-1\"");
    ops.sees("A price is a currency in capital letters");
    assert!(site.events_of("otp_device.check").await.len() >= 3);
    // Viewing and checking change neither the counter nor anything else of the device.
    assert_eq!(records(&site).await, before);
    // The limit per minute includes the codes that were shown.
    for _ in 0..24 {
        check(&mut ops, "12345678", "EUR:1").await.is(200);
    }
    let limited = check(&mut ops, "12345678", "EUR:1").await;
    assert!(limited.is(429).headers.contains_key("retry-after"));
}

/// After a form, a phone shows the result instead of the page's head. If a field is rejected there is no fragment to jump to,
/// because a browser that jumps does not focus the field.
#[tokio::test]
async fn a_browser_is_led_to_codes_and_to_what_a_code_is() {
    let site = Site::start().await;
    let mut ops = with_till(&site, "2").await;
    let (codes, verdict) = (" id=\"now\"", " id=\"check\"");
    ops.get(DEVICE).await.is(200);
    ops.sees("action=\"/console/tills/default/device#now\"");
    ops.sees(&format!("action=\"{CHECK}#check\""));
    ops.sees_not(codes);
    ops.sees_not(verdict);
    ops.get(&format!("{DEVICE}&price=-1")).await.is(422);
    ops.sees_not(codes);
    // Repeating the request shows the codes of that time.
    ops.sees("name=\"again\"");
    ops.get(&format!("{DEVICE}&price=EUR:1&again=on"))
        .await
        .is(200);
    ops.sees(codes);
    ops.sees_not("name=\"again\"");
    check(&mut ops, "12345678", "EUR:1").await.is(200);
    ops.sees(verdict);
    check(&mut ops, "123", "EUR:1").await.is(422);
    ops.sees("aria-invalid=\"true\" autofocus aria-describedby=\"code-hint code-error\"");
    ops.sees_not(verdict);
}

#[tokio::test]
async fn an_instance_without_a_password_says_what_gives_it_one() {
    let site = Site::start().await;
    let (mut ops, _) = site.operator(&["instances"]).await;
    ops.get("/console/tills/default").await.is(200);
    // The default instance is recreated at once, without a password.
    ops.submit("/console/tills/default/remove", &[])
        .await
        .is(200);
    ops.sees("until <code>keyproof instance set-password default</code> sets one");
}

#[tokio::test]
async fn a_code_without_a_price_differs_by_no_price() {
    let site = Site::start().await;
    let mut ops = with_till(&site, "1").await;
    ops.get(DEVICE).await.is(200);
    let code = code(&site, 3_000, None);
    ops.post(CHECK, &[("code", &*code)]).await.is(200);
    ops.sees("it is mistyped, or the key or the clock is not the same.");
}

#[tokio::test]
async fn each_sees_what_their_scopes_reach_and_no_more() {
    let site = Site::start().await;
    let devices = &site.console.otp_devices;
    for name in ["kiosk", "other"] {
        let (password, administrator) = (secret("correct horse"), administrator(name));
        let added = devices.add_instance(&administrator, password);
        added.await.unwrap();
    }
    let (mut admin, _) = site.operator(&["admin"]).await;
    admin.get("/console/tills/other").await.is(200);
    let fields = [("id", "till"), ("algorithm", "1"), ("key", BASE32)];
    admin
        .post("/console/tills/other/devices", &fields)
        .await
        .is(200);
    for (scope, area, kiosk, other, changes) in [
        ("admin", 200, 200, 200, true),
        ("instances", 200, 200, 200, true),
        ("instances:kiosk", 200, 200, 403, true),
        ("instances-read:kiosk", 200, 200, 403, false),
        ("instances-read", 200, 200, 200, false),
        ("users", 403, 403, 403, false),
        ("certificates", 403, 403, 403, false),
    ] {
        let (mut ops, _) = site.operator(&[scope]).await;
        let csrf = ops.csrf();
        ops.get("/console/tills").await.is(area);
        if area == 200 {
            let sees_other = ops.page.contains("/console/tills/other");
            assert_eq!(sees_other, other == 200, "{scope}");
        }
        ops.get("/console/tills/other").await.is(other);
        ops.get("/console/tills/kiosk").await.is(kiosk);
        assert_eq!(ops.page.contains("Add the device"), changes, "{scope}");
        assert_eq!(ops.page.contains("Remove the instance"), changes, "{scope}");
        // Knowing the URL does not help.
        let id = format!("by-{}", scope.replace(':', "-"));
        let fields = [("id", &*id), ("algorithm", "1"), ("key", BASE32)];
        let added = ops
            .post_with("/console/tills/kiosk/devices", &csrf, &fields)
            .await;
        added.is(if changes { 200 } else { 403 });
        let removal = format!("/console/tills/kiosk/device/remove?id={id}");
        let removed = ops.post_with(&removal, &csrf, &[]).await;
        removed.is(if changes { 303 } else { 403 });
        if other == 403 {
            let fields = [("id", "x"), ("algorithm", "1"), ("key", BASE32)];
            let added = ops
                .post_with("/console/tills/other/devices", &csrf, &fields)
                .await;
            added.is(403);
            ops.post_with("/console/tills/other/remove", &csrf, &[])
                .await
                .is(403);
            ops.get("/console/tills/other/device?id=till").await.is(403);
            ops.sees_not("present");
            let check = "/console/tills/other/device/check?id=till";
            let fields = [("code", "12345678")];
            ops.post_with(check, &csrf, &fields).await.is(403);
            let remove = "/console/tills/other/device/remove?id=till";
            ops.post_with(remove, &csrf, &[]).await.is(403);
        }
    }
}

#[tokio::test]
async fn long_lists_are_paged() {
    let site = Site::start().await;
    let devices = &site.console.otp_devices;
    for number in 0..51 {
        let administrator = administrator(&format!("shop-{number:02}"));
        let added = devices.add_instance(&administrator, secret("correct horse"));
        added.await.unwrap();
    }
    let (mut ops, _) = site.operator(&["instances"]).await;
    ops.get("/console/tills/shop-00").await.is(200);
    for number in 0..51 {
        let id = format!("till-{number:02}");
        let fields = [("id", &*id), ("algorithm", "1"), ("key", BASE32)];
        let csrf = ops.csrf();
        ops.post_with("/console/tills/shop-00/devices", &csrf, &fields)
            .await
            .is(200);
        ops.get("/console/tills/shop-00").await.is(200);
    }
    // Two other devices come first.
    for (list, more, last, next) in [
        (
            "/console/tills",
            "Show more instances",
            ">shop-47<",
            [">shop-48<", ">shop-50<"],
        ),
        (
            "/console/tills/shop-00",
            "Show more devices",
            ">till-49<",
            [">till-50<", ">till-50<"],
        ),
    ] {
        ops.get(list).await.is(200);
        ops.sees(last);
        ops.sees_not(next[0]);
        let link = ops.link(more);
        ops.get(&link).await.is(200);
        for seen in next {
            ops.sees(seen);
        }
        ops.sees_not(last);
        ops.sees_not(more);
    }
}

/// One page reads a thousand instances.
#[tokio::test]
async fn an_instance_behind_many_of_others_is_not_said_to_be_absent() {
    let site = Site::start().await;
    let devices = &site.console.otp_devices;
    let others = (0..1_000).map(|number| format!("a-{number:04}"));
    for name in others.chain(["z".to_owned()]) {
        let administrator = administrator(&name);
        let added = devices.add_instance(&administrator, secret("correct horse"));
        added.await.unwrap();
    }
    let (mut ops, _) = site.operator(&["instances-read:z"]).await;
    ops.get("/console/tills").await.is(200);
    ops.sees("None is found in your scopes so far.");
    ops.sees_not("No instance is in your scopes");
    let next = ops.link("Show more instances");
    ops.get(&next).await.is(200);
    ops.sees("<bdi>z</bdi>");
    ops.get("/console/tills?after=z").await.is(200);
    ops.sees("There are no more instances.");
    let (mut ops, _) = site.operator(&["instances-read:zz"]).await;
    ops.get("/console/tills").await.is(200);
    let next = ops.link("Show more instances");
    ops.get(&next).await.is(200);
    ops.sees("There are no more instances.");
}

#[tokio::test]
async fn nothing_of_it_is_done_without_a_session_or_a_form_of_ours() {
    let site = Site::start().await;
    let (mut ops, _) = site.operator(&["instances"]).await;
    let fields = [("name", "kiosk"), ("password", "correct horse")];
    ops.post_with("/console/tills", "AAAA", &fields)
        .await
        .is(403);
    ops.get("/console/tills").await.is(200);
    ops.sees_not("kiosk");
}

#[tokio::test]
async fn a_form_that_is_refused_keeps_what_was_typed_but_no_secret() {
    let site = Site::start().await;
    let (mut ops, _) = site.operator(&["instances"]).await;
    ops.get("/console/tills").await.is(200);
    let fields = [("name", "kiosk"), ("password", "swordfi")];
    ops.post("/console/tills", &fields).await.is(422);
    ops.sees("value=\"kiosk\"");
    ops.sees_not("swordfi");
    ops.get("/console/tills/default").await.is(200);
    let fields = [
        ("id", "till"),
        ("description", "by the door"),
        ("algorithm", "2"),
        ("key", "NO-SUCH-KEY-1"),
    ];
    ops.post("/console/tills/default/devices", &fields)
        .await
        .is(422);
    ops.sees("value=\"by the door\"");
    ops.sees("<option value=\"2\" selected>");
    // The focus goes to the field with the error, for users who cannot see it.
    ops.sees("aria-invalid=\"true\" autofocus aria-describedby=\"key-hint key-error\"");
    ops.sees_not("NO-SUCH-KEY");
    // A typed key is kept, and not replaced by a generated one, if another field was wrong.
    let mut fields = fields;
    fields[3] = ("key", BASE32);
    ops.post("/console/tills/default/devices", &fields)
        .await
        .is(200);
    ops.get("/console/tills/default").await.is(200);
    fields[1] = ("description", "another");
    ops.post("/console/tills/default/devices", &fields)
        .await
        .is(422);
    ops.sees("aria-invalid=\"true\" autofocus aria-describedby=\"id-hint id-error\"");
    ops.sees("aria-invalid=\"true\" aria-describedby=\"key-hint key-error\"");
    ops.sees_not(BASE32);
    fields[3] = ("key", "");
    ops.post("/console/tills/default/devices", &fields)
        .await
        .is(422);
    ops.sees_not("key-error");
}

#[tokio::test]
async fn hostile_names_are_text() {
    let site = Site::start().await;
    let (mut ops, _) = site.operator(&["instances"]).await;
    let long = "x".repeat(1000);
    for id in [
        HOSTILE,
        "...",
        "a/b?c#d%2F",
        "*+ ",
        "\u{202e}gnp.exe",
        &long,
    ] {
        ops.get("/console/tills/default").await.is(200);
        let fields = [
            ("id", id),
            ("description", HOSTILE),
            ("algorithm", "1"),
            ("key", BASE32),
        ];
        ops.post("/console/tills/default/devices", &fields)
            .await
            .is(200);
        ops.get("/console/tills/default").await.is(200);
        ops.sees_not("<script>alert");
        let links = ops
            .page
            .split("href=\"/console/tills/default/device?id=")
            .skip(1);
        let links: Vec<_> = links
            .map(|rest| rest.split('"').next().unwrap().to_owned())
            .collect();
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("id", id)
            .finish();
        let query = query
            .trim_start_matches("id=")
            .replace('+', "%20")
            .replace('*', "%2A");
        assert!(links.contains(&query), "{query} in {links:?}");
        ops.get(&format!("/console/tills/default/device?id={query}"))
            .await
            .is(200);
        ops.sees_not("<script>alert");
        ops.sees("<bdi>");
        let code = code(&site, 0, None);
        ops.sees(&code);
    }
    for id in [".", ".."] {
        ops.get("/console/tills/default").await.is(200);
        let fields = [
            ("id", id),
            ("description", ""),
            ("algorithm", "1"),
            ("key", BASE32),
        ];
        let refused = ops.post("/console/tills/default/devices", &fields);
        refused.await.is(422);
        ops.sees("is neither . nor ..");
    }
    // The default instance's own path does not lead to a parent.
    ops.get("/console/tills/..").await.is(404);
}

/// A change in progress may require the session's record.
#[tokio::test]
async fn a_look_at_codes_writes_over_the_session_once_a_minute_and_no_sooner() {
    let site = Site::start().await;
    let mut ops = with_till(&site, "2").await;
    let session = async || format!("{:?}", site.rows("operator_session").await);
    let before = session().await;
    for (seconds, is_as_before) in [(45, true), (15, false)] {
        site.clock.advance(Duration::from_secs(seconds));
        ops.get(&format!("{DEVICE}&price=EUR:1")).await.is(200);
        assert_eq!(session().await == before, is_as_before, "{seconds}");
    }
}

#[tokio::test]
async fn whoever_looks_at_codes_is_told_of_and_limited() {
    let site = Site::start().await;
    let mut ops = with_till(&site, "2").await;
    let shown = async || -> u64 {
        let shows = site.events_of("otp_device.show").await;
        shows.iter().map(Event::count).sum()
    };
    // Without a price there are no codes. The session's use is recorded meanwhile, which does no harm.
    site.clock.advance(Duration::from_secs(60));
    ops.get(DEVICE).await.is(200);
    assert_eq!(shown().await, 0);
    let priced = format!("{DEVICE}&price=EUR:1");
    site.clock.advance(Duration::from_secs(60));
    for number in 1..=30 {
        ops.get(&priced).await.is(200);
        assert_eq!(shown().await, number);
    }
    let limited = ops.get(&priced).await;
    assert!(limited.is(429).headers.contains_key("retry-after"));
    ops.sees("Too many codes were shown or checked. Try again in ");
    ops.sees_not(&code(&site, 0, Some("EUR:1")));
    assert_eq!(shown().await, 30);
    // The rest of the page is still shown.
    ops.get(DEVICE).await.is(200);
    check(&mut ops, "12345678", "EUR:1").await.is(429);
    ops.sees_not(&code(&site, 0, Some("EUR:1")));
}
