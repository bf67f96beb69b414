//! Two nodes on one store, a network that may lose messages, and an attacker who knows the password and sees every code
//! and token.
//!
//! Three kinds of states are left out, as they would only repeat others and no invariant can distinguish them:
//!
//! - Operations without an effect: whatever can follow them can follow without them. Their answers are checked.
//! - Which node is which, if their clocks agree; and which of several equal challenges is used, if none of them is
//!   being answered.
//! - Commits in flight that require a version which is gone.

use std::{fmt, sync::Arc};

use keyproof_service::audit::Event;
use keyproof_store::Timestamp;
use stateright::{Model, Property};

use crate::{
    commands::{Command, Verdict},
    contents::{Contents, Port},
    facts::{Broken, ChallengeFacts, Committed, Facts, names_failure},
    operation::{Operation, Stop},
    runs::{CommitEnd, Runs},
    scenario::{Hand, NODES, Opening, Scenario},
    script::Request,
    setting::{START, STEP, Setting},
    sights::{Sight, Sights},
    stores::Stores,
    tables::{Id, Table},
};

pub(crate) struct System {
    pub(crate) scenario: Scenario,
    pub(crate) runs: Runs,
    pub(crate) sights: Sights,
    pub(crate) stores: Stores,
    commands: Table<Command, Command>,
    first: Contents,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// How many steps have passed.
    now: i64,
    contents: Id,
    /// The point that each node's operation has reached.
    nodes: [Option<Id>; NODES],
    /// Commits that may still be applied although nobody waits for them, with their nodes.
    in_flight: Vec<(usize, Id)>,
    facts: Facts,
    /// How often each command with random output was given.
    given: Vec<(Id, u8)>,
    operations: u8,
    faults: u8,
    broken: Option<Broken>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A commit that nobody waits for reaches the store.
    Arrive {
        node: usize,
        commit: Id,
    },
    /// Includes the first read, as an operation that waits for its first answer has not done anything.
    Begin {
        node: usize,
        command: Id,
    },
    Commit {
        node: usize,
        end: End,
    },
    Read {
        node: usize,
    },
    Wait,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Answered,
    /// The node dies while its commit is in flight.
    Died,
    /// The outcome is unknown.
    Lost,
    /// It is definitely not applied.
    NotApplied,
    /// It is answered, and arrives again. No engine may apply it again, and even then no invariant may break.
    Repeated,
}

impl System {
    pub(crate) fn new(scenario: Scenario) -> Self {
        let setting = Setting::new();
        Self {
            first: Contents::of(&setting.fixed),
            runs: Runs::new(setting),
            sights: Sights::default(),
            stores: Stores::new(scenario.port),
            commands: Table::new(),
            scenario,
        }
    }

    /// Returns the state after the opening.
    fn opened(&self) -> State {
        let waits = self.scenario.opening.iter().map(|opening| match opening {
            Opening::Do(_) => 0,
            Opening::Wait(steps) => *steps,
        });
        let mut state = State {
            now: -waits.sum::<i64>(),
            contents: self.stores.id(self.first.clone()),
            nodes: [None; NODES],
            in_flight: Vec::new(),
            facts: Facts::default(),
            given: Vec::new(),
            operations: u8::MAX,
            faults: 0,
            broken: None,
        };
        for opening in self.scenario.opening {
            match opening {
                Opening::Wait(steps) => state.now += steps,
                Opening::Do(offer) => {
                    let codes = Self::codes(&state, state.now);
                    let mut commands = offer.commands(&self.hand(&state, codes));
                    let command = commands.pop().expect("the opening can be played");
                    state = self.play(state, command);
                }
            }
        }
        assert_eq!(state.broken, None, "in the opening");
        State {
            operations: self.scenario.operations,
            faults: self.scenario.faults,
            ..state
        }
    }

    /// Runs one operation to its end while nothing else happens.
    fn play(&self, state: State, command: Command) -> State {
        let command = self.commands.id(command, Command::clone);
        let mut state = self.begin(&state, 0, command);
        while let Some(before) = &state
            && before.nodes[0].is_some()
        {
            state = match self.request(before, 0) {
                Asked::Commit => self.commit(before, 0, End::Answered),
                Asked::Read => self.read(before, 0),
            };
        }
        state.expect("something comes of what is opened with")
    }

    fn request(&self, state: &State, node: usize) -> Asked {
        let point = self.runs.get(state.nodes[node].expect("it is busy"));
        match &point.run.stop {
            Stop::Asks(Request::Commit(_)) => Asked::Commit,
            Stop::Asks(Request::Read { .. }) => Asked::Read,
            Stop::Says(_) => unreachable!("a node that is done is free"),
        }
    }

    fn clock(&self, state: &State, node: usize) -> Timestamp {
        let steps = state.now + self.scenario.ahead[node];
        let since = steps * STEP.as_secs().cast_signed();
        Timestamp::from_secs(START.as_secs().checked_add_signed(since).unwrap())
    }

    /// Returns whether the nodes are interchangeable.
    fn is_symmetric(&self) -> bool {
        self.scenario.ahead[0] == self.scenario.ahead[1]
    }

    fn hand<'a>(&self, state: &'a State, codes: Vec<Arc<str>>) -> Hand<'a> {
        Hand {
            facts: &state.facts,
            tokens: self.tokens(state),
            codes,
        }
    }

    /// Returns the codes that the phones have shown since a step.
    fn codes(state: &State, since: i64) -> Vec<Arc<str>> {
        let phones = state.facts.phones.iter();
        let shown = phones.flat_map(|phone| (since..=state.now).map(|step| phone.code(step)));
        shown.collect()
    }

    /// Returns the challenges' tokens. Of equal challenges that are not being answered, one is enough.
    fn tokens(&self, state: &State) -> Vec<Arc<str>> {
        let in_flight = state.in_flight.iter().map(|(_, commit)| commit);
        let busy = state.nodes.iter().flatten().chain(in_flight);
        let busy: Vec<_> = busy.map(|id| self.runs.get(*id)).collect();
        let is_busy = |challenge: &ChallengeFacts| {
            busy.iter().any(|point| {
                matches!(&point.operation.command,
                    Command::Answer { token, .. } if *token == challenge.token)
            })
        };
        let mut offered: Vec<&ChallengeFacts> = Vec::new();
        for challenge in &state.facts.challenges {
            let mut others = offered.iter().filter(|other| !is_busy(other));
            if is_busy(challenge) || !others.any(|other| other.is_like(challenge)) {
                offered.push(challenge);
            }
        }
        let tokens = offered.iter().map(|challenge| &challenge.token);
        tokens.map(Arc::clone).collect()
    }

    fn begin(&self, state: &State, node: usize, command: Id) -> Option<State> {
        let mut state = state.clone();
        state.operations -= 1;
        let operation = Operation {
            command: Command::clone(&self.commands.get(command)),
            repetition: self.repetition(&mut state, command),
        };
        let point = self.runs.begin(operation, self.clock(&state, node));
        let state = self.come_to(state, node, point, Came::Nothing)?;
        match self.request(&state, node) {
            Asked::Commit => Some(state),
            Asked::Read => self.read(&state, node),
        }
    }

    /// Returns how often a command was given before, if its output is random.
    fn repetition(&self, state: &mut State, command: Id) -> u8 {
        if !self.commands.get(command).makes_something() {
            return 0;
        }
        let given = &mut state.given;
        let at = given.binary_search_by_key(&command, |(given, _)| *given);
        let at = at.unwrap_or_else(|at| {
            given.insert(at, (command, 0));
            at
        });
        given[at].1 += 1;
        given[at].1 - 1
    }

    fn read(&self, state: &State, node: usize) -> Option<State> {
        let reader = state.nodes[node].expect("it is busy");
        let at = self.clock(state, node);
        let next = self.stores.read(state.contents, reader, at, &self.runs);
        self.come_to(state.clone(), node, next, Came::Nothing)
    }

    fn commit(&self, state: &State, node: usize, end: End) -> Option<State> {
        let mut state = state.clone();
        let id = state.nodes[node].expect("it is busy");
        if end != End::Answered {
            state.faults -= 1;
        }
        let (told, came) = match (end, self.scenario.port) {
            (End::Answered, _) => self.apply(&mut state, node, id, true),
            (End::NotApplied, _) => (CommitEnd::NotApplied, Came::Nothing),
            (End::Repeated, _) => {
                let first = self.apply(&mut state, node, id, true);
                if !self.launch(&mut state, node, id) {
                    // The same as if it were answered once.
                    return None;
                }
                first
            }
            (End::Lost, Port::AcknowledgesTheLost) => {
                self.launch(&mut state, node, id);
                (CommitEnd::Done, Came::InFlight)
            }
            (End::Lost | End::Died, _) => {
                self.launch(&mut state, node, id);
                (CommitEnd::Unknown, Came::InFlight)
            }
        };
        if end == End::Died {
            state.nodes[node] = None;
            return Some(state);
        }
        if matches!(told, CommitEnd::Conflict(_)) {
            self.sights.add(Sight::LostRace);
        }
        let next = self.runs.after_commit(id, told, self.clock(&state, node));
        if came != Came::Applied
            && let Stop::Says(verdict) = &self.runs.get(next).run.stop
            && !matches!(verdict, Verdict::None(_))
        {
            state.broken.get_or_insert(Broken::NotCommitted);
        }
        self.come_to(state, node, next, came)
    }

    fn arrive(&self, state: &State, node: usize, commit: Id) -> State {
        let mut state = state.clone();
        let mut in_flight = state.in_flight.iter();
        let at = in_flight.position(|flying| *flying == (node, commit));
        state.in_flight.remove(at.expect("it is under way"));
        if self.apply(&mut state, node, commit, false).1 == Came::Applied {
            self.sights.add(Sight::LateCommit);
        }
        state
    }

    /// Puts a commit in flight, unless it can never be applied. Returns whether it did.
    fn launch(&self, state: &mut State, node: usize, commit: Id) -> bool {
        if self.is_dead(state, commit) {
            return false;
        }
        let node = if self.is_symmetric() { 0 } else { node };
        state.in_flight.push((node, commit));
        state.in_flight.sort();
        true
    }

    fn is_dead(&self, state: &State, commit: Id) -> bool {
        let applied = self.stores.apply(state.contents, commit, &self.runs);
        applied.is_dead
    }

    /// Applies a commit to the store, and shows it to the observer.
    fn apply(&self, state: &mut State, node: usize, id: Id, heard: bool) -> (CommitEnd, Came) {
        let applied = self.stores.apply(state.contents, id, &self.runs);
        let contents = match applied.outcome {
            Err(entry) => return (CommitEnd::Conflict(entry), Came::Nothing),
            Ok(contents) => contents,
        };
        let acknowledged = self.runs.after_commit(id, CommitEnd::Done, applied.now);
        let acknowledged = self.runs.get(acknowledged);
        let operation = &acknowledged.operation;
        let Stop::Says(verdict) = &acknowledged.run.stop else {
            panic!("to {operation} takes more than one commit: the onlooker knows of none");
        };
        let committed = Committed {
            command: &operation.command,
            verdict,
            events: &applied.events,
            now: applied.now,
            applied_at: self.clock(state, node),
            heard,
        };
        self.sights.look_at_commit(&state.facts, &committed);
        if let Err(broken) = state.facts.commit(&committed) {
            state.broken.get_or_insert(broken);
        }
        state.contents = contents;
        let in_flight = std::mem::take(&mut state.in_flight).into_iter();
        let alive = in_flight.filter(|(_, commit)| !self.is_dead(state, *commit));
        state.in_flight = alive.collect();
        (CommitEnd::Done, Came::Applied)
    }

    /// Sets the point that a node has reached. The node is free if its operation is over. Returns `None` if it had no
    /// effect.
    fn come_to(&self, mut state: State, node: usize, id: Id, came: Came) -> Option<State> {
        let point = self.runs.get(id);
        let Stop::Says(verdict) = &point.run.stop else {
            state.nodes[node] = Some(id);
            return Some(state);
        };
        state.nodes[node] = None;
        if came == Came::Nothing {
            if verdict.is_yes() || tells_uncounted(verdict, &point.run.noted) {
                state.broken.get_or_insert(Broken::NotCommitted);
            }
            self.sights.look_at_refusal(&state.facts, &point);
        }
        (came != Came::Nothing || state.broken.is_some()).then_some(state)
    }

    /// Describes an action in words.
    pub(crate) fn describe(&self, state: &State, action: Action) -> String {
        let doing = |node: usize| {
            let point = self.runs.get(state.nodes[node].expect("it is busy"));
            point.operation.to_string()
        };
        match action {
            Action::Arrive { commit, .. } => {
                let point = self.runs.get(commit);
                format!("the commit to {} arrives", point.operation)
            }
            Action::Begin { node, command } => {
                let command = self.commands.get(command);
                format!("node {node} begins to {command}")
            }
            Action::Commit { node, end } => {
                format!("node {node} commits to {}: {end:?}", doing(node))
            }
            Action::Read { node } => format!("node {node} reads to {}", doing(node)),
            Action::Wait => "a step passes".to_owned(),
        }
    }
}

/// The request that a node waits for.
enum Asked {
    Commit,
    Read,
}

/// The effect of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    Applied,
    /// It may still be applied.
    InFlight,
    Nothing,
}

/// Returns whether the answer reveals a wrong guess that was not counted.
fn tells_uncounted(verdict: &Verdict, noted: &[Event]) -> bool {
    match verdict {
        Verdict::Wrong => true,
        Verdict::Refused => noted.iter().any(names_failure),
        _ => false,
    }
}

impl Model for System {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.opened()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken.is_some() {
            return;
        }
        let mut free = Vec::new();
        for node in 0..NODES {
            match state.nodes[node].map(|_| self.request(state, node)) {
                None => free.push(node),
                Some(Asked::Commit) if state.faults == 0 => {
                    actions.push(Action::Commit {
                        node,
                        end: End::Answered,
                    });
                }
                Some(Asked::Commit) => {
                    let ends = [
                        End::Answered,
                        End::Died,
                        End::Lost,
                        End::NotApplied,
                        End::Repeated,
                    ];
                    actions.extend(ends.map(|end| Action::Commit { node, end }));
                }
                Some(Asked::Read) => actions.push(Action::Read { node }),
            }
        }
        let is_idle = free.len() == NODES;
        if self.is_symmetric() {
            free.truncate(1);
        }
        if state.operations > 0 {
            let since = self.scenario.codes_since.unwrap_or(state.now);
            let hand = self.hand(state, Self::codes(state, since));
            for node in free {
                let offers = self.scenario.offers.iter();
                let commands = offers.flat_map(|offer| offer.commands(&hand));
                actions.extend(commands.map(|command| Action::Begin {
                    node,
                    command: self.commands.id(command, Command::clone),
                }));
            }
        }
        let in_flight = state.in_flight.iter().copied();
        actions.extend(in_flight.map(|(node, commit)| Action::Arrive { node, commit }));
        let is_over = is_idle && state.operations == 0;
        if state.now < self.scenario.steps && !is_over {
            actions.push(Action::Wait);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = match action {
            Action::Arrive { node, commit } => self.arrive(state, node, commit),
            Action::Begin { node, command } => self.begin(state, node, command)?,
            Action::Commit { node, end } => self.commit(state, node, end)?,
            Action::Read { node } => self.read(state, node)?,
            Action::Wait => State {
                now: state.now + 1,
                ..state.clone()
            },
        };
        if self.is_symmetric() {
            next.nodes.sort();
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            always(Broken::AcceptedTwice, |_, state| {
                state.broken != Some(Broken::AcceptedTwice)
            }),
            always(Broken::CodeNotNeeded, |_, state| {
                state.broken != Some(Broken::CodeNotNeeded)
            }),
            always(Broken::Miscounted, |_, state| {
                state.broken != Some(Broken::Miscounted)
            }),
            always(Broken::NotCommitted, |_, state| {
                state.broken != Some(Broken::NotCommitted)
            }),
            always(Broken::NotLocked, |_, state| {
                state.broken != Some(Broken::NotLocked)
            }),
            always(Broken::Weakened, |_, state| {
                state.broken != Some(Broken::Weakened)
            }),
            always(Broken::Outlived, |_, state| {
                state.broken != Some(Broken::Outlived)
            }),
        ]
    }
}

fn always(broken: Broken, holds: fn(&System, &State) -> bool) -> Property<System> {
    Property::always(broken.property(), holds)
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("System").finish_non_exhaustive()
    }
}
