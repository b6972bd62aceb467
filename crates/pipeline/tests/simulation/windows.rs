//! Group windows in the plainest reading: the windows of every event are written down, and looked through.

use crate::event::Event;

/// How a group window is cut.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// With a slide of its size it is TUMBLE.
    Hop {
        slide_us: i64,
        size_us: i64,
    },
    Cumulate {
        step_us: i64,
        size_us: i64,
    },
    Session {
        gap_us: i64,
    },
}

/// An entity's events in two windows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Windows<'a> {
    pub(crate) open: Vec<&'a Event>,
    pub(crate) last_closed: Option<Vec<&'a Event>>,
}

impl Shape {
    /// The windows as of an instant of an entity with these events: all up to the instant, by event time.
    pub(crate) fn windows<'a>(self, events: &[&'a Event], as_of_us: i64) -> Windows<'a> {
        match self {
            Shape::Session { gap_us } => sessions(gap_us, events, as_of_us),
            _ => self.windows_of_clock(events, as_of_us),
        }
    }

    fn windows_of_clock<'a>(self, events: &[&'a Event], as_of_us: i64) -> Windows<'a> {
        let between = |(start_us, end_us): (i64, i64)| -> Vec<&'a Event> {
            events.iter().filter(|event| (start_us..end_us).contains(&event.time_us)).copied().collect()
        };
        let open = self.around(as_of_us).into_iter().min_by_key(|(_, end_us)| *end_us);
        let all = events.iter().flat_map(|event| self.around(event.time_us));
        let last_closed = all.filter(|(_, end_us)| *end_us <= as_of_us).max_by_key(|(_, end_us)| *end_us);
        Windows { open: between(open.expect("the clock is always in a window")), last_closed: last_closed.map(between) }
    }

    /// Start and end of each window that an instant is in.
    fn around(self, instant_us: i64) -> Vec<(i64, i64)> {
        match self {
            Shape::Hop { slide_us, size_us } => {
                let newest_us = instant_us.div_euclid(slide_us) * slide_us;
                let starts = (0..).map(|slides| newest_us - slides * slide_us);
                starts.take_while(|start_us| start_us + size_us > instant_us).map(|us| (us, us + size_us)).collect()
            }
            Shape::Cumulate { step_us, size_us } => {
                let start_us = instant_us.div_euclid(size_us) * size_us;
                let ends = (1..=size_us / step_us).map(|steps| start_us + steps * step_us);
                ends.filter(|end_us| *end_us > instant_us).map(|end_us| (start_us, end_us)).collect()
            }
            Shape::Session { .. } => unreachable!("sessions are made by events"),
        }
    }
}

fn sessions<'a>(gap_us: i64, events: &[&'a Event], as_of_us: i64) -> Windows<'a> {
    let sessions: Vec<&[&Event]> = events.chunk_by(|one, next| next.time_us - one.time_us <= gap_us).collect();
    let is_open = |session: &&&[&Event]| session.last().is_some_and(|newest| as_of_us - newest.time_us <= gap_us);
    Windows {
        open: sessions.last().filter(is_open).map_or(Vec::new(), |session| session.to_vec()),
        last_closed: sessions.iter().rfind(|session| !is_open(session)).map(|session| session.to_vec()),
    }
}
