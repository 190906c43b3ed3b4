//! Uploads: nothing unchecked reaches an app.
//!
//! Bytes pass through in one direction, and every stage is blind to where chunks end:
//!
//! ```text
//! content type → multipart parser → part head → name → extension → size → content → whole body: inside, scan
//! (content_type)  (multipart)       (part)      (name)  (sniff)     (file) (active, svg, pdf, picture)  (inside, scan)
//! ```
//!
//! Then the books: was the file stored before (dedupe), is there room for it (storage).
//!
//! The first file that fails refuses the request. Content is judged every 8 KiB of a file and at its end, never in
//! between, so that the same bytes give the same verdict however they were divided.

mod active;
pub mod archive;
mod builtin;
mod content_type;
mod declared;
mod dedupe;
mod family;
mod file;
mod inside;
mod inspector;
mod ledger;
mod multipart;
mod name;
mod office;
pub mod ole;
mod part;
mod pdf;
mod picture;
mod release;
mod report;
mod scan;
mod scanners;
mod seen;
mod sniff;
mod storage;
mod stored;
mod svg;
mod verdicts;
mod yara;

pub use builtin::{BlockList, Builtin, EicarSearch, MemberScan};
pub use content_type::{FormType, form_type};
pub use family::Family;
pub use inspector::UploadRules;
pub use ledger::Ledger;
pub use multipart::{Event, Parser};
pub use part::PartHead;
pub use release::Release;
pub use scan::{Ahead, FileToScan, ScanFailure, ScanPolicy, Scanned, Scanner, Unscanned};
pub use scanners::Scanners;
pub use seen::SeenFiles;
pub use stored::{Bookkeeping, Stored};
pub use verdicts::Verdicts;
pub use yara::{Judged, RuleFault, RuleSet};

use crate::denial::{Denial, Reason};
use std::borrow::Cow;

/// 400 `upload.malformed`: two readers of these bytes could differ.
fn malformed(detail: impl Into<Cow<'static, str>>) -> Denial {
    Denial::new(Reason::UploadMalformed, detail)
}

/// 500: the spool failed.
fn unreadable(error: &std::io::Error) -> Denial {
    Denial::new(Reason::Internal, format!("the spooled body cannot be read back: {error}"))
}
