//! Who is let in at the clients' port: `strait.toml`, and the files and variables that it names.

use super::secrets::{self, SecretError};
use crate::config::Config;
use crate::resp::Users;

/// Reads all passwords. Blocks.
pub(super) fn read(config: &Config) -> Result<Users, SecretError> {
    let password = config.grid.password.as_ref();
    let password = password
        .map(|secret| secrets::read("grid.password", secret))
        .transpose()?;
    let password = password.as_ref().map(|password| password.reveal());
    Ok(Users::with_password(password))
}
