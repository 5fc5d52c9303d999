//! What commands say to people and scripts.

use std::fmt::Display;
use std::io::{self, Write};

/// Writes a text to standard output. Not `println!`, which panics when whoever reads has
/// seen enough: that is an error like others, see [`is_broken_pipe`].
pub(super) fn say(text: impl Display) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    write!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Whether `error` says that whoever reads our output has gone.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// An error with its causes in one line. Most of our errors name their cause already: it
/// is not said twice.
pub(super) fn explain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot open: {source}")]
        struct Named {
            source: io::Error,
        }
        let source = io::Error::other("no disk");
        let error = Err::<(), _>(Named { source }).context("cannot start");
        let text = explain(&error.unwrap_err());
        assert_eq!(text, "cannot start: cannot open: no disk");
    }
}
