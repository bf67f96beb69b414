//! Parses DER while keeping the received bytes and the offsets of errors.

use der::{Header, Length, Reader, SliceReader, Tag, TagNumber};

use crate::{X509Error, error::DerProblem};

/// The field that is being parsed, for error messages.
pub(crate) type Field = &'static str;

/// Parses `der` as exactly one structure. No data may follow it.
///
/// `parse` sets its second argument to the field that it is parsing.
pub(crate) fn read_whole<'a, T>(
    der: &'a [u8],
    field: Field,
    parse: impl FnOnce(&mut SliceReader<'a>, &mut Field) -> der::Result<T>,
) -> Result<T, X509Error> {
    let mut at_field = field;
    let mut reader = SliceReader::new(der).map_err(|error| malformed(field, &error, 0))?;
    let read = parse(&mut reader, &mut at_field);
    let position = to_usize(reader.position());
    let value = read.map_err(|error| malformed(at_field, &error, position))?;
    reader
        .finish()
        .map_err(|error| malformed(field, &error, position))?;
    Ok(value)
}

fn malformed(field: Field, error: &der::Error, position: usize) -> X509Error {
    X509Error::Malformed {
        field,
        at: error.position().map_or(position, to_usize),
        reason: DerProblem(error.kind()),
    }
}

/// Runs `parse` and returns the received bytes that it consumed as well.
pub(crate) fn received<'a, T>(
    reader: &mut SliceReader<'a>,
    parse: impl FnOnce(&mut SliceReader<'a>) -> der::Result<T>,
) -> der::Result<(&'a [u8], T)> {
    let mut start = reader.clone();
    let value = parse(reader)?;
    let length = reader.position().saturating_sub(start.position());
    Ok((start.read_slice(length)?, value))
}

/// Consumes a structure with the given tag and returns its contents unparsed.
pub(crate) fn contents<'a>(reader: &mut SliceReader<'a>, tag: Tag) -> der::Result<&'a [u8]> {
    let header = reader.decode::<Header>()?;
    header.tag().assert_eq(tag)?;
    reader.read_slice(header.length())
}

/// Parses a structure with the given tag; `parse` must consume all of its contents.
pub(crate) fn nested<'a, T>(
    reader: &mut SliceReader<'a>,
    tag: Tag,
    parse: impl FnOnce(&mut SliceReader<'a>) -> der::Result<T>,
) -> der::Result<T> {
    let header = reader.decode::<Header>()?;
    header.tag().assert_eq(tag)?;
    reader.read_nested(header.length(), parse)
}

/// Parses an optional EXPLICIT field `[number]`.
pub(crate) fn explicit<'a, T>(
    reader: &mut SliceReader<'a>,
    number: u32,
    parse: impl FnOnce(&mut SliceReader<'a>) -> der::Result<T>,
) -> der::Result<Option<T>> {
    let tag = TagNumber(number).context_specific(true);
    if peek(reader)? != Some(tag) {
        return Ok(None);
    }
    nested(reader, tag, parse).map(Some)
}

/// Returns the tag of the next structure, or `None` at the end.
pub(crate) fn peek(reader: &SliceReader<'_>) -> der::Result<Option<Tag>> {
    if reader.is_finished() {
        Ok(None)
    } else {
        Tag::peek(reader).map(Some)
    }
}

/// Offsets are bounded by the input's length, so nothing is truncated.
fn to_usize(length: Length) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
