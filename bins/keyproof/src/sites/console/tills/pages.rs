//! The templates of *Tills*.

use keyproof_otp::{
    Base32Profile, DEFAULT_PERIOD, Digits, Secret,
    otpauth::{Kind, OtpauthUri},
    pos::PosAlgorithm,
};
use keyproof_service::otp_devices::{
    DeviceDetails, DeviceSummary, DeviceView, InstanceSummary, MatchingStep,
};
use zeroize::Zeroizing;

use super::{
    super::{Frame, addressing::with_query},
    HERE,
};
use crate::{
    qr,
    sites::{
        moment::{Moment, moment},
        page::pages,
    },
};

/// The length of a step in seconds.
pub(super) const PERIOD: u64 = DEFAULT_PERIOD.get();

pages! {
    #[derive(::askama::Template)]
    pub(super) Frame;

    TillsPage("console/tills.html") {
        instances: Vec<InstanceRow>,
        is_first: bool,
        next: Option<String>,
        may_add: bool,
    }
    TillPage("console/till.html") {
        instance: &'a str,
        devices: Vec<DeviceRow>,
        is_first: bool,
        next: Option<String>,
        may_change: bool,
        is_default: bool,
        confirm: Option<String>,
    }
    MadePage("console/till_device_made.html") {
        id: &'a str,
        qr: Option<qr::Drawing>,
        secret: &'a str,
        /// Whether the key is shorter than RFC 4226 requires.
        is_weak: bool,
        is_priced: bool,
        link: String,
    }
    DevicePage("console/till_device.html") {
        instance: &'a str,
        id: &'a str,
        query: String,
        description: &'a str,
        algorithm: &'static str,
        counter: Option<u64>,
        makes_codes: bool,
        is_priced: bool,
        price: String,
        /// Why no codes are shown although the device has some.
        not_shown: Option<String>,
        codes: Vec<CodeRow>,
        ends: String,
        seconds_left: u64,
        verdict: Option<Verdict>,
        is_again: bool,
        may_change: bool,
        confirm: Option<String>,
    }
}

pub(super) struct InstanceRow {
    pub(super) name: String,
    pub(super) has_password: bool,
    pub(super) made: Moment,
}

pub(super) struct DeviceRow {
    pub(super) id: String,
    pub(super) description: String,
    pub(super) link: String,
}

pub(super) struct CodeRow {
    pub(super) step: String,
    pub(super) code: Zeroizing<String>,
    pub(super) from: String,
    pub(super) is_now: bool,
}

/// The result of checking a code.
pub(super) struct Verdict {
    pub(super) code: Zeroizing<String>,
    pub(super) is_good: bool,
    pub(super) text: String,
}

impl InstanceRow {
    pub(super) fn of(instance: InstanceSummary) -> Self {
        Self {
            name: instance.name,
            has_password: instance.has_password,
            made: moment(instance.created_at),
        }
    }
}

impl DeviceRow {
    pub(super) fn of(device: DeviceSummary, instance: &str) -> Self {
        Self {
            link: device_link(instance, &device.id),
            id: device.id,
            description: device.description,
        }
    }
}

impl Verdict {
    /// Creates the result for a code and its step, if it belongs to one; `is_priced` is whether the device's codes are
    /// for a price.
    pub(super) fn of(code: Zeroizing<String>, step: Option<MatchingStep>, is_priced: bool) -> Self {
        let Some(step) = step else {
            let differs = if is_priced {
                "the key, the price or the clock"
            } else {
                "the key or the clock"
            };
            return Self {
                code,
                is_good: false,
                text: format!(
                    "This is no code of this device within half an hour of now: it is mistyped, or {differs} is \
                     not the same."
                ),
            };
        };
        let MatchingStep { before, after, .. } = step;
        let steps = |count: u64| match count {
            1 => "1 step".to_owned(),
            _ => format!("{count} steps"),
        };
        let which = match (before, after) {
            (0, 0) => "the current step".to_owned(),
            (_, 0) => format!("a past step, {} ago", steps(before)),
            _ => format!("a future step, {} ahead", steps(after)),
        };
        let begins = clock(step.begins);
        let rest = if step.is_shown {
            "It confirms a payment now."
        } else {
            "It confirms no payment now: the device’s clock is wrong, or the code is old."
        };
        Self {
            code,
            is_good: step.is_shown,
            text: format!("The code belongs to {which}, which begins at {begins} UTC. {rest}"),
        }
    }
}

pub(super) fn till_link(instance: &str) -> String {
    format!("{HERE}/{instance}")
}

pub(super) fn device_link(instance: &str, id: &str) -> String {
    with_query(&format!("{HERE}/{instance}/device"), &[("id", id)])
}

/// Returns the URI for an authenticator app, if the device generates codes at all.
pub(super) fn uri(instance: &str, details: &DeviceDetails) -> Option<Zeroizing<String>> {
    if details.algorithm == PosAlgorithm::None {
        return None;
    }
    let secret = Secret::from_base32(&details.key, Base32Profile::Taler).ok()?;
    let uri = OtpauthUri::new(Kind::TOTP, Some(instance), &details.id, secret).ok()?;
    let uri = uri.with_digits(Digits::EIGHT);
    Some(Zeroizing::new(uri.to_string()))
}

/// Returns the codes of a view, each with its step.
pub(super) fn code_rows(view: &DeviceView) -> Vec<CodeRow> {
    let codes = view.codes.as_ref().map(|codes| codes.lines());
    let step = view.at / PERIOD;
    let rows = codes.into_iter().flatten().zip(0_u64..);
    rows.map(|(code, at)| CodeRow {
        step: match at {
            0 | 1 => format!("{} before", 2 - at),
            2 => "present".to_owned(),
            _ => format!("{} after", at - 2),
        },
        code: Zeroizing::new(code.to_owned()),
        from: clock((step + at).saturating_sub(2).saturating_mul(PERIOD)),
        is_now: at == 2,
    })
    .collect()
}

/// Formats a time of day in UTC.
pub(super) fn clock(at: u64) -> String {
    let (minutes, seconds) = (at / 60, at % 60);
    let (hours, minutes) = (minutes / 60 % 24, minutes % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}")
}
