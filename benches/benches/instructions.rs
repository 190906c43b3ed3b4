//! How many instructions does it take to admit one request? Runs itself under valgrind's callgrind, so that the answer is
//! the same however busy the machine is, and prints one line for each kind of request. Skipped without valgrind.
//!
//! `cargo bench -p menshen-benches --bench instructions -- --keep DIR` leaves callgrind's files in DIR, for `callgrind_annotate`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for people at a terminal")]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;

use benches::{Admitted, Asked, admit, pipeline, policy, token};
use filters::pipeline::Pipeline;
use pingora_http::RequestHeader;

const ROUNDS: u32 = 500;
const TENANTS: usize = 100;
const CASES: [&str; 4] = ["plain", "open", "signed", "limited"];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--case") {
        return run(&arguments[at + 1]);
    }
    let kept = arguments
        .iter()
        .position(|argument| argument == "--keep")
        .map(|at| PathBuf::from(&arguments[at + 1]));
    let folder = kept.unwrap_or_else(std::env::temp_dir);
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("no valgrind here: skipped");
        return;
    }
    for case in CASES {
        let file = folder.join(format!("admit-{}-{case}.callgrind", std::process::id()));
        println!("admit/{case}: {} instructions", measure(case, &file) / u64::from(ROUNDS));
        if !arguments.iter().any(|argument| argument == "--keep") {
            std::fs::remove_file(file).unwrap();
        }
    }
}

/// All instructions inside [`counted`].
fn measure(case: &str, file: &Path) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*counted_admission*"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(std::env::current_exe().unwrap())
        .args(["--case", case])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report = std::fs::read_to_string(file).unwrap();
    let total = report.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap();
    total.trim().parse().unwrap()
}

fn run(case: &str) {
    let pipeline = pipeline(&policy(TENANTS, 0));
    let bearer = format!("Bearer {}", token("t-7"));
    let fields: &[(&str, &str)] = match case {
        "plain" => &[],
        "open" => &[("X-Tenant-ID", "t-7")],
        _ => &[("Authorization", &bearer)],
    };
    let asked =
        Asked::browser("GET", "card.example.com", &format!("/{case}/v1/cards?page=2&size=20"), fields);
    // Caches and lazily made things first.
    for _ in 0..100 {
        black_box(admit(&pipeline, &asked, asked.header()));
    }
    for _ in 0..ROUNDS {
        drop(counted_admission(&pipeline, &asked, asked.header()));
    }
}

/// Found by its name.
#[inline(never)]
fn counted_admission(pipeline: &Pipeline, asked: &Asked, header: RequestHeader) -> Admitted {
    black_box(admit(pipeline, asked, header))
}
