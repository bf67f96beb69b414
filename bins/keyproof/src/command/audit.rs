//! `keyproof audit`: prints, follows and exports the audit trail.

use std::{str::FromStr, time::Duration};

use clap::{Args, Subcommand};
use keyproof_service::{
    Clock, Service, SystemClock,
    audit::{Event, EventKey, Follower, ParseEventKeyError, Repeats},
};
use keyproof_store::Timestamp;

use super::{
    Outcome,
    flags::{StoreArguments, StoreFlags},
    moment::Since,
    output,
    with_store::with_service,
};
use crate::{
    event_json::{event_document, readable},
    rfc3339::Rfc3339,
};

/// How repeated events are listed.
const TIMES: &str = "\
Repeated events are one line with a `count`, listed at the end of their minute (token refreshes: hour). `at` is when the \
first of them was decided, `last_at` when the last was.";

/// The interval at which a follower reads the trail.
const INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug, Subcommand)]
enum Command {
    /// Print events as JSON lines, for another system to keep
    Export(ExportArguments),
}

/// What a reader of the export must know.
const ONCE_OR_MORE: &str = "\
Each line has an id and a cursor. Pass the cursor of the last line that you kept to --after, to continue after it. The cursor \
stays behind events that are younger than five minutes, so those are printed again, under the same id: keep the last line of \
each id. Repeated events are printed once their minute or hour is over, and may be printed again with a higher count.";

#[derive(Args, Debug)]
#[command(after_help = ONCE_OR_MORE)]
struct ExportArguments {
    /// The cursor of the last line that was kept; if absent, null or empty, the export starts at the beginning
    #[arg(long, value_name = "CURSOR")]
    after: Option<After>,
    /// Print the names of users, as `keyproof audit` does. `user remove --forget` does not remove them from where the export is
    /// stored
    #[arg(long)]
    names: bool,
    #[command(flatten)]
    store: StoreFlags,
}

/// A cursor from a line. It is `null` if no cursor has passed an event yet, and empty if nothing was printed.
#[derive(Clone, Debug)]
struct After(Option<EventKey>);

impl FromStr for After {
    type Err = ParseEventKeyError;

    fn from_str(text: &str) -> Result<Self, ParseEventKeyError> {
        match text {
            "" | "null" => Ok(Self(None)),
            cursor => Ok(Self(Some(cursor.parse()?))),
        }
    }
}

#[derive(Args, Debug)]
#[command(after_help = TIMES, args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Continue as events happen; with --json, one document per line
    #[arg(long)]
    follow: bool,
    /// Only events from this time on: RFC 3339, Unix seconds, or a duration ago; if absent, all events
    #[arg(long, value_name = "T")]
    since: Option<Since>,
    #[command(flatten)]
    on: StoreArguments,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    if let Some(Command::Export(arguments)) = &arguments.command {
        return export(arguments);
    }
    let since = arguments
        .since
        .map_or(Timestamp::EPOCH, |since| since.moment(SystemClock.now()));
    with_service(&arguments.on.store, async |service| {
        if arguments.follow {
            follow(&service, since, arguments.on.json).await
        } else {
            list(&service, since, arguments.on.json).await
        }
    })
}

/// Prints JSON lines from the reader's cursor on.
fn export(arguments: &ExportArguments) -> Outcome {
    with_service(&arguments.store, async |service| {
        let after = arguments.after.clone();
        let mut last = after.and_then(|After(key)| key);
        let back = last
            .as_ref()
            .and_then(|cursor| service.audit.before_set_back(cursor));
        if back.is_some() {
            output::print_notice(
                "the cursor is from the future: this machine's clock was set back, or is more than five minutes \
                 behind that of the machine that printed the cursor; events of the last two days are printed again, under the \
                 same ids",
            );
            last = back;
        }
        let mut cursor = last.clone();
        loop {
            let mut page = service.audit.export(last.as_ref(), cursor.as_ref()).await?;
            if arguments.names {
                name(
                    &service,
                    page.iter_mut().map(|exported| &mut exported.event),
                )
                .await?;
            }
            let Some(end) = page.last() else {
                return Ok(());
            };
            (last, cursor) = (Some(end.id.clone()), end.cursor.clone());
            for exported in &page {
                let mut line = event_document(&exported.event)?;
                if let Some(members) = line.as_object_mut() {
                    let mut tell = |name: &str, key: Option<&EventKey>| {
                        let text = key.map(ToString::to_string);
                        members.insert(name.to_owned(), text.into());
                    };
                    tell("id", Some(&exported.id));
                    tell("cursor", exported.cursor.as_ref());
                }
                if !output::print_on(&line.to_string())? {
                    return Ok(());
                }
            }
        }
    })
}

async fn list(service: &Service, since: Timestamp, json: bool) -> Outcome {
    output::print_pages(
        "events",
        json,
        async |last: Option<&(EventKey, Event)>| {
            let after = last.map(|(key, _)| key);
            let mut events = service.audit.events(since, after).await?;
            name(service, events.iter_mut().map(|(_, event)| event)).await?;
            Ok(events)
        },
        |(_, event)| event_document(event),
        |(_, event)| line(event),
    )
    .await
}

async fn follow(service: &Service, since: Timestamp, json: bool) -> Outcome {
    let mut follower = Follower::new(since);
    loop {
        let mut events = follower.poll(&service.audit).await?;
        name(service, &mut events).await?;
        for event in &events {
            let text = if json {
                event_document(event)?.to_string()
            } else {
                line(event)
            };
            if !output::print_on(&text)? {
                return Ok(());
            }
        }
        if events.is_empty() {
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

/// Fills in the names of users, except those who were forgotten.
async fn name(service: &Service, events: impl IntoIterator<Item = &mut Event>) -> Outcome {
    Ok(service.accounts.name_subjects(events).await?)
}

/// Formats the event in one line, with control characters escaped.
fn line(event: &Event) -> String {
    let mut text = format!(
        "{} {} {} {} by {}",
        Rfc3339(event.at),
        event.outcome.name(),
        event.action,
        event.target,
        event.who
    );
    if let Some(address) = event.address {
        text += &format!(" from {address}");
    }
    if let Some(id) = &event.request_id {
        text += &format!(" request {id}");
    }
    if let Some(detail) = &event.detail {
        text += &format!(": {}", readable(detail));
    }
    if event.left_out > 0 {
        let refusals = output::counted(event.left_out, "refusal");
        text += &format!(" ({refusals} left out)");
    }
    if let Some(repeats) = &event.repeats {
        text += &repeats_text(event, repeats);
    }
    output::printable(&text)
}

/// Describes how often it happened, until when, from which other addresses, and with which other details.
fn repeats_text(event: &Event, repeats: &Repeats) -> String {
    let mut text = format!(
        " ({} times until {}",
        repeats.count,
        Rfc3339(repeats.last_at)
    );
    if let Some(id) = &repeats.last_request_id {
        text += &format!(", last request {id}");
    }
    let addresses = repeats.addresses.iter();
    let others: Vec<_> = addresses
        .filter(|address| Some(**address) != event.address)
        .map(ToString::to_string)
        .collect();
    if !others.is_empty() {
        text += &format!(", also from {}", others.join(", "));
    }
    for told in event.other_details() {
        text += &format!("; {} of them: {}", told.count, readable(&told.detail));
    }
    text + ")"
}

#[cfg(test)]
mod tests {
    use keyproof_service::audit::{Outcome as EventOutcome, RepeatedDetail};

    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_names_are_in_it() {
        let event = Event {
            at: Timestamp::from_secs(1_700_000_000),
            action: "otp_device.add".to_owned(),
            target: "instance/default/device/a\n\u{1b}[2Jé\u{202e}".to_owned(),
            outcome: EventOutcome::Done,
            who: "instance:default".to_owned(),
            detail: None,
            request_id: Some("0123".to_owned()),
            address: Some([127, 0, 0, 1].into()),
            left_out: 2,
            repeats: None,
        };
        assert_eq!(
            line(&event),
            "2023-11-14T22:13:20.000Z done otp_device.add \
             instance/default/device/a\\n\\u{1b}[2Jé\\u{202e} by instance:default \
             from 127.0.0.1 request 0123 (2 refusals left out)"
        );
        let document = event_document(&event).unwrap();
        assert_eq!(document["at"], "2023-11-14T22:13:20.000Z");
        assert!(document.get("detail").is_none());
        assert!(document.get("count").is_none());
    }

    #[test]
    fn an_event_of_several_says_how_many_until_when_from_where_and_why() {
        let at = Timestamp::from_secs(1_700_000_000);
        let told = |detail: &str, count| RepeatedDetail {
            detail: detail.to_owned(),
            count,
        };
        let event = Event {
            at,
            action: "user.authenticate".to_owned(),
            target: "user_name/ada".to_owned(),
            outcome: EventOutcome::Refused,
            who: "anonymous".to_owned(),
            detail: Some("wrong".to_owned()),
            request_id: Some("0123".to_owned()),
            address: Some([127, 0, 0, 1].into()),
            left_out: 0,
            repeats: Some(Repeats {
                count: 3,
                last_at: at.saturating_add(Duration::from_secs(2)),
                last_request_id: Some("4567".to_owned()),
                request_ids: vec!["0123".to_owned()],
                addresses: vec![[127, 0, 0, 1].into(), [192, 0, 2, 1].into()],
                details: vec![told("wrong", 2), told("locked, and right", 1)],
            }),
        };
        assert_eq!(
            line(&event),
            "2023-11-14T22:13:20.000Z refused user.authenticate user_name/ada by anonymous \
             from 127.0.0.1 request 0123: wrong \
             (3 times until 2023-11-14T22:13:22.000Z, last request 4567, also from 192.0.2.1; \
             1 of them: locked, and right)"
        );
        let document = event_document(&event).unwrap();
        assert_eq!(document["count"], 3);
        assert_eq!(document["last_at"], "2023-11-14T22:13:22.000Z");
        assert_eq!(document["last_request_id"], "4567");
        assert_eq!(document["addresses"][1], "192.0.2.1");
    }
}
