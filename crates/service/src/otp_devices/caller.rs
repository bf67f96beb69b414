//! Who may work with the devices of an instance: the bearer of one of its login tokens, or an operator whose scopes reach
//! it.

use std::{fmt, marker::PhantomData, sync::Arc};

use keyproof_auth::{
    AuthError, Generation, Token, Validity,
    operator::{OperatorScope, Reach},
    taler::{LoginScope, Permission},
};
use keyproof_store::{Key, ReadPlan, Snapshot, StoreError, Stored, Timestamp, Version};

use super::{
    OtpDevices,
    records::{Device, Instance, LoginToken, device_key, instance_key, login_token_key},
};
use crate::{
    Action, CommandLine, Failure, Origin, StorageError, Who,
    access::{Operator, OutOfScope},
    audit::{Deed, Target, Warrant},
    clock::auth_millis,
    derived::Derived,
    keys::token_name,
    slot::Slot,
    storage::refuse,
};

/// Somebody who may do `R`: [`Reading`], [`Writing`], [`Refreshing`] or [`Holding`]. Each use case takes one;
/// [`OtpDevices::permit`] makes it of a token that is in force, and [`OtpDevices::permit_operator`] of an operator.
pub struct Caller<R> {
    instance: String,
    incarnation: Generation,
    pub(super) generation: Generation,
    /// The login token; an operator has shown none.
    pub(super) shown: Option<Shown>,
    origin: Origin,
    /// The device that was asked for along with it, from the same moment.
    device: Option<Slot<Device>>,
    right: PhantomData<R>,
}

/// A login token that is in force.
pub(super) struct Shown {
    pub(super) scope: LoginScope,
    pub(super) id: String,
    pub(super) place: Key,
    pub(super) version: Version,
}

/// What a token's scope may allow.
pub trait Right {
    /// The permission; `None`: any token in force will do.
    const NEEDED: Option<Permission>;
}

/// Whoever has a token, whatever it allows.
#[derive(Clone, Copy, Debug)]
pub enum Holding {}

/// Whoever may read devices.
#[derive(Clone, Copy, Debug)]
pub enum Reading {}

/// Whoever may have another token in exchange.
#[derive(Clone, Copy, Debug)]
pub enum Refreshing {}

/// Whoever may change devices.
#[derive(Clone, Copy, Debug)]
pub enum Writing {}

impl Right for Holding {
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

/// What an operator's scope may allow.
pub trait OperatorRight: Right {
    /// How far the scope has to reach.
    const REACH: Reach;
}

impl OperatorRight for Reading {
    const REACH: Reach = Reach::Read;
}

impl OperatorRight for Writing {
    const REACH: Reach = Reach::Change;
}

/// Why whoever asks is not permitted to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPermitted {
    /// The token's time is over.
    #[error("the token has expired")]
    Expired,
    /// The token's scope does not allow this, as the audit trail was told.
    #[error("the token's scope does not allow this")]
    Forbidden,
    /// There is no such instance.
    #[error("there is no such instance")]
    InstanceUnknown,
    /// The text is not a token.
    #[error("not a token")]
    Malformed,
    /// No token was given.
    #[error("a token is needed")]
    Missing,
    /// The token was never issued for this instance, or is revoked, or ended with a password.
    #[error("the token is unknown or revoked")]
    TokenUnknown,
}

/// Why an operator is not permitted to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperatorNotPermitted {
    /// Their token's scopes do not reach it, as the audit trail was told.
    #[error("it needs {needed}")]
    Forbidden {
        /// What they lack.
        needed: OperatorScope,
    },
    /// There is no such instance.
    #[error("there is no such instance")]
    InstanceUnknown,
}

impl From<OutOfScope> for OperatorNotPermitted {
    fn from(OutOfScope { needed }: OutOfScope) -> Self {
        Self::Forbidden { needed }
    }
}

/// Whoever may make, change or remove an instance of this name, whether there is one or not. [`OtpDevices::permit_keeper`]
/// makes it of an operator, [`Keeper::of_command_line`] of whoever runs a command.
#[derive(Debug)]
pub struct Keeper {
    instance: String,
    origin: Origin,
}

impl Keeper {
    /// Whoever runs a command may change each instance.
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
    /// Whether an operator's scopes allow to change this instance, so that they are shown how.
    pub fn may_change(operator: &Operator, instance: &str) -> bool {
        operator.may(&scope(Reach::Change, instance))
    }

    /// Whether they allow to change each instance, and so to make new ones.
    pub fn may_change_all(operator: &Operator) -> bool {
        operator.may(&OperatorScope::Instances(Reach::Change, None))
    }

    /// The operator, if their scopes allow `R` in this instance. `device` is the one that is asked for, if it is one, and is
    /// read along. Asked anew for every request.
    ///
    /// # Errors
    ///
    /// [`OperatorNotPermitted`]; permission comes before existence.
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
        let refused = |why: OutOfScope| Failure::Refused(OperatorNotPermitted::from(why));
        let origin = permitted.await.map_err(refused)?;
        match self.find(instance, None, device).await? {
            Some(found) => Ok(found.caller(origin, None)?),
            None => refuse(OperatorNotPermitted::InstanceUnknown),
        }
    }

    /// The operator, if their scopes allow to change this instance itself.
    ///
    /// # Errors
    ///
    /// [`OutOfScope`].
    pub async fn permit_keeper(
        &self,
        operator: &Operator,
        act: Action,
        instance: &str,
        origin: &Origin,
    ) -> Result<Keeper, OutOfScope> {
        let needed = scope(Reach::Change, instance);
        let target = || Target::Instance(instance.to_owned());
        let permitted = self.audit.permit(operator, needed, act, target, origin);
        Ok(Keeper {
            origin: permitted.await?,
            instance: instance.to_owned(),
        })
    }

    /// The bearer of this token of this instance, if its scope allows `R`. `token` is its text without any prefix; `device` is
    /// the one that is asked for, if it is one, and is read along. Asked anew for every request.
    ///
    /// # Errors
    ///
    /// [`NotPermitted`]; an unknown instance comes before anything about the token.
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
        let validity = Validity {
            generation: stored.record.generation,
            expires_at: stored.record.valid_until.map(auth_millis),
        };
        match validity.check(&instance.generation, auth_millis(found.now)) {
            Ok(()) => {}
            Err(AuthError::Expired { .. }) => return refuse(NotPermitted::Expired),
            Err(_) => return refuse(NotPermitted::TokenUnknown),
        }
        let (scope, id, version) = (stored.record.scope, token_name(&digest), stored.version);
        let place = token.clone();
        let origin = Origin {
            warrants: vec![Warrant { place, version }],
            ..origin.by(Who::Instance {
                name: instance.name.clone(),
                token: Some(id.clone()),
            })
        };
        let shown = Shown {
            scope,
            id,
            place: token,
            version,
        };
        let caller = found.caller(origin, Some(shown))?;
        if let Some(needed) = R::NEEDED.filter(|needed| !scope.allows(*needed)) {
            let why = format!("the scope {scope} does not allow {needed:?}");
            let target = Target::Instance(caller.instance.clone());
            let deed = caller.deed(Action::LoginTokenUse, target, Some(why));
            self.audit.refused(deed).await;
            return refuse(NotPermitted::Forbidden);
        }
        Ok(caller)
    }

    /// The instance with the token that is shown, and the device in its present life; `None` is no such instance.
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
            let place = place.clone();
            plan = plan.then(move |found| {
                let stored = found.get_shared::<Instance>(&place)?;
                let device = stored.map(|stored| asked.place_in(stored.record.incarnation));
                Ok(device.into_iter().collect())
            });
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

/// What a permission rests on, as it was at one moment.
struct Found {
    instance: Arc<Instance>,
    asked: Option<AskedDevice>,
    records: Snapshot,
    now: Timestamp,
}

impl Found {
    /// Whoever is permitted by it.
    fn caller<R>(&self, origin: Origin, shown: Option<Shown>) -> Result<Caller<R>, StorageError> {
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

/// The scope that reaches so far in this instance.
pub(super) fn scope(reach: Reach, instance: &str) -> OperatorScope {
    OperatorScope::Instances(reach, Some(instance.to_owned()))
}

/// A device that is asked for. Where it is depends on the life of the instance, which is read first.
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

    /// Whose share they take of what all callers have in common.
    pub fn party(&self) -> String {
        self.origin.who.party()
    }

    /// Where a device of the instance stands, in the life of it that the caller's permission is for.
    pub(super) fn place_of(&self, device: &str) -> Key {
        device_key(&self.instance, &self.incarnation, device)
    }

    /// The life of the instance that the caller's permission is for.
    pub(super) const fn incarnation(&self) -> &Generation {
        &self.incarnation
    }

    /// The device that was asked for, as it was when the token was in force, and where it is.
    pub(super) fn device(&self) -> Option<(&Key, &Device)> {
        let slot = self.device.as_ref()?;
        Some((slot.place(), slot.record()?))
    }

    pub(super) const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The event of something done by this caller.
    pub(super) const fn deed(
        &self,
        action: Action,
        target: Target,
        detail: Option<String>,
    ) -> Deed<'_> {
        Deed {
            action,
            target,
            detail,
            origin: &self.origin,
        }
    }

    /// Whether the instance's password is still that of the token; for an operator, whether it is still the same instance.
    pub(super) fn is_still_in(&self, instance: &Instance) -> bool {
        match self.shown {
            Some(_) => instance.generation == self.generation,
            None => instance.incarnation == self.incarnation,
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
