//! Hostile files that libraries and programs make: PDF, Office files, archives, packed text in pictures.

use harness::{sample, samples};

use super::CLOSED;
use super::case::{Case, Evil, Place};
use super::hidden::chunk;

const PLACES: [Place; 3] = [Place::Only, Place::Last, Place::Put];

pub(super) fn cases() -> Vec<Case> {
    let hostile = samples::all().iter().filter(|sample| !sample.is_good());
    let mut cases = Vec::new();
    for (at, sample) in hostile.enumerate() {
        let name = format!("made/{}", sample.name.trim_start_matches("evil-"));
        let filename = format!("report.{}", sample.extension);
        let evil = Evil::new(name, &filename, sample.content.clone(), &sample.code);
        // One in twenty stands behind 5 MB of a good file, too.
        let places = if at % 20 == 0 { [&PLACES[..], &[Place::Far]].concat() } else { PLACES.to_vec() };
        cases.extend(Case::places(evil, &places));
    }
    // What nobody can look into is refused as long as the policy does not say otherwise.
    let closed = |sample: &&samples::Sample| sample.is_good() && CLOSED.contains(&sample.extension.as_str());
    for sample in samples::all().iter().filter(closed) {
        let (name, filename) = (format!("closed/{}", sample.name), format!("a.{}", sample.extension));
        let evil = Evil::new(name, &filename, sample.content.clone(), "upload.archive_denied");
        cases.extend(Case::places(evil, &PLACES));
    }
    cases.extend(
        malware().into_iter().flat_map(|evil| Case::places(evil, &[Place::First, Place::Last, Place::Put])),
    );
    cases
}

/// The test malware as it is, and in files that are otherwise good.
fn malware() -> Vec<Evil> {
    let eicar = sample::eicar();
    let behind = |name: &str| [&samples::named(name).content[..], &eicar].concat();
    let files = [
        ("alone", "txt", eicar.clone()),
        ("in a page of text", "txt", [&b"a line\n".repeat(3000)[..], &eicar, b"\nmore\n"].concat()),
        ("in a table", "csv", [&b"a,b\n"[..], &eicar, b"\n"].concat()),
        ("in a pdf", "pdf", sample::infected_pdf()),
        ("in a picture", "png", chunk(&samples::named("png-rgb").content, b"prVt", &eicar)),
        ("behind a film", "mp4", behind("mp4")),
        ("behind a sound", "mp3", behind("mp3-tagged")),
    ];
    let evil = |(place, extension, content): (&str, &str, Vec<u8>)| {
        Evil::new(format!("malware/{place}"), &format!("a.{extension}"), content, "upload.infected")
    };
    files.into_iter().map(evil).collect()
}
