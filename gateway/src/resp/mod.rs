//! The Redis protocol (RESP2 and RESP3) in front of the grid.
