//! What this site answers, a line an operation.

use http::Method;
use keyproof_http::BoxFuture;
use keyproof_service::accounts::UserChange;

use super::{
    Answered, Area, Signed, Visit, Visitor,
    certificates::{CA, LEAF},
};
use crate::{
    dialect::route_table::{Case, Route, RouteTable, line},
    sites::{
        asset::Asset,
        multipart::{Multipart, Part},
    },
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
    /// For whoever is signed in and is shown this area.
    Show(Area, fn(Visit<Signed>) -> BoxFuture<Answered>),
    /// The same, of what a page asks by itself: the session is not used by that.
    Watch(Area, fn(Visit<Signed>) -> BoxFuture<Answered>),
    /// The same, with a form of these fields.
    Change(
        Area,
        &'static [&'static str],
        fn(Visit<Signed>) -> BoxFuture<Answered>,
    ),
    /// The same, with a form of these parts.
    Upload(
        Area,
        &'static [Part],
        fn(Visit<Signed>, Multipart) -> BoxFuture<Answered>,
    ),
}

/// What the body of a form with a file needs, in bytes: the file or its text, and the heads of its parts.
const UPLOAD: usize = 160 * 1024;

/// What the body of a form needs, in bytes: its few fields, each of which may be escaped throughout.
const FORM: usize = 16 * 1024;

const fn form(template: &'static str, operation: Operation) -> Route<Operation> {
    line(Method::POST, template, FORM, operation)
}

const fn upload(template: &'static str, operation: Operation) -> Route<Operation> {
    line(Method::POST, template, UPLOAD, operation)
}

const fn page(template: &'static str, operation: Operation) -> Route<Operation> {
    line(Method::GET, template, 0, operation)
}

#[rustfmt::skip]
pub(super) static ROUTES: RouteTable<Operation> = RouteTable {
    case: Case::Sensitive,
    routes: &[
        page("/console", Operation::Show(Area::Start, |visit| Box::pin(visit.start()))),
        page("/console/icon.svg", Operation::Asset(Asset::Icon)),
        page("/console/script.js", Operation::Asset(Asset::Script)),
        page("/console/style.css", Operation::Asset(Asset::Style)),
        page("/console/sign-in", Operation::Open(|visit| Box::pin(visit.show_sign_in()))),
        form("/console/sign-in", Operation::Enter(&["token"], |visit| Box::pin(visit.sign_in()))),
        form("/console/sign-out", Operation::Change(Area::Start, &[], |visit| Box::pin(visit.sign_out()))),
        form("/console/sign-out/everywhere", Operation::Change(Area::Start, &[], |visit| Box::pin(visit.sign_out_everywhere()))),
        page("/console/confirm", Operation::Show(Area::Start, |visit| Box::pin(visit.show_confirm()))),
        form("/console/confirm", Operation::Change(Area::Start, &["token", "to"], |visit| Box::pin(visit.confirm()))),
        page("/console/tills", Operation::Show(Area::Tills, |visit| Box::pin(visit.tills()))),
        form("/console/tills", Operation::Change(Area::Tills, &["name", "password"], |visit| Box::pin(visit.add_till()))),
        page("/console/tills/{instance}", Operation::Show(Area::Tills, |visit| Box::pin(visit.till()))),
        form("/console/tills/{instance}/remove", Operation::Change(Area::Tills, &[], |visit| Box::pin(visit.remove_till()))),
        form("/console/tills/{instance}/devices", Operation::Change(Area::Tills, &["id", "description", "algorithm", "key"], |visit| Box::pin(visit.add_till_device()))),
        page("/console/tills/{instance}/device", Operation::Show(Area::Tills, |visit| Box::pin(visit.till_device()))),
        form("/console/tills/{instance}/device/check", Operation::Change(Area::Tills, &["code", "of"], |visit| Box::pin(visit.check_till_code()))),
        form("/console/tills/{instance}/device/remove", Operation::Change(Area::Tills, &[], |visit| Box::pin(visit.remove_till_device()))),
        page("/console/certificates", Operation::Show(Area::Certificates, |visit| Box::pin(visit.services()))),
        page("/console/certificates/service", Operation::Show(Area::Certificates, |visit| Box::pin(visit.certificates()))),
        upload("/console/certificates/service", Operation::Upload(Area::Certificates, &CA, |visit, form| Box::pin(visit.upload_certificate(form)))),
        page("/console/certificates/certificate", Operation::Show(Area::Certificates, |visit| Box::pin(visit.certificate()))),
        form("/console/certificates/certificate/code", Operation::Change(Area::Certificates, &["etag"], |visit| Box::pin(visit.generate_code()))),
        upload("/console/certificates/certificate/verify", Operation::Upload(Area::Certificates, &LEAF, |visit, form| Box::pin(visit.verify_certificate(form)))),
        form("/console/certificates/certificate/delete", Operation::Change(Area::Certificates, &["etag"], |visit| Box::pin(visit.delete_certificate()))),
        page("/console/tpms", Operation::Show(Area::Tpms, |visit| Box::pin(visit.namespaces()))),
        page("/console/tpms/{namespace}", Operation::Show(Area::Tpms, |visit| Box::pin(visit.namespace()))),
        form("/console/tpms/{namespace}/keys", Operation::Change(Area::Tpms, &["name", "category", "description", "mtls"], |visit| Box::pin(visit.make_api_key()))),
        page("/console/tpms/{namespace}/keys/{name}", Operation::Show(Area::Tpms, |visit| Box::pin(visit.api_key()))),
        form("/console/tpms/{namespace}/keys/{name}", Operation::Change(Area::Tpms, &["reason"], |visit| Box::pin(visit.revoke_api_key()))),
        page("/console/tpms/{namespace}/managers/{manager}", Operation::Show(Area::Tpms, |visit| Box::pin(visit.tpm_manager()))),
        page("/console/tpms/{namespace}/managers/{manager}/device", Operation::Show(Area::Tpms, |visit| Box::pin(visit.tpm_device()))),
        form("/console/tpms/{namespace}/managers/{manager}/device/relearn", Operation::Change(Area::Tpms, &[], |visit| Box::pin(visit.relearn_tpm_device()))),
        form("/console/tpms/{namespace}/managers/{manager}/device/forget", Operation::Change(Area::Tpms, &[], |visit| Box::pin(visit.forget_tpm_device()))),
        page("/console/users", Operation::Show(Area::Users, |visit| Box::pin(visit.organisations()))),
        page("/console/users/add", Operation::Show(Area::Users, |visit| Box::pin(visit.show_add_user()))),
        form("/console/users/add", Operation::Change(Area::Users, &["organisation", "name", "role", "password"], |visit| Box::pin(visit.add_user()))),
        page("/console/users/{organisation}", Operation::Show(Area::Users, |visit| Box::pin(visit.users()))),
        page("/console/users/{organisation}/{user}", Operation::Show(Area::Users, |visit| Box::pin(visit.user()))),
        form("/console/users/{organisation}/{user}/activate", Operation::Change(Area::Users, &[], |visit| Box::pin(visit.change_user(UserChange::Activate)))),
        form("/console/users/{organisation}/{user}/end-sessions", Operation::Change(Area::Users, &[], |visit| Box::pin(visit.change_user(UserChange::EndSessions)))),
        form("/console/users/{organisation}/{user}/remove-key", Operation::Change(Area::Users, &[], |visit| Box::pin(visit.change_user(UserChange::RemoveKey)))),
        form("/console/users/{organisation}/{user}/suspend", Operation::Change(Area::Users, &[], |visit| Box::pin(visit.change_user(UserChange::Suspend)))),
        form("/console/users/{organisation}/{user}/unlock", Operation::Change(Area::Users, &[], |visit| Box::pin(visit.change_user(UserChange::Unlock)))),
        page("/console/audit", Operation::Show(Area::Audit, |visit| Box::pin(visit.audit()))),
        page("/console/audit/latest", Operation::Watch(Area::Audit, |visit| Box::pin(visit.audit()))),
        page("/console/audit/export", Operation::Show(Area::Audit, |visit| Box::pin(visit.export_audit()))),
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
