//! The operations of this site, one per line.

use super::{Account, Own};
use crate::{
    route_table::{Case, RouteTable},
    sites::{
        asset::Asset,
        operation::{self, form, page},
        visit::Fields::Lines,
    },
};

type Operation = operation::Operation<Account>;

#[rustfmt::skip]
pub(super) static ROUTES: RouteTable<Operation> = RouteTable {
    case: Case::Sensitive,
    preflight: false,
    routes: &[
        page("/account", Operation::Show(Own, |visit| Box::pin(visit.overview()))),
        page("/account/icon.svg", Operation::Asset(Asset::Icon)),
        page("/account/script.js", Operation::Asset(Asset::Script)),
        page("/account/style.css", Operation::Asset(Asset::Style)),
        page("/account/help", Operation::Open(|visit| Box::pin(visit.help()))),
        page("/account/sign-in", Operation::Open(|visit| Box::pin(visit.show_sign_in()))),
        form("/account/sign-in", Operation::Enter(&["name", "password", "to"], |visit| Box::pin(visit.sign_in()))),
        page("/account/code", Operation::Open(|visit| Box::pin(visit.show_code()))),
        form("/account/code", Operation::Enter(&["code", "trust", "to"], |visit| Box::pin(visit.answer()))),
        form("/account/sign-out", Operation::Change(Own, Lines(&[]), |visit| Box::pin(visit.sign_out()))),
        page("/account/confirm", Operation::Show(Own, |visit| Box::pin(visit.show_confirm()))),
        form("/account/confirm", Operation::Change(Own, Lines(&["password", "to"]), |visit| Box::pin(visit.confirm()))),
        page("/account/phone", Operation::Show(Own, |visit| Box::pin(visit.phone()))),
        form("/account/phone", Operation::Change(Own, Lines(&["password"]), |visit| Box::pin(visit.enrol()))),
        form("/account/phone/activate", Operation::Change(Own, Lines(&["key", "code"]), |visit| Box::pin(visit.activate()))),
        form("/account/phone/remove", Operation::Change(Own, Lines(&["key"]), |visit| Box::pin(visit.remove_phone()))),
        page("/account/recovery-codes", Operation::Show(Own, |visit| Box::pin(visit.recovery_codes()))),
        form("/account/recovery-codes", Operation::Change(Own, Lines(&["password", "code"]), |visit| Box::pin(visit.make_recovery_codes()))),
        page("/account/devices", Operation::Show(Own, |visit| Box::pin(visit.devices()))),
        form("/account/devices/{id}/revoke", Operation::Change(Own, Lines(&[]), |visit| Box::pin(visit.revoke_device()))),
        page("/account/password", Operation::Show(Own, |visit| Box::pin(visit.show_password()))),
        form("/account/password", Operation::Change(Own, Lines(&["old", "new", "repeat"]), |visit| Box::pin(visit.change_password()))),
        form("/account/sessions/end", Operation::Change(Own, Lines(&[]), |visit| Box::pin(visit.end_sessions()))),
        page("/account/activity", Operation::Show(Own, |visit| Box::pin(visit.activity()))),
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_reached() {
        ROUTES.assert_each_line_is_reached();
    }
}
