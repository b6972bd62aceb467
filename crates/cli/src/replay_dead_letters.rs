//! `asof replay-dead-letters`: events that a stream has set aside, sent once more after its definition was mended.
//!
//! Letters go in the groups in which they came: of one arrival and one reason, however the command is asked and wherever a
//! page of the server ends. The group names its request, so that a command that is run again counts nothing twice. What is
//! set aside again is a new letter at the end of the log; those are left for the next time.
//! ```text
//!   pages of letters ─▶ [ arrival 1: check, check, late ][ arrival 2: check ] ─▶ check 1 │ late 1 │ check 2
//! ```

use asof_history::Progress;
use asof_pipeline::Stop;
use asof_server::path_segment;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::accounts::{counted, grouped};
use crate::arguments::ReplayDeadLettersArguments;
use crate::client::{Client, EventBatch};
use crate::event_sender::EventSender;
use crate::failure::Failure;
use crate::ingest::stream_object::StreamObject;
use crate::progress_bar::Bars;
use crate::tally::Tally;
use crate::{interrupt, told};

/// Letters of a page, and of one in which each has its 64 KiB, so that the page would be more than a client takes.
const PAGE_LETTERS: usize = 1_000;
const LONG_PAGE_LETTERS: usize = 100;
/// Events of a request, and their bytes.
const GROUP_EVENTS_MAX: usize = 1_000;
const GROUP_BYTES_MAX: usize = 4 << 20;
/// The reason of letters of a stream for which events came behind its watermark, and of letters that name a derived stream for
/// which they came behind a window's end.
const LATE: &str = "late";
const OTHER_BYTES_HINT: &str = "name the offset behind these events: --from OFFSET";

/// A page of dead letters.
#[derive(Debug, Deserialize)]
struct Page {
    dead_letters: Vec<Letter>,
    /// Where to go on; a page may be empty and not the last.
    next: Option<u64>,
}

/// An event that was set aside.
#[derive(Debug, Deserialize)]
struct Letter {
    partition: usize,
    offset: u64,
    /// The instant of its batch, which no other batch has.
    arrived: String,
    reason: String,
    /// The view or derived stream that it was set aside for, or whose window had closed; it is used elsewhere.
    view: Option<String>,
    /// As it was sent.
    event: String,
    event_is_cut: bool,
}

/// Letters of one arrival and one reason.
#[derive(Debug)]
struct Group {
    arrived: String,
    reason: String,
    offsets: Vec<u64>,
    body: Vec<u8>,
}

/// Letters that are not sent.
#[derive(Debug, Default, PartialEq, Eq)]
struct Skipped {
    cut: usize,
    of_view: usize,
    /// Used events that came when a window of a derived stream had closed.
    of_window: usize,
    /// What was sent in the middle of a JSON array and is no JSON itself.
    no_line: usize,
    /// In groups of which the oldest event comes too late for what joins and sessions hold.
    out_of_reach: usize,
}

/// The replay of one stream.
struct Replay<'a> {
    sender: EventSender<'a>,
    /// At most one of each reason, all of one arrival, in the order of their first letters.
    open: Vec<Group>,
    skipped: Skipped,
    /// What the server said of the first group that came too late.
    out_of_reach: Option<String>,
    tally: Tally,
}

/// Whether there is a reason to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Stopped,
}

pub(crate) fn run(arguments: &ReplayDeadLettersArguments) -> Result<(), Failure> {
    let client = Client::new(&arguments.url)?;
    let stream = StreamObject::ask(&client, &arguments.stream)?;
    let stop = interrupt::stop_on_interrupt()?;
    let bars = Bars::new();
    bars.step("replaying dead letters", 0);
    let mut replay = Replay::new(&client, &stop, &stream.name);
    let ended = replay.run(arguments, &stream);
    bars.finish();
    replay.tell(ended)
}

impl<'a> Replay<'a> {
    fn new(client: &'a Client, stop: &'a Stop, stream: &str) -> Replay<'a> {
        let path = format!("/v1/streams/{}/events?replayed=true", path_segment(stream));
        let sender = EventSender { client, stop, path, other_bytes_hint: OTHER_BYTES_HINT };
        let (open, skipped, tally) = (Vec::new(), Skipped::default(), Tally::default());
        Replay { sender, open, skipped, out_of_reach: None, tally }
    }

    /// Replays the letters that are there now.
    fn run(&mut self, arguments: &ReplayDeadLettersArguments, stream: &StreamObject) -> Result<Flow, Failure> {
        let mut from = Some(arguments.from);
        while let Some(offset) = from {
            if self.sender.stop.is_asked() {
                return Ok(Flow::Stopped);
            }
            let page = self.page(arguments, offset)?;
            for letter in page.dead_letters {
                let is_new = stream.position.get(letter.partition).is_none_or(|end| letter.offset >= *end);
                if !is_new && self.take(letter)? == Flow::Stopped {
                    return Ok(Flow::Stopped);
                }
            }
            from = page.next.filter(|next| stream.position.iter().any(|end| next < end));
        }
        self.send_open()
    }

    fn page(&self, arguments: &ReplayDeadLettersArguments, from: u64) -> Result<Page, Failure> {
        let name = path_segment(&arguments.stream);
        let reason = arguments.reason.as_ref().map(|reason| format!("&reason={}", path_segment(reason)));
        let query = format!("from={from}{}", reason.unwrap_or_default());
        let ask = |limit| self.sender.client.get(&format!("/v1/streams/{name}/dead-letters?{query}&limit={limit}"));
        let answer = match ask(PAGE_LETTERS) {
            Err(Failure::Outside { .. }) => ask(LONG_PAGE_LETTERS)?,
            answer => answer?,
        };
        serde_json::from_str(&answer).map_err(|error| {
            Failure::outside(format!("the server's answer is not understood: {error}; hint: is it of this release?"))
        })
    }

    /// Takes the next letter, and sends the groups that it ends.
    fn take(&mut self, letter: Letter) -> Result<Flow, Failure> {
        let has_ended = self.open.first().is_some_and(|group| group.arrived != letter.arrived);
        if has_ended && self.send_open()? == Flow::Stopped {
            return Ok(Flow::Stopped);
        }
        let Some(line) = self.skipped.line(&letter) else { return Ok(Flow::On) };
        let place = self.open.iter().position(|group| group.reason == letter.reason);
        let place = place.unwrap_or_else(|| {
            self.open.push(Group::new(&letter));
            self.open.len() - 1
        });
        let group = &mut self.open[place];
        let is_full = group.offsets.len() == GROUP_EVENTS_MAX || group.body.len() + line.len() > GROUP_BYTES_MAX;
        let full = (is_full && !group.offsets.is_empty()).then(|| std::mem::replace(group, Group::new(&letter)));
        self.open[place].offsets.push(letter.offset);
        self.open[place].body.extend_from_slice(&line);
        full.map_or(Ok(Flow::On), |group| self.send(group))
    }

    fn send_open(&mut self) -> Result<Flow, Failure> {
        for group in std::mem::take(&mut self.open) {
            if self.send(group)? == Flow::Stopped {
                return Ok(Flow::Stopped);
            }
        }
        Ok(Flow::On)
    }

    fn send(&mut self, group: Group) -> Result<Flow, Failure> {
        let batch = EventBatch { content_type: "application/x-ndjson", key: group.key(), body: group.body };
        match self.sender.send(&batch) {
            Ok(Some(receipt)) => self.tally.take(&receipt, &group.offsets),
            Ok(None) => return Ok(Flow::Stopped),
            // It stays as it is: those behind it are not to wait for it.
            Err(Failure::OutOfReach { message, .. }) => {
                self.skipped.out_of_reach += group.offsets.len();
                self.out_of_reach.get_or_insert(message);
            }
            Err(failure) => return Err(failure),
        }
        Ok(Flow::On)
    }

    /// Tells what became of the letters; an error where none counts, or not all were sent.
    fn tell(&self, ended: Result<Flow, Failure>) -> Result<(), Failure> {
        let (letters, tally) = (letters(self.tally.sent), &self.tally);
        if tally.sent == 0 && self.skipped.out_of_reach == 0 && matches!(ended, Ok(Flow::On)) {
            told::answer("no dead letters to replay");
        } else {
            told::answer(&format!("replayed {letters}: {}", tally.verdicts()));
        }
        for first in &tally.first {
            told::remark(&format!("    {} first at offset {}: {}", first.reason, first.number, first.detail));
        }
        self.skipped.words().iter().for_each(|line| told::remark(line));
        self.out_of_reach.iter().for_each(|said| told::remark(&format!("    first: {said}")));
        if tally.repeated > 0 {
            told::remark(&format!("{} of them had been replayed before and count once", grouped(tally.repeated)));
        }
        match ended? {
            Flow::Stopped => Err(Failure::outside(
                "stopped before the last dead letter; hint: run the same command again: nothing counts twice",
            )),
            Flow::On if tally.sent + self.skipped.out_of_reach as u64 > 0 && !tally.has_used() => {
                Err(Failure::input("no replayed event was used"))
            }
            Flow::On => Ok(()),
        }
    }
}

impl Group {
    fn new(first: &Letter) -> Group {
        let (arrived, reason) = (first.arrived.clone(), first.reason.clone());
        Group { arrived, reason, offsets: Vec::new(), body: Vec::new() }
    }

    /// Names the group in its stream: the letters between two offsets never change.
    fn key(&self) -> String {
        let place = |offset: Option<&u64>| offset.map_or_else(String::new, u64::to_string);
        let (first, last) = (place(self.offsets.first()), place(self.offsets.last()));
        format!("dead-letters:{first}-{last}:{}", self.reason)
    }
}

impl Skipped {
    /// The line that sends a letter's event; none, and counted, where there is none.
    fn line(&mut self, letter: &Letter) -> Option<Vec<u8>> {
        if letter.view.is_some() {
            let count = if letter.reason == LATE { &mut self.of_window } else { &mut self.of_view };
            *count += 1;
            return None;
        }
        if letter.event_is_cut {
            self.cut += 1;
            return None;
        }
        let line = one_line(&letter.event);
        self.no_line += usize::from(line.is_none());
        line
    }

    fn words(&self) -> Vec<String> {
        let told = [
            (self.of_view, "set aside for a view or derived stream and used otherwise: skipped"),
            (
                self.of_window,
                "too late for a window that had closed and used otherwise: skipped, its row never changes",
            ),
            (self.cut, "too long to be kept whole: skipped, send the events anew"),
            (self.no_line, "no JSON object: skipped, send the events anew"),
            (self.out_of_reach, "too old, or of a group with one that is, for what joins and sessions hold: skipped"),
        ];
        let told = told.into_iter().filter(|(count, _)| *count > 0);
        told.map(|(count, words)| format!("{} {words}", counted(count, "dead letter"))).collect()
    }
}

/// An event as one line. Between the parts of JSON a line end means nothing; elsewhere it cannot be told what it means.
fn one_line(event: &str) -> Option<Vec<u8>> {
    let is_line_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let has_line_end = event.as_bytes().iter().any(is_line_end);
    // A text in quotes is no event: so are bytes shown that were no text.
    if event.trim_ascii_start().starts_with('"') {
        return None;
    }
    let is_blank = event.trim_ascii().is_empty();
    if is_blank || (has_line_end && serde_json::from_str::<&RawValue>(event).is_err()) {
        return None;
    }
    let mut line: Vec<u8> = event.bytes().map(|byte| if is_line_end(&byte) { b' ' } else { byte }).collect();
    line.push(b'\n');
    Some(line)
}

fn letters(count: u64) -> String {
    if count == 1 { "1 dead letter".to_owned() } else { format!("{} dead letters", grouped(count)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_become_lines() {
        let cases = [
            ("{\"a\":1}", Some("{\"a\":1}\n")),
            ("{\n \"a\":\r\n1}", Some("{  \"a\":  1}\n")),
            ("no json", Some("no json\n")),
            ("no\njson", None),
            ("\"AQI=\"", None),
            ("{\"a\":\"x\ny\"}", None),
            (" \n", None),
            ("", None),
        ];
        for (event, line) in cases {
            assert_eq!(one_line(event).as_deref(), line.map(str::as_bytes), "{event}");
        }
    }

    #[test]
    fn letters_that_are_not_sent_are_counted() {
        let letter_of = |reason: &str, view: Option<&str>, event_is_cut, event: &str| Letter {
            partition: 0,
            offset: 7,
            arrived: String::new(),
            reason: reason.to_owned(),
            view: view.map(str::to_owned),
            event: event.to_owned(),
            event_is_cut,
        };
        let letter = |view, event_is_cut, event| letter_of("check", view, event_is_cut, event);
        let mut skipped = Skipped::default();
        assert!(skipped.line(&letter(None, false, "{}")).is_some());
        assert!(skipped.line(&letter_of("late", None, false, "{}")).is_some());
        assert_eq!((&skipped, skipped.words().len()), (&Skipped::default(), 0));
        for (view, is_cut, event) in [(Some("v"), true, "{}"), (None, true, "{"), (None, false, ""), (None, true, "{")]
        {
            assert!(skipped.line(&letter(view, is_cut, event)).is_none());
        }
        assert!(skipped.line(&letter_of("late", Some("hours"), false, "{}")).is_none());
        skipped.out_of_reach += 3;
        let expected = [
            "1 dead letter set aside for a view or derived stream and used otherwise: skipped",
            "1 dead letter too late for a window that had closed and used otherwise: skipped, its row never changes",
            "2 dead letters too long to be kept whole: skipped, send the events anew",
            "1 dead letter no JSON object: skipped, send the events anew",
            "3 dead letters too old, or of a group with one that is, for what joins and sessions hold: skipped",
        ];
        assert_eq!(skipped.words(), expected);
    }
}
