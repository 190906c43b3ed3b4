//! The rules of an upload route, and the inspector that applies them to one body.
//!
//! What is refused with which code, where the contract leaves a choice:
//! - a body that is neither a form nor (with `raw`) a file, a file in a field that is not listed, too many other fields:
//!   400 `upload.malformed`; a field over `max_field_size`: 413 `upload.too_large`;
//! - `scanner.on_failure: deny`: 503 `scan.unavailable`; `scanner.on_unscanned: deny`: the same 503 when time may heal it
//!   (timed out, cut, unclear), else (encrypted, over a limit of the scanner's) 422 `upload.content_denied`, so that
//!   nobody is told to send the same file again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use config::rules::{Archives, Upload};
use config::{Fallback, RuleName};
use futures_util::future::BoxFuture;
use http::header::{
    CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, TRANSFER_ENCODING,
};
use http::{HeaderName, Method};
use pingora_http::RequestHeader;

use super::archive::Contents;
use super::content_type::{FormType, form_type};
use super::family::{self, Family};
use super::file::{CheckedFile, FileCheck, FileId};
use super::part::{hex, raw_filename};
use super::scan::{FileToScan, ScanFailure, ScanPolicy, Scanned, Scanner, Unscanned};
use super::stored::{Bookkeeping, Owner};
use super::{inside, malformed, name, report, unreadable};
use crate::denial::{Denial, Reason};
use crate::facts::Facts;
use crate::filter::{BodyInspector, FileReport, Filter, Findings, WholeBody};
use crate::pending::Pending;

mod form;

use form::FormInspector;

/// `upload:` of a route. Lets a body pass when every file in it passes every check; a form without files passes.
pub struct UploadRules(Arc<Rules>);

struct Rules {
    /// Any when empty.
    fields: HashSet<String>,
    max_files: usize,
    /// Extension → class and bytes of one file.
    classes: HashMap<String, (String, u64)>,
    raw: bool,
    max_fields: usize,
    max_field_size: u64,
    declared_type: bool,
    pdf_active: bool,
    archives: Archives,
    /// `None` with `scan: false`.
    scanner: Option<Arc<dyn Scanner>>,
    policy: ScanPolicy,
    books: Bookkeeping,
}

impl UploadRules {
    /// The rules of one route. `scanner` is not asked when the route does not scan.
    pub fn build(rules: &Upload, scanner: Arc<dyn Scanner>, policy: ScanPolicy, books: Bookkeeping) -> Self {
        let classes = rules.classes.iter().flat_map(|class| {
            class
                .extensions
                .iter()
                .map(|one| (one.to_ascii_lowercase(), (class.name.clone(), class.max_size)))
        });
        Self(Arc::new(Rules {
            fields: rules.fields.iter().cloned().collect(),
            max_files: rules.max_files,
            classes: classes.collect(),
            raw: rules.raw,
            max_fields: rules.max_fields,
            max_field_size: rules.max_field_size,
            declared_type: rules.declared_type,
            pdf_active: rules.pdf_active,
            archives: rules.archives,
            scanner: rules.scan.then_some(scanner),
            policy,
            books,
        }))
    }
}

impl Filter for UploadRules {
    fn name(&self) -> RuleName {
        RuleName::Upload
    }

    fn inspector(
        &self,
        request: &RequestHeader,
        facts: &Facts<'_>,
    ) -> Result<Option<Box<dyn BodyInspector>>, Denial> {
        let has_body = request.headers.contains_key(TRANSFER_ENCODING)
            || request.headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
        match self.0.inspector(request, facts) {
            Ok(inspector) => Ok(Some(inspector)),
            Err(denial) if has_body => Err(denial),
            // Nobody has sent a body yet; over HTTP/2 that is not known before its first byte.
            Err(denial) => match self.0.is_bodiless(request) {
                true => Ok(Some(Box::new(NoBody(denial)))),
                false => Err(denial),
            },
        }
    }
}

impl Rules {
    fn inspector(
        self: &Arc<Self>,
        request: &RequestHeader,
        facts: &Facts<'_>,
    ) -> Result<Box<dyn BodyInspector>, Denial> {
        if one(request, &CONTENT_ENCODING)?.is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
            return Err(malformed("a body with a content coding"));
        }
        if one(request, &CONTENT_RANGE)?.is_some() {
            return Err(malformed("a part of a body"));
        }
        let owner = Owner::of(facts);
        let declared = match one(request, &CONTENT_TYPE)?.map(form_type).transpose()? {
            Some(FormType::Form(boundary)) => {
                return Ok(Box::new(FormInspector::new(self.clone(), owner, &boundary)));
            }
            Some(FormType::Other(kind)) => Some(kind),
            None => None,
        };
        if !self.raw || ![Method::PUT, Method::POST].contains(&request.method) {
            return Err(malformed("a body that is no form"));
        }
        let id = FileId { field: None, filename: self.raw_name(request, facts)? };
        let file = self.admit(&owner, id, declared, 0)?;
        let length = one(request, &CONTENT_LENGTH)?.and_then(|length| std::str::from_utf8(length).ok());
        file.foresee(length.and_then(|length| length.parse().ok()).unwrap_or(0))?;
        Ok(Box::new(RawInspector { rules: self.clone(), owner, file }))
    }

    /// The name of a raw upload: by `Content-Disposition`, else the path's last segment. With PUT, where apps store by
    /// the path, the segment must be a good name in any case, and its extension, if it has one, on the list and of the
    /// same kind.
    fn raw_name(&self, request: &RequestHeader, facts: &Facts<'_>) -> Result<String, Denial> {
        let segment = facts.path.rsplit('/').next().unwrap_or_default();
        let segment = percent_decoded(segment).ok_or_else(|| malformed("a path that is not UTF-8"))?;
        let named = one(request, &CONTENT_DISPOSITION)?.map(raw_filename).transpose()?.flatten();
        let Some(named) = named else { return Ok(segment) };
        if request.method != Method::PUT {
            return Ok(named);
        }
        let stored = |filename| FileId { field: None, filename };
        if let Some(fault) = name::fault(&segment).or_else(|| name::executable(&segment)) {
            return Err(stored(segment).refuse(Reason::UploadFilenameDenied, fault));
        }
        let fits = |path: String| {
            let alike = name::extension(&named).is_none_or(|name| is_alike(&path, &name));
            alike && self.classes.contains_key(&path)
        };
        if segment.contains('.') && !name::extension(&segment).is_some_and(fits) {
            let detail = "a path whose extension is in no class, or another kind's than the name's";
            return Err(stored(segment).refuse(Reason::UploadExtensionDenied, detail));
        }
        Ok(named)
    }

    /// Whether a request may come without a body, and then needs no checks. A raw upload may not: an empty file has a
    /// name, too.
    fn is_bodiless(&self, request: &RequestHeader) -> bool {
        match request.method {
            Method::PUT | Method::POST if self.raw => false,
            Method::PUT | Method::POST | Method::PATCH => !request.headers.contains_key(CONTENT_TYPE),
            _ => true,
        }
    }

    /// Judges what is known of a file before its first byte.
    fn admit(
        &self,
        owner: &Owner,
        id: FileId,
        declared: Option<String>,
        start: u64,
    ) -> Result<FileCheck, Denial> {
        if let Some(fault) = name::fault(&id.filename) {
            return Err(id.refuse(Reason::UploadFilenameDenied, fault));
        }
        let extension = name::extension(&id.filename);
        let Some((extension, (class, most))) =
            extension.and_then(|extension| self.classes.get_key_value(&extension))
        else {
            return Err(id.refuse(Reason::UploadExtensionDenied, "an extension that is in no class"));
        };
        match owner.limit(class, *most) {
            Some(max_size) => {
                let file = FileCheck::new(id, extension.clone(), class.clone(), max_size, start);
                let file = if self.pdf_active { file.with_active_pdf() } else { file };
                Ok(file.declared(declared.filter(|_| self.declared_type)))
            }
            None => {
                Err(id.refuse(Reason::UploadExtensionDenied, "a class that the tenant's plan does not have"))
            }
        }
    }

    /// Judges what only the whole body can tell, file by file.
    async fn conclude(
        &self,
        owner: &Owner,
        files: Vec<CheckedFile>,
        body: &dyn WholeBody,
    ) -> Result<Findings, Denial> {
        let mut reports = Vec::with_capacity(files.len());
        for file in files {
            let contents = inside::look(&file, body, self.archives, self.scanner.as_ref()).await?;
            self.judge_contents(&file.id, &contents)?;
            let (mut scan, engine) = self.scan(&file, body).await?;
            if contents.closed.is_some() && scan == "clean" {
                scan = "not_scanned";
            }
            reports.push(FileReport {
                field: file.id.field.unwrap_or_default(),
                filename: file.id.filename,
                size: file.range.end - file.range.start,
                media_type: file.media_type,
                class: file.class,
                sha256: hex::encode(file.sha256),
                scan,
                engine,
                duplicate_of: None,
            });
        }
        let stored = self.books.judge(owner, &mut reports).await?;
        let header = report::value(&reports)?;
        let pending = Pending { stored, ..Pending::default() };
        Ok(Findings { request_headers: vec![(report::NAME, header)], files: reports, pending })
    }

    /// Judges what came out of an archive that is sound.
    fn judge_contents(&self, id: &FileId, contents: &Contents) -> Result<(), Denial> {
        if let Some(found) = contents.infected {
            return Err(id.refuse(Reason::UploadInfected, format!("found in an archive: {found}")));
        }
        match (contents.closed, self.policy.on_unscanned) {
            (Some(what), Fallback::Deny) => {
                Err(id.refuse(Reason::UploadArchiveDenied, format!("cannot be looked into: {what}")))
            }
            _ => Ok(()),
        }
    }

    /// Asks the scanner and applies its policy. Gives the report's `scan` and `engine`.
    async fn scan(
        &self,
        file: &CheckedFile,
        body: &dyn WholeBody,
    ) -> Result<(&'static str, &'static str), Denial> {
        let Some(scanner) = &self.scanner else {
            return Ok(("off", "none"));
        };
        let engine = scanner.engine();
        let asked = FileToScan {
            ahead: file.ahead.clone(),
            ..FileToScan::new(body, file.range.clone(), file.sha256)
        };
        match scanner.scan(asked).await {
            Ok(Scanned::Clean) => Ok(("clean", engine)),
            Ok(Scanned::Infected(name)) => {
                Err(file.id.refuse(Reason::UploadInfected, format!("{engine} found {name}")))
            }
            Ok(Scanned::NotScanned(why)) => match self.policy.on_unscanned {
                Fallback::Allow => Ok(("not_scanned", engine)),
                Fallback::Deny => Err(unscanned(&file.id, &why)),
            },
            Err(ScanFailure::Unreachable(how)) => match self.policy.on_failure {
                Fallback::Allow => Ok(("failed", engine)),
                Fallback::Deny => Err(file.id.refuse(Reason::ScanUnavailable, how)),
            },
            Err(ScanFailure::Busy { retry_after }) => Err(file
                .id
                .refuse(Reason::ScanUnavailable, "too many scans are waiting")
                .retry_after(retry_after)),
            Err(ScanFailure::Unreadable(error)) => Err(unreadable(&error)),
        }
    }
}

fn unscanned(id: &FileId, why: &Unscanned) -> Denial {
    let reason = match why.is_passing() {
        true => Reason::ScanUnavailable,
        false => Reason::UploadContentDenied,
    };
    id.refuse(reason, format!("not scanned: {why:?}"))
}

/// The one value of a header, if there is any.
fn one<'a>(request: &'a RequestHeader, header: &HeaderName) -> Result<Option<&'a [u8]>, Denial> {
    let mut values = request.headers.get_all(header).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value.map(|value| value.as_bytes())),
        _ => Err(malformed("a header about the body twice")),
    }
}

/// Whether two extensions stand for one kind of file.
fn is_alike(one: &str, other: &str) -> bool {
    let (family, others) = (family::expected(one)[0], family::expected(other)[0]);
    one == other || (family == others && family != Family::Other)
}

fn percent_decoded(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at..] {
            [b'%', high, low, ..] => {
                decoded.push(hex(high)? << 4 | hex(low)?);
                at += 3;
            }
            [byte, ..] => {
                decoded.push(byte);
                at += 1;
            }
            [] => break,
        }
    }
    String::from_utf8(decoded).ok()
}

/// For a request that may have no body: the refusal, should one come.
struct NoBody(Denial);

impl BodyInspector for NoBody {
    fn chunk(&mut self, bytes: &[u8]) -> Result<(), Denial> {
        match bytes.is_empty() {
            true => Ok(()),
            false => Err(self.0.clone()),
        }
    }

    fn finish(self: Box<Self>, body: &dyn WholeBody) -> BoxFuture<'_, Result<Findings, Denial>> {
        Box::pin(async move {
            match body.is_empty() {
                true => Ok(Findings::default()),
                false => Err(self.0),
            }
        })
    }
}

/// One file as the whole body.
struct RawInspector {
    rules: Arc<Rules>,
    owner: Owner,
    file: FileCheck,
}

impl BodyInspector for RawInspector {
    fn chunk(&mut self, bytes: &[u8]) -> Result<(), Denial> {
        self.file.push(bytes)
    }

    fn kept(&mut self, body: &dyn WholeBody) {
        if let Some(scanner) = &self.rules.scanner {
            self.file.kept(body, scanner.as_ref());
        }
    }

    fn finish(self: Box<Self>, body: &dyn WholeBody) -> BoxFuture<'_, Result<Findings, Denial>> {
        Box::pin(async move {
            let file = self.file.end()?;
            whole(body, file.range.end)?;
            self.rules.conclude(&self.owner, vec![file], body).await
        })
    }
}

/// The body must be what was inspected.
fn whole(body: &dyn WholeBody, seen: u64) -> Result<(), Denial> {
    match body.len() == seen {
        true => Ok(()),
        false => {
            Err(Denial::new(Reason::Internal, "the body that was kept is not the one that was inspected"))
        }
    }
}

#[cfg(test)]
mod tests;
