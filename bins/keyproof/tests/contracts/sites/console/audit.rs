//! The audit trail as operators read it.

use std::time::Duration;

use keyproof_service::{
    accounts::{Role, UserChange},
    audit::Event,
};
use keyproof_store::Key;

use crate::{
    emnify::{
        dialect::{ADA, BOB, PASSWORD},
        site::{Site, begin},
    },
    sites::{browser::Browser, console::operator::Operator},
};

#[tokio::test]
async fn the_trail_is_filtered_by_time_who_what_and_tenant() {
    let site = Site::start().await;
    let (mut ada, mut bob) = (Browser::new(&site), Browser::new(&site));
    ada.sign_in(ADA).await.is(200);
    site.clock.advance(Duration::from_secs(3_600));
    bob.sign_in(BOB).await.is(200);
    site.change(BOB, UserChange::Suspend).await;
    let (mut ops, _) = Browser::of_operator(&site, &["audit-read"]).await;
    ops.get("/console/audit").await.is(200);
    for all in [
        "user.authenticate",
        "user.suspend",
        "operator_session.begin",
        "user.add",
    ] {
        ops.sees(&format!("<code>{all}</code>"));
    }
    // A token with its subject beside its name in the trail, and no link to pages that the scope does not allow.
    ops.sees("<bdi>test</bdi><br><bdi class=\"hint\">operator:");
    ops.sees_not("href=\"/console/users/");
    let (mut admin, _) = Browser::of_operator(&site, &["admin"]).await;
    admin.get("/console/audit?what=user.suspend").await.is(200);
    let link = admin.link_to("/console/users/");
    admin.get(&link).await.is(200);
    admin.sees(&format!("<h1>User <bdi>{BOB}</bdi></h1>"));
    // The time in seconds, and the request's id, whatever the browser.
    let login = site.password(ADA, PASSWORD).await;
    let request = login.is(200).header("x-request-id");
    ops.get("/console/audit?what=user.authenticate")
        .await
        .is(200);
    ops.sees(&format!("<code class=\"hint\">{request}</code>"));
    ops.sees("data-label=\"From, and request\"");
    ops.sees(">2023-11-14 23:13:30 UTC</time>");
    // By name, although the trail itself contains a number.
    ops.get(&format!("/console/audit?who=user:{ADA}"))
        .await
        .is(200);
    ops.sees(&format!("<bdi>user:{ADA}</bdi>"));
    ops.sees_not(&format!("<bdi>user:{BOB}</bdi>"));
    ops.get("/console/audit?what=user.suspend").await.is(200);
    ops.sees("<code>user.suspend</code>");
    ops.sees_not("<code>user.authenticate</code>");
    ops.get("/console/audit?outcome=refused").await.is(200);
    ops.sees("Nothing is found");
    ops.get("/console/audit?target=instance/default")
        .await
        .is(200);
    ops.sees("<code>instance.add</code>");
    ops.sees_not("<code>user.add</code>");
    ops.get("/console/audit?since=2099-01-01T00:00")
        .await
        .is(200);
    ops.sees("Nothing is found");
    ops.get("/console/audit?until=1999-01-01T00:00")
        .await
        .is(200);
    ops.sees("Nothing is found");
    ops.sees("<label for=\"since\">Since</label>");
    ops.sees("user:NAME, or as the table has it: operator:ID, instance:NAME, anonymous");
    // A phone shows the results at once, and repeating a search includes newer events.
    ops.sees("action=\"/console/audit#found\"");
    ops.sees("<p class=\"actions\" id=\"found\">");
    ops.sees("name=\"again\"");
    ops.get("/console/audit?until=1999-01-01T00:00&again=on")
        .await
        .is(200);
    ops.sees_not("name=\"again\"");
    ops.get("/console/audit?since=yesterday").await.is(422);
    ops.sees("A time is like");
    ops.sees_not("Nothing is found");
    ops.sees_not("id=\"found\"");
    ops.get("/console/audit?before=x").await.is(404);
}

#[tokio::test]
async fn long_trails_go_on_with_older_events() {
    let site = Site::start().await;
    unlocks(&site, 60).await;
    let (mut ops, _) = Browser::of_operator(&site, &["audit-read"]).await;
    ops.sees_a_light_page("/console/audit").await;
    let (mut path, mut told) = ("/console/audit?what=user.unlock".to_owned(), 0);
    for _ in 0..10 {
        ops.get(&path).await.is(200);
        told += ops.page.matches("<code>user.unlock</code>").count();
        let Some(next) = ops.next_page() else { break };
        path = next;
    }
    assert_eq!(told, 60);
}

/// Refusals with user, reason and address, and names of the maximum length.
#[tokio::test]
async fn a_page_of_fifty_refusals_of_long_names_is_light() {
    let site = Site::start().await;
    for number in 0..60 {
        site.clock.advance(Duration::from_secs(60));
        let name = format!("{number:03}.{}@example.org", "a".repeat(230));
        site.add(&name, "Example Org", Role::User).await;
        site.password(&name, "wrong horse").await.is(401);
    }
    let (mut ops, _) = Browser::of_operator(&site, &["audit-read"]).await;
    ops.sees_a_light_page("/console/audit?what=user.authenticate")
        .await;
    ops.sees("aaa…aaa");
    // The export has the complete text.
    ops.sign_in_as(&["audit"]).await;
    let path = "/console/audit/export?what=user.authenticate";
    ops.get(path).await.is(200);
    ops.sees(&"a".repeat(230));
}

#[tokio::test]
async fn it_is_followed_without_using_the_session_and_taken_along_by_whoever_may() {
    let site = Site::start().await;
    let (mut ops, _) = Browser::of_operator(&site, &["audit-read"]).await;
    ops.get("/console/audit").await.is(200);
    ops.sees("data-url=\"/console/audit/latest?");
    // The link is not shown, and the page is refused.
    ops.sees_not("/console/audit/export");
    ops.get("/console/audit/export").await.is(403);
    for _ in 0..14 {
        site.clock.advance(Duration::from_secs(60));
        ops.get("/console/audit/latest").await.is(200);
    }
    site.clock.advance(Duration::from_secs(60));
    ops.get("/console/audit/latest").await.is(303);

    ops.sign_in_as(&["audit"]).await;
    ops.get("/console/audit?what=user.add").await.is(200);
    ops.sees("/console/audit/export?what=user.add");
    Browser::of_ada(&site).await;
    let answer = ops
        .send("GET", "/console/audit/export?what=user.add", None)
        .await;
    assert_eq!(
        answer.is(200).header("content-type"),
        "application/x-ndjson"
    );
    assert!(
        answer
            .header("content-disposition")
            .starts_with("attachment")
    );
    assert_eq!(answer.header("cache-control"), "no-store");
    let text = std::str::from_utf8(&answer.body).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(lines.len() >= 2);
    assert!(lines.iter().all(|event| event["action"] == "user.add"));
    assert!(lines[0]["at"].as_str().unwrap().ends_with('Z'));
    assert!(!text.contains(PASSWORD));
}

impl Browser<'_> {
    /// Asserts that a page of fifty rows has less than 60 KiB with its stylesheet.
    async fn sees_a_light_page(&mut self, path: &str) {
        let page = self.get(path).await.is(200).body.len();
        assert_eq!(self.page.matches("<tr role=\"row\"><td").count(), 50);
        let style = self.link_to("/console/style.css");
        let style = Operator::clone(self).get(&style).await.is(200).body.len();
        assert!(page + style < 60 * 1024, "{page} bytes and {style}");
    }

    /// Returns the part of the page that a script replaces.
    fn events(&self) -> String {
        let (_, rest) = self.page.split_once("<div id=\"events\">").unwrap();
        rest.split_once("</div>").unwrap().0.to_owned()
    }

    /// Returns the contents of the exported file, and the URL of the next one.
    async fn file(&mut self, path: &str) -> (Vec<serde_json::Value>, usize, Option<String>) {
        let answer = self.send("GET", path, None).await;
        let link = answer.is(200).headers.get("link");
        let link = link.map(|link| link.to_str().unwrap().to_owned());
        let next = link.map(|link| {
            let (_, rest) = link.split_once('<').unwrap();
            rest.split('>').next().unwrap().to_owned()
        });
        let text = std::str::from_utf8(&answer.body).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        (lines.collect(), text.len(), next)
    }
}

#[tokio::test]
async fn a_trail_of_many_users_is_taken_along_by_name() {
    let site = Site::start().await;
    for number in 0..600 {
        let name = format!("user{number}");
        site.add(&name, "Example Org", Role::User).await;
    }
    let (mut ops, _) = Browser::of_operator(&site, &["audit"]).await;
    let (lines, _, _) = ops.file("/console/audit/export?what=user.add").await;
    let named = lines.iter().filter(|event| {
        let detail = event["detail"].as_str().unwrap();
        detail.starts_with("user") && detail.contains(" in Example Org")
    });
    assert_eq!(named.count(), 600);
}

/// As earlier releases stored them: with everything that the client had sent.
#[tokio::test]
async fn long_texts_stop_no_reader_and_are_told_cut() {
    const EACH: usize = 120_000;
    let site = Site::start().await;
    let like: Vec<_> = (0..600)
        .map(|user| format!("1:{user}:0000000000"))
        .collect();
    let like = like.join(" ");
    let long = "x".repeat(EACH);
    for number in 0..150 {
        let event: Event = serde_json::from_value(serde_json::json!({
            "at": site.now(),
            "action": "otp_device.add",
            "target": format!("instance/shop/device/{like}{long}"),
            "outcome": "done",
            "who": format!("instance:{number}"),
        }))
        .unwrap();
        let at = format!("{:016x}", site.now().as_millis());
        let key = Key::new("audit", ["_", &at, &format!("{number:016}")]);
        let mut batch = site.store.batch(site.now());
        batch.insert(&key, &event, None);
        site.store.commit(batch).await.unwrap();
    }
    let (mut ops, _) = Browser::of_operator(&site, &["audit"]).await;
    ops.get("/console/audit?what=otp_device.add").await.is(200);
    ops.sees("instance/shop/device/1:0:0000000000 1:1:");
    let (lines, length, next) = ops.file("/console/audit/export?what=otp_device.add").await;
    assert_eq!((lines.len(), next), (150, None));
    assert!(length < 150 * 1_000, "{length}");
}

/// A file is in memory as a whole until its client has read it.
#[tokio::test]
async fn whoever_does_not_read_files_has_few_of_them() {
    let site = Site::start().await;
    let detail = "x".repeat(900);
    // More than the system buffers for a client that does not read (`tcp_wmem`: 4 MiB).
    for _ in 0..9 {
        site.clock.advance(Duration::from_millis(1));
        let at = format!("{:016x}", site.now().as_millis());
        let mut batch = site.store.batch(site.now());
        for number in 0..1_000 {
            let event: Event = serde_json::from_value(serde_json::json!({
                "at": site.now(),
                "action": "otp_device.add",
                "target": "instance/shop/device/till",
                "outcome": "done",
                "who": "instance:shop",
                "detail": detail,
            }))
            .unwrap();
            let key = Key::new("audit", ["_", &at, &format!("{number:016}")]);
            batch.insert(&key, &event, None);
        }
        site.store.commit(batch).await.unwrap();
    }
    let (mut ops, _) = Browser::of_operator(&site, &["audit"]).await;
    let path = "/console/audit/export?what=otp_device.add";
    let (_, length, _) = ops.file(path).await;
    assert!(length >= 5 << 20, "{length}");
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: keyproof-console={}\r\n\r\n",
        ops.console().unwrap()
    );
    let address = site.server.address();
    let unread = [begin(address, &head).await, begin(address, &head).await];
    let is_file = |(_, beginning): &(_, [u8; 100])| beginning.starts_with(b"HTTP/1.1 200");
    assert!(unread.iter().all(is_file));
    ops.get(path).await.is(503);
    ops.sees("The server is busy");
    // Nothing but files is refused.
    ops.get("/console/audit").await.is(200);
    drop(unread);
    ops.file(path).await;
}

/// Adds this number of changes to the trail, one per minute.
async fn unlocks(site: &Site, times: usize) {
    for _ in 0..times {
        site.clock.advance(Duration::from_secs(60));
        site.change(ADA, UserChange::Unlock).await;
    }
}

/// Following continues after the displayed events, not after those that were displayed first.
#[tokio::test]
async fn a_trail_that_is_followed_goes_on_where_what_is_shown_ends() {
    let site = Site::start().await;
    unlocks(&site, 55).await;
    let (mut ops, _) = Browser::of_operator(&site, &["audit-read"]).await;
    ops.get("/console/audit?what=user.unlock").await.is(200);
    unlocks(&site, 10).await;
    ops.get("/console/audit/latest?what=user.unlock")
        .await
        .is(200);
    let moments = |events: &str| -> Vec<String> {
        let times = events.split("datetime=\"").skip(1);
        times
            .map(|rest| rest.split('"').next().unwrap().to_owned())
            .collect()
    };
    let shown = ops.events();
    let next = ops.next_page().unwrap();
    ops.get(&next).await.is(200);
    let (shown, older) = (moments(&shown), moments(&ops.events()));
    assert_eq!((shown.len(), older.len()), (50, 15));
    assert!(older[0] < shown[49], "{} {}", older[0], shown[49]);
}

#[tokio::test]
async fn a_page_that_goes_on_is_taken_along_from_there() {
    let site = Site::start().await;
    unlocks(&site, 60).await;
    let (mut ops, _) = Browser::of_operator(&site, &["audit"]).await;
    let download = "Download as JSON lines";
    ops.get("/console/audit?what=user.unlock").await.is(200);
    ops.sees("A file may be a part of what is found");
    let (path, next) = (ops.link(download), ops.next_page().unwrap());
    let (all, _, _) = ops.file(&path).await;
    ops.get(&next).await.is(200);
    // The form for the next file has the same search.
    ops.sees("Continue a download");
    ops.sees("<input type=\"hidden\" name=\"what\" value=\"user.unlock\">");
    let path = ops.link(download);
    let (rest, _, _) = ops.file(&path).await;
    assert_eq!((all.len(), rest.len()), (60, 10));
    assert_eq!(all[50..], rest[..]);
    // A file is continued by its name.
    let (_, before) = next.split_once("before=").unwrap();
    let export = "/console/audit/export?what=user.unlock&after_file=keyproof-audit";
    let path = format!("{export}-goes-on-before-{before}.jsonl");
    let (after, _, _) = ops.file(&path).await;
    assert_eq!(after, rest);
    let wrong = ops.send("GET", &format!("{export}.jsonl"), None).await;
    let page = wrong.is(303).location();
    ops.get(&page).await.is(422);
    ops.sees("id=\"after_file-error\">This is not the name of a file");
    ops.sees("value=\"keyproof-audit.jsonl\"");
    ops.sees("<details open>\n<summary>Continue a download");
}
