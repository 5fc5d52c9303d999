//! The sections `[[window]]`.

use super::errors::{Fault, Report};
use super::resolved::Window;
use super::section::Section;
use super::values;
use super::weekdays::Weekdays;

/// More are a mistake: each is held against the clock every second.
const WINDOWS_MAX: usize = 64;

pub(super) fn read(sections: Vec<Section<'_, '_>>, report: &mut Report<'_>) -> Vec<Window> {
    if let Some(section) = sections.get(WINDOWS_MAX) {
        let what = format!("{} windows are too many", sections.len());
        let remedy = format!("keep at most {WINDOWS_MAX}");
        report.add(section.span(), Fault::new(what, remedy));
    }
    let sections = sections.into_iter().take(WINDOWS_MAX);
    sections.filter_map(|s| read_one(s, report)).collect()
}

fn read_one(mut section: Section<'_, '_>, report: &mut Report<'_>) -> Option<Window> {
    let remedy = "say when it begins, like from = \"08:00\"";
    let from = section.require(report, "from", remedy, values::time_of_day);
    let remedy = "say when it ends, like to = \"18:00\"";
    let to = section.require(report, "to", remedy, values::time_of_day);
    let days = section.get_or(report, "days", Weekdays::default(), values::weekdays);
    let remedy = "say what goes slower then: class = \"bulk\" or \"interactive\"";
    let class = section.require(report, "class", remedy, values::window_class);
    let remedy = "say how fast it may go then, like rate = \"20Mbit/s\", or \"closed\"";
    let bits_s = section.require(report, "rate", remedy, values::window_rate);
    section.finish(report);
    Some(Window {
        from: from?.value,
        to: to?.value,
        days,
        class: class?.value,
        bits_s: bits_s?.value,
    })
}
