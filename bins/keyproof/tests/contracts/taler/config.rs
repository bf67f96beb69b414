//! `GET config`

use serde_json::json;

use crate::taler::site::Site;

#[tokio::test]
async fn clients_learn_the_protocol_before_anything_else() {
    let site = Site::start().await;
    for path in [
        "/config",
        "/instances/default/config",
        "/instances/shop/config",
    ] {
        for authorization in [
            None,
            Some("Bearer secret-token:nonsense"),
            Some("Basic !"),
            Some(""),
        ] {
            let mut call = site.get(path);
            if let Some(value) = authorization {
                call = call.header("authorization", value);
            }
            let answer = call.send().await;
            let mut config = answer.is(200).json.clone();
            let implementation = config
                .as_object_mut()
                .unwrap()
                .remove("implementation")
                .unwrap();
            assert!(
                implementation.as_str().unwrap().starts_with("urn:"),
                "{implementation}"
            );
            assert_eq!(
                config,
                json!({
                    "version": "20:0:10",
                    "name": "taler-merchant",
                    "currency": "EUR",
                    "currencies": {},
                    "exchanges": [],
                    "have_self_provisioning": false,
                    "have_donau": false,
                })
            );
        }
    }
}

#[tokio::test]
async fn an_unknown_instance_has_none() {
    let site = Site::start().await;
    for path in [
        "/instances/nowhere/config",
        "/instances//config",
        "/instances/Shop/config",
    ] {
        site.get(path).send().await.refuses(404, 2000);
    }
}

#[tokio::test]
async fn head_answers_as_get_does_without_the_body() {
    let site = Site::start().await;
    let (get, head) = (
        site.get("/config").send().await,
        site.call("HEAD", "/config").send().await,
    );
    assert_eq!(head.status, get.status);
    for name in ["content-type", "content-length", "cache-control"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
}
