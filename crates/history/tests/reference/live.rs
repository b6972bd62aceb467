//! A case through the live engine object.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use asof_feature::{
    Arrivals, ArrivedAt, Faced, Lateness, OnlineStream, OnlineView, Settled, StreamPlan, Tables, ViewPlan,
};
use asof_window::{Accounting, Verdict, Version};
use tempfile::TempDir;

use crate::case::{Case, Read, decode, differences, instant_us, rows};

/// A case bound to the engine.
struct Bound<'a> {
    case: &'a Case,
    folder: TempDir,
    stream: StreamPlan,
    view: ViewPlan,
    batch: RecordBatch,
    unreadable: Vec<usize>,
    arrivals_us: Vec<i64>,
}

/// A live stream with its one view, and how far it has come.
struct Live {
    stream: OnlineStream,
    view: Arc<OnlineView>,
    version: Version,
    next_offsets: HashMap<u32, u64>,
    /// All of the case.
    partitions: BTreeSet<u32>,
    asked: Asked,
}

/// What is read of an engine: of the rest it lets go as the pipeline does.
#[derive(Debug, Clone, Copy)]
struct Asked {
    /// The oldest version; none before the present one if it is beyond that.
    version: Version,
    /// The earliest instant; `None` where nothing is read.
    as_of_us: Option<i64>,
}

impl Asked {
    /// These reads, once all arrivals are there.
    fn last<'a>(reads: impl IntoIterator<Item = &'a Read>) -> Asked {
        let as_of_us = reads.into_iter().map(|read| instant_us(&read.as_of)).min();
        Asked { version: Version(u64::MAX), as_of_us }
    }
}

impl Live {
    fn new(stream: &StreamPlan, view: &ViewPlan, partitions: BTreeSet<u32>, asked: Asked) -> Live {
        let view = Arc::new(OnlineView::new(view.clone(), 4).unwrap());
        let derived = view.plan().view().stream.lineage();
        let stream = OnlineStream::new(stream.clone(), stream.rules(), &derived, vec![view.clone()]);
        Live { stream, view, version: Version(0), next_offsets: HashMap::new(), partitions, asked }
    }

    /// What is settled: versions and instants before those that are read, and events before the watermark once every partition
    /// has one.
    fn settled(&self) -> Settled {
        let watermarks = self.partitions.iter().map(|partition| self.stream.judge().watermark_us(*partition));
        Settled {
            version: self.asked.version.min(self.version),
            floor_us: self.asked.as_of_us,
            coming_from_us: watermarks.collect::<Option<Vec<i64>>>().and_then(|all| all.into_iter().min()),
        }
    }

    fn accounting(&self) -> Accounting {
        self.stream.accounting()
    }
}

impl<'a> Bound<'a> {
    fn new(case: &'a Case) -> Bound<'a> {
        let project = case.project(&case.sql);
        let view = project.views[0].clone();
        let stream = project.streams[0].clone();
        let folder = TempDir::new().unwrap();
        let columns: Vec<_> =
            stream.columns.iter().map(|column| (column.name.clone(), column.data_type.clone())).collect();
        let lines: Vec<String> = case.events.iter().map(|event| event.columns.get().replace('\n', " ")).collect();
        let (batch, unreadable) = decode(folder.path(), &columns, &lines);
        let times = batch.column(stream.time_column).as_primitive::<TimestampMicrosecondType>();
        let times: Vec<Option<i64>> = times.iter().collect();
        let arrivals_us = case.arrivals_us(&times);
        let view = ViewPlan::new(view).unwrap();
        Bound { case, folder, stream: StreamPlan::new(stream).unwrap(), view, batch, unreadable, arrivals_us }
    }

    fn engine(&self, asked: Asked) -> Live {
        let partitions: BTreeSet<u32> = self.case.events.iter().map(|event| event.partition).collect();
        Live::new(&self.stream, &self.view, partitions, asked)
    }

    /// Sends the events with these indexes, each as a batch of its own or in runs of equal partition and arrival.
    fn send(&self, engine: &mut Live, indexes: &[usize], batched: bool) -> (Vec<String>, Vec<usize>) {
        let (mut judged, mut set_aside) = (Vec::new(), Vec::new());
        let together = |one: &usize, other: &usize| {
            batched
                && *other == one + 1
                && self.arrivals_us[*one] == self.arrivals_us[*other]
                && self.case.events[*one].partition == self.case.events[*other].partition
        };
        for run in indexes.chunk_by(together) {
            let first = run[0];
            let outcome = self.arrive(engine, first, run.len());
            judged.extend(outcome.verdicts.iter().map(words));
            let aside = outcome.derived_set_aside.iter().chain(&outcome.set_aside).flatten();
            let mut aside: Vec<usize> = aside.map(|one| first + one.row).collect();
            // A row may fail in several branches, and is listed once.
            aside.sort_unstable();
            aside.dedup();
            set_aside.extend(aside);
        }
        (judged, set_aside)
    }

    /// Sends the `rows` events from index `first` on as one batch, the next version.
    fn arrive(&self, engine: &mut Live, first: usize, rows: usize) -> asof_feature::Outcome {
        let batch = self.batch.slice(first, rows);
        let own = |row: &usize| row.checked_sub(first).filter(|row| *row < rows);
        let unreadable = self.unreadable.iter().filter_map(own).map(|row| (row, String::new())).collect();
        let rejected = self.stream.rejected(&batch, unreadable);
        let primary_keys = self.stream.primary_keys(&batch).unwrap();
        let partition = self.case.events[first].partition;
        let next = engine.next_offsets.entry(partition).or_default();
        let offsets: Vec<u64> = (*next..*next + rows as u64).collect();
        *next += rows as u64;
        let settled = engine.settled();
        engine.version.0 += 1;
        let arrivals = Arrivals {
            faced: Faced { partition, batch: &batch, rejected: &rejected, primary_keys: primary_keys.as_ref() },
            arrived_us: ArrivedAt::All(self.arrivals_us[first]),
            offsets: &offsets,
            lateness: Lateness::Applied,
            used_before: &[],
            fed: None,
        };
        let outcome = engine.stream.arrive(arrivals, &Tables::none(), engine.version, &[settled]).unwrap();
        engine.view.sweep(engine.settled(), usize::MAX);
        outcome
    }

    fn read(&self, engine: &Live, read: &Read) -> Vec<String> {
        self.read_at(engine, read, engine.version)
    }

    fn read_at(&self, engine: &Live, read: &Read, version: Version) -> Vec<String> {
        let key = self.view.view().key.clone();
        let columns: Vec<_> = key.iter().map(|part| (part.name.clone(), part.expression.data_type().clone())).collect();
        let line = serde_json::Value::Object(read.key.clone()).to_string();
        let (keys, unreadable) = decode(self.folder.path(), &columns, &[line]);
        assert!(unreadable.is_empty(), "{}: key {:?}", self.case.name, read.key);
        let answers = engine.view.read(keys.columns(), &[instant_us(&read.as_of)], version).unwrap();
        let names = self.view.view().features.iter().map(|feature| feature.name.clone());
        let batch = RecordBatch::try_from_iter(names.zip(answers.features)).unwrap();
        let failed: Vec<_> = answers
            .failures
            .iter()
            .map(|failure| (self.view.view().features[failure.feature].name.clone(), failure.kind.name()))
            .collect();
        let what = format!("read {:?} as of {} at {:?} {}", read.key, read.as_of, read.position, read.knowledge);
        differences(&what, &read.expect, &rows(self.folder.path(), &batch)[0], &failed)
    }

    /// How many of the first arrivals a read sees.
    fn seen(&self, read: &Read) -> usize {
        let position = read.position.unwrap_or(self.case.events.len());
        if read.knowledge == "event-time" {
            return position;
        }
        let t_us = instant_us(&read.as_of);
        self.arrivals_us[..position].iter().filter(|arrived_us| **arrived_us <= t_us).count()
    }
}

fn words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Used => "used".to_owned(),
        Verdict::Duplicate => "duplicate".to_owned(),
        Verdict::Late => "late".to_owned(),
        Verdict::Rejected(rejection) => format!("rejected: {}", rejection.name()),
    }
}

pub(crate) fn in_arrival_order(case: &Case) -> Vec<String> {
    let bound = Bound::new(case);
    let all: Vec<usize> = (0..case.events.len()).collect();
    let mut differing = Vec::new();
    for batched in [false, true] {
        let mut engine = bound.engine(Asked::last([]));
        let (judged, set_aside) = bound.send(&mut engine, &all, batched);
        if !case.judged.is_empty() && judged != case.judged {
            differing.push(format!("judged: expected {:?}, found {judged:?}", case.judged));
        }
        if set_aside != case.set_aside {
            differing.push(format!("set aside: expected {:?}, found {set_aside:?}", case.set_aside));
        }
        assert_eq!(engine.accounting().total() as usize, case.events.len(), "in = rejected + duplicate + late + used");
    }
    for read in &case.reads {
        let mut engine = bound.engine(Asked::last([read]));
        bound.send(&mut engine, &all[..bound.seen(read)], true);
        differing.extend(bound.read(&engine, read));
    }
    differing
}

/// Reads at a position while everything after it is there already: each event is a version of its own.
pub(crate) fn at_earlier_versions(case: &Case) -> Vec<String> {
    let bound = Bound::new(case);
    let all: Vec<usize> = (0..case.events.len()).collect();
    let version = |read: &Read| Version(bound.seen(read) as u64);
    let oldest = case.reads.iter().map(version).min().unwrap_or_default();
    let mut engine = bound.engine(Asked { version: oldest, ..Asked::last(&case.reads) });
    bound.send(&mut engine, &all, false);
    case.reads.iter().flat_map(|read| bound.read_at(&engine, read, version(read))).collect()
}

/// A first engine takes half of the arrivals; a second one is given them again, then the rest.
pub(crate) fn with_a_restart(case: &Case) -> Vec<String> {
    let bound = Bound::new(case);
    let all: Vec<usize> = (0..case.events.len()).collect();
    let half = all.len() / 2;
    let mut differing = Vec::new();
    let mut before = bound.engine(Asked::last([]));
    let (judged_before, _) = bound.send(&mut before, &all[..half], true);
    drop(before);
    for read in &case.reads {
        let seen = bound.seen(read);
        let mut after = bound.engine(Asked::last([read]));
        let (mut judged, _) = bound.send(&mut after, &all[..half.min(seen)], false);
        if judged[..] != judged_before[..judged.len()] {
            differing.push(format!("judged again: {judged:?} after {judged_before:?}"));
        }
        judged.extend(bound.send(&mut after, &all[half.min(seen)..seen], true).0);
        if !case.judged.is_empty() && judged[..] != case.judged[..seen] {
            differing.push(format!("judged after a restart: expected {:?}, found {judged:?}", case.judged));
        }
        differing.extend(bound.read(&after, read));
    }
    differing
}

/// The used events in another order of arrival in which they are all used still: the values are the same.
pub(crate) fn shuffled(case: &Case) -> Vec<String> {
    let bound = Bound::new(case);
    let enforced = case.stream.get("not_enforced").is_none_or(|not_enforced| not_enforced == false);
    // A derived stream may have lost the key of the stream that the events arrive at.
    let is_kept = !bound.view.view().stream.primary_key.is_empty();
    let primary_key = case.stream.get("primary_key").is_some() && enforced && is_kept;
    if bound.view.program().follows_order() && !primary_key {
        return Vec::new(); // Ties follow arrival: the case allows no other order.
    }
    let all: Vec<usize> = (0..case.events.len()).collect();
    let reads = || case.reads.iter().filter(|read| read.position.is_none() && read.knowledge == "event-time");
    let (judged, _) = bound.send(&mut bound.engine(Asked::last([])), &all, false);
    let used: Vec<usize> = all.into_iter().filter(|index| judged[*index] == "used").collect();
    let mut random = Random(case.name.len() as u64 + used.len() as u64);
    let mut differing = Vec::new();
    for attempt in 0..8 {
        let mut order = used.clone();
        // From a full shuffle to ever smaller moves: what the lateness allows differs from case to case.
        order.chunks_mut(used.len().max(1) >> attempt.min(6) | 1).for_each(|part| random.shuffle(part));
        let mut engine = bound.engine(Asked::last(reads()));
        let (judged, _) = bound.send(&mut engine, &order, false);
        if judged.iter().any(|verdict| verdict != "used") {
            continue;
        }
        differing.extend(reads().flat_map(|read| bound.read(&engine, read)));
    }
    differing
}

/// splitmix64: the same shuffles in every run.
struct Random(u64);

impl Random {
    fn shuffle(&mut self, items: &mut [usize]) {
        for last in (1..items.len()).rev() {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            items.swap(last, ((z ^ z >> 31) % (last as u64 + 1)) as usize);
        }
    }
}
