//! `strait.toml`: read raw, then resolved; every mistake is named with its line and a remedy.
