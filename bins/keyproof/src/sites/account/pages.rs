//! The pages' templates. They escape everything that comes from outside.

use std::net::IpAddr;

use keyproof_service::{
    accounts::{DeviceView, KeySummary},
    audit::{Event, Outcome},
};

use super::texts::Texts;
use crate::{
    qr::Drawing,
    sites::{
        asset::RELEASE,
        entries::Entries,
        moment::{Moment, moment},
        page::pages,
    },
};

/// What surrounds every page.
pub(super) struct Frame {
    pub(super) t: &'static Texts,
    pub(super) release: &'static str,
    /// The page's own path, at which it can be requested again.
    pub(super) here: &'static str,
    /// The page to return to, if this one asks for a confirmation first.
    pub(super) to: Option<&'static str>,
    /// The position at which the page of the activity begins, if its address has one.
    pub(super) begins: Option<String>,
    /// The user who is signed in.
    pub(super) user: Option<String>,
    /// The token in its forms.
    pub(super) csrf: String,
    pub(super) notice: Option<&'static str>,
    pub(super) entries: Entries,
}

impl Frame {
    /// Creates the frame of a page without a signed-in user and without a form.
    pub(super) fn of_nobody(t: &'static Texts, here: &'static str) -> Self {
        Self {
            t,
            release: RELEASE.as_str(),
            here,
            to: None,
            begins: None,
            user: None,
            csrf: String::new(),
            notice: None,
            entries: Entries::default(),
        }
    }

    /// Returns the menu: path, name, and whether it is the current page.
    fn menu(&self) -> [(&'static str, &'static str, bool); 6] {
        let t = self.t;
        let pages = [
            ("/account", t.overview),
            ("/account/phone", t.phone),
            ("/account/recovery-codes", t.recovery_codes),
            ("/account/devices", t.devices),
            ("/account/password", t.password),
            ("/account/activity", t.activity),
        ];
        pages.map(|(path, name)| (path, name, path == self.here))
    }

    /// Returns the page to return to; the overview by default.
    fn back(&self) -> &'static str {
        self.to.unwrap_or("/account")
    }

    /// Returns the languages: tag, name, and whether it is the current one.
    fn languages(&self) -> [(&'static str, &'static str, bool); 2] {
        self.t.language.offered()
    }
}

/// The state of a user's phone.
pub(super) enum State {
    /// None.
    None,
    /// A key that no code has confirmed yet.
    Pending {
        /// The key's number.
        key: u32,
    },
    /// A key whose codes are required.
    Active {
        /// The key's number.
        key: u32,
        /// When it became active.
        since: Moment,
    },
}

impl State {
    pub(super) fn of(key: Option<&KeySummary>) -> Self {
        match key {
            None => Self::None,
            Some(key) => match key.activated_at {
                None => Self::Pending { key: key.id },
                Some(at) => Self::Active {
                    key: key.id,
                    since: moment(at),
                },
            },
        }
    }

    pub(super) const fn is_active(&self) -> bool {
        matches!(self, Self::Active { .. })
    }
}

/// A row of the activity.
pub(super) struct EventRow {
    when: Moment,
    what: String,
    is_refused: bool,
    times: Option<String>,
    from: Vec<String>,
}

impl EventRow {
    pub(super) fn of(event: &Event, t: &Texts) -> Self {
        let count = event.count();
        Self {
            when: moment(event.last_at()),
            what: t.action(&event.action).to_owned(),
            is_refused: event.outcome == Outcome::Refused,
            times: (count > 1).then(|| t.times(count)),
            from: event.addresses().iter().map(IpAddr::to_string).collect(),
        }
    }
}

/// A row of the devices.
pub(super) struct DeviceRow {
    id: u32,
    browser: String,
    system: String,
    since: Moment,
    /// Whether the page is shown in this browser.
    is_this: bool,
}

impl DeviceRow {
    /// Creates a row; `this` is the number of the current browser's device.
    pub(super) fn of(device: DeviceView, this: Option<u32>, t: &Texts) -> Self {
        let or_unknown = |name: Option<String>| name.unwrap_or_else(|| t.unknown.to_owned());
        Self {
            id: device.id,
            browser: or_unknown(device.browser),
            system: or_unknown(device.operating_system),
            since: moment(device.trusted_at),
            is_this: Some(device.id) == this,
        }
    }
}

pages! {
    #[derive(::askama::Template)]
    pub(super) Frame;

    /// Asks for a user name and a password.
    SignIn("account/sign_in.html") {}
    /// Asks for a code.
    CodePage("account/code.html") {}
    /// Asks for the password again.
    Confirm("account/confirm.html") { has_phone: bool, }
    /// The overview.
    OverviewPage("account/overview.html") {
        state: State,
        may_decide: bool,
        locked: Option<String>,
        clock: String,
        codes_left: Option<String>,
        is_busy: bool,
        events: Vec<EventRow>,
    }
    /// The phone: none, pending or active.
    Phone("account/phone.html") { state: State, may_remove: bool, }
    /// A key's secret, which is shown only once.
    Scan("account/scan.html") { qr: Option<&'a Drawing>, secret: &'a str, uri: &'a str, key: u32, }
    /// How many recovery codes are left, and how to make new ones.
    Recovery("account/recovery.html") {
        is_active: bool,
        /// Whether the session may make some: otherwise a form would lose what was typed.
        may_decide: bool,
        codes_left: Option<String>,
        may_leave_code_out: bool,
    }
    /// Recovery codes, which are shown only once.
    MadeCodes("account/made_codes.html") {
        codes: Vec<&'a str>,
        file: &'a str,
    }
    /// The trusted devices.
    Devices("account/devices.html") { devices: Vec<DeviceRow>, }
    /// Asks for a new password.
    PasswordPage("account/password.html") { may_decide: bool, }
    /// The user's own audit trail.
    Activity("account/activity.html") { events: Vec<EventRow>, before: Option<String>, }
    /// Advice.
    Help("account/help.html") {}
    /// A refusal in place of a page.
    RefusalPage("account/refusal.html") {
        title: &'a str,
        text: &'a str,
        stays_signed_in: bool,
        request: Option<&'a str>,
    }
}
