//! The pages, as templates have them: everything that comes from outside is escaped by the template.

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

/// What every page has around it.
pub(super) struct Frame {
    pub(super) t: &'static Texts,
    pub(super) release: &'static str,
    /// The page's own path, where it can be asked for again.
    pub(super) here: &'static str,
    /// Where it leads back to, if it asks to be confirmed first.
    pub(super) to: Option<&'static str>,
    /// Who is signed in.
    pub(super) user: Option<String>,
    /// What its forms are bound to.
    pub(super) csrf: String,
    pub(super) notice: Option<&'static str>,
    pub(super) entries: Entries,
}

impl Frame {
    /// Around a page that nobody has signed in for, and that has no form.
    pub(super) fn of_nobody(t: &'static Texts, here: &'static str) -> Self {
        Self {
            t,
            release: RELEASE.as_str(),
            here,
            to: None,
            user: None,
            csrf: String::new(),
            notice: None,
            entries: Entries::default(),
        }
    }

    /// The pages of somebody who is signed in: path, name, and whether it is this one.
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

    /// Where it leads back to: the overview, if to nothing else.
    fn back(&self) -> &'static str {
        self.to.unwrap_or("/account")
    }

    /// The languages: tag, name, and whether it is this one.
    fn languages(&self) -> [(&'static str, &'static str, bool); 2] {
        self.t.language.offered()
    }
}

/// What there is of a phone.
pub(super) enum State {
    /// None.
    None,
    /// A key that no code was seen of.
    Pending {
        /// Its number.
        key: u32,
    },
    /// A key that is asked for.
    Active {
        /// Its number.
        key: u32,
        /// Since when.
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

/// A line of the activity.
pub(super) struct EventRow {
    when: Moment,
    what: String,
    is_refused: bool,
    times: Option<String>,
    from: Option<String>,
}

impl EventRow {
    pub(super) fn of(event: &Event, t: &Texts) -> Self {
        let count = event.count();
        Self {
            when: moment(event.last_at()),
            what: t.action(&event.action).to_owned(),
            is_refused: event.outcome == Outcome::Refused,
            times: (count > 1).then(|| t.times(count)),
            from: event.address.map(|address| address.to_string()),
        }
    }
}

/// A line of the devices.
pub(super) struct DeviceRow {
    id: u32,
    browser: String,
    system: String,
    since: Moment,
    /// Whether the page is shown in it.
    is_this: bool,
}

impl DeviceRow {
    /// With the number of the one that the page is shown in.
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

    /// A user name and a password are asked for.
    SignIn("account/sign_in.html") {}
    /// A code is asked for.
    CodePage("account/code.html") {}
    /// The password is asked for again.
    Confirm("account/confirm.html") { has_phone: bool, }
    /// What there is.
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
    /// A key's secret, this once.
    Scan("account/scan.html") { qr: Option<&'a Drawing>, secret: &'a str, uri: &'a str, key: u32, }
    /// How many recovery codes there are, and how to come by others.
    Recovery("account/recovery.html") {
        is_active: bool,
        codes_left: Option<String>,
        may_leave_code_out: bool,
    }
    /// Recovery codes, this once.
    MadeCodes("account/made_codes.html") {
        codes: Vec<&'a str>,
        file: &'a str,
    }
    /// Which devices are trusted.
    Devices("account/devices.html") { devices: Vec<DeviceRow>, }
    /// A new password is asked for.
    PasswordPage("account/password.html") {}
    /// The user's own audit trail.
    Activity("account/activity.html") { events: Vec<EventRow>, before: Option<String>, }
    /// What to do.
    Help("account/help.html") {}
    /// Why there is no page.
    RefusalPage("account/refusal.html") {
        title: &'a str,
        text: &'a str,
        stays_signed_in: bool,
        request: Option<&'a str>,
    }
}
