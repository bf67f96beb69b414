//! `user`: lists, pages and single ones.

use keyproof_service::accounts::{Role, UserChange};
use serde_json::{Value, json};

use crate::emnify::{
    dialect::{ADA, BOB},
    site::Site,
};

#[tokio::test]
async fn a_user_is_shown_by_number_and_by_name() {
    let site = Site::start().await;
    let ada = site.enrol(ADA).await;
    let by_name = site
        .get(&format!("/api/v1/user/{ADA}"))
        .send_as(&ada.token)
        .await;
    let id = by_name.is(200).json["id"].as_u64().unwrap();
    let organisation = &by_name.json["organisation"];
    assert_eq!(organisation["name"], "Example Org");
    assert_eq!(
        by_name.json,
        json!({
            "id": id,
            "username": ADA,
            "name": ADA,
            "created": "2023-11-14T22:13:30.000Z",
            "status": { "id": 1, "description": "Active" },
            "organisation": organisation,
            "roles": [{ "id": 2, "name": "User" }],
            "mfa": [{
                "id": ada.id,
                "type": { "id": 0, "name": "Time-Based One-Time Password" },
                "status": { "id": 1, "name": "Active" },
                "creation_date": "2023-11-14T22:13:30.000Z",
                "activation_date": "2023-11-14T22:13:30.000Z",
            }],
        })
    );
    for path in [format!("/api/v1/user/{id}"), format!("/api/v1/user/{id}.0")] {
        let by_number = site.get(&path).send_as(&ada.token).await;
        assert_eq!(by_number.is(200).json, by_name.json);
    }
    site.add("eve", "Another Org", Role::SuperAdmin).await;
    for unknown in ["13", "nobody", "eve"] {
        let answer = site
            .get(&format!("/api/v1/user/{unknown}"))
            .send_as(&ada.token)
            .await;
        answer.refuses(404, 1401, &format!("User with id '{unknown}' not found"));
    }
}

#[tokio::test]
async fn keys_of_other_users_are_shown_to_administrators_alone() {
    let site = Site::start().await;
    let ada = site.enrol(ADA).await;
    site.add("carol", "Example Org", Role::User).await;
    let keys_of_ada = async |token: &str| {
        let get = async |path: &str| site.get(path).send_as(token).await;
        let one = get(&format!("/api/v1/user/{ADA}")).await;
        let number = one.is(200).json["id"].as_u64().unwrap();
        let same = get(&format!("/api/v1/user/{number}")).await;
        assert_eq!(same.is(200).json, one.json);
        let all = get(&format!("/api/v1/user?q=username:{ADA}")).await;
        assert_eq!(all.is(200).json, json!([one.json]));
        one.json.get("mfa").map(|keys| keys[0]["id"].clone())
    };
    let shown = Some(json!(ada.id));
    assert_eq!(keys_of_ada(&ada.token).await, shown);
    assert_eq!(keys_of_ada(&site.token(BOB).await).await, shown);
    assert_eq!(keys_of_ada(&site.token("carol").await).await, None);
}

#[tokio::test]
async fn users_come_filtered_sorted_and_in_pages() {
    let site = Site::start().await;
    site.add("carol@example.org", "Example Org", Role::Observer)
        .await;
    site.add("eve", "Another Org", Role::User).await;
    site.change(BOB, UserChange::Suspend).await;
    let token = site.token(ADA).await;
    let get = async |query: &str| {
        site.get(&format!("/api/v1/user?{query}"))
            .send_as(&token)
            .await
    };
    let names = async |query: &str| -> Vec<String> {
        let answer = get(query).await;
        let users = answer.is(200).json.as_array().unwrap();
        let name = |user: &Value| user["username"].as_str().unwrap().to_owned();
        users.iter().map(name).collect()
    };
    let carol = "carol@example.org";
    assert_eq!(names("sort=username").await, [ADA, BOB, carol]);
    assert_eq!(names("sort=-username&q=").await, [carol, BOB, ADA]);
    assert_eq!(names("sort=-status,username").await, [BOB, ADA, carol]);
    assert_eq!(names("q=status:2").await, [BOB]);
    assert_eq!(names("q=status:1,username:CAROL").await, [carol]);
    assert_eq!(names("q=status:3").await, [""; 0]);
    assert_eq!(names("sort=username&per_page=2&page=2").await, [carol]);
    assert_eq!(names("sort=username&per_page=2.0&page=2.0").await, [carol]);
    assert_eq!(names("q=status:2.0").await, [BOB]);
    let id = get("q=username:CAROL").await.json[0]["id"].clone();
    assert_eq!(names(&format!("q=id:{id}.0")).await, [carol]);
    let answer = get("sort=username&per_page=1&page=2&q=status:1").await;
    for (name, value) in [
        ("x-total-count", "2"),
        ("x-total-pages", "2"),
        ("x-current-page", "2"),
        ("x-count-per-page", "1"),
        ("x-filter", "status:1"),
        ("x-sort", "username"),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    let link = answer.header("link");
    for relation in ["first", "prev", "last"] {
        assert!(link.contains(&format!("rel=\"{relation}\"")), "{link}");
    }
    assert!(!link.contains("rel=\"next\""), "{link}");
    assert!(
        link.contains("</api/v1/user?page=1&per_page=1&q=status%3A1&sort=username>"),
        "{link}"
    );
    for bad in [
        "q=status",
        "q=role:1",
        "q=id:x",
        "q=id:4.5",
        "q=id:-1",
        "page=1.5",
        "per_page=+1",
        "q=status:x",
        "page=0",
        "page=x",
    ] {
        get(bad).await.refuses(422, 1301, "");
    }
    for bad in ["sort=role", "sort=--id"] {
        get(bad).await.refuses(422, 1302, "");
    }
}

#[tokio::test]
async fn a_listing_has_at_most_8_filters_4_sort_keys_and_10_000_rows() {
    let site = Site::start().await;
    let token = site.token(ADA).await;
    let get = async |query: &str| {
        site.get(&format!("/api/v1/user?{query}"))
            .send_as(&token)
            .await
    };
    let list = |item: &str, times: usize| vec![item; times].join(",");
    let (filters, keys) = (list("status:1", 8), list("username", 4));
    get(&format!("q={filters}&sort={keys}&page=10&per_page=1000"))
        .await
        .is(200);
    get("page=10000&per_page=1").await.is(200);
    get("per_page=1001")
        .await
        .refuses(422, 1301, "per_page, which is at most 1000");
    get(&format!("q={filters},status:1"))
        .await
        .refuses(422, 1301, "more than 8 filters");
    get(&format!("sort={keys},id"))
        .await
        .refuses(422, 1302, "more than 4 keys to sort by");
    for deep in [
        "page=101",
        "page=101&sort=username",
        "page=11&per_page=1000",
        "page=9223372036854775807",
    ] {
        let refused = get(deep).await;
        refused.refuses(422, 1301, "page times users a page is more than 10000");
    }
}

#[tokio::test]
async fn roles_and_statuses_are_those_of_the_contract() {
    let site = Site::start().await;
    let token = site.token(ADA).await;
    let get = async |path: &str| site.get(path).send_as(&token).await;
    assert_eq!(
        get("/api/v1/user/role").await.is(200).json,
        json!([
            { "id": 1, "name": "Administrator" },
            { "id": 2, "name": "User" },
            { "id": 3, "name": "Observer" },
        ])
    );
    assert_eq!(
        get("/api/v1/user/status").await.is(200).json,
        json!([
            { "id": 0, "description": "Activation Pending" },
            { "id": 1, "description": "Active" },
            { "id": 2, "description": "Suspended" },
            { "id": 3, "description": "Deleted" },
        ])
    );
}
