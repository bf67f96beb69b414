//! Users in the trail, identified by the numbers and the creation time of their account, never by name. So a name can be forgotten
//! while the events stay.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use keyproof_store::Timestamp;

use super::{Event, LoginName, Party, Principal, Target, index::User};

/// A user's account. Its text is `ORGANISATION:USER:MOMENT`, which cannot be a user's name, because names contain no colon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// The organisation's number.
    pub organisation: u32,
    /// The user's number within it, which may be given to another user after a removal.
    pub user: u32,
    /// When the account was created.
    pub since: Timestamp,
}

/// The number of hexadecimal digits of a moment: times since March 1972 have at least ten.
const MOMENT_DIGITS: std::ops::RangeInclusive<usize> = 10..=16;

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (organisation, user) = (self.organisation, self.user);
        write!(f, "{organisation}:{user}:{:010x}", self.since.as_millis())
    }
}

/// The error for a text that is not a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a subject is ORGANISATION:USER:MOMENT")]
pub struct ParseSubjectError;

impl FromStr for Subject {
    type Err = ParseSubjectError;

    fn from_str(text: &str) -> Result<Self, ParseSubjectError> {
        let mut parts = text.split(':');
        let mut part = || parts.next().ok_or(ParseSubjectError);
        let (organisation, user, since) = (part()?, part()?, part()?);
        if parts.next().is_some() || !MOMENT_DIGITS.contains(&since.len()) {
            return Err(ParseSubjectError);
        }
        let number = |text: &str| text.parse().map_err(|_| ParseSubjectError);
        let since = u64::from_str_radix(since, 16).map_err(|_| ParseSubjectError)?;
        let subject = Self {
            organisation: number(organisation)?,
            user: number(user)?,
            since: Timestamp::from_millis(since),
        };
        // Only the canonical text is accepted.
        if subject.to_string() == text {
            Ok(subject)
        } else {
            Err(ParseSubjectError)
        }
    }
}

/// The maximum number of a user's subjects that are read from an event's details.
const IN_DETAILS: usize = 4;

impl Event {
    /// Returns the users in the event: the caller and the target, where keyproof itself wrote them, and in the details, accounts of
    /// these users. Text chosen by clients names nobody, whatever it looks like.
    pub(crate) fn subjects(&self) -> BTreeSet<Subject> {
        let named = match self.target.parse() {
            Ok(Target::LoginName(LoginName::Of(subject))) => Some(subject),
            Ok(Target::LeftOut(Party::One(who))) => Principal::subject_in(&who),
            _ => None,
        };
        let asker = Principal::subject_in(&self.who);
        let mut subjects: BTreeSet<Subject> = [asker, named].into_iter().flatten().collect();
        let users: Vec<_> = self.users().collect();
        let repeats = self.repeats.iter();
        let repeated = repeats.flat_map(|repeats| repeats.details.iter().map(|told| &*told.detail));
        let details = self.detail.as_deref().into_iter().chain(repeated);
        let accounts = details.flat_map(pieces_of);
        let accounts = accounts.filter_map(|piece| piece.parse::<Subject>().ok());
        let theirs = accounts.filter(|account| users.contains(&User::of(*account)));
        subjects.extend(theirs.take(IN_DETAILS));
        subjects
    }

    /// Replaces the event's users by their names, where known. Others stay as they are.
    pub fn name(&mut self, names: &BTreeMap<Subject, String>) {
        let own = self.subjects();
        let named = |text: &mut String| *text = with_names(text, &own, names);
        named(&mut self.who);
        named(&mut self.target);
        self.detail.as_mut().map(named);
        if let Some(repeats) = &mut self.repeats {
            repeats
                .details
                .iter_mut()
                .for_each(|told| named(&mut told.detail));
        }
    }
}

/// Returns the parts of a text that may be subjects.
fn pieces_of(text: &str) -> impl Iterator<Item = &str> {
    let pieces = text.split(|c: char| !(c.is_ascii_hexdigit() || c == ':'));
    pieces.map(|piece| piece.trim_matches(':'))
}

fn with_names(text: &str, own: &BTreeSet<Subject>, names: &BTreeMap<Subject, String>) -> String {
    let (mut named, mut rest) = (String::with_capacity(text.len()), text);
    for piece in pieces_of(text) {
        let subject = piece
            .parse::<Subject>()
            .ok()
            .filter(|subject| own.contains(subject));
        let Some(name) = subject.and_then(|subject| names.get(&subject)) else {
            continue;
        };
        if let Some((before, after)) = rest.split_once(piece) {
            named.push_str(before);
            named.push_str(name);
            rest = after;
        }
    }
    named + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Outcome, RepeatedDetail, Repeats};

    const ADA: Subject = Subject {
        organisation: 4711,
        user: 815,
        since: Timestamp::from_millis(0x18b_cfe5_6800),
    };

    fn event() -> Event {
        Event {
            at: Timestamp::EPOCH,
            action: "x".to_owned(),
            target: format!("user_name/{ADA}"),
            outcome: Outcome::Done,
            who: format!("user:{ADA}/application_token:3"),
            detail: Some(format!(
                "'{ADA}' from 14711:815:18bcfe56800 and 2001:db8::1"
            )),
            request_id: None,
            address: None,
            left_out: 0,
            repeats: Some(Repeats {
                count: 1,
                last_at: Timestamp::EPOCH,
                last_request_id: None,
                request_ids: Vec::new(),
                addresses: Vec::new(),
                details: vec![RepeatedDetail {
                    detail: format!("of {ADA}"),
                    count: 1,
                }],
            }),
        }
    }

    #[test]
    fn its_text_is_read_as_it_is_written_and_no_other_is() {
        assert_eq!(ADA.to_string(), "4711:815:18bcfe56800");
        assert_eq!(ADA.to_string().parse(), Ok(ADA));
        let early = Subject {
            since: Timestamp::EPOCH,
            ..ADA
        };
        assert_eq!(early.to_string().parse(), Ok(early));
        for wrong in [
            "",
            "ada",
            "4711:815",
            "4711:815:18BCFE56800",
            "04711:815:18bcfe56800",
            "4711:815:018bcfe56800",
            "4711:815:18bcfe56800:1",
            "4711:-1:18bcfe56800",
        ] {
            assert_eq!(wrong.parse::<Subject>(), Err(ParseSubjectError), "{wrong}");
        }
    }

    #[test]
    fn a_name_stands_wherever_its_user_does_and_nowhere_else() {
        let mut named = event();
        assert_eq!(named.subjects(), BTreeSet::from([ADA]));
        named.name(&BTreeMap::from([(ADA, "ada".to_owned())]));
        assert_eq!(named.who, "user:ada/application_token:3");
        assert_eq!(named.target, "user_name/ada");
        assert_eq!(
            named.detail.as_deref(),
            Some("'ada' from 14711:815:18bcfe56800 and 2001:db8::1")
        );
        assert_eq!(named.repeats.unwrap().details[0].detail, "of ada");
        let mut unnamed = event();
        unnamed.name(&BTreeMap::new());
        assert_eq!(unnamed, event());
    }

    #[test]
    fn what_a_client_has_chosen_names_nobody() {
        let bob: Subject = "4711:816:18bcfe56800".parse().unwrap();
        let many: Vec<_> = (0..600).map(|n| format!("1:{n}:0000000000")).collect();
        let chosen = format!("{ADA} {bob} {}", many.join(" "));
        let names = |event: &Event| {
            let all = many.iter().filter_map(|text| text.parse().ok());
            let all = all.chain([ADA, bob]).map(|one| (one, "ada".to_owned()));
            let mut named = event.clone();
            named.name(&all.collect());
            named
        };
        let of_a_till = Event {
            who: "instance:shop".to_owned(),
            target: format!("instance/shop/device/{chosen}"),
            detail: Some(chosen.clone()),
            repeats: None,
            ..event()
        };
        assert_eq!(of_a_till.subjects(), BTreeSet::new());
        assert_eq!(names(&of_a_till), of_a_till);
        // The details of an event about a user contain only accounts of that user, and few of them.
        let of_ada = Event {
            who: "console:root".to_owned(),
            target: "organisation/4711/user/815".to_owned(),
            detail: Some(chosen),
            repeats: None,
            ..event()
        };
        assert_eq!(of_ada.subjects(), BTreeSet::from([ADA]));
        assert!(
            names(&of_ada)
                .detail
                .unwrap()
                .starts_with(&format!("ada {bob} 1:0:"))
        );
        let of_many = (0..9).map(|n| {
            Subject {
                since: Timestamp::from_secs(n),
                ..ADA
            }
            .to_string()
        });
        let of_many = Event {
            detail: Some(of_many.collect::<Vec<_>>().join(" ")),
            ..of_ada
        };
        assert_eq!(of_many.subjects().len(), IN_DETAILS);
    }
}
