//! A manifest: one checkpoint, named part by part. Where it is, the checkpoint is.
//!
//! Two lines of JSON. The first is exactly what the second demands, so that it too is compared and not interpreted:
//! ```text
//!   {"magic":"asof-mft","version":1,"checksum":"<XXH3-64 of all that follows this line, 16 hexadecimal digits>"}
//!   {"generation":1,"epoch":7,"parts":[…],"about":{…}}
//! ```

use serde::{Deserialize, Serialize};
use serde_json::Value;
use twox_hash::XxHash3_64;

use crate::{Part, StateError};

/// The greatest length of a manifest: some 100,000 parts.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 32 << 20;

const VERSION: u32 = 1;

/// One checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The writer's generation. A greater one always wins.
    pub generation: u64,
    /// The number of the checkpoint within its generation.
    pub epoch: u64,
    /// Its parts, in the order in which they were put or kept: a writer that keeps to it has the newer images of a view last.
    pub parts: Vec<Part>,
    /// What is small, and where the log goes on.
    pub about: About,
}

/// What a checkpoint says of the project.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// The streams, by partition.
    pub streams: Vec<StreamAbout>,
    /// The greatest arrival time that was given out, in microseconds.
    pub arrived_us: i64,
}

/// What a checkpoint says of one partition of a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamAbout {
    /// The stream.
    pub name: String,
    /// The partition.
    pub partition: u32,
    /// The log is replayed from this offset on.
    pub next_offset: u64,
    /// Counters, watermark, the names of key runs: what the writer needs.
    pub image: Value,
}

impl Manifest {
    pub(crate) fn encode(&self, object: &str) -> Result<Vec<u8>, StateError> {
        let body = serde_json::to_string(self).expect("a manifest has string keys and finite numbers only") + "\n";
        let bytes = first_line(body.as_bytes()) + &body;
        if bytes.len() as u64 > MANIFEST_BYTES_MAX {
            let (object, bytes) = (object.to_owned(), bytes.len() as u64);
            return Err(StateError::TooLarge { object, bytes, bytes_max: MANIFEST_BYTES_MAX });
        }
        Ok(bytes.into_bytes())
    }

    pub(crate) fn decode(object: &str, bytes: &[u8]) -> Result<Manifest, StateError> {
        let end = bytes.iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |at| at + 1);
        let (first, body) = bytes.split_at(end);
        if first != first_line(body).as_bytes() {
            return Err(wrong_first_line(object, first));
        }
        serde_json::from_slice(body).map_err(|error| StateError::damaged(object, format!("its second line: {error}")))
    }
}

fn first_line(body: &[u8]) -> String {
    format!("{{\"magic\":\"asof-mft\",\"version\":{VERSION},\"checksum\":\"{:016x}\"}}\n", XxHash3_64::oneshot(body))
}

/// A whole first line of another version tells the user more than a wrong checksum would.
fn wrong_first_line(object: &str, line: &[u8]) -> StateError {
    #[derive(Deserialize)]
    struct FirstLine {
        magic: String,
        version: u32,
    }
    match serde_json::from_slice::<FirstLine>(line) {
        Ok(first) if first.magic == "asof-mft" && first.version != VERSION => {
            StateError::Version { object: object.to_owned(), found: first.version, known: VERSION }
        }
        Ok(_) => StateError::damaged(object, "its second line has not the checksum that the first one names"),
        Err(error) => StateError::damaged(object, format!("its first line: {error}")),
    }
}
