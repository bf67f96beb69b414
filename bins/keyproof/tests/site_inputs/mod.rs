//! What somebody may type into the pages of the sites, or write into their addresses: scripts, what turns the direction of
//! reading round, control characters, and more than there is room for. Each is text or refused, and the server serves on.
#![allow(clippy::unwrap_used, reason = "test code")]

use form_urlencoded::byte_serialize;

use crate::{
    judging::Judged,
    stack::{Answer, Client},
};

/// What nobody means well.
fn inputs() -> Vec<String> {
    let mut inputs: Vec<_> = [
        "<script>alert(1)</script>",
        "\"'><img src=x onerror=alert(1)>",
        "\u{202e}gro.elpmaxe@ada\u{2066}",
        "\u{0}\u{7}\u{1b}[2J",
        "a\r\nSet-Cookie: keyproof-console=x",
        "../../../etc/passwd",
        "{{ frame.csrf }}",
        "' OR 1=1 --",
        "18446744073709551616",
        "-1",
    ]
    .map(ToOwned::to_owned)
    .into();
    inputs.push("ﷺ".repeat(600));
    inputs.push("x".repeat(9_000));
    inputs
}

/// Which answers there may be: a page, a way elsewhere, or a refusal; and nothing that a browser would take for ours.
#[track_caller]
fn is_tame(answer: &Answer, input: &str) {
    let status = answer.status;
    let is_known = [200, 303, 400, 403, 404, 413, 414, 422, 429, 431].contains(&status);
    assert!(is_known, "{input:?}: {answer:?}");
    for wrong in ["<script>alert", "<img src=x", "' or 1=1", "root:x:0"] {
        assert!(!answer.body.contains(wrong), "{input:?}: {answer:?}");
    }
    assert!(
        !answer.head.contains("keyproof-console=x"),
        "{input:?}: {answer:?}"
    );
}

fn written(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}

async fn ask(judged: &Judged, method: &str, target: &str, cookies: &str, form: &str) -> Answer {
    let length = form.len();
    let mut client = Client::connect(judged.address()).await;
    client
        .send(format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookies}\r\nContent-Length: {length}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}"
        ))
        .await;
    client.answer().await
}

/// Sends a form with parts, each of which has this in it.
async fn upload(
    judged: &Judged,
    target: &str,
    cookies: &str,
    csrf: &str,
    fields: &[&str],
    input: &str,
) -> Answer {
    let mut form = String::new();
    for (name, value) in [("csrf", csrf)]
        .into_iter()
        .chain(fields.iter().map(|name| (*name, input)))
    {
        form.push_str(&format!(
            "--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        ));
    }
    form.push_str("--x--\r\n");
    let length = form.len();
    let mut client = Client::connect(judged.address()).await;
    client
        .send(format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookies}\r\nContent-Length: {length}\r\n\
             Content-Type: multipart/form-data; boundary=x\r\n\r\n{form}"
        ))
        .await;
    client.answer().await
}

/// What a hidden field of a page has in it.
fn csrf(page: &Answer) -> &str {
    let (_, rest) = page.body.split_once("name=\"csrf\" value=\"").unwrap();
    rest.split('"').next().unwrap()
}

#[tokio::test]
async fn what_is_typed_into_the_sites_is_text_or_refused() {
    let judged = Judged::start(8).await;
    let session = judged.console_session().await;
    let cookies = format!("keyproof-console={session}");
    let start = ask(&judged, "GET", "/console", &cookies, "").await;
    assert_eq!(start.status, 200, "{start:?}");
    let csrf = csrf(&start).to_owned();
    for input in inputs() {
        let typed = written(&input);
        for target in [
            format!("/console/users?after={typed}"),
            format!("/console/users/{typed}"),
            format!("/console/users/{typed}/{typed}"),
            format!("/console/users/add?organisation={typed}"),
            format!("/console/audit?who={typed}&what={typed}&target={typed}"),
            format!("/console/audit?since={typed}&until={typed}&before={typed}"),
            format!("/console/audit/export?target={typed}&outcome={typed}"),
            format!("/console/confirm?to={typed}"),
            format!("/console/tills?after={typed}"),
            format!("/console/tills/{typed}"),
            format!("/console/tills/default/device?id={typed}&price={typed}"),
            format!("/console/certificates?subscription={typed}&group={typed}&service={typed}"),
            format!(
                "/console/certificates/service?subscription={typed}&group={typed}&service={typed}"
            ),
            format!(
                "/console/certificates/certificate?subscription={typed}&group={typed}&service={typed}&name={typed}"
            ),
            format!("/console/tpms?namespace={typed}&after={typed}&done={typed}"),
            format!("/console/tpms/{typed}"),
            format!("/console/tpms/default/managers/{typed}?vendor={typed}&serial={typed}"),
            format!(
                "/console/tpms/default/managers/m/device?vendor={typed}&serial={typed}&at={typed}"
            ),
            format!("/console/tpms/default/categories?manager={typed}"),
            format!("/console/tpms/default/categories/{typed}"),
            format!("/console/tpms/default/keys?category={typed}"),
            format!("/console/tpms/default/keys/{typed}"),
            format!("/console/{typed}"),
            format!("/account/{typed}?lang={typed}"),
        ] {
            is_tame(&ask(&judged, "GET", &target, &cookies, "").await, &input);
        }
        for (path, fields) in [
            ("/console/sign-in", format!("token={typed}")),
            ("/console/confirm", format!("token={typed}&to={typed}")),
            ("/console/tills", format!("name={typed}&password={typed}")),
            (
                "/console/tills/default/devices",
                format!("id={typed}&description={typed}&algorithm={typed}&key={typed}"),
            ),
            (
                "/console/tills/default/devices",
                format!("id={typed}&description={typed}&algorithm=1&key="),
            ),
            (
                "/console/tpms/default/keys",
                format!("name={typed}&category={typed}&description={typed}&mtls={typed}"),
            ),
            (
                "/console/tpms/default/managers/m/makers/remove",
                format!("fingerprint={typed}"),
            ),
            (
                "/console/tpms/default/categories/c/disallow",
                format!("fingerprint={typed}"),
            ),
            (
                "/console/tpms/default/keys/k/revoke",
                format!("reason={typed}"),
            ),
            (
                "/console/users/add",
                format!("organisation={typed}&name={typed}&role={typed}&password={typed}"),
            ),
            (
                "/console/users/add",
                format!("organisation={typed}&name={typed}&role=User&password=correct+horse"),
            ),
        ] {
            let form = format!("csrf={csrf}&{fields}");
            is_tame(&ask(&judged, "POST", path, &cookies, &form).await, &input);
        }
        for (path, fields) in [
            ("managers", &["name", "description", "bundle", "text"][..]),
            ("managers/m/makers", &["text"]),
            (
                "categories",
                &[
                    "name",
                    "manager",
                    "description",
                    "policy",
                    "registers",
                    "text",
                ],
            ),
            ("categories/c/allow", &["file"]),
            ("categories/c/registers", &["policy", "registers"]),
        ] {
            let target = format!("/console/tpms/default/{path}");
            let answer = upload(&judged, &target, &cookies, &csrf, fields, &input).await;
            is_tame(&answer, &input);
        }
        // Whatever was taken for a name is shown as one.
        for target in [
            "/console/users",
            "/console/tills/default",
            "/console/tpms/default",
            "/console/audit",
        ] {
            is_tame(&ask(&judged, "GET", target, &cookies, "").await, &input);
        }
        let wild = format!(
            "keyproof-console={}",
            input.replace(['\r', '\n', '\0', '\u{7}', '\u{1b}'], "")
        );
        is_tame(&ask(&judged, "GET", "/console", &wild, "").await, &input);
    }
    let start = ask(&judged, "GET", "/console", &cookies, "").await;
    assert_eq!(start.status, 200, "{start:?}");
}
