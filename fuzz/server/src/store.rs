//! Store keys: order, prefixes, length, and decoding.

use keyproof_store::{Key, Prefix, Segment};

/// The data as an encoded key. Also reads two lists of three segments from it, each segment after a length byte, and compares the
/// two as keys.
pub fn key(data: &[u8]) {
    if let Ok(key) = Key::from_bytes(data) {
        assert_eq!(key.as_bytes(), data, "only one encoding is taken");
        check(&key);
    }
    let mut rest = data;
    let a = [segment(&mut rest), segment(&mut rest), segment(&mut rest)];
    let b = [segment(&mut rest), segment(&mut rest), segment(&mut rest)];
    let (key_a, key_b) = (Key::new("c", a), Key::new("c", b));
    for (key, segments) in [(&key_a, a), (&key_b, b)] {
        check(key);
        let want = segments.iter().map(|segment| Segment::new(segment));
        assert!(key.segments().skip(1).eq(want), "the segments come back");
    }

    assert_eq!(key_a == key_b, a == b, "{a:?} {b:?}");
    assert_eq!(key_a.cmp(&key_b), key_a.as_bytes().cmp(key_b.as_bytes()));
    assert_eq!(key_a.cmp(&key_b), key_a.segments().cmp(key_b.segments()));
    let is_plain = |segment| matches!(segment, Segment::Plain(_));
    if key_a.segments().chain(key_b.segments()).all(is_plain) {
        assert_eq!(key_a.cmp(&key_b), a.cmp(&b), "byte order is segment order");
    }

    let [first, second, _] = a;
    prefix(&Prefix::new("c", [first]), &key_a, true);
    prefix(&Prefix::new("c", [first]), &key_b, a.first() == b.first());
    prefix(
        &Prefix::new("c", [first, second]),
        &key_b,
        a.get(..2) == b.get(..2),
    );
    prefix(&Prefix::new("c", a), &key_b, a == b);
}

fn check(key: &Key) {
    assert!(key.as_bytes().len() <= Key::MAX_LEN);
    assert!((1..=Key::MAX_SEGMENTS).contains(&key.segments().count()));
    assert_eq!(Key::from_bytes(key.as_bytes()).as_ref(), Ok(key));
    assert!(key.to_string().is_ascii());
}

fn prefix(prefix: &Prefix, key: &Key, contained: bool) {
    assert_eq!(prefix.contains(key), contained, "{prefix:?} {key:?}");
    let in_range = key.as_bytes() >= prefix.start() && *key.as_bytes() < *prefix.end();
    assert_eq!(in_range, contained, "the range of {prefix:?} and {key:?}");
}

/// Returns the next segment, which is shorter if the data ends.
fn segment<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let Some((&len, data)) = rest.split_first() else {
        return &[];
    };
    let (segment, after) = data.split_at(data.len().min(usize::from(len)));
    *rest = after;
    segment
}
