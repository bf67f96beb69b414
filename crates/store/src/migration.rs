/// What became of a store's schema when it was brought to this release's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// The schema that was found; 0 if there was none.
    pub from: u32,
    /// The schema that is there now: this release's, or a later one that this release runs on.
    pub to: u32,
}
