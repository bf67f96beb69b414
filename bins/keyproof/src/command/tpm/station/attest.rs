//! `keyproof tpm station attest`

use std::{
    env,
    io::{ErrorKind, IsTerminal, stdout},
    path::{Path, PathBuf},
};

use clap::Args;
use data_encoding::BASE64;
use keyproof_store::file;
use keyproof_tpm::{EkCertificate, Name, Structure, TpmlPcrSelection};
use serde_json::Value;

use super::{
    Station, StationArguments,
    endorsement::Kind,
    files::{Kept, State},
    server::Attestation,
    tpm::{Tpm, TpmUseError},
};
use crate::command::{Failure, Outcome, files::unusable, output};

/// The firmware's measurements until the start of the kernel, as Linux provides them.
const KERNELS_LOG: &str = "/sys/kernel/security/tpm0/binary_bios_measurements";

/// The longest event log that servers accept, in bytes.
const LONGEST_LOG: usize = 512 * 1024;

#[derive(Args, Debug)]
pub(in crate::command) struct Arguments {
    #[command(flatten)]
    station: StationArguments,
    /// The registers to quote
    #[arg(long, default_value = "sha256:0,1,2,3,4,5,6,7")]
    selection: TpmlPcrSelection,
    /// The event log; if absent, the kernel's, if it is readable, at most 512 KiB long, and of this machine's TPM
    #[arg(long, value_name = "FILE")]
    event_log: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let station = arguments.station.read()?;
    let log = event_log(arguments.event_log.as_deref())?;
    let Some(kept) = station.folder.read()? else {
        let missing = "there is no attestation key: run `keyproof tpm station provision` first";
        return Err(unusable(station.folder.path(), &missing));
    };
    station.must_be_of(&kept)?;
    arguments
        .station
        .with_tpm(async |tpm| station.attest(tpm, kept, &arguments.selection, log).await)
}

impl Station {
    /// Refuses keys of another device, namespace or category.
    fn must_be_of(&self, kept: &Kept) -> Outcome {
        let Kept { record, .. } = kept;
        let same = record.device.vendor == self.device.vendor
            && record.device.serial == self.device.serial
            && record.namespace == self.namespace
            && record.category == self.category;
        if same {
            Ok(())
        } else {
            let other = "its contents are of another device, namespace or category";
            Err(unusable(self.folder.path(), &other))
        }
    }

    async fn attest(
        &self,
        tpm: &mut Tpm,
        kept: Kept,
        selection: &TpmlPcrSelection,
        event_log: Option<Vec<u8>>,
    ) -> Outcome {
        let Kept {
            mut record,
            ek_certificate,
            public,
            private,
        } = kept;
        let unknown = || Failure::Refused("the folder's endorsement key is unknown".to_owned());
        let kind = Kind::named(&record.endorsement_key).ok_or_else(unknown)?;
        let parsed = EkCertificate::parse(&ek_certificate)?;
        let other_tpm = || Failure::Refused(OTHER_TPM.to_owned());
        let ek = match tpm.endorsement_key(kind, &parsed).await {
            Err(TpmUseError::OtherKey(_)) => return Err(other_tpm()),
            made => made?,
        };
        let loaded = tpm.load_attestation_key(&ek, public, private).await?;
        let ak = loaded.ok_or_else(other_tpm)?;
        if record.state.has_ended() {
            match self.enrol(tpm, &ek_certificate, &ek, &ak).await {
                Ok(new) => record = new,
                // The key may be active although the answer to its activation was lost. The report says whether it is.
                Err(Failure::Refused(why)) => {
                    output::print_notice(&format!("attesting with the old ticket: {why}"));
                }
                Err(other) => return Err(other),
            }
        }
        let activation = match &record.state {
            State::Active => None,
            State::Pending { activation, .. } => Some(activation.clone()),
        };
        let was_active = activation.is_none();
        let place = (&*self.namespace, &*self.category);
        let nonce = self
            .server
            .nonce(place, &Name::of(&ak.public)?, selection)
            .await?;
        let quote = tpm.quote(&ak, &nonce, selection).await?;
        let attestation = Attestation {
            namespace: &self.namespace,
            category: &self.category,
            nonce: BASE64.encode(&nonce),
            ak_public: BASE64.encode(&ak.public.to_sized_bytes()),
            attest: BASE64.encode(&quote.attest),
            signature: BASE64.encode(&quote.signature),
            pcr_values: BASE64.encode(&quote.values),
            event_log: event_log.map(|log| BASE64.encode(&log)),
            activation,
        };
        let report = self.server.attest(&attestation).await?;
        let accepted = report.get("accepted") == Some(&Value::Bool(true));
        if !was_active && says_active(&report) {
            record.state = State::Active;
            self.folder.write_record(&record)?;
        }
        self.print(&report, accepted)?;
        if accepted {
            Ok(())
        } else {
            Err(Failure::Negative)
        }
    }

    /// Prints the server's report: one line per check, or JSON.
    fn print(&self, report: &Value, accepted: bool) -> Outcome {
        if self.json {
            return output::print_json(report);
        }
        let text = |check: &Value, member: &str| {
            let text = check.get(member).and_then(Value::as_str);
            output::printable(text.unwrap_or_default())
        };
        let checks = report.get("checks").and_then(Value::as_array);
        let checks = checks.map(Vec::as_slice).unwrap_or_default();
        let width = checks.iter().map(|check| text(check, "name").len()).max();
        for check in checks {
            output::print(&format!(
                "{:<7}  {:<width$}  {}",
                text(check, "outcome"),
                text(check, "name"),
                text(check, "detail"),
                width = width.unwrap_or_default()
            ))?;
        }
        let failed = checks.iter().find(|check| text(check, "outcome") == "fail");
        let verdict = match (accepted, failed) {
            (true, _) => "accepted".to_owned(),
            (false, Some(check)) => format!(
                "refused: {}: {}",
                text(check, "name"),
                text(check, "detail")
            ),
            (false, None) => "refused".to_owned(),
        };
        output::print(&output::coloured(
            &verdict,
            accepted,
            stdout().is_terminal(),
        ))
    }
}

/// Whether a report says that the key is active, whatever else is refused. An activation that was sent again is a warning.
fn says_active(report: &Value) -> bool {
    let checks = report.get("checks").and_then(Value::as_array);
    checks.into_iter().flatten().any(|check| {
        let text = |member: &str| check.get(member).and_then(Value::as_str);
        text("name") == Some("activation") && matches!(text("outcome"), Some("pass" | "warn"))
    })
}

const OTHER_TPM: &str =
    "the TPM does not know the attestation key: run `keyproof tpm station provision` again";

/// Reads the named log, or the kernel's.
fn event_log(named: Option<&Path>) -> Result<Option<Vec<u8>>, Failure> {
    match named {
        Some(path) => read_log(path, true),
        None if is_this_machines(env::var("TPM2TOOLS_TCTI").ok().as_deref()) => {
            read_log(Path::new(KERNELS_LOG), false)
        }
        None => Ok(None),
    }
}

/// Reads a log. One that nobody has named is left out if it is absent, unreadable, or longer than servers accept.
fn read_log(path: &Path, is_named: bool) -> Result<Option<Vec<u8>>, Failure> {
    match file::read(path, LONGEST_LOG) {
        Ok(log) => Ok(Some(log.to_vec())),
        Err(error)
            if !is_named
                && matches!(
                    error.kind(),
                    ErrorKind::FileTooLarge | ErrorKind::NotFound | ErrorKind::PermissionDenied
                ) =>
        {
            output::print_notice(&format!(
                "attesting without an event log: {}: {error}",
                path.display()
            ));
            Ok(None)
        }
        Err(error) => Err(unusable(path, &error)),
    }
}

/// Whether tpm2-tools use the TPM that the kernel's log belongs to, according to `TPM2TOOLS_TCTI`.
fn is_this_machines(tcti: Option<&str>) -> bool {
    let first_of = |device: &str| ["/dev/tpm0", "/dev/tpmrm0"].contains(&device);
    match tcti.unwrap_or_default().split_once(':') {
        Some(("device", device)) => first_of(device),
        Some(("tabrmd", _)) => true,
        Some(_) => false,
        None => matches!(tcti, None | Some("" | "device" | "tabrmd")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Otherwise it would be provisioned again after an hour, which needs an API key that is in force.
    #[test]
    fn a_key_is_active_once_a_report_says_so_although_the_report_refuses() {
        let report = |name: &str, outcome: &str| {
            let own = json!({ "name": name, "outcome": outcome, "detail": "" });
            let other = json!({ "name": "pcr-policy", "outcome": "fail", "detail": "" });
            json!({ "accepted": false, "checks": [own, other] })
        };
        for (outcome, is_active) in [
            ("pass", true),
            ("warn", true),
            ("fail", false),
            ("skipped", false),
        ] {
            assert_eq!(says_active(&report("activation", outcome)), is_active);
            assert!(!says_active(&report("signature", outcome)));
        }
        for other in [json!({}), json!({ "checks": {} }), json!(null)] {
            assert!(!says_active(&other));
        }
    }

    #[test]
    fn a_log_that_no_server_accepts_is_left_out_unless_it_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        for (len, is_sent) in [(LONGEST_LOG, true), (LONGEST_LOG + 1, false)] {
            std::fs::write(&path, vec![0; len]).unwrap();
            let read = read_log(&path, false).unwrap();
            assert_eq!(read.is_some(), is_sent, "{len}");
        }
        let refused = read_log(&path, true);
        assert!(matches!(refused, Err(Failure::Usage(_))), "{refused:?}");
        let absent = folder.path().join("absent");
        assert_eq!(read_log(&absent, false).unwrap(), None);
        assert!(read_log(&absent, true).is_err());
    }

    #[test]
    fn the_kernels_log_is_of_the_kernels_tpm() {
        for own in [
            None,
            Some(""),
            Some("device"),
            Some("device:/dev/tpm0"),
            Some("device:/dev/tpmrm0"),
            Some("tabrmd"),
            Some("tabrmd:bus_type=session"),
        ] {
            assert!(is_this_machines(own), "{own:?}");
        }
        for other in [
            "swtpm",
            "swtpm:host=127.0.0.1",
            "device:/dev/tpmrm1",
            "mssim",
        ] {
            assert!(!is_this_machines(Some(other)), "{other}");
        }
    }
}
