//! `listen.grid`: one place where Redis clients connect, or several.

use std::path::Path;

use toml::de::DeValue;

use super::errors::Fault;
use super::values;
use crate::resp::Endpoint;

/// Each has a task and a descriptor of its own.
const LISTENERS_MAX: usize = 16;
/// The kernel takes 107 bytes.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// An address, or a list of them. Relative paths start from `base`.
pub(super) fn endpoints(
    base: &Path,
    unix_mode: u32,
) -> impl FnOnce(&DeValue<'_>) -> Result<Vec<Endpoint>, Fault> {
    move |value| {
        let one = |value: &DeValue<'_>| endpoint(value, base, unix_mode);
        let DeValue::Array(items) = value else {
            return Ok(vec![one(value)?]);
        };
        if items.is_empty() || items.len() > LISTENERS_MAX {
            let what = format!("{} addresses are too few or too many", items.len());
            return Err(Fault::new(what, format!("name 1 to {LISTENERS_MAX}")));
        }
        items.iter().map(|item| one(item.get_ref())).collect()
    }
}

fn endpoint(value: &DeValue<'_>, base: &Path, mode: u32) -> Result<Endpoint, Fault> {
    if let Some(address) = value.as_str().and_then(|text| text.strip_prefix("tls:")) {
        return match address.parse() {
            Ok(address) => Ok(Endpoint::Tls(address)),
            Err(_) => Err(Fault::new(
                "behind tls: stands no IP address and port",
                "write it like \"tls:0.0.0.0:6391\"",
            )),
        };
    }
    let Some(path) = value.as_str().and_then(|text| text.strip_prefix("unix:")) else {
        return values::socket_address(value).map(Endpoint::Tcp);
    };
    let path = base.join(values::checked_path(path)?);
    if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        let what = format!("the path of a socket has at most {SOCKET_PATH_BYTES_MAX} bytes");
        return Err(Fault::new(
            what,
            "name a shorter one, like \"unix:/run/strait/redis.sock\"",
        ));
    }
    Ok(Endpoint::Unix { path, mode })
}

/// Permissions in octal digits, as chmod takes them.
pub(super) fn mode(value: &DeValue<'_>) -> Result<u32, Fault> {
    let digits = value.as_str().filter(|text| {
        (3..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    });
    let mode = digits.and_then(|text| u32::from_str_radix(text, 8).ok());
    mode.filter(|mode| *mode <= 0o777).ok_or_else(|| {
        let remedy = "write it in quotes as chmod takes it, like \"0770\"";
        Fault::new("it is no set of permissions", remedy)
    })
}
