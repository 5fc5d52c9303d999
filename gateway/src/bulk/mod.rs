//! Files: kept under `bulk.dir`, moved by `strait push` and `strait pull`.

pub mod path;
pub mod store;
