//! The URL of a database, with its TLS settings, as libpq interprets it.

use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr};

use percent_encoding::percent_decode_str;
use tokio_postgres::{
    Config,
    config::{ChannelBinding, Host, SslMode, TargetSessionAttrs},
};

use super::tls::{Roots, Tls};
use crate::EngineError;

/// The URL of a PostgreSQL database: `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…`.
///
/// It is interpreted as by libpq. It may name several hosts, all before the path or all in `host`. The first that accepts
/// writes is used, and tried first from then on, unless `load_balance_hosts=random` is set. Without `sslmode`, TLS is
/// used if the server offers it, and its certificate is *not* verified:
///
/// | `sslmode` | TLS | checks the certificate's issuer | checks its name |
/// |---|---|---|---|
/// | `disable` | no | | |
/// | `prefer` | if the server offers it | no | no |
/// | `require` | yes | if `sslrootcert` is given | no |
/// | `verify-ca` | yes | yes | no |
/// | `verify-full`, and `sslrootcert` alone | yes | yes | yes |
///
/// `sslrootcert=FILE` names the trusted issuers in PEM; without it, or with `system`, they are the operating system's.
/// Client certificates and channel binding are not supported, so `channel_binding=require` is rejected.
///
/// `Debug` and `Display` show neither the password nor any parameter.
///
/// ```
/// use keyproof_store::postgres::PostgresUrl;
///
/// let url: PostgresUrl = "postgres://keyproof:hunter2@db/keyproof?sslmode=verify-full".parse()?;
/// assert!(!url.is_exposed());
/// assert_eq!(url.to_string(), "postgres://keyproof@db:5432/keyproof");
/// assert_eq!(url.without_password(), "postgres://keyproof@db/keyproof?sslmode=verify-full");
/// let url: PostgresUrl = "postgres://keyproof@db/keyproof".parse()?;
/// assert!(url.is_exposed()); // any server that answers as `db` is trusted
/// # Ok::<(), keyproof_store::postgres::ParsePostgresUrlError>(())
/// ```
#[derive(Clone)]
pub struct PostgresUrl {
    pub(super) config: Config,
    pub(super) tls: Tls,
    without_password: String,
}

impl PartialEq for PostgresUrl {
    /// Whether they mean the same, however they are written.
    fn eq(&self, other: &Self) -> bool {
        (&self.config, &self.tls) == (&other.config, &other.tls)
    }
}

impl Eq for PostgresUrl {}

/// Why a text is not a URL of a PostgreSQL database. No variant quotes the text, since it may contain a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParsePostgresUrlError {
    /// It requires channel binding, which is not supported.
    #[error(
        "channel_binding=require is not supported: set disable or prefer, neither of which does channel binding"
    )]
    ChannelBinding,
    /// It does not have the form of a URL.
    #[error(
        "not postgres://USER:PASSWORD@HOST:PORT/DATABASE?PARAMETER=VALUE&… (in a password, `@`, `/`, `?`, `#` and `%` \
         are written as %40, %2F, %3F, %23 and %25)"
    )]
    Malformed,
    /// It names no host.
    #[error("the PostgreSQL URL names no host")]
    NoHost,
    /// A parameter is unknown.
    #[error(
        "the PostgreSQL URL has an unknown parameter: they are {} (in a password, `?` and `&` are written as %3F and %26)",
        PARAMETERS.map(|(name, _)| name).join(", ")
    )]
    UnknownParameter,
    /// The value of a parameter is invalid.
    #[error("in the PostgreSQL URL, {parameter} is {values}")]
    UnknownValue {
        /// The parameter.
        parameter: &'static str,
        /// Its valid values, in words.
        values: &'static str,
    },
    /// `sslrootcert` has no effect with this `sslmode`.
    #[error("sslrootcert needs sslmode=verify-full, verify-ca or require")]
    UnusedRoots,
    /// `sslmode` has an unknown value.
    #[error("sslmode is disable, prefer, require, verify-ca or verify-full")]
    UnknownSslMode,
}

/// The parameter that selects among several servers. Only values that select one that accepts writes are valid.
const TARGET: (&str, &str) = (
    "target_session_attrs",
    "any, read-write, primary or prefer-standby: no other server than one that takes writes is used",
);

/// Where hosts may be named. Of two places libpq uses only the last, and the client library both.
const ONCE: &str = "named once: before the path, or as this parameter";

/// The parameters of a URL, with the valid values of each.
const PARAMETERS: [(&str, &str); 19] = [
    ("application_name", "a text"),
    ("channel_binding", "disable or prefer"),
    ("connect_timeout", "a number of seconds"),
    ("dbname", "a text"),
    ("host", "a name, or several with commas between"),
    ("hostaddr", "an address, or several with commas between"),
    ("keepalives", "0 or 1"),
    ("keepalives_idle", "a number of seconds"),
    ("keepalives_interval", "a number of seconds"),
    ("keepalives_retries", "a number"),
    ("load_balance_hosts", "disable or random"),
    ("options", "a text"),
    ("password", "a text"),
    ("port", "a number, or several with commas between"),
    (
        "sslmode",
        "disable, prefer, require, verify-ca or verify-full",
    ),
    ("sslrootcert", "a file, or system"),
    TARGET,
    ("tcp_user_timeout", "a number of seconds"),
    ("user", "a text"),
];

/// Checks that a parameter handled by the client library is known and has a valid value.
fn check_parameter(name: &str, parameter: &str) -> Result<(), ParsePostgresUrlError> {
    let mut known = PARAMETERS.into_iter();
    let (parameter_name, values) = known
        .find(|(known, _)| *known == name)
        .ok_or(ParsePostgresUrlError::UnknownParameter)?;
    let alone = format!("postgres://host?{parameter}").parse::<Config>();
    alone
        .map(drop)
        .map_err(|_| ParsePostgresUrlError::UnknownValue {
            parameter: parameter_name,
            values,
        })
}

/// Rejects values that select servers without writes, and values that libpq does not support either.
fn check_target(value: &str) -> Result<(), ParsePostgresUrlError> {
    let (parameter, values) = TARGET;
    match percent_decode_str(value).decode_utf8().as_deref() {
        Ok("any" | "read-write" | "primary" | "prefer-standby") => Ok(()),
        _ => Err(ParsePostgresUrlError::UnknownValue { parameter, values }),
    }
}

impl FromStr for PostgresUrl {
    type Err = ParsePostgresUrlError;

    fn from_str(text: &str) -> Result<Self, ParsePostgresUrlError> {
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(ParsePostgresUrlError::Malformed);
        }
        let (base, query) = text.split_once('?').unwrap_or((text, ""));
        // An unescaped `@` in a password, which would turn the rest of the password into a host and a database.
        // Without one before the parameters, the client library takes everything up to one in them for the user. It is not
        // given the roots.
        let before = base.matches('@').count();
        let is_torn = |other: &str| other.contains('@') && !other.starts_with("sslrootcert=");
        if before > 1 || (before == 0 && query.split('&').any(is_torn)) {
            return Err(ParsePostgresUrlError::Malformed);
        }
        let (mut mode, mut roots) = (None, None);
        let mut others = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter
                .split_once('=')
                .ok_or(ParsePostgresUrlError::Malformed)?;
            match name {
                "sslmode" => mode = Some(value),
                "sslrootcert" => roots = Some(parse_roots(value)?),
                "target_session_attrs" => check_target(value)?,
                _ => {
                    check_parameter(name, parameter)?;
                    others.push(parameter);
                }
            }
        }
        let mut config: Config = format!("{base}?{}", others.join("&"))
            .parse()
            .map_err(|_| ParsePostgresUrlError::Malformed)?;
        if config.get_hosts().is_empty() {
            return Err(ParsePostgresUrlError::NoHost);
        }
        // No host contains `@`, but a password that was parsed as a parameter may.
        let is_torn = |host: &Host| matches!(host, Host::Tcp(name) if name.contains('@'));
        if config.get_hosts().iter().any(is_torn) {
            return Err(ParsePostgresUrlError::Malformed);
        }
        let named = others.iter().filter(|other| other.starts_with("host="));
        if named.count() + usize::from(names_host(base)) > 1 {
            let (parameter, values) = ("host", ONCE);
            return Err(ParsePostgresUrlError::UnknownValue { parameter, values });
        }
        if config.get_channel_binding() == ChannelBinding::Require {
            return Err(ParsePostgresUrlError::ChannelBinding);
        }
        let tls = tls(mode, roots)?;
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        config.ssl_mode(match tls {
            Tls::Disabled => SslMode::Disable,
            Tls::Preferred => SslMode::Prefer,
            Tls::Unverified | Tls::AnyName(_) | Tls::Verified(_) => SslMode::Require,
        });
        Ok(Self {
            config,
            tls,
            without_password: without_password(base, query),
        })
    }
}

impl PostgresUrl {
    /// The URL as it was written, without the password. It identifies the database and how it is connected to.
    pub fn without_password(&self) -> &str {
        &self.without_password
    }

    /// Reads the files that the URL names, as connecting does.
    ///
    /// # Errors
    ///
    /// [`EngineError::Configuration`] if one of them cannot be used.
    pub fn check_files(&self) -> Result<(), EngineError> {
        self.tls.connector().map(drop)
    }

    /// Whether a host other than this machine is used without verifying its certificate.
    pub fn is_exposed(&self) -> bool {
        let is_checked = matches!(self.tls, Tls::Verified(_) | Tls::AnyName(_));
        let is_beyond = |host: &Host| match host {
            Host::Tcp(name) => {
                let address = name.parse::<IpAddr>();
                name != "localhost" && !address.is_ok_and(|address| address.is_loopback())
            }
            #[cfg(unix)]
            Host::Unix(_) => false,
        };
        // The engine connects to the addresses, if there are any; the hosts are then only names.
        let mut addresses = self.config.get_hostaddrs().iter();
        let is_any_beyond = match addresses.len() {
            0 => self.config.get_hosts().iter().any(is_beyond),
            _ => addresses.any(|address| !address.is_loopback()),
        };
        !is_checked && is_any_beyond
    }
}

/// Whether there is a host before the path.
fn names_host(base: &str) -> bool {
    let rest = base.split_once("://").map_or(base, |(_, rest)| rest);
    let hosts = rest.split_once('@').map_or(rest, |(_, hosts)| hosts);
    !hosts.is_empty() && !hosts.starts_with('/')
}

fn without_password(base: &str, query: &str) -> String {
    let (scheme, rest) = base.split_once("://").unwrap_or(("postgres", base));
    let mut text = format!("{scheme}://");
    match rest.split_once('@') {
        Some((credentials, hosts)) => {
            let user = credentials.split(':').next().unwrap_or_default();
            text += &format!("{user}@{hosts}");
        }
        None => text += rest,
    }
    let is_left = |parameter: &&str| !parameter.is_empty() && !parameter.starts_with("password=");
    let left: Vec<_> = query.split('&').filter(is_left).collect();
    if !left.is_empty() {
        text += &format!("?{}", left.join("&"));
    }
    text
}

fn parse_roots(value: &str) -> Result<Roots, ParsePostgresUrlError> {
    let decoded = percent_decode_str(value)
        .decode_utf8()
        .map_err(|_| ParsePostgresUrlError::Malformed)?;
    Ok(match &*decoded {
        "system" => Roots::System,
        path => Roots::File(PathBuf::from(path)),
    })
}

fn tls(mode: Option<&str>, roots: Option<Roots>) -> Result<Tls, ParsePostgresUrlError> {
    Ok(match (mode, roots) {
        (Some("disable"), None) => Tls::Disabled,
        (Some("prefer") | None, None) => Tls::Preferred,
        (Some("disable" | "prefer"), Some(_)) => return Err(ParsePostgresUrlError::UnusedRoots),
        (Some("require"), None) => Tls::Unverified,
        (Some("require"), Some(roots)) => Tls::AnyName(roots),
        (Some("verify-ca"), roots) => Tls::AnyName(roots.unwrap_or(Roots::System)),
        (Some("verify-full"), roots) => Tls::Verified(roots.unwrap_or(Roots::System)),
        (None, Some(roots)) => Tls::Verified(roots),
        (Some(_), _) => return Err(ParsePostgresUrlError::UnknownSslMode),
    })
}

impl fmt::Display for PostgresUrl {
    /// Prints user, hosts and database.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        if let Some(user) = self.config.get_user() {
            write!(f, "{user}@")?;
        }
        let ports = self.config.get_ports();
        for (at, host) in self.config.get_hosts().iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            match host {
                Host::Tcp(name) if name.contains(':') => write!(f, "[{name}]")?,
                Host::Tcp(name) => f.write_str(name)?,
                #[cfg(unix)]
                Host::Unix(path) => f.write_str(&path.to_string_lossy().replace('/', "%2F"))?,
            }
            if let Some(port) = ports.get(at).or(ports.first()) {
                write!(f, ":{port}")?;
            }
        }
        match self.config.get_dbname() {
            Some(name) => write!(f, "/{name}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_beyond_this_machine_is_exposed_unless_it_is_checked() {
        for (text, is_exposed) in [
            ("postgres://u@db/k", true),
            ("postgres://u@127.0.0.1,db/k?sslmode=require", true),
            ("postgres://u@db/k?sslmode=verify-full", false),
            ("postgres://u@db/k?sslmode=verify-ca", false),
            ("postgres://u@localhost/k", false),
            ("postgres://u@[::1]/k", false),
            ("postgres://u@%2Frun%2Fpg/k", false),
            ("postgres://u@localhost/k?hostaddr=192.0.2.1", true),
            ("postgres://u@%2Frun%2Fpg/k?hostaddr=192.0.2.1", true),
            ("postgres://u@db,db/k?hostaddr=127.0.0.1,192.0.2.1", true),
            ("postgres://u@db/k?hostaddr=127.0.0.1", false),
        ] {
            assert_eq!(parse(text).unwrap().is_exposed(), is_exposed, "{text}");
        }
    }

    fn parse(text: &str) -> Result<PostgresUrl, ParsePostgresUrlError> {
        text.parse()
    }

    #[test]
    fn it_is_shown_without_password_and_parameters() {
        for (text, shown) in [
            ("postgres://u:hunter2@db/k", "postgres://u@db:5432/k"),
            (
                "postgresql://u:hunt%40er2@db:1/k?options=-c%20a=hunter2",
                "postgres://u@db:1/k",
            ),
            (
                "postgres://u@a,b:2/k?password=hunter2",
                "postgres://u@a:5432,b:2/k",
            ),
            ("postgres://u@[::1]:1/k", "postgres://u@[::1]:1/k"),
            (
                "postgres://u%40v:hunter2@db/k%40v",
                "postgres://u@v@db:5432/k@v",
            ),
            (
                "postgres://u@%2Frun%2Fpg/k",
                "postgres://u@%2Frun%2Fpg:5432/k",
            ),
        ] {
            let url = parse(text).unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("PostgresUrl({shown})"));
        }
    }

    #[test]
    fn it_is_the_same_without_its_password() {
        for (text, left) in [
            ("postgres://u:hunter2@db/k", "postgres://u@db/k"),
            (
                "postgresql://u%40v:hunt%3Aer2@a,[::1]:2/k%40v?sslmode=verify-full&password=hunter2\
                 &sslrootcert=/my%20ca.pem&target_session_attrs=primary",
                "postgresql://u%40v@a,[::1]:2/k%40v?sslmode=verify-full&sslrootcert=/my%20ca.pem\
                 &target_session_attrs=primary",
            ),
            ("postgres://u@db?password=hunter2", "postgres://u@db"),
            (
                "postgres://db/k?user=u&connect_timeout=3&hostaddr=192.0.2.1",
                "postgres://db/k?user=u&connect_timeout=3&hostaddr=192.0.2.1",
            ),
            (
                "postgres://u@%2Frun%2Fpg/k?options=-c%20a=b",
                "postgres://u@%2Frun%2Fpg/k?options=-c%20a=b",
            ),
        ] {
            let url = parse(text).unwrap();
            assert_eq!(url.without_password(), left);
            let mut again = parse(left).unwrap();
            if let Some(password) = url.config.get_password() {
                assert_ne!(again, url);
                again.config.password(password);
            }
            assert_eq!(again, url);
        }
    }

    #[test]
    fn what_is_no_url_is_refused_without_a_word_of_it() {
        use ParsePostgresUrlError::{Malformed, NoHost, UnknownParameter};
        for (text, error) in [
            ("", Malformed),
            ("host=db password=hunter2", Malformed),
            ("mysql://u:hunter2@db/k", Malformed),
            ("postgres://u:hun@ter2@db/k", Malformed),
            ("postgres://u:hun@ter/2@db/k", Malformed),
            ("postgres://u:hun@ter/2@db/k?sslmode=require", Malformed),
            ("postgres://u@hun/ter2@db/k", Malformed),
            ("postgres://u:1?host=hun@ter2@db/k", Malformed),
            ("postgres://u:1?user=hun@ter2/k", Malformed),
            ("postgres://db/k?user=u&password=hun@ter2", Malformed),
            ("postgres://u:hunter2@db:none/k", Malformed),
            ("postgres://u:hun?ter2@db/k", Malformed),
            (
                "postgres://u:hunter2@db/k?sslcert=hunter2",
                UnknownParameter,
            ),
            (
                "postgres://u:hunter2@db/k?sslMode=require",
                UnknownParameter,
            ),
            ("postgres:///k?user=u", NoHost),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    /// libpq would connect to the last one only.
    #[test]
    fn hosts_are_named_in_one_place() {
        for (text, is_right) in [
            ("postgres://u@a,b/k?password=hun@ter2", true),
            ("postgres://u@/k?host=a,b", true),
            ("postgres:///k?host=a&hostaddr=192.0.2.1", true),
            (
                "postgres:///k?host=a&sslmode=verify-full&sslrootcert=/ops@a.pem",
                true,
            ),
            ("postgres://u@a/k?host=b", false),
            ("postgres://a?host=b", false),
            ("postgres:///k?host=a&host=b", false),
        ] {
            let (parameter, values) = ("host", ONCE);
            let refused = ParsePostgresUrlError::UnknownValue { parameter, values };
            let expected = (!is_right).then_some(refused);
            assert_eq!(parse(text).err(), expected, "{text}");
        }
    }

    #[test]
    fn a_wrong_parameter_is_answered_with_the_right_ones() {
        let said = |query: &str| {
            let url = format!("postgres://u@db/k?{query}");
            parse(&url).unwrap_err().to_string()
        };
        let unknown = said("ssl_mode=require");
        assert!(
            unknown.contains("channel_binding") && unknown.contains(", sslmode, "),
            "{unknown}"
        );
        for (query, values) in [
            (
                "sslmode=on",
                "disable, prefer, require, verify-ca or verify-full",
            ),
            ("channel_binding=maybe", "disable or prefer"),
            ("load_balance_hosts=all", "disable or random"),
            ("connect_timeout=soon", "a number of seconds"),
            ("port=none", "a number, or several with commas between"),
            ("keepalives_idle=long", "a number of seconds"),
        ] {
            let said = said(query);
            assert!(said.ends_with(values), "{query}: {said}");
        }
        for (name, _) in PARAMETERS {
            let value = match name {
                "sslmode" => "require",
                "channel_binding" | "load_balance_hosts" => "disable",
                "host" | "sslrootcert" | "user" | "password" | "dbname" | "options"
                | "application_name" => "x",
                "target_session_attrs" => "primary",
                "hostaddr" => "192.0.2.1",
                _ => "1",
            };
            let query = format!("{name}={value}");
            let required = if name == "sslrootcert" {
                "&sslmode=require"
            } else {
                ""
            };
            let host = if name == "host" { "" } else { "db" };
            assert!(
                parse(&format!("postgres://u@{host}/k?{query}{required}")).is_ok(),
                "{query}"
            );
        }
    }

    #[test]
    fn tls_is_what_libpq_makes_of_it_or_stricter() {
        let file = || Roots::File(PathBuf::from("/etc/my ca.pem"));
        for (query, tls, mode) in [
            ("", Tls::Preferred, SslMode::Prefer),
            ("sslmode=disable", Tls::Disabled, SslMode::Disable),
            ("sslmode=prefer", Tls::Preferred, SslMode::Prefer),
            ("channel_binding=disable", Tls::Preferred, SslMode::Prefer),
            (
                "channel_binding=prefer&sslmode=require",
                Tls::Unverified,
                SslMode::Require,
            ),
            ("sslmode=require", Tls::Unverified, SslMode::Require),
            (
                "sslmode=require&sslrootcert=/etc/my%20ca.pem",
                Tls::AnyName(file()),
                SslMode::Require,
            ),
            (
                "sslmode=verify-ca",
                Tls::AnyName(Roots::System),
                SslMode::Require,
            ),
            (
                "sslmode=verify-full",
                Tls::Verified(Roots::System),
                SslMode::Require,
            ),
            (
                "sslrootcert=/etc/my%20ca.pem&sslmode=verify-full",
                Tls::Verified(file()),
                SslMode::Require,
            ),
            (
                "sslrootcert=system",
                Tls::Verified(Roots::System),
                SslMode::Require,
            ),
        ] {
            let url = parse(&format!("postgres://u@db/k?{query}")).unwrap();
            assert_eq!(url.tls, tls, "{query}");
            assert_eq!(url.config.get_ssl_mode(), mode, "{query}");
        }
        for (query, error) in [
            ("sslmode=allow", ParsePostgresUrlError::UnknownSslMode),
            ("sslmode=Verify-Full", ParsePostgresUrlError::UnknownSslMode),
            (
                "sslmode=require&channel_binding=require",
                ParsePostgresUrlError::ChannelBinding,
            ),
            (
                "channel_binding=%72equire",
                ParsePostgresUrlError::ChannelBinding,
            ),
            (
                "sslmode=prefer&sslrootcert=ca.pem",
                ParsePostgresUrlError::UnusedRoots,
            ),
            (
                "sslmode=disable&sslrootcert=system",
                ParsePostgresUrlError::UnusedRoots,
            ),
        ] {
            assert_eq!(
                parse(&format!("postgres://u@db/k?{query}")),
                Err(error),
                "{query}"
            );
        }
    }

    #[test]
    fn only_a_server_that_takes_writes_will_do() {
        let of = |target: &str| parse(&format!("postgres://u@a,b/k?target_session_attrs={target}"));
        for target in [
            "any",
            "read-write",
            "read%2Dwrite",
            "primary",
            "prefer-standby",
        ] {
            let attributes = of(target).unwrap().config.get_target_session_attrs();
            assert_eq!(attributes, TargetSessionAttrs::ReadWrite, "{target}");
        }
        // Targets without writes, and values that libpq does not support either.
        for target in ["read-only", "standby", "", "Primary", "writable", "%ff"] {
            let (parameter, values) = TARGET;
            let unknown = ParsePostgresUrlError::UnknownValue { parameter, values };
            assert_eq!(of(target), Err(unknown), "{target}");
        }
    }
}
