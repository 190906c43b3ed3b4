//! The PROXY protocol, versions 1 and 2: who connected to the balancer in front. The caller asks for it only of
//! peers that it trusts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of the longest header: a version 2 header may announce at most 4 KB; one of version 1 ends within 107.
pub const MAX_HEADER: usize = V2_HEAD + V2_MAX_BODY;

const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_HEAD: usize = 16;
const V2_MAX_BODY: usize = 4096;
const V1_MAX: usize = 107;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a header; ask again with more bytes, at most `MAX_HEADER`.
    Partial,
    /// A whole header. What follows `consumed` bytes is the client's.
    Header {
        /// Source and destination; `None` when the balancer speaks for itself (LOCAL, UNKNOWN, Unix sockets).
        addresses: Option<(SocketAddr, SocketAddr)>,
        /// Bytes of the header.
        consumed: usize,
    },
    /// No header: close the connection.
    Invalid,
}

/// Reads a header from the first bytes of a connection. No allocation; extensions (TLVs) are skipped.
pub fn parse(bytes: &[u8]) -> Parsed {
    let shared = bytes.len().min(V2_SIGNATURE.len());
    if bytes[..shared] == V2_SIGNATURE[..shared] {
        return if bytes.len() < V2_HEAD { Parsed::Partial } else { parse_v2(bytes) };
    }
    parse_v1(bytes)
}

fn parse_v1(bytes: &[u8]) -> Parsed {
    let start = b"PROXY ";
    let shared = bytes.len().min(start.len());
    if bytes[..shared] != start[..shared] {
        return Parsed::Invalid;
    }
    let window = &bytes[..bytes.len().min(V1_MAX)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if bytes.len() < V1_MAX { Parsed::Partial } else { Parsed::Invalid };
    };
    let line = window[..end].strip_suffix(b"\r").and_then(|line| std::str::from_utf8(line).ok());
    match line.and_then(v1_addresses) {
        Some(addresses) => Parsed::Header { addresses, consumed: end + 1 },
        None => Parsed::Invalid,
    }
}

fn v1_addresses(line: &str) -> Option<Option<(SocketAddr, SocketAddr)>> {
    let mut words = line.strip_prefix("PROXY ")?.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(None);
    }
    let (source, destination) = (words.next()?, words.next()?);
    let (source_port, destination_port) = (port(words.next()?)?, port(words.next()?)?);
    if words.next().is_some() {
        return None;
    }
    let (source, destination) = match family {
        "TCP4" => (IpAddr::V4(source.parse().ok()?), IpAddr::V4(destination.parse().ok()?)),
        "TCP6" => (IpAddr::V6(source.parse().ok()?), IpAddr::V6(destination.parse().ok()?)),
        _ => return None,
    };
    Some(Some((address(source, source_port), address(destination, destination_port))))
}

fn port(digits: &str) -> Option<u16> {
    let canonical =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    canonical.then(|| digits.parse().ok()).flatten()
}

fn parse_v2(bytes: &[u8]) -> Parsed {
    let length = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    let (version, command, family) = (bytes[12] >> 4, bytes[12] & 15, bytes[13]);
    if version != 2 || command > 1 || length > V2_MAX_BODY {
        return Parsed::Invalid;
    }
    let consumed = V2_HEAD + length;
    let Some(body) = bytes.get(V2_HEAD..consumed) else { return Parsed::Partial };
    let local = command == 0;
    let addresses = match family {
        _ if local => None,
        0x11 => match v4(body) {
            Some(addresses) => Some(addresses),
            None => return Parsed::Invalid,
        },
        0x21 => match v6(body) {
            Some(addresses) => Some(addresses),
            None => return Parsed::Invalid,
        },
        // Unspecified and Unix sockets: nothing that a rule could use.
        0x00 | 0x31 | 0x32 => None,
        _ => return Parsed::Invalid,
    };
    Parsed::Header { addresses, consumed }
}

fn v4(body: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (source, rest) = body.split_first_chunk::<4>()?;
    let (destination, rest) = rest.split_first_chunk::<4>()?;
    let (ports, _) = rest.split_first_chunk::<4>()?;
    Some(pair(Ipv4Addr::from(*source).into(), Ipv4Addr::from(*destination).into(), *ports))
}

fn v6(body: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (source, rest) = body.split_first_chunk::<16>()?;
    let (destination, rest) = rest.split_first_chunk::<16>()?;
    let (ports, _) = rest.split_first_chunk::<4>()?;
    Some(pair(Ipv6Addr::from(*source).into(), Ipv6Addr::from(*destination).into(), *ports))
}

fn pair(source: IpAddr, destination: IpAddr, [a, b, c, d]: [u8; 4]) -> (SocketAddr, SocketAddr) {
    (address(source, u16::from_be_bytes([a, b])), address(destination, u16::from_be_bytes([c, d])))
}

fn address(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip.to_canonical(), port)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(source: &str, destination: &str, consumed: usize) -> Parsed {
        Parsed::Header { addresses: Some((source.parse().unwrap(), destination.parse().unwrap())), consumed }
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = V2_SIGNATURE.to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn reads_version_1() {
        let line = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\nGET /";
        assert_eq!(parse(line), header("192.0.2.1:56324", "198.51.100.1:443", 45));
        assert_eq!(parse(b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n"), header("[2001:db8::1]:1", "[::1]:2", 32));
        assert_eq!(parse(b"PROXY UNKNOWN\r\n"), Parsed::Header { addresses: None, consumed: 15 });
        assert_eq!(
            parse(b"PROXY UNKNOWN ff:: ff:: 1 1\r\n"),
            Parsed::Header { addresses: None, consumed: 29 }
        );
    }

    #[test]
    fn reads_version_2_and_skips_its_extensions() {
        let body = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 0x04, 0x01, 0xbb, 0x04, 0, 1, 9];
        let mut bytes = v2(1, 0x11, &body);
        bytes.extend(b"GET /");
        assert_eq!(parse(&bytes), header("192.0.2.1:56324", "198.51.100.1:443", 32));
        let mut six = Ipv6Addr::LOCALHOST.octets().to_vec();
        six.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        six.extend([0, 1, 0, 2]);
        assert_eq!(parse(&v2(1, 0x21, &six)), header("[::1]:1", "[2001:db8::1]:2", 52));
    }

    #[test]
    fn a_balancer_may_speak_for_itself() {
        assert_eq!(parse(&v2(0, 0, b"")), Parsed::Header { addresses: None, consumed: 16 });
        assert_eq!(parse(&v2(0, 0x11, b"x")), Parsed::Header { addresses: None, consumed: 17 });
        assert_eq!(parse(&v2(1, 0x31, &[0; 216])), Parsed::Header { addresses: None, consumed: 232 });
    }

    #[test]
    fn refuses_everything_else() {
        for line in [
            "GET / HTTP/1.1\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 65536\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 01 1\r\n",
            "PROXY TCP4 192.0.2.1  198.51.100.1 1 1\r\n",
            "PROXY TCP4 ::1 ::1 1 1\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 1 \r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 1\n",
            "PROXY UDP4 192.0.2.1 198.51.100.1 1 1\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 + 1\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1  1\r\n",
            "proxy ",
            "PROXY\t",
        ] {
            assert_eq!(parse(line.as_bytes()), Parsed::Invalid, "{line:?}");
        }
        assert_eq!(parse(&[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 100]].concat()), Parsed::Invalid);
        assert_eq!(parse(&v2(2, 0x11, &[0; 12])), Parsed::Invalid);
        assert_eq!(parse(&v2(1, 0x11, &[0; 11])), Parsed::Invalid);
        assert_eq!(parse(&v2(1, 0x21, &[0; 35])), Parsed::Invalid);
        assert_eq!(parse(&v2(1, 0x12, &[0; 12])), Parsed::Invalid);
        assert_eq!(parse(&v2(1, 0x11, &[0; 4097])[..16]), Parsed::Invalid);
        let mut old = v2(1, 0x11, &[0; 12]);
        old[12] = 0x11;
        assert_eq!(parse(&old), Parsed::Invalid);
    }

    #[test]
    fn every_beginning_of_a_header_is_partial() {
        for whole in [b"PROXY TCP4 192.0.2.1 198.51.100.1 1 443\r\n".to_vec(), v2(1, 0x11, &[1; 20])] {
            for end in 0..whole.len() {
                assert_eq!(parse(&whole[..end]), Parsed::Partial, "{end}");
            }
            assert!(matches!(parse(&whole), Parsed::Header { consumed, .. } if consumed == whole.len()));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), signed in any::<bool>()) {
            let bytes = if signed { [V2_SIGNATURE.as_slice(), &bytes].concat() } else { bytes };
            if let Parsed::Header { consumed, .. } = parse(&bytes) {
                prop_assert!(consumed <= bytes.len() && consumed <= MAX_HEADER);
            }
        }
    }
}
