//! The state of RFC 5280 section 6.1.2: the constraints that the certificates above put on those below.

use alloc::vec::Vec;

use super::{
    Member, PathOptions, PolicySets,
    budget::Budget,
    extensions::{
        NameConstraints, PolicyMapping, certificate_policies, inhibit_any_policy, name_constraints,
        policy_constraints, policy_mappings,
    },
    names,
    policies::{Graph, is_any_policy},
    report::Reason,
};
use crate::certificate::Certificate;

/// The state variables of RFC 5280 section 6.1.2, except the path length, which is counted upwards.
pub(super) struct State<'a> {
    graph: Graph<'a>,
    constraints: Vec<NameConstraints<'a>>,
    explicit_policy: u32,
    inhibit_any_policy: u32,
    policy_mapping: u32,
}

impl<'a> State<'a> {
    pub(super) fn new(options: &PathOptions<'_>, length: usize) -> Self {
        let after_all = u32::try_from(length).unwrap_or(u32::MAX).saturating_add(1);
        let from = |is_set: bool| if is_set { 0 } else { after_all };
        Self {
            graph: Graph::new(),
            constraints: Vec::new(),
            explicit_policy: from(options.require_explicit_policy),
            inhibit_any_policy: from(options.inhibit_any_policy),
            policy_mapping: from(options.inhibit_policy_mapping),
        }
    }

    pub(super) fn constrain_names(&mut self, certificate: &Certificate<'a>) -> Result<(), Reason> {
        let constraints = name_constraints(certificate).map_err(Reason::ExtensionMalformed)?;
        self.constraints.extend(constraints);
        Ok(())
    }

    /// Processes the next certificate down: sections 6.1.3 and 6.1.4, or 6.1.5 for the leaf.
    pub(super) fn pass(
        &mut self,
        member: &Member<'a>,
        is_leaf: bool,
        budget: &mut Budget,
    ) -> Result<(), Reason> {
        let malformed = Reason::ExtensionMalformed;
        let certificate = &member.certificate;
        let is_self_issued = member.is_self_issued();
        if is_leaf || !is_self_issued {
            names::check(certificate, &self.constraints, budget)?;
        }
        let policies = certificate_policies(certificate).map_err(malformed)?;
        let width = self.graph.width();
        budget.compare(width.saturating_mul(width.max(policies.as_ref().map_or(0, Vec::len))))?;
        let any_policy_counts = self.inhibit_any_policy > 0 || !is_leaf && is_self_issued;
        self.graph.descend(policies.as_deref(), any_policy_counts);
        if self.explicit_policy == 0 && self.graph.is_null() {
            return Err(Reason::PolicyRequired);
        }
        let constraints = policy_constraints(certificate).map_err(malformed)?;
        if is_leaf {
            self.explicit_policy = self.explicit_policy.saturating_sub(1);
            if constraints.require_explicit_policy == Some(0) {
                self.explicit_policy = 0;
            }
            return Ok(());
        }
        let mappings = policy_mappings(certificate).map_err(malformed)?;
        let names_any = |mapping: &PolicyMapping<'_>| {
            is_any_policy(mapping.issuer_domain) || is_any_policy(mapping.subject_domain)
        };
        if mappings.iter().any(names_any) {
            return Err(Reason::AnyPolicyMapped);
        }
        budget.compare(mappings.len().saturating_mul(mappings.len() + width))?;
        self.graph.map(&mappings, self.policy_mapping == 0);
        self.constrain_names(certificate)?;
        if !is_self_issued {
            for count in [
                &mut self.explicit_policy,
                &mut self.policy_mapping,
                &mut self.inhibit_any_policy,
            ] {
                *count = count.saturating_sub(1);
            }
        }
        let inhibit_any = inhibit_any_policy(certificate).map_err(malformed)?;
        for (count, limit) in [
            (
                &mut self.explicit_policy,
                constraints.require_explicit_policy,
            ),
            (&mut self.policy_mapping, constraints.inhibit_policy_mapping),
            (&mut self.inhibit_any_policy, inhibit_any),
        ] {
            *count = limit.map_or(*count, |limit| limit.min(*count));
        }
        Ok(())
    }

    /// Returns the policy sets (section 6.1.5 (g)), or an error if a required policy is missing.
    pub(super) fn sets(&self, options: &PathOptions<'_>) -> Result<PolicySets, Reason> {
        let sets = self.graph.sets(options.policies);
        if self.explicit_policy == 0 && sets.user.is_empty() {
            Err(Reason::PolicyRequired)
        } else {
            Ok(sets)
        }
    }
}
