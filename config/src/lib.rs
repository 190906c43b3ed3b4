//! The policy language of Menshen.

mod model;
pub mod rules;
mod secret;

pub use model::*;
pub use secret::Secret;
