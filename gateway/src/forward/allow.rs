//! Which addresses a peer may have this gateway connect to.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;

use super::message::Refusal;

/// Longest target: a host name, a colon and a port.
pub(super) const TARGET_BYTES_MAX: usize = 253 + 6;

/// `HOST:PORT`. The host is a name, an IP address or a network in CIDR form; the port a
/// number or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowRule {
    host: Host,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// Exactly this name, whatever it resolves to.
    Name(String),
    Net(IpNet),
}

/// A text that is no [`AllowRule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no HOST:PORT, NETWORK/BITS:PORT or HOST:*")]
pub struct AllowRuleError;

impl FromStr for AllowRule {
    type Err = AllowRuleError;

    fn from_str(text: &str) -> Result<Self, AllowRuleError> {
        let (host, port) = split(text).ok_or(AllowRuleError)?;
        let port = match port {
            "*" => None,
            port => Some(port.parse().map_err(|_| AllowRuleError)?),
        };
        let host = if let Ok(ip) = host.parse::<IpAddr>() {
            Host::Net(ip.into())
        } else if let Ok(net) = host.parse::<IpNet>() {
            Host::Net(net)
        } else if is_name(host) {
            Host::Name(host.to_ascii_lowercase())
        } else {
            return Err(AllowRuleError);
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for AllowRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => write!(f, "{name}:")?,
            Host::Net(net) if net.addr().is_ipv6() => write!(f, "[{net}]:")?,
            Host::Net(net) => write!(f, "{net}:")?,
        }
        match self.port {
            Some(port) => write!(f, "{port}"),
            None => f.write_str("*"),
        }
    }
}

fn is_name(host: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    !host.is_empty() && host.len() <= 253 && host.chars().all(allowed)
}

/// Host, without its brackets, and port.
fn split(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    Some((bare.unwrap_or(host), port))
}

/// The addresses of `target` that `rules` allow; at least one.
pub(super) async fn resolve(rules: &[AllowRule], target: &str) -> Result<Vec<SocketAddr>, Refusal> {
    let (host, port) = split(target).ok_or(Refusal::NotAllowed)?;
    let port: u16 = port.parse().map_err(|_| Refusal::NotAllowed)?;
    if target.len() > TARGET_BYTES_MAX || !(is_name(host) || host.parse::<IpAddr>().is_ok()) {
        return Err(Refusal::NotAllowed);
    }
    let rules = rules.iter().filter(|r| r.port.is_none_or(|p| p == port));
    let rules: Vec<_> = rules.map(|rule| &rule.host).collect();
    let by_name = |rule: &&Host| matches!(rule, Host::Name(n) if n.eq_ignore_ascii_case(host));
    let named = rules.iter().any(by_name);
    // Nobody has us ask the DNS for names that cannot be allowed.
    if rules.is_empty() {
        return Err(Refusal::NotAllowed);
    }
    let in_net = |ip: IpAddr| {
        let holds = |rule: &&Host| matches!(rule, Host::Net(net) if net.contains(&ip));
        rules.iter().any(holds)
    };
    let found = tokio::net::lookup_host((host, port)).await;
    let found = found.map_err(|error| Refusal::unreachable(&error))?;
    let allowed: Vec<_> = found
        .filter(|address| named || in_net(address.ip().to_canonical()))
        .collect();
    if allowed.is_empty() {
        return Err(Refusal::NotAllowed);
    }
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(texts: &[&str]) -> Vec<AllowRule> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn rules_are_read_and_shown() {
        for text in [
            "db.internal:5432",
            "10.0.0.0/8:*",
            "127.0.0.1/32:80",
            "[fd00::/8]:443",
        ] {
            assert_eq!(text.parse::<AllowRule>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "db",
            "db:",
            "db:x",
            "db:70000",
            "10.0.0.0/40:1",
            "a b:1",
            ":1",
            "*:1",
        ] {
            assert_eq!(bad.parse::<AllowRule>(), Err(AllowRuleError), "{bad}");
        }
    }

    #[tokio::test]
    async fn only_what_a_rule_names_is_reached() {
        let allow = rules(&["127.0.0.0/8:80", "LOCALHOST:81", "[::1]:82"]);
        for target in ["127.0.0.1:80", "127.9.9.9:80", "localhost:81", "[::1]:82"] {
            assert!(resolve(&allow, target).await.is_ok(), "{target}");
        }
        for target in [
            "127.0.0.1:81", // the name is allowed, its address alone is not
            "127.0.0.1:82",
            "10.0.0.1:80",
            "[::1]:80",
            "[::ffff:10.0.0.1]:80",
            "127.0.0.1",
            "127.0.0.1:http",
            "a b:80",
            "",
        ] {
            let refused = resolve(&allow, target).await;
            assert_eq!(refused, Err(Refusal::NotAllowed), "{target}");
        }
        assert_eq!(resolve(&[], "127.0.0.1:80").await, Err(Refusal::NotAllowed));
    }
}
