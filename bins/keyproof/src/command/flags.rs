//! Flags that set configuration keys, and numbers in flags.

use std::{
    fmt::Display,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::Args;
use toml::Value;

use super::Failure;
use crate::{
    config::{Config, ConfigError, Sources, name_of, parse_address},
    dialect::DialectName,
    telemetry::{LogFormat, LogLevel},
};

/// The flags for the store and the output format.
#[derive(Args, Debug)]
pub(super) struct StoreArguments {
    #[command(flatten)]
    pub(super) store: StoreFlags,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// The flags of every command that touches a store.
#[derive(Args, Debug)]
pub(super) struct StoreFlags {
    /// The configuration file, in TOML; `keyproof config reference` prints its keys
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The store: sqlite:PATH, postgres://…, or (only for `serve`) memory:; if none is configured either,
    /// keyproof/keyproof.db in the user's state folder. Others on this machine can see it: a URL with a password belongs in
    /// the configuration file or in KEYPROOF_STORE__URL
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// The master key's file; if none is configured either, that of an embedded store is beside it
    #[arg(long, value_name = "FILE")]
    master_key: Option<PathBuf>,
}

/// The flags of a command whose arguments name its stores.
#[derive(Args, Debug)]
pub(super) struct KeyFlags {
    /// The configuration file for a store that is not named by config:FILE
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The master key's file, for both stores
    #[arg(long, value_name = "FILE")]
    master_key: Option<PathBuf>,
}

/// The prefix of a configuration file that names a store. A URL's password would be visible to everyone on the machine.
const BY_CONFIG: &str = "config:";

impl KeyFlags {
    /// Loads the configuration with these flags and the store at `place`, which is a URL or `config:FILE`.
    pub(super) fn load(&self, place: &str) -> Result<Config, Failure> {
        let file = place.strip_prefix(BY_CONFIG).map(Path::new);
        let (config, store) = match file {
            Some(file) => (Some(file.to_owned()), None),
            None => (self.config.clone(), Some(place.to_owned())),
        };
        let flags = StoreFlags {
            config,
            store,
            master_key: self.master_key.clone(),
        };
        let config = flags.load()?;
        match file {
            Some(file) if names_another(file, &config) => Err(Failure::Usage(format!(
                "KEYPROOF_STORE__URL names another store than {} does, and wins over it: unset it for this command",
                file.display()
            ))),
            _ => Ok(config),
        }
    }
}

/// Whether a file by itself names another store than the configuration that was loaded with it. Does not read a file that
/// is not a regular file, as that may be readable only once.
fn names_another(file: &Path, config: &Config) -> bool {
    // Without an environment there is no default store either.
    let alone = Sources {
        file: Some(file.to_owned()),
        ..Sources::default()
    };
    let is_other = |own: Config| own.store.url.configured() != config.store.url.configured();
    file.is_file() && Config::load(&alone).is_ok_and(is_other)
}

/// The flags of `serve`.
#[derive(Args, Debug)]
pub(super) struct ServeFlags {
    #[command(flatten)]
    store: StoreFlags,
    /// Migrate the store to this release's schema first
    #[arg(long)]
    migrate: bool,
    /// The main listener's address; port 0 picks one
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    listen: Option<SocketAddr>,
    /// The flag's name in other servers
    #[arg(long, hide = true, value_name = "PORT", num_args = 0..=1, default_missing_value = "PORT")]
    port: Option<String>,
    /// Allow plain HTTP on an address other than loopback
    #[arg(long)]
    insecure_http: bool,
    /// The TLS certificate chain, PEM
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The TLS certificate's key, PEM
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Create a self-signed TLS certificate, for trials
    #[arg(long)]
    tls_self_signed: bool,
    /// The listener on which Prometheus reads metrics
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    metrics_listen: Option<SocketAddr>,
    /// The format of log lines
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,
    /// The least severe level that is logged
    #[arg(long, value_enum)]
    log_level: Option<LogLevel>,
    /// The wire contracts to serve; all others are off
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    dialects: Option<Vec<DialectName>>,
}

/// Collects the keys that flags set.
#[derive(Default)]
struct Layer(Vec<(&'static str, Value)>);

impl Layer {
    fn set(&mut self, key: &'static str, value: Option<impl Into<Value>>) {
        self.0.extend(value.map(|value| (key, value.into())));
    }

    fn set_path(&mut self, key: &'static str, path: Option<&PathBuf>) -> Result<(), ConfigError> {
        let refuse = || ConfigError::Flag(format!("{key}: the path is not UTF-8"));
        let path = path
            .map(|path| path.to_str().map(str::to_owned).ok_or_else(refuse))
            .transpose()?;
        self.set(key, path);
        Ok(())
    }
}

impl StoreFlags {
    fn lay(&self, layer: &mut Layer) -> Result<(), ConfigError> {
        layer.set("store.url", self.store.clone());
        layer.set_path("store.master_key", self.master_key.as_ref())
    }

    /// Returns the configuration file's path, if given.
    pub(super) fn config_file(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// Loads the configuration with these flags.
    pub(super) fn load(&self) -> Result<Config, ConfigError> {
        let mut layer = Layer::default();
        self.lay(&mut layer)?;
        Config::load(&sources(self.config.clone(), layer))
    }
}

impl ServeFlags {
    /// Loads the configuration with these flags.
    pub(super) fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&self.sources()?)
    }

    /// Loads the configuration with these flags. Passes the log format to `tell` first, so that errors are logged in that
    /// format.
    pub(super) fn load_for_logs(
        &self,
        sockets: Vec<(String, SocketAddr)>,
        tell: impl Fn(LogFormat),
    ) -> Result<Config, ConfigError> {
        tell(self.log_format.unwrap_or_default());
        let sources = Sources {
            sockets,
            ..self.sources()?
        };
        tell(Config::log_format(&sources));
        Config::load(&sources)
    }

    fn sources(&self) -> Result<Sources, ConfigError> {
        if let Some(port) = &self.port {
            return Err(ConfigError::Port(port.clone()));
        }
        let mut layer = Layer::default();
        self.store.lay(&mut layer)?;
        layer.set("store.migrate", self.migrate.then_some(true));
        let address = |address: Option<SocketAddr>| address.map(|address| address.to_string());
        layer.set("http.listen", address(self.listen));
        layer.set("http.insecure", self.insecure_http.then_some(true));
        layer.set_path("tls.certificate", self.tls_cert.as_ref())?;
        layer.set_path("tls.key", self.tls_key.as_ref())?;
        layer.set("tls.self_signed", self.tls_self_signed.then_some(true));
        layer.set("metrics.listen", address(self.metrics_listen));
        layer.set("log.format", self.log_format.as_ref().and_then(name_of));
        layer.set("log.level", self.log_level.as_ref().and_then(name_of));
        if let Some(list) = &self.dialects {
            for name in DialectName::ALL {
                // A dialect that this build does not have is off anyway, unless it was named.
                layer.set(name.enabled_key(), Some(list.contains(name)));
            }
        }
        Ok(sources(self.store.config.clone(), layer))
    }
}

fn sources(file: Option<PathBuf>, layer: Layer) -> Sources {
    Sources {
        file,
        flags: layer.0,
        ..Sources::of_this_process()
    }
}

/// What the number in `--at` is.
pub(super) const UNIX: &str = "a moment in whole seconds since 1970,";

/// Why a text is not bytes in hexadecimal.
pub(super) const NOT_HEX: &str = "not hexadecimal, with two digits for each byte";

/// Returns the parser of a number from `least` to `most`. Its error names what the number is, such as
/// `a whole number of seconds`, and the range.
pub(super) fn number<T>(
    what: &'static str,
    least: T,
    most: Option<T>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    move |text: &str| {
        let number: Option<T> = text.parse().ok();
        let is_within =
            |number: &T| *number >= least && most.as_ref().is_none_or(|most| number <= most);
        number.filter(is_within).ok_or_else(|| match &most {
            Some(most) => format!("{what} from {least} to {most}"),
            None => format!("{what} from {least}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_refused_is_told_its_range() {
        let seconds = number::<u64>("a whole number of seconds", 1, Some(3600));
        for (text, is_right) in [("1", true), ("3600", true), ("0", false), ("3601", false)] {
            assert_eq!(seconds(text).is_ok(), is_right, "{text}");
        }
        let expected = "a whole number of seconds from 1 to 3600".to_owned();
        for wrong in ["", "x", "1.5", "99999999999999999999"] {
            assert_eq!(seconds(wrong), Err(expected.clone()), "{wrong}");
        }
        let counter = number::<u64>("a whole number", 0, None);
        assert_eq!(counter("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(counter("x"), Err("a whole number from 0".to_owned()));
    }
}
