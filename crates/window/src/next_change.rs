//! When time alone changes what a frame holds: an event leaves it, one that lies ahead comes into it, a bucket of the calendar ends.
//!
//! ```text
//!   as of t          ├─── preceding ───┤
//!   events       ▪  ▪ ▪      ▪       ▪ t        ▪
//!                     └ leaves first             └ comes in
//! ```

use crate::events::Events;
use crate::exclusion::Exclusion;
use crate::frame::{Extent, Frame, Near, first_after, first_from};

impl Frame {
    /// The first instant behind `t_us` as of which the frame may hold other events than as of `t_us`, if no event comes or goes
    /// until then; `None`: it never does.
    pub(crate) fn next_change_us<E: Events>(&self, events: &E, t_us: i64) -> Option<i64> {
        let run = self.bounds(events, t_us, None, Near::to(&(events.len()..events.len())));
        let ahead_us = |from_us: i64| {
            let next = first_after(events, from_us, events.len());
            (next < events.len()).then(|| events.time_us(next))
        };
        let (leaves_us, comes_us) = match self.extent {
            Extent::Range { preceding_us, lag_us } => {
                let leaves = |preceding_us: i64| events.time_us(run.start).checked_add(preceding_us)?.checked_add(1);
                let leaves_us = preceding_us.filter(|_| !run.is_empty()).and_then(leaves);
                (leaves_us, ahead_us(t_us.saturating_sub(lag_us)).and_then(|time_us| time_us.checked_add(lag_us)))
            }
            Extent::Rows { .. } => (None, ahead_us(t_us)),
            Extent::Group { .. } => (t_us.checked_add(1), None),
        };
        let bucket_us = self.calendar.filter(|_| !run.is_empty()).and_then(|calendar| calendar.bucket_end_us(t_us));
        let peers_us = match self.exclusion {
            Exclusion::Group if first_from(events, t_us, events.len()) < first_after(events, t_us, events.len()) => {
                t_us.checked_add(1)
            }
            Exclusion::NoOthers | Exclusion::CurrentRow | Exclusion::Group => None,
        };
        [leaves_us, comes_us, bucket_us, peers_us].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::tests::{Times, frame, instant, model, times};
    use proptest::prelude::*;

    /// Instants at which a frame over these events may change, and those beside them.
    fn candidates(frame: Frame, times: &[i64], t_us: i64) -> Vec<i64> {
        let (preceding_us, lag_us) = match frame.extent {
            Extent::Range { preceding_us, lag_us } => (preceding_us.unwrap_or(0), lag_us),
            _ => (0, 0),
        };
        let of_events = times.iter().flat_map(|time| [*time, time + preceding_us, time + lag_us]);
        let ends = frame.calendar.and_then(|calendar| calendar.bucket_end_us(t_us));
        let instants = of_events.chain(ends).chain([t_us]).flat_map(|instant| [instant - 1, instant, instant + 1]);
        instants.filter(|instant| *instant > t_us).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn nothing_changes_before_it((frame, times) in (frame(), times()), t_us in instant()) {
            let next_us = frame.next_change_us(&Times(times.clone()), t_us);
            prop_assert!(next_us.is_none_or(|next_us| next_us > t_us));
            let now = model(frame, &times, t_us, None);
            for instant in candidates(frame, &times, t_us) {
                if next_us.is_none_or(|next_us| instant < next_us) {
                    prop_assert_eq!(&model(frame, &times, instant, None), &now, "{:?} as of {} and {}", frame, t_us, instant);
                }
            }
            let is_plain = frame.calendar.is_none() && frame.exclusion == Exclusion::NoOthers;
            if let Some(next_us) = next_us.filter(|_| is_plain) {
                prop_assert_ne!(model(frame, &times, next_us, None), now, "{:?} as of {} and {}", frame, t_us, next_us);
            }
        }
    }
}
