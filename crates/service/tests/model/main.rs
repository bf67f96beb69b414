//! Explores the life of a second factor exhaustively up to a bound, with the real use cases as the nodes.
//!
//! **What runs.** Two nodes run the real [`Accounts`](keyproof_service::Accounts) over the port of the store, each one
//! operation at a time. Before each request to the store is answered, anything else may happen: the other node may
//! proceed, a step of 30 seconds may pass, a lost commit may arrive. A read returns the present contents by the memory
//! engine's rules. A commit is applied, conflicts, or is not applied. Or its outcome stays unknown or its node dies;
//! then it is applied at any later time or never. A state consists of the store's contents, the points that the nodes'
//! operations have reached, the commits in flight, the time, and an observer's knowledge: see [`system`] and [`facts`].
//!
//! **Who acts.** An attacker knows the password and sees every code and every challenge's token. They log in and answer
//! challenges with these codes and with wrong ones, on either node, repeatedly. Meanwhile the user enrols, activates
//! and removes keys, and the operator suspends her and lifts locks.
//!
//! Another attacker has only the password and an access token issued before the activation, which even passed a second
//! factor with an earlier key. They try to make recovery codes and application tokens, to remove keys and devices, and
//! to change the password.
//!
//! **What must hold** is defined by [`facts::Broken`]. It is checked on each applied commit, with the verdict that its
//! operation returns once it is acknowledged, and on the answers.
//!
//! **The bound** is set by each scenario: how many operations have an effect (3 to 5), how many commits are lost,
//! repeated or not applied (0 to 2), and how many steps pass (0 to 2). Within it the exploration is exhaustive, about
//! 610,000 states in all, except for what [`system`] leaves out. To keep it small, a lock lasts one step and a
//! challenge three, and record versions are counted instead of drawn.
//!
//! **Not covered**: what no scenario offers (new passwords, removed users, refresh and access tokens, the failures of
//! trusted devices, which are counted separately); client addresses, as no request has one, so every guess without a
//! session counts as a stranger's (`keyproof-mfa` tests known addresses); counters that expire after a day, except in
//! one scenario; clocks that go back; audit events without another change, which are assumed to be written; and that
//! the failures of one minute share an audit event, which only adds conflicts that the lockout's record would cause as
//! well.
//!
//! **That it can fail** is shown at the end by engines that break the port's rules. Also, each scenario must see all of
//! its [`Sight`]s.
//!
//! To print the numbers: `cargo test -p keyproof-service --test model -- --nocapture`.

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

/// An active key whose first code is one step old.
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

/// Two challenges, answered with all codes since the activation, and with wrong ones.
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

/// The counters have expired, so counting begins with a new record. About 101,000 states.
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

/// Explores a scenario completely. No invariant may be violated, and all of the scenario's sights must occur.
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
    // There is no limit on count, depth or time, so the exploration is complete.
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

/// Searches for a violation of an invariant, and returns the path to it.
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
