//! What a software TPM made, read from this folder; its README says how.

use std::path::Path;

#[expect(clippy::panic, reason = "a test reports by a panic")]
pub(crate) fn read(kind: &str, file: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors")
        .join(kind)
        .join(file);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
