//! Rows of windows that close over joined rows: spines at each position and `--every-event`, in both knowledges, from the log
//! and, where no clock closed a window, from files.

use std::collections::BTreeSet;

use asof_history::{Knowledge, RowsOf};

use crate::case::{Case, Read, differences, instant_us};
use crate::closed_rows;
use crate::drawn::made_or_drawn;
use crate::golden::{arrivals, cases, without_errors};
use crate::sources::{Arrival, SHAPES, Shape, Sources, Way};

struct Stored<'a> {
    case: &'a Case,
    sources: Sources,
    arrivals: Vec<Arrival>,
}

impl Stored<'_> {
    fn new(case: &Case, way: Way) -> Stored<'_> {
        let sources = Sources::unnumbered(&case.sql, way);
        let arrivals = arrivals(case, &sources);
        Stored { case, sources, arrivals }
    }

    /// Stores the first `count` arrivals, and the rows that a server had made by then.
    fn store(&self, count: usize) {
        let arrivals = self.arrivals[..count].iter().zip(&self.case.events).filter(|(_, event)| !event.is_look());
        self.sources.store(&arrivals.map(|(arrival, _)| arrival.clone()).collect::<Vec<_>>());
        if self.sources.way == Way::Log {
            let until_us = self.arrivals[count - 1].arrived_us;
            closed_rows::write_logs(self.case, &self.sources.project, self.sources.path(), until_us);
        }
    }

    /// Whether the stream has events among the first arrivals: without any there is nothing to read.
    fn has_events(&self, count: usize) -> bool {
        self.case.events[..count].iter().any(|event| event.into.is_none())
    }

    fn check(&self, shape: Shape) -> Vec<String> {
        let mut differing = Vec::new();
        for knowledge in [Knowledge::EventTime, Knowledge::AsServed] {
            differing.extend(self.every_row(shape, knowledge));
            let known = self.case.reads.iter().filter(|read| read.knowledge == knowledge.name());
            let positions: BTreeSet<Option<usize>> = known.clone().map(|read| read.position).collect();
            for position in positions {
                let reads: Vec<&Read> = known.clone().filter(|read| read.position == position).collect();
                differing.extend(self.spine(shape, &reads, position, knowledge));
            }
        }
        differing
    }

    fn every_row(&self, shape: Shape, knowledge: Knowledge) -> Vec<String> {
        let (events, rows) = match knowledge {
            Knowledge::EventTime => (&self.case.every_event, &self.case.every_row),
            Knowledge::AsServed => (&self.case.every_event_as_served, &self.case.every_row_as_served),
        };
        let Some(rows) = rows.as_ref().filter(|_| self.has_events(self.arrivals.len())) else { return Vec::new() };
        self.store(self.arrivals.len());
        let every_event = RowsOf::EveryEvent { keep: Vec::new() };
        let (found, summary) = match self.sources.run(0, every_event, knowledge, shape) {
            Ok(found) => found,
            Err(error) => return vec![format!("every row: {error}")],
        };
        let wanted = closed_rows::in_order(events.as_deref().unwrap_or_default(), rows);
        let wanted: Vec<_> = wanted.iter().map(without_errors).collect();
        let stream = &self.sources.project.views[0].stream;
        let (what, time) = (format!("every row {}", knowledge.name()), &stream.columns[stream.time_column].name);
        let mut differing = closed_rows::accounts(self.case, &summary);
        differing.extend(closed_rows::differences_by_time(&what, &wanted, found, time));
        differing
    }

    fn spine(&self, shape: Shape, reads: &[&Read], position: Option<usize>, knowledge: Knowledge) -> Vec<String> {
        let count = position.unwrap_or(self.arrivals.len());
        if !self.has_events(count) {
            return Vec::new();
        }
        self.store(count);
        let spine: Vec<_> = reads.iter().map(|read| (read.key.clone(), instant_us(&read.as_of))).collect();
        let (found, _) = match self.sources.run(0, self.sources.spine(&spine), knowledge, shape) {
            Ok(found) => found,
            Err(error) => return vec![format!("spine: {error}")],
        };
        let what = |read: &Read| format!("{} {:?} as of {} at {position:?}", knowledge.name(), read.key, read.as_of);
        let each = reads.iter().zip(&found);
        each.flat_map(|(read, row)| differences(&what(read), &without_errors(&read.expect), row, &[])).collect()
    }
}

/// How many cases were checked, and how many of them from files too.
fn check_all(cases: &[Case]) -> (usize, usize) {
    let is_here = |case: &&Case| {
        let is_joined = !case.tables.is_empty() && !case.closed.is_empty();
        is_joined && case.events.iter().all(|event| event.partition == 0)
    };
    let (mut differing, mut checked, mut by_files) = (Vec::new(), 0, 0);
    for case in cases.iter().filter(is_here) {
        // Nor has a file a clock that arrivals could be ahead of.
        let has_no_clock = case.judged.iter().all(|verdict| verdict != "rejected: future");
        let ways = match has_no_clock && closed_rows::are_closed_by_events(case) {
            true => vec![Way::Log, Way::Files],
            false => vec![Way::Log],
        };
        for (way, shape) in ways.iter().flat_map(|way| SHAPES.map(|shape| (*way, shape))) {
            let found = Stored::new(case, way).check(shape);
            differing.extend(found.into_iter().map(|one| format!("{} {way:?}: {one}", case.name)));
        }
        checked += 1;
        by_files += ways.len() - 1;
    }
    let shown = differing.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(differing.is_empty(), "{} differences:\n{shown}", differing.len());
    (checked, by_files)
}

#[test]
fn closed_windows_over_joined_rows_answer_as_the_contract_says() {
    let (checked, _) = check_all(&cases("group_windows.json"));
    assert!(checked >= 1, "{checked}");
}

#[test]
fn random_closed_windows_over_joined_rows_answer_as_the_reference_does() {
    let drawn = made_or_drawn("ASOF_RANDOM_CLOSED_WINDOWS", "random_closed_windows.py", 300, Case::read_all);
    let (checked, by_files) = check_all(&drawn);
    assert!(checked >= 60 && by_files >= 5, "{checked}, {by_files} from files");
}
