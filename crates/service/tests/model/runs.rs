//! All the ways that operations can go, each run once.

use std::sync::Arc;

use keyproof_store::{CommitError, EngineError, NotApplied, Row, Timestamp, Version};

use crate::{
    operation::{Operation, Run, Stop},
    script::{Answer, Line},
    setting::Setting,
    tables::{Id, Table},
};

/// An operation with its progress.
pub(crate) struct Point {
    pub(crate) operation: Operation,
    pub(crate) run: Run,
    start: Timestamp,
    lines: Vec<Arc<Line>>,
}

/// The outcome of a commit for the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CommitEnd {
    Conflict(usize),
    Done,
    NotApplied,
    Unknown,
}

pub(crate) struct Runs {
    setting: Setting,
    points: Table<Way, Point>,
}

/// How an operation reached a point. Without the time if it has not read the clock since.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Way {
    Begin(Operation, Timestamp),
    Commit(Id, CommitEnd, Option<Timestamp>),
    Rows(Id, Vec<Option<HashableRow>>, Option<Timestamp>),
}

type HashableRow = (Version, Vec<u8>, Option<Timestamp>);

impl Runs {
    pub(crate) fn new(setting: Setting) -> Self {
        Self {
            setting,
            points: Table::new(),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.points.len()
    }

    pub(crate) fn get(&self, id: Id) -> Arc<Point> {
        self.points.get(id)
    }

    pub(crate) fn begin(&self, operation: Operation, start: Timestamp) -> Id {
        self.points.id(Way::Begin(operation, start), |way| {
            let Way::Begin(operation, start) = way else {
                unreachable!("made just above");
            };
            self.point(operation.clone(), *start, Vec::new())
        })
    }

    pub(crate) fn after_commit(&self, id: Id, end: CommitEnd, at: Timestamp) -> Id {
        let lost = || EngineError::Io {
            detail: "lost".to_owned(),
        };
        let outcome = match end {
            CommitEnd::Conflict(entry) => Err(CommitError::Conflict { entry }),
            CommitEnd::Done => Ok(()),
            CommitEnd::NotApplied => Err(CommitError::NotApplied(NotApplied::Engine(lost()))),
            CommitEnd::Unknown => Err(CommitError::Unknown(lost())),
        };
        let way = |time| Way::Commit(id, end, time);
        self.after(id, way, &Answer::Commit(outcome), at)
    }

    pub(crate) fn after_read(&self, id: Id, rows: Vec<Option<Row>>, at: Timestamp) -> Id {
        let hashable = rows.iter().map(|row| {
            let row = row.as_ref()?;
            Some((row.version, row.body.to_vec(), row.expires_at))
        });
        let hashable: Vec<_> = hashable.collect();
        let way = |time| Way::Rows(id, hashable.clone(), time);
        self.after(id, way, &Answer::Rows(rows), at)
    }

    fn after(
        &self,
        id: Id,
        way: impl Fn(Option<Timestamp>) -> Way,
        answer: &Answer,
        at: Timestamp,
    ) -> Id {
        let known = self.points.find(&way(None));
        let known = known.or_else(|| self.points.find(&way(Some(at))));
        known.unwrap_or_else(|| {
            let before = self.points.get(id);
            let Stop::Asks(request) = &before.run.stop else {
                unreachable!("nobody answers who was not asked");
            };
            let mut lines = before.lines.clone();
            lines.push(Arc::new(Line {
                request: request.clone(),
                answer: answer.clone(),
                at,
            }));
            let point = self.point(before.operation.clone(), before.start, lines);
            let time = point.run.timed.then_some(at);
            self.points.add(way(time), point)
        })
    }

    fn point(&self, operation: Operation, start: Timestamp, lines: Vec<Arc<Line>>) -> Point {
        Point {
            run: operation.run(&self.setting, start, &lines),
            operation,
            start,
            lines,
        }
    }
}
