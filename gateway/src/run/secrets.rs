//! Passwords that stand in files and in the environment, read at start and at each reload.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::{PASSWORD_BYTES_MAX, Password, Secret};

/// A password could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretError {
    #[error("cannot read {} for {key}: {source}", path.display())]
    Io {
        key: String,
        path: PathBuf,
        source: io::Error,
    },
    /// As with `strait.toml`.
    #[error("{} holds a secret for {key}, and can be read by others than its owner and group: chmod 640 it, \
             and exchange the secret if somebody did", path.display())]
    Open { key: String, path: PathBuf },
    #[error("{} for {key} is longer than {bytes_max} bytes", path.display())]
    TooLong {
        key: String,
        path: PathBuf,
        bytes_max: u64,
    },
    #[error(
        "the environment variable {name} for {key} is not set, or no text: set it where the gateway \
             is started, like Environment= of its systemd unit"
    )]
    Variable { key: String, name: String },
    #[error(
        "the password for {key} in {place} must be 1 to {PASSWORD_BYTES_MAX} bytes of text in one line"
    )]
    Content { key: String, place: String },
}

/// Reads the password of the setting `key`. Blocks.
pub(super) fn read(key: &str, secret: &Secret) -> Result<Password, SecretError> {
    let (text, place) = match secret {
        Secret::Text(password) => return Ok(password.clone()),
        Secret::Env(name) => {
            let variable = |_| SecretError::Variable {
                key: key.to_owned(),
                name: name.clone(),
            };
            (std::env::var(name).map_err(variable)?, name.clone())
        }
        Secret::File(path) => {
            let bytes = read_private(key, path, PASSWORD_BYTES_MAX as u64 + 2)?;
            let text = String::from_utf8(bytes).unwrap_or_default();
            (text, path.display().to_string())
        }
    };
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || line.len() > PASSWORD_BYTES_MAX || line.contains('\n') {
        return Err(SecretError::Content {
            key: key.to_owned(),
            place,
        });
    }
    Ok(Password::new(line))
}

/// Reads a file of up to `bytes_max` bytes that others than its owner and group must not be able to
/// read.
pub(super) fn read_private(key: &str, path: &Path, bytes_max: u64) -> Result<Vec<u8>, SecretError> {
    let file = File::open(path).map_err(failed(key, path))?;
    if is_open_to_others(&file, path).map_err(failed(key, path))? {
        return Err(SecretError::Open {
            key: key.to_owned(),
            path: path.to_owned(),
        });
    }
    read_open(key, (path, file), bytes_max)
}

/// The same of a file that everybody may read.
pub(super) fn read_public(key: &str, path: &Path, bytes_max: u64) -> Result<Vec<u8>, SecretError> {
    let file = File::open(path).map_err(failed(key, path))?;
    read_open(key, (path, file), bytes_max)
}

fn read_open(
    key: &str,
    (path, file): (&Path, File),
    bytes_max: u64,
) -> Result<Vec<u8>, SecretError> {
    let mut bytes = Vec::new();
    let read = file.take(bytes_max + 1).read_to_end(&mut bytes);
    match read.map_err(failed(key, path))? as u64 {
        read if read > bytes_max => Err(SecretError::TooLong {
            key: key.to_owned(),
            path: path.to_owned(),
            bytes_max,
        }),
        _ => Ok(bytes),
    }
}

fn failed(key: &str, path: &Path) -> impl FnOnce(io::Error) -> SecretError {
    move |source| SecretError::Io {
        key: key.to_owned(),
        path: path.to_owned(),
        source,
    }
}

/// Into a directory that is closed to them nobody comes.
fn is_open_to_others(file: &File, path: &Path) -> io::Result<bool> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let folder_mode = fs::metadata(folder)?.mode();
    Ok(folder_mode & 0o001 != 0 && file.metadata()?.mode() & 0o004 != 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn written(text: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = dir.path().join("password");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    fn read_file(text: &[u8], mode: u32) -> Result<Password, SecretError> {
        let (_dir, path) = written(text, mode);
        read("grid.password", &Secret::File(path))
    }

    #[test]
    fn the_newline_at_the_end_is_none_of_the_password() {
        for text in ["secret", "secret\n", "secret\r\n"] {
            assert_eq!(
                read_file(text.as_bytes(), 0o640).unwrap().reveal(),
                "secret"
            );
        }
        assert_eq!(read_file(b" a b ", 0o600).unwrap().reveal(), " a b ");
        let longest = [&[b'x'; PASSWORD_BYTES_MAX][..], b"\r\n"].concat();
        assert!(read_file(&longest, 0o600).is_ok());
    }

    #[test]
    fn what_is_no_password_is_refused() {
        let long = [b'x'; PASSWORD_BYTES_MAX + 1];
        for text in [&b""[..], b"\n", b"a\nb\n", b"\xff\xfe", &long] {
            let error = read_file(text, 0o600).unwrap_err();
            assert!(matches!(error, SecretError::Content { .. }), "{error}");
        }
        let absent = Secret::File("/nonexistent/password".into());
        let error = read("grid.password", &absent).unwrap_err().to_string();
        assert!(error.starts_with("cannot read /nonexistent/password for grid.password"));
        let absent = Secret::Env("STRAIT_TEST_NO_SUCH_VARIABLE".to_owned());
        let error = read("grid.password", &absent).unwrap_err();
        assert!(matches!(error, SecretError::Variable { .. }), "{error}");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let error = read_file(b"secret", 0o644).unwrap_err();
        assert!(matches!(error, SecretError::Open { .. }), "{error}");
        let (dir, path) = written(b"secret", 0o644);
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(read("grid.password", &Secret::File(path)).is_ok());
    }
}
