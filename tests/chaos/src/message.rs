//! What the suite says to whoever runs it.

/// A line on standard error.
#[expect(clippy::print_stderr, reason = "the suite speaks to a person")]
pub fn say(line: &str) {
    eprintln!("{line}");
}
