//! `strait demo`: two sites on loopback with a bad link between them.

pub mod wan;
