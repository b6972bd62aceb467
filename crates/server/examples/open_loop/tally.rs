//! What became of the requests, and the one JSON object that says it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::connection::Answer;
use crate::options::Options;
use crate::{Result, SECOND_NS};

const EXAMPLE_BYTES: usize = 400;

/// What happened to the requests that were due after the warm-up. Latencies and lags in microseconds.
///
/// Throughput, bytes and positions are those of the answers that came while it was measured, whenever they were due: an
/// overloaded server is late, but not idle.
#[derive(Default)]
pub(crate) struct Tally {
    warm_up_ns: u64,
    end_ns: u64,
    latencies: Vec<u32>,
    lags: Vec<u32>,
    sent: u64,
    answered: u64,
    unanswered: u64,
    /// Requests whose connection ended without an answer.
    broken: u64,
    /// Answers other than 200.
    refused: BTreeMap<u16, u64>,
    /// Of any kind, before the measured time.
    warm_up_errors: u64,
    came: u64,
    came_bytes: u64,
    /// Wall clock in microseconds since 1970, and the position answered then.
    positions: Vec<(u64, u64)>,
    is_example_shown: bool,
}

impl Tally {
    /// Measures from the warm-up to the end.
    pub(crate) fn between(warm_up_ns: u64, end_ns: u64) -> Tally {
        Tally { warm_up_ns, end_ns, ..Tally::default() }
    }

    fn is_measured(&self, due_ns: u64) -> bool {
        due_ns >= self.warm_up_ns
    }

    fn is_open(&self, now_ns: u64) -> bool {
        (self.warm_up_ns..self.end_ns).contains(&now_ns)
    }

    pub(crate) fn count_sent(&mut self, due_ns: u64, now_ns: u64) {
        if self.is_measured(due_ns) {
            self.sent += 1;
            self.lags.push(microseconds(now_ns - due_ns));
        }
    }

    pub(crate) fn count_answer(&mut self, answer: &Answer, body: &[u8], due_ns: u64, now_ns: u64) {
        if answer.status == 200 && self.is_open(now_ns) {
            self.came += 1;
            self.came_bytes += answer.bytes() as u64;
        }
        if answer.status != 200 {
            self.show_example(answer.status, &String::from_utf8_lossy(body));
        }
        match (self.is_measured(due_ns), answer.status) {
            (false, 200) => {}
            (false, _) => self.warm_up_errors += 1,
            (true, 200) => {
                self.answered += 1;
                self.latencies.push(microseconds(now_ns - due_ns));
            }
            (true, status) => *self.refused.entry(status).or_default() += 1,
        }
    }

    pub(crate) fn count_broken(&mut self, due_ns: u64, error: &dyn std::fmt::Display) {
        self.show_example(0, &error.to_string());
        *(if self.is_measured(due_ns) { &mut self.broken } else { &mut self.warm_up_errors }) += 1;
    }

    pub(crate) fn count_unanswered(&mut self, due_ns: u64, now_ns: u64) {
        if self.is_measured(due_ns) {
            self.unanswered += 1;
            self.latencies.push(microseconds(now_ns.saturating_sub(due_ns)));
        }
    }

    pub(crate) fn count_position(&mut self, body: &[u8], stream: &str, now_ns: u64) {
        if self.is_open(now_ns) {
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock stands after 1970");
            self.positions.extend(position(body, stream).map(|position| (wall.as_micros() as u64, position)));
        }
    }

    fn show_example(&mut self, status: u16, text: &str) {
        if !std::mem::replace(&mut self.is_example_shown, true) {
            eprintln!("the first error (status {status}): {}", text.chars().take(EXAMPLE_BYTES).collect::<String>());
        }
    }

    pub(crate) fn write_positions(&self, path: &Path) -> Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        for (wall_us, position) in &self.positions {
            writeln!(file, "{wall_us},{position}")?;
        }
        Ok(file.flush()?)
    }

    pub(crate) fn report(mut self, options: &Options) -> String {
        let seconds = options.duration_ns as f64 / SECOND_NS;
        let errors = self.broken + self.refused.values().sum::<u64>();
        let statuses: Vec<_> = self.refused.iter().map(|(status, count)| format!("\"{status}\":{count}")).collect();
        self.latencies.sort_unstable();
        self.lags.sort_unstable();
        let latency = |share: f64| quantile(&self.latencies, share);
        format!(
            "{{\"sent\":{},\"answered\":{},\"errors\":{errors},\"unanswered\":{},\"broken\":{},\"statuses\":{{{}}},\
             \"warm_up_errors\":{},\"rate\":{:.1},\"p50_us\":{},\"p90_us\":{},\"p99_us\":{},\"p999_us\":{},\"max_us\":{},\
             \"lag_p50_us\":{},\"lag_p99_us\":{},\"bytes_per_s\":{:.0}}}",
            self.sent,
            self.answered,
            self.unanswered,
            self.broken,
            statuses.join(","),
            self.warm_up_errors,
            self.came as f64 / seconds,
            latency(0.5),
            latency(0.9),
            latency(0.99),
            latency(0.999),
            latency(1.0),
            quantile(&self.lags, 0.5),
            quantile(&self.lags, 0.99),
            self.came_bytes as f64 / seconds,
        )
    }
}

/// The first partition's position of the stream in an answer. It stands behind the rows, so the search is from the end.
fn position(body: &[u8], stream: &str) -> Option<u64> {
    let opening = b"\"position\":{";
    let from = body.windows(opening.len()).rposition(|window| window == opening)?;
    let text = std::str::from_utf8(&body[from..]).ok()?;
    let text = text.split_once(&format!("\"{stream}\":["))?.1;
    text.split([',', ']']).next()?.parse().ok()
}

/// Nearest rank: the least value that at least this share of all values does not exceed; 0 of none.
fn quantile(sorted: &[u32], share: f64) -> u32 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(0)
}

fn microseconds(duration_ns: u64) -> u32 {
    u32::try_from(duration_ns / 1000).unwrap_or(u32::MAX)
}
