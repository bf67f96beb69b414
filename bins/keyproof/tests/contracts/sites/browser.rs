//! A browser's actions at `/account`, and how an operator gets to `/console` from there.

use std::ops::{Deref, DerefMut};

use keyproof_store::Timestamp;

use super::console::operator::{Answer, Operator};
use crate::emnify::{
    dialect::{ADA, PASSWORD, Phone},
    site::Site,
};

/// The fields that change a user's password.
pub(crate) const ANOTHER_PASSWORD: [(&str, &str); 3] = [
    ("old", PASSWORD),
    ("new", "another horse"),
    ("repeat", "another horse"),
];

/// A browser at a site of emnify's contract, whose users sign in to `/account`.
pub(crate) struct Browser<'a> {
    pub(crate) site: &'a Site,
    operator: Operator,
}

impl Deref for Browser<'_> {
    type Target = Operator;

    fn deref(&self) -> &Operator {
        &self.operator
    }
}

impl DerefMut for Browser<'_> {
    fn deref_mut(&mut self) -> &mut Operator {
        &mut self.operator
    }
}

impl<'a> Browser<'a> {
    pub(crate) fn new(site: &'a Site) -> Self {
        let operator = Operator::at(site.server.address());
        Self { site, operator }
    }

    /// Returns a browser in which Ada has signed in with her password.
    pub(crate) async fn of_ada(site: &'a Site) -> Self {
        let mut browser = Self::new(site);
        browser.sign_in(ADA).await.is(200);
        browser
    }

    /// Returns a browser in which an operator has signed in with a new token of these scopes, and the token.
    pub(crate) async fn of_operator(site: &'a Site, scopes: &[&str]) -> (Self, String) {
        let mut browser = Self::new(site);
        let token = browser.sign_in_as(scopes).await;
        (browser, token)
    }

    /// Returns a copy of the browser, for parallel requests.
    pub(crate) fn operator(&self) -> Operator {
        self.operator.clone()
    }

    /// Adds a header to each request.
    pub(crate) fn sending(mut self, name: &'static str, value: &str) -> Self {
        self.operator.headers.push((name, value.to_owned()));
        self
    }

    /// Returns the session's cookie.
    pub(crate) fn session(&self) -> Option<&str> {
        self.cookies.get("keyproof-account").map(|it| &**it)
    }

    /// Signs in to the console with a new token of these scopes, and returns the token.
    pub(crate) async fn sign_in_as(&mut self, scopes: &[&str]) -> String {
        let token = self.site.operator_token(scopes, None).await;
        self.paste(&token).await.is(200);
        token
    }

    /// Submits a token in the console's sign-in form.
    pub(crate) async fn paste(&mut self, token: &str) -> Answer {
        self.get("/console/sign-in").await.is(200);
        self.submit("/console/sign-in", &[("token", token)]).await
    }

    /// Returns the console session's cookie.
    pub(crate) fn console(&self) -> Option<&str> {
        self.cookies.get("keyproof-console").map(|it| &**it)
    }

    /// Submits the name and the password.
    pub(crate) async fn sign_in(&mut self, name: &str) -> Answer {
        self.get("/account/sign-in").await.is(200);
        let fields = [("name", name), ("password", PASSWORD)];
        self.submit("/account/sign-in", &fields).await
    }

    /// Submits the password, and then the code.
    pub(crate) async fn sign_in_with(&mut self, phone: &Phone, trust: bool) -> Answer {
        self.sign_in(ADA).await.is(200);
        let code = phone.shows(self.site.now());
        let mut fields = vec![("code", &*code)];
        if trust {
            fields.push(("trust", "on"));
        }
        self.submit("/account/code", &fields).await
    }

    /// Submits a wrong password.
    pub(crate) async fn mistypes(&mut self, name: &str) -> Answer {
        self.get("/account/sign-in").await.is(200);
        let fields = [("name", name), ("password", "wrong horse")];
        self.post("/account/sign-in", &fields).await
    }

    /// Has a key drawn for a phone, and returns the phone with the key, and the key's number.
    pub(crate) async fn draw(&mut self) -> (Phone, String) {
        self.get("/account/phone").await.is(200);
        let fields = [("password", PASSWORD)];
        self.post("/account/phone", &fields).await.is(200);
        let phone = Phone::of(&self.text_of("secret"));
        (phone, self.hidden("key").unwrap())
    }

    /// Sets up a phone for Ada, who is signed in, without recovery codes.
    pub(crate) async fn set_up(&mut self) -> Phone {
        let (phone, key) = self.draw().await;
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
