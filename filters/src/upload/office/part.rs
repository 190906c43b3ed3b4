//! One part of an office file: what it says that acts or fetches.

use super::xml::{Seen, Tag, Xml, decoded};

/// Bytes of a part that tell whether it is XML.
const START: usize = 8;
/// Bytes of a field's instruction that are kept: its first word, however it is written.
const MAX_WORD: usize = 256;
/// Fields in fields.
const MAX_FIELDS: usize = 64;

/// Words in a content type that only parts with programs have.
const ACTING_TYPES: [&str; 5] = ["macroenabled", "vbaproject", "vbadata", "macrosheet", "activex"];
/// The last words of relationships that lead to what acts.
const ACTING_LINKS: [&str; 8] = [
    "vbaproject",
    "wordvbadata",
    "xlmacrosheet",
    "xlintlmacrosheet",
    "oleobject",
    "control",
    "activexcontrolbinary",
    // A page or a document of another kind that is taken in when the file is opened.
    "afchunk",
];
/// What a link that is to be clicked may begin with; one without is a place in the document or a file beside it.
const SCHEMES: [&str; 12] =
    ["http", "https", "mailto", "ftp", "ftps", "sftp", "tel", "sms", "callto", "sip", "news", "file"];
/// What a click in a presentation may not do.
const ACTING_CLICKS: [&str; 2] = ["ppaction://program", "ppaction://macro"];
/// What may be linked to outside, when it is on the web.
const MEDIA_LINKS: [&str; 4] = ["image", "audio", "video", "media"];
const HIDDEN: &str = "a field that hides its kind";
/// Fields that start or fetch something without being asked (ECMA-376 part 1 section 17.16.5).
const ACTING_FIELDS: [&str; 5] = ["DDE", "DDEAUTO", "LINK", "DATABASE", "INCLUDETEXT"];

const WANTED: &[&[u8]] =
    &[b"Type", b"TargetMode", b"Target", b"ContentType", b"instr", b"fldCharType", b"action"];

/// A part while it comes.
#[derive(Default)]
pub(super) struct Part {
    start: Vec<u8>,
    /// Set once the start has told that it is XML.
    text: Option<Text>,
    is_told: bool,
    fault: Option<&'static str>,
}

impl Part {
    /// Takes the next bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.is_told {
            self.read(bytes);
            return;
        }
        self.start.extend_from_slice(bytes);
        if self.start.len() >= START {
            self.tell();
        }
    }

    /// The part is whole: what is wrong with it.
    pub(super) fn end(mut self) -> Option<&'static str> {
        if !self.is_told {
            self.tell();
        }
        let unread = self.text.as_mut().and_then(Text::end);
        self.fault.or(unread)
    }

    fn tell(&mut self) {
        self.is_told = true;
        let start = std::mem::take(&mut self.start);
        let text = &start[..start.len().min(START)];
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).trim_ascii_start();
        self.fault = match start.as_slice() {
            [0xd0, 0xcf, 0x11, 0xe0, ..] => Some("an embedded OLE object"),
            [b'{', b'\\', b'r', b't', ..] => Some("an embedded RTF document"),
            // Wide characters: a mark or a bracket.
            [0xff, 0xfe, b'<' | b' ' | 9 | 10 | 13, 0, ..]
            | [0xfe, 0xff, 0, b'<' | b' ' | 9 | 10 | 13, ..]
            | [b'<', 0, _, 0, ..]
            | [0, b'<', 0, _, ..]
            | [0, 0, 0xfe, 0xff, ..]
            | [0, 0, 0, b'<', ..]
            | [0x4c, 0x6f, 0xa7, 0x94, ..] => Some("XML that is not in UTF-8"),
            _ => None,
        };
        // White space alone may be the start of either.
        if text.starts_with(b"<") || text.is_empty() {
            self.text = Some(Text::new());
        }
        self.read(&start);
    }

    fn read(&mut self, bytes: &[u8]) {
        let Some(text) = &mut self.text else { return };
        match text.push(bytes) {
            Ok(()) => {}
            Err(Stop::Harmless) => self.text = None,
            Err(Stop::Fault(fault)) => {
                self.fault.get_or_insert(fault);
                self.text = None;
            }
        }
    }
}

/// Why the rest of a part is not read.
enum Stop {
    Harmless,
    Fault(&'static str),
}

struct Text {
    xml: Xml,
    judge: Judge,
}

/// What is known of the XML so far.
struct Judge {
    /// Says that it is a picture in SVG; its root must be one.
    is_svg: bool,
    has_root: bool,
    /// Inside of text that belongs to a field; whether it is deleted.
    instruction: Option<bool>,
    /// The alternatives that are open, the innermost last, and how many there have been.
    alternatives: Vec<u64>,
    counted: u64,
    /// The fields that are open, the innermost last. The first is for text outside of any.
    fields: Vec<Field>,
    stop: Option<Stop>,
}

#[derive(Default)]
struct Field {
    /// The beginning of its instruction, as it is written.
    instruction: Vec<u8>,
    /// The same without what is deleted.
    kept: Vec<u8>,
    /// The alternative that it began in.
    alternative: u64,
    /// The instruction is over; what follows is what it gave.
    has_result: bool,
}

impl Text {
    fn new() -> Self {
        let fields = vec![Field::default()];
        let judge = Judge {
            is_svg: false,
            has_root: false,
            instruction: None,
            alternatives: Vec::new(),
            counted: 0,
            fields,
            stop: None,
        };
        Self { xml: Xml::new(WANTED), judge }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let judge = &mut self.judge;
        self.xml.push(bytes, &mut |seen| {
            if judge.stop.is_none() {
                judge.stop = judge.see(&seen);
            }
        });
        judge.stop.take().map_or(Ok(()), Err)
    }

    fn end(&mut self) -> Option<&'static str> {
        self.judge.fields.iter().find_map(Field::fault)
    }
}

impl Field {
    fn fault(&self) -> Option<&'static str> {
        acting_field(&self.instruction).or_else(|| acting_field(&self.kept))
    }
}

/// Adds text to the beginning of an instruction.
fn add(instruction: &mut Vec<u8>, text: &[u8]) {
    let text = match instruction.is_empty() {
        true => text.trim_ascii_start(),
        false => text,
    };
    let room = MAX_WORD.saturating_sub(instruction.len()).min(text.len());
    instruction.extend_from_slice(&text[..room]);
}

impl Judge {
    fn see(&mut self, seen: &Seen<'_>) -> Option<Stop> {
        match seen {
            Seen::Declaration(text) => {
                if is_foreign(text) {
                    return Some(Stop::Fault("XML that is not in UTF-8"));
                }
            }
            Seen::DocumentType(name) => {
                self.is_svg = name.eq_ignore_ascii_case(b"svg") && !self.has_root;
                if !self.is_svg {
                    return Some(Stop::Fault("an XML part with a document type"));
                }
            }
            Seen::Start(tag) => {
                if !std::mem::replace(&mut self.has_root, true) {
                    match (tag.name == b"svg", self.is_svg) {
                        (true, _) => return Some(Stop::Harmless),
                        (false, true) => return Some(Stop::Fault("an XML part with a document type")),
                        (false, false) => {}
                    }
                }
                return self.start(tag).map(Stop::Fault);
            }
            Seen::End(b"instrText" | b"delInstrText") => self.instruction = None,
            Seen::End(b"Choice" | b"Fallback") => {
                self.alternatives.pop();
            }
            Seen::Text(text) => {
                if let Some((is_deleted, field)) = self.instruction.zip(self.fields.last_mut()) {
                    add(&mut field.instruction, text);
                    if !is_deleted {
                        add(&mut field.kept, text);
                    }
                }
            }
            Seen::End(_) => {}
        }
        None
    }

    fn start(&mut self, tag: &Tag) -> Option<&'static str> {
        match tag.name.as_slice() {
            b"Default" | b"Override" => {
                let acts = |kind: String| {
                    let kind = kind.to_lowercase();
                    ACTING_TYPES.iter().any(|acting| kind.contains(acting))
                };
                (tag.is_cut || tag.values(b"ContentType").any(acts)).then_some("a part with macros")
            }
            b"Relationship" => relationship(tag),
            b"hlinkClick" | b"hlinkHover" | b"hlinkMouseOver" => {
                let acts = |action: String| {
                    let action = action.trim().to_lowercase();
                    ACTING_CLICKS.iter().any(|acting| action.starts_with(acting))
                };
                tag.values(b"action").any(acts).then_some("a click that starts a program")
            }
            b"ddeLink" | b"oleLink" => Some("a link to another program"),
            b"Choice" | b"Fallback" => {
                self.counted += 1;
                self.alternatives.push(self.counted);
                (self.alternatives.len() > MAX_FIELDS).then_some("alternatives in alternatives, very deep")
            }
            // A reader that passes over a part of a field puts the rest together.
            b"instrText" | b"delInstrText" | b"fldChar" if !tag.is_native || !self.is_at_home(tag) => {
                Some(HIDDEN)
            }
            b"fldSimple" => {
                let cut = tag.is_cut.then_some(HIDDEN);
                cut.or_else(|| tag.values(b"instr").find_map(|text| acting_field(text.as_bytes())))
            }
            b"instrText" | b"delInstrText" => {
                self.instruction = Some(tag.name == b"delInstrText");
                None
            }
            b"fldChar" => match field_mark(tag).as_deref() {
                Some("begin") => self.begin(),
                Some(kind @ ("separate" | "end")) => self.close(kind == "end"),
                _ => Some(HIDDEN),
            },
            _ => None,
        }
    }

    /// Whether a tag of a field stands in the alternative that the field began in.
    fn is_at_home(&self, tag: &Tag) -> bool {
        let begins = tag.name == b"fldChar" && field_mark(tag).as_deref() == Some("begin");
        let field = self.fields.last().filter(|_| self.fields.len() > 1 && !begins);
        field.is_none_or(|field| field.alternative == self.alternative())
    }

    fn alternative(&self) -> u64 {
        self.alternatives.last().copied().unwrap_or_default()
    }

    /// A field begins, inside of the one before or not.
    fn begin(&mut self) -> Option<&'static str> {
        let is_inner = self.fields.len() > 1;
        let outer = self.fields.last().filter(|outer| is_inner && !outer.has_result);
        let names = |outer: &Field| decoded(&outer.instruction).trim_start().chars().all(char::is_alphabetic);
        if outer.is_some_and(names) {
            return Some("a field whose kind another field makes");
        }
        if self.fields.len() > MAX_FIELDS {
            return Some("fields in fields, very deep");
        }
        self.fields.push(Field { alternative: self.alternative(), ..Field::default() });
        None
    }

    /// A field's instruction is whole, and with `end` the field itself.
    fn close(&mut self, end: bool) -> Option<&'static str> {
        let field = self.fields.last_mut()?;
        let fault = field.fault();
        field.instruction.clear();
        field.kept.clear();
        field.has_result = true;
        if end && self.fields.len() > 1 {
            self.fields.pop();
        }
        fault
    }
}

/// What a field does, by its first word.
fn acting_field(written: &[u8]) -> Option<&'static str> {
    let mut text = decoded(&written[..written.len().min(MAX_WORD)]);
    text.retain(|c| !is_invisible(c));
    let word = text.trim_start();
    let kind = word.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    if ACTING_FIELDS.iter().any(|acting| acting.eq_ignore_ascii_case(kind)) {
        return Some("a field that starts another program");
    }
    // The word may go on behind what was cut off.
    let rest = &word[kind.len()..];
    (written.len() >= MAX_WORD && (rest.is_empty() || rest.starts_with('&'))).then_some(HIDDEN)
}

/// Where in a field a mark stands; it says so once.
fn field_mark(tag: &Tag) -> Option<String> {
    let mut kinds = tag.values(b"fldCharType");
    let kind = kinds.next()?.trim().to_owned();
    kinds.next().is_none().then_some(kind)
}

/// Characters that show nothing and that a reader may drop.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A relationship (ECMA-376 part 2 section 6.5): to a part that acts, or to something outside that is fetched unasked.
fn relationship(tag: &Tag) -> Option<&'static str> {
    if tag.is_cut {
        return Some("a relationship that is very long");
    }
    let kinds: Vec<String> = tag
        .values(b"Type")
        .map(|kind| kind.trim().rsplit('/').next().unwrap_or_default().to_lowercase())
        .collect();
    if kinds.iter().any(|kind| ACTING_LINKS.contains(&kind.as_str())) {
        return Some("a macro, an OLE object, a control or a page");
    }
    if !tag.values(b"TargetMode").any(|mode| mode.trim().eq_ignore_ascii_case("external")) {
        return None;
    }
    let on_the_web = tag.values(b"Target").all(|target| {
        let target = target.trim().to_lowercase();
        target.starts_with("http://") || target.starts_with("https://")
    });
    if kinds.iter().any(|kind| kind == "hyperlink")
        && tag.values(b"Target").any(|target| !is_ordinary(&target))
    {
        return Some("a link that starts a program");
    }
    let may = |kind: &String| kind == "hyperlink" || (on_the_web && MEDIA_LINKS.contains(&kind.as_str()));
    match !kinds.is_empty() && kinds.iter().all(may) {
        true => None,
        false => Some("a template or another part that is fetched from elsewhere"),
    }
}

/// A link that a browser, a mail program or a telephone opens. One letter is a drive.
fn is_ordinary(target: &str) -> bool {
    let target: String = target.chars().filter(|c| !c.is_control() && !is_invisible(*c)).collect();
    let Some((scheme, _)) = target.trim().split_once(':') else { return true };
    let is_scheme = scheme.len() > 1
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    !is_scheme || SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme))
}

/// An encoding that does not write ASCII as ASCII does.
fn is_foreign(declaration: &[u8]) -> bool {
    let text = String::from_utf8_lossy(declaration).to_lowercase();
    let Some((_, rest)) = text.split_once("encoding") else { return false };
    let name =
        rest.trim_start_matches(|c: char| c.is_whitespace() || c == '=').trim_start_matches(['"', '\'']);
    let name = name.split(['"', '\'', '?', ' ']).next().unwrap_or_default();
    !["utf-8", "us-ascii", "ascii", "iso-8859-1", "windows-1252"].contains(&name)
}

#[cfg(test)]
mod tests;
