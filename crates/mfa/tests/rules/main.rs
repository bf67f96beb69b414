//! The rules one by one, by the public API.

mod ada;
mod devices;
mod keys;
mod lockout;
mod login;
mod recovery;
