//! What there is of a user's account, and what has happened with it lately.

use std::time::Duration;

use http::StatusCode;
use keyproof_service::audit::Found;
use keyproof_store::Timestamp;

use super::{
    Answered, Signed, Visit,
    pages::{Activity, EventRow, Frame, OverviewPage, State},
    render,
};
use crate::sites::refusal::Refusal;

/// How far back the activity goes.
const ACTIVITY: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// How many events a page has.
const EVENTS: usize = 50;

/// How many the overview has.
const LATEST: usize = 5;

impl Visit<Signed> {
    pub(super) async fn overview(self) -> Answered {
        let overview = self.accounts().overview(self.who.browser.session()).await?;
        let found = self.found(None, LATEST).await?;
        let t = self.t();
        let notice = if self.says("ended") {
            Some(t.sessions_ended)
        } else if self.says("removed") {
            Some(t.phone_removed)
        } else {
            None
        };
        let frame = Frame {
            notice,
            ..self.frame("/account")
        };
        let page = OverviewPage {
            frame: &frame,
            state: State::of(overview.user.key.as_ref()),
            may_decide: overview.may_decide,
            locked: overview.locked.map(|wait| t.locked(wait)),
            clock: match overview.clock_ahead {
                0 => t.clock_right.to_owned(),
                ahead => t.clock_off(ahead),
            },
            codes_left: overview.recovery_codes.map(|left| t.codes_left(left)),
            events: self.rows(&found).into_iter().take(LATEST).collect(),
        };
        render(&page, StatusCode::OK)
    }

    pub(super) async fn activity(self) -> Answered {
        let before = self.exchange.query().first("before");
        let before = before.map(|text| text.parse().map(Timestamp::from_millis));
        let before = before.transpose().map_err(|_| Refusal::NotFound)?;
        let found = self.found(before, EVENTS).await?;
        let frame = self.frame("/account/activity");
        let page = Activity {
            frame: &frame,
            events: self.rows(&found),
            before: found.before.map(Timestamp::as_millis),
        };
        render(&page, StatusCode::OK)
    }

    /// The latest events of the user's own.
    async fn found(&self, before: Option<Timestamp>, most: usize) -> Result<Found, Refusal> {
        let session = self.who.browser.session();
        let search = session.search();
        let since = self.site.service.now().saturating_sub(ACTIVITY);
        let audit = &self.site.service.audit;
        Ok(audit.search(&search, before, since, most).await?)
    }

    fn rows(&self, found: &Found) -> Vec<EventRow> {
        let rows = found.events.iter();
        rows.map(|event| EventRow::of(event, self.t())).collect()
    }
}
