//! The extensions that path validation uses, parsed from the received bytes (RFC 5280 section 4.2.1).

use alloc::vec::Vec;

use der::{
    Decode, ErrorKind, Reader, SliceReader, Tag, TagMode, TagNumber, Tagged,
    asn1::{AnyRef, ObjectIdentifier, OctetStringRef},
};

use crate::{
    X509Error,
    certificate::Certificate,
    extension::{
        AUTHORITY_KEY_IDENTIFIER, BASIC_CONSTRAINTS, CERTIFICATE_POLICIES, EXTENDED_KEY_USAGE,
        INHIBIT_ANY_POLICY, KEY_USAGE, NAME_CONSTRAINTS, POLICY_CONSTRAINTS, POLICY_MAPPINGS,
        SUBJECT_ALT_NAME, SUBJECT_KEY_IDENTIFIER, key_identifier,
    },
    name::{CanonicalName, Name},
    oid::Oid,
    reader::{contents, nested, peek, read_whole},
};

/// anyExtendedKeyUsage (RFC 5280 section 4.2.1.12).
pub(super) const ANY_EXTENDED_KEY_USAGE: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("2.5.29.37.0");

/// The extensions that path validation processes, so that they may be critical. Key identifiers only help to find an issuer.
pub(super) static PROCESSED: [ObjectIdentifier; 11] = [
    AUTHORITY_KEY_IDENTIFIER,
    BASIC_CONSTRAINTS,
    CERTIFICATE_POLICIES,
    EXTENDED_KEY_USAGE,
    INHIBIT_ANY_POLICY,
    KEY_USAGE,
    NAME_CONSTRAINTS,
    POLICY_CONSTRAINTS,
    POLICY_MAPPINGS,
    SUBJECT_ALT_NAME, // Not all forms of names are supported.
    SUBJECT_KEY_IDENTIFIER,
];

const OTHER_NAME: &str = "otherName";

/// id-on-SmtpUTF8Mailbox (RFC 9598 section 3).
const SMTP_UTF8_MAILBOX: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.8.9");

/// Limits against input crafted to cost time.
const MAX_POLICIES: usize = 200;
const MAX_NAMES: usize = 1_000;

/// Parses an extension if it is present.
fn read<'a, T>(
    certificate: &Certificate<'a>,
    id: ObjectIdentifier,
    field: &'static str,
    parse: impl FnOnce(&mut SliceReader<'a>) -> der::Result<T>,
) -> Result<Option<T>, X509Error> {
    certificate
        .extension(id)
        .map(|value| read_whole(value, field, |reader, _| parse(reader)))
        .transpose()
}

/// Parses a SEQUENCE OF with at least one and at most `limit` elements.
fn list<'a, T>(
    reader: &mut SliceReader<'a>,
    tag: Tag,
    limit: usize,
    mut element: impl FnMut(&mut SliceReader<'a>) -> der::Result<T>,
) -> der::Result<Vec<T>> {
    nested(reader, tag, |reader| {
        let mut elements = Vec::new();
        while elements.is_empty() || !reader.is_finished() {
            if elements.len() == limit {
                return Err(reader.error(ErrorKind::Overlength));
            }
            elements.push(element(reader)?);
        }
        Ok(elements)
    })
}

/// Parses certificatePolicies. Qualifiers are skipped, and duplicate policies are rejected.
pub(super) fn certificate_policies<'a>(
    certificate: &Certificate<'a>,
) -> Result<Option<Vec<Oid<'a>>>, X509Error> {
    read(
        certificate,
        CERTIFICATE_POLICIES,
        "certificatePolicies",
        |reader| {
            let policies = list(reader, Tag::Sequence, MAX_POLICIES, |reader| {
                reader.sequence(|reader| {
                    let policy = Oid::read(reader)?;
                    if !reader.is_finished() {
                        let qualifiers = AnyRef::decode(reader)?;
                        qualifiers.tag().assert_eq(Tag::Sequence)?;
                    }
                    Ok(policy)
                })
            })?;
            let is_repeated = |(index, policy): (usize, &Oid<'_>)| {
                policies.iter().take(index).any(|earlier| earlier == policy)
            };
            if policies.iter().enumerate().any(is_repeated) {
                Err(reader.error(Tag::Sequence.value_error()))
            } else {
                Ok(policies)
            }
        },
    )
}

/// A mapping from a policy of the issuer's domain to an equivalent one of the subject's domain.
#[derive(Clone, Copy)]
pub(super) struct PolicyMapping<'a> {
    pub(super) issuer_domain: Oid<'a>,
    pub(super) subject_domain: Oid<'a>,
}

pub(super) fn policy_mappings<'a>(
    certificate: &Certificate<'a>,
) -> Result<Vec<PolicyMapping<'a>>, X509Error> {
    let mappings = read(certificate, POLICY_MAPPINGS, "policyMappings", |reader| {
        list(reader, Tag::Sequence, MAX_POLICIES, |reader| {
            reader.sequence(|reader| {
                Ok(PolicyMapping {
                    issuer_domain: Oid::read(reader)?,
                    subject_domain: Oid::read(reader)?,
                })
            })
        })
    })?;
    Ok(mappings.unwrap_or_default())
}

#[derive(Clone, Copy, Default)]
pub(super) struct PolicyConstraints {
    pub(super) require_explicit_policy: Option<u32>,
    pub(super) inhibit_policy_mapping: Option<u32>,
}

pub(super) fn policy_constraints(
    certificate: &Certificate<'_>,
) -> Result<PolicyConstraints, X509Error> {
    let constraints = read(
        certificate,
        POLICY_CONSTRAINTS,
        "policyConstraints",
        |reader| {
            reader.sequence(|reader| {
                if reader.is_finished() {
                    return Err(reader.error(Tag::Sequence.value_error()));
                }
                Ok(PolicyConstraints {
                    require_explicit_policy: reader
                        .context_specific(TagNumber(0), TagMode::Implicit)?,
                    inhibit_policy_mapping: reader
                        .context_specific(TagNumber(1), TagMode::Implicit)?,
                })
            })
        },
    )?;
    Ok(constraints.unwrap_or_default())
}

pub(super) fn inhibit_any_policy(certificate: &Certificate<'_>) -> Result<Option<u32>, X509Error> {
    read(
        certificate,
        INHIBIT_ANY_POLICY,
        "inhibitAnyPolicy",
        u32::decode,
    )
}

/// Returns whether extKeyUsage contains one of `purposes`, or `None` if there is no such extension.
pub(super) fn is_for(
    certificate: &Certificate<'_>,
    purposes: &[ObjectIdentifier],
) -> Result<Option<bool>, X509Error> {
    read(certificate, EXTENDED_KEY_USAGE, "extKeyUsage", |reader| {
        let named = list(reader, Tag::Sequence, MAX_POLICIES, |reader| {
            let purpose = Oid::read(reader)?;
            Ok(purposes.iter().any(|wanted| purpose == *wanted))
        })?;
        Ok(named.contains(&true))
    })
}

/// Returns the subject key identifier. It only helps to find an issuer, so a malformed one is ignored.
pub(super) fn subject_key_identifier<'a>(certificate: &Certificate<'a>) -> Option<&'a [u8]> {
    let id = "subjectKeyIdentifier";
    read(certificate, SUBJECT_KEY_IDENTIFIER, id, |reader| {
        Ok(<&OctetStringRef>::decode(reader)?.as_bytes())
    })
    .ok()?
}

pub(super) fn authority_key_identifier<'a>(certificate: &Certificate<'a>) -> Option<&'a [u8]> {
    key_identifier(certificate.extension(AUTHORITY_KEY_IDENTIFIER)?)
}

/// A GeneralName (RFC 5280 section 4.2.1.6).
#[derive(Clone, Debug)]
pub(super) enum GeneralName<'a> {
    Directory(Name<'a>, CanonicalName<'a>),
    Dns(&'a [u8]),
    Ip(&'a [u8]),
    /// A name of an unsupported form.
    Other(&'static str),
    /// An SmtpUTF8Mailbox (RFC 9598 section 3), or an otherName so malformed that it may be one. `None` if its text cannot be read.
    OtherMailbox(Option<&'a str>),
    Rfc822(&'a [u8]),
    Uri(&'a [u8]),
}

impl<'a> GeneralName<'a> {
    /// Returns the form if names of this form cannot be compared with each other.
    pub(super) fn uncompared_form(&self) -> Option<&'static str> {
        match self {
            Self::Other(form) => Some(form),
            Self::OtherMailbox(_) => Some(OTHER_NAME),
            _ => None,
        }
    }

    fn of_other_name(fields: &'a [u8]) -> Self {
        match smtp_utf8_mailbox(fields) {
            Ok(None) => Self::Other(OTHER_NAME),
            Ok(Some(text)) => Self::OtherMailbox(core::str::from_utf8(text).ok()),
            Err(_) => Self::OtherMailbox(None),
        }
    }

    fn read(reader: &mut SliceReader<'a>) -> der::Result<Self> {
        let any = AnyRef::decode(reader)?;
        let Tag::ContextSpecific {
            number,
            constructed,
        } = any.tag()
        else {
            return Err(reader.error(any.tag().unexpected_error(None)));
        };
        let value = any.value();
        match (number.value(), constructed) {
            (0, true) => Ok(Self::of_other_name(value)),
            (1, false) => Ok(Self::Rfc822(value)),
            (2, false) => Ok(Self::Dns(value)),
            (3, true) => Ok(Self::Other("x400Address")),
            (4, true) => {
                let mut inner = SliceReader::new(value)?;
                let name = Name::read(&mut inner)?;
                inner.finish()?;
                name.check_size("directoryName")
                    .map_err(|_| reader.error(ErrorKind::Overlength))?;
                Ok(Self::Directory(name, name.canonical()))
            }
            (5, true) => Ok(Self::Other("ediPartyName")),
            (6, false) => Ok(Self::Uri(value)),
            (7, false) => Ok(Self::Ip(value)),
            (8, false) => Ok(Self::Other("registeredID")),
            _ => Err(reader.error(any.tag().unexpected_error(None))),
        }
    }
}

/// Returns the text of an SmtpUTF8Mailbox, or `None` for another otherName.
fn smtp_utf8_mailbox(fields: &[u8]) -> der::Result<Option<&[u8]>> {
    let mut reader = SliceReader::new(fields)?;
    if Oid::read(&mut reader)? != SMTP_UTF8_MAILBOX {
        return Ok(None);
    }
    let value = contents(&mut reader, TagNumber(0).context_specific(true))?;
    reader.finish()?;
    let mut reader = SliceReader::new(value)?;
    let text = contents(&mut reader, Tag::Utf8String)?;
    reader.finish()?;
    Ok(Some(text))
}

pub(super) fn subject_alt_names<'a>(
    certificate: &Certificate<'a>,
) -> Result<Vec<GeneralName<'a>>, X509Error> {
    let names = read(certificate, SUBJECT_ALT_NAME, "subjectAltName", |reader| {
        list(reader, Tag::Sequence, MAX_NAMES, GeneralName::read)
    })?;
    Ok(names.unwrap_or_default())
}

/// nameConstraints (RFC 5280 section 4.2.1.10).
pub(super) struct NameConstraints<'a> {
    pub(super) critical: bool,
    pub(super) permitted: Vec<GeneralName<'a>>,
    pub(super) excluded: Vec<GeneralName<'a>>,
}

pub(super) fn name_constraints<'a>(
    certificate: &Certificate<'a>,
) -> Result<Option<NameConstraints<'a>>, X509Error> {
    let critical = certificate
        .find_extension(NAME_CONSTRAINTS)
        .is_some_and(|extension| extension.critical);
    read(certificate, NAME_CONSTRAINTS, "nameConstraints", |reader| {
        reader.sequence(|reader| {
            Ok(NameConstraints {
                critical,
                permitted: subtrees(reader, TagNumber(0))?,
                excluded: subtrees(reader, TagNumber(1))?,
            })
        })
    })
}

fn subtrees<'a>(
    reader: &mut SliceReader<'a>,
    number: TagNumber,
) -> der::Result<Vec<GeneralName<'a>>> {
    let tag = number.context_specific(true);
    if peek(reader)? != Some(tag) {
        return Ok(Vec::new());
    }
    list(reader, tag, MAX_NAMES, |reader| {
        reader.sequence(|reader| {
            let base = GeneralName::read(reader)?;
            // RFC 5280: minimum must be zero, and maximum absent.
            let minimum: Option<u8> = reader.context_specific(TagNumber(0), TagMode::Implicit)?;
            match minimum {
                None | Some(0) => Ok(base),
                Some(_) => Err(reader.error(Tag::Integer.value_error())),
            }
        })
    })
}
