//! Several nodes on one database: a decision at one node applies to the others from the next request on.

mod accounts;
mod certificates;
mod stations;

use tokio::task::JoinSet;

use crate::{
    client::{Answer, Call, Reply},
    cluster::Cluster,
};

const NODES: usize = 3;

impl Cluster {
    /// Sends one request to one node.
    async fn send(&self, node: usize, call: &Call) -> Answer {
        match call.send(&self.fleet, node).await {
            Reply::Answered(answer) => answer,
            Reply::Broken => panic!("a node broke off"),
        }
    }

    /// Sends requests concurrently to the nodes in turn, and returns the answers.
    async fn race(&self, calls: impl IntoIterator<Item = Call>) -> Vec<Answer> {
        let mut race = JoinSet::new();
        for (number, call) in calls.into_iter().enumerate() {
            let fleet = self.fleet.clone();
            race.spawn(async move { call.send(&fleet, number).await });
        }
        let replies = race.join_all().await.into_iter();
        let answered = |reply| match reply {
            Reply::Answered(answer) => answer,
            Reply::Broken => panic!("a node broke off"),
        };
        replies.map(answered).collect()
    }
}

/// Returns the number of answers with this status, or `None` if any has neither of the two.
fn count(answers: &[Answer], status: u16, other: u16) -> Option<usize> {
    let known = |answer: &Answer| answer.status == status || answer.status == other;
    let hits = answers.iter().filter(|answer| answer.status == status);
    answers.iter().all(known).then_some(hits.count())
}
