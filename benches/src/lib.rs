//! What the benches measure on: policies of any size, requests as a worker would hand them over, and files.
//! Everything is made once, outside of what is timed.

#![allow(clippy::unwrap_used, reason = "a bench that cannot be set up cannot go on")]

use std::time::Duration;

use criterion::Criterion;

mod asked;
mod policy;

pub use asked::{Admitted, Asked, NOW, admit, token};
pub use policy::{load, pipeline, policy, stores, text};

/// Timings short enough that all benches together take less than three minutes.
pub fn quick() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_millis(1500))
        .sample_size(30)
        .without_plots()
}

/// A file of the form of a PNG, with one chunk of noise in which nothing looks like a marker: what the inspector has to
/// read to the end.
pub fn png(bytes: usize) -> Vec<u8> {
    let mut file =
        b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0\x3a\x7e\x9b\x55".to_vec();
    let length = u32::try_from(bytes - file.len() - 24).unwrap();
    file.extend_from_slice(&length.to_be_bytes());
    file.extend_from_slice(b"IDAT");
    // A linear congruential generator: incompressible enough, the same on every run.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    file.resize_with(bytes - 16, || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    });
    file.extend_from_slice(b"\0\0\0\0\0\0\0\0IEND\xae\x42\x60\x82");
    file
}
