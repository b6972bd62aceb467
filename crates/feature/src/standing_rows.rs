//! Rows that stand at events: which event of a view each of them is, where the view sees it.

use arrow::row::Rows;
use asof_window::TieBreak;

use crate::online_stream::OnlineStream;
use crate::online_view::OnlineView;
use crate::prepared::Ties;

/// What the events of a batch are called among those of their time.
#[derive(Debug)]
pub struct EventNames(Ties);

/// Rows of a batch, each of which is read as of its own event.
#[derive(Debug, Clone, Copy)]
pub struct StandingRows<'a> {
    /// Of the batch.
    pub names: &'a EventNames,
    /// For each row that is read, its row in the batch.
    pub source_rows: &'a [usize],
}

/// One way by which events of a source come to a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// The number of the branch.
    number: u32,
    /// Whether a primary key orders ties.
    has_key: bool,
}

impl EventNames {
    /// Of a batch with these offsets and encoded primary keys, of a partition.
    pub fn new(partition: u32, offsets: Vec<u64>, primary_keys: Option<Rows>) -> EventNames {
        EventNames(Ties { partition, offsets, primary_keys })
    }
}

impl<'a> StandingRows<'a> {
    /// What a row is called in a view that its event comes to by these ways.
    pub(crate) fn ties(&self, row: usize, ways: &'a [Way]) -> impl Iterator<Item = TieBreak<'a>> {
        let (names, source_row) = (self.names, self.source_rows[row]);
        ways.iter().map(move |way| names.0.of(source_row, way.number, way.has_key))
    }
}

impl OnlineStream {
    /// The ways by which its events come to a view; none where they do not, or nothing depends on which event a read stands at.
    pub fn ways_to(&self, view: &OnlineView) -> Vec<Way> {
        let is_asked = |place: usize| std::ptr::eq(&*self.views[place], view) && view.plan().program().follows_order();
        let own = self.feeds.iter().filter(|feed| is_asked(feed.view));
        own.map(|feed| Way { number: feed.feed.number, has_key: feed.has_key }).collect()
    }
}
