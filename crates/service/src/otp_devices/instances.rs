//! Instances. They are created and removed at the command line and in the console, and given passwords at the command
//! line, all while servers run.

use keyproof_auth::{NewPasswordError, check_new_password, operator::AccessLevel};
use keyproof_store::{Batch, Stored, Timestamp};
use zeroize::Zeroizing;

use super::{
    InstanceAdministrator, OtpDevices,
    caller::scope,
    records::{Instance, Leftover, all_instances, instance_key, leftover_key},
};
use crate::{
    Action, Failure, HashingError, Origin, StorageError,
    access::Operator,
    audit::{NewEvent, Target},
    pages::{ListPage, Pages, reached},
    storage::{Attempt, contended, refuse, refused, transact_permitted},
};

/// The instance that always exists and is also served at the root.
pub const DEFAULT_INSTANCE: &str = "default";

/// An instance in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceSummary {
    /// Its name.
    pub name: String,
    /// Whether anyone can log in to it.
    pub has_password: bool,
    /// When it was created.
    pub created_at: Timestamp,
}

impl InstanceSummary {
    fn of(instance: Instance) -> Self {
        Self {
            name: instance.name,
            has_password: instance.password.is_some(),
            created_at: instance.created_at,
        }
    }
}

/// Why an instance was not created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddInstanceError {
    /// An instance of this name exists.
    #[error("the instance exists already")]
    Exists,
    /// The password could not be hashed.
    #[error(transparent)]
    Hashing(#[from] HashingError),
    /// The name is not a valid instance name.
    #[error(
        "a name has 1 to 64 of the characters A-Z a-z 0-9 . _ @ -, the first of them a letter or a digit"
    )]
    Name,
    /// The password does not meet the rules.
    #[error(transparent)]
    Password(#[from] NewPasswordError),
}

/// Why an instance was not removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoveInstanceError {
    /// There is no instance of this name.
    #[error("there is no such instance")]
    Unknown,
}

/// Why a password was not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetPasswordError {
    /// The password could not be hashed.
    #[error(transparent)]
    Hashing(#[from] HashingError),
    /// The password does not meet the rules.
    #[error(transparent)]
    Password(#[from] NewPasswordError),
    /// There is no instance of this name.
    #[error("there is no such instance")]
    Unknown,
}

impl OtpDevices {
    /// Returns whether there is an instance of this name.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn has_instance(&self, name: &str) -> Result<bool, StorageError> {
        let found = self
            .store
            .get::<Instance>(&instance_key(name), self.clock.now())
            .await?;
        Ok(found.is_some())
    }

    /// Creates the default instance without a password, unless it exists.
    pub(crate) async fn ensure_default(&self) -> Result<(), StorageError> {
        let (use_case, origin) = ("otp_devices.ensure_default", Origin::keyproof());
        let inserted = self.insert_instance(use_case, DEFAULT_INSTANCE, None, &origin);
        match inserted.await {
            Ok(()) | Err(Failure::Refused(_)) => Ok(()),
            Err(Failure::Storage(error)) => Err(error),
        }
    }

    /// Creates an instance.
    ///
    /// # Errors
    ///
    /// [`AddInstanceError`].
    pub async fn add_instance(
        &self,
        administrator: &InstanceAdministrator,
        password: Zeroizing<String>,
    ) -> Result<(), Failure<AddInstanceError>> {
        let name = administrator.instance();
        if !is_instance_name(name) {
            return refuse(AddInstanceError::Name);
        }
        let (use_case, origin) = ("otp_devices.add_instance", administrator.origin());
        let password = self.hashed::<AddInstanceError>(password, origin).await?;
        self.insert_instance(use_case, name, Some(&password), origin)
            .await
    }

    /// Returns a page of the instances by name: those after `after`, the last of the page before. Empty at the end.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn instances(
        &self,
        after: Option<&InstanceSummary>,
    ) -> Result<Vec<InstanceSummary>, StorageError> {
        let after = after.map(|last| instance_key(&last.name));
        let mut pages = Pages::<Instance>::after(&self.store, all_instances(), after);
        let page = pages.next(self.clock.now()).await?.unwrap_or_default();
        let instances = page
            .into_iter()
            .map(|(_, Stored { record, .. })| InstanceSummary::of(record));
        Ok(instances.collect())
    }

    /// Lists at most `most` of the instances that the operator may read, after the name `after`. A page may be empty
    /// although there is a next one.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn instances_page(
        &self,
        operator: &Operator,
        after: Option<&str>,
        most: usize,
    ) -> Result<ListPage<InstanceSummary, String>, StorageError> {
        let (after, now) = (after.map(instance_key), self.clock.now());
        let row = |instance: Instance| {
            let is_reached = operator.may(&scope(AccessLevel::Read, &instance.name));
            let name = instance.name.clone();
            (name, is_reached.then(|| InstanceSummary::of(instance)))
        };
        let all = all_instances();
        reached(&self.store, &all, after.as_ref(), most, now, row).await
    }

    /// Sets the password of an instance. This voids all its login tokens and ends lockouts.
    ///
    /// # Errors
    ///
    /// [`SetPasswordError`].
    pub async fn set_password(
        &self,
        administrator: &InstanceAdministrator,
        password: Zeroizing<String>,
    ) -> Result<(), Failure<SetPasswordError>> {
        let password = self
            .hashed::<SetPasswordError>(password, administrator.origin())
            .await?;
        let (use_case, act) = ("otp_devices.set_password", Action::InstanceSetPassword);
        let next = |instance: &Instance, _: Timestamp| {
            Some(Instance {
                generation: self.draw_generation(),
                password: Some(password.clone()),
                ..instance.clone()
            })
        };
        let unknown = SetPasswordError::Unknown;
        self.change_instance(use_case, administrator, act, next, unknown)
            .await
    }

    /// Removes an instance with its devices and tokens. The default instance is replaced by an empty one without a
    /// password.
    ///
    /// # Errors
    ///
    /// [`RemoveInstanceError`].
    pub async fn remove_instance(
        &self,
        administrator: &InstanceAdministrator,
    ) -> Result<(), Failure<RemoveInstanceError>> {
        let (use_case, act) = ("otp_devices.remove_instance", Action::InstanceRemove);
        let next = |instance: &Instance, now: Timestamp| {
            let is_default = instance.name == DEFAULT_INSTANCE;
            is_default.then(|| self.new_instance(DEFAULT_INSTANCE, None, now))
        };
        let unknown = RemoveInstanceError::Unknown;
        self.change_instance(use_case, administrator, act, next, unknown)
            .await
    }

    /// Validates and hashes a new password.
    async fn hashed<E: From<NewPasswordError> + From<HashingError>>(
        &self,
        password: Zeroizing<String>,
        origin: &Origin,
    ) -> Result<String, Failure<E>> {
        check_new_password(&password).map_err(refused)?;
        let turn = self.turn(origin);
        let hash = self.hashing.hash(turn, password, self.store.entropy());
        Ok(hash.await?)
    }

    /// Creates an instance, unless there is one of this name.
    async fn insert_instance(
        &self,
        use_case: &'static str,
        name: &str,
        password: Option<&str>,
        origin: &Origin,
    ) -> Result<(), Failure<AddInstanceError>> {
        let key = instance_key(name);
        let (store, clock) = (&self.store, &*self.clock);
        transact_permitted(use_case, store, clock, origin, contended, || async {
            let now = self.clock.now();
            if self.store.get::<Instance>(&key, now).await?.is_some() {
                return refuse(AddInstanceError::Exists);
            }
            let mut batch = self.store.batch(now);
            batch.insert(&key, &self.new_instance(name, password, now), None);
            self.record_event(&mut batch, now, Action::InstanceAdd, name, origin);
            Ok(Attempt::Commit(batch, Ok(())))
        })
        .await
    }

    /// Replaces an instance with `next`, or removes it if that is `None`. Then deletes the tokens of the old generation
    /// and, if the incarnation changes, the devices. A new password ends lockouts; a new incarnation resets all
    /// counters. Refuses with `unknown` if there is no such instance.
    async fn change_instance<E: Clone>(
        &self,
        use_case: &'static str,
        administrator: &InstanceAdministrator,
        act: Action,
        next: impl Fn(&Instance, Timestamp) -> Option<Instance>,
        unknown: E,
    ) -> Result<(), Failure<E>> {
        let (name, origin) = (administrator.instance(), administrator.origin());
        let key = instance_key(name);
        let (store, clock) = (&self.store, &*self.clock);
        transact_permitted(use_case, store, clock, origin, contended, || async {
            let now = self.clock.now();
            let Some((stored, guesses)) = self.guarded(name, now).await? else {
                return refuse(unknown.clone());
            };
            let Stored {
                record, version, ..
            } = stored;
            let next = next(&record, now);
            let goes_on = |next: &Instance| next.incarnation == record.incarnation;
            let goes_on = next.as_ref().is_some_and(goes_on);
            let mut batch = self.store.batch(now);
            record_leftover(&mut batch, &record, !goes_on);
            if goes_on {
                guesses.save(&mut batch, &guesses.records(name).unlock());
            } else {
                guesses.erase(&mut batch);
            }
            match next {
                Some(next) => {
                    batch.replace(&key, version, &next, None);
                }
                None => batch.remove(&key, version),
            }
            self.record_event(&mut batch, now, act, name, origin);
            Ok(Attempt::Commit(batch, Ok(())))
        })
        .await?;
        self.clear_leftovers_now().await;
        Ok(())
    }

    fn new_instance(&self, name: &str, password: Option<&str>, now: Timestamp) -> Instance {
        Instance {
            name: name.to_owned(),
            incarnation: self.draw_generation(),
            generation: self.draw_generation(),
            password: password.map(str::to_owned),
            created_at: now,
        }
    }

    fn record_event(
        &self,
        batch: &mut Batch,
        now: Timestamp,
        action: Action,
        name: &str,
        origin: &Origin,
    ) {
        let new_event = NewEvent {
            action,
            target: Target::Instance(name.to_owned()),
            detail: None,
            origin,
        };
        self.audit.done(batch, now, new_event);
    }
}

/// Adds to the change's batch a record of the data to be deleted.
fn record_leftover(batch: &mut Batch, instance: &Instance, removed: bool) {
    let leftover = Leftover {
        instance: instance.name.clone(),
        generation: instance.generation,
        incarnation: removed.then_some(instance.incarnation),
    };
    batch.insert(
        &leftover_key(&instance.name, &instance.generation),
        &leftover,
        None,
    );
}

/// Returns whether Taler allows this as an instance id.
fn is_instance_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '@' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        otp_devices::{AnyToken, Lifetime, LoginError, NotPermitted},
        testing::{PASSWORD, administrator, bench, refusal, secret},
    };
    use keyproof_store::Prefix;

    #[tokio::test]
    async fn default_is_there_from_the_start_and_nobody_gets_in() {
        let bench = bench().await;
        let devices = &bench.service.otp_devices;
        let listed = devices.instances(None).await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].name, "default");
        assert!(!listed[0].has_password);
        for password in ["", PASSWORD] {
            let refused = bench.log_in("default", "default", password).await;
            assert_eq!(refused.err(), refusal(LoginError::Refused));
        }
        devices.ensure_default().await.unwrap();
        assert_eq!(bench.times(Action::InstanceAdd).await, 1);
    }

    #[tokio::test]
    async fn names_and_passwords_are_checked() {
        let bench = bench().await;
        let devices = &bench.service.otp_devices;
        let add = async |name: &str, password: &str| {
            devices
                .add_instance(&administrator(name), secret(password))
                .await
        };
        for wrong in ["", "-a", ".a", "a/b", "ä", "a b", &"a".repeat(65)] {
            assert_eq!(
                add(wrong, PASSWORD).await.err(),
                refusal(AddInstanceError::Name),
                "{wrong:?}"
            );
        }
        assert!(matches!(
            add("shop", "7 chars").await,
            Err(Failure::Refused(AddInstanceError::Password(_)))
        ));
        assert_eq!(add("Shop-1@a_b.c", PASSWORD).await, Ok(()));
        assert_eq!(
            add("Shop-1@a_b.c", PASSWORD).await.err(),
            refusal(AddInstanceError::Exists)
        );
        assert_eq!(
            add("default", PASSWORD).await.err(),
            refusal(AddInstanceError::Exists)
        );
    }

    #[tokio::test]
    async fn a_new_password_ends_old_tokens_and_keeps_devices() {
        let bench = bench().await;
        let devices = &bench.service.otp_devices;
        let token = bench.token("shop", "all", Lifetime::Forever).await;
        bench.set_password("shop", "another horse").await;
        let session = bench.permitted::<AnyToken>("shop", &token).await;
        assert_eq!(session.err(), refusal(NotPermitted::TokenUnknown));
        let old = bench.log_in("shop", "shop", PASSWORD).await;
        assert_eq!(old.err(), refusal(LoginError::Refused));
        assert!(bench.log_in("shop", "shop", "another horse").await.is_ok());
        let nowhere = administrator("nowhere");
        let set = devices.set_password(&nowhere, secret(PASSWORD)).await;
        assert_eq!(set.err(), refusal(SetPasswordError::Unknown));
    }

    /// The first attempt at a password may be counted between the read of a removal and its commit.
    #[tokio::test]
    async fn no_counter_of_a_removed_instance_is_left_for_the_next_of_its_name() {
        let bench = bench().await;
        let (devices, shop) = (&bench.service.otp_devices, administrator("shop"));
        for password in [PASSWORD, "another horse"] {
            let added = devices.add_instance(&shop, secret(PASSWORD)).await;
            added.unwrap();
            let attempt = async {
                let logged_in = bench.log_in("shop", "shop", password).await;
                assert_eq!(logged_in.is_ok(), password == PASSWORD);
            };
            let slow = devices.remove_instance(&shop);
            bench.faults.overtake(slow, attempt).await.unwrap();
            for collection in ["otp_addresses", "otp_lockout"] {
                let left = bench.rows(&Prefix::collection(collection)).await;
                assert!(left.is_empty(), "{collection} after {password:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_removed_default_is_there_again_without_a_password() {
        let bench = bench().await;
        let devices = &bench.service.otp_devices;
        bench.set_password("default", PASSWORD).await;
        let token = bench.token("default", "all", Lifetime::Forever).await;
        devices
            .remove_instance(&administrator("default"))
            .await
            .unwrap();
        let session = bench.permitted::<AnyToken>("default", &token).await;
        assert_eq!(session.err(), refusal(NotPermitted::TokenUnknown));
        assert!(!devices.instances(None).await.unwrap()[0].has_password);
    }
}
