//! Adding to the trust bundle and removing from it.

use std::{collections::BTreeMap, time::Duration};

use data_encoding::BASE64;
use keyproof_store::{Batch, Key, Timestamp, Version};
use keyproof_x509::{Certificate, Sha256Thumbprint, algorithms, crl::Crl};

use super::{
    super::DeviceIdentity,
    MOST_BYTES, MOST_ENTRIES, TrustItem, TrustKind,
    bundle::{Entry, Head, Member, TrustBundle},
};
use crate::{
    Action, ClockDifference, CommandLine, Failure, Origin,
    audit::{NewEvent, Target},
    storage::{Attempt, refuse, transact},
};

/// The largest clock difference to the database with which CRLs may be added. CRLs are valid for days, and should be
/// accepted with a slightly wrong clock too.
const APART_FOR_LISTS: Duration = Duration::from_secs(60 * 60);

/// The result of adding a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustAdded {
    /// The new entries, and those that have become roots, in the order of the file.
    pub added: Vec<(TrustKind, Sha256Thumbprint)>,
    /// The CRLs that newer ones of their issuers have replaced.
    pub replaced: Vec<Sha256Thumbprint>,
    /// The added CRLs whose issuer's certificate is not in the bundle. They replace no older CRLs, as their issuer
    /// cannot be verified.
    pub without_issuer: Vec<Sha256Thumbprint>,
    /// How many were already there.
    pub known: usize,
}

/// Why nothing was added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddTrustError {
    /// This machine's clock, which decides which CRLs are in force, differs too much from the database's.
    #[error("{0}: it cannot be determined which CRLs are in force")]
    ClockApart(ClockDifference),
    /// The certificates of a CRL's issuer are there, and none of them verifies its signature.
    #[error("{}none of its issuer's certificates verifies its signature", place_in_file(*.block))]
    NotSigned {
        /// Its block or element in the file, from 1.
        block: Option<usize>,
    },
    /// A CRL would replace nothing: a newer one of its issuer's key is there, which is in force, has the same or a
    /// later `nextUpdate`, and includes its scope.
    #[error("{}the bundle has a newer CRL of its issuer", place_in_file(*.block))]
    Older {
        /// Its block or element in the file, from 1.
        block: Option<usize>,
    },
    /// The bundle would become too large.
    #[error("the bundle has at most {MOST_ENTRIES} entries of {MOST_BYTES} bytes together")]
    TooLarge,
}

/// Why nothing was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoveTrustError {
    /// There is no entry with this fingerprint.
    #[error("no entry of the trust bundle has this fingerprint")]
    Unknown,
}

fn place_in_file(block: Option<usize>) -> String {
    block
        .map(|block| format!("block {block}: "))
        .unwrap_or_default()
}

impl DeviceIdentity {
    /// Adds the items of a file to the bundle, all or none. A CRL replaces older ones of the same issuer key whose
    /// scope it includes. That the keys are the same is established by a certificate, in the bundle or the file, that
    /// verifies both. A CRL whose `thisUpdate` is in the future replaces none yet; the first addition of a CRL of its
    /// issuer after that time does it.
    ///
    /// # Errors
    ///
    /// [`AddTrustError`].
    pub async fn add_trust(
        &self,
        items: &[TrustItem],
        command_line: &CommandLine,
    ) -> Result<TrustAdded, Failure<AddTrustError>> {
        let origin = command_line.origin();
        self.require_trusted_clock().await?;
        transact("device_identity.add_trust", &self.store, || async {
            let bundle = self.trust_bundle().await?;
            let now = self.clock.now();
            let plan = {
                let (items, bundle) = (items.to_vec(), bundle.clone());
                self.on_cpu_queue(&origin.who, move || Plan::of(&items, &bundle, now))
            };
            let plan = plan.await?.map_err(Failure::Refused)?;
            let mut batch = self.store.batch(now);
            if plan.is_empty() {
                // The commit that added the items may not be durable, so this result requires the bundle that was read.
                bundle.require(&mut batch);
                return Ok(Attempt::Commit(batch, Ok(plan.told())));
            }
            let head = self.trust_head().await?;
            if !bundle.is_of(head.version()) {
                return Ok(Attempt::Again);
            }
            let mut next = head.record().cloned().unwrap_or_default();
            let places = plan.places();
            let known = self.store.get_many(&places, now).await?;
            let mut versions = BTreeMap::new();
            for (place, raw) in places.into_iter().zip(known) {
                if let Some(raw) = raw {
                    versions.insert(place, raw.version());
                }
            }
            for (fingerprint, item) in &plan.added {
                let detail = Some(item.kind.words().to_owned());
                let new_event = new_event(Action::TpmTrustAdd, fingerprint, detail, origin);
                self.audit.done(&mut batch, now, new_event);
            }
            for fingerprint in plan.replaced.keys() {
                let detail = Some("a newer revocation list has taken its place".to_owned());
                let new_event = new_event(Action::TpmTrustRemove, fingerprint, detail, origin);
                self.audit.done(&mut batch, now, new_event);
            }
            plan.write(&mut batch, &mut next, &versions, now);
            if next.entries > MOST_ENTRIES || next.bytes > MOST_BYTES {
                return refuse(AddTrustError::TooLarge);
            }
            head.replace(&mut batch, &next, None);
            Ok(Attempt::Commit(batch, Ok(plan.told())))
        })
        .await
    }

    /// Checks the clock. If it is ahead, a CRL that is not yet valid would replace the current one; if it is behind, an
    /// old CRL would stay.
    async fn require_trusted_clock(&self) -> Result<(), Failure<AddTrustError>> {
        let asked = self.clock.now();
        let theirs = self.store.server_time().await?;
        match theirs.map(|theirs| ClockDifference::between(asked, theirs, self.clock.now())) {
            Some(apart) if apart.by > APART_FOR_LISTS => {
                Err(Failure::Refused(AddTrustError::ClockApart(apart)))
            }
            _ => Ok(()),
        }
    }

    /// Removes an entry from the bundle.
    ///
    /// # Errors
    ///
    /// [`RemoveTrustError`].
    pub async fn remove_trust(
        &self,
        fingerprint: &Sha256Thumbprint,
        command_line: &CommandLine,
    ) -> Result<(), Failure<RemoveTrustError>> {
        let origin = command_line.origin();
        let entry_place = Entry::key(fingerprint);
        transact("device_identity.remove_trust", &self.store, || async {
            let now = self.clock.now();
            let head = self.trust_head().await?;
            let entry = self.store.get::<Entry>(&entry_place, now).await?;
            let (Some(known), Some(entry)) = (head.record(), entry) else {
                return refuse(RemoveTrustError::Unknown);
            };
            let len = BASE64.decode(entry.record.der.as_bytes());
            let next = Head {
                entries: known.entries.saturating_sub(1),
                bytes: known.bytes.saturating_sub(len.map_or(0, |der| der.len())),
            };
            let mut batch = self.store.batch(now);
            batch.remove(&entry_place, entry.version);
            head.replace(&mut batch, &next, None);
            let detail = Some(entry.record.kind.words().to_owned());
            self.audit.done(
                &mut batch,
                now,
                new_event(Action::TpmTrustRemove, fingerprint, detail, origin),
            );
            Ok(Attempt::Commit(batch, Ok(())))
        })
        .await
    }
}

impl TrustKind {
    /// Returns the kind's name for display.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Intermediate => "intermediate",
            Self::RevocationList => "revocation list",
        }
    }
}

fn new_event<'a>(
    action: Action,
    fingerprint: &Sha256Thumbprint,
    detail: Option<String>,
    origin: &'a Origin,
) -> NewEvent<'a> {
    NewEvent {
        action,
        target: Target::TpmTrust(fingerprint.to_string()),
        detail,
        origin,
    }
}

/// The changes that a file makes.
#[derive(Default)]
struct Plan {
    added: BTreeMap<Sha256Thumbprint, TrustItem>,
    /// The keys of `added`, in the order of the file.
    order: Vec<Sha256Thumbprint>,
    /// The CRLs to remove, with their sizes in bytes.
    replaced: BTreeMap<Sha256Thumbprint, usize>,
    /// The CRLs in `added` whose issuer's certificate is not there.
    without_issuer: Vec<Sha256Thumbprint>,
    known: usize,
}

impl Plan {
    fn of(
        items: &[TrustItem],
        bundle: &TrustBundle,
        now: Timestamp,
    ) -> Result<Self, AddTrustError> {
        let mut plan = Self::default();
        let mut there: BTreeMap<Sha256Thumbprint, TrustKind> = BTreeMap::new();
        for member in &bundle.members {
            there.insert(Sha256Thumbprint::of_der(&member.der), member.kind);
        }
        for item in items {
            let fingerprint = item.fingerprint();
            let known = there.get(&fingerprint).copied();
            // A root stays a root, even if a file has it as an intermediate.
            if known.is_some_and(|kind| kind <= item.kind) {
                plan.known = plan.known.saturating_add(1);
                continue;
            }
            there.insert(fingerprint, item.kind);
            if plan.added.insert(fingerprint, item.clone()).is_none() {
                plan.order.push(fingerprint);
            }
        }
        let authorities = bundle
            .members
            .iter()
            .filter(|member| member.is_certificate());
        let authorities = authorities.map(|member| member.der.as_slice());
        let new = items
            .iter()
            .filter(|item| item.kind != TrustKind::RevocationList);
        let authorities = authorities.chain(new.map(|item| item.der.as_slice()));
        let authorities: Vec<Certificate<'_>> = authorities
            .filter_map(|der| Certificate::from_der_lenient(der).ok())
            .collect();
        let mut new_lists: Vec<(Option<usize>, List<'_>)> = Vec::new();
        for fingerprint in &plan.order {
            let Some(item) = plan.added.get(fingerprint) else {
                continue;
            };
            let (TrustKind::RevocationList, Ok(crl)) = (item.kind, Crl::from_der(&item.der)) else {
                continue;
            };
            let block = item.block;
            let list = List::of(crl, &authorities);
            if !list.has_issuer {
                plan.without_issuer.push(*fingerprint);
            } else if list.signers.is_empty() {
                return Err(AddTrustError::NotSigned { block });
            }
            new_lists.push((block, list));
        }
        // Only CRLs of the same issuers.
        let known_lists: Vec<(&Member, List<'_>)> = bundle
            .members
            .iter()
            .filter(|member| !member.is_certificate())
            .filter_map(|member| Some((member, Crl::from_der(&member.der).ok()?)))
            .filter(|(_, crl)| new_lists.iter().any(|(_, new)| new.is_by_issuer_of(crl)))
            .map(|(member, crl)| (member, List::of(crl, &authorities)))
            .collect();
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        for (block, new) in &new_lists {
            let mut known = known_lists.iter().map(|(_, known)| known);
            if known.any(|known| known.takes_the_place_of(new, now)) {
                return Err(AddTrustError::Older { block: *block });
            }
        }
        for (member, known) in &known_lists {
            let new = new_lists.iter().map(|(_, new)| new);
            // A CRL that was added before its `thisUpdate` may be in force now.
            let mut others = new.chain(known_lists.iter().map(|(_, other)| other));
            if others.any(|other| other.takes_the_place_of(known, now)) {
                let fingerprint = Sha256Thumbprint::of_der(&member.der);
                plan.replaced.insert(fingerprint, member.der.len());
            }
        }
        Ok(plan)
    }

    /// Returns the keys of all entries that change.
    fn places(&self) -> Vec<Key> {
        let changed = self.added.keys().chain(self.replaced.keys());
        changed.map(Entry::key).collect()
    }

    /// Adds the changed entries to a batch and updates `head`. `versions` are those of existing entries.
    fn write(
        &self,
        batch: &mut Batch,
        head: &mut Head,
        versions: &BTreeMap<Key, Version>,
        now: Timestamp,
    ) {
        for (fingerprint, item) in &self.added {
            let entry = Entry {
                kind: item.kind,
                der: BASE64.encode(&item.der),
                added_at: now,
            };
            let place = Entry::key(fingerprint);
            match versions.get(&place) {
                None => {
                    batch.insert(&place, &entry, None);
                    head.entries = head.entries.saturating_add(1);
                    head.bytes = head.bytes.saturating_add(item.der.len());
                }
                Some(version) => {
                    batch.replace(&place, *version, &entry, None);
                }
            }
        }
        for (fingerprint, len) in &self.replaced {
            let place = Entry::key(fingerprint);
            // If it was removed meanwhile, the commit fails by the head's version.
            if let Some(version) = versions.get(&place) {
                batch.remove(&place, *version);
            }
            head.entries = head.entries.saturating_sub(1);
            head.bytes = head.bytes.saturating_sub(*len);
        }
    }

    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.replaced.is_empty()
    }

    fn told(&self) -> TrustAdded {
        let added = self.order.iter().filter_map(|fingerprint| {
            let item = self.added.get(fingerprint)?;
            Some((item.kind, *fingerprint))
        });
        TrustAdded {
            added: added.collect(),
            without_issuer: self.without_issuer.clone(),
            replaced: self.replaced.keys().copied().collect(),
            known: self.known,
        }
    }
}

/// A CRL with its issuer's certificates.
struct List<'a> {
    crl: Crl<'a>,
    /// Whether a certificate with its issuer's name is there.
    has_issuer: bool,
    /// The indexes of the certificates with that name whose keys verify it.
    signers: Vec<usize>,
}

impl<'a> List<'a> {
    fn of(crl: Crl<'a>, authorities: &[Certificate<'_>]) -> Self {
        let issuers = || {
            let all = authorities.iter().enumerate();
            all.filter(|(_, authority)| authority.subject().compare(&crl.issuer()).is_match())
        };
        let has_signed = |authority: &Certificate<'_>| {
            crl.verify(algorithms::ALL, &authority.public_key()).is_ok()
        };
        let signers = issuers().filter(|(_, authority)| has_signed(authority));
        let signers: Vec<usize> = signers.map(|(place, _)| place).collect();
        let has_issuer = issuers().next().is_some();
        Self {
            crl,
            has_issuer,
            signers,
        }
    }

    fn is_by_issuer_of(&self, other: &Crl<'_>) -> bool {
        self.crl.issuer().compare(&other.issuer()).is_match()
    }

    /// Returns whether this CRL makes the other one unnecessary: it is in force, newer and signed by the same key,
    /// includes the other's scope, and has the same or a later `nextUpdate`. A CRL for end-entity certificates does not
    /// cover CAs, and one of a distribution point does not cover the others. An expired CRL must not drop revocations
    /// of one that is still valid.
    fn takes_the_place_of(&self, other: &List<'_>, now: i64) -> bool {
        self.crl.this_update() <= now
            && self.crl.is_newer_than(&other.crl)
            && self.crl.next_update() >= other.crl.next_update()
            && self.crl.includes_scope_of(&other.crl)
            && self
                .signers
                .iter()
                .any(|place| other.signers.contains(place))
    }
}
