//! The filter of a search.

use crate::audit::{
    Event, Outcome, Principal, Target, index::User, principal::APPLICATION_TOKEN, text::bounded,
};

/// A filter for events. An event must match every criterion that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// An action or a prefix of one.
    pub action: Option<String>,
    /// A target. Also matches the targets below it, after a slash.
    pub target: Option<String>,
    /// The outcome.
    pub outcome: Option<Outcome>,
    /// Callers, and what is below them after a slash. If any of `by`, `of` and `named` is given, an event must match one of the
    /// three.
    pub by: Vec<String>,
    /// Targets, and what is below them after a slash.
    pub of: Vec<String>,
    /// Targets, matched exactly.
    pub named: Vec<String>,
}

impl Search {
    /// The maximum number of events read for a page with any filter.
    pub const MOST_READ: usize = 10_000;

    pub(super) fn matches(&self, event: &Event) -> bool {
        let action = self.action.as_ref();
        let target = self.target.as_ref();
        let is_anybodys = self.by.is_empty() && self.of.is_empty() && self.named.is_empty();
        action.is_none_or(|action| event.action.starts_with(&**action))
            && target.is_none_or(|target| is_at_or_below(&event.target, target))
            && self.outcome.is_none_or(|outcome| outcome == event.outcome)
            && (is_anybodys
                || self.by.iter().any(|asker| is_by(&event.who, asker))
                || self.of.iter().any(|at| is_at_or_below(&event.target, at))
                || self.named.contains(&event.target))
    }

    /// Returns the one user whose index entries contain every match, except for events of releases before the index.
    pub(super) fn user(&self) -> Option<User> {
        if let Some(user) = self.target.as_deref().and_then(User::asked) {
            return Some(user);
        }
        let by = self.by.iter();
        let by = by.map(|asker| (User::asking(asker), Principal::user_in(asker).is_some()));
        let is_login_name = |target: &str| matches!(target.parse(), Ok(Target::LoginName(_)));
        let of = self.of.iter().chain(&self.named);
        let of = of.map(|target| (User::asked(target), is_login_name(target)));
        let mut found: Option<User> = None;
        for (user, is_name) in by.chain(of) {
            match user {
                Some(user) if found.is_none_or(|found| found == user) => found = Some(user),
                // Only events of releases before the index contain names.
                None if is_name => {}
                _ => return None,
            }
        }
        found
    }
}

fn is_at_or_below(text: &str, place: &str) -> bool {
    let rest = text.strip_prefix(&*bounded(place));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Users' names may contain a slash, so only an application token is below a user.
fn is_by(who: &str, asker: &str) -> bool {
    match who.strip_prefix(asker) {
        Some(rest) if Principal::user_in(asker).is_some() => {
            rest.is_empty() || rest.starts_with(APPLICATION_TOKEN)
        }
        _ => is_at_or_below(who, asker),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_not_one_who_is_called_like_what_is_below() {
        assert!(is_by("user:ada", "user:ada"));
        assert!(is_by("user:ada/application_token:1", "user:ada"));
        assert!(!is_by("user:ada/lovelace", "user:ada"));
        assert!(is_by("instance:shop/token:1", "instance:shop"));
        let long = "x".repeat(1_000);
        assert!(is_at_or_below(&bounded(&long), &long), "as it is told");
    }

    #[test]
    fn a_place_is_not_what_begins_like_it() {
        assert!(is_at_or_below("user:ada", "user:ada"));
        assert!(is_at_or_below("user:ada/application_token:1", "user:ada"));
        assert!(!is_at_or_below("user:adam", "user:ada"));
    }
}
