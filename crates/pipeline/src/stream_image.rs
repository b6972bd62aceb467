//! What a checkpoint keeps of a stream beside its views: how far it has come, where its keys are, the batches named.

use std::collections::BTreeMap;

use asof_connect::ProducerBatch;
use asof_feature::{DerivedCounts, KeyPrint, PartitionCounts, StreamCounts, StreamPlan};
use asof_window::Accounting;
use serde_json::{Value, json};

use crate::fed_offsets::FedOffsets;
use crate::statistics::Reason;
use crate::writer::Writer;

/// Batches of a part: some 24 MiB.
const PIECE_BATCHES: usize = 1 << 16;

/// How far a stream has come.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct StreamImage {
    pub(crate) counts: StreamCounts,
    /// The stream's, which may have followed the clock: what it let go is in no image.
    pub(crate) watermark_us: Option<i64>,
    pub(crate) reasons: Vec<Reason>,
    /// The files that hold its primary keys.
    pub(crate) key_runs: Vec<String>,
    /// What the keys in them were hashed from; `None` where a checkpoint does not tell it yet: from today's columns without a
    /// secret.
    pub(crate) key_print: Option<KeyPrint>,
    /// For each partition that has rows held for late versions of joined tables, where those begin in the log.
    pub(crate) held_from: Vec<(u32, u64)>,
    /// How far the topic that feeds it was read.
    pub(crate) fed: FedOffsets,
}

impl StreamImage {
    /// All but where its keys are.
    pub(crate) fn of(writer: &Writer, stream: usize, reasons: &[Reason]) -> StreamImage {
        StreamImage {
            counts: writer.sources[stream].counts(),
            watermark_us: writer.positions[stream].watermark_us,
            reasons: reasons.to_vec(),
            key_runs: Vec::new(),
            key_print: Some(writer.sources[stream].plan().key_print()),
            held_from: writer.sources[stream].held_from(),
            fed: writer.logs[stream].as_ref().map(|log| log.fed.clone()).unwrap_or_default(),
        }
    }

    /// Whether its keys are of the columns that are the stream's key now, and of partitions as they are numbered now.
    pub(crate) fn has_key_columns_of(&self, plan: &StreamPlan) -> bool {
        let has_feed = plan.stream().feed().is_some();
        self.counts.fed.is_some() == has_feed
            && self.key_print.is_none_or(|print| print.columns == plan.key_print().columns)
    }

    /// Whether its keys were hashed under the secret of today.
    pub(crate) fn has_key_secret_of(&self, plan: &StreamPlan) -> bool {
        let without_one = plan.clone().with_key_secret(None).key_print();
        self.key_print.unwrap_or(without_one).secret == plan.key_print().secret
    }

    /// The offset from which the log goes on.
    pub(crate) fn next_offset(&self) -> u64 {
        self.counts.partitions.first().map_or(0, |partition| partition.arrived)
    }

    /// The offset from which the log is read at a start: an earlier one where rows are held.
    pub(crate) fn read_from(&self) -> u64 {
        let held = self.held_from.iter().map(|(_, offset)| *offset);
        held.fold(self.next_offset(), u64::min)
    }

    pub(crate) fn json(&self) -> Value {
        let Accounting { unreadable, not_null, check, future, duplicate, late, used } = self.counts.accounting;
        let partitions =
            self.counts.partitions.iter().map(|one| json!([one.partition, one.arrived, one.newest_used_us]));
        let derived = self.counts.derived.iter().map(|one| json!([one.name, one.fingerprint, one.rows]));
        let reasons = self.reasons.iter().map(|reason| {
            json!({"name": reason.name, "count": reason.count, "offset": reason.offset, "detail": reason.detail})
        });
        json!({
            "newest_us": self.counts.newest_us,
            "watermark_us": self.watermark_us,
            "partitions": partitions.collect::<Vec<_>>(),
            "derived": derived.collect::<Vec<_>>(),
            "counts": [unreadable, not_null, check, future, duplicate, late, used],
            "reasons": reasons.collect::<Vec<_>>(),
            "key_runs": self.key_runs,
            "held_from": self.held_from,
            "fed": self.counts.fed.as_ref().map(|newest_us| {
                json!({"topic": self.fed.topic, "next": pairs(&self.fed.next), "newest_used_us": newest_us})
            }),
            "key_print": self.key_print.map(|print| json!({"columns": print.columns, "secret": print.secret})),
        })
    }

    /// `None` if something is missing: the checkpoint is then as good as none.
    pub(crate) fn read(json: &Value) -> Option<StreamImage> {
        let counts: Vec<u64> = json["counts"].as_array()?.iter().filter_map(Value::as_u64).collect();
        let [unreadable, not_null, check, future, duplicate, late, used] = counts[..] else { return None };
        let reasons = json["reasons"].as_array()?.iter().map(|reason| {
            Some(Reason {
                name: reason["name"].as_str()?.to_owned(),
                count: reason["count"].as_u64()?,
                offset: reason["offset"].as_u64()?,
                detail: reason["detail"].as_str()?.to_owned(),
            })
        });
        let partitions = json["partitions"].as_array()?.iter().map(|one| {
            Some(PartitionCounts {
                partition: u32::try_from(one[0].as_u64()?).ok()?,
                arrived: one[1].as_u64()?,
                newest_used_us: one[2].as_i64(),
            })
        });
        // Checkpoints from before there were topics have none.
        let (fed, fed_newest_us) = match &json["fed"] {
            Value::Null => (FedOffsets::default(), None),
            fed => {
                let next = fed["next"].as_array()?.iter().map(|one| Some((partition(&one[0])?, one[1].as_u64()?)));
                let newest = fed["newest_used_us"].as_array()?.iter();
                let newest_us = newest.map(|one| Some((partition(&one[0])?, one[1].as_i64()?)));
                let offsets = FedOffsets { topic: fed["topic"].as_u64()?, next: next.collect::<Option<_>>()? };
                (offsets, Some(newest_us.collect::<Option<_>>()?))
            }
        };
        let counts = StreamCounts {
            accounting: Accounting { unreadable, not_null, check, future, duplicate, late, used },
            newest_us: json["newest_us"].as_i64(),
            partitions: partitions.collect::<Option<_>>()?,
            fed: fed_newest_us,
            derived: derived_counts(&json["derived"]),
        };
        let key_runs = json["key_runs"].as_array()?.iter().map(|name| Some(name.as_str()?.to_owned()));
        // Checkpoints from before there were joins have none.
        let held_from = json["held_from"].as_array().into_iter().flatten();
        let held_from = held_from.map(|one| Some((u32::try_from(one[0].as_u64()?).ok()?, one[1].as_u64()?)));
        let key_print = match &json["key_print"] {
            Value::Null => None,
            print => Some(KeyPrint { columns: print["columns"].as_u64()?, secret: print["secret"].as_u64()? }),
        };
        Some(StreamImage {
            counts,
            watermark_us: json["watermark_us"].as_i64(),
            reasons: reasons.collect::<Option<_>>()?,
            key_runs: key_runs.collect::<Option<_>>()?,
            key_print,
            held_from: held_from.collect::<Option<_>>()?,
            fed,
        })
    }
}

fn partition(json: &Value) -> Option<u32> {
    u32::try_from(json.as_u64()?).ok()
}

fn pairs(offsets: &BTreeMap<u32, u64>) -> Vec<(u32, u64)> {
    offsets.iter().map(|(partition, offset)| (*partition, *offset)).collect()
}

/// Checkpoints from before there were derived streams have none.
fn derived_counts(json: &Value) -> Vec<DerivedCounts> {
    let one = |one: &Value| {
        let (fingerprint, rows) = (one[1].as_u64()?, one[2].as_u64()?);
        Some(DerivedCounts { name: one[0].as_str()?.to_owned(), fingerprint, rows })
    };
    json.as_array().into_iter().flatten().filter_map(one).collect()
}

/// Named batches as parts of a checkpoint: JSON, one array each.
pub(crate) fn batches_pieces(batches: &[ProducerBatch]) -> Vec<Vec<u8>> {
    batches.chunks(PIECE_BATCHES).map(batches_bytes).collect()
}

fn batches_bytes(batches: &[ProducerBatch]) -> Vec<u8> {
    let one = |batch: &ProducerBatch| {
        let counts = [batch.rows, batch.accepted, batch.duplicates, batch.late, batch.rejected];
        json!([batch.key, batch.digest, counts])
    };
    Value::Array(batches.iter().map(one).collect()).to_string().into_bytes()
}

/// The named batches of a part; `None` if it is none.
pub(crate) fn read_batches(bytes: &[u8]) -> Option<Vec<ProducerBatch>> {
    let json: Value = serde_json::from_slice(bytes).ok()?;
    let one = |batch: &Value| {
        let counts = batch[2].as_array()?.iter().map(|count| u32::try_from(count.as_u64()?).ok());
        let counts: Vec<u32> = counts.collect::<Option<_>>()?;
        let [rows, accepted, duplicates, late, rejected] = counts[..] else { return None };
        let (key, digest) = (batch[0].as_str()?.to_owned(), batch[1].as_u64()?);
        Some(ProducerBatch { key, digest, rows, accepted, duplicates, late, rejected })
    };
    json.as_array()?.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let image = StreamImage {
            counts: StreamCounts {
                accounting: Accounting {
                    unreadable: 1,
                    not_null: 2,
                    check: 3,
                    future: 4,
                    duplicate: 5,
                    late: 6,
                    used: 7,
                },
                newest_us: Some(-5),
                partitions: vec![PartitionCounts { partition: 0, arrived: 28, newest_used_us: None }],
                fed: Some(vec![(0, -5), (11, -7)]),
                derived: vec![DerivedCounts { name: "d".into(), fingerprint: u64::MAX, rows: 3 }],
            },
            watermark_us: Some(-9),
            reasons: vec![Reason { name: "late".into(), count: 6, offset: 2, detail: "behind".into() }],
            key_runs: vec!["0000000007-0123456789abcdef.keys".into()],
            key_print: Some(KeyPrint { columns: u64::MAX, secret: 1 }),
            held_from: vec![(0, 21)],
            fed: FedOffsets { topic: u64::MAX, next: [(0, 5), (11, 9)].into() },
        };
        assert_eq!((image.next_offset(), image.read_from()), (28, 21));
        let json = image.json();
        assert_eq!(StreamImage::read(&json), Some(image.clone()));
        let mut before = json.clone();
        before.as_object_mut().unwrap().remove("key_print");
        before.as_object_mut().unwrap().remove("held_from");
        before.as_object_mut().unwrap().remove("fed");
        let mut expected = StreamImage { key_print: None, held_from: Vec::new(), fed: FedOffsets::default(), ..image };
        expected.counts.fed = None;
        assert_eq!((expected.read_from(), StreamImage::read(&before)), (28, Some(expected)));
        let mut wrong = json;
        wrong["key_print"]["secret"] = json!(-1);
        assert_eq!(StreamImage::read(&wrong), None);
        wrong["key_print"]["secret"] = json!(1);
        assert!(StreamImage::read(&wrong).is_some());
        wrong["held_from"] = json!([[0, "no offset"]]);
        assert_eq!(StreamImage::read(&wrong), None);
        wrong["held_from"] = json!([]);
        wrong["fed"]["next"] = json!([[0, -1]]);
        assert_eq!(StreamImage::read(&wrong), None);
        assert_eq!(StreamImage::read(&json!({"next_offset": 9})), None);
        let batch = ProducerBatch {
            key: "a \"b\"".into(),
            digest: u64::MAX,
            rows: 9,
            accepted: 8,
            duplicates: 1,
            late: 0,
            rejected: 0,
        };
        assert_eq!(read_batches(&batches_bytes(std::slice::from_ref(&batch))), Some(vec![batch]));
        assert_eq!(read_batches(b"[1]"), None);
    }
}
