//! What happened, line by line: kept for who asks, and hashed so that two runs can be compared.

use std::hash::{DefaultHasher, Hash, Hasher};

#[derive(Debug)]
pub(crate) struct Trace {
    is_told: bool,
    hasher: DefaultHasher,
}

impl Trace {
    pub(crate) fn new(is_told: bool) -> Trace {
        Trace { is_told, hasher: DefaultHasher::new() }
    }

    pub(crate) fn add(&mut self, line: impl FnOnce() -> String) {
        let line = line();
        line.hash(&mut self.hasher);
        if self.is_told {
            println!("{line}");
        }
    }

    pub(crate) fn digest(&self) -> u64 {
        self.hasher.finish()
    }
}
