//! Single values: what may stand behind a key.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use strait_transport::{Class, Congestion, PublicKey, SiteName, Transport};
use toml::de::DeValue;

use super::errors::Fault;
use super::quantity::{ByteSize, Rate};
use super::resolved::{CompressionLevel, OnFull};
use super::section::printable;
use super::weekdays::Weekdays;
use crate::bulk::location::Location;
use crate::forward::{AllowRule, Bypass, FlowClass};
use crate::resp::Durability;

/// More addresses than this for one gateway are a mistake.
const ADDRESSES_MAX: usize = 8;

pub(super) fn site(value: &DeValue<'_>) -> Result<SiteName, Fault> {
    text(value, "\"east\"")?.parse().map_err(|_| {
        Fault::new(
            format!("{} is no site name", shown(value)),
            "use 1 to 32 of a-z, 0-9 and '-', starting with a letter",
        )
    })
}

pub(super) fn public_key(value: &DeValue<'_>) -> Result<PublicKey, Fault> {
    text(value, "the peer's key")?.parse().map_err(|_| {
        Fault::new(
            format!("{} is no key", shown(value)),
            "a key is 52 characters of a-z and 2-7; run `strait pair` at the peer and add its \
             token here with `strait pair TOKEN`",
        )
    })
}

pub(super) fn socket_address(value: &DeValue<'_>) -> Result<SocketAddr, Fault> {
    text(value, "\"127.0.0.1:7441\"")?.parse().map_err(|_| {
        Fault::new(
            format!("{} is no IP address and port", shown(value)),
            "write it like \"127.0.0.1:7441\" or \"[::1]:7441\"",
        )
    })
}

pub(super) fn addresses(value: &DeValue<'_>) -> Result<Vec<String>, Fault> {
    let remedy = "write a list like [\"west.example:7440\"]";
    let DeValue::Array(items) = value else {
        return Err(Fault::new(format!("{} is no list", shown(value)), remedy));
    };
    if items.len() > ADDRESSES_MAX {
        return Err(Fault::new(
            format!("{} addresses are too many", items.len()),
            format!("keep at most {ADDRESSES_MAX}"),
        ));
    }
    let one = |item: &DeValue<'_>| {
        let address = text(item, "\"west.example:7440\"")?;
        check_address(address).map_err(|what| Fault::new(what, remedy))?;
        Ok(address.to_owned())
    };
    items.iter().map(|item| one(item.get_ref())).collect()
}

/// Whether a text is `host:port`, the host a name, an IPv4 address or a bracketed IPv6
/// one; says what it is otherwise.
pub fn check_address(text: &str) -> Result<(), String> {
    if text.parse::<SocketAddr>().is_ok_and(|a| a.port() != 0) {
        return Ok(());
    }
    let fault = |what| Err(format!("{:?} {what}", printable(text)));
    let Some((host, port)) = text.rsplit_once(':') else {
        return fault("has no port");
    };
    if port.parse::<u16>().ok().is_none_or(|port| port == 0) {
        return fault("does not end in a port from 1 to 65535");
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if host.is_empty() || host.len() > 253 || !host.chars().all(allowed) {
        return fault("does not begin with a host name or an IP address");
    }
    Ok(())
}

/// A size within bounds.
pub(super) fn size(bounds: RangeInclusive<u64>) -> impl FnOnce(&DeValue<'_>) -> Result<u64, Fault> {
    move |value| {
        let ByteSize(bytes) = quantity(value, "a size", "256MiB", "KiB, MiB, GiB or TiB")?;
        within(bytes, bounds, ByteSize)
    }
}

/// A rate in bits per second.
pub(super) fn rate(value: &DeValue<'_>) -> Result<u64, Fault> {
    let Rate(bits) = quantity(value, "a rate", "100Mbit/s", "kbit/s, Mbit/s or Gbit/s")?;
    within(bits, 10_000..=1_000_000_000_000, Rate)
}

/// A rate, or `"closed"`: 0.
pub(super) fn window_rate(value: &DeValue<'_>) -> Result<u64, Fault> {
    match value.as_str() {
        Some("closed") => Ok(0),
        Some(_) | None => rate(value),
    }
}

/// `"08:30"`: since midnight, up to and with `"24:00"`.
pub(super) fn time_of_day(value: &DeValue<'_>) -> Result<Duration, Fault> {
    let fault = || {
        let what = format!("{} is no time of the day", shown(value));
        Fault::new(what, "write it like \"08:30\", in UTC")
    };
    let two_digits = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u64>().ok().filter(|_| digits)
    };
    let (hour, minute) = text(value, "\"08:30\"")?
        .split_once(':')
        .ok_or_else(fault)?;
    match (two_digits(hour), two_digits(minute)) {
        (Some(hour @ 0..=23), Some(minute @ 0..=59)) => {
            Ok(Duration::from_secs(3600 * hour + 60 * minute))
        }
        (Some(24), Some(0)) => Ok(Duration::from_secs(86_400)),
        _ => Err(fault()),
    }
}

/// `["mon", "fri"]`.
pub(super) fn weekdays(value: &DeValue<'_>) -> Result<Weekdays, Fault> {
    let days = value.as_array().and_then(|items| {
        let names = items.iter().map(|item| item.get_ref().as_str());
        Weekdays::named(names.map(Option::unwrap_or_default))
    });
    days.ok_or_else(|| {
        let what = format!("{} is no list of days", shown(value));
        Fault::new(what, "write them like [\"mon\", \"tue\", \"sat\"]")
    })
}

/// `"interactive"` or `"bulk"`.
pub(super) fn window_class(value: &DeValue<'_>) -> Result<Class, Fault> {
    match value.as_str() {
        Some("interactive") => Ok(Class::Interactive),
        Some("bulk") => Ok(Class::Bulk),
        Some(_) | None => Err(Fault::new(
            format!("{} is no class that can wait", shown(value)),
            "write \"bulk\" or \"interactive\"",
        )),
    }
}

fn quantity<T: FromStr>(
    value: &DeValue<'_>,
    what: &str,
    example: &str,
    units: &str,
) -> Result<T, Fault> {
    let remedy = format!("write it like \"{example}\", with {units}");
    let parsed = value.as_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| Fault::new(format!("{} is not {what}", shown(value)), remedy))
}

/// A whole number within bounds.
pub(super) fn integer(
    bounds: RangeInclusive<u64>,
) -> impl FnOnce(&DeValue<'_>) -> Result<u64, Fault> {
    move |value| {
        let (low, high) = (*bounds.start(), *bounds.end());
        let number = number(value).ok_or_else(|| {
            Fault::new(
                format!("{} is no whole number in range", shown(value)),
                format!("write a number from {low} to {high}, without quotes"),
            )
        })?;
        within(number, bounds, |n| n)
    }
}

fn number(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn within<T: Display>(
    number: u64,
    bounds: RangeInclusive<u64>,
    shown: impl Fn(u64) -> T,
) -> Result<u64, Fault> {
    if bounds.contains(&number) {
        return Ok(number);
    }
    let (low, high) = (shown(*bounds.start()), shown(*bounds.end()));
    let what = format!("{} is out of range", shown(number));
    Err(Fault::new(what, format!("use {low} to {high}")))
}

pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, Fault> {
    value.as_bool().ok_or_else(|| {
        Fault::new(
            format!("{} is neither true nor false", shown(value)),
            "write true or false, without quotes",
        )
    })
}

pub(super) fn path(value: &DeValue<'_>) -> Result<String, Fault> {
    checked_path(text(value, "\"bulk\"")?)
}

/// A path that does not go up.
pub(super) fn checked_path(path: &str) -> Result<String, Fault> {
    if path.is_empty() || path.contains('\0') {
        return Err(Fault::new("it is no path", "name a file or directory"));
    }
    if path.split('/').any(|part| part == "..") {
        return Err(Fault::new(
            format!("\"{}\" goes up with `..`", printable(path)),
            "name it by a path without `..`; an absolute one is fine",
        ));
    }
    Ok(path.to_owned())
}

pub(super) fn compression(value: &DeValue<'_>) -> Result<CompressionLevel, Fault> {
    let level = number(value).and_then(|level| i32::try_from(level).ok());
    match level {
        Some(level @ 1..=19) => Ok(CompressionLevel::Fixed(level)),
        Some(_) | None if value.as_str() == Some("adaptive") => Ok(CompressionLevel::Adaptive),
        Some(_) | None => Err(Fault::new(
            format!("{} is no level", shown(value)),
            "write \"adaptive\", or a number from 1 to 19 without quotes",
        )),
    }
}

pub(super) fn congestion(value: &DeValue<'_>) -> Result<Congestion, Fault> {
    match value.as_str() {
        Some("strait") => Ok(Congestion::Strait),
        Some("cubic") => Ok(Congestion::Cubic),
        Some(_) | None => Err(Fault::new(
            format!("{} is no congestion control", shown(value)),
            "write \"strait\" or \"cubic\"",
        )),
    }
}

/// `"auto"`, `"quic"` or `"tcp"`.
pub(super) fn transport(value: &DeValue<'_>) -> Result<Option<Transport>, Fault> {
    match value.as_str() {
        Some("auto") => Ok(None),
        Some("quic") => Ok(Some(Transport::Quic)),
        Some("tcp") => Ok(Some(Transport::Tcp)),
        Some(_) | None => Err(Fault::new(
            format!("{} is no transport", shown(value)),
            "write \"auto\", \"quic\" or \"tcp\"",
        )),
    }
}

/// `"memory"`, `"disk"` or `"remote"`.
pub(super) fn durability(value: &DeValue<'_>) -> Result<Durability, Fault> {
    match value.as_str() {
        Some("memory") => Ok(Durability::Memory),
        Some("disk") => Ok(Durability::Disk),
        Some("remote") => Ok(Durability::Remote),
        Some(_) | None => Err(Fault::new(
            format!("{} is no durability", shown(value)),
            "write \"memory\", \"disk\" or \"remote\"",
        )),
    }
}

/// `"refuse"`, `"block"`, `"spill"` or `"shed"`.
pub(super) fn on_full(value: &DeValue<'_>) -> Result<OnFull, Fault> {
    match value.as_str() {
        Some("refuse") => Ok(OnFull::Refuse),
        Some("block") => Ok(OnFull::Block),
        Some("spill") => Ok(OnFull::Spill),
        Some("shed") => Ok(OnFull::Shed),
        Some(_) | None => Err(Fault::new(
            format!("{} is nothing that a full gateway can do", shown(value)),
            "write \"refuse\", \"block\", \"spill\" or \"shed\"",
        )),
    }
}

/// A glob pattern.
pub(super) fn pattern(value: &DeValue<'_>) -> Result<String, Fault> {
    text(value, "\"clicks*\"").map(str::to_owned)
}

/// Most patterns in `durability_of`: each write is held against them.
const PATTERNS_MAX: usize = 64;

/// `[["order:*", "remote"], …]`.
pub(super) fn durability_of(value: &DeValue<'_>) -> Result<Vec<(String, Durability)>, Fault> {
    let remedy = "write a list like [[\"order:*\", \"remote\"]], of at most 64 pairs";
    let fault = || Fault::new(format!("{} is no list of pairs", shown(value)), remedy);
    let DeValue::Array(items) = value else {
        return Err(fault());
    };
    if items.len() > PATTERNS_MAX {
        return Err(fault());
    }
    let pair = |item: &DeValue<'_>| {
        let pair = item.as_array().filter(|pair| pair.len() == 2);
        let mut parts = pair.ok_or_else(fault)?.iter().map(|part| part.get_ref());
        let (pattern, level) = parts.next().zip(parts.next()).ok_or_else(fault)?;
        Ok((text(pattern, "\"order:*\"")?.to_owned(), durability(level)?))
    };
    items.iter().map(|item| pair(item.get_ref())).collect()
}

/// A group of this system, by name; its number.
pub(super) fn group(value: &DeValue<'_>) -> Result<u32, Fault> {
    let name = text(value, "\"postgres\"")?;
    let found = uzers::get_group_by_name(name);
    found.map(|group| group.gid()).ok_or_else(|| {
        Fault::new(
            format!("{} is no group of this system", shown(value)),
            "name one of those that `getent group` lists",
        )
    })
}

/// Most rules in `forwarding.allow`, and networks in `listen.link_from`.
const ALLOW_MAX: usize = 256;

/// `["127.0.0.1:5432", …]`.
pub(super) fn allow(value: &DeValue<'_>) -> Result<Vec<AllowRule>, Fault> {
    let remedy = "write a list like [\"db.internal:5432\", \"10.0.0.0/8:443\"], of at most 256";
    allow_list(value, "targets", remedy, |text| text.parse().ok())
}

/// `["198.51.100.0/24", "2001:db8::1", …]`.
pub(super) fn networks(value: &DeValue<'_>) -> Result<Vec<IpNet>, Fault> {
    let remedy = "write a list like [\"198.51.100.0/24\", \"2001:db8::1\"], of at most 256";
    allow_list(value, "networks", remedy, |text| {
        let address = text.parse::<IpAddr>().map(IpNet::from);
        address.ok().or_else(|| text.parse().ok())
    })
}

fn allow_list<T>(
    value: &DeValue<'_>,
    of: &str,
    remedy: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, Fault> {
    let fault =
        |value: &DeValue<'_>| Fault::new(format!("{} is no list of {of}", shown(value)), remedy);
    let items = value.as_array().filter(|items| items.len() <= ALLOW_MAX);
    let item = |item: &DeValue<'_>| {
        let parsed = item.as_str().and_then(&parse);
        parsed.ok_or_else(|| fault(item))
    };
    let items = items.ok_or_else(|| fault(value))?;
    items.iter().map(|each| item(each.get_ref())).collect()
}

/// `SITE:PATH`.
pub(super) fn location(value: &DeValue<'_>) -> Result<Location, Fault> {
    let parsed = text(value, "\"west:dumps\"")?.parse();
    parsed.map_err(|error| {
        Fault::new(
            format!("{} is no place at a site: {error}", shown(value)),
            "write it like \"west:dumps\"",
        )
    })
}

/// `host:port` of a forward's target.
pub(super) fn target(value: &DeValue<'_>) -> Result<String, Fault> {
    let example = "\"127.0.0.1:5432\"";
    let target = text(value, example)?;
    check_address(target).map_err(|what| Fault::new(what, format!("write it like {example}")))?;
    Ok(target.to_owned())
}

/// `"auto"`, `"interactive"` or `"bulk"`.
pub(super) fn flow_class(value: &DeValue<'_>) -> Result<FlowClass, Fault> {
    match value.as_str() {
        Some("auto") => Ok(FlowClass::Auto),
        Some("interactive") => Ok(FlowClass::Interactive),
        Some("bulk") => Ok(FlowClass::Bulk),
        Some(_) | None => Err(Fault::new(
            format!("{} is no class", shown(value)),
            "write \"auto\", \"interactive\" or \"bulk\"",
        )),
    }
}

/// `"direct"` or `"refuse"`.
pub(super) fn bypass(value: &DeValue<'_>) -> Result<Bypass, Fault> {
    match value.as_str() {
        Some("direct") => Ok(Bypass::Direct),
        Some("refuse") => Ok(Bypass::Refuse),
        Some(_) | None => Err(Fault::new(
            format!("{} is no bypass", shown(value)),
            "write \"direct\" or \"refuse\"",
        )),
    }
}

fn text<'v>(value: &'v DeValue<'_>, example: &str) -> Result<&'v str, Fault> {
    value.as_str().ok_or_else(|| {
        Fault::new(
            format!("{} is no text", shown(value)),
            format!("write it in quotes, like {example}"),
        )
    })
}

fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{}\"", printable(text)),
        DeValue::Integer(number) => printable(&number.to_string()),
        DeValue::Float(number) => printable(number.as_str()),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
