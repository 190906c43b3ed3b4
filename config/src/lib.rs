//! The policy language of Menshen: YAML into types that cannot be wrong.
//!
//! [`load`] reads files and folders, [`load_text`] a text in memory, and [`schema`] describes what they accept. The
//! schema comes out of the very functions that do the reading, so that the two cannot differ.

mod environment;
mod language;
mod load;
mod loading;
mod model;
mod overlap;
mod pattern;
mod problem;
mod read;
pub mod rules;
mod scalar;
mod secret;
mod secret_source;
mod suggest;
mod table;
mod tree;
mod unit;

pub use environment::Environment;
pub use load::{Loaded, load, load_text, schema};
pub use model::*;
pub use problem::{Place, Problem};
pub use secret::Secret;
