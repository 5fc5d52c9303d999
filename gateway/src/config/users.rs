//! The sections `[[grid.user]]`.

use std::ops::Range;
use std::path::Path;

use toml::de::DeValue;

use super::errors::{Fault, Report};
use super::resolved::{GridSettings, UserSettings};
use super::secret::{self, Secret};
use super::section::{Located, Section};
use super::values;
use crate::resp::{DEFAULT_USER, PasswordHash, User};

const USERS_MAX: usize = 256;
const NAME_BYTES_MAX: usize = 64;

/// Users as they are read, and where the file has them.
pub(super) type Users = Vec<Located<UserSettings>>;

pub(super) fn read(sections: Vec<Section<'_, '_>>, base: &Path, report: &mut Report<'_>) -> Users {
    if let Some(section) = sections.get(USERS_MAX) {
        let what = format!("{} users are too many", sections.len());
        let remedy = format!("keep at most {USERS_MAX}");
        report.add(section.span(), Fault::new(what, remedy));
    }
    let mut users = Users::new();
    for section in sections.into_iter().take(USERS_MAX) {
        let span = section.span();
        let Some(value) = read_one(section, base, report) else {
            continue;
        };
        let name = value.user.name();
        if users.iter().any(|known| known.value.user.name() == name) {
            let what = format!("two sections define the user {name}");
            let remedy = "write all of its rights into one";
            report.add(span.clone(), Fault::new(what, remedy));
        }
        users.push(Located { value, span });
    }
    users
}

fn read_one(
    mut section: Section<'_, '_>,
    base: &Path,
    report: &mut Report<'_>,
) -> Option<UserSettings> {
    let remedy = "say who it is, like name = \"reports\"";
    let name = section.require(report, "name", remedy, name);
    let password = section.get(report, "password", secret::secret(base));
    let hash = section.get(report, "password_sha256", hash);
    let remedy = "say what it may do, like rules = \"on ~stats:* +@read\"";
    let rules = section.require(report, "rules", remedy, values::pattern);
    let span = section.span();
    section.finish(report);
    let (name, rules) = (name?.value, rules?.value);
    let mut user = match User::parse(&name, &rules) {
        Ok(user) => user,
        Err(error) => {
            let remedy = "write them as for ACL SETUSER of Redis, like \"on ~stats:* +@read\"";
            let what = format!("grid.user.rules of {name}: {error}");
            report.add_structure(span, Fault::new(what, remedy));
            return None;
        }
    };
    let is_text = matches!(
        &password,
        Some(Located {
            value: Secret::Text(_),
            ..
        })
    );
    let holds_secret = user.has_password() || hash.is_some() || is_text;
    if let Some(hash) = hash {
        user = user.with_password(hash.value);
    }
    if user.lacks_password() && password.is_none() {
        let what = format!("nobody can come in as the user {name}: it has no password");
        let remedy = "give it one with password, or write nopass into its rules";
        report.add_structure(span, Fault::new(what, remedy));
    }
    Some(UserSettings {
        user,
        password: password.map(|password| password.value),
        holds_secret,
    })
}

fn name(value: &DeValue<'_>) -> Result<String, Fault> {
    let is_fine = |name: &str| {
        (1..=NAME_BYTES_MAX).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match value.as_str() {
        Some(name) if is_fine(name) => Ok(name.to_owned()),
        _ => Err(Fault::new(
            "it is no name of a user",
            format!("use 1 to {NAME_BYTES_MAX} letters, digits and signs, without spaces"),
        )),
    }
}

fn hash(value: &DeValue<'_>) -> Result<PasswordHash, Fault> {
    let hash = value.as_str().and_then(PasswordHash::from_hex);
    hash.ok_or_else(|| {
        Fault::new(
            "it is no SHA-256 of a password",
            "write its 64 hexadecimal digits in lower case, like `echo -n … | sha256sum` prints them",
        )
    })
}

/// What is wrong only together with the password of the default user.
pub(super) fn check_default(grid: &GridSettings, place: Range<usize>, report: &mut Report<'_>) {
    let mut names = grid.users.iter().map(|user| user.user.name());
    let has_default = names.any(|name| name == DEFAULT_USER);
    if has_default && grid.password.is_some() {
        let what = "grid.password is a password of the user default, which [[grid.user]] defines";
        let remedy = "move it into that section";
        report.add_structure(place, Fault::new(what, remedy));
    } else if !grid.users.is_empty() && !has_default && grid.password.is_none() {
        let what = "who sends no password is the user default and may do everything, so [[grid.user]] \
                    holds nobody back";
        let remedy = "set grid.password, or define the user default, like rules = \"off\"";
        report.add_structure(place, Fault::new(what, remedy));
    }
}
