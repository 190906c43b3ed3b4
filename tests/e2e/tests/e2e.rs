//! The journeys: what a user of the gateway can see, against the built binary.

#![allow(clippy::unwrap_used, reason = "a journey fails by panicking")]

mod archives;
mod attacks;
mod bodies;
mod canary;
mod cli;
mod desk;
mod failures;
mod framing;
mod graceful;
mod head;
mod limits;
mod matrix;
mod policies;
mod quota;
mod reload;
mod scanning;
mod untouched;
mod verdicts;
mod wecard;
mod writes;
