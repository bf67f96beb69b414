//! Valid CAs, each with a valid leaf, and edits of such bytes.

pub(crate) const CODE: &str = "7D9BDFF9BD7037666A250E4214735E3A0B1A063D7D81F638";
/// 2027-01-15T08:00:00Z, within the validity of every pair.
pub(crate) const NOW: u64 = 1_800_000_000;

/// A CA and a valid leaf of it for [`CODE`].
pub(crate) const PAIRS: [(&[u8], &[u8]); 3] = [
    (
        include_bytes!("../vectors/p256-ca.der"),
        include_bytes!("../vectors/p256-leaf.der"),
    ),
    (
        include_bytes!("../vectors/rsa2048-ca.der"),
        include_bytes!("../vectors/rsa2048-leaf.der"),
    ),
    (ED25519_CA, ED25519_LEAF),
];
pub(crate) const ED25519_CA: &[u8] = include_bytes!("../vectors/ed25519-ca.der");
pub(crate) const ED25519_LEAF: &[u8] = include_bytes!("../vectors/ed25519-leaf.der");
pub(crate) const ED25519_KEY: &[u8] = include_bytes!("../vectors/ed25519-ca.key");

/// Applies edits of four bytes each: an operation, an offset, a value.
pub(crate) fn edited(original: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    let (edits, _) = edits.as_chunks::<4>();
    for [operation, high, low, value] in edits {
        let place = usize::from(u16::from_be_bytes([*high, *low]));
        let Some(byte) = bytes.get_mut(place) else {
            continue;
        };
        match operation % 4 {
            0 => *byte = *value,
            1 => *byte ^= 1 << (value % 8),
            2 => drop(bytes.remove(place)),
            _ => bytes.insert(place, *value),
        }
    }
    bytes
}
