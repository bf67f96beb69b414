//! Delivers events to a sink outside the store, one by one, after their commit.

use std::fmt;

use keyproof_store::{Batch, CommitOutcome, Key, Timestamp, Version};

use super::{Audit, Event, EventKey, index};

/// Receives the events that this process commits. Methods are called within requests, so they must be quick and must not panic.
pub trait AuditSink: fmt::Debug + Send + Sync + 'static {
    /// Called when this event is committed. A combined event is delivered again each time its count rises.
    fn committed(&self, id: &EventKey, event: &Event);

    /// Called when it is unknown whether this event is committed. A combined event may then have a count that is one lower.
    fn unknown(&self, id: &EventKey, event: &Event);
}

impl Audit {
    /// Adds an event to a batch, replacing the one at version `at`, if given.
    pub(super) fn put(
        &self,
        batch: &mut Batch,
        key: Key,
        at: Option<Version>,
        event: Event,
        kept: Option<Timestamp>,
    ) {
        match at {
            None => batch.insert(&key, &event, kept),
            Some(at) => batch.replace(&key, at, &event, kept),
        };
        let key = EventKey(key);
        if at.is_none() {
            let kept = kept.map(|_| self.settings.keep_refusals);
            index::enter(batch, &key, &event, kept);
        }
        if let Some(sink) = self.sink.clone() {
            batch.on_outcome(move |outcome| match outcome {
                CommitOutcome::Applied => sink.committed(&key, &event),
                CommitOutcome::Unknown => sink.unknown(&key, &event),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Origin,
        audit::{Action, AuditSettings, NewEvent},
        testing::{Bench, START, bench, bench_with, origin},
    };
    use keyproof_store::faults::CommitMode;
    use std::sync::{Arc, Mutex, PoisonError};

    #[derive(Debug, Default)]
    struct Heard(Mutex<Vec<(String, u64)>>);

    /// Returns the trail of a bench's store, with its sink.
    fn heard(bench: &Bench) -> (Audit, Arc<Heard>) {
        let heard = Arc::new(Heard::default());
        let (store, clock) = (bench.store.clone(), bench.clock.clone());
        let sink = Arc::clone(&heard) as Arc<dyn AuditSink>;
        let audit = Audit::with_settings(store, clock, AuditSettings::default(), Some(sink));
        (audit, heard)
    }

    impl Heard {
        fn take(&self) -> Vec<(String, u64)> {
            std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
        }
    }

    impl AuditSink for Heard {
        fn committed(&self, id: &EventKey, event: &Event) {
            let told = (id.to_string(), event.count());
            self.0.lock().unwrap().push(told);
        }

        fn unknown(&self, id: &EventKey, _: &Event) {
            self.0.lock().unwrap().push((format!("unknown {id}"), 0));
        }
    }

    fn new_event(origin: &Origin) -> NewEvent<'_> {
        NewEvent {
            action: Action::UserAuthenticate,
            target: "user_name/ada".parse().unwrap(),
            detail: None,
            origin,
        }
    }

    #[tokio::test]
    async fn an_event_is_told_once_it_is_committed_and_no_other() {
        let bench = bench().await;
        let (audit, heard) = heard(&bench);
        let origin = origin();

        // A batch that is dropped without a commit.
        let mut dropped = bench.store.batch(START);
        audit.done(&mut dropped, START, new_event(&origin));
        drop(dropped);
        assert_eq!(heard.take(), []);

        let mut batch = bench.store.batch(START);
        audit.done(&mut batch, START, new_event(&origin));
        assert_eq!(heard.take(), [], "it is not committed yet");
        bench.store.commit(batch).await.unwrap();
        let told = heard.take();
        let stored = audit.events(START, None).await.unwrap();
        let is_told = |id: &EventKey| told == [(id.to_string(), 1)];
        let (id, event) = stored.iter().find(|(id, _)| is_told(id)).unwrap();
        assert_eq!(event.target, "user_name/ada");

        // A lost race.
        let EventKey(taken) = id.clone();
        let mut lost = bench.store.batch(START);
        audit.done(&mut lost, START, new_event(&origin));
        lost.require_absent(&taken);
        bench.store.commit(lost).await.unwrap_err();
        assert_eq!(heard.take(), []);

        // Several that are combined.
        for count in 1..=2 {
            let mut batch = bench.store.batch(START);
            let counted = audit.counted(&mut batch, START, new_event(&origin));
            counted.await.unwrap();
            bench.store.commit(batch).await.unwrap();
            let told = heard.take();
            assert_eq!(told.len(), 1);
            assert_eq!(told[0].1, count);
        }
        audit.refused(new_event(&origin)).await;
        assert_eq!(heard.take().len(), 1);
    }

    #[tokio::test]
    async fn what_a_store_has_from_its_first_start_is_told_too() {
        let heard = Arc::new(Heard::default());
        let sink = Arc::clone(&heard) as Arc<dyn AuditSink>;
        let bench = bench_with(|settings| settings.audit_sink = Some(sink)).await;
        let stored = bench.service.audit.events(START, None).await.unwrap();
        let stored: Vec<_> = stored.iter().map(|(id, _)| (id.to_string(), 1)).collect();
        assert!(!stored.is_empty());
        assert_eq!(heard.take(), stored);
    }

    /// The event is found under the id that the sink got, or does not exist at all.
    #[tokio::test]
    async fn what_may_be_committed_is_told_to_be_unknown_under_its_id() {
        for (fate, is_there) in [
            (CommitMode::Lost, Some(true)),
            (CommitMode::LostNotApplied, Some(false)),
            (CommitMode::NotApplied, None),
        ] {
            let bench = bench().await;
            let (audit, heard) = heard(&bench);
            let origin = origin();
            bench.faults.commits(fate);
            let mut batch = bench.store.batch(START);
            audit.done(&mut batch, START, new_event(&origin));
            bench.store.commit(batch).await.unwrap_err();
            bench.faults.commits(CommitMode::Made);
            let told: Vec<_> = heard.take().into_iter().map(|(id, _)| id).collect();
            let stored = audit.events(START, None).await.unwrap();
            let ids: Vec<_> = stored
                .iter()
                .map(|(id, _)| format!("unknown {id}"))
                .collect();
            match is_there {
                None => assert_eq!(told, [""; 0], "{fate:?}"),
                Some(is_there) => {
                    assert_eq!(told.len(), 1, "{fate:?}");
                    assert!(told[0].starts_with("unknown "), "{told:?}");
                    assert_eq!(ids.contains(&told[0]), is_there, "{fate:?}");
                }
            }
        }
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_told_to_be_unknown() {
        let bench = bench().await;
        let (audit, heard) = heard(&bench);
        let origin = origin();
        let mut batch = bench.store.batch(START);
        audit.done(&mut batch, START, new_event(&origin));
        let mut commit = Box::pin(bench.store.commit(batch));
        // As if a client hangs up during the commit.
        let _ = futures_now(&mut commit).await;
        drop(commit);
        let told = heard.take();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].0.starts_with("unknown "), "{told:?}");
    }

    /// Polls once.
    async fn futures_now<F: Future + Unpin>(future: &mut F) -> bool {
        std::future::poll_fn(|cx| {
            let done = std::pin::Pin::new(&mut *future).poll(cx).is_ready();
            std::task::Poll::Ready(done)
        })
        .await
    }
}
