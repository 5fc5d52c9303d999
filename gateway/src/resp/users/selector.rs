//! One set of rights: commands, and patterns of keys.

use super::super::commands::{self, Category};
use super::super::glob;
use crate::grid::NAME_BYTES_MAX;

/// What a command does to a key. Neither: it only asks whether it is there, or for its length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::resp) struct KeyAccess {
    pub(in crate::resp) read: bool,
    pub(in crate::resp) write: bool,
}

impl KeyAccess {
    pub(in crate::resp) const BOTH: Self = Self {
        read: true,
        write: true,
    };

    fn covers(self, other: Self) -> bool {
        (self.read || !other.read) && (self.write || !other.write)
    }
}

/// Keys that match `pattern` may be accessed so.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KeyPattern {
    pattern: String,
    access: KeyAccess,
}

impl KeyPattern {
    fn describe(&self) -> String {
        let access = match self.access {
            KeyAccess::BOTH => "",
            KeyAccess { read: true, .. } => "%R",
            KeyAccess { .. } => "%W",
        };
        format!("{access}~{}", self.pattern)
    }
}

/// Rights that hold together. It begins without any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::resp) struct Selector {
    /// By number of the command.
    commands: Vec<bool>,
    /// Every command, also one that may come.
    all_commands: bool,
    /// `+@all` was said last, rather than `-@all`.
    from_all: bool,
    /// What was said of commands since, as it is shown.
    said: Vec<String>,
    all_keys: bool,
    keys: Vec<KeyPattern>,
    /// There are no channels: they are only shown.
    all_channels: bool,
    channels: Vec<String>,
}

impl Selector {
    pub(super) fn new() -> Self {
        Self {
            commands: vec![false; commands::count()],
            all_commands: false,
            from_all: false,
            said: Vec::new(),
            all_keys: false,
            keys: Vec::new(),
            all_channels: false,
            channels: Vec::new(),
        }
    }

    pub(super) fn of_all_rights() -> Self {
        let mut selector = Self::new();
        selector.set_all_commands(true);
        selector.allow_all_keys();
        selector.allow_all_channels();
        selector
    }

    pub(in crate::resp) fn has_all_rights(&self) -> bool {
        self.all_commands && self.all_keys
    }

    pub(in crate::resp) fn allows_command(&self, number: u16) -> bool {
        self.all_commands || self.commands.get(usize::from(number)) == Some(&true)
    }

    pub(in crate::resp) fn allows_key(&self, key: &[u8], access: KeyAccess) -> bool {
        let allows = |known: &KeyPattern| {
            known.access.covers(access) && glob::matches(known.pattern.as_bytes(), key)
        };
        // No key is longer. To hold a long text against patterns may take long.
        let can_be = key.len() <= NAME_BYTES_MAX;
        self.all_keys || (can_be && self.keys.iter().any(allows))
    }

    pub(super) fn set_all_commands(&mut self, allow: bool) {
        self.commands.fill(allow);
        (self.all_commands, self.from_all) = (allow, allow);
        self.said.clear();
    }

    /// Allows or forbids a command with all its parts, or one part; false if there is no such command.
    pub(super) fn set_command(&mut self, name: &str, allow: bool) -> bool {
        let Some(numbers) = commands::numbers_of(name) else {
            return false;
        };
        self.set(numbers, allow);
        self.say(name, allow);
        true
    }

    pub(super) fn set_category(&mut self, category: Category, allow: bool) {
        self.set(commands::numbers_in(category), allow);
        self.say(&format!("@{}", category.name()), allow);
    }

    fn set(&mut self, numbers: impl IntoIterator<Item = u16>, allow: bool) {
        self.all_commands &= allow;
        for number in numbers {
            if let Some(command) = self.commands.get_mut(usize::from(number)) {
                *command = allow;
            }
        }
    }

    /// Notes a rule. What was said of the same before, or of a part of it, is of no effect any more.
    fn say(&mut self, what: &str, allow: bool) {
        let is_over = |said: &String| {
            let rest = said[1..].strip_prefix(what);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('|'))
        };
        self.said.retain(|said| !is_over(said));
        let sign = if allow { '+' } else { '-' };
        self.said.push(format!("{sign}{what}"));
    }

    pub(super) fn allow_all_keys(&mut self) {
        self.all_keys = true;
        self.keys.clear();
    }

    pub(super) fn forbid_all_keys(&mut self) {
        self.all_keys = false;
        self.keys.clear();
    }

    /// Whether every key is allowed, so that a pattern changes nothing.
    pub(super) fn allows_all_keys(&self) -> bool {
        self.all_keys
    }

    pub(super) fn allow_keys(&mut self, pattern: &str, access: KeyAccess) {
        let known = self.keys.iter_mut().find(|known| known.pattern == pattern);
        let access = match known {
            Some(known) => {
                known.access.read |= access.read;
                known.access.write |= access.write;
                known.access
            }
            None => {
                self.keys.push(KeyPattern {
                    pattern: pattern.to_owned(),
                    access,
                });
                access
            }
        };
        if pattern == "*" && access == KeyAccess::BOTH {
            self.allow_all_keys();
        }
    }

    pub(super) fn key_patterns(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn allow_all_channels(&mut self) {
        self.all_channels = true;
        self.channels.clear();
    }

    pub(super) fn forbid_all_channels(&mut self) {
        self.all_channels = false;
        self.channels.clear();
    }

    pub(super) fn allow_channels(&mut self, pattern: &str) {
        if !self.all_channels && !self.channels.iter().any(|known| known == pattern) {
            self.channels.push(pattern.to_owned());
        }
    }

    /// As `ACL GETUSER` has it.
    pub(in crate::resp) fn command_rules(&self) -> String {
        let all = if self.from_all { "+@all" } else { "-@all" };
        let said = self.said.iter().map(String::as_str);
        let words: Vec<_> = std::iter::once(all).chain(said).collect();
        words.join(" ")
    }

    /// As `ACL GETUSER` has it.
    pub(in crate::resp) fn key_rules(&self) -> String {
        let keys: Vec<_> = self.keys.iter().map(KeyPattern::describe).collect();
        if self.all_keys {
            "~*".to_owned()
        } else {
            keys.join(" ")
        }
    }

    /// As `ACL GETUSER` has it.
    pub(in crate::resp) fn channel_rules(&self) -> String {
        let channels: Vec<_> = self
            .channels
            .iter()
            .map(|channel| format!("&{channel}"))
            .collect();
        if self.all_channels {
            "&*".to_owned()
        } else {
            channels.join(" ")
        }
    }

    /// As `ACL LIST` has it.
    pub(super) fn describe(&self) -> String {
        let reset = if self.all_channels {
            ""
        } else {
            "resetchannels"
        };
        let parts = [
            self.key_rules(),
            reset.to_owned(),
            self.channel_rules(),
            self.command_rules(),
        ];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join(" ")
    }
}
