//! The body of a request in memory: bounded for itself and together with all others.

use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::{Body as _, Bytes, Incoming};

use crate::limits::Limits;
use crate::problem::{Kind, Problem};
use crate::room::{Room, Share};

/// How large bodies may be.
#[derive(Debug)]
pub(crate) struct Bodies {
    body_bytes_max: usize,
    room: Arc<Room>,
}

/// One body, whole.
#[derive(Debug)]
pub(crate) struct HeldBody {
    pub(crate) bytes: Bytes,
    _share: Share,
}

impl Bodies {
    pub(crate) fn new(limits: &Limits) -> Bodies {
        let room = Room::new("the bodies of the requests in flight", limits.shared_bytes_max());
        Bodies { body_bytes_max: limits.body_bytes_max, room }
    }

    /// Waits for the whole body. One that says beforehand that it is too large is not waited for.
    pub(crate) async fn collect(&self, mut body: Incoming) -> Result<HeldBody, Problem> {
        if body.size_hint().lower() > self.body_bytes_max as u64 {
            return Err(self.too_large());
        }
        let mut share = self.room.share();
        let (mut first, mut whole, mut received) = (Bytes::new(), Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Problem::invalid("the body ends before its end").closing())?;
            let Ok(piece) = frame.into_data() else { continue };
            received += piece.len();
            if received > self.body_bytes_max {
                return Err(self.too_large());
            }
            share.hold(received).map_err(Problem::closing)?;
            if received == piece.len() {
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
