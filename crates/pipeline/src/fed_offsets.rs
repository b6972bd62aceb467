//! From which offsets the topic that feeds a stream is read on: as the log of the stream says, and nobody else.

use std::collections::BTreeMap;

use asof_connect::{Origin, topic_print};
use asof_definition::KafkaFeed;

/// The next offset of each partition of one topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FedOffsets {
    /// Stands for the topic's name: offsets of another one are not its own.
    pub(crate) topic: u64,
    pub(crate) next: BTreeMap<u32, u64>,
}

impl FedOffsets {
    pub(crate) fn of(feed: Option<&KafkaFeed>) -> FedOffsets {
        FedOffsets { topic: feed.map_or(0, |feed| topic_print(&feed.topic)), next: BTreeMap::new() }
    }

    /// What of these rows comes again, or out of their order: none may, who reads the topic goes on where the log ends.
    pub(crate) fn repeated(&self, origin: &Origin) -> Option<String> {
        let mut next = self.next.clone();
        for (partition, first_offset, end_offset) in origin.runs() {
            let expected = next.insert(partition, end_offset).unwrap_or(0);
            if first_offset < expected {
                return Some(format!("offset {first_offset} of partition {partition} after {expected}"));
            }
        }
        None
    }

    /// Rows are in the log.
    pub(crate) fn take_in(&mut self, origin: &Origin) {
        if origin.topic == self.topic {
            self.next.extend(origin.next_offsets());
        }
    }

    /// Goes on where a checkpoint was.
    pub(crate) fn restore(&mut self, image: &FedOffsets) {
        if image.topic == self.topic {
            self.next.clone_from(&image.next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_come_again_are_known() {
        let mut offsets = FedOffsets { topic: topic_print("orders"), next: BTreeMap::from([(0, 5)]) };
        let origin = |places: &[(u32, u64)]| {
            let mut origin = Origin::of_topic("orders");
            places.iter().for_each(|(partition, offset)| origin.push(*partition, *offset));
            origin
        };
        assert_eq!(offsets.repeated(&origin(&[(0, 5), (1, 0), (0, 9)])), None);
        assert!(offsets.repeated(&origin(&[(0, 4)])).is_some());
        assert!(offsets.repeated(&origin(&[(1, 7), (1, 6)])).is_some());
        offsets.take_in(&origin(&[(0, 5), (1, 0), (0, 9)]));
        assert_eq!(offsets.next, BTreeMap::from([(0, 10), (1, 1)]));
        offsets.take_in(&Origin::of_topic("others"));
        assert_eq!(offsets.next, BTreeMap::from([(0, 10), (1, 1)]));
    }
}
