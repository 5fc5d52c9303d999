//! Hours in which a class may use less of each link.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use strait_transport::{Class, LinkHandle};
use tracing::info;

use crate::config::Window;

/// How often the clock is looked at.
const EVERY: Duration = Duration::from_secs(1);
const DAY_S: u64 = 86_400;

/// Tells the links at each change, for ever.
pub(super) async fn run(windows: Vec<Window>, links: Vec<LinkHandle>) {
    let mut told = [None; Class::COUNT];
    loop {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let second = now.unwrap_or_default().as_secs();
        for class in Class::ALL {
            let rate = rate_at(&windows, class, second);
            if std::mem::replace(&mut told[class.index()], rate) != rate {
                info!(class = class.name(), bits_s = ?rate, "another window begins");
                links
                    .iter()
                    .for_each(|link| link.set_class_rate(class, rate));
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// What a class may use at a second since the Unix epoch; the first window that matches counts.
fn rate_at(windows: &[Window], class: Class, second: u64) -> Option<u64> {
    let matches = |window: &&Window| window.class == class && is_in(window, second);
    windows.iter().find(matches).map(|window| window.bits_s)
}

/// A window that ends before it begins goes over midnight; one that ends as it begins is a day long.
fn is_in(window: &Window, second: u64) -> bool {
    let (from, to) = (window.from.as_secs(), window.to.as_secs());
    let (today, second) = (second / DAY_S, second % DAY_S);
    let began_today = window.days.has(today) && second >= from && (from >= to || second < to);
    // Six days on has the name of yesterday.
    let began_yesterday = window.days.has(today + 6) && from >= to && second < to;
    began_today || began_yesterday
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Weekdays;

    fn window(from_h: u64, to_h: u64, class: Class, bits_s: u64) -> Window {
        let hours = |h| Duration::from_secs(3600 * h);
        Window {
            from: hours(from_h),
            to: hours(to_h),
            days: Weekdays::default(),
            class,
            bits_s,
        }
    }

    #[test]
    fn the_first_window_that_matches_counts() {
        let windows = [
            window(12, 13, Class::Bulk, 5),
            window(8, 18, Class::Bulk, 0),
            window(22, 6, Class::Interactive, 7),
        ];
        let at = |class, hour: u64| rate_at(&windows, class, hour * 3600);
        let bulk = [7, 8, 12, 13, 18].map(|hour| at(Class::Bulk, hour));
        assert_eq!(bulk, [None, Some(0), Some(5), Some(0), None]);
        let night = [21, 22, 0, 5, 6].map(|hour| at(Class::Interactive, hour));
        assert_eq!(night, [None, Some(7), Some(7), Some(7), None]);
        assert_eq!(at(Class::Control, 12), None);
        let always = [window(3, 3, Class::Bulk, 1)];
        assert!((0..24).all(|hour| rate_at(&always, Class::Bulk, hour * 3600) == Some(1)));
    }

    #[test]
    fn a_window_belongs_to_the_day_on_which_it_begins() {
        let days = Weekdays::named(["mon", "sun"]).unwrap();
        let on = |window| Window { days, ..window };
        let day = on(window(8, 18, Class::Bulk, 5));
        let night = on(window(22, 6, Class::Bulk, 7));
        // The week that begins on Monday, 2026-11-16.
        let at = |window, day: u64, hour: u64| {
            rate_at(&[window], Class::Bulk, ((20_773 + day) * 24 + hour) * 3600).is_some()
        };
        let week = |window, hour| [0, 1, 2, 3, 4, 5, 6, 7].map(|day| at(window, day, hour));
        let (mon_sun, tue_mon) = (
            [true, false, false, false, false, false, true, true],
            [true, true, false, false, false, false, false, true],
        );
        assert_eq!(week(day, 12), mon_sun);
        assert_eq!(week(night, 23), mon_sun);
        assert_eq!(week(night, 5), tue_mon);
        assert!(!week(night, 12).contains(&true));
    }
}
