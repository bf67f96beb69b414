/// The result of a schema migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// The schema that was found; 0 if there was none.
    pub from: u32,
    /// The current schema: this release's, or a later one that this release runs on.
    pub to: u32,
}
