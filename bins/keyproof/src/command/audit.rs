//! `keyproof audit`: the audit trail, read and followed.

use std::{io, mem, time::Duration};

use clap::Args;
use keyproof_service::{
    Clock, Service, SystemClock,
    audit::{Event, Follower, Outcome as EventOutcome},
};
use keyproof_store::Timestamp;
use serde_json::Value;

use super::{
    Failure, Outcome,
    flags::StoreFlags,
    moment::{Rfc3339, Since},
    output,
    store::with_service,
};

/// How often a follower looks.
const INTERVAL: Duration = Duration::from_millis(500);

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Go on as events happen; with --json one document a line
    #[arg(long)]
    follow: bool,
    /// From when on: RFC 3339, Unix seconds, or a duration ago; all of it unless said otherwise
    #[arg(long, value_name = "T")]
    since: Option<Since>,
    #[command(flatten)]
    store: StoreFlags,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let since = arguments
        .since
        .map_or(Timestamp::EPOCH, |since| since.moment(SystemClock.now()));
    with_service(&arguments.store, async |service| {
        match (arguments.follow, arguments.json) {
            (true, json) => follow(&service, since, json).await,
            (false, true) => print_document(&service, since).await,
            (false, false) => print_each(&service, since, |event| Ok(line(event))).await,
        }
    })
}

/// One document, whose events are printed as they are read.
async fn print_document(service: &Service, since: Timestamp) -> Outcome {
    output::print("{\"events\": [")?;
    let mut separator = "  ";
    print_each(service, since, |event| {
        let separator = mem::replace(&mut separator, ", ");
        Ok(format!("{separator}{}", document(event)?))
    })
    .await?;
    Ok(output::print("]}")?)
}

/// A line for each event, page by page: the trail may be longer than memory.
async fn print_each(
    service: &Service,
    since: Timestamp,
    mut line: impl FnMut(&Event) -> io::Result<String>,
) -> Outcome {
    let mut after = None;
    loop {
        let page = service
            .audit
            .events(since, after.as_ref())
            .await
            .map_err(Failure::refused)?;
        let Some((last, _)) = page.last() else {
            return Ok(());
        };
        after = Some(last.clone());
        for (_, event) in &page {
            if !output::print_on(&line(event)?)? {
                return Ok(());
            }
        }
    }
}

async fn follow(service: &Service, since: Timestamp, json: bool) -> Outcome {
    let mut follower = Follower::new(since);
    loop {
        let events = follower
            .poll(&service.audit)
            .await
            .map_err(Failure::refused)?;
        for event in &events {
            let text = if json {
                document(event)?.to_string()
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

/// The event as it is stored, with its time in RFC 3339.
fn document(event: &Event) -> io::Result<Value> {
    let mut document = serde_json::to_value(event)?;
    if let Some(members) = document.as_object_mut() {
        let at = Rfc3339(event.at).to_string();
        members.insert("at".to_owned(), Value::String(at));
    }
    Ok(document)
}

/// The event in one line, on which nobody but keyproof has put a control character.
fn line(event: &Event) -> String {
    let outcome = match event.outcome {
        EventOutcome::Done => "done",
        EventOutcome::Refused => "refused",
    };
    let mut text = format!(
        "{} {outcome} {} {} by {}",
        Rfc3339(event.at),
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
        text += &format!(": {detail}");
    }
    if event.left_out > 0 {
        text += &format!(
            " ({} refusals before this one are left out)",
            event.left_out
        );
    }
    output::printable(&text)
}

#[cfg(test)]
mod tests {
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
        };
        assert_eq!(
            line(&event),
            "2023-11-14T22:13:20.000Z done otp_device.add \
             instance/default/device/a\\n\\u{1b}[2Jé\\u{202e} by instance:default \
             from 127.0.0.1 request 0123 (2 refusals before this one are left out)"
        );
        let document = document(&event).unwrap();
        assert_eq!(document["at"], "2023-11-14T22:13:20.000Z");
        assert!(document.get("detail").is_none());
    }
}
