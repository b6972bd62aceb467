//! One input as several files: all but the last begin with their length, two bytes, little-endian.

use std::path::Path;

use asof_disk::simulated::SimulatedDisk;
use asof_disk::{Disk, SyncSite};

const SITE: SyncSite = SyncSite("fuzz");

/// The pieces of an input. One that claims to be longer than what is left gets all that is left.
pub fn cut<const PIECES: usize>(mut bytes: &[u8]) -> [&[u8]; PIECES] {
    let mut pieces = [&bytes[..0]; PIECES];
    let last = PIECES - 1;
    for piece in &mut pieces[..last] {
        let Some((length, rest)) = bytes.split_first_chunk() else { break };
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        (*piece, bytes) = rest.split_at(length);
    }
    pieces[last] = bytes;
    pieces
}

/// The input that is cut into these pieces.
///
/// # Panics
/// If a piece before the last is longer than 64 KiB.
pub fn joined(pieces: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (place, piece) in pieces.iter().enumerate() {
        if place + 1 < pieces.len() {
            let length = u16::try_from(piece.len()).expect("pieces of seeds are short");
            bytes.extend(length.to_le_bytes());
        }
        bytes.extend(*piece);
    }
    bytes
}

/// A disk that holds these files and no others.
///
/// # Panics
/// If two have one path.
pub fn disk_of(files: &[(&str, &[u8])]) -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    for (path, bytes) in files {
        let path = Path::new(path);
        disk.make_folder(path.parent().expect("a file is in a folder"), SITE).expect("the disk has room");
        let file = disk.create(path).expect("each path is there once");
        file.write_at(0, bytes).expect("the disk has room");
    }
    disk
}
