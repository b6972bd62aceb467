//! Each sync is there because something is lost without it.

use std::collections::BTreeSet;

use asof_disk::SyncSite;
use asof_disk::simulated::Synced;

use crate::run;

const SEEDS_MAX: u64 = 3_000;

macro_rules! without {
    ($($name:ident: $site:literal, $synced:ident;)*) => {
        const TESTED: &[(SyncSite, Synced)] = &[$((SyncSite($site), Synced::$synced)),*];
        $(
            #[test]
            fn $name() {
                check(SyncSite($site), Synced::$synced);
            }
        )*
    };
}

fn check(site: SyncSite, synced: Synced) {
    let violation =
        (0..SEEDS_MAX).find_map(|seed| run(seed, Some((site, synced)), false).violation.map(|what| (seed, what)));
    let (seed, what) = violation.unwrap_or_else(|| panic!("{site:?} of {synced:?} was left out, and nothing was lost"));
    println!("{site:?} of {synced:?}: seed {seed}: {what}");
}

without! {
    without_claim_generation: "claim.generation", File;
    without_claim_generation_name: "claim.generation", Folder;
    without_history_drop: "history.drop", Folder;
    without_history_file: "history.file", File;
    without_key_secret: "key.secret", File;
    without_keys_folder: "keys.folder", Folder;
    without_keys_name: "keys.name", Folder;
    without_keys_run: "keys.run", File;
    without_log_drop: "log.drop", Folder;
    without_log_folder: "log.folder", Folder;
    without_log_group: "log.group", File;
    without_log_found: "log.found", File;
    without_log_seal: "log.seal", File;
    without_log_segment_entry: "log.segment.entry", Folder;
    without_store_folder: "store.folder", Folder;
    without_store_object: "store.object", File;
    without_store_object_name: "store.object", Folder;
}

/// Syncs whose absence this world cannot feel.
const ELSEWHERE: &[(SyncSite, Synced)] = &[
    // The first log's own folder brings the data folder's name with it. Who only claims the folder loses the generation: the
    // tests of the log crate show it.
    (SyncSite("claim.folder"), Synced::Folder),
    // Whatever is hashed with the secret comes to lie in a folder that is made after it and brings the name of its file with it.
    (SyncSite("key.secret"), Synced::Folder),
    // An overtaken segment that comes back does harm only when the one that overtook it was dropped since: the same tests.
    (SyncSite("log.overtaken"), Synced::Folder),
    // A file of the history whose name is lost is written anew, since its segments are there as long as it is.
    (SyncSite("history.folder"), Synced::Folder),
    (SyncSite("history.file"), Synced::Folder),
];

#[test]
fn every_sync_has_its_test() {
    let seen: BTreeSet<_> = (0..400).flat_map(|seed| run(seed, None, false).syncs).collect();
    assert_eq!(seen, TESTED.iter().chain(ELSEWHERE).copied().collect());
}
