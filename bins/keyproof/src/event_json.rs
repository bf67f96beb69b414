//! Audit events as JSON, for both commands and the console.

use std::io;

use keyproof_service::audit::Event;
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
