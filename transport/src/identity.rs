//! A gateway's identity: one ed25519 key, pinned by its peers.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use data_encoding::BASE32_NOPAD_NOCASE;
use zeroize::Zeroizing;

/// Larger than any PKCS#8 document of an ed25519 key.
const KEY_FILE_BYTES_MAX: u64 = 4096;

/// An ed25519 public key: what a peer pins. Its text is lower-case base32 without
/// padding, 52 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The key with these 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key's 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = BASE32_NOPAD_NOCASE.encode(&self.0);
        text.make_ascii_lowercase();
        f.pad(&text)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// A text is no public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no public key: expected 52 characters of a-z and 2-7, as `strait pair` prints them")]
pub struct ParseKeyError;

impl FromStr for PublicKey {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 52 {
            return Err(ParseKeyError);
        }
        let bytes = BASE32_NOPAD_NOCASE
            .decode(text.as_bytes())
            .map_err(|_| ParseKeyError)?;
        bytes.try_into().map(Self).map_err(|_| ParseKeyError)
    }
}

/// What helps whose key is gone.
const REMEDY: &str = "restore it from a backup; without one, make a new data directory and have \
                      the peers pair with it anew";

/// Why a gateway's key could not be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The system gave no random bytes.
    #[error("cannot generate a key: the system gave no random bytes")]
    Generate,
    /// A file could not be read or written.
    #[error("cannot {verb} the identity key {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The key file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{path} holds no ed25519 key in PKCS#8: {REMEDY}", path = .0.display())]
    Malformed(PathBuf),
    /// There is no such file.
    #[error("{path} is missing: {REMEDY}", path = .0.display())]
    Absent(PathBuf),
}

/// A gateway's private key. Cheap to clone; its debug form shows the public half only. Its memory is wiped
/// when the last clone is dropped.
#[derive(Clone)]
pub struct Identity {
    pkcs8: Arc<Zeroizing<Vec<u8>>>,
    public: PublicKey,
}

impl Identity {
    /// Draws a new key.
    pub fn generate() -> Result<Self, IdentityError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| IdentityError::Generate)?;
        let pkcs8 = pair.to_pkcs8().map_err(|_| IdentityError::Generate)?;
        Self::from_pkcs8(pkcs8.as_ref()).ok_or(IdentityError::Generate)
    }

    /// Reads a key that [`Identity::save`] wrote.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let io = |source| IdentityError::Io {
            verb: "read",
            path: path.to_owned(),
            source,
        };
        let metadata = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(IdentityError::Absent(path.to_owned()));
            }
            metadata => metadata.map_err(io)?,
        };
        if metadata.len() > KEY_FILE_BYTES_MAX {
            return Err(IdentityError::Malformed(path.to_owned()));
        }
        let pkcs8 = Zeroizing::new(fs::read(path).map_err(io)?);
        Self::from_pkcs8(&pkcs8).ok_or_else(|| IdentityError::Malformed(path.to_owned()))
    }

    /// Writes the key as PKCS#8 to a new file that only its owner may read, and
    /// fsyncs it. A file that is there already is an error: keys are never replaced
    /// in passing. A file that cannot be written whole, on a full disk, is removed again.
    pub fn save(&self, path: &Path) -> Result<(), IdentityError> {
        let failed = |source| IdentityError::Io {
            verb: "write",
            path: path.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        let written = file.write_all(&self.pkcs8).and_then(|()| file.sync_all());
        written.map_err(|source| {
            drop(fs::remove_file(path));
            failed(source)
        })
    }

    /// The half that peers pin.
    pub const fn public_key(&self) -> PublicKey {
        self.public
    }

    pub(crate) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// A secret for one purpose, the same after each start: it says nothing of the key, nor of the
    /// secrets for others.
    pub(crate) fn secret(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.pkcs8);
        let mut secret = Zeroizing::new([0; 32]);
        secret.copy_from_slice(hmac::sign(&key, purpose.as_bytes()).as_ref());
        secret
    }

    fn from_pkcs8(pkcs8: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).ok()?;
        let public = pair.public_key().as_ref().try_into().ok()?;
        Some(Self {
            pkcs8: Arc::new(Zeroizing::new(pkcs8.to_vec())),
            public: PublicKey(public),
        })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_saved_key_loads_again_and_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.key");
        let identity = Identity::generate().unwrap();
        identity.save(&path).unwrap();
        assert_eq!(
            Identity::load(&path).unwrap().public_key(),
            identity.public_key()
        );
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(
            identity.save(&path),
            Err(IdentityError::Io { .. })
        ));
    }

    #[test]
    fn a_damaged_key_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.key");
        fs::write(&path, b"not a key").unwrap();
        let error = Identity::load(&path).unwrap_err();
        assert!(error.to_string().contains("identity.key"));
    }

    #[test]
    fn a_public_key_is_52_characters_of_text() {
        let key = PublicKey::from_bytes([0xa5; 32]);
        let text = key.to_string();
        assert_eq!(text.len(), 52);
        assert_eq!(text.parse(), Ok(key));
        assert_eq!(text.to_uppercase().parse(), Ok(key));
        assert_eq!("x".parse::<PublicKey>(), Err(ParseKeyError));
        assert_eq!(
            text.replace('s', "1").parse::<PublicKey>(),
            Err(ParseKeyError)
        );
    }
}
