//! Ports that browsers refuse to open: those of the fetch standard ("bad port"), of protocols that a page could abuse. Our
//! own default, Feast's 6566, is among them, so that the page needs a port of its own beside it.

/// From 1024 on. Source: WHATWG fetch, section "Port blocking".
const BAD_PORTS: [u16; 19] =
    [1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080];

/// Whether a browser opens pages at this port. Below 1024 only the ports of the web are taken for granted.
pub(crate) fn opens_in_browsers(port: u16) -> bool {
    if port < 1_024 { port == 80 || port == 443 } else { !BAD_PORTS.contains(&port) }
}

/// The next ports that a browser opens.
pub(crate) fn next_after(port: u16) -> impl Iterator<Item = u16> {
    (port..=u16::MAX).skip(1).filter(|next| opens_in_browsers(*next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_port_needs_another_for_the_page() {
        assert!(!opens_in_browsers(6566));
        assert_eq!(next_after(6566).take(2).collect::<Vec<_>>(), [6567, 6568]);
        assert_eq!(next_after(6664).next(), Some(6670));
        assert_eq!(next_after(u16::MAX).next(), None);
        assert!(opens_in_browsers(80) && opens_in_browsers(8080) && !opens_in_browsers(22));
    }
}
