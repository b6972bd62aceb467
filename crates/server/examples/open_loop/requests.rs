//! What is sent: prepared requests in turns, or one request whose numbers are written anew each time.

use crate::Result;
use crate::options::Options;
use crate::template::Template;

/// The requests as they go over the wire.
pub(crate) enum Requests {
    /// The k-th is `k mod count`.
    Prepared(Vec<Vec<u8>>),
    /// Each connection writes its own copy, which must stay as it is while it is sent.
    Written { template: Template, copies: Vec<Vec<u8>> },
}

impl Requests {
    pub(crate) fn of(options: &Options) -> Result<Requests> {
        let body = std::fs::read(&options.bodies)
            .map_err(|error| format!("cannot read `{}`: {error}", options.bodies.display()))?;
        let Some(events) = &options.events else { return prepared(options, &body) };
        let request = request(options, &body);
        let template = Template::find(&request, events)?;
        Ok(Requests::Written { template, copies: vec![request; options.connections] })
    }

    /// Makes the request number `number` ready for a connection; where it is found until the connection's next one.
    pub(crate) fn prepare(&mut self, number: u64, connection: usize) -> usize {
        match self {
            Requests::Prepared(requests) => (number % requests.len() as u64) as usize,
            Requests::Written { template, copies } => {
                template.write(number, &mut copies[connection]);
                connection
            }
        }
    }

    /// The bytes of a request that was prepared.
    pub(crate) fn bytes(&self, at: usize) -> &[u8] {
        match self {
            Requests::Prepared(requests) => &requests[at],
            Requests::Written { copies, .. } => &copies[at],
        }
    }
}

/// One request for each line of the bodies' file.
fn prepared(options: &Options, bodies: &[u8]) -> Result<Requests> {
    let lines = bodies.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let requests: Vec<_> = lines.map(|body| request(options, body)).collect();
    match requests.is_empty() {
        true => Err(format!("`{}` holds no bodies", options.bodies.display()).into()),
        false => Ok(Requests::Prepared(requests)),
    }
}

fn request(options: &Options, body: &[u8]) -> Vec<u8> {
    let (path, address, kind, length) = (&options.path, options.address, &options.content_type, body.len());
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}
