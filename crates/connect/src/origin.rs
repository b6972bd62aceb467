//! Where the rows of a frame come from: the topic that feeds the stream, and their places in its partitions. Of scored rows the
//! logs of the rows before they were scored: each way by which these come is a partition, and there is no topic.
//! ```text
//!   topic u64 │ runs u32 │ runs: partition u32, first offset u64, rows u32
//! ```
//! A run is rows that follow each other in the frame and in their partition. Offsets that no event has (of aborted and of
//! control records) end a run. A run without rows says from where a partition is read on: one that has had none yet, or behind
//! messages that were none of the stream's.

use std::collections::BTreeMap;

use crate::byte_reader::{ByteReader, Malformed};

/// What a run takes.
const RUN_BYTES: usize = 4 + 8 + 4;

/// The places of the rows of a frame in the topic that they were read from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// Stands for the topic's name: [`topic_print`].
    pub topic: u64,
    runs: Vec<Run>,
    rows: usize,
}

/// Rows that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    partition: u32,
    first_offset: u64,
    rows: u32,
}

impl Run {
    fn end_offset(&self) -> u64 {
        self.first_offset.saturating_add(u64::from(self.rows))
    }
}

/// What stands for the name of a topic where it is stored.
pub fn topic_print(topic: &str) -> u64 {
    twox_hash::XxHash3_64::oneshot(topic.as_bytes())
}

impl Origin {
    /// No rows yet of a topic of this name.
    pub fn of_topic(topic: &str) -> Origin {
        Origin { topic: topic_print(topic), runs: Vec::new(), rows: 0 }
    }

    /// The next row.
    pub fn push(&mut self, partition: u32, offset: u64) {
        self.rows += 1;
        match self.runs.last_mut() {
            Some(run) if run.partition == partition && run.end_offset() == offset && run.rows < u32::MAX => {
                run.rows += 1;
            }
            _ => self.runs.push(Run { partition, first_offset: offset, rows: 1 }),
        }
    }

    /// Says, before all rows, from where partitions are read.
    pub fn begin_at(&mut self, offsets: &BTreeMap<u32, u64>) {
        let begins =
            offsets.iter().map(|(partition, offset)| Run { partition: *partition, first_offset: *offset, rows: 0 });
        self.runs.splice(..0, begins);
    }

    /// Says, behind all rows, up to where a partition was read.
    pub fn end_at(&mut self, partition: u32, offset: u64) {
        self.runs.push(Run { partition, first_offset: offset, rows: 0 });
    }

    /// The rows of another one, behind its own.
    pub fn extend(&mut self, other: &Origin) {
        self.rows += other.rows;
        self.runs.extend(&other.runs);
    }

    /// Without the rows that are passed over, and with the offsets behind them: what is not an event is read only once. No
    /// flags are none.
    pub(crate) fn passing_over(self, passed_over: &[bool]) -> Origin {
        if passed_over.is_empty() {
            return self;
        }
        let next = self.next_offsets();
        let mut kept = Origin { topic: self.topic, runs: Vec::new(), rows: 0 };
        let places = self
            .runs
            .iter()
            .flat_map(|run| (0..u64::from(run.rows)).map(|row| (run.partition, run.first_offset + row)));
        for ((partition, offset), passed) in places.zip(passed_over) {
            if !passed {
                kept.push(partition, offset);
            }
        }
        let behind = kept.next_offsets();
        let ends = next.into_iter().filter(|(partition, offset)| behind.get(partition) != Some(offset));
        kept.runs.extend(ends.map(|(partition, first_offset)| Run { partition, first_offset, rows: 0 }));
        kept
    }

    /// How many rows it tells of.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The partition of each row.
    pub fn partitions(&self) -> impl Iterator<Item = u32> {
        self.runs.iter().flat_map(|run| std::iter::repeat_n(run.partition, run.rows as usize))
    }

    /// The partition and offset of a row; `None` if there is no such row.
    pub fn place(&self, row: usize) -> Option<(u32, u64)> {
        let mut first = 0;
        for run in &self.runs {
            if row < first + run.rows as usize {
                return Some((run.partition, run.first_offset.saturating_add((row - first) as u64)));
            }
            first += run.rows as usize;
        }
        None
    }

    /// For each run its partition, its first offset and the one behind its last, in the order of the rows.
    pub fn runs(&self) -> impl Iterator<Item = (u32, u64, u64)> {
        self.runs.iter().map(|run| (run.partition, run.first_offset, run.end_offset()))
    }

    /// For each partition the offset behind its last row.
    pub fn next_offsets(&self) -> BTreeMap<u32, u64> {
        self.runs().map(|(partition, _, end_offset)| (partition, end_offset)).collect()
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.topic.to_le_bytes());
        out.extend((self.runs.len() as u32).to_le_bytes());
        for run in &self.runs {
            out.extend(run.partition.to_le_bytes());
            out.extend(run.first_offset.to_le_bytes());
            out.extend(run.rows.to_le_bytes());
        }
    }

    pub(crate) fn read(from: &mut ByteReader<'_>) -> Result<Origin, Malformed> {
        let (topic, count) = (u64::from_le_bytes(from.array()?), from.u32()? as usize);
        let runs = from.list(count, RUN_BYTES, |from| {
            let (partition, first_offset) = (from.u32()?, u64::from_le_bytes(from.array()?));
            Ok(Run { partition, first_offset, rows: from.u32()? })
        })?;
        let rows = runs.iter().try_fold(0usize, |rows, run| rows.checked_add(run.rows as usize));
        let rows = rows.ok_or_else(|| Malformed("its runs have more rows than there are".to_owned()))?;
        Ok(Origin { topic, runs, rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_tells_the_place_of_each_row(places in prop::collection::vec((0..3u32, 0..6u64), 0..40)) {
            let (mut origin, mut other) = (Origin::of_topic("orders"), Origin::of_topic("orders"));
            let half = places.len() / 2;
            places[..half].iter().for_each(|(partition, offset)| origin.push(*partition, *offset));
            places[half..].iter().for_each(|(partition, offset)| other.push(*partition, *offset));
            origin.extend(&other);
            let begins = BTreeMap::from([(0, 3), (7, u64::MAX)]);
            origin.begin_at(&begins);
            let mut bytes = Vec::new();
            origin.encode(&mut bytes);
            let read = Origin::read(&mut ByteReader::new(&bytes)).map_err(|_| ());
            prop_assert_eq!(read.as_ref(), Ok(&origin));
            prop_assert_eq!(origin.rows(), places.len());
            prop_assert_eq!(origin.place(places.len()), None);
            let told: Vec<(u32, u64)> = (0..places.len()).filter_map(|row| origin.place(row)).collect();
            prop_assert_eq!(&told, &places);
            let partitions: Vec<u32> = places.iter().map(|(partition, _)| *partition).collect();
            prop_assert_eq!(origin.partitions().collect::<Vec<u32>>(), partitions);
            let mut next = begins;
            places.iter().for_each(|(partition, offset)| _ = next.insert(*partition, offset + 1));
            prop_assert_eq!(origin.next_offsets(), next);
        }
    }
}
