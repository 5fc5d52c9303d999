//! End-to-end tests: the harness that starts real gateways.
