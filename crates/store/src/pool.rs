/// The connections to a database, of which there are at most so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolFigures {
    /// How many there may be.
    pub most: usize,
    /// How many there are.
    pub open: usize,
    /// How many of them nobody uses.
    pub idle: usize,
    /// How many callers wait for one.
    pub waiting: usize,
}
