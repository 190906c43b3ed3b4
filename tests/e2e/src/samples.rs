//! Files made by the programs that people make such files with: `tests/apps/samples`.
//!
//! They are made once for each state of those scripts and kept beside the built tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bytes::Bytes;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::process::{Process, command};
use crate::wait::SOON;
use crate::wecard::apps;

/// How long making them all may take: half a minute on two busy cores, as a rule.
const PATIENCE: std::time::Duration = SOON.saturating_mul(15);

/// One file.
#[derive(Debug, Clone, Deserialize)]
pub struct Sample {
    /// Its name in reports, such as `png-interlaced`.
    pub name: String,
    /// Without the dot.
    pub extension: String,
    /// The code it must be refused with; empty when it is a good file.
    pub code: String,
    file: String,
    /// Its bytes.
    #[serde(skip)]
    pub content: Bytes,
}

impl Sample {
    /// Whether it must pass.
    pub fn is_good(&self) -> bool {
        self.code.is_empty()
    }
}

/// All of them, made now when they are not there.
///
/// # Panics
/// When they cannot be made, with what the script said.
pub fn all() -> &'static [Sample] {
    static ALL: OnceLock<Vec<Sample>> = OnceLock::new();
    ALL.get_or_init(|| {
        let folder = folder();
        let list = fs::read(folder.join("list.json")).expect("the list was made last");
        let mut samples: Vec<Sample> = serde_json::from_slice(&list).expect("the list is JSON");
        for sample in &mut samples {
            sample.content = fs::read(folder.join(&sample.file)).expect("the list is of files").into();
        }
        samples
    })
}

/// The one of this name.
///
/// # Panics
/// When there is none.
pub fn named(name: &str) -> &'static Sample {
    all().iter().find(|sample| sample.name == name).unwrap_or_else(|| panic!("there is no sample {name}"))
}

/// The folder that holds them, whole.
fn folder() -> PathBuf {
    let scripts = apps().join("samples");
    let tests = std::env::current_exe().expect("the tests run from a file");
    let kept = tests.ancestors().nth(3).expect("it is in TARGET/PROFILE/deps").join("samples");
    let folder = kept.join(state(&scripts));
    if !folder.join("list.json").exists() {
        fs::create_dir_all(&kept).expect("the target folder is writable");
        // Made elsewhere and then moved: what is in place is whole, whoever else makes them now.
        let making = tempfile::tempdir_in(&kept).expect("the target folder is writable");
        make(&scripts, making.path());
        if fs::rename(making.path(), &folder).is_ok() {
            let _ = making.keep();
        }
    }
    folder
}

fn make(scripts: &Path, into: &Path) {
    let mut command = command(apps().join(".venv/bin/python"));
    command.arg("-B").arg(scripts.join("make.py")).arg(into);
    let mut maker = Process::start("make.py", command);
    let status = maker.wait(PATIENCE);
    assert!(status.success(), "{}{}", maker.stdout.text(), maker.stderr.text());
}

/// A name for what the scripts and their libraries are now.
fn state(scripts: &Path) -> String {
    let mut files: Vec<PathBuf> = fs::read_dir(scripts)
        .expect("the scripts are part of the project")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "py"))
        .collect();
    files.sort();
    files.push(apps().join("requirements.txt"));
    let mut sum = Sha256::new();
    for file in files {
        sum.update(fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display())));
    }
    hex::encode(&sum.finalize()[..8])
}
