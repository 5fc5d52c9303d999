//! The language of rules, as Redis's `ACL SETUSER` takes it.

use super::super::commands::{self, Category};
use super::selector::{KeyAccess, Selector};
use super::{PasswordHash, User};

/// Longest text of rules, in bytes.
const RULES_BYTES_MAX: usize = 16 << 10;
/// Patterns of keys in one set of rights: each is tried on each key.
const PATTERNS_MAX: usize = 64;

/// A rule that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("the rules are longer than {RULES_BYTES_MAX} bytes")]
    TooLong,
    #[error("`{0}` is no rule of Redis's ACL")]
    Syntax(String),
    #[error("`{0}` names no command or category")]
    Unknown(String),
    #[error("`{0}` comes after the pattern * (or allkeys), so it has no effect")]
    AfterAll(String),
    #[error("`{0}` allows a command with one first argument, which only works for subcommands")]
    FirstArgument(String),
    #[error("a hash of a password is 64 hexadecimal digits in lower case")]
    Hash,
    #[error("more than {PATTERNS_MAX} patterns of keys stand together")]
    Patterns,
    #[error("`{0}` has no closing parenthesis")]
    Parenthesis(String),
    #[error("a password to be taken away, with < or !, was not given before")]
    NoSuchPassword,
    #[error("the rules say neither on nor off")]
    NeitherOnNorOff,
}

impl User {
    /// A user with the rights that `rules` give, one after the other, and the passwords in them.
    ///
    /// # Errors
    /// Names the first rule that cannot be used. Passwords are not shown.
    pub fn parse(name: &str, rules: &str) -> Result<Self, RuleError> {
        if rules.len() > RULES_BYTES_MAX {
            return Err(RuleError::TooLong);
        }
        let mut user = Self {
            name: name.into(),
            is_on: false,
            needs_none: false,
            passwords: Vec::new(),
            sanitizes: None,
            selectors: vec![Selector::new()],
        };
        let mut is_said = false;
        for rule in split(rules)? {
            is_said |= ["on", "off"].contains(&&*rule.to_ascii_lowercase());
            user.apply(&rule)?;
        }
        if is_said {
            Ok(user)
        } else {
            Err(RuleError::NeitherOnNorOff)
        }
    }

    fn apply(&mut self, rule: &str) -> Result<(), RuleError> {
        match &*rule.to_ascii_lowercase() {
            "on" => self.is_on = true,
            "off" => self.is_on = false,
            "nopass" => self.forget_passwords(true),
            "resetpass" => self.forget_passwords(false),
            "sanitize-payload" => self.sanitizes = Some(true),
            "skip-sanitize-payload" => self.sanitizes = Some(false),
            "clearselectors" => self.selectors.truncate(1),
            "reset" => *self = Self::parse(&self.name, "off sanitize-payload")?,
            _ => return self.apply_with_value(rule),
        }
        Ok(())
    }

    fn forget_passwords(&mut self, needs_none: bool) {
        self.passwords.clear();
        self.needs_none = needs_none;
    }

    fn apply_with_value(&mut self, rule: &str) -> Result<(), RuleError> {
        let hash = |text: &str| PasswordHash::from_hex(text).ok_or(RuleError::Hash);
        match rule.split_at_checked(1) {
            Some((">", password)) => self.add_password(PasswordHash::of(password.as_bytes())),
            Some(("#", text)) => self.add_password(hash(text)?),
            Some(("<", password)) => self.remove(PasswordHash::of(password.as_bytes()))?,
            Some(("!", text)) => self.remove(hash(text)?)?,
            Some(("(", rest)) => {
                let mut selector = Selector::new();
                for rule in rest.trim_end_matches(')').split_whitespace() {
                    selector.apply(rule)?;
                }
                self.selectors.push(selector);
            }
            _ => self.selectors[0].apply(rule)?,
        }
        Ok(())
    }

    fn remove(&mut self, hash: PasswordHash) -> Result<(), RuleError> {
        let known = self.passwords.iter().position(|known| *known == hash);
        let known = known.ok_or(RuleError::NoSuchPassword)?;
        self.passwords.remove(known);
        Ok(())
    }
}

/// A rule as it may be shown: without passwords and their hashes.
fn shown(rule: &str) -> String {
    match rule.find(['>', '<', '#', '!']) {
        Some(sign) => format!("{}…", &rule[..=sign]),
        None => rule.to_owned(),
    }
}

/// The rules one by one; a set of rights in parentheses is one.
fn split(rules: &str) -> Result<Vec<String>, RuleError> {
    let mut words = rules.split_whitespace();
    let mut split = Vec::new();
    while let Some(word) = words.next() {
        let mut rule = word.to_owned();
        while rule.starts_with('(') && !rule.ends_with(')') {
            match words.next() {
                Some(more) => rule = format!("{rule} {more}"),
                None => return Err(RuleError::Parenthesis(shown(word))),
            }
        }
        split.push(rule);
    }
    Ok(split)
}

impl Selector {
    fn apply(&mut self, rule: &str) -> Result<(), RuleError> {
        match &*rule.to_ascii_lowercase() {
            "allkeys" | "~*" => self.allow_all_keys(),
            "resetkeys" => self.forbid_all_keys(),
            "allchannels" | "&*" => self.allow_all_channels(),
            "resetchannels" => self.forbid_all_channels(),
            "allcommands" | "+@all" => self.set_all_commands(true),
            "nocommands" | "-@all" => self.set_all_commands(false),
            lower => match rule.split_at_checked(1) {
                Some(("~" | "%", _)) => return self.apply_keys(rule),
                Some(("&", pattern)) => self.allow_channels(pattern),
                Some((sign @ ("+" | "-"), _)) => {
                    return self.apply_command(&lower[1..], sign == "+", rule);
                }
                _ => return Err(RuleError::Syntax(shown(rule))),
            },
        }
        Ok(())
    }

    /// `~pattern`, `%R~pattern`, `%W~pattern`, `%RW~pattern`.
    fn apply_keys(&mut self, rule: &str) -> Result<(), RuleError> {
        let syntax = || RuleError::Syntax(shown(rule));
        let (letters, pattern) = rule.split_once('~').ok_or_else(syntax)?;
        let access = match &*letters.to_ascii_uppercase() {
            "" | "%RW" | "%WR" => KeyAccess::BOTH,
            "%R" => KeyAccess {
                read: true,
                write: false,
            },
            "%W" => KeyAccess {
                read: false,
                write: true,
            },
            _ => return Err(syntax()),
        };
        if self.allows_all_keys() {
            return Err(RuleError::AfterAll(shown(rule)));
        }
        if self.key_patterns() >= PATTERNS_MAX {
            return Err(RuleError::Patterns);
        }
        self.allow_keys(pattern, access);
        Ok(())
    }

    /// `what` is a command, `command|part` or `@category`, in lower case.
    fn apply_command(&mut self, what: &str, allow: bool, rule: &str) -> Result<(), RuleError> {
        let unknown = || RuleError::Unknown(shown(rule));
        if let Some(category) = what.strip_prefix('@') {
            let category = Category::named(category.as_bytes()).ok_or_else(unknown)?;
            self.set_category(category, allow);
            return Ok(());
        }
        if self.set_command(what, allow) {
            return Ok(());
        }
        let (family, part) = what.split_once('|').unwrap_or((what, ""));
        match commands::numbers_of(family) {
            Some(_) if part.is_empty() => Err(RuleError::Syntax(shown(rule))),
            Some(numbers) if numbers.len() == 1 => Err(RuleError::FirstArgument(shown(rule))),
            Some(_) => Err(unknown()),
            // Rules that were written for Redis may name what is not here.
            None if commands::is_absent(family) => Ok(()),
            None => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(rules: &str) -> String {
        User::parse("a", rules).unwrap().describe()
    }

    #[test]
    fn rules_are_shown_as_redis_shows_them() {
        for (rules, shown) in [
            ("on nopass ~* &* +@all", "on nopass ~* &* +@all"),
            ("off", "off resetchannels -@all"),
            (
                "on ALLKEYS allcommands -@dangerous -get +client|list",
                "on ~* resetchannels +@all -@dangerous -get +client|list",
            ),
            ("on +client|list +client", "on resetchannels -@all +client"),
            ("on +@read -@all +get +GET", "on resetchannels -@all +get"),
            (
                "on %R~a %W~a ~b ~b %rw~c",
                "on ~a ~b ~c resetchannels -@all",
            ),
            (
                "on %R~a %W~b &x &y",
                "on %R~a %W~b resetchannels &x &y -@all",
            ),
            (
                "on ~a (+get ~b) (%R~c +@read)",
                "on ~a resetchannels -@all (~b resetchannels -@all +get) (%R~c resetchannels -@all +@read)",
            ),
            (
                "on ~a +get reset on",
                "on sanitize-payload resetchannels -@all",
            ),
            ("on (+get ~b) clearselectors", "on resetchannels -@all"),
            ("on -flushall +subscribe", "on resetchannels -@all"),
        ] {
            assert_eq!(described(rules), shown, "{rules}");
        }
        let hash = "148de9c5a7a44d19e56cd9ae1a554bf67847afb0c58f6e12fa29ac7ddfca9940";
        for rules in ["on nopass >p >p", &format!("on #{hash}"), "on >q >p <q"] {
            assert_eq!(described(rules), format!("on #{hash} resetchannels -@all"));
        }
        assert_eq!(described("on >p nopass"), "on nopass resetchannels -@all");
    }

    #[test]
    fn what_is_no_rule_is_named() {
        for (rules, part) in [
            ("", "neither on nor off"),
            ("~a +get", "neither on nor off"),
            ("on foo", "`foo` is no rule"),
            ("on +nosuch", "`+nosuch` names no command"),
            ("on -@nosuch", "`-@nosuch` names no command"),
            ("on +client|nosuch", "`+client|nosuch` names no command"),
            ("on +client|", "`+client|` is no rule"),
            (
                "on +get|x",
                "`+get|x` allows a command with one first argument",
            ),
            ("on %~x", "`%~x` is no rule"),
            ("on %RR~x", "`%RR~x` is no rule"),
            ("on %R", "`%R` is no rule"),
            ("on allkeys ~x", "`~x` comes after"),
            ("on #12", "64 hexadecimal"),
            ("on <x", "was not given before"),
            ("on (+get ~x", "`(+get` has no closing"),
            ("on (+get >secret)", "`>…` is no rule"),
            (&"x".repeat(RULES_BYTES_MAX + 1), "longer than"),
            (
                &format!(
                    "on {}",
                    (0..65).map(|n| format!("~{n} ")).collect::<String>()
                ),
                "more than 64",
            ),
        ] {
            let error = User::parse("a", rules).unwrap_err().to_string();
            assert!(error.contains(part), "{rules}: {error}");
        }
    }

    #[test]
    fn a_key_is_allowed_by_the_patterns_that_cover_its_access() {
        let user = User::parse("a", "on %R~r:* %W~w:* ~b:*").unwrap();
        let (read, write) = (
            KeyAccess {
                read: true,
                write: false,
            },
            KeyAccess {
                read: false,
                write: true,
            },
        );
        let allowed = |key: &str, access| user.selectors[0].allows_key(key.as_bytes(), access);
        for (key, expected) in [
            ("r:1", [true, true, false, false]),
            ("w:1", [true, false, true, false]),
            ("b:1", [true; 4]),
            ("x", [false; 4]),
        ] {
            let accesses = [KeyAccess::default(), read, write, KeyAccess::BOTH];
            assert_eq!(
                accesses.map(|access| allowed(key, access)),
                expected,
                "{key}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_survived(rules in "([-+~%&<>#!()|@ a-zA-Z*]|get|client|read|on ){0,40}") {
            if let Ok(user) = User::parse("a", &rules) {
                let again = User::parse("a", &user.describe()).unwrap();
                proptest::prop_assert_eq!(again.describe(), user.describe());
            }
        }
    }
}
