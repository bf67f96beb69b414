//! The bundle as it is read: from the store when it has changed, and from memory else.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use data_encoding::BASE64;
use keyproof_store::{Batch, Key, Prefix, Record, Snapshot, Stored, Timestamp, Version};
use keyproof_tpm::{
    EkCertificate, EkCertificateCheck, EkCertificateFinding, EkCertificatePolicy,
    check_ek_certificate,
};
use keyproof_x509::{
    Certificate, Name, Report, Sha256Thumbprint, algorithms, crl::Crl, path::Reason,
};
use serde::{Deserialize, Serialize};

use super::super::DeviceIdentity;
use crate::{StorageError, Who, pages::Pages, storage::damaged};

/// What an entry of the bundle is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrustKind {
    /// The certificate of a CA that ends chains of managers that trust the bundle.
    Root,
    /// The certificate of a CA that may stand between.
    Intermediate,
    /// A list of certificates that their issuer has revoked.
    RevocationList,
}

/// At `tpm_trust_bundle/_`: written over with every change.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) entries: usize,
    /// Of DER.
    pub(super) bytes: usize,
}

record!(Head, "tpm_trust_bundle");

/// Where the record is that every change writes over.
pub(in super::super) fn place() -> Key {
    Key::new(Head::TYPE, ["_"])
}

/// Its version, in what was read with it.
pub(in super::super) fn version(found: &Snapshot) -> Result<Option<Version>, StorageError> {
    Ok(found.get::<Head>(&place())?.map(|head| head.version))
}

/// At `tpm_trust_entry/_/<SHA-256 of the DER>`: a certificate or revocation list.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) kind: TrustKind,
    /// Base64.
    pub(super) der: String,
    pub(super) added_at: Timestamp,
}

record!(Entry, "tpm_trust_entry");

impl Entry {
    pub(super) fn key(fingerprint: &Sha256Thumbprint) -> Key {
        Key::new(Self::TYPE, ["_", &fingerprint.to_string()])
    }
}

/// An entry, as people are shown it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustEntry {
    /// What it is.
    pub kind: TrustKind,
    /// The SHA-256 over its DER.
    pub fingerprint: Sha256Thumbprint,
    /// Who made it: the organisation in the subject, or the list's issuer; else its common name, else the whole name.
    pub maker: String,
    /// The certificate's subject, or the list's issuer, as RFC 4514 text.
    pub name: String,
    /// When it begins, or was made, in seconds since the Unix epoch.
    pub from: i64,
    /// Its last second, or when the next list is due, in seconds since the Unix epoch.
    pub until: Option<i64>,
    /// How many certificates a list revokes.
    pub revoked: Option<usize>,
    /// When it was added.
    pub added_at: Timestamp,
}

/// Whether a TPM's maker is covered by the bundle.
#[derive(Debug)]
pub struct TrustCheck {
    /// What there is to say of its endorsement certificate, were all roots of the bundle trusted.
    pub report: Report<EkCertificateFinding>,
    /// The maker, as the certificate names them: the vendor that its tpmManufacturer is registered for, else that identifier,
    /// else its issuer.
    pub maker: Option<String>,
    /// The CA whose certificate is missing, as RFC 4514 text.
    pub missing: Option<String>,
}

/// A member of the bundle.
pub(super) struct Member {
    pub(super) kind: TrustKind,
    pub(super) der: Vec<u8>,
    pub(super) added_at: Timestamp,
    /// The certificate's subject, or the list's issuer.
    name: LooseName,
    /// The certificate's issuer.
    issuer: LooseName,
}

/// The whole bundle, as of one version.
#[derive(Default)]
pub(in super::super) struct TrustBundle {
    /// None if nothing was ever added, nor required.
    version: Option<Version>,
    pub(super) members: Vec<Member>,
}

/// What of the bundle may matter for one certificate.
#[derive(Default)]
pub(in super::super) struct Related<'a> {
    pub(in super::super) roots: Vec<&'a [u8]>,
    /// The roots among them.
    pub(in super::super) intermediates: Vec<&'a [u8]>,
    pub(in super::super) lists: Vec<Crl<'a>>,
}

/// The bundle that was read last.
#[derive(Default)]
pub(in super::super) struct KnownBundle(Mutex<Arc<TrustBundle>>);

/// What names have in common that are equal by RFC 5280, section 7.1, and sometimes others.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct LooseName(Vec<String>);

impl LooseName {
    fn of(name: &Name<'_>) -> Self {
        let texts = name.attributes().filter_map(|attribute| {
            let text = attribute.value.text()?;
            let letters = text.chars().filter(|letter| !letter.is_whitespace());
            Some(letters.map(|letter| letter.to_ascii_lowercase()).collect())
        });
        let mut texts: Vec<String> = texts.collect();
        texts.sort();
        Self(texts)
    }
}

impl Member {
    /// `None` for a certificate that cannot be read, as may be where a later release has added it: no chain goes over it, and all
    /// others go on. A list that cannot be read is damage, for without it what it revokes would be taken.
    fn read(entry: &Entry) -> Result<Option<Self>, StorageError> {
        let not_read =
            |error: &dyn fmt::Display| damaged(format!("an entry of the trust bundle: {error}"));
        let der = BASE64.decode(entry.der.as_bytes());
        let der = der.map_err(|error| not_read(&error))?;
        let (name, issuer) = match entry.kind {
            TrustKind::RevocationList => {
                let crl = Crl::from_der(&der).map_err(|error| not_read(&error))?;
                let issuer = LooseName::of(&crl.issuer());
                (issuer.clone(), issuer)
            }
            TrustKind::Root | TrustKind::Intermediate => {
                let certificate = match Certificate::from_der_as_issued(&der) {
                    Ok(certificate) => certificate,
                    Err(error) => {
                        let fingerprint = Sha256Thumbprint::of(&der);
                        tracing::error!(
                            %error,
                            %fingerprint,
                            "a certificate of the trust bundle cannot be read, and is left out"
                        );
                        return Ok(None);
                    }
                };
                let subject = LooseName::of(&certificate.subject());
                (subject, LooseName::of(&certificate.issuer()))
            }
        };
        Ok(Some(Self {
            kind: entry.kind,
            der,
            added_at: entry.added_at,
            name,
            issuer,
        }))
    }

    pub(super) fn is_certificate(&self) -> bool {
        self.kind != TrustKind::RevocationList
    }

    fn shown(&self) -> Option<TrustEntry> {
        let entry = |name: Name<'_>, from, until, revoked| TrustEntry {
            kind: self.kind,
            fingerprint: Sha256Thumbprint::of(&self.der),
            maker: maker(&name),
            name: name.to_string(),
            from,
            until,
            revoked,
            added_at: self.added_at,
        };
        Some(match self.kind {
            TrustKind::RevocationList => {
                let crl = Crl::from_der(&self.der).ok()?;
                let revoked = Some(crl.revocations().len());
                entry(crl.issuer(), crl.this_update(), crl.next_update(), revoked)
            }
            TrustKind::Root | TrustKind::Intermediate => {
                let certificate = Certificate::from_der_as_issued(&self.der).ok()?;
                let validity = certificate.validity();
                let (from, until) = (validity.not_before, Some(validity.not_after));
                entry(certificate.subject(), from, until, None)
            }
        })
    }
}

/// Whom a name is of.
pub(super) fn maker(name: &Name<'_>) -> String {
    const ORGANISATION: &str = "2.5.4.10";
    let of_kind =
        |attribute: &keyproof_x509::Attribute<'_>| attribute.kind.to_string() == ORGANISATION;
    let mut organisations = name.attributes().filter(of_kind);
    let organisation = organisations.find_map(|attribute| attribute.value.text());
    let known = organisation.or_else(|| name.common_name());
    known.map_or_else(|| name.to_string(), |text| text.trim().to_owned())
}

impl TrustBundle {
    pub(super) fn is_of(&self, version: Option<Version>) -> bool {
        self.version == version
    }

    /// Lets a batch go through only while the bundle is as it was. Where nothing was added yet, there is something to be required
    /// from then on, so that those who require it do not wait for each other.
    pub(in super::super) fn require(&self, batch: &mut Batch) {
        if let Some(version) = self.version {
            batch.require(&place(), version);
        } else {
            batch.insert(&place(), &Head::default(), None);
        }
    }

    /// What may matter for a certificate: the CAs upwards from its issuer and from those that the device carries, by names,
    /// and the lists of any of them. `listed` is what a manager lists.
    pub(in super::super) fn related<'a>(
        &'a self,
        leaf: &[u8],
        carried: &[&[u8]],
        listed: &[&[u8]],
    ) -> Related<'a> {
        let listed: Vec<_> = listed
            .iter()
            .filter_map(|der| Certificate::from_der_as_issued(der).ok())
            .map(|read| (LooseName::of(&read.subject()), read))
            .collect();
        let mut wanted = BTreeSet::new();
        let mut open: Vec<LooseName> = Vec::new();
        let issuer = EkCertificate::parse(leaf).ok();
        open.extend(issuer.map(|leaf| LooseName::of(&leaf.certificate().issuer())));
        let carried = carried
            .iter()
            .filter_map(|der| Certificate::from_der_as_issued(der).ok());
        open.extend(carried.map(|certificate| LooseName::of(&certificate.issuer())));
        let mut related = Related::default();
        while let Some(name) = open.pop() {
            if wanted.contains(&name) {
                continue;
            }
            for member in self.members.iter().filter(|member| member.name == name) {
                match member.kind {
                    TrustKind::RevocationList => related.lists.extend(Crl::from_der(&member.der)),
                    TrustKind::Root | TrustKind::Intermediate => {
                        related.intermediates.push(&member.der);
                        open.push(member.issuer.clone());
                    }
                }
                if member.kind == TrustKind::Root {
                    related.roots.push(&member.der);
                }
            }
            let of_name = listed.iter().filter(|(subject, _)| *subject == name);
            open.extend(of_name.map(|(_, read)| LooseName::of(&read.issuer())));
            wanted.insert(name);
        }
        related
    }

    fn check(&self, stored: &[u8], now: Timestamp) -> TrustCheck {
        let related = self.related(stored, &[], &[]);
        // A bundle that has no root for it is no reason to say that no roots were given.
        let all: Vec<&[u8]> = self
            .members
            .iter()
            .filter(|member| member.kind == TrustKind::Root)
            .map(|member| member.der.as_slice())
            .collect();
        let mut policy = EkCertificatePolicy::without_key(&all, now.as_secs(), algorithms::ALL);
        policy.intermediates = &related.intermediates;
        policy.crls = &related.lists;
        let report = check_ek_certificate(stored, &policy);
        let certificate = EkCertificate::parse(stored).ok();
        let issuer = certificate
            .as_ref()
            .map(|certificate| certificate.certificate().issuer().to_string());
        let missing = report
            .of(EkCertificateCheck::Chain)
            .find_map(|finding| match finding {
                EkCertificateFinding::ChainRefused {
                    reason: Reason::IssuerUnknown { issuer },
                    ..
                } => Some(issuer.clone()),
                EkCertificateFinding::ChainWithoutRoots => issuer.clone(),
                _ => None,
            });
        let maker = certificate.map(|certificate| {
            let said = certificate.tpm_attributes().ok();
            let vendor = said.map(|said| said.vendor.map_or(said.manufacturer, str::to_owned));
            vendor.unwrap_or_else(|| maker(&certificate.certificate().issuer()))
        });
        TrustCheck {
            report,
            maker,
            missing,
        }
    }
}

impl DeviceIdentity {
    /// The entries of the trust bundle, by maker, kind and name.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn trust_entries(&self) -> Result<Vec<TrustEntry>, StorageError> {
        let bundle = self.trust_bundle().await?;
        let mut entries: Vec<TrustEntry> =
            bundle.members.iter().filter_map(Member::shown).collect();
        entries.sort_by(|a, b| {
            let of =
                |entry: &TrustEntry| (entry.maker.to_lowercase(), entry.kind, entry.name.clone());
            of(a).cmp(&of(b))
        });
        Ok(entries)
    }

    /// Whether the maker of a TPM is covered by the trust bundle, by the TPM's endorsement certificate: DER, or as it lies in
    /// a TPM's memory.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn check_trust(&self, certificate: Vec<u8>) -> Result<TrustCheck, StorageError> {
        let bundle = self.trust_bundle().await?;
        let now = self.clock.now();
        self.judge(&Who::Keyproof, move || bundle.check(&certificate, now))
            .await
    }

    /// The bundle of this version, as its record in the store had it: from memory, or a newer one; nothing if there was none.
    pub(in super::super) async fn trust_bundle_of(
        &self,
        version: Option<Version>,
    ) -> Result<Arc<TrustBundle>, StorageError> {
        let known = self.known_bundle();
        match version {
            _ if known.is_of(version) => Ok(known),
            None => Ok(Arc::default()),
            Some(_) => self.trust_bundle().await,
        }
    }

    fn known_bundle(&self) -> Arc<TrustBundle> {
        Arc::clone(&self.trust.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The bundle as it is now. However many ask for it after a change, one of them reads it.
    pub(super) async fn trust_bundle(&self) -> Result<Arc<TrustBundle>, StorageError> {
        let version = self.trust_version().await?;
        let known = self.known_bundle();
        if known.is_of(version) {
            return Ok(known);
        }
        // Whoever has waited for a turn finds the bundle read.
        let _turn = self.trust_reading.lock().await;
        let mut version = self.trust_version().await?;
        let known = self.known_bundle();
        loop {
            if known.is_of(version) {
                return Ok(known);
            }
            let members = self.trust_members().await?;
            let after = self.trust_version().await?;
            // Nothing was changed while it was read.
            if after == version {
                let read = Arc::new(TrustBundle { version, members });
                *self.trust.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&read);
                return Ok(read);
            }
            version = after;
        }
    }

    async fn trust_version(&self) -> Result<Option<Version>, StorageError> {
        let head = self.trust_head().await?;
        Ok(head.map(|head| head.version))
    }

    pub(super) async fn trust_head(&self) -> Result<Option<Stored<Head>>, StorageError> {
        Ok(self.store.get::<Head>(&place(), self.clock.now()).await?)
    }

    async fn trust_members(&self) -> Result<Vec<Member>, StorageError> {
        let all = Prefix::new(Entry::TYPE, ["_"]);
        let mut pages = Pages::<Entry>::of(&self.store, all);
        let mut members = Vec::new();
        while let Some(page) = pages.next(self.clock.now()).await? {
            let read = self.judge(&Who::Keyproof, move || {
                let entries = page.iter().map(|(_, Stored { record, .. })| record);
                let read = entries.filter_map(|entry| Member::read(entry).transpose());
                read.collect::<Result<Vec<_>, StorageError>>()
            });
            members.extend(read.await??);
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroUsize, time::Duration};

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::{
        super::{
            super::testing::{api_key, furnish, nothing_but, station},
            AddTrustError, TrustItem,
        },
        *,
    };
    use crate::{
        Clock, ClockDifference, Failure, JudgingSettings,
        testing::{Bench, Occupied, bench, bench_with, command_line},
    };

    /// A root, as it is added.
    fn root() -> Vec<TrustItem> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        TrustItem::read(made.der(), true).unwrap()
    }

    /// Adds what another release reads, and this one does not.
    async fn add_unreadable(bench: &Bench, kind: TrustKind) -> Sha256Thumbprint {
        let der = b"no certificate and no list";
        let fingerprint = Sha256Thumbprint::of(der);
        let head = bench.service.device_identity.trust_head();
        let Stored {
            record, version, ..
        } = head.await.unwrap().unwrap();
        let now = bench.clock.now();
        let entry = Entry {
            kind,
            der: BASE64.encode(der),
            added_at: now,
        };
        let mut batch = bench.store.batch(now);
        batch.insert(&Entry::key(&fingerprint), &entry, None);
        batch.replace(&place(), version, &record, None);
        bench.store.commit(batch).await.unwrap();
        fingerprint
    }

    #[tokio::test]
    async fn a_certificate_that_cannot_be_read_is_left_out_and_no_list_is() {
        let bench = bench().await;
        furnish(&bench).await;
        let devices = &bench.service.device_identity;
        let root = root();
        let added = devices.add_trust(&root, &command_line()).await;
        assert_eq!(added.unwrap().added.len(), 1);
        let request = nothing_but(&api_key(&bench).await);
        let station = station(&bench).await;

        for kind in [TrustKind::Root, TrustKind::Intermediate] {
            let unreadable = add_unreadable(&bench, kind).await;
            let listed = devices.trust_entries().await.unwrap();
            let listed: Vec<_> = listed.iter().map(|entry| entry.fingerprint).collect();
            assert_eq!(listed, [root[0].fingerprint()]);
            let provisioned = devices.provision(&station, request.clone()).await;
            assert!(matches!(provisioned.err(), Some(Failure::Refused(_))));
            let removed = devices.remove_trust(&unreadable, &command_line()).await;
            assert_eq!(removed, Ok(()));
        }

        // Without it, what it revokes would be taken.
        add_unreadable(&bench, TrustKind::RevocationList).await;
        let listed = devices.trust_entries().await;
        assert!(matches!(listed, Err(StorageError::Damaged(_))));
        let provisioned = devices.provision(&station, request).await.err();
        let damaged = matches!(
            provisioned,
            Some(Failure::Storage(StorageError::Damaged(_)))
        );
        assert!(damaged, "{provisioned:?}");
    }

    /// Which revocation lists are in force is told by the clock of whoever adds one.
    #[tokio::test]
    async fn nothing_is_added_by_a_clock_that_is_apart_from_the_databases() {
        let bench = bench().await;
        let devices = &bench.service.device_identity;
        let now = bench.clock.now();
        let by = Duration::from_secs(60 * 60 + 1);
        for is_ahead in [false, true] {
            let theirs = if is_ahead {
                now.saturating_sub(by)
            } else {
                now.saturating_add(by)
            };
            bench.faults.show_time(theirs);
            let refused = devices.add_trust(&root(), &command_line()).await;
            let apart = AddTrustError::ClockApart(ClockDifference { by, is_ahead });
            assert_eq!(refused, Err(Failure::Refused(apart)));
        }
        bench
            .faults
            .show_time(now.saturating_add(Duration::from_secs(60 * 60)));
        let added = devices.add_trust(&root(), &command_line()).await;
        assert_eq!(added.unwrap().added.len(), 1);
    }

    /// After a change all who provision want it at once, and each would take from keyproof's own share to read it.
    #[tokio::test]
    async fn a_changed_bundle_is_read_once_however_many_want_it() {
        // Four places, of which each party has two.
        let few = JudgingSettings {
            threads: NonZeroUsize::MIN,
            queue: 3,
        };
        let bench = bench_with(|settings| settings.judging = few).await;
        let devices = &bench.service.device_identity;
        let added = devices.add_trust(&root(), &command_line()).await;
        assert_eq!(added.unwrap().added.len(), 1);
        let version = devices.trust_version().await.unwrap();
        assert!(version.is_some() && !devices.known_bundle().is_of(version));

        let judging = Arc::new(devices.judging.clone());
        let occupied = Occupied::of(&judging).await;
        let asking: Vec<_> = (0..8)
            .map(|_| {
                let service = Arc::clone(&bench.service);
                tokio::spawn(async move { service.device_identity.trust_bundle_of(version).await })
            })
            .collect();
        // Until each of them waits, for the reading or for a turn at it.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(asking.iter().all(|asking| !asking.is_finished()));
        occupied.end().await;
        let mut read = Vec::new();
        for asking in asking {
            read.push(asking.await.unwrap().unwrap());
        }
        assert!(read.iter().all(|bundle| Arc::ptr_eq(bundle, &read[0])));
        assert!(read[0].is_of(version) && read[0].members.len() == 1);
    }
}
