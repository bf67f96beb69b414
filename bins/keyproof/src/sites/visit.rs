//! A visit: one request to a site, with its sender, its form and its cookies.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, header};
use keyproof_http::{BoxFuture, Exchange, Response};
use keyproof_service::{Origin, Service, audit::Cursor};
use zeroize::Zeroizing;

use super::{
    cookies::Cookie,
    csrf,
    form::{CSRF, Form},
    language::Language,
    multipart::{Multipart, Part},
    refusal::{HandlerResult, Refusal},
    visitor::Connected,
};
use crate::{request_origin::origin, route_table::Variables};

/// The parameter that marks an address as made by another site's page. Our redirect adds it, because the later
/// request's headers no longer show it.
pub(super) const ELSEWHERE: &str = "elsewhere";

/// A site, as its visits use it.
pub(super) trait Site: Send + Sync + Sized + 'static {
    /// The cookie that binds the forms of visitors who are not signed in.
    const VISITOR: Cookie;

    /// A part of the site that a person may or may not see.
    type Area: Copy + Send + Sync + 'static;

    /// A person who is signed in.
    type Signed: Bound + Send;

    fn service(&self) -> &Service;

    /// Returns the sender, if they are signed in and may see this area.
    fn signed(
        visit: Visit<Self, ()>,
        area: Self::Area,
    ) -> impl Future<Output = Result<Visit<Self, Self::Signed>, Refusal>> + Send;

    /// The same, for a request that a page makes by itself.
    fn watching(
        visit: Visit<Self, ()>,
        area: Self::Area,
    ) -> impl Future<Output = Result<Visit<Self, Self::Signed>, Refusal>> + Send {
        Self::signed(visit, area)
    }

    /// Makes a change once its form has been received, which may take a while: someone who has signed out meanwhile
    /// changes nothing.
    fn change(
        visit: Visit<Self, Self::Signed>,
        change: fn(Visit<Self, Self::Signed>) -> BoxFuture<HandlerResult>,
    ) -> impl Future<Output = HandlerResult> + Send;
}

/// A request to the site `S`, sent by `W`.
pub(super) struct Visit<S, W> {
    pub(super) site: Arc<S>,
    pub(super) who: W,
    pub(super) origin: Origin,
    pub(super) exchange: Exchange,
    pub(super) language: Language,
    connected: Connected,
    /// The values of the path's variables.
    variables: Variables,
    /// The longest body that is read, in bytes.
    body: usize,
    filled: Filled,
}

/// The fields of a page's form.
#[derive(Clone, Copy)]
pub(super) enum Fields {
    /// Lines of text.
    Lines(&'static [&'static str]),
    /// Lines of text and files.
    Parts(&'static [Part]),
}

/// A submitted form.
enum Filled {
    Nothing,
    Lines(Form),
    Parts(Multipart),
}

impl Filled {
    fn text(&self, field: &str) -> &str {
        match self {
            Self::Nothing => "",
            Self::Lines(form) => form.text(field),
            Self::Parts(form) => form.text(field),
        }
    }
}

/// A visitor who is not signed in, or whose session has not been checked yet.
pub(super) struct Visitor {
    /// What their forms are bound to: the value of their cookie, or a new one.
    pub(super) visit: Zeroizing<String>,
    pub(super) is_new: bool,
}

/// Somebody whose forms are bound to a cookie's value.
pub(super) trait Bound {
    fn cookie(&self) -> &str;
}

impl Bound for Visitor {
    fn cookie(&self) -> &str {
        &self.visit
    }
}

impl<S: Site> Visit<S, ()> {
    /// Creates a visit, unless the connection can be overheard.
    pub(super) fn new(
        site: Arc<S>,
        exchange: Exchange,
        variables: Variables,
        body: usize,
        language: Language,
    ) -> Result<Self, Refusal> {
        let connected = Connected::of(&exchange);
        if connected == Connected::Exposed {
            return Err(Refusal::Insecure);
        }
        Ok(Self {
            site,
            who: (),
            origin: origin(&exchange),
            exchange,
            language,
            connected,
            variables,
            body,
            filled: Filled::Nothing,
        })
    }

    pub(super) fn visitor(self) -> Visit<S, Visitor> {
        let known = self.cookie(S::VISITOR);
        let is_new = known.is_none();
        let visit = known.unwrap_or_else(|| self.site.service().draw_text());
        self.by(Visitor { visit, is_new })
    }
}

impl<S: Site, W> Visit<S, W> {
    /// Returns the same visit with its sender.
    pub(super) fn by<V>(self, who: V) -> Visit<S, V> {
        Visit {
            site: self.site,
            who,
            origin: self.origin,
            exchange: self.exchange,
            language: self.language,
            connected: self.connected,
            variables: self.variables,
            body: self.body,
            filled: self.filled,
        }
    }

    /// Counts an expensive request against its address.
    pub(super) fn admit(&self) -> Result<(), Refusal> {
        Ok(self.site.service().accounts.admit(&self.origin)?)
    }

    /// Refuses a form whose head already shows that another site's page has sent it.
    pub(super) fn same_origin(&self) -> Result<(), Refusal> {
        let headers = self.exchange.headers();
        if csrf::is_same_origin(headers, self.connected.is_encrypted()) {
            Ok(())
        } else {
            Err(Refusal::Forged)
        }
    }

    pub(super) fn cookie(&self, cookie: Cookie) -> Option<Zeroizing<String>> {
        let value = cookie.value(self.exchange.headers(), self.connected.is_encrypted());
        value.map(|value| Zeroizing::new(value.to_owned()))
    }

    /// Sets a cookie, until the browser is closed or for a time.
    pub(super) fn keep(
        &self,
        response: &mut Response,
        cookie: Cookie,
        value: &str,
        lasting: Option<Duration>,
    ) {
        add_cookie(response, self.set_cookie(cookie, value, lasting));
    }

    /// Returns the header that sets a cookie.
    pub(super) fn set_cookie(
        &self,
        cookie: Cookie,
        value: &str,
        lasting: Option<Duration>,
    ) -> Option<HeaderValue> {
        cookie.set(value, lasting, self.connected.is_encrypted())
    }

    pub(super) fn forget(&self, response: &mut Response, cookie: Cookie) {
        add_cookie(response, cookie.forget(self.connected.is_encrypted()));
    }

    /// Returns the value of the path's variable `{name}`; empty if there is none.
    pub(super) fn named(&self, name: &str) -> &str {
        let mut variables = self.variables.iter();
        let found = variables.find(|(known, _)| *known == name);
        found.map_or("", |(_, value)| value)
    }

    /// Whether the address was made by one of our pages, or typed, as far as can be known. Another site's could make us
    /// show false notices, delete the session's cookie, and prefill forms.
    pub(super) fn is_addressed_by_us(&self) -> bool {
        let is_marked = self.exchange.query().first(ELSEWHERE).is_some();
        !is_marked && !csrf::is_cross_site(self.exchange.headers())
    }

    /// Returns a parameter of an address that one of our pages made.
    pub(super) fn sent_with(&self, parameter: &str) -> Option<&str> {
        let sent = self.exchange.query().first(parameter);
        sent.filter(|_| self.is_addressed_by_us())
    }

    /// Whether one of our pages sent the browser here with this parameter.
    pub(super) fn is_sent_with(&self, parameter: &str) -> bool {
        self.sent_with(parameter).is_some()
    }

    /// Returns where to continue in the audit trail, if the address has it.
    pub(super) fn before(&self) -> Result<Option<Cursor>, Refusal> {
        let before = self.exchange.query().first("before");
        let before = before.map(str::parse::<Cursor>).transpose();
        before.map_err(|_| Refusal::NotFound)
    }

    /// Returns a field's text.
    pub(super) fn typed(&self, field: &str) -> &str {
        self.filled.text(field)
    }

    /// Whether a field has text, or a file was chosen.
    pub(super) fn is_filled_in(&self, field: &str) -> bool {
        match &self.filled {
            Filled::Nothing => false,
            Filled::Lines(form) => !form.text(field).is_empty(),
            Filled::Parts(form) => !form.bytes(field).is_empty(),
        }
    }

    /// Returns the chosen file, or the text instead; empty without either, or with blanks for a text.
    pub(super) fn uploaded(&self) -> &[u8] {
        let Filled::Parts(form) = &self.filled else {
            return &[];
        };
        match form.bytes("file") {
            [] => form.bytes("text").trim_ascii(),
            file => file,
        }
    }

    /// Returns a field's text, which is wiped after use.
    pub(super) fn secret(&self, field: &str) -> Zeroizing<String> {
        Zeroizing::new(self.typed(field).to_owned())
    }

    /// Returns a code without the spaces with which apps show it.
    pub(super) fn code(&self) -> Zeroizing<String> {
        let typed = self.typed("code").chars();
        Zeroizing::new(typed.filter(|c| !c.is_whitespace()).collect())
    }

    /// Whether a box is ticked.
    pub(super) fn is_ticked(&self, field: &str) -> bool {
        !self.typed(field).is_empty()
    }
}

impl<S: Site, W: Bound> Visit<S, W> {
    /// Returns the token for this visitor's forms.
    pub(super) fn csrf(&self) -> String {
        csrf::token(self.who.cookie())
    }

    /// Reads the form, if it comes from one of our pages that this visitor was shown.
    pub(super) async fn filled_in(mut self, fields: Fields) -> Result<Self, Refusal> {
        self.same_origin()?;
        let body = self.exchange.body(self.body).await?;
        let content_type = self.exchange.header(&header::CONTENT_TYPE);
        let filled = match fields {
            Fields::Lines(names) => {
                let body = Zeroizing::new(Vec::from(body));
                Filled::Lines(Form::parse(content_type, &body, names)?)
            }
            Fields::Parts(parts) => {
                Filled::Parts(Multipart::parse(content_type, body, parts).await?)
            }
        };
        if !csrf::is_of(self.who.cookie(), filled.text(CSRF)) {
            return Err(Refusal::Forged);
        }
        self.filled = filled;
        Ok(self)
    }
}

impl<S: Site> Visit<S, Visitor> {
    /// Sets a new visitor's cookie, which their forms are bound to.
    pub(super) fn bind(&self, response: &mut Response) {
        if self.who.is_new {
            self.keep(response, S::VISITOR, &self.who.visit, None);
        }
    }
}

/// Whether the request has a cookie.
pub(super) fn has_cookie(exchange: &Exchange, cookie: Cookie) -> bool {
    let connected = Connected::of(exchange);
    let value = cookie.value(exchange.headers(), connected.is_encrypted());
    value.is_some()
}

/// Adds the cookie's header, if it is valid.
pub(super) fn add_cookie(response: &mut Response, cookie: Option<HeaderValue>) {
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}
