//! List queries: by labels, and with more than a summary.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::f5::{
    dialect::MANAGERS,
    site::{Answer, Site, begin_list},
};

async fn site() -> Site {
    let site = Site::start().await;
    for (name, labels) in [
        ("a", json!({ "env": "staging", "tier": "web" })),
        ("b", json!({ "env": "testing", "tier": "db" })),
        ("c", json!({ "env": "production", "tier": "web" })),
        ("d", json!({ "legacy": "" })),
    ] {
        let body = json!({ "metadata": { "name": name, "labels": labels } });
        site.post(MANAGERS, &body).await.is(200);
    }
    site
}

async fn list(site: &Site, parameter: &str, value: &str) -> Answer {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair(parameter, value);
    site.get(&format!("{MANAGERS}?{}", query.finish())).await
}

fn names(answer: &Answer) -> String {
    let items = answer.is(200).json["items"].as_array().unwrap().iter();
    items.map(|item| item["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_label_filter_selects_as_kubernetes_does() {
    let site = site().await;
    for (filter, found) in [
        ("", "abcd"),
        // The contract's own example.
        ("env in (staging, testing), tier in (web, db)", "ab"),
        ("tier=web", "ac"),
        ("tier==web,env!=staging", "c"),
        ("env notin (staging, testing)", "cd"),
        ("env", "abc"),
        ("!env", "d"),
        ("legacy=", "d"),
        ("env=nowhere", ""),
    ] {
        let answer = list(&site, "label_filter", filter).await;
        assert_eq!(names(&answer), found, "{filter}");
    }
    // Repeated filters must all match.
    let both = format!("{MANAGERS}?label_filter=tier%3Dweb&label_filter=env%3Dstaging");
    assert_eq!(names(&site.get(&both).await), "a");
    // An empty one is none, wherever it stands.
    for query in [
        "label_filter=&label_filter=env%3Dstaging",
        "label_filter=env%3Dstaging&label_filter=+&label_filter",
    ] {
        let answer = site.get(&format!("{MANAGERS}?{query}")).await;
        assert_eq!(names(&answer), "a", "{query}");
    }
}

#[tokio::test]
async fn a_label_filter_that_is_none_is_refused_where_it_goes_wrong() {
    let site = site().await;
    for (filter, says) in [
        (
            "env in staging",
            "label_filter: ( is expected at character 7",
        ),
        ("=web", "label_filter: a label is expected at character 0"),
        ("env > 3", "is expected at character 4"),
        ("tier=web,", "a label is expected at character 9"),
    ] {
        let answer = list(&site, "label_filter", filter).await;
        answer.refuses(400, 3).saying(says);
    }
}

/// Clients send no field name, or the one in the documentation's example.
#[tokio::test]
async fn whatever_report_fields_names_the_whole_object_is_told() {
    let site = site().await;
    for query in [
        "report_fields",
        "report_fields=",
        "report_fields=string",
        "report_fields=get_spec&report_fields=metadata",
    ] {
        let answer = site.get(&format!("{MANAGERS}?{query}")).await;
        let item = &answer.is(200).json["items"][0];
        assert!(item["get_spec"].is_object(), "{item}");
        assert!(item["metadata"].is_object(), "{item}");
        assert!(item["system_metadata"].is_object(), "{item}");
        assert_eq!(item["status_set"], json!([]));
    }
    for query in ["", "report_status_fields=string", "report_status_fields"] {
        let answer = site.get(&format!("{MANAGERS}?{query}")).await;
        let item = &answer.is(200).json["items"][0];
        assert_eq!(item["get_spec"], Value::Null);
        assert_eq!(item["status_set"], json!([]), "no service reports one");
    }
}

/// A list has no pages, and is in memory as a whole until its client has read it.
#[tokio::test]
async fn whoever_does_not_read_lists_has_few_of_them_in_all_namespaces_together() {
    const OTHERS: &str = "/api/tpm/namespaces/other/tpm_managers";
    let site = Site::start().await;
    // More than the system buffers for a client that does not read: each of these characters is six in JSON.
    let value = "\u{1}".repeat(1024);
    let annotations: BTreeMap<String, &str> = (0..165)
        .map(|number| (format!("note-{number}"), &*value))
        .collect();
    for path in [MANAGERS, OTHERS] {
        for number in 0..8 {
            let name = format!("manager-{number}");
            let body = json!({ "metadata": { "name": name, "annotations": annotations } });
            site.post(path, &body).await.is(200);
        }
    }
    let (address, authorization) = (site.server.address(), format!("APIToken {}", site.admin));
    let begun = |path| begin_list(address, path, &authorization);
    let unread = [begun(MANAGERS).await, begun(OTHERS).await];
    site.get(MANAGERS).await.refuses(503, 14);
    // No other token is refused, and nothing but lists.
    let other = format!("APIToken {}", site.operator_token(&["tpm"], None).await);
    let listed = site.call("GET", MANAGERS).authorization(&other).send();
    listed.await.is(200);
    site.get(&format!("{MANAGERS}/manager-1")).await.is(200);
    drop(unread);
    site.get(MANAGERS).await.is(200);
}
