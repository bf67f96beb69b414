//! The kinds of values in words, one line for each type that a setting may have.

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

/// A type of setting.
pub(crate) trait Form {
    /// Returns the kind of value, in words.
    fn form() -> String;

    /// Returns the keys of this type if it is a table; `of` is its name.
    fn keys(_of: &str) -> Vec<Key> {
        Vec::new()
    }
}

/// Gives types their kinds of values, in words.
macro_rules! forms {
    ($($type:ty: $form:literal,)+) => {
        $(impl $crate::config::Form for $type {
            fn form() -> String {
                $form.to_owned()
            }
        })+
    };
}
pub(crate) use forms;

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

/// Returns the values as a flag takes them.
fn one_of<T: ValueEnum>() -> String {
    let names = T::value_variants().iter().filter_map(name_of);
    names.collect::<Vec<_>>().join(", ")
}

/// Returns a value's name as flags and configuration write it.
pub(crate) fn name_of(value: &impl ValueEnum) -> Option<String> {
    Some(value.to_possible_value()?.get_name().to_owned())
}
