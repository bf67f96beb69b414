//! All collections of the store in one place, and how a restore from a backup treats their records.
//!
//! A backup contains what was unspent when it was made. What was spent since must not become valid again. So a restore ends
//! everything that is valid once or until it is ended. It cannot know what was revoked since, and leaves other records as they are.

use std::{collections::BTreeMap, fmt};

use keyproof_store::{Entropy, Key, NotApplied, Raw, Row, Segment, StoreError, Timestamp};

use crate::{accounts, certificates, device_identity};

/// How a restore treats a record.
enum Restored {
    /// It is restored unchanged.
    Kept,
    /// It is not restored.
    Ended(Ended),
    /// It is restored without the part that may have been spent.
    Changed(Change),
}

/// Removes the part that may have been spent. Returns the rest of the record, if any, and what ended, if anything did.
type Change = fn(Raw, &Restoring<'_>) -> Result<Outcome, RestoreError>;

/// What remains of a record, and what ended with the removed part.
pub(crate) type Outcome = (Option<Raw>, Option<Ended>);

/// What a restore ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ended {
    /// Keys that sign access tokens, and so every access token.
    AccessTokenKeys,
    /// Application tokens.
    ApplicationTokens,
    /// Logins that wait for a code after their first step.
    Challenges,
    /// Tickets and nonces issued to devices.
    DeviceChallenges,
    /// Login tokens of Taler instances.
    LoginTokens,
    /// Bearer tokens of operators and services.
    OperatorTokens,
    /// Second factors that were never confirmed by a code.
    PendingKeys,
    /// Users' sets of recovery codes.
    RecoveryCodes,
    /// Logins with refresh tokens or in browsers.
    Sessions,
    /// Second factors whose codes are refused up to the time of the restore; the factors stay.
    Steps,
    /// Users' lists of trusted devices.
    TrustedDevices,
    /// Unused verification codes of certificates.
    VerificationCodes,
}

impl Ended {
    /// Returns its name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccessTokenKeys => "access_token_keys",
            Self::ApplicationTokens => "application_tokens",
            Self::Challenges => "challenges",
            Self::DeviceChallenges => "device_challenges",
            Self::LoginTokens => "login_tokens",
            Self::OperatorTokens => "operator_tokens",
            Self::PendingKeys => "pending_keys",
            Self::RecoveryCodes => "recovery_codes",
            Self::Sessions => "sessions",
            Self::Steps => "totp_steps",
            Self::TrustedDevices => "trusted_devices",
            Self::VerificationCodes => "verification_codes",
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AccessTokenKeys => "keys that sign access tokens, and so every access token",
            Self::ApplicationTokens => "application tokens",
            Self::Challenges => "logins that waited for a code",
            Self::DeviceChallenges => "tickets and nonces that devices were given",
            Self::LoginTokens => "login tokens of Taler instances",
            Self::OperatorTokens => "bearer tokens of operators and services",
            Self::PendingKeys => "second factors that were not activated yet",
            Self::RecoveryCodes => "users' sets of recovery codes",
            Self::Sessions => "sessions, by their refresh tokens or in browsers",
            Self::Steps => "second factors whose codes are refused up to now",
            Self::TrustedDevices => "users' lists of trusted devices",
            Self::VerificationCodes => "verification codes of certificates",
        })
    }
}

macro_rules! collections {
    ($($(#[$doc:meta])* $collection:ident = $name:literal,)*) => {
        /// A collection of the store: the first segment of its records' keys.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        enum Collection {
            $($(#[$doc])* $collection,)*
        }

        impl Collection {
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$collection,)*];

            #[cfg(test)]
            const fn name(self) -> &'static str {
                match self {
                    $(Self::$collection => $name,)*
                }
            }

            fn named(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$collection),)*
                    _ => None,
                }
            }
        }
    };
}

collections! {
    ApplicationToken = "application_token",
    ApplicationTokenText = "application_token_text",
    Audit = "audit",
    AuditSweep = "audit_sweep",
    AuditUser = "audit_user",
    AuditUsers = "audit_users",
    DpsCertificate = "dps_certificate",
    DpsService = "dps_service",
    LoginToken = "login_token",
    MfaAddresses = "mfa_addresses",
    MfaChallenge = "mfa_challenge",
    MfaDevices = "mfa_devices",
    MfaKey = "mfa_key",
    MfaLockout = "mfa_lockout",
    MfaRecovery = "mfa_recovery",
    MfaSessions = "mfa_sessions",
    OperatorSession = "operator_session",
    OperatorToken = "operator_token",
    Organisation = "organisation",
    OrganisationName = "organisation_name",
    OtpAddresses = "otp_addresses",
    OtpDevice = "otp_device",
    OtpInstance = "otp_instance",
    OtpLeftover = "otp_leftover",
    OtpLockout = "otp_lockout",
    RefreshFamily = "refresh_family",
    RefreshToken = "refresh_token",
    RemovedUser = "removed_user",
    SigningKey = "signing_key",
    SigningKeyInUse = "signing_key_in_use",
    Store = "$store",
    TpmAkCertificate = "tpm_ak_certificate",
    TpmApiKey = "tpm_api_key",
    TpmApiKeyDigest = "tpm_api_key_digest",
    TpmAttestationKey = "tpm_attestation_key",
    TpmCategory = "tpm_category",
    TpmChallengeKey = "tpm_challenge_key",
    TpmClientCertificate = "tpm_client_certificate",
    TpmClientCertificates = "tpm_client_certificates",
    TpmDeletedApiKey = "tpm_deleted_api_key",
    TpmDeletedCategory = "tpm_deleted_category",
    TpmDevice = "tpm_device",
    TpmEndorsementKey = "tpm_endorsement_key",
    TpmIssuedCertificate = "tpm_issued_certificate",
    TpmManager = "tpm_manager",
    TpmRevocationList = "tpm_revocation_list",
    TpmRevocationListPart = "tpm_revocation_list_part",
    TpmRevokedCertificate = "tpm_revoked_certificate",
    TpmSpentNonce = "tpm_spent_nonce",
    TpmSpentTicket = "tpm_spent_ticket",
    TpmTrustBundle = "tpm_trust_bundle",
    TpmTrustEntry = "tpm_trust_entry",
    User = "user",
    UserName = "user_name",
    UserSession = "user_session",
}

impl Collection {
    fn of(key: &Key) -> Option<Self> {
        match key.segments().next() {
            Some(Segment::Plain(name)) => Self::named(std::str::from_utf8(&name).ok()?),
            _ => None,
        }
    }

    /// How a restore treats the records of this collection: the authoritative list.
    fn restored(self) -> Restored {
        match self {
            // Valid until they are ended, which may have happened since.
            Self::ApplicationToken => Restored::Changed(accounts::without_validity),
            Self::ApplicationTokenText => Restored::Ended(Ended::ApplicationTokens),
            Self::LoginToken => Restored::Ended(Ended::LoginTokens),
            Self::OperatorToken => Restored::Ended(Ended::OperatorTokens),
            Self::MfaDevices => Restored::Ended(Ended::TrustedDevices),
            Self::MfaSessions
            | Self::OperatorSession
            | Self::RefreshFamily
            | Self::RefreshToken
            | Self::UserSession => Restored::Ended(Ended::Sessions),
            // A signature by one of these keys is all that an access token needs.
            Self::SigningKey | Self::SigningKeyInUse => Restored::Ended(Ended::AccessTokenKeys),
            // Valid once.
            Self::DpsCertificate => Restored::Changed(certificates::without_code),
            Self::MfaChallenge => Restored::Ended(Ended::Challenges),
            Self::MfaKey => Restored::Changed(accounts::without_steps),
            Self::MfaRecovery => Restored::Ended(Ended::RecoveryCodes),
            // Its CRL number must rise.
            Self::TpmRevocationList => Restored::Changed(device_identity::without_list),
            // Without this key, all earlier tickets and nonces are invalid.
            Self::TpmChallengeKey => Restored::Ended(Ended::DeviceChallenges),
            // Plain state, and lockouts.
            Self::Audit
            | Self::AuditSweep
            | Self::AuditUser
            | Self::AuditUsers
            | Self::DpsService
            | Self::MfaAddresses
            | Self::MfaLockout
            | Self::Organisation
            | Self::OrganisationName
            | Self::OtpAddresses
            | Self::OtpDevice
            | Self::OtpInstance
            | Self::OtpLeftover
            | Self::OtpLockout
            | Self::RemovedUser
            | Self::Store
            | Self::TpmAkCertificate
            | Self::TpmApiKey
            | Self::TpmApiKeyDigest
            | Self::TpmAttestationKey
            | Self::TpmCategory
            | Self::TpmClientCertificate
            | Self::TpmClientCertificates
            | Self::TpmDeletedApiKey
            | Self::TpmDeletedCategory
            | Self::TpmDevice
            | Self::TpmEndorsementKey
            | Self::TpmIssuedCertificate
            | Self::TpmManager
            | Self::TpmRevocationListPart
            | Self::TpmRevokedCertificate
            | Self::TpmSpentNonce
            | Self::TpmSpentTicket
            | Self::TpmTrustBundle
            | Self::TpmTrustEntry
            | Self::User
            | Self::UserName => Restored::Kept,
        }
    }
}

/// The error when a record of a backup cannot be restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A later release wrote a record of a collection that this release does not know.
    #[error(
        "this release does not know what the record {key} is, and so not whether it may have been spent: restore with the \
         release that made the backup, or a later one"
    )]
    Unknown {
        /// The record.
        key: Key,
    },
    /// A record cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record cannot be written.
    #[error(transparent)]
    Record(#[from] NotApplied),
}

/// A running restore. It turns each record of a backup into the record to be restored.
pub struct Restoring<'e> {
    /// The time of the restore, which decides what has expired.
    pub(crate) at: Timestamp,
    /// The time up to which codes may have been used.
    pub(crate) codes_until: Timestamp,
    pub(crate) entropy: &'e dyn Entropy,
    ended: BTreeMap<Ended, u64>,
}

impl<'e> Restoring<'e> {
    /// Starts a restore at this time. Codes up to it are refused.
    pub fn new(at: Timestamp, entropy: &'e dyn Entropy) -> Self {
        Self {
            at,
            codes_until: at,
            entropy,
            ended: BTreeMap::new(),
        }
    }

    /// Sets when the backup was made. That may be ahead of this clock, and codes may have been used until then by the clock of the
    /// machine that made it. Expiry is still decided by this clock.
    pub fn of_backup_made_at(mut self, made_at: Timestamp) -> Self {
        self.codes_until = self.at.max(made_at);
        self
    }

    /// Returns the record to be restored, or `None` if it is not restored.
    ///
    /// # Errors
    ///
    /// [`RestoreError`].
    pub fn record(&mut self, key: Key, row: Row) -> Result<Option<(Key, Row)>, RestoreError> {
        let Some(collection) = Collection::of(&key) else {
            return Err(RestoreError::Unknown { key });
        };
        // An expired record is absent for everybody, whatever its collection.
        if row.is_expired(self.at) {
            return Ok(None);
        }
        let raw = Raw::from_row(key, row);
        let (left, ended) = match collection.restored() {
            Restored::Kept => (Some(raw), None),
            Restored::Ended(ended) => (None, Some(ended)),
            Restored::Changed(change) => change(raw, self)?,
        };
        if let Some(ended) = ended {
            *self.ended.entry(ended).or_default() += 1;
        }
        Ok(left.map(Raw::into_parts))
    }

    /// Returns how many records of each kind were ended.
    pub fn ended(&self) -> &BTreeMap<Ended, u64> {
        &self.ended
    }
}

impl fmt::Debug for Restoring<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restoring")
            .field("at", &self.at)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Failure,
        access::NoOperator,
        audit::ObjectKind,
        otp_devices::{AnyToken, Lifetime, NotPermitted},
        testing::bench,
    };
    use keyproof_store::{SystemEntropy, Version};
    use std::{collections::BTreeSet, fs, path::Path, time::Duration};

    /// Reads this crate's sources, without the tests.
    fn sources() -> Vec<String> {
        fn collect(folder: &Path, sources: &mut Vec<String>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap();
                if path.is_dir() {
                    if name != "tests" {
                        collect(&path, sources);
                    }
                } else if !["tests.rs", "testing.rs", "collections.rs"].contains(&name) {
                    let text = fs::read_to_string(&path).unwrap();
                    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
                    sources.push(code.to_owned());
                }
            }
        }
        let mut sources = Vec::new();
        collect(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut sources,
        );
        sources
    }

    /// A collection missing from the list would stop every restore and be noticed too late. Each has a record type of the same
    /// name.
    #[test]
    fn every_collection_is_in_the_list() {
        let mut found = BTreeSet::new();
        for source in sources() {
            for mark in [
                "const TYPE: &'static str =",
                "const NAME: &'static str =",
                "record!(",
            ] {
                for rest in source.split(mark).skip(1) {
                    let statement = rest.split(';').next().unwrap();
                    if let Some(name) = statement.split('"').nth(1) {
                        found.insert(name.to_owned());
                    }
                }
            }
        }
        // Each kind of object has a name in one list and a collection of that name.
        found.extend(ObjectKind::ALL.map(|kind| kind.name().to_owned()));
        assert!(found.contains("user") && found.contains("tpm_manager"));
        assert!(found.remove("audit_event") && found.insert("audit".to_owned()));
        // The store's own.
        found.insert("$store".to_owned());
        let known: BTreeSet<_> = Collection::ALL
            .iter()
            .map(|it| it.name().to_owned())
            .collect();
        assert_eq!(found, known);
    }

    #[tokio::test]
    async fn tokens_end_with_a_restore_and_instances_stay() {
        let bench = bench().await;
        let token = bench.token("shop", "all", Lifetime::Forever).await;
        let operator = bench.operator_token("admin").await;
        let (restored, ended) = bench.restored(Duration::ZERO).await;
        assert_eq!(ended.get(&Ended::LoginTokens), Some(&1));
        assert_eq!(ended.get(&Ended::OperatorTokens), Some(&1));
        let permitted = restored.permitted::<AnyToken>("shop", &token).await;
        assert_eq!(
            permitted.err(),
            Some(Failure::Refused(NotPermitted::TokenUnknown))
        );
        let authenticated = restored.service.access.authenticate(&operator);
        assert_eq!(
            authenticated.await.err(),
            Some(Failure::Refused(NoOperator))
        );
        // The same password still gives a new token.
        restored.token("shop", "all", Lifetime::Forever).await;
    }

    #[test]
    fn what_ends_before_a_backup_of_a_time_to_come_was_made_is_brought_back() {
        let entropy = SystemEntropy::new();
        let [now, ends, made_at] = [100, 200, 300].map(Timestamp::from_secs);
        let mut restoring = Restoring::new(now, &entropy).of_backup_made_at(made_at);
        assert_eq!(restoring.codes_until, made_at);
        let row = |expires_at| Row {
            version: Version::random(&entropy),
            body: "{}".into(),
            expires_at: Some(expires_at),
        };
        let key = Key::new("otp_lockout", ["shop"]);
        assert!(restoring.record(key.clone(), row(ends)).unwrap().is_some());
        assert!(restoring.record(key, row(now)).unwrap().is_none());
        let earlier = Restoring::new(now, &entropy).of_backup_made_at(Timestamp::from_secs(50));
        assert_eq!(earlier.codes_until, now);
    }

    #[test]
    fn a_record_of_a_later_release_stops_a_restore() {
        let entropy = SystemEntropy::new();
        let mut restoring = Restoring::new(Timestamp::from_secs(1), &entropy);
        let key = Key::new("of_a_later_release", ["_"]);
        let row = Row {
            version: Version::random(&entropy),
            body: "{}".into(),
            expires_at: None,
        };
        let unknown = Err(RestoreError::Unknown { key: key.clone() });
        assert_eq!(restoring.record(key, row), unknown);
    }

    #[test]
    fn the_data_model_tells_of_every_collection_and_what_a_restore_ends() {
        let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../DATA_MODEL.md");
        let document = fs::read_to_string(document).unwrap();
        let section = |heading: &str| {
            let (_, section) = document.split_once(heading).unwrap();
            section.split("\n## ").next().unwrap()
        };
        let restore = section("## What a restore ends");
        let rows = section("## Records").lines();
        let rows = rows.filter_map(|line| line.strip_prefix("| `")?.split('/').next());
        let rows: BTreeSet<&str> = rows.collect();
        let all: BTreeSet<_> = Collection::ALL.iter().map(|one| one.name()).collect();
        assert_eq!(rows, all);
        for collection in Collection::ALL {
            let name = collection.name();
            let is_ended = !matches!(collection.restored(), Restored::Kept);
            let is_told = restore.contains(&format!("`{name}`"));
            assert_eq!(is_told, is_ended, "{name} under *What a restore ends*");
        }
    }
}
