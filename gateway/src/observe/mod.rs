//! What operators see: metrics, status, health.
