//! Random commands, with enough logins among them to reach deep states.

use keyproof_mfa::Password;
use proptest::{collection::vec, prelude::*};

use crate::facts::{DAY, MINUTE, SESSIONS};

#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// In a session.
    Activate(Typed, u8),
    /// Several answers that have all read the records before any of them commits.
    Answer(Vec<Answer>),
    /// From a device, at an address.
    Begin(Password, Option<u8>, Option<u8>),
    Confirm(Password, u8),
    Enrol(Password, u8),
    MakeCodes(Password, u8),
    Remove,
    Renew,
    Suspend,
    Revoke(usize),
    Unlock,
    Wait(i64),
}

#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Which of the issued challenges, counted from the last.
    pub(crate) challenge: usize,
    pub(crate) typed: Typed,
    pub(crate) trust: Option<u8>,
    pub(crate) place: Option<u8>,
}

#[derive(Clone, Debug)]
pub(crate) enum Typed {
    Nonsense,
    /// The phone's code, this many steps ahead.
    Code(i64),
    /// The code of the current step from the previous enrolment's phone.
    Former,
    /// Which of the recovery codes made, counted from the last.
    Recovery(usize),
    /// The last accepted code.
    Spent,
}

pub(crate) fn commands() -> impl Strategy<Value = Vec<Command>> {
    let password = || prop_oneof![7 => Just(Password::Correct), 1 => Just(Password::Wrong)];
    let device = || proptest::option::of(0_u8..5);
    let place = || proptest::option::of(0_u8..4);
    let session = || 0..SESSIONS as u8;
    let typed = || {
        prop_oneof![
            12 => Just(Typed::Code(0)),
            8 => (-4_i64..=4).prop_map(Typed::Code),
            1 => Just(Typed::Nonsense),
            1 => Just(Typed::Former),
            4 => (0_usize..12).prop_map(Typed::Recovery),
            3 => Just(Typed::Spent),
        ]
    };
    let answers = || {
        let answer = (0_usize..2, typed(), device(), place());
        let answer = answer.prop_map(|(challenge, typed, trust, place)| Answer {
            challenge,
            typed,
            trust,
            place,
        });
        vec(answer, 1..4).prop_map(Command::Answer)
    };
    let begin = (password(), device(), place());
    let begin = begin.prop_map(|(password, device, place)| Command::Begin(password, device, place));
    let enrol = (password(), typed(), session());
    let enrol = enrol.prop_map(|(password, typed, session)| {
        vec![
            Command::Enrol(password, session),
            Command::Activate(typed, session),
        ]
    });
    let login = (20_000..2 * MINUTE, place(), answers());
    let login = login.prop_map(|(wait, place, answers)| {
        let begin = Command::Begin(Password::Correct, None, place);
        vec![Command::Wait(wait), begin, answers]
    });
    // Nothing but guesses by somebody who knows the password.
    let guesses = (place(), 1_usize..8);
    let guesses = guesses.prop_map(|(place, times)| {
        let begin = Command::Begin(Password::Correct, None, place);
        let guess = Command::Answer(vec![Answer {
            challenge: 0,
            typed: Typed::Nonsense,
            trust: None,
            place,
        }]);
        let round = [
            vec![begin],
            vec![guess; 3],
            vec![Command::Wait(11 * MINUTE)],
        ]
        .concat();
        vec![round; times].concat()
    });
    let wait = prop_oneof![
        4 => -2 * MINUTE..11 * MINUTE,
        1 => -DAY..2 * DAY,
        1 => 80 * DAY..100 * DAY,
    ];
    let one = prop_oneof![
        4 => answers(),
        16 => begin,
        4 => (password(), session()).prop_map(|(password, session)| Command::Confirm(password, session)),
        4 => (password(), session()).prop_map(|(password, session)| Command::MakeCodes(password, session)),
        1 => Just(Command::Remove),
        1 => Just(Command::Renew),
        1 => Just(Command::Suspend),
        3 => (0_usize..3).prop_map(Command::Revoke),
        1 => Just(Command::Unlock),
        4 => wait.prop_map(Command::Wait),
    ];
    let some = prop_oneof![
        3 => enrol,
        10 => login,
        1 => guesses,
        12 => one.prop_map(|command| vec![command]),
    ];
    vec(some, 1..60).prop_map(|commands| commands.concat())
}
