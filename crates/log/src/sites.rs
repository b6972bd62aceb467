//! The places where this crate syncs. Each is there because something is lost without it; `tests/durability/sync_sites.rs` shows what.

use asof_disk::SyncSite;

/// The data folder's own name.
pub(crate) const CLAIM_FOLDER: SyncSite = SyncSite("claim.folder");
/// The number of the generation: without it two writers could have the same.
pub(crate) const GENERATION: SyncSite = SyncSite("claim.generation");
/// The partition's folder.
pub(crate) const FOLDER: SyncSite = SyncSite("log.folder");
/// The name of a new segment, before anything in it is acknowledged.
pub(crate) const ENTRY: SyncSite = SyncSite("log.segment.entry");
/// The frames of a group, before they are acknowledged.
pub(crate) const GROUP: SyncSite = SyncSite("log.group");
/// The frames of a segment that ends, before there is a next one.
pub(crate) const SEAL: SyncSite = SyncSite("log.seal");
/// What was found at opening, before anybody builds on it.
pub(crate) const FOUND: SyncSite = SyncSite("log.found");
/// The removal of an old segment, before the next newer one is removed: a gap would be damage.
pub(crate) const DROP: SyncSite = SyncSite("log.drop");
/// The removal of segments that were overtaken, before one that overtook them is removed: they would be the log again.
pub(crate) const OVERTAKEN: SyncSite = SyncSite("log.overtaken");

/// All sync sites of this crate.
pub const SYNC_SITES: [SyncSite; 9] = [CLAIM_FOLDER, GENERATION, FOLDER, ENTRY, GROUP, SEAL, FOUND, DROP, OVERTAKEN];
