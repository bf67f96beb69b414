//! Name constraints (RFC 5280 sections 4.2.1.10 and 6.1.4 (g)).

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::net::{Ipv4Addr, Ipv6Addr};

use super::{
    budget::Budget,
    extensions::{GeneralName, NameConstraints, subject_alt_names},
    report::Reason,
};
use crate::{X509Error, certificate::Certificate, name::EMAIL_ADDRESS};

/// Checks the names of a certificate against the constraints of the certificates above it.
pub(super) fn check<'a>(
    certificate: &Certificate<'a>,
    constraints: &[NameConstraints<'a>],
    budget: &mut Budget,
) -> Result<(), Reason> {
    if constraints.is_empty() {
        return Ok(());
    }
    let alt_names = subject_alt_names(certificate).map_err(Reason::ExtensionMalformed)?;
    let subject = certificate.subject();
    for constraint in constraints {
        for name in &alt_names {
            check_name(name, constraint, budget)?;
        }
        if !subject.is_empty() {
            let name = GeneralName::Directory(subject, subject.canonical());
            check_name(&name, constraint, budget)?;
        }
        let emails = subject
            .attributes()
            .filter(|attribute| attribute.kind == EMAIL_ADDRESS);
        for email in emails {
            match email.value.text() {
                Some(text) => {
                    check_name(&GeneralName::Rfc822(text.as_bytes()), constraint, budget)?;
                }
                None if constraint.concerns_mail() => {
                    return Err(Reason::NameNotPermitted {
                        name: email.to_string(),
                    });
                }
                None => {}
            }
        }
    }
    Ok(())
}

fn check_name(
    name: &GeneralName<'_>,
    constraints: &NameConstraints<'_>,
    budget: &mut Budget,
) -> Result<(), Reason> {
    // Names of another form cost time too: their form is compared with that of each subtree.
    budget.compare(constraints.permitted.len() + constraints.excluded.len())?;
    let mut subtrees = constraints.permitted.iter().chain(&constraints.excluded);
    // Reject what cannot be compared, unless the constraint is not critical.
    if let Some(form) = name.uncompared_form()
        && constraints.critical
        && subtrees.any(|subtree| subtree.uncompared_form() == Some(form))
    {
        return Err(Reason::NameFormUnsupported { form });
    }
    let have_this_form =
        |subtrees: &[GeneralName<'_>]| subtrees.iter().any(|subtree| same_form(name, subtree));
    let permits_some = have_this_form(&constraints.permitted);
    if !permits_some && !have_this_form(&constraints.excluded) {
        return Ok(());
    }
    for subtree in &constraints.excluded {
        if lies_within(name, subtree, Side::Excluded)? {
            return Err(Reason::NameExcluded {
                name: display_name(name),
            });
        }
    }
    let mut is_permitted = !permits_some;
    for subtree in &constraints.permitted {
        is_permitted |= lies_within(name, subtree, Side::Permitted)?;
    }
    if is_permitted {
        Ok(())
    } else {
        Err(Reason::NameNotPermitted {
            name: display_name(name),
        })
    }
}

impl NameConstraints<'_> {
    fn concerns_mail(&self) -> bool {
        let mut all = self.permitted.iter().chain(&self.excluded);
        all.any(|subtree| matches!(subtree, GeneralName::Rfc822(_)))
    }
}

fn display_name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::Directory(name, _) => name.to_string(),
        GeneralName::Ip(octets) => {
            match (<[u8; 4]>::try_from(*octets), <[u8; 16]>::try_from(*octets)) {
                (Ok(octets), _) => Ipv4Addr::from(octets).to_string(),
                (_, Ok(octets)) => Ipv6Addr::from(octets).to_string(),
                _ => alloc::format!("{octets:02X?}"),
            }
        }
        GeneralName::Other(form) => (*form).to_string(),
        GeneralName::OtherMailbox(Some(text)) => text.escape_debug().to_string(),
        GeneralName::OtherMailbox(None) => "unreadable SmtpUTF8Mailbox".to_string(),
        GeneralName::Dns(text) | GeneralName::Rfc822(text) | GeneralName::Uri(text) => {
            text.escape_ascii().to_string()
        }
    }
}

/// Returns whether the name can be compared with the subtree.
fn same_form(name: &GeneralName<'_>, subtree: &GeneralName<'_>) -> bool {
    use GeneralName::{Directory, Dns, Ip, OtherMailbox, Rfc822, Uri};
    matches!(
        (name, subtree),
        (Directory(..), Directory(..))
            | (Dns(_), Dns(_))
            | (Ip(_), Ip(_))
            | (OtherMailbox(_) | Rfc822(_), Rfc822(_))
            | (Uri(_), Uri(_))
    )
}

/// The kind of a subtree. A name or subtree that is unclear is rejected on either side.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Excluded,
    Permitted,
}

/// Returns whether a name lies within a subtree. It never lies within one of another form.
fn lies_within(
    name: &GeneralName<'_>,
    subtree: &GeneralName<'_>,
    side: Side,
) -> Result<bool, Reason> {
    use GeneralName::{Directory, Dns, Ip, OtherMailbox, Rfc822, Uri};
    match (name, subtree) {
        (Directory(_, name), Directory(_, base)) => Ok(name.starts_with(base)),
        (Dns(name), Dns(base)) => Ok(dns_within(name, base, side)),
        (Ip(address), Ip(range)) => ip_within(address, range, side),
        (OtherMailbox(mailbox), Rfc822(base)) => Ok(utf8_mailbox_within(*mailbox, base, side)),
        (Rfc822(mailbox), Rfc822(base)) => Ok(mailbox_within(mailbox, base, side)),
        (Uri(uri), Uri(base)) => Ok(match host_of(uri) {
            Some(host) => host_within(host, base, side),
            // RFC 5280: a constraint rejects a URI without a fully qualified host name.
            None => side == Side::Excluded,
        }),
        _ => Ok(false),
    }
}

/// Returns whether `name` equals `base` or is below it, ignoring ASCII letter case.
fn is_same_or_below(name: &[u8], base: &[u8]) -> bool {
    name.eq_ignore_ascii_case(base) || is_below(name, base)
}

fn is_below(name: &[u8], base: &[u8]) -> bool {
    let Some(split) = name.len().checked_sub(base.len()) else {
        return false;
    };
    let (labels, end) = name.split_at(split);
    end.eq_ignore_ascii_case(base) && labels.ends_with(b".")
}

fn without_final_dot(name: &[u8]) -> &[u8] {
    name.strip_suffix(b".").unwrap_or(name)
}

/// As in other implementations, a base that starts with a dot matches only what is below it, and an empty base matches everything.
fn dns_within(name: &[u8], base: &[u8], side: Side) -> bool {
    // A single dot is not empty: some implementations match everything with it, others nothing.
    let is_everything = base.is_empty();
    let (name, base) = (without_final_dot(name), without_final_dot(base));
    let domain = name.strip_prefix(b"*.");
    let is_clear = is_host(domain.unwrap_or(name));
    let within = match base.strip_prefix(b".") {
        Some(base) => is_below(name, base),
        None => is_everything || is_same_or_below(name, base),
    };
    if side == Side::Permitted {
        return within && is_clear;
    }
    let base = base.strip_prefix(b".").unwrap_or(base);
    // A wildcard may also match hosts in an excluded subtree below its domain.
    let may_reach = domain.is_some_and(|domain| is_below(base, domain));
    within || may_reach || !is_clear || !is_host(base)
}

fn host_within(host: &[u8], base: &[u8], side: Side) -> bool {
    let (host, base) = (without_final_dot(host), without_final_dot(base));
    let domain = base.strip_prefix(b".");
    let within = match domain {
        Some(domain) => is_below(host, domain),
        None => host.eq_ignore_ascii_case(base),
    };
    match side {
        Side::Excluded => within || !is_host(host) || !is_host(domain.unwrap_or(base)),
        Side::Permitted => within && is_host(host),
    }
}

fn mailbox_within(mailbox: &[u8], base: &[u8], side: Side) -> bool {
    let Some((local, host)) = split_mailbox(mailbox) else {
        return side == Side::Excluded;
    };
    match split_mailbox(base) {
        Some((base_local, base_host)) => {
            let is_at_host = host.eq_ignore_ascii_case(base_host);
            if side == Side::Permitted {
                return local == base_local && is_at_host && is_host(host);
            }
            let may_be_it = local == base_local || !is_dot_atom(local) || !is_dot_atom(base_local);
            is_at_host && may_be_it || !is_host(host) || !is_host(base_host)
        }
        // Authors may write the exclusion of all mailboxes at a host with an `@`.
        None if side == Side::Excluded => {
            host_within(host, base.strip_prefix(b"@").unwrap_or(base), side)
        }
        None => host_within(host, base, side),
    }
}

/// RFC 5322 section 3.2.3. With quotes, comments and blanks, the same mailbox can be written in several ways.
fn is_dot_atom(local: &[u8]) -> bool {
    let is_of_atom =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(byte);
    local.iter().all(is_of_atom)
}

/// RFC 9598 section 6: only the host, which must be ASCII, is compared. If one mailbox is permitted, no other one at its host is.
fn utf8_mailbox_within(mailbox: Option<&str>, base: &[u8], side: Side) -> bool {
    let mailbox = mailbox.unwrap_or_default().as_bytes();
    let is_readable = split_mailbox(mailbox).is_some_and(|(_, host)| host.is_ascii());
    match (side, split_mailbox(base)) {
        _ if !is_readable => side == Side::Excluded,
        (Side::Excluded, Some((_, host))) => mailbox_within(mailbox, host, side),
        _ => mailbox_within(mailbox, base, side),
    }
}

/// Splits at the last `@`, because a quoted local part may contain others. Returns `None` if a reader could split it elsewhere.
fn split_mailbox(mailbox: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = mailbox.iter().rposition(|&byte| byte == b'@')?;
    let (local, host) = mailbox.split_at(at);
    let host = without_final_dot(host.get(1..)?);
    let has_one_end = match local {
        [b'"', quoted @ .., b'"'] => !quoted.contains(&b'"'),
        local => !local.contains(&b'@'),
    };
    let is_clear = has_one_end && !local.iter().any(u8::is_ascii_control);
    (is_clear && !local.is_empty() && !host.is_empty()).then_some((local, host))
}

/// Returns whether this is unambiguously a host name: labels of letters, digits, hyphens and underscores.
fn is_host(name: &[u8]) -> bool {
    let is_label = |label: &[u8]| {
        let mut bytes = label.iter();
        !label.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
    };
    name.split(|&byte| byte == b'.').all(is_label)
}

/// Returns the host of a URI with an authority (RFC 3986 section 3.2) if it is clear, and a name and not an address.
fn host_of(uri: &[u8]) -> Option<&[u8]> {
    let colon = uri.iter().position(|&byte| byte == b':')?;
    let rest = uri.get(colon + 1..)?.strip_prefix(b"//")?;
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    let authority = rest.get(..end.unwrap_or(rest.len()))?;
    // A URI cannot have other characters, and its readers disagree about them: to some a backslash ends the authority.
    let is_of_uri = |byte: &u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(byte);
    if !authority.iter().all(is_of_uri) {
        return None;
    }
    let mut parts = authority.split(|&byte| byte == b'@');
    let host = match (parts.next()?, parts.next(), parts.next()) {
        (host, None, _) | (_, Some(host), None) => host,
        // Readers disagree about the `@` before the host, too.
        _ => return None,
    };
    let host = match host.iter().position(|&byte| byte == b':') {
        Some(port) => host.get(..port)?,
        None => host,
    };
    let host = without_final_dot(host);
    let is_name = !host.is_empty()
        && host
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && !host
            .iter()
            .all(|byte| byte.is_ascii_digit() || *byte == b'.');
    is_name.then_some(host)
}

/// Returns whether an address lies within a range, which is an address and a mask of the same length.
fn ip_within(address: &[u8], range: &[u8], side: Side) -> Result<bool, Reason> {
    let malformed = || {
        let reason = der::Tag::OctetString.value_error();
        Reason::ExtensionMalformed(X509Error::malformed("iPAddress", reason))
    };
    if !matches!(address.len(), 4 | 16) || !matches!(range.len(), 8 | 32) {
        return Err(malformed());
    }
    let (base, mask) = range.split_at(range.len() / 2);
    // RFC 4632: ones followed by zeros.
    let bits: Vec<bool> = mask
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1))
        .collect();
    if !bits.is_sorted_by(|a, b| a >= b) {
        return Err(malformed());
    }
    let matches = |((address, base), mask): ((&u8, &u8), &u8)| address & mask == base & mask;
    let is_in_range = |address: &[u8]| {
        address.len() == base.len() && address.iter().zip(base).zip(mask).all(matches)
    };
    // RFC 4291 section 2.5.5.2: an IPv4 address as an IPv6 address, which some readers take for the former.
    let mapped = <[u8; 16]>::try_from(address)
        .ok()
        .and_then(|octets| Ipv6Addr::from(octets).to_ipv4_mapped());
    let is_mapped_in_range = || mapped.is_some_and(|mapped| is_in_range(&mapped.octets()));
    Ok(is_in_range(address) || side == Side::Excluded && is_mapped_in_range())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{name::Name, pkcs7::tests::tlv};

    /// Encodes a name of organizations, each with its string type.
    fn organizations(names: &[(u8, &str)]) -> Vec<u8> {
        let rdns = names.iter().map(|(tag, text)| {
            let kind = tlv(6, &[&[0x55, 4, 10]]);
            let attribute = tlv(0x30, &[&kind, &tlv(*tag, &[text.as_bytes()])]);
            tlv(0x31, &[&attribute])
        });
        tlv(0x30, &[&rdns.collect::<Vec<_>>().concat()])
    }

    fn directory(der: &[u8]) -> GeneralName<'_> {
        let name = Name::from_der(der).unwrap();
        GeneralName::Directory(name, name.canonical())
    }

    /// RFC 5280 section 7.1: a name lies within each name that it begins with, and within itself.
    #[test]
    fn directory_names_lie_within_those_that_they_begin_with() {
        const PRINTABLE: u8 = 0x13;
        const UTF8: u8 = 0x0C;

        let name = organizations(&[(UTF8, "Acme"), (UTF8, "Tests")]);
        for (base, is_within) in [
            (&[][..], true),
            (&[(UTF8, "Acme")], true),
            (&[(PRINTABLE, " aCME ")], true),
            (&[(UTF8, "Acme"), (PRINTABLE, "tests")], true),
            (&[(UTF8, "Acme"), (UTF8, "Tests"), (UTF8, "More")], false),
            (&[(UTF8, "Acme"), (UTF8, "Test")], false),
            (&[(UTF8, "Tests")], false),
            (&[(UTF8, "Tests"), (UTF8, "Acme")], false),
        ] {
            let subtree = organizations(base);
            for side in [Side::Permitted, Side::Excluded] {
                let told = lies_within(&directory(&name), &directory(&subtree), side);
                assert_eq!(told, Ok(is_within), "{base:?}");
            }
        }
    }

    #[test]
    fn host_names_lie_within_domains_by_whole_labels() {
        for (name, base, permitted, excluded) in [
            ("example.com", "example.com", true, true),
            ("EXAMPLE.com.", "example.COM", true, true),
            ("a.b.example.com", "example.com", true, true),
            ("badexample.com", "example.com", false, false),
            (".example.com", "example.com", false, true),
            ("b.example.com.", "example.com..", false, true),
            ("a.example.com..", "example.com", false, true),
            ("b..a.example.net", "example.com", false, true),
            ("evil.org\0.example.com", "example.com", false, true),
            ("evil.org/.example.com", ".example.com", false, true),
            ("evil.org\0", "", false, true),
            ("ex*.com", "example.com", false, true),
            ("example.com:443", "example.com", false, true),
            ("example.com", "https://example.com", false, true),
            ("example.com", "*.example.net", false, true),
            ("example.com", ".example.com", false, false),
            ("a.example.com", ".example.com", true, true),
            ("com", "example.com", false, false),
            ("anything", "", true, true),
            ("anything", ".", false, true),
            ("anything", "..", false, true),
            ("*.example.com", ".", false, true),
            ("*.example.com", "example.com", true, true),
            ("*.example.com", "a.example.com", false, true),
            ("*.other.com", "a.example.com", false, false),
        ] {
            let within = |side| dns_within(name.as_bytes(), base.as_bytes(), side);
            assert_eq!(within(Side::Permitted), permitted, "{name} in {base}");
            assert_eq!(within(Side::Excluded), excluded, "{name} in {base}");
        }
    }

    #[test]
    fn mailboxes_lie_within_mailboxes_hosts_and_domains() {
        for (mailbox, base, within) in [
            ("a@example.com", "a@EXAMPLE.com", true),
            ("A@example.com", "a@example.com", false),
            ("a@example.com", "example.com", true),
            ("a@b.example.com", "example.com", false),
            ("a@b.example.com", ".example.com", true),
            ("a@example.com", ".example.com", false),
            ("\"x@evil\"@example.com", "example.com", true),
            ("a@example.com.", "example.com", true),
            ("a@example.com", "example.com.", true),
            ("a@b.example.com.", ".example.com.", true),
            ("a@example.com.", "a@example.com", true),
        ] {
            for side in [Side::Permitted, Side::Excluded] {
                let is = mailbox_within(mailbox.as_bytes(), base.as_bytes(), side);
                assert_eq!(is, within, "{mailbox} in {base}");
            }
        }
        // Mailboxes that may be the same, and hosts that are unclear.
        for (mailbox, base, permitted, excluded) in [
            ("\"a\"@example.com", "a@example.com", false, true),
            ("a@example.com", "\"a\"@example.com", false, true),
            ("\"a\"@example.com", "\"a\"@example.com", true, true),
            ("\"a\"@example.net", "a@example.com", false, false),
            (" a@example.com", "a@example.com", false, true),
            ("a(comment)@example.com", "a@example.com", false, true),
            ("a.b+c@example.com", "a@example.com", false, false),
            ("a@[192.0.2.1]", "a@example.com", false, true),
            ("a@[192.0.2.1]", "a@[192.0.2.1]", false, true),
            ("a@example.com\0.org", "a@example.com", false, true),
            ("a@example.com", "a@example..com", false, true),
            ("a@example.com", "b@.example.com", false, true),
        ] {
            let within = |side| mailbox_within(mailbox.as_bytes(), base.as_bytes(), side);
            let told = (within(Side::Permitted), within(Side::Excluded));
            assert_eq!(told, (permitted, excluded), "{mailbox:?} in {base}");
        }
        // Hosts with a leading `@`.
        for (base, excluded) in [
            ("@example.com", true),
            ("@example.net", false),
            ("@.com", true),
            ("@.net", false),
        ] {
            let within = |side| mailbox_within(b"a@example.com", base.as_bytes(), side);
            let told = (within(Side::Permitted), within(Side::Excluded));
            assert_eq!(told, (false, excluded), "{base}");
        }
        // Bases whose meaning is unclear.
        for base in [
            "",
            ".",
            "@",
            "a@",
            "example.net/",
            "example..net",
            "a b.net",
        ] {
            let within = |side| mailbox_within(b"a@example.com", base.as_bytes(), side);
            assert!(!within(Side::Permitted) && within(Side::Excluded), "{base}");
        }
        for host in ["[192.0.2.1]", "example..org", "."] {
            let mailbox = alloc::format!("a@{host}");
            let within = |side| mailbox_within(mailbox.as_bytes(), b"example.com", side);
            assert!(!within(Side::Permitted) && within(Side::Excluded), "{host}");
        }
        // Mailboxes that some readers end or split earlier.
        for mailbox in [
            "a@evil.org\0.example.com",
            "a@evil.org\0@b.example.com",
            "a@evil.org,b@c.example.com",
            "\"a\"@evil.org,\"b\"@c.example.com",
            "a\nb@c.example.com",
        ] {
            let within = |side| mailbox_within(mailbox.as_bytes(), b".example.com", side);
            let told = (within(Side::Permitted), within(Side::Excluded));
            assert_eq!(told, (false, true), "{mailbox:?}");
        }
        for no_mailbox in ["example.com", "@example.com", "a@"] {
            let within = |side| mailbox_within(no_mailbox.as_bytes(), b"example.com", side);
            assert!(!within(Side::Permitted) && within(Side::Excluded));
        }
    }

    #[test]
    fn mailboxes_beyond_ascii_lie_within_hosts_and_domains() {
        for (mailbox, base, permitted, excluded) in [
            (Some("ä@example.com"), "example.com", true, true),
            (Some("ä@EXAMPLE.com"), "example.com", true, true),
            (Some("ä@b.example.com"), ".example.com", true, true),
            (Some("ä@b.example.com"), "example.com", false, false),
            (Some("ä@example.com"), "a@example.com", false, true),
            (Some("ä@example.net"), "a@example.com", false, false),
            (Some("ä@example.com"), "@example.com", false, true),
            // RFC 9598 forbids an ASCII local part. If there is one, the host alone decides all the same.
            (Some("a@example.com"), "b@example.com", false, true),
            (Some("a@example.net"), "b@example.com", false, false),
            (Some("ä@xn--mller-kva.de"), "xn--mller-kva.de", true, true),
            // Mailboxes whose meaning is unclear.
            (Some("ä@müller.de"), "example.com", false, true),
            (Some("ä@müller.example.com"), ".example.com", false, true),
            (Some("ä"), "example.com", false, true),
            (Some(""), "example.com", false, true),
            (None, "example.com", false, true),
        ] {
            let within = |side| utf8_mailbox_within(mailbox, base.as_bytes(), side);
            let told = (within(Side::Permitted), within(Side::Excluded));
            assert_eq!(told, (permitted, excluded), "{mailbox:?} in {base}");
        }
    }

    #[test]
    fn uris_lie_within_hosts_and_domains() {
        for (base, permitted, excluded) in [
            ("evil.example", true, true),
            ("evil.example.", true, true),
            (".example", true, true),
            ("example", false, false),
            ("other.example", false, false),
            ("", false, true),
            ("https://evil.example", false, true),
            ("evil.example:443", false, true),
            ("evil.example/x", false, true),
            ("@evil.example", false, true),
        ] {
            for uri in ["https://evil.example/x", "https://evil.example.:443"] {
                let (name, base) = (uri.as_bytes(), base.as_bytes());
                let (name, base) = (GeneralName::Uri(name), GeneralName::Uri(base));
                let within = |side| lies_within(&name, &base, side).ok();
                let told = (within(Side::Permitted), within(Side::Excluded));
                assert_eq!(told, (Some(permitted), Some(excluded)), "{uri} in {base:?}");
            }
        }
    }

    #[test]
    fn hosts_of_uris_are_names() {
        for (uri, host) in [
            ("https://example.com/x", Some("example.com")),
            ("https://user@example.com:443?x", Some("example.com")),
            ("https://a@b@example.com", None),
            ("https://a@b:80@example.com", None),
            ("https://example.com\\@evil.com", None),
            ("https://example.com\\.evil.com", None),
            ("https://evil.com\t@example.com", None),
            ("https://example.com/\\", Some("example.com")),
            ("https://192.0.2.1/", None),
            ("https://[2001:db8::1]/", None),
            ("urn:example.com", None),
            ("//example.com", None),
            ("https:///x", None),
        ] {
            assert_eq!(host_of(uri.as_bytes()), host.map(str::as_bytes), "{uri}");
        }
    }

    #[test]
    fn addresses_are_told_as_they_are_written() {
        let v6 = [0x20, 0x01, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        for (octets, shown) in [
            (&[192, 0, 2, 7][..], "192.0.2.7"),
            (&v6, "2001:db8::1"),
            (&[192, 0], "[C0, 00]"),
        ] {
            assert_eq!(display_name(&GeneralName::Ip(octets)), shown);
        }
    }

    #[test]
    fn addresses_lie_within_ranges() {
        let within = |address: &[u8], range: &[u8]| {
            let [permitted, excluded] =
                [Side::Permitted, Side::Excluded].map(|side| ip_within(address, range, side).ok());
            assert_eq!(permitted, excluded, "{address:?} in {range:?}");
            permitted
        };
        let range = [192, 0, 2, 0, 255, 255, 254, 0];
        assert_eq!(within(&[192, 0, 3, 9], &range), Some(true));
        assert_eq!(within(&[192, 0, 4, 9], &range), Some(false));
        assert_eq!(within(&[0; 16], &range), Some(false));
        assert_eq!(within(&[0; 16], &[0; 32]), Some(true));
        assert_eq!(within(&[0; 5], &range), None);
        assert_eq!(within(&[0; 4], &[0; 7]), None);
        assert_eq!(within(&[0; 4], &[0, 0, 0, 0, 255, 0, 255, 0]), None);
    }

    #[test]
    fn addresses_that_map_others_are_excluded_like_these() {
        let mapped = |last: [u8; 4]| [&[0_u8; 10][..], &[0xFF; 2], &last].concat();
        let range = [192, 0, 2, 0, 255, 255, 255, 0];
        for (address, range, permitted, excluded) in [
            (mapped([192, 0, 2, 7]), &range[..], false, true),
            (mapped([192, 0, 3, 7]), &range, false, false),
            (mapped([192, 0, 2, 7]), &[0; 32], true, true),
            // Not the other way round: an author excludes ::/0 to allow only IPv4.
            (Vec::from([192, 0, 2, 7]), &[0; 32], false, false),
        ] {
            let within = |side| ip_within(&address, range, side).ok();
            let told = (within(Side::Permitted), within(Side::Excluded));
            let expected = (Some(permitted), Some(excluded));
            assert_eq!(told, expected, "{address:?} in {range:?}");
        }
    }
}
