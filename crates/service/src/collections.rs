//! All collections of the store in one place, and how a restore from a backup treats their records.
//!
//! A backup contains what was unspent when it was made. What was spent since must not become valid again. So a restore ends
//! everything that is valid once or until it is ended. It cannot know what was revoked since, and leaves other records as they are.

use std::{collections::BTreeMap, fmt};

use keyproof_store::{Entropy, Key, NotApplied, Raw, Row, Segment, StoreError, Timestamp};

use crate::{accounts, certificates, device_identity};

/// How a restore treats a record.
#[derive(Clone, Copy)]
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

/// All collections, each with how a restore treats its records: the authoritative list.
const COLLECTIONS: &[(&str, Restored)] = &[
    // Valid until they are ended, which may have happened since.
    (
        "application_token",
        Restored::Changed(accounts::without_validity),
    ),
    (
        "application_token_text",
        Restored::Ended(Ended::ApplicationTokens),
    ),
    ("login_token", Restored::Ended(Ended::LoginTokens)),
    ("operator_token", Restored::Ended(Ended::OperatorTokens)),
    ("mfa_devices", Restored::Ended(Ended::TrustedDevices)),
    ("mfa_sessions", Restored::Ended(Ended::Sessions)),
    ("operator_session", Restored::Ended(Ended::Sessions)),
    ("refresh_family", Restored::Ended(Ended::Sessions)),
    ("refresh_token", Restored::Ended(Ended::Sessions)),
    ("user_session", Restored::Ended(Ended::Sessions)),
    // A signature by one of these keys is all that an access token needs.
    ("signing_key", Restored::Ended(Ended::AccessTokenKeys)),
    (
        "signing_key_in_use",
        Restored::Ended(Ended::AccessTokenKeys),
    ),
    // Valid once.
    (
        "dps_certificate",
        Restored::Changed(certificates::without_code),
    ),
    ("mfa_challenge", Restored::Ended(Ended::Challenges)),
    ("mfa_key", Restored::Changed(accounts::without_steps)),
    ("mfa_recovery", Restored::Ended(Ended::RecoveryCodes)),
    // Its CRL number must rise.
    (
        "tpm_revocation_list",
        Restored::Changed(device_identity::without_list),
    ),
    // Without this key, all earlier tickets and nonces are invalid.
    (
        "tpm_challenge_key",
        Restored::Ended(Ended::DeviceChallenges),
    ),
    // Plain state, and lockouts.
    ("audit", Restored::Kept),
    ("audit_sweep", Restored::Kept),
    ("audit_user", Restored::Kept),
    ("audit_users", Restored::Kept),
    ("dps_service", Restored::Kept),
    ("mfa_addresses", Restored::Kept),
    ("mfa_lockout", Restored::Kept),
    ("organisation", Restored::Kept),
    ("organisation_name", Restored::Kept),
    ("otp_addresses", Restored::Kept),
    ("otp_device", Restored::Kept),
    ("otp_instance", Restored::Kept),
    ("otp_leftover", Restored::Kept),
    ("otp_lockout", Restored::Kept),
    ("removed_user", Restored::Kept),
    ("$store", Restored::Kept),
    ("tpm_ak_certificate", Restored::Kept),
    ("tpm_api_key", Restored::Kept),
    ("tpm_api_key_digest", Restored::Kept),
    ("tpm_attestation_key", Restored::Kept),
    ("tpm_category", Restored::Kept),
    ("tpm_client_certificate", Restored::Kept),
    ("tpm_client_certificates", Restored::Kept),
    ("tpm_deleted_api_key", Restored::Kept),
    ("tpm_deleted_category", Restored::Kept),
    ("tpm_device", Restored::Kept),
    ("tpm_endorsement_key", Restored::Kept),
    ("tpm_issued_certificate", Restored::Kept),
    ("tpm_manager", Restored::Kept),
    ("tpm_revocation_list_part", Restored::Kept),
    ("tpm_revoked_certificate", Restored::Kept),
    ("tpm_spent_nonce", Restored::Kept),
    ("tpm_spent_ticket", Restored::Kept),
    ("tpm_trust_bundle", Restored::Kept),
    ("tpm_trust_entry", Restored::Kept),
    ("user", Restored::Kept),
    ("user_name", Restored::Kept),
];

/// Returns how a restore treats this record, or `None` if its collection is not in the list.
fn rule_for(key: &Key) -> Option<Restored> {
    let Some(Segment::Plain(collection)) = key.segments().next() else {
        return None;
    };
    let mut rules = COLLECTIONS.iter();
    let (_, rule) = rules.find(|(name, _)| name.as_bytes() == collection)?;
    Some(*rule)
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
    /// The time of the restore, by the earlier clock, which decides what has expired.
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
        self.codes_until = self.codes_until.max(made_at);
        self
    }

    /// Sets what the clock of the store's database shows, which all servers share. Either clock may be wrong, so only what has expired
    /// by both is left out, and codes up to the later one are refused.
    pub fn with_database_clock(mut self, theirs: Timestamp) -> Self {
        self.at = self.at.min(theirs);
        self.codes_until = self.codes_until.max(theirs);
        self
    }

    /// Returns the record to be restored, or `None` if it is not restored.
    ///
    /// # Errors
    ///
    /// [`RestoreError`].
    pub fn record(&mut self, key: Key, row: Row) -> Result<Option<(Key, Row)>, RestoreError> {
        let Some(rule) = rule_for(&key) else {
            return Err(RestoreError::Unknown { key });
        };
        // An expired record is absent for everybody, whatever its collection.
        if row.is_expired(self.at) {
            return Ok(None);
        }
        let raw = Raw::from_row(key, row);
        let (left, ended) = match rule {
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
        let known = COLLECTIONS.iter().map(|(name, _)| (*name).to_owned());
        assert_eq!(found, known.collect());
        assert_eq!(found.len(), COLLECTIONS.len(), "each is listed once");
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

    /// As after a machine was set up anew: its clock is an hour ahead of the database's, or behind it.
    #[test]
    fn a_lock_stays_and_no_code_comes_back_whichever_clock_is_wrong() {
        let entropy = SystemEntropy::new();
        let [earlier, ends, later] = [100, 200, 3_700].map(Timestamp::from_secs);
        for (ours, theirs) in [(earlier, later), (later, earlier)] {
            let restoring = Restoring::new(ours, &entropy).of_backup_made_at(earlier);
            let mut restoring = restoring.with_database_clock(theirs);
            assert_eq!(restoring.codes_until, later);
            let row = |expires_at| Row {
                version: Version::random(&entropy),
                body: "{}".into(),
                expires_at: Some(expires_at),
            };
            let key = Key::new("mfa_lockout", ["1"]);
            assert!(restoring.record(key.clone(), row(ends)).unwrap().is_some());
            assert!(restoring.record(key, row(earlier)).unwrap().is_none());
        }
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
        assert_eq!(rows, COLLECTIONS.iter().map(|(name, _)| *name).collect());
        for (name, rule) in COLLECTIONS {
            let is_ended = !matches!(rule, Restored::Kept);
            let is_told = restore.contains(&format!("`{name}`"));
            assert_eq!(is_told, is_ended, "{name} under *What a restore ends*");
        }
    }
}
