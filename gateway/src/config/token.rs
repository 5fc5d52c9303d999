//! What two sites tell each other before they trust each other, in one line.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD_NOCASE;
use strait_transport::{PublicKey, SiteName};

use super::values::check_address;

/// `strait1:SITE:KEY:ADDRESS,ADDRESS:CHECK`. Holds no secret. The check is six letters
/// of the BLAKE3 hash of what stands before it: it catches a slip of the hand, not an
/// attacker; against one, people compare fingerprints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairToken {
    /// The site that made it.
    pub site: SiteName,
    /// Its key.
    pub key: PublicKey,
    /// Where it is reached, as `host:port`. May be empty.
    pub addresses: Vec<String>,
}

/// Why a text is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseTokenError {
    /// It does not look like one at all.
    #[error(
        "this is no token: it should begin with strait1: and be one line, as `strait pair` \
             prints it"
    )]
    NoToken,
    /// Made by another release.
    #[error(
        "this token was made by a release of strait that this one does not know; use the \
             same release at both sites"
    )]
    Version,
    /// Characters were lost or changed.
    #[error("this token is damaged: copy the whole line again, from `strait1:` to its end")]
    Damaged,
    /// Its check is right and its content is not.
    #[error("this token is not usable: {0}")]
    Content(String),
}

/// Longer than any token with the addresses that a configuration may hold.
const TOKEN_BYTES_MAX: usize = 4096;
const VERSION: &str = "strait1";

impl fmt::Display for PairToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = self.addresses.join(",");
        let body = format!("{VERSION}:{}:{}:{addresses}", self.site, self.key);
        write!(f, "{body}:{}", check(&body))
    }
}

impl FromStr for PairToken {
    type Err = ParseTokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let (version, _) = text.split_once(':').ok_or(ParseTokenError::NoToken)?;
        if text.len() > TOKEN_BYTES_MAX || !version.starts_with("strait") {
            return Err(ParseTokenError::NoToken);
        }
        if version != VERSION {
            return Err(ParseTokenError::Version);
        }
        // From both ends: the addresses in the middle may have colons of their own.
        let (body, found) = text.rsplit_once(':').ok_or(ParseTokenError::Damaged)?;
        if check(body) != found {
            return Err(ParseTokenError::Damaged);
        }
        let mut parts = body.splitn(4, ':').skip(1);
        let mut next = || parts.next().ok_or(ParseTokenError::Damaged);
        let (site, key, addresses) = (next()?, next()?, next()?);
        let content = |what: String| ParseTokenError::Content(what);
        Ok(Self {
            site: site.parse().map_err(|error| content(format!("{error}")))?,
            key: key.parse().map_err(|error| content(format!("{error}")))?,
            addresses: parse_addresses(addresses).map_err(content)?,
        })
    }
}

/// The beginning of a key, in groups, for two people on the phone to compare.
pub fn fingerprint(key: &PublicKey) -> String {
    let text = key.to_string();
    let groups = text.as_bytes().chunks(4).take(4);
    let groups: Vec<_> = groups.map(String::from_utf8_lossy).collect();
    groups.join("-")
}

fn parse_addresses(text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let check = |address: &str| check_address(address).map(|()| address.to_owned());
    text.split(',').map(check).collect()
}

fn check(body: &str) -> String {
    let hash = blake3::hash(body.as_bytes());
    let mut text = BASE32_NOPAD_NOCASE.encode(&hash.as_bytes()[..4]);
    text.truncate(6);
    text.make_ascii_lowercase();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(addresses: &[&str]) -> PairToken {
        PairToken {
            site: "east".parse().unwrap(),
            key: PublicKey::from_bytes([0x5a; 32]),
            addresses: addresses.iter().map(|&a| a.to_owned()).collect(),
        }
    }

    #[test]
    fn a_token_survives_with_any_addresses() {
        for addresses in [
            &[][..],
            &["east.example:7440"],
            &["[2001:db8::1]:7440", "10.0.0.1:9"],
        ] {
            let token = token(addresses);
            let text = token.to_string();
            assert!(!text.contains(char::is_whitespace));
            assert_eq!(format!(" {text}\n").parse(), Ok(token));
        }
    }

    #[test]
    fn every_changed_or_lost_character_is_noticed() {
        let text = token(&["east.example:7440"]).to_string();
        for at in 0..text.len() {
            assert!(text[..at].parse::<PairToken>().is_err(), "cut at {at}");
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'q' { b'r' } else { b'q' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(changed.parse::<PairToken>().is_err(), "{changed}");
        }
    }

    #[test]
    fn garbage_is_told_from_damage_and_from_the_future() {
        let parse = |text: &str| text.parse::<PairToken>().unwrap_err();
        for garbage in ["", "hello", "ssh-ed25519 AAAA", "::::", "é:é"] {
            assert_eq!(parse(garbage), ParseTokenError::NoToken, "{garbage}");
        }
        assert_eq!(parse("strait2:x"), ParseTokenError::Version);
        assert_eq!(parse("strait1:east"), ParseTokenError::Damaged);
        let body = "strait1:East:k:";
        let text = format!("{body}:{}", check(body));
        assert!(matches!(parse(&text), ParseTokenError::Content(_)));
    }

    #[test]
    fn fingerprints_are_short() {
        assert_eq!(
            fingerprint(&PublicKey::from_bytes([0; 32])),
            "aaaa-aaaa-aaaa-aaaa"
        );
    }
}
