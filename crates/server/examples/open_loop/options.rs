//! The command line.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::template::{Events, Times};
use crate::{Result, SECOND_NS};

/// The command line, resolved. Times in nanoseconds.
pub(crate) struct Options {
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    pub(crate) bodies: PathBuf,
    pub(crate) content_type: String,
    /// None: each line of the file is a body, sent as it is.
    pub(crate) events: Option<Events>,
    pub(crate) connections: usize,
    /// Requests per second; none is the closed loop.
    pub(crate) rate: Option<f64>,
    pub(crate) duration_ns: u64,
    pub(crate) warm_up_ns: u64,
    pub(crate) positions: Option<PathBuf>,
    pub(crate) position_of: Option<String>,
}

impl Options {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Options> {
        let mut given = BTreeMap::new();
        while let Some(name) = words.next() {
            let value = words.next().ok_or_else(|| format!("`{name}` needs a value"))?;
            given.insert(name, value);
        }
        let mut take = |name: &str| given.remove(name);
        let content_type = take("--content-type").unwrap_or_else(|| "application/json".to_owned());
        let events = parse_events(take("--event-times"), take("--keys"))?;
        let mut need = |name: &str| take(name).ok_or_else(|| format!("`{name}` is missing"));
        let options = Options {
            address: need("--address")?.parse()?,
            path: need("--path")?,
            bodies: need("--bodies")?.into(),
            content_type,
            events,
            connections: need("--connections")?.parse()?,
            rate: parse_rate(&need("--rate")?)?,
            duration_ns: parse_seconds(&need("--duration")?)?,
            warm_up_ns: parse_seconds(&need("--warm-up")?)?,
            positions: take("--positions").map(PathBuf::from),
            position_of: take("--position-of"),
        };
        if let Some(unknown) = given.keys().next() {
            return Err(format!("unknown option `{unknown}`").into());
        }
        if options.connections == 0 || options.duration_ns == 0 {
            return Err("`--connections` and `--duration` must be above 0".into());
        }
        if options.positions.is_some() != options.position_of.is_some() {
            return Err("`--positions` and `--position-of` go together".into());
        }
        Ok(options)
    }

    pub(crate) fn end_ns(&self) -> u64 {
        self.warm_up_ns + self.duration_ns
    }

    pub(crate) fn interval_ns(&self) -> Option<f64> {
        self.rate.map(|rate| SECOND_NS / rate)
    }
}

/// Requests per second, or none for `max`.
fn parse_rate(text: &str) -> Result<Option<f64>> {
    if text == "max" {
        return Ok(None);
    }
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(Some(rate)),
        _ => Err(format!("`--rate` is a number above 0 or max, found `{text}`").into()),
    }
}

fn parse_seconds(text: &str) -> Result<u64> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..1e9).contains(&seconds) => Ok((seconds * SECOND_NS) as u64),
        _ => Err(format!("expected seconds, found `{text}`").into()),
    }
}

/// `--event-times now`, or `FIRST_US,STEP_NS`, says that the bodies' file is one body with markers.
fn parse_events(times: Option<String>, keys: Option<String>) -> Result<Option<Events>> {
    let Some(times) = times else {
        return if keys.is_some() { Err("`--keys` needs `--event-times`".into()) } else { Ok(None) };
    };
    let times = match times.split_once(',') {
        None if times == "now" => Times::Now,
        Some((first_us, step_ns)) => Times::Steps { first_us: first_us.parse()?, step_ns: step_ns.parse()? },
        None => return Err(format!("`--event-times` is now or FIRST_US,STEP_NS, found `{times}`").into()),
    };
    let keys = keys.map_or(Ok(1), |keys| keys.parse())?;
    match (1..=9_000_000).contains(&keys) {
        true => Ok(Some(Events { times, keys })),
        false => Err(format!("`--keys` is from 1 to 9000000, found `{keys}`").into()),
    }
}
