//! Who is let in at the clients' port: `strait.toml`, and the files and variables that it names.

use super::secrets;
use crate::config::{Config, TlsSettings};
use crate::resp::{Admission, TlsConfig, Users};

/// Longest file of certificates or keys.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// Reads all passwords and certificates. Blocks.
pub(super) fn read(config: &Config) -> anyhow::Result<Admission> {
    let password = config.grid.password.as_ref();
    let password = password
        .map(|secret| secrets::read("grid.password", secret))
        .transpose()?;
    let password = password.as_ref().map(|password| password.reveal());
    Ok(Admission {
        users: Users::with_password(password),
        tls: config.grid.tls.as_ref().map(read_tls).transpose()?,
    })
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
