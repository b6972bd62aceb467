//! What there is to tell of a running job besides numbers of the streams: why events were not used, which columns a file
//! lacks, and examples of entities.

use std::sync::Arc;

use arrow::array::ArrayRef;
use asof_connect::DeadLetter;
use asof_definition::{FeatureView, Project};
use asof_feature::{OnlineStream, Prepared, Rejoined, SetAside};
use asof_window::{Rejection, Verdict};

use crate::late_letters::{LatelyFailed, lately_failed};
use crate::statistics::{Reason, Reasons};
use crate::stream_batch::StreamBatch;
use crate::unit::Readers;

/// Gathered by the writer, batch by batch.
#[derive(Debug)]
pub(crate) struct Told {
    /// By source.
    reasons: Vec<Reasons>,
    absent_columns: Vec<Vec<String>>,
    /// By derived stream: its name, and how many events were set aside for it.
    derived: Vec<(String, u64)>,
    /// By view.
    views: Vec<ToldOfView>,
}

#[derive(Debug)]
struct ToldOfView {
    name: String,
    set_aside: u64,
    example_key: Option<Vec<ArrayRef>>,
}

impl Told {
    pub(crate) fn new(sources: usize, project: &Project) -> Told {
        let nothing = |view: &Arc<FeatureView>| ToldOfView { name: view.name.clone(), set_aside: 0, example_key: None };
        Told {
            reasons: vec![Reasons::default(); sources],
            absent_columns: vec![Vec::new(); sources],
            derived: project.derived.iter().map(|stream| (stream.name.clone(), 0)).collect(),
            views: project.views.iter().map(nothing).collect(),
        }
    }

    /// Adds what became of a batch. `views` are those of its stream, in its order.
    pub(crate) fn add(&mut self, batch: &StreamBatch, prepared: &Prepared, views: &[usize], stream: &OnlineStream) {
        let reasons = &mut self.reasons[batch.stream];
        for one in &batch.rejected {
            reasons.add(one.rejection.name(), batch.offsets[one.row], &one.detail);
        }
        for (verdict, offset) in prepared.verdicts().iter().zip(&batch.offsets) {
            match verdict {
                Verdict::Late => reasons.add("late", *offset, "event time is behind the watermark"),
                Verdict::Rejected(Rejection::Future) => {
                    reasons.add("future", *offset, "event time is too far beyond the arrival");
                }
                Verdict::Used | Verdict::Duplicate | Verdict::Rejected(_) => {}
            }
        }
        for (place, view) in views.iter().enumerate() {
            let view = &mut self.views[*view];
            let aside = &prepared.set_aside()[place];
            view.set_aside += aside.len() as u64;
            add_set_aside(reasons, &view.name, batch, aside);
            view.example_key.clone_from(&stream.last_keys()[place]);
        }
        for (derived, aside) in stream.derived().iter().zip(prepared.derived_set_aside()) {
            add_set_aside(reasons, &derived.name, batch, aside);
            let own = self.derived.iter_mut().filter(|(name, _)| *name == derived.name);
            own.for_each(|(_, count)| *count += aside.len() as u64);
        }
    }

    /// Adds events of another stream that fail since a batch of versions came, which is what the reason is said of: the letters
    /// are in its frame.
    pub(crate) fn add_late(&mut self, table: usize, offset: u64, rejoined: &Rejoined, readers: &Readers) {
        for LatelyFailed { reader, detail, .. } in lately_failed(rejoined, readers) {
            self.reasons[table].add(&set_aside_for(reader), offset, detail);
            let of_view = self.views.iter_mut().filter(|view| view.name == reader).map(|view| &mut view.set_aside);
            let of_derived = self.derived.iter_mut().filter(|(name, _)| name == reader).map(|(_, count)| count);
            of_view.chain(of_derived).for_each(|count| *count += 1);
        }
    }

    /// Adds the dead letters of a stored batch, which begins at `first_offset`. `views` are those that it may be set aside for.
    pub(crate) fn recall(&mut self, source: usize, views: &[usize], first_offset: u64, letters: &[DeadLetter]) {
        for letter in letters {
            let offset = first_offset + u64::from(letter.row);
            let name = match &letter.view {
                Some(view) => &set_aside_for(view),
                None => &letter.reason,
            };
            self.reasons[source].add(name, offset, &letter.detail);
            let of_view = views.iter().find(|view| letter.view.as_ref() == Some(&self.views[**view].name));
            if let Some(view) = of_view {
                self.views[*view].set_aside += 1;
            }
            let of_derived = self.derived.iter_mut().filter(|(name, _)| letter.view.as_ref() == Some(name));
            of_derived.for_each(|(_, count)| *count += 1);
        }
    }

    /// Puts back what a checkpoint knew of a stream's reasons.
    pub(crate) fn restore(&mut self, stream: usize, reasons: &[Reason]) {
        for reason in reasons {
            let view = self.views.iter_mut().find(|view| reason.name == set_aside_for(&view.name));
            // A view or a derived stream may see several streams, each with reasons of its own.
            if let Some(view) = view {
                view.set_aside += reason.count;
            }
            let derived = self.derived.iter_mut().filter(|(name, _)| reason.name == set_aside_for(name));
            derived.for_each(|(_, count)| *count += reason.count);
        }
        self.reasons[stream] = Reasons::from(reasons.to_vec());
    }

    pub(crate) fn note_absent_columns(&mut self, stream: usize, columns: Vec<String>) {
        self.absent_columns[stream] = columns;
    }

    pub(crate) fn reasons(&self, stream: usize) -> &[Reason] {
        self.reasons[stream].list()
    }

    pub(crate) fn absent_columns(&self, stream: usize) -> &[String] {
        &self.absent_columns[stream]
    }

    pub(crate) fn set_aside(&self, view: usize) -> u64 {
        self.views[view].set_aside
    }

    pub(crate) fn derived_set_aside(&self, derived: usize) -> u64 {
        self.derived[derived].1
    }

    pub(crate) fn example_key(&self, view: usize) -> Option<Vec<ArrayRef>> {
        self.views[view].example_key.clone()
    }
}

/// The reason's name for events set aside for a view or a derived stream.
fn set_aside_for(reader: &str) -> String {
    format!("set aside for `{reader}`")
}

fn add_set_aside(reasons: &mut Reasons, reader: &str, batch: &StreamBatch, aside: &[SetAside]) {
    for one in aside {
        reasons.add(&set_aside_for(reader), batch.offsets[one.row], &one.detail);
    }
}
