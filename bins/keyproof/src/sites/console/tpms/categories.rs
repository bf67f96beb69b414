//! Categories: adding one with a client certificate, whose key is shown only once; renewing that certificate; deleting
//! one; the endorsement certificates that it allows; and the registers that it requires.

use http::StatusCode;
use keyproof_http::Response;
use keyproof_service::{
    Failure,
    device_identity::{
        Administrator, AttestationKeyTemplate, Category, CreateCategoryError, EndClientsError,
        ExpectedRegister, ListingError, Manager, NewCategory, ObjectOperation, PcrPolicy,
        PcrPolicyError, PolicyChangeError, RenewClientError, ReplaceCategoryError,
    },
};

use super::{
    Area, CONFIRMATION, FILE, Frame, HandlerResult, Part, REGISTERS_CONFIRMATION, Refusal, Signed,
    TEXT, TOKEN, Unfilled, Visit, Wrong, moment,
    object::{Paged, too_large_at},
    pages::{AllowedRow, CategoryAddPage, CategoryMadePage, CategoryPage},
    render, sentence,
};

/// The policy for registers.
const POLICY: Part = Part::Line("policy");

/// The required values, one per line: 64 for each of the 24 registers of the two widest banks.
const VALUES: Part = Part::Upload("registers", 384 * 1024);

/// The fingerprint of the client certificate that the page shows.
pub(in crate::sites::console) const LATEST: &str = "latest";

/// The parts of the form that adds a category.
pub(in crate::sites::console) const CATEGORY: [Part; 8] = [
    Part::Line("name"),
    Part::Line("manager"),
    Part::Line("description"),
    POLICY,
    VALUES,
    FILE,
    TEXT,
    TOKEN,
];

/// The parts of the form that adds to an allow-list.
pub(in crate::sites::console) const ALLOWED: [Part; 3] = [FILE, TEXT, TOKEN];

/// The fingerprint of the policy for registers that the page showed.
const SHOWN: &str = "shown";

/// The parts of the form that changes the policy for registers.
pub(in crate::sites::console) const REGISTERS: [Part; 4] = [
    POLICY,
    VALUES,
    Part::Line(SHOWN),
    Part::Line(REGISTERS_CONFIRMATION),
];

impl Paged for Category {
    const FOLDER: &'static str = "categories";

    const VARIABLE: &'static str = "category";

    const FIELDS: &'static [&'static str] =
        &["policy", "manager", "name", "description", "registers"];

    async fn page(visit: &Visit<Signed>, mut frame: Frame, status: StatusCode) -> HandlerResult {
        let name = visit.named(Self::VARIABLE);
        let administrator = visit
            .administrator::<Self>(ObjectOperation::Get, name)
            .await?;
        let devices = &visit.service().device_identity;
        let category = devices.find(&administrator, name).await?;
        let allowed = devices
            .allowed_certificates(&administrator, &category)
            .await?;
        let below = devices.referring(&category).await?;
        let (policy, values) = written(&category.spec.pcr_policy);
        // The other form may have been sent, whose pasted text stays.
        if frame.entries.text("policy").is_empty() {
            let stored = [("policy", policy.to_owned()), ("registers", values)];
            frame.entries.filled.extend(stored);
        }
        // What was typed is still over what the page showed first.
        let shown = match frame.entries.text(SHOWN) {
            "" => category.spec.pcr_policy.fingerprint(),
            shown => shown.to_owned(),
        };
        let link = visit.link_to::<Self>(name);
        let (has_allowed, has_keys) = (!allowed.is_empty(), !below.is_empty());
        let (allowed, more_allowed) = visit.part("allowed", allowed, &link);
        let (keys, more_keys) = visit.part("keys", below, &link);
        let page = CategoryPage {
            frame: &frame,
            namespace: visit.named("namespace"),
            name,
            description: &category.metadata.description,
            is_disabled: category.metadata.disable,
            manager: &category.spec.manager,
            ca: category.spec.sub_ca_name(),
            ends: moment(category.spec.sub_ca_ends()),
            has_keys,
            keys: keys.into_iter().map(|key| key.name).collect(),
            more_keys,
            policy,
            shown,
            expected: match &category.spec.pcr_policy {
                PcrPolicy::Expected(registers) => registers,
                PcrPolicy::Any | PcrPolicy::Learn => &[],
            },
            has_allowed,
            allowed: allowed.into_iter().map(AllowedRow::of).collect(),
            more_allowed,
            certificate: &category.spec.client_certificate,
            client_ends: category.spec.client_ends().map(moment),
            latest: category
                .spec
                .client_thumbprint()
                .map(|latest| latest.to_string())
                .unwrap_or_default(),
            earlier_certificates: category.spec.earlier_client_certificates.len(),
            confirm: visit.confirm_url(&link),
        };
        render(&page, status)
    }

    async fn form(visit: &Visit<Signed>, frame: &Frame, status: StatusCode) -> HandlerResult {
        let page = CategoryAddPage {
            frame,
            namespace: visit.named("namespace"),
            managers: visit.choice::<Manager>().await?,
        };
        render(&page, status)
    }

    /// Adds a category. The private key of its stations' certificate is shown only once.
    async fn add(visit: &Visit<Signed>, who: &Administrator<Self>) -> Result<Response, Unfilled> {
        let name = visit.typed("name");
        let devices = &visit.service().device_identity;
        let allow_list = match visit.uploaded() {
            [] => Vec::new(),
            file => devices
                .read_endorsements(who, file)
                .await?
                .map_err(|why| Wrong::at("file", sentence(&why)))?,
        };
        let new = NewCategory {
            metadata: visit.metadata(),
            manager: visit.typed("manager").to_owned(),
            allow_list,
            attestation_key: AttestationKeyTemplate::default(),
            pcr_policy: visit.policy("")?,
        };
        let issued = devices.create_category(who, new).await?;
        let page = CategoryMadePage {
            frame: &visit.frame_in(Area::Tpms),
            name,
            is_renewed: false,
            link: visit.link_to::<Self>(name),
            key: &issued.client_key,
            certificate: &issued.object.spec.client_certificate,
        };
        Ok(render(&page, StatusCode::OK)?)
    }
}

impl Visit<Signed> {
    pub(in crate::sites::console) async fn allow(self) -> HandlerResult {
        let (category, name) = self.changing::<Category>(ObjectOperation::Replace).await?;
        let devices = &self.service().device_identity;
        let shown = self.token_shown(CONFIRMATION);
        let allowed = match shown.and_then(|()| self.certificate_file()) {
            Ok(file) => devices.allow(&category, name, file).await,
            Err(wrong) => return self.changed::<Category>(Err(wrong), &[]).await,
        };
        self.changed::<Category>(allowed, &[]).await
    }

    pub(in crate::sites::console) async fn disallow(self) -> HandlerResult {
        let (category, name) = self.weakening::<Category>(ObjectOperation::Replace).await?;
        let fingerprint = self.fingerprint("fingerprint")?;
        let devices = &self.service().device_identity;
        let removed = devices.disallow(&category, name, &fingerprint).await;
        self.changed::<Category>(removed, &[]).await
    }

    /// Renews the client certificate of its stations that the form's page showed, so that reloading the answer renews
    /// nothing. The private key is shown only once.
    pub(in crate::sites::console) async fn renew_client(self) -> HandlerResult {
        const FULL: &str =
            "The category’s record is full: remove certificates from its allow-list first.";
        let (category, name) = self.weakening::<Category>(ObjectOperation::Replace).await?;
        let devices = &self.service().device_identity;
        let latest = self.fingerprint(LATEST)?;
        let issued = match devices.renew_client(&category, name, Some(&latest)).await {
            Ok(issued) => issued,
            Err(failure) => {
                // The form has no field.
                let failed = too_large_at(failure, "", FULL);
                return self.changed::<Category>(Err(failed), &[]).await;
            }
        };
        let page = CategoryMadePage {
            frame: &self.frame_in(Area::Tpms),
            name,
            is_renewed: true,
            link: self.link_to::<Category>(name),
            key: &issued.key,
            certificate: &issued.certificate,
        };
        render(&page, StatusCode::OK)
    }

    /// Ends the client certificates before the one that the form's page showed.
    pub(in crate::sites::console) async fn end_earlier_clients(self) -> HandlerResult {
        let (category, name) = self.weakening::<Category>(ObjectOperation::Replace).await?;
        let devices = &self.service().device_identity;
        let latest = self.fingerprint(LATEST)?;
        let ended = devices
            .end_earlier_clients(&category, name, Some(&latest))
            .await;
        self.changed::<Category>(ended.map(drop), &[]).await
    }

    pub(in crate::sites::console) async fn set_registers(self) -> HandlerResult {
        const FILLED: [&str; 3] = ["policy", "registers", SHOWN];
        const FULL: &str = "These values do not fit into the category’s record: remove certificates from its allow-list first.";
        let (category, name) = self.changing::<Category>(ObjectOperation::Replace).await?;
        if let Err(wrong) = self.token_shown(REGISTERS_CONFIRMATION) {
            return self.changed::<Category>(Err(wrong), &FILLED).await;
        }
        let devices = &self.service().device_identity;
        let stored = devices.find(&category, name).await?;
        let (_, prefilled) = written(&stored.spec.pcr_policy);
        // The page of an earlier release has none.
        let shown = Some(self.typed(SHOWN)).filter(|shown| !shown.is_empty());
        let policy = self.policy(&prefilled);
        let set = devices.set_pcr_policy(&category, name, shown, policy).await;
        let filled: &[&str] = match set {
            // The next form is filled in over what its page shows.
            Err(Failure::Refused(ReplaceCategoryError::Body(PolicyChangeError::NotShown))) => {
                &["policy", "registers"]
            }
            _ => &FILLED,
        };
        let set = set.map_err(|failure| too_large_at(failure, "registers", FULL));
        self.changed::<Category>(set, filled).await
    }

    /// Returns a form's policy for registers. `prefilled` are the values that the form had. With a policy without
    /// values, changed values are an error: whoever has typed some expects them to apply.
    fn policy(&self, prefilled: &str) -> Result<PcrPolicy, Unfilled> {
        const UNUSED: &str =
            "Values apply only with “The values below”: choose that, or clear them.";
        let typed = self.typed("registers");
        let without_values = |policy: PcrPolicy| -> Result<PcrPolicy, Unfilled> {
            if is_blank_or(prefilled, typed) {
                Ok(policy)
            } else {
                Err(Wrong::at("registers", UNUSED).into())
            }
        };
        match self.typed("policy") {
            "learn" => without_values(PcrPolicy::Learn),
            "any" => without_values(PcrPolicy::Any),
            "expected" => match expected(typed) {
                Ok(registers) => Ok(PcrPolicy::Expected(registers)),
                Err(line) => {
                    let text = format!(
                        "Line {line} is not of the form “sha256:7 = value in hexadecimal”."
                    );
                    Err(Wrong::at("registers", text).into())
                }
            },
            _ => Err(Refusal::Malformed(StatusCode::BAD_REQUEST).into()),
        }
    }
}

impl From<CreateCategoryError> for Unfilled {
    fn from(why: CreateCategoryError) -> Self {
        let text = sentence(&why);
        Self::Wrong(match why {
            CreateCategoryError::AllowList(_) => Wrong::at("file", text),
            CreateCategoryError::AttestationKey => Wrong::of_all(text),
            CreateCategoryError::Authority(why) => return why.into(),
            CreateCategoryError::Deleted => Wrong::at("name", text),
            CreateCategoryError::Exists => Wrong::at("name", "There is a category of this name."),
            CreateCategoryError::Metadata(why) => return why.into(),
            CreateCategoryError::PcrPolicy(why) => registers_wrong(why),
            CreateCategoryError::UnknownManager => {
                Wrong::at("manager", "There is no manager of this name.")
            }
        })
    }
}

impl From<RenewClientError> for Unfilled {
    fn from(why: RenewClientError) -> Self {
        match why {
            RenewClientError::Authority(why) => why.into(),
            RenewClientError::Renewed | RenewClientError::TooMany => {
                Wrong::of_all(sentence(&why)).into()
            }
            RenewClientError::Unknown => Refusal::NotFound.into(),
        }
    }
}

impl From<EndClientsError> for Unfilled {
    fn from(why: EndClientsError) -> Self {
        match why {
            EndClientsError::Renewed => Wrong::of_all(sentence(&why)).into(),
            EndClientsError::Unknown => Refusal::NotFound.into(),
        }
    }
}

impl<B: Into<Self>> From<ReplaceCategoryError<B>> for Unfilled {
    fn from(why: ReplaceCategoryError<B>) -> Self {
        match why {
            ReplaceCategoryError::AllowList(why) => Wrong::at("file", sentence(&why)).into(),
            ReplaceCategoryError::Body(why) => why.into(),
            ReplaceCategoryError::PcrPolicy(why) => registers_wrong(why).into(),
            ReplaceCategoryError::Unknown => Refusal::NotFound.into(),
        }
    }
}

impl From<ListingError> for Unfilled {
    fn from(why: ListingError) -> Self {
        match why {
            ListingError::File(why) => Wrong::at("file", sentence(&why)).into(),
            ListingError::NotListed => Refusal::NotFound.into(),
        }
    }
}

impl From<PolicyChangeError<Self>> for Unfilled {
    fn from(why: PolicyChangeError<Self>) -> Self {
        const CHANGED: &str = "The required registers were changed since this page was shown. Nothing is done. Compare them with yours, then repeat what you did.";
        match why {
            PolicyChangeError::Body(why) => why,
            PolicyChangeError::NotShown => Wrong::of_all(CHANGED).into(),
        }
    }
}

/// The error in a policy's registers, in the words of the form.
fn registers_wrong(why: PcrPolicyError) -> Wrong {
    let text = match why {
        PcrPolicyError::Register => {
            "Give the values of 1 to 48 registers. Each is a bank, sha256, sha384 or sha512, and a number from 0 to 23."
        }
        PcrPolicyError::Values => {
            "A register has 1 to 64 values in hexadecimal, of 64 digits for sha256, 96 for sha384, and 128 for sha512."
        }
    };
    Wrong::at("registers", text)
}

/// Parses registers with their values, one per line, such as `sha256:7 = 00ff…`.
///
/// # Errors
///
/// The number of the first invalid line; the first line is 1.
fn expected(text: &str) -> Result<Vec<ExpectedRegister>, usize> {
    let mut registers: Vec<ExpectedRegister> = Vec::new();
    for (line, number) in text.lines().zip(1_usize..) {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let read = || {
            let (register, value) = line.split_once('=')?;
            let (bank, index) = register.trim().split_once(':')?;
            Some((bank, index.parse().ok()?, value.trim().to_ascii_lowercase()))
        };
        let (bank, index, value) = read().ok_or(number)?;
        let mut known = registers.iter_mut();
        match known.find(|known| known.bank == bank && known.index == index) {
            Some(known) => known.values.push(value),
            None => registers.push(ExpectedRegister {
                bank: bank.to_owned(),
                index,
                values: vec![value],
            }),
        }
    }
    Ok(registers)
}

/// Whether nothing was typed, or the text is unchanged except for spaces and line ends, which browsers rewrite.
fn is_blank_or(prefilled: &str, typed: &str) -> bool {
    fn lines(text: &str) -> impl Iterator<Item = &str> {
        text.lines().map(str::trim).filter(|line| !line.is_empty())
    }

    lines(typed).next().is_none() || lines(typed).eq(lines(prefilled))
}

/// Returns a policy as the form has it.
fn written(policy: &PcrPolicy) -> (&'static str, String) {
    match policy {
        PcrPolicy::Any => ("any", String::new()),
        PcrPolicy::Learn => ("learn", String::new()),
        PcrPolicy::Expected(registers) => {
            let lines = registers.iter().flat_map(|register| {
                let (bank, index) = (&register.bank, register.index);
                let values = register.values.iter();
                values.map(move |value| format!("{bank}:{index} = {value}\n"))
            });
            ("expected", lines.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_read_as_they_are_written() {
        let text = "sha256:7 = 00ff\nsha256:7 = 01ff\nsha384:0 = aa\n";
        let registers = expected(text).unwrap();
        assert_eq!(registers.len(), 2);
        assert_eq!(registers[0].values, ["00ff", "01ff"]);
        let policy = PcrPolicy::Expected(registers);
        assert_eq!(written(&policy), ("expected", text.to_owned()));
        let loose = expected("\r\n  sha256:7=00FF \r\n").unwrap();
        assert_eq!(loose[0].values, ["00ff"]);
        assert_eq!(expected(""), Ok(Vec::new()));
        for (wrong, line) in [
            ("x", 1),
            ("sha256:7 = 0\n\nsha256 = 0", 3),
            ("sha256:x = 0", 1),
            ("sha256:256 = 0", 1),
            ("sha256:7 0", 1),
        ] {
            assert_eq!(expected(wrong), Err(line), "{wrong}");
        }
    }

    #[test]
    fn values_that_stand_as_they_were_are_not_typed() {
        let prefilled = "sha256:7 = 00ff\nsha256:8 = aa\n";
        for (typed, is_same) in [
            ("", true),
            (" \r\n\t", true),
            (prefilled, true),
            ("sha256:7 = 00ff\r\nsha256:8 = aa", true),
            ("sha256:7 = 00ff", false),
            ("sha256:7 = 00ff\nsha256:8 = ab\n", false),
            ("sha256:7 = 00ff\nsha256:8 = aa\nsha256:9 = aa", false),
        ] {
            assert_eq!(is_blank_or(prefilled, typed), is_same, "{typed:?}");
        }
        assert!(!is_blank_or("", "sha256:7 = 00ff"));
    }
}
