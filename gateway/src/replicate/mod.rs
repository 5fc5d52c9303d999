//! Keeps one peer in step: what to send since when, and applying what arrives.
