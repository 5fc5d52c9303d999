//! The Redis protocol (RESP2 and RESP3) in front of the grid.

mod server;

pub use server::{BindError, InfoSource, NoInfo, RespConfig, Server};
