//! Whether a call came from a page in somebody's browser that has no business here.
//!
//! Whoever can reach a listener without a token may use it; a browser on the same machine can, on behalf of any page
//! that is open in it. Such a page is known by its `Origin`, and one that had its own name resolve to this listener
//! (DNS rebinding) by `Host`. Neither curl nor Prometheus sends an `Origin`.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, header};

/// Whether a call with these fields may change something. `Origin`, when there is one, must be of the very place that
/// `Host` names; without a token that must be an address or `localhost`, which nobody can have resolve to another.
pub(super) fn is_trusted(headers: &HeaderMap, has_token: bool) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter().map(HeaderValue::as_bytes);
    let (host, None) = (hosts.next().unwrap_or_default(), hosts.next()) else { return false };
    let mut origins = headers.get_all(header::ORIGIN).iter().map(HeaderValue::as_bytes);
    (has_token || host.is_empty() || is_fixed(host))
        && origins.all(|origin| !host.is_empty() && origin.strip_prefix(b"http://") == Some(host))
}

fn is_fixed(host: &[u8]) -> bool {
    let Some(authority) = filters::host::parse(host) else { return false };
    let name = authority.host.trim_matches(['[', ']']);
    name == "localhost" || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusts(host: &[&str], origin: &[&str], has_token: bool) -> bool {
        let mut headers = HeaderMap::new();
        let values = host.iter().map(|host| (header::HOST, host));
        for (name, value) in values.chain(origin.iter().map(|origin| (header::ORIGIN, origin))) {
            headers.append(name, value.parse().unwrap());
        }
        is_trusted(&headers, has_token)
    }

    #[test]
    fn takes_what_no_browser_sent_and_what_its_own_page_sent() {
        for host in ["127.0.0.1:9145", "localhost", "LocalHost:9145", "[::1]:9145", "192.0.2.1"] {
            assert!(trusts(&[host], &[], false), "{host}");
            assert!(trusts(&[host], &[&format!("http://{host}")], false), "{host}");
        }
        assert!(trusts(&[], &[], false), "no browser is without a host");
        assert!(trusts(&["gate.example"], &[], true), "the token is enough");
        assert!(trusts(&["gate.example"], &["http://gate.example"], true));
    }

    #[test]
    fn refuses_what_another_page_sent() {
        let here = "127.0.0.1:9145";
        for origin in [
            "http://evil.example",
            "null",
            "",
            "http://127.0.0.1",
            "https://127.0.0.1:9145",
            "http://127.0.0.1:91455",
        ] {
            assert!(!trusts(&[here], &[origin], false), "{origin}");
            assert!(!trusts(&[here], &[origin], true), "{origin}");
        }
        assert!(!trusts(&[here], &["http://127.0.0.1:9145", "http://evil.example"], false));
        assert!(!trusts(&[], &["http://"], false));
    }

    #[test]
    fn refuses_a_name_that_was_made_to_lead_here() {
        for host in
            ["evil.example", "evil.example:9145", "localhost.evil.example", "127.0.0.1.evil.example", "a b"]
        {
            assert!(!trusts(&[host], &[], false), "{host}");
            assert!(!trusts(&[host], &[&format!("http://{host}")], false), "{host}");
        }
        assert!(!trusts(&["127.0.0.1", "evil.example"], &[], false));
        assert!(!trusts(&["127.0.0.1", "evil.example"], &[], true));
    }
}
