//! One keep-alive connection, and as much of HTTP/1.1 as reading its answers takes.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Poll, Token};

use crate::Result;

const INBOX_BYTES: usize = 64 << 10;
const HEAD_BYTES_MAX: usize = 16 << 10;

/// One keep-alive connection with at most one request in flight.
pub(crate) struct Connection {
    stream: TcpStream,
    asked: Option<Asked>,
    /// What was read of the answer is `inbox[..filled]`.
    inbox: Vec<u8>,
    filled: usize,
    answer: Option<Answer>,
}

/// A request in flight.
pub(crate) struct Asked {
    /// Which of the prepared requests.
    pub(crate) request: usize,
    pub(crate) due_ns: u64,
    written: usize,
}

/// The head of an answer.
#[derive(Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head_bytes: usize,
    body_bytes: usize,
    /// The server closes after it.
    pub(crate) is_last: bool,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr, at: usize, poll: &Poll) -> Result<Connection> {
        let stream =
            std::net::TcpStream::connect(address).map_err(|error| format!("cannot connect to {address}: {error}"))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(at), Interest::READABLE | Interest::WRITABLE)?;
        Ok(Connection { stream, asked: None, inbox: vec![0; INBOX_BYTES], filled: 0, answer: None })
    }

    /// The request in flight.
    pub(crate) fn asked(&self) -> Option<&Asked> {
        self.asked.as_ref()
    }

    pub(crate) fn ask(&mut self, request: usize, due_ns: u64) {
        self.asked = Some(Asked { request, due_ns, written: 0 });
    }

    /// Ready for the next request.
    pub(crate) fn rest(&mut self) {
        self.asked = None;
        self.answer = None;
        self.filled = 0;
    }

    /// The body of an answer that is whole.
    pub(crate) fn body(&self, answer: &Answer) -> &[u8] {
        &self.inbox[answer.head_bytes..answer.bytes()]
    }

    /// Writes and reads as far as the socket lets it; the answer once it is whole.
    pub(crate) fn advance(&mut self, request: &[u8]) -> Result<Option<Answer>> {
        let asked = self.asked.as_mut().expect("only a connection that was asked advances");
        while asked.written < request.len() {
            match self.stream.write(&request[asked.written..]) {
                Ok(written) => asked.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.read()
    }

    /// A whole answer ends the reading: without pipelining nothing can follow it, so the socket is drained.
    fn read(&mut self) -> Result<Option<Answer>> {
        loop {
            match self.stream.read(&mut self.inbox[self.filled..]) {
                Ok(0) => return Err("the server closed before its answer was whole".into()),
                Ok(bytes) => self.filled += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            if self.answer.is_none() {
                self.answer = Answer::parse(&self.inbox[..self.filled])?;
            }
            if let Some(answer) = &self.answer {
                let whole = answer.bytes();
                match self.filled {
                    filled if filled > whole => return Err("bytes follow the answer".into()),
                    filled if filled == whole => return Ok(Some(*answer)),
                    _ if self.inbox.len() < whole => self.inbox.resize(whole, 0),
                    _ => {}
                }
            }
        }
    }
}

impl Answer {
    /// Head and body.
    pub(crate) fn bytes(&self) -> usize {
        self.head_bytes + self.body_bytes
    }

    /// The head, once it is whole.
    fn parse(bytes: &[u8]) -> Result<Option<Answer>> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return if bytes.len() > HEAD_BYTES_MAX { Err("the answer's head has no end".into()) } else { Ok(None) };
        };
        let head = std::str::from_utf8(&bytes[..end])?;
        let mut lines = head.split("\r\n");
        let status =
            lines.next().and_then(|line| line.split(' ').nth(1)).ok_or("an answer without a status")?.parse()?;
        let (mut body_bytes, mut is_last) = (None, false);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                body_bytes = Some(value.trim().parse()?);
            }
            is_last |= name.eq_ignore_ascii_case("connection") && value.trim().eq_ignore_ascii_case("close");
        }
        let body_bytes = body_bytes.ok_or("an answer without content-length (chunked?)")?;
        Ok(Some(Answer { status, head_bytes: end + 4, body_bytes, is_last }))
    }
}
