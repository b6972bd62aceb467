//! The three ways into a stream and its views, against each other.

use super::*;
use crate::stream::{Faced, Rejected};
use crate::stream_counts::StreamCounts;
use crate::view::ViewPlan;
use arrow::array::{Decimal128Array, Int64Array, StringArray, TimestampMicrosecondArray};
use asof_definition::{Project, SourceFile, check};
use asof_window::{Captured, KeyHash, Lateness, Rejection};
use proptest::prelude::*;

const MINUTE_US: i64 = 60_000_000;
const ENTITIES: i64 = 4;
const VIEWS: usize = 4;

const SQL: &str = "
CREATE STREAM payments (
  id BIGINT NOT NULL, account BIGINT, name VARCHAR, amount BIGINT CHECK (amount < 19), price DECIMAL(10,2), ts TIMESTAMP,
  PRIMARY KEY (id), WATERMARK FOR ts AS ts - INTERVAL '10' MINUTE) WITH (dedup_horizon = '20 minutes');
CREATE FEATURE VIEW by_account AS
SELECT account, count(*) OVER h AS n, sum(60 / amount) FILTER (WHERE amount <> 2) OVER h AS shares,
  min_by(name, amount) OVER h AS least, last_value(name) OVER r AS last, quantile_cont(amount, 0.5) OVER r AS middle
FROM payments WHERE amount <> 13
WINDOW h AS (PARTITION BY account ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW),
  r AS (PARTITION BY account ORDER BY ts ROWS BETWEEN 5 PRECEDING AND CURRENT ROW);
CREATE FEATURE VIEW by_name AS
SELECT name, count(*) OVER h AS n, sum(price) OVER h AS spent, count(DISTINCT account) OVER h AS accounts
FROM payments WINDOW h AS (PARTITION BY name ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW);
CREATE STREAM shares AS SELECT id, account AS who, name, 60 / amount AS share, ts AS at FROM payments WHERE amount <> 2;
CREATE STREAM either AS
SELECT who, name, share FROM shares WHERE share > 3 UNION ALL SELECT account, lower(name), 100 / (amount - 7) FROM payments;
CREATE FEATURE VIEW by_who AS
SELECT who, sum(share) OVER h AS shares, last_value(name) OVER h AS last FROM shares
WINDOW h AS (PARTITION BY who ORDER BY at RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW);
CREATE FEATURE VIEW by_either_name AS
SELECT name, count(*) OVER r AS n, array_agg(60 / share) OVER r AS list, last_value(who) OVER r AS last FROM either
WINDOW r AS (PARTITION BY name ORDER BY at ROWS BETWEEN 7 PRECEDING AND CURRENT ROW);
";

#[derive(Debug, Clone)]
struct Row {
    id: i64,
    account: Option<i64>,
    name: Option<u8>,
    amount: Option<i64>,
    price: Option<i128>,
    /// None is rejected.
    minute: Option<i64>,
}

/// What a log keeps of a batch.
struct Stored {
    used: RecordBatch,
    offsets: Vec<u64>,
    counts: Accounting,
}

/// A stream with its views.
struct World {
    views: Vec<Arc<OnlineView>>,
    stream: OnlineStream,
    version: Version,
    next_offset: u64,
}

fn project() -> Project {
    check(&[SourceFile { name: "payments.sql".to_owned(), text: SQL.to_owned() }]).unwrap()
}

impl World {
    fn new(shards: usize) -> World {
        let project = project();
        let plan = StreamPlan::new(project.streams[0].clone()).unwrap();
        let view = |view| Arc::new(OnlineView::new(ViewPlan::new(view).unwrap(), shards).unwrap());
        let views: Vec<Arc<OnlineView>> = project.views.into_iter().map(view).collect();
        let stream = OnlineStream::new(plan.clone(), plan.file_rules(), &project.derived, views.clone());
        World { views, stream, version: Version(0), next_offset: 0 }
    }

    fn prepare(&mut self, rows: &[Row]) -> (Prepared, Stored) {
        let batch = self.batch(rows);
        let rejected = self.stream.plan().rejected(&batch, Vec::new());
        let primary_keys = self.stream.plan().primary_keys(&batch).unwrap();
        let faced = Faced { partition: 0, batch: &batch, rejected: &rejected, primary_keys: primary_keys.as_ref() };
        let offsets: Vec<u64> = (self.next_offset..).take(rows.len()).collect();
        self.next_offset += rows.len() as u64;
        let arrived_us = ArrivedAt::All(0);
        let arrivals =
            Arrivals { faced, arrived_us, offsets: &offsets, lateness: Lateness::Applied, used_before: &[], fed: None };
        let before = self.stream.accounting().total();
        let prepared = self.stream.prepare(arrivals, &Tables::none()).unwrap();
        assert_eq!(self.stream.accounting().total(), before + rows.len() as u64);
        let stored = Stored::of(&batch, &offsets, prepared.verdicts());
        (prepared, stored)
    }

    fn batch(&self, rows: &[Row]) -> RecordBatch {
        let prices: Decimal128Array = rows.iter().map(|row| row.price).collect();
        let times = rows.iter().map(|row| row.minute.map(|minute| minute * MINUTE_US));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rows.iter().map(|row| Some(row.id)).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|row| row.account).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|row| row.name.map(|name| format!("n{name}"))).collect::<StringArray>()),
            Arc::new(rows.iter().map(|row| row.amount).collect::<Int64Array>()),
            Arc::new(prices.with_precision_and_scale(10, 2).unwrap()),
            Arc::new(times.collect::<TimestampMicrosecondArray>()),
        ];
        let fields = self.stream.plan().stream().columns.iter().zip(&columns);
        let fields = fields.map(|(column, array)| (column.name.clone(), array.clone()));
        RecordBatch::try_from_iter(fields).unwrap()
    }

    fn take_in(&mut self, prepared: &Prepared) {
        self.version.0 += 1;
        self.stream.take_in(prepared, self.version, &[self.settled(); VIEWS]).unwrap();
    }

    fn arrive(&mut self, rows: &[Row]) -> (Prepared, Stored) {
        let (prepared, stored) = self.prepare(rows);
        self.take_in(&prepared);
        (prepared, stored)
    }

    fn recall(&mut self, stored: &Stored, views: &[bool], judgement: Judgement) -> Vec<Vec<SetAside>> {
        let primary_keys = self.stream.plan().primary_keys(&stored.used).unwrap();
        if judgement == Judgement::Recalled {
            self.next_offset += stored.counts.total();
        }
        let recalled = Recalled {
            partition: 0,
            used: &stored.used,
            offsets: &stored.offsets,
            primary_keys: primary_keys.as_ref(),
            counts: stored.counts,
            views,
            too_late: &[],
            looks: 0,
            fed: None,
            judgement,
        };
        self.stream.recall(recalled, &Tables::none(), &[self.settled(); VIEWS]).unwrap()
    }

    /// Reads stand at the newest version but one.
    fn settled(&self) -> Settled {
        let floor_us = self.stream.watermark_us().map(|watermark_us| watermark_us - 30 * MINUTE_US);
        Settled { version: Version(self.version.0.saturating_sub(1)), floor_us, coming_from_us: None }
    }

    fn live_keys(&self) -> Vec<(KeyHash, i64)> {
        self.stream.judge().live_keys(0)
    }

    /// All that can be read of the views, now and some way back.
    fn read(&self) -> Vec<String> {
        let watermark_us = self.stream.watermark_us().unwrap_or_default();
        let accounts: ArrayRef = Arc::new(Int64Array::from_iter_values(0..ENTITIES));
        let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..ENTITIES).map(|name| format!("n{name}"))));
        let mut all = Vec::new();
        for (view, keys) in self.views.iter().zip([&accounts, &names, &accounts, &names]) {
            for t_us in [watermark_us - 30 * MINUTE_US, watermark_us, watermark_us + 15 * MINUTE_US] {
                let answers = view.read(std::slice::from_ref(keys), &[t_us; ENTITIES as usize], self.version).unwrap();
                all.push(format!("{} at {t_us}: {:?} {:?}", view.plan().view().name, answers.features, answers.known));
            }
        }
        all
    }
}

impl Stored {
    fn of(batch: &RecordBatch, offsets: &[u64], verdicts: &[Verdict]) -> Stored {
        let used: BooleanArray = verdicts.iter().map(|verdict| Some(*verdict == Verdict::Used)).collect();
        let mut counts = Accounting::default();
        verdicts.iter().for_each(|verdict| counts.count(*verdict));
        let offsets = used.values().set_indices().map(|row| offsets[row]).collect();
        Stored { used: arrow::compute::filter_record_batch(batch, &used).unwrap(), offsets, counts }
    }
}

fn row() -> impl Strategy<Value = Row> {
    (
        0..40i64,
        prop::option::weighted(0.9, 0..ENTITIES),
        prop::option::weighted(0.9, 0..ENTITIES as u8),
        prop::option::weighted(0.9, 0..21i64),
        prop::option::weighted(0.9, -500..500i128),
        prop::option::weighted(0.95, 0..25i64),
    )
        .prop_map(|(id, account, name, amount, price, minute)| Row { id, account, name, amount, price, minute })
}

/// Batches in which time goes on.
fn batches() -> impl Strategy<Value = Vec<Vec<Row>>> {
    prop::collection::vec(prop::collection::vec(row(), 0..12), 1..12).prop_map(|mut batches| {
        for (place, batch) in batches.iter_mut().enumerate() {
            batch.iter_mut().for_each(|row| row.minute = row.minute.map(|minute| minute + 5 * place as i64));
        }
        batches
    })
}

fn check_equal(one: &World, other: &World) -> Result<(), TestCaseError> {
    prop_assert_eq!(one.stream.counts(), other.stream.counts());
    prop_assert_eq!(one.live_keys(), other.live_keys());
    prop_assert_eq!(one.read(), other.read());
    Ok(())
}

/// What a checkpoint keeps of a stream and some of its views.
struct Kept {
    counts: StreamCounts,
    keys: Vec<(KeyHash, i64)>,
    images: Vec<Vec<u8>>,
}

impl World {
    fn begin_keeping(&self) -> Kept {
        self.views.iter().for_each(|view| view.begin_capture(Captured::Whole));
        Kept { counts: self.stream.counts(), keys: self.live_keys(), images: Vec::new() }
    }

    /// The rest of the capture, whatever happened since it began.
    fn end_keeping(&self, kept: &mut Kept) {
        for view in &self.views {
            let mut images = Vec::new();
            for shard in 0..view.shards() {
                while !view.capture(shard, 100, &mut images) {}
            }
            kept.images.push(images);
        }
    }

    /// Puts back the stream, and the views that are named.
    fn put_back(&mut self, kept: &Kept, views: &[bool]) {
        for (key, time_us) in &kept.keys {
            self.stream.judge_mut().recall(0, *time_us, Some(*key));
        }
        self.stream.set_counts(&kept.counts);
        self.next_offset = kept.counts.partitions.first().map_or(0, |partition| partition.arrived);
        for ((view, images), _) in self.views.iter().zip(&kept.images).zip(views).filter(|(_, is_kept)| **is_kept) {
            view.restore(&[images], 2).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn in_two_steps_and_at_once_is_the_same(batches in batches(), ahead in 1..4usize) {
        let (mut at_once, mut in_two) = (World::new(4), World::new(2));
        for group in batches.chunks(ahead) {
            let prepared: Vec<Prepared> = group.iter().map(|batch| in_two.prepare(batch).0).collect();
            prop_assert_eq!(in_two.stream.counts().accounting.total(), in_two.next_offset);
            for (batch, prepared) in group.iter().zip(&prepared) {
                let (expected, _) = at_once.arrive(batch);
                in_two.take_in(prepared);
                prop_assert_eq!(prepared.verdicts(), expected.verdicts());
                prop_assert_eq!(prepared.set_aside(), expected.set_aside());
                prop_assert_eq!(prepared.derived_set_aside(), expected.derived_set_aside());
                prop_assert_eq!(prepared.newest_us(), expected.newest_us());
            }
        }
        prop_assert_eq!(at_once.stream.last_keys(), in_two.stream.last_keys());
        check_equal(&at_once, &in_two)?;
    }

    /// A row by itself is judged and evaluated like one among others.
    #[test]
    fn the_size_of_batches_does_not_count(batches in batches()) {
        let (mut whole, mut single) = (World::new(2), World::new(2));
        for batch in &batches {
            let (prepared, _) = whole.arrive(batch);
            let rows = batch.iter().map(|row| single.arrive(std::slice::from_ref(row)).0);
            let verdicts: Vec<Verdict> = rows.map(|prepared| prepared.verdicts()[0]).collect();
            prop_assert_eq!(prepared.verdicts(), verdicts);
        }
        prop_assert_eq!(whole.stream.accounting(), single.stream.accounting());
        prop_assert_eq!(whole.stream.derived_rows(), single.stream.derived_rows());
        prop_assert_eq!(whole.read(), single.read());
    }

    /// One stream lives; another is put back from a checkpoint begun at some batch and from the log, view by view. They
    /// are the same, then and later.
    #[test]
    fn recalled_is_what_arrived(
        batches in batches(),
        rest in batches(),
        cut in any::<prop::sample::Index>(),
        kept_views in prop::collection::vec(any::<bool>(), VIEWS),
    ) {
        let (mut live, mut recalled) = (World::new(4), World::new(2));
        let cut = cut.index(batches.len() + 1);
        let (mut log, mut asides) = (Vec::new(), Vec::new());
        let mut kept = live.begin_keeping();
        for (place, batch) in batches.iter().enumerate() {
            if place == cut {
                kept = live.begin_keeping();
            }
            let (prepared, stored) = live.arrive(batch);
            asides.push(set_aside_offsets(&prepared));
            log.push(stored);
        }
        if cut == batches.len() {
            kept = live.begin_keeping();
        }
        live.end_keeping(&mut kept);
        recalled.put_back(&kept, &kept_views);
        for (place, stored) in log.iter().enumerate() {
            let is_after = place >= cut;
            let views: Vec<bool> = kept_views.iter().map(|is_kept| is_after || !is_kept).collect();
            let judgement = if is_after { Judgement::Recalled } else { Judgement::Known };
            let aside = recalled.recall(stored, &views, judgement);
            for view in 0..VIEWS {
                let offsets: Vec<u64> = aside[view].iter().map(|one| stored.offsets[one.row]).collect();
                let expected = if views[view] { &asides[place][view][..] } else { &[] };
                prop_assert_eq!(offsets, expected);
            }
        }
        recalled.version = live.version;
        check_equal(&live, &recalled)?;
        for batch in &rest {
            let (one, other) = (live.arrive(batch).0, recalled.arrive(batch).0);
            prop_assert_eq!(one.verdicts(), other.verdicts());
        }
        check_equal(&live, &recalled)?;
    }
}

/// For each view, the offsets of the rows set aside, where the batch began at the first.
fn set_aside_offsets(prepared: &Prepared) -> Vec<Vec<u64>> {
    let ties = &prepared.brought.ties;
    prepared.set_aside().iter().map(|aside| aside.iter().map(|one| ties.offsets[one.row]).collect()).collect()
}

fn plain(id: i64, minute: i64) -> Row {
    Row { id, account: Some(id % ENTITIES), name: Some(0), amount: Some(1), price: None, minute: Some(minute) }
}

/// Judges rows of one batch with what is known beside them.
fn verdicts(rows: &[Row], lateness: Lateness, used_before: &[(usize, i64)], arrived_us: ArrivedAt<'_>) -> Vec<Verdict> {
    let mut world = World::new(1);
    let rules = world.stream.plan().rules();
    world.stream = OnlineStream::new(world.stream.plan().clone(), rules, &project().derived, world.views.clone());
    let batch = world.batch(rows);
    let rejected: Vec<Rejected> = world.stream.plan().rejected(&batch, Vec::new());
    let primary_keys = world.stream.plan().primary_keys(&batch).unwrap();
    let faced = Faced { partition: 0, batch: &batch, rejected: &rejected, primary_keys: primary_keys.as_ref() };
    let offsets: Vec<u64> = (0..rows.len() as u64).collect();
    let arrivals = Arrivals { faced, arrived_us, offsets: &offsets, lateness, used_before, fed: None };
    let settled = Settled { version: Version(0), floor_us: None, coming_from_us: None };
    let outcome = world.stream.arrive(arrivals, &Tables::none(), Version(1), &[settled; VIEWS]).unwrap();
    assert_eq!(world.stream.accounting().total(), rows.len() as u64);
    outcome.verdicts
}

#[test]
fn what_is_known_beside_a_row_counts() {
    use Verdict::*;
    let rows = [plain(1, 100), plain(2, 80), plain(3, 95), plain(4, 96), plain(1, 101)];
    let far = ArrivedAt::All(i64::MAX);
    let judged = |lateness, used_before: &[(usize, i64)]| verdicts(&rows, lateness, used_before, far);
    assert_eq!(judged(Lateness::Applied, &[]), [Used, Late, Used, Used, Duplicate]);
    assert_eq!(judged(Lateness::Waived, &[]), [Used, Used, Used, Used, Duplicate]);
    // Times that are too far away, near enough, and of another row.
    let used_before = [(1, 70), (2, 60), (2, 74), (3, 10), (3, 90), (3, 97)].map(|(row, at)| (row, at * MINUTE_US));
    assert_eq!(judged(Lateness::Waived, &used_before), [Used, Duplicate, Used, Duplicate, Duplicate]);
    // A minute ahead of the arrival is allowed; where the arrival is not known it is the event time.
    let arrived: Int64Array =
        [Some(99), None, Some(93), Some(95), Some(101)].map(|at| at.map(|at| at * MINUTE_US)).into_iter().collect();
    let future = Rejected(Rejection::Future);
    let each = ArrivedAt::Each(&arrived);
    assert_eq!(verdicts(&rows, Lateness::Waived, &[], each), [Used, Used, future, Used, Duplicate]);
}

#[test]
fn images_of_another_view_are_refused_by_name() {
    let mut world = World::new(2);
    world.arrive(&[plain(0, 1), plain(1, 2)]);
    let mut kept = world.begin_keeping();
    world.end_keeping(&mut kept);
    let other = World::new(2);
    let error = other.views[1].restore(&[&kept.images[0]], 2).unwrap_err();
    assert_eq!(error.to_string(), "feature view `by_name`: the image at byte 0 is damaged: its key is of another kind");
    let mut images = kept.images[0].clone();
    let last = images.len() - 1;
    images.truncate(last);
    let error = other.views[0].restore(&[&images], 2).unwrap_err().to_string();
    assert!(
        error.starts_with("feature view `by_account`: the image at byte ") && error.ends_with("cut off"),
        "{error}"
    );
    assert_eq!(World::new(8).views[0].restore(&[&kept.images[0]], 2).unwrap(), 2);
}

/// What derived streams make of one batch, worked out by hand.
#[test]
fn a_derived_stream_has_rows_and_its_own_failures() {
    let mut world = World::new(2);
    let with = |id, name, amount| Row { name: Some(name), amount: Some(amount), ..plain(id, 1) };
    // The second is out of `shares` by WHERE, the third fails there, the fourth fails in the second branch of `either`, and
    // the fifth is rejected.
    let rows = [with(0, 0, 10), with(1, 0, 2), with(2, 1, 0), with(3, 1, 7), with(4, 1, 19)];
    let (prepared, _) = world.arrive(&rows);
    let names: Vec<&str> = world.stream.derived().iter().map(|stream| stream.name.as_str()).collect();
    assert_eq!(names, ["shares", "either"]);
    // In `either`: of `shares` the shares 6 and 8, of `payments` the amounts 10, 2 and 0.
    assert_eq!(world.stream.derived_rows(), [2, 5]);
    let aside = prepared.derived_set_aside();
    assert_eq!((aside[0][0].row, &aside[0][0].detail[..]), (2, "`60 / amount`: division by zero"));
    assert_eq!((aside[1][0].row, &aside[1][0].detail[..]), (3, "`100 / (amount - 7)`: division by zero"));
    assert_eq!((aside[0].len(), aside[1].len()), (1, 1));
    let names: ArrayRef = Arc::new(StringArray::from(vec!["n0", "n1"]));
    let answers = world.views[3].read(&[names], &[MINUTE_US; 2], world.version).unwrap();
    let lists = answers.features[1].as_list::<i32>();
    let list = |row: usize| lists.value(row).as_primitive::<arrow::datatypes::Int64Type>().values().to_vec();
    // The branch comes before the offset in the order of ties.
    assert_eq!(list(0), [60 / 6, 60 / 33, 60 / -20]);
    assert_eq!(list(1), [60 / 8, 60 / -14]);
}
