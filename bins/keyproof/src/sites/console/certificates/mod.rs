//! *Certificates*: CA certificates of provisioning services, and the steps that prove possession of their keys.

mod pages;

use std::convert::Infallible;

use http::StatusCode;
use keyproof_service::{
    Action,
    certificates::{
        Caller, CertificateView, DeleteError, Deletion, GenerateCodeError, GetError, Precondition,
        ProvisioningService, PutError, Upload, UploadError, Verification, VerifyError,
    },
};
use zeroize::Zeroizing;

use super::{
    Area, Frame, HandlerResult, ROWS, Signed, Visit,
    addressing::{next_page, with_notice},
    render,
    words::{NO_FILE, sentence},
};
use crate::sites::{
    entries::Wrong,
    moment::{moment, moment_of},
    multipart::Part,
    page::see_other,
    refusal::Refusal,
};
use pages::{
    CertificatePage, CertificateRow, Commands, Place, ProofShown, ReportShown, ServicePage,
    ServicesPage, possession,
};

const HERE: &str = "/console/certificates";

/// The longest upload, in bytes.
pub(super) const LONGEST: usize = 64 * 1024;

/// The parts of the form that uploads a CA certificate.
pub(super) const CA: [Part; 3] = [
    Part::Line("name"),
    Part::Upload("file", LONGEST),
    Part::Upload("text", LONGEST),
];

/// The parts of the form that uploads a leaf.
pub(super) const LEAF: [Part; 4] = [
    Part::Line("etag"),
    Part::Line("code"),
    Part::Upload("file", LONGEST),
    Part::Upload("text", LONGEST),
];

impl Visit<Signed> {
    pub(super) async fn services(self) -> HandlerResult {
        let after = self.service_asked_for();
        let certificates = &self.service().certificates;
        let page = certificates
            .services(self.operator(), after.as_ref(), ROWS)
            .await?;
        let rows = page.rows.into_iter();
        let page = ServicesPage {
            frame: &self.frame_in(Area::Certificates),
            services: rows
                .map(|holding| (Place::of(&holding.service), holding.certificates))
                .collect(),
            is_first: after.is_none(),
            next: page.next.map(|next| Place::of(&next).query),
        };
        render(&page, StatusCode::OK)
    }

    pub(super) async fn certificates(self) -> HandlerResult {
        let frame = self.frame_in(Area::Certificates);
        self.service_page(&frame, StatusCode::OK).await
    }

    async fn service_page(&self, frame: &Frame, status: StatusCode) -> HandlerResult {
        let service = self.service_asked_for().ok_or(Refusal::NotFound)?;
        let place = Place::of(&service);
        let caller = self.certifier(Action::CertificateList, service, "").await?;
        let after = self.exchange.query().first("after");
        let certificates = &self.service().certificates;
        let found = certificates.list_page(&caller, after, ROWS).await?;
        let page = ServicePage {
            frame,
            is_first: after.is_none(),
            next: next_page(&place.link(), found.next),
            certificates: found
                .rows
                .into_iter()
                .map(|view| CertificateRow::of(view, &place))
                .collect(),
            place,
        };
        render(&page, status)
    }

    pub(super) async fn upload_certificate(self) -> HandlerResult {
        let service = self.service_asked_for().ok_or(Refusal::NotFound)?;
        let name = self.typed("name");
        let link = Place::of(&service).link_to(name);
        let caller = self
            .certifier(Action::CertificatePut, service, name)
            .await?;
        let upload = Upload {
            certificate: self.uploaded().to_vec(),
            verified: None,
        };
        let put = self.service().certificates.put::<Infallible>(
            &caller,
            name,
            &Precondition::Missing,
            Ok(upload),
        );
        let Err(failure) = put.await else {
            return Ok(see_other(&with_notice(&link, "certificate-added")));
        };
        let wrong = match failure.refusal()? {
            PutError::Body(never) => match never {},
            PutError::Precondition => Wrong::at(
                "name",
                "There is a certificate of this name. Delete that first, or choose another name.",
            ),
            why @ PutError::Name => Wrong::at("name", sentence(&why)),
            PutError::Upload(_) if self.uploaded().is_empty() => Wrong::at("file", NO_FILE),
            PutError::Upload(why) => Wrong::at("file", unreadable(&why)),
            why @ (PutError::Full { .. } | PutError::Unproven) => Wrong::of_all(sentence(&why)),
        };
        let frame = self.frame_with(Area::Certificates, wrong, &["name"]);
        self.service_page(&frame, StatusCode::UNPROCESSABLE_ENTITY)
            .await
    }

    pub(super) async fn certificate(self) -> HandlerResult {
        let frame = self.frame_in(Area::Certificates);
        let (caller, name) = self.one(Action::CertificateGet).await?;
        self.certificate_page(&frame, &caller, &name, StatusCode::OK)
            .await
    }

    async fn certificate_page(
        &self,
        frame: &Frame,
        caller: &Caller,
        name: &str,
        status: StatusCode,
    ) -> HandlerResult {
        let missing = Precondition::Missing;
        let certificates = &self.service().certificates;
        match certificates.get(caller, name, &missing).await {
            Ok(view) => self.draw(frame, &view, ProofShown::default(), status),
            Err(failure) => Err(match failure.refusal()? {
                GetError::Precondition | GetError::Unknown => Refusal::NotFound,
            }),
        }
    }

    /// Shows a certificate whose possession was not proven, with the code for another leaf: unless the certificate has
    /// changed, because then the code may not be its own any more.
    async fn unproven_page(
        &self,
        frame: &Frame,
        caller: &Caller,
        name: &str,
        etag: &Precondition,
        proof: ProofShown,
    ) -> HandlerResult {
        match self.service().certificates.get(caller, name, etag).await {
            Ok(view) => self.draw(frame, &view, proof, StatusCode::UNPROCESSABLE_ENTITY),
            Err(failure) => match failure.refusal()? {
                GetError::Precondition => self.changed_meanwhile(caller, name).await,
                GetError::Unknown => Err(Refusal::NotFound),
            },
        }
    }

    fn draw(
        &self,
        frame: &Frame,
        view: &CertificateView,
        proof: ProofShown,
        status: StatusCode,
    ) -> HandlerResult {
        let place = Place::of(&view.service);
        let code = proof.code.as_ref().map(|code| code.as_str());
        let page = CertificatePage {
            frame,
            name: &view.name,
            query: place.query_of(&view.name),
            subject: &view.description.subject,
            ends: moment_of(view.description.not_after),
            thumbprint: &view.description.thumbprint,
            possession: possession(view.verification),
            is_proven: view.verification == Verification::Proven,
            uploaded: moment(view.created_at),
            etag: view.version.to_string(),
            code,
            commands: code.map(|code| Commands::of(code, &view.description.thumbprint)),
            report: proof.report,
            confirm: self.confirm_url(&place.link_to(&view.name)),
            place,
        };
        render(&page, status)
    }

    pub(super) async fn generate_code(self) -> HandlerResult {
        let (caller, name) = self.one(Action::CertificateGenerateCode).await?;
        let etag = Precondition::OneOf(vec![self.typed("etag").to_owned()]);
        let certificates = &self.service().certificates;
        let issued = certificates.generate_code(&caller, &name, &etag);
        let frame = self.frame_in(Area::Certificates);
        match issued.await {
            Ok(issued) => {
                let proof = ProofShown {
                    code: Some(issued.digits),
                    report: None,
                };
                self.draw(&frame, &issued.certificate, proof, StatusCode::OK)
            }
            Err(failure) => match failure.refusal()? {
                GenerateCodeError::Precondition => self.changed_meanwhile(&caller, &name).await,
                GenerateCodeError::Unknown => Err(Refusal::NotFound),
            },
        }
    }

    pub(super) async fn verify_certificate(self) -> HandlerResult {
        let (caller, name) = self.one(Action::CertificateVerify).await?;
        // Only to show it again: the server checks with its own copy.
        let code = self.typed("code");
        let is_code = code.len() == 48 && code.bytes().all(|b| b.is_ascii_alphanumeric());
        let proof_with = |report| ProofShown {
            code: is_code.then(|| Zeroizing::new(code.to_owned())),
            report,
        };
        let leaf = self.uploaded().to_vec();
        let etag = Precondition::OneOf(vec![self.typed("etag").to_owned()]);
        let certificates = &self.service().certificates;
        if leaf.is_empty() {
            let wrong = Wrong::at("file", NO_FILE);
            let frame = self.frame_with(Area::Certificates, wrong, &[]);
            return self
                .unproven_page(&frame, &caller, &name, &etag, proof_with(None))
                .await;
        }
        let verified = certificates.verify::<Infallible>(&caller, &name, &etag, Ok(leaf));
        let failure = match verified.await {
            Ok(verified) => {
                let proof = ProofShown {
                    code: None,
                    report: Some(ReportShown::of(&verified.report)),
                };
                let frame = self.frame_in(Area::Certificates);
                return self.draw(&frame, &verified.certificate, proof, StatusCode::OK);
            }
            Err(failure) => failure,
        };
        match failure.refusal()? {
            VerifyError::Body(never) => match never {},
            VerifyError::Precondition => self.changed_meanwhile(&caller, &name).await,
            VerifyError::NoCode => {
                let text = "There is no live code: none was generated, or it was used, or it has expired. Generate one first.";
                let frame = self.frame_with(Area::Certificates, Wrong::of_all(text), &[]);
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                self.certificate_page(&frame, &caller, &name, status).await
            }
            VerifyError::Refused(report) => {
                let proof = proof_with(Some(ReportShown::of(&report)));
                let frame = self.frame_in(Area::Certificates);
                self.unproven_page(&frame, &caller, &name, &etag, proof)
                    .await
            }
            VerifyError::Unknown => Err(Refusal::NotFound),
        }
    }

    pub(super) async fn delete_certificate(self) -> HandlerResult {
        let (caller, name) = self.one(Action::CertificateDelete).await?;
        let service = self.service_asked_for().ok_or(Refusal::NotFound)?;
        let place = Place::of(&service);
        self.confirmed(&place.link_to(&name))?;
        let etag = Precondition::OneOf(vec![self.typed("etag").to_owned()]);
        let deleted = self.service().certificates.delete(&caller, &name, &etag);
        match deleted.await {
            Ok(Deletion::Absent) => Err(Refusal::NotFound),
            Ok(Deletion::Deleted) => Ok(see_other(&with_notice(
                &place.link(),
                "certificate-deleted",
            ))),
            Err(failure) => {
                let DeleteError::Precondition = failure.refusal()?;
                self.changed_meanwhile(&caller, &name).await
            }
        }
    }

    /// Shows that somebody else has changed the certificate since the page was shown.
    async fn changed_meanwhile(&self, caller: &Caller, name: &str) -> HandlerResult {
        let text = "The certificate has changed since this page was shown. Check it again, then repeat what you did.";
        let frame = self.frame_with(Area::Certificates, Wrong::of_all(text), &[]);
        self.certificate_page(&frame, caller, name, StatusCode::CONFLICT)
            .await
    }

    /// Returns the provisioning service in the query. White space around names is dropped only from those that were
    /// typed: the names of existing services may have some.
    fn service_asked_for(&self) -> Option<ProvisioningService> {
        let query = self.exchange.query();
        let is_typed = query.first("typed").is_some();
        let named = |name| {
            let text = query.first(name)?;
            let text = if is_typed { text.trim() } else { text };
            (!text.is_empty()).then(|| text.to_owned())
        };
        Some(ProvisioningService {
            subscription: named("subscription")?,
            resource_group: named("group")?,
            name: named("service")?,
        })
    }

    /// Returns the operator as permitted to do this to the certificate in the query, and its name.
    async fn one(&self, act: Action) -> Result<(Caller, String), Refusal> {
        let service = self.service_asked_for().ok_or(Refusal::NotFound)?;
        let name = self.asked("name")?;
        let caller = self.certifier(act, service, &name).await?;
        Ok((caller, name))
    }

    async fn certifier(
        &self,
        act: Action,
        service: ProvisioningService,
        name: &str,
    ) -> Result<Caller, Refusal> {
        let certificates = &self.service().certificates;
        let caller = certificates.permit(self.operator(), act, service, name, &self.origin);
        Ok(caller.await?)
    }
}

fn unreadable(why: &UploadError) -> String {
    match why {
        UploadError::PrivateKeyInUpload { .. } => {
            "This contains a private key. Upload only the certificate, and treat that key as disclosed.".to_owned()
        }
        _ => format!("This is not one X.509 certificate in PEM or DER: {why}."),
    }
}
