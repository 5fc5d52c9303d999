//! What two gateways say to each other, byte by byte. Drawn in `docs/WIRE.md`.

pub(crate) mod control;
mod cursor;
pub mod frame;
#[cfg(test)]
mod fuzz;
pub(crate) mod hello;
pub(crate) mod record;

pub(crate) use cursor::{Cursor, Malformed, ParseError, put_varint, varint_len};
