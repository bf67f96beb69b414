/// The standbys of a database, which may take over if it is lost.
///
/// ```
/// use keyproof_store::Standbys;
///
/// assert!(!Standbys::default().is_failover_unsafe(), "nobody takes the place of this one");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standbys {
    /// How many are connected at the moment.
    pub following: u32,
    /// Whether a commit is acknowledged only once a standby has it.
    pub is_synchronous: bool,
}

impl Standbys {
    /// Whether a standby that takes over may lack acknowledged commits.
    pub const fn is_failover_unsafe(&self) -> bool {
        self.following > 0 && !self.is_synchronous
    }
}
