//! The checker: compares what was promised with the stored state and the audit trail.

use std::collections::{BTreeMap, BTreeSet};

use crate::ledger::{Deed, Promise, Records, Round, State};

/// An audit event that reports a change.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) action: String,
    pub(crate) target: String,
    pub(crate) request_id: Option<String>,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Violation {
    /// Two requests that required the same state succeeded: a code was accepted twice, at once or later, or one etag had two
    /// winners.
    GrantedTwice { thing: String },
    /// Every request of a round was refused, although the thing was in the required state.
    RefusedWrongly { thing: String },
    /// A thing is neither in its acknowledged state nor in one that an unanswered request may have left.
    Differs {
        thing: String,
        allowed: Vec<State>,
        found: State,
    },
    /// A thing exists that nobody requested.
    Unasked { thing: String },
    /// A read missed something that was acknowledged before it.
    Stale(String),
    /// An acknowledged change has no event, or more than one.
    Events { request_id: String, count: usize },
    /// A change has an event, although its answer said that it was not made.
    EventOfNothing { request_id: String },
    /// The trail has more changes of a target, or fewer, than there were.
    Trail {
        action: String,
        target: String,
        told: usize,
        made: usize,
    },
}

/// Returns everything that is wrong. `found` is the state that was read after the last request, by the things' names; it is `None`
/// for a thing that cannot be read.
pub(crate) fn violations(
    records: &Records,
    found: &BTreeMap<String, State>,
    trail: &[Event],
) -> Vec<Violation> {
    let mut violations: Vec<_> = records
        .stale
        .iter()
        .cloned()
        .map(Violation::Stale)
        .collect();
    let mut made = Made::default();
    for (thing, rounds) in &records.things {
        made.judge(thing, rounds, found.get(thing), &mut violations);
    }
    let unasked = found
        .iter()
        .filter(|(thing, state)| !records.things.contains_key(*thing) && **state != State::Absent);
    violations.extend(unasked.map(|(thing, _)| Violation::Unasked {
        thing: thing.clone(),
    }));
    judge_trail(records, &made, trail, &mut violations);
    violations
}

/// Changes, by action and target, that were not acknowledged to anybody: those that must be in the trail, and those that may be.
#[derive(Default)]
struct Made {
    surely: BTreeMap<(String, String), usize>,
    perhaps: BTreeMap<(String, String), usize>,
}

impl Made {
    fn judge(
        &mut self,
        thing: &str,
        rounds: &[Round],
        found: Option<&State>,
        violations: &mut Vec<Violation>,
    ) {
        let thing = thing.to_owned();
        // The states that are possible, each with the unanswered request that would have caused it.
        let mut allowed: Vec<(State, Option<&Deed>)> = vec![(State::Absent, None)];
        for round in rounds {
            let with = |promise| round.iter().filter(move |deed| deed.promise == promise);
            let mut done = with(Promise::Done);
            let granted = |state: &State| matches!(&*allowed, [(only, None)] if only == state);
            if let Some(winner) = done.next() {
                if done.next().is_some() || granted(&winner.becomes) {
                    violations.push(Violation::GrantedTwice {
                        thing: thing.clone(),
                    });
                }
                allowed = vec![(winner.becomes.clone(), None)];
            } else if with(Promise::Refused).count() == round.len() {
                let again = round.iter().all(|deed| granted(&deed.becomes));
                if allowed.len() == 1 && !again {
                    violations.push(Violation::RefusedWrongly {
                        thing: thing.clone(),
                    });
                }
            } else {
                let open = with(Promise::Unknown).map(|deed| (deed.becomes.clone(), Some(deed)));
                allowed.extend(open);
            }
        }

        let place = |deed: &Deed| (deed.action.to_owned(), deed.target.clone());
        let Some(found) = found else {
            // One of the unanswered requests may have been done, if there are any.
            if let Some(open) = allowed.iter().find_map(|(_, deed)| *deed) {
                *self.perhaps.entry(place(open)).or_default() += 1;
            }
            return;
        };
        let told = |state: &State| rounds.iter().flatten().any(|deed| deed.becomes == *state);
        let is_found = |state: &State| match state {
            State::Other => matches!(found, State::Is(_)) && !told(found),
            state => state == found,
        };
        match allowed.iter().find(|(state, _)| is_found(state)) {
            Some((_, None)) => {}
            Some((_, Some(deed))) => *self.surely.entry(place(deed)).or_default() += 1,
            None => violations.push(Violation::Differs {
                thing,
                allowed: allowed.into_iter().map(|(state, _)| state).collect(),
                found: found.clone(),
            }),
        }
    }
}

fn judge_trail(records: &Records, made: &Made, trail: &[Event], violations: &mut Vec<Violation>) {
    let actions = records.actions();
    let trail = trail
        .iter()
        .filter(|event| actions.contains(&*event.action));
    let mut by_request: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in trail.clone() {
        let id = event.request_id.as_deref().unwrap_or_default();
        by_request.entry(id).or_default().push(event);
    }
    let mut promised = BTreeSet::new();
    for deed in records.deeds() {
        let (Some(id), false) = (&deed.request_id, deed.promise == Promise::Unknown) else {
            continue;
        };
        promised.insert(&**id);
        let events = by_request.get(&**id).map_or(&[][..], Vec::as_slice);
        let of_it = |event: &&&Event| event.action == deed.action && event.target == deed.target;
        let count = events.iter().filter(of_it).count();
        let request_id = id.clone();
        match deed.promise {
            Promise::Done if count != 1 => {
                violations.push(Violation::Events { request_id, count });
            }
            Promise::Refused | Promise::NotDone if !events.is_empty() => {
                violations.push(Violation::EventOfNothing { request_id });
            }
            _ => {}
        }
    }
    // The remaining events are of requests whose clients got no answer.
    let mut told: BTreeMap<(String, String), usize> = BTreeMap::new();
    for event in trail {
        let id = event.request_id.as_deref().unwrap_or_default();
        if !promised.contains(id) {
            let place = (event.action.clone(), event.target.clone());
            *told.entry(place).or_default() += 1;
        }
    }
    let places: BTreeSet<_> = told.keys().chain(made.surely.keys()).collect();
    for place in places {
        let count = |of: &BTreeMap<_, usize>| of.get(place).copied().unwrap_or_default();
        let (told, least) = (count(&told), count(&made.surely));
        if !(least..=least + count(&made.perhaps)).contains(&told) {
            let (action, target) = place.clone();
            violations.push(Violation::Trail {
                action,
                target,
                told,
                made: least,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTION: &str = "thing.change";

    fn is(state: &str) -> State {
        State::Is(state.to_owned())
    }

    /// Returns a request with this id for a state.
    fn deed(id: &str, promise: Promise, becomes: State) -> Deed {
        Deed {
            action: ACTION,
            target: "target".to_owned(),
            request_id: (!id.is_empty()).then(|| id.to_owned()),
            promise,
            becomes,
        }
    }

    fn event(id: &str) -> Event {
        Event {
            action: ACTION.to_owned(),
            target: "target".to_owned(),
            request_id: Some(id.to_owned()),
        }
    }

    fn judge(rounds: &[&[Deed]], found: State, trail: &[&str]) -> Vec<Violation> {
        let rounds = rounds.iter().map(|round| round.to_vec()).collect();
        let records = Records {
            things: [("thing".to_owned(), rounds)].into(),
            stale: Vec::new(),
        };
        let found = [("thing".to_owned(), found)].into();
        let trail: Vec<_> = trail.iter().map(|id| event(id)).collect();
        violations(&records, &found, &trail)
    }

    /// Returns the numbers of changes in the trail and of those that were made, if they differ and nothing else is wrong.
    fn told_and_made(violations: &[Violation]) -> Option<(usize, usize)> {
        match violations {
            [Violation::Trail { told, made, .. }] => Some((*told, *made)),
            _ => None,
        }
    }

    fn differs(violations: &[Violation]) -> bool {
        matches!(violations, [Violation::Differs { .. }])
    }

    use Promise::{Done, NotDone, Refused, Unknown};

    #[test]
    fn what_was_acknowledged_is_there_with_its_events() {
        let made = [deed("1", Done, is("a"))];
        let changed = [deed("2", Done, is("b"))];
        let removed = [deed("3", Done, State::Absent)];
        assert_eq!(judge(&[&made], is("a"), &["1"]), []);
        assert_eq!(judge(&[&made, &changed], is("b"), &["1", "2"]), []);
        assert_eq!(
            judge(
                &[&made, &changed, &removed],
                State::Absent,
                &["1", "2", "3"]
            ),
            []
        );
    }

    #[test]
    fn a_lost_write_is_found() {
        let made = [deed("1", Done, is("a"))];
        let changed = [deed("2", Done, is("b"))];
        let removed = [deed("2", Done, State::Absent)];
        assert!(differs(&judge(&[&made], State::Absent, &["1"])));
        assert!(differs(&judge(&[&made, &changed], is("a"), &["1", "2"])));
        assert!(differs(&judge(&[&made, &removed], is("a"), &["1", "2"])));
        assert_eq!(
            judge(&[&made, &changed], is("b"), &["1"]),
            [Violation::Events {
                request_id: "2".to_owned(),
                count: 0
            }],
            "an event that was lost"
        );
    }

    #[test]
    fn a_double_application_is_found() {
        let made = [deed("1", Done, is("a"))];
        assert_eq!(
            judge(&[&made], is("a"), &["1", "1"]),
            [Violation::Events {
                request_id: "1".to_owned(),
                count: 2
            }]
        );
        let open = [deed("", Unknown, is("b"))];
        assert_eq!(judge(&[&made, &open], is("b"), &["1", "unknown"]), []);
        let twice = judge(&[&made, &open], is("b"), &["1", "unknown", "again"]);
        assert_eq!(told_and_made(&twice), Some((2, 1)));
    }

    #[test]
    fn a_code_accepted_twice_is_found() {
        let both = [deed("1", Done, is("spent")), deed("2", Done, is("spent"))];
        let twice = Violation::GrantedTwice {
            thing: "thing".to_owned(),
        };
        assert_eq!(judge(&[&both], is("spent"), &["1", "2"]), [twice]);
        // Later, when it may only be refused.
        let first = [deed("1", Done, is("spent"))];
        let again = |promise| [deed("2", promise, is("spent"))];
        assert_eq!(judge(&[&first, &again(Refused)], is("spent"), &["1"]), []);
        let later = judge(&[&first, &again(Done)], is("spent"), &["1", "2"]);
        assert!(matches!(*later, [Violation::GrantedTwice { .. }]));
        // The first acceptance was not answered.
        let open = [deed("", Unknown, is("spent"))];
        let late = [deed("2", Done, is("spent"))];
        assert_eq!(judge(&[&open, &late], is("spent"), &["2"]), []);
        let hidden = judge(&[&open, &late], is("spent"), &["unknown", "2"]);
        assert_eq!(told_and_made(&hidden), Some((1, 0)));
    }

    #[test]
    fn a_round_without_a_reason_to_refuse_is_found() {
        let wrongly = Violation::RefusedWrongly {
            thing: "thing".to_owned(),
        };
        let refused = [deed("1", Refused, is("a")), deed("2", Refused, is("a"))];
        assert_eq!(judge(&[&refused], State::Absent, &[]), [wrongly]);
        // Another request may have succeeded, or the server reported that it could not.
        let open = [deed("1", Refused, is("a")), deed("", Unknown, is("a"))];
        assert_eq!(judge(&[&open], is("a"), &["unknown"]), []);
        let unable = [deed("1", Refused, is("a")), deed("2", NotDone, is("a"))];
        assert_eq!(judge(&[&unable], State::Absent, &[]), []);
    }

    #[test]
    fn what_was_answered_not_done_is_not_there() {
        for promise in [Refused, NotDone] {
            let made = [deed("1", Done, is("a"))];
            let not = [deed("2", promise, is("b")), deed("3", NotDone, is("c"))];
            assert_eq!(judge(&[&made, &not], is("a"), &["1"]), []);
            assert!(differs(&judge(&[&made, &not], is("b"), &["1"])));
            let told = judge(&[&made, &not], is("a"), &["1", "2"]);
            assert!(matches!(*told, [Violation::EventOfNothing { .. }]));
        }
    }

    #[test]
    fn an_unknown_outcome_is_wholly_there_or_not_at_all() {
        let made = [deed("1", Done, is("a"))];
        let open = [deed("", Unknown, is("b")), deed("", Unknown, State::Other)];
        let judge = |found, trail| judge(&[&made, &open], found, trail);
        assert_eq!(judge(is("a"), &["1"]), []);
        assert_eq!(judge(is("b"), &["1", "unknown"]), []);
        assert_eq!(judge(is("c"), &["1", "unknown"]), []);
        assert!(differs(&judge(State::Absent, &["1"])));
        // With one of the two events.
        let without = judge(is("b"), &["1"]);
        assert_eq!(told_and_made(&without), Some((0, 1)));
        let without = judge(is("a"), &["1", "unknown"]);
        assert_eq!(told_and_made(&without), Some((1, 0)));
    }

    #[test]
    fn what_nobody_asked_for_and_what_was_read_too_late_is_found() {
        let found = BTreeMap::from([("x".to_owned(), is("a")), ("y".to_owned(), State::Absent)]);
        let mut records = Records::default();
        let thing = "x".to_owned();
        assert_eq!(
            violations(&records, &found, &[]),
            [Violation::Unasked { thing }]
        );
        records.stale.push("x".to_owned());
        assert_eq!(
            violations(&records, &BTreeMap::new(), &[]),
            [Violation::Stale("x".to_owned())]
        );
    }

    #[test]
    fn what_cannot_be_read_is_held_to_the_trail_alone() {
        let open = vec![vec![deed("", Unknown, is("a"))]];
        let records = Records {
            things: [("thing".to_owned(), open)].into(),
            stale: Vec::new(),
        };
        let judge = |trail: &[Event]| violations(&records, &BTreeMap::new(), trail);
        assert_eq!(judge(&[]), []);
        assert_eq!(judge(&[event("unknown")]), []);
        assert_eq!(judge(&[event("unknown"), event("again")]).len(), 1);
    }
}
