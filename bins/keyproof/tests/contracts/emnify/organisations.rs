//! Organisations cannot see each other, whatever roles their members have.

use keyproof_service::accounts::Role;
use serde_json::json;

use crate::emnify::{
    dialect::{ADA, BOB, PASSWORD},
    site::Site,
};

#[tokio::test]
async fn a_super_administrator_of_another_organisation_reaches_nothing() {
    let site = Site::start().await;
    site.add("eve", "Another Org", Role::SuperAdmin).await;
    let ada = site.enrol(ADA).await;
    let eve = site.token("eve").await;
    let hers = site.number(ADA, &ada.token).await;
    let text = site.application_token(&ada.token, &json!({})).await;
    let listed = site.get("/api/v1/application_token").bearer(&ada.token);
    let number = listed.send().await.is(200).json[0]["id"].clone();

    for (method, path, body) in [
        ("DELETE", format!("user/{hers}/mfa/{}", ada.id), json!({})),
        ("GET", format!("user/{hers}/mfa/trusted_device"), json!({})),
        (
            "DELETE",
            format!("user/{hers}/mfa/trusted_device/1"),
            json!({}),
        ),
        ("GET", format!("user/{hers}"), json!({})),
        ("GET", format!("user/{ADA}"), json!({})),
        (
            "PATCH",
            format!("user/mfa/{}", ada.id),
            json!({ "status": { "id": 1 }, "code": 1 }),
        ),
        ("DELETE", format!("user/my/mfa/{}", ada.id), json!({})),
        (
            "PATCH",
            format!("application_token/{number}"),
            json!({ "status": { "id": 1 } }),
        ),
    ] {
        let call = site.call(method, &format!("/api/v1/{path}"));
        let answer = call.body(body.to_string()).send_as(&eve).await;
        answer.refuses(404, 1401, "not found");
    }
    let listed = site.get("/api/v1/application_token").send_as(&eve).await;
    assert_eq!(listed.is(200).json, json!([]));
    let listed = site.users(&eve).await;
    assert_eq!(listed.is(200).json.as_array().unwrap().len(), 1);
    assert_eq!(listed.json[0]["username"], "eve");

    let login = json!({ "application_token": text });
    site.authenticate(login).await.is(200);
    assert!(site.password(ADA, PASSWORD).await.is(200).json["mfa_token"].is_string());
}

#[tokio::test]
async fn both_kinds_of_administrators_manage_and_nobody_else() {
    for (role, may) in [
        (Role::SuperAdmin, true),
        (Role::Administrator, true),
        (Role::User, false),
        (Role::Observer, false),
    ] {
        let site = Site::start().await;
        site.add("otto", "Example Org", role).await;
        let ada = site.enrol(ADA).await;
        let otto = site.token("otto").await;
        let hers = site.number(ADA, &otto).await;
        site.trusting(ADA, &ada.phone, "laptop").await;
        let devices = format!("/api/v1/user/{hers}/mfa/trusted_device");
        let listed = site.get(&devices).send_as(&otto).await;
        let own = "/api/v1/user/my/mfa/trusted_device";
        let device = site.get(own).send_as(&ada.token).await;
        let device = device.is(200).json[0]["id"].clone();
        let removals = [
            format!("{devices}/{device}"),
            format!("/api/v1/user/{hers}/mfa/{}", ada.id),
        ];
        if may {
            assert_eq!(listed.is(200).json[0]["id"], device);
            for path in &removals {
                site.delete(path).send_as(&otto).await.is_empty(204);
            }
            site.token(ADA).await;
        } else {
            let words = "You do not have the necessary permissions to access this entry point. Please contact your administrator.";
            listed.says(403, 1104, "Forbidden", words);
            for path in &removals {
                let refused = site.delete(path).send_as(&otto).await;
                refused.says(403, 1104, "Forbidden", words);
            }
            site.challenge(ADA).await;
        }
        // A user's own key, by number, does not require an administrator.
        let his = site.number("otto", &otto).await;
        let path = format!("/api/v1/user/{his}/mfa/{}", site.pending("otto").await);
        site.delete(&path).send_as(&otto).await.is_empty(204);
    }
    let site = Site::start().await;
    let token = site.token(BOB).await;
    let me = site.get(&format!("/api/v1/user/{BOB}")).bearer(&token);
    let roles = me.send().await.is(200).json["roles"].clone();
    assert_eq!(roles, json!([{ "id": 1, "name": "Administrator" }]));
}
