//! The embedded grid: counters and logs, kept in memory, journalled on disk. No network here.
