//! The crate from outside: two gateways, a wire, and whatever may happen to it.

mod bad_input;
mod budget;
mod crash;
mod eviction;
mod fuzz;
mod golden;
mod level;
mod link;
mod noise;
mod restart;
mod reverse;
mod round_trip;
mod simulated;
