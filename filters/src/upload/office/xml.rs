//! Tags and text of XML that comes in pieces, for what an office file says with them.
//!
//! It does not ask whether the XML is well-formed: it shows each tag as any reader would see it. Bounded: of a tag's
//! attributes those that are asked for, 4 KiB of each value and 16 in all.

/// Bytes of an attribute's value, or of a text, that are kept.
pub(super) const MAX_VALUE: usize = 4 * 1024;
/// Attributes of a tag that are kept.
const MAX_ATTRIBUTES: usize = 16;
/// Bytes of a name that are kept.
const MAX_NAME: usize = 128;

/// What the reader is shown.
pub(super) enum Seen<'a> {
    /// A start tag, or an empty one.
    Start(&'a Tag),
    /// An end tag, by its local name; an empty tag has one, too.
    End(&'a [u8]),
    /// A piece of text, as it is written.
    Text(&'a [u8]),
    /// `<!DOCTYPE name`
    DocumentType(&'a [u8]),
    /// `<?xml … ?>`, as it is written.
    Declaration(&'a [u8]),
}

/// A start tag: local names, whatever the prefix.
#[derive(Default)]
pub(super) struct Tag {
    pub(super) name: Vec<u8>,
    /// Its prefix is the root's, and means the same.
    pub(super) is_native: bool,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// Not all attributes that were asked for are there whole.
    pub(super) is_cut: bool,
}

impl Tag {
    /// The values of the attributes of this local name.
    pub(super) fn values<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = String> + 'a {
        self.attributes.iter().filter(move |(own, _)| own == name).map(|(_, value)| decoded(value))
    }
}

/// Reads tags and text.
pub(super) struct Xml {
    state: State,
    /// The name or declaration that is being read.
    word: Vec<u8>,
    tag: Tag,
    attribute: Vec<u8>,
    /// Attributes that are kept.
    wanted: &'static [&'static [u8]],
    root: Option<Root>,
}

/// The first tag's namespace.
struct Root {
    prefix: Vec<u8>,
    /// The attribute that declares it.
    declaration: Vec<u8>,
    namespace: Option<Vec<u8>>,
    /// The prefix came to mean something else further down.
    is_rebound: bool,
}

#[derive(Clone, Copy)]
enum State {
    Text,
    /// Behind `<`
    Open,
    StartName,
    EndName,
    /// Between a tag's attributes; whether a slash came last.
    Inside(bool),
    AttributeName,
    /// Behind a name, before the value.
    BeforeValue,
    Value(u8),
    /// Behind `<!`
    Exclamation,
    /// How many hyphens came in a row.
    Comment(u8),
    /// How many closing brackets came in a row.
    Characters(u8),
    DocumentType,
    /// To the closing `>` of what is of no interest.
    Skip,
    /// Whether a question mark came last.
    Instruction(bool),
}

impl Xml {
    /// Keeps the attributes of these local names.
    pub(super) fn new(wanted: &'static [&'static [u8]]) -> Self {
        Self {
            state: State::Text,
            word: Vec::new(),
            tag: Tag::default(),
            attribute: Vec::new(),
            wanted,
            root: None,
        }
    }

    /// Takes the next bytes and shows what is complete by them.
    pub(super) fn push(&mut self, mut bytes: &[u8], show: &mut dyn FnMut(Seen<'_>)) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if matches!(self.state, State::Text) {
                let end = memchr::memchr(b'<', bytes).unwrap_or(bytes.len());
                if end > 0 {
                    show(Seen::Text(&bytes[..end]));
                    bytes = &bytes[end..];
                    continue;
                }
            }
            self.take(byte, show);
            bytes = rest;
        }
    }

    fn take(&mut self, byte: u8, show: &mut dyn FnMut(Seen<'_>)) {
        let is_space = byte.is_ascii_whitespace();
        self.state = match self.state {
            State::Text => {
                self.word.clear();
                State::Open
            }
            State::Open => match byte {
                b'!' => State::Exclamation,
                b'?' => State::Instruction(false),
                b'/' => State::EndName,
                b'<' => State::Open,
                _ => {
                    self.tag = Tag::default();
                    self.name(byte);
                    State::StartName
                }
            },
            State::StartName if is_space || byte == b'/' || byte == b'>' => {
                self.begin();
                self.inside(byte, false, show)
            }
            State::StartName | State::EndName if byte != b'>' => {
                self.name(byte);
                self.state
            }
            State::StartName => self.state,
            State::EndName => {
                show(Seen::End(local(self.word.trim_ascii())));
                State::Text
            }
            State::Inside(slash) => self.inside(byte, slash, show),
            State::AttributeName => match byte {
                b'=' => State::BeforeValue,
                b'>' => self.inside(byte, false, show),
                _ => {
                    self.name(byte);
                    State::AttributeName
                }
            },
            State::BeforeValue => match byte {
                b'"' | b'\'' => {
                    self.attribute.clear();
                    State::Value(byte)
                }
                b'>' => self.inside(byte, false, show),
                _ => State::BeforeValue,
            },
            State::Value(quote) if byte == quote => {
                self.keep();
                State::Inside(false)
            }
            State::Value(_) => {
                if self.attribute.len() <= MAX_VALUE {
                    self.attribute.push(byte);
                }
                self.state
            }
            State::Exclamation => {
                self.name(byte);
                match self.word.as_slice() {
                    b"--" => State::Comment(0),
                    b"[CDATA[" => State::Characters(0),
                    word if word.len() == 7 && word.eq_ignore_ascii_case(b"DOCTYPE") => {
                        self.word.clear();
                        State::DocumentType
                    }
                    word if b"--".starts_with(word) || b"[CDATA[".starts_with(word) => State::Exclamation,
                    word if b"DOCTYPE".starts_with(&word.to_ascii_uppercase()) => State::Exclamation,
                    // Whatever else may stand here belongs to a document type.
                    _ => {
                        show(Seen::DocumentType(b""));
                        State::Skip
                    }
                }
            }
            State::Comment(hyphens) => match byte {
                b'>' if hyphens >= 2 => State::Text,
                b'-' => State::Comment((hyphens + 1).min(2)),
                _ => State::Comment(0),
            },
            State::Characters(brackets) => match byte {
                b'>' if brackets >= 2 => State::Text,
                b']' => State::Characters((brackets + 1).min(2)),
                _ => {
                    show(Seen::Text(&[byte]));
                    State::Characters(0)
                }
            },
            State::DocumentType if is_space && self.word.is_empty() => self.state,
            State::DocumentType if is_space || b">[".contains(&byte) => {
                show(Seen::DocumentType(&self.word));
                if byte == b'>' { State::Text } else { State::Skip }
            }
            State::DocumentType => {
                self.name(byte);
                self.state
            }
            State::Skip => {
                if byte == b'>' {
                    State::Text
                } else {
                    State::Skip
                }
            }
            State::Instruction(true) if byte == b'>' => {
                if self.word.starts_with(b"xml") {
                    show(Seen::Declaration(&self.word));
                }
                State::Text
            }
            State::Instruction(_) => {
                self.name(byte);
                State::Instruction(byte == b'?')
            }
        };
    }

    /// A start tag's name is whole.
    fn begin(&mut self) {
        let name = local(&self.word);
        let prefix = &self.word[..self.word.len() - name.len()];
        self.tag.name = name.to_vec();
        let root = self.root.get_or_insert_with(|| Root {
            prefix: prefix.to_vec(),
            declaration: match prefix.strip_suffix(b":") {
                Some(prefix) => [b"xmlns:", prefix].concat(),
                None => b"xmlns".to_vec(),
            },
            namespace: None,
            is_rebound: false,
        });
        self.tag.is_native = prefix == root.prefix;
    }

    /// Between attributes.
    fn inside(&mut self, byte: u8, slash: bool, show: &mut dyn FnMut(Seen<'_>)) -> State {
        match byte {
            b'>' => {
                self.tag.is_native &= self.root.as_ref().is_some_and(|root| !root.is_rebound);
                show(Seen::Start(&self.tag));
                if slash {
                    show(Seen::End(&self.tag.name));
                }
                State::Text
            }
            b'/' => State::Inside(true),
            _ if byte.is_ascii_whitespace() => State::Inside(slash),
            _ => {
                self.word.clear();
                self.name(byte);
                State::AttributeName
            }
        }
    }

    fn name(&mut self, byte: u8) {
        if self.word.len() < MAX_NAME {
            self.word.push(byte);
        }
    }

    /// An attribute is whole.
    fn keep(&mut self) {
        let word = self.word.trim_ascii();
        if let Some(root) = self.root.as_mut().filter(|root| root.declaration == word) {
            let namespace = root.namespace.get_or_insert_with(|| self.attribute.clone());
            root.is_rebound |= *namespace != self.attribute;
        }
        let name = local(word);
        if !self.wanted.contains(&name) {
            return;
        }
        if self.attribute.len() > MAX_VALUE || self.tag.attributes.len() == MAX_ATTRIBUTES {
            self.tag.is_cut = true;
            return;
        }
        self.tag.attributes.push((name.to_vec(), std::mem::take(&mut self.attribute)));
    }
}

/// Without the prefix.
fn local(name: &[u8]) -> &[u8] {
    let colon = name.iter().rposition(|&byte| byte == b':').map_or(0, |at| at + 1);
    &name[colon..]
}

/// Text with its references to characters resolved. What is no reference stays as it is.
pub(super) fn decoded(written: &[u8]) -> String {
    let written = String::from_utf8_lossy(written);
    let mut text = String::with_capacity(written.len());
    let mut rest = written.as_ref();
    while let Some(start) = rest.find('&') {
        let (before, reference) = rest.split_at(start);
        text.push_str(before);
        // To the end of what may be in a reference: however many ampersands there are, each byte is looked at once.
        let end = reference[1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '#').map(|end| end + 1);
        let end = end.filter(|&end| reference[end..].starts_with(';'));
        match end.and_then(|end| character(&reference[1..end])).zip(end) {
            Some((character, end)) => {
                text.push(character);
                rest = &reference[end + 1..];
            }
            None => {
                text.push('&');
                rest = &reference[1..];
            }
        }
    }
    text.push_str(rest);
    text
}

fn character(reference: &str) -> Option<char> {
    let code = match reference {
        "amp" => return Some('&'),
        "lt" => return Some('<'),
        "gt" => return Some('>'),
        "quot" => return Some('"'),
        "apos" => return Some('\''),
        _ => reference.strip_prefix('#')?,
    };
    let code = match code.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => code.parse(),
    };
    char::from_u32(code.ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str, piece: usize) -> Vec<String> {
        let mut xml = Xml::new(&[b"a", b"Type"]);
        let mut all: Vec<String> = Vec::new();
        for piece in text.as_bytes().chunks(piece) {
            xml.push(piece, &mut |seen| match seen {
                Seen::Start(tag) => {
                    let values: Vec<_> = tag.values(b"a").chain(tag.values(b"Type")).collect();
                    let cut = if tag.is_cut { "…" } else { "" };
                    all.push(format!("<{} {}{cut}>", String::from_utf8_lossy(&tag.name), values.join(",")));
                }
                Seen::End(name) => all.push(format!("</{}>", String::from_utf8_lossy(name))),
                Seen::Text(text) => {
                    let text = String::from_utf8_lossy(text);
                    match all.last_mut() {
                        Some(last) if !last.starts_with('<') => last.push_str(&text),
                        _ => all.push(text.into_owned()),
                    }
                }
                Seen::DocumentType(name) => all.push(format!("<!{}>", String::from_utf8_lossy(name))),
                Seen::Declaration(text) => all.push(format!("<?{}>", String::from_utf8_lossy(text))),
            });
        }
        all
    }

    #[test]
    fn shows_the_same_wherever_pieces_end() {
        for (text, expected) in [
            ("<w:p w:a='1' b=\"2\"/>", "<p 1>|</p>"),
            ("<p a = \"x&#65;&amp;\" Type='>'>t</w:p >", "<p xA&,>>|t|</p>"),
            ("<a><!-- <b> -- > --->x<![CDATA[<b>]]]y]]></a>", "<a >|x<b>y|</a>"),
            ("<?xml version='1.0'?><r>", "<?xml version='1.0'?>|<r >"),
            ("<!DOCTYPE svg [<!ENTITY a 'b'>]><svg/>", "<!svg>|]>|<svg >|</svg>"),
            ("<!ENTITY a>", "<!>"),
            ("<a b=c>d", "<a >|d"),
        ] {
            for piece in [1, 2, 3, 100] {
                assert_eq!(seen(text, piece).join("|"), expected, "{text}");
            }
        }
    }

    #[test]
    fn says_when_it_could_not_keep_a_value() {
        let long = format!("<p a='{}'>", "x".repeat(MAX_VALUE + 1));
        assert_eq!(seen(&long, 50), ["<p …>"]);
        assert_eq!(decoded(b"&#x44;&#68;&bogus;&#xffffffff;&"), "DD&bogus;&#xffffffff;&");
        assert_eq!(decoded(b"& &;&&amp;&#000000000000000068;a&x y;"), "& &;&&Da&x y;");
    }

    #[test]
    fn a_row_of_ampersands_takes_linear_time() {
        let row = vec![b'&'; 1 << 20];
        let start = std::time::Instant::now();
        assert_eq!(decoded(&row).len(), row.len());
        // A fraction of a second; hours when each looks for its end in all that follows.
        assert!(start.elapsed() < std::time::Duration::from_secs(60), "{:?}", start.elapsed());
    }
}
