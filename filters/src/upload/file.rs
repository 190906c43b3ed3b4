//! One file of an upload while it arrives: size, sum, kind, content.

use std::ops::Range;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::active::{Content, Fault};
use super::archive::Format;
use super::family::{self, Family};
use super::scan::{Ahead, Scanner};
use super::{declared, sniff};
use crate::denial::{Denial, FieldProblem, Reason};
use crate::filter::WholeBody;

/// Content is judged whenever this many more bytes of a file have been seen, and at its end.
const BLOCK: u64 = sniff::HEAD as u64;

/// A scanner may begin with a file of which this many bytes are on disk: below it there is little to gain.
const AHEAD: u64 = 1024 * 1024;

/// Who a file is: what every refusal of it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileId {
    /// The form field; `None` for a raw upload.
    pub(super) field: Option<String>,
    /// As the client sent it.
    pub(super) filename: String,
}

impl FileId {
    /// Refuses this file.
    pub(super) fn refuse(&self, reason: Reason, detail: impl Into<std::borrow::Cow<'static, str>>) -> Denial {
        self.refuse_over(reason, detail, None)
    }

    /// Refuses this file for passing a limit.
    pub(super) fn refuse_over(
        &self,
        reason: Reason,
        detail: impl Into<std::borrow::Cow<'static, str>>,
        limit: Option<u64>,
    ) -> Denial {
        Denial::new(reason, detail).with_field(FieldProblem {
            field: self.field.clone(),
            filename: Some(self.filename.clone()),
            code: reason.code(),
            limit,
            ..FieldProblem::default()
        })
    }
}

/// The checks of one file. Memory: 8 KiB until its kind is known, then less than 1 KiB; for a PNG with packed texts 64 KiB,
/// for a PDF with object streams that and their lists (512 KiB at most).
pub(super) struct FileCheck {
    id: FileId,
    extension: String,
    class: String,
    max_size: u64,
    /// The declared type; `None` when there is none, or when the policy ignores it.
    declared: Option<String>,
    start: u64,
    size: u64,
    head: Vec<u8>,
    kind: Option<(Family, String)>,
    archive: Option<Format>,
    content: Content,
    hasher: Sha256,
    ahead: Option<Arc<dyn Ahead>>,
}

/// A file that passed all checks of its bytes as they came.
#[derive(Debug)]
pub(super) struct CheckedFile {
    pub(super) id: FileId,
    pub(super) class: String,
    pub(super) family: Family,
    pub(super) media_type: String,
    /// What kind of archive it begins as, if any.
    pub(super) archive: Option<Format>,
    /// Where it is in the body.
    pub(super) range: Range<u64>,
    pub(super) sha256: [u8; 32],
    /// The scan that has begun already.
    pub(super) ahead: Option<Arc<dyn Ahead>>,
}

impl FileCheck {
    /// For a file whose data starts `start` bytes into the body.
    pub(super) fn new(id: FileId, extension: String, class: String, max_size: u64, start: u64) -> Self {
        let content = Content::of(family::expected(&extension)[0]);
        let (head, hasher) = (Vec::new(), Sha256::new());
        Self {
            id,
            extension,
            class,
            max_size,
            declared: None,
            start,
            size: 0,
            head,
            kind: None,
            archive: None,
            content,
            hasher,
            ahead: None,
        }
    }

    /// A PDF may act.
    pub(super) fn with_active_pdf(self) -> Self {
        Self { content: self.content.with_active_pdf(), ..self }
    }

    /// With a type that the content must not contradict.
    pub(super) fn declared(self, declared: Option<String>) -> Self {
        Self { declared, ..self }
    }

    /// Refuses a file that is said to be too large, before its first byte.
    pub(super) fn foresee(&self, size: u64) -> Result<(), Denial> {
        match size > self.max_size {
            true => Err(self.too_large()),
            false => Ok(()),
        }
    }

    /// Takes the next bytes. Refuses as soon as a block shows something, or the size is passed.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), Denial> {
        while !bytes.is_empty() {
            let room = (self.max_size - self.size).min(BLOCK - self.size % BLOCK);
            if room == 0 {
                let limit = Some(self.max_size);
                return Err(self.id.refuse_over(
                    Reason::UploadTooLarge,
                    "a file over its class's size",
                    limit,
                ));
            }
            let (piece, rest) = bytes.split_at(bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
            self.hasher.update(piece);
            self.content.push(piece);
            if self.kind.is_none() {
                self.head.extend_from_slice(piece);
            }
            self.size += piece.len() as u64;
            if self.size.is_multiple_of(BLOCK) {
                self.judge_kind()?;
                self.judge_content(self.content.fault())?;
            }
            bytes = rest;
        }
        Ok(())
    }

    /// Has the scanner begin with what the body's file has of this one, or go on with it.
    pub(super) fn kept(&mut self, body: &dyn WholeBody, scanner: &dyn Scanner) {
        let there = body.file().map_or(0, |(_, length)| length.min(self.start + self.size));
        if self.ahead.is_none() && there >= self.start + AHEAD {
            self.ahead = scanner.ahead(body, self.start);
        }
        if let Some(ahead) = &self.ahead {
            ahead.grown(there);
        }
    }

    /// Judges the whole file.
    pub(super) fn end(mut self) -> Result<CheckedFile, Denial> {
        self.judge_kind()?;
        self.judge_content(self.content.end())?;
        let (family, media_type) = self.kind.expect("a file's kind was just judged");
        Ok(CheckedFile {
            id: self.id,
            class: self.class,
            family,
            media_type,
            archive: self.archive,
            range: self.start..self.start + self.size,
            sha256: self.hasher.finalize().into(),
            ahead: self.ahead,
        })
    }

    fn too_large(&self) -> Denial {
        let limit = Some(self.max_size);
        self.id.refuse_over(Reason::UploadTooLarge, "a file over its class's size", limit)
    }

    /// Compares the head with the extension, once.
    fn judge_kind(&mut self) -> Result<(), Denial> {
        if self.kind.is_some() {
            return Ok(());
        }
        let head = std::mem::take(&mut self.head);
        self.archive = Format::of(&head);
        match sniff::agree(&head, &self.extension) {
            Ok(family) => {
                let media_type = family.media_type(&self.extension, &head);
                if let Some(declared) = &self.declared
                    && declared::contradicts(declared, family, &media_type)
                {
                    let detail = format!("declared as {declared}, but is {media_type}");
                    return Err(self.id.refuse(Reason::UploadTypeMismatch, detail));
                }
                self.kind = Some((family, media_type));
                Ok(())
            }
            Err(detail) => Err(self.id.refuse(Reason::UploadTypeMismatch, detail)),
        }
    }

    fn judge_content(&self, fault: Option<Fault>) -> Result<(), Denial> {
        match fault {
            None => Ok(()),
            Some(Fault::Mismatch(detail)) => Err(self.id.refuse(Reason::UploadTypeMismatch, detail)),
            Some(Fault::Active(detail)) => Err(self.id.refuse(Reason::UploadContentDenied, detail)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(bytes: &[u8], max_size: u64, piece: usize) -> Result<CheckedFile, Denial> {
        let id = FileId { field: Some("f".into()), filename: "a.png".into() };
        let mut file = FileCheck::new(id, "png".into(), "image".into(), max_size, 10);
        bytes.chunks(piece).try_for_each(|piece| file.push(piece))?;
        file.end()
    }

    fn png(length: usize) -> Vec<u8> {
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
        png.resize(length, 0xaa);
        png
    }

    #[test]
    fn sums_and_places_a_file() {
        let file = judged(&png(20_000), 20_000, 333).unwrap();
        assert_eq!((file.range, file.media_type.as_str()), (10..20_010, "image/png"));
        assert_eq!(file.sha256, <[u8; 32]>::from(Sha256::digest(png(20_000))));
    }

    #[test]
    fn refuses_the_first_byte_over_the_limit() {
        let denial = judged(&png(8193), 8192, 8193).unwrap_err();
        assert_eq!(denial.reason, Reason::UploadTooLarge);
        assert_eq!(denial.extra.unwrap().errors[0].limit, Some(8192));
        assert_eq!(judged(&png(5), 0, 1).unwrap_err().reason, Reason::UploadTooLarge);
    }

    #[test]
    fn gives_one_verdict_when_several_are_due() {
        let mut image = png(30_000);
        image[9000..9006].copy_from_slice(b"<?php ");
        for piece in [1, 7, 8192, 30_000] {
            // Within the second block: the limit comes first when it is inside the same block.
            assert_eq!(judged(&image, 10_000, piece).unwrap_err().reason, Reason::UploadTooLarge);
            assert_eq!(judged(&image, 20_000, piece).unwrap_err().reason, Reason::UploadContentDenied);
        }
    }
}
