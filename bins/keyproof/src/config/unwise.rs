//! What a configuration may say, and an operator should think over.

use std::{collections::BTreeSet, net::IpAddr, path::Path};

use ipnet::IpNet;

use super::Config;
use crate::{
    server_certificate::TlsSource,
    store::{MasterKeySource, StoreUrl},
    telemetry::LogLevel,
};

/// Networks of fewer bits hold whole countries.
const NARROWEST_V4: u8 = 8;
const NARROWEST_V6: u8 = 16;

impl Config {
    /// What is unwise in it, each with its key and what it leads to.
    pub fn warnings(&self) -> Vec<String> {
        let settings = &self.settings;
        let mut warnings = Vec::new();
        let mut warn = |is_unwise: bool, text: String| {
            if is_unwise {
                warnings.push(text);
            }
        };
        for listen in self.exposed_listeners().collect::<BTreeSet<_>>() {
            warn(
                true,
                format!(
                    "http.insecure: plain HTTP on {listen}: passwords, tokens and codes can be read on the way (tls.certificate, tls.key)"
                ),
            );
        }
        for network in settings.http.trusted_proxies.iter().filter(is_everywhere) {
            warn(
                true,
                format!(
                    "http.trusted_proxies: {network} is nearly everybody: any client can pose as another by X-Forwarded-For, and limits by address do not work"
                ),
            );
        }
        if let StoreUrl::Sqlite(path) = &self.store.url
            && let Some(kind) = network_file_system(path)
        {
            warn(
                true,
                format!(
                    "store.url: {} is on a network file system ({kind}): locks and syncs may not be kept there, and SQLite then loses records",
                    path.display()
                ),
            );
        }
        warn(
            self.store.url == StoreUrl::Memory,
            "store.url: a memory: store is lost when the process ends".to_owned(),
        );
        if let StoreUrl::Postgres(shared) = &self.store.url {
            warn(
                shared.is_exposed(),
                "store.url: the database's identity is not verified: its password and all records can be read on the way (sslmode=verify-full)".to_owned(),
            );
        }
        warn(
            matches!(self.store.master_key, MasterKeySource::Base64(_)),
            "KEYPROOF_STORE__MASTER_KEY_BASE64: whoever may look at the process reads the key in its environment (store.master_key, or systemd's credential keyproof-master-key)".to_owned(),
        );
        warn(
            matches!(self.tls, Some(TlsSource::SelfSigned)),
            "tls.self_signed: no client can verify this certificate, and it is another one after each start".to_owned(),
        );
        if let Some(listen) = settings
            .metrics
            .listen
            .filter(|listen| !listen.ip().is_loopback())
        {
            warn(
                true,
                format!(
                    "metrics.listen: anybody who can reach {listen} can read the metrics: no token is needed"
                ),
            );
        }
        if let Some(url) = settings
            .telemetry
            .otlp
            .as_ref()
            .filter(|url| url.is_exposed())
        {
            warn(
                true,
                format!(
                    "telemetry.otlp: what is sent to {} can be read and altered on the way (https)",
                    String::from(url.clone())
                ),
            );
        }
        warn(
            settings.audit.journald && !self.journal.exists(),
            format!(
                "audit.journald: nothing listens at {}: no event reaches a journal",
                self.journal.display()
            ),
        );
        warn(
            settings.log.level == LogLevel::Off,
            "log.level: off: nothing says why a request was refused or the store is away"
                .to_owned(),
        );
        warn(
            settings.auth.argon2_insecure_for_tests,
            "auth.argon2_insecure_for_tests: password hashes may be cheap to try".to_owned(),
        );
        warn(
            settings.auth.address_limit == Some(0),
            "auth.address_limit: 0: nothing limits how often an address tries passwords and codes"
                .to_owned(),
        );
        for (name, _) in &self.dialects {
            if let Some(why) = name.unwise(settings) {
                warn(true, why.to_owned());
            }
        }
        warn(
            self.dialects.is_empty(),
            "dialects: all are off: nothing is served".to_owned(),
        );
        warnings
    }
}

fn is_everywhere(network: &&IpNet) -> bool {
    let narrowest = match network.addr() {
        IpAddr::V4(_) => NARROWEST_V4,
        IpAddr::V6(_) => NARROWEST_V6,
    };
    network.prefix_len() < narrowest
}

/// The kind of file system that the file at `path` is on, or would be made on, if it is one of a network's.
#[cfg(target_os = "linux")]
fn network_file_system(path: &Path) -> Option<&'static str> {
    let path = std::path::absolute(path).ok()?;
    let found = path
        .ancestors()
        .find_map(|path| rustix::fs::statfs(path).ok());
    network_kind(found?.f_type.cast_unsigned())
}

#[cfg(not(target_os = "linux"))]
fn network_file_system(_: &Path) -> Option<&'static str> {
    None
}

/// statfs(2), `f_type`, and linux/magic.h.
#[cfg(target_os = "linux")]
const fn network_kind(f_type: u64) -> Option<&'static str> {
    Some(match f_type {
        0x0102_1997 => "9p",
        0x0116_1970 => "GFS2",
        0x0bd0_0bd0 => "Lustre",
        0x00c3_6400 => "Ceph",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x517b => "SMB",
        0x564c => "NCP",
        0x6573_5546 => "FUSE",
        0x6969 => "NFS",
        0x7375_7245 => "Coda",
        0x7461_636f => "OCFS2",
        0xfe53_4d42 | 0xff53_4d42 => "CIFS",
        _ => return None,
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn file_systems_of_networks_are_known_by_their_number() {
        for (f_type, kind) in [
            (0x6969, Some("NFS")),
            (0x6573_5546, Some("FUSE")),
            (0xff53_4d42, Some("CIFS")),
            (0xef53, None),
            (0x0102_1994, None),
        ] {
            assert_eq!(network_kind(f_type), kind);
        }
        assert_eq!(network_file_system(Path::new("/proc/none/here")), None);
    }

    #[test]
    fn networks_that_hold_nearly_everybody_are_told_from_others() {
        for (network, is_wide) in [
            ("0.0.0.0/0", true),
            ("128.0.0.0/1", true),
            ("::/0", true),
            ("10.0.0.0/8", false),
            ("fd00::/16", false),
            ("192.0.2.7/32", false),
        ] {
            assert_eq!(
                is_everywhere(&&network.parse().unwrap()),
                is_wide,
                "{network}"
            );
        }
    }
}
