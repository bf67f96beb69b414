//! The templates of *Certificates*.

use keyproof_service::certificates::{CertificateView, ProvisioningService, Verification};
use keyproof_x509::{Check as _, Finding as _, Outcome, ProofCheck, ProofFinding, Report};
use zeroize::Zeroizing;

use super::{
    super::{
        Frame,
        addressing::query,
        words::{Piece, pieces, printed},
    },
    HERE,
};
use crate::sites::{
    moment::{Moment, moment_of},
    page::pages,
};

pages! {
    #[derive(::askama::Template)]
    pub(super) Frame;

    ServicesPage("console/certificates.html") {
        /// Each service with its number of certificates.
        services: Vec<(Place, u32)>,
        is_first: bool,
        next: Option<String>,
    }
    ServicePage("console/certificates_service.html") {
        place: Place,
        certificates: Vec<CertificateRow>,
        is_first: bool,
        /// The address of the next page.
        next: Option<String>,
    }
    CertificatePage("console/certificate.html") {
        place: Place,
        name: &'a str,
        query: String,
        subject: &'a str,
        ends: Moment,
        thumbprint: &'a str,
        possession: &'static str,
        is_proven: bool,
        uploaded: Moment,
        etag: String,
        code: Option<&'a str>,
        commands: Option<Commands>,
        report: Option<ReportShown>,
        confirm: Option<String>,
    }
}

/// The provisioning service of a page.
pub(super) struct Place {
    pub(super) subscription: String,
    pub(super) group: String,
    pub(super) service: String,
    pub(super) query: String,
}

pub(super) struct CertificateRow {
    pub(super) name: String,
    pub(super) subject: String,
    pub(super) possession: &'static str,
    pub(super) ends: Moment,
    pub(super) query: String,
}

/// The commands that create a leaf for a code.
pub(super) struct Commands {
    pub(super) openssl: String,
    pub(super) powershell: String,
}

/// A report for a template.
pub(super) struct ReportShown {
    pub(super) is_accepted: bool,
    pub(super) rows: Vec<CheckRow>,
}

pub(super) struct CheckRow {
    pub(super) name: &'static str,
    pub(super) outcome: &'static str,
    pub(super) is_refusal: bool,
    pub(super) detail: Vec<Piece>,
    pub(super) remedies: Vec<String>,
}

/// The proof on a certificate's page: the issued code, or the report on a leaf.
#[derive(Default)]
pub(super) struct ProofShown {
    pub(super) code: Option<Zeroizing<String>>,
    pub(super) report: Option<ReportShown>,
}

impl Place {
    pub(super) fn of(service: &ProvisioningService) -> Self {
        Self {
            query: query(&[
                ("subscription", &service.subscription),
                ("group", &service.resource_group),
                ("service", &service.name),
            ]),
            subscription: service.subscription.clone(),
            group: service.resource_group.clone(),
            service: service.name.clone(),
        }
    }

    /// Returns the query of one of its certificates.
    pub(super) fn query_of(&self, certificate: &str) -> String {
        format!("{}&{}", self.query, query(&[("name", certificate)]))
    }

    pub(super) fn link(&self) -> String {
        format!("{HERE}/service?{}", self.query)
    }

    pub(super) fn link_to(&self, certificate: &str) -> String {
        format!("{HERE}/certificate?{}", self.query_of(certificate))
    }
}

impl CertificateRow {
    pub(super) fn of(view: CertificateView, place: &Place) -> Self {
        Self {
            query: place.query_of(&view.name),
            name: view.name,
            subject: view.description.subject,
            possession: possession(view.verification),
            ends: moment_of(view.description.not_after),
        }
    }
}

impl Commands {
    /// Creates the commands for a code and a thumbprint, neither of which has characters that a shell interprets.
    pub(super) fn of(code: &str, thumbprint: &str) -> Self {
        Self {
            openssl: format!(
                "printf 'basicConstraints=critical,CA:FALSE\\nkeyUsage=critical,digitalSignature\\n' > leaf.ext\n\
                 openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout leaf.key -subj '/CN={code}' -out leaf.csr\n\
                 openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile leaf.ext -days 1 -out leaf.pem\n"
            ),
            powershell: format!(
                "$ca = Get-Item -Path 'Cert:\\CurrentUser\\My\\{thumbprint}'\n\
                 $leaf = New-SelfSignedCertificate -Subject 'CN={code}' -Signer $ca -KeyUsage DigitalSignature -NotAfter (Get-Date).AddDays(1) -CertStoreLocation 'Cert:\\CurrentUser\\My'\n\
                 Export-Certificate -Cert $leaf -FilePath 'leaf.cer'\n"
            ),
        }
    }
}

impl ReportShown {
    pub(super) fn of(report: &Report<ProofFinding>) -> Self {
        let rows = ProofCheck::ALL.iter().map(|check| {
            let outcome = report.outcome(*check);
            let mut remedies: Vec<&str> = match outcome {
                Outcome::Fail | Outcome::Warn => {
                    report.findings(*check).map(ProofFinding::remedy).collect()
                }
                _ => Vec::new(),
            };
            remedies.dedup();
            CheckRow {
                name: check.name(),
                outcome: outcome.name(),
                is_refusal: outcome.refuses(),
                detail: pieces(&report.detail(*check)),
                remedies: remedies.into_iter().map(printed).collect(),
            }
        });
        Self {
            is_accepted: report.accepted(),
            rows: rows.collect(),
        }
    }
}

pub(super) const fn possession(verification: Verification) -> &'static str {
    match verification {
        Verification::Asserted => "asserted by whoever uploaded it, not proven",
        Verification::None => "not proven",
        Verification::Proven => "proven",
    }
}
