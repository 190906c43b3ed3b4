//! Rules in YARA's language: compiled from text, asked of bytes. A file that one of them matches is infected.
//!
//! A file of up to 2 MiB is judged as it is. Of a larger one a rule sees regions of 2 MiB that overlap by 256 KiB: strings
//! are found wherever they are, and a condition may ask for several that lie far apart; but a single match longer than
//! the overlap may be missed, and `filesize`, and whatever else a rule asks of the whole at once, is undefined there, so
//! that a condition which needs it does not hold.
//!
//! Judging takes a processor for as long as it lasts and belongs on a thread that may wait. Memory: one region.

use std::fmt;
use std::ops::Range;
use std::sync::LazyLock;
use std::time::Duration;

use boreal::Compiler;
use boreal::compiler::CompilerParams;
use boreal::memory::{FragmentedMemory, MemoryParams, Region, RegionDescription};
use boreal::scanner::{FragmentedScanMode, ScanCallbackResult, ScanError, ScanEvent, ScanParams};
use sha2::{Digest, Sha256};

/// Bytes that are looked at together.
const REGION: u64 = 2 << 20;
/// Bytes at the end of a region that are looked at once more with the next.
const OVERLAP: u64 = 256 << 10;

/// The rules that ship, one text a kind of thing.
const SHIPPED: [(&str, &str); 3] = [
    ("webshells.yar", include_str!("../../../policies/rules/webshells.yar")),
    ("droppers.yar", include_str!("../../../policies/rules/droppers.yar")),
    ("disguises.yar", include_str!("../../../policies/rules/disguises.yar")),
];

static SHIPPED_RULES: LazyLock<RuleSet> = LazyLock::new(|| {
    RuleSet::compile(SHIPPED.map(|(_, text)| text)).expect("the rules that ship are compiled by the tests")
});

/// Rules, compiled. Cheap to clone.
#[derive(Clone)]
pub struct RuleSet {
    rules: boreal::Scanner,
    digest: [u8; 32],
}

/// Gives the bytes of a range, in a buffer that is no longer used.
type Read<'a> = dyn FnMut(Range<u64>, Vec<u8>) -> Option<Vec<u8>> + Send + Sync + 'a;

/// Why a text is no rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFault {
    /// Which of the texts, from 0.
    pub text: usize,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub what: String,
}

/// What the rules say of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// None matches.
    Nothing,
    /// The one of this name does.
    Match(String),
    /// Time ran out before all of it was looked at.
    TimedOut,
    /// A part of the file could not be had.
    Unreadable,
}

impl RuleSet {
    /// Compiles texts; a rule's name need only be unique within its text. Rules may not include files.
    ///
    /// # Errors
    /// The first fault of every text that has one; never none.
    pub fn compile<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, Vec<RuleFault>> {
        let mut compiler = Compiler::new();
        compiler.set_params(CompilerParams::default().disable_includes(true));
        let mut digest = Sha256::new();
        let mut faults = Vec::new();
        for (index, text) in texts.into_iter().enumerate() {
            digest.update((text.len() as u64).to_be_bytes());
            digest.update(text);
            if let Err(error) = compiler.add_rules_str_in_namespace(text, format!("{index}")) {
                let diagnostic = error.to_diagnostic();
                let at = diagnostic.labels.first().map_or(0, |label| label.range.start);
                let (line, column) = place(text, at);
                let what = diagnostic.message.replace(['\n', '\r'], " ");
                faults.push(RuleFault { text: index, line, column, what });
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self { rules: compiler.finalize(), digest: digest.finalize().into() })
    }

    /// The rules that ship with the gateway, in `policies/rules`. Compiled once.
    pub fn shipped() -> Self {
        SHIPPED_RULES.clone()
    }

    /// SHA-256 of the texts.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.rules().count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Judges a file of `length` bytes for at most about `limit`. `read` gives exactly the bytes of a range, of at most
    /// 2 MiB, or nothing when they cannot be had; it is given the buffer of the range before.
    pub fn judge(&self, length: u64, limit: Duration, read: &mut Read<'_>) -> Judged {
        let mut rules = self.rules.clone();
        let mode = FragmentedScanMode::legacy();
        rules.set_scan_params(ScanParams::default().timeout_duration(Some(limit)).fragmented_scan_mode(mode));
        let mut matched = None;
        let note = |event: ScanEvent<'_, '_>| match event {
            ScanEvent::RuleMatch(rule) => {
                matched = Some(rule.name.to_owned());
                ScanCallbackResult::Abort
            }
            _ => ScanCallbackResult::Continue,
        };
        let mut unreadable = false;
        let outcome = if length <= REGION {
            let Some(bytes) = read(0..length, Vec::new()) else { return Judged::Unreadable };
            rules.scan_mem_with_callback(&bytes, note)
        } else {
            let regions = Regions { length, read, at: None, held: None, unreadable: &mut unreadable };
            rules.scan_fragmented_with_callback(regions, note)
        };
        match (matched, outcome) {
            (Some(name), _) => Judged::Match(name),
            (None, Ok(())) if unreadable => Judged::Unreadable,
            (None, Ok(())) => Judged::Nothing,
            (None, Err(ScanError::Timeout)) => Judged::TimedOut,
            (None, Err(_)) => Judged::Unreadable,
        }
    }
}

/// Line and column of a place in a text.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

/// A file, one region after the other.
struct Regions<'a> {
    length: u64,
    read: &'a mut Read<'a>,
    /// The number of the region that was named last.
    at: Option<u64>,
    /// The region whose bytes are there.
    held: Option<(u64, Vec<u8>)>,
    unreadable: &'a mut bool,
}

impl Regions<'_> {
    fn range(&self, number: u64) -> Range<u64> {
        let start = number * (REGION - OVERLAP);
        start..self.length.min(start + REGION)
    }
}

impl fmt::Debug for Regions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Regions({})", self.length)
    }
}

impl FragmentedMemory for Regions<'_> {
    fn next(&mut self, _: &MemoryParams) -> Option<RegionDescription> {
        let next = match self.at {
            // The region before went to the end.
            Some(at) if self.range(at).end == self.length => return None,
            Some(at) => at + 1,
            None => 0,
        };
        self.at = Some(next);
        let range = self.range(next);
        let length = usize::try_from(range.end - range.start).ok()?;
        Some(RegionDescription { start: usize::try_from(range.start).ok()?, length })
    }

    fn fetch(&mut self, _: &MemoryParams) -> Option<Region<'_>> {
        let at = self.at?;
        let range = self.range(at);
        let start = usize::try_from(range.start).ok()?;
        if self.held.as_ref().is_none_or(|(held, _)| *held != at) {
            let buffer = self.held.take().map(|(_, bytes)| bytes).unwrap_or_default();
            match (self.read)(range, buffer) {
                Some(bytes) => self.held = Some((at, bytes)),
                None => *self.unreadable = true,
            }
        }
        self.held.as_ref().map(|(_, bytes)| Region { start, mem: bytes })
    }

    fn reset(&mut self) {
        self.at = None;
    }
}

#[cfg(test)]
mod tests;
