//! The operations of this site, one per line.

use keyproof_service::{
    accounts::UserChange,
    device_identity::{ApiKey, Category, Manager},
};

use super::{
    Area, Console,
    certificates::{CA, LEAF},
    session::CONFIRMATION,
    tpms::{ALLOWED, CATEGORY, LATEST, MAKERS, MANAGER, REGISTERS},
};
use crate::{
    route_table::{Case, RouteTable},
    sites::{
        asset::Asset,
        operation::{self, form, page, upload},
        visit::Fields::{Lines, Parts},
    },
};

/// The longest body of a form with a file, in bytes: the file or its text, and the headers of its parts.
const UPLOAD: usize = 160 * 1024;

/// The longest body of a form with a file of certificates, or with registers, in bytes.
const FILES: usize = 640 * 1024;

type Operation = operation::Operation<Console>;

#[rustfmt::skip]
pub(super) static ROUTES: RouteTable<Operation> = RouteTable {
    case: Case::Sensitive,
    preflight: false,
    routes: &[
        page("/console", Operation::Show(Area::Start, |visit| Box::pin(visit.start()))),
        page("/console/icon.svg", Operation::Asset(Asset::Icon)),
        page("/console/script.js", Operation::Asset(Asset::Script)),
        page("/console/style.css", Operation::Asset(Asset::Style)),
        page("/console/sign-in", Operation::Open(|visit| Box::pin(visit.show_sign_in()))),
        form("/console/sign-in", Operation::Enter(&["token", "to"], |visit| Box::pin(visit.sign_in()))),
        form("/console/sign-out", Operation::Change(Area::Start, Lines(&[]), |visit| Box::pin(visit.sign_out()))),
        form("/console/sign-out/everywhere", Operation::Change(Area::Start, Lines(&[]), |visit| Box::pin(visit.sign_out_everywhere()))),
        page("/console/confirm", Operation::Show(Area::Start, |visit| Box::pin(visit.show_confirm()))),
        form("/console/confirm", Operation::Change(Area::Start, Lines(&["token", "to"]), |visit| Box::pin(visit.confirm()))),
        page("/console/tills", Operation::Show(Area::Tills, |visit| Box::pin(visit.tills()))),
        form("/console/tills", Operation::Change(Area::Tills, Lines(&["name", "password", CONFIRMATION]), |visit| Box::pin(visit.add_till()))),
        page("/console/tills/{instance}", Operation::Show(Area::Tills, |visit| Box::pin(visit.till()))),
        form("/console/tills/{instance}/remove", Operation::Change(Area::Tills, Lines(&[]), |visit| Box::pin(visit.remove_till()))),
        form("/console/tills/{instance}/devices", Operation::Change(Area::Tills, Lines(&["id", "description", "algorithm", "key", CONFIRMATION]), |visit| Box::pin(visit.add_till_device()))),
        page("/console/tills/{instance}/device", Operation::Show(Area::Tills, |visit| Box::pin(visit.till_device()))),
        form("/console/tills/{instance}/device/check", Operation::Change(Area::Tills, Lines(&["code", "of"]), |visit| Box::pin(visit.check_till_code()))),
        form("/console/tills/{instance}/device/remove", Operation::Change(Area::Tills, Lines(&[]), |visit| Box::pin(visit.remove_till_device()))),
        page("/console/certificates", Operation::Show(Area::Certificates, |visit| Box::pin(visit.services()))),
        page("/console/certificates/service", Operation::Show(Area::Certificates, |visit| Box::pin(visit.certificates()))),
        upload("/console/certificates/service", UPLOAD, Operation::Change(Area::Certificates, Parts(&CA), |visit| Box::pin(visit.upload_certificate()))),
        page("/console/certificates/certificate", Operation::Show(Area::Certificates, |visit| Box::pin(visit.certificate()))),
        form("/console/certificates/certificate/code", Operation::Change(Area::Certificates, Lines(&["etag"]), |visit| Box::pin(visit.generate_code()))),
        upload("/console/certificates/certificate/verify", UPLOAD, Operation::Change(Area::Certificates, Parts(&LEAF), |visit| Box::pin(visit.verify_certificate()))),
        form("/console/certificates/certificate/delete", Operation::Change(Area::Certificates, Lines(&["etag"]), |visit| Box::pin(visit.delete_certificate()))),
        page("/console/tpms", Operation::Show(Area::Tpms, |visit| Box::pin(visit.namespaces()))),
        page("/console/tpms/{namespace}", Operation::Show(Area::Tpms, |visit| Box::pin(visit.namespace()))),
        page("/console/tpms/{namespace}/categories", Operation::Show(Area::Tpms, |visit| Box::pin(visit.show_add::<Category>()))),
        upload("/console/tpms/{namespace}/categories", FILES, Operation::Change(Area::Tpms, Parts(&CATEGORY), |visit| Box::pin(visit.add::<Category>()))),
        page("/console/tpms/{namespace}/categories/{category}", Operation::Show(Area::Tpms, |visit| Box::pin(visit.object::<Category>()))),
        upload("/console/tpms/{namespace}/categories/{category}/allow", FILES, Operation::Change(Area::Tpms, Parts(&ALLOWED), |visit| Box::pin(visit.allow()))),
        form("/console/tpms/{namespace}/categories/{category}/disallow", Operation::Change(Area::Tpms, Lines(&["fingerprint"]), |visit| Box::pin(visit.disallow()))),
        upload("/console/tpms/{namespace}/categories/{category}/registers", FILES, Operation::Change(Area::Tpms, Parts(&REGISTERS), |visit| Box::pin(visit.set_registers()))),
        form("/console/tpms/{namespace}/categories/{category}/client/renew", Operation::Change(Area::Tpms, Lines(&[LATEST]), |visit| Box::pin(visit.renew_client()))),
        form("/console/tpms/{namespace}/categories/{category}/client/end-earlier", Operation::Change(Area::Tpms, Lines(&[LATEST]), |visit| Box::pin(visit.end_earlier_clients()))),
        form("/console/tpms/{namespace}/categories/{category}/delete", Operation::Change(Area::Tpms, Lines(&[]), |visit| Box::pin(visit.delete::<Category>()))),
        page("/console/tpms/{namespace}/keys", Operation::Show(Area::Tpms, |visit| Box::pin(visit.show_add::<ApiKey>()))),
        form("/console/tpms/{namespace}/keys", Operation::Change(Area::Tpms, Lines(&["name", "category", "description", "mtls", CONFIRMATION]), |visit| Box::pin(visit.add::<ApiKey>()))),
        page("/console/tpms/{namespace}/keys/{key}", Operation::Show(Area::Tpms, |visit| Box::pin(visit.object::<ApiKey>()))),
        form("/console/tpms/{namespace}/keys/{key}/disable", Operation::Change(Area::Tpms, Lines(&[]), |visit| Box::pin(visit.disable_api_key()))),
        form("/console/tpms/{namespace}/keys/{key}/enable", Operation::Change(Area::Tpms, Lines(&[]), |visit| Box::pin(visit.enable_api_key()))),
        form("/console/tpms/{namespace}/keys/{key}/revoke", Operation::Change(Area::Tpms, Lines(&["reason", CONFIRMATION]), |visit| Box::pin(visit.revoke_api_key()))),
        form("/console/tpms/{namespace}/keys/{key}/delete", Operation::Change(Area::Tpms, Lines(&[]), |visit| Box::pin(visit.delete::<ApiKey>()))),
        page("/console/tpms/{namespace}/managers", Operation::Show(Area::Tpms, |visit| Box::pin(visit.show_add::<Manager>()))),
        upload("/console/tpms/{namespace}/managers", FILES, Operation::Change(Area::Tpms, Parts(&MANAGER), |visit| Box::pin(visit.add::<Manager>()))),
        page("/console/tpms/{namespace}/managers/{manager}", Operation::Show(Area::Tpms, |visit| Box::pin(visit.object::<Manager>()))),
        upload("/console/tpms/{namespace}/managers/{manager}/makers", FILES, Operation::Change(Area::Tpms, Parts(&MAKERS), |visit| Box::pin(visit.add_makers()))),
        form("/console/tpms/{namespace}/managers/{manager}/makers/remove", Operation::Change(Area::Tpms, Lines(&["fingerprint"]), |visit| Box::pin(visit.remove_maker()))),
        form("/console/tpms/{namespace}/managers/{manager}/bundle/trust", Operation::Change(Area::Tpms, Lines(&[]), |visit| Box::pin(visit.trust_bundle(true)))),
        form("/console/tpms/{namespace}/managers/{manager}/bundle/distrust", Operation::Change(Area::Tpms, Lines(&[]), |visit| Box::pin(visit.trust_bundle(false)))),
        form("/console/tpms/{namespace}/managers/{manager}/delete", Operation::Change(Area::Tpms, Lines(&[]), |visit| Box::pin(visit.delete::<Manager>()))),
        page("/console/tpms/{namespace}/managers/{manager}/device", Operation::Show(Area::Tpms, |visit| Box::pin(visit.tpm_device()))),
        form("/console/tpms/{namespace}/managers/{manager}/device/relearn", Operation::Change(Area::Tpms, Lines(&[]), |visit| Box::pin(visit.relearn_tpm_device()))),
        form("/console/tpms/{namespace}/managers/{manager}/device/forget", Operation::Change(Area::Tpms, Lines(&[]), |visit| Box::pin(visit.forget_tpm_device()))),
        page("/console/users", Operation::Show(Area::Users, |visit| Box::pin(visit.organisations()))),
        page("/console/users/add", Operation::Show(Area::Users, |visit| Box::pin(visit.show_add_user()))),
        form("/console/users/add", Operation::Change(Area::Users, Lines(&["organisation", "name", "role", "password", CONFIRMATION]), |visit| Box::pin(visit.add_user()))),
        page("/console/users/{organisation}", Operation::Show(Area::Users, |visit| Box::pin(visit.users()))),
        page("/console/users/{organisation}/{user}", Operation::Show(Area::Users, |visit| Box::pin(visit.user()))),
        form("/console/users/{organisation}/{user}/activate", Operation::Change(Area::Users, Lines(&[]), |visit| Box::pin(visit.change_user(UserChange::Activate)))),
        form("/console/users/{organisation}/{user}/end-sessions", Operation::Change(Area::Users, Lines(&[]), |visit| Box::pin(visit.change_user(UserChange::EndSessions)))),
        form("/console/users/{organisation}/{user}/remove-key", Operation::Change(Area::Users, Lines(&["key"]), |visit| Box::pin(visit.remove_key()))),
        form("/console/users/{organisation}/{user}/suspend", Operation::Change(Area::Users, Lines(&[]), |visit| Box::pin(visit.change_user(UserChange::Suspend)))),
        form("/console/users/{organisation}/{user}/unlock", Operation::Change(Area::Users, Lines(&[]), |visit| Box::pin(visit.change_user(UserChange::Unlock)))),
        page("/console/audit", Operation::Show(Area::Audit, |visit| Box::pin(visit.audit()))),
        page("/console/audit/latest", Operation::Watch(Area::Audit, |visit| Box::pin(visit.audit()))),
        page("/console/audit/export", Operation::Show(Area::Audit, |visit| Box::pin(visit.export_audit()))),
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
