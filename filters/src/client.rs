//! The client's address, as far as the proxies in front can be believed.

use std::net::{IpAddr, Ipv6Addr};

use http::HeaderMap;
use ipnet::IpNet;

/// The first untrusted address from the right of `X-Forwarded-For` (all lines joined) when the peer is trusted, else
/// the peer. When every entry is trusted, the leftmost. An entry that is no address ends the search: what stands to
/// its left was written by somebody unknown, so the last good one counts. Entries may carry ports and brackets.
/// IPv4-mapped IPv6 addresses are IPv4. Costs a walk over `trusted` per entry.
pub fn address(peer: IpAddr, trusted: &[IpNet], headers: &HeaderMap) -> IpAddr {
    let mut client = peer.to_canonical();
    if !is_trusted(client, trusted) {
        return client;
    }
    for line in headers.get_all("x-forwarded-for").iter().rev() {
        for entry in line.as_bytes().rsplit(|&byte| byte == b',') {
            let Some(address) = parse_entry(entry) else { return client };
            client = address;
            if !is_trusted(client, trusted) {
                return client;
            }
        }
    }
    client
}

/// Whether an address is in one of the networks.
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|net| net.contains(&address))
}

/// What an address counts as where requests are counted: IPv6 by its /64, since whoever has one address has them all.
pub fn rate_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`, also in quotes.
fn parse_entry(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Ok(address) = text.parse::<std::net::SocketAddr>() {
        return Some(address.ip().to_canonical());
    }
    let inside = text.strip_prefix('[')?.strip_suffix(']')?;
    inside.parse::<Ipv6Addr>().ok().map(|address| IpAddr::V6(address).to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(peer: &str, lines: &[&str]) -> String {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"].iter().map(|net| net.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        address(peer.parse().unwrap(), &trusted, &headers).to_string()
    }

    #[test]
    fn an_untrusted_peer_speaks_for_itself_alone() {
        assert_eq!(client("192.0.2.9", &["198.51.100.1"]), "192.0.2.9");
        assert_eq!(client("::ffff:192.0.2.9", &["198.51.100.1"]), "192.0.2.9");
    }

    #[test]
    fn a_trusted_peer_names_its_client() {
        assert_eq!(client("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("::ffff:10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("fd00::1", &["2001:db8::5"]), "2001:db8::5");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn what_the_client_wrote_itself_is_passed_over() {
        assert_eq!(client("10.0.0.1", &["1.1.1.1, 198.51.100.1, 10.2.3.4"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["1.1.1.1", "198.51.100.1,10.2.3.4", "10.9.9.9"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["10.0.0.7, 10.0.0.8"]), "10.0.0.7");
    }

    #[test]
    fn an_entry_that_is_no_address_ends_the_search() {
        assert_eq!(client("10.0.0.1", &["1.1.1.1, unknown, 10.0.0.8"]), "10.0.0.8");
        assert_eq!(client("10.0.0.1", &["1.1.1.1,, 10.0.0.8"]), "10.0.0.8");
        assert_eq!(client("10.0.0.1", &["1.1.1.1, "]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["fe80::1%eth0"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["198.51.100.01"]), "10.0.0.1");
    }

    #[test]
    fn entries_may_carry_ports_brackets_and_quotes() {
        for (entry, address) in [
            ("198.51.100.1:4711", "198.51.100.1"),
            ("[2001:db8::5]:4711", "2001:db8::5"),
            ("[2001:db8::5]", "2001:db8::5"),
            ("\"[2001:db8::5]:1\"", "2001:db8::5"),
            ("::ffff:198.51.100.1", "198.51.100.1"),
            ("\t198.51.100.1 ", "198.51.100.1"),
        ] {
            assert_eq!(client("10.0.0.1", &[entry]), address, "{entry}");
        }
    }

    #[test]
    fn a_64_counts_as_one() {
        let key = |text: &str| rate_key(text.parse().unwrap()).to_string();
        assert_eq!(key("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(key("192.0.2.7"), "192.0.2.7");
        assert_eq!(key("::ffff:192.0.2.7"), "192.0.2.7");
    }

    proptest! {
        #[test]
        fn nothing_in_the_header_moves_an_untrusted_peer(value in "[ -~]{0,80}") {
            prop_assert_eq!(client("192.0.2.9", &[&value]), "192.0.2.9");
        }

        #[test]
        fn nothing_left_of_an_untrusted_address_counts(value in "[ -~]{0,80}") {
            prop_assert_eq!(client("10.0.0.1", &[&format!("{value},198.51.100.1, 10.0.0.2")]), "198.51.100.1");
        }
    }
}
