//! Paths, methods, and refusals by the HTTP stack in this dialect's form.

use std::collections::{BTreeMap, BTreeSet};

use crate::taler::site::Site;

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

/// Returns the methods of each path by ARCHITECTURE.md, which has a row for each line of the route table.
fn methods_by_path() -> BTreeMap<String, BTreeSet<&'static str>> {
    let page = include_str!("../../../../../ARCHITECTURE.md");
    let (_, section) = page.split_once("\n### GNU Taler: ").unwrap();
    let (section, _) = section.split_once("\n### ").unwrap();
    let mut paths = BTreeMap::<_, BTreeSet<_>>::new();
    for row in section.lines().filter_map(|line| line.strip_prefix("| `")) {
        let (operation, _) = row.split_once('`').unwrap();
        let (method, template) = operation.split_once(' ').unwrap();
        // A variable has its name as its value.
        let methods = paths.entry(template.replace(['{', '}'], "")).or_default();
        methods.extend([method, "OPTIONS"]);
        if method == "GET" {
            methods.insert("HEAD");
        }
    }
    assert!(!paths.is_empty());
    paths
}

/// Returns the text of `Allow`.
fn listed(methods: &BTreeSet<&str>) -> String {
    let methods: Vec<_> = methods.iter().copied().collect();
    methods.join(", ")
}

#[tokio::test]
async fn other_methods_are_405_with_those_that_there_are() {
    let site = Site::start().await;
    for (path, methods) in methods_by_path() {
        let tried = ["BREW", "DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"];
        for method in tried.iter().filter(|method| !methods.contains(*method)) {
            // Before authentication, for any instance.
            for prefix in ["", "/instances/shop", "/instances/nowhere"] {
                let answer = site.call(method, &format!("{prefix}{path}")).send().await;
                if *method == "HEAD" {
                    answer.is(405);
                } else {
                    answer.refuses(405, 20);
                }
                assert_eq!(answer.header("allow"), listed(&methods), "{method} {path}");
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
    let allowed = "GET, HEAD, OPTIONS, POST";
    assert_eq!(answer.header("access-control-allow-methods"), allowed);
    assert!(
        answer
            .header("access-control-allow-headers")
            .contains("Authorization")
    );
    for (path, methods) in methods_by_path() {
        let path = format!("/instances/nowhere{path}");
        let answer = site.call("OPTIONS", &path).send().await;
        answer.is_empty();
        for name in ["allow", "access-control-allow-methods"] {
            assert_eq!(answer.header(name), listed(&methods), "{path}");
        }
    }
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
