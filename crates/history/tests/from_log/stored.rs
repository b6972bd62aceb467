//! Writes the log of a stream as a running server does, from rows as text and what was decided about them.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, Int64Array};
use arrow::compute::{concat_batches, filter_record_batch, max};
use arrow::datatypes::TimestampMicrosecondType;
use asof_connect::{BodyForm, BodyLimits, DeadLetter, EventBody, StoredBatch, StoredVerdict, stream_folder};
use asof_definition::Stream;
use asof_disk::{Disk, FolderDisk};
use asof_log::{LogSettings, NewFrame, PartitionLog};

/// A stream's log, open for writing.
pub(crate) struct StoredLog {
    stream: Arc<Stream>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) log: PartitionLog,
}

/// Rows that arrive together.
pub(crate) struct Group {
    pub(crate) arrived_us: i64,
    /// Of a loaded history, when each row arrived.
    pub(crate) each_us: Option<Vec<i64>>,
    pub(crate) is_imputed: bool,
    /// JSON objects.
    pub(crate) rows: Vec<String>,
    pub(crate) verdicts: Vec<StoredVerdict>,
}

impl StoredLog {
    pub(crate) fn create(data_folder: &Path, stream: &Arc<Stream>) -> StoredLog {
        let disk: Arc<dyn Disk> = Arc::new(FolderDisk);
        let settings = LogSettings { segment_bytes: 1 << 20, generation: 1 };
        let folder = stream_folder(data_folder, &stream.name, 0);
        let (log, torn) = PartitionLog::open(disk.clone(), &folder, settings).unwrap();
        assert!(torn.is_none());
        StoredLog { stream: stream.clone(), disk, log }
    }

    /// Appends rows as one frame. They are durable after the next sync.
    pub(crate) fn append(&mut self, group: &Group) {
        self.append_batch(&self.batch(group), group.arrived_us);
    }

    /// Appends what a frame holds.
    pub(crate) fn append_batch(&mut self, batch: &StoredBatch, arrived_us: i64) {
        let mut body = Vec::new();
        batch.encode(&mut body).unwrap();
        let times = batch.used.column(self.stream.time_column).as_primitive::<TimestampMicrosecondType>();
        let (dead, newest_us) = (batch.dead.len() as u32, max(times).unwrap_or(i64::MIN));
        let frame = NewFrame { rows: batch.verdicts.len() as u32, arrived_us, dead, newest_us, body: &body };
        self.log.append(frame).unwrap();
    }

    fn batch(&self, group: &Group) -> StoredBatch {
        assert_eq!(group.rows.len(), group.verdicts.len());
        let text = group.rows.join("\n").into_bytes();
        let limits = BodyLimits { rows_max: group.rows.len() };
        let body = EventBody::read(text.into(), BodyForm::Ndjson, &self.stream, limits).unwrap();
        let decoded = body.batches();
        let batch = concat_batches(decoded[0].batch.schema_ref(), decoded.iter().map(|one| &one.batch)).unwrap();
        let used: BooleanArray = group.verdicts.iter().map(|verdict| Some(*verdict == StoredVerdict::Used)).collect();
        StoredBatch {
            verdicts: group.verdicts.clone(),
            arrived: group.each_us.clone().map(Int64Array::from),
            arrived_is_imputed: group.is_imputed,
            watermark_us: None,
            origin: None,
            used: filter_record_batch(&batch, &used).unwrap(),
            dead: (0..group.rows.len()).filter_map(|row| letter(group, row)).collect(),
            producers: Vec::new(),
        }
    }
}

fn letter(group: &Group, row: usize) -> Option<DeadLetter> {
    let reason = match group.verdicts[row] {
        StoredVerdict::Used | StoredVerdict::Duplicate | StoredVerdict::Clock => return None,
        StoredVerdict::Late => "late",
        StoredVerdict::Unreadable => "unreadable",
        StoredVerdict::NotNull => "not_null",
        StoredVerdict::Check => "check",
        StoredVerdict::Future => "future",
    };
    let detail = format!("{reason} when it came");
    let raw = group.rows[row].clone();
    Some(DeadLetter { row: row as u32, reason: reason.to_owned(), view: None, detail, raw, raw_is_cut: false })
}
