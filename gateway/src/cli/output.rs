//! What commands say to people and scripts.

use std::fmt::{self, Display};
use std::io::{self, StdoutLock, Write};

/// Writes a text to standard output. Not `println!`, which panics when whoever reads has
/// seen enough: that is an error like others, see [`is_closed_output`].
pub(crate) fn say(text: impl Display) -> anyhow::Result<()> {
    let mut out = stdout();
    write!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Writes a line to standard error, as `eprintln!` does. That panics when nobody reads it, or its
/// disk is full; a command goes on without.
macro_rules! tell {
    ($($text:tt)*) => { $crate::cli::output::tell_line(format_args!($($text)*)) };
}
pub(crate) use tell;

/// See [`tell!`].
pub(crate) fn tell_line(line: fmt::Arguments<'_>) {
    // In one piece: others write there too.
    tell_text(&format!("{line}\n"));
}

/// Writes a text that may be less than a line to standard error, or goes on without.
pub(crate) fn tell_text(text: &str) {
    io::stderr().lock().write_all(text.as_bytes()).ok();
}

/// Standard output. Its errors are told from those of sockets and files: see [`is_closed_output`].
pub(crate) fn stdout() -> Stdout {
    Stdout(io::stdout().lock())
}

/// Standard output.
#[derive(Debug)]
pub(crate) struct Stdout(StdoutLock<'static>);

/// Where an error came from.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}")]
struct OutputError(io::Error);

fn of_output(error: io::Error) -> io::Error {
    match error.kind() == io::ErrorKind::Interrupted {
        // Whoever writes tries again.
        true => error,
        false => io::Error::new(error.kind(), OutputError(error)),
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(of_output)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(of_output)
    }
}

/// Whether `error` says that whoever reads our output has gone.
pub(super) fn is_closed_output(error: &anyhow::Error) -> bool {
    let mut causes = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|error| {
        let source = error.get_ref();
        error.kind() == io::ErrorKind::BrokenPipe
            && source.is_some_and(|source| source.is::<OutputError>())
    })
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
    fn output_that_nobody_reads_is_told_from_a_gateway_that_has_gone() {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(!is_closed_output(&gone().into()));
        let closed = || anyhow::Error::from(of_output(gone()));
        assert!(is_closed_output(&closed()));
        assert!(is_closed_output(&closed().context("while listing")));
        let full = of_output(io::ErrorKind::StorageFull.into());
        assert!(!is_closed_output(&full.into()));
    }

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
