//! The start page: what is served, the server's state, and the last hour.

use std::time::Duration;

use http::StatusCode;
use keyproof_service::{ClockDifference, Coverage, ServiceStatus};

use super::{Area, Frame, HandlerResult, Signed, Visit, chart::Chart, render};
use crate::{
    metrics::Minute,
    readiness,
    sites::{
        moment::{Moment, moment},
        page::pages,
    },
};

/// How far ahead expiries are shown.
const SOON: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// The number of expiries shown, the earliest first.
const ENDINGS: usize = 20;

pages! {
    #[derive(::askama::Template)]
    Frame;

    Start("console/start.html") {
        scopes: Vec<String>,
        /// The trail's name for the token of this session.
        token: String,
        status: Option<Status>,
    }
}

/// The server's state.
struct Status {
    /// A problem of the store, if there is one.
    trouble: Option<&'static str>,
    /// A problem of this machine's clock or the database's, if there is one.
    clock: Option<&'static str>,
    standbys: u32,
    is_unsafe: bool,
    upkeep: &'static str,
    removed: u64,
    failed_rounds: u64,
    waiting: usize,
    left_out: u64,
    certificate_ends: Option<Moment>,
    /// What expires within ninety days: when, its name, and whether it has expired.
    endings: Vec<(Moment, String, bool)>,
    more_endings: bool,
    /// How complete this list is, if it is not.
    endings_seen: Option<String>,
    /// What is served: its name, and where.
    served: Vec<(&'static str, String)>,
    hour: Minute,
    chart: Chart,
    now: Moment,
}

impl Visit<Signed> {
    pub(super) async fn start(self) -> HandlerResult {
        let operator = self.operator();
        let status = self.service().status(operator, SOON).await;
        let page = Start {
            frame: &self.frame_in(Area::Start),
            scopes: operator.scopes().map(ToString::to_string).collect(),
            token: operator.who.to_string(),
            status: status.map(|status| self.status(status)),
        };
        render(&page, StatusCode::OK)
    }

    fn status(&self, status: ServiceStatus) -> Status {
        let ServiceStatus {
            trouble,
            figures,
            endings,
            at: now,
        } = status;
        let (operator, server_context) = (self.operator(), &self.site.server_context);
        let minutes = server_context.metrics.last_hour();
        let upkeep = match (figures.upkeep.rounds, figures.upkeep.is_behind) {
            (0, _) => "has not run yet",
            (_, true) => "is behind: there is more to remove than one round removes",
            (_, false) => "keeps up",
        };
        Status {
            trouble: trouble.map(|error| readiness::in_public(&error)),
            clock: figures
                .clock_difference
                .filter(ClockDifference::is_too_much)
                .map(|_| readiness::APART),
            standbys: figures.standbys.following,
            is_unsafe: figures.standbys.is_failover_unsafe(),
            upkeep,
            removed: figures.upkeep.removed,
            failed_rounds: figures.upkeep.failed,
            waiting: figures.hashing.waiting,
            left_out: figures.audit_left_out,
            more_endings: endings.found.len() > ENDINGS,
            endings_seen: match endings.seen {
                Coverage::All => None,
                Coverage::AllAt(at) => Some(format!(
                    "There are many: all of them were last checked on {}, and are checked every six hours.",
                    moment(at)
                )),
                Coverage::Part => Some(
                    "Not all of them were checked: that is done when the server starts, and every six hours."
                        .to_owned(),
                ),
            },
            endings: endings
                .found
                .iter()
                .take(ENDINGS)
                .map(|expiry| {
                    let what = expiry.name_for(operator).to_owned();
                    (moment(expiry.at), what, expiry.at < now)
                })
                .collect(),
            certificate_ends: server_context.metrics.tls_end().map(moment),
            served: server_context.served.clone(),
            hour: minutes.iter().copied().fold(Minute::default(), Minute::and),
            chart: Chart::of(&minutes),
            now: moment(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use askama::Template;
    use keyproof_service::Timestamp;

    use super::*;

    fn well() -> Status {
        Status {
            trouble: None,
            clock: None,
            standbys: 1,
            is_unsafe: false,
            upkeep: "keeps up",
            removed: 0,
            failed_rounds: 0,
            waiting: 0,
            left_out: 0,
            certificate_ends: None,
            endings: Vec::new(),
            more_endings: false,
            endings_seen: None,
            served: Vec::new(),
            hour: Minute::default(),
            chart: Chart::of(&[]),
            now: moment(Timestamp::EPOCH),
        }
    }

    fn end() -> Moment {
        moment(Timestamp::from_secs(1_700_000_000))
    }

    #[test]
    fn what_is_not_as_it_should_be_is_told() {
        let frame = Frame::of_nobody();
        let shown = |status| {
            let page = Start {
                frame: &frame,
                scopes: Vec::new(),
                token: String::new(),
                status: Some(status),
            };
            page.render().unwrap()
        };
        let well_shown = shown(well());
        assert!(!well_shown.contains("class=\"refused\""), "{well_shown}");
        type Spoil = fn(&mut Status);
        let cases: [(Spoil, &str); 7] = [
            (
                |status| status.trouble = Some("it is locked"),
                "does not work</strong>: it is locked",
            ),
            (
                |status| status.clock = Some(readiness::APART),
                "<dt>Clock</dt><dd><strong class=\"refused\">is wrong</strong>, or the database",
            ),
            (
                |status| status.is_unsafe = true,
                "1 follows the store: <strong class=\"refused\">no commit waits for one",
            ),
            (|status| status.failed_rounds = 3, "3 rounds failed"),
            (
                |status| status.left_out = 7,
                "<dt>Refusals left out of the trail</dt><dd>7</dd>",
            ),
            (
                |status| status.certificate_ends = Some(end()),
                "expires <time datetime=\"2023-11-14T22:13Z\">",
            ),
            (
                |status| {
                    status.endings = vec![(end(), "root".to_owned(), true)];
                    status.more_endings = true;
                },
                "<strong class=\"refused\">has expired</strong>",
            ),
        ];
        for (spoil, told) in cases {
            assert!(!well_shown.contains(told), "{told}");
            let mut status = well();
            spoil(&mut status);
            let ill = shown(status);
            assert!(ill.contains(told), "{told} is not in {ill}");
        }
    }
}
