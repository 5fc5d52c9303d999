/// Why we close a connection: application error codes. Drawn in `docs/WIRE.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goodbye {
    /// The gateway stops, or its operator paused the link.
    Stopping,
    /// A newer connection takes over.
    Replaced,
    /// The peer speaks another version.
    Version,
    /// The peer broke the protocol, or is not whom we expect.
    Violation,
    /// It took too long to introduce itself.
    Timeout,
    /// Another gateway with the peer's key and incarnation is linked. The release before takes it for
    /// any other end.
    Copy,
}

impl Goodbye {
    const ALL: [Self; 6] = [
        Self::Stopping,
        Self::Replaced,
        Self::Version,
        Self::Violation,
        Self::Timeout,
        Self::Copy,
    ];

    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Stopping => 0,
            Self::Replaced => 1,
            Self::Version => 2,
            Self::Violation => 3,
            Self::Timeout => 4,
            Self::Copy => 5,
        }
    }
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// What an operator needs to know.
    pub(crate) reason: String,
    /// What the peer said as it took leave, if it did.
    pub(crate) goodbye: Option<Goodbye>,
}

impl Ended {
    /// The peer took leave.
    pub(crate) fn by_peer(code: u64, reason: &[u8]) -> Self {
        let reason = printable(reason);
        Self {
            reason: match reason.is_empty() {
                true => format!("the peer hung up (code {code})"),
                false => format!("the peer hung up: {reason}"),
            },
            goodbye: Goodbye::ALL
                .into_iter()
                .find(|g| u64::from(g.code()) == code),
        }
    }

    /// For a reason of its own.
    pub(crate) fn because(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            goodbye: None,
        }
    }
}

/// What a peer said, fit for a log line.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
