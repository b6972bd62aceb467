//! The parts that a checkpoint names for one view: a base, and what was touched since, checkpoint by checkpoint.

use asof_state::Part;
use asof_window::Captured;

/// Checkpoints in a chain before all is written anew, however small they are.
const CHAIN_MAX: usize = 64;
/// All is written anew when what was written since the base is this part of it: a start puts each delta back into entities
/// that are there already, which takes longer for a byte than the base does.
const DELTAS_SHARE: u64 = 2;

/// The parts of one thing, from its base on.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    pub(crate) parts: Vec<Part>,
    base_bytes: u64,
    /// Checkpoints since the base.
    deltas: usize,
}

impl Chain {
    /// What the next checkpoint writes of it.
    pub(crate) fn next(&self) -> Captured {
        let delta_bytes = bytes_of(&self.parts) - self.base_bytes;
        let is_worth =
            !self.parts.is_empty() && delta_bytes <= self.base_bytes / DELTAS_SHARE && self.deltas < CHAIN_MAX;
        if is_worth { Captured::Touched } else { Captured::Whole }
    }

    /// Adds what was written; a base takes the place of all before.
    pub(crate) fn extend(&mut self, what: Captured, written: Vec<Part>) {
        if what == Captured::Whole {
            *self = Chain { base_bytes: bytes_of(&written), parts: written, deltas: 0 };
        } else {
            self.deltas += 1;
            self.parts.extend(written);
        }
    }
}

/// The bytes of all these.
pub(crate) fn bytes_of(parts: &[Part]) -> u64 {
    parts.iter().map(|part| part.bytes).sum()
}
