//! `<data>/key-secret`: what the primary keys of a data folder are hashed with, drawn once and never changed.
//!
//! ```text
//!   byte 0  magic `asof-sec`   8
//!        8  format version     4
//!       12  zero               4
//!       16  the secret       192
//!      208  XXH3-64 of all before
//!
//!   there ─────────────────────────────────▶ read: whatever is wrong with it is an error
//!   not there, and no checkpoint either ───▶ drawn, durable before the first log or checkpoint is
//!   not there beside checkpoints ──────────▶ none: keys are hashed as before there were secrets
//! ```
//! Stored hashes lie in runs of keys, which checkpoints alone name: where there is no checkpoint, all keys come from the log,
//! under any secret. Beside checkpoints, a missing file means a data folder of before, or a lost file. Each checkpoint tells:
//! it carries a print of the secret of its hashes (`restore.rs`), and one that does not fit is an error too.
//!
//! Why an error, and not keys that are found again in the log under another secret: the log may keep less than
//! `dedup_horizon` asks for, and then a payment that is sent again would count twice with no more than a warning. The file is
//! small and never changes, so that a copy of the data folder has it.

use std::io::ErrorKind;
use std::path::Path;

use asof_disk::{Disk, SyncSite, read_whole, write_whole};
use asof_feature::{KEY_SECRET_BYTES, KeySecret};
use asof_log::{Claim, LogError};
use asof_state::CheckpointStore;
use twox_hash::XxHash3_64;

use crate::error::PipelineError;

const FILE: &str = "key-secret";
const MAGIC: &[u8; 8] = b"asof-sec";
const VERSION: u32 = 1;
const SECRET_AT: usize = 16;
const CHECKSUM_AT: usize = SECRET_AT + KEY_SECRET_BYTES;
const FILE_BYTES: usize = CHECKSUM_AT + 8;
/// The secret itself, before anything is hashed with it.
const SITE: SyncSite = SyncSite("key.secret");

/// Fills bytes by chance.
pub type Draw<'d> = &'d mut dyn FnMut(&mut [u8]) -> std::io::Result<()>;

/// The secret of a data folder that was claimed; `None` for one of before there were any. `draw` makes that of a new one.
pub(crate) fn key_secret(
    disk: &dyn Disk,
    folder: &Path,
    claim: &Claim,
    checkpoints: &CheckpointStore,
    draw: Draw<'_>,
) -> Result<Option<KeySecret>, PipelineError> {
    // Another writer that takes over at this moment must not draw another one.
    let _held = claim.hold()?;
    if let Some(secret) = read(disk, folder)? {
        return Ok(Some(secret));
    }
    if !checkpoints.is_empty()? {
        // Of before there were secrets, or lost: whoever reads the checkpoints tells.
        return Ok(None);
    }
    let mut secret = [0; KEY_SECRET_BYTES];
    let path = folder.join(FILE);
    let failed = |source| LogError::Io { path: path.clone(), source };
    draw(&mut secret).map_err(failed)?;
    write_whole(disk, &path, &encode(&secret), SITE).map_err(failed)?;
    Ok(Some(KeySecret::new(secret)))
}

/// The error where checkpoints were written with another secret than `own`.
pub(crate) fn not_that_of_checkpoints(folder: &Path, own: Option<&KeySecret>) -> PipelineError {
    let detail = match own {
        None => "it is not there, and the checkpoints were written with one",
        Some(_) => "the checkpoints were written with another one",
    };
    unusable(&folder.join(FILE), detail)
}

/// The secret of a data folder that somebody else may have; `None` where there is none.
pub(crate) fn read(disk: &dyn Disk, folder: &Path) -> Result<Option<KeySecret>, PipelineError> {
    let path = folder.join(FILE);
    match read_whole(disk, &path, FILE_BYTES as u64) {
        Ok(bytes) => decode(&bytes).map(Some).map_err(|detail| unusable(&path, &detail)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == ErrorKind::InvalidData => Err(unusable(&path, &error.to_string())),
        Err(source) => Err(LogError::Io { path, source }.into()),
    }
}

fn encode(secret: &[u8; KEY_SECRET_BYTES]) -> Vec<u8> {
    let mut out = Vec::with_capacity(FILE_BYTES);
    out.extend(MAGIC);
    out.extend(VERSION.to_le_bytes());
    out.extend([0; 4]);
    out.extend(secret);
    out.extend(XxHash3_64::oneshot(&out).to_le_bytes());
    out
}

fn decode(bytes: &[u8]) -> Result<KeySecret, String> {
    let damaged = || "it is damaged: it does not match its checksum".to_owned();
    let (fields, checksum) = bytes.split_last_chunk().filter(|_| bytes.len() == FILE_BYTES).ok_or_else(damaged)?;
    if !fields.starts_with(MAGIC) || XxHash3_64::oneshot(fields) != u64::from_le_bytes(*checksum) {
        return Err(damaged());
    }
    let (version, secret) = fields[MAGIC.len()..].split_first_chunk().ok_or_else(damaged)?;
    match u32::from_le_bytes(*version) {
        VERSION => secret.last_chunk().map(|secret| KeySecret::new(*secret)).ok_or_else(damaged),
        found => Err(format!("it has format version {found}, and this program reads version {VERSION}")),
    }
}

fn unusable(path: &Path, detail: &str) -> PipelineError {
    PipelineError::KeySecret { path: path.to_owned(), detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secret() -> [u8; KEY_SECRET_BYTES] {
        std::array::from_fn(|place| place as u8)
    }

    #[test]
    fn what_is_written_is_read_and_damage_is_not() {
        let bytes = encode(&secret());
        assert_eq!(bytes.len(), FILE_BYTES);
        assert_eq!(decode(&bytes), Ok(KeySecret::new(secret())));
        for place in 0..FILE_BYTES {
            let mut bytes = bytes.clone();
            bytes[place] ^= 1;
            assert!(decode(&bytes).is_err_and(|detail| detail.contains("damaged")), "byte {place}");
            assert!(decode(&bytes[..place]).is_err(), "{place} bytes");
        }
        let mut later = bytes[..CHECKSUM_AT].to_vec();
        later[8] = 2;
        later.extend(XxHash3_64::oneshot(&later).to_le_bytes());
        assert_eq!(decode(&later), Err("it has format version 2, and this program reads version 1".to_owned()));
    }

    proptest! {
        #[test]
        fn any_secret_is_read_back(secret in proptest::collection::vec(any::<u8>(), KEY_SECRET_BYTES)) {
            let secret: [u8; KEY_SECRET_BYTES] = secret.try_into().expect("it is as long as asked for");
            prop_assert_eq!(decode(&encode(&secret)), Ok(KeySecret::new(secret)));
        }

        #[test]
        fn any_bytes_give_a_secret_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(decode(&bytes).is_err());
        }
    }
}
