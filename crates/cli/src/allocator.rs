//! The allocator, and how long it keeps memory that was freed.

use std::ffi::c_long;

/// Threads allocate and free batches all the time; mimalloc halves what that costs beside the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Its option `purge_delay` (`enum mi_option_e` of mimalloc.h, in versions 2 and 3), for which the bindings have no name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// From one checkpoint to the next.
const KEPT_MS: c_long = 60_000;

/// Keeps freed memory for the next one who needs it. A new page is zeroed, two megabytes at a time, while the thread that
/// touched it waits: a checkpoint that got all its memory anew made the writer late. `MIMALLOC_PURGE_DELAY` goes before.
#[allow(unsafe_code, reason = "sets a number of the allocator's before any other thread is there")]
pub(crate) fn keep_freed() {
    // SAFETY: takes no pointer; an option of another number would be set to 60,000, and none is read without a check.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, KEPT_MS) }
}
