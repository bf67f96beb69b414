//! Categories: made, with the client certificate whose key is shown once, and deleted; which endorsement certificates each
//! allows, and what it asks of registers.

use http::StatusCode;
use keyproof_service::{
    Failure, StorageError,
    device_identity::{
        Act, AttestationKeyTemplate, Category, CreateCategoryError, ExpectedRegister, ListingError,
        Manager, Metadata, NewCategory, PcrPolicy, ReplaceCategoryError,
    },
};

use super::{
    Answered, Area, FILE, Frame, HERE, Multipart, NO_FILE, Part, ROWS, Refusal, Signed, TEXT,
    TOO_LARGE, Visit, Wrong, authority, confirm, kept, metadata,
    pages::{AllowedRow, CategoryAddPage, CategoryMadePage, CategoryPage},
    render, see_other, sentence, uploaded,
};

/// What is asked of registers.
const POLICY: Part = Part::Line("policy");

/// The values that are asked for: a line a value.
const VALUES: Part = Part::Upload("registers", 16 * 1024);

/// The parts of the form that makes a category.
pub(in crate::sites::console) const CATEGORY: [Part; 7] = [
    Part::Line("name"),
    Part::Line("manager"),
    Part::Line("description"),
    POLICY,
    VALUES,
    FILE,
    TEXT,
];

/// The parts of the form that adds to an allow-list.
pub(in crate::sites::console) const ALLOWED: [Part; 2] = [FILE, TEXT];

/// The parts of the form that says what registers are to be.
pub(in crate::sites::console) const REGISTERS: [Part; 2] = [POLICY, VALUES];

type Changed = Result<(), Failure<ReplaceCategoryError<ListingError>>>;

impl Visit<Signed> {
    pub(in crate::sites::console) async fn show_add_category(self) -> Answered {
        let manager = self.exchange.query().first("manager");
        let filled = manager.map(|manager| ("manager", manager.to_owned()));
        let frame = Frame {
            filled: filled.into_iter().collect(),
            ..self.frame_in(Area::Tpms)
        };
        self.category_form(&frame, StatusCode::OK).await
    }

    async fn category_form(&self, frame: &Frame, status: StatusCode) -> Answered {
        let page = CategoryAddPage {
            frame,
            namespace: self.named("namespace"),
            managers: self.names::<Manager>().await?,
        };
        render(&page, status)
    }

    pub(in crate::sites::console) async fn add_category(self, form: Multipart) -> Answered {
        let name = form.text("name");
        let administrator = self.administrator::<Category>(Act::Create, name).await?;
        let (field, text) = match self.new_category(&form).await? {
            Err(wrong) => wrong,
            Ok(new) => {
                let devices = &self.service().device_identity;
                match devices.create_category(&administrator, new).await {
                    Ok(issued) => {
                        let page = CategoryMadePage {
                            frame: &self.frame_in(Area::Tpms),
                            name,
                            link: self.category_link(name),
                            key: &issued.client_key,
                            certificate: &issued.object.spec.client_certificate,
                        };
                        return render(&page, StatusCode::OK);
                    }
                    Err(Failure::Refused(why)) => not_made(why)?,
                    Err(Failure::Storage(StorageError::TooLarge { .. })) => {
                        ("file", TOO_LARGE.to_owned())
                    }
                    Err(Failure::Storage(error)) => return Err(error.into()),
                }
            }
        };
        let frame = Frame {
            filled: ["name", "manager", "description", "policy", "registers"]
                .map(|field| (field, form.text(field).to_owned()))
                .into(),
            ..self.frame_with(Area::Tpms, field, text, &[])
        };
        self.category_form(&frame, StatusCode::UNPROCESSABLE_ENTITY)
            .await
    }

    /// What the form says of a new category.
    async fn new_category(&self, form: &Multipart) -> Result<Result<NewCategory, Wrong>, Refusal> {
        let devices = &self.service().device_identity;
        let allow_list = match uploaded(form) {
            None => Vec::new(),
            Some(file) => match devices.read_endorsements(file).await? {
                Ok(certificates) => certificates,
                Err(why) => return Ok(Err(("file", sentence(&why.to_string())))),
            },
        };
        let pcr_policy = match policy(form)? {
            Ok(policy) => policy,
            Err(wrong) => return Ok(Err(wrong)),
        };
        Ok(Ok(NewCategory {
            metadata: Metadata {
                name: form.text("name").to_owned(),
                description: form.text("description").to_owned(),
                ..Metadata::default()
            },
            manager: form.text("manager").to_owned(),
            allow_list,
            attestation_key: AttestationKeyTemplate::default(),
            pcr_policy,
        }))
    }

    pub(in crate::sites::console) async fn category(self) -> Answered {
        self.category_page(self.frame_in(Area::Tpms), StatusCode::OK)
            .await
    }

    async fn category_page(&self, mut frame: Frame, status: StatusCode) -> Answered {
        let name = self.named("category");
        let administrator = self.administrator::<Category>(Act::Get, name).await?;
        let devices = &self.service().device_identity;
        let category = devices.find(&administrator, name).await?;
        let allowed = devices
            .allowed_certificates(&administrator, &category)
            .await?;
        let below = devices.referring(&category).await?;
        let (policy, values) = written(&category.spec.pcr_policy);
        if frame.filled.is_empty() {
            frame.filled = vec![("policy", policy.to_owned()), ("registers", values)];
        }
        let link = self.category_link(name);
        let (allowed, more_allowed) = self.part("allowed", allowed, &link);
        let page = CategoryPage {
            frame: &frame,
            namespace: self.named("namespace"),
            name,
            description: &category.metadata.description,
            is_disabled: category.metadata.disable,
            manager: &category.spec.manager,
            ca: category.spec.sub_ca_name(),
            ends: super::moment(category.spec.sub_ca_ends()),
            more_keys: below.len().saturating_sub(ROWS),
            keys: below.into_iter().take(ROWS).map(|key| key.name).collect(),
            policy,
            expected: match &category.spec.pcr_policy {
                PcrPolicy::Expected(registers) => registers,
                PcrPolicy::Any | PcrPolicy::Learn => &[],
            },
            allowed: allowed.into_iter().map(AllowedRow::of).collect(),
            more_allowed,
            certificate: &category.spec.client_certificate,
            is_fresh: self.is_fresh(),
            confirm: confirm(&link),
        };
        render(&page, status)
    }

    fn category_link(&self, name: &str) -> String {
        format!("{HERE}/{}/categories/{name}", self.named("namespace"))
    }

    pub(in crate::sites::console) async fn allow(self, form: Multipart) -> Answered {
        let name = self.named("category");
        let administrator = self.administrator::<Category>(Act::Replace, name).await?;
        self.confirmed()?;
        let devices = &self.service().device_identity;
        let Some(file) = uploaded(&form) else {
            let text = NO_FILE.to_owned();
            return self.category_again("file", text, Vec::new()).await;
        };
        let allowed = devices.allow(&administrator, name, file).await;
        self.category_changed(allowed, "file", Vec::new()).await
    }

    pub(in crate::sites::console) async fn disallow(self) -> Answered {
        let name = self.named("category");
        let administrator = self.administrator::<Category>(Act::Replace, name).await?;
        self.confirmed()?;
        let fingerprint = self.typed("fingerprint").parse();
        let fingerprint = fingerprint.map_err(|_| Refusal::NotFound)?;
        let devices = &self.service().device_identity;
        let removed = devices.disallow(&administrator, name, &fingerprint).await;
        self.category_changed(removed, "file", Vec::new()).await
    }

    pub(in crate::sites::console) async fn set_registers(self, form: Multipart) -> Answered {
        let name = self.named("category");
        let administrator = self.administrator::<Category>(Act::Replace, name).await?;
        self.confirmed()?;
        let filled = ["policy", "registers"].map(|field| (field, form.text(field).to_owned()));
        let devices = &self.service().device_identity;
        match policy(&form)? {
            Ok(policy) => {
                let set = devices.set_pcr_policy(&administrator, name, &policy).await;
                self.category_changed(set, "registers", filled.into()).await
            }
            Err((field, text)) => self.category_again(field, text, filled.into()).await,
        }
    }

    async fn category_changed(
        &self,
        changed: Changed,
        field: &'static str,
        filled: Vec<(&'static str, String)>,
    ) -> Answered {
        let text = match changed {
            Ok(()) => return Ok(see_other(&self.category_link(self.named("category")))),
            Err(Failure::Refused(ReplaceCategoryError::Body(ListingError::File(why)))) => {
                sentence(&why.to_string())
            }
            Err(Failure::Refused(ReplaceCategoryError::AllowList(why))) => {
                sentence(&why.to_string())
            }
            Err(Failure::Refused(ReplaceCategoryError::PcrPolicy(why))) => {
                sentence(&why.to_string())
            }
            Err(Failure::Refused(
                ReplaceCategoryError::Body(ListingError::NotListed) | ReplaceCategoryError::Unknown,
            )) => return Err(Refusal::NotFound),
            Err(Failure::Storage(StorageError::TooLarge { .. })) => TOO_LARGE.to_owned(),
            Err(Failure::Storage(error)) => return Err(error.into()),
        };
        self.category_again(field, text, filled).await
    }

    async fn category_again(
        &self,
        field: &'static str,
        text: String,
        filled: Vec<(&'static str, String)>,
    ) -> Answered {
        let frame = Frame {
            filled,
            ..self.frame_with(Area::Tpms, field, text, &[])
        };
        self.category_page(frame, StatusCode::UNPROCESSABLE_ENTITY)
            .await
    }

    pub(in crate::sites::console) async fn delete_category(self) -> Answered {
        let name = self.named("category");
        let administrator = self.administrator::<Category>(Act::Delete, name).await?;
        self.confirmed()?;
        let devices = &self.service().device_identity;
        let deleted = devices.delete_category(&administrator, name, Ok(()));
        let Some(text) = kept(deleted.await)? else {
            return Ok(see_other(&self.namespace_link()));
        };
        let frame = self.frame_with(Area::Tpms, "", text, &[]);
        self.category_page(frame, StatusCode::CONFLICT).await
    }
}

const EXISTS: &str = "There is a category of this name.";

fn not_made(why: CreateCategoryError) -> Result<Wrong, Refusal> {
    let text = sentence(&why.to_string());
    Ok(match why {
        CreateCategoryError::AllowList(_) => ("file", text),
        CreateCategoryError::AttestationKey => ("", text),
        CreateCategoryError::Authority(why) => authority(why)?,
        CreateCategoryError::Deleted => ("name", text),
        CreateCategoryError::Exists => ("name", EXISTS.to_owned()),
        CreateCategoryError::Metadata(why) => metadata(&why),
        CreateCategoryError::PcrPolicy(_) => ("registers", text),
        CreateCategoryError::UnknownManager => ("manager", text),
    })
}

/// What a form asks of registers.
fn policy(form: &Multipart) -> Result<Result<PcrPolicy, Wrong>, Refusal> {
    Ok(match form.text("policy") {
        "learn" => Ok(PcrPolicy::Learn),
        "any" => Ok(PcrPolicy::Any),
        "expected" => match expected(form.text("registers")) {
            Ok(registers) => Ok(PcrPolicy::Expected(registers)),
            Err(line) => Err((
                "registers",
                format!("Line {line} is not of the form “sha256:7 = value in hexadecimal”."),
            )),
        },
        _ => return Err(Refusal::Malformed(StatusCode::BAD_REQUEST)),
    })
}

/// Registers with their values: a line a value, such as `sha256:7 = 00ff…`.
///
/// # Errors
///
/// The number of the first line that is something else, the first being 1.
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

/// A policy, as the form has it.
fn written(policy: &PcrPolicy) -> (&'static str, String) {
    match policy {
        PcrPolicy::Any => ("any", String::new()),
        PcrPolicy::Learn => ("learn", String::new()),
        PcrPolicy::Expected(registers) => {
            let lines = registers.iter().flat_map(|register| {
                let ExpectedRegister {
                    bank,
                    index,
                    values,
                } = register;
                values
                    .iter()
                    .map(move |value| format!("{bank}:{index} = {value}\n"))
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
}
