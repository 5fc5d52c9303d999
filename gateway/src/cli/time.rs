//! Times as people write them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Reads `2026-01-31T12:00:00Z` (or with a space, or without the Z: always UTC) as
/// milliseconds since 1970.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    let time = humantime::parse_rfc3339_weak(text)
        .map_err(|_| format!("{text:?} is no time: write it like 2026-01-31T12:00:00Z"))?;
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Milliseconds since 1970 as date and time in UTC.
pub(super) fn rfc3339(ms: u64) -> String {
    // What no calendar holds comes from a damaged name.
    const MS_MAX: u64 = 253_402_300_799_999;
    let time: SystemTime = UNIX_EPOCH + Duration::from_millis(ms.min(MS_MAX));
    humantime::format_rfc3339_millis(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back() {
        let ms = parse("2026-01-31T12:00:00Z").unwrap();
        assert_eq!(rfc3339(ms), "2026-01-31T12:00:00.000Z");
        assert_eq!(parse("2026-01-31 12:00:00.250"), Ok(ms + 250));
        assert!(parse("yesterday").is_err());
        rfc3339(u64::MAX);
    }
}
