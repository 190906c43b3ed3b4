//! SVG that only draws: a streaming look at its tags and attributes, without building a tree.
//!
//! Refused: elements that act or embed (`script`, `foreignObject`, …, under any prefix), `on…` attributes, references
//! to anything but this document and inline pictures or fonts (also by animation), style imports, stylesheets, entities,
//! document types from elsewhere, character references nobody needs, and markup that an HTML parser would read
//! differently from an XML parser.
//!
//! The same look is taken at other XML: there elements may be called as they like, but none may be a page's or a
//! drawing's.

/// Bytes of an element's or attribute's name.
const MAX_NAME: usize = 128;
/// Bytes at the start of a reference that decide where it leads.
const REFERENCE: usize = 48;
/// Bytes of a document type.
const MAX_DOCTYPE: usize = 512;

/// Elements, by local name in lower case, that do more than draw.
const ACTING: &[&[u8]] = &[
    b"script",
    b"foreignobject",
    b"iframe",
    b"frame",
    b"frameset",
    b"embed",
    b"object",
    b"applet",
    b"handler",
    b"listener",
    b"html",
    b"head",
    b"body",
    b"link",
    b"meta",
    b"base",
    b"form",
    b"audio",
    b"video",
    b"canvas",
    b"include",
    b"portal",
    b"math",
    // What an HTML parser makes a tag of its own, wherever it stands.
    b"img",
    b"input",
    b"button",
    b"textarea",
    b"select",
    b"template",
    b"noscript",
    b"noembed",
    b"noframes",
    b"xmp",
    b"plaintext",
    b"marquee",
];
/// Attributes that are read as style; a backslash in them writes a character otherwise.
const STYLED: &[&[u8]] = &[
    b"style",
    b"fill",
    b"stroke",
    b"filter",
    b"mask",
    b"mask-image",
    b"clip-path",
    b"cursor",
    b"marker",
    b"marker-start",
    b"marker-mid",
    b"marker-end",
    b"shape-inside",
    b"color-profile",
    b"src",
];
/// Attributes that lead somewhere.
const LEADING: &[&[u8]] = &[
    b"href",
    b"src",
    b"srcset",
    b"srcdoc",
    b"action",
    b"formaction",
    b"data",
    b"ping",
    b"poster",
    b"background",
];
/// Charsets in which ASCII means itself; behind the first three, those whose characters may end in an ASCII letter.
const CHARSETS: &[&[u8]] = &[
    b"utf-8",
    b"us-ascii",
    b"iso-8859-1",
    b"iso-8859-",
    b"windows-125",
    b"koi8-",
    b"gbk",
    b"gb2312",
    b"gb18030",
    b"big5",
    b"shift_jis",
    b"euc-",
];
/// Namespaces whose elements act, as a value's start without white space.
const ACTING_SPACES: &[&[u8]] =
    &[b"http://www.w3.org/1999/xhtml", b"http://www.w3.org/2000/svg", b"http://www.w3.org/1999/xsl"];
/// The namespace of `xml:base`, which has no other prefix (Namespaces in XML section 3).
const XML_SPACE: &[u8] = b"http://www.w3.org/xml/1998/namespace";
/// What a reference may start with, beside `#`.
const INLINE: &[&[u8]] = &[
    b"data:image/png",
    b"data:image/jpeg",
    b"data:image/jpg",
    b"data:image/gif",
    b"data:image/webp",
    b"data:font/",
    b"data:application/font",
    b"data:application/x-font",
];

/// Whether a document's prolog leads to an `svg` element within `head`.
pub(super) fn starts(head: &[u8]) -> bool {
    let mut rest = super::sniff::trimmed(head);
    loop {
        let end: &[u8] = match rest {
            _ if rest.starts_with(b"<?xml") => b"?>",
            _ if rest.starts_with(b"<!--") => b"-->",
            _ if rest.starts_with(b"<!DOCTYPE svg") => b">",
            _ => break,
        };
        let Some(at) = memchr::memmem::find(rest, end) else { return false };
        // It calls itself a drawing; the look at its tags refuses the declarations.
        if end == b">" && rest[..at].contains(&b'[') {
            return true;
        }
        rest = rest[at + end.len()..].trim_ascii_start();
    }
    let name = rest.strip_prefix(b"<svg:").map(|_| &rest[5..]).or_else(|| rest.strip_prefix(b"<"));
    let after = name.and_then(|name| name.strip_prefix(b"svg")).and_then(|after| after.first());
    after.is_some_and(|&b| b.is_ascii_whitespace() || b == b'>' || b == b'/')
}

/// The state of the look.
#[derive(Debug, Default)]
pub(super) struct Svg {
    /// XML that is no drawing.
    is_data: bool,
    state: State,
    /// A name, a comment's last bytes, or what follows `<!` or `<?`.
    word: Vec<u8>,
    attribute: Vec<u8>,
    /// An attribute's value: its start, without white space.
    start: Vec<u8>,
    /// A character reference, without the ampersand.
    reference: Vec<u8>,
    /// The last bytes of text or of a value, lower case.
    recent: Vec<u8>,
    /// What follows `url(`, while it is being read.
    url: Option<Vec<u8>>,
    in_style: bool,
    fault: Option<&'static str>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    Open,
    Bang,
    Comment,
    CData,
    Doctype,
    Instruction,
    Close,
    Tag,
    InTag,
    /// Behind the slash of `<a/>`.
    Empty,
    Attribute,
    AfterAttribute,
    BeforeValue,
    Value(u8),
    /// In a value between these quotes, or in the text of a style.
    Reference(Option<u8>),
}

impl Svg {
    /// For XML that is no drawing.
    pub(super) fn data() -> Self {
        Self { is_data: true, ..Self::default() }
    }

    /// Takes the next bytes. Stops looking at the first fault.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.fault.is_some() {
                return;
            }
            self.state = self.step(byte);
        }
    }

    /// The first thing that is wrong.
    pub(super) fn fault(&self) -> Option<&'static str> {
        self.fault
    }

    /// Whether the document ends outside of any tag.
    pub(super) fn is_whole(&self) -> bool {
        self.state == State::Text
    }

    fn step(&mut self, byte: u8) -> State {
        let space = byte.is_ascii_whitespace();
        match self.state {
            State::Text if byte == b'<' => {
                // A comment inside a style does not end its text.
                if !self.in_style {
                    self.forget();
                }
                State::Open
            }
            State::Text if byte == b'&' && self.in_style => {
                self.reference.clear();
                State::Reference(None)
            }
            State::Text => {
                self.read(byte);
                State::Text
            }
            State::Open => match byte {
                b'!' => State::Bang,
                b'?' => State::Instruction,
                b'/' => State::Close,
                // For some it ends the style, for others its text goes on behind it.
                _ if self.in_style => self.fail("a tag inside a style"),
                _ if byte.is_ascii_alphabetic() || byte == b'_' => self.name(byte, State::Tag),
                _ => self.fail("a tag without a name"),
            },
            State::Bang => {
                self.word.push(byte.to_ascii_lowercase());
                match self.word.as_slice() {
                    b"--" => self.enter(State::Comment),
                    b"[cdata[" => self.enter(State::CData),
                    b"doctype" => self.enter(State::Doctype),
                    word if [b"--".as_slice(), b"[cdata[", b"doctype"]
                        .iter()
                        .any(|known| known.starts_with(word)) =>
                    {
                        State::Bang
                    }
                    _ => self.fail("a declaration"),
                }
            }
            State::Comment => self.comment(byte),
            State::CData => {
                self.read(byte);
                self.until(byte, b"]]>", State::CData)
            }
            State::Doctype => match byte {
                b'[' => self.fail("a document type with declarations of its own"),
                b'>' => self.end_doctype(),
                _ if self.word.len() == MAX_DOCTYPE => self.fail("a long document type"),
                _ => {
                    self.word.push(byte.to_ascii_lowercase());
                    State::Doctype
                }
            },
            State::Instruction => self.instruction(byte),
            State::Close => match byte {
                b'>' => {
                    self.in_style = false;
                    self.forget();
                    State::Text
                }
                b'<' | b'"' | b'\'' => self.fail("a broken closing tag"),
                _ => State::Close,
            },
            State::Tag if space || byte == b'/' || byte == b'>' => {
                if !self.is_data && ACTING.contains(&local(&self.word)) {
                    return self.fail("an element that acts or embeds");
                }
                self.in_style = !self.is_data && local(&self.word) == b"style";
                self.forget();
                self.word.clear();
                match byte {
                    b'>' => State::Text,
                    b'/' => State::Empty,
                    _ => State::InTag,
                }
            }
            State::Tag => self.name(byte, State::Tag),
            State::InTag => match byte {
                b'>' => State::Text,
                b'/' => State::Empty,
                _ if space => State::InTag,
                _ => self.name(byte, State::Attribute),
            },
            State::Empty if byte == b'>' => {
                self.in_style = false;
                State::Text
            }
            State::Empty => self.fail("a slash inside a tag"),
            State::Attribute | State::AfterAttribute if byte == b'=' => {
                self.attribute = std::mem::take(&mut self.word);
                State::BeforeValue
            }
            State::Attribute if !space => self.name(byte, State::Attribute),
            State::Attribute | State::AfterAttribute if space => State::AfterAttribute,
            State::Attribute | State::AfterAttribute => self.fail("an attribute without a value"),
            State::BeforeValue => match byte {
                b'"' | b'\'' => {
                    self.start.clear();
                    self.forget();
                    State::Value(byte)
                }
                _ if space => State::BeforeValue,
                _ => self.fail("a value without quotes"),
            },
            State::Value(quote) => match byte {
                _ if byte == quote => self.end_value(),
                b'<' => self.fail("a tag inside a value"),
                b'&' => {
                    self.reference.clear();
                    State::Reference(Some(quote))
                }
                _ => {
                    self.value(byte);
                    State::Value(quote)
                }
            },
            State::Reference(quote) if byte == b';' => match (resolved(&self.reference), quote) {
                (Some(byte), Some(quote)) => {
                    self.value(byte);
                    State::Value(quote)
                }
                (Some(byte), None) => {
                    self.read(byte);
                    State::Text
                }
                (None, _) => self.fail("an entity"),
            },
            State::Reference(quote) => {
                self.reference.push(byte);
                match self.reference.len() > 9 {
                    true => self.fail("a long character reference"),
                    false => State::Reference(quote),
                }
            }
        }
    }

    fn fail(&mut self, fault: &'static str) -> State {
        self.fault = Some(fault);
        State::Text
    }

    fn enter(&mut self, state: State) -> State {
        self.word.clear();
        state
    }

    /// Adds to a name; what cannot stand in one ends the look.
    fn name(&mut self, byte: u8, state: State) -> State {
        let plain = byte.is_ascii_alphanumeric() || b":_-.".contains(&byte) || byte >= 0x80;
        if !plain || self.word.len() == MAX_NAME {
            return self.fail("an odd or long name");
        }
        self.word.push(byte.to_ascii_lowercase());
        state
    }

    /// Stays in `state` until `end` has been read.
    fn until(&mut self, byte: u8, end: &[u8; 3], state: State) -> State {
        self.word.push(byte);
        if self.word.ends_with(end) {
            return self.enter(State::Text);
        }
        if self.word.len() > 2 {
            self.word.remove(0);
        }
        state
    }

    /// Ends at `-->` and nowhere else: HTML ends a comment at `<!-->`, `<!--->` and `--!>`, too.
    fn comment(&mut self, byte: u8) -> State {
        let start = self.word.len() < 2 && byte == b'>' && self.word.iter().all(|&byte| byte == b'-');
        if start || (self.word.ends_with(b"--") && byte != b'>') {
            return self.fail("a comment that ends elsewhere for some");
        }
        // Three bytes in front keep the start apart from the rest.
        if self.word.len() == 5 {
            self.word.remove(2);
        }
        self.word.push(byte);
        match self.word.ends_with(b"-->") {
            true => self.enter(State::Text),
            false => State::Comment,
        }
    }

    /// None, or one of the W3C's.
    fn end_doctype(&mut self) -> State {
        let word = std::mem::take(&mut self.word);
        let identifiers = word.split(|&byte| byte == b'"' || byte == b'\'').skip(1).step_by(2);
        let known = |identifier: &[u8]| {
            identifier.starts_with(b"-//w3c//dtd svg") || identifier.starts_with(b"http://www.w3.org/")
        };
        match self.is_data && !word.contains(&b'"') && !word.contains(&b'\'')
            || identifiers.clone().all(known)
        {
            true => State::Text,
            false => self.fail("a document type from elsewhere"),
        }
    }

    /// `<?xml …?>` in a charset that looks like ASCII, and the packets of editors.
    fn instruction(&mut self, byte: u8) -> State {
        self.word.push(byte.to_ascii_lowercase());
        if self.word.len() > 1024 {
            return self.fail("a long processing instruction");
        }
        if !self.word.ends_with(b"?>") {
            return State::Instruction;
        }
        let word = std::mem::take(&mut self.word);
        let encoding = memchr::memmem::find(&word, b"encoding").map(|at| word[at + 8..].trim_ascii_start());
        let charsets = if self.is_data { CHARSETS } else { &CHARSETS[..3] };
        let plain = |rest: &[u8]| {
            let value = rest.strip_prefix(b"=").unwrap_or(rest).trim_ascii_start();
            charsets.iter().any(|name| value[value.len().min(1)..].starts_with(name))
        };
        match word.as_slice() {
            [b'x', b'm', b'l', next, ..] if next.is_ascii_whitespace() => match encoding.is_none_or(plain) {
                true => State::Text,
                false => self.fail("a charset in which markup may hide"),
            },
            word if word.starts_with(b"xpacket") || word.starts_with(b"adobe-xap-filters") => State::Text,
            _ => self.fail("a processing instruction"),
        }
    }

    fn value(&mut self, byte: u8) {
        if self.start.len() < REFERENCE && byte > b' ' {
            self.start.push(byte.to_ascii_lowercase());
        }
        // Browsers pass over these in an address.
        if !matches!(byte, b'\t' | b'\n' | b'\r') {
            self.read(byte);
        }
    }

    fn end_value(&mut self) -> State {
        let (attribute, start) = (std::mem::take(&mut self.attribute), std::mem::take(&mut self.start));
        if self.is_data {
            return self.end_data(&attribute, &start);
        }
        let local = local(&attribute);
        if local == b"attributename" && acts_when_animated(&start) {
            return self.fail("an animation that acts");
        }
        if local.starts_with(b"on") && local.len() > 2 {
            return self.fail("an event handler");
        }
        if attribute == b"xml:base" {
            return self.fail("a base for references");
        }
        if attribute.starts_with(b"xmlns") && attribute != b"xmlns:xml" && start == XML_SPACE {
            return self.fail("another prefix for xml");
        }
        if LEADING.contains(&local) && !start.is_empty() && !is_inside(&start) {
            return self.fail("a reference to the outside");
        }
        if self.url.is_some() {
            self.end_url();
        }
        State::InTag
    }

    /// Of an attribute of other XML only what it makes of the document matters.
    fn end_data(&mut self, attribute: &[u8], start: &[u8]) -> State {
        let names = attribute == b"xmlns" || attribute.starts_with(b"xmlns:");
        match names && ACTING_SPACES.iter().any(|space| start.starts_with(space)) {
            true => self.fail("an XML document with a page or a drawing in it"),
            false => State::InTag,
        }
    }

    /// Reads text, style or value for what leads outside in any of them.
    fn read(&mut self, byte: u8) {
        if self.is_data {
            return;
        }
        let byte = byte.to_ascii_lowercase();
        if let Some(url) = &mut self.url {
            if byte == b')' || url.len() == REFERENCE {
                return self.end_url();
            }
            if byte > b' ' && byte != b'"' && byte != b'\'' {
                url.push(byte);
            }
            return;
        }
        if byte <= b' ' && self.recent.last().is_some_and(|&last| last <= b' ') {
            return;
        }
        if self.recent.len() == 16 {
            self.recent.remove(0);
        }
        self.recent.push(byte);
        match byte {
            b'(' if self.recent.ends_with(b"url(") => self.url = Some(Vec::new()),
            b'(' if self.recent.ends_with(b"image-set(") || self.recent.ends_with(b"src(") => {
                self.fault = Some("a style that refers to something");
            }
            b'(' if self.is_styled()
                && (self.recent.ends_with(b"image(") || self.recent.ends_with(b"cross-fade(")) =>
            {
                self.fault = Some("a style that refers to something");
            }
            b'(' if self.recent.ends_with(b"expression(") => self.fault = Some("a script in a style"),
            b':' if self.recent.ends_with(b"javascript:") || self.recent.ends_with(b"vbscript:") => {
                self.fault = Some("the address of a script");
            }
            b't' if self.recent.ends_with(b"@import") => self.fault = Some("a style from elsewhere"),
            b'\\' if self.is_styled() => self.fault = Some("an escape in a style"),
            _ => {}
        }
    }

    /// Whether what is read is a style.
    fn is_styled(&self) -> bool {
        self.in_style || STYLED.contains(&self.attribute.as_slice())
    }

    fn end_url(&mut self) {
        let url = self.url.take().unwrap_or_default();
        if !is_inside(&url) {
            self.fault = Some("a style that refers to the outside");
        }
    }

    /// Text and values do not run into each other; a `url(` left open refers to nothing good.
    fn forget(&mut self) {
        self.recent.clear();
        if self.url.is_some() {
            self.end_url();
        }
    }
}

/// Whether an attribute of this name leads somewhere or acts, so that no animation may set it.
fn acts_when_animated(name: &[u8]) -> bool {
    let name = local(name);
    name.starts_with(b"on") || name == b"style" || name == b"class" || LEADING.contains(&name)
}

/// A name without its prefix.
fn local(name: &[u8]) -> &[u8] {
    name.rsplit(|&b| b == b':').next().unwrap_or(name)
}

/// Whether a reference stays in the document.
fn is_inside(reference: &[u8]) -> bool {
    reference.starts_with(b"#") || INLINE.iter().any(|inline| reference.starts_with(inline))
}

/// The byte of a character reference; characters beyond ASCII count as `?`, which no marker has.
fn resolved(reference: &[u8]) -> Option<u8> {
    let number = match reference {
        b"amp" => return Some(b'&'),
        b"lt" => return Some(b'<'),
        b"gt" => return Some(b'>'),
        b"quot" => return Some(b'"'),
        b"apos" => return Some(b'\''),
        [b'#', b'x', digits @ ..] => u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?,
        [b'#', digits @ ..] => std::str::from_utf8(digits).ok()?.parse().ok()?,
        _ => return None,
    };
    Some(u8::try_from(number).ok().filter(u8::is_ascii).unwrap_or(b'?'))
}

#[cfg(test)]
mod tests;
