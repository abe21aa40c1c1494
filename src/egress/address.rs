//! Which addresses a connection may go to. Names are checked by what they resolve to, never by how they look.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use ipnet::IpNet;

/// Behind these lie a machine's own helpers and a cloud's keys: a wide network in a ceiling does not open them, only one
/// that lies inside them.
const GUARDED: [&str; 7] =
    ["169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", "fe80::/10", "fd00:ec2::/32", "fd20:ce::/32"];

/// Not public, but a ceiling may name them (RFC 6890 and its successors).
const PRIVATE: [&str; 13] = [
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "::1/128",
    "fc00::/7",
    "2001:db8::/32",
];

/// Never a target: "this host", multicast, reserved, and IPv6 that carries an IPv4 address inside.
const NEVER: [&str; 11] = [
    "0.0.0.0/8",
    "192.88.99.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "2001::/23",
    "2002::/16",
    "3fff::/20",
    "ff00::/8",
];

/// What stands against an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objection {
    /// The ceiling would allow it with this network.
    Outside {
        network: String,
    },
    Never {
        why: &'static str,
    },
}

fn within(ip: IpAddr, networks: &[&str]) -> Option<IpNet> {
    networks.iter().filter_map(|network| network.parse::<IpNet>().ok()).find(|network| network.contains(&ip))
}

/// `::ffff:10.0.0.1` is 10.0.0.1, in every check and when connecting.
pub fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// `networks`: what the tenant's ceiling names, in CIDR form. `own`: Windlass's listeners and database.
pub fn check(address: SocketAddr, networks: &[String], own: &[SocketAddr]) -> Result<(), Objection> {
    let ip = plain(address).ip();
    if own.iter().any(|own| is_own(*own, plain(address))) {
        return Err(Objection::Never { why: "it is Windlass's own" });
    }
    let allowed: Vec<IpNet> = networks.iter().filter_map(|network| parse(network)).collect();
    if let Some(guarded) = within(ip, &GUARDED) {
        let named = allowed.iter().any(|network| guarded.contains(network) && network.contains(&ip));
        return if named { Ok(()) } else { Err(Objection::Outside { network: format!("{}/{}", ip, guarded.max_prefix_len()) }) };
    }
    let loopback = ip == IpAddr::V6(Ipv6Addr::LOCALHOST);
    if !loopback && within(ip, &NEVER).is_some() {
        return Err(Objection::Never { why: "it is no address of a host" });
    }
    // Of IPv6 only 2000::/3 is given out at all.
    let unassigned = matches!(ip, IpAddr::V6(v6) if v6.segments()[0] & 0xe000 != 0x2000);
    if (unassigned || within(ip, &PRIVATE).is_some()) && !allowed.iter().any(|network| network.contains(&ip)) {
        let network = match ip {
            IpAddr::V4(v4) if v4.is_loopback() => "127.0.0.0/8".to_owned(),
            IpAddr::V4(v4) => format!("{v4}/32"),
            IpAddr::V6(v6) => format!("{v6}/128"),
        };
        return Err(Objection::Outside { network });
    }
    Ok(())
}

/// A network, or a single address without a mask.
fn parse(network: &str) -> Option<IpNet> {
    network.parse().ok().or_else(|| network.parse::<IpAddr>().ok().map(IpNet::from))
}

/// A listener on all addresses answers on every address of this machine; binding to an address tells whether it is one.
fn is_own(own: SocketAddr, target: SocketAddr) -> bool {
    if own.port() != target.port() {
        return false;
    }
    let (own, ip) = (plain(own).ip(), target.ip());
    own == ip || own.is_unspecified() && (ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok())
        // 0.0.0.0 as a target is this machine.
        || ip == IpAddr::V4(Ipv4Addr::UNSPECIFIED) || ip == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(ip: &str, networks: &[&str]) -> Result<(), Objection> {
        let networks: Vec<String> = networks.iter().map(|n| (*n).to_owned()).collect();
        check(SocketAddr::new(ip.parse().unwrap(), 80), &networks, &[])
    }

    #[test]
    fn public_addresses_need_no_entry() {
        for ip in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "192.0.1.1", "172.15.0.1"] {
            assert_eq!(verdict(ip, &[]), Ok(()), "{ip}");
        }
    }

    #[test]
    fn private_addresses_need_the_ceiling() {
        for ip in ["127.0.0.1", "10.1.2.3", "192.168.0.1", "172.31.0.1", "100.64.0.1", "::1", "fd12::1", "::ffff:10.0.0.1"] {
            assert!(matches!(verdict(ip, &[]), Err(Objection::Outside { .. })), "{ip}");
        }
        assert_eq!(verdict("127.0.0.1", &[]), Err(Objection::Outside { network: "127.0.0.0/8".into() }));
        assert_eq!(verdict("10.1.2.3", &[]), Err(Objection::Outside { network: "10.1.2.3/32".into() }));
        assert_eq!(verdict("127.0.0.1", &["127.0.0.0/8"]), Ok(()));
        assert_eq!(verdict("::ffff:127.0.0.1", &["127.0.0.1"]), Ok(()));
        assert_eq!(verdict("::1", &["::1/128"]), Ok(()));
        assert!(verdict("10.1.2.3", &["10.2.0.0/16"]).is_err());
    }

    #[test]
    fn metadata_is_opened_by_its_own_name_only() {
        assert!(verdict("169.254.169.254", &["0.0.0.0/0"]).is_err());
        assert_eq!(verdict("169.254.169.254", &[]), Err(Objection::Outside { network: "169.254.169.254/32".into() }));
        assert_eq!(verdict("169.254.169.254", &["169.254.169.254/32"]), Ok(()));
        assert!(verdict("fe80::1", &["::/0"]).is_err());
    }

    #[test]
    fn some_are_never_a_target() {
        for ip in ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "64:ff9b::a00:1", "2002:a00:1::", "ff02::1"] {
            assert!(matches!(verdict(ip, &["0.0.0.0/0", "::/0"]), Err(Objection::Never { .. })), "{ip}");
        }
    }

    #[test]
    fn windlass_itself_is_never_a_target() {
        let networks = ["127.0.0.0/8".to_owned()];
        let own: Vec<SocketAddr> = vec!["127.0.0.1:7171".parse().unwrap(), "0.0.0.0:7172".parse().unwrap()];
        let ask = |address: &str| check(address.parse().unwrap(), &networks, &own);
        assert!(ask("127.0.0.1:7171").is_err() && ask("127.0.0.1:7172").is_err() && ask("127.0.0.5:7172").is_err());
        assert!(ask("127.0.0.1:7173").is_ok());
    }
}
