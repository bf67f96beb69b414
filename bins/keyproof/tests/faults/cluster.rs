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
    /// Turns the command that serves into another.
    by: Box<dyn Fn(Command) -> Command>,
}

impl Cluster {
    pub(crate) fn start(installation: Installation, nodes: usize) -> Self {
        Self::start_by(installation, nodes, |command| command)
    }

    /// The same, with each server started by a modified command.
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

    /// Returns the number of nodes, running or not.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Kills a node with SIGKILL.
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

    /// Waits until a node's `/readyz` returns this status.
    pub(crate) async fn becomes(&self, node: usize, status: u16) {
        let reached = async {
            while self.readiness(node).await != Some(status) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let reached = timeout(PATIENCE, reached).await;
        assert!(reached.is_ok(), "readyz of {node} does not become {status}");
    }

    /// Returns the status of a node's `/readyz`.
    pub(crate) async fn readiness(&self, node: usize) -> Option<u16> {
        match Call::new("GET", "/readyz").send(&self.fleet, node).await {
            Reply::Answered(answer) => Some(answer.status),
            Reply::Broken => None,
        }
    }

    /// Returns the process ids of the running nodes.
    pub(crate) fn processes(&self) -> impl Iterator<Item = u32> {
        self.nodes.iter().flatten().map(Node::id)
    }
}
