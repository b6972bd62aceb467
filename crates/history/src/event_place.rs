//! Where an event of a view came from, as one number: the branch of the view's stream and the offset in the log or file
//! that the branch begins at. Numbers are in the order of ties: branches first, then offsets.

use arrow::array::UInt64Array;

use crate::duplicates::Duplicates;

/// Bits of the offset: 2⁴⁸ events, at a million a second, are nine years of one stream.
const OFFSET_BITS: u32 = 48;

/// A place, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventPlace {
    /// Number of the branch.
    branch: usize,
    /// Offset in its source.
    offset: u64,
}

impl EventPlace {
    /// The places of events at these offsets that came by one branch.
    pub(crate) fn column(offsets: &UInt64Array, branch: u32) -> UInt64Array {
        match branch {
            0 => offsets.clone(),
            branch => offsets.unary(|offset| u64::from(branch) << OFFSET_BITS | offset),
        }
    }

    fn of(place: u64) -> EventPlace {
        EventPlace { branch: (place >> OFFSET_BITS) as usize, offset: place & ((1 << OFFSET_BITS) - 1) }
    }
}

/// The duplicates among the events of a view.
#[derive(Debug)]
pub(crate) struct ViewDuplicates<'a> {
    /// For each branch of the view's stream, those of its source.
    branches: Vec<&'a Duplicates>,
}

impl<'a> ViewDuplicates<'a> {
    /// One for each branch, in their order.
    pub(crate) fn new(branches: Vec<&'a Duplicates>) -> ViewDuplicates<'a> {
        ViewDuplicates { branches }
    }

    /// Whether there are none at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.branches.iter().all(|duplicates| duplicates.count() == 0)
    }

    /// Whether the event at a place is one.
    pub(crate) fn hold(&self, place: u64) -> bool {
        let EventPlace { branch, offset } = EventPlace::of(place);
        self.branches[branch].hold(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_the_order_of_branches_and_then_of_offsets() {
        let offsets = UInt64Array::from(vec![0, 1, (1 << OFFSET_BITS) - 1]);
        let places = |branch| EventPlace::column(&offsets, branch).values().to_vec();
        let all: Vec<u64> = [places(0), places(1), places(63)].concat();
        assert!(all.is_sorted_by(|one, other| one < other), "{all:?}");
        assert_eq!(EventPlace::of(all[5]), EventPlace { branch: 1, offset: (1 << OFFSET_BITS) - 1 });
    }
}
