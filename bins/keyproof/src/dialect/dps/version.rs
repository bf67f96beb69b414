//! Versions of the API. They differ in one member of the responses. All of them accept both forms of a body.

use keyproof_http::Query;

use super::errors::{Code, Refusal};

/// A known version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ApiVersion(&'static str);

/// All known versions, sorted by date.
const KNOWN: [&str; 15] = [
    "2017-08-21-preview",
    "2017-11-15",
    "2018-01-22",
    "2020-03-01",
    "2021-10-15",
    "2022-02-05",
    "2022-12-12",
    "2023-03-01-preview",
    "2025-02-01-preview",
    "2026-03-01-preview",
    "2026-04-01",
    "2026-06-01-preview",
    "2026-08-01",
    "2026-08-31",
    "2026-11-01",
];

impl ApiVersion {
    /// Returns the version in a query. The parameter's name and value are case-insensitive.
    pub(super) fn of(query: &Query) -> Result<Self, Refusal> {
        let mut parameters = query.iter();
        let named = parameters
            .find(|(name, _)| name.eq_ignore_ascii_case("api-version"))
            .map(|(_, value)| value);
        let supported = || format!("supported: {}", KNOWN.join(", "));
        let Some(named) = named.filter(|named| !named.is_empty()) else {
            return Err(Refusal::from(Code::VersionMissing).because(&supported()));
        };
        let mut known = KNOWN.iter();
        known
            .find(|known| known.eq_ignore_ascii_case(named))
            .map(|known| Self(known))
            .ok_or_else(|| {
                let named: String = named.chars().take(40).collect();
                let why = format!("{named:?}; {}", supported());
                Refusal::from(Code::VersionUnknown).because(&why)
            })
    }

    /// Returns whether responses contain the certificate itself.
    pub(super) fn shows_certificate(self) -> bool {
        self.0 >= "2020-03-01"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str) -> Option<ApiVersion> {
        ApiVersion::of(&Query::parse(query)).ok()
    }

    #[test]
    fn known_versions_are_found_in_any_case() {
        for known in KNOWN {
            assert_eq!(of(&format!("api-version={known}")), Some(ApiVersion(known)));
        }
        assert_eq!(
            of("certificate.name=x&API-Version=2023-03-01-PREVIEW"),
            Some(ApiVersion("2023-03-01-preview"))
        );
        for wrong in [
            "",
            "api-version=",
            "api-version=2022-12-13",
            "version=2022-12-12",
        ] {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_certificate_is_shown_from_2020_03_on() {
        let shown = KNOWN.map(|known| ApiVersion(known).shows_certificate());
        assert_eq!(
            shown.iter().filter(|shown| **shown).count(),
            KNOWN.len() - 3
        );
        assert!(shown.is_sorted());
    }
}
