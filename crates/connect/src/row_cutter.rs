//! Text files cut into pieces of whole rows, sequentially and in bounded memory.
//!
//! A row is a line, or for CSV a record, in which a quoted field may hold line ends. Blank lines are no rows.
//! ```text
//!   file ──▶ read about 1 MiB ──▶ [ whole rows ………………… ][ start of a row ] ──▶ carried to the next piece
//! ```
//! A row longer than [`ROW_BYTES_MAX`] is cut out as a piece of its own and only its beginning is kept. Of a file that is
//! still written ([`Growth::Followed`]) a row without its line end waits until the rest has come.

use std::fs::File;
use std::io::{BufRead, Read};
use std::ops::Range;

use crate::batch_builder::RAW_BYTES_MAX;

/// How much text is decoded at a time: some thousand rows, and columns that fit a core's cache.
const PIECE_BYTES: usize = 1 << 20;
/// The longest row that is read; a longer one is unreadable.
pub const ROW_BYTES_MAX: usize = 16 << 20;
/// The mark that some programs put at the head of UTF-8 files.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Where rows end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowRule {
    /// At every line end.
    Line,
    /// At a line end outside quotes. A quote opens only at the head of a field; two quotes inside are one.
    CsvRecord,
}

impl RowRule {
    /// The end of the row at the head of `text`, behind its line end; `None` if the row does not end in `text`.
    pub(crate) fn row_end(self, text: &[u8]) -> Option<usize> {
        let line_end = after(text, b'\n')?;
        match self {
            RowRule::Line => Some(line_end),
            RowRule::CsvRecord if !text[..line_end].contains(&b'"') => Some(line_end),
            RowRule::CsvRecord => record_end(text),
        }
    }

    /// The rows of `text`, without their line ends and without blank lines. The last may lack its line end.
    pub(crate) fn rows(self, text: &[u8]) -> impl Iterator<Item = &[u8]> {
        self.spans(text).map(|span| &text[span])
    }

    /// Where those rows stand.
    pub(crate) fn spans(self, text: &[u8]) -> impl Iterator<Item = Range<usize>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            while at < text.len() {
                let start = at;
                at += self.row_end(&text[start..]).unwrap_or(text.len() - start);
                let row = &text[start..at];
                if !is_blank(row) {
                    return Some(start..start + without_line_end(row).len());
                }
            }
            None
        })
    }
}

/// The place behind the first `byte`. `skip_until` on a slice is the standard library's fast byte search.
fn after(text: &[u8], byte: u8) -> Option<usize> {
    let mut rest = text;
    let consumed = rest.skip_until(byte).ok()?;
    (consumed > 0 && text[consumed - 1] == byte).then_some(consumed)
}

fn record_end(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        if text.get(at) == Some(&b'"') {
            at = closing_quote(text, at + 1)? + 1;
        }
        at += text[at..].iter().position(|byte| matches!(byte, b',' | b'\n'))? + 1;
        if text[at - 1] == b'\n' {
            return Some(at);
        }
    }
}

/// Where the quote that closes a field is, if it is in `text`; the field's content begins at `at`.
pub(crate) fn closing_quote(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let quote = at + after(&text[at..], b'"')? - 1;
        if text.get(quote + 1) != Some(&b'"') {
            return Some(quote);
        }
        at = quote + 2;
    }
}

fn is_blank(row: &[u8]) -> bool {
    row.iter().all(u8::is_ascii_whitespace)
}

fn without_line_end(row: &[u8]) -> &[u8] {
    let row = row.strip_suffix(b"\n").unwrap_or(row);
    row.strip_suffix(b"\r").unwrap_or(row)
}

/// Whole rows, or the head of one that is too long.
#[derive(Debug, Clone)]
pub(crate) enum TextPiece {
    Rows(Vec<u8>),
    /// The first kilobyte or so of a row longer than [`ROW_BYTES_MAX`].
    TooLong(Vec<u8>),
}

/// A piece with its place in the file.
#[derive(Debug, Clone)]
pub(crate) struct CutPiece {
    pub(crate) first_row: u64,
    pub(crate) rows: u64,
    /// How many of the file's bytes it stands for.
    pub(crate) bytes: u64,
    pub(crate) text: TextPiece,
}

/// Whether the file is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Growth {
    /// Its end is the end of its last row.
    Finished,
    /// More may be appended: a row ends with its line, and an end is only the present one.
    Followed,
}

/// Cuts a file from its beginning to its end.
#[derive(Debug)]
pub(crate) struct RowCutter {
    file: File,
    rule: RowRule,
    growth: Growth,
    /// Read and not yet given out; it begins at a row, unless one is being skipped.
    pending: Vec<u8>,
    /// So many bytes of `pending` hold no whole row.
    unfinished: usize,
    /// A row that is too long and whose end has not come.
    skipped: Option<SkippedRow>,
    /// Bytes consumed that no piece has reported yet: the byte order mark, the header.
    bytes_unreported: u64,
    /// Bytes of the file up to the end of `pending`.
    bytes_read: u64,
    next_row: u64,
    at_end: bool,
}

#[derive(Debug)]
struct SkippedRow {
    /// Its beginning.
    head: Vec<u8>,
    /// How much of it is skipped.
    bytes: u64,
}

impl RowCutter {
    pub(crate) fn new(file: File, rule: RowRule, growth: Growth) -> std::io::Result<RowCutter> {
        let mut cutter = RowCutter {
            file,
            rule,
            growth,
            pending: Vec::new(),
            unfinished: 0,
            skipped: None,
            bytes_unreported: 0,
            bytes_read: 0,
            next_row: 0,
            at_end: false,
        };
        cutter.fill(PIECE_BYTES)?;
        cutter.skip_byte_order_mark();
        Ok(cutter)
    }

    fn skip_byte_order_mark(&mut self) {
        if self.pending.starts_with(BYTE_ORDER_MARK) {
            self.pending.drain(..BYTE_ORDER_MARK.len());
            self.unfinished = 0;
            self.bytes_unreported += BYTE_ORDER_MARK.len() as u64;
        }
    }

    /// How many of the file's bytes were read.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// The first row that is not blank, which then counts as no row of the file. `None` if there is none or it is
    /// longer than any sensible header.
    pub(crate) fn take_header(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let mut start = 0;
        while start < self.pending.len() {
            let end = match self.rule.row_end(&self.pending[start..]) {
                Some(length) => start + length,
                None if self.ends_here() => self.pending.len(),
                None => return Ok(None),
            };
            let row = &self.pending[start..end];
            start = end;
            if !is_blank(row) {
                let header = without_line_end(row).to_vec();
                self.pending.drain(..end);
                self.bytes_unreported += end as u64;
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// The next piece, `None` at the end of the file; of one that is followed, at its present end.
    pub(crate) fn next_piece(&mut self) -> std::io::Result<Option<CutPiece>> {
        if self.growth == Growth::Followed {
            self.read_on()?;
        }
        self.fill(PIECE_BYTES)?;
        loop {
            if self.skipped.is_some() {
                return self.skip_on();
            }
            let (end, rows) = self.whole_rows();
            if end > 0 {
                return Ok(Some(self.cut(end, rows)));
            }
            self.unfinished = self.pending.len();
            if self.pending.len() > ROW_BYTES_MAX {
                self.begin_to_skip();
            } else if self.at_end {
                return Ok(None);
            } else {
                // One long row: read twice as much, so that scanning it again stays linear.
                self.fill((self.pending.len() * 2).min(ROW_BYTES_MAX + 1))?;
            }
        }
    }

    /// Looks behind the present end of a file that is followed.
    fn read_on(&mut self) -> std::io::Result<()> {
        let is_at_start = self.bytes_read == self.pending.len() as u64 && self.pending.len() < BYTE_ORDER_MARK.len();
        self.at_end = false;
        self.fill(self.unfinished + PIECE_BYTES)?;
        if is_at_start {
            self.skip_byte_order_mark();
        }
        Ok(())
    }

    /// Whether the file's end ends its last row.
    fn ends_here(&self) -> bool {
        self.at_end && self.growth == Growth::Finished
    }

    /// Reads until `pending` holds that many bytes or the file ends.
    fn fill(&mut self, bytes: usize) -> std::io::Result<()> {
        if self.at_end || self.pending.len() >= bytes {
            return Ok(());
        }
        let missing = bytes - self.pending.len();
        self.pending.reserve_exact(missing);
        let read = (&mut self.file).take(missing as u64).read_to_end(&mut self.pending)?;
        self.bytes_read += read as u64;
        self.at_end = read < missing;
        Ok(())
    }

    /// Where the whole rows at the head of `pending` end, and how many they are.
    fn whole_rows(&self) -> (usize, u64) {
        let (mut end, mut rows) = (0, 0);
        if self.unfinished == self.pending.len() && !self.ends_here() {
            return (end, rows); // looked through before
        }
        while end < self.pending.len() {
            let row = match self.rule.row_end(&self.pending[end..]) {
                Some(length) => &self.pending[end..end + length],
                None if self.ends_here() && self.pending.len() - end <= ROW_BYTES_MAX => &self.pending[end..],
                None => break,
            };
            end += row.len();
            rows += u64::from(!is_blank(row));
        }
        (end, rows)
    }

    fn cut(&mut self, end: usize, rows: u64) -> CutPiece {
        let carried = self.pending[end..].to_vec();
        let mut text = std::mem::replace(&mut self.pending, carried);
        text.truncate(end);
        self.unfinished = 0;
        self.piece(rows, end as u64, TextPiece::Rows(text))
    }

    fn begin_to_skip(&mut self) {
        let head = self.pending[..RAW_BYTES_MAX].to_vec();
        self.pending.drain(..ROW_BYTES_MAX);
        self.unfinished = 0;
        self.skipped = Some(SkippedRow { head, bytes: ROW_BYTES_MAX as u64 });
    }

    /// Skips to the next line end, also inside quotes: the damage stays local.
    fn skip_on(&mut self) -> std::io::Result<Option<CutPiece>> {
        loop {
            let line_end = after(&self.pending, b'\n');
            let count = line_end.unwrap_or(self.pending.len());
            self.pending.drain(..count);
            let Some(skipped) = &mut self.skipped else { return Ok(None) };
            skipped.bytes += count as u64;
            if line_end.is_some() || self.ends_here() {
                return Ok(self.skipped.take().map(|row| self.piece(1, row.bytes, TextPiece::TooLong(row.head))));
            }
            if self.at_end {
                return Ok(None); // the rest of the row is not written yet
            }
            self.fill(PIECE_BYTES)?;
        }
    }

    fn piece(&mut self, rows: u64, bytes: u64, text: TextPiece) -> CutPiece {
        let first_row = self.next_row;
        self.next_row += rows;
        CutPiece { first_row, rows, bytes: bytes + std::mem::take(&mut self.bytes_unreported), text }
    }
}
