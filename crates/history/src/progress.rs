//! How a long job tells how far it is. The command line draws a bar; tests stay silent.

/// Told of the steps of a job. Called from several threads.
pub trait Progress: Sync {
    /// A step begins; `total` is in the unit of [`Progress::advance`] (bytes of input or shards).
    fn step(&self, name: &str, total: u64);
    /// Part of the step is done.
    fn advance(&self, by: u64);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _name: &str, _total: u64) {}
    fn advance(&self, _by: u64) {}
}
