//! A store that fails below the pages. Every page and form is answered by a page of its site that reports the failure, nothing is
//! changed, and no session is lost.

use std::time::Duration;

use keyproof_service::{
    accounts::{NewUser, Role},
    otp_devices::DEFAULT_INSTANCE,
};
use keyproof_store::{
    Engine as _,
    faults::{CommitMode, FaultyEngine},
};

use super::console::operator::{Answer, Operator};
use crate::{
    f5::{
        device::Manufacturer,
        provision::furnished_on,
        site::{Site, command_line, secret},
    },
    site_routes::assert_complete,
};

const NAME: &str = "ada@example.org";
const PASSWORD: &str = "correct horse";

/// The statement for a user with a session, shown only where it is certain.
const STAYS: &str = "This did not sign you out.";

/// The pages that work without the store.
const WITHOUT: [&str; 4] = [
    "/account/help",
    "/account/sign-in",
    "/account/code",
    "/console/sign-in",
];

/// The forms that change nothing here, or whose objects do not exist.
const UNCHANGING: &[&str] = &[
    "/account/code",
    "/account/phone/remove",
    "/account/recovery-codes",
    "/account/devices/1/revoke",
    "/console/certificates/certificate/verify",
    "/console/tpms/default/managers/manager/makers/remove",
    "/console/tpms/default/managers/manager/delete",
    "/console/tpms/default/categories/category/allow",
    "/console/tpms/default/categories/category/disallow",
    "/console/tpms/default/categories/category/client/end-earlier",
    "/console/tpms/default/categories/category/delete",
    "/activate",
    "/remove-key",
    "/unlock",
];

fn template(path: &str) -> &str {
    path.split('?').next().unwrap()
}

/// The contents of a form.
enum Filled<'a> {
    Fields(Vec<(&'a str, &'a str)>),
    Parts(Vec<(&'a str, &'a [u8])>),
}

use Filled::{Fields, Parts};

/// A site with one object of each kind, and two users who are signed in.
struct Scene {
    engine: std::sync::Arc<FaultyEngine>,
    site: Site,
    ops: Operator,
    ada: Operator,
    token: String,
    /// The path of Ada's page in the console.
    user: String,
    /// The etag of the certificate.
    etag: String,
    /// The fingerprint of the category's client certificate.
    client: String,
    /// A fingerprint that matches nothing.
    zeros: String,
    maker: Manufacturer,
}

const CERTIFICATE: &str = "subscription=s&group=g&service=d&name=root";
const DEVICE: &str = "vendor=ExampleCorp&serial=SN0001";

impl Scene {
    async fn set() -> Self {
        let engine = FaultyEngine::new();
        let (site, key, device) = furnished_on(engine.clone()).await;
        site.activated(&key, &device).await;
        let new = NewUser {
            name: NAME.to_owned(),
            organisation: "Org".to_owned(),
            role: Role::User,
        };
        let accounts = &site.console.accounts;
        let command = command_line();
        let added = accounts.add_user(&new, secret(PASSWORD), &command);
        added.await.unwrap();
        let (mut ops, token) = site.operator(&["admin"]).await;
        let instance = format!("/console/tills/{DEFAULT_INSTANCE}");
        ops.get(&instance).await.is(200);
        let fields = [("id", "till"), ("algorithm", "1"), ("key", "")];
        ops.post(&format!("{instance}/devices"), &fields)
            .await
            .is(200);
        let maker = Manufacturer::new();
        let service = "/console/certificates/service?subscription=s&group=g&service=d";
        ops.get(service).await.is(200);
        let parts = [("name", &b"root"[..]), ("text", maker.root.as_bytes())];
        ops.upload(service, &parts).await.is(303);
        let certificate = format!("/console/certificates/certificate?{CERTIFICATE}");
        ops.get(&certificate).await.is(200);
        let etag = ops.hidden("etag").unwrap();
        let category = "/console/tpms/default/categories/category";
        ops.get(category).await.is(200);
        let client = ops.hidden("latest").unwrap();
        let to_list = ops.get("/console/users").await.is(303).location();
        ops.get(&to_list).await.is(200);
        let (_, rest) = ops
            .page
            .split_once("data-label=\"Name\"><a href=\"")
            .unwrap();
        let user = rest.split('"').next().unwrap().to_owned();
        let mut ada = Operator::at(site.server.address());
        ada.get("/account/sign-in").await.is(200);
        let fields = [("name", NAME), ("password", PASSWORD)];
        ada.post("/account/sign-in", &fields).await.is(303);
        ada.get("/account").await.is(200);
        Self {
            engine,
            site,
            ops,
            ada,
            token,
            user,
            etag,
            client,
            zeros: "00".repeat(32),
            maker,
        }
    }

    fn pages(&self) -> Vec<String> {
        let mut pages: Vec<String> = [
            "/account",
            "/account/help",
            "/account/sign-in",
            "/account/code",
            "/account/confirm",
            "/account/phone",
            "/account/recovery-codes",
            "/account/devices",
            "/account/password",
            "/account/activity",
            "/console",
            "/console/sign-in",
            "/console/confirm",
            "/console/tills",
            "/console/tills/default",
            "/console/tills/default/device?id=till",
            "/console/certificates",
            "/console/certificates/service?subscription=s&group=g&service=d",
            "/console/tpms",
            "/console/tpms/default",
            "/console/tpms/default/managers",
            "/console/tpms/default/managers/manager",
            "/console/tpms/default/categories",
            "/console/tpms/default/categories/category",
            "/console/tpms/default/keys",
            "/console/tpms/default/keys/station",
            "/console/users",
            "/console/users/add",
            "/console/audit",
            "/console/audit/latest",
            "/console/audit/export",
        ]
        .map(ToOwned::to_owned)
        .into();
        pages.push(format!("/console/certificates/certificate?{CERTIFICATE}"));
        pages.push(format!(
            "/console/tpms/default/managers/manager/device?{DEVICE}"
        ));
        pages.push(self.user.clone());
        pages.push(self.user.rsplit_once('/').unwrap().0.to_owned());
        pages
    }

    fn forms(&self) -> Vec<(String, Filled<'_>)> {
        let name_password = || Fields(vec![("name", NAME), ("password", PASSWORD)]);
        let root = self.maker.root.as_bytes();
        let zeros = &*self.zeros;
        let certificate =
            |what: &str| format!("/console/certificates/certificate/{what}?{CERTIFICATE}");
        let device =
            |what: &str| format!("/console/tpms/default/managers/manager/device/{what}?{DEVICE}");
        let user = |what: &str| format!("{}/{what}", self.user);
        let tpms = |what: &str| format!("/console/tpms/default/{what}");
        let password = || Fields(vec![("password", PASSWORD)]);
        let nothing = || Fields(Vec::new());
        vec![
            ("/account/sign-in".to_owned(), name_password()),
            ("/account/code".to_owned(), Fields(vec![("code", "123456")])),
            ("/account/sign-out".to_owned(), nothing()),
            ("/account/confirm".to_owned(), password()),
            ("/account/phone".to_owned(), password()),
            (
                "/account/phone/activate".to_owned(),
                Fields(vec![("key", "1"), ("code", "123456")]),
            ),
            (
                "/account/phone/remove".to_owned(),
                Fields(vec![("key", "1")]),
            ),
            ("/account/recovery-codes".to_owned(), password()),
            ("/account/devices/1/revoke".to_owned(), nothing()),
            (
                "/account/password".to_owned(),
                Fields(vec![
                    ("old", PASSWORD),
                    ("new", "battery staple"),
                    ("repeat", "battery staple"),
                ]),
            ),
            ("/account/sessions/end".to_owned(), nothing()),
            (
                "/console/sign-in".to_owned(),
                Fields(vec![("token", &self.token)]),
            ),
            ("/console/sign-out".to_owned(), nothing()),
            ("/console/sign-out/everywhere".to_owned(), nothing()),
            (
                "/console/confirm".to_owned(),
                Fields(vec![("token", &self.token), ("to", "")]),
            ),
            (
                "/console/tills".to_owned(),
                Fields(vec![("name", "kiosk"), ("password", PASSWORD)]),
            ),
            ("/console/tills/default/remove".to_owned(), nothing()),
            (
                "/console/tills/default/devices".to_owned(),
                Fields(vec![("id", "new"), ("algorithm", "1"), ("key", "")]),
            ),
            (
                "/console/tills/default/device/check?id=till".to_owned(),
                Fields(vec![("code", "12345678")]),
            ),
            (
                "/console/tills/default/device/remove?id=till".to_owned(),
                nothing(),
            ),
            (
                "/console/certificates/service?subscription=s&group=g&service=d".to_owned(),
                Parts(vec![("name", "new".as_bytes()), ("text", root)]),
            ),
            (certificate("code"), Fields(vec![("etag", &self.etag)])),
            (
                certificate("verify"),
                Parts(vec![("etag", self.etag.as_bytes()), ("text", root)]),
            ),
            (certificate("delete"), Fields(vec![("etag", &self.etag)])),
            (
                tpms("managers"),
                Parts(vec![("name", "new".as_bytes()), ("text", root)]),
            ),
            (tpms("managers/manager/makers"), Parts(vec![("text", root)])),
            (
                tpms("managers/manager/makers/remove"),
                Fields(vec![("fingerprint", zeros)]),
            ),
            (tpms("managers/manager/bundle/trust"), nothing()),
            (tpms("managers/manager/bundle/distrust"), nothing()),
            (tpms("managers/manager/delete"), nothing()),
            (device("relearn"), nothing()),
            (device("forget"), nothing()),
            (
                tpms("categories"),
                Parts(vec![
                    ("name", "new".as_bytes()),
                    ("manager", "manager".as_bytes()),
                    ("policy", "any".as_bytes()),
                ]),
            ),
            (
                tpms("categories/category/allow"),
                Parts(vec![("text", root)]),
            ),
            (
                tpms("categories/category/disallow"),
                Fields(vec![("fingerprint", zeros)]),
            ),
            (
                tpms("categories/category/registers"),
                Parts(vec![("policy", "any".as_bytes())]),
            ),
            (
                tpms("categories/category/client/renew"),
                Fields(vec![("latest", &self.client)]),
            ),
            (
                tpms("categories/category/client/end-earlier"),
                Fields(vec![("latest", &self.client)]),
            ),
            (tpms("categories/category/delete"), nothing()),
            (
                tpms("keys"),
                Fields(vec![("name", "new"), ("category", "category")]),
            ),
            (tpms("keys/station/disable"), nothing()),
            (tpms("keys/station/enable"), nothing()),
            (tpms("keys/station/revoke"), Fields(vec![("reason", "")])),
            (tpms("keys/station/delete"), nothing()),
            (
                "/console/users/add".to_owned(),
                Fields(vec![
                    ("organisation", "Org"),
                    ("name", "new"),
                    ("role", "User"),
                    ("password", PASSWORD),
                ]),
            ),
            (user("activate"), nothing()),
            (user("end-sessions"), nothing()),
            (user("remove-key"), nothing()),
            (user("suspend"), nothing()),
            (user("unlock"), nothing()),
        ]
    }

    /// Returns the user of this page.
    fn visitor(&self, path: &str) -> Operator {
        if path.starts_with("/account") {
            self.ada.clone()
        } else {
            self.ops.clone()
        }
    }

    async fn fill_in(&self, path: &str, filled: &Filled<'_>) -> (Operator, Answer) {
        let mut visitor = self.visitor(path);
        // A form before the sign-in is bound to another cookie.
        if ["/account/sign-in", "/account/code", "/console/sign-in"].contains(&path) {
            visitor = Operator::at(self.site.server.address());
            visitor
                .get(path.replace("code", "sign-in").as_str())
                .await
                .is(200);
        }
        let answer = match filled {
            Fields(fields) => visitor.post(path, fields).await,
            Parts(parts) => visitor.upload(path, parts).await,
        };
        (visitor, answer)
    }

    /// Asserts that both are still signed in.
    async fn stays(&self, after: &str) {
        for (visitor, home) in [(&self.ada, "/account"), (&self.ops, "/console")] {
            let status = visitor.clone().get(home).await.status;
            assert_eq!(status, 200, "{home} after {after}");
        }
    }
}

/// Asserts a page of the path's site that contains this text, and that no cookie is changed.
#[track_caller]
fn assert_page(visitor: &Operator, answer: &Answer, path: &str, says: &str) {
    let header = |name: &str| {
        answer
            .headers
            .get(name)
            .map(|value| value.to_str().unwrap())
    };
    assert_eq!(
        header("content-type"),
        Some("text/html; charset=utf-8"),
        "{path}"
    );
    assert_eq!(header("set-cookie"), None, "{path}");
    let site = &path[1..8];
    assert!(
        visitor.page.contains(&format!("href=\"/{site}/style.css")),
        "{path}: {}",
        visitor.page
    );
    assert!(visitor.page.contains(says), "{path}: {}", visitor.page);
    assert!(
        !visitor.page.contains("on purpose"),
        "{path} tells what is the log's"
    );
}

#[tokio::test]
async fn a_store_that_cannot_be_read_is_told_on_a_page_of_the_site() {
    let scene = Scene::set().await;
    let pages = scene.pages();
    for site in ["/account", "/console"] {
        assert_complete("GET", site, &pages);
    }
    scene.engine.fail_reads(true);
    for path in &pages {
        let mut visitor = scene.visitor(path);
        let answer = visitor.get(path).await;
        if WITHOUT.contains(&&**path) {
            assert!([200, 303].contains(&answer.status.as_u16()), "{path}");
            continue;
        }
        assert_eq!(answer.status, 503, "{path}");
        assert_eq!(answer.headers["retry-after"], "1", "{path}");
        assert_page(
            &visitor,
            &answer,
            path,
            "<h1>The database does not answer</h1>",
        );
    }
    for (path, filled) in scene.forms() {
        let (visitor, answer) = scene.fill_in(&path, &filled).await;
        assert_eq!(answer.status, 503, "{path}");
        assert_page(
            &visitor,
            &answer,
            &path,
            "<h1>The database does not answer</h1>",
        );
    }
    scene.engine.fail_reads(false);
    scene.stays("reads failed").await;
    for path in &pages {
        let status = scene.visitor(path).get(path).await.status;
        assert!([200, 303].contains(&status.as_u16()), "{path}: {status}");
    }
}

#[tokio::test]
async fn what_is_nowhere_is_told_without_the_store() {
    let scene = Scene::set().await;
    scene.engine.stall();
    for path in ["/account/nowhere", "/console/nowhere"] {
        let mut visitor = scene.visitor(path);
        visitor.get(path).await.is(404);
        visitor.sees(STAYS);
    }
    scene.engine.resume_reads();
    scene.stays("the store did not answer").await;
}

#[tokio::test]
async fn a_form_whose_change_is_not_made_says_so_and_leaves_all_as_it_was() {
    let scene = Scene::set().await;
    let forms = scene.forms();
    let paths: Vec<String> = forms.iter().map(|(path, _)| path.clone()).collect();
    for site in ["/account", "/console"] {
        assert_complete("POST", site, &paths);
    }
    for (fate, status, says) in [
        (
            CommitMode::NotApplied,
            503,
            "<h1>The database does not answer</h1>",
        ),
        (
            CommitMode::LostNotApplied,
            500,
            "<h1>It is not known whether it was done</h1>",
        ),
    ] {
        for (path, filled) in &forms {
            scene.engine.commits(fate);
            let (visitor, answer) = scene.fill_in(path, filled).await;
            scene.engine.commits(CommitMode::Made);
            if answer.status == status {
                assert_page(&visitor, &answer, path, says);
                if fate == CommitMode::LostNotApplied {
                    // The failed request may have ended a session.
                    visitor.sees_not(STAYS);
                }
            } else {
                // There was nothing to change: the form is rejected, or everything is already as requested.
                let is_refused = [303, 404, 409, 422].contains(&answer.status.as_u16());
                let changes_nothing = UNCHANGING.iter().any(|end| template(path).ends_with(end));
                assert!(is_refused && changes_nothing, "{path}: {}", answer.status);
            }
            scene.stays(path).await;
        }
    }
    // So everything still exists.
    let mut ops = scene.ops.clone();
    for path in [
        "/console/tills/default/device?id=till",
        "/console/tpms/default/keys/station",
        &scene.user,
    ] {
        ops.get(path).await.is(200);
    }
    ops.get("/console/tpms/default").await.is(200);
    for new in ["/new\"", ">new<"] {
        ops.sees_not(new);
    }
}

/// The session that a token in a form confirms replaces the former, so the page that is sent instead of the answer has its cookie.
#[tokio::test]
async fn a_form_past_its_deadline_may_be_carried_out_and_signs_nobody_out() {
    let engine = FaultyEngine::new();
    // The deadline also applies to the requests before and after.
    let deadline = ("http.handler_timeout_ms", 3_000.into());
    let site = Site::on(engine.clone(), &[deadline]).await;
    let (mut ops, token) = site.operator(&["instances"]).await;
    site.clock.advance(Duration::from_secs(300));
    // This stores the use of the session, so the form's first commit is the confirmation.
    ops.get("/console/tills").await.is(200);
    let before = ops.cookies.clone();
    let fields = [
        ("name", "kiosk"),
        ("password", PASSWORD),
        ("confirmation", &*token),
    ];
    let form = ops.post("/console/tills", &fields);
    let late = engine.overtake(form, async { engine.stall() }).await;
    late.is(500);
    ops.sees("The server was too slow");
    engine.resume_reads();
    assert_ne!(ops.cookies, before);
    ops.get("/console/tills").await.is(200);
}

/// The session may be valid, and the page makes no statement about it.
#[tokio::test]
async fn no_session_is_thrown_away_while_the_store_cannot_say_whether_it_lives() {
    let scene = Scene::set().await;
    scene.engine.fail_reads(true);
    for path in [
        "/account/sign-in?changed",
        "/account/sign-in?out",
        "/account/sign-in?over",
        "/console/sign-in?everywhere",
        "/console/sign-in?out",
        "/console/sign-in?over",
    ] {
        let mut visitor = scene.visitor(path);
        let before = visitor.cookies.clone();
        visitor.get(path).await.is(200);
        for (name, value) in before {
            assert_eq!(visitor.cookies.get(&name), Some(&value), "{path}");
        }
        visitor.sees_not("class=\"notice\"");
    }
    scene.engine.fail_reads(false);
    scene.stays("the sign-in pages were opened").await;
}

/// Its database answers, so another try would not help.
#[tokio::test]
async fn a_store_that_was_moved_is_not_said_to_be_away() {
    let scene = Scene::set().await;
    scene.engine.fence().await.unwrap();
    for (path, says) in [
        ("/account", "<h1>This server is no longer in use</h1>"),
        (
            "/console/tills",
            "<h1>This server serves its store no more</h1>",
        ),
    ] {
        let mut visitor = scene.visitor(path);
        let answer = visitor.get(path).await;
        assert_eq!(answer.status, 503, "{path}");
        assert_page(&visitor, &answer, path, says);
        visitor.sees_not("Try again");
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_told_in_german_too() {
    let scene = Scene::set().await;
    scene.engine.fail_reads(true);
    let mut ada = scene.ada.clone();
    ada.headers.push(("accept-language", "de".to_owned()));
    ada.get("/account").await.is(503);
    ada.sees("<h1>Die Datenbank antwortet nicht</h1>");
}
