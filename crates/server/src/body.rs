//! The body of a request in memory: bounded for itself and together with all others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::BodyExt;
use hyper::body::{Body as _, Bytes, Incoming};

use crate::limits::Limits;
use crate::problem::{Kind, Problem};

/// How much the bodies in memory take together, and may.
#[derive(Debug)]
pub(crate) struct Bodies {
    body_bytes_max: usize,
    all_bytes_max: usize,
    held_bytes: AtomicUsize,
}

/// One body, whole.
#[derive(Debug)]
pub(crate) struct HeldBody {
    pub(crate) bytes: Bytes,
    _share: Share,
}

/// A body's share of the memory for bodies, given back when it goes.
#[derive(Debug)]
struct Share {
    bodies: Arc<Bodies>,
    bytes: usize,
}

impl Share {
    fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        self.bytes += bytes;
        let before = self.bodies.held_bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.bytes > self.bodies.body_bytes_max {
            return Err(self.bodies.too_large());
        }
        if before + bytes > self.bodies.all_bytes_max {
            let problem = Problem::new(Kind::TooMany, "the bodies of the requests in flight take too much memory");
            return Err(problem.hint("come again in a second, or send smaller requests").closing());
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.bodies.held_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Bodies {
    pub(crate) fn new(limits: &Limits) -> Bodies {
        let (body_bytes_max, all_bytes_max) = (limits.body_bytes_max, limits.bodies_bytes_max());
        Bodies { body_bytes_max, all_bytes_max, held_bytes: AtomicUsize::new(0) }
    }

    /// Waits for the whole body. One that says beforehand that it is too large is not waited for.
    pub(crate) async fn collect(self: &Arc<Bodies>, mut body: Incoming) -> Result<HeldBody, Problem> {
        if body.size_hint().lower() > self.body_bytes_max as u64 {
            return Err(self.too_large());
        }
        let mut share = Share { bodies: self.clone(), bytes: 0 };
        let mut first = Bytes::new();
        let mut whole = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Problem::invalid("the body ends before its end").closing())?;
            let Ok(piece) = frame.into_data() else { continue };
            share.grow(piece.len())?;
            if share.bytes == piece.len() {
                first = piece;
                continue;
            }
            whole.extend_from_slice(&std::mem::take(&mut first));
            whole.extend_from_slice(&piece);
        }
        let bytes = if whole.is_empty() { first } else { whole.into() };
        Ok(HeldBody { bytes, _share: share })
    }

    fn too_large(&self) -> Problem {
        Problem::new(Kind::TooLarge, format!("the body is larger than {} bytes", self.body_bytes_max))
            .hint("send several requests, or raise `body_max` in [server] of asof.toml")
            .closing()
    }
}
