//! `/account`: the owner of a second factor signs in, and sees to it themselves.
//!
//! Each rule is that of the use cases of `accounts`, which emnify's contract has too: who is locked, what a session that
//! has shown no factor may not decide, what ends what. This asks them, and says what they say in words.

mod pages;
mod phone;
mod refusal;
mod routes;
mod sign_in;
mod texts;

use std::{sync::Arc, time::Duration};

use askama::Template;
use http::{HeaderValue, Method, StatusCode, header};
use keyproof_http::{
    Application, BoxFuture, Exchange, RequestId, RequestPath, Response, StackRefusal,
};
use keyproof_service::{
    Accounts, Action, Failure, Origin, Service,
    accounts::{
        Browser, ChangePasswordError, Manager, PasswordChange, Person, RemoveDeviceError, Unproven,
        Whose,
    },
    audit::Found,
};
use keyproof_store::Timestamp;
use zeroize::Zeroizing;

use super::{
    asset::RELEASE,
    cookies::Cookie,
    csrf,
    form::{CSRF, Form},
    language::Language,
    page::{self, see_other},
    visitor::Connected,
};
use crate::dialect::origin;
use pages::{
    Activity, DeviceRow, Devices, EventRow, Frame, Help, OverviewPage, PasswordPage, RefusalPage,
    State, Wrong,
};
use refusal::{Refusal, retry_after};
use routes::{Operation, ROUTES};
use texts::Texts;

/// How long a chosen language is kept.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How far back the activity goes.
const ACTIVITY: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// How many events a page has.
const EVENTS: usize = 50;

/// How many the overview has.
const LATEST: usize = 5;

/// The site.
pub struct Account {
    service: Arc<Service>,
}

type Answered = Result<Response, Refusal>;

impl Account {
    /// Over these use cases.
    pub fn new(service: Arc<Service>) -> Self {
        Self { service }
    }

    async fn answer(&self, exchange: Exchange, context: &Context) -> Answered {
        let segments = exchange.path().segments();
        let segments = segments.map_err(|_| Refusal::NotFound)?;
        let resource = ROUTES.resource(&segments).ok_or(Refusal::NotFound)?;
        exchange.matched(resource.template());
        let route = resource.route(exchange.method());
        let route = route.ok_or_else(|| Refusal::Method(resource.allow()))?;
        if let Operation::Asset(asset) = &route.operation {
            return Ok(asset.answer(exchange.query().first("v")));
        }
        if context.connected == Connected::Exposed {
            return Err(Refusal::Insecure);
        }
        let id = resource.variable("id").and_then(|id| id.parse().ok());
        let visit = Visit {
            origin: origin(&exchange),
            id,
            body: route.body,
            form: None,
            exchange,
            service: Arc::clone(&self.service),
            language: context.language,
            connected: context.connected,
            who: (),
        };
        match &route.operation {
            // It was answered above.
            Operation::Asset(_) => Err(Refusal::NotFound),
            Operation::Open(show) => show(visit.visitor()).await,
            Operation::Enter(fields, enter) => {
                let visit = visit.visitor();
                // What costs a hash is counted against the address before it is read.
                visit.accounts().admit(&visit.origin)?;
                enter(visit.filled_in(fields).await?).await
            }
            Operation::Show(show) => show(visit.signed().await?).await,
            Operation::Change(fields, change) => {
                change(visit.signed().await?.filled_in(fields).await?).await
            }
        }
    }
}

/// What is known of a request by its head, and outlives it.
struct Context {
    language: Language,
    chosen: Option<Language>,
    connected: Connected,
    request_id: RequestId,
}

impl Context {
    fn of(exchange: &Exchange) -> Self {
        let connected = Connected::of(exchange);
        let chosen = exchange.query().first("lang").and_then(Language::of);
        let headers = exchange.headers();
        let kept = Cookie::Language.value(headers, connected.is_encrypted());
        let kept = kept.and_then(Language::of);
        Self {
            language: chosen
                .or(kept)
                .unwrap_or_else(|| Language::asked_for(headers)),
            chosen,
            connected,
            request_id: exchange.request_id(),
        }
    }
}

/// A request, and who has sent it.
struct Visit<W> {
    who: W,
    origin: Origin,
    /// The number in the path.
    id: Option<u32>,
    /// The longest body that is read, in bytes.
    body: usize,
    form: Option<Form>,
    exchange: Exchange,
    service: Arc<Service>,
    language: Language,
    connected: Connected,
}

/// Somebody who is not signed in, or not yet asked whether they are.
struct Visitor {
    /// What their forms are bound to: their cookie's value, or a new one's.
    visit: Zeroizing<String>,
    is_new: bool,
}

/// Somebody who is signed in.
struct Signed {
    /// Their cookie's value.
    cookie: Zeroizing<String>,
    browser: Browser,
}

/// What forms are bound to.
trait Bound {
    fn cookie(&self) -> &str;
    fn user(&self) -> Option<String>;
}

impl Bound for Visitor {
    fn cookie(&self) -> &str {
        &self.visit
    }

    fn user(&self) -> Option<String> {
        None
    }
}

impl Bound for Signed {
    fn cookie(&self) -> &str {
        &self.cookie
    }

    fn user(&self) -> Option<String> {
        Some(self.browser.session().name().to_owned())
    }
}

impl<W> Visit<W> {
    fn accounts(&self) -> &Accounts {
        &self.service.accounts
    }

    fn t(&self) -> &'static Texts {
        Texts::of(self.language)
    }

    fn is_encrypted(&self) -> bool {
        self.connected.is_encrypted()
    }

    fn cookie(&self, cookie: Cookie) -> Option<Zeroizing<String>> {
        let value = cookie.value(self.exchange.headers(), self.is_encrypted());
        value.map(|value| Zeroizing::new(value.to_owned()))
    }

    fn by<V>(self, who: V) -> Visit<V> {
        Visit {
            who,
            origin: self.origin,
            id: self.id,
            body: self.body,
            form: self.form,
            exchange: self.exchange,
            service: self.service,
            language: self.language,
            connected: self.connected,
        }
    }

    /// Tells the browser to keep this until it is closed, or so long.
    fn keep(
        &self,
        response: &mut Response,
        cookie: Cookie,
        value: &str,
        lasting: Option<Duration>,
    ) {
        add_cookie(response, cookie.set(value, lasting, self.is_encrypted()));
    }

    fn forget(&self, response: &mut Response, cookie: Cookie) {
        add_cookie(response, cookie.forget(self.is_encrypted()));
    }

    /// What was typed in a field.
    fn typed(&self, field: &str) -> &str {
        self.form.as_ref().map_or("", |form| form.text(field))
    }

    fn secret(&self, field: &str) -> Zeroizing<String> {
        Zeroizing::new(self.typed(field).to_owned())
    }

    /// A code as it was typed, without the blanks that apps show in it.
    fn code(&self) -> Zeroizing<String> {
        let typed = self.typed("code").chars();
        Zeroizing::new(typed.filter(|c| !c.is_whitespace()).collect())
    }

    fn says(&self, parameter: &str) -> bool {
        self.exchange.query().first(parameter).is_some()
    }
}

impl Visit<()> {
    fn visitor(self) -> Visit<Visitor> {
        let known = self.cookie(Cookie::Visit);
        let is_new = known.is_none();
        let visit = known.unwrap_or_else(|| self.service.draw_text());
        self.by(Visitor { visit, is_new })
    }

    async fn signed(self) -> Result<Visit<Signed>, Refusal> {
        let cookie = self.cookie(Cookie::Account);
        let cookie = cookie.ok_or(Refusal::SignInFirst)?;
        let browser = self.accounts().user_session(&cookie).await?;
        Ok(self.by(Signed { cookie, browser }))
    }
}

impl<W: Bound> Visit<W> {
    /// Reads the form, if it is from a page of ours that this visitor was shown.
    async fn filled_in(mut self, fields: &[&str]) -> Result<Self, Refusal> {
        let headers = self.exchange.headers();
        if !csrf::is_same_origin(headers, self.is_encrypted()) {
            return Err(Refusal::Forged);
        }
        let body = Zeroizing::new(Vec::from(self.exchange.body(self.body).await?));
        let content_type = self.exchange.header(&header::CONTENT_TYPE);
        let form = Form::parse(content_type, &body, fields)?;
        if !csrf::is_of(self.who.cookie(), form.text(CSRF)) {
            return Err(Refusal::Forged);
        }
        self.form = Some(form);
        Ok(self)
    }

    fn frame(&self, here: &'static str) -> Frame {
        Frame {
            t: self.t(),
            release: RELEASE.as_str(),
            here,
            user: self.who.user(),
            csrf: csrf::token(self.who.cookie()),
            notice: None,
            wrong: None,
            name: String::new(),
        }
    }

    /// The same, saying what is wrong with what was filled in.
    fn frame_with(&self, here: &'static str, field: &'static str, text: String) -> Frame {
        Frame {
            wrong: Some(Wrong { field, text }),
            ..self.frame(here)
        }
    }
}

impl Visit<Visitor> {
    async fn help(self) -> Answered {
        let frame = self.frame("/account/help");
        self.shown(render(&Help { frame: &frame }, StatusCode::OK)?)
    }

    /// A page for a visitor, who has from now on what its forms are bound to.
    fn shown(&self, mut response: Response) -> Answered {
        if self.who.is_new {
            self.keep(&mut response, Cookie::Visit, &self.who.visit, None);
        }
        Ok(response)
    }
}

impl Visit<Signed> {
    async fn person(&self, act: Action) -> Result<Person, Refusal> {
        let session = self.who.browser.session().clone();
        Ok(self.accounts().person(session, act, &self.origin).await?)
    }

    async fn manager(&self, act: Action) -> Result<Manager, Refusal> {
        let session = self.who.browser.session().clone();
        let manager = self
            .accounts()
            .manager(session, act, Whose::Mine, &self.origin);
        Ok(manager.await?)
    }

    async fn overview(self) -> Answered {
        let overview = self.accounts().overview(self.who.browser.session()).await?;
        let found = self.found(None, LATEST).await?;
        let t = self.t();
        let notice = if self.says("ended") {
            Some(t.sessions_ended)
        } else if self.says("removed") {
            Some(t.phone_removed)
        } else {
            None
        };
        let frame = Frame {
            notice,
            ..self.frame("/account")
        };
        let page = OverviewPage {
            frame: &frame,
            state: State::of(overview.user.key.as_ref()),
            may_decide: overview.may_decide,
            locked: overview.locked.map(|wait| t.locked(wait)),
            clock: match overview.clock_ahead {
                0 => t.clock_right.to_owned(),
                ahead => t.clock_off(ahead),
            },
            codes_left: overview.recovery_codes.map(|left| t.codes_left(left)),
            events: self.rows(&found).into_iter().take(LATEST).collect(),
        };
        render(&page, StatusCode::OK)
    }

    async fn activity(self) -> Answered {
        let before = self.exchange.query().first("before");
        let before = before.map(|text| text.parse().map(Timestamp::from_millis));
        let before = before.transpose().map_err(|_| Refusal::NotFound)?;
        let found = self.found(before, EVENTS).await?;
        let frame = self.frame("/account/activity");
        let page = Activity {
            frame: &frame,
            events: self.rows(&found),
            before: found.before.map(Timestamp::as_millis),
        };
        render(&page, StatusCode::OK)
    }

    /// The latest events of the user's own.
    async fn found(&self, before: Option<Timestamp>, most: usize) -> Result<Found, Refusal> {
        let session = self.who.browser.session();
        let search = session.search();
        let since = self.service.now().saturating_sub(ACTIVITY);
        let audit = &self.service.audit;
        Ok(audit.search(&search, before, since, most).await?)
    }

    fn rows(&self, found: &Found) -> Vec<EventRow> {
        let rows = found.events.iter();
        rows.map(|event| EventRow::of(event, self.t())).collect()
    }

    async fn devices(self) -> Answered {
        let manager = self.manager(Action::TrustedDeviceList).await?;
        let devices = self.accounts().devices(&manager).await?;
        let t = self.t();
        let notice = self.says("revoked").then_some(t.device_revoked);
        let frame = Frame {
            notice,
            ..self.frame("/account/devices")
        };
        let page = Devices {
            frame: &frame,
            devices: devices.into_iter().map(|it| DeviceRow::of(it, t)).collect(),
        };
        render(&page, StatusCode::OK)
    }

    async fn revoke_device(self) -> Answered {
        let id = self.id.ok_or(Refusal::NotFound)?;
        let manager = self.manager(Action::TrustedDeviceRemove).await?;
        self.accounts().remove_device(&manager, id).await?;
        Ok(see_other("/account/devices?revoked"))
    }

    async fn show_password(self) -> Answered {
        let frame = self.frame("/account/password");
        render(&PasswordPage { frame: &frame }, StatusCode::OK)
    }

    async fn change_password(self) -> Answered {
        let t = self.t();
        let wrong = |field, text: String| {
            let frame = self.frame_with("/account/password", field, text);
            render(
                &PasswordPage { frame: &frame },
                StatusCode::UNPROCESSABLE_ENTITY,
            )
        };
        if self.typed("new") != self.typed("repeat") {
            return wrong("repeat", t.passwords_differ.to_owned());
        }
        let person = self.person(Action::UserSetPassword).await?;
        let passwords = PasswordChange {
            old: self.secret("old"),
            new: self.secret("new"),
        };
        let changed = self
            .accounts()
            .change_password::<std::convert::Infallible>(&person, Ok(passwords));
        match changed.await {
            Ok(()) => {
                let mut response = see_other("/account/sign-in?changed");
                self.forget(&mut response, Cookie::Account);
                Ok(response)
            }
            Err(Failure::Refused(ChangePasswordError::Body(never))) => match never {},
            Err(Failure::Refused(ChangePasswordError::Password(error))) => {
                let is_short = matches!(error, keyproof_auth::AuthError::PasswordTooShort { .. });
                let text = if is_short {
                    t.password_short
                } else {
                    t.password_long
                };
                wrong("new", text.to_owned())
            }
            Err(Failure::Refused(ChangePasswordError::Undecided(why))) => Err(why.into()),
            Err(Failure::Refused(ChangePasswordError::Unproven(why))) => {
                let told = unproven(why, t)?;
                let field = if told.wait.is_some() { "" } else { "old" };
                Ok(locked(wrong(field, told.text)?, told.wait))
            }
            Err(Failure::Storage(error)) => Err(error.into()),
        }
    }

    async fn end_sessions(self) -> Answered {
        let person = self.person(Action::UserSessionsEnd).await?;
        let ended = self
            .accounts()
            .end_other_sessions(&person, &self.who.cookie);
        let token = ended.await?;
        let mut response = see_other("/account?ended");
        self.keep(&mut response, Cookie::Account, &token, None);
        Ok(response)
    }

    async fn sign_out(self) -> Answered {
        let ended = self
            .accounts()
            .end_user_session(&self.who.cookie, &self.origin);
        ended.await?;
        let mut response = see_other("/account/sign-in?out");
        self.forget(&mut response, Cookie::Account);
        self.forget(&mut response, Cookie::Visit);
        Ok(response)
    }
}

/// Why a password that was asked for again is not accepted.
struct NotAccepted {
    text: String,
    /// How long nothing is judged, if so.
    wait: Option<Duration>,
}

fn unproven(why: Unproven, t: &'static Texts) -> Result<NotAccepted, Refusal> {
    match why {
        Unproven::Hashing(error) => Err(error.into()),
        Unproven::Locked { wait } => Ok(NotAccepted {
            text: t.locked(wait),
            wait: Some(wait),
        }),
        Unproven::WrongPassword => Ok(NotAccepted {
            text: t.password_wrong.to_owned(),
            wait: None,
        }),
    }
}

/// The page of somebody who is locked, if they are.
fn locked(mut response: Response, wait: Option<Duration>) -> Response {
    if let Some(wait) = wait {
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        retry_after(&mut response, wait);
    }
    response
}

impl From<RemoveDeviceError> for Refusal {
    fn from(error: RemoveDeviceError) -> Self {
        match error {
            RemoveDeviceError::Undecided(why) => why.into(),
            RemoveDeviceError::Unknown => Self::NotFound,
            RemoveDeviceError::UserUnknown => Self::SignInFirst,
        }
    }
}

fn render(page: &impl Template, status: StatusCode) -> Answered {
    let text = page.render().map_err(|error| {
        tracing::error!(%error, "a page could not be written");
        Refusal::Broken
    })?;
    Ok(page::html(status, text))
}

fn add_cookie(response: &mut Response, cookie: Option<HeaderValue>) {
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}

/// A page in the place of the one that was asked for.
fn refused(refusal: &Refusal, language: Language, request_id: RequestId) -> Response {
    if let Some(location) = refusal.location() {
        return see_other(location);
    }
    let t = Texts::of(language);
    let (title, text) = refusal.words(t);
    let frame = Frame {
        t,
        release: RELEASE.as_str(),
        here: "/account/help",
        user: None,
        csrf: String::new(),
        notice: None,
        wrong: None,
        name: String::new(),
    };
    let request = request_id.to_string();
    let is_ours = refusal.status().is_server_error();
    let page = RefusalPage {
        frame: &frame,
        title,
        text: &text,
        request: is_ours.then_some(&*request),
    };
    let page = page.render().unwrap_or_default();
    let mut response = page::html(refusal.status(), page);
    refusal.stamp(&mut response);
    response
}

impl Application for Account {
    fn name(&self) -> &'static str {
        "account"
    }

    fn claims(&self, path: &RequestPath) -> bool {
        path.first() == Some("account")
    }

    fn handle(self: Arc<Self>, exchange: Exchange) -> BoxFuture<Response> {
        Box::pin(async move {
            let context = Context::of(&exchange);
            let is_post = *exchange.method() == Method::POST;
            let answered = self.answer(exchange, &context).await;
            let mut response =
                answered.unwrap_or_else(|why| refused(&why, context.language, context.request_id));
            if let Some(language) = context.chosen
                && !is_post
            {
                let is_encrypted = context.connected.is_encrypted();
                let cookie = Cookie::Language.set(language.tag(), Some(A_YEAR), is_encrypted);
                add_cookie(&mut response, cookie);
            }
            page::stamp(response)
        })
    }

    fn refuse(&self, refusal: StackRefusal, request_id: RequestId) -> Response {
        // Nobody has read what language is asked for.
        page::stamp(refused(&refusal.into(), Language::English, request_id))
    }
}
