//! Sends the audit trail to systemd's journal in its native protocol, one datagram per event. A library would block
//! while the journal's socket is full.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use keyproof_service::audit::{AuditSink, Event, EventKey, Outcome};
use tokio::net::UnixDatagram;

use super::{
    outbox::{Counts, Exporter, Outbox, Outgoing, Room},
    printable,
};
use crate::rfc3339::Rfc3339;

/// The journal's socket.
pub(crate) const SOCKET: &str = "/run/systemd/journal/socket";

/// Enough events for a second or two of many refusals, in addition to the hundreds that the socket buffers.
const ROOM: Room = Room {
    waiting: 4_096,
    at_once: 1,
    pause: Duration::ZERO,
    patience: Duration::from_secs(1),
};

/// The id by which events are found: `journalctl MESSAGE_ID=…`.
const MESSAGE_ID: &str = "8f3b6c0e5d8a4b0f9d6e2a41c7b95d13";

/// Receives audit events that were committed, or may have been.
#[derive(Debug)]
pub(crate) struct Journal(Outbox<Vec<u8>>);

impl Journal {
    /// Starts sending to the journal at `socket`.
    pub(crate) fn start(socket: &Path, counts: Counts) -> (Arc<Self>, Outgoing) {
        let way = JournalSocket {
            path: socket.to_owned(),
            socket: None,
        };
        let (outbox, outgoing) = Outbox::start(ROOM, way, counts);
        (Arc::new(Self(outbox)), outgoing)
    }
}

impl AuditSink for Journal {
    fn committed(&self, id: &EventKey, event: &Event) {
        self.0.add(datagram(id, event, CommitState::Committed));
    }

    fn unknown(&self, id: &EventKey, event: &Event) {
        self.0.add(datagram(id, event, CommitState::Unknown));
    }
}

/// The connection to the journal. systemd keeps the socket open while the journal restarts.
struct JournalSocket {
    path: PathBuf,
    socket: Option<UnixDatagram>,
}

impl Exporter<Vec<u8>> for JournalSocket {
    type Error = io::Error;

    const WHAT: &'static str = "events of the audit trail reach the journal (audit.journald)";

    async fn export(&mut self, all: Vec<Vec<u8>>) -> io::Result<usize> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => {
                let socket = UnixDatagram::unbound()?;
                // Only a connected socket signals when there is room again.
                socket.connect(&self.path)?;
                socket
            }
        };
        for datagram in all {
            socket.send(&datagram).await?;
        }
        // After an error, a new socket is opened.
        self.socket = Some(socket);
        Ok(0)
    }
}

/// Whether an event is in the audit trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CommitState {
    /// It is in the trail.
    Committed,
    /// It is in the trail under its id, or nothing was changed.
    Unknown,
}

/// Encodes an event in the journal's native protocol. Each field is the name, a newline, the value's length as eight
/// little-endian bytes, the value, and a newline.
fn datagram(id: &EventKey, event: &Event, state: CommitState) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(1_024);
    let mut add = |name: &str, value: &str| {
        // Exact: a usize has at most 64 bits.
        let len = u64::try_from(value.len()).unwrap_or(u64::MAX);
        datagram.extend_from_slice(name.as_bytes());
        datagram.push(b'\n');
        datagram.extend_from_slice(&len.to_le_bytes());
        datagram.extend_from_slice(value.as_bytes());
        datagram.push(b'\n');
    };
    let decided = event.outcome.name();
    // A search for completed actions must not find uncertain ones.
    let (outcome, priority) = match (state, event.outcome) {
        (CommitState::Unknown, _) => ("unknown", "4"),
        (CommitState::Committed, Outcome::Done) => (decided, "6"),
        (CommitState::Committed, Outcome::Refused) => (decided, "5"),
    };
    let (action, target, who, detail) = (&event.action, &event.target, &event.who, &event.detail);
    let mut message = format!("{action} of {target} by {who}: {decided}");
    if let Some(detail) = detail {
        message = format!("{message} ({detail})");
    }
    if state == CommitState::Unknown {
        message += "; or nothing of it, for it could not be learnt whether it was committed";
    }
    // Clients choose some of its texts, such as ids: without line ends in them, nobody forges another line.
    add("MESSAGE", &printable(&message));
    add("MESSAGE_ID", MESSAGE_ID);
    add("PRIORITY", priority);
    add("SYSLOG_IDENTIFIER", "keyproof");
    add("KEYPROOF_ID", &id.to_string());
    add("KEYPROOF_AT", &Rfc3339(event.at).to_string());
    add("KEYPROOF_ACTION", action);
    add("KEYPROOF_TARGET", target);
    add("KEYPROOF_OUTCOME", outcome);
    add("KEYPROOF_WHO", who);
    let count = event.count();
    let address = event.address.map(|address| address.to_string());
    for (name, value) in [
        ("KEYPROOF_DETAIL", detail.as_ref()),
        ("KEYPROOF_REQUEST_ID", event.request_id.as_ref()),
        ("KEYPROOF_ADDRESS", address.as_ref()),
    ] {
        if let Some(value) = value {
            add(name, value);
        }
    }
    if count > 1 {
        add("KEYPROOF_COUNT", &count.to_string());
    }
    if event.left_out > 0 {
        add("KEYPROOF_LEFT_OUT", &event.left_out.to_string());
    }
    datagram
}
