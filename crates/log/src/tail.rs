//! The decision what the end of an unsealed segment is: clean, torn, or damaged.
//!
//! ```text
//!   header │ whole frames … │ bad bytes … │ zeros
//!                           └ end of what is whole
//! ```
//! Whatever a sync has covered must be whole. How far that is, is known from the mark and from what frames say, those before
//! the bad bytes and those behind. If all of them stop short of the bad bytes, no sync covered these: the tail is torn.

use crate::look::Behind;

/// What is known about the end of a segment.
#[derive(Debug)]
pub(crate) struct TailFacts {
    /// The byte behind the last whole frame.
    pub(crate) end_byte: u64,
    /// How much the mark, or one of the whole frames, calls durable.
    pub(crate) durable_byte: u64,
    pub(crate) behind: Behind,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    Clean,
    /// So many bytes are to be left behind.
    Torn {
        bytes: u64,
    },
    /// The segment was durable through this byte.
    Damaged {
        durable_byte: u64,
    },
}

impl TailFacts {
    pub(crate) fn decide(&self) -> Tail {
        let durable_byte = self.behind.durable_through.unwrap_or(0).max(self.durable_byte);
        if durable_byte > self.end_byte {
            Tail::Damaged { durable_byte }
        } else if self.behind.bytes > 0 {
            Tail::Torn { bytes: self.behind.bytes }
        } else {
            Tail::Clean
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(durable_byte: u64, durable_through: Option<u64>, bytes: u64, expected: Tail) {
        let facts = TailFacts { end_byte: 100, durable_byte, behind: Behind { durable_through, bytes } };
        assert_eq!(facts.decide(), expected, "{facts:?}");
    }

    #[test]
    fn a_tail_is_damaged_if_a_sync_covered_it() {
        check(0, None, 0, Tail::Clean);
        check(100, None, 0, Tail::Clean);
        check(100, None, 1, Tail::Torn { bytes: 1 });
        check(100, Some(100), 1, Tail::Torn { bytes: 1 });
        check(101, None, 0, Tail::Damaged { durable_byte: 101 });
        check(0, Some(101), 50, Tail::Damaged { durable_byte: 101 });
        check(102, Some(101), 50, Tail::Damaged { durable_byte: 102 });
    }
}
