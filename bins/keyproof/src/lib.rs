//! keyproof's server and commands. The binary only passes its arguments here; tests start a server in their own
//! process.

pub mod command;
pub mod config;
pub mod demo;
pub mod dialect;
mod event_json;
mod http_client;
mod interruption;
mod memory;
mod metrics;
mod qr;
mod readiness;
mod request_origin;
mod rfc3339;
pub mod route_table;
pub mod server;
pub mod server_certificate;
pub mod sites;
pub mod sockets;
pub mod store;
mod supervisor;
pub mod telemetry;
mod whole_file;
