//! The chaos suite: real gateways, a bad link between them, faults by plan, and a checker that
//! remembers every confirmed write.
//!
//! A *round* is played by a *plan*, which one seed gives: how the sites are joined, what stands in
//! their `strait.toml`, and a list of faults. Meanwhile clients write at every site in each class
//! of durability and keep what they were told ([`history`]). In the end all faults are mended, the
//! sites have to hold the same, and [`check`] compares that with what was promised:
//!
//! | promise | rule |
//! | --- | --- |
//! | `disk`, or `WAITAOF 1 0` | there after kills and power cuts |
//! | `remote`, or `WAIT 1` | there after the loss of the site's directory, too |
//! | `memory` | of one life of a gateway only the last `loss_window_ms` before a kill may be lost |
//! | counters | between the sum of what survives and the sum of what was tried |
//! | logs | ids rise strictly, none is given twice, none has two contents, no gap, none in any read |
//! | sites | equal digests once in step, `strait verify` exits with 0, also after another kill |
//! | gateways | every start ends with one that serves clients; none panics |
//!
//! The seed fixes the plan and not the timing, so a failure may need several rounds of its seed to
//! come again. `tests/short.rs` plays two seeds; `tests/chaos/run --minutes 30` plays on and on.

mod apply;
pub mod check;
mod client;
mod cluster;
mod damage;
mod disk;
mod files;
mod free;
pub mod history;
mod message;
pub mod plan;
mod power;
mod reader;
mod register;
mod relay;
pub mod round;
pub mod state;

pub use message::say;
pub use plan::Plan;
pub use round::{Tamper, hold, play};
