use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::DataDirError;

/// Which life of its site a data directory is: a random number, drawn when the directory
/// is made, and again when its journal is found damaged. A rebuilt site is a new incarnation, and
/// what it counts is kept apart from what its predecessor counted. Its text is 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// A new one, from the system's random numbers.
    pub fn draw() -> Self {
        Self(rand::random())
    }

    pub(super) fn load(path: &Path) -> Result<Self, DataDirError> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(DataDirError::Incarnation(path.to_owned()));
            }
            text => text.map_err(DataDirError::io("read", path))?,
        };
        Self::parse(text.trim_end()).ok_or_else(|| DataDirError::Incarnation(path.to_owned()))
    }

    pub(super) fn file_text(self) -> String {
        format!("{self}\n")
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 16 && text.bytes().all(|c| c.is_ascii_hexdigit());
        digits
            .then(|| u64::from_str_radix(text, 16).ok())?
            .map(Self)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

// As text: JSON readers that hold numbers as floating point would round it.
impl Serialize for Incarnation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Incarnation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("no incarnation"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_read_back_and_nothing_else() {
        let drawn = Incarnation::draw();
        assert_eq!(Incarnation::parse(&drawn.to_string()), Some(drawn));
        for bad in [
            "",
            "1",
            "+000000000000001",
            "zz00000000000000",
            "00000000000000000",
        ] {
            assert_eq!(Incarnation::parse(bad), None, "{bad}");
        }
    }
}
