//! Certificate policies: the state of RFC 5280 section 6.1.2, with the graph of RFC 9618 instead of the tree. A few certificates
//! could make the tree grow exponentially.

use alloc::{
    string::{String, ToString},
    vec,
    vec::Vec,
};

use der::asn1::ObjectIdentifier;

use super::extensions::PolicyMapping;
use crate::oid::Oid;

/// anyPolicy, 2.5.29.32.0.
const ANY_POLICY: Oid<'static> = Oid::of_octets(&[0x55, 0x1D, 0x20, 0x00]);

pub(super) fn is_any_policy(policy: Oid<'_>) -> bool {
    policy == ANY_POLICY
}

/// valid_policy_graph, with one level for each certificate down from the anchor. Each policy has at most one node in a level.
pub(super) struct Graph<'a> {
    /// Empty means NULL.
    levels: Vec<Vec<Node<'a>>>,
}

struct Node<'a> {
    valid_policy: Oid<'a>,
    expected_policies: Vec<Oid<'a>>,
    /// Indices into the level above.
    parents: Vec<usize>,
    /// Mapped while mapping was inhibited, so no node may follow below.
    is_deleted: bool,
}

impl<'a> Node<'a> {
    fn new(policy: Oid<'a>, parents: Vec<usize>) -> Self {
        Self {
            valid_policy: policy,
            expected_policies: vec![policy],
            parents,
            is_deleted: false,
        }
    }
}

impl<'a> Graph<'a> {
    pub(super) fn new() -> Self {
        Self {
            levels: vec![vec![Node::new(ANY_POLICY, Vec::new())]],
        }
    }

    pub(super) fn is_null(&self) -> bool {
        self.levels.is_empty()
    }

    /// Returns the number of expected policies in the last level, which determines the cost of a step.
    pub(super) fn width(&self) -> usize {
        let last = self.levels.last().into_iter().flatten();
        last.map(|node| node.expected_policies.len()).sum()
    }

    fn set_null(&mut self) {
        self.levels.clear();
    }

    /// Performs steps (d) and (e) of section 6.1.3. `any_policy_counts` says whether the certificate's anyPolicy is effective.
    pub(super) fn descend(&mut self, policies: Option<&[Oid<'a>]>, any_policy_counts: bool) {
        let (Some(above), Some(policies)) = (self.levels.last(), policies) else {
            self.set_null();
            return;
        };
        let living = || {
            let nodes = above.iter().enumerate();
            nodes.filter(|(_, node)| !node.is_deleted)
        };
        let mut level: Vec<Node<'a>> = Vec::new();
        for policy in policies.iter().copied() {
            if is_any_policy(policy) {
                continue;
            }
            let mut parents: Vec<usize> = living()
                .filter(|(_, node)| node.expected_policies.contains(&policy))
                .map(|(place, _)| place)
                .collect();
            if parents.is_empty() {
                parents.extend(
                    living()
                        .find(|(_, node)| is_any_policy(node.valid_policy))
                        .map(|(place, _)| place),
                );
            }
            if !parents.is_empty() {
                level.push(Node::new(policy, parents));
            }
        }
        if any_policy_counts && policies.iter().copied().any(is_any_policy) {
            let named = level.len();
            for (place, node) in living() {
                for policy in node.expected_policies.iter().copied() {
                    let known = level.iter().position(|known| known.valid_policy == policy);
                    match known {
                        Some(known) if known < named => {}
                        Some(known) => {
                            level
                                .get_mut(known)
                                .into_iter()
                                .for_each(|node| node.parents.push(place));
                        }
                        None => level.push(Node::new(policy, vec![place])),
                    }
                }
            }
        }
        if level.is_empty() {
            self.set_null();
        } else {
            self.levels.push(level);
        }
    }

    /// Performs step (b) of section 6.1.4 with the mappings of the last certificate.
    pub(super) fn map(&mut self, mappings: &[PolicyMapping<'a>], is_inhibited: bool) {
        let Some(level) = self.levels.last_mut() else {
            return;
        };
        for (index, mapping) in mappings.iter().enumerate() {
            let mapped = mapping.issuer_domain;
            let earlier = mappings.iter().take(index);
            if earlier
                .clone()
                .any(|earlier| earlier.issuer_domain == mapped)
            {
                continue;
            }
            let node = level.iter().position(|node| node.valid_policy == mapped);
            if is_inhibited {
                let node = node.and_then(|node| level.get_mut(node));
                node.into_iter().for_each(|node| node.is_deleted = true);
                continue;
            }
            let expected_policies: Vec<Oid<'a>> = mappings
                .iter()
                .filter(|other| other.issuer_domain == mapped)
                .map(|other| other.subject_domain)
                .collect();
            let any = level
                .iter()
                .position(|node| is_any_policy(node.valid_policy));
            match (node.and_then(|node| level.get_mut(node)), any) {
                (Some(node), _) => node.expected_policies = expected_policies,
                (None, Some(any)) => {
                    let parents = level.get(any).map(|any| any.parents.clone());
                    level.push(Node {
                        expected_policies,
                        ..Node::new(mapped, parents.unwrap_or_default())
                    });
                }
                (None, None) => {}
            }
        }
        if level.iter().all(|node| node.is_deleted) {
            self.set_null();
        }
    }

    /// Performs step (g) of section 6.1.5: returns the policies under which the path is valid, authority- and user-constrained.
    pub(super) fn sets(&self, initial: Option<&[ObjectIdentifier]>) -> PolicySets {
        let mut authority: Vec<Oid<'a>> = Vec::new();
        let mut below: Vec<usize> = Vec::new();
        let is_last = |depth: usize| depth + 1 == self.levels.len();
        for (depth, level) in self.levels.iter().enumerate().rev() {
            let above = depth
                .checked_sub(1)
                .and_then(|above| self.levels.get(above));
            let mut parents = Vec::new();
            for (place, node) in level.iter().enumerate() {
                // A node without a child, except in the last level, is deleted.
                if node.is_deleted || !is_last(depth) && !below.contains(&place) {
                    continue;
                }
                parents.extend(&node.parents);
                let counts = if is_any_policy(node.valid_policy) {
                    is_last(depth)
                } else {
                    match (node.parents.as_slice(), above) {
                        ([parent], Some(above)) => above
                            .get(*parent)
                            .is_some_and(|parent| is_any_policy(parent.valid_policy)),
                        _ => false,
                    }
                };
                if counts && !authority.contains(&node.valid_policy) {
                    authority.push(node.valid_policy);
                }
            }
            parents.sort_unstable();
            parents.dedup();
            below = parents;
        }
        let text = |policies: &[Oid<'a>]| policies.iter().map(ToString::to_string).collect();
        // RFC 5280 section 6.1.1 (c): a set with any-policy accepts every policy.
        let is_named = |initial: &&[ObjectIdentifier]| initial.iter().all(|id| ANY_POLICY != *id);
        let Some(initial) = initial.filter(is_named) else {
            return PolicySets {
                user: text(&authority),
                authority: text(&authority),
            };
        };
        let is_any = authority.iter().copied().any(is_any_policy);
        let user = initial
            .iter()
            .filter(|policy| is_any || authority.iter().any(|known| *known == **policy));
        PolicySets {
            user: user.map(ToString::to_string).collect(),
            authority: text(&authority),
        }
    }
}

/// The policies under which a path is valid, as dotted OIDs in no particular order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct PolicySets {
    /// The authority-constrained policies; `2.5.29.32.0` means any policy.
    pub authority: Vec<String>,
    /// The user-constrained policies: those in `authority` that the caller accepts, or all of them if it accepts any.
    pub user: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: [Oid<'static>; 3] = [
        Oid::of_octets(&[0x2A, 0x01]),
        Oid::of_octets(&[0x2A, 0x02]),
        Oid::of_octets(&[0x2A, 0x03]),
    ];

    /// Two policies that map to each other would double a tree at every level.
    #[test]
    fn mappings_do_not_multiply_the_graph() {
        let [p1, p2, _] = P;
        let mut graph = Graph::new();
        let mut mappings = Vec::new();
        for issuer_domain in [p1, p2] {
            for subject_domain in [p1, p2] {
                mappings.push(PolicyMapping {
                    issuer_domain,
                    subject_domain,
                });
            }
        }
        for _ in 0..100 {
            graph.descend(Some(&[p1, p2]), false);
            graph.map(&mappings, false);
            assert_eq!(graph.levels.last().map(Vec::len), Some(2));
        }
        assert_eq!(graph.sets(None).authority.len(), 2);
    }

    #[test]
    fn policies_that_are_mapped_to_one_live_on_together() {
        let [p1, p2, p3] = P;
        let mappings = [p1, p2].map(|issuer_domain| PolicyMapping {
            issuer_domain,
            subject_domain: p3,
        });
        for (below, any_policy_counts) in [(p3, false), (ANY_POLICY, true)] {
            let mut graph = Graph::new();
            graph.descend(Some(&[p1, p2]), false);
            graph.map(&mappings, false);
            graph.descend(Some(&[below]), any_policy_counts);
            assert_eq!(graph.sets(None).authority, ["1.2.1", "1.2.2"]);
        }
    }

    /// RFC 5280 section 6.1.3 (d)(2): below a certificate for any policy, each policy is still a node of its own.
    #[test]
    fn policies_below_any_policy_stay_apart() {
        let [p1, p2, p3] = P;
        for (below, authority) in [(p1, &["1.2.1"][..]), (p2, &["1.2.2"]), (p3, &[])] {
            let mut graph = Graph::new();
            graph.descend(Some(&[p1, p2]), false);
            graph.descend(Some(&[ANY_POLICY]), true);
            graph.descend(Some(&[below]), false);
            assert_eq!(graph.sets(None).authority, authority);
        }
    }

    /// RFC 5280 section 6.1.4 (b)(1): a CA for any policy maps one that only its mapping names.
    #[test]
    fn a_mapping_under_any_policy_makes_a_node_that_expects_what_is_mapped_to() {
        let [issuer_domain, subject_domain, _] = P;
        let mut graph = Graph::new();
        graph.descend(Some(&[ANY_POLICY]), true);
        let mapping = PolicyMapping {
            issuer_domain,
            subject_domain,
        };
        graph.map(&[mapping], false);
        graph.descend(Some(&[subject_domain]), false);
        assert_eq!(graph.sets(None).authority, ["1.2.1"]);
    }

    /// RFC 5280 section 6.1.5 (g)(iii).
    #[test]
    fn the_users_policies_are_those_of_the_path_that_the_caller_accepts() {
        let [p1, p2, _] = P;
        let wanted = ["1.2.2", "1.2.3"].map(ObjectIdentifier::new_unwrap);
        let user = |policies: &[Oid<'static>]| {
            let mut graph = Graph::new();
            graph.descend(Some(policies), true);
            graph.sets(Some(&wanted)).user
        };
        assert_eq!(user(&[p1, p2]), ["1.2.2"]);
        assert_eq!(user(&[ANY_POLICY]), ["1.2.2", "1.2.3"]);
        assert!(user(&[p1]).is_empty());
    }

    #[test]
    fn policies_are_intersected_on_the_way_down() {
        let [p1, p2, p3] = P;
        let mut graph = Graph::new();
        graph.descend(Some(&[p1, p2]), true);
        graph.descend(Some(&[p2, p3]), true);
        assert_eq!(graph.sets(None).authority, ["1.2.2"]);
        let wanted = [ObjectIdentifier::new_unwrap("1.2.1")];
        assert!(graph.sets(Some(&wanted)).user.is_empty());
        let any = [wanted[0], ObjectIdentifier::new_unwrap("2.5.29.32.0")];
        assert_eq!(graph.sets(Some(&any)).user, ["1.2.2"]);
        graph.descend(Some(&[ANY_POLICY]), true);
        assert_eq!(graph.sets(None).user, ["1.2.2"]);
        graph.descend(Some(&[p1]), true);
        assert!(graph.is_null());
        assert_eq!(graph.sets(None), PolicySets::default());
    }
}
