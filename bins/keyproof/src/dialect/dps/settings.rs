//! `dps.*`

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    path::{Path, PathBuf},
    slice,
    sync::Arc,
    time::Duration,
};

use keyproof_auth::{AuthError, operator::OperatorScopes};
use keyproof_http::Application;
use keyproof_service::{
    CertificateSettings, Service, Settings as Rules,
    access::{IssuerSettings, Issuers, KeyFileError},
};
use serde::{Deserialize, Serialize};
use toml::Value;

use super::{Dps, SubjectForm};
use crate::{
    config::{AuthSettings, Form, Key, forms, keys},
    dialect::{Dialect, DialectError},
};

keys! {
    /// `dps.*`
    #[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
    pub struct Settings {
        /// Whether an upload may set `isVerified: true` without a proof of possession.
        allow_unproven: bool = CertificateSettings::default().allow_unproven,
        /// The maximum number of certificates of a provisioning service.
        max_certificates: NonZeroU32 = CertificateSettings::default().max_certificates,
        /// How long a verification code is valid.
        code_lifetime_s: Option<NonZeroU32> = None => "until it is used or replaced",
        /// The form of a certificate's subject in responses.
        subject: SubjectForm = SubjectForm::default(),
        /// External issuers whose tokens are accepted in addition to keyproof's own.
        issuers: Vec<Issuer> = Vec::new(),
    }
}

forms! {
    SubjectForm: "distinguished_name, common_name",
}

/// `dps.issuers[]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The `iss` of its tokens. Another entry's must not begin with this and a slash.
    pub issuer: String,
    /// The `aud` of its tokens.
    pub audience: String,
    /// Its keys, as a JWK set.
    pub jwks_file: PathBuf,
    /// The claim that contains a token's permissions; `scp` if absent.
    #[serde(default = "scp")]
    pub scope_claim: String,
    /// The scopes that each value of that claim grants.
    #[serde(default)]
    pub scopes: BTreeMap<String, OneOrMore>,
}

impl Form for Issuer {
    fn form() -> String {
        "tables".to_owned()
    }

    fn keys(of: &str) -> Vec<Key> {
        const NEEDED: Option<&str> = Some("none (required)");
        let claim = Some(Value::from(scp()));
        [
            (
                "issuer",
                "text",
                None,
                NEEDED,
                "The `iss` of its tokens. Another entry's must not begin with this and a slash.",
            ),
            ("audience", "text", None, NEEDED, "The `aud` of its tokens."),
            ("jwks_file", "path", None, NEEDED, "Its keys, as a JWK set."),
            (
                "scope_claim",
                "text",
                claim.as_ref(),
                None,
                "The claim that contains a token's permissions.",
            ),
            (
                "scopes",
                "table",
                None,
                None,
                "For each value of that claim, the scope or the list of scopes that it grants.",
            ),
        ]
        .map(|(field, form, default, shown, meaning)| {
            Key::new((of, field), form.to_owned(), default, shown, meaning)
        })
        .into()
    }
}

fn scp() -> String {
    "scp".to_owned()
}

/// A scope, or an array of scopes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum OneOrMore {
    /// One scope.
    One(String),
    /// An array of scopes.
    More(Vec<String>),
}

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
enum SettingsError {
    /// The keys of an entry of `dps.issuers` cannot be used.
    #[error("dps.issuers: {0}")]
    Keys(KeyFileError),
    /// `dps.issuers[].scopes` contains an invalid scope.
    #[error("dps.issuers: the scopes of {value:?} of {issuer}: {error}")]
    Scope {
        /// The entry's issuer.
        issuer: String,
        /// The claim's value.
        value: String,
        /// What is wrong with its scopes.
        error: AuthError,
    },
    /// The issuer of one entry of `dps.issuers` begins with that of another and a slash: in the audit trail, which separates issuer
    /// and subject by a slash, a user of the one could have the name of a user of the other.
    #[error(
        "dps.issuers: the issuer {inner} begins with the issuer {outer} and a slash, so users of both could have one name, external:ISSUER/SUBJECT"
    )]
    Nested {
        /// The shorter issuer.
        outer: String,
        /// The longer issuer.
        inner: String,
    },
    /// Two entries of `dps.issuers` are for the same tokens, although only one would decide what a token allows.
    #[error("dps.issuers: two entries have the issuer {issuer} and the audience {audience}")]
    Twice {
        /// Their issuer.
        issuer: String,
        /// Their audience.
        audience: String,
    },
}

impl Dialect for Settings {
    fn check(&mut self, _: &mut AuthSettings) -> Result<(), DialectError> {
        self.issuers().map(drop).map_err(DialectError::of)
    }

    fn check_files(&self) -> Result<Vec<String>, DialectError> {
        let warnings = self.load_issuers()?.warnings().into_iter();
        Ok(warnings
            .map(|warning| format!("dps.issuers: {warning}"))
            .collect())
    }

    fn files(&self) -> Vec<(&'static str, &Path)> {
        let issuers = self.issuers.iter();
        let files = issuers.map(|issuer| ("dps.issuers[].jwks_file", issuer.jwks_file.as_path()));
        files.collect()
    }

    fn rule(&self, rules: &mut Rules) {
        let seconds = |seconds: NonZeroU32| Duration::from_secs(seconds.get().into());
        rules.certificates = CertificateSettings {
            allow_unproven: self.allow_unproven,
            max_certificates: self.max_certificates,
            code_lifetime: self.code_lifetime_s.map(seconds),
        };
    }

    fn mount(&self, service: Arc<Service>) -> Result<Arc<dyn Application>, DialectError> {
        Ok(Arc::new(Dps {
            service,
            issuers: self.load_issuers()?,
            subject: self.subject,
        }))
    }
}

impl Settings {
    fn issuers(&self) -> Result<Vec<IssuerSettings>, SettingsError> {
        let mut known = BTreeSet::new();
        for Issuer {
            issuer, audience, ..
        } in &self.issuers
        {
            if !known.insert((issuer, audience)) {
                return Err(SettingsError::Twice {
                    issuer: issuer.clone(),
                    audience: audience.clone(),
                });
            }
            let is_within = |other: &&Issuer| {
                let rest = other.issuer.strip_prefix(issuer.as_str());
                rest.is_some_and(|rest| rest.starts_with('/'))
            };
            if let Some(inner) = self.issuers.iter().find(is_within) {
                return Err(SettingsError::Nested {
                    outer: issuer.clone(),
                    inner: inner.issuer.clone(),
                });
            }
        }
        self.issuers.iter().map(Issuer::read).collect()
    }

    fn load_issuers(&self) -> Result<Issuers, DialectError> {
        let issuers = self.issuers().map_err(DialectError::of)?;
        Issuers::load(issuers).map_err(|error| DialectError::of(SettingsError::Keys(error)))
    }
}

impl Issuer {
    fn read(&self) -> Result<IssuerSettings, SettingsError> {
        let scopes = self.scopes.iter().map(|(value, scopes)| {
            let texts = match scopes {
                OneOrMore::One(text) => slice::from_ref(text),
                OneOrMore::More(texts) => texts,
            };
            let scopes = OperatorScopes::parse(texts.iter().map(String::as_str));
            let scopes = scopes.map_err(|error| SettingsError::Scope {
                issuer: self.issuer.clone(),
                value: value.clone(),
                error,
            })?;
            Ok((value.clone(), scopes))
        });
        Ok(IssuerSettings {
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            jwks_file: self.jwks_file.clone(),
            scope_claim: self.scope_claim.clone(),
            scopes: scopes.collect::<Result<_, SettingsError>>()?,
        })
    }
}
