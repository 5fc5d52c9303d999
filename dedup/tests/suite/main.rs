//! The crate from outside: two gateways, a wire, and whatever may happen to it.

mod bad_input;
mod golden;
mod link;
mod restart;
mod reverse;
mod round_trip;
