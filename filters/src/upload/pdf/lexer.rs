//! The words of PDF (ISO 32000-2 section 7.2 and 7.3), one byte at a time.

use super::super::part::hex;
use super::opening::Opening as Told;

/// Bytes of a name or keyword that are kept; none that matters is longer, each character written as `#` and two digits.
const MAX_WORD: usize = 64;
/// Dictionaries and arrays in one another.
const MAX_DEPTH: u32 = 120;

/// Names that act wherever they stand: actions, and lists of what acts (sections 12.6.4, 7.11.4, 13.7).
const ACTS: &[(&[u8], &str)] = &[
    (b"JavaScript", "JavaScript in a PDF"),
    (b"Launch", "a PDF that launches something"),
    (b"EmbeddedFile", "a file inside a PDF"),
    (b"EmbeddedFiles", "a file inside a PDF"),
    (b"RichMedia", "a player inside a PDF"),
    (b"SubmitForm", "a PDF form that is sent"),
    (b"ImportData", "a PDF form that is filled from elsewhere"),
    (b"GoToR", "a PDF that opens another document"),
    (b"GoToE", "a PDF that opens a document inside it"),
];
/// Names that act as the key of a value: they are too short to count as one name among others.
const KEYS: &[(&[u8], &str)] = &[
    (b"JS", "JavaScript in a PDF"),
    (b"AA", "a PDF with actions on events"),
    (b"EF", "a file inside a PDF"),
    (b"XFA", "an XFA form in a PDF"),
    (b"OnInstantiate", "a PDF with actions on events"),
    (b"Encrypt", "an encrypted PDF"),
];
/// Names that act when the document is opened.
const OPENING: &[&[u8]] =
    &[b"URI", b"Next", b"Rendition", b"Movie", b"Sound", b"Thread", b"ResetForm", b"Hide"];

/// White space (table 1).
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b'\0' | b'\t' | b'\n' | b'\x0c' | b'\r' | b' ')
}

/// What ends a word beside white space (table 2).
pub(super) fn is_delimiter(byte: u8) -> bool {
    matches!(byte, b'(' | b')' | b'<' | b'>' | b'[' | b']' | b'{' | b'}' | b'/' | b'%')
}

/// Reads the words of one object after the other.
#[derive(Default)]
pub(super) struct Lexer {
    state: State,
    /// A name without its slash, a number or a keyword.
    word: Vec<u8>,
    depth: u32,
    /// For each open level, from the lowest bit: whether it is an array.
    arrays: u128,
    /// Readers could differ on where a dictionary ends.
    odd: bool,
    /// A sign stood in a hexadecimal string that is none of its own: readers could differ on what is text and comment.
    torn: bool,
    /// A key was read that acts if a value follows.
    acting: Option<&'static str>,
    opening: Opening,
    told: Told,
    /// Keys and values of an action, in the dictionary that is the object.
    action: Action,
    /// Whether `>>` was the last word.
    closed: bool,
    stream: StreamDictionary,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Between,
    Name,
    Word,
    /// Open parentheses.
    Text(u32),
    /// The same, behind a backslash.
    Escape(u32),
    LeftAngle,
    RightAngle,
    Hex,
    Comment,
    CommentName,
}

/// What an object says of itself as an action.
#[derive(Debug, Default)]
struct Action {
    /// `/S` was read; the kind of action comes next.
    kind_next: bool,
    has_kind: bool,
    has_next: bool,
}

/// Where `/OpenAction` is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Opening {
    #[default]
    None,
    /// Its value comes next.
    Next,
    /// Its value is the dictionary of this depth.
    In(u32),
}

enum Token<'a> {
    Name(&'a [u8]),
    Word(&'a [u8]),
    Text,
    OpenDictionary,
    CloseDictionary,
    OpenArray,
    CloseArray,
}

impl Token<'_> {
    /// Whether it is a script, a dictionary or a list, or refers to one.
    fn may_act(&self) -> bool {
        match self {
            Token::Text | Token::OpenDictionary | Token::OpenArray => true,
            Token::Word(word) => is_number(word),
            Token::Name(_) | Token::CloseDictionary | Token::CloseArray => false,
        }
    }
}

/// What a stream's dictionary says that matters to object streams (sections 7.3.8.2 and 7.5.7).
#[derive(Debug, Default, Clone)]
pub(super) struct StreamDictionary {
    after: After,
    is_object_stream: bool,
    pub(super) count: Number,
    pub(super) first: Number,
    filters: u32,
    pub(super) flate: u32,
    /// A filter or parameter that is not understood, or something that is not written where it is used.
    pub(super) odd: bool,
}

/// Which key was read last.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum After {
    #[default]
    Other,
    Count,
    First,
    /// A number behind one of these two.
    Written,
    Filter,
    Filters,
    Parameters,
}

/// A number that should be written once, directly.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    #[default]
    Absent,
    Is(u64),
    Odd,
}

impl Lexer {
    /// Takes one byte. Says whether a stream's data begins behind it.
    pub(super) fn step(&mut self, byte: u8) -> Result<bool, &'static str> {
        match self.state {
            State::Between => return self.between(byte),
            State::Name | State::Word if is_space(byte) || is_delimiter(byte) => {
                let word = std::mem::take(&mut self.word);
                let was_name = self.state == State::Name;
                self.state = State::Between;
                let begins = match was_name {
                    true => self.token(Token::Name(&word)).map(|()| false)?,
                    false => {
                        let line = matches!(byte, b'\r' | b'\n' | b' ' | b'\t');
                        let begins = word == b"stream" && self.closed && self.depth == 0 && !self.odd && line;
                        // Readers may see an object stream there, which would not be looked into.
                        let hides = (word == b"stream" && self.odd)
                            || (word.starts_with(b"stream") && self.stream().is_some());
                        if hides && !begins {
                            return Err("a PDF whose streams can be read in two ways");
                        }
                        self.token(Token::Word(&word))?;
                        begins
                    }
                };
                self.word = word;
                self.word.clear();
                return match begins {
                    true => Ok(true),
                    false => self.between(byte),
                };
            }
            State::CommentName if is_space(byte) || is_delimiter(byte) => {
                // No comment needs these, and not all readers agree on where one ends.
                act(&unescaped(&self.word), ACTS)?;
                self.word.clear();
                self.state = State::Comment;
                return self.step(byte);
            }
            State::Name | State::Word | State::CommentName => {
                if self.word.len() < MAX_WORD {
                    self.word.push(byte);
                }
            }
            State::Text(depth) => {
                self.state = match byte {
                    b'\\' => State::Escape(depth),
                    b'(' => State::Text(depth.saturating_add(1)),
                    b')' if depth == 1 => State::Between,
                    b')' => State::Text(depth - 1),
                    _ => State::Text(depth),
                };
            }
            State::Escape(depth) => self.state = State::Text(depth),
            State::LeftAngle if byte == b'<' => {
                self.state = State::Between;
                self.token(Token::OpenDictionary)?;
                self.open(false)?;
            }
            State::LeftAngle | State::Hex if byte == b'>' => {
                self.state = State::Between;
                self.token(Token::Text)?;
            }
            State::LeftAngle | State::Hex if byte.is_ascii_hexdigit() || is_space(byte) => {
                self.state = State::Hex;
            }
            State::LeftAngle | State::Hex => {
                self.torn = true;
                return self.go_on(byte);
            }
            State::RightAngle if byte == b'>' => {
                self.state = State::Between;
                self.close(false);
                self.token(Token::CloseDictionary)?;
            }
            State::RightAngle => return self.go_on(byte),
            State::Comment => match byte {
                b'\r' | b'\n' => self.state = State::Between,
                b'/' => self.state = State::CommentName,
                _ => {}
            },
        }
        Ok(false)
    }

    /// A word in front of an object that begins at `byte` is whole.
    pub(super) fn end_word(&mut self, byte: u8) -> Result<(), &'static str> {
        match self.state {
            State::Between => Ok(()),
            _ if is_space(byte) || is_delimiter(byte) => self.step(b' ').map(|_| ()),
            _ => Ok(()),
        }
    }

    /// What the object that was read has to do with opening the document.
    pub(super) fn opening(&self) -> Told {
        self.told
    }

    /// A name may end with the file.
    pub(super) fn end(&self) -> Result<(), &'static str> {
        match self.state {
            State::Name | State::CommentName => act(&unescaped(&self.word), ACTS),
            _ => Ok(()),
        }
    }

    /// The dictionary of the stream that begins, when it is an object stream's.
    pub(super) fn stream(&self) -> Option<&StreamDictionary> {
        let stream = &self.stream;
        let numbered = stream.first != Number::Absent && stream.count != Number::Absent;
        // Not all readers ask for the type.
        (stream.is_object_stream || numbered).then_some(stream)
    }

    /// Whether an object may begin at `byte`: none is open.
    pub(super) fn is_between_objects(&self, byte: u8) -> bool {
        let ended = matches!(self.state, State::Name | State::Word) && (is_space(byte) || is_delimiter(byte));
        self.depth == 0 && !self.odd && (self.state == State::Between || ended)
    }

    fn between(&mut self, byte: u8) -> Result<bool, &'static str> {
        match byte {
            _ if is_space(byte) => {}
            b'/' => self.state = State::Name,
            b'(' => {
                if !self.torn {
                    self.state = State::Text(1);
                }
                self.token(Token::Text)?;
            }
            b'%' if self.torn => {}
            b'<' => self.state = State::LeftAngle,
            b'>' => self.state = State::RightAngle,
            b'[' => {
                self.token(Token::OpenArray)?;
                self.open(true)?;
            }
            b']' => {
                self.close(true);
                self.token(Token::CloseArray)?;
            }
            b'%' => self.state = State::Comment,
            b')' | b'{' | b'}' => self.odd = true,
            _ => {
                self.state = State::Word;
                self.word.push(byte);
            }
        }
        Ok(false)
    }

    /// A sign stands where none belongs; readers make of it what they like.
    fn go_on(&mut self, byte: u8) -> Result<bool, &'static str> {
        self.odd = true;
        self.state = State::Between;
        self.between(byte)
    }

    fn open(&mut self, array: bool) -> Result<(), &'static str> {
        if self.depth == MAX_DEPTH {
            // What is no object has no depth.
            return if self.odd { Ok(()) } else { Err("a PDF object that is nested too deep") };
        }
        self.arrays = self.arrays << 1 | u128::from(array);
        self.depth += 1;
        Ok(())
    }

    fn close(&mut self, array: bool) {
        let open = self.depth > 0 && (self.arrays & 1 == 1) == array;
        self.odd |= !open;
        self.arrays >>= 1;
        self.depth = self.depth.saturating_sub(1);
        if matches!(self.opening, Opening::In(depth) if self.depth < depth) {
            self.opening = Opening::None;
        }
    }

    fn token(&mut self, token: Token<'_>) -> Result<(), &'static str> {
        if let Some(what) = self.acting.take()
            && token.may_act()
        {
            return Err(what);
        }
        if self.opening == Opening::Next {
            self.opening = match token {
                Token::OpenDictionary => Opening::In(self.depth + 1),
                _ => Opening::None,
            };
            if let Token::Word(word) = token {
                self.told.opens = std::str::from_utf8(word).ok().and_then(|word| word.parse().ok());
            }
        }
        let kind_next = std::mem::take(&mut self.action.kind_next);
        // The kind of an action, or all of it, is written elsewhere.
        if let Token::Word(word) = token {
            let elsewhere = kind_next && self.depth <= 1 && is_number(word);
            self.told.leads |= elsewhere || (self.depth == 0 && word == b"R");
        }
        self.closed = matches!(token, Token::CloseDictionary);
        self.stream.read(&token);
        match token {
            Token::Name(raw) => {
                let name = unescaped(raw);
                if self.depth <= 1 || self.torn {
                    self.act(&name, kind_next || self.torn);
                }
                self.name(&name)
            }
            _ => Ok(()),
        }
    }

    /// Notes what makes an object an action that leads somewhere.
    fn act(&mut self, name: &[u8], is_kind: bool) {
        let action = &mut self.action;
        action.kind_next = name == b"S";
        action.has_kind |= is_kind;
        action.has_next |= name == b"Next";
        self.told.leads |= (is_kind && OPENING.contains(&name)) || (action.has_kind && action.has_next);
    }

    fn name(&mut self, name: &[u8]) -> Result<(), &'static str> {
        act(name, ACTS)?;
        if self.torn {
            act(name, KEYS)?;
        }
        if (self.torn && name == b"OpenAction") || self.opening != Opening::None && OPENING.contains(&name) {
            return Err("a PDF that acts when it is opened");
        }
        if name == b"OpenAction" {
            self.opening = Opening::Next;
        }
        // In an array of names there are no keys; the names of glyphs are such arrays.
        let in_array = self.depth > 0 && self.arrays & 1 == 1 && !self.odd;
        if !in_array {
            self.acting = KEYS.iter().find(|(key, _)| *key == name).map(|(_, what)| *what);
        }
        Ok(())
    }
}

impl StreamDictionary {
    fn read(&mut self, token: &Token<'_>) {
        let after = std::mem::take(&mut self.after);
        match (after, token) {
            (After::Count, Token::Word(word)) => {
                self.count.write(word);
                self.after = After::Written;
                return;
            }
            (After::First, Token::Word(word)) => {
                self.first.write(word);
                self.after = After::Written;
                return;
            }
            // `5 0 R`: the number stands elsewhere.
            (After::Written, Token::Word(_)) => self.odd = true,
            (After::Count, _) => self.count = Number::Odd,
            (After::First, _) => self.first = Number::Odd,
            (After::Filter, Token::OpenArray) => {
                self.after = After::Filters;
                return;
            }
            (After::Filters, Token::Name(raw)) => {
                self.filter(raw);
                self.after = After::Filters;
                return;
            }
            (After::Filter, Token::Name(raw)) => return self.filter(raw),
            (After::Filters, Token::CloseArray) => return,
            (After::Filter | After::Parameters, Token::Word(b"null")) => return,
            (After::Filter | After::Filters, _) => self.odd = true,
            // Parameters that are written elsewhere.
            (After::Parameters, Token::Word(_)) => self.odd = true,
            _ => {}
        }
        let Token::Name(raw) = token else { return };
        self.after = match unescaped(raw).as_slice() {
            b"ObjStm" => {
                self.is_object_stream = true;
                After::Other
            }
            b"N" => After::Count,
            b"First" => After::First,
            b"Filter" => {
                self.filters += 1;
                self.odd |= self.filters > 1;
                After::Filter
            }
            b"DecodeParms" | b"DP" => After::Parameters,
            b"Predictor" | b"F" | b"FFilter" => {
                self.odd = true;
                After::Other
            }
            _ => After::Other,
        };
    }

    fn filter(&mut self, raw: &[u8]) {
        match unescaped(raw).as_slice() {
            b"FlateDecode" | b"Fl" => self.flate += 1,
            _ => self.odd = true,
        }
    }
}

impl Number {
    fn write(&mut self, word: &[u8]) {
        let value = std::str::from_utf8(word).ok().and_then(|word| word.parse().ok());
        *self = match (*self, value) {
            (Number::Absent, Some(value)) if word.iter().all(u8::is_ascii_digit) => Number::Is(value),
            _ => Number::Odd,
        };
    }
}

/// Some readers take a sign in front of a reference.
fn is_number(word: &[u8]) -> bool {
    word.first().is_some_and(|byte| byte.is_ascii_digit() || b"+-.".contains(byte))
}

fn act(name: &[u8], acting: &[(&[u8], &'static str)]) -> Result<(), &'static str> {
    match acting.iter().find(|(known, _)| *known == name) {
        Some((_, what)) => Err(what),
        None => Ok(()),
    }
}

/// A name as it reads once its `#` codes are resolved (section 7.3.5).
fn unescaped(raw: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&byte, after)) = rest.split_first() {
        let code = match *rest {
            [b'#', high, low, ..] => hex(high).zip(hex(low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        name.push(code.unwrap_or(byte));
        rest = if code.is_some() { &rest[3..] } else { after };
    }
    name
}
