//! What a sender and a receiver still have in common when they meet again (rule H3).

use crate::history::{Ledger, Position};
use crate::wire::batch::Identity;
use crate::wire::hello::Held;

/// How far our history and the receiver's are the same.
pub(super) enum Common {
    /// The receiver holds ours up to here.
    Up(Position),
    /// The receiver holds ours whole, up to here, and more that we lost.
    Fork(Position),
    /// The receiver holds what our history forked from.
    ForkAgain,
    Nothing,
}

impl Common {
    /// What we and the receiver have in common.
    pub(super) fn between(ours: &Identity, held: Option<Held>, ledger: &Ledger) -> Self {
        let Identity { id, epoch, fork } = *ours;
        let kept = |tail: Position| tail >= ledger.oldest() && tail <= ledger.tail();
        let some = |tail: Position| tail > Position(0) && kept(tail);
        match held {
            Some(held) if held.id != id => Self::Nothing,
            Some(held) if held.epoch == epoch && kept(held.tail) => Self::Up(held.tail),
            // We lost our newest bytes: positions past our tail are assigned anew.
            Some(Held {
                epoch: theirs,
                oldest,
                tail,
                ..
            }) if theirs == epoch
                && tail > ledger.tail()
                && oldest <= ledger.tail()
                && some(ledger.tail()) =>
            {
                Self::Fork(ledger.tail())
            }
            // It has not yet heard of our fork.
            Some(held)
                if Some(held.epoch) == epoch.checked_sub(1)
                    && held.tail >= fork
                    && held.oldest <= fork
                    && some(fork) =>
            {
                Self::ForkAgain
            }
            Some(_) | None => Self::Nothing,
        }
    }
}
