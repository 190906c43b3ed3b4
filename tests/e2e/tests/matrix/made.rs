//! Hostile files that libraries and programs make: PDF, Office files, archives, packed text in pictures.

use harness::samples;

use super::case::{Case, Evil, Place};

const PLACES: [Place; 3] = [Place::Only, Place::Last, Place::Put];

pub(super) fn cases() -> Vec<Case> {
    let hostile = samples::all().iter().filter(|sample| !sample.is_good());
    let mut cases = Vec::new();
    for (at, sample) in hostile.enumerate() {
        let name = format!("made/{}", sample.name.trim_start_matches("evil-"));
        let filename = format!("report.{}", sample.extension);
        let evil = Evil::new(name, &filename, sample.content.clone(), &sample.code).under(&sample.rule);
        // One in twenty stands behind 5 MB of a good file, too.
        let places = if at % 20 == 0 { [&PLACES[..], &[Place::Far]].concat() } else { PLACES.to_vec() };
        cases.extend(Case::places(evil, &places));
    }
    cases
}
