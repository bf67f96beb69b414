//! The audit trail: filtering, following and downloading it.

use std::{collections::BTreeMap, net::IpAddr};

use http::{HeaderValue, StatusCode, header};
use jiff::{civil::DateTime, tz::TimeZone};
use keyproof_auth::operator::AccessLevel;
use keyproof_http::{with_body, with_guard};
use keyproof_service::{
    Audit, StorageError, Timestamp,
    access::OutOfScope,
    audit::{Action, AuditReader, Cursor, Event, Found, Outcome, Principal, Search, Subject},
};

use super::{
    Area, Frame, HandlerResult, ROWS, Signed, Visit,
    addressing::{INTERRUPTED, query, with_query},
    render,
    users::path_of,
};
use crate::{
    event_json::{event_document, readable},
    sites::{
        entries::{Unfilled, Wrong},
        moment::{Moment, second},
        page::{pages, see_other},
        refusal::Refusal,
    },
};

/// How many characters of a long text's beginning a cell shows, to keep pages small.
const HEAD: usize = 70;

/// How many characters of its end a cell shows.
const TAIL: usize = 60;

/// The maximum number of events in a file. The last batch may exceed it.
const EXPORTED: usize = 10_000;

/// The maximum number of bytes in a file. The last batch may exceed it.
const EXPORTED_BYTES: usize = 8 << 20;

/// The number of events in a batch for a file.
const AT_ONCE: usize = 1_000;

/// The maximum number of events that are read for a file. Some are read again for the next part of it.
const READ: usize = 2 * Search::MOST_READ;

/// The notice that the file was not downloaded.
const NOT_DOWNLOADED: &str = "You are signed in again, and the file is not downloaded: choose “Download as JSON lines” once more.";

/// The fields of the search form.
const SOUGHT: [&str; 6] = ["since", "until", "who", "what", "target", "outcome"];

/// The field with the name of a file that the next one continues.
const FILE: &str = "after_file";

/// What the name of a file that does not contain everything has before its position.
const GOES_ON: &str = "goes-on-before-";

/// A part of the trail.
#[derive(Debug)]
struct Place {
    /// The beginning.
    since: Timestamp,
    /// The end; `None` for now.
    before: Option<Cursor>,
    is_latest: bool,
}

pages! {
    #[derive(::askama::Template)]
    Frame;

    Trail("console/audit.html") {
        actions: &'static [Action],
        events: Vec<Row>,
        /// The fields of the search that are filled in.
        criteria: Vec<(&'static str, &'a str)>,
        /// The search as a query, without the position.
        query: String,
        /// The position of this page, if there is a next one.
        begins: Option<String>,
        /// The position of the next page.
        before: Option<String>,
        /// Whether the page shows the latest events, which can be followed.
        is_latest: bool,
        may_export: bool,
        is_again: bool,
    }
}

/// An event as a row of the table.
struct Row {
    when: Moment,
    who: String,
    /// The owner of the operator's token, if known.
    bearer: Option<String>,
    what: String,
    target: String,
    /// The page of the user that the event is about.
    user: Option<String>,
    is_refused: bool,
    /// The detail, and those of other combined events.
    details: Vec<String>,
    count: u64,
    left_out: u64,
    from: Vec<String>,
    request: Option<String>,
}

impl Row {
    /// Creates a row; `bearers` are the owners of operators' tokens by the tokens' ids.
    fn of(event: Event, bearers: &BTreeMap<String, String>, reaches_users: bool) -> Self {
        let others = event
            .other_details()
            .map(|told| format!("{} of them: {}", told.count, cut(readable(&told.detail))));
        let own = event.detail.as_deref().map(|detail| cut(readable(detail)));
        Self {
            details: own.into_iter().chain(others).collect(),
            bearer: token_of(&event.who).and_then(|id| bearers.get(id).cloned()),
            user: user_page(&event.target).filter(|_| reaches_users),
            when: second(event.last_at()),
            is_refused: event.outcome == Outcome::Refused,
            count: event.count(),
            left_out: event.left_out,
            from: event.addresses().iter().map(IpAddr::to_string).collect(),
            who: cut(event.who),
            what: event.action,
            target: cut(event.target),
            request: event.request_id,
        }
    }
}

/// Returns the id of the operator's token in the trail's text.
fn token_of(who: &str) -> Option<&str> {
    who.strip_prefix("operator:")
}

/// Returns the page of the user that an event is about.
fn user_page(target: &str) -> Option<String> {
    let (organisation, rest) = target.strip_prefix("organisation/")?.split_once("/user/")?;
    let user = rest.split('/').next()?;
    Some(path_of(organisation.parse().ok()?, user.parse().ok()?))
}

/// Shortens a long text for a cell, to its beginning and end.
fn cut(text: String) -> String {
    let length = text.chars().count();
    if length <= HEAD + TAIL {
        return text;
    }
    let head: String = text.chars().take(HEAD).collect();
    let tail = text.chars().skip(length.saturating_sub(TAIL));
    head + "…" + &tail.collect::<String>()
}

impl Visit<Signed> {
    pub(super) async fn audit(self) -> HandlerResult {
        let (mut frame, found, is_latest, status) = match self.part_of_trail() {
            Ok(place) => {
                let reader = self.reader(AccessLevel::Read)?;
                let found = self.find(&reader, &place, ROWS).await?;
                let mut frame = self.frame_in(Area::Audit);
                if self.is_sent_with(INTERRUPTED) && self.reader(AccessLevel::Change).is_ok() {
                    frame.notice = Some(NOT_DOWNLOADED);
                }
                (frame, found, place.is_latest, StatusCode::OK)
            }
            Err(why) => {
                let frame = self.frame_of(Area::Audit, why, &[])?;
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                (frame, Found::default(), false, status)
            }
        };
        let fields = SOUGHT.into_iter().chain([FILE]);
        let typed = fields.map(|field| (field, self.sought(field).to_owned()));
        frame.entries.filled = typed.collect();
        render(&self.trail(&frame, found, is_latest).await?, status)
    }

    /// Returns the found events as JSON lines, the latest first.
    pub(super) async fn export_audit(self) -> HandlerResult {
        let reader = self.reader(AccessLevel::Change)?;
        let mut place = match self.part_of_trail() {
            Ok(place) => place,
            Err(Unfilled::Refused(why)) => return Err(why),
            // The page with the form says what is wrong.
            Err(Unfilled::Wrong(_)) => {
                let sent: Vec<_> = self.exchange.query().iter().collect();
                return Ok(see_other(&with_query(Area::Audit.place().0, &sent)));
            }
        };
        // It is in memory as a whole until the client has read it, as a contract's list is.
        let lists = &self.service().lists;
        let permit = lists.take(&self.operator().who.party()).await;
        let permit = permit.map_err(StorageError::from)?;
        let (mut lines, mut told, mut read) = (String::new(), 0, 0);
        let before = loop {
            let found = self.find(&reader, &place, AT_ONCE).await?;
            for event in &found.events {
                let document = event_document(event).map_err(|_| Refusal::Broken)?;
                lines.push_str(&document.to_string());
                lines.push('\n');
            }
            told += found.events.len();
            read += found.read;
            let is_full = told >= EXPORTED || lines.len() >= EXPORTED_BYTES || read >= READ;
            match found.before {
                Some(before) if !is_full => place.before = Some(before),
                before => break before,
            }
        };
        let lines = lines.into_bytes();
        let mut response = with_body(StatusCode::OK, "application/x-ndjson", lines);
        let headers = response.headers_mut();
        let mut tell = |name, value: &str| {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        };
        tell(header::CACHE_CONTROL, "no-store");
        let file = match before {
            None => "keyproof-audit.jsonl".to_owned(),
            Some(before) => {
                let next = format!(
                    "</console/audit/export?{}&before={before}>; rel=\"next\"",
                    self.sought_in_query()
                );
                tell(header::LINK, &next);
                format!("keyproof-audit-{GOES_ON}{before}.jsonl")
            }
        };
        let disposition = format!("attachment; filename=\"{file}\"");
        tell(header::CONTENT_DISPOSITION, &disposition);
        Ok(with_guard(response, permit))
    }

    fn reader(&self, reach: AccessLevel) -> Result<AuditReader, OutOfScope> {
        Audit::permit_reader(self.operator(), reach)
    }

    /// Returns the text of a search field.
    fn sought(&self, field: &str) -> &str {
        let query = self.exchange.query();
        query.first(field).unwrap_or_default().trim()
    }

    /// Returns the fields of the search that are filled in.
    fn criteria(&self) -> Vec<(&'static str, &str)> {
        let pairs = SOUGHT.map(|field| (field, self.sought(field)));
        let given = pairs.into_iter().filter(|(_, text)| !text.is_empty());
        given.collect()
    }

    fn sought_in_query(&self) -> String {
        query(&self.criteria())
    }

    /// Returns where to begin, if the address has a position or the name of a file.
    fn begins(&self) -> Result<Option<Cursor>, Unfilled> {
        const WRONG: &str = "This is not the name of a file that another one continues.";
        match self.sought(FILE) {
            "" => Ok(self.before()?),
            file => match end_of(file) {
                None => Err(Wrong::at(FILE, WRONG).into()),
                end => Ok(end),
            },
        }
    }

    /// Returns the requested part of the trail.
    fn part_of_trail(&self) -> Result<Place, Unfilled> {
        let since = time_of("since", self.sought("since"))?.unwrap_or(Timestamp::EPOCH);
        let until = time_of("until", self.sought("until"))?;
        let before = self.begins()?;
        Ok(Place {
            is_latest: before.is_none() && until.is_none(),
            before: before.or(until.map(Cursor::moment)),
            since,
        })
    }

    /// Returns the latest matching events, with users' names filled in.
    async fn find(
        &self,
        reader: &AuditReader,
        place: &Place,
        most: usize,
    ) -> Result<Found, Refusal> {
        let search = Search {
            by: self.asker(self.sought("who")).await?,
            action: given(self.sought("what")),
            target: given(self.sought("target")),
            outcome: match self.sought("outcome") {
                "done" => Some(Outcome::Done),
                "refused" => Some(Outcome::Refused),
                _ => None,
            },
            ..Search::default()
        };
        let service = self.service();
        let (before, since) = (place.before.clone(), place.since);
        let found = service.audit.search(reader, &search, before, since, most);
        let mut found = found.await?;
        let named = service.accounts.name_subjects(&mut found.events);
        named.await?;
        Ok(found)
    }

    /// Returns the texts in the trail that match the person sought. The trail has a random identifier for each user, so
    /// a user's name is replaced by it.
    async fn asker(&self, who: &str) -> Result<Vec<String>, Refusal> {
        let mut askers: Vec<_> = given(who).into_iter().collect();
        if let Some(name) = Principal::user_in(who)
            && name.parse::<Subject>().is_err()
        {
            let subject = self.service().accounts.subject_named(name).await?;
            let user = subject.map(|subject| Principal::User {
                subject,
                application_token: None,
            });
            askers.extend(user.map(|user| user.to_string()));
        }
        Ok(askers)
    }

    async fn trail<'a>(
        &'a self,
        frame: &'a Frame,
        found: Found,
        is_latest: bool,
    ) -> Result<Trail<'a>, Refusal> {
        let tokens = found.events.iter().filter_map(|event| token_of(&event.who));
        let bearers = self.service().access.subjects_of(tokens.collect()).await?;
        let reaches_users = Area::Users.is_shown_to(self.operator());
        let events = found.events.into_iter();
        let begins = self.begins().ok().flatten();
        Ok(Trail {
            frame,
            criteria: self.criteria(),
            query: self.sought_in_query(),
            actions: Action::ALL,
            begins: begins.map(|before| before.to_string()),
            before: found.before.map(|before| before.to_string()),
            events: events
                .map(|event| Row::of(event, &bearers, reaches_users))
                .collect(),
            is_latest,
            may_export: self.reader(AccessLevel::Change).is_ok(),
            is_again: self.is_again(),
        })
    }
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Returns where the trail goes on after a file, by its name, which a browser may have numbered.
fn end_of(file: &str) -> Option<Cursor> {
    let (_, end) = file.rsplit_once(GOES_ON)?;
    let end = end.split(['.', ' ', '(']).next()?;
    end.parse().ok()
}

/// Parses a time from a browser, in UTC: `2026-11-30T12:00`.
fn time_of(field: &'static str, text: &str) -> Result<Option<Timestamp>, Unfilled> {
    if text.is_empty() {
        return Ok(None);
    }
    const WRONG: &str = "A time is like 2026-11-30T12:00, in UTC.";
    let wrong = || Unfilled::from(Wrong::at(field, WRONG));
    // The library ignores these, and the time would be another.
    let (_, clock) = text.split_once(['T', 't', ' ']).unwrap_or_default();
    if clock.contains(['+', '-']) || text.contains('[') {
        return Err(wrong());
    }
    let time: DateTime = text.parse().map_err(|_| wrong())?;
    let time = time.to_zoned(TimeZone::UTC).map_err(|_| wrong())?;
    let millis = time.timestamp().as_millisecond();
    // Nothing happened before 1970.
    let millis = u64::try_from(millis).unwrap_or(0);
    Ok(Some(Timestamp::from_millis(millis)))
}

#[cfg(test)]
mod tests {
    use keyproof_service::audit::{RepeatedDetail, Repeats};

    use super::*;

    #[test]
    fn a_combined_event_is_shown_with_all_its_details_and_addresses() {
        let told = |detail: &str, count| RepeatedDetail {
            detail: detail.to_owned(),
            count,
        };
        let event = Event {
            at: Timestamp::EPOCH,
            action: "user.authenticate".to_owned(),
            target: "user_name/ada".to_owned(),
            outcome: Outcome::Refused,
            who: "anonymous".to_owned(),
            detail: Some("locked".to_owned()),
            request_id: None,
            address: Some([192, 0, 2, 1].into()),
            left_out: 0,
            repeats: Some(Repeats {
                count: 3,
                last_at: Timestamp::EPOCH,
                last_request_id: None,
                request_ids: Vec::new(),
                addresses: vec![[192, 0, 2, 1].into(), [192, 0, 2, 2].into()],
                details: vec![told("locked", 1), told("locked, and right", 2)],
            }),
        };
        let row = Row::of(event, &BTreeMap::new(), true);
        assert_eq!(row.details, ["locked", "2 of them: locked, and right"]);
        assert_eq!(row.from, ["192.0.2.1", "192.0.2.2"]);
    }

    #[test]
    fn a_long_text_has_its_beginning_and_its_end() {
        for whole in [String::new(), "ä".repeat(HEAD + TAIL)] {
            assert_eq!(cut(whole.clone()), whole);
        }
        let long = format!("{}xyz{}", "ä".repeat(HEAD), "ß".repeat(TAIL));
        let short = format!("{}…{}", "ä".repeat(HEAD), "ß".repeat(TAIL));
        assert_eq!(cut(long), short);
    }

    #[test]
    fn a_user_has_a_page_and_whatever_else_has_none() {
        for (target, page) in [
            ("organisation/7/user/9", Some("/console/users/7/9")),
            ("organisation/7/user/9/device/x", Some("/console/users/7/9")),
            ("organisation/7", None),
            ("organisation/7/user/", None),
            ("organisation/7/user/../..", None),
            ("organisation/x/user/9", None),
            ("organisation/7/user/4294967296", None),
            ("instance/organisation/7/user/9", None),
        ] {
            assert_eq!(user_page(target).as_deref(), page, "{target}");
        }
    }

    #[test]
    fn a_file_is_continued_by_its_name() {
        for (file, end) in [
            ("keyproof-audit-goes-on-before-7.jsonl", Some("7")),
            ("keyproof-audit-goes-on-before-7 (1).jsonl", Some("7")),
            ("keyproof-audit-goes-on-before-7(1).jsonl", Some("7")),
            (
                "keyproof-audit-goes-on-before-1-0000018bcfe56800-000102030405060708090a0b0c0d0e0f.jsonl",
                Some("1-0000018bcfe56800-000102030405060708090a0b0c0d0e0f"),
            ),
            ("keyproof-audit.jsonl", None),
            ("keyproof-audit-goes-on-before-.jsonl", None),
            ("7", None),
        ] {
            let found = end_of(file).map(|end| end.to_string());
            assert_eq!(found.as_deref(), end, "{file}");
        }
    }

    #[test]
    fn a_time_is_what_browsers_send() {
        let of = |text| {
            time_of("since", text)
                .ok()
                .flatten()
                .map(Timestamp::as_millis)
        };
        assert_eq!(of("2023-11-14T22:13"), Some(1_699_999_980_000));
        assert_eq!(of("2023-11-14T22:13:20"), Some(1_700_000_000_000));
        assert_eq!(of("1950-01-01T00:00"), Some(0));
        assert_eq!(of(""), None);
        for wrong in [
            "x",
            "2023-13-14T22:13",
            "99999-01-01T00:00",
            "2023-11-14T22:13Z",
            "2023-11-14T22:13-05:00",
            "2023-11-14 22:13+01",
            "2023-11-14T22:13[Europe/Berlin]",
        ] {
            assert!(
                matches!(time_of("since", wrong), Err(Unfilled::Wrong(_))),
                "{wrong}"
            );
        }
    }
}
