//! A browser as far as the sites need one: it keeps cookies, follows links and fills in forms.

use std::collections::BTreeMap;

use keyproof_store::Timestamp;

use crate::emnify::{
    dialect::{ADA, PASSWORD, Phone},
    site::{Answer, Site},
};

pub(crate) struct Browser<'a> {
    pub(crate) site: &'a Site,
    pub(crate) cookies: BTreeMap<String, String>,
    /// The text of the last page.
    pub(crate) page: String,
    headers: Vec<(&'static str, String)>,
}

impl<'a> Browser<'a> {
    pub(crate) fn new(site: &'a Site) -> Self {
        Self {
            site,
            cookies: BTreeMap::new(),
            page: String::new(),
            headers: Vec::new(),
        }
    }

    /// Which sends this with each request.
    pub(crate) fn sending(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, None).await
    }

    /// Fills in the form on the last page, whose hidden fields it has.
    pub(crate) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let csrf = self.csrf().expect("a form on the page");
        self.post_with(path, &csrf, fields).await
    }

    pub(crate) async fn post_with(
        &mut self,
        path: &str,
        csrf: &str,
        fields: &[(&str, &str)],
    ) -> Answer {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("csrf", csrf).extend_pairs(fields);
        self.send("POST", path, Some(form.finish())).await
    }

    /// The same, and on to where the answer leads.
    pub(crate) async fn submit(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let answer = self.post(path, fields).await;
        let to = answer.is(303).header("location").to_owned();
        self.get(&to).await
    }

    pub(crate) async fn send(&mut self, method: &str, path: &str, form: Option<String>) -> Answer {
        let mut call = self.site.call(method, path).of_another_dialect();
        if !self.cookies.is_empty() {
            let pairs = self.cookies.iter();
            let pairs: Vec<_> = pairs
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            call = call.header("cookie", &pairs.join("; "));
        }
        for (name, value) in &self.headers {
            call = call.header(name, value);
        }
        if let Some(form) = form {
            let kind = "application/x-www-form-urlencoded";
            call = call.header("content-type", kind).body(form);
        }
        let answer = call.send().await;
        for cookie in answer.headers.get_all("set-cookie") {
            let cookie = cookie.to_str().unwrap();
            let (pair, attributes) = cookie.split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            match attributes.contains("Max-Age=0") {
                true => self.cookies.remove(name),
                false => self.cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
        assert_safe(&answer);
        // What leads elsewhere is no page.
        if answer.status != 303 {
            self.page = String::from_utf8(answer.body.to_vec()).unwrap();
        }
        answer
    }

    /// The value of a hidden field on the last page.
    pub(crate) fn hidden(&self, name: &str) -> Option<String> {
        let mark = format!("name=\"{name}\" value=\"");
        let (_, rest) = self.page.split_once(&mark)?;
        Some(rest.split('"').next().unwrap().to_owned())
    }

    pub(crate) fn csrf(&self) -> Option<String> {
        self.hidden("csrf")
    }

    #[track_caller]
    pub(crate) fn sees(&self, text: &str) {
        assert!(self.page.contains(text), "{text:?} is not in {}", self.page);
    }

    #[track_caller]
    pub(crate) fn sees_not(&self, text: &str) {
        assert!(!self.page.contains(text), "{text:?} is in {}", self.page);
    }

    /// The session's cookie.
    pub(crate) fn session(&self) -> Option<&str> {
        self.cookies.get("keyproof-account").map(|it| &**it)
    }

    /// Pastes a new token of these scopes into the console's form, and gives the token.
    pub(crate) async fn sign_in_as(&mut self, scopes: &[&str]) -> String {
        let token = self.site.operator_token(scopes, None).await;
        self.paste(&token).await.is(200);
        token
    }

    /// Pastes a token into the console's form.
    pub(crate) async fn paste(&mut self, token: &str) -> Answer {
        self.get("/console/sign-in").await.is(200);
        self.submit("/console/sign-in", &[("token", token)]).await
    }

    /// The console's session.
    pub(crate) fn console(&self) -> Option<&str> {
        self.cookies.get("keyproof-console").map(|it| &**it)
    }

    /// Types the password.
    pub(crate) async fn sign_in(&mut self, name: &str) -> Answer {
        self.get("/account/sign-in").await.is(200);
        let fields = [("name", name), ("password", PASSWORD)];
        self.submit("/account/sign-in", &fields).await
    }

    /// Types the password, and the code.
    pub(crate) async fn sign_in_with(&mut self, phone: &Phone, trust: bool) -> Answer {
        self.sign_in(ADA).await.is(200);
        let code = phone.shows(self.site.now());
        let mut fields = vec![("code", &*code)];
        if trust {
            fields.push(("trust", "on"));
        }
        self.submit("/account/code", &fields).await
    }

    /// Sets up a phone for Ada, who is signed in, without recovery codes.
    pub(crate) async fn set_up(&mut self) -> Phone {
        self.get("/account/phone").await.is(200);
        self.post("/account/phone", &[("password", PASSWORD)])
            .await
            .is(200);
        let (_, secret) = self.page.split_once("id=\"secret\">").unwrap();
        let phone = Phone::of(secret.split('<').next().unwrap());
        let key = self.hidden("key").unwrap();
        let code = phone.shows(self.site.now());
        let fields = [("key", &*key), ("code", &*code)];
        self.submit("/account/phone/activate", &fields)
            .await
            .is(200);
        self.next_step();
        phone
    }

    /// Waits until the phone shows another code.
    pub(crate) fn next_step(&self) -> Timestamp {
        self.site.clock.advance(std::time::Duration::from_secs(30));
        self.site.now()
    }
}

/// What every answer of a site has.
#[track_caller]
fn assert_safe(answer: &Answer) {
    let policy = answer.header("content-security-policy");
    for part in [
        "default-src 'none'",
        "style-src 'self'",
        "script-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(part), "{answer:?}");
    }
    assert!(
        !policy.contains("unsafe") && !policy.contains("http"),
        "{policy}"
    );
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("referrer-policy"), "same-origin");
    assert!(answer.headers.get("access-control-allow-origin").is_none());
    assert!(!answer.header("x-request-id").is_empty());
    if answer.header("content-type").starts_with("text/html") {
        assert_eq!(answer.header("cache-control"), "no-store", "{answer:?}");
        assert_eq!(answer.header("vary"), "Accept-Language, Cookie");
        let page = std::str::from_utf8(&answer.body).unwrap();
        // Nothing inline, and nothing of others.
        for wrong in [
            "<style",
            "style=",
            "onclick",
            "onload",
            "javascript:",
            "src=\"http",
            "href=\"http",
        ] {
            assert!(!page.contains(wrong), "{wrong} in {page}");
        }
        assert_eq!(
            page.matches("<script").count(),
            page.matches("<script src=\"/").count()
        );
    }
}
