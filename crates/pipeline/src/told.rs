//! What there is to tell of a running job besides numbers of the streams: why events were not used, which columns a file
//! lacks, and examples of entities.

use arrow::array::ArrayRef;
use asof_connect::DeadLetter;
use asof_definition::Project;
use asof_feature::{OnlineStream, Prepared, Rejoined, SetAside};
use asof_window::{Rejection, Verdict};

use crate::binding::BoundView;
use crate::late_letters::{LatelyFailed, lately_failed};
use crate::statistics::{Reason, Reasons};
use crate::stored_form::StoredForm;
use crate::stream_batch::StreamBatch;
use crate::too_late::{TOO_LATE, TOO_LATE_DETAIL, as_told, rows_of, too_late_for};
use crate::unit::Readers;

/// Gathered by the writer, batch by batch.
#[derive(Debug)]
pub(crate) struct Told {
    /// By source.
    reasons: Vec<Reasons>,
    absent_columns: Vec<Vec<String>>,
    /// By derived stream: its name, and how many events were set aside for it. Of one of windows its open windows tell it.
    derived: Vec<(String, u64)>,
    /// By view, open windows behind those of the project.
    views: Vec<ToldOfView>,
}

#[derive(Debug)]
struct ToldOfView {
    name: String,
    /// Of open windows what the log of their rows is called, if they have one: others are made anew, of all events.
    rows_name: Option<String>,
    set_aside: u64,
    /// Events that came too late for a window.
    too_late: u64,
    example_key: Option<Vec<ArrayRef>>,
}

impl Told {
    pub(crate) fn new(stored: &[StoredForm], project: &Project, views: &[BoundView]) -> Told {
        let is_logged = |view: usize| {
            let windows = view.checked_sub(project.views.len());
            windows.is_some_and(|number| stored[project.streams.len() + number].is_logged)
        };
        let nothing = |(place, view): (usize, &BoundView)| ToldOfView {
            name: view.name().to_owned(),
            rows_name: view.rows_name.clone().filter(|_| is_logged(place)),
            set_aside: 0,
            too_late: 0,
            example_key: None,
        };
        let derived = project.derived.iter().filter(|stream| !stream.makes_rows());
        Told {
            reasons: vec![Reasons::default(); stored.len()],
            absent_columns: vec![Vec::new(); stored.len()],
            derived: derived.map(|stream| (stream.name.clone(), 0)).collect(),
            views: views.iter().enumerate().map(nothing).collect(),
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
            for row in rows_of(&prepared.too_late()[place]) {
                view.too_late += 1;
                reasons.add(&late_for(&view.name), batch.offsets[row], TOO_LATE_DETAIL);
            }
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
        // Those of another definition are nobody's.
        let is_known = |letter: &&DeadLetter| {
            let rows_name = too_late_for(letter).map(|(rows_name, _)| rows_name);
            rows_name.is_none_or(|name| self.views.iter().any(|view| view.rows_name.as_deref() == Some(name)))
        };
        for letter in as_told(letters.iter().filter(is_known).cloned().collect()) {
            let offset = first_offset + u64::from(letter.row);
            let (is_late, reader) = (letter.reason == TOO_LATE, letter.view.as_ref());
            let name = match reader {
                Some(windows) if is_late => &late_for(windows),
                Some(reader) => &set_aside_for(reader),
                None => &letter.reason,
            };
            self.reasons[source].add(name, offset, &letter.detail);
            let is_own = |view: &ToldOfView| reader == Some(&view.name) && (view.rows_name.is_some() || !is_late);
            let of_view = views.iter().find(|view| is_own(&self.views[**view]));
            if let Some(view) = of_view {
                let view = &mut self.views[*view];
                *if is_late { &mut view.too_late } else { &mut view.set_aside } += 1;
            }
            let of_derived = self.derived.iter_mut().filter(|(name, _)| reader == Some(name) && !is_late);
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
            let windows =
                self.views.iter_mut().filter(|view| view.rows_name.is_some() && reason.name == late_for(&view.name));
            windows.for_each(|view| view.too_late += reason.count);
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

    pub(crate) fn too_late(&self, view: usize) -> u64 {
        self.views[view].too_late
    }

    /// Of a derived stream that is not of windows.
    pub(crate) fn derived_set_aside(&self, name: &str) -> u64 {
        self.derived.iter().find(|(own, _)| own == name).map_or(0, |(_, count)| *count)
    }

    /// Adds windows, or events, that have no row because a column of it failed.
    pub(crate) fn add_rows_set_aside(&mut self, source: usize, aside: &[SetAside]) {
        aside.iter().for_each(|one| self.reasons[source].add(ROW_SET_ASIDE, 0, &one.detail));
    }

    /// How many windows, or events, of a stream have no row for that reason.
    pub(crate) fn rows_set_aside(&self, source: usize) -> u64 {
        let own = self.reasons[source].list().iter().find(|reason| reason.name == ROW_SET_ASIDE);
        own.map_or(0, |reason| reason.count)
    }

    pub(crate) fn example_key(&self, view: usize) -> Option<Vec<ArrayRef>> {
        self.views[view].example_key.clone()
    }
}

/// The reason's name for windows, or events, without a row because a column of it failed.
const ROW_SET_ASIDE: &str = "row set aside";

/// The reason's name for events that came too late for a window.
fn late_for(stream: &str) -> String {
    format!("late for `{stream}`")
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
