//! Paths, methods, and refusals by the HTTP stack in this dialect's form.

use crate::taler::{
    dialect::{DEVICES, TOKEN},
    site::Site,
};

#[tokio::test]
async fn unknown_paths_are_404_in_talers_shape() {
    let site = Site::start().await;
    for path in [
        "/",
        "/nonsense",
        "/private",
        "/private/",
        "/private/orders",
        "/private/otp-devices/",
        "/private/otp-devices/a/b",
        "/private/token/1",
        "/config/",
        "/instances",
        "/instances/default",
        "/instances/default/",
        "/instances/nowhere/private/orders",
        "/instances/default/instances/shop/config",
        "//config",
        "/Config",
        "/api/nonsense",
    ] {
        let answer = site.get(path).send().await;
        answer.refuses(404, 21);
        assert_eq!(answer.json.get("detail"), None, "{path}");
    }
}

#[tokio::test]
async fn other_methods_are_405_with_those_that_there_are() {
    let site = Site::start().await;
    for (path, methods, allow) in [
        (
            "/config",
            &["POST", "PUT", "DELETE", "PATCH"][..],
            "GET, HEAD, OPTIONS",
        ),
        (
            TOKEN,
            &["GET", "HEAD", "PUT", "PATCH"],
            "DELETE, OPTIONS, POST",
        ),
        (
            DEVICES,
            &["PUT", "DELETE", "PATCH", "BREW"],
            "GET, HEAD, OPTIONS, POST",
        ),
        (
            "/private/otp-devices/x",
            &["POST", "PUT"],
            "DELETE, GET, HEAD, OPTIONS, PATCH",
        ),
    ] {
        for method in methods {
            // Before authentication, for any instance.
            for prefix in ["", "/instances/shop", "/instances/nowhere"] {
                let answer = site.call(method, &format!("{prefix}{path}")).send().await;
                if *method == "HEAD" {
                    answer.is(405);
                } else {
                    answer.refuses(405, 20);
                }
                assert_eq!(answer.header("allow"), allow, "{method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn browsers_may_ask_first() {
    let site = Site::start().await;
    let call = site.call("OPTIONS", "/instances/shop/private/otp-devices");
    let answer = call
        .header("origin", "https://spa.example")
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,content-type",
        )
        .send()
        .await;
    answer.is_empty();
    assert_eq!(
        answer.header("access-control-allow-methods"),
        "GET, HEAD, OPTIONS, POST"
    );
    assert!(
        answer
            .header("access-control-allow-headers")
            .contains("Authorization")
    );
    site.call("OPTIONS", "/nonsense")
        .send()
        .await
        .refuses(404, 21);
}

#[tokio::test]
async fn long_uris_are_414() {
    let site = Site::start().await;
    let long = format!("/private/otp-devices/{}", "x".repeat(17 * 1024));
    site.get(&long).send().await.refuses(414, 31);
    let query = format!("/config?{}", "x".repeat(17 * 1024));
    site.get(&query).send().await.refuses(414, 31);
}

#[tokio::test]
async fn malformed_percent_encoding_is_400_anywhere() {
    let site = Site::start().await;
    for path in [
        "/instances/%zz/config",
        "/private/otp-devices/%",
        "/instances/shop/private/otp-devices/%c3%28",
    ] {
        site.get(path).send().await.refuses(400, 29);
    }
}

#[tokio::test]
async fn repeated_fields_are_400() {
    let site = Site::start().await;
    for name in ["host", "authorization", "content-type"] {
        let call = site
            .get("/private/otp-devices")
            .header(name, "x y")
            .header(name, "x y");
        call.send().await.refuses(400, 23);
    }
}
