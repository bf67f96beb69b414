//! Runs tpm2-tools as child processes, each with a time limit, and frees what they leave in the TPM.

use std::{
    cell::{Cell, OnceCell},
    collections::BTreeSet,
    io::{self, ErrorKind},
    mem,
    path::Path,
    process::Stdio,
    time::Duration,
};

use data_encoding::HEXLOWER;
use keyproof_store::file;
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};
use zeroize::Zeroizing;

use crate::command::output::printable;

/// A folder in memory, if it exists: the files of the tools should not be written to a disk.
const IN_MEMORY: &str = "/dev/shm";

/// Larger than any file that the tools write.
const LONGEST_FILE: usize = 64 * 1024;

/// The time limit for a tool that frees something in the TPM, which takes no computation.
const TIDYING: Duration = Duration::from_secs(10);

/// The file with the endorsement hierarchy's authorization.
const AUTHORIZATION: &str = "hierarchy";
const FROM_FILE: &str = "file:hierarchy";

/// The context of the one session.
const SESSION: &str = "session.ctx";

/// Why a tool failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ToolError {
    /// It reports a failure.
    #[error("{tool}: {reason}")]
    Failed { tool: &'static str, reason: String },
    /// The folder for its files cannot be created.
    #[error("cannot create a folder for the files of tpm2-tools: {0}")]
    Folder(io::Error),
    /// It is not installed.
    #[error("{tool} is not installed: Debian has it in the package tpm2-tools")]
    Missing { tool: &'static str },
    /// It exceeded the time limit.
    #[error("{tool} did not end within {} seconds", limit.as_secs())]
    Overdue { tool: &'static str, limit: Duration },
    /// It cannot be started.
    #[error("{tool}: {source}")]
    Start {
        tool: &'static str,
        source: io::Error,
    },
    /// Its output file is missing or unreadable.
    #[error("the output of tpm2-tools ({file}): {source}")]
    Unreadable { file: String, source: io::Error },
}

/// The tools, with a folder for their files. [`Tools::close`] frees everything.
pub(super) struct Tools {
    folder: TempDir,
    limit: Duration,
    /// Whether the endorsement hierarchy has an authorization value, which is then in a file of the folder.
    is_authorized: bool,
    /// Whether something may be loaded in the TPM, or left by a tool that was killed.
    is_loaded: Cell<bool>,
    /// Whether [`SESSION`] may be open.
    has_session: Cell<bool>,
    /// The TPM's sessions before the first tool that opens one.
    others: OnceCell<BTreeSet<u32>>,
}

impl Tools {
    /// `authorization` is the endorsement hierarchy's, if it is not empty.
    pub(super) fn new(limit: Duration, authorization: Option<&[u8]>) -> Result<Self, ToolError> {
        let named = |folder: &Path| TempDir::with_prefix_in("keyproof-station-", folder);
        let folder = named(Path::new(IN_MEMORY)).or_else(|_| named(&std::env::temp_dir()));
        let tools = Self {
            folder: folder.map_err(ToolError::Folder)?,
            limit,
            is_authorized: authorization.is_some(),
            is_loaded: Cell::new(false),
            has_session: Cell::new(false),
            others: OnceCell::new(),
        };
        if let Some(authorization) = authorization {
            // Hexadecimal, as it may have any bytes. The arguments of a program are visible to others, so the tools
            // read it from the folder, which only this user can open.
            let text = Zeroizing::new(format!("hex:{}", HEXLOWER.encode(authorization)));
            tools.write(AUTHORIZATION, text.as_bytes())?;
        }
        Ok(tools)
    }

    /// Returns the arguments with the endorsement hierarchy's authorization, for tools that create something in it.
    pub(super) const fn hierarchy(&self) -> &'static [&'static str] {
        if self.is_authorized {
            &["-P", FROM_FILE]
        } else {
            &[]
        }
    }

    /// Runs a tool that loads objects, and then unloads them, because there may be no resource manager to do it.
    pub(super) async fn run(
        &self,
        tool: &'static str,
        arguments: &[&str],
    ) -> Result<(), ToolError> {
        self.note_sessions().await?;
        self.is_loaded.set(true);
        // The output of some tools is secret.
        let done = self.start(tool, arguments, Stdio::null(), self.limit).await;
        let unloaded = self.free("-t").await;
        // Many tools open sessions of their own, and end them unless they are killed.
        let is_killed = matches!(done, Err(ToolError::Overdue { .. }));
        self.is_loaded.set(is_killed || unloaded.is_err());
        done?;
        unloaded
    }

    /// Runs a tool with an endorsement key that is authorised by a policy: TPM2_PolicySecret with the endorsement
    /// hierarchy's authorization.
    pub(super) async fn run_by_policy(
        &self,
        tool: &'static str,
        arguments: &[&str],
    ) -> Result<(), ToolError> {
        self.note_sessions().await?;
        self.has_session.set(true);
        let done = self.run_in_session(tool, arguments).await;
        self.end_session().await;
        done
    }

    async fn run_in_session(
        &self,
        tool: &'static str,
        arguments: &[&str],
    ) -> Result<(), ToolError> {
        let session = format!("session:{SESSION}");
        self.run(
            "tpm2_startauthsession",
            &["--policy-session", "-S", SESSION],
        )
        .await?;
        let secret: &[&str] = if self.is_authorized {
            &[FROM_FILE]
        } else {
            &[]
        };
        let proven = [&["-S", SESSION, "-c", "e"], secret].concat();
        self.run("tpm2_policysecret", &proven).await?;
        self.run(tool, &[arguments, &["-P", &session]].concat())
            .await
    }

    /// Ends the open session. The session's file identifies it, unless a tool was killed while it used it.
    async fn end_session(&self) {
        if self.has_session.get() {
            if self.free(SESSION).await.is_err() {
                self.end_new_sessions().await;
            }
            self.has_session.set(false);
        }
    }

    /// Ends the sessions that were not there before.
    async fn end_new_sessions(&self) {
        let Some(others) = self.others.get() else {
            return;
        };
        for session in self.sessions().await.unwrap_or_default() {
            if !others.contains(&session) {
                // If this fails, the session is gone already.
                let _ = self.free(&format!("{session:#010x}")).await;
            }
        }
    }

    async fn note_sessions(&self) -> Result<(), ToolError> {
        if self.others.get().is_none() {
            let sessions = self.sessions().await?;
            let _ = self.others.set(sessions);
        }
        Ok(())
    }

    async fn sessions(&self) -> Result<BTreeSet<u32>, ToolError> {
        let mut sessions = self.handles("handles-loaded-session").await?;
        sessions.append(&mut self.handles("handles-saved-session").await?);
        Ok(sessions)
    }

    /// Frees a session, by its file or handle, or with `-t` all loaded objects.
    async fn free(&self, what: &str) -> Result<(), ToolError> {
        let limit = self.limit.min(TIDYING);
        self.start("tpm2_flushcontext", &[what], Stdio::null(), limit)
            .await
            .map(drop)
    }

    /// Returns the handles of a kind, by the kind's name in `tpm2_getcap`.
    pub(super) async fn handles(&self, kind: &'static str) -> Result<BTreeSet<u32>, ToolError> {
        let limit = self.limit;
        let printed = self
            .start("tpm2_getcap", &[kind], Stdio::piped(), limit)
            .await?;
        Ok(handles(&String::from_utf8_lossy(&printed)))
    }

    async fn start(
        &self,
        tool: &'static str,
        arguments: &[&str],
        stdout: Stdio,
        limit: Duration,
    ) -> Result<Vec<u8>, ToolError> {
        let child = Command::new(tool)
            .args(arguments)
            .current_dir(self.folder.path())
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let child = child.map_err(|source| match source.kind() {
            ErrorKind::NotFound => ToolError::Missing { tool },
            _ => ToolError::Start { tool, source },
        })?;
        let output = timeout(limit, child.wait_with_output())
            .await
            .map_err(|_| ToolError::Overdue { tool, limit })?
            .map_err(|source| ToolError::Start { tool, source })?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(ToolError::Failed {
            tool,
            reason: reason(&said).unwrap_or_else(|| output.status.to_string()),
        })
    }

    /// Writes a file for a tool to read.
    pub(super) fn write(&self, file: &str, contents: &[u8]) -> Result<(), ToolError> {
        std::fs::write(self.folder.path().join(file), contents).map_err(ToolError::Folder)
    }

    /// Reads a file that a tool wrote.
    pub(super) fn read(&self, file: &str) -> Result<Vec<u8>, ToolError> {
        Ok(mem::take(&mut *self.read_secret(file)?))
    }

    /// Reads a file that a tool wrote, and removes it.
    pub(super) fn take_secret(&self, file: &str) -> Result<Zeroizing<Vec<u8>>, ToolError> {
        let secret = self.read_secret(file)?;
        std::fs::remove_file(self.folder.path().join(file)).map_err(ToolError::Folder)?;
        Ok(secret)
    }

    fn read_secret(&self, file: &str) -> Result<Zeroizing<Vec<u8>>, ToolError> {
        let read = file::read(&self.folder.path().join(file), LONGEST_FILE);
        read.map_err(|source| ToolError::Unreadable {
            file: file.to_owned(),
            source,
        })
    }

    /// Ends what is still open, and removes the files.
    pub(super) async fn close(self) {
        self.end_session().await;
        if self.is_loaded.get() {
            self.end_new_sessions().await;
            let _ = self.free("-t").await;
        }
    }
}

/// Parses a list of handles as printed by tpm2-tools: `- 0x1C00002`, one per line.
fn handles(printed: &str) -> BTreeSet<u32> {
    let items = printed
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- 0x"));
    items
        .filter_map(|digits| u32::from_str_radix(digits, 16).ok())
        .collect()
}

/// Returns a tool's reason for a failure: the first line of its own, since the libraries below it print many.
fn reason(said: &str) -> Option<String> {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let own = lines()
        .filter_map(|line| line.strip_prefix("ERROR: "))
        .find(|line| !line.starts_with("Unable to run "));
    own.or(lines().next_back()).map(printable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_read_as_they_are_printed() {
        assert_eq!(
            handles("- 0x1C00002\n- 0x1c0000a\n"),
            BTreeSet::from([0x01c0_0002, 0x01c0_000a])
        );
        assert_eq!(
            handles("# none\n- 0x\n- 0x123456789\n- 12\n"),
            BTreeSet::new()
        );
    }

    #[test]
    fn a_tool_says_in_one_line_why_it_failed() {
        let of_the_tpm = "WARNING:esys:src/a.c:1:Finish() Received TPM Error \n\
             ERROR:esys:src/a.c:2:Esys_Create() Esys Finish ErrorCode (0x0000099d) \n\
             ERROR: Esys_Create(0x99D) - tpm:session(1):a policy check failed\n\
             ERROR: Unable to run tpm2_createak\n";
        let expected = "Esys_Create(0x99D) - tpm:session(1):a policy check failed";
        assert_eq!(reason(of_the_tpm).as_deref(), Some(expected));
        assert_eq!(
            reason("a\nlast \u{1b}[2J\n\n").as_deref(),
            Some("last \\u{1b}[2J")
        );
        assert_eq!(reason("\n"), None);
    }
}
