//! Checks whether a code belongs to a device, and to which time step, for when a point of sale and a buyer's phone show
//! different codes. Checking uses nothing up, as confirmation codes have no counter.

use std::time::Duration;

use keyproof_otp::{
    Code, DEFAULT_PERIOD, Digits, OtpError,
    pos::{Amount, Confirmation, PosAlgorithm, confirmation_codes},
};
use keyproof_store::{Stored, Version};

use super::{
    super::{OtpDevices, records::Device},
    new_event,
};
use crate::{
    Action, Failure,
    otp_devices::{Caller, Reading},
    storage::{Attempt, contended, refuse, refused, transact_permitted},
};

/// How many steps before and after the present one are checked: half an hour.
const STEPS: u64 = 60;

/// How many steps before and after the present one a buyer is shown codes for.
const SHOWN: u64 = 2;

/// How many steps a [`Confirmation`] has codes for.
const AT_ONCE: u64 = 2 * SHOWN + 1;

/// How many codes of one instance an operator may view or check per minute, on each server.
pub(in crate::otp_devices) const CHECKS_PER_MINUTE: u32 = 30;

/// The time step that a code belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatchingStep {
    /// How many steps it is before the present one.
    pub before: u64,
    /// How many steps it is after the present one.
    pub after: u64,
    /// When it begins, in seconds since the Unix epoch.
    pub begins: u64,
    /// Whether the buyer is shown the code now, so that it still confirms a payment.
    pub is_shown: bool,
}

/// Why a code was not checked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckCodeError {
    /// It is not a code of 8 digits.
    #[error(transparent)]
    Code(#[from] OtpError),
    /// The rate limit is exceeded.
    #[error("too many codes were checked")]
    Limited {
        /// How long to wait before a retry.
        wait: Duration,
    },
    /// The device makes no codes.
    #[error("the device generates no codes")]
    NoCodes,
    /// The device's codes depend on the price, and none was given.
    #[error("the price is required")]
    PriceNeeded,
    /// There is no device of this id.
    #[error("there is no such device")]
    Unknown,
}

/// No codes are shown, because the rate limit for viewing and checking is exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many codes were shown or checked")]
pub struct TooManyCodes {
    /// How long to wait before a retry.
    pub wait: Duration,
}

impl OtpDevices {
    /// Records in the audit trail that an operator views codes of the caller's device. Must be called before they are
    /// shown. Counts against the same rate limit as checks, unless `has_checked`: a check has then already counted.
    ///
    /// # Errors
    ///
    /// [`TooManyCodes`], and [`StorageError::Contended`](crate::StorageError::Contended) if the device was changed or removed
    /// since the permission was checked.
    pub async fn note_shown(
        &self,
        caller: &Caller<Reading>,
        has_checked: bool,
    ) -> Result<(), Failure<TooManyCodes>> {
        if !has_checked {
            let counted = self.count_code(caller);
            counted.map_err(|wait| Failure::Refused(TooManyCodes { wait }))?;
        }
        // Without a device, no codes are shown.
        let Some((place, device)) = caller.device() else {
            return Ok(());
        };
        let (name, origin) = ("otp_devices.note_shown", caller.origin());
        let (store, clock) = (&self.store, &*self.clock);
        transact_permitted(name, store, clock, origin, contended, || async {
            let current = self.changing(caller, place, |_| ()).await;
            let (now, mut batch, current) = current.map_err(|failure| match failure {
                Failure::Refused(()) => contended::<TooManyCodes>(),
                Failure::Storage(error) => Failure::Storage(error),
            })?;
            // The codes are those of the key that was read with the permission.
            let is_read = |version: &Version| Some(*version) == caller.device_version();
            let version = current.map(|current| current.version).filter(is_read);
            batch.require(place, version.ok_or_else(contended::<TooManyCodes>)?);
            let new_event = new_event(Action::OtpDeviceShow, caller, &device.id, None);
            self.audit.used(&mut batch, now, new_event, false).await?;
            Ok(Attempt::Commit(batch, Ok(())))
        })
        .await
    }

    /// Counts a view or check against the rate limit. Returns how long to wait if it is exceeded.
    fn count_code(&self, caller: &Caller<Reading>) -> Result<(), Duration> {
        let who = format!("{} {}", caller.origin().who, caller.instance());
        self.checks.take(&who, self.clock.now())
    }

    /// Returns the step whose code this is, for the caller's device and an order of this price: the nearest one within
    /// half an hour, or `None`. The result is recorded in the audit trail before it is returned.
    ///
    /// # Errors
    ///
    /// [`CheckCodeError`].
    pub async fn check_code(
        &self,
        caller: &Caller<Reading>,
        code: &str,
        price: Option<&Amount>,
    ) -> Result<Option<MatchingStep>, Failure<CheckCodeError>> {
        let device = caller.device();
        let (place, device) = device.ok_or(Failure::Refused(CheckCodeError::Unknown))?;
        price_for(device, price)?;
        let code = Code::parse(code, Digits::EIGHT).map_err(refused)?;
        let counted = self.count_code(caller);
        counted.map_err(|wait| Failure::Refused(CheckCodeError::Limited { wait }))?;
        let (name, origin) = ("otp_devices.check_code", caller.origin());
        let (store, clock) = (&self.store, &*self.clock);
        transact_permitted(name, store, clock, origin, contended, || async {
            // Read again, because its key may have been replaced since the permission was checked.
            let current = self.changing(caller, place, |_| CheckCodeError::Unknown);
            let (now, mut batch, device) = current.await?;
            let Stored {
                record: device,
                version,
                ..
            } = device.ok_or(Failure::Refused(CheckCodeError::Unknown))?;
            let price = price_for(&device, price)?;
            let key = self.key_of(place, &device)?;
            let codes = |at| confirmation_codes(&key, device.algorithm, price, at);
            let fitting = matching_step(&code, now.as_secs(), codes);
            batch.require(place, version);
            let found = match fitting {
                Some(step) if step.is_shown => "a code of now".to_owned(),
                Some(step) => format!(
                    "a code of {} steps before, {} after",
                    step.before, step.after
                ),
                None => "no code of it".to_owned(),
            };
            let new_event = new_event(Action::OtpDeviceCheck, caller, &device.id, Some(found));
            match fitting.filter(|step| step.is_shown) {
                Some(_) => self.audit.done(&mut batch, now, new_event),
                None => {
                    new_event.origin.require(&mut batch);
                    self.audit.counted(&mut batch, now, new_event).await?;
                }
            }
            Ok(Attempt::Commit(batch, Ok(fitting)))
        })
        .await
    }
}

/// Returns the price that the device's codes depend on, if they do.
fn price_for<'p>(
    device: &Device,
    price: Option<&'p Amount>,
) -> Result<Option<&'p Amount>, Failure<CheckCodeError>> {
    match (device.algorithm, price) {
        (PosAlgorithm::None, _) => refuse(CheckCodeError::NoCodes),
        (PosAlgorithm::TotpWithPrice, None) => refuse(CheckCodeError::PriceNeeded),
        (PosAlgorithm::TotpWithPrice, price) => Ok(price),
        (PosAlgorithm::TotpWithoutPrice, _) => Ok(None),
    }
}

/// Returns the step nearest to `now` whose code this is, within [`STEPS`].
fn matching_step(
    code: &Code,
    now: u64,
    codes: impl Fn(u64) -> Option<Confirmation>,
) -> Option<MatchingStep> {
    let period = DEFAULT_PERIOD.get();
    let present = now / period;
    let (first, last) = (present.saturating_sub(STEPS), present.saturating_add(STEPS));
    let mut nearest: Option<MatchingStep> = None;
    let mut step = first;
    while step <= last {
        let middle = step.saturating_add(SHOWN).saturating_mul(period);
        for (step, known) in (step..).zip(codes(middle)?.codes()) {
            if known != code || step > last {
                continue;
            }
            let found = MatchingStep {
                before: present.saturating_sub(step),
                after: step.saturating_sub(present),
                begins: step.saturating_mul(period),
                is_shown: present.abs_diff(step) <= SHOWN,
            };
            let distance = |step: &MatchingStep| step.before.max(step.after);
            if nearest.is_none_or(|nearest| distance(&found) < distance(&nearest)) {
                nearest = Some(found);
            }
        }
        step = step.saturating_add(AT_ONCE);
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Clock,
        access::Operator,
        audit::Outcome,
        otp_devices::{
            AddDeviceError, DeviceChange, DeviceDetails, Lifetime, OperatorNotPermitted,
            OperatorRight, RemoveDeviceError, Writing,
        },
        testing::{
            Bench, PASSWORD, administrator, bench, command_line, origin, otp_device, refusal,
            secret,
        },
    };
    use keyproof_auth::ValidityError;

    /// Permits an operator in an instance.
    async fn permitted<R: OperatorRight>(
        bench: &Bench,
        operator: &Operator,
        instance: &str,
        device: Option<&str>,
    ) -> Result<Caller<R>, Failure<OperatorNotPermitted>> {
        let (devices, act) = (&bench.service.otp_devices, Action::OtpDeviceAdd);
        devices
            .permit_operator(operator, act, instance, device, &origin())
            .await
    }

    async fn with_device(algorithm: PosAlgorithm) -> (Bench, Caller<Reading>) {
        let bench = bench().await;
        bench.set_password("default", PASSWORD).await;
        let devices = &bench.service.otp_devices;
        let ops = bench.operator("instances:default").await;
        let writing = permitted(&bench, &ops, "default", None).await.unwrap();
        let details = DeviceDetails {
            algorithm,
            ..otp_device("till")
        };
        devices.add_device(&writing, &details).await.unwrap();
        let reading = permitted(&bench, &ops, "default", Some("till")).await;
        (bench, reading.unwrap())
    }

    fn shown(at: u64, price: Option<&str>) -> String {
        let price: Option<Amount> = price.map(|price| price.parse().unwrap());
        let algorithm = match price {
            Some(_) => PosAlgorithm::TotpWithPrice,
            None => PosAlgorithm::TotpWithoutPrice,
        };
        let key = b"12345678901234567890";
        let codes = confirmation_codes(key, algorithm, price.as_ref(), at).unwrap();
        codes.codes()[2].to_string()
    }

    #[tokio::test]
    async fn a_code_names_its_step() {
        let (bench, caller) = with_device(PosAlgorithm::TotpWithoutPrice).await;
        let devices = &bench.service.otp_devices;
        let now = bench.clock.now().as_secs() / 30 * 30;
        for (offset, before, after, is_shown) in [
            (0, 0, 0, true),
            (-60, 2, 0, true),
            (60, 0, 2, true),
            (-90, 3, 0, false),
            (90, 0, 3, false),
            (-1800, 60, 0, false),
            (1800, 0, 60, false),
        ] {
            let begins = now.checked_add_signed(offset).unwrap();
            let code = shown(begins, None);
            let found = devices.check_code(&caller, &code, None).await.unwrap();
            let step = MatchingStep {
                before,
                after,
                begins,
                is_shown,
            };
            assert_eq!(found, Some(step), "{offset}");
        }
        for offset in [-1830_i64, 1830] {
            let code = shown(now.checked_add_signed(offset).unwrap(), None);
            let found = devices.check_code(&caller, &code, None).await.unwrap();
            assert_eq!(found, None, "{offset}");
        }
        let events = bench.events().await;
        let checks: Vec<_> = events
            .iter()
            .filter(|event| event.action == Action::OtpDeviceCheck.name())
            .map(|event| (event.outcome, event.count()))
            .collect();
        let done = checks
            .iter()
            .filter(|(outcome, _)| *outcome == Outcome::Done);
        assert_eq!(done.count(), 3);
        let refused = checks
            .iter()
            .filter(|(outcome, _)| *outcome == Outcome::Refused);
        assert_eq!(refused.map(|(_, count)| count).sum::<u64>(), 6);
    }

    #[tokio::test]
    async fn a_code_is_of_its_price_alone() {
        let (bench, caller) = with_device(PosAlgorithm::TotpWithPrice).await;
        let devices = &bench.service.otp_devices;
        let code = shown(bench.clock.now().as_secs(), Some("EUR:1.23"));
        let check = async |price: Option<&str>| {
            let price = price.map(|price| price.parse().unwrap());
            devices.check_code(&caller, &code, price.as_ref()).await
        };
        assert!(check(Some("EUR:1.23")).await.unwrap().unwrap().is_shown);
        assert_eq!(check(Some("EUR:1.22")).await, Ok(None));
        assert_eq!(check(Some("USD:1.23")).await, Ok(None));
        let needed = Err(Failure::Refused(CheckCodeError::PriceNeeded));
        assert_eq!(check(None).await, needed);
        for wrong in ["", "1234567", "123456789", "1234567a"] {
            let price = "EUR:1".parse().unwrap();
            let refused = devices.check_code(&caller, wrong, Some(&price)).await;
            assert!(
                matches!(refused, Err(Failure::Refused(CheckCodeError::Code(_)))),
                "{wrong}"
            );
        }
    }

    #[tokio::test]
    async fn a_device_without_codes_has_none() {
        let (bench, caller) = with_device(PosAlgorithm::None).await;
        let devices = &bench.service.otp_devices;
        let refused = devices.check_code(&caller, "12345678", None).await;
        assert_eq!(refused.err(), refusal(CheckCodeError::NoCodes));
    }

    #[tokio::test]
    async fn a_token_that_was_revoked_meanwhile_checks_no_code_and_is_shown_none() {
        let (bench, caller) = with_device(PosAlgorithm::TotpWithoutPrice).await;
        let access = &bench.service.access;
        for token in access.list().await.unwrap() {
            access.revoke(&token.id, &command_line()).await.unwrap();
        }
        let devices = &bench.service.otp_devices;
        let code = shown(bench.clock.now().as_secs(), None);
        for code in [&*code, "00000000"] {
            let checked = devices.check_code(&caller, code, None).await;
            assert_eq!(checked, Err(contended()));
        }
        assert_eq!(bench.times(Action::OtpDeviceCheck).await, 0);
        let noted = devices.note_shown(&caller, false).await;
        assert_eq!(noted, Err(contended()));
        assert_eq!(bench.times(Action::OtpDeviceShow).await, 0);
    }

    /// Replaces the device's key.
    async fn replace_key(bench: &Bench) {
        let token = bench.token("default", "all", Lifetime::Default).await;
        let writing = bench.permitted::<Writing>("default", &token).await.unwrap();
        let change = DeviceChange {
            description: "till".to_owned(),
            key: Some(secret("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")),
            algorithm: None,
            counter: None,
        };
        let devices = &bench.service.otp_devices;
        let changed = devices.change_device::<()>(&writing, "till", Ok(change));
        changed.await.unwrap();
    }

    #[tokio::test]
    async fn a_code_of_a_key_that_was_replaced_meanwhile_is_no_code() {
        let (bench, caller) = with_device(PosAlgorithm::TotpWithoutPrice).await;
        let devices = &bench.service.otp_devices;
        let code = shown(bench.clock.now().as_secs(), None);
        let slow = devices.check_code(&caller, &code, None);
        let checked = bench.faults.overtake(slow, replace_key(&bench)).await;
        assert_eq!(checked, Ok(None));

        let ops = bench.operator("instances:default").await;
        let writing = permitted::<Writing>(&bench, &ops, "default", None).await;
        let writing = writing.unwrap();
        let removing = async { devices.remove_device(&writing, "till").await.unwrap() };
        let slow = devices.check_code(&caller, &code, None);
        let checked = bench.faults.overtake(slow, removing).await;
        assert_eq!(checked.err(), refusal(CheckCodeError::Unknown));
    }

    #[tokio::test]
    async fn codes_of_a_key_that_was_replaced_meanwhile_are_not_shown() {
        let (bench, caller) = with_device(PosAlgorithm::TotpWithoutPrice).await;
        let slow = bench.service.otp_devices.note_shown(&caller, false);
        let noted = bench.faults.overtake(slow, replace_key(&bench)).await;
        assert_eq!(noted, Err(contended()));
        assert_eq!(bench.times(Action::OtpDeviceShow).await, 0);
    }

    #[tokio::test]
    async fn an_operator_checks_so_many_a_minute() {
        let (bench, caller) = with_device(PosAlgorithm::TotpWithoutPrice).await;
        let devices = &bench.service.otp_devices;
        for _ in 0..CHECKS_PER_MINUTE {
            let checked = devices.check_code(&caller, "00000000", None).await;
            assert_eq!(checked, Ok(None));
        }
        let code = shown(bench.clock.now().as_secs(), None);
        let limited = devices.check_code(&caller, &code, None).await;
        let Err(Failure::Refused(CheckCodeError::Limited { wait })) = limited else {
            panic!("{limited:?}");
        };
        bench.clock.advance(wait);
        let code = shown(bench.clock.now().as_secs(), None);
        let checked = devices.check_code(&caller, &code, None).await.unwrap();
        assert!(checked.unwrap().is_shown);
    }

    #[tokio::test]
    async fn whoever_is_shown_codes_is_told_of_and_counted_with_the_checks() {
        let (bench, caller) = with_device(PosAlgorithm::TotpWithPrice).await;
        let devices = &bench.service.otp_devices;
        for _ in 0..CHECKS_PER_MINUTE {
            devices.note_shown(&caller, false).await.unwrap();
        }
        let limited = devices.note_shown(&caller, false).await;
        let Err(Failure::Refused(TooManyCodes { wait })) = limited else {
            panic!("{limited:?}");
        };
        let price = "EUR:1".parse().unwrap();
        let checked = devices.check_code(&caller, "00000000", Some(&price)).await;
        assert_eq!(checked.err(), refusal(CheckCodeError::Limited { wait }));
        // After a check, the view is recorded but not counted again.
        devices.note_shown(&caller, true).await.unwrap();
        let shows = bench.events().await.into_iter();
        let shows = shows.filter(|event| event.action == Action::OtpDeviceShow.name());
        let told = shows.map(|event| (event.outcome, event.count()));
        // The views of one hour are one event.
        assert_eq!(told.collect::<Vec<_>>(), [(Outcome::Done, 31)]);
    }

    #[tokio::test]
    async fn an_operator_does_nothing_at_an_instance_that_is_another_by_then() {
        let (bench, _) = with_device(PosAlgorithm::TotpWithoutPrice).await;
        let devices = &bench.service.otp_devices;
        let ops = bench.operator("instances").await;
        let writing = permitted(&bench, &ops, "default", Some("till")).await;
        let writing = writing.unwrap();
        // The default instance is replaced by an empty one.
        let default = administrator("default");
        devices.remove_instance(&default).await.unwrap();
        let added = devices.add_device(&writing, &otp_device("new")).await;
        assert_eq!(
            added.err(),
            refusal(AddDeviceError::Ended(ValidityError::Superseded))
        );
        let removed = devices.remove_device(&writing, "till").await;
        assert_eq!(
            removed.err(),
            refusal(RemoveDeviceError::Ended(ValidityError::Superseded))
        );
    }

    #[tokio::test]
    async fn an_operator_reaches_what_their_scopes_say() {
        let (bench, _) = with_device(PosAlgorithm::None).await;
        let devices = &bench.service.otp_devices;
        for (scope, may_read, may_write) in [
            ("admin", true, true),
            ("instances", true, true),
            ("instances:default", true, true),
            ("instances-read", true, false),
            ("instances-read:default", true, false),
            ("instances:shop", false, false),
            ("users", false, false),
            ("tpm", false, false),
        ] {
            let ops = bench.operator(scope).await;
            let act = Action::OtpDeviceAdd;
            let reads = permitted::<Reading>(&bench, &ops, "default", None).await;
            let writes = permitted::<Writing>(&bench, &ops, "default", None).await;
            let keeps = devices
                .permit_administrator(&ops, act, "default", &origin())
                .await;
            assert_eq!(
                OtpDevices::may_change(&ops, "default"),
                may_write,
                "{scope}"
            );
            let may_all = ["admin", "instances"].contains(&scope);
            assert_eq!(OtpDevices::may_change_all(&ops), may_all, "{scope}");
            assert_eq!(reads.is_ok(), may_read, "{scope}");
            assert_eq!(writes.is_ok(), may_write, "{scope}");
            assert_eq!(keeps.is_ok(), may_write, "{scope}");
            // Operators without access cannot find out whether it exists.
            let unknown = permitted::<Writing>(&bench, &ops, "shop", None).await;
            let is_told = matches!(
                unknown,
                Err(Failure::Refused(OperatorNotPermitted::InstanceUnknown))
            );
            let reaches_shop = ["admin", "instances", "instances:shop"].contains(&scope);
            assert_eq!(is_told, reaches_shop, "{scope}");
        }
    }
}
