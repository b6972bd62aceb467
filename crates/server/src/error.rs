//! Why the server cannot begin or go on.

use std::net::SocketAddr;

use asof_connect::ConnectError;

/// An error of the server itself; what is wrong with a request is told to its client.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Somebody listens there already.
    #[error("cannot listen on `{address}`: the port is taken; hint: end the other program, or choose another port: `--listen {}`", another(*address))]
    PortTaken {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on `{address}`: {source}; hint: an address of this machine and a port above 1023: `--listen {}`", another(*address))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A limit beyond what the server can hold to.
    #[error(
        "the greatest body of a request is {found} bytes, more than {ceiling} are not possible; hint: lower `body_max` in [server] of asof.toml"
    )]
    BodyLimit {
        /// As asked for.
        found: usize,
        /// The most there can be.
        ceiling: usize,
    },
    /// No threads, or no timers.
    #[error("cannot start the server's threads: {0}")]
    Runtime(std::io::Error),
    /// The metrics cannot be set up: a defect of ours.
    #[error("internal: metrics: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    /// A request's columns cannot be read: a defect of ours.
    #[error("internal: {0}")]
    Columns(#[from] ConnectError),
    /// The task that accepts connections ended: a defect of ours, told by the panic's own message.
    #[error("internal: the server no longer accepts connections")]
    Ended,
}

/// An address that is likely free: the same machine, any port that is.
fn another(address: SocketAddr) -> SocketAddr {
    let next = address.port().checked_add(1).filter(|port| *port > 1_024);
    SocketAddr::new([127, 0, 0, 1].into(), next.unwrap_or(6_567))
}

impl ServeError {
    pub(crate) fn bind(address: SocketAddr, source: std::io::Error) -> ServeError {
        match source.kind() {
            std::io::ErrorKind::AddrInUse => ServeError::PortTaken { address },
            _ => ServeError::Bind { address, source },
        }
    }
}
