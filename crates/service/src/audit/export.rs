//! Exports the trail: every event at least once, each with its id, from the reader's last position.

use std::{fmt, str::FromStr, time::Duration};

use data_encoding::HEXLOWER;
use keyproof_store::{Segment, Timestamp};

use super::{Audit, Event, EventKey, PAGE, all_events};
use crate::{StorageError, keys::moment, pages::Pages};

/// The cursor never passes events younger than this. Others of the same age may still appear, because machines' clocks differ and
/// commits take time. So while clocks differ by less, no machine's cursor is in another machine's future.
const SETTLED: Duration = Duration::from_secs(5 * 60);

/// How far back a reader restarts if its cursor is in the future. Exports are made every night or more often.
const SET_BACK: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// An exported event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The id of the event, and its position.
    pub id: EventKey,
    /// The event.
    pub event: Event,
    /// The cursor to continue from; `None` means the beginning. Later events may be repetitions, with the same id.
    pub cursor: Option<EventKey>,
}

impl Audit {
    /// Returns at most a page of the events after `last`, or none at the current end. `cursor` is the cursor of the event `last`,
    /// or where the reader starts. A combined event is exported once its minute or hour is over.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn export(
        &self,
        last: Option<&EventKey>,
        cursor: Option<&EventKey>,
    ) -> Result<Vec<Exported>, StorageError> {
        let now = self.clock.now();
        let EventKey(settled) = EventKey::start(now.saturating_sub(SETTLED));
        let EventKey(end) = EventKey::end(now);
        let after = last.map(|EventKey(key)| key.clone());
        let mut pages = Pages::<Event>::after(&self.store, all_events(), after).at_once(PAGE);
        let page = pages.next(now).await?.unwrap_or_default();
        let mut cursor = cursor.cloned();
        let exported = page
            .into_iter()
            .take_while(|(key, _)| *key < end)
            .map(|(key, stored)| {
                if key < settled {
                    cursor = Some(EventKey(key.clone()));
                }
                Exported {
                    id: EventKey(key),
                    event: stored.record,
                    cursor: cursor.clone(),
                }
            });
        Ok(exported.collect())
    }

    /// Returns where a reader must continue if this cursor is in the future. In that case the clock was set back, or is five
    /// minutes behind that of the machine that returned the cursor, and newer events may have positions before the cursor. The
    /// result is a cursor of two days ago. Repeated events have the same ids.
    pub fn before_set_back(&self, cursor: &EventKey) -> Option<EventKey> {
        let now = self.clock.now();
        if *cursor < EventKey::end(now) {
            return None;
        }
        let at = moment(now.saturating_sub(SET_BACK));
        // With an id, like a cursor that was parsed.
        Some(EventKey::new(&at, &[0; 16]))
    }
}

impl EventKey {
    /// Returns the time that it sorts by: that of the decision, or the end of a combined event's minute or hour.
    pub fn moment(&self) -> Option<Timestamp> {
        let (moment, _) = self.segments()?;
        let moment = u64::from_str_radix(std::str::from_utf8(&moment).ok()?, 16).ok()?;
        Some(Timestamp::from_millis(moment))
    }

    /// Returns the time and id as in the key. A start position has no id.
    pub(super) fn segments(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut segments = self.0.segments().skip(2);
        let Some(Segment::Plain(moment)) = segments.next() else {
            return None;
        };
        match segments.next() {
            None => Some((moment, Vec::new())),
            Some(Segment::Plain(id)) => Some((moment, id)),
            Some(Segment::Digest(_)) => None,
        }
    }
}

/// The time in 16 hexadecimal digits, a hyphen, and the id in hexadecimal.
impl fmt::Display for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((moment, id)) = self.segments() else {
            return Ok(());
        };
        f.write_str(&String::from_utf8_lossy(&moment))?;
        if id.is_empty() {
            Ok(())
        } else {
            write!(f, "-{}", HEXLOWER.encode(&id))
        }
    }
}

/// The error for a text that is not an event's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor that `audit export` has printed")]
pub struct ParseEventKeyError;

impl FromStr for EventKey {
    type Err = ParseEventKeyError;

    fn from_str(text: &str) -> Result<Self, ParseEventKeyError> {
        let (moment, id) = text.split_once('-').ok_or(ParseEventKeyError)?;
        let id = HEXLOWER
            .decode(id.as_bytes())
            .map_err(|_| ParseEventKeyError)?;
        let is_moment = moment.len() == 16
            && moment
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if is_moment && (16..=32).contains(&id.len()) {
            Ok(Self::new(moment, &id))
        } else {
            Err(ParseEventKeyError)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use super::*;
    use crate::{
        Clock, ManualClock,
        audit::tests::{count, tell},
        otp_devices::Lifetime,
        testing::{Bench, START, bench, origin},
    };

    async fn export(bench: &Bench, after: Option<&EventKey>) -> Vec<Exported> {
        bench.service.audit.export(after, after).await.unwrap()
    }

    #[tokio::test]
    async fn a_cursor_passes_nothing_before_which_something_may_appear_still() {
        let bench = bench().await;
        // Events of one millisecond are in any order, and one was recorded at the server's start.
        bench.clock.advance(Duration::from_millis(1));
        tell(&bench, bench.clock.now(), "old").await;
        bench.clock.advance(SETTLED - Duration::from_secs(10));
        tell(&bench, bench.clock.now(), "young").await;
        bench.clock.advance(Duration::from_secs(11));
        let first = export(&bench, None).await;
        let (old, young) = (&first[first.len() - 2], &first[first.len() - 1]);
        assert_eq!(
            (&*old.event.target, &*young.event.target),
            ("instance/old", "instance/young")
        );
        assert_eq!(old.cursor.as_ref(), Some(&old.id));
        assert_eq!(young.cursor.as_ref(), Some(&old.id), "it stays behind");

        // An event that was decided before but appears afterwards.
        let late = young.event.at.saturating_sub(Duration::from_secs(1));
        tell(&bench, late, "late").await;
        let again = export(&bench, young.cursor.as_ref()).await;
        let told: Vec<_> = again.iter().map(|one| &*one.event.target).collect();
        assert_eq!(told, ["instance/late", "instance/young"]);
        assert_eq!(again[1].id, young.id, "by its id it is the same");
        bench.clock.advance(SETTLED);
        let settled = export(&bench, young.cursor.as_ref()).await;
        let last = settled[1].cursor.clone();
        assert_eq!(last.as_ref(), Some(&settled[1].id));
        assert_eq!(export(&bench, last.as_ref()).await, []);
    }

    #[tokio::test]
    async fn what_is_told_after_a_clock_was_set_back_is_not_left_out() {
        let bench = bench().await;
        let right = bench.clock.now().saturating_add(Duration::from_secs(60));
        bench.clock.advance(Duration::from_secs(660));
        tell(&bench, bench.clock.now(), "ahead").await;
        bench.clock.advance(SETTLED + Duration::from_secs(1));
        let cursor = export(&bench, None).await.pop().unwrap().cursor.unwrap();
        let back = |cursor: &EventKey| bench.service.audit.before_set_back(cursor);
        assert_eq!(back(&cursor), None);

        bench.clock.set(right);
        tell(&bench, right, "after").await;
        bench.clock.advance(SETTLED + Duration::from_secs(1));
        assert_eq!(export(&bench, Some(&cursor)).await, []);
        let earlier = back(&cursor).unwrap();
        let again = export(&bench, Some(&earlier)).await;
        let after = again.last().unwrap();
        assert_eq!(after.event.target, "instance/after");
        assert_eq!(after.cursor.as_ref(), Some(&after.id));
        assert_eq!(back(&after.id), None);
        assert_eq!(earlier.to_string().parse::<EventKey>(), Ok(earlier));
    }

    #[tokio::test]
    async fn machines_whose_clocks_differ_export_in_turn_and_neither_begins_again() {
        for skew in [30, 240].map(Duration::from_secs) {
            let bench = bench().await;
            let clock = Arc::new(ManualClock::new(START));
            let ahead = Audit::new(bench.store.clone(), clock.clone());
            let (mut cursor, mut told) = (None, BTreeSet::new());
            for round in 0..120 {
                bench.clock.advance(Duration::from_secs(10));
                clock.set(bench.clock.now().saturating_add(skew));
                for now in [bench.clock.now(), clock.now()] {
                    tell(&bench, now, "shop").await;
                }
                let audit: &Audit = match round % 2 {
                    0 => &bench.service.audit,
                    _ => &ahead,
                };
                let back = cursor
                    .as_ref()
                    .and_then(|cursor| audit.before_set_back(cursor));
                assert_eq!(back, None, "{skew:?}, {round}");
                let printed = audit.export(cursor.as_ref(), cursor.as_ref()).await;
                let printed = printed.unwrap();
                cursor = printed.last().and_then(|last| last.cursor.clone());
                told.extend(printed.into_iter().map(|exported| exported.id));
            }
            bench.clock.advance(skew);
            let rest = export(&bench, cursor.as_ref()).await;
            told.extend(rest.into_iter().map(|exported| exported.id));
            let all = bench.service.audit.events(START, None).await.unwrap();
            let all: BTreeSet<_> = all.into_iter().map(|(id, _)| id).collect();
            assert_eq!(told, all, "{skew:?}");
        }
    }

    #[tokio::test]
    async fn a_cursor_waits_until_an_event_is_settled() {
        let bench = bench().await;
        bench.clock.advance(Duration::from_secs(1));
        tell(&bench, bench.clock.now(), "one").await;
        let passed = async || {
            let last = export(&bench, None).await.pop().unwrap();
            assert_eq!(last.event.target, "instance/one");
            last.cursor == Some(last.id)
        };
        bench.clock.advance(SETTLED);
        assert!(!passed().await, "one of this millisecond may come still");
        bench.clock.advance(Duration::from_millis(1));
        assert!(passed().await);
    }

    #[tokio::test]
    async fn an_event_of_several_comes_once_its_time_is_over() {
        let bench = bench().await;
        bench.token("shop", "all", Lifetime::Forever).await;
        let before = export(&bench, None).await.len();
        let guess = || crate::testing::secret("wrong");
        for _ in 0..2 {
            let devices = &bench.service.otp_devices;
            assert!(
                devices
                    .log_in("shop", "shop", guess(), &origin())
                    .await
                    .is_err()
            );
        }
        let during = export(&bench, None).await.len();
        bench.clock.advance(Duration::from_secs(60));
        let after = export(&bench, None).await;
        assert_eq!((during, after.len()), (before, before + 1));
        assert_eq!(after[before].event.count(), 2);
    }

    #[tokio::test]
    async fn an_event_of_several_comes_again_when_a_slower_machine_adds_to_it() {
        let bench = bench().await;
        let began = bench.clock.now();
        let fail = async || count(&bench, "user_name/ada", "wrong", 1, "request").await;
        fail().await;
        bench.clock.advance(Duration::from_secs(60));
        let over = bench.clock.now();
        let first = export(&bench, None).await.pop().unwrap();
        bench.clock.set(began);
        fail().await;
        bench.clock.set(over);
        let again = export(&bench, first.cursor.as_ref()).await.pop().unwrap();
        assert_eq!(again.id, first.id, "the last of an id is the one to keep");
        assert_eq!((first.event.count(), again.event.count()), (1, 2));
    }

    #[test]
    fn a_cursor_is_read_as_it_is_written() {
        let text = "0000018bcfe56800-000102030405060708090a0b0c0d0eff";
        let key: EventKey = text.parse().unwrap();
        assert_eq!(key.to_string(), text);
        assert_eq!(key.moment(), Some(Timestamp::from_millis(0x18b_cfe5_6800)));
        for wrong in [
            "",
            "-",
            "0000018bcfe56800",
            "x000018bcfe56800-00",
            "0000018bcfe56800-00",
            &text[1..],
        ] {
            assert_eq!(
                wrong.parse::<EventKey>(),
                Err(ParseEventKeyError),
                "{wrong}"
            );
        }
    }
}
