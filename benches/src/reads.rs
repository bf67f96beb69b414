//! Reads of a store alone, by callers that each make one read after the other.

use std::time::{Duration, Instant};

use keyproof_store::{Key, ReadPlan, Store, Timestamp};
use tokio::task::JoinSet;

use crate::{Result, batches::Ballast, usage::processor_time};

const NOW: Timestamp = Timestamp::from_secs(1_700_000_010);

/// The number of records that a login reads.
const MANY: usize = 9;

/// What one read consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// One record.
    One,
    /// As many records as a login needs, with all keys known beforehand.
    Many,
    /// A record, and then another whose key is in it.
    Followed,
}

/// Reads per second, and the microseconds of this process's processor time for each, where the system provides it (Linux).
pub struct Figures {
    /// Reads per second.
    pub rate: f64,
    /// Microseconds of processor time per read, including the callers'.
    pub processor: f64,
}

/// Measures for this duration, with this number of callers, on records in no order.
pub async fn measure(
    store: &Store,
    places: &[Key],
    question: Question,
    callers: usize,
    time: Duration,
) -> Result<Figures> {
    let mut tasks = JoinSet::new();
    let (start, used) = (Instant::now(), processor_time("self").ok());
    for caller in 0..callers {
        let (store, places) = (store.clone(), places.to_vec());
        tasks.spawn(async move {
            let mut done = 0_usize;
            while start.elapsed() < time {
                let at = (caller * 7_919 + done * 104_729) % places.len();
                let mut keys = places.iter().cycle().skip(at).take(MANY).cloned();
                ask(&store, question, &mut keys).await?;
                done += 1;
            }
            Ok::<_, crate::Failure>(done)
        });
    }
    let mut done = 0;
    while let Some(task) = tasks.join_next().await {
        done += task??;
    }
    let processor = used
        .zip(processor_time("self").ok())
        .map(|(before, after)| (after - before) * 1e6 / done as f64);
    Ok(Figures {
        rate: done as f64 / start.elapsed().as_secs_f64(),
        processor: processor.unwrap_or(f64::NAN),
    })
}

async fn ask(
    store: &Store,
    question: Question,
    keys: &mut impl Iterator<Item = Key>,
) -> Result<()> {
    let mut next = || keys.next().ok_or("no more places");
    let first = next()?;
    match question {
        Question::One => {
            store
                .get::<Ballast>(&first, NOW)
                .await?
                .ok_or("no record")?;
        }
        Question::Many => {
            let keys: Vec<_> = std::iter::once(first).chain(keys).collect();
            let found = store.get_many(&keys, NOW).await?;
            for raw in found {
                raw.ok_or("no record")?.decode::<Ballast>()?;
            }
        }
        Question::Followed => {
            let second = next()?;
            let plan = ReadPlan::new([first.clone()]).then({
                let (first, second) = (first.clone(), second.clone());
                move |found| {
                    Ok(found
                        .raw(&first)?
                        .map(|_| second.clone())
                        .into_iter()
                        .collect())
                }
            });
            let found = store.read(plan, NOW).await?;
            for key in [first, second] {
                found.get::<Ballast>(&key)?.ok_or("no record")?;
            }
        }
    }
    Ok(())
}
