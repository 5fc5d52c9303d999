//! What the kernel says of this process, under the names that every Prometheus client
//! library uses.

use std::fs;

use super::log_queue;

/// This process at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ProcessFigures {
    /// CPU time in the program, and in the kernel for it.
    pub(crate) user_seconds: f64,
    pub(crate) system_seconds: f64,
    pub(crate) resident_bytes: u64,
    pub(super) open_fds: u64,
    /// None: no limit.
    pub(super) fds_max: Option<u64>,
    /// Seconds since 1970; none where the kernel does not say when it was booted.
    pub(super) started_s: Option<f64>,
    /// Lines of the log that standard error did not take.
    pub(super) lost_log_lines: u64,
}

/// `None` where there is no `/proc`.
pub(crate) fn read() -> Option<ProcessFigures> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let open_fds = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    let booted_s = fs::read_to_string("/proc/stat")
        .ok()
        .and_then(|stat| booted_s(&stat));
    let fds_max = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    Some(ProcessFigures {
        fds_max,
        open_fds,
        lost_log_lines: log_queue::lost_lines(),
        ..parse(&stat, booted_s)?
    })
}

/// Resident bytes, and those of them that are pages of files; none where there is no `/proc`.
pub(crate) fn resident() -> Option<(u64, u64)> {
    parse_statm(&fs::read_to_string("/proc/self/statm").ok()?)
}

/// The second and third field of proc_pid_statm(5), in pages.
fn parse_statm(statm: &str) -> Option<(u64, u64)> {
    let mut pages = statm.split_whitespace().skip(1);
    let mut bytes = || Some(pages.next()?.parse::<u64>().ok()? * rustix::param::page_size() as u64);
    Some((bytes()?, bytes()?))
}

/// The line `btime` of proc_stat(5).
fn booted_s(stat: &str) -> Option<u64> {
    let mut times = stat.lines().filter_map(|line| line.strip_prefix("btime "));
    times.next()?.trim().parse().ok()
}

/// Fields of proc_pid_stat(5). The second, the program's name in parentheses, may hold
/// anything, so counting starts behind it.
fn parse(stat: &str, booted_s: Option<u64>) -> Option<ProcessFigures> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let fields: Vec<u64> = behind_name
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    // utime, stime, starttime and rss are fields 14, 15, 22 and 24, counted from 1 with pid.
    let seconds = |ticks: u64| ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    let since_boot_s = seconds(*fields.get(19)?);
    Some(ProcessFigures {
        user_seconds: seconds(*fields.get(11)?),
        system_seconds: seconds(*fields.get(12)?),
        resident_bytes: fields.get(21)? * rustix::param::page_size() as u64,
        open_fds: 0,
        lost_log_lines: 0,
        fds_max: None,
        started_s: booted_s.map(|booted_s| booted_s as f64 + since_boot_s),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_the_right_ones() {
        let stat =
            "7 (a) b) S 1 7 7 0 -1 0 5 0 0 0 150 50 0 0 20 0 3 0 99 8192 10 18446744073709551615 1";
        let figures = parse(stat, Some(1000)).unwrap();
        assert_eq!(
            figures.resident_bytes,
            10 * rustix::param::page_size() as u64
        );
        let ticks = |seconds| seconds * rustix::param::clock_ticks_per_second() as f64;
        assert_eq!(ticks(figures.user_seconds).round(), 150.0);
        assert_eq!(ticks(figures.system_seconds).round(), 50.0);
        let booted_for = 99.0 / rustix::param::clock_ticks_per_second() as f64;
        assert_eq!(figures.started_s, Some(1000.0 + booted_for));
        assert_eq!(parse("garbage", None), None);
        let page = rustix::param::page_size() as u64;
        assert_eq!(
            parse_statm("700 50 14 9 0 80 0"),
            Some((50 * page, 14 * page))
        );
        assert_eq!(parse_statm("700"), None);
        let here = read().unwrap();
        assert!(here.resident_bytes > 1 << 20);
        assert!(here.open_fds > 2 && here.fds_max.is_none_or(|max| max >= here.open_fds));
        let now = std::time::SystemTime::now();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
        let age = now.as_secs_f64() - here.started_s.unwrap();
        // Nothing that tests takes longer, and the boot's second is a whole one.
        assert!((-2.0..86_400.0).contains(&age), "{age}");
    }
}
