//! All contents that the store can have, and the result of each request on them, computed once.

use std::sync::Arc;

use keyproof_service::audit::Event;
use keyproof_store::{Change, Changes, CommitError, Timestamp};

use crate::{
    contents::{Contents, Port},
    operation::{Stop, events},
    runs::Runs,
    script::Request,
    tables::{Id, Table},
};

pub(crate) struct Stores {
    port: Port,
    contents: Table<Contents, Contents>,
    /// By contents, reading operation, and time.
    reads: Table<(Id, Id, Timestamp), Id>,
    /// By contents and committing operation.
    commits: Table<(Id, Id), Applied>,
}

/// The result of a commit that reaches the store.
pub(crate) struct Applied {
    /// The new contents, or the index of the entry that conflicts.
    pub(crate) outcome: Result<Id, usize>,
    /// Its entries in the audit trail.
    pub(crate) events: Vec<Event>,
    /// The time that the operation used.
    pub(crate) now: Timestamp,
    /// Whether it can never be applied any more.
    pub(crate) is_dead: bool,
}

impl Stores {
    pub(crate) fn new(port: Port) -> Self {
        Self {
            port,
            contents: Table::new(),
            reads: Table::new(),
            commits: Table::new(),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.contents.len()
    }

    pub(crate) fn id(&self, contents: Contents) -> Id {
        self.contents.id(contents, Contents::clone)
    }

    /// Returns the operation's next point after a read.
    pub(crate) fn read(&self, contents: Id, reader: Id, at: Timestamp, runs: &Runs) -> Id {
        let next = self.reads.value((contents, reader, at), |_| {
            let point = runs.get(reader);
            let Stop::Asks(Request::Read { keys, now }) = &point.run.stop else {
                unreachable!("it reads");
            };
            let rows = self.contents.get(contents).read(keys, *now);
            runs.after_read(reader, rows, at)
        });
        *next
    }

    pub(crate) fn apply(&self, contents: Id, writer: Id, runs: &Runs) -> Arc<Applied> {
        self.commits.value((contents, writer), |_| {
            let point = runs.get(writer);
            let Stop::Asks(Request::Commit(changes)) = &point.run.stop else {
                unreachable!("it commits");
            };
            let outcome = self.contents.get(contents).apply(changes, self.port);
            let outcome = outcome.map_err(|error| match error {
                CommitError::Conflict { entry } => entry,
                other => panic!("{other}"),
            });
            Applied {
                is_dead: outcome
                    .as_ref()
                    .is_err_and(|at| needs_a_version(changes, *at)),
                outcome: outcome.map(|contents| self.id(contents)),
                events: events(changes),
                now: changes.now(),
            }
        })
    }
}

/// Returns whether this entry requires a version. A version that is gone never comes back.
fn needs_a_version(changes: &Changes, index: usize) -> bool {
    let mut entries = changes.entries().iter();
    let entry = entries.find(|entry| entry.index == index).unwrap();
    !matches!(entry.change, Change::Insert(_))
}
