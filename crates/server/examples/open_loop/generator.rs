//! The loop: sends what is due, waits, reads what is answered.
//!
//! A request is in one of three places: not yet due or waiting for a connection (`next` and above), in flight (its
//! connection is not in `idle`), or counted in the tally.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};

use crate::Result;
use crate::alarm::{Alarm, SPIN_NS};
use crate::connection::{Answer, Connection};
use crate::options::Options;
use crate::requests::Requests;
use crate::tally::Tally;

/// How long answers are waited for after the last request was due.
const GRACE_NS: u64 = 5_000_000_000;
/// The longest wait without looking at the clock.
const POLL_MAX: Duration = Duration::from_millis(100);
/// What the alarm wakes the poll with; the connections have theirs from 0 on.
const ALARM: Token = Token(usize::MAX);

/// Sends what is due and reads what is answered, until all is answered or the grace period has ended.
pub(crate) struct Generator<'a> {
    // Fixed after construction.
    options: &'a Options,
    start: Instant,
    /// How many the schedule holds; without one, no bound.
    total: u64,
    // Changing.
    requests: Requests,
    poll: Poll,
    connections: Vec<Connection>,
    /// Connections without a request in flight, longest idle first.
    idle: VecDeque<usize>,
    /// The number of the next request.
    next: u64,
    tally: Tally,
}

impl<'a> Generator<'a> {
    pub(crate) fn new(options: &'a Options, requests: Requests) -> Result<Generator<'a>> {
        let poll = Poll::new()?;
        let connections: Vec<_> =
            (0..options.connections).map(|at| Connection::open(options.address, at, &poll)).collect::<Result<_>>()?;
        let total = options.interval_ns().map_or(u64::MAX, |interval| (options.end_ns() as f64 / interval) as u64);
        let idle = (0..connections.len()).collect();
        let tally = Tally::between(options.warm_up_ns, options.end_ns());
        Ok(Generator { options, requests, start: Instant::now(), total, poll, connections, idle, next: 0, tally })
    }

    pub(crate) fn run(mut self) -> Result<Tally> {
        let alarm = Alarm::new(self.options.interval_ns());
        let waker = Waker::new(self.poll.registry(), ALARM)?;
        self.start = Instant::now();
        let start = self.start;
        std::thread::scope(|scope| {
            scope.spawn(|| alarm.ring(start, &waker));
            let outcome = self.generate(self.options.rate.is_none() || alarm.is_needed());
            alarm.silence();
            outcome
        })?;
        let now_ns = self.now_ns();
        self.count_unanswered(now_ns);
        Ok(self.tally)
    }

    /// `is_woken`: somebody wakes the poll in time for the next request, so that it may block until then.
    fn generate(&mut self, is_woken: bool) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        while !self.is_done() {
            self.send_due()?;
            self.wait(&mut events, is_woken)?;
            for event in &events {
                if event.token() != ALARM {
                    self.progress(event.token().0, event.is_error() || event.is_read_closed())?;
                }
            }
        }
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn due_ns(&self, request: u64) -> u64 {
        self.options.interval_ns().map_or(0, |interval| (request as f64 * interval) as u64)
    }

    /// Whether no request is left to send.
    fn is_sent(&self, now_ns: u64) -> bool {
        self.next == self.total || (self.options.rate.is_none() && now_ns >= self.options.end_ns())
    }

    fn is_done(&self) -> bool {
        let now_ns = self.now_ns();
        let is_answered = self.is_sent(now_ns) && self.idle.len() == self.connections.len();
        is_answered || now_ns > self.options.end_ns() + GRACE_NS
    }

    fn send_due(&mut self) -> Result<()> {
        let mut now_ns = self.now_ns();
        while !self.is_sent(now_ns) && self.due_ns(self.next) <= now_ns {
            let Some(at) = self.idle.pop_front() else { return Ok(()) };
            let due_ns = if self.options.rate.is_some() { self.due_ns(self.next) } else { now_ns };
            let request = self.requests.prepare(self.next, at);
            self.next += 1;
            self.tally.count_sent(due_ns, now_ns);
            self.connections[at].ask(request, due_ns);
            self.progress(at, false)?;
            now_ns = self.now_ns();
        }
        Ok(())
    }

    /// Waits for answers, at most until the next request is due.
    fn wait(&mut self, events: &mut Events, is_woken: bool) -> Result<()> {
        let now_ns = self.now_ns();
        let is_blocked = self.idle.is_empty() || self.is_sent(now_ns);
        let is_near = !is_woken || self.due_ns(self.next) < now_ns + SPIN_NS;
        let timeout = if is_near && !is_blocked { Duration::ZERO } else { POLL_MAX };
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ if events.is_empty() && timeout.is_zero() => std::thread::yield_now(),
            _ => {}
        }
        Ok(())
    }

    /// Goes on with one connection: writes the rest of its request, reads what is there of its answer.
    fn progress(&mut self, at: usize, is_hung_up: bool) -> Result<()> {
        let connection = &mut self.connections[at];
        let Some(asked) = connection.asked() else {
            return if is_hung_up { self.reopen(at) } else { Ok(()) };
        };
        let due_ns = asked.due_ns;
        match connection.advance(self.requests.bytes(asked.request)) {
            Ok(None) => Ok(()),
            Ok(Some(answer)) => {
                self.count_answer(at, &answer, due_ns);
                if answer.is_last || is_hung_up { self.reopen(at) } else { self.release(at) }
            }
            Err(error) => {
                self.tally.count_broken(due_ns, &error);
                self.reopen(at)
            }
        }
    }

    fn count_answer(&mut self, at: usize, answer: &Answer, due_ns: u64) {
        let now_ns = self.now_ns();
        let body = self.connections[at].body(answer);
        self.tally.count_answer(answer, body, due_ns, now_ns);
        if let (Some(stream), true) = (&self.options.position_of, answer.status == 200) {
            self.tally.count_position(body, stream, now_ns);
        }
    }

    fn release(&mut self, at: usize) -> Result<()> {
        self.connections[at].rest();
        self.idle.push_back(at);
        Ok(())
    }

    /// A new connection in the place of one that ended.
    fn reopen(&mut self, at: usize) -> Result<()> {
        let was_idle = self.connections[at].asked().is_none();
        self.connections[at] = Connection::open(self.options.address, at, &self.poll)?;
        if !was_idle {
            self.idle.push_back(at);
        }
        Ok(())
    }

    fn count_unanswered(&mut self, now_ns: u64) {
        let in_flight = self.connections.iter().filter_map(Connection::asked);
        for asked in in_flight {
            self.tally.count_unanswered(asked.due_ns, now_ns);
        }
        while self.options.rate.is_some() && self.next < self.total {
            self.tally.count_unanswered(self.due_ns(self.next), now_ns);
            self.next += 1;
        }
    }
}
