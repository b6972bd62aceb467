//! Rows that stand at events: which event of a view each of them is, where the view sees it.

use arrow::row::Rows;
use asof_window::TieBreak;

use crate::online_stream::OnlineStream;
use crate::online_view::OnlineView;
use crate::prepared::Ties;

/// Rows of a source, each of which is read as of its own event.
#[derive(Debug)]
pub struct StandingRows {
    ties: Ties,
    /// For each row that is read, its row in the batch of the source.
    rows: Vec<usize>,
}

/// One way by which events of a source come to a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// The number of the branch.
    number: u32,
    /// Whether a primary key orders ties.
    has_key: bool,
}

impl StandingRows {
    /// Rows of a batch with these offsets and encoded primary keys.
    pub fn new(rows: Vec<usize>, partition: u32, offsets: Vec<u64>, primary_keys: Option<Rows>) -> StandingRows {
        StandingRows { ties: Ties { partition, offsets, primary_keys }, rows }
    }

    /// What a row is called in a view that its event comes to by these ways.
    pub(crate) fn ties<'a>(&'a self, row: usize, ways: &'a [Way]) -> impl Iterator<Item = TieBreak<'a>> {
        ways.iter().map(move |way| self.ties.of(self.rows[row], way.number, way.has_key))
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
