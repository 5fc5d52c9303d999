//! Numbers as people read them.

/// `1.5 MiB`, `12 GiB`, `999 B`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = usize::from(value < 9.95);
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// `12.3 s`, `4m 05s`, `3h 12m`, `5d 03h`.
pub fn seconds(duration_s: f64) -> String {
    // A negative or absurd number from another release reads as 0 or as very long.
    let whole = duration_s as u64;
    match whole {
        0..60 => format!("{:.1} s", duration_s.max(0.0)),
        60..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h {:02}m", whole / 3600, whole % 3600 / 60),
        86_400.. => format!("{}d {:02}h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_two_or_three_digits() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1 << 20, "1.0 MiB"),
            (10 << 20, "10 MiB"),
            (999 << 10, "999 KiB"),
            (1000 << 10, "1.0 MiB"),
            (u64::MAX, "16384 PiB"),
        ];
        for (count, text) in cases {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn times_and_counts() {
        for (s, text) in [
            (0.04, "0.0 s"),
            (-1.0, "0.0 s"),
            (59.94, "59.9 s"),
            (61.0, "1m 01s"),
            (7260.0, "2h 01m"),
            (200_000.0, "2d 07h"),
        ] {
            assert_eq!(seconds(s), text);
        }
        assert_eq!(count(7), "7");
        assert_eq!(count(123), "123");
        assert_eq!(count(1_234_567), "1,234,567");
    }
}
