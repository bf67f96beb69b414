//! The life of a second factor, explored exhaustively to a bound, with the use cases themselves as the nodes.
//!
//! **What runs.** Two nodes run the real [`Accounts`](keyproof_service::Accounts) over the port of the store, one
//! operation each at a time. Whenever an operation asks the store for something, anything may happen first: the other
//! node goes on, a step of 30 seconds passes, a commit that was lost arrives. A read sees what is held then, by the
//! memory engine's rules. A commit is applied, or conflicts; or it is not applied; or nothing is learnt of it, or its
//! node dies, and it is applied at any later time or never. So each state is what the store holds, where the nodes'
//! operations are, what is under way, the time, and what an onlooker knows: see [`system`] and [`facts`].
//!
//! **Who asks.** Somebody who knows the password, and has seen every code and every challenge's token: they log in,
//! answer challenges with any of these codes and with wrong ones, on either node, again and again, beside the user, who
//! enrols, activates and removes keys, and the operator, who suspends her and lifts locks.
//!
//! Somebody else has the password alone, and an access token of before the activation, which has even shown a factor of
//! an earlier key: with that they try to make recovery codes and application tokens, to remove keys and devices, and to
//! change the password.
//!
//! **What must hold** is [`facts::Broken`]'s to say. It is judged by the commits that are applied, each by what
//! its operation says once it is acknowledged, and by the answers.
//!
//! **The bound** is each scenario's: how many operations come to something (3 to 5), how many commits are lost, repeated
//! or not applied (0 to 2), how many steps pass (0 to 2). Within it the exploration is exhaustive, about 610,000 states
//! in all, and leaves out only what [`system`] says. To keep it small a lock lasts one step and a challenge three, and
//! records' versions are counted in place of being drawn.
//!
//! **What is out**: what no scenario offers (new passwords, removed users, refresh and access tokens, the failures of
//! trusted devices, which are counted apart); addresses, for no request has one, so that every guess without a session
//! is a stranger's and none counts by a known address (`keyproof-mfa`'s tests do that); what is forgotten a day later, but for one scenario that begins so; clocks
//! that go back; the audit trail's entries that come without a change, which are taken for written; and that failures of
//! one minute are one entry of it, which only lets races be lost that the lockout's record would have lost, too.
//!
//! **That it can fail** is shown by engines that break the port's rules, at the end, and the [`Sight`]s of each scenario
//! must all be seen.
//!
//! To see the numbers: `cargo test -p keyproof-service --test model -- --nocapture`.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test reports by a panic"
)]

mod commands;
mod contents;
mod facts;
mod operation;
mod phone;
mod runs;
mod scenario;
mod script;
mod setting;
mod sights;
mod stores;
mod system;
mod tables;

use std::{collections::BTreeSet, fmt::Write};

use stateright::{Checker, HasDiscoveries, Model, Path};

use crate::{
    contents::Port,
    facts::Broken,
    scenario::{
        Offer,
        Offer::{
            Activate, ActivateWrong, Answer, AnswerAndTrust, AnswerByRecoveryCode, AnswerWrong,
            AttackByChangingThePassword, AttackByMakingRecoveryCodes, AttackByMakingTokens,
            AttackByRemovingTheKey, AttackByRevokingDevices, Enrol, LogIn, LogInFromDevice,
            LogInWrong, MakeRecoveryCodes, Reinstate, RemoveKey, RevokeDevice, Suspend, Unlock,
        },
        Opening::{self, Do, Wait},
        Scenario,
    },
    sights::Sight,
    system::{Action, State, System},
};

const DAY: i64 = 24 * 60 * 2;

/// An active key, whose first code is a step old.
const KEY: [Opening; 3] = [Do(Enrol), Do(Activate), Wait(1)];

const NOTHING_OFFERED: Scenario = Scenario {
    port: Port::Kept,
    opening: &[],
    offers: &[],
    codes_since: None,
    ahead: [0, 0],
    operations: 0,
    faults: 0,
    steps: 0,
    sights: &[],
};

/// Two challenges, answered with every code from that of the activation on, and with wrong ones.
const ANSWERS: Scenario = Scenario {
    opening: &[KEY[0], KEY[1], KEY[2], Do(LogIn), Do(LogIn)],
    offers: &[Answer, AnswerWrong],
    codes_since: Some(-1),
    ..NOTHING_OFFERED
};

const DEVICE: &[Opening] = &[
    KEY[0],
    KEY[1],
    KEY[2],
    Do(LogIn),
    Do(AnswerAndTrust),
    Wait(1),
    Do(LogIn),
];

/// About 145,000 states.
#[test]
fn a_code_is_good_once() {
    explore(Scenario {
        operations: 3,
        faults: 1,
        steps: 2,
        sights: &[
            Sight::LateCommit,
            Sight::Login,
            Sight::LostRace,
            Sight::Replay,
            Sight::ReplayOfUnheard,
            Sight::StaleChallenge,
            Sight::ThirdFailure,
        ],
        ..ANSWERS
    });
}

/// About 63,000 states.
#[test]
fn a_code_is_good_once_although_one_clock_is_a_step_ahead() {
    explore(Scenario {
        ahead: [0, 1],
        operations: 3,
        faults: 1,
        steps: 1,
        sights: &[
            Sight::LateCommit,
            Sight::Login,
            Sight::LostRace,
            Sight::Replay,
            Sight::ReplayOfUnheard,
        ],
        ..ANSWERS
    });
}

/// About 21,000 states.
#[test]
fn a_recovery_code_is_good_once() {
    explore(Scenario {
        opening: &[
            KEY[0],
            KEY[1],
            KEY[2],
            Do(MakeRecoveryCodes),
            Do(LogIn),
            Do(LogIn),
        ],
        offers: &[Answer, AnswerByRecoveryCode, RemoveKey],
        operations: 3,
        faults: 2,
        steps: 1,
        sights: &[
            Sight::LateCommit,
            Sight::LoginByRecoveryCode,
            Sight::Removal,
            Sight::Replay,
            Sight::ReplayOfUnheard,
        ],
        ..NOTHING_OFFERED
    });
}

/// About 127,000 states.
#[test]
fn three_guesses_lock_and_a_lock_keeps_everybody_out() {
    explore(Scenario {
        opening: &[KEY[0], KEY[1], KEY[2], Do(LogIn)],
        offers: &[Answer, AnswerWrong, LogInWrong],
        operations: 4,
        faults: 1,
        steps: 1,
        sights: &[
            Sight::Login,
            Sight::LostRace,
            Sight::StaleChallenge,
            Sight::ThirdFailure,
            Sight::UnjudgedWhileLocked,
        ],
        ..NOTHING_OFFERED
    });
}

/// About 20,000 states.
#[test]
fn an_unlock_lifts_the_lock_and_brings_no_challenge_back() {
    explore(Scenario {
        opening: &[KEY[0], KEY[1], KEY[2], Do(LogIn)],
        offers: &[Answer, AnswerWrong, LogIn, Unlock],
        operations: 5,
        sights: &[
            Sight::Login,
            Sight::LostRace,
            Sight::StaleChallenge,
            Sight::ThirdFailure,
            Sight::UnjudgedWhileLocked,
        ],
        ..NOTHING_OFFERED
    });
}

/// Nothing is counted against her name any more, and a count begins as a new record. About 101,000 states.
#[test]
fn three_guesses_lock_whoever_was_not_seen_for_days() {
    explore(Scenario {
        opening: &[KEY[0], KEY[1], Wait(2 * DAY)],
        offers: &[LogIn, LogInWrong],
        operations: 4,
        faults: 1,
        steps: 1,
        sights: &[
            Sight::LostRace,
            Sight::ThirdFailure,
            Sight::UnjudgedWhileLocked,
        ],
        ..NOTHING_OFFERED
    });
}

/// About 54,000 states.
#[test]
fn a_key_is_active_from_its_first_code_on() {
    explore(Scenario {
        offers: &[
            Activate,
            ActivateWrong,
            AnswerAndTrust,
            Enrol,
            LogIn,
            RemoveKey,
        ],
        operations: 4,
        faults: 1,
        sights: &[
            Sight::Activation,
            Sight::LateCommit,
            Sight::LostRace,
            Sight::Removal,
            Sight::Replay,
            Sight::ThirdFailure,
        ],
        ..NOTHING_OFFERED
    });
}

/// About 57,000 states.
#[test]
fn nothing_of_a_key_is_good_for_the_next_one() {
    explore(Scenario {
        opening: DEVICE,
        offers: &[Activate, Answer, Enrol, LogInFromDevice, RemoveKey],
        operations: 4,
        faults: 1,
        steps: 1,
        sights: &[
            Sight::Activation,
            Sight::LateCommit,
            Sight::Login,
            Sight::LoginFromDevice,
            Sight::LostRace,
            Sight::Removal,
            Sight::StaleChallenge,
        ],
        ..NOTHING_OFFERED
    });
}

/// About 24,000 states.
#[test]
fn a_removal_a_revocation_and_a_suspension_end_what_they_end() {
    explore(Scenario {
        opening: DEVICE,
        offers: &[
            Answer,
            LogInFromDevice,
            Reinstate,
            RemoveKey,
            RevokeDevice,
            Suspend,
        ],
        operations: 3,
        faults: 1,
        steps: 1,
        sights: &[
            Sight::LateCommit,
            Sight::Login,
            Sight::LoginFromDevice,
            Sight::LostRace,
            Sight::Removal,
            Sight::StaleChallenge,
        ],
        ..NOTHING_OFFERED
    });
}

const ATTACKS: &[Offer] = &[
    Activate,
    AttackByChangingThePassword,
    AttackByMakingRecoveryCodes,
    AttackByMakingTokens,
    AttackByRemovingTheKey,
];

/// About 13,000 states.
#[test]
fn a_password_and_a_token_of_before_decide_nothing_from_the_activation_on() {
    explore(Scenario {
        opening: &[Do(Enrol)],
        offers: ATTACKS,
        operations: 4,
        faults: 1,
        steps: 1,
        sights: &[
            Sight::Activation,
            Sight::AttackBefore,
            Sight::AttackRefused,
            Sight::LateCommit,
            Sight::LostRace,
        ],
        ..NOTHING_OFFERED
    });
}

/// About 18,000 states.
#[test]
fn a_password_and_a_token_of_before_decide_nothing_when_the_key_is_gone_again() {
    explore(Scenario {
        opening: DEVICE,
        offers: &[
            AttackByChangingThePassword,
            AttackByMakingRecoveryCodes,
            AttackByMakingTokens,
            AttackByRemovingTheKey,
            AttackByRevokingDevices,
            Enrol,
            RemoveKey,
        ],
        operations: 4,
        faults: 2,
        steps: 1,
        sights: &[Sight::AttackRefused, Sight::LostRace, Sight::Removal],
        ..NOTHING_OFFERED
    });
}

#[test]
fn an_engine_that_forgets_activations_is_found_out() {
    let path = search(
        Broken::Weakened,
        Scenario {
            port: Port::ForgetsActivations,
            opening: &[Do(Enrol)],
            offers: ATTACKS,
            operations: 2,
            ..NOTHING_OFFERED
        },
    );
    assert!(path.contains("attack by an old token"), "{path}");
}

#[test]
fn an_engine_that_ignores_versions_is_found_out() {
    let path = search(
        Broken::AcceptedTwice,
        Scenario {
            port: Port::IgnoresVersions,
            operations: 2,
            ..ANSWERS
        },
    );
    assert!(path.contains("commits to"), "{path}");
}

#[test]
fn an_engine_that_ignores_requirements_is_found_out() {
    search(
        Broken::Outlived,
        Scenario {
            port: Port::IgnoresRequirements,
            opening: DEVICE,
            offers: &[LogInFromDevice, RevokeDevice],
            operations: 2,
            ..NOTHING_OFFERED
        },
    );
}

#[test]
fn an_engine_that_acknowledges_what_is_lost_is_found_out() {
    search(
        Broken::NotCommitted,
        Scenario {
            port: Port::AcknowledgesTheLost,
            operations: 1,
            faults: 1,
            ..ANSWERS
        },
    );
}

/// Explores all of a scenario. Every invariant holds, and everything is seen that must be.
fn explore(scenario: Scenario) {
    let checker = System::new(scenario)
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let system = checker.model();
    if let Some((property, path)) = checker.discoveries().into_iter().next() {
        panic!("not true: {property}\n{}", told(system, path));
    }
    // No count, depth or time was set to stop at, so this is the end of what there is.
    assert!(checker.is_done());
    println!(
        "{} states, {} deep; {} runs of operations, {} contents of the store",
        checker.unique_state_count(),
        checker.max_depth(),
        system.runs.count(),
        system.stores.count(),
    );
    for sight in system.scenario.sights {
        let times = system.sights.times(*sight);
        assert!(times > 0, "never seen: {sight:?}");
        println!("  {sight:?}: {times} times");
    }
}

/// Looks for a way to break an invariant, and tells it.
fn search(broken: Broken, scenario: Scenario) -> String {
    let property = broken.property();
    let checker = System::new(scenario)
        .checker()
        .finish_when(HasDiscoveries::AnyOf(BTreeSet::from([property])))
        .spawn_bfs()
        .join();
    let path = checker.discovery(property);
    told(checker.model(), path.expect(property))
}

fn told(system: &System, path: Path<State, Action>) -> String {
    let mut told = String::new();
    for (state, action) in path.into_vec() {
        if let Some(action) = action {
            writeln!(told, "- {}", system.describe(&state, action)).unwrap();
        }
    }
    told
}
