//! Someone pages through dead letters, over crashes and restarts, and has late events taken in again.
//!
//! ```text
//!   page ─▶ letters up to `next` ─┊ crash ┊─▶ page from `next` ─▶ … ─▶ end: all were there, each once
//!             └ late ones ─▶ a batch that is taken in as replayed: used, whatever the watermark
//! ```

use asof_pipeline::{DeadLetterPage, DeadLetterQuery, Engine, PlacedDeadLetter};

use super::World;
use super::step::Go;
use crate::event::Event;
use crate::model::{Checked, Letter};
use crate::project::{BEATS, STREAMS};
use crate::stored::letter;

/// How far someone has come through the dead letters of a stream.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) stream: usize,
    reason: Option<String>,
    from_offset: u64,
    seen: Vec<(u64, Letter)>,
}

impl Walk {
    fn is_asked(&self, letter: &Letter) -> bool {
        self.reason.as_ref().is_none_or(|reason| *reason == letter.reason)
    }
}

impl World {
    fn begin_walk(&mut self) -> Walk {
        let stream = self.chance.below(STREAMS as u64) as usize;
        let reasons = [None, None, Some("late"), Some("set_aside"), Some("future")];
        let reason = reasons[self.chance.below(reasons.len() as u64) as usize].map(str::to_owned);
        Walk { stream, reason, from_offset: 0, seen: Vec::new() }
    }

    /// The next page, against the model.
    pub(super) fn page(&mut self, engine: &Engine) -> Checked<Go> {
        let mut walk = match self.walk.take() {
            Some(walk) => walk,
            None => self.begin_walk(),
        };
        if walk.stream == BEATS {
            // Which segments retention has let go is told now and then.
            self.maintain(engine)?;
        }
        let Some(page) = self.ask(engine, &walk)? else {
            self.walk = Some(walk);
            return Ok(Go::On);
        };
        let found = self.check_page(&walk, &page, first_offset(engine, walk.stream))?;
        self.trace.add(|| format!("{walk:?} finds {found:?}, next {:?}", page.next_offset));
        if walk.stream != BEATS && self.chance.one_in(2) {
            self.replay(engine, walk.stream, &found);
        }
        walk.seen.extend(found);
        match page.next_offset {
            Some(next) => {
                walk.from_offset = next;
                self.walk = Some(walk);
            }
            None => self.check_walk(&walk)?,
        }
        Ok(Go::On)
    }

    /// The page at which a walk stands; `None` where something was made to fail, and it is to be asked for again.
    fn ask(&mut self, engine: &Engine, walk: &Walk) -> Checked<Option<DeadLetterPage>> {
        let limit = 1 + self.chance.below(4) as usize;
        let query = DeadLetterQuery { from_offset: walk.from_offset, reason: walk.reason.clone(), reader: None, limit };
        match engine.dead_letters(walk.stream, &query) {
            Ok(Ok(page)) if is_within(&page, limit) => Ok(Some(page)),
            Err(error) if self.is_faulty => {
                self.trace.add(|| format!("no page of dead letters: {error}"));
                Ok(None)
            }
            other => Err(format!("{query:?} of stream {} is answered with {other:?}", walk.stream)),
        }
    }

    /// The letters of a page are those between its beginning and its end.
    fn check_page(&self, walk: &Walk, page: &DeadLetterPage, first_offset: u64) -> Checked<Vec<(u64, Letter)>> {
        let model = &self.model.streams[walk.stream];
        let placed = |one: &PlacedDeadLetter| Ok((one.offset, letter(&one.letter, &self.producers)?));
        let found: Vec<(u64, Letter)> = page.letters.iter().map(placed).collect::<Checked<_>>()?;
        let offsets = walk.from_offset.max(first_offset)..page.next_offset.unwrap_or(model.next_offset);
        let between = model.letters.iter().filter(|(offset, _)| offsets.contains(offset));
        let expected: Vec<(u64, Letter)> =
            between.filter(|(_, one)| walk.is_asked(one)).map(|(offset, one)| (*offset, one.clone())).collect();
        let goes_on = page.next_offset.is_none_or(|next| next > walk.from_offset);
        if found != expected || !goes_on {
            return Err(format!("a page of {walk:?} is {page:?}, expected {expected:?}"));
        }
        Ok(found)
    }

    /// Whoever came to the end has seen every letter, each once.
    fn check_walk(&self, walk: &Walk) -> Checked<()> {
        let letters = &self.model.streams[walk.stream].letters;
        let asked = letters.iter().filter(|(_, one)| walk.is_asked(one));
        let expected: Vec<(u64, Letter)> = asked.map(|(offset, one)| (*offset, one.clone())).collect();
        // What is acknowledged before it is durable may be lost, and what is old may be dropped.
        if walk.stream != BEATS && walk.seen != expected {
            return Err(format!("the pages of {walk:?} are not all dead letters: {expected:?}"));
        }
        Ok(())
    }

    /// Late events are sent once more, to be taken in as they are.
    fn replay(&mut self, engine: &Engine, stream: usize, found: &[(u64, Letter)]) {
        let late = found.iter().filter(|(_, letter)| letter.reason == "late");
        let late: Vec<Event> = late.filter_map(|(_, letter)| self.producers.event_of(letter.serial).cloned()).collect();
        if let Some(batch) = self.producers.replay(&mut self.chance, stream, &late) {
            self.trace.add(|| format!("late events are batch {batch}: {late:?}"));
            self.send(engine, batch);
        }
    }

    /// Pages on to the end, and once more from the beginning.
    pub(super) fn page_to_the_end(&mut self, engine: &Engine) -> Checked<()> {
        for _ in 0..2 {
            self.page(engine)?;
            while self.walk.is_some() {
                self.page(engine)?;
            }
        }
        Ok(())
    }
}

/// Letters of one event are on one page.
fn is_within(page: &DeadLetterPage, limit: usize) -> bool {
    page.letters.get(limit - 1).is_none_or(|last| page.letters[limit..].iter().all(|more| more.offset == last.offset))
}

/// The first offset that a stream's log has, as far as that was told.
fn first_offset(engine: &Engine, stream: usize) -> u64 {
    let name = &engine.project().streams[stream].name;
    let told = engine.storage_statistics().into_iter().find(|stored| stored.stream == *name);
    told.map_or(0, |stored| stored.first_offset)
}
