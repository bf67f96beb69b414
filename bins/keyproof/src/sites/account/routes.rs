//! What this site answers, a line an operation.

use http::Method;
use keyproof_http::BoxFuture;

use super::{Answered, Signed, Visit, Visitor};
use crate::{
    dialect::route_table::{Case, Route, RouteTable, line},
    sites::asset::Asset,
};

/// What is done for a request, and for whom.
#[derive(Debug)]
pub(super) enum Operation {
    /// For everybody: a file that pages refer to.
    Asset(Asset),
    /// For everybody, before and after signing in.
    Open(fn(Visit<Visitor>) -> BoxFuture<Answered>),
    /// For everybody, with a form of these fields.
    Enter(
        &'static [&'static str],
        fn(Visit<Visitor>) -> BoxFuture<Answered>,
    ),
    /// For whoever is signed in.
    Show(fn(Visit<Signed>) -> BoxFuture<Answered>),
    /// For whoever is signed in, with a form of these fields.
    Change(
        &'static [&'static str],
        fn(Visit<Signed>) -> BoxFuture<Answered>,
    ),
}

/// What the body of a form needs, in bytes: its few fields, each of which may be escaped throughout.
const FORM: usize = 16 * 1024;

const fn form(template: &'static str, operation: Operation) -> Route<Operation> {
    line(Method::POST, template, FORM, operation)
}

const fn page(template: &'static str, operation: Operation) -> Route<Operation> {
    line(Method::GET, template, 0, operation)
}

#[rustfmt::skip]
pub(super) static ROUTES: RouteTable<Operation> = RouteTable {
    case: Case::Sensitive,
    routes: &[
        page("/account", Operation::Show(|visit| Box::pin(visit.overview()))),
        page("/account/icon.svg", Operation::Asset(Asset::Icon)),
        page("/account/script.js", Operation::Asset(Asset::Script)),
        page("/account/style.css", Operation::Asset(Asset::Style)),
        page("/account/help", Operation::Open(|visit| Box::pin(visit.help()))),
        page("/account/sign-in", Operation::Open(|visit| Box::pin(visit.show_sign_in()))),
        form("/account/sign-in", Operation::Enter(&["name", "password"], |visit| Box::pin(visit.sign_in()))),
        page("/account/code", Operation::Open(|visit| Box::pin(visit.show_code()))),
        form("/account/code", Operation::Enter(&["code", "trust"], |visit| Box::pin(visit.answer()))),
        form("/account/sign-out", Operation::Change(&[], |visit| Box::pin(visit.sign_out()))),
        page("/account/confirm", Operation::Show(|visit| Box::pin(visit.show_confirm()))),
        form("/account/confirm", Operation::Change(&["password"], |visit| Box::pin(visit.confirm()))),
        page("/account/phone", Operation::Show(|visit| Box::pin(visit.phone()))),
        form("/account/phone", Operation::Change(&["password"], |visit| Box::pin(visit.enrol()))),
        form("/account/phone/activate", Operation::Change(&["key", "code"], |visit| Box::pin(visit.activate()))),
        form("/account/phone/remove", Operation::Change(&["key"], |visit| Box::pin(visit.remove_phone()))),
        page("/account/recovery-codes", Operation::Show(|visit| Box::pin(visit.recovery_codes()))),
        form("/account/recovery-codes", Operation::Change(&["password", "code"], |visit| Box::pin(visit.make_recovery_codes()))),
        page("/account/devices", Operation::Show(|visit| Box::pin(visit.devices()))),
        form("/account/devices/{id}/revoke", Operation::Change(&[], |visit| Box::pin(visit.revoke_device()))),
        page("/account/password", Operation::Show(|visit| Box::pin(visit.show_password()))),
        form("/account/password", Operation::Change(&["old", "new", "repeat"], |visit| Box::pin(visit.change_password()))),
        form("/account/sessions/end", Operation::Change(&[], |visit| Box::pin(visit.end_sessions()))),
        page("/account/activity", Operation::Show(|visit| Box::pin(visit.activity()))),
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_reached_and_in_architecture() {
        ROUTES.assert_each_line_is_reached();
        ROUTES.assert_each_line_is_in_architecture("");
    }
}
