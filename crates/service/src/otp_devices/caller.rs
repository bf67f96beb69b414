//! Permissions on the devices of an instance: for the bearer of one of its login tokens, or for an operator with a
//! suitable scope.

use std::{fmt, marker::PhantomData, sync::Arc};

use keyproof_auth::{
    Generation, Token, Validity, ValidityError,
    operator::{AccessLevel, OperatorScope},
    taler::{LoginScope, Permission},
};
use keyproof_store::{Key, ReadPlan, Snapshot, StoreError, Stored, Timestamp, Version};

use super::{
    OtpDevices,
    records::{Device, Instance, LoginToken, device_key, instance_key, login_token_key},
};
use crate::{
    Action, CommandLine, Failure, Origin, Principal, StorageError,
    access::{Operator, OutOfScope},
    audit::{NewEvent, Target, Warrant},
    clock::auth_millis,
    derived::Derived,
    keys::token_name,
    slot::{Slot, next_keys},
    storage::{refuse, refused},
};

/// A caller that has the right `R`: [`Reading`], [`Writing`], [`Refreshing`] or [`AnyToken`]. Each use case takes one.
/// [`OtpDevices::permit`] creates it from a valid token, and [`OtpDevices::permit_operator`] from an operator.
pub struct Caller<R> {
    instance: String,
    incarnation: Generation,
    pub(super) generation: Generation,
    /// The login token; `None` for an operator.
    pub(super) shown: Option<LiveToken>,
    origin: Origin,
    /// The device of the request, from the same snapshot.
    device: Option<Slot<Device>>,
    right: PhantomData<R>,
}

/// A login token that was valid when the permission was checked.
#[derive(Debug)]
pub(super) struct LiveToken {
    pub(super) scope: LoginScope,
    validity: Validity,
    pub(super) id: String,
    pub(super) place: Key,
    pub(super) version: Version,
}

/// A right that a token's scope may grant.
pub trait Right {
    /// The required permission; `None` if any valid token is enough.
    const NEEDED: Option<Permission>;
}

/// The right to use the token itself. Every valid token grants it.
#[derive(Clone, Copy, Debug)]
pub enum AnyToken {}

/// The right to read devices.
#[derive(Clone, Copy, Debug)]
pub enum Reading {}

/// The right to exchange the token for a new one.
#[derive(Clone, Copy, Debug)]
pub enum Refreshing {}

/// The right to change devices.
#[derive(Clone, Copy, Debug)]
pub enum Writing {}

impl Right for AnyToken {
    const NEEDED: Option<Permission> = None;
}

impl Right for Reading {
    const NEEDED: Option<Permission> = Some(Permission::OtpDevicesRead);
}

impl Right for Refreshing {
    const NEEDED: Option<Permission> = Some(Permission::TokenRefresh);
}

impl Right for Writing {
    const NEEDED: Option<Permission> = Some(Permission::OtpDevicesWrite);
}

/// A right that an operator's scope may grant.
pub trait OperatorRight: Right {
    /// The reach that the scope must have.
    const REACH: AccessLevel;
}

impl OperatorRight for Reading {
    const REACH: AccessLevel = AccessLevel::Read;
}

impl OperatorRight for Writing {
    const REACH: AccessLevel = AccessLevel::Change;
}

/// Why a caller was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPermitted {
    /// The token has expired.
    #[error("the token has expired")]
    Expired,
    /// The token's scope does not allow this. The audit trail records it.
    #[error("the token's scope does not allow this")]
    Forbidden,
    /// There is no such instance.
    #[error("there is no such instance")]
    InstanceUnknown,
    /// The text is not a well-formed token.
    #[error("not a token")]
    Malformed,
    /// The request has no token.
    #[error("a token is needed")]
    Missing,
    /// The token was never issued for this instance, was revoked, or became void with a new password.
    #[error("the token is unknown or revoked")]
    TokenUnknown,
}

/// Why an operator was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperatorNotPermitted {
    /// The token's scopes do not cover the instance. The audit trail records it.
    #[error(transparent)]
    Forbidden(#[from] OutOfScope),
    /// There is no such instance.
    #[error("there is no such instance")]
    InstanceUnknown,
}

/// A caller that may create, change or remove the instance of this name, which need not exist.
/// [`OtpDevices::permit_administrator`] creates it from an operator, [`InstanceAdministrator::of_command_line`] from a command.
#[derive(Debug)]
pub struct InstanceAdministrator {
    instance: String,
    origin: Origin,
}

impl InstanceAdministrator {
    /// Returns the administrator for a command, which may change any instance.
    pub fn of_command_line(command_line: &CommandLine, instance: &str) -> Self {
        Self {
            instance: instance.to_owned(),
            origin: command_line.origin().clone(),
        }
    }

    pub(super) fn instance(&self) -> &str {
        &self.instance
    }

    pub(super) const fn origin(&self) -> &Origin {
        &self.origin
    }
}

impl OtpDevices {
    /// Returns whether the operator may change this instance, so that the forms for it are shown.
    pub fn may_change(operator: &Operator, instance: &str) -> bool {
        operator.may(&scope(AccessLevel::Change, instance))
    }

    /// Returns whether the operator may change all instances, and so create new ones.
    pub fn may_change_all(operator: &Operator) -> bool {
        operator.may(&OperatorScope::Instances(AccessLevel::Change, None))
    }

    /// Permits an operator with a scope for `R` in this instance. `device` is the device of the request, if any, and is
    /// prefetched. Must be called for every request.
    ///
    /// # Errors
    ///
    /// [`OperatorNotPermitted`]; the permission is checked before the instance's existence.
    pub async fn permit_operator<R: OperatorRight>(
        &self,
        operator: &Operator,
        act: Action,
        instance: &str,
        device: Option<&str>,
        origin: &Origin,
    ) -> Result<Caller<R>, Failure<OperatorNotPermitted>> {
        let target = || match device {
            Some(device) => Target::OtpDevice {
                instance: instance.to_owned(),
                id: device.to_owned(),
            },
            None => Target::Instance(instance.to_owned()),
        };
        let needed = scope(R::REACH, instance);
        let permitted = self.audit.permit(operator, needed, act, target, origin);
        let origin = permitted.await.map_err(refused)?;
        match self.find(instance, None, device).await? {
            Some(found) => Ok(found.caller(origin, None)?),
            None => refuse(OperatorNotPermitted::InstanceUnknown),
        }
    }

    /// Permits an operator with a scope to change this instance itself.
    ///
    /// # Errors
    ///
    /// [`OutOfScope`].
    pub async fn permit_administrator(
        &self,
        operator: &Operator,
        act: Action,
        instance: &str,
        origin: &Origin,
    ) -> Result<InstanceAdministrator, OutOfScope> {
        let needed = scope(AccessLevel::Change, instance);
        let target = || Target::Instance(instance.to_owned());
        let permitted = self.audit.permit(operator, needed, act, target, origin);
        Ok(InstanceAdministrator {
            origin: permitted.await?,
            instance: instance.to_owned(),
        })
    }

    /// Permits the bearer of a token of this instance whose scope allows `R`. `token` is its text without any prefix.
    /// `device` is the device of the request, if any, and is prefetched. Must be called for every request.
    ///
    /// # Errors
    ///
    /// [`NotPermitted`]; the instance's existence is checked before the token.
    pub async fn permit<R: Right>(
        &self,
        instance: &str,
        token: Option<&str>,
        device: Option<&str>,
        origin: &Origin,
    ) -> Result<Caller<R>, Failure<NotPermitted>> {
        let token = match token.map(Token::parse) {
            Some(Ok(token)) => token,
            unusable => {
                return refuse(match (self.has_instance(instance).await?, unusable) {
                    (false, _) => NotPermitted::InstanceUnknown,
                    (true, None) => NotPermitted::Missing,
                    (true, Some(_)) => NotPermitted::Malformed,
                });
            }
        };
        let digest = token.digest();
        let token = login_token_key(instance, &token, &digest);
        let Some(found) = self.find(instance, Some(&token), device).await? else {
            return refuse(NotPermitted::InstanceUnknown);
        };
        let Some(stored) = found.records.get_shared::<LoginToken>(&token)? else {
            return refuse(NotPermitted::TokenUnknown);
        };
        let instance = &found.instance;
        match stored.record.check(&instance.generation, found.now) {
            Ok(()) => {}
            Err(ValidityError::Expired { .. }) => return refuse(NotPermitted::Expired),
            Err(ValidityError::Superseded) => return refuse(NotPermitted::TokenUnknown),
        }
        let (scope, id, version) = (stored.record.scope, token_name(&digest), stored.version);
        let place = token.clone();
        let origin = Origin {
            warrants: vec![Warrant { place, version }],
            ..origin.by(Principal::Instance {
                name: instance.name.clone(),
                token: Some(id.clone()),
            })
        };
        let shown = LiveToken {
            scope,
            validity: stored.record.validity(),
            id,
            place: token,
            version,
        };
        let caller = found.caller(origin, Some(shown))?;
        if let Some(needed) = R::NEEDED.filter(|needed| !scope.allows(*needed)) {
            let why = format!("the scope {scope} does not allow {needed:?}");
            let target = Target::Instance(caller.instance.clone());
            let new_event = caller.new_event(Action::LoginTokenUse, target, Some(why));
            self.audit.refused(new_event).await;
            return refuse(NotPermitted::Forbidden);
        }
        Ok(caller)
    }

    /// Reads the instance, the token, and the device of the present incarnation. Returns `None` if there is no such
    /// instance.
    async fn find(
        &self,
        instance: &str,
        token: Option<&Key>,
        device: Option<&str>,
    ) -> Result<Option<Found>, StoreError> {
        let place = instance_key(instance);
        let asked = device.map(|device| AskedDevice::new(instance, device));
        let mut plan = ReadPlan::new([Some(&place), token].into_iter().flatten().cloned());
        if let Some(asked) = asked.clone() {
            let device = move |instance: &Instance| vec![asked.place_in(instance.incarnation)];
            plan = plan.then(next_keys(place.clone(), device));
        }
        let now = self.clock.now();
        let records = self.store.read(plan, now).await?;
        let stored = records.get_shared(&place)?;
        Ok(stored.map(|Stored { record, .. }| Found {
            instance: record,
            asked,
            records,
            now,
        }))
    }
}

/// The records that a permission is based on, from one snapshot.
struct Found {
    instance: Arc<Instance>,
    asked: Option<AskedDevice>,
    records: Snapshot,
    now: Timestamp,
}

impl Found {
    /// Returns the permitted caller.
    fn caller<R>(
        &self,
        origin: Origin,
        shown: Option<LiveToken>,
    ) -> Result<Caller<R>, StorageError> {
        let Instance {
            incarnation,
            generation,
            ..
        } = *self.instance;
        let device = self.asked.as_ref().map(|asked| {
            let place = asked.place_in(incarnation);
            Slot::of(&self.records, place)
        });
        Ok(Caller {
            instance: self.instance.name.clone(),
            incarnation,
            generation,
            shown,
            origin,
            device: device.transpose()?,
            right: PhantomData,
        })
    }
}

/// Returns the scope with this reach for this instance.
pub(super) fn scope(reach: AccessLevel, instance: &str) -> OperatorScope {
    OperatorScope::Instances(reach, Some(instance.to_owned()))
}

/// The device of a request. Its key depends on the incarnation of the instance, which is read first.
#[derive(Clone)]
struct AskedDevice {
    names: Arc<[String; 2]>,
    place: Derived<Generation, Key>,
}

impl AskedDevice {
    fn new(instance: &str, device: &str) -> Self {
        Self {
            names: Arc::new([instance, device].map(str::to_owned)),
            place: Derived::default(),
        }
    }

    fn place_in(&self, incarnation: Generation) -> Key {
        let [instance, device] = &*self.names;
        let place = |incarnation: &Generation| device_key(instance, incarnation, device);
        self.place.of(&incarnation, place)
    }
}

impl<R> Caller<R> {
    /// The instance's name.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Returns the party whose share of shared resources the caller uses.
    pub fn party(&self) -> String {
        self.origin.who.party()
    }

    /// Returns the key of a device, in the incarnation of the instance that the permission is for.
    pub(super) fn place_of(&self, device: &str) -> Key {
        device_key(&self.instance, &self.incarnation, device)
    }

    /// Returns the incarnation of the instance that the permission is for.
    pub(super) const fn incarnation(&self) -> &Generation {
        &self.incarnation
    }

    /// Returns the device of the request and its key, as read with the permission.
    pub(super) fn device(&self) -> Option<(&Key, &Device)> {
        let slot = self.device.as_ref()?;
        Some((slot.place(), slot.record()?))
    }

    /// Returns the version of that device.
    pub(super) fn device_version(&self) -> Option<Version> {
        self.device.as_ref()?.version()
    }

    pub(super) const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Returns the audit event of an action by this caller.
    pub(super) const fn new_event(
        &self,
        action: Action,
        target: Target,
        detail: Option<String>,
    ) -> NewEvent<'_> {
        NewEvent {
            action,
            target,
            detail,
            origin: &self.origin,
        }
    }

    /// Checks that the token is still valid in the instance or, for an operator, that the instance has the same
    /// incarnation. The record of a token outlives it, so the batch's requirement of that record is not enough.
    pub(super) fn check_still_in(
        &self,
        instance: &Instance,
        now: Timestamp,
    ) -> Result<(), ValidityError> {
        match &self.shown {
            Some(shown) => {
                let validity = shown.validity;
                validity.check(&instance.generation, auth_millis(now))
            }
            None if instance.incarnation == self.incarnation => Ok(()),
            None => Err(ValidityError::Superseded),
        }
    }
}

impl<R> fmt::Debug for Caller<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("instance", &self.instance)
            .field("token", &self.shown.as_ref().map(|shown| &shown.id))
            .finish_non_exhaustive()
    }
}
