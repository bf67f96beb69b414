//! The frames of a backup: a stream cut into parts, each encrypted and authenticated together with its index.
//!
//! A missing frame is detected: the frames are numbered, and the last one is marked as such.

use std::io::{self, Read, Write};

use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::BackupError;

/// The maximum content of one frame, in bytes.
const CONTENT: usize = 64 * 1024;
/// Index, last-frame mark, and length of the ciphertext.
const HEAD: usize = 8 + 1 + 4;
/// The length of AES-GCM's tag.
const TAG: usize = 16;

const MORE: u8 = 0;
const LAST: u8 = 1;

/// The index is the nonce. It does not repeat, since each backup has its own key.
fn nonce(index: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    if let Some(place) = nonce.last_chunk_mut() {
        *place = index.to_be_bytes();
    }
    Nonce::assume_unique_for_key(nonce)
}

/// Writes frames.
pub(super) struct Sealing<W> {
    output: W,
    key: LessSafeKey,
    index: u64,
    content: Vec<u8>,
}

impl<W: Write> Sealing<W> {
    pub(super) fn new(output: W, key: UnboundKey) -> Self {
        Self {
            output,
            key: LessSafeKey::new(key),
            index: 0,
            content: Vec::with_capacity(CONTENT + TAG),
        }
    }

    /// Writes the last frame, which may be empty.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.seal(LAST)?;
        self.output.flush()?;
        Ok(self.output)
    }

    fn seal(&mut self, mark: u8) -> io::Result<()> {
        let mut head = [0; HEAD];
        let length = (self.content.len() + TAG) as u32;
        let parts = [
            &self.index.to_be_bytes()[..],
            &[mark],
            &length.to_be_bytes(),
        ];
        head.copy_from_slice(&parts.concat());
        self.key
            .seal_in_place_append_tag(nonce(self.index), Aad::from(head), &mut self.content)
            .map_err(|_| io::Error::other("a frame was not encrypted"))?;
        self.output.write_all(&head)?;
        self.output.write_all(&self.content)?;
        self.content.clear();
        self.index += 1;
        Ok(())
    }
}

impl<W: Write> Write for Sealing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.content.len() == CONTENT {
            self.seal(MORE)?;
        }
        let taken = bytes.len().min(CONTENT - self.content.len());
        self.content
            .extend_from_slice(bytes.get(..taken).unwrap_or_default());
        Ok(taken)
    }

    /// Does nothing: a frame is written once it is full, and at the end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads frames.
pub(super) struct Opening<R> {
    input: R,
    key: LessSafeKey,
    index: u64,
    /// Where the next frame begins.
    at: u64,
    content: Vec<u8>,
    given: usize,
    is_last: bool,
}

impl<R: Read> Opening<R> {
    pub(super) fn new(input: R, key: UnboundKey, at: u64) -> Self {
        Self {
            input,
            key: LessSafeKey::new(key),
            index: 0,
            at,
            content: Vec::new(),
            given: 0,
            is_last: false,
        }
    }

    /// Called when all of the stream was read: checks that the last frame was read too, and that nothing follows it.
    pub(super) fn end(&mut self) -> Result<(), BackupError> {
        while self.given < self.content.len() || !self.is_last {
            if self.given < self.content.len() {
                let (what, records) = ("something after the end", 0);
                return Err(BackupError::Malformed { what, records });
            }
            self.open()?;
        }
        if self.read_up_to(1)?.is_empty() {
            Ok(())
        } else {
            Err(BackupError::Trailing { at: self.at })
        }
    }

    fn open(&mut self) -> Result<(), BackupError> {
        let start = self.at;
        let head = self.take(HEAD)?;
        let mut rest = head.as_slice();
        let index = u64::from_be_bytes(part(&mut rest)?);
        let [mark] = part(&mut rest)?;
        let length = u32::from_be_bytes(part(&mut rest)?) as usize;
        if index != self.index {
            return Err(BackupError::OutOfOrder {
                at: start,
                found: index,
                expected: self.index,
            });
        }
        let altered = |end| BackupError::Altered { start, end };
        if !(TAG..=CONTENT + TAG).contains(&length) || ![MORE, LAST].contains(&mark) {
            return Err(altered(self.at));
        }
        let mut content = self.take(length)?;
        let opened = self
            .key
            .open_in_place(nonce(index), Aad::from(head), &mut content)
            .map_err(|_| altered(self.at))?
            .len();
        content.truncate(opened);
        self.content = content;
        self.given = 0;
        self.index += 1;
        self.is_last = mark == LAST;
        Ok(())
    }

    /// Reads exactly `count` bytes; if there are fewer, the backup is cut short.
    fn take(&mut self, count: usize) -> Result<Vec<u8>, BackupError> {
        let bytes = self.read_up_to(count)?;
        self.at += bytes.len() as u64;
        if bytes.len() == count {
            Ok(bytes)
        } else {
            Err(BackupError::Truncated { at: self.at })
        }
    }

    fn read_up_to(&mut self, count: usize) -> Result<Vec<u8>, BackupError> {
        let mut bytes = Vec::with_capacity(count);
        let mut input = self.input.by_ref().take(count as u64);
        input.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Splits off the next bytes of a frame's head.
fn part<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], BackupError> {
    let (part, after) = rest.split_first_chunk().ok_or(BackupError::Header)?;
    *rest = after;
    Ok(*part)
}

impl<R: Read> Read for Opening<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.given == self.content.len() {
            if self.is_last {
                return Ok(0);
            }
            self.open()?;
        }
        let mut left = self.content.get(self.given..).unwrap_or_default();
        let read = left.read(into)?;
        self.given += read;
        Ok(read)
    }
}
