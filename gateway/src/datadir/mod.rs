//! The data directory of a gateway: its layout, its lock, its key and its incarnation.
