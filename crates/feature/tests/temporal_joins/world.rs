//! A project live: one stream, the tables, the views; driven through the public doors of the crate as a pipeline would.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use asof_definition::{Over, Project, SourceFile, Stream, check_ahead};
use asof_feature::{
    Arrivals, ArrivedAt, ComingVersions, Faced, FeatureError, Judgement, Lateness, OnlineStream, OnlineTable,
    OnlineView, Prepared, PreparedVersions, Recalled, Rejoined, SetAside, Settled, StreamPlan, Tables, VersionedTable,
    ViewPlan,
};
use asof_window::{Accounting, Verdict, Version, VersionBounds};

/// Where arrivals go: to a table by its place, or to the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Into {
    Table(usize),
    Stream,
}

pub(crate) struct World {
    pub(crate) project: Project,
    pub(crate) tables: Vec<OnlineTable>,
    pub(crate) stream: Option<OnlineStream>,
    /// In the order of the project.
    pub(crate) views: Vec<Arc<OnlineView>>,
    pub(crate) version: Version,
    pub(crate) settled: Settled,
    next_offsets: BTreeMap<(Into, u32), u64>,
}

/// A batch that arrives.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) into: Into,
    pub(crate) partition: u32,
    pub(crate) rows: RecordBatch,
    pub(crate) unreadable: Vec<(usize, String)>,
    pub(crate) arrived_us: Vec<i64>,
}

/// What a log keeps of it.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) into: Into,
    pub(crate) partition: u32,
    pub(crate) used: RecordBatch,
    pub(crate) offsets: Vec<u64>,
    pub(crate) counts: Accounting,
}

/// A batch that is prepared, with what it makes of the others.
#[allow(clippy::large_enum_variant, reason = "a test holds a few")]
enum Waiting {
    Versions { table: usize, versions: PreparedVersions, rejoined: Option<Rejoined> },
    Events(Prepared),
}

/// What became of a group of batches.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) verdicts: Vec<Vec<Verdict>>,
    pub(crate) set_aside: Vec<Vec<SetAside>>,
    pub(crate) stored: Vec<Stored>,
    /// Offsets of the stream's rows that were evaluated again and are now set aside.
    pub(crate) newly_set_aside: Vec<u64>,
    pub(crate) rejoined: usize,
}

pub(crate) fn project(sql: &str) -> Project {
    let file = SourceFile { name: "case.sql".to_owned(), text: sql.to_owned() };
    check_ahead(&[file]).unwrap_or_else(|errors| panic!("{}\n{sql}", errors[0]))
}

impl World {
    pub(crate) fn new(sql: &str, partitions: u32, shards: usize) -> Result<World, FeatureError> {
        let project = project(sql);
        let bind = |view| Ok(Arc::new(OnlineView::new(ViewPlan::new(view)?, shards)?));
        let views: Vec<Arc<OnlineView>> =
            project.views.iter().cloned().map(bind).collect::<Result<_, FeatureError>>()?;
        let over = |table: &str| {
            let is_own = |view: &&Arc<OnlineView>| {
                view.plan().view().over != Over::Events && view.plan().view().stream.name == table
            };
            views.iter().filter(is_own).cloned().collect::<Vec<_>>()
        };
        let table = |table| {
            let versions = VersionedTable::read_by(table, &project.derived, &project.views)?;
            let plan = StreamPlan::of_table(table)?;
            let mut online = OnlineTable::new(versions, plan.clone(), plan.rules(), over(table.name()));
            online.set_coming(ComingVersions::NotLate { partitions });
            Ok(online)
        };
        let tables = project.tables.iter().map(table).collect::<Result<_, FeatureError>>()?;
        let events = views.iter().filter(|view| view.plan().view().over == Over::Events).cloned().collect();
        let stream = match project.streams.first() {
            Some(stream) => {
                let plan = StreamPlan::new(stream.clone())?;
                Some(OnlineStream::new(plan.clone(), plan.rules(), &project.derived, events))
            }
            None => None,
        };
        let (version, settled) = (Version(0), Settled { version: Version(0), floor_us: None, coming_from_us: None });
        Ok(World { project, tables, stream, views, version, settled, next_offsets: BTreeMap::new() })
    }

    pub(crate) fn declared(&self, into: Into) -> Arc<Stream> {
        match into {
            Into::Table(table) => self.project.tables[table].versions.clone(),
            Into::Stream => self.project.streams[0].clone(),
        }
    }

    fn online(&self, into: Into) -> &OnlineStream {
        match into {
            Into::Table(table) => self.tables[table].stream(),
            Into::Stream => self.stream.as_ref().unwrap(),
        }
    }

    /// Takes batches in as one version, tables first.
    pub(crate) fn arrive(&mut self, batches: &[Batch]) -> Taken {
        let mut order: Vec<usize> = (0..batches.len()).collect();
        order.sort_by_key(|place| batches[*place].into);
        let (mut waiting, mut taken) = (Vec::new(), Taken::default());
        for place in order {
            waiting.push(self.prepare(&batches[place], &mut taken));
        }
        self.version.0 += 1;
        let (version, settled) = (self.version, [self.settled; 16]);
        for one in waiting {
            match one {
                Waiting::Versions { table, versions, rejoined } => {
                    self.tables[table].take_in(&versions, version, &settled).unwrap();
                    if let (Some(stream), Some(rejoined)) = (&mut self.stream, &rejoined) {
                        stream.take_in_rejoined(rejoined, &Tables::live(&self.tables), version, &settled).unwrap();
                    }
                }
                Waiting::Events(prepared) => {
                    self.stream.as_mut().unwrap().take_in(&prepared, version, &settled).unwrap();
                }
            }
        }
        taken
    }

    fn prepare(&mut self, batch: &Batch, taken: &mut Taken) -> Waiting {
        let rows = batch.rows.num_rows();
        let first = self.next_offsets.entry((batch.into, batch.partition)).or_default();
        let offsets: Vec<u64> = (*first..).take(rows).collect();
        *first += rows as u64;
        let plan = self.online(batch.into).plan().clone();
        let rejected = plan.rejected(&batch.rows, batch.unreadable.clone());
        let keys = plan.primary_keys(&batch.rows).unwrap();
        let arrived = batch.arrived_us.iter().copied().map(Some).collect();
        let arrivals = Arrivals {
            faced: Faced {
                partition: batch.partition,
                batch: &batch.rows,
                rejected: &rejected,
                primary_keys: keys.as_ref(),
            },
            arrived_us: ArrivedAt::Each(&arrived),
            offsets: &offsets,
            lateness: Lateness::Applied,
            used_before: &[],
            fed: None,
        };
        match batch.into {
            Into::Table(table) => {
                let versions = self.tables[table].prepare(arrivals).unwrap();
                let rejoined = self.rejoin(&versions, taken);
                taken.note(batch, &offsets, &versions.prepared);
                Waiting::Versions { table, versions, rejoined }
            }
            Into::Stream => {
                let tables = Tables::live(&self.tables);
                let prepared = self.stream.as_mut().unwrap().prepare(arrivals, &tables).unwrap();
                taken.note(batch, &offsets, &prepared);
                Waiting::Events(prepared)
            }
        }
    }

    fn rejoin(&mut self, versions: &PreparedVersions, taken: &mut Taken) -> Option<Rejoined> {
        let stream = self.stream.as_mut().filter(|stream| stream.joins(&versions.changes.table))?;
        let rejoined = stream.prepare_rejoined(&versions.changes, &Tables::live(&self.tables)).unwrap();
        taken.rejoined += rejoined.row_count();
        for rows in rejoined.rows() {
            let aside = rows.set_aside.iter().chain(&rows.derived_set_aside).flatten();
            taken.newly_set_aside.extend(aside.map(|one| rows.offsets[one.row]));
        }
        Some(rejoined)
    }

    /// Takes in what a log has. Of the stream's batches `views` take the rows in; with versions the held rows of these
    /// views are changed.
    pub(crate) fn recall(&mut self, stored: &Stored, views: bool, judgement: Judgement) {
        let settled = [Settled { version: Version(0), floor_us: None, coming_from_us: None }; 16];
        let keys = self.online(stored.into).plan().primary_keys(&stored.used).unwrap();
        let next = self.next_offsets.entry((stored.into, stored.partition)).or_default();
        *next = (*next).max(stored.offsets.last().map_or(0, |last| last + 1));
        let recalled = Recalled {
            partition: stored.partition,
            used: &stored.used,
            offsets: &stored.offsets,
            primary_keys: keys.as_ref(),
            counts: stored.counts,
            views: &[views; 16],
            too_late: &[],
            looks: 0,
            fed: None,
            judgement,
        };
        match stored.into {
            Into::Table(table) => {
                let (_, changes) = self.tables[table].recall(recalled, &settled).unwrap();
                let joins = |stream: &&mut OnlineStream| stream.joins(&changes.table);
                if let Some(stream) = self.stream.as_mut().filter(joins) {
                    let tables = Tables::live(&self.tables);
                    stream.recall_rejoined(&changes, &tables, &[true; 16], &settled).unwrap();
                }
            }
            Into::Stream => {
                let tables = Tables::live(&self.tables);
                self.stream.as_mut().unwrap().recall(recalled, &tables, &settled).unwrap();
            }
        }
    }

    /// The next arrivals come after these.
    pub(crate) fn set_next_offset(&mut self, into: Into, partition: u32, next: u64) {
        self.next_offsets.insert((into, partition), next);
    }

    /// Nothing is asked before this version and instant any more; everything is swept.
    pub(crate) fn settle(&mut self, settled: Settled) {
        self.settled = settled;
        self.views.iter().for_each(|view| {
            view.sweep(settled, 10_000);
        });
        // Without a stream nobody looks anything up.
        let from_us = self.stream.as_ref().map_or(Some(i64::MAX), OnlineStream::looks_up_from_us);
        if let Some(from_us) = from_us {
            self.tables.iter_mut().for_each(|table| {
                let bounds = VersionBounds { looked_up_from_us: from_us, arriving_from_us: i64::MAX };
                table.sweep(bounds, 10_000).unwrap();
            });
        }
    }

    /// One answer, as text.
    pub(crate) fn read(&self, view: usize, parts: &[ArrayRef], t_us: i64, version: Version) -> String {
        let answers = self.views[view].read(parts, &[t_us], version).unwrap();
        format!("{:?} {:?} {:?}", answers.features, answers.known, answers.failures)
    }
}

impl Taken {
    fn note(&mut self, batch: &Batch, offsets: &[u64], prepared: &Prepared) {
        let verdicts = prepared.verdicts();
        let used: BooleanArray = verdicts.iter().map(|verdict| Some(*verdict == Verdict::Used)).collect();
        let mut counts = Accounting::default();
        verdicts.iter().for_each(|verdict| counts.count(*verdict));
        self.stored.push(Stored {
            into: batch.into,
            partition: batch.partition,
            used: filter_record_batch(&batch.rows, &used).unwrap(),
            offsets: used.values().set_indices().map(|row| offsets[row]).collect(),
            counts,
        });
        self.verdicts.push(verdicts.to_vec());
        let aside = prepared.set_aside().iter().chain(prepared.derived_set_aside()).flatten().cloned();
        self.set_aside.push(aside.collect());
    }
}
