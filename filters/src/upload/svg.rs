//! SVG that only draws: a streaming look at its tags and attributes, without building a tree.
//!
//! Refused: elements that act or embed (`script`, `foreignObject`, …, under any prefix), `on…` attributes, references
//! to anything but this document and inline pictures or fonts, style imports, stylesheets, entities, character
//! references nobody needs, and markup that an HTML parser would read differently from an XML parser.

/// Bytes of an element's or attribute's name.
const MAX_NAME: usize = 128;
/// Bytes at the start of a reference that decide where it leads.
const REFERENCE: usize = 48;

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
];
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
        rest = rest[at + end.len()..].trim_ascii_start();
    }
    let name = rest.strip_prefix(b"<svg:").map(|_| &rest[5..]).or_else(|| rest.strip_prefix(b"<"));
    let after = name.and_then(|name| name.strip_prefix(b"svg")).and_then(|after| after.first());
    after.is_some_and(|&b| b.is_ascii_whitespace() || b == b'>' || b == b'/')
}

/// The state of the look.
#[derive(Debug, Default)]
pub(super) struct Svg {
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
    Attribute,
    AfterAttribute,
    BeforeValue,
    Value(u8),
    /// In a value between these quotes, or in the text of a style.
    Reference(Option<u8>),
}

impl Svg {
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
            State::Comment => self.until(byte, b"-->", State::Comment),
            State::CData => {
                self.read(byte);
                self.until(byte, b"]]>", State::CData)
            }
            State::Doctype => match byte {
                b'[' => self.fail("a document type with declarations of its own"),
                b'>' => State::Text,
                _ => State::Doctype,
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
                if ACTING.contains(&local(&self.word)) {
                    return self.fail("an element that acts or embeds");
                }
                self.in_style = local(&self.word) == b"style";
                self.forget();
                self.word.clear();
                if byte == b'>' { State::Text } else { State::InTag }
            }
            State::Tag => self.name(byte, State::Tag),
            State::InTag => match byte {
                b'>' => State::Text,
                b'/' => State::InTag,
                _ if space => State::InTag,
                _ => self.name(byte, State::Attribute),
            },
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
        let plain = |rest: &[u8]| {
            let value = rest.strip_prefix(b"=").unwrap_or(rest).trim_ascii_start();
            [b"utf-8".as_slice(), b"us-ascii", b"iso-8859-1"]
                .iter()
                .any(|name| value[value.len().min(1)..].starts_with(name))
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
        self.read(byte);
    }

    fn end_value(&mut self) -> State {
        let (attribute, start) = (std::mem::take(&mut self.attribute), std::mem::take(&mut self.start));
        let local = local(&attribute);
        if local.starts_with(b"on") && local.len() > 2 {
            return self.fail("an event handler");
        }
        if attribute == b"xml:base" {
            return self.fail("a base for references");
        }
        if [b"href".as_slice(), b"src", b"srcset", b"action", b"formaction", b"data"].contains(&local)
            && !start.is_empty()
            && !is_inside(&start)
        {
            return self.fail("a reference to the outside");
        }
        if self.url.is_some() {
            self.end_url();
        }
        State::InTag
    }

    /// Reads text, style or value for what leads outside in any of them.
    fn read(&mut self, byte: u8) {
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
            b'(' if self.recent.ends_with(b"expression(") => self.fault = Some("a script in a style"),
            b':' if self.recent.ends_with(b"javascript:") || self.recent.ends_with(b"vbscript:") => {
                self.fault = Some("the address of a script");
            }
            b't' if self.recent.ends_with(b"@import") => self.fault = Some("a style from elsewhere"),
            b'\\' if self.in_style || self.attribute == b"style" => self.fault = Some("an escape in a style"),
            _ => {}
        }
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
mod tests {
    use super::*;

    fn judged(inner: &str) -> Option<&'static str> {
        let document = format!("<svg xmlns=\"http://www.w3.org/2000/svg\">{inner}</svg>\n");
        assert!(starts(document.as_bytes()));
        let (mut whole, mut bytewise) = (Svg::default(), Svg::default());
        whole.push(document.as_bytes());
        document.as_bytes().chunks(1).for_each(|byte| bytewise.push(byte));
        assert_eq!(whole.fault(), bytewise.fault());
        whole.fault().or((!whole.is_whole()).then_some("open"))
    }

    #[test]
    fn lets_drawings_pass() {
        for inner in [
            "<path d=\"M0 0 L1 1\"/>",
            "<defs><linearGradient id='a'><stop offset=\"0\" /></linearGradient></defs><rect fill=\"url(#a)\"/>",
            "<use xlink:href=\"#a\" href = '#b'/>",
            "<style type=\"text/css\"><![CDATA[.a{fill:red;src:url(data:font/woff2;base64,AAAA)}]]></style>",
            "<style>.a > .b { fill: url( '#x' ) }</style>",
            "<image href=\"data:image/png;base64,AAAA\"/>",
            "<text font-family=\"&quot;A&quot;\">on a script &lt;b&gt; 中文</text>",
            "<!-- onload=\"a\" <script> -->",
            "<?xpacket begin=\"\" id=\"a\"?>",
        ] {
            assert_eq!(judged(inner), None, "{inner}");
        }
        let illustrator = b"\xef\xbb\xbf<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<!-- Generator -->\n\
            <!DOCTYPE svg PUBLIC \"-//W3C//DTD SVG 1.1//EN\" \"http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd\">\n<svg/>";
        let mut svg = Svg::default();
        svg.push(illustrator);
        assert!(starts(illustrator) && svg.fault().is_none() && svg.is_whole());
    }

    #[test]
    fn refuses_what_acts_or_leads_outside() {
        for inner in [
            "<script>alert(1)</script>",
            "<SCRIPT/>",
            "<x:script xmlns:x=\"http://www.w3.org/2000/svg\"/>",
            "<foreignObject><p/></foreignObject>",
            "<g onload=\"alert(1)\"/>",
            "<g\nonclick = 'a'/>",
            "<g/onload=\"a\"/>",
            "<a xlink:href=\"javascript:alert(1)\"/>",
            "<a href=\"java&#115;cript:alert(1)\"/>",
            "<a href=\" java\nscript:alert(1)\"/>",
            "<set attributeName=\"href\" to=\"javascript:alert(1)\"/>",
            "<image href=\"http://evil.example/a.png\"/>",
            "<image href=\"//evil.example/a.png\"/>",
            "<use href=\"data:image/svg+xml;base64,AAAA\"/>",
            "<rect style=\"fill:url(http://evil.example/)\"/>",
            "<rect style=\"fill:u&#x72;l(http://evil.example/)\"/>",
            "<rect style=\"fill:u\\72l(http://evil.example/)\"/>",
            "<style>@import 'a.css';</style>",
            "<style>.a{background:url( \"//evil.example\" )}</style>",
            "<style>.a{background:url(",
            "<style>@im<!-- -->port 'a.css'</style>",
            "<style>@im<![CDATA[port 'a.css']]></style>",
            "<style><![CDATA[.a{background:u\\72l(//a)}]]></style>",
            "<style>&#64;import 'a.css'</style>",
            "<?xml-stylesheet href=\"a.xsl\"?>",
            "<!DOCTYPE svg [<!ENTITY a \"b\">]>",
            "<g a=\"&b;\"/>",
            "<g a=b/>",
            "<g a/>",
            "<g a=\"<script>\"/>",
            "<g xml:base=\"http://evil.example/\"/>",
            "<g a=\"",
            "< script>",
        ] {
            assert!(judged(inner).is_some(), "{inner}");
        }
        let mut svg = Svg::default();
        svg.push(b"<?xml version=\"1.0\" encoding=\"UTF-7\"?><svg/>");
        assert!(svg.fault().is_some());
        assert!(!starts(b"<html><svg></svg></html>"));
    }
}
