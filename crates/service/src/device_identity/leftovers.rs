//! The certificates of a device that no longer count, and their revocation, in as many batches as it takes.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use keyproof_store::{Batch, Key, Prefix, Record};

use super::{
    DeviceError, DeviceIdentity, DevicePlace, Station, StationOperation,
    certified::{Cause, Certified, Issued, REVOKED_AT_ONCE, tell_revoked},
    devices::KEYS_AT_ONCE,
    identity::{ActiveKey, Device},
    reached::{BEHIND, name_in},
};
use crate::{
    Failure, Origin, StorageError,
    audit::NewEvent,
    pages::{Page, transact_pages},
};

/// Which certificates of a device no longer count.
#[derive(Clone, Copy)]
pub(super) enum Leftover<'a> {
    /// Those of its earlier incarnations.
    Forgotten,
    /// Those that were made for other EKs before it was bound. The station's activation has bound it, or confirmed that.
    OtherEndorsements(&'a Station),
}

impl Leftover<'_> {
    const fn cause(self) -> Cause {
        match self {
            Self::Forgotten => Cause::Forgotten,
            Self::OtherEndorsements(_) => Cause::Superseded,
        }
    }

    /// Returns whether these are certificates that no longer count.
    fn includes(self, certified: &Certified, device: &Device) -> bool {
        let is_present = certified.incarnation == device.incarnation;
        match self {
            Self::Forgotten => !is_present,
            Self::OtherEndorsements(_) => {
                // Pre-release builds did not store the EK's Name.
                let is_other = |ek: &String| !certified.ek.is_empty() && *ek != certified.ek;
                is_present && device.ek.as_ref().is_some_and(is_other)
            }
        }
    }
}

impl DeviceIdentity {
    /// Revokes the certificates that were made for other EKs of a device before it was bound. Once it is, none is made any
    /// more, so this follows an activation. The activation is done whatever happens here: a failure is logged, and the same
    /// activation completes it when it is sent again, or the device's next one.
    pub(super) async fn revoke_other_endorsements(&self, station: &Station, place: &DevicePlace) {
        if let Err(error) = self.try_revoke_other_endorsements(station, place).await {
            tracing::error!(
                device = %place.target(),
                %error,
                "the certificates for other endorsement keys of a device are not all revoked"
            );
        }
    }

    /// The certificates for the device's own EK are not read: anybody with its public keys may have had many made.
    async fn try_revoke_other_endorsements(
        &self,
        station: &Station,
        place: &DevicePlace,
    ) -> Result<(), Failure<DeviceError>> {
        let left = Leftover::OtherEndorsements(station);
        let device = self
            .store
            .get::<Device>(&place.key(), self.clock.now())
            .await?;
        let Some(own) = device.and_then(|device| device.record.ek) else {
            return Ok(());
        };
        for category in self.categories_of(place).await? {
            let mut last: Option<String> = None;
            while let Some(ek) = self
                .next_endorsement(place, &category, last.as_deref())
                .await?
            {
                if ek != own {
                    let certificates = place.certificates_of(&category, &ek);
                    self.revoke_below(place, &category, &certificates, left)
                        .await?;
                }
                last = Some(ek);
            }
        }
        Ok(())
    }

    /// Returns the Name of the next EK after this one for which a category has certified AKs of a device.
    async fn next_endorsement(
        &self,
        place: &DevicePlace,
        category: &str,
        last: Option<&str>,
    ) -> Result<Option<String>, StorageError> {
        let behind = last.map(|ek| {
            let (namespace, behind) = (&*place.namespace, format!("{ek}{BEHIND}"));
            let segments = [namespace, category, &place.vendor, &place.serial, &behind];
            Key::new(Certified::TYPE, segments)
        });
        let certificates = place.certificates(category);
        let found = self
            .store
            .scan::<Certified>(&certificates, behind.as_ref(), 1, self.clock.now())
            .await?;
        Ok(found.first().and_then(|(key, _)| name_in(key, 5)))
    }

    /// Revokes the certificates of a device's AKs that no longer count, and deactivates AKs of earlier incarnations with them.
    /// Returns how many certificates there were.
    pub(super) async fn revoke_left(
        &self,
        place: &DevicePlace,
        left: Leftover<'_>,
    ) -> Result<usize, Failure<DeviceError>> {
        let mut count = 0_usize;
        for category in self.categories_of(place).await? {
            let certificates = place.certificates(&category);
            let revoked = self.revoke_below(place, &category, &certificates, left);
            count = count.saturating_add(revoked.await?);
        }
        Ok(count)
    }

    /// Does so with those of a category under this prefix.
    async fn revoke_below(
        &self,
        place: &DevicePlace,
        category: &str,
        certificates: &Prefix,
        left: Leftover<'_>,
    ) -> Result<usize, Failure<DeviceError>> {
        let mut count = 0_usize;
        let mut is_over = false;
        while !is_over {
            let is_more = AtomicBool::new(false);
            let name = "device_identity.revoke";
            let of = (&self.store, &*self.clock);
            let revoked = transact_pages(name, of, certificates, KEYS_AT_ONCE, async |page| {
                self.revoke_page(place, category, left, page, &is_more)
                    .await
            });
            count = count.saturating_add(revoked.await?);
            is_over = !is_more.load(Ordering::Relaxed);
        }
        Ok(count)
    }

    /// Revokes the certificates of a page of keys, at most [`REVOKED_AT_ONCE`]. Sets `is_more` if there are more.
    async fn revoke_page(
        &self,
        place: &DevicePlace,
        category: &str,
        left: Leftover<'_>,
        page: Page<Certified>,
        is_more: &AtomicBool,
    ) -> Result<(Batch, usize), Failure<DeviceError>> {
        let device = self
            .store
            .get::<Device>(&place.key(), page.now)
            .await?
            .ok_or(Failure::Refused(DeviceError::Unknown))?;
        let mut batch = self.store.batch(page.now);
        batch.require(&place.key(), device.version);
        let device = device.record;
        let mut revoked: Vec<Issued> = Vec::new();
        // One AK may have been certified under several EKs of its TPM.
        let mut keys = BTreeMap::new();
        for (key, certified) in &page.records {
            let record = &certified.record;
            if !left.includes(record, &device) {
                continue;
            }
            let room = REVOKED_AT_ONCE.saturating_sub(revoked.len());
            if record.all().count() > room {
                let mut rest = record.clone();
                revoked.extend(rest.take_unproven(room));
                batch.replace(key, certified.version, &rest, certified.expires_at);
                is_more.store(true, Ordering::Relaxed);
                break;
            }
            revoked.extend(record.all().cloned());
            batch.remove(key, certified.version);
            let at = place.active_key(&record.ak);
            if let Some(active) = self.store.get::<ActiveKey>(&at, page.now).await?
                && active.record.vendor == place.vendor
                && active.record.serial == place.serial
                && active.record.incarnation != device.incarnation
            {
                keys.insert(at, active.version);
            }
        }
        for (at, version) in keys {
            batch.remove(&at, version);
        }
        let at = (&*place.namespace, category);
        self.revoke(&mut batch, at, &revoked, left.cause(), page.now)
            .await?;
        // That a device was forgotten is recorded already.
        if let Leftover::OtherEndorsements(station) = left
            && !revoked.is_empty()
        {
            let mut detail = "certificates for other endorsement keys".to_owned();
            tell_revoked(&mut detail, &revoked);
            // What follows from a committed activation needs no permission any more.
            let origin = Origin {
                warrants: Vec::new(),
                ..station.origin().clone()
            };
            let new_event = NewEvent {
                action: StationOperation::Activate.action(),
                target: place.target(),
                detail: Some(detail),
                origin: &origin,
            };
            self.audit.done(&mut batch, page.now, new_event);
        }
        Ok((batch, revoked.len()))
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::{
        super::{
            certified::Revoked,
            testing::{bench_with_device, certificate, station},
        },
        *,
    };
    use crate::testing::START;

    /// Anybody with the device's public keys can have certificates made, until each of its activations would take too long.
    #[tokio::test]
    async fn certificates_for_a_devices_own_endorsement_key_are_neither_read_nor_revoked() {
        let (bench, place) = bench_with_device().await;
        let station = station(&bench).await;
        let devices = &bench.service.device_identity;
        let add = async |ek: &str, numbers: Range<usize>| {
            let mut batch = bench.store.batch(START);
            for number in numbers {
                let ak = format!("000b{number:04}");
                let certificate = certificate(&format!("{ek}{number}"));
                let (by, keys) = (("station", "uid"), (ek, &*ak));
                let made = Certified::made(certificate, START, by, keys, "", None);
                let at = Certified::key("default", "c", &place, ek, &ak);
                batch.insert(&at, &made, None);
            }
            bench.store.commit(batch).await.unwrap();
        };
        let steps = async || {
            bench.faults.steps();
            devices.revoke_other_endorsements(&station, &place).await;
            bench.faults.steps()
        };
        add("000b", 0..1).await;
        let few = steps().await;
        add("000b", 1..300).await;
        assert_eq!(steps().await, few);

        add("000a", 0..150).await;
        add("000c", 0..1).await;
        steps().await;
        let revoked = bench.rows(&Prefix::collection(Revoked::TYPE)).await;
        assert_eq!(revoked.len(), 151);
        assert_eq!(bench.rows(&place.certificates("c")).await.len(), 300);
        assert_eq!(steps().await, few);
    }
}
