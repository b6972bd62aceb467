//! Events that are sent together: in which form their bytes are, and how they arrive.
//!
//! | form           | an event that cannot be read has | manner   | judged                        | arrived                          |
//! |----------------|----------------------------------|----------|-------------------------------|----------------------------------|
//! | NDJSON, JSON   | a text as its amount             | live     | late behind the watermark     | now                              |
//! | Arrow IPC      | no number as its price           | history  | never late                    | as told, else at its event time; never after now |
//! |                |                                  | replayed | never late                    | now                              |

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::ipc::writer::StreamWriter;
use asof_connect::{BodyForm, BodyLimits, EventBody};
use asof_definition::Project;
use asof_pipeline::{Answer, BatchKey, Manner, Submission};

use crate::chance::Chance;
use crate::event::{Event, Fault, UNREADABLE};
use crate::project::SECOND_US;

/// How the events of a batch arrive.
#[derive(Debug, Clone)]
pub(crate) enum Arriving {
    Live,
    /// Each at its event time.
    History,
    /// Each at its own arrival time, where there is one.
    ToldHistory(Vec<Option<i64>>),
    Replayed,
}

/// Events that are sent together.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) stream: usize,
    pub(crate) name: Option<String>,
    pub(crate) events: Vec<Event>,
    pub(crate) form: BodyForm,
    pub(crate) arriving: Arriving,
    /// Whether it waits at the door of the present life.
    pub(crate) is_sent: bool,
    pub(crate) is_acknowledged: bool,
    /// Whether it came too late and is not sent again.
    pub(crate) is_given_up: bool,
}

impl Arriving {
    /// Arrival times of a history: most events had been on their way for a while, of some nobody knows, and some claim to
    /// have arrived long before they happened.
    pub(crate) fn told_history(chance: &mut Chance, events: &[Event]) -> Arriving {
        let arrived = events.iter().map(|event| match chance.below(8) {
            0 => None,
            1 => Some(event.time_us - 100 * SECOND_US),
            _ => Some(event.time_us + chance.between(0, 30 * SECOND_US)),
        });
        Arriving::ToldHistory(arrived.collect())
    }

    /// Whether events behind the watermark are late.
    pub(crate) fn can_be_late(&self) -> bool {
        matches!(self, Arriving::Live)
    }

    /// When the event of a row counts as arrived, in a group that came at `now_us`.
    pub(crate) fn arrived_us(&self, row: usize, event: &Event, now_us: i64) -> i64 {
        match self {
            Arriving::Live | Arriving::Replayed => now_us,
            Arriving::History => event.time_us.min(now_us),
            Arriving::ToldHistory(arrived) => arrived[row].unwrap_or(event.time_us).min(now_us),
        }
    }

    fn manner(&self) -> Manner {
        match self {
            Arriving::Live => Manner::Live,
            Arriving::History => Manner::History { arrived: None },
            Arriving::ToldHistory(arrived) => {
                Manner::History { arrived: Some(arrived.iter().copied().collect::<Int64Array>()) }
            }
            Arriving::Replayed => Manner::Replayed,
        }
    }
}

impl Batch {
    /// The least event time of the rows that can be read.
    pub(crate) fn least_us(&self) -> Option<i64> {
        let readable = self.events.iter().filter(|event| matches!(event.fault, Fault::None | Fault::Future));
        readable.map(|event| event.time_us).min()
    }

    fn bytes(&self) -> Vec<u8> {
        let lines: Vec<String> = self.events.iter().map(Event::line).collect();
        match (self.form, &lines[..]) {
            (BodyForm::Arrow, _) => arrow_bytes(&self.events),
            (BodyForm::Ndjson, lines) => (lines.join("\n") + "\n").into_bytes(),
            (BodyForm::Json, [only]) => only.clone().into_bytes(),
            (BodyForm::Json, lines) => format!("[{}]", lines.join(",")).into_bytes(),
        }
    }

    /// The batch as it comes to the door.
    pub(crate) fn submission(&self, project: &Project, received_us: i64, answer: Answer) -> Submission {
        let bytes = self.bytes();
        let batch_key = self.name.as_ref().map(|name| BatchKey::of(name.clone(), &bytes));
        let limits = BodyLimits { rows_max: 1_000 };
        let body = EventBody::read(bytes.into(), self.form, &project.streams[self.stream], limits);
        let body = body.expect("a body whose rows can be told apart");
        Submission {
            stream: self.stream,
            body,
            manner: self.arriving.manner(),
            batch_key,
            origin: None,
            received_us,
            answer,
        }
    }
}

/// The columns of a stream as an Arrow IPC stream. Prices are texts, so that one can be none.
fn arrow_bytes(events: &[Event]) -> Vec<u8> {
    let price = |event: &Event| match event.fault {
        Fault::Unreadable => UNREADABLE.to_owned(),
        _ => event.price(),
    };
    let columns: [(&str, ArrayRef); 6] = [
        ("serial", Arc::new(events.iter().map(|event| Some(event.serial)).collect::<Int64Array>())),
        ("entity", Arc::new(events.iter().map(Event::sent_entity).collect::<Int64Array>())),
        ("amount", Arc::new(events.iter().map(|event| Some(event.sent_amount())).collect::<Int64Array>())),
        ("price", Arc::new(StringArray::from_iter_values(events.iter().map(price)))),
        ("note", Arc::new(StringArray::from_iter_values(events.iter().map(Event::note)))),
        ("ts", Arc::new(TimestampMicrosecondArray::from_iter_values(events.iter().map(|event| event.time_us)))),
    ];
    let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).expect("a schema that has a form");
    writer.write(&batch).expect("memory takes all");
    writer.into_inner().expect("memory takes all")
}
