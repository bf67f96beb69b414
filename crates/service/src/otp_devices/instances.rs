//! Instances: made, given passwords and removed at the command line, while servers run.

use super::{
    OtpDevices,
    records::{Instance, Leftover, all_instances, instance_key, leftover_key},
};
use crate::{
    HashingError, Origin, StorageError,
    audit::Deed,
    storage::{Attempt, settle},
};
use keyproof_auth::{AuthError, check_new_password};
use keyproof_store::{Batch, Stored, Timestamp};
use zeroize::Zeroizing;

/// The instance that is always there, and is served at the root as well.
pub const DEFAULT_INSTANCE: &str = "default";

/// Instances read at once.
const PAGE: usize = 200;

/// An instance, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceSummary {
    /// Its name.
    pub name: String,
    /// Can anyone log in to it?
    pub has_password: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Why no instance was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddInstanceError {
    /// There is one of that name.
    #[error("the instance exists already")]
    Exists,
    /// The password could not be hashed.
    #[error(transparent)]
    Hashing(#[from] HashingError),
    /// The name cannot be an instance's.
    #[error(
        "a name has 1 to 64 of the characters A-Z a-z 0-9 . _ @ -, the first of them a letter or a digit"
    )]
    Name,
    /// The password cannot be one.
    #[error(transparent)]
    Password(#[from] AuthError),
    /// No verdict.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why no instance was removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoveInstanceError {
    /// No verdict.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// There is none of that name.
    #[error("there is no such instance")]
    Unknown,
}

/// Why a password was not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetPasswordError {
    /// The password could not be hashed.
    #[error(transparent)]
    Hashing(#[from] HashingError),
    /// The password cannot be one.
    #[error(transparent)]
    Password(#[from] AuthError),
    /// No verdict.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// There is none of that name.
    #[error("there is no such instance")]
    Unknown,
}

impl OtpDevices {
    /// Makes the default instance, without a password, unless it is there.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn ensure_default(&self) -> Result<(), StorageError> {
        let key = instance_key(DEFAULT_INSTANCE);
        settle(async || {
            let now = self.clock.now();
            if self.store.get::<Instance>(&key, now).await?.is_some() {
                return Ok(Attempt::Done(()));
            }
            let mut batch = self.store.batch(now);
            batch.insert(&key, &self.new_instance(DEFAULT_INSTANCE, None, now), None);
            self.told(
                &mut batch,
                now,
                "instance.add",
                DEFAULT_INSTANCE,
                &Origin::keyproof(),
            );
            Attempt::of(self.store.commit(batch).await)
        })
        .await
    }

    /// Makes an instance.
    ///
    /// # Errors
    /// [`AddInstanceError`].
    pub async fn add_instance(
        &self,
        name: &str,
        password: Zeroizing<String>,
        origin: &Origin,
    ) -> Result<(), AddInstanceError> {
        if !is_instance_name(name) {
            return Err(AddInstanceError::Name);
        }
        check_new_password(&password)?;
        let password = self.hashing.hash(password, self.store.entropy()).await?;
        let key = instance_key(name);
        settle(async || {
            let now = self.clock.now();
            if self
                .store
                .get::<Instance>(&key, now)
                .await
                .map_err(StorageError::from)?
                .is_some()
            {
                return Err(AddInstanceError::Exists);
            }
            let mut batch = self.store.batch(now);
            batch.insert(
                &key,
                &self.new_instance(name, Some(password.clone()), now),
                None,
            );
            self.told(&mut batch, now, "instance.add", name, origin);
            Ok(Attempt::of(self.store.commit(batch).await)?)
        })
        .await
    }

    /// Every instance, by name.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn instances(&self) -> Result<Vec<InstanceSummary>, StorageError> {
        let mut instances = Vec::new();
        let mut after = None;
        loop {
            let page = self
                .store
                .scan::<Instance>(&all_instances(), after.as_ref(), PAGE, self.clock.now())
                .await?;
            let Some((last, _)) = page.last() else {
                return Ok(instances);
            };
            after = Some(last.clone());
            instances.extend(
                page.into_iter()
                    .map(|(_, Stored { record, .. })| InstanceSummary {
                        name: record.name,
                        has_password: record.password.is_some(),
                        created_at: record.created_at,
                    }),
            );
        }
    }

    /// Sets the password of an instance. Every login token of it ends.
    ///
    /// # Errors
    /// [`SetPasswordError`].
    pub async fn set_password(
        &self,
        name: &str,
        password: Zeroizing<String>,
        origin: &Origin,
    ) -> Result<(), SetPasswordError> {
        check_new_password(&password)?;
        let password = self.hashing.hash(password, self.store.entropy()).await?;
        let key = instance_key(name);
        settle(async || {
            let now = self.clock.now();
            let stored = self
                .store
                .get::<Instance>(&key, now)
                .await
                .map_err(StorageError::from)?;
            let Some(Stored {
                record, version, ..
            }) = stored
            else {
                return Err(SetPasswordError::Unknown);
            };
            let mut batch = self.store.batch(now);
            leave(&mut batch, &record, false);
            let next = Instance {
                generation: self.draw_generation(),
                password: Some(password.clone()),
                ..record
            };
            batch.replace(&key, version, &next, None);
            self.told(&mut batch, now, "instance.set_password", name, origin);
            Ok(Attempt::of(self.store.commit(batch).await)?)
        })
        .await?;
        self.clear_leftovers_now().await;
        Ok(())
    }

    /// Removes an instance with its devices and tokens. The default instance is there again at once, empty and
    /// without a password.
    ///
    /// # Errors
    /// [`RemoveInstanceError`].
    pub async fn remove_instance(
        &self,
        name: &str,
        origin: &Origin,
    ) -> Result<(), RemoveInstanceError> {
        let key = instance_key(name);
        settle(async || {
            let now = self.clock.now();
            let stored = self
                .store
                .get::<Instance>(&key, now)
                .await
                .map_err(StorageError::from)?;
            let Some(Stored {
                record, version, ..
            }) = stored
            else {
                return Err(RemoveInstanceError::Unknown);
            };
            let mut batch = self.store.batch(now);
            leave(&mut batch, &record, true);
            if name == DEFAULT_INSTANCE {
                batch.replace(&key, version, &self.new_instance(name, None, now), None);
            } else {
                batch.remove(&key, version);
            }
            self.told(&mut batch, now, "instance.remove", name, origin);
            Ok(Attempt::of(self.store.commit(batch).await)?)
        })
        .await?;
        self.clear_leftovers_now().await;
        Ok(())
    }

    fn new_instance(&self, name: &str, password: Option<String>, now: Timestamp) -> Instance {
        Instance {
            name: name.to_owned(),
            incarnation: self.draw_generation(),
            generation: self.draw_generation(),
            password,
            created_at: now,
        }
    }

    fn told(
        &self,
        batch: &mut Batch,
        now: Timestamp,
        action: &'static str,
        name: &str,
        origin: &Origin,
    ) {
        let deed = Deed {
            action,
            target: format!("instance/{name}"),
            detail: None,
            origin,
        };
        self.audit.done(batch, now, deed);
    }
}

/// Notes what a change to an instance leaves behind, in the change's own batch.
fn leave(batch: &mut Batch, instance: &Instance, removed: bool) {
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

/// Taler's own alphabet for instance ids.
fn is_instance_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '@' | '-'))
}
