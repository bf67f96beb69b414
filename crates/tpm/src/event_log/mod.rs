//! Event logs: the measurements that a platform reports, and their comparison with its registers.

mod check;
mod event;
mod finding;
mod parse;
mod replay;
mod uefi;

pub use check::{EventLogPolicy, ReplayedLog, ReplayedRegister, check_event_log};
pub use event::{EventTrust, EventType, LogEvent};
pub use finding::{BackedData, EventLogCheck, EventLogFinding, SecureBootState};
pub use parse::{EventLog, EventLogFormat};
pub use replay::Replay;
pub use uefi::{BootVariable, SecureBoot};
