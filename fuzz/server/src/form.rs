//! Forms as browsers send them, compared with a transcription of the URL standard's parser.

use keyproof::sites::{Form, FormError};

/// The fields, in an order that no page uses. Every form also has `csrf`.
const FIELDS: [&str; 4] = ["name", "password", "code", "trust"];

/// The longest value, in units of UTF-16.
const LONGEST: usize = 1024;

/// The longest password, in bytes.
const LONGEST_PASSWORD: usize = 3 * 1024;

/// The data as a form's body: the result is what the standard's parser returns, each field occurs once, and each value could have
/// been typed.
pub fn form(data: &[u8]) {
    let sent = pairs(data);
    let is_known = |name: &Vec<u8>| {
        FIELDS
            .iter()
            .chain(&["csrf"])
            .any(|field| field.as_bytes() == *name)
    };
    let is_once = |at: usize| sent.iter().filter(|(name, _)| *name == sent[at].0).count() == 1;
    let is_ours = sent
        .iter()
        .enumerate()
        .all(|(at, (name, _))| is_known(name) && is_once(at));
    let could_be_typed = sent.iter().all(|(name, value)| {
        // One replacement character is taken only from a body that is UTF-8 in its names, too.
        str::from_utf8(name).is_ok()
            && str::from_utf8(value).is_ok_and(|text| {
                let fits = match &**name {
                    b"password" => text.len() <= LONGEST_PASSWORD,
                    _ => text.encode_utf16().count() <= LONGEST,
                };
                let is_odd = |c: char| c.is_control() && c != '\t';
                fits && !text.contains(is_odd)
            })
    });
    match Form::parse(Some("application/x-www-form-urlencoded"), data, &FIELDS) {
        Ok(form) => {
            assert!(is_ours && could_be_typed, "{sent:?}");
            for field in FIELDS {
                let value = sent.iter().find(|(name, _)| name == field.as_bytes());
                let value = value.map_or(&[][..], |(_, value)| value);
                assert_eq!(form.text(field).as_bytes(), value, "{field}");
            }
            let names: Vec<_> = sent.iter().map(|(name, _)| str::from_utf8(name)).collect();
            let names: Vec<&str> = names.into_iter().flatten().collect();
            assert_eq!(format!("{form:?}"), format!("{names:?}"), "names alone");
        }
        Err(FormError::ContentType) => panic!("it was said to be a form"),
        Err(FormError::Fields) => assert!(!is_ours, "{sent:?}"),
        Err(FormError::Value) => assert!(!could_be_typed, "{sent:?}"),
    }
    let refused = Form::parse(Some("multipart/form-data; boundary=x"), data, &FIELDS);
    assert_eq!(refused.err(), Some(FormError::ContentType));
}

/// URL standard, 5.1: the parser of `application/x-www-form-urlencoded`, without the decoding of UTF-8.
fn pairs(body: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let sequences = body.split(|byte| *byte == b'&');
    let pair = |sequence: &[u8]| {
        let mut halves = sequence.splitn(2, |byte| *byte == b'=');
        let mut half = || decoded(halves.next().unwrap_or_default());
        (half(), half())
    };
    sequences
        .filter(|sequence| !sequence.is_empty())
        .map(pair)
        .collect()
}

fn decoded(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some((byte, rest)) = bytes.split_first() {
        bytes = rest;
        let digit = |at: usize| {
            rest.get(at)
                .and_then(|digit| char::from(*digit).to_digit(16))
        };
        match (byte, digit(0), digit(1)) {
            (b'+', ..) => out.push(b' '),
            (b'%', Some(high), Some(low)) => {
                // Both are below 16.
                out.push((high * 16 + low) as u8);
                bytes = &rest[2..];
            }
            _ => out.push(*byte),
        }
    }
    out
}
