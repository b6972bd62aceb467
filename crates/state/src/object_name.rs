//! The names of a checkpoint's objects, written and read back.
//!
//! ```text
//!   checkpoints/manifests/<generation:010>-<epoch:010>.json
//!   checkpoints/<stream>/<partition>/<generation:010>/<epoch:010>/<kind>[-<view>]-<sequence:06>.part
//! ```
//! A stream may be called `manifests`: its parts lie deeper than manifests do, so the number of pieces tells them apart.

use object_store::path::Path;
use twox_hash::XxHash3_64;

use crate::part::{PartKind, PartScope};

/// The folder of all of a project's checkpoints.
pub(crate) const CHECKPOINTS: &str = "checkpoints";
/// The folder of the manifests.
pub(crate) const MANIFESTS: &str = "checkpoints/manifests";

/// What an object is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ObjectName {
    /// The manifest of a checkpoint.
    Manifest { generation: u64, epoch: u64 },
    /// A part, written for this checkpoint; later ones may name it too.
    Part { generation: u64, epoch: u64 },
}

impl ObjectName {
    /// `None`: not an object of a checkpoint.
    pub(crate) fn read(path: &str) -> Option<ObjectName> {
        let pieces: Vec<&str> = path.split('/').collect();
        match pieces.as_slice() {
            [CHECKPOINTS, "manifests", name] => {
                let (generation, epoch) = name.strip_suffix(".json")?.split_once('-')?;
                Some(ObjectName::Manifest { generation: number(generation)?, epoch: number(epoch)? })
            }
            [CHECKPOINTS, _stream, partition, generation, epoch, part] if part.ends_with(".part") => {
                let _partition: u32 = partition.parse().ok()?;
                Some(ObjectName::Part { generation: number(generation)?, epoch: number(epoch)? })
            }
            _ => None,
        }
    }

    pub(crate) fn generation(self) -> u64 {
        match self {
            ObjectName::Manifest { generation, .. } | ObjectName::Part { generation, .. } => generation,
        }
    }
}

/// The path of a checkpoint's manifest.
pub(crate) fn manifest_path(generation: u64, epoch: u64) -> Path {
    Path::from(format!("{MANIFESTS}/{generation:010}-{epoch:010}.json"))
}

/// The path of the checkpoint's part with this sequence number.
pub(crate) fn part_path(scope: &PartScope, generation: u64, epoch: u64, sequence: usize) -> String {
    let (stream, partition) = (encoded(&scope.stream), scope.partition);
    let kind = match &scope.kind {
        PartKind::View { name, .. } => format!("view-{}", encoded(name)),
        PartKind::Batches => "batches".to_owned(),
    };
    format!("{CHECKPOINTS}/{stream}/{partition}/{generation:010}/{epoch:010}/{kind}-{sequence:06}.part")
}

/// A number as it was written, of at least ten digits: no sign, no shorter or longer spelling of the same number.
fn number(text: &str) -> Option<u64> {
    let number = text.parse().ok()?;
    (format!("{number:010}") == text).then_some(number)
}

/// File systems take names of 255 bytes; this leaves room for kind and sequence number.
const ENCODED_BYTES_MAX: usize = 220;

/// The name with all bytes but a-z 0-9 _ - percent-encoded: no name leaves its folder, no two names are one where the file
/// system ignores case. A name too long for a file keeps its beginning and gets a hash of the whole.
fn encoded(name: &str) -> String {
    if name.is_empty() {
        return "%".to_owned();
    }
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => text.push(char::from(byte)),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    if text.len() > ENCODED_BYTES_MAX {
        text.truncate(ENCODED_BYTES_MAX - 17);
        text.push_str(&format!("-{:016x}", XxHash3_64::oneshot(name.as_bytes())));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(stream: &str, name: &str) -> PartScope {
        let kind = PartKind::View { name: name.to_owned(), fingerprint: 7, is_base: true };
        PartScope { stream: stream.to_owned(), partition: 3, kind }
    }

    #[test]
    fn names_are_read_back() {
        let manifest = manifest_path(4, 12_345_678_901);
        assert_eq!(manifest.as_ref(), "checkpoints/manifests/0000000004-12345678901.json");
        let expected = ObjectName::Manifest { generation: 4, epoch: 12_345_678_901 };
        assert_eq!(ObjectName::read(manifest.as_ref()), Some(expected));

        let part = part_path(&view("Card ../x", "ä.b"), 4, 5, 6);
        assert_eq!(part, "checkpoints/%43ard%20%2E%2E%2Fx/3/0000000004/0000000005/view-%C3%A4%2Eb-000006.part");
        assert_eq!(ObjectName::read(&part), Some(ObjectName::Part { generation: 4, epoch: 5 }));
        let batches = PartScope { kind: PartKind::Batches, ..view("manifests", "") };
        let part = part_path(&batches, 4, 5, 0);
        assert_eq!(part, "checkpoints/manifests/3/0000000004/0000000005/batches-000000.part");
        assert_eq!(ObjectName::read(&part), Some(ObjectName::Part { generation: 4, epoch: 5 }));
    }

    #[test]
    fn other_names_are_nobodys() {
        for name in [
            "checkpoints/manifests/4-5.json",
            "checkpoints/manifests/+000000004-0000000005.json",
            "checkpoints/manifests/0000000004-0000000005.json.new",
            "checkpoints/manifests/0000000004.json",
            "checkpoints/s/x/0000000004/0000000005/keys-000000.part",
            "checkpoints/s/3/0000000004/0000000005/keys-000000.partial",
            "checkpoints/s/3/0000000004/keys-000000.part",
            "log/s/3/0000000004/0000000005/keys-000000.part",
            "",
        ] {
            assert_eq!(ObjectName::read(name), None, "{name}");
        }
    }

    #[test]
    fn long_names_stay_apart_and_short_enough() {
        let (one, other) = (encoded(&("É".repeat(200) + "1")), encoded(&("É".repeat(200) + "2")));
        assert_ne!(one, other);
        assert!(one.len() <= ENCODED_BYTES_MAX && other.len() <= ENCODED_BYTES_MAX);
        assert_eq!(encoded(&"a".repeat(ENCODED_BYTES_MAX)), "a".repeat(ENCODED_BYTES_MAX));
    }
}
