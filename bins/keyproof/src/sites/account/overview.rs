//! The overview of a user's account, and its recent activity.

use std::{cmp::Reverse, time::Duration};

use http::StatusCode;
use keyproof_service::audit::{Cursor, Event, Found, Outcome, Search};

use super::{
    Frame, HandlerResult, Signed, Visit,
    pages::{Activity, EventRow, OverviewPage, State},
    render,
};
use crate::sites::refusal::Refusal;

/// How far back the activity goes.
const ACTIVITY: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// The number of events on a page.
const EVENTS: usize = 50;

/// The number of events on the overview.
const LATEST: usize = 5;

/// How many of these are successes, if there are enough: failures at the user's name must not hide a sign-in.
const DONE: usize = 3;

impl Visit<Signed> {
    pub(super) async fn overview(self) -> HandlerResult {
        let overview = self.accounts().overview(self.who.browser.session()).await?;
        // The rest of the overview does not wait for the trail.
        let latest = match self.latest().await {
            Err(Refusal::Away | Refusal::Busy) => None,
            latest => Some(latest?),
        };
        let t = self.t();
        let page = OverviewPage {
            frame: &self.frame("/account"),
            state: State::of(overview.user.key.as_ref()),
            may_decide: overview.may_decide,
            locked: overview.locked.map(|wait| t.locked(wait)),
            clock: match overview.clock_ahead {
                0 => t.clock_right.to_owned(),
                ahead => t.clock_off(ahead),
            },
            codes_left: t.codes_left(overview.recovery_codes),
            is_busy: latest.is_none(),
            events: self.rows(&latest.unwrap_or_default()),
        };
        render(&page, StatusCode::OK)
    }

    pub(super) async fn activity(self) -> HandlerResult {
        let before = self.before()?;
        let frame = Frame {
            begins: before.as_ref().map(ToString::to_string),
            ..self.frame("/account/activity")
        };
        let found = self.found(before, EVENTS, None).await?;
        let page = Activity {
            frame: &frame,
            events: self.rows(&found.events),
            before: found.before.map(|before| before.to_string()),
        };
        render(&page, StatusCode::OK)
    }

    /// Returns the user's latest events for the overview.
    async fn latest(&self) -> Result<Vec<Event>, Refusal> {
        let mut latest = self.found(None, LATEST, None).await?.events;
        let done = self.found(None, DONE, Some(Outcome::Done)).await?.events;
        if done.iter().any(|event| !latest.contains(event)) {
            latest.retain(|event| event.outcome == Outcome::Refused);
            latest.truncate(LATEST.saturating_sub(done.len()));
            latest.extend(done);
            latest.sort_by_key(|event| Reverse(event.last_at()));
        }
        Ok(latest)
    }

    /// Returns the user's latest events, optionally of one outcome.
    async fn found(
        &self,
        before: Option<Cursor>,
        most: usize,
        outcome: Option<Outcome>,
    ) -> Result<Found, Refusal> {
        let session = self.who.browser.session();
        let search = Search {
            outcome,
            ..Search::default()
        };
        let since = self.site.service.now().saturating_sub(ACTIVITY);
        let audit = &self.site.service.audit;
        let reader = session.audit_reader();
        Ok(audit.search(&reader, &search, before, since, most).await?)
    }

    fn rows(&self, events: &[Event]) -> Vec<EventRow> {
        let rows = events.iter();
        rows.map(|event| EventRow::of(event, self.t())).collect()
    }
}
