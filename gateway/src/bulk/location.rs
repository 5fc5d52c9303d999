//! `SITE:PATH`, as people type it.

use std::fmt;
use std::str::FromStr;

use strait_transport::{ParseSiteError, SiteName};

use super::path::{PathError, SitePath};

/// A path at a site. `SITE:` alone, or a path with a slash at its end, is a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub site: SiteName,
    pub path: SitePath,
    /// It was written as a folder: a file keeps its own name in it.
    pub folder: bool,
}

/// Why a text is no location.
#[derive(Debug, thiserror::Error)]
pub enum LocationError {
    #[error("no site in it: write SITE:PATH, like west:backups/db.dump")]
    NoSite,
    #[error(transparent)]
    Site(#[from] ParseSiteError),
    #[error(transparent)]
    Path(#[from] PathError),
}

impl Location {
    /// All that a site keeps.
    pub fn root_of(site: &SiteName) -> Location {
        Self {
            site: site.clone(),
            path: SitePath::root(),
            folder: true,
        }
    }

    /// This place for a file called `name`: within it, if it is a folder.
    pub fn of_file(&self, name: Option<&str>) -> Result<Location, PathError> {
        let path = match name {
            _ if !self.folder => self.path.clone(),
            Some(name) => self.path.join(name)?,
            None => return Err(PathError::NoFileName),
        };
        Ok(Self {
            site: self.site.clone(),
            path,
            folder: false,
        })
    }

    /// The folder called `name` in this folder.
    pub fn within(&self, name: &str) -> Result<Location, PathError> {
        Ok(Self {
            site: self.site.clone(),
            path: self.path.join(name)?,
            folder: true,
        })
    }

    /// The same path, meant as a file.
    pub fn as_file(self) -> Location {
        Self {
            folder: false,
            ..self
        }
    }
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        let (site, path) = text.split_once(':').ok_or(LocationError::NoSite)?;
        let (path, folder) = match path.strip_suffix('/') {
            // A lone slash would be the root of the file system.
            Some("") => return Err(PathError::Absolute.into()),
            Some(folder) => (folder, true),
            None => (path, path.is_empty()),
        };
        Ok(Self {
            site: site.parse()?,
            path: path.parse()?,
            folder,
        })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.folder && !self.path.is_root() {
            "/"
        } else {
            ""
        };
        write!(f, "{}:{}{slash}", self.site, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders() {
        let place = |text: &str| text.parse::<Location>().unwrap();
        let named = |text, name| place(text).of_file(name).map(|place| place.to_string());
        assert_eq!(named("west:a/b", Some("f")).unwrap(), "west:a/b");
        assert_eq!(named("west:a/b/", Some("f")).unwrap(), "west:a/b/f");
        assert_eq!(named("west:", Some("f")).unwrap(), "west:f");
        assert_eq!(named("west:", None), Err(PathError::NoFileName));
        for text in ["west:", "west:a", "west:a/"] {
            assert_eq!(place(text).to_string(), text);
        }
        for bad in [
            "west",
            "West:a",
            ":a",
            "west:/a",
            "west:/",
            "west:../a",
            "west:a//",
        ] {
            assert!(bad.parse::<Location>().is_err(), "{bad}");
        }
    }
}
