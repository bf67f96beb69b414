//! The origin of a request.

use keyproof_http::{Exchange, Presence};
use keyproof_service::{
    Origin, Principal,
    access::{self, Requester},
};

/// Returns the origin of a request for use cases and the audit trail.
pub(crate) fn origin(exchange: &Exchange) -> Origin {
    let client = exchange.client();
    Origin {
        who: Principal::Anonymous,
        request_id: Some(exchange.request_id().as_str().to_owned()),
        address: Some(exchange.client_address()),
        requester: Requester::new(move || match client.presence() {
            Presence::Here => access::Presence::Here,
            Presence::SendsNoMore => access::Presence::SendsNoMore,
            Presence::Gone => access::Presence::Gone,
        }),
        warrants: Vec::new(),
    }
}
