//! A union of a stream that is stored and one that reads a file, over restarts: the log is recalled, the file read again, and
//! every event is in the views once.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::Int64Type;
use asof_pipeline::{Engine, Job, Phase, Stop, run};

use crate::world::{BEGIN_US, SECOND_US, World, leave, payment};

const SHOP: i64 = 7;

fn sql() -> String {
    "CREATE STREAM payments (id BIGINT NOT NULL, shop BIGINT NOT NULL, ts TIMESTAMP NOT NULL,
       WATERMARK FOR ts AS ts - INTERVAL '10' SECOND);
     CREATE STREAM old (id BIGINT NOT NULL, shop BIGINT NOT NULL, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts)
       WITH (connector = 'file', path = 'old.jsonl', format = 'jsonl');
     CREATE STREAM both AS SELECT id, shop, ts FROM old UNION ALL SELECT id, shop, ts FROM payments;
     CREATE FEATURE VIEW paid AS
       SELECT shop, count(*) OVER w AS n, sum(id) OVER w AS ids, last_value(id) OVER w AS newest FROM both
       WINDOW w AS (PARTITION BY shop ORDER BY ts);
     CREATE FEATURE VIEW lately AS
       SELECT shop, count(*) OVER r AS n FROM both
       WINDOW r AS (PARTITION BY shop ORDER BY ts RANGE BETWEEN INTERVAL '3' SECOND PRECEDING AND CURRENT ROW);"
        .to_owned()
}

/// Asks for a stop when it goes, also by a failed assertion: nobody would wait for the end of a job otherwise.
struct StopAtEnd<'s>(&'s Stop);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.ask();
    }
}

/// A life of the running job: the events of the log that come in it are taken in, and it ends in order or not at all.
fn live(world: &World, folder: &Path, ids: std::ops::Range<i64>, look: impl FnOnce(&Engine)) {
    let engine = world.engine(&sql()).unwrap();
    let (stop, lower_priority) = (Stop::default(), || ());
    let job = Job {
        folder: folder.to_owned(),
        until_us: None,
        waiting_bytes_max: 1 << 20,
        threads: 1,
        kafka: None,
        lower_priority,
    };
    std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&engine, &job, &stop));
        let stop_at_end = StopAtEnd(&stop);
        while engine.phase() != Phase::Live && !running.is_finished() {
            std::thread::yield_now();
        }
        for id in ids {
            let answered = leave(&engine, 0, payment(id, SHOP, BEGIN_US + id * SECOND_US), None).unwrap();
            while answered.lock().unwrap().is_none() && !running.is_finished() {
                std::thread::yield_now();
            }
            assert_eq!(answered.lock().unwrap().take().unwrap().unwrap().accepted, 1);
        }
        look(&engine);
        drop(stop_at_end);
        running.join().unwrap().unwrap();
    });
}

fn features(engine: &Engine, view: usize) -> Vec<i64> {
    let key: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![SHOP]))];
    let reading = engine.reading();
    let answers = reading.view(view, &key, 1, reading.now_us()).unwrap();
    answers.features.iter().map(|feature| feature.as_primitive::<Int64Type>().value(0)).collect()
}

#[test]
fn each_event_is_there_once_whatever_way_it_comes_back() {
    let world = World::new(1);
    let folder = tempfile::tempdir().unwrap();
    // Event times of both go through each other: 0, 1, 2 … seconds after the beginning.
    let old = [100, 102, 104].map(|id| payment(id, SHOP, BEGIN_US + (id - 100) * SECOND_US)).concat();
    std::fs::write(folder.path().join("old.jsonl"), old).unwrap();
    live(&world, folder.path(), 0..0, |engine| assert_eq!(features(engine, 0), [3, 306, 104]));
    live(&world, folder.path(), 1..4, |engine| {
        assert_eq!(features(engine, 0), [6, 312, 104]);
        assert_eq!(features(engine, 1), [5], "from 1 to 4 seconds: two of the file, three of the log");
        assert_eq!(engine.derived_statistics(0).rows, 6);
    });
    live(&world, folder.path(), 0..0, |engine| {
        assert_eq!((features(engine, 0), features(engine, 1)), (vec![6, 312, 104], vec![5]));
    });
    // Neither a checkpoint nor the file's end is needed for the truth.
    world.remove("checkpoints");
    live(&world, folder.path(), 5..6, |engine| {
        assert_eq!((features(engine, 0), features(engine, 1)), (vec![7, 317, 5], vec![5]));
        assert_eq!(engine.derived_statistics(0).rows, 7);
    });
}
