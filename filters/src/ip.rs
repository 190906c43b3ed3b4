//! Which clients may ask: `allow_ips` and `deny_ips`.
//!
//! Passes when no denied network has the client's address, and an allowed one has it or there are none. An IPv4
//! address written as IPv6 (`::ffff:192.0.2.1`) counts as IPv4, in the lists and in the client. The search is a
//! binary one in networks that do not overlap.

use std::net::IpAddr;

use config::RuleName;
use ipnet::{IpNet, Ipv4Net};
use pingora_http::RequestHeader;

use crate::denial::{Denial, Reason};
use crate::facts::Facts;
use crate::filter::{Filter, Judgement};

/// The two lists of a route.
#[derive(Debug)]
pub struct Addresses {
    allow: Option<Networks>,
    deny: Networks,
}

impl Addresses {
    /// None when both lists are empty.
    pub fn build(allow: &[IpNet], deny: &[IpNet]) -> Option<Self> {
        if allow.is_empty() && deny.is_empty() {
            return None;
        }
        Some(Self { allow: (!allow.is_empty()).then(|| Networks::new(allow)), deny: Networks::new(deny) })
    }

    fn may(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        !self.deny.contain(client) && self.allow.as_ref().is_none_or(|allow| allow.contain(client))
    }
}

impl Filter for Addresses {
    fn name(&self) -> RuleName {
        RuleName::Ip
    }

    fn judge(&self, _request: &mut RequestHeader, facts: &Facts<'_>) -> Judgement {
        if self.may(facts.client) {
            return Judgement::PASS;
        }
        Judgement::deny(Denial::new(Reason::IpDenied, "the route does not take this client's address"))
    }
}

/// Networks in ascending order, none inside another.
#[derive(Debug)]
struct Networks(Vec<IpNet>);

impl Networks {
    fn new(networks: &[IpNet]) -> Self {
        let canonical = networks.iter().map(|net| canonical(*net)).collect();
        let mut disjoint = IpNet::aggregate(&canonical);
        disjoint.sort_by_key(IpNet::network);
        Self(disjoint)
    }

    fn contain(&self, address: IpAddr) -> bool {
        let after = self.0.partition_point(|net| net.network() <= address);
        after.checked_sub(1).is_some_and(|at| self.0[at].contains(&address))
    }
}

fn canonical(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net.trunc() };
    match (v6.network().to_ipv4_mapped(), v6.prefix_len().checked_sub(96)) {
        (Some(v4), Some(prefix)) => Ipv4Net::new(v4, prefix).map_or(net.trunc(), |v4| IpNet::V4(v4.trunc())),
        _ => net.trunc(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn may(allow: &[&str], deny: &[&str], client: &str) -> bool {
        Addresses::build(&nets(allow), &nets(deny)).unwrap().may(client.parse().unwrap())
    }

    #[test]
    fn takes_allowed_clients_only() {
        let allow = ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"];
        for client in ["10.0.0.0", "10.255.255.255", "192.0.2.7", "2001:db8::1", "::ffff:10.1.2.3"] {
            assert!(may(&allow, &[], client), "{client}");
        }
        for client in ["9.255.255.255", "11.0.0.0", "192.0.2.8", "2001:db9::", "::1", "0.0.0.0", "::a00:1"] {
            assert!(!may(&allow, &[], client), "{client}");
        }
    }

    #[test]
    fn deny_wins() {
        assert!(!may(&["10.0.0.0/8"], &["10.1.0.0/16"], "10.1.2.3"));
        assert!(may(&["10.0.0.0/8"], &["10.1.0.0/16"], "10.2.0.1"));
        assert!(may(&[], &["10.1.0.0/16"], "192.0.2.1"));
        assert!(!may(&[], &["0.0.0.0/0", "::/0"], "192.0.2.1"));
    }

    #[test]
    fn lists_may_overlap_and_be_written_carelessly() {
        assert!(may(&["10.0.0.0/8", "10.1.0.0/16", "10.1.1.1/32"], &[], "10.200.0.1"));
        assert!(may(&["10.1.2.3/8"], &[], "10.9.9.9"));
        assert!(may(&["::ffff:10.0.0.0/104"], &[], "10.9.9.9"));
        assert!(Addresses::build(&[], &[]).is_none());
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_a_plain_search(
            list in proptest::collection::vec((proptest::prelude::any::<u32>(), 0u8..=32), 1..20),
            client in proptest::prelude::any::<u32>(), near in 0usize..20
        ) {
            let list: Vec<IpNet> = list.iter().map(|(bits, len)| IpNet::new(IpAddr::V4((*bits).into()), *len).unwrap()).collect();
            let networks = Networks::new(&list);
            let edge = list[near % list.len()];
            for address in [IpAddr::V4(client.into()), edge.network(), edge.broadcast()] {
                let plain = list.iter().any(|net| net.contains(&address));
                proptest::prop_assert_eq!(networks.contain(address), plain);
            }
        }
    }
}
