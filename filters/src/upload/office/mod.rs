//! Office files (ECMA-376 part 2): a zip whose members are the parts of a document.
//!
//! Nothing in it may act or fetch: no macros under any name, no ActiveX control, no embedded OLE object, no template,
//! frame or document from elsewhere, no DDE. Links that a reader has to click may be there, and pictures from the web.
//! What counts is what a part says, not what it is called: every member that is XML is read.
//!
//! Of OpenDocument files, whose macros have folders of their own, the names alone are judged.
//!
//! What this does not protect from: an exploit in a part that is none of this, and what embedded workbooks compute.

mod part;
mod xml;

use self::part::Part;
use super::archive::Fault;
use super::family::Family;

/// Which program an office file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    Excel,
    PowerPoint,
}

impl Kind {
    /// What an extension's family asks for.
    pub(super) fn of(family: Family) -> Option<Self> {
        match family {
            Family::Docx => Some(Self::Word),
            Family::Xlsx => Some(Self::Excel),
            Family::Pptx => Some(Self::PowerPoint),
            _ => None,
        }
    }

    /// The folder that its parts are in.
    fn folder(self) -> &'static [u8] {
        match self {
            Self::Word => b"word/",
            Self::Excel => b"xl/",
            Self::PowerPoint => b"ppt/",
        }
    }
}

/// What is known of a zip that may turn out to be an office file.
#[derive(Default)]
pub(super) struct Office {
    /// It has a list of content types: it is one.
    has_types: bool,
    folders: Vec<Kind>,
    part: Part,
    fault: Option<&'static str>,
    open_document: OpenDocument,
}

/// What a zip has of what an OpenDocument file has (ODF 1.3 part 2).
#[derive(Default)]
struct OpenDocument {
    has_kind: bool,
    has_content: bool,
    has_macros: bool,
}

impl Office {
    /// A member begins.
    pub(super) fn begin(&mut self, name: &[u8]) {
        let name = name.to_ascii_lowercase();
        self.part = Part::default();
        self.has_types |= name == b"[content_types].xml";
        for kind in [Kind::Word, Kind::Excel, Kind::PowerPoint] {
            if name.starts_with(kind.folder()) && !self.folders.contains(&kind) {
                self.folders.push(kind);
            }
        }
        let open = &mut self.open_document;
        open.has_kind |= name == b"mimetype";
        open.has_content |= name == b"content.xml";
        open.has_macros |= name.starts_with(b"basic/") || name.starts_with(b"scripts/");
        self.tell(acting_name(&name));
    }

    /// The next bytes of it.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.part.push(bytes);
    }

    /// It is whole.
    pub(super) fn end(&mut self) {
        let fault = std::mem::take(&mut self.part).end();
        self.tell(fault);
    }

    /// The zip is whole; at the top of a file it must be of this kind.
    pub(super) fn verdict(&self, wanted: Option<Kind>) -> Result<(), Fault> {
        let OpenDocument { has_kind, has_content, has_macros } = self.open_document;
        match (self.fault, wanted) {
            _ if has_kind && has_content && has_macros => Err(Fault::Active("macros")),
            (Some(fault), _) if self.has_types => Err(Fault::Active(fault)),
            (_, Some(kind)) if !self.has_types || !self.folders.contains(&kind) => {
                Err(Fault::Mismatch("a zip that is no office file of this kind"))
            }
            _ => Ok(()),
        }
    }

    fn tell(&mut self, fault: Option<&'static str>) {
        self.fault = self.fault.or(fault);
    }
}

/// Parts that are refused by their name alone, in lower case.
fn acting_name(name: &[u8]) -> Option<&'static str> {
    let has = |part: &[u8]| memchr::memmem::find(name, part).is_some();
    if name.ends_with(b"vbaproject.bin") || name.ends_with(b"vbadata.xml") || has(b"/macrosheets/") {
        return Some("macros");
    }
    if has(b"/activex/") {
        return Some("a control");
    }
    (has(b"/embeddings/") && name.ends_with(b".bin")).then_some("an embedded OLE object")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(names: &[&str], wanted: Option<Kind>) -> Result<(), Fault> {
        let mut office = Office::default();
        for name in names {
            office.begin(name.as_bytes());
            office.push(b"<a/>");
            office.end();
        }
        office.verdict(wanted)
    }

    const WORD: [&str; 3] = ["[Content_Types].xml", "_rels/.rels", "word/document.xml"];

    #[test]
    fn lets_a_package_pass_as_what_it_is_alone() {
        assert_eq!(judged(&WORD, Some(Kind::Word)), Ok(()));
        assert!(matches!(judged(&WORD, Some(Kind::Excel)), Err(Fault::Mismatch(_))));
        assert!(matches!(judged(&WORD[1..], Some(Kind::Word)), Err(Fault::Mismatch(_))));
        assert!(matches!(judged(&[], Some(Kind::Word)), Err(Fault::Mismatch(_))));
    }

    #[test]
    fn refuses_parts_that_act_by_their_names() {
        for name in [
            "word/vbaProject.bin",
            "word/VBAPROJECT.BIN",
            "word/vbaData.xml",
            "xl/macrosheets/sheet1.xml",
            "word/activeX/activeX1.xml",
            "word/embeddings/oleObject1.bin",
        ] {
            let names = [WORD.as_slice(), &[name]].concat();
            assert!(matches!(judged(&names, None), Err(Fault::Active(_))), "{name}");
            assert_eq!(judged(&[name], None), Ok(()), "no office file");
        }
        assert_eq!(judged(&[WORD.as_slice(), &["word/embeddings/book.xlsx"]].concat(), None), Ok(()));
    }

    #[test]
    fn refuses_the_macros_of_open_documents() {
        let text = ["mimetype", "content.xml", "META-INF/manifest.xml"];
        assert_eq!(judged(&text, None), Ok(()));
        for name in ["Basic/Standard/Module1.xml", "Scripts/python/a.py"] {
            assert!(matches!(judged(&[text.as_slice(), &[name]].concat(), None), Err(Fault::Active(_))));
            assert_eq!(judged(&["scripts/build.sh", name], None), Ok(()), "no document");
        }
    }
}
