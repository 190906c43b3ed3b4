//! Starts the real gateway and the real things around it, each on a free port, and talks to them.
//!
//! Nothing here knows the gateway's code: it is a program with a command line, sockets and files. Whatever is started
//! ends with the value that started it, and with the test process, however that ends.

pub mod browser;
pub mod certificate;
pub mod clamd;
pub mod database;
pub mod desk;
pub mod gateway;
pub mod http;
pub mod multipart;
pub mod origin;
pub mod policy;
pub mod process;
pub mod raw;
pub mod redis;
pub mod request_log;
pub mod sample;
pub mod samples;
pub mod socket;
pub mod token;
pub mod wait;
pub mod wecard;

pub use browser::Browser;
pub use certificate::Certificate;
pub use clamd::Clamd;
pub use desk::Desk;
pub use gateway::Gateway;
pub use multipart::Form;
pub use origin::Origin;
pub use raw::Raw;
pub use redis::Redis;
pub use socket::Socket;
pub use wait::{SOON, until};
pub use wecard::WeCard;

use std::path::PathBuf;

/// The project's root folder.
pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
