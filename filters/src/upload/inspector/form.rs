//! A form, part by part.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{Rules, whole};
use crate::denial::{Denial, FieldProblem, Reason};
use crate::filter::{BodyInspector, Findings, WholeBody};
use crate::upload::active::Content;
use crate::upload::family::Family;
use crate::upload::file::{CheckedFile, FileCheck, FileId};
use crate::upload::malformed;
use crate::upload::multipart::{Event, Parser};
use crate::upload::part::PartHead;
use crate::upload::stored::Owner;

/// See the module.
pub(super) struct FormInspector {
    parser: Parser,
    form: Form,
}

impl FormInspector {
    /// For a form whose parts this boundary divides.
    pub(super) fn new(rules: Arc<Rules>, owner: Owner, boundary: &str) -> Self {
        let form = Form {
            rules,
            owner,
            files: Vec::new(),
            fields: 0,
            names: Default::default(),
            current: Current::Nothing,
        };
        Self { parser: Parser::new(boundary), form }
    }
}

struct Form {
    rules: Arc<Rules>,
    owner: Owner,
    files: Vec<CheckedFile>,
    fields: usize,
    /// Names of fields, and of those that carried files: nobody's name may be both.
    names: [HashSet<String>; 2],
    current: Current,
}

/// The field by which a form says how its texts are encoded (RFC 7578 section 4.6).
const CHARSET: &str = "_charset_";
const UTF_8: &[u8] = b"utf-8";

/// The part that is arriving, with the length it declared.
enum Current {
    Nothing,
    Field {
        name: String,
        size: u64,
        declared: Option<u64>,
        /// What the form calls its charset, when this field says so.
        charset: Option<Vec<u8>>,
        /// What is looked for in a field with a type, which formidable hands to its app as a file.
        script: Option<Box<Content>>,
    },
    /// A browser's file input that was left empty.
    NoFile(FileId),
    File {
        file: Box<FileCheck>,
        start: u64,
        declared: Option<u64>,
    },
}

impl BodyInspector for FormInspector {
    fn chunk(&mut self, bytes: &[u8]) -> Result<(), Denial> {
        let form = &mut self.form;
        self.parser.feed(bytes, &mut |event| match event {
            Event::PartStart { head, offset } => form.start(head, offset),
            Event::PartData(bytes) => form.data(bytes),
            Event::PartEnd { offset } => form.end(offset),
        })
    }

    /// One file of a body at most is begun with: nobody may take many places for one request.
    fn kept(&mut self, body: &dyn WholeBody) {
        let Form { rules, files, current, .. } = &mut self.form;
        if let (Some(scanner), Current::File { file, .. }) = (&rules.scanner, current)
            && files.iter().all(|file| file.ahead.is_none())
        {
            file.kept(body, scanner.as_ref());
        }
    }

    fn finish(self: Box<Self>, body: &dyn WholeBody) -> BoxFuture<'_, Result<Findings, Denial>> {
        Box::pin(async move {
            self.parser.finish()?;
            whole(body, self.parser.offset())?;
            let Form { rules, owner, files, .. } = self.form;
            rules.conclude(&owner, files, body).await
        })
    }
}

impl Form {
    fn start(&mut self, head: PartHead, offset: u64) -> Result<(), Denial> {
        let Some(filename) = head.filename else {
            return self.start_field(head);
        };
        self.call(&head.name, true)?;
        let id = FileId { field: Some(head.name), filename };
        let field = id.field.as_deref().unwrap_or_default();
        if !self.rules.fields.is_empty() && !self.rules.fields.contains(field) {
            return Err(id.refuse(Reason::UploadMalformed, "a file in a field that takes none"));
        }
        if id.filename.is_empty() {
            self.count_field(id.field.as_deref().unwrap_or_default())?;
            self.current = Current::NoFile(id);
            return Ok(());
        }
        if self.files.len() == self.rules.max_files {
            let limit = Some(self.rules.max_files as u64);
            return Err(id.refuse_over(Reason::UploadTooManyFiles, "too many files", limit));
        }
        let file = Box::new(self.rules.admit(&self.owner, id, head.content_type, offset)?);
        self.current = Current::File { file, start: offset, declared: head.length };
        Ok(())
    }

    fn start_field(&mut self, head: PartHead) -> Result<(), Denial> {
        let PartHead { name, content_type, length: declared, .. } = head;
        self.count_field(&name)?;
        self.call(&name, false)?;
        let charset = (name == CHARSET).then(Vec::new);
        let script = content_type.map(|_| Box::new(Content::of(Family::Other)));
        self.current = Current::Field { name, size: 0, declared, charset, script };
        Ok(())
    }

    /// Apps look a name up among the fields or among the files, and may find the other one.
    fn call(&mut self, name: &str, file: bool) -> Result<(), Denial> {
        let [fields, files] = &mut self.names;
        let (own, other) = if file { (files, fields) } else { (fields, files) };
        if other.contains(name) {
            let detail = "a name that is a field's and a file's";
            return Err(refuse_field(name, Reason::UploadMalformed, detail, None));
        }
        if !own.contains(name) {
            own.insert(name.to_owned());
        }
        Ok(())
    }

    fn count_field(&mut self, name: &str) -> Result<(), Denial> {
        self.fields += 1;
        match self.fields > self.rules.max_fields {
            true => {
                let limit = Some(self.rules.max_fields as u64);
                Err(refuse_field(name, Reason::UploadMalformed, "too many fields", limit))
            }
            false => Ok(()),
        }
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), Denial> {
        match &mut self.current {
            Current::File { file, .. } => file.push(bytes),
            Current::Field { name, size, charset, script, .. } => {
                if let Some(script) = script {
                    script.push(bytes);
                }
                *size += bytes.len() as u64;
                if let Some(charset) = charset {
                    charset.extend(bytes.iter().take(UTF_8.len() + 1 - charset.len()));
                }
                match *size > self.rules.max_field_size {
                    true => {
                        let limit = Some(self.rules.max_field_size);
                        Err(refuse_field(name, Reason::UploadTooLarge, "a field over its size", limit))
                    }
                    false => Ok(()),
                }
            }
            Current::NoFile(id) => Err(id.refuse(Reason::UploadFilenameDenied, "a file without a name")),
            Current::Nothing => Err(Denial::new(Reason::Internal, "data outside of any part")),
        }
    }

    fn end(&mut self, offset: u64) -> Result<(), Denial> {
        let (length, declared) = match std::mem::replace(&mut self.current, Current::Nothing) {
            Current::File { file, start, declared } => {
                self.files.push(file.end()?);
                (offset - start, declared)
            }
            Current::Field { name, size, declared, charset, script } => {
                if script.is_some_and(|script| script.end().is_some()) {
                    let detail = "a script in a field with a type";
                    return Err(refuse_field(&name, Reason::UploadContentDenied, detail, None));
                }
                if charset.is_some_and(|charset| !charset.eq_ignore_ascii_case(UTF_8)) {
                    let detail = "a form in another charset than UTF-8";
                    return Err(refuse_field(CHARSET, Reason::UploadMalformed, detail, None));
                }
                (size, declared)
            }
            Current::NoFile(_) | Current::Nothing => (0, None),
        };
        match declared.is_some_and(|declared| declared != length) {
            true => Err(malformed("a part that is not as long as it says")),
            false => Ok(()),
        }
    }
}

/// Refuses a form for a part that is no file.
fn refuse_field(name: &str, reason: Reason, detail: &'static str, limit: Option<u64>) -> Denial {
    Denial::new(reason, detail).with_field(FieldProblem {
        field: Some(name.to_owned()),
        code: reason.code(),
        limit,
        ..FieldProblem::default()
    })
}
