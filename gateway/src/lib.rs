//! The gateway process.

pub mod redis;
pub mod access_log;
pub mod audit;
pub mod error_log;
pub mod json_line;
pub mod log_file;
pub mod metrics;
pub mod record;
pub mod timestamp;
pub mod clamd;
pub mod spool;
pub mod jwks;
