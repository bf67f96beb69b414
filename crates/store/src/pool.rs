/// The state of a pool of connections to a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStatus {
    /// The maximum number of connections.
    pub most: usize,
    /// The number of open connections.
    pub open: usize,
    /// How many of them are idle.
    pub idle: usize,
    /// How many callers wait for a connection.
    pub waiting: usize,
}
