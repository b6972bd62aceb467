//! The listener: accepts connections, hands them to hyper, and drains them at the end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use asof_pipeline::{Engine, Stop};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::app::App;
use crate::bad_port::{next_after, opens_in_browsers};
use crate::connections::{Connections, Entry};
use crate::error::ServeError;
use crate::limits::{BUFFER_BYTES_MAX, Limits};
use crate::problem::{Kind, Problem};
use crate::traffic::Traffic;
use crate::wire::Wire;

/// Connections that wait to be accepted; the system may hold fewer.
const BACKLOG: u32 = 4_096;
/// How long requests in flight are waited for at the end.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// How long to wait when the system has no more descriptors: accepting again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Ports looked at for the page before any free one is taken.
const PAGE_PORTS_TRIED: usize = 8;
/// How often the metrics' own buffers are emptied, so that they do not grow while nobody asks for them.
const UPKEEP_EVERY: Duration = Duration::from_secs(1);

/// A server that is bound to its address and does not yet serve.
#[derive(Debug)]
pub struct Server {
    runtime: Runtime,
    listener: TcpListener,
    address: SocketAddr,
    /// Beside the address, where browsers refuse its port.
    page: Option<(TcpListener, SocketAddr)>,
    traffic: Arc<Traffic>,
}

impl Server {
    /// Takes an address; port 0 is any free one.
    pub fn bind(listen: SocketAddr) -> Result<Server, ServeError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name("asof-serve")
            .max_blocking_threads(std::thread::available_parallelism().map_or(2, usize::from).max(2))
            .enable_io()
            .enable_time()
            .build()
            .map_err(ServeError::Runtime)?;
        let inside = runtime.enter();
        let listener = listen_at(listen).map_err(|source| ServeError::bind(listen, source))?;
        let address = listener.local_addr().map_err(|source| ServeError::bind(listen, source))?;
        let page = if opens_in_browsers(address.port()) { None } else { listen_for_page(address) };
        drop(inside);
        Ok(Server { runtime, listener, address, page, traffic: Arc::default() })
    }

    /// The address, with the port that was chosen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where a browser finds the page: the address itself, or another port beside it where browsers refuse that one; `None`
    /// if no such port is free.
    pub fn page_address(&self) -> Option<SocketAddr> {
        match &self.page {
            Some((_, address)) => Some(*address),
            None => Some(self.address).filter(|address| opens_in_browsers(address.port())),
        }
    }

    /// What it has done so far.
    pub fn traffic(&self) -> Arc<Traffic> {
        self.traffic.clone()
    }

    /// Serves until `stop` is asked for, then answers what is in flight (for at most 5 seconds) and closes.
    pub fn serve(self, engine: Arc<Engine>, limits: Limits, stop: &Stop) -> Result<(), ServeError> {
        limits.check()?;
        raise_descriptors(limits.connections_max);
        let Server { runtime, listener, address: _, page, traffic } = self;
        let connections = Arc::new(Connections::new(&limits, traffic.clone()));
        let app = Arc::new(App::new(engine, limits, connections.clone(), traffic)?);
        let (closing, closed) = watch::channel(());
        let page = page.map(|(listener, _)| accept(listener, app.clone(), connections.clone(), closed.clone()));
        let page = page.map(|accepting| runtime.spawn(accepting));
        let accepting = runtime.spawn(accept(listener, app.clone(), connections.clone(), closed));
        let ticking = runtime.spawn(tick(connections));
        while !stop.wait(UPKEEP_EVERY) && !accepting.is_finished() {
            app.measures.upkeep();
        }
        app.stop();
        drop(closing);
        let ended = runtime.block_on(accepting);
        let page_ended = page.map_or(Ok(()), |accepting| runtime.block_on(accepting));
        ticking.abort();
        // What is left is over its time: a read aside may take a moment to notice that nobody waits for it.
        runtime.shutdown_timeout(Duration::from_secs(1));
        ended.and(page_ended).map_err(|_| ServeError::Ended)
    }
}

fn listen_at(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A listener at the next port that browsers open, or at any.
fn listen_for_page(address: SocketAddr) -> Option<(TcpListener, SocketAddr)> {
    let candidates = next_after(address.port()).take(PAGE_PORTS_TRIED).chain(std::iter::once(0));
    candidates.into_iter().find_map(|port| {
        let listener = listen_at(SocketAddr::new(address.ip(), port)).ok()?;
        let address = listener.local_addr().ok()?;
        Some((listener, address))
    })
}

/// Every connection is a descriptor. The soft limit goes up to the hard one; what is missing then is told once.
fn raise_descriptors(connections_max: usize) {
    let wanted = connections_max as u64 + 512;
    match rlimit::increase_nofile_limit(wanted) {
        Ok(allowed) if allowed < wanted => {
            tracing::warn!(allowed, wanted, "the system allows fewer open files than there may be connections");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "cannot raise the limit of open files"),
    }
}

async fn tick(connections: Arc<Connections>) {
    let mut interval = tokio::time::interval(connections.tick_length());
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        connections.tick();
    }
}

/// Accepts until `closed` says that the other end is gone, then waits for what is in flight.
async fn accept(listener: TcpListener, app: Arc<App>, connections: Arc<Connections>, mut closed: watch::Receiver<()>) {
    let draining = GracefulShutdown::new();
    let mut end = pin!(closed.changed());
    loop {
        let next = poll_fn(|cx| match end.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => listener.poll_accept(cx).map(Some),
        });
        match next.await {
            None => break,
            Some(Ok((stream, _))) => match connections.enter() {
                Some(entry) => serve_connection(stream, entry, app.clone(), draining.watcher()),
                None => turn_away(&stream),
            },
            Some(Err(error)) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_MAX, draining.shutdown()).await.is_err() {
        tracing::warn!(connections = app.traffic.connections(), "closing connections that did not end in time");
    }
}

/// Begins a task for a connection; `entry` keeps it among the open ones until it ends or is cut off.
fn serve_connection(stream: TcpStream, entry: Entry, app: Arc<App>, watcher: Watcher) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let connection = entry.connection.clone();
    let task = tokio::spawn(async move {
        let connection = &entry.connection;
        let answer = service_fn(|request| {
            let (app, connection) = (app.clone(), connection.clone());
            async move { Ok::<_, Infallible>(app.respond(&connection, request).await) }
        });
        let served = http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(BUFFER_BYTES_MAX)
            .serve_connection(TokioIo::new(Wire::new(stream, connection.clone())), answer);
        if let Err(error) = watcher.watch(served).await {
            tracing::debug!(%error, "a connection ended early");
        }
    });
    connection.served_by(task.abort_handle());
}

/// Tells a client that there are too many, as far as its socket takes it at once.
fn turn_away(stream: &TcpStream) {
    let problem = Problem::new(Kind::Unavailable, "too many connections").hint("come again in a second").json();
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         retry-after: 1\r\nconnection: close\r\n\r\n",
        problem.len()
    );
    if let Err(error) = stream.try_write(&[head.as_bytes(), &problem].concat()) {
        tracing::debug!(%error, "a connection was turned away without a word");
    }
}
