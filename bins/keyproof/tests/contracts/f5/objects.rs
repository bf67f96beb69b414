//! Managers, categories and API keys.

use std::time::Duration;

use serde_json::{Value, json};

use crate::f5::{
    device::Device,
    dialect::{API_KEYS, CATEGORIES, MANAGERS, PREAUTH, PROVISION},
    site::Site,
};

#[tokio::test]
async fn envelopes_are_those_of_the_contract() {
    let site = Site::start().await;
    let body = json!({
        "metadata": {
            "name": "manager",
            "labels": { "a": "b" },
            "annotations": { "c": "d" },
            "description": "text",
        },
        "spec": {},
        "resource_version": "7",
    });
    let created = site.post(MANAGERS, &body).await;
    let created = &created.is(200).json;
    let metadata = json!({
        "name": "manager",
        "namespace": "default",
        "labels": { "a": "b" },
        "annotations": { "c": "d" },
        "description": "text",
        "disable": false,
    });
    assert_eq!(created["metadata"], metadata);
    let system = &created["system_metadata"];
    assert_eq!(system["creation_timestamp"], "2023-11-14T22:13:20Z");
    assert_eq!(
        system["modification_timestamp"],
        system["creation_timestamp"]
    );
    assert_eq!(system["uid"].as_str().unwrap().len(), 36);
    assert_eq!(created.as_object().unwrap().len(), 3);

    let got = site.get(&format!("{MANAGERS}/manager")).await;
    let got = &got.is(200).json;
    for member in ["metadata", "spec", "system_metadata"] {
        assert_eq!(got[member], created[member], "{member}");
    }
    for member in [
        "status",
        "referring_objects",
        "deleted_referred_objects",
        "disabled_referred_objects",
    ] {
        assert_eq!(got[member], json!([]), "{member}");
    }
    for member in ["create_form", "replace_form"] {
        assert_eq!(got.get(member), Some(&Value::Null), "{member}");
    }

    let list = site.get(MANAGERS).await;
    let list = &list.is(200).json;
    assert_eq!(list["errors"], json!([]));
    let item = &list["items"][0];
    for (member, value) in [
        ("name", json!("manager")),
        ("namespace", json!("default")),
        ("description", json!("text")),
        ("disabled", json!(false)),
        ("labels", json!({ "a": "b" })),
        ("uid", system["uid"].clone()),
        ("get_spec", Value::Null),
    ] {
        assert_eq!(item[member], value, "{member}");
    }
    let full = site
        .get(&format!("{MANAGERS}?report_fields=get_spec"))
        .await;
    assert_eq!(full.json["items"][0]["get_spec"], created["spec"]);
    let elsewhere = site.get("/api/tpm/namespaces/other/tpm_managers").await;
    assert_eq!(elsewhere.is(200).json["items"], json!([]));
}

/// As members of every other object, so that no reader of the body sees another value.
#[tokio::test]
async fn a_label_or_annotation_has_one_value() {
    let site = Site::start().await;
    for texts in ["labels", "annotations"] {
        for (members, is_accepted) in [
            (r#""a":"x","b":"x""#, true),
            (r#""c":"x","c":"y""#, false),
            (r#""c":"x","b":"x","\u0063":"x""#, false),
            (r#""c":null"#, false),
        ] {
            let body = format!(r#"{{"metadata":{{"name":"{texts}","{texts}":{{{members}}}}}}}"#);
            let answer = site.admin("POST", MANAGERS).body(body).send().await;
            if is_accepted {
                answer.is(200);
            } else {
                answer.refuses(400, 3).saying("line 1, column");
            }
        }
    }
}

/// Covers `ListResponseItem`, `GetResponse`, `SystemObjectGetMetaType` and the references, by name.
#[tokio::test]
async fn each_member_of_the_contract_is_there() {
    let (site, ..) = Site::start_furnished().await;
    let members = |value: &Value| -> Vec<String> {
        let mut names: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        names.sort();
        names
    };
    for (path, name, spec) in [
        (
            MANAGERS,
            "manager",
            &[
                "ak_root_ca_certificate",
                "ak_root_ca_name",
                "ek_root_certificates",
                "ek_trust_bundle",
            ][..],
        ),
        (
            CATEGORIES,
            "category",
            &[
                "ak_sub_ca_certificate",
                "ak_sub_ca_name",
                "ak_template",
                "client_cert",
                "client_key",
                "pcr_policy",
                "tpm_allow_list",
                "tpm_manager_ref",
            ],
        ),
        (
            API_KEYS,
            "station",
            &[
                "category_ref",
                "is_disabled",
                "need_mtls",
                "revoke_reason",
                "revoked_timestamp",
            ],
        ),
    ] {
        let list = site.get(&format!("{path}?report_fields=")).await.json;
        let item = &list["items"][0];
        assert_eq!(
            members(item),
            [
                "annotations",
                "description",
                "disabled",
                "get_spec",
                "labels",
                "metadata",
                "name",
                "namespace",
                "owner_view",
                "status_set",
                "system_metadata",
                "tenant",
                "uid",
            ]
        );
        assert_eq!(members(&item["get_spec"]), spec);
        let got = site.get(&format!("{path}/{name}")).await.json;
        assert_eq!(
            members(&got),
            [
                "create_form",
                "deleted_referred_objects",
                "disabled_referred_objects",
                "metadata",
                "referring_objects",
                "replace_form",
                "spec",
                "status",
                "system_metadata",
            ]
        );
        assert_eq!(got["spec"], item["get_spec"]);
        assert_eq!(got["metadata"], item["metadata"]);
        assert_eq!(got["system_metadata"], item["system_metadata"]);
        assert_eq!(
            members(&got["system_metadata"]),
            [
                "creation_timestamp",
                "creator_class",
                "creator_id",
                "deletion_timestamp",
                "finalizers",
                "initializers",
                "labels",
                "modification_timestamp",
                "object_index",
                "owner_view",
                "tenant",
                "uid",
            ]
        );
        assert_eq!(got["system_metadata"]["uid"], item["uid"]);
    }
    let got = site.get(&format!("{CATEGORIES}/category")).await.json;
    let above = json!([{
        "kind": "tpm_manager",
        "name": "manager",
        "namespace": "default",
        "tenant": "keyproof",
        "uid": "",
    }]);
    assert_eq!(got["spec"]["tpm_manager_ref"], above);
    let got = site.get(&format!("{API_KEYS}/station")).await.json;
    assert_eq!(got["spec"]["category_ref"][0]["kind"], "tpm_category");
    assert_eq!(got["spec"]["revoked_timestamp"], Value::Null);
}

#[tokio::test]
async fn a_get_tells_what_its_response_format_asks_for() {
    let (site, ..) = Site::start_furnished().await;
    let get = async |path: &str, format: &str| {
        let path = format!("{path}?response_format={format}");
        site.get(&path).await
    };
    for (path, name) in [
        (MANAGERS, "manager"),
        (CATEGORIES, "category"),
        (API_KEYS, "station"),
    ] {
        let object = format!("{path}/{name}");
        let plain = site.get(&object).await.json;
        for format in [
            "",
            "GET_RSP_FORMAT_DEFAULT",
            "GET_RSP_FORMAT_READ",
            "GET_RSP_FORMAT_STATUS",
        ] {
            assert_eq!(get(&object, format).await.is(200).json, plain, "{format}");
        }
        for wrong in ["DEFAULT", "get_rsp_format_default", "0"] {
            get(&object, wrong).await.refuses(400, 3);
        }

        // The contents of a form create another object like it.
        let mut form = get(&object, "GET_RSP_FORMAT_FOR_CREATE").await.json["create_form"].clone();
        assert_eq!(form["metadata"]["name"], name);
        form["metadata"]["name"] = json!("twin");
        let twin = site.post(path, &form).await;
        let mut twin = twin.is(200).json["spec"].clone();
        let mut spec = plain["spec"].clone();
        for own in [
            "ak_root_ca_certificate",
            "ak_root_ca_name",
            "ak_sub_ca_certificate",
            "ak_sub_ca_name",
            "client_cert",
            "client_key",
        ] {
            twin[own] = Value::Null;
            spec[own] = Value::Null;
        }
        assert_eq!(twin, spec);

        let format = "GET_RSP_FORMAT_FOR_REPLACE";
        let form = get(&object, format).await.json["replace_form"].clone();
        let replaced = site.admin("PUT", &object).json(&form).send().await;
        assert_eq!(replaced.is(200).json, json!({}));
        assert_eq!(site.get(&object).await.json["spec"], plain["spec"]);
    }

    let names = |answer: &Value, member: &str| -> Vec<(String, String)> {
        let references = answer[member].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        references
            .map(|reference| (text(&reference["kind"]), text(&reference["name"])))
            .collect()
    };
    let pair = |kind: &str, name: &str| (kind.to_owned(), name.to_owned());
    let format = "GET_RSP_FORMAT_REFERRING_OBJECTS";
    let member = "referring_objects";
    let manager = get(&format!("{MANAGERS}/manager"), format).await.json;
    let categories = [
        pair("tpm_category", "category"),
        pair("tpm_category", "twin"),
    ];
    assert_eq!(names(&manager, member), categories);
    let category = get(&format!("{CATEGORIES}/category"), format).await.json;
    let keys = [pair("tpm_api_key", "station"), pair("tpm_api_key", "twin")];
    assert_eq!(names(&category, member), keys);
    let uid = site.get(&format!("{API_KEYS}/station")).await.json;
    assert_eq!(category[member][0]["uid"], uid["system_metadata"]["uid"]);
    for unreferred in [format!("{MANAGERS}/twin"), format!("{API_KEYS}/station")] {
        let answer = get(&unreferred, format).await.json;
        assert_eq!(names(&answer, member), []);
    }

    let format = "GET_RSP_FORMAT_BROKEN_REFERENCES";
    let member = "disabled_referred_objects";
    let whole = get(&format!("{API_KEYS}/station"), format).await.json;
    assert_eq!(names(&whole, member), []);
    let below = |path: &'static str, name: &'static str, of: &'static str, disable: bool| {
        let reference = json!([{ "name": of }]);
        let body = json!({
            "metadata": { "name": name, "disable": disable },
            "spec": { "tpm_manager_ref": reference, "category_ref": reference },
        });
        let site = &site;
        async move {
            site.post(path, &body).await.is(200);
        }
    };
    below(MANAGERS, "off", "", true).await;
    below(CATEGORIES, "off", "off", true).await;
    below(API_KEYS, "off", "off", false).await;
    let category = get(&format!("{CATEGORIES}/off"), format).await.json;
    assert_eq!(names(&category, member), [pair("tpm_manager", "off")]);
    let key = get(&format!("{API_KEYS}/off"), format).await.json;
    assert_eq!(names(&key, member), [pair("tpm_category", "off")]);
    // The key is below the category of that name, not below the manager.
    let format = "GET_RSP_FORMAT_REFERRING_OBJECTS";
    let manager = get(&format!("{MANAGERS}/off"), format).await.json;
    let referring = names(&manager, "referring_objects");
    assert_eq!(referring, [pair("tpm_category", "off")]);
}

/// A replacement resets what it leaves out, so one without a spec must be rejected.
#[tokio::test]
async fn a_replacement_names_its_object_and_has_a_spec() {
    let (site, manufacturer, key) = Site::start_furnished().await;
    let allowed = json!({ "tpm_allow_list": [manufacturer.root] });
    site.replace(CATEGORIES, "category", allowed).await.is(200);
    site.disable("station").await;
    for (path, name) in [
        (MANAGERS, "manager"),
        (CATEGORIES, "category"),
        (API_KEYS, "station"),
    ] {
        let object = format!("{path}/{name}");
        let before = site.get(&object).await.is(200).json.clone();
        for (wrong, missing) in [
            (json!({}), "metadata.name"),
            (json!({ "metadata": null, "spec": {} }), "metadata.name"),
            (json!({ "metadata": {}, "spec": {} }), "metadata.name"),
            (
                json!({ "metadata": { "name": null }, "spec": {} }),
                "metadata.name",
            ),
            (
                json!({ "metadata": { "name": "" }, "spec": {} }),
                "metadata.name",
            ),
            (json!({ "metadata": { "name": name } }), "spec"),
            (
                json!({ "metadata": { "name": name }, "spec": null }),
                "spec",
            ),
        ] {
            let put = site.admin("PUT", &object).json(&wrong).send().await;
            let text = format!("{missing} is required");
            put.refuses(400, 3).saying(&text);
            assert_eq!(site.get(&object).await.is(200).json, before, "{wrong}");
        }
    }
    let preauth = json!({ "api_key": key, "device": {} });
    let answer = site.post(PREAUTH, &preauth).await;
    assert_eq!(answer.is(200).json["status"], "PREAUTH_RSP_INVALID_API_KEY");
    // An empty spec resets what it leaves out.
    let enabled = site.replace(API_KEYS, "station", json!({})).await;
    enabled.is(200);
    let shown = site.get(&format!("{API_KEYS}/station")).await;
    assert_eq!(shown.is(200).json["spec"]["is_disabled"], false);
}

#[tokio::test]
async fn a_key_may_be_revoked_since_before_all_time() {
    let (site, _, key) = Site::start_furnished().await;
    let spec = json!({ "revoked_timestamp": "1969-07-20T20:17:40Z", "revoke_reason": "lost" });
    site.replace(API_KEYS, "station", spec).await.is(200);
    let answer = site.post(PREAUTH, &json!({ "api_key": key })).await;
    assert_eq!(answer.is(200).json["status"], "PREAUTH_RSP_INVALID_API_KEY");
}

/// Clients in Go send the zero of their time type for an unset time.
#[tokio::test]
async fn a_key_is_not_revoked_since_the_first_year() {
    let (site, _, key) = Site::start_furnished().await;
    for zero in ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000+00:00"] {
        let spec = json!({ "revoked_timestamp": zero, "is_disabled": false });
        site.replace(API_KEYS, "station", spec).await.is(200);
    }
    let shown = site.get(&format!("{API_KEYS}/station")).await;
    assert_eq!(shown.is(200).json["spec"]["revoked_timestamp"], Value::Null);
    let answer = site.post(PREAUTH, &json!({ "api_key": key })).await;
    assert_ne!(answer.is(200).json["status"], "PREAUTH_RSP_INVALID_API_KEY");
}

#[tokio::test]
async fn a_key_may_be_revoked_as_late_as_a_year_has_four_digits() {
    let (site, _, key) = Site::start_furnished().await;
    for (named, told) in [
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        ("9999-12-31T23:59:59.5+02:00", "9999-12-31T21:59:59.5Z"),
        // In UTC it has five.
        ("9999-12-31T23:59:59-02:00", "9999-12-31T23:59:59.999Z"),
    ] {
        let spec = json!({ "revoked_timestamp": named });
        site.replace(API_KEYS, "station", spec).await.is(200);
        let shown = site.get(&format!("{API_KEYS}/station")).await;
        assert_eq!(shown.is(200).json["spec"]["revoked_timestamp"], told);
    }
    let answer = site.post(PREAUTH, &json!({ "api_key": key })).await;
    assert_ne!(answer.is(200).json["status"], "PREAUTH_RSP_INVALID_API_KEY");
}

#[tokio::test]
async fn names_and_references_are_checked() {
    let (site, ..) = Site::start_furnished().await;
    for (path, name) in [
        (MANAGERS, "manager"),
        (CATEGORIES, "category"),
        (API_KEYS, "station"),
    ] {
        let spec = json!({
            "tpm_manager_ref": [{ "name": "manager" }],
            "category_ref": [{ "name": "category" }],
        });
        site.create(path, name, spec.clone()).await.refuses(409, 6);
        for wrong in ["", "Upper", "a_b", "1a", "a-"] {
            site.create(path, wrong, spec.clone()).await.refuses(400, 3);
        }
        let elsewhere = json!({ "metadata": { "name": "b", "namespace": "other" }, "spec": spec });
        site.post(path, &elsewhere)
            .await
            .refuses(400, 3)
            .saying("metadata.namespace");
        site.get(&format!("{path}/none")).await.refuses(404, 5);
        site.replace(path, "none", json!({})).await.refuses(404, 5);
        // Existence is checked before the body.
        let absent = site.admin("PUT", &format!("{path}/none")).body("{");
        absent.send().await.refuses(404, 5);
        let other = json!({ "metadata": { "name": "other" } });
        let other = site.admin("PUT", &format!("{path}/{name}")).json(&other);
        other.send().await.refuses(400, 3).saying("metadata.name");
    }
    for (path, member) in [(CATEGORIES, "tpm_manager_ref"), (API_KEYS, "category_ref")] {
        for wrong in [
            json!(null),
            json!([]),
            json!([{ "name": "manager" }, { "name": "manager" }]),
            json!([{}]),
            json!([{ "name": "manager", "namespace": "other" }]),
        ] {
            let refused = site.create(path, "b", json!({ member: wrong })).await;
            refused.refuses(400, 3).saying(member);
        }
        let missing = json!({ member: [{ "name": "none", "namespace": "default" }] });
        site.create(path, "b", missing).await.refuses(404, 5);
    }
    for wrong in [
        "",
        "{",
        "[]",
        "{\"metadata\":7}",
        "{\"spec\":{\"need_mtls\":\"secret\"}}",
    ] {
        let refused = site.admin("POST", API_KEYS).body(wrong).send().await;
        refused.refuses(400, 3);
        assert!(!refused.text().contains("secret"));
    }
}

#[tokio::test]
async fn every_change_is_told_to_the_audit_trail() {
    let (site, _, key) = Site::start_furnished().await;
    for (path, name) in [
        (MANAGERS, "manager"),
        (CATEGORIES, "category"),
        (API_KEYS, "station"),
    ] {
        site.clock.advance(Duration::from_millis(1));
        site.replace(path, name, json!({})).await.is(200);
    }
    // Rejected, both for a known key and for an unknown one.
    for key in [key.as_str(), "unknown"] {
        for path in [PREAUTH, PROVISION] {
            site.clock.advance(Duration::from_millis(1));
            site.post(path, &json!({ "api_key": key, "device": {} }))
                .await;
        }
    }
    // And for a known key that is not valid any more.
    site.disable("station").await;
    site.clock.advance(Duration::from_millis(1));
    let request = json!({ "api_key": key, "device": {} });
    site.post(PROVISION, &request).await.refuses(403, 7);
    let events = site.events().await.into_iter();
    let mut told: Vec<_> = events
        .filter(|event| event.action.starts_with("tpm"))
        .map(|event| (event.action, event.target))
        .collect();
    told.sort();
    let pair = |action: &str, target: &str| (action.to_owned(), target.to_owned());
    let [manager, category, station] = [
        "tpm_manager/default/manager",
        "tpm_category/default/category",
        "tpm_api_key/default/station",
    ];
    assert_eq!(
        told,
        [
            pair("tpm.preauth", "tpm_api_key"),
            pair("tpm.preauth", station),
            pair("tpm.provision", "tpm_api_key"),
            pair("tpm.provision", station),
            pair("tpm.provision", station),
            pair("tpm_api_key.create", station),
            pair("tpm_api_key.replace", station),
            pair("tpm_api_key.replace", station),
            pair("tpm_category.create", category),
            pair("tpm_category.replace", category),
            pair("tpm_manager.create", manager),
            pair("tpm_manager.replace", manager),
        ]
    );
}

/// A list is read in pages internally, which must not be noticeable.
#[tokio::test]
async fn a_long_list_is_whole() {
    let (site, ..) = Site::start_furnished().await;
    for number in 0..250 {
        site.api_key(&format!("key-{number}")).await;
    }
    let list = site.get(API_KEYS).await;
    assert_eq!(list.is(200).json["items"].as_array().unwrap().len(), 251);
}

#[tokio::test]
async fn trust_lists_hold_certificates() {
    let (site, manufacturer, _) = Site::start_furnished().await;
    for wrong in [
        "nonsense",
        "",
        "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n",
    ] {
        let roots = json!({ "ek_root_certificates": [manufacturer.root, wrong] });
        let refused = site.create(MANAGERS, "b", roots.clone()).await;
        refused.refuses(400, 3).saying("entry 1");
        site.replace(MANAGERS, "manager", roots)
            .await
            .refuses(400, 3);
        let allowed = json!({ "tpm_allow_list": [wrong] });
        site.replace(CATEGORIES, "category", allowed)
            .await
            .refuses(400, 3)
            .saying("entry 0");
    }
    // Anything else beside a root is rejected: a private key, for example, would be stored and shown to every reader of the
    // manager.
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let root = &manufacturer.root;
    for (more, says) in [
        (key, "block 2: it is something else than a certificate"),
        (root.replace("-----END", "-----"), "block 2: it has no end"),
        (
            root.replace("CERTIFICATE", "TRUSTED CERTIFICATE"),
            "block 2: it is something else than a certificate: TRUSTED CERTIFICATE",
        ),
        (
            root.replace("-----BEGIN", "----BEGIN"),
            "block 2: a line that begins or ends it is malformed",
        ),
        (
            "-----END CERTIFICATE-----\n".to_owned(),
            "block 2: it has no beginning",
        ),
        // PEM, but not X.509.
        (
            "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n".to_owned(),
            "block 2: ",
        ),
    ] {
        let roots = json!({ "ek_root_certificates": [format!("{root}{more}")] });
        let refused = site.replace(MANAGERS, "manager", roots).await;
        let says = format!("entry 0, {says}");
        refused.refuses(400, 3).saying(&says);
    }
    // A certificate, but not a CA's.
    let device = Device::new(&manufacturer, "SN0001");
    let base64 = data_encoding::BASE64.encode(&device.ek_certificate);
    let leaf = format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n");
    let roots = json!({ "ek_root_certificates": [leaf] });
    let refused = site.replace(MANAGERS, "manager", roots).await;
    refused
        .refuses(400, 3)
        .saying("not the certificate of a CA");
    let before = site.get(&format!("{CATEGORIES}/category")).await.json;
    let more = json!({
        "tpm_allow_list": [manufacturer.root],
        "tpm_manager_ref": [{ "name": "none" }],
        "ak_template": { "scheme_hash": "sha384" },
        "client_cert": "none",
    });
    let replaced = site.replace(CATEGORIES, "category", more);
    assert_eq!(replaced.await.is(200).json, json!({}));
    let mut after = site.get(&format!("{CATEGORIES}/category")).await.json;
    assert_eq!(after["spec"]["tpm_allow_list"], json!([manufacturer.root]));
    after["spec"]["tpm_allow_list"] = json!([]);
    assert_eq!(after["spec"], before["spec"], "nothing else is replaced");
    site.replace(MANAGERS, "manager", json!({})).await.is(200);
    let manager = site.get(&format!("{MANAGERS}/manager")).await.json;
    assert_eq!(manager["spec"]["ek_root_certificates"], json!([]));
}

#[tokio::test]
async fn private_keys_and_api_keys_are_shown_once_and_not_stored_in_the_clear() {
    let (site, _, api_key) = Site::start_furnished().await;
    let second = site.category("second").await;
    let client_key = second.is(200).json["spec"]["client_key"].as_str().unwrap();
    assert!(client_key.starts_with("-----BEGIN PRIVATE KEY-----"));
    let chain = second.json["spec"]["client_cert"].as_str().unwrap();
    assert!(chain.starts_with("-----BEGIN CERTIFICATE-----"));
    for path in [MANAGERS, CATEGORIES, API_KEYS] {
        let list = site.get(&format!("{path}?report_fields=all")).await;
        let mut shown = list.text().to_owned();
        for item in list.json["items"].as_array().unwrap() {
            let name = item["name"].as_str().unwrap();
            shown += site.get(&format!("{path}/{name}")).await.text();
        }
        assert!(!shown.contains("PRIVATE KEY"), "{shown}");
        assert!(!shown.contains(&api_key), "{shown}");
        assert!(!shown.contains("sealed"), "{shown}");
    }
    let key_line = client_key.lines().nth(1).unwrap();
    for row in site.all_rows().await {
        let body = String::from_utf8_lossy(row.json()).into_owned();
        assert!(
            !body.contains("PRIVATE KEY") && !body.contains(key_line),
            "{body}"
        );
        assert!(!body.contains(&api_key["keyproof_tpm_".len()..]), "{body}");
    }
}

#[tokio::test]
async fn a_key_is_disabled_and_enabled_but_a_revocation_in_force_stays() {
    let (site, ..) = Site::start_furnished().await;
    let replace = async |spec| site.replace(API_KEYS, "station", spec).await;
    let spec = async || site.get(&format!("{API_KEYS}/station")).await.json["spec"].clone();
    replace(json!({ "is_disabled": true })).await.is(200);
    assert_eq!(spec().await["is_disabled"], true);
    replace(json!({ "need_mtls": true })).await.is(200);
    assert_eq!(spec().await["is_disabled"], false, "it is replaced");
    assert_eq!(spec().await["need_mtls"], false, "it is not");

    for wrong in ["yesterday", "2023-11-14", "2023-11-14T22:13:20"] {
        replace(json!({ "revoked_timestamp": wrong }))
            .await
            .refuses(400, 3);
    }
    // In the future, so it can be postponed.
    replace(json!({ "revoked_timestamp": "2023-11-14T23:00:00Z" }))
        .await
        .is(200);
    let later =
        json!({ "revoked_timestamp": "2023-11-14T23:13:20+00:00", "revoke_reason": "lost" });
    replace(later).await.is(200);
    assert_eq!(spec().await["revoked_timestamp"], "2023-11-14T23:13:20Z");
    site.clock.advance(Duration::from_secs(3600));
    for lifted in [
        json!({}),
        json!({ "revoked_timestamp": "2023-11-14T23:13:21Z" }),
    ] {
        replace(lifted).await.refuses(409, 6);
    }
    assert_eq!(spec().await["revoke_reason"], "lost");
    replace(json!({ "revoked_timestamp": "2023-11-14T22:00:00Z" }))
        .await
        .is(200);
    let trail = site.trail("tpm_api_key.replace").await;
    assert_eq!(trail.len(), 5, "{trail:?}");
}
