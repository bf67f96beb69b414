//! `GET /`.

use super::browser::Browser;
use crate::emnify::site::Site;

#[tokio::test]
async fn a_browser_is_told_where_the_sites_are_and_nobody_else_anything() {
    let site = Site::start().await;
    let mut browser =
        Browser::new(&site).sending("accept", "text/html,application/xhtml+xml;q=0.9");
    browser.get("/").await.is(200);
    browser.sees("href=\"/account\"");
    browser.sees("href=\"/console\"");
    browser.sees_not(env!("CARGO_PKG_VERSION"));
    let least = site.call("GET", "/");
    let least = least.header("accept", "application/json, text/html;q=0.1");
    least.of_another_dialect().send().await.is(200);
    let style = browser.link_to("/front/style.css");
    let style = browser.get(&style).await;
    assert_eq!(
        style.is(200).header("content-type"),
        "text/css; charset=utf-8"
    );

    for (method, accept) in [
        ("GET", "*/*"),
        ("GET", "application/json"),
        ("GET", "application/json, text/html;q=0"),
        ("GET", "text/html; charset=utf-8; Q=0.000"),
        ("POST", "text/html"),
    ] {
        let call = site.call(method, "/").header("accept", accept);
        let answer = call.of_another_dialect().send().await;
        assert_eq!(answer.is(404).json["code"], 21, "{method} {accept}");
    }
    let nowhere = site.call("GET", "/nowhere").header("accept", "text/html");
    assert_eq!(
        nowhere.of_another_dialect().send().await.is(404).json["code"],
        21
    );
}

#[tokio::test]
async fn the_front_page_is_in_the_language_that_was_chosen_else_asked_for() {
    let site = Site::start().await;
    let mut browser = Browser::new(&site)
        .sending("accept", "text/html")
        .sending("accept-language", "de-AT, en;q=0.5");
    let answer = browser.get("/").await;
    let vary = answer.is(200).header("vary");
    assert_eq!(vary, "Accept, Accept-Language, Cookie");
    assert_eq!(answer.header("set-cookie"), "");
    browser.sees("<html lang=\"de\">");
    browser.sees("hreflang=\"de\" aria-current=\"true\">Deutsch</a>");
    browser.get("/?lang=en").await.is(200);
    browser.sees("<html lang=\"en\">");
    browser.sees("<a href=\"/?lang=de\" lang=\"de\" hreflang=\"de\">Deutsch</a>");
    // The choice is stored, for this page and for the account.
    browser.get("/").await.is(200);
    browser.sees("<html lang=\"en\">");
    browser.get("/account/sign-in").await.is(200);
    browser.sees("<html lang=\"en\">");
    browser.get("/?lang=xx").await.is(200);
    browser.sees("<html lang=\"en\">");
}

#[tokio::test]
async fn a_site_that_is_off_is_not_there() {
    let off = [
        ("account.enabled", false.into()),
        ("console.enabled", false.into()),
    ];
    let site = Site::configured(&off).await;
    for path in [
        "/",
        "/account",
        "/account/sign-in",
        "/console",
        "/console/sign-in",
    ] {
        let call = site.call("GET", path).header("accept", "text/html");
        let answer = call.of_another_dialect().send().await;
        assert_eq!(answer.is(404).json["code"], 21, "{path}");
    }
}

#[tokio::test]
async fn a_site_may_have_a_listener_of_its_own() {
    for (listen, path) in [
        ("account.listen", "/account/sign-in"),
        ("console.listen", "/console/sign-in"),
    ] {
        let site = Site::configured(&[(listen, "127.0.0.1:0".into())]).await;
        let call = site.call("GET", path);
        call.of_another_dialect().send().await.is(404);
        let mut call = site.call("GET", path).of_another_dialect();
        let url = site.server.urls().nth(1).unwrap();
        call.address = url.trim_start_matches("http://").parse().unwrap();
        call.send().await.is(200);
    }
}
