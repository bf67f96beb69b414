//! A backup is read as it was written, or rejected with the right error.
#![expect(clippy::expect_used, reason = "tests may")]

use keyproof_store::{
    Changes, Entropy, Key, MasterKey, Row, SystemEntropy, Tally, TallyBuilder, Timestamp, Version,
    backup::{BackupError, BackupHeader, BackupReader, BackupWriter},
};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn master_key(byte: u8) -> MasterKey {
    MasterKey::from_bytes(&[byte; 32]).expect("32 bytes")
}

fn row(body: Vec<u8>, expires_at: Option<Timestamp>) -> Row {
    Row {
        version: Version::random(&SystemEntropy::new()),
        body: body.into(),
        expires_at,
    }
}

/// Enough data, and random enough, to take several frames.
fn rows() -> Vec<(Key, Row)> {
    (0..200)
        .map(|number| {
            let mut body = vec![0; 1_000];
            SystemEntropy::new().fill(&mut body);
            let expires_at = (number % 3 == 0).then_some(Timestamp::from_secs(number));
            let key = Key::new("record", [format!("{number:04}")]);
            (key, row(body, expires_at))
        })
        .collect()
}

fn write(rows: &[(Key, Row)], passphrase: Option<&[u8]>) -> Vec<u8> {
    let mut writer = BackupWriter::new(
        Vec::new(),
        &master_key(1),
        passphrase,
        NOW,
        &SystemEntropy::new(),
    )
    .expect("a head");
    for (key, row) in rows {
        writer.record(key, row).expect("a record");
    }
    let (bytes, tally) = writer.finish().expect("an end");
    assert_eq!(tally, tally_of(rows));
    bytes
}

fn tally_of(rows: &[(Key, Row)]) -> Tally {
    let mut counting = TallyBuilder::new();
    rows.iter().for_each(|(key, row)| counting.add(key, row));
    counting.finish()
}

fn read(mut bytes: &[u8], key: &MasterKey) -> Result<Vec<(Key, Row)>, BackupError> {
    let head = BackupHeader::read(&mut bytes)?;
    let mut reader = BackupReader::new(&head, bytes, key)?;
    let mut rows = Vec::new();
    while let Some(record) = reader.next()? {
        rows.push(record);
    }
    assert_eq!(reader.tally(), Some(tally_of(&rows)));
    assert_eq!(reader.next(), Ok(None), "and it stays at the end");
    Ok(rows)
}

fn refusal(bytes: &[u8]) -> BackupError {
    read(bytes, &master_key(1)).expect_err("something is wrong with it")
}

/// The end of the head, and of each frame.
fn ends(bytes: &[u8]) -> Vec<usize> {
    let number = |at: usize| {
        let bytes = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
        u32::from_be_bytes(bytes.expect("a length")) as usize
    };
    let mut ends = vec![16 + 1 + 4 + number(17) + 32];
    while let Some(&end) = ends.last().filter(|end| **end < bytes.len()) {
        ends.push(end + 13 + number(end + 9));
    }
    ends
}

#[test]
fn a_backup_is_read_as_it_was_written() {
    let longest = row(vec![b'x'; Changes::MAX_BODY_LEN], None);
    let ends_of_time = row(Vec::new(), Some(Timestamp::MAX));
    for rows in [
        Vec::new(),
        rows(),
        vec![
            (Key::new("a", ["b"]), longest),
            (Key::new("c", [""]), ends_of_time),
        ],
    ] {
        let bytes = write(&rows, None);
        let head = BackupHeader::read(&mut bytes.as_slice()).expect("a head");
        assert_eq!((head.made_at(), head.has_key()), (NOW, false));
        assert_eq!(head.master_key(), master_key(1).id());
        assert_eq!(read(&bytes, &master_key(1)), Ok(rows));
    }
}

#[test]
fn what_is_stored_is_not_to_be_seen_in_a_backup() {
    let secret = b"a body that nobody should read, again and again: ".repeat(100);
    let bytes = write(
        &[(Key::new("a-collection", ["a-key"]), row(secret, None))],
        None,
    );
    for hidden in ["a-collection", "a-key", "nobody should read"] {
        let hidden = hidden.as_bytes();
        assert!(!bytes.windows(hidden.len()).any(|window| window == hidden));
    }
    assert!(bytes.len() < 2_000, "it is compressed");
}

#[test]
fn one_that_is_cut_short_says_so_wherever_it_is_cut() {
    let bytes = write(&rows(), None);
    let ends = ends(&bytes);
    assert!(ends.len() > 3, "it has several frames");
    for end in &ends[..ends.len() - 1] {
        for cut in [end - 1, *end, end + 1, end + 12, end + 14] {
            let cut = cut.min(bytes.len() - 1);
            let expected = BackupError::Truncated { at: cut as u64 };
            assert_eq!(refusal(&bytes[..cut]), expected);
        }
    }
    assert_eq!(refusal(&bytes[..15]), BackupError::NotABackup);
    assert_eq!(refusal(&bytes[..16]), BackupError::Truncated { at: 16 });
}

#[test]
fn one_whose_parts_were_moved_says_which() {
    let bytes = write(&rows(), None);
    let ends = ends(&bytes);
    let (head, first, second) = (ends[0], ends[1], ends[2]);
    let swapped = [
        &bytes[..head],
        &bytes[first..second],
        &bytes[head..first],
        &bytes[second..],
    ]
    .concat();
    let out_of_order = |at: usize, found, expected| BackupError::OutOfOrder {
        at: at as u64,
        found,
        expected,
    };
    assert_eq!(refusal(&swapped), out_of_order(head, 1, 0));
    let left_out = [&bytes[..first], &bytes[second..]].concat();
    assert_eq!(refusal(&left_out), out_of_order(first, 2, 1));
    let at = bytes.len() as u64;
    let more = [bytes.as_slice(), b"x"].concat();
    assert_eq!(refusal(&more), BackupError::Trailing { at });
    let twice = [bytes.as_slice(), &bytes].concat();
    assert_eq!(refusal(&twice), BackupError::Trailing { at });
}

#[test]
fn a_part_of_another_backup_is_an_alteration() {
    let (bytes, other) = (write(&rows(), None), write(&rows(), None));
    let (ends, of_other) = (ends(&bytes), ends(&other));
    let (start, end) = (
        ends[0] as u64,
        ends[0] as u64 + (of_other[1] - of_other[0]) as u64,
    );
    let mixed = [
        &bytes[..ends[0]],
        &other[of_other[0]..of_other[1]],
        &bytes[ends[1]..],
    ]
    .concat();
    assert_eq!(refusal(&mixed), BackupError::Altered { start, end });
}

#[test]
fn one_of_another_key_or_format_is_refused_by_name() {
    let bytes = write(&rows(), None);
    let (made, given) = (master_key(1).id(), master_key(2).id());
    assert_eq!(
        read(&bytes, &master_key(2)),
        Err(BackupError::MasterKey { made, given })
    );
    let mut newer = bytes.clone();
    newer[16] = 2;
    assert_eq!(refusal(&newer), BackupError::NewerFormat { found: 2 });
    assert_eq!(refusal(b"SQLite format 3\0...."), BackupError::NotABackup);
}

#[test]
fn the_master_key_goes_along_only_where_asked_and_opens_by_its_passphrase() {
    let head = |bytes: Vec<u8>| BackupHeader::read(&mut bytes.as_slice()).expect("a head");
    let without = head(write(&[], None));
    let made = master_key(1).id();
    let none = without.open_key(b"correct horse").map(|key| key.id());
    assert_eq!(none, Err(BackupError::NoKey { made }));
    let with = head(write(&[], Some(b"correct horse")));
    assert!(with.has_key());
    let opened = with.open_key(b"correct horse").expect("the passphrase");
    assert_eq!(opened.as_bytes(), &[1; 32]);
    let wrong = with.open_key(b"correct horses").map(|key| key.id());
    assert_eq!(wrong, Err(BackupError::Passphrase));
}

proptest! {
    /// Whichever byte is changed, the backup is rejected and never read as something else.
    #[test]
    fn no_byte_can_be_altered(at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let rows = rows();
        let mut bytes = write(&rows[..70], None);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(read(&bytes, &master_key(1)).is_err(), "byte {at}");
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, cut in any::<prop::sample::Index>()) {
        let _ = read(&bytes, &master_key(1));
        let mut backup = write(&[], None);
        backup.truncate(cut.index(backup.len()));
        backup.extend(bytes);
        let _ = read(&backup, &master_key(1));
    }
}
