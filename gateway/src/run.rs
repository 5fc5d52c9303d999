//! Assembles a gateway from its resolved configuration.
