//! What may happen at a step.

use super::super::sites::Random;
use super::site::KEYS;

#[derive(Clone, Debug)]
pub(super) enum Act {
    Add(usize, usize, i64),
    AddField(usize, usize, u8, i64),
    Set(usize, usize, i64),
    Delete(usize, usize),
    DeleteField(usize, usize, u8),
    Expire(usize, usize, u64),
    Clock(usize),
    Flush(usize),
    /// With statements or without.
    Ship(usize, bool),
    Deliver(usize, usize),
    Up(usize, bool),
    Crash(usize),
    /// The directory is gone.
    Lose(usize),
    Copy(usize),
    PutBack(usize),
    Rewrite(usize),
    Forget(usize),
    Compare(usize),
    /// All that is on its way arrives, so many times: what is dead may go everywhere.
    Rounds(usize),
}

/// What happens more often in one world than in others.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mood {
    Even,
    /// One link is slow: what it carries arrives late.
    SlowLink(usize),
    /// Directories are put back from copies.
    PutBack,
}

impl Mood {
    pub(super) fn draw(random: &mut Random, links: usize) -> Self {
        match random.below(3) {
            0 => Self::Even,
            1 => Self::SlowLink(random.below(links)),
            _ => Self::PutBack,
        }
    }
}

pub(super) fn draw(random: &mut Random, (sites, links): (usize, usize), mood: Mood) -> Act {
    let (site, link, key) = (random.below(sites), random.below(links), random.below(KEYS));
    let (by, field, rare) = (
        1 + random.below(9) as i64,
        random.below(2) as u8,
        random.one_in(4),
    );
    let is_late = matches!(mood, Mood::SlowLink(slow) if slow == link) && !rare;
    let puts_back = rare || matches!(mood, Mood::PutBack);
    match random.below(60) {
        0..=6 => Act::Add(site, key, by),
        7..=8 => Act::AddField(site, key, field, by),
        9 => Act::Set(site, key, by),
        10..=13 => Act::Delete(site, key),
        14 => Act::DeleteField(site, key, field),
        15..=16 => Act::Expire(site, key, by as u64 * 1000),
        17..=18 => Act::Clock(site),
        19..=24 => Act::Flush(site),
        25..=33 => Act::Ship(link, field == 0),
        34..=43 if is_late => Act::Forget(site),
        34..=43 => Act::Deliver(link, 1 + by as usize / 3),
        44..=46 => Act::Up(link, by > 2),
        47 if rare => Act::Crash(site),
        48 if rare => Act::Lose(site),
        49 => Act::Copy(site),
        50 if puts_back => Act::PutBack(site),
        51 => Act::Rewrite(site),
        52 => Act::Compare(link),
        53..=54 => Act::Rounds(by as usize),
        _ => Act::Forget(site),
    }
}
