//! Who is let in at the clients' port: `strait.toml`, and the files and variables that it names.

use super::secrets::{self, SecretError};
use crate::config::{Config, TlsSettings, UserSettings};
use crate::resp::{Admission, PasswordHash, TlsConfig, User, Users};

/// Longest file of certificates or keys.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// Reads all passwords and certificates. Blocks.
pub(super) fn read(config: &Config) -> anyhow::Result<Admission> {
    let password = config.grid.password.as_ref();
    let password = password
        .map(|secret| secrets::read("grid.password", secret))
        .transpose()?;
    let password = password.as_ref().map(|password| password.reveal());
    let users = config.grid.users.iter().map(read_user);
    let users = users.collect::<Result<Vec<_>, _>>()?;
    Ok(Admission {
        users: Users::new(password, users),
        tls: config.grid.tls.as_ref().map(read_tls).transpose()?,
    })
}

fn read_user(settings: &UserSettings) -> Result<User, SecretError> {
    let user = settings.user.clone();
    let Some(secret) = &settings.password else {
        return Ok(user);
    };
    let key = format!("grid.user.password of {}", user.name());
    let password = secrets::read(&key, secret)?;
    Ok(user.with_password(PasswordHash::of(password.reveal().as_bytes())))
}

/// Whether the certificates that clients are shown can be read and used. Blocks.
///
/// # Errors
/// Says which file cannot, and why.
pub(crate) fn check_tls(config: &Config) -> anyhow::Result<()> {
    let checked = config.grid.tls.as_ref().map(read_tls).transpose();
    checked.map(drop)
}

fn read_tls(files: &TlsSettings) -> anyhow::Result<TlsConfig> {
    let cert = secrets::read_public("grid.tls.cert", &files.cert, PEM_BYTES_MAX)?;
    let key = secrets::read_private("grid.tls.key", &files.key, PEM_BYTES_MAX)?;
    let ca = files.client_ca.as_ref();
    let ca = ca.map(|path| secrets::read_public("grid.tls.client_ca", path, PEM_BYTES_MAX));
    Ok(TlsConfig::from_pem(
        &cert,
        &key,
        ca.transpose()?.as_deref(),
    )?)
}
