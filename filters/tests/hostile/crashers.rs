//! What crashed a fuzzer once does so no more: every file in `tests/fuzz/crashers/TARGET/` goes through its target.

use std::fs;
use std::path::Path;

#[path = "../../../tests/fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "the fuzzers call it from outside")]
mod targets;

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 6] = [
    ("multipart", targets::multipart),
    ("name", targets::name),
    ("archive", targets::archive),
    ("svg", targets::svg),
    ("pdf", targets::pdf),
    ("office", targets::office),
];

#[test]
fn what_crashed_once_does_so_no_more() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/crashers");
    for (name, target) in TARGETS {
        for crasher in fs::read_dir(folder.join(name)).into_iter().flatten() {
            target(&fs::read(crasher.unwrap().path()).unwrap());
        }
        for bytes in [&b""[..], b"\0", b"--b--", &[0xff; 300]] {
            target(bytes);
        }
    }
}
