/// How urgent a stream is. The order of the variants is the order of urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Small messages that others wait for.
    Control,
    /// Data that a person or a program waits for: counters, logs.
    Interactive,
    /// Data that nobody waits for: backups.
    Bulk,
}

impl Class {
    /// How many classes there are.
    pub const COUNT: usize = 3;
    /// Every class, most urgent first.
    pub const ALL: [Self; Self::COUNT] = [Self::Control, Self::Interactive, Self::Bulk];

    /// 0 for the most urgent.
    pub const fn index(self) -> usize {
        match self {
            Self::Control => 0,
            Self::Interactive => 1,
            Self::Bulk => 2,
        }
    }

    /// The class with this index.
    pub fn from_index(index: usize) -> Option<Self> {
        Self::ALL.get(index).copied()
    }

    /// Lower-case name, as metrics show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Interactive => "interactive",
            Self::Bulk => "bulk",
        }
    }
}
