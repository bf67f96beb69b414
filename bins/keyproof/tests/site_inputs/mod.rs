//! Inputs that users may type into forms or write into URLs: scripts, characters that change the text direction, control
//! characters, and texts that are too long. Each is shown as text or rejected, and the server keeps serving.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code")]

use form_urlencoded::{Serializer, byte_serialize};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};

use crate::{
    judging::{Judged, PASSWORD},
    site_routes::assert_complete,
    stack::{Answer, Client},
};

/// Returns hostile inputs.
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

/// Asserts that the answer is a page, a redirect or a refusal, without anything that a browser would take for our markup.
#[track_caller]
fn is_tame(answer: &Answer, input: &str) {
    let status = answer.status;
    let is_known = [200, 303, 400, 403, 404, 409, 413, 414, 422, 429, 431].contains(&status);
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

/// Fields and their values.
type Filled<'a> = Vec<(&'a str, &'a str)>;

/// A form and its values.
enum Form<'a> {
    Plain(String, Filled<'a>),
    /// A form that may contain a file.
    Parts(String, Filled<'a>),
}

use Form::{Parts, Plain};

impl Form<'_> {
    fn path(&self) -> &str {
        match self {
            Plain(path, _) | Parts(path, _) => path,
        }
    }

    /// Returns the body and its content type.
    fn body(&self, csrf: &str) -> (&'static str, String) {
        match self {
            Plain(_, fields) => {
                let mut form = Serializer::new(String::new());
                form.append_pair("csrf", csrf).extend_pairs(fields);
                ("application/x-www-form-urlencoded", form.finish())
            }
            Parts(_, fields) => {
                let mut form = String::new();
                for (name, value) in [("csrf", csrf)].iter().chain(fields) {
                    form.push_str(&format!(
                        "--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
                    ));
                }
                ("multipart/form-data; boundary=x", form + "--x--\r\n")
            }
        }
    }
}

/// A browser, with its cookies.
struct Visitor<'a> {
    judged: &'a Judged,
    cookies: String,
}

impl Visitor<'_> {
    async fn get(&self, target: &str) -> Answer {
        self.ask(&format!("GET {target} HTTP/1.1\r\n"), "").await
    }

    async fn fill_in(&self, form: &Form<'_>, csrf: &str) -> Answer {
        let (kind, body) = form.body(csrf);
        let (path, length) = (form.path(), body.len());
        let head =
            format!("POST {path} HTTP/1.1\r\nContent-Length: {length}\r\nContent-Type: {kind}\r\n");
        self.ask(&head, &body).await
    }

    async fn ask(&self, head: &str, body: &str) -> Answer {
        let cookies = &self.cookies;
        let request = format!("{head}Host: localhost\r\nCookie: {cookies}\r\n\r\n{body}");
        let mut client = Client::connect_with(self.judged.address(), request).await;
        client.answer().await
    }

    /// Returns the CSRF token of the page's forms.
    async fn csrf(&self, page: &str) -> String {
        hidden(&self.get(page).await, "csrf")
    }
}

/// Returns the value of a hidden field.
#[track_caller]
fn hidden(page: &Answer, name: &str) -> String {
    let mark = format!("name=\"{name}\" value=\"");
    let (_, rest) = page.body.split_once(&mark).expect(&page.body);
    rest.split('"').next().unwrap().to_owned()
}

/// Returns a CA certificate.
fn authority() -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "root");
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2140, 1, 1);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let certificate = params.self_signed(&KeyPair::generate().unwrap());
    certificate.unwrap().pem()
}

const SERVICE: &str = "/console/certificates/service?subscription=s&group=g&service=d";
const CERTIFICATE: &str = "subscription=s&group=g&service=d&name=root";

fn console_pages(typed: &str) -> Vec<String> {
    let of_service = format!("subscription={typed}&group={typed}&service={typed}");
    let of_device = format!("vendor={typed}&serial={typed}&at={typed}");
    let tail = |tail: &str| format!("/console/{tail}");
    vec![
        format!("/console?{typed}={typed}"),
        tail(typed),
        tail(&format!("sign-in?out={typed}&lang={typed}")),
        tail(&format!("confirm?to={typed}")),
        tail(&format!("tills?after={typed}")),
        tail(&format!("tills/{typed}?after={typed}")),
        tail(&format!("tills/default?after={typed}")),
        tail(&format!("tills/{typed}/device?id={typed}")),
        tail(&format!("tills/default/device?id={typed}&price={typed}")),
        tail(&format!("tills/default/device?id=till&price={typed}")),
        tail(&format!("certificates?{of_service}")),
        tail(&format!("certificates/service?{of_service}")),
        tail(&format!(
            "certificates/certificate?{of_service}&name={typed}"
        )),
        tail(&format!(
            "tpms?namespace={typed}&after={typed}&done={typed}"
        )),
        tail(&format!("tpms/{typed}")),
        tail(&format!(
            "tpms/default?left={typed}&vendor={typed}&serial={typed}"
        )),
        tail(&format!("tpms/{typed}/managers")),
        tail(&format!(
            "tpms/default/managers/{typed}?vendor={typed}&serial={typed}"
        )),
        tail(&format!(
            "tpms/default/managers/manager?vendor={typed}&serial={typed}"
        )),
        tail(&format!("tpms/default/managers/{typed}/device?{of_device}")),
        tail(&format!("tpms/default/managers/manager/device?{of_device}")),
        tail(&format!("tpms/default/categories?manager={typed}")),
        tail(&format!("tpms/default/categories/{typed}")),
        tail(&format!("tpms/default/keys?category={typed}")),
        tail(&format!("tpms/default/keys/{typed}")),
        tail(&format!("users?after={typed}")),
        tail(&format!("users/add?organisation={typed}")),
        tail(&format!("users/{typed}?name={typed}&page={typed}")),
        tail(&format!("users/1?name={typed}")),
        tail(&format!("users/{typed}/{typed}")),
        tail(&format!("users/1/{typed}?done={typed}")),
        tail(&format!("audit?who={typed}&what={typed}&target={typed}")),
        tail(&format!("audit?since={typed}&until={typed}&before={typed}")),
        tail(&format!("audit/latest?who={typed}&before={typed}")),
        tail(&format!("audit/export?target={typed}&outcome={typed}")),
    ]
}

fn console_forms<'a>(input: &'a str, typed: &str) -> Vec<Form<'a>> {
    let all =
        |names: &[&'a str]| -> Filled<'a> { names.iter().map(|name| (*name, input)).collect() };
    let plain = |path: String, names: &[&'a str]| Plain(format!("/console/{path}"), all(names));
    let parts = |path: String, names: &[&'a str]| Parts(format!("/console/{path}"), all(names));
    let of_service = format!("subscription={typed}&group={typed}&service={typed}");
    let of_device = format!("vendor={typed}&serial={typed}");
    let mut forms = vec![
        plain("confirm".to_owned(), &["token", "to"]),
        plain("tills".to_owned(), &["name", "password", "confirmation"]),
        Plain(
            "/console/tills".to_owned(),
            vec![("name", input), ("password", PASSWORD)],
        ),
        plain(format!("tills/{typed}/remove"), &[]),
        plain(
            format!("tills/{typed}/devices"),
            &["id", "description", "algorithm", "key"],
        ),
        plain(
            "tills/default/devices".to_owned(),
            &["id", "description", "algorithm", "key"],
        ),
        Plain(
            "/console/tills/default/devices".to_owned(),
            vec![
                ("id", input),
                ("description", input),
                ("algorithm", "1"),
                ("key", ""),
            ],
        ),
        plain(
            format!("tills/default/device/check?id={typed}"),
            &["code", "of"],
        ),
        plain(
            "tills/default/device/check?id=till".to_owned(),
            &["code", "of"],
        ),
        Plain(
            "/console/tills/default/device/check?id=till".to_owned(),
            vec![("code", "12345678"), ("of", input)],
        ),
        plain(format!("tills/default/device/remove?id={typed}"), &[]),
        parts(
            format!("certificates/service?{of_service}"),
            &["name", "text"],
        ),
        Parts(SERVICE.to_owned(), vec![("name", input), ("file", input)]),
        plain(
            "users/add".to_owned(),
            &["organisation", "name", "role", "password"],
        ),
        Plain(
            "/console/users/add".to_owned(),
            vec![
                ("organisation", input),
                ("name", input),
                ("role", "User"),
                ("password", PASSWORD),
            ],
        ),
    ];
    for (certificate, proof) in [
        (&*format!("{of_service}&name={typed}"), "text"),
        (CERTIFICATE, "file"),
    ] {
        let path = |action: &str| format!("certificates/certificate/{action}?{certificate}");
        forms.extend([
            plain(path("code"), &["etag"]),
            parts(path("verify"), &["etag", "code", proof]),
            plain(path("delete"), &["etag"]),
        ]);
    }
    for change in [
        "activate",
        "end-sessions",
        "remove-key",
        "suspend",
        "unlock",
    ] {
        forms.push(plain(format!("users/{typed}/{typed}/{change}"), &[]));
        forms.push(plain(format!("users/1/{typed}/{change}"), &[]));
    }
    for namespace in [typed, "default"] {
        let tpms = |path: &str| format!("tpms/{namespace}/{path}");
        let (manager, category, key) = (
            |what: &str| tpms(&format!("managers/{typed}/{what}")),
            |what: &str| tpms(&format!("categories/{typed}/{what}")),
            |what: &str| tpms(&format!("keys/{typed}/{what}")),
        );
        forms.extend([
            parts(tpms("managers"), &["name", "description", "bundle", "text"]),
            parts(manager("makers"), &["text"]),
            plain(manager("makers/remove"), &["fingerprint"]),
            plain(manager("bundle/trust"), &[]),
            plain(manager("bundle/distrust"), &[]),
            plain(manager("delete"), &[]),
            plain(format!("{}?{of_device}", manager("device/relearn")), &[]),
            plain(format!("{}?{of_device}", manager("device/forget")), &[]),
            parts(
                tpms("categories"),
                &[
                    "name",
                    "manager",
                    "description",
                    "policy",
                    "registers",
                    "text",
                ],
            ),
            parts(category("allow"), &["file"]),
            plain(category("disallow"), &["fingerprint"]),
            parts(category("registers"), &["policy", "registers"]),
            plain(category("delete"), &[]),
            plain(tpms("keys"), &["name", "category", "description", "mtls"]),
            plain(key("disable"), &[]),
            plain(key("enable"), &[]),
            plain(key("revoke"), &["reason"]),
            plain(key("delete"), &[]),
        ]);
    }
    // The same for objects that exist.
    let there = |path: &str| format!("tpms/default/{path}");
    forms.extend([
        parts(there("managers/manager/makers"), &["text"]),
        plain(there("managers/manager/makers/remove"), &["fingerprint"]),
        plain(
            there(&format!("managers/manager/device/relearn?{of_device}")),
            &[],
        ),
        plain(
            there(&format!("managers/manager/device/forget?{of_device}")),
            &[],
        ),
        parts(there("categories/category/allow"), &["text"]),
        plain(there("categories/category/disallow"), &["fingerprint"]),
        plain(there("categories/category/client/renew"), &["latest"]),
        plain(there("categories/category/client/end-earlier"), &["latest"]),
        parts(
            there("categories/category/registers"),
            &["policy", "registers"],
        ),
        Parts(
            "/console/tpms/default/categories/category/registers".to_owned(),
            vec![("policy", "expected"), ("registers", input)],
        ),
        plain(there("keys/station/revoke"), &["reason"]),
        // These end the session.
        plain("sign-out".to_owned(), &[]),
        plain("sign-out/everywhere".to_owned(), &[]),
    ]);
    forms
}

fn account_pages(typed: &str) -> Vec<String> {
    [
        "?lang=",
        "/help?lang=",
        "/sign-in?over&lang=",
        "/code?to=",
        "/confirm?to=",
        "/phone?",
        "/recovery-codes?activated=",
        "/devices?revoked=",
        "/password?",
        "/activity?before=",
        "/",
    ]
    .map(|page| format!("/account{page}{typed}"))
    .into()
}

/// `key` is the key of a phone whose activation is pending.
fn account_forms<'a>(input: &'a str, typed: &str, key: &'a str) -> Vec<Form<'a>> {
    let form = |path: &str, fields: Filled<'a>| Plain(format!("/account/{path}"), fields);
    vec![
        form("confirm", vec![("password", input), ("to", input)]),
        form("phone", vec![("password", input)]),
        form("phone/activate", vec![("key", input), ("code", input)]),
        form("phone/activate", vec![("key", key), ("code", input)]),
        form("phone/remove", vec![("key", input)]),
        form("recovery-codes", vec![("password", input), ("code", input)]),
        form(
            "recovery-codes",
            vec![("password", PASSWORD), ("code", input)],
        ),
        form(&format!("devices/{typed}/revoke"), vec![]),
        form(
            "password",
            vec![("old", input), ("new", input), ("repeat", input)],
        ),
        form(
            "password",
            vec![("old", PASSWORD), ("new", input), ("repeat", "x")],
        ),
        // These end the session, or change its token.
        form("sessions/end", vec![]),
        form("sign-out", vec![]),
    ]
}

/// Returns the forms that are sent without signing in.
fn entries(input: &str) -> [Form<'_>; 3] {
    [
        Plain(
            "/account/sign-in".to_owned(),
            vec![("name", input), ("password", input)],
        ),
        Plain(
            "/account/code".to_owned(),
            vec![("code", input), ("trust", input), ("to", input)],
        ),
        Plain("/console/sign-in".to_owned(), vec![("token", input)]),
    ]
}

fn paths<'a>(forms: impl IntoIterator<Item = &'a Form<'a>>) -> Vec<String> {
    forms
        .into_iter()
        .map(|form| form.path().to_owned())
        .collect()
}

/// Adds objects to view: a device of a till, and a certificate.
async fn furnish(judged: &Judged) {
    let _key = judged.api_key().await;
    let visitor = console(judged).await;
    let csrf = visitor.csrf("/console").await;
    let authority = authority();
    for form in [
        Plain(
            "/console/tills/default/devices".to_owned(),
            vec![("id", "till"), ("algorithm", "2"), ("key", "")],
        ),
        Parts(
            SERVICE.to_owned(),
            vec![("name", "root"), ("text", &authority)],
        ),
    ] {
        let answer = visitor.fill_in(&form, &csrf).await;
        assert!([200, 303].contains(&answer.status), "{answer:?}");
    }
    for page in [
        "/console/tills/default/device?id=till",
        &format!("/console/certificates/certificate?{CERTIFICATE}"),
        "/console/tpms/default/managers/manager",
        "/console/tpms/default/categories/category",
        "/console/tpms/default/keys/station",
    ] {
        let answer = visitor.get(page).await;
        assert_eq!(answer.status, 200, "{page}: {answer:?}");
    }
}

/// Signs in an operator.
async fn console(judged: &Judged) -> Visitor<'_> {
    let session = judged.console_session().await;
    let cookies = format!("keyproof-console={session}");
    Visitor { judged, cookies }
}

/// Submits each form, first with a forged CSRF token and then with the visitor's own, until one ends the session.
async fn fill_in_all(visitor: &Visitor<'_>, home: &str, forms: &[Form<'_>], input: &str) {
    let csrf = visitor.csrf(home).await;
    for form in forms {
        let forged = visitor.fill_in(form, input).await;
        is_tame(&forged, input);
        assert!(
            ![200, 303].contains(&forged.status),
            "{}: {forged:?}",
            form.path()
        );
    }
    for form in forms {
        is_tame(&visitor.fill_in(form, &csrf).await, input);
    }
}

#[tokio::test]
async fn what_is_typed_into_the_console_is_text_or_refused() {
    let judged = Judged::start(8).await;
    furnish(&judged).await;
    assert_complete("GET", "/console", &console_pages("x"));
    let forms = console_forms("x", "x");
    let [.., sign_in] = entries("x");
    assert_complete("POST", "/console", &paths(forms.iter().chain([&sign_in])));
    for input in inputs() {
        let typed = written(&input);
        let visitor = console(&judged).await;
        for target in console_pages(&typed) {
            is_tame(&visitor.get(&target).await, &input);
        }
        let forms = console_forms(&input, &typed);
        fill_in_all(&visitor, "/console", &forms, &input).await;
        assert_eq!(
            visitor.get("/console").await.status,
            303,
            "{input:?}: signed out"
        );
        // Inputs that were accepted as names are shown as names.
        let visitor = console(&judged).await;
        for target in [
            "/console",
            "/console/users",
            "/console/tills",
            "/console/tills/default",
            SERVICE,
            "/console/tpms",
            "/console/tpms/default",
            "/console/audit",
        ] {
            let answer = visitor.get(target).await;
            // With a single organisation there is no choice between them.
            let is_known = answer.status == 200 || target == "/console/users";
            assert!(is_known, "{input:?} {target}: {answer:?}");
            is_tame(&answer, &input);
        }
    }
}

#[tokio::test]
async fn what_is_typed_into_the_account_site_is_text_or_refused() {
    let judged = Judged::start(8).await;
    assert_complete("GET", "/account", &account_pages("x"));
    let forms = account_forms("x", "x", "1");
    let [sign_in, code, _] = entries("x");
    assert_complete(
        "POST",
        "/account",
        &paths(forms.iter().chain([&sign_in, &code])),
    );
    for (number, input) in inputs().into_iter().enumerate() {
        let typed = written(&input);
        // A new user for each input, because wrong passwords lock.
        let session = judged.account_session(&format!("ada{number}")).await;
        let visitor = Visitor {
            judged: &judged,
            cookies: format!("keyproof-account={session}; keyproof-visit=visit"),
        };
        for target in account_pages(&typed) {
            is_tame(&visitor.get(&target).await, &input);
        }
        let csrf = visitor.csrf("/account").await;
        let begin = Plain("/account/phone".to_owned(), vec![("password", PASSWORD)]);
        let scan = visitor.fill_in(&begin, &csrf).await;
        let key = hidden(&scan, "key");
        let forms = account_forms(&input, &typed, &key);
        fill_in_all(&visitor, "/account", &forms, &input).await;
        assert_eq!(
            visitor.get("/account").await.status,
            303,
            "{input:?}: signed out"
        );
    }
}

#[tokio::test]
async fn what_strangers_type_or_have_for_a_cookie_is_refused() {
    let judged = Judged::start(8).await;
    let visitor = |cookies: String| Visitor {
        judged: &judged,
        cookies,
    };
    for input in inputs() {
        let cookies = "keyproof-visit=visit; keyproof-console-visit=visit";
        let stranger = visitor(cookies.to_owned());
        for form in entries(&input) {
            let home = form.path().replace("code", "sign-in");
            let csrf = stranger.csrf(&home).await;
            let answer = stranger.fill_in(&form, &csrf).await;
            is_tame(&answer, &input);
            assert_ne!(answer.status, 303, "{input:?}: {answer:?}");
            assert_ne!(answer.status, 403, "{input:?}: {answer:?}");
        }
        let wild = input.replace(['\r', '\n', '\0', '\u{7}', '\u{1b}'], "");
        for site in ["account", "console"] {
            let of_site = visitor(format!("keyproof-{site}={wild}; keyproof-language={wild}"));
            is_tame(&of_site.get(&format!("/{site}")).await, &input);
        }
        let front = visitor(format!("keyproof-language={wild}"));
        let typed = written(&input);
        let head = format!("GET /?lang={typed} HTTP/1.1\r\nAccept: text/html\r\n");
        is_tame(&front.ask(&head, "").await, &input);
    }
    judged.is_healthy().await;
}
