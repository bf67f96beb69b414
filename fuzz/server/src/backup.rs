//! Backups as a restore reads them: arbitrary files, changes to a genuine backup, and arbitrary contents sealed with the right key.

use std::{io::Write, sync::LazyLock};

use data_encoding::BASE64;
use flate2::{Compression, write::DeflateEncoder};
use keyproof_service::Restoring;
use keyproof_store::{
    Entropy, Key, MasterKey, Row, Tally, Timestamp, Version,
    backup::{BackupError, BackupHeader, BackupReader, BackupWriter},
};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
};
use serde_json::Value;

const MASTER_KEY: [u8; MasterKey::LEN] = [7; MasterKey::LEN];

/// The length of a stream's part in one frame, in bytes. It is small, so that a short input has several frames.
const FRAME: usize = 1000;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

type Records = Vec<(Key, Row)>;

/// Three records, and a backup of them.
static GENUINE: LazyLock<(Records, Vec<u8>)> = LazyLock::new(|| {
    let record = |name: &str, expires_at, body: &[u8]| {
        let row = Row {
            version: Version::from_bytes([9; 16]),
            body: body.into(),
            expires_at,
        };
        (Key::new("audit", [name]), row)
    };
    let incompressible: Vec<u8> = (0_u32..70_000)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let records = vec![
        record("a", None, b"{}"),
        record("b", Some(NOW), &incompressible),
        record("c", None, b""),
    ];
    let file = written(&records);
    (records, file)
});

/// A file that begins as a backup does is read as one. Otherwise byte 0 selects what the rest is: `s` a stream of records, `d` the
/// same compressed, both sealed with the right key; `c` changes to a genuine backup, each an offset of three bytes and a byte to
/// XOR.
pub fn read(data: &[u8]) {
    match data.split_first() {
        Some((b'k', _)) => drop(restored(data)),
        Some((b's', stream)) => streamed(stream),
        Some((b'd', stream)) => drop(restored(&sealed(stream))),
        Some((b'c', edits)) => changed(edits),
        _ => {}
    }
}

/// Asserts that a stream that can be read is exactly, byte for byte, the format's encoding of its records.
fn streamed(stream: &[u8]) {
    let (records, error) = restored(&sealed(&deflated(stream)));
    if error.is_none() {
        assert_eq!(stream, format(&records));
    }
}

/// Encodes these records as the format's description specifies.
fn format(records: &[(Key, Row)]) -> Vec<u8> {
    let mut stream = Vec::new();
    for (key, row) in records {
        let (key, expires_at) = (key.as_bytes(), row.expires_at.map(Timestamp::as_millis));
        stream.push(1);
        stream.extend((key.len() as u16).to_be_bytes());
        stream.extend(key);
        stream.extend(row.version.as_bytes());
        stream.extend(expires_at.unwrap_or(u64::MAX).to_be_bytes());
        stream.extend((row.body.len() as u32).to_be_bytes());
        stream.extend(&*row.body);
    }
    let (_, tally) = backup_of(records);
    stream.push(0);
    stream.extend(tally.records.to_be_bytes());
    stream.extend(tally.digest);
    stream
}

fn changed(edits: &[u8]) {
    let (records, genuine) = &*GENUINE;
    let mut file = genuine.clone();
    for edit in edits.chunks_exact(4) {
        let at = u32::from_be_bytes([0, edit[0], edit[1], edit[2]]) as usize;
        let len = file.len();
        file[at % len] ^= edit[3];
    }
    let (found, error) = restored(&file);
    assert_eq!(error.is_some(), file != *genuine, "{error:?}");
    assert!(records.starts_with(&found), "a changed record is given out");
    assert!(error.is_some() || *records == found);
}

/// Restores a file. Returns the records before the first error, and the error if there is one. Each record is examined as it is put
/// into the store, and is written into a backup again.
fn restored(file: &[u8]) -> (Records, Option<BackupError>) {
    let mut records = Vec::new();
    let error = walk(file, &mut records).err();
    let mut restoring = Restoring::new(NOW, &Still);
    for (key, row) in &records {
        let Ok(Some((place, left))) = restoring.record(key.clone(), row.clone()) else {
            continue;
        };
        assert_eq!(place, *key);
        assert!(!left.is_expired(NOW));
        assert_eq!(left.expires_at, row.expires_at);
    }
    let mut again = Vec::new();
    assert_eq!(walk(&written(&records), &mut again), Ok(()));
    assert_eq!(records, again);
    if error.is_none() {
        // The backup ends exactly at the end of the file.
        let len = file.len() as u64;
        let longer = [file, b"\0"].concat();
        let trailing = BackupError::Trailing { at: len };
        assert_eq!(walk(&longer, &mut Vec::new()), Err(trailing));
        let cut = BackupError::Truncated { at: len - 1 };
        let shorter = &file[..file.len() - 1];
        assert_eq!(walk(shorter, &mut Vec::new()), Err(cut));
    }
    (records, error)
}

fn walk(mut file: &[u8], records: &mut Records) -> Result<(), BackupError> {
    let head = BackupHeader::read(&mut file)?;
    let mut reader = BackupReader::new(&head, file, &master_key())?;
    while let Some(record) = reader.next()? {
        assert!(
            records.last().is_none_or(|(last, _)| *last < record.0),
            "out of order"
        );
        records.push(record);
    }
    assert_eq!(
        reader.tally().map(|tally| tally.records),
        Some(records.len() as u64)
    );
    assert_eq!(reader.next(), Ok(None));
    Ok(())
}

fn written(records: &[(Key, Row)]) -> Vec<u8> {
    let (file, _) = backup_of(records);
    file
}

fn backup_of(records: &[(Key, Row)]) -> (Vec<u8>, Tally) {
    let writer = BackupWriter::new(Vec::new(), &master_key(), None, NOW, &Still);
    let mut writer = writer.expect("a Vec takes it");
    for (key, row) in records {
        writer.record(key, row).expect("a Vec takes it");
    }
    let (file, tally) = writer.finish().expect("a Vec takes it");
    assert_eq!(tally.records, records.len() as u64);
    (file, tally)
}

/// Returns a file with this stream in its frames, as the format's description specifies.
fn sealed(stream: &[u8]) -> Vec<u8> {
    static HEAD: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let empty = written(&[]);
        let length = u32::from_be_bytes([empty[17], empty[18], empty[19], empty[20]]) as usize;
        empty[..21 + length + 32].to_vec()
    });
    let mut file = HEAD.clone();
    let head: Value = serde_json::from_slice(&file[21..file.len() - 32]).expect("the head is JSON");
    let salt = BASE64.decode(head["salt"].as_str().expect("a salt").as_bytes());
    let drawn = Salt::new(HKDF_SHA256, &salt.expect("Base64")).extract(&MASTER_KEY);
    let key = drawn
        .expand(&[b"keyproof backup 1: frames"], &AES_256_GCM)
        .expect("a short key");
    let key = LessSafeKey::new(UnboundKey::from(key));
    // An empty stream has one frame too.
    let count = stream.len().div_ceil(FRAME).max(1);
    for index in 0..count {
        let mut content = stream[index * FRAME..stream.len().min((index + 1) * FRAME)].to_vec();
        let mut nonce = [0; NONCE_LEN];
        nonce[NONCE_LEN - 8..].copy_from_slice(&(index as u64).to_be_bytes());
        let mut before = (index as u64).to_be_bytes().to_vec();
        before.push(u8::from(index + 1 == count));
        before.extend((content.len() as u32 + 16).to_be_bytes());
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce, Aad::from(&before), &mut content)
            .expect("a short frame");
        file.extend(before);
        file.extend(content);
    }
    file
}

fn deflated(stream: &[u8]) -> Vec<u8> {
    let mut deflate = DeflateEncoder::new(Vec::new(), Compression::fast());
    deflate.write_all(stream).expect("a Vec takes it");
    deflate.finish().expect("a Vec takes it")
}

fn master_key() -> MasterKey {
    MasterKey::from_bytes(&MASTER_KEY).expect("its length is right")
}

/// Returns the same bytes each time, so that a run can be repeated.
struct Still;

impl Entropy for Still {
    fn fill(&self, dest: &mut [u8]) {
        dest.fill(0x42);
    }
}
