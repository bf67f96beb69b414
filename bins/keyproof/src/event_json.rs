//! Audit events as JSON, and their details for people, for both commands and the console.

use std::io;

use keyproof_service::{Timestamp, audit::Event};
use serde_json::Value;

use crate::rfc3339::Rfc3339;

/// Returns the event as JSON, with its times in RFC 3339.
pub(crate) fn event_document(event: &Event) -> io::Result<Value> {
    let mut document = serde_json::to_value(event)?;
    if let Some(members) = document.as_object_mut() {
        let mut tell = |name: &str, at| {
            members.insert(name.to_owned(), Value::String(Rfc3339(at).to_string()));
        };
        tell("at", event.at);
        if let Some(repeats) = &event.repeats {
            tell("last_at", repeats.last_at);
        }
    }
    Ok(document)
}

/// Returns an event's detail for people. That of a revoked API key ends with a moment, which is stored in milliseconds
/// since 1970 and shown in RFC 3339.
pub(crate) fn readable(detail: &str) -> String {
    let with_moment = || {
        let (before, millis) = detail.strip_suffix(" ms since 1970 on")?.rsplit_once(' ')?;
        let at = Timestamp::from_millis(millis.parse().ok()?);
        Some(format!("{before} {} on", Rfc3339(at)))
    };
    with_moment().unwrap_or_else(|| detail.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_in_a_detail_is_shown_in_rfc_3339() {
        for (stored, shown) in [
            (
                "enabled, revoked from 1700000000123 ms since 1970 on",
                "enabled, revoked from 2023-11-14T22:13:20.123Z on",
            ),
            ("disabled, not revoked", "disabled, not revoked"),
            ("from x ms since 1970 on", "from x ms since 1970 on"),
        ] {
            assert_eq!(readable(stored), shown);
        }
    }
}
