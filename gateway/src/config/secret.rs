//! Passwords, and where they stand.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::DeValue;
use zeroize::Zeroizing;

use super::errors::Fault;
use super::values;

/// Longest password, in bytes.
pub(crate) const PASSWORD_BYTES_MAX: usize = 512;

/// A secret: its debug form shows nothing of it, and its memory is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Takes a text as a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Where a password stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// In `strait.toml` itself.
    Text(Password),
    /// In a file, whose trailing newline is none of it.
    File(PathBuf),
    /// In a variable of the gateway's environment.
    Env(String),
}

/// `"…"`, `{ file = "…" }` or `{ env = "…" }`. Never shows the value: it is a secret even when it is
/// wrong.
pub(super) fn secret(base: &Path) -> impl FnOnce(&DeValue<'_>) -> Result<Secret, Fault> {
    move |value| {
        let Some(table) = value.as_table() else {
            return text(value).map(Secret::Text);
        };
        let remedy = "write a text, { file = \"…\" } or { env = \"…\" }";
        let fault = || Fault::new("it names neither a file nor a variable", remedy);
        let mut parts = table.iter();
        let (Some((name, place)), None) = (parts.next(), parts.next()) else {
            return Err(fault());
        };
        let place = place.get_ref().as_str();
        match (name.get_ref().as_ref(), place) {
            ("file", Some(path)) => Ok(Secret::File(base.join(values::checked_path(path)?))),
            ("env", Some(name)) if is_variable(name) => Ok(Secret::Env(name.to_owned())),
            _ => Err(fault()),
        }
    }
}

fn text(value: &DeValue<'_>) -> Result<Password, Fault> {
    match value.as_str() {
        Some(text) if !text.is_empty() && text.len() <= PASSWORD_BYTES_MAX => {
            Ok(Password::new(text))
        }
        Some(_) => Err(Fault::new(
            "it is empty or too long",
            format!("use 1 to {PASSWORD_BYTES_MAX} bytes, or remove the key for no password"),
        )),
        None => Err(Fault::new("it is no text", "write it in quotes")),
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}
