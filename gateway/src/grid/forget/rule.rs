//! What forgetting stands on, rule by rule, so that the simulation of sites can break one at a time and has to
//! notice. Outside of tests every rule holds, and the compiler removes the question.

/// One rule; docs/STORE.md, "Forgetting", says what each is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::grid) enum Rule {
    /// A dead name goes. Without it sites show what they would if nothing were ever forgotten.
    Forgets,
    /// Peers of peers are members too.
    AskPeersOfPeers,
    /// A version is stable once every member holds it.
    AskMembers,
    /// A statement counts once we hold all that its site held.
    HoldWhatMembersHold,
    /// A site says that it holds nothing until all its peers were heard after a start.
    SayNothingUnheard,
    /// What a peer said counts no more when its positions fall.
    FollowFallingPositions,
    /// Our own peers speak for themselves.
    HearPeersThemselves,
    /// Our own component has begun again at 0 before its name goes.
    EndOwn,
    /// Clears are stable too, not only components.
    WaitForClears,
    /// Nothing is forgotten before our own start is over.
    WaitForOwnStart,
    /// What was forgotten stands in the journal.
    NoteForgotten,
    /// So does the clock.
    NoteClock,
    /// A peer that was away while something was forgotten is told all.
    TellAll,
    /// It takes away what it was not told.
    Sweep,
    /// Nothing of it is taken before.
    PutAsideBehind,
    /// Nothing is forgotten while two sites compare.
    HoldForComparisons,
    /// Numbers of links name the life of a place that they were given for.
    CheckLives,
    /// What was no news here is not told on.
    TellOnlyNews,
}

impl Rule {
    #[cfg(test)]
    pub(in crate::grid) const ALL: [Self; 18] = [
        Self::Forgets,
        Self::AskPeersOfPeers,
        Self::AskMembers,
        Self::HoldWhatMembersHold,
        Self::SayNothingUnheard,
        Self::FollowFallingPositions,
        Self::HearPeersThemselves,
        Self::EndOwn,
        Self::WaitForClears,
        Self::WaitForOwnStart,
        Self::NoteForgotten,
        Self::NoteClock,
        Self::TellAll,
        Self::Sweep,
        Self::PutAsideBehind,
        Self::HoldForComparisons,
        Self::CheckLives,
        Self::TellOnlyNews,
    ];

    /// Whether the simulation breaks it just now.
    #[cfg(not(test))]
    pub(in crate::grid) const fn is_broken(self) -> bool {
        false
    }

    /// Whether the simulation breaks it just now.
    #[cfg(test)]
    pub(in crate::grid) fn is_broken(self) -> bool {
        broken::get() == Some(self)
    }
}

/// The rule that the simulation of this thread breaks.
#[cfg(test)]
pub(in crate::grid) mod broken {
    use std::cell::Cell;

    use super::Rule;

    thread_local! {
        static BROKEN: Cell<Option<Rule>> = const { Cell::new(None) };
    }

    pub(in crate::grid) fn set(rule: Option<Rule>) {
        BROKEN.set(rule);
    }

    pub(super) fn get() -> Option<Rule> {
        BROKEN.get()
    }
}
