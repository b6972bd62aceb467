//! The golden cases of temporal joins and of views over tables: spines at each position and `--every-event`, in both
//! knowledges, from files and from the log.

use std::collections::BTreeSet;
use std::path::Path;

use asof_history::{Knowledge, RowsOf, Summary};
use serde_json::{Map, Value, json};

use crate::case::{Answered, Case, Read, differences, instant_us};
use crate::closed_rows;
use crate::sources::{Arrival, SHAPES, Shape, Sources, Way};

const WAYS: [Way; 3] = [Way::Files, Way::Log, Way::Loaded];

pub(crate) fn cases(file: &str) -> Vec<Case> {
    Case::read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/cases").join(file))
}

/// A case, stored in one way.
pub(crate) struct Stored<'a> {
    pub(crate) case: &'a Case,
    pub(crate) sources: Sources,
    pub(crate) arrivals: Vec<Arrival>,
}

impl<'a> Stored<'a> {
    pub(crate) fn new(case: &'a Case, way: Way) -> Stored<'a> {
        let sources = match case.closed.is_empty() {
            true => Sources::new(&case.sql, way),
            false => Sources::unnumbered(&case.sql, way),
        };
        let arrivals = arrivals(case, &sources);
        Stored { case, sources, arrivals }
    }

    /// Stores the first `count` arrivals, and the rows of windows that a server had made by then.
    pub(crate) fn store(&self, count: usize) {
        let arrivals = self.arrivals[..count].iter().zip(&self.case.events).filter(|(_, event)| !event.is_look());
        self.sources.store(&arrivals.map(|(arrival, _)| arrival.clone()).collect::<Vec<_>>());
        if self.sources.way == Way::Log && !self.case.closed.is_empty() {
            let until_us = self.arrivals[count - 1].arrived_us;
            closed_rows::write_logs(self.case, &self.sources.project, self.sources.path(), until_us);
        }
    }

    /// Whether something stands under the view among the first arrivals; where it is a stream without events there is
    /// nothing to read.
    pub(crate) fn has_events(&self, count: usize) -> bool {
        self.sources.project.streams.is_empty() || self.arrivals[..count].iter().any(|one| one.into.is_none())
    }

    fn check(&self, shape: Shape) -> Vec<String> {
        let mut differing = Vec::new();
        let every =
            [(&self.case.every_event, Knowledge::EventTime), (&self.case.every_event_as_served, Knowledge::AsServed)];
        for (wanted, knowledge) in every {
            if let Some(wanted) = wanted {
                differing.extend(self.every_event(shape, wanted, knowledge));
            }
        }
        differing.extend(self.check_reads(shape));
        differing
    }

    /// The reads of a case, those at one position together.
    pub(crate) fn check_reads(&self, shape: Shape) -> Vec<String> {
        let mut differing = Vec::new();
        for knowledge in [Knowledge::EventTime, Knowledge::AsServed] {
            let known = self.case.reads.iter().filter(|read| read.knowledge == knowledge.name());
            let positions: BTreeSet<Option<usize>> = known.clone().map(|read| read.position).collect();
            for position in positions {
                let reads: Vec<&Read> = known.clone().filter(|read| read.position == position).collect();
                differing.extend(self.spine(shape, &reads, position, knowledge));
            }
        }
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
        assert_eq!(found.len(), reads.len());
        let what = |read: &Read| format!("{} {:?} as of {} at {position:?}", knowledge.name(), read.key, read.as_of);
        let each = reads.iter().zip(&found);
        each.flat_map(|(read, row)| differences(&what(read), &without_errors(&read.expect), row, &[])).collect()
    }

    fn every_event(&self, shape: Shape, wanted: &[Answered], knowledge: Knowledge) -> Vec<String> {
        self.store(self.arrivals.len());
        let rows = RowsOf::EveryEvent { keep: vec!["case_event".to_owned()] };
        let (found, summary) = match self.sources.run(0, rows, knowledge, shape) {
            Ok(found) => found,
            Err(error) => return vec![format!("every event: {error}")],
        };
        let mut differing = self.told(&summary, knowledge);
        if found.len() != wanted.len() {
            differing.push(format!("{}: {} rows, not {}", knowledge.name(), found.len(), wanted.len()));
        }
        let mut left: Vec<&Map<String, Value>> = found.iter().collect();
        for answered in wanted {
            let what = format!("{}, event {}", knowledge.name(), answered.event);
            let expect = without_errors(&answered.expect);
            let of_event = (0..left.len()).filter(|place| left[*place]["case_event"] == json!(answered.event));
            let best = of_event.map(|place| (differences(&what, &expect, left[place], &[]), place));
            match best.min_by_key(|(differing, _)| differing.len()) {
                Some((own, place)) => {
                    differing.extend(own);
                    left.swap_remove(place);
                }
                None => differing.push(format!("{what}: no row")),
            }
        }
        differing
    }

    /// The counts of verdicts and of what is set aside.
    fn told(&self, summary: &Summary, knowledge: Knowledge) -> Vec<String> {
        let mut differing = Vec::new();
        if self.case.judged.is_empty() {
            return differing;
        }
        for told in summary.streams.iter().chain(&summary.tables) {
            let is_table = summary.tables.iter().any(|table| table.name == told.name);
            let into = is_table.then_some(&told.name);
            let own = self.case.events.iter().zip(&self.case.judged).filter(|(event, _)| event.into.as_ref() == into);
            let (total, used) =
                (own.clone().count() as u64, own.filter(|(_, verdict)| *verdict == "used").count() as u64);
            // A file without arrivals has one row that is rejected.
            let total = total.max(u64::from(self.sources.way == Way::Files));
            if (told.accounting.total(), told.accounting.used) != (total, used) {
                differing.push(format!("`{}`: {:?}, not {used} of {total} used", told.name, told.accounting));
            }
        }
        let aside = summary.streams.iter().chain(&summary.tables).flat_map(|told| &told.set_aside);
        let aside: u64 = aside.map(|(_, count)| count).sum();
        if knowledge == Knowledge::EventTime && aside != self.case.set_aside.len() as u64 {
            differing.push(format!("{aside} set aside, not {:?}", self.case.set_aside));
        }
        differing
    }
}

fn arrivals(case: &Case, sources: &Sources) -> Vec<Arrival> {
    let columns = case.events.iter().map(|event| serde_json::from_str(event.columns.get()).unwrap());
    let columns: Vec<Map<String, Value>> = columns.collect();
    let times: Vec<Option<i64>> = case
        .events
        .iter()
        .zip(&columns)
        .map(|(event, columns)| {
            let declared = match &event.into {
                None => &sources.project.streams[0],
                Some(_) if event.is_look() => return None,
                Some(name) => &sources.project.tables.iter().find(|table| table.name() == name).unwrap().versions,
            };
            let time = columns.get(&declared.columns[declared.time_column].name);
            time.filter(|time| !time.is_null()).map(instant_us)
        })
        .collect();
    let arrived_us = case.arrivals_us(&times);
    let each = case.events.iter().zip(columns).zip(arrived_us);
    each.map(|((event, columns), arrived_us)| Arrival { into: event.into.clone(), columns, arrived_us }).collect()
}

/// With `--on-error null` a failing feature is NULL.
pub(crate) fn without_errors(expect: &Map<String, Value>) -> Map<String, Value> {
    let value = |value: &Value| if value.get("error").is_some() { Value::Null } else { value.clone() };
    expect.iter().map(|(name, wanted)| (name.clone(), value(wanted))).collect()
}

/// How many cases were checked, and in how many ways each.
fn check_all(cases: &[Case]) -> usize {
    let (mut differing, mut checked) = (Vec::new(), 0);
    for case in cases.iter().filter(|case| case.events.iter().all(|event| event.partition == 0)) {
        for (way, shape) in WAYS.iter().flat_map(|way| SHAPES.map(|shape| (*way, shape))) {
            // A file has no clock that versions could be ahead of.
            if way == Way::Files && case.judged.iter().any(|verdict| verdict == "rejected: future") {
                continue;
            }
            let found = Stored::new(case, way).check(shape);
            differing.extend(found.into_iter().map(|one| format!("{} {way:?}: {one}", case.name)));
            checked += 1;
        }
    }
    let shown = differing.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(differing.is_empty(), "{} differences:\n{shown}", differing.len());
    checked
}

#[test]
fn temporal_joins_answer_as_the_contract_says() {
    assert!(check_all(&cases("temporal_joins.json")) >= 46 * 6 - 4);
}

#[test]
fn views_over_tables_answer_as_the_contract_says() {
    assert!(check_all(&cases("table_views.json")) >= 18 * 6);
}
