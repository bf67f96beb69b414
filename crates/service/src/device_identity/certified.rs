//! The certificates of AKs: the latest of each, earlier ones that are not yet replaced, and individual revocations.

use keyproof_store::{Batch, Key, ReadPlan, Record, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    ApiKey, DeviceIdentity, Object,
    authority::AkCertificate,
    grant::Grant,
    identity::DevicePlace,
    key_records::{issuing_api_keys, withdrawal},
    objects::object_key,
    revocation_list::LISTED_BEYOND_END,
};
use crate::{StorageError, audit::LONGEST_TEXT, clock::APART_AT_MOST, keys::moment};

/// At `tpm_ak_certificate/<namespace>/<category>/<vendor>/<serial>/<ek>/<ak>`: the latest certificate of a device's AK,
/// and which of its certificates are current.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Certified {
    /// DER.
    pub(super) certificate: Vec<u8>,
    #[serde(flatten)]
    pub(super) issued: Issued,
    /// The Names of the EK and the AK, in hex.
    #[serde(default)]
    pub(super) ek: String,
    #[serde(default)]
    pub(super) ak: String,
    /// The device's incarnation when it was issued.
    #[serde(default)]
    pub(super) incarnation: String,
    /// Certificates issued after the proven one and before the latest, oldest first. Their credentials were not opened.
    #[serde(default)]
    unproven: Vec<Issued>,
    /// The certificate whose credential was opened last.
    #[serde(default)]
    pub(super) proven: Option<Issued>,
}

record!(Certified, "tpm_ak_certificate");

/// At `tpm_issued_certificate/<namespace>/<category>/<api key>/<time>/<serial>`: a certificate, indexed by its API key
/// and time of issue for the category's CRL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Issued {
    pub(super) serial: String,
    /// In milliseconds, as revocations are. The certificate itself has whole seconds.
    pub(super) made_at: Timestamp,
    pub(super) not_after: Timestamp,
    /// The API key that it was made with, in the same namespace.
    pub(super) api_key: String,
    /// The key's UUID, which distinguishes it from deleted keys of the same name.
    #[serde(default)]
    pub(super) api_key_uid: Option<String>,
}

record!(Issued, "tpm_issued_certificate");

impl Issued {
    pub(super) fn key(&self, namespace: &str, category: &str) -> Key {
        Key::new(
            Self::TYPE,
            [
                namespace,
                category,
                &self.api_key,
                &moment(self.made_at),
                &self.serial,
            ],
        )
    }

    /// Returns when its record expires: after a CRL was made past `not_after` (RFC 5280, section 3.3).
    pub(super) fn expires_at(&self) -> Timestamp {
        self.not_after.saturating_add(LISTED_BEYOND_END)
    }

    /// Returns whether it was made with this API key, and not with a deleted key of the same name. Certificates of
    /// earlier releases, which deleted no keys, have no UUID.
    pub(super) fn is_of(&self, key: &Object<ApiKey>) -> bool {
        let is_this = match &self.api_key_uid {
            Some(uid) => *uid == key.system.uid,
            None => key.system.created_at <= self.made_at,
        };
        self.api_key == key.metadata.name && is_this
    }
}

/// At `tpm_revoked_certificate/<namespace>/<category>/<serial>`: a certificate that is revoked independently of its API
/// key.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Revoked {
    pub(super) serial: String,
    pub(super) since: Timestamp,
    pub(super) why: Cause,
}

record!(Revoked, "tpm_revoked_certificate");

/// Why a certificate is revoked independently of its API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Cause {
    /// Its device was forgotten.
    Forgotten,
    /// The credential of a later certificate was opened, or that of one for another EK of the device.
    Superseded,
}

/// The most certificates that one batch revokes, so that there is room for its other entries.
pub(super) const REVOKED_AT_ONCE: usize = 500;

/// Adds to an event's detail which certificates are revoked. Says of those that do not fit into it how many they are.
pub(super) fn tell_revoked(detail: &mut String, revoked: &[Issued]) {
    const ROOM: usize = "; revoked 1000 more".len();
    let mut left = revoked.len();
    for issued in revoked {
        let one = format!("; revoked {}", issued.serial);
        let room = if left == 1 { 0 } else { ROOM };
        if detail.len() + one.len() + room > LONGEST_TEXT {
            let more = format!("; revoked {left} more");
            detail.push_str(&more);
            return;
        }
        detail.push_str(&one);
        left -= 1;
    }
}

impl Certified {
    pub(super) fn key(
        namespace: &str,
        category: &str,
        device: &DevicePlace,
        ek: &str,
        ak: &str,
    ) -> Key {
        let DevicePlace { vendor, serial, .. } = device;
        Key::new(Self::TYPE, [namespace, category, vendor, serial, ek, ak])
    }

    /// Adds a new certificate, which becomes the latest. `replaced` has the earlier ones of the same incarnation.
    pub(super) fn made(
        certificate: AkCertificate,
        made_at: Timestamp,
        (api_key, uid): (&str, &str),
        (ek, ak): (&str, &str),
        incarnation: &str,
        replaced: Option<Self>,
    ) -> Self {
        let AkCertificate {
            der,
            serial,
            not_after,
        } = certificate;
        let (mut unproven, proven) = match replaced {
            None => (Vec::new(), None),
            Some(mut old) => {
                if old.proven.as_ref() != Some(&old.issued) {
                    old.unproven.push(old.issued);
                }
                (old.unproven, old.proven)
            }
        };
        // Expired certificates need no revocation.
        unproven.retain(|old| old.not_after > made_at);
        Self {
            certificate: der,
            issued: Issued {
                serial,
                made_at,
                not_after,
                api_key: api_key.to_owned(),
                api_key_uid: Some(uid.to_owned()),
            },
            ek: ek.to_owned(),
            ak: ak.to_owned(),
            incarnation: incarnation.to_owned(),
            unproven,
            proven,
        }
    }

    /// Returns whether more than a third of its validity remains, and it has begun by some server's clock. One that a clock
    /// far ahead has dated is of no use until then.
    pub(super) fn is_fresh(&self, now: Timestamp) -> bool {
        let Issued {
            made_at, not_after, ..
        } = &self.issued;
        let life = not_after.saturating_since(*made_at);
        let has_begun = made_at.saturating_since(now) <= APART_AT_MOST;
        has_begun && not_after.saturating_since(now).saturating_mul(3) > life
    }

    /// Returns the certificate with this serial number, unless a later one was proven.
    pub(super) fn find(&self, serial: &str) -> Option<&Issued> {
        self.all().find(|issued| issued.serial == serial)
    }

    /// Returns the certificate that attestations are judged by, the proven one; or the latest while none is proven.
    pub(super) fn decisive(&self) -> &Issued {
        self.proven.as_ref().unwrap_or(&self.issued)
    }

    /// Returns the proven certificate and all issued after it.
    pub(super) fn all(&self) -> impl Iterator<Item = &Issued> {
        let earlier = self.proven.iter().chain(&self.unproven);
        let latest = (self.proven.as_ref() != Some(&self.issued)).then_some(&self.issued);
        earlier.chain(latest)
    }

    /// Removes the oldest certificates between the proven one and the latest, at most this many, and returns them.
    pub(super) fn take_unproven(&mut self, most: usize) -> Vec<Issued> {
        let most = most.min(self.unproven.len());
        self.unproven.drain(..most).collect()
    }

    /// Records that the credential of `proven` was opened. Returns the certificates issued before it, which are to be
    /// revoked.
    pub(super) fn prove(&mut self, proven: &Issued) -> Vec<Issued> {
        let all: Vec<Issued> = self.all().cloned().collect();
        let at = all.iter().position(|issued| issued == proven);
        let (before, rest) = all.split_at(at.unwrap_or(0));
        let latest = &self.issued;
        let later = rest.iter().skip(1).filter(|issued| *issued != latest);
        self.unproven = later.cloned().collect();
        self.proven = Some(proven.clone());
        before.to_vec()
    }
}

impl DeviceIdentity {
    /// Adds to a batch the revocation of these certificates, except those that have expired.
    pub(super) async fn revoke(
        &self,
        batch: &mut Batch,
        (namespace, category): (&str, &str),
        revoked: &[Issued],
        why: Cause,
        now: Timestamp,
    ) -> Result<(), StorageError> {
        let valid = || revoked.iter().filter(|issued| issued.not_after > now);
        for issued in valid() {
            let serial = &issued.serial;
            let key = Key::new(Revoked::TYPE, [namespace, category, serial]);
            let record = Revoked {
                serial: serial.clone(),
                since: now,
                why,
            };
            batch.insert(&key, &record, Some(issued.expires_at()));
        }
        if valid().next().is_some() {
            self.outdate_revocation_list(batch, namespace, category, now)
                .await?;
        }
        Ok(())
    }

    /// Returns whether the API key that a certificate was made with keeps it valid, or did so when the key was deleted. The
    /// batch commits only if that key is unchanged.
    pub(super) async fn is_still_valid(
        &self,
        certified: &Issued,
        grant: &Grant,
        batch: &mut Batch,
    ) -> Result<bool, StorageError> {
        let shown = &grant.key.record;
        if certified.is_of(shown) {
            return Ok(shown.spec.withdrawal(certified.made_at).is_none());
        }
        let (namespace, category) = (&*shown.metadata.namespace, &*shown.spec.category);
        let plan = ReadPlan::new(issuing_api_keys(namespace, category, certified));
        let found = self.store.read(plan, self.clock.now()).await?;
        if certified.api_key != shown.metadata.name {
            let place = object_key::<ApiKey>(namespace, &certified.api_key);
            let named = found.get::<Object<ApiKey>>(&place)?;
            if let Some(key) = named.filter(|key| certified.is_of(&key.record)) {
                batch.require(&place, key.version);
            }
        }
        Ok(withdrawal(&found, (namespace, category), certified)?.is_none())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::authority::ATTESTATION_KEY_LIFE, *};

    fn certificate(serial: &str) -> AkCertificate {
        AkCertificate {
            der: Vec::new(),
            serial: serial.to_owned(),
            not_after: Timestamp::from_millis(100),
        }
    }

    fn made(serial: &str, at: u64, replaced: Option<Certified>) -> Certified {
        let at = Timestamp::from_millis(at);
        Certified::made(
            certificate(serial),
            at,
            ("key", "uid"),
            ("ek", "ak"),
            "",
            replaced,
        )
    }

    fn prove(certified: &mut Certified, serial: &str) -> Vec<String> {
        let proven = certified.find(serial).unwrap().clone();
        let revoked = certified.prove(&proven);
        revoked.into_iter().map(|issued| issued.serial).collect()
    }

    #[test]
    fn a_proof_revokes_what_was_made_before_and_nothing_else() {
        let mut certified = made("a", 0, None);
        assert_eq!(prove(&mut certified, "a"), [""; 0]);
        assert_eq!(prove(&mut certified, "a"), [""; 0], "once more");
        certified = made(
            "d",
            3,
            Some(made("c", 2, Some(made("b", 1, Some(certified))))),
        );
        let mut by_the_last = certified.clone();
        assert_eq!(prove(&mut by_the_last, "d"), ["a", "b", "c"]);
        assert_eq!(by_the_last.all().count(), 1);
        assert_eq!(prove(&mut certified, "a"), [""; 0], "nothing is new");
        assert_eq!(prove(&mut certified, "c"), ["a", "b"]);
        assert!(certified.find("a").is_none() && certified.find("d").is_some());
        assert_eq!(certified.proven.as_ref().unwrap().serial, "c");
        assert_eq!(prove(&mut certified, "d"), ["c"]);
    }

    #[test]
    fn an_event_tells_each_revoked_certificate_or_how_many_more_there_are() {
        let begin = "attestation key 000b, certificate 40";
        for count in 0..=REVOKED_AT_ONCE + 1 {
            let revoked: Vec<Issued> = (0..count)
                .map(|number| made(&format!("{number:047}"), 0, None).issued)
                .collect();
            let mut detail = begin.to_owned();
            tell_revoked(&mut detail, &revoked);
            assert!(detail.len() <= LONGEST_TEXT, "{detail}");
            let told = detail.split("; revoked ").skip(1);
            let told = told.map(|one| match one.strip_suffix(" more") {
                Some(more) => more.parse().unwrap(),
                None => 1_usize,
            });
            assert_eq!(told.sum::<usize>(), count);
            let is_whole = begin.len() + count * 57 <= LONGEST_TEXT;
            assert_eq!(detail.ends_with(" more"), !is_whole, "{detail}");
        }
    }

    /// Otherwise it would be returned again until then, and verifiers would refuse it.
    #[test]
    fn a_certificate_of_a_clock_that_was_far_ahead_is_not_fresh_once_the_clock_is_right() {
        let made_at = Timestamp::from_secs(1_700_000_000);
        let certificate = AkCertificate {
            not_after: made_at.saturating_add(ATTESTATION_KEY_LIFE),
            ..certificate("a")
        };
        let by = ("key", "uid");
        let certified = Certified::made(certificate, made_at, by, ("ek", "ak"), "", None);
        for (ahead, is_fresh) in [(0, true), (120, true), (121, false), (6 * 60 * 60, false)] {
            let now = made_at.saturating_sub(Duration::from_secs(ahead));
            assert_eq!(certified.is_fresh(now), is_fresh, "{ahead} s");
        }
    }

    #[test]
    fn what_has_ended_is_not_remembered() {
        let certified = made("b", 100, Some(made("a", 0, None)));
        assert!(certified.find("a").is_none());
    }
}
