//! The servers of one installation.

use std::{process::Command, time::Duration};

use tokio::time::{sleep, timeout};

use crate::{
    client::{Call, Fleet, Reply},
    installation::Installation,
    node::{Node, PATIENCE},
};

pub(crate) struct Cluster {
    pub(crate) installation: Installation,
    pub(crate) fleet: Fleet,
    nodes: Vec<Option<Node>>,
    /// Makes another command of the one that serves.
    by: Box<dyn Fn(Command) -> Command>,
}

impl Cluster {
    pub(crate) fn start(installation: Installation, nodes: usize) -> Self {
        Self::start_by(installation, nodes, |command| command)
    }

    /// The same, each server run by another command.
    pub(crate) fn start_by(
        installation: Installation,
        nodes: usize,
        by: impl Fn(Command) -> Command + 'static,
    ) -> Self {
        let mut cluster = Self {
            installation,
            fleet: Fleet::of(nodes),
            nodes: Vec::new(),
            by: Box::new(by),
        };
        for node in 0..nodes {
            cluster.nodes.push(None);
            cluster.bring_up(node);
        }
        cluster
    }

    /// How many there are, up or not.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// `kill -9`
    pub(crate) fn kill(&mut self, node: usize) {
        self.fleet.down(node);
        self.nodes[node] = None;
    }

    pub(crate) fn bring_up(&mut self, node: usize) {
        let serve = self.installation.keyproof(&["serve"]);
        let started = Node::start((self.by)(serve));
        self.fleet.up(node, started.address);
        self.nodes[node] = Some(started);
    }

    /// Waits until a node's `/readyz` answers this.
    pub(crate) async fn becomes(&self, node: usize, status: u16) {
        let reached = async {
            while self.readiness(node).await != Some(status) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let reached = timeout(PATIENCE, reached).await;
        assert!(reached.is_ok(), "readyz of {node} does not become {status}");
    }

    /// What a node's `/readyz` answers.
    pub(crate) async fn readiness(&self, node: usize) -> Option<u16> {
        match Call::new("GET", "/readyz").send(&self.fleet, node).await {
            Reply::Answered(answer) => Some(answer.status),
            Reply::Broken => None,
        }
    }

    /// The process ids of those that are up.
    pub(crate) fn processes(&self) -> impl Iterator<Item = u32> {
        self.nodes.iter().flatten().map(Node::id)
    }
}
