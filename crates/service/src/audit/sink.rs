//! The trail as it is told to others, event by event and once it is committed.

use std::sync::Arc;

use keyproof_store::{Batch, CommitOutcome, Key, Timestamp, Version};

use super::{Audit, Event, EventKey, index};

/// Is told of events as they are committed by this process.
pub trait AuditSink: Send + Sync + 'static {
    /// This event is in the trail. One that stands for several is told again whenever it stands for one more.
    ///
    /// Called on a request's way: it must be quick and not panic.
    fn committed(&self, id: &EventKey, event: &Event);

    /// An event may be in the trail or not: that could not be learnt.
    fn unknown(&self);
}

impl Audit {
    /// Tells this sink, too, from now on. The first is told, if there are several.
    pub fn tell_also(&self, sink: Arc<dyn AuditSink>) {
        self.sink.get_or_init(|| sink);
    }

    /// Adds an event to a batch: in the place of the one at a version, if there is one.
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
        if let Some(sink) = self.sink.get().cloned() {
            batch.on_outcome(move |outcome| match outcome {
                CommitOutcome::Applied => sink.committed(&key, &event),
                CommitOutcome::Unknown => sink.unknown(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Origin,
        audit::{Action, Deed},
        testing::{START, bench, origin},
    };
    use std::sync::{Mutex, PoisonError};

    #[derive(Default)]
    struct Heard(Mutex<Vec<(String, u64)>>);

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

        fn unknown(&self) {
            self.0.lock().unwrap().push(("unknown".to_owned(), 0));
        }
    }

    fn deed(origin: &Origin) -> Deed<'_> {
        Deed {
            action: Action::UserAuthenticate,
            target: "user/1".to_owned(),
            detail: None,
            origin,
        }
    }

    #[tokio::test]
    async fn an_event_is_told_once_it_is_committed_and_no_other() {
        let bench = bench().await;
        let audit = Audit::new(bench.store.clone(), bench.clock.clone());
        let heard = Arc::new(Heard::default());
        audit.tell_also(Arc::clone(&heard) as Arc<dyn AuditSink>);
        let origin = origin();

        // One that was decided against.
        let mut dropped = bench.store.batch(START);
        audit.done(&mut dropped, START, deed(&origin));
        drop(dropped);
        assert_eq!(heard.take(), []);

        let mut batch = bench.store.batch(START);
        audit.done(&mut batch, START, deed(&origin));
        assert_eq!(heard.take(), [], "it is not committed yet");
        bench.store.commit(batch).await.unwrap();
        let told = heard.take();
        let stored = audit.events(START, None).await.unwrap();
        let is_told = |id: &EventKey| told == [(id.to_string(), 1)];
        let (id, event) = stored.iter().find(|(id, _)| is_told(id)).unwrap();
        assert_eq!(event.target, "user/1");

        // A race that was lost.
        let EventKey(taken) = id.clone();
        let mut lost = bench.store.batch(START);
        audit.done(&mut lost, START, deed(&origin));
        lost.require_absent(&taken);
        bench.store.commit(lost).await.unwrap_err();
        assert_eq!(heard.take(), []);

        // Several that are told as one.
        for count in 1..=2 {
            let mut batch = bench.store.batch(START);
            let counted = audit.counted(&mut batch, START, deed(&origin));
            counted.await.unwrap();
            bench.store.commit(batch).await.unwrap();
            let told = heard.take();
            assert_eq!(told.len(), 1);
            assert_eq!(told[0].1, count);
        }
        audit.refused(deed(&origin)).await;
        assert_eq!(heard.take().len(), 1);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_told_to_be_unknown() {
        let bench = bench().await;
        let audit = Audit::new(bench.store.clone(), bench.clock.clone());
        let heard = Arc::new(Heard::default());
        audit.tell_also(Arc::clone(&heard) as Arc<dyn AuditSink>);
        let origin = origin();
        let mut batch = bench.store.batch(START);
        audit.done(&mut batch, START, deed(&origin));
        let mut commit = Box::pin(bench.store.commit(batch));
        // As where a client hangs up in the middle of it.
        let _ = futures_now(&mut commit).await;
        drop(commit);
        let told = heard.take();
        assert_eq!(told.len(), 1, "{told:?}");
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
