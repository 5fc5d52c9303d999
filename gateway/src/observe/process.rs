//! What the kernel says of this process, under the names that every Prometheus client
//! library uses.

use std::fs;

/// This process at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ProcessFigures {
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: u64,
    pub(super) open_fds: u64,
}

/// `None` where there is no `/proc`.
pub(super) fn read() -> Option<ProcessFigures> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let open_fds = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    parse(&stat, open_fds)
}

/// Fields of proc_pid_stat(5). The second, the program's name in parentheses, may hold
/// anything, so counting starts behind it.
fn parse(stat: &str, open_fds: u64) -> Option<ProcessFigures> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let fields: Vec<u64> = behind_name
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    // utime, stime and rss are fields 14, 15 and 24, counted from 1 with pid.
    let ticks = fields.get(11)? + fields.get(12)?;
    Some(ProcessFigures {
        cpu_seconds: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
        resident_bytes: fields.get(21)? * rustix::param::page_size() as u64,
        open_fds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_the_right_ones() {
        let stat =
            "7 (a) b) S 1 7 7 0 -1 0 5 0 0 0 150 50 0 0 20 0 3 0 99 8192 10 18446744073709551615 1";
        let figures = parse(stat, 4).unwrap();
        assert_eq!(
            figures.resident_bytes,
            10 * rustix::param::page_size() as u64
        );
        let ticks = figures.cpu_seconds * rustix::param::clock_ticks_per_second() as f64;
        assert_eq!(ticks.round(), 200.0);
        assert_eq!(parse("garbage", 0), None);
        assert!(read().unwrap().resident_bytes > 1 << 20);
    }
}
