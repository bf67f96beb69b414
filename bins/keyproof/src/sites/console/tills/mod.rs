//! *Tills*: instances, their OTP devices, and the devices' codes.

mod pages;

use std::{convert::Infallible, time::Duration};

use http::StatusCode;
use keyproof_otp::{
    Strength,
    pos::{Amount, PosAlgorithm},
};
use keyproof_service::{
    Action, OtpDevices,
    otp_devices::{
        AddDeviceError, AddInstanceError, Caller, CheckCodeError, DEFAULT_INSTANCE, DeviceDetails,
        InstanceAdministrator, Moment, OperatorNotPermitted, OperatorRight, Reading,
        RemoveDeviceError, RemoveInstanceError, ShowDeviceError, Writing,
    },
};
use zeroize::Zeroizing;

use super::{
    Area, Frame, HandlerResult, ROWS, Signed, Visit,
    addressing::{next_page, query, with_notice},
    render,
    session::CONFIRMATION,
    words::{seconds, sentence},
};
use crate::{
    qr,
    sites::{
        entries::Wrong,
        page::{limited, see_other},
        refusal::Refusal,
    },
};
use pages::{
    DevicePage, DeviceRow, InstanceRow, MadePage, PERIOD, TillPage, TillsPage, Verdict, clock,
    code_rows, device_link, till_link, uri,
};

const HERE: &str = "/console/tills";

/// The fields of the form that adds an instance, except its password.
const INSTANCE: [&str; 1] = ["name"];

/// The fields of the form that adds a device, except its key.
const DEVICE: [&str; 3] = ["algorithm", "id", "description"];

impl Visit<Signed> {
    pub(super) async fn tills(self) -> HandlerResult {
        let frame = self.frame_in(Area::Tills);
        self.tills_page(&frame, StatusCode::OK).await
    }

    /// Shows the page with an error in the form.
    async fn tills_refused(&self, wrong: Wrong) -> HandlerResult {
        let frame = self.frame_with(Area::Tills, wrong, &INSTANCE);
        self.tills_page(&frame, StatusCode::UNPROCESSABLE_ENTITY)
            .await
    }

    async fn tills_page(&self, frame: &Frame, status: StatusCode) -> HandlerResult {
        let after = self.exchange.query().first("after");
        let devices = &self.service().otp_devices;
        let page = devices.instances_page(self.operator(), after, ROWS);
        let page = page.await?;
        let page = TillsPage {
            frame,
            is_first: after.is_none(),
            next: next_page(HERE, page.next),
            instances: page.rows.into_iter().map(InstanceRow::of).collect(),
            may_add: OtpDevices::may_change_all(self.operator()),
        };
        render(&page, status)
    }

    pub(super) async fn add_till(self) -> HandlerResult {
        let devices = &self.service().otp_devices;
        let name = self.typed("name").to_owned();
        let administrator = self.till_administrator(Action::InstanceAdd, &name).await?;
        if let Err(wrong) = self.token_shown(CONFIRMATION) {
            return self.tills_refused(wrong).await;
        }
        let password = self.secret("password");
        let Err(failure) = devices.add_instance(&administrator, password).await else {
            return Ok(see_other(&with_notice(&till_link(&name), "instance-added")));
        };
        let why = failure.refusal()?;
        let field = match why {
            AddInstanceError::Hashing(error) => return Err(error.into()),
            AddInstanceError::Password(_) => "password",
            AddInstanceError::Exists | AddInstanceError::Name => "name",
        };
        self.tills_refused(Wrong::at(field, sentence(&why))).await
    }

    pub(super) async fn remove_till(self) -> HandlerResult {
        let instance = self.named("instance");
        let devices = &self.service().otp_devices;
        let administrator = self
            .till_administrator(Action::InstanceRemove, instance)
            .await?;
        self.confirmed(&till_link(instance))?;
        if let Err(failure) = devices.remove_instance(&administrator).await {
            let RemoveInstanceError::Unknown = failure.refusal()?;
            return Err(Refusal::NotFound);
        }
        Ok(see_other(&with_notice(HERE, "instance-removed")))
    }

    pub(super) async fn till(self) -> HandlerResult {
        let frame = self.frame_in(Area::Tills);
        self.till_page(&frame, StatusCode::OK).await
    }

    /// Shows the page with an error in the form.
    async fn till_refused(&self, wrong: Wrong) -> HandlerResult {
        let frame = self.frame_with(Area::Tills, wrong, &DEVICE);
        self.till_page(&frame, StatusCode::UNPROCESSABLE_ENTITY)
            .await
    }

    async fn till_page(&self, frame: &Frame, status: StatusCode) -> HandlerResult {
        let caller: Caller<Reading> = self.caller(Action::InstanceShow, None).await?;
        let after = self.exchange.query().first("after");
        let devices = &self.service().otp_devices;
        let devices = devices.devices_page(&caller, after, ROWS).await?;
        let instance = caller.instance();
        let link = till_link(instance);
        let page = TillPage {
            frame,
            instance,
            is_first: after.is_none(),
            next: next_page(&link, devices.next),
            devices: devices
                .rows
                .into_iter()
                .map(|device| DeviceRow::of(device, instance))
                .collect(),
            may_change: self.may_change(instance),
            is_default: instance == DEFAULT_INSTANCE,
            confirm: self.confirm_url(&link),
        };
        render(&page, status)
    }

    pub(super) async fn add_till_device(self) -> HandlerResult {
        const NOT_BASE32: &str =
            "A key in Base32 has only letters from A to Z and digits from 2 to 7.";
        let caller: Caller<Writing> = self.caller(Action::OtpDeviceAdd, None).await?;
        if let Err(wrong) = self.token_shown(CONFIRMATION) {
            return self.till_refused(wrong).await;
        }
        let algorithm = self
            .typed("algorithm")
            .parse::<u8>()
            .ok()
            .and_then(|number| PosAlgorithm::try_from(number).ok())
            .ok_or(Refusal::Malformed(StatusCode::BAD_REQUEST))?;
        let devices = &self.service().otp_devices;
        let typed = symbols(self.typed("key"));
        let key = if typed.is_empty() {
            devices.draw_key()
        } else {
            typed
        };
        let details = DeviceDetails {
            id: self.typed("id").to_owned(),
            description: self.typed("description").to_owned(),
            key,
            algorithm,
            counter: None,
        };
        let Err(failure) = devices.add_device(&caller, &details).await else {
            return self.made(caller.instance(), &details);
        };
        let why = failure.refusal()?;
        let (field, text) = match why {
            AddDeviceError::Conflict | AddDeviceError::Id => ("id", sentence(&why)),
            AddDeviceError::Description => ("description", sentence(&why)),
            AddDeviceError::Ended(_) => return Err(Refusal::NotFound),
            AddDeviceError::Key(_) => ("key", NOT_BASE32.to_owned()),
        };
        self.till_refused(Wrong::at(field, text)).await
    }

    /// Shows a device's key, only once.
    fn made(&self, instance: &str, details: &DeviceDetails) -> HandlerResult {
        let makes_codes = details.algorithm != PosAlgorithm::None;
        // The key has only symbols, of five bits each.
        let strength = Strength::of_len(details.key.len() * 5 / 8);
        let page = MadePage {
            frame: &self.frame_in(Area::Tills),
            id: &details.id,
            // A name may be too long for the URI to fit into a QR code. The key is then typed.
            qr: uri(instance, details).and_then(|uri| qr::path(&uri).ok()),
            secret: &details.key,
            is_weak: makes_codes && strength == Strength::BelowRequired,
            is_priced: details.algorithm == PosAlgorithm::TotpWithPrice,
            link: device_link(instance, &details.id),
        };
        render(&page, StatusCode::OK)
    }

    pub(super) async fn till_device(self) -> HandlerResult {
        // Showing codes is written to the audit trail, which requires the session's current record.
        let visit = self.read_again().await?;
        let typed = visit.exchange.query().first("price").unwrap_or_default();
        let (frame, price, status) = match parse_price(typed.trim()) {
            Ok(price) => (visit.frame_in(Area::Tills), price, StatusCode::OK),
            Err(text) => {
                let mut frame = visit.frame_with(Area::Tills, Wrong::at("price", text), &[]);
                frame.entries.filled = vec![("price", typed.to_owned())];
                (frame, None, StatusCode::UNPROCESSABLE_ENTITY)
            }
        };
        visit.device_page(frame, price, None, status).await
    }

    async fn device_page(
        &self,
        mut frame: Frame,
        price: Option<Price>,
        verdict: Option<Verdict>,
        status: StatusCode,
    ) -> HandlerResult {
        let id = self.asked("id")?;
        let caller: Caller<Reading> = self.caller(Action::OtpDeviceShow, Some(&id)).await?;
        let (price, shown) = match price {
            Some(Price { amount, typed }) => (Some(amount), typed),
            None => (None, String::new()),
        };
        let moment = Moment { at: None, price };
        let devices = &self.service().otp_devices;
        let view = match devices.device::<Infallible>(&caller, Ok(moment)) {
            Ok(view) => view,
            Err(failure) => match failure.refusal()? {
                ShowDeviceError::Moment(never) => match never {},
                ShowDeviceError::Unknown => return Err(Refusal::NotFound),
            },
        };
        let wait = if view.codes.is_some()
            && let Err(failure) = devices.note_shown(&caller, verdict.is_some()).await
        {
            Some(failure.refusal()?.wait)
        } else {
            None
        };
        let step = view.at / PERIOD;
        let ends = step.saturating_add(1).saturating_mul(PERIOD);
        let filled = [("price", shown.clone()), ("of", shown.clone())];
        frame.entries.filled.extend(filled);
        let page = DevicePage {
            frame: &frame,
            instance: caller.instance(),
            id: &id,
            query: query(&[("id", &id)]),
            description: &view.description,
            algorithm: match view.algorithm {
                PosAlgorithm::None => "None",
                PosAlgorithm::TotpWithoutPrice => "TOTP without a price",
                PosAlgorithm::TotpWithPrice => "TOTP with a price",
            },
            counter: view.counter,
            makes_codes: view.algorithm != PosAlgorithm::None,
            is_priced: view.algorithm == PosAlgorithm::TotpWithPrice,
            price: shown,
            not_shown: wait.map(too_many),
            codes: match wait {
                None => code_rows(&view),
                Some(_) => Vec::new(),
            },
            ends: clock(ends),
            seconds_left: ends.saturating_sub(view.at),
            verdict,
            is_again: self.is_again(),
            may_change: self.may_change(caller.instance()),
            confirm: self.confirm_url(&device_link(caller.instance(), &id)),
        };
        Ok(limited(render(&page, status)?, wait))
    }

    pub(super) async fn check_till_code(self) -> HandlerResult {
        let id = self.asked("id")?;
        let caller: Caller<Reading> = self.caller(Action::OtpDeviceCheck, Some(&id)).await?;
        let (price, (field, text), wait) = match parse_price(self.typed("of").trim()) {
            Err(text) => (None, ("of", text), None),
            Ok(price) => {
                let devices = &self.service().otp_devices;
                let (typed, amount) = (self.code(), price.as_ref().map(|price| &price.amount));
                let why = match devices.check_code(&caller, &typed, amount).await {
                    Ok(step) => {
                        let verdict = Some(Verdict::of(typed, step, amount.is_some()));
                        let frame = self.frame_in(Area::Tills);
                        let page = self.device_page(frame, price, verdict, StatusCode::OK);
                        return page.await;
                    }
                    Err(failure) => failure.refusal()?,
                };
                let (wrong, wait) = match why {
                    CheckCodeError::Code(_) => {
                        (("code", "A code has eight digits.".to_owned()), None)
                    }
                    CheckCodeError::Limited { wait } => (("code", too_many(wait)), Some(wait)),
                    CheckCodeError::NoCodes | CheckCodeError::Unknown => {
                        return Err(Refusal::NotFound);
                    }
                    CheckCodeError::PriceNeeded => {
                        let text = "Each code of this device is for one price: type that price.";
                        (("of", text.to_owned()), None)
                    }
                };
                (price, wrong, wait)
            }
        };
        let frame = self.frame_with(Area::Tills, Wrong::at(field, text), &["code", "of"]);
        let page = self.device_page(frame, price, None, StatusCode::UNPROCESSABLE_ENTITY);
        Ok(limited(page.await?, wait))
    }

    pub(super) async fn remove_till_device(self) -> HandlerResult {
        let id = self.asked("id")?;
        let caller: Caller<Writing> = self.caller(Action::OtpDeviceRemove, Some(&id)).await?;
        self.confirmed(&device_link(caller.instance(), &id))?;
        let removed = self.service().otp_devices.remove_device(&caller, &id);
        if let Err(failure) = removed.await {
            let (RemoveDeviceError::Ended(_) | RemoveDeviceError::Unknown) = failure.refusal()?;
            return Err(Refusal::NotFound);
        }
        let list = till_link(caller.instance());
        Ok(see_other(&with_notice(&list, "device-removed")))
    }

    async fn caller<R: OperatorRight>(
        &self,
        act: Action,
        device: Option<&str>,
    ) -> Result<Caller<R>, Refusal> {
        let instance = self.named("instance");
        let devices = &self.service().otp_devices;
        let operator = self.operator();
        let caller = devices.permit_operator(operator, act, instance, device, &self.origin);
        Ok(caller.await?)
    }

    async fn till_administrator(
        &self,
        act: Action,
        instance: &str,
    ) -> Result<InstanceAdministrator, Refusal> {
        let devices = &self.service().otp_devices;
        let permitted = devices.permit_administrator(self.operator(), act, instance, &self.origin);
        Ok(permitted.await?)
    }

    fn may_change(&self, instance: &str) -> bool {
        OtpDevices::may_change(self.operator(), instance)
    }
}

/// Returns a typed key without the spaces, hyphens and padding with which devices show it.
fn symbols(typed: &str) -> Zeroizing<String> {
    let symbols = typed.trim().trim_end_matches('=').chars();
    let symbols = symbols.filter(|c| !c.is_whitespace() && *c != '-');
    Zeroizing::new(symbols.collect())
}

/// Returns the error for more codes than may be shown or checked per minute.
fn too_many(wait: Duration) -> String {
    let seconds = seconds(wait);
    format!("Too many codes were shown or checked. Try again in {seconds}.")
}

/// A price, and the text that was typed for it: people add zeros that an amount's text does not have.
struct Price {
    amount: Amount,
    typed: String,
}

fn parse_price(text: &str) -> Result<Option<Price>, String> {
    const WRONG: &str = "A price is a currency in capital letters, a colon, and an amount with a point and at most 8 digits after it, such as EUR:4.50.";
    if text.is_empty() {
        return Ok(None);
    }
    let amount = text.parse::<Amount>();
    let amount = amount.map_err(|_| WRONG.to_owned())?;
    let typed = text.to_owned();
    Ok(Some(Price { amount, typed }))
}

impl From<OperatorNotPermitted> for Refusal {
    fn from(error: OperatorNotPermitted) -> Self {
        match error {
            OperatorNotPermitted::Forbidden(_) => Self::OutOfReach,
            OperatorNotPermitted::InstanceUnknown => Self::NotFound,
        }
    }
}
