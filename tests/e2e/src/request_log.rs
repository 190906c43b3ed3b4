//! What an app says it received.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// The request log of an app, one JSON object a line.
pub struct RequestLog(PathBuf);

impl RequestLog {
    /// The log that will be in this file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Everything the app received, without the health checks.
    pub fn entries(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("the app writes JSON"))
            .filter(|entry| entry["uri"] != "/api/health")
            .collect()
    }

    /// How many those are now, to ask [`RequestLog::since`] later.
    pub fn mark(&self) -> usize {
        self.entries().len()
    }

    /// What came after the mark.
    pub fn since(&self, mark: usize) -> Vec<Value> {
        self.entries().split_off(mark)
    }

    /// The file as it is, to search it for what must not be there.
    pub fn text(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap_or_default()
    }
}
