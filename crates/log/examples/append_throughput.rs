//! How fast a log takes frames of 1,000 records of 100 bytes, with a sync after every tenth:
//! `cargo run --release -p asof-log --example append_throughput -- FOLDER [FRAMES]`. The folder must be empty.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use asof_disk::FolderDisk;
use asof_log::{Claim, LogReader, LogSettings, NewFrame, PartitionLog, SEGMENT_BYTES_DEFAULT, TakeOver};

const ROWS: u32 = 1000;
const FRAMES_PER_SYNC: u32 = 10;

#[allow(clippy::disallowed_methods, clippy::print_stdout, reason = "an example that measures time and tells it")]
fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("name an empty folder")?);
    let frames: u32 = arguments.next().map_or(Ok(5000), |frames| frames.parse())?;
    let disk = Arc::new(FolderDisk);
    let claim = Claim::take(disk.clone(), &folder, TakeOver::Refuse)?;
    let partition = folder.join("log/records/0");
    let settings = LogSettings { segment_bytes: SEGMENT_BYTES_DEFAULT, generation: claim.generation() };
    let (mut log, _torn) = PartitionLog::open(disk.clone(), &partition, settings)?;
    let body = vec![7; ROWS as usize * 100];
    let begin = Instant::now();
    for number in 0..frames {
        log.append(NewFrame { rows: ROWS, arrived_us: i64::from(number), dead: 0, newest_us: 0, body: &body })?;
        if (number + 1) % FRAMES_PER_SYNC == 0 {
            log.sync()?;
        }
    }
    log.seal()?;
    let records = f64::from(frames) * f64::from(ROWS);
    println!("appended: {:.2} M records/s", records / begin.elapsed().as_secs_f64() / 1e6);
    let begin = Instant::now();
    let mut reader = LogReader::open(disk, &partition, 0)?;
    let mut rows = 0;
    while let Some(frame) = reader.next_frame()? {
        rows += u64::from(frame.head.rows);
    }
    println!("read: {:.2} M records/s", rows as f64 / begin.elapsed().as_secs_f64() / 1e6);
    Ok(())
}
