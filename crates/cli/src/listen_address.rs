//! The address that the server listens on, as typed, and where a browser on the same machine finds it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where `asof run` listens and `asof get` asks: this machine only, on the port of feature servers.
pub(crate) const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 6566);

/// The address that `text` says: an IP address or `localhost`, and a port.
pub(crate) fn parse(text: &str) -> Result<SocketAddr, String> {
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    numeric.parse().map_err(|_| {
        "expected an IP address and a port, such as `127.0.0.1:6566`, or `0.0.0.0:6566` for every network of this machine"
            .to_owned()
    })
}

/// The URL, without a slash at its end. An address that stands for all of the machine's is asked for on this machine.
pub(crate) fn url(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let cases = [
            ("127.0.0.1:6566", Some("http://127.0.0.1:6566")),
            ("localhost:0", Some("http://127.0.0.1:0")),
            ("0.0.0.0:80", Some("http://127.0.0.1:80")),
            ("[::]:80", Some("http://[::1]:80")),
            ("6566", None),
            (":6566", None),
            ("127.0.0.1", None),
            ("127.0.0.1:65536", None),
            ("example.org:80", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).ok().map(url).as_deref(), expected, "{text}");
        }
    }
}
