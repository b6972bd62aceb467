//! The command line, and the requests that it names.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::{Result, SECOND_NS};

/// The command line, resolved. Times in nanoseconds.
pub(crate) struct Options {
    pub(crate) address: SocketAddr,
    path: String,
    bodies: PathBuf,
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
        let mut need = |name: &str| take(name).ok_or_else(|| format!("`{name}` is missing"));
        let options = Options {
            address: need("--address")?.parse()?,
            path: need("--path")?,
            bodies: need("--bodies")?.into(),
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

/// The requests as they go over the wire, one for each line of the bodies' file.
pub(crate) fn prepared(options: &Options) -> Result<Vec<Vec<u8>>> {
    let text = std::fs::read_to_string(&options.bodies)
        .map_err(|error| format!("cannot read `{}`: {error}", options.bodies.display()))?;
    let head = format!("POST {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json", options.path, options.address);
    let request = |body: &str| format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes();
    let requests: Vec<_> = text.lines().filter(|line| !line.is_empty()).map(request).collect();
    match requests.is_empty() {
        true => Err(format!("`{}` holds no bodies", options.bodies.display()).into()),
        false => Ok(requests),
    }
}
