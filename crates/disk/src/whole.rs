//! Small files written and read as a whole: a reader sees the old bytes or the new ones, never a part.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Disk, SyncSite};

/// So much is handed to the device at a time: a sync of the log that comes meanwhile waits for no more than this.
const PIECE_BYTES: usize = 1 << 20;

/// Reads a file of at most `bytes_max` bytes. A longer one is `InvalidData`.
pub fn read_whole(disk: &dyn Disk, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let length = file.bytes()?;
    if length > bytes_max {
        let text = format!("`{}` has {length} bytes, at most {bytes_max} were expected", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut bytes = vec![0; length as usize];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Puts `bytes` at `path`, atomically and durably: into a file beside it, which is synced and then takes the name, which is
/// synced too. Both syncs have the same site. One writer per path: the file beside it, `NAME.new`, is overwritten.
pub fn write_whole(disk: &dyn Disk, path: &Path, bytes: &[u8], site: SyncSite) -> io::Result<()> {
    write_parts(disk, path, &[bytes], site)
}

/// The same of bytes that lie in several places, one after the other.
pub fn write_parts(disk: &dyn Disk, path: &Path, parts: &[&[u8]], site: SyncSite) -> io::Result<()> {
    let beside = name_beside(path);
    match disk.remove(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _removed_or_never_there => {}
    }
    let file = disk.create(&beside)?;
    let (mut written, mut synced) = (0, 0);
    for piece in parts.iter().flat_map(|part| part.chunks(PIECE_BYTES)) {
        if written - synced >= PIECE_BYTES {
            file.sync(site)?;
            synced = written;
        }
        file.write_at(written as u64, piece)?;
        written += piece.len();
    }
    file.sync(site)?;
    disk.rename(&beside, path)?;
    disk.sync_folder(path.parent().unwrap_or(Path::new("")), site)
}

fn name_beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(".new");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::SimulatedDisk;

    const SITE: SyncSite = SyncSite("test.whole");

    /// At every crash point, and whatever the device kept, the file is the old one or the new one, and the new one for good
    /// once the call returned.
    #[test]
    fn a_crash_leaves_the_old_or_the_new_bytes() {
        let (mut old, mut new) = (0, 0);
        for seed in 0..300 {
            for point in 0..6 {
                let disk = SimulatedDisk::new(seed);
                write_whole(&disk, Path::new("/file"), &[1; 2000], SITE).unwrap();
                disk.crash_at(disk.operations() + point);
                let written = write_whole(&disk, Path::new("/file"), &[2; 3000], SITE);
                disk.crash();
                let bytes = read_whole(&disk, Path::new("/file"), 10_000).unwrap();
                assert!(bytes == [1; 2000] || bytes == [2; 3000], "seed {seed}, crash at {point}");
                assert!(written.is_err() || bytes == [2; 3000], "seed {seed}: written, and lost");
                if bytes[0] == 1 { old += 1 } else { new += 1 }
            }
        }
        assert!(old > 100 && new > 100, "both must happen: {old} old, {new} new");
    }

    #[test]
    fn a_file_that_is_too_long_is_refused() {
        let disk = SimulatedDisk::new(1);
        write_whole(&disk, Path::new("/file"), &[7; 11], SITE).unwrap();
        let refused = read_whole(&disk, Path::new("/file"), 10).unwrap_err();
        assert_eq!(refused.to_string(), "`/file` has 11 bytes, at most 10 were expected");
        assert_eq!(read_whole(&disk, Path::new("/file"), 11).unwrap(), [7; 11]);
    }
}
