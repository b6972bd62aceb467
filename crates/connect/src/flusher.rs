//! Brings a growing file to disk while more of it is being computed, so that the last sync finds little left to do.
//!
//! One thread, begun when the file has become large, joined when the writer ends. It is woken, not queued: while it syncs,
//! further wishes are dropped, for the next sync takes all that is there.

use std::fs::File;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Rows between two wishes: some tens of megabytes.
const ROWS_BETWEEN: u64 = 1 << 19;

/// The flusher of one file.
#[derive(Debug)]
pub(crate) struct Flusher {
    file: File,
    rows: AtomicU64,
    worker: OnceLock<Worker>,
}

#[derive(Debug)]
struct Worker {
    wake: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Flusher {
    pub(crate) fn new(file: &File) -> io::Result<Flusher> {
        Ok(Flusher { file: file.try_clone()?, rows: AtomicU64::new(0), worker: OnceLock::new() })
    }

    /// Told that rows were appended.
    pub(crate) fn appended(&self, rows: usize) -> io::Result<()> {
        let rows = rows as u64;
        if self.rows.fetch_add(rows, Ordering::Relaxed) + rows < ROWS_BETWEEN {
            return Ok(());
        }
        self.rows.store(0, Ordering::Relaxed);
        if self.worker.get().is_none() {
            // Where two threads come here at once, the worker that loses ends with its channel.
            let _lost = self.worker.set(Worker::begin(self.file.try_clone()?)).is_err();
        }
        if let Some(worker) = self.worker.get() {
            // Full: a sync is under way, and one is wished for already.
            let _busy = worker.wake.try_send(()).is_err();
        }
        Ok(())
    }

    /// Waits for the worker; an error of any of its syncs is an error of the file.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let Some(Worker { wake, thread }) = self.worker.take() else { return Ok(()) };
        drop(wake);
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that syncs the file panicked")))
    }
}

impl Worker {
    fn begin(file: File) -> Worker {
        let (wake, wishes) = sync_channel(1);
        let thread = std::thread::spawn(move || {
            while wishes.recv().is_ok() {
                file.sync_data()?;
            }
            Ok(())
        });
        Worker { wake, thread }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        // Whoever drops without finishing throws the file away, and with it what became of its syncs.
        self.finish().unwrap_or_default();
    }
}
