//! Settings that are allowed but unwise.

use std::{
    collections::BTreeSet,
    fs::{self, Metadata},
    net::IpAddr,
    os::unix::fs::MetadataExt,
    path::{Path, absolute},
};

use ipnet::IpNet;

use super::Config;
use crate::{
    server_certificate::TlsSource,
    store::{Access, Exposure, MasterKeySource, StoreUrl},
    telemetry::LogLevel,
};

/// A network with fewer bits covers whole countries.
const NARROWEST_V4: u8 = 8;
const NARROWEST_V6: u8 = 16;

impl Config {
    /// Returns a warning for each unwise setting: its key, the consequence, and the remedy in brackets.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.plain_http();
        warnings.extend(self.wide_proxies());
        warnings.extend(self.unsafe_store());
        warnings.extend(self.relative_store());
        warnings.extend(self.open_store_folder());
        warnings.extend(self.master_key_in_environment());
        warnings.extend(self.self_signed());
        warnings.extend(self.open_files());
        warnings.extend(self.open_metrics());
        warnings.extend(self.exposed_collector());
        warnings.extend(self.absent_journal());
        warnings.extend(self.silent_log());
        warnings.extend(self.weak_passwords());
        let dialects = self.dialects.iter();
        let warning = dialects.filter_map(|(name, _)| name.of(&self.settings).warning());
        warnings.extend(warning.map(str::to_owned));
        warnings.extend(self.no_dialects());
        warnings
    }

    fn plain_http(&self) -> Vec<String> {
        // No secret passes over the metrics listener, which has its own warning.
        let own: BTreeSet<_> = self.listeners().collect();
        let exposed: BTreeSet<_> = self
            .exposed_listeners()
            .filter(|listen| own.contains(listen))
            .collect();
        let warnings = exposed.into_iter().map(|listen| {
            format!(
                "http.insecure: plain HTTP on {listen}: others on the network can read passwords, tokens and codes, and change responses (set tls.certificate and tls.key)"
            )
        });
        warnings.collect()
    }

    fn wide_proxies(&self) -> impl Iterator<Item = String> {
        let networks = self.settings.http.trusted_proxies.iter();
        networks.filter(is_everywhere).map(|network| {
            format!(
                "http.trusted_proxies: {network} covers nearly all addresses: a client can claim any address in X-Forwarded-For, so limits by address do not work (name only the proxies' networks)"
            )
        })
    }

    fn unsafe_store(&self) -> Option<String> {
        match &self.store.url {
            StoreUrl::Sqlite(path) => network_file_system(path).map(|kind| {
                format!(
                    "store.url: {} is on {kind}: locks and syncs may not work there as on a local disk, and SQLite can then lose records (use a local disk, or postgres:)",
                    path.display()
                )
            }),
            StoreUrl::Memory => {
                Some("store.url: a memory: store is lost when the process ends (use sqlite: or postgres:)".to_owned())
            }
            StoreUrl::Postgres(shared) => shared.url.is_exposed().then(|| {
                "store.url: the database's identity is not verified: whoever impersonates it reads and changes every record, and can make themselves an administrator (sslmode=verify-full)".to_owned()
            }),
        }
    }

    /// A command would open a different store in each folder that it is run in.
    fn relative_store(&self) -> Option<String> {
        let path = self.store.url.path()?;
        let is_of_file = self.file.as_ref()?.has_relative_store;
        (is_of_file && path.is_relative()).then(|| {
            format!(
                "store.url: {} is another file in each folder that a command is run in (use an absolute path)",
                path.display()
            )
        })
    }

    /// Whoever can write to a folder can replace the files in it, unless the folder is sticky.
    fn open_store_folder(&self) -> Option<String> {
        let path = absolute(self.store.url.path()?).ok()?;
        let folder = path.parent()?;
        let metadata = fs::metadata(folder).ok()?;
        let exposure = Exposure::of(&metadata, Access::Read)?;
        (!is_sticky(&metadata)).then(|| {
            format!(
                "store.url: {} {exposure}: they can remove or replace the store (chmod go-w)",
                folder.display()
            )
        })
    }

    fn master_key_in_environment(&self) -> Option<String> {
        matches!(self.store.master_key, MasterKeySource::Base64(_)).then(|| {
            "KEYPROOF_STORE__MASTER_KEY_BASE64: whoever may inspect the process can read the key in its environment (use store.master_key, or systemd's credential keyproof-master-key)".to_owned()
        })
    }

    fn self_signed(&self) -> Option<String> {
        matches!(self.tls, Some(TlsSource::SelfSigned)).then(|| {
            "tls.self_signed: no client can verify this certificate, which changes at each start, so others on the network can impersonate this server (set tls.certificate and tls.key)".to_owned()
        })
    }

    /// Files with permissions that are too wide. For the store's own files this is an error.
    fn open_files(&self) -> Vec<String> {
        let own = self.file.iter().map(|file| {
            let others = if file.has_password {
                Access::GroupReads
            } else {
                Access::Read
            };
            ("--config", file.path.as_path(), others)
        });
        let key = self.settings.tls.key.iter();
        let key = key.map(|path| ("tls.key", path.as_path(), Access::GroupReads));
        let dialects = self.dialects.iter();
        let named = dialects.flat_map(|(dialect, _)| dialect.of(&self.settings).files());
        let named = named.map(|(key, path)| (key, path, Access::Read));
        let files = own.chain(key).chain(named);
        let open = files.filter_map(|(name, path, others)| {
            let open = Exposure::of_file(path, others)?;
            Some(format!("{name}: {open}"))
        });
        open.collect()
    }

    fn open_metrics(&self) -> Option<String> {
        let listen = self.settings.metrics.listen?;
        (!listen.ip().is_loopback()).then(|| {
            format!(
                "metrics.listen: anybody who can reach {listen} can read the metrics, without a token (use 127.0.0.1, or a firewall)"
            )
        })
    }

    fn exposed_collector(&self) -> Option<String> {
        let url = self.settings.telemetry.otlp.as_ref()?;
        url.is_exposed().then(|| {
            format!(
                "telemetry.otlp: what is sent to {} can be read and changed by others on the network (use https)",
                String::from(url.clone())
            )
        })
    }

    fn absent_journal(&self) -> Option<String> {
        (self.settings.audit.journald && !self.journal.exists()).then(|| {
            format!(
                "audit.journald: there is no {}: no event reaches a journal (start systemd-journald, or set audit.journald = false)",
                self.journal.display()
            )
        })
    }

    fn silent_log(&self) -> Option<String> {
        (self.settings.log.level == LogLevel::Off).then(|| {
            "log.level: off: nothing is logged when a request fails or the store is unavailable (use error, warn or info)".to_owned()
        })
    }

    fn weak_passwords(&self) -> impl Iterator<Item = String> {
        let auth = &self.settings.auth;
        let is_cheap = auth.argon2_insecure_for_tests.then_some(
            "auth.argon2_insecure_for_tests: password hashes may be cheap to guess (remove this key)",
        );
        let is_unlimited = (auth.address_limit == Some(0)).then_some(
            "auth.address_limit: 0: one address may guess the passwords and codes of any number of names (use 100)",
        );
        is_cheap.into_iter().chain(is_unlimited).map(str::to_owned)
    }

    fn no_dialects(&self) -> Option<String> {
        let is_idle = self.dialects.is_empty();
        is_idle.then(|| "dialects: all are off: no contract is served (set dialects.NAME.enabled, or --dialects)".to_owned())
    }
}

fn is_sticky(metadata: &Metadata) -> bool {
    metadata.mode() & 0o1000 != 0
}

fn is_everywhere(network: &&IpNet) -> bool {
    let narrowest = match network.addr() {
        IpAddr::V4(_) => NARROWEST_V4,
        IpAddr::V6(_) => NARROWEST_V6,
    };
    network.prefix_len() < narrowest
}

/// Returns the kind of network file system that the file at `path` is on, or would be created on, if any.
fn network_file_system(path: &Path) -> Option<&'static str> {
    let path = absolute(path).ok()?;
    let found = path
        .ancestors()
        .find_map(|path| rustix::fs::statfs(path).ok());
    network_kind(found?.f_type.cast_unsigned())
}

/// statfs(2), `f_type`, and linux/magic.h.
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

#[cfg(test)]
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
