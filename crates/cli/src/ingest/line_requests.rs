//! Requests of a JSON-lines file: its lines as they stand, so that the server keeps what it cannot read as dead letters.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use asof_connect::{ConnectError, ROW_BYTES_MAX};
use asof_pipeline::PipelineError;

use crate::failure::Failure;
use crate::ingest::request::{BODY_BYTES_MAX, Request, Requests};

/// A file of lines on its way.
#[derive(Debug)]
pub(crate) struct LineRequests {
    path: PathBuf,
    reader: BufReader<File>,
    size_bytes: u64,
    rows_max: usize,
    /// The number of the row in `line`. Blank lines are no rows.
    next_row: u64,
    /// A line with its end that did not fit into the last request; empty if there is none.
    line: Vec<u8>,
}

impl LineRequests {
    pub(crate) fn open(path: &Path, rows_max: usize) -> Result<LineRequests, Failure> {
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (size_bytes, file) = opened.map_err(|source| unreadable(path, source))?;
        let (path, reader) = (path.to_owned(), BufReader::new(file));
        Ok(LineRequests { path, reader, size_bytes, rows_max, next_row: 0, line: Vec::new() })
    }

    fn gather(&mut self) -> io::Result<Request> {
        let mut request = Request::default();
        while request.rows.len() < self.rows_max {
            if self.line.is_empty() && !self.read_line(&mut request)? {
                break;
            }
            if !request.rows.is_empty() && request.body.len() + self.line.len() > BODY_BYTES_MAX {
                break;
            }
            request.body.append(&mut self.line);
            request.rows.push(self.next_row);
            self.next_row += 1;
        }
        Ok(request)
    }

    /// Reads the next row; false at the end. One that is too long is none that could be sent.
    fn read_line(&mut self, request: &mut Request) -> io::Result<bool> {
        // A row and its line end.
        let line_bytes_max = ROW_BYTES_MAX as u64 + 2;
        loop {
            let read = self.reader.by_ref().take(line_bytes_max).read_until(b'\n', &mut self.line)? as u64;
            if read == 0 {
                return Ok(false);
            }
            request.progress += read;
            let is_whole = self.line.ends_with(b"\n");
            if !is_whole && read == line_bytes_max {
                request.progress += self.reader.skip_until(b'\n')? as u64;
                let detail = format!("the row is longer than {} MiB", ROW_BYTES_MAX >> 20);
                request.unreadable.push((self.next_row, detail));
                self.next_row += 1;
                self.line = Vec::new();
            } else if self.line.iter().all(u8::is_ascii_whitespace) {
                self.line.clear();
            } else {
                if !is_whole {
                    self.line.push(b'\n');
                }
                return Ok(true);
            }
        }
    }
}

impl Requests for LineRequests {
    fn content_type(&self) -> &'static str {
        "application/x-ndjson"
    }

    fn progress_total(&self) -> u64 {
        self.size_bytes
    }

    fn absent_columns(&self) -> Vec<String> {
        Vec::new()
    }

    fn next(&mut self) -> Result<Option<Request>, Failure> {
        let request = self.gather().map_err(|source| unreadable(&self.path, source))?;
        Ok((!request.is_empty()).then_some(request))
    }
}

fn unreadable(path: &Path, source: io::Error) -> Failure {
    Failure::from(PipelineError::from(ConnectError::Read { path: path.to_owned(), source }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// The requests of a file with this content.
    fn cut(name: &str, content: &[u8], rows_max: usize) -> Vec<Request> {
        let path = std::env::temp_dir().join(format!("asof-lines-{}-{name}.jsonl", std::process::id()));
        fs::write(&path, content).unwrap();
        let mut lines = LineRequests::open(&path, rows_max).unwrap();
        let requests: Vec<Request> = std::iter::from_fn(|| lines.next().unwrap()).collect();
        assert_eq!(lines.progress_total(), content.len() as u64);
        fs::remove_file(&path).unwrap();
        requests
    }

    #[test]
    fn lines_are_sent_as_they_stand() {
        let requests = cut("plain", b"{\"a\":1}\r\n\n  \nnonsense\n{}\n\xff", 2);
        let bodies: Vec<&[u8]> = requests.iter().map(|request| request.body.as_slice()).collect();
        assert_eq!(bodies, [&b"{\"a\":1}\r\nnonsense\n"[..], b"{}\n\xff\n"]);
        assert_eq!([&requests[0].rows[..], &requests[1].rows], [[0, 1], [2, 3]]);
        assert_eq!(requests.iter().map(|request| request.progress).sum::<u64>(), 26);
        assert!(cut("blank", b"\n \n", 2).is_empty());
    }

    #[test]
    fn bodies_are_bounded_and_what_is_too_long_is_no_row() {
        let line = |bytes: usize| [vec![b'x'; bytes], b"\n".to_vec()].concat();
        let half = BODY_BYTES_MAX / 2;
        let content =
            [line(half), line(half), line(10), line(ROW_BYTES_MAX), line(ROW_BYTES_MAX + 2), line(3)].concat();
        let requests = cut("long", &content, 100);
        let lengths: Vec<usize> = requests.iter().map(|request| request.body.len()).collect();
        assert_eq!(lengths, [half + 1, half + 12, ROW_BYTES_MAX + 1, 4]);
        assert_eq!(requests.iter().flat_map(|request| request.rows.clone()).collect::<Vec<u64>>(), [0, 1, 2, 3, 5]);
        let unreadable: Vec<u64> =
            requests.iter().flat_map(|request| &request.unreadable).map(|(row, _)| *row).collect();
        assert_eq!(unreadable, [4]);
        assert_eq!(requests.iter().map(|request| request.progress).sum::<u64>(), content.len() as u64);
    }
}
