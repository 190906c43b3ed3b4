//! What is inside of a file that is whole: the members of an archive, the parts of an office file, the storages of an
//! old one.

use std::sync::Arc;
use std::task::Poll;

use config::rules::Archives;

use super::archive::{Contents, Fault, Format, Progress, Walker};
use super::family::Family;
use super::file::CheckedFile;
use super::office::Kind;
use super::ole;
use super::scan::Scanner;
use crate::denial::{Denial, Reason};
use crate::filter::WholeBody;

/// Steps of a walk without a pause, about 300 KB unpacked: the event loop serves others in between.
const STEPS: u32 = 16;

/// Looks into a file, by what it begins as. Nothing is inside of most. `scanner` looks at the members of an archive.
pub(super) async fn look(
    file: &CheckedFile,
    body: &dyn WholeBody,
    limits: Archives,
    scanner: Option<&Arc<dyn Scanner>>,
) -> Result<Contents, Denial> {
    let kind = Kind::of(file.family);
    if file.family == Family::Ole {
        let extension = super::name::extension(&file.id.filename).unwrap_or_default();
        return match ole::inspect(body, file.range.clone(), &extension).await {
            Ok(()) => Ok(Contents::default()),
            Err(ole::Stop::Fault(fault)) => Err(refuse(file, kind, fault)),
            Err(ole::Stop::Unreadable(error)) => Err(super::unreadable(&error)),
        };
    }
    let format = match file.archive {
        None => return Ok(Contents::default()),
        Some(Format::Closed(name)) => return Ok(Contents { closed: Some(name), ..Contents::default() }),
        Some(format) => format,
    };
    let mut walker = Walker::new(format, file.range.end - file.range.start, limits);
    if let Some(kind) = kind {
        walker = walker.office(kind);
    }
    if is_packed_tar(&file.id.filename) {
        walker = walker.holding_tar();
    }
    if let Some(scanner) = scanner.cloned() {
        walker = walker.scanning(move || scanner.member());
    }
    let (mut at, mut steps) = (file.range.start, 0);
    loop {
        match walker.step().map_err(|fault| refuse(file, kind, fault))? {
            Progress::Done => return Ok(walker.contents()),
            Progress::Working => {}
            Progress::Hungry if at == file.range.end => walker.close(),
            Progress::Hungry => {
                let bytes = body.read(at..file.range.end).await.map_err(|error| super::unreadable(&error))?;
                if bytes.is_empty() {
                    return Err(super::unreadable(&std::io::ErrorKind::UnexpectedEof.into()));
                }
                at += bytes.len() as u64;
                walker.push(&bytes);
            }
        }
        steps += 1;
        if steps % STEPS == 0 {
            pause().await;
        }
    }
}

fn is_packed_tar(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.ends_with(".tgz") || name.ends_with(".tar.gz")
}

/// Gives way to whatever else is to be done, once.
async fn pause() {
    let mut has_waited = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut has_waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// An office file that cannot be read is none, and in one a name that leads elsewhere is no accident; any other archive
/// is refused as one.
fn refuse(file: &CheckedFile, kind: Option<Kind>, fault: Fault) -> Denial {
    match fault {
        Fault::Broken(detail) if kind.is_some() => file.id.refuse(Reason::UploadTypeMismatch, detail),
        Fault::Mismatch(detail) => file.id.refuse(Reason::UploadTypeMismatch, detail),
        Fault::Astray(detail) if kind.is_some() => file.id.refuse(Reason::UploadContentDenied, detail),
        Fault::Broken(detail) | Fault::Astray(detail) => file.id.refuse(Reason::UploadArchiveDenied, detail),
        Fault::Over(detail, limit) => file.id.refuse_over(Reason::UploadArchiveDenied, detail, Some(limit)),
        Fault::Active(detail) => file.id.refuse(Reason::UploadContentDenied, detail),
    }
}
