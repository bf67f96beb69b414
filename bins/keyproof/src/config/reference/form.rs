//! What values are, in words: one line a type that a setting may have.

use std::{
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
};

use clap::ValueEnum;
use ipnet::IpNet;

use super::Key;
use crate::{
    config::{ServerUrl, ShortTime},
    telemetry::{LogFormat, LogLevel},
};

/// A type that a setting may have.
pub(crate) trait Form {
    /// What a value is, in words.
    fn form() -> String;

    /// The keys of the table that it is, whose name is `of`.
    fn keys(_of: &str) -> Vec<Key> {
        Vec::new()
    }
}

macro_rules! forms {
    ($($type:ty: $form:literal,)+) => {
        $(impl Form for $type {
            fn form() -> String {
                $form.to_owned()
            }
        })+
    };
}

forms! {
    bool: "true or false",
    u32: "number",
    IpNet: "network",
    NonZeroU32: "number from 1",
    NonZeroUsize: "number from 1",
    PathBuf: "path",
    ServerUrl: "URL",
    ShortTime: "time",
    SocketAddr: "address and port",
    String: "text",
}

impl Form for LogFormat {
    fn form() -> String {
        one_of::<Self>()
    }
}

impl Form for LogLevel {
    fn form() -> String {
        one_of::<Self>()
    }
}

impl<T: Form> Form for Option<T> {
    fn form() -> String {
        T::form()
    }

    fn keys(of: &str) -> Vec<Key> {
        T::keys(of)
    }
}

impl<T: Form> Form for Vec<T> {
    fn form() -> String {
        format!("list: {}", T::form())
    }

    fn keys(of: &str) -> Vec<Key> {
        T::keys(&format!("{of}[]"))
    }
}

/// The values that a flag takes, too.
fn one_of<T: ValueEnum>() -> String {
    let names = T::value_variants().iter().filter_map(name_of);
    names.collect::<Vec<_>>().join(", ")
}

/// A value as flags and configuration write it.
pub(crate) fn name_of(value: &impl ValueEnum) -> Option<String> {
    Some(value.to_possible_value()?.get_name().to_owned())
}
