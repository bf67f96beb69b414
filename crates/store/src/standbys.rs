/// The copies of a database that follow it, and may take its place when it is lost.
///
/// ```
/// use keyproof_store::Standbys;
///
/// assert!(!Standbys::default().is_failover_unsafe(), "nobody takes the place of this one");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standbys {
    /// How many follow it at the moment.
    pub following: u32,
    /// Whether a commit is acknowledged only once one of them has it.
    pub are_waited_for: bool,
}

impl Standbys {
    /// Whether one that takes over may lack what was acknowledged.
    pub const fn is_failover_unsafe(&self) -> bool {
        self.following > 0 && !self.are_waited_for
    }
}
