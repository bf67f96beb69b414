//! The trust bundle in memory, which is read again from the store when it has changed.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex},
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
use crate::{Principal, StorageError, mutex::lock, pages::Pages, slot::Slot, storage::damaged};

/// The kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrustKind {
    /// A CA certificate that ends the chains of managers that use the bundle.
    Root,
    /// A CA certificate that can be an intermediate.
    Intermediate,
    /// A CRL.
    RevocationList,
}

/// At `tpm_trust_bundle/_`: rewritten with every change.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) entries: usize,
    /// The size of all DER.
    pub(super) bytes: usize,
}

record!(Head, "tpm_trust_bundle");

/// Returns the key of the record that every change rewrites.
pub(in super::super) fn place() -> Key {
    Key::new(Head::TYPE, ["_"])
}

/// Returns that record's version in a snapshot.
pub(in super::super) fn version(found: &Snapshot) -> Result<Option<Version>, StorageError> {
    Ok(found.get::<Head>(&place())?.map(|head| head.version))
}

/// At `tpm_trust_entry/_/<SHA-256 of the DER>`: a certificate or CRL.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) kind: TrustKind,
    /// The DER in Base64.
    pub(super) der: String,
    pub(super) added_at: Timestamp,
}

record!(Entry, "tpm_trust_entry");

impl Entry {
    pub(super) fn key(fingerprint: &Sha256Thumbprint) -> Key {
        Key::new(Self::TYPE, ["_", &fingerprint.to_string()])
    }
}

/// An entry for display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustEntry {
    /// Its kind.
    pub kind: TrustKind,
    /// The SHA-256 of its DER.
    pub fingerprint: Sha256Thumbprint,
    /// The manufacturer: the organisation in the certificate's subject or the CRL's issuer, else the common name, else
    /// the whole name.
    pub maker: String,
    /// The certificate's subject or the CRL's issuer, as RFC 4514 text.
    pub name: String,
    /// `notBefore` or `thisUpdate`, in seconds since the Unix epoch.
    pub from: i64,
    /// `notAfter` or `nextUpdate`, in seconds since the Unix epoch.
    pub until: Option<i64>,
    /// How many certificates a CRL revokes.
    pub revoked: Option<usize>,
    /// When it was added.
    pub added_at: Timestamp,
}

/// Whether the bundle covers the manufacturer of a TPM.
#[derive(Debug)]
pub struct TrustCheck {
    /// The report on the EK certificate, with all roots of the bundle as trust anchors.
    pub report: Report<EkCertificateFinding>,
    /// The manufacturer by the certificate: the vendor that its tpmManufacturer is registered for, else that
    /// identifier, else the issuer.
    pub maker: Option<String>,
    /// The CA whose certificate is missing, as RFC 4514 text.
    pub missing: Option<String>,
}

/// An entry with its DER decoded.
pub(super) struct Member {
    pub(super) kind: TrustKind,
    pub(super) der: Vec<u8>,
    pub(super) added_at: Timestamp,
    /// The certificate's subject, or the CRL's issuer.
    name: LooseName,
    /// The certificate's issuer.
    issuer: LooseName,
}

/// The whole bundle at one version.
#[derive(Default)]
pub(in super::super) struct TrustBundle {
    /// `None` if nothing was ever added or required.
    version: Option<Version>,
    pub(super) members: Vec<Member>,
}

/// The part of the bundle that may be relevant to one certificate.
#[derive(Default)]
pub(in super::super) struct Related<'a> {
    pub(in super::super) roots: Vec<&'a [u8]>,
    /// The intermediates, and the roots too.
    pub(in super::super) intermediates: Vec<&'a [u8]>,
    pub(in super::super) lists: Vec<Crl<'a>>,
}

/// The bundle read last.
#[derive(Default)]
pub(in super::super) struct KnownBundle(Mutex<Arc<TrustBundle>>);

/// A normal form of names. Names that match by RFC 5280, section 7.1, have the same one; some others do, too.
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
    /// Returns `None` for a certificate that cannot be parsed, for example because a later release added it; chains
    /// through it then fail, and others do not. A CRL that cannot be parsed is an error, as skipping it would accept
    /// what it revokes.
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
                let certificate = match Certificate::from_der_lenient(&der) {
                    Ok(certificate) => certificate,
                    Err(error) => {
                        let fingerprint = Sha256Thumbprint::of_der(&der);
                        tracing::error!(
                            %error,
                            %fingerprint,
                            "a certificate of the trust bundle cannot be read and is ignored"
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
            fingerprint: Sha256Thumbprint::of_der(&self.der),
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
                let certificate = Certificate::from_der_lenient(&self.der).ok()?;
                let validity = certificate.validity();
                let (from, until) = (validity.not_before, Some(validity.not_after));
                entry(certificate.subject(), from, until, None)
            }
        })
    }
}

/// Returns the manufacturer that a name identifies.
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

    /// Lets a batch commit only if the bundle is unchanged. If there is no bundle record yet, the batch creates an
    /// empty one, so that later batches can require its version and do not conflict.
    pub(in super::super) fn require(&self, batch: &mut Batch) {
        if let Some(version) = self.version {
            batch.require(&place(), version);
        } else {
            batch.insert(&place(), &Head::default(), None);
        }
    }

    /// Returns what may be relevant to a certificate: all CAs upwards, by name, from its issuer and from the carried
    /// certificates, and their CRLs. `listed` are the manager's own CAs.
    pub(in super::super) fn related<'a>(
        &'a self,
        leaf: &[u8],
        carried: &[&[u8]],
        listed: &[&[u8]],
    ) -> Related<'a> {
        let listed: Vec<_> = listed
            .iter()
            .filter_map(|der| Certificate::from_der_lenient(der).ok())
            .map(|read| (LooseName::of(&read.subject()), read))
            .collect();
        let mut wanted = BTreeSet::new();
        let mut open: Vec<LooseName> = Vec::new();
        let issuer = EkCertificate::parse(leaf).ok();
        open.extend(issuer.map(|leaf| LooseName::of(&leaf.certificate().issuer())));
        let carried = carried
            .iter()
            .filter_map(|der| Certificate::from_der_lenient(der).ok());
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

    /// Returns all roots.
    pub(in super::super) fn roots(&self) -> Vec<&[u8]> {
        let roots = self.members.iter();
        let roots = roots.filter(|member| member.kind == TrustKind::Root);
        roots.map(|member| member.der.as_slice()).collect()
    }

    fn check(&self, stored: &[u8], now: Timestamp) -> TrustCheck {
        let related = self.related(stored, &[], &[]);
        // All roots, as the report would otherwise be that there are no roots.
        let all = self.roots();
        let mut policy = EkCertificatePolicy::without_key(&all, now.as_secs(), algorithms::ALL);
        policy.intermediates = &related.intermediates;
        policy.crls = &related.lists;
        let report = check_ek_certificate(stored, &policy);
        let certificate = EkCertificate::parse(stored).ok();
        let issuer = certificate
            .as_ref()
            .map(|certificate| certificate.certificate().issuer().to_string());
        let missing =
            report
                .findings(EkCertificateCheck::Chain)
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
    /// Lists the entries of the trust bundle, by manufacturer, kind and name.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn trust_entries(&self) -> Result<Vec<TrustEntry>, StorageError> {
        let bundle = self.trust_bundle().await?;
        let mut entries: Vec<TrustEntry> =
            bundle.members.iter().filter_map(Member::shown).collect();
        entries.sort_by_cached_key(|entry| {
            (entry.maker.to_lowercase(), entry.kind, entry.name.clone())
        });
        Ok(entries)
    }

    /// Checks whether the trust bundle covers the manufacturer of a TPM, by its EK certificate in DER or as a TPM
    /// stores it.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn check_trust(&self, certificate: Vec<u8>) -> Result<TrustCheck, StorageError> {
        let bundle = self.trust_bundle().await?;
        let now = self.clock.now();
        self.on_cpu_queue(&Principal::Keyproof, move || {
            bundle.check(&certificate, now)
        })
        .await
    }

    /// Returns the bundle at this version from memory, or reads a possibly newer one. Empty without a version.
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
        Arc::clone(&lock(&self.trust.0))
    }

    /// Returns the present bundle. After a change, one caller reads it for all that wait.
    pub(super) async fn trust_bundle(&self) -> Result<Arc<TrustBundle>, StorageError> {
        let version = self.trust_version().await?;
        let known = self.known_bundle();
        if known.is_of(version) {
            return Ok(known);
        }
        // Those that waited for the lock find the bundle read.
        let _turn = self.trust_reading.lock().await;
        let mut version = self.trust_version().await?;
        let known = self.known_bundle();
        loop {
            if known.is_of(version) {
                return Ok(known);
            }
            let members = self.trust_members().await?;
            let after = self.trust_version().await?;
            // Nothing changed while it was read.
            if after == version {
                let read = Arc::new(TrustBundle { version, members });
                *lock(&self.trust.0) = Arc::clone(&read);
                return Ok(read);
            }
            version = after;
        }
    }

    async fn trust_version(&self) -> Result<Option<Version>, StorageError> {
        Ok(self.trust_head().await?.version())
    }

    pub(super) async fn trust_head(&self) -> Result<Slot<Head>, StorageError> {
        Slot::read(&self.store, place(), self.clock.now()).await
    }

    async fn trust_members(&self) -> Result<Vec<Member>, StorageError> {
        let all = Prefix::new(Entry::TYPE, ["_"]);
        let mut pages = Pages::<Entry>::of(&self.store, all);
        let mut members = Vec::new();
        while let Some(page) = pages.next(self.clock.now()).await? {
            let read = self.on_cpu_queue(&Principal::Keyproof, move || {
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

    use keyproof_store::faults::CommitMode;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::{
        super::{
            super::testing::{api_key, furnish, nothing_but, station},
            AddTrustError, TrustItem,
        },
        *,
    };
    use crate::{
        Clock, ClockDifference, CpuQueueSettings, Failure,
        testing::{Bench, Occupied, bench, bench_with, command_line},
    };

    /// A root certificate, as parsed from a file.
    fn root() -> Vec<TrustItem> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        TrustItem::read(made.der(), true).unwrap()
    }

    /// Adds an entry that this release cannot parse.
    async fn add_unreadable(bench: &Bench, kind: TrustKind) -> Sha256Thumbprint {
        let der = b"no certificate and no list";
        let fingerprint = Sha256Thumbprint::of_der(der);
        let head = bench.service.device_identity.trust_head().await.unwrap();
        let now = bench.clock.now();
        let entry = Entry {
            kind,
            der: BASE64.encode(der),
            added_at: now,
        };
        let mut batch = bench.store.batch(now);
        batch.insert(&Entry::key(&fingerprint), &entry, None);
        head.replace(&mut batch, head.record().unwrap(), None);
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

        // Skipping it would accept what it revokes.
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

    /// The clock decides which CRLs are in force.
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
            bench.faults.set_server_time(theirs);
            let refused = devices.add_trust(&root(), &command_line()).await;
            let apart = AddTrustError::ClockApart(ClockDifference { by, is_ahead });
            assert_eq!(refused, Err(Failure::Refused(apart)));
        }
        bench
            .faults
            .set_server_time(now.saturating_add(Duration::from_secs(60 * 60)));
        let added = devices.add_trust(&root(), &command_line()).await;
        assert_eq!(added.unwrap().added.len(), 1);
    }

    #[tokio::test]
    async fn an_addition_whose_outcome_is_unknown_is_not_confirmed_by_the_next() {
        let bench = bench().await;
        let devices = &bench.service.device_identity;
        let root = root();
        bench.faults.commits(CommitMode::Lost);
        for _ in 0..2 {
            let added = devices.add_trust(&root, &command_line()).await;
            let unknown = matches!(
                added,
                Err(Failure::Storage(StorageError::OutcomeUnknown(_)))
            );
            assert!(unknown, "{added:?}");
        }
        bench.faults.commits(CommitMode::Made);
        let added = devices.add_trust(&root, &command_line()).await;
        assert_eq!(added.unwrap().known, 1);
    }

    /// After a change, all provision requests need it at once. Reading it for each would use up keyproof's own share.
    #[tokio::test]
    async fn a_changed_bundle_is_read_once_however_many_want_it() {
        // Four places; each party can have two.
        let few = CpuQueueSettings {
            threads: NonZeroUsize::MIN,
            queue: 3,
        };
        let bench = bench_with(|settings| settings.cpu_queue = few).await;
        let devices = &bench.service.device_identity;
        let added = devices.add_trust(&root(), &command_line()).await;
        assert_eq!(added.unwrap().added.len(), 1);
        let version = devices.trust_version().await.unwrap();
        assert!(version.is_some() && !devices.known_bundle().is_of(version));

        let cpu_queue = Arc::new(devices.cpu_queue.clone());
        let occupied = Occupied::of(&cpu_queue).await;
        let asking: Vec<_> = (0..8)
            .map(|_| {
                let service = Arc::clone(&bench.service);
                tokio::spawn(async move { service.device_identity.trust_bundle_of(version).await })
            })
            .collect();
        // Lets each of them wait for the read or for the lock.
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
