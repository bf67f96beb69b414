//! Who may read the trail, and which part of it.

use std::borrow::Cow;

use keyproof_auth::operator::{AccessLevel, OperatorScope};

use super::{Audit, Principal, Search, Subject};
use crate::access::{Operator, OutOfScope};

/// A caller who may read the trail: an operator with the scope for it reads all of it, a user their own events.
#[derive(Clone, Debug)]
pub struct AuditReader {
    /// The party whose share of the searches the reader uses: an operator with all their tokens, or a user.
    pub(super) party: String,
    /// For a user: the `by`, `of` and `named` to which every search is limited.
    own: Option<Search>,
}

impl Audit {
    /// Permits an operator to read the trail and, with [`AccessLevel::Change`], to export it, which is more. A refusal is not recorded in
    /// the trail.
    ///
    /// # Errors
    ///
    /// [`OutOfScope`].
    pub fn permit_reader(
        operator: &Operator,
        reach: AccessLevel,
    ) -> Result<AuditReader, OutOfScope> {
        let needed = OperatorScope::Audit(reach);
        if !operator.may(&needed) {
            return Err(OutOfScope { needed });
        }
        Ok(AuditReader {
            party: format!("operator:{}", operator.subject),
            own: None,
        })
    }
}

impl AuditReader {
    /// Creates the reader of a user's own events.
    pub(crate) fn of_user(subject: Subject, own: Search) -> Self {
        Self {
            party: Principal::user_named(&subject.to_string()),
            own: Some(own),
        }
    }

    /// Creates a reader of the whole trail without a permission check.
    #[cfg(test)]
    pub(crate) const fn unasked(party: String) -> Self {
        Self { party, own: None }
    }

    /// Returns the search, limited to what this reader may read.
    pub(super) fn narrow<'s>(&self, search: &'s Search) -> Cow<'s, Search> {
        match self.own.clone() {
            None => Cow::Borrowed(search),
            Some(Search { by, of, named, .. }) => Cow::Owned(Search {
                by,
                of,
                named,
                ..search.clone()
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use keyproof_auth::operator::OperatorScopes;

    use super::*;
    use crate::{
        Action,
        access::NewOperatorToken,
        testing::{START, bench, command_line, console},
    };

    #[tokio::test]
    async fn a_reader_is_whom_a_scope_lets() {
        let bench = bench().await;
        let access = &bench.service.access;
        for (scope, reads, takes_along) in [
            ("admin", true, true),
            ("audit", true, true),
            ("audit-read", true, false),
            ("status", false, false),
        ] {
            let new = NewOperatorToken {
                subject: "ops".to_owned(),
                scopes: OperatorScopes::parse([scope]).unwrap(),
                lifetime: None,
            };
            let token = access.create(new, &command_line()).await.unwrap().text;
            let operator = access.authenticate(&token).await.unwrap();
            for (reach, may) in [
                (AccessLevel::Read, reads),
                (AccessLevel::Change, takes_along),
            ] {
                let permitted = Audit::permit_reader(&operator, reach);
                assert_eq!(permitted.is_ok(), may, "{scope}, {reach:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_user_reads_what_is_their_own_whatever_they_look_for() {
        let bench = bench().await;
        let (audit, origin) = (&bench.service.audit, console());
        let told = audit.of_store(Action::StoreMove, None, &origin).await;
        told.unwrap();
        let subject: Subject = "1:7:0000000000".parse().unwrap();
        let own = Search {
            by: vec![format!("user:{subject}")],
            ..Search::default()
        };
        let user = AuditReader::of_user(subject, own);
        let search = Search {
            by: vec![origin.who.to_string()],
            ..Search::default()
        };
        for (reader, finds) in [
            (AuditReader::unasked("ops".to_owned()), true),
            (user, false),
        ] {
            let found = audit.search(&reader, &search, None, START, 5).await;
            assert_eq!(!found.unwrap().events.is_empty(), finds);
        }
    }
}
