//! Deletion of the tokens and devices that a removed instance or an old password left behind.
//!
//! They are already unreachable: devices are found only by their incarnation, tokens are valid only with their
//! generation, and neither value is drawn again. So this can be interrupted, repeated, and run on several servers.

use keyproof_store::{Key, Timestamp, Version};

use super::{
    OtpDevices,
    records::{Device, Leftover, LoginToken, all_devices, all_leftovers, all_tokens},
};
use crate::{StorageError, pages::Pages, storage::commit_unless_changed, upkeep::Round};

/// The most records that one batch deletes, and the most leftovers read at once.
const BATCH: usize = 100;

/// After how many deleted records a removal or a new password leaves the rest to the upkeep, as its client waits.
const AT_ONCE: usize = 1_000;

impl OtpDevices {
    /// Deletes some of what was left behind: at most one batch for each removal or password.
    ///
    /// # Errors
    ///
    /// [`StorageError`]; the rest is left for the next call.
    pub(crate) async fn clear_leftovers(&self) -> Result<Round, StorageError> {
        let now = self.clock.now();
        let mut round = Round::default();
        let all = all_leftovers();
        let leftovers = self.store.scan::<Leftover>(&all, None, BATCH, now);
        for (key, stored) in leftovers.await? {
            let mut dead = self.dead_tokens(&stored.record).await?;
            dead.extend(self.dead_devices(&stored.record).await?);
            if dead.is_empty() {
                dead.push((key, stored.version));
            }
            dead.truncate(BATCH);
            round.removed += self.remove_all(&dead, now).await?;
        }
        // A leftover's own record is deleted last, so any deletion may be followed by another.
        round.goes_on = round.removed > 0;
        Ok(round)
    }

    /// Deletes about the first [`AT_ONCE`] records of it. Upkeep deletes the rest, also after an error, which is logged.
    pub(super) async fn clear_leftovers_now(&self) {
        let mut removed = 0;
        while removed < AT_ONCE {
            match self.clear_leftovers().await {
                Ok(round) if round.goes_on => removed += round.removed,
                Ok(_) => return,
                Err(error) => {
                    tracing::warn!(%error, "the remaining records of a removed instance cannot be deleted yet");
                    return;
                }
            }
        }
    }

    /// Returns at most a batch of the tokens of an ended generation.
    async fn dead_tokens(&self, leftover: &Leftover) -> Result<Vec<(Key, Version)>, StorageError> {
        let mut pages =
            Pages::<LoginToken>::of(&self.store, all_tokens(&leftover.instance)).at_once(BATCH);
        let mut dead = Vec::new();
        while dead.len() < BATCH
            && let Some(page) = pages.next(Timestamp::EPOCH).await?
        {
            let ended = page
                .into_iter()
                .filter(|(_, token)| token.record.generation == leftover.generation);
            dead.extend(ended.map(|(key, token)| (key, token.version)));
        }
        Ok(dead)
    }

    /// Returns at most a batch of the devices of an ended incarnation.
    async fn dead_devices(&self, leftover: &Leftover) -> Result<Vec<(Key, Version)>, StorageError> {
        let Some(incarnation) = &leftover.incarnation else {
            return Ok(Vec::new());
        };
        let prefix = all_devices(&leftover.instance, incarnation);
        let page = self
            .store
            .scan::<Device>(&prefix, None, BATCH, Timestamp::EPOCH)
            .await?;
        Ok(page
            .into_iter()
            .map(|(key, device)| (key, device.version))
            .collect())
    }

    async fn remove_all(
        &self,
        records: &[(Key, Version)],
        now: Timestamp,
    ) -> Result<usize, StorageError> {
        let mut batch = self.store.batch(now);
        for (key, version) in records {
            batch.remove(key, *version);
        }
        // Another process may delete the same records. The next call finds the rest.
        let is_made = commit_unless_changed(&self.store, batch).await?;
        Ok(if is_made { records.len() } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        otp_devices::{
            AddDeviceError, AnyToken, IssueError, Issuer, Lifetime, NotPermitted, TokenRequest,
            Writing,
        },
        testing::{
            Bench, PASSWORD, administrator, bench, otp_device as device, refusal, scope, secret,
        },
    };
    use keyproof_auth::ValidityError;
    use keyproof_store::{Prefix, faults::CommitMode};

    fn everything() -> TokenRequest {
        TokenRequest {
            scope: scope("all"),
            lifetime: Lifetime::Default,
            description: None,
        }
    }

    async fn records(bench: &Bench, collection: &str) -> usize {
        bench.rows(&Prefix::collection(collection)).await.len()
    }

    #[tokio::test]
    async fn nothing_of_a_removed_instance_comes_back_with_its_name() {
        let bench = bench().await;
        let devices = &bench.service.otp_devices;
        let token = bench
            .token("shop", "all:refreshable", Lifetime::Forever)
            .await;
        let caller = bench.permitted::<Writing>("shop", &token).await.unwrap();
        let reader = bench.permitted("shop", &token).await.unwrap();
        let refresher = Issuer::from(bench.permitted("shop", &token).await.unwrap());
        devices.add_device(&caller, &device("till")).await.unwrap();
        devices
            .remove_instance(&administrator("shop"))
            .await
            .unwrap();
        let gone = bench.permitted::<AnyToken>("shop", &token).await;
        assert_eq!(gone.err(), refusal(NotPermitted::InstanceUnknown));

        devices
            .add_instance(&administrator("shop"), secret(PASSWORD))
            .await
            .unwrap();
        let unknown = bench.permitted::<AnyToken>("shop", &token).await;
        assert_eq!(unknown.err(), refusal(NotPermitted::TokenUnknown));
        let fresh = bench.session("shop").await;
        assert_eq!(fresh.list().await.unwrap(), []);

        // A caller that was permitted before the removal cannot change anything after it.
        let late = devices.add_device(&caller, &device("late")).await;
        assert_eq!(
            late.err(),
            refusal(AddDeviceError::Ended(ValidityError::Superseded))
        );
        let late = devices.issue(&refresher, &everything()).await;
        assert_eq!(late.err(), refusal(IssueError::Ended));
        assert_eq!(devices.devices(&reader).await.unwrap(), []);
    }

    #[tokio::test]
    async fn what_was_decided_before_a_removal_is_not_stored_after_it() {
        let bench = bench().await;
        let devices = &bench.service.otp_devices;
        let session = bench.session("shop").await;
        let (late, caller) = (device("late"), session.caller(None).await);
        let slow = devices.add_device(&caller, &late);
        let removal = async {
            devices
                .remove_instance(&administrator("shop"))
                .await
                .unwrap()
        };
        let added = bench.faults.overtake(slow, removal).await;
        assert_eq!(
            added.err(),
            refusal(AddDeviceError::Ended(ValidityError::Superseded))
        );
        assert_eq!(records(&bench, "otp_device").await, 0);
    }

    #[tokio::test]
    async fn no_token_is_issued_on_a_password_that_is_no_more() {
        let bench = bench().await;
        let devices = &bench.service.otp_devices;
        let issuer = bench.logged_in("shop").await;
        let everything = everything();
        let slow = devices.issue(&issuer, &everything);
        let change = bench.set_password("shop", PASSWORD);
        let issued = bench.faults.overtake(slow, change).await;
        assert_eq!(issued.err(), refusal(IssueError::Ended));
        assert_eq!(records(&bench, "login_token").await, 0);
    }

    #[tokio::test]
    async fn no_token_is_issued_on_one_that_is_revoked_meanwhile() {
        let bench = bench().await;
        let devices = &bench.service.otp_devices;
        let token = bench
            .token("shop", "all:refreshable", Lifetime::Forever)
            .await;
        let session = bench.permitted::<AnyToken>("shop", &token).await.unwrap();
        let issuer = Issuer::from(bench.permitted("shop", &token).await.unwrap());
        let everything = everything();
        let slow = devices.issue(&issuer, &everything);
        let revocation = async { devices.revoke(&session).await.unwrap() };
        let issued = bench.faults.overtake(slow, revocation).await;
        assert_eq!(issued.err(), refusal(IssueError::Ended));
        assert_eq!(records(&bench, "login_token").await, 0);
    }

    #[tokio::test]
    async fn what_is_left_is_cleared_in_bounded_steps() {
        let bench = bench().await;
        let devices = &bench.service.otp_devices;
        let session = bench.session("shop").await;
        for number in 0..BATCH * 2 + 5 {
            session.add(&device(&number.to_string())).await.unwrap();
        }
        // The removal commits. The deletion fails at first, as after a crash.
        bench.faults.commits(CommitMode::Lost);
        assert!(
            devices
                .remove_instance(&administrator("shop"))
                .await
                .is_err()
        );
        bench.faults.commits(CommitMode::Made);
        assert_eq!(records(&bench, "otp_device").await, BATCH * 2 + 5);
        assert_eq!(records(&bench, "otp_leftover").await, 1);

        let mut steps = 0;
        loop {
            let cleared = devices.clear_leftovers().await.unwrap().removed;
            assert!(cleared <= BATCH, "{cleared} in one step");
            if cleared == 0 {
                break;
            }
            steps += 1;
        }
        assert!(steps >= 3, "{steps}");
        for collection in ["otp_device", "otp_leftover", "login_token"] {
            assert_eq!(records(&bench, collection).await, 0, "{collection}");
        }
    }

    #[tokio::test]
    async fn whoever_removes_much_does_not_wait_for_all_of_it() {
        let bench = bench().await;
        let devices = &bench.service.otp_devices;
        let session = bench.session("shop").await;
        for number in 0..AT_ONCE + 5 {
            session.add(&device(&number.to_string())).await.unwrap();
        }
        let removing = administrator("shop");
        devices.remove_instance(&removing).await.unwrap();
        // The session's token was deleted, too.
        assert_eq!(records(&bench, "otp_device").await, 6);
        while devices.clear_leftovers().await.unwrap().goes_on {}
        for collection in ["otp_device", "otp_leftover", "login_token"] {
            assert_eq!(records(&bench, collection).await, 0, "{collection}");
        }
    }

    #[tokio::test]
    async fn a_new_password_leaves_devices_and_newer_tokens_alone() {
        let bench = bench().await;
        let devices = &bench.service.otp_devices;
        let session = bench.session("shop").await;
        session.add(&device("till")).await.unwrap();
        bench.set_password("shop", PASSWORD).await;
        assert_eq!(records(&bench, "login_token").await, 0);
        let fresh = bench.session("shop").await;
        while devices.clear_leftovers().await.unwrap().goes_on {}
        assert_eq!(records(&bench, "login_token").await, 1);
        assert_eq!(fresh.list().await.unwrap().len(), 1);
    }
}
