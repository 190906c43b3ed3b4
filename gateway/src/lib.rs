//! The gateway process.

pub mod redis;
