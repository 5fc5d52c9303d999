//! A pair of connections that hands over to a newer one: what of it is still under way.
//!
//! Each end stops sending over the old pair, says how many batches it has sent, and says when
//! it has read all of the other's. When both have, nothing is lost by closing it.

use super::Violation;
use crate::wire::control::Message;

/// One end's view of one pair of connections.
#[derive(Debug, Default)]
pub(crate) struct Handover {
    /// Nothing new goes out.
    retired: bool,
    /// Batches that are being written.
    writing: u64,
    written: u64,
    read: u64,
    /// As many the peer has written.
    expected: Option<u64>,
    told_last: bool,
    told_drained: bool,
    peer_drained: bool,
}

impl Handover {
    /// A newer pair has taken over.
    pub(crate) fn retire(&mut self) {
        self.retired = true;
    }

    /// Whether another batch may go out over this pair; if so, [`Handover::handle_written`]
    /// follows.
    pub(crate) fn begin_write(&mut self) -> bool {
        self.writing += u64::from(!self.retired);
        !self.retired
    }

    /// A batch was written to its end.
    pub(crate) fn handle_written(&mut self) {
        self.writing -= 1;
        self.written += 1;
    }

    /// A batch of the peer's was read to its end.
    pub(crate) fn handle_read(&mut self) {
        self.read += 1;
    }

    /// The peer has written its last batch.
    pub(crate) fn handle_last(&mut self, batches: u64) -> Result<(), Violation> {
        match self.expected.replace(batches) {
            None => Ok(()),
            Some(_) => Err(Violation("it wrote its last batch twice")),
        }
    }

    /// The peer has read all of ours.
    pub(crate) fn handle_drained(&mut self) -> Result<(), Violation> {
        self.peer_drained = true;
        match self.told_last {
            true => Ok(()),
            false => Err(Violation("it has read what was not written yet")),
        }
    }

    /// What to tell the peer over the old pair; nothing else is said there once it is retired.
    pub(crate) fn poll_message(&mut self) -> Option<Message> {
        if self.retired && self.writing == 0 && !self.told_last {
            self.told_last = true;
            return Some(Message::Last {
                batches: self.written,
            });
        }
        if self.told_last && self.has_all() && !self.told_drained {
            self.told_drained = true;
            return Some(Message::Drained);
        }
        None
    }

    #[cfg(test)]
    pub(crate) fn is_retired(&self) -> bool {
        self.retired
    }

    /// Everything that the peer has sent over this pair is here.
    pub(crate) fn has_all(&self) -> bool {
        self.expected.is_some_and(|expected| self.read >= expected)
    }

    /// Both ends have everything.
    pub(crate) fn is_over(&self) -> bool {
        self.told_drained && self.peer_drained
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_when_both_have_read_all() {
        let mut end = Handover::default();
        assert!(end.begin_write());
        end.retire();
        assert!(!end.begin_write());
        assert_eq!(end.poll_message(), None, "a batch is being written");
        end.handle_written();
        assert_eq!(end.poll_message(), Some(Message::Last { batches: 1 }));
        end.handle_last(2).unwrap();
        end.handle_read();
        assert_eq!(end.poll_message(), None, "one batch is under way");
        end.handle_drained().unwrap();
        end.handle_read();
        assert!(!end.is_over());
        assert_eq!(end.poll_message(), Some(Message::Drained));
        assert!(end.is_over());
        assert!(end.handle_last(2).is_err());
    }

    #[test]
    fn what_was_not_written_cannot_have_been_read() {
        assert!(Handover::default().handle_drained().is_err());
    }
}
