//! YAML as a tree in which everything knows its place.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError};

use crate::problem::quote;

/// Bytes of one file.
pub(crate) const MAX_FILE: usize = 4 << 20;
const MAX_DEPTH: usize = 32;
const MAX_ALIASES: usize = 100;
/// What anchors and aliases may copy, all together: nodes, long texts counting one for every 64 bytes. What the file
/// itself spells out is bounded by its size alone.
const MAX_COPIED: usize = 50_000;

/// A value of the policy.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) at: Span,
    pub(crate) content: Content,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Scalar(Scalar),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

/// Text as written, variables and all.
#[derive(Debug, Clone)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    /// Without quotes, so that it may be a number, a truth value or nothing.
    pub(crate) plain: bool,
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: Span,
    pub(crate) value: Node,
}

/// Where something begins: the file's number, line and column from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Span {
    pub(crate) file: usize,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// What is wrong with the YAML itself.
#[derive(Debug)]
pub(crate) struct Flaw {
    pub(crate) at: Span,
    /// Empty for the whole document.
    pub(crate) key: String,
    pub(crate) what: String,
    pub(crate) remedy: String,
}

impl Node {
    /// A plain scalar, as if it stood at `at`.
    pub(crate) fn plain(at: Span, text: &str) -> Self {
        Self { at, content: Content::Scalar(Scalar { text: text.to_owned(), plain: true }) }
    }

    /// The value of a key, when this is a table that has it.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        let Content::Table(entries) = &self.content else { return None };
        entries.iter().find(|entry| entry.key == key)
    }

    /// Whether nothing is written: `key:`, `key: ~` or `key: null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.content, Content::Scalar(scalar) if scalar.plain
            && matches!(scalar.text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }
}

/// Reads one document. The tree is there whenever its shape is certain, also beside flaws, so that what else is wrong
/// can be told in the same run. Time and memory are linear in the text; deep nesting, anchors and aliases are limited.
pub(crate) fn parse(file: usize, text: &str) -> (Option<Node>, Vec<Flaw>) {
    let mut builder = Builder {
        file,
        frames: Vec::new(),
        root: None,
        anchors: HashMap::new(),
        aliases: 0,
        copied: 0,
        flaws: Vec::new(),
    };
    let root = match builder.build(text) {
        Ok(()) => builder.root,
        Err(flaw) => {
            builder.flaws.push(*flaw);
            None
        }
    };
    (root, builder.flaws)
}

struct Builder {
    file: usize,
    /// The lists and tables that are open, outermost first.
    frames: Vec<Frame>,
    root: Option<Node>,
    /// By the parser's number; `None` when it was too much to keep.
    anchors: HashMap<usize, Option<Weighed>>,
    aliases: usize,
    copied: usize,
    flaws: Vec<Flaw>,
}

struct Frame {
    at: Span,
    anchor: usize,
    weight: usize,
    open: Open,
}

enum Open {
    List(Vec<Node>),
    Table { entries: Vec<Entry>, seen: HashMap<String, Span>, key: Option<(String, Span)> },
}

/// A value and what copying it costs.
#[derive(Clone)]
struct Weighed {
    node: Node,
    weight: usize,
}

/// Boxed, because it is rare and large.
type Fatal = Box<Flaw>;

impl Builder {
    fn build(&mut self, text: &str) -> Result<(), Fatal> {
        let mut parser = Parser::new_from_str(text);
        let mut documents = 0;
        while let Some(next) = parser.next_event() {
            let (event, span) = next.map_err(|error| self.unreadable(&error))?;
            let at = self.span(&span.start);
            match event {
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(self.fatal(
                            at,
                            "a second document begins here",
                            "keep one document in a file",
                        ));
                    }
                }
                Event::Scalar(text, style, anchor, tag) => {
                    self.refuse_tag(at, tag.is_some());
                    let plain = style == ScalarStyle::Plain;
                    if let Some(Frame { open: Open::Table { key: key @ None, .. }, .. }) =
                        self.frames.last_mut()
                    {
                        *key = Some((text.into_owned(), at));
                        self.refuse_key(at, plain, anchor);
                        continue;
                    }
                    let weight = 1 + text.len() / 64;
                    let node =
                        Node { at, content: Content::Scalar(Scalar { text: text.into_owned(), plain }) };
                    self.place(Weighed { node, weight }, anchor)?;
                }
                Event::SequenceStart(anchor, tag) => {
                    self.refuse_tag(at, tag.is_some());
                    self.open(at, anchor, Open::List(Vec::new()))?;
                }
                Event::MappingStart(anchor, tag) => {
                    self.refuse_tag(at, tag.is_some());
                    let open = Open::Table { entries: Vec::new(), seen: HashMap::new(), key: None };
                    self.open(at, anchor, open)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.close()?,
                Event::Alias(anchor) => self.alias(at, anchor)?,
            }
        }
        if self.root.is_none() {
            let at = Span { file: self.file, line: 1, column: 1 };
            return Err(self.fatal(at, "the file is empty", "begin with \"version: 1\""));
        }
        Ok(())
    }

    fn open(&mut self, at: Span, anchor: usize, open: Open) -> Result<(), Fatal> {
        self.refuse_compound_key(at)?;
        if self.frames.len() == MAX_DEPTH {
            let what = format!("lists and tables are nested more than {MAX_DEPTH} deep");
            return Err(self.fatal(at, &what, "write it flatter"));
        }
        self.frames.push(Frame { at, anchor, weight: 1, open });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fatal> {
        let Some(Frame { at, anchor, weight, open }) = self.frames.pop() else { return Ok(()) };
        let content = match open {
            Open::List(items) => Content::List(items),
            Open::Table { entries, .. } => Content::Table(entries),
        };
        self.place(Weighed { node: Node { at, content }, weight }, anchor)
    }

    /// Puts a finished value where it belongs.
    fn place(&mut self, value: Weighed, anchor: usize) -> Result<(), Fatal> {
        if anchor > 0 {
            self.keep(anchor, &value)?;
        }
        let Weighed { node, weight } = value;
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        frame.weight += weight;
        let twice = match &mut frame.open {
            Open::List(items) => {
                items.push(node);
                None
            }
            Open::Table { entries, seen, key } => {
                let Some((key, at)) = key.take() else { return Ok(()) };
                match seen.get(&key) {
                    Some(first) => Some((key, at, first.line)),
                    None => {
                        seen.insert(key.clone(), at);
                        entries.push(Entry { key, at, value: node });
                        None
                    }
                }
            }
        };
        if let Some((key, at, line)) = twice {
            let mut path = self.path();
            path.push_str(&dotted(&path, &key));
            let what = format!("{} is already written on line {line}", quote(&key));
            self.flaws.push(Flaw { at, key: path, what, remedy: "keep one of the two".into() });
        }
        Ok(())
    }

    fn keep(&mut self, anchor: usize, value: &Weighed) -> Result<(), Fatal> {
        if self.anchors.len() == MAX_ALIASES {
            let what = format!("there are more than {MAX_ALIASES} anchors");
            return Err(self.fatal(value.node.at, &what, "write the values out"));
        }
        let kept = (self.copied + value.weight <= MAX_COPIED).then(|| value.clone());
        self.copied += kept.as_ref().map_or(0, |kept| kept.weight);
        self.anchors.insert(anchor, kept);
        Ok(())
    }

    fn alias(&mut self, at: Span, anchor: usize) -> Result<(), Fatal> {
        self.refuse_compound_key(at)?;
        self.aliases += 1;
        if self.aliases > MAX_ALIASES {
            let what = format!("there are more than {MAX_ALIASES} aliases");
            return Err(self.fatal(at, &what, "write the values out"));
        }
        let Some(kept) = self.anchors.get(&anchor) else {
            return Err(self.fatal(at, "the alias stands inside of what it names", "write the value out"));
        };
        match kept {
            Some(value) if self.copied + value.weight <= MAX_COPIED => {
                self.copied += value.weight;
                let value = value.clone();
                self.place(value, 0)
            }
            _ => {
                let what = format!("aliases stand for more than {MAX_COPIED} values");
                Err(self.fatal(at, &what, "write the values out"))
            }
        }
    }

    fn refuse_tag(&mut self, at: Span, tagged: bool) {
        if tagged {
            let remedy = "take the \"!…\" away; put text that looks like something else in quotes";
            self.flaw(at, "tags have no meaning in a policy", remedy);
        }
    }

    fn refuse_key(&mut self, at: Span, plain: bool, anchor: usize) {
        let Some(Frame { open: Open::Table { key: Some((key, _)), .. }, .. }) = self.frames.last() else {
            return;
        };
        if plain && key == "<<" {
            self.flaw(
                at,
                "merge keys have no meaning in a policy",
                "write the keys out, or use a site's \"defaults\"",
            );
        } else if anchor > 0 {
            self.flaw(at, "a key has an anchor", "put anchors before values only");
        }
    }

    /// A list, table or alias where a key belongs.
    fn refuse_compound_key(&self, at: Span) -> Result<(), Fatal> {
        match self.frames.last() {
            Some(Frame { open: Open::Table { key: None, .. }, .. }) => Err(self.fatal(
                at,
                "a key must be text",
                "write \"key: value\"; put a value that begins with \"{\" in quotes",
            )),
            _ => Ok(()),
        }
    }

    fn unreadable(&self, error: &ScanError) -> Fatal {
        let info = error.info();
        let remedy = if info.contains("anchor") || info.contains("alias") {
            "put text that begins with \"*\" or \"&\" in quotes, as in hosts: [\"*\"]"
        } else if info.contains("tab") {
            "indent with spaces"
        } else {
            "look at the indentation, quotes and brackets here and above"
        };
        self.fatal(self.span(error.marker()), &format!("this is not YAML: {info}"), remedy)
    }

    fn flaw(&mut self, at: Span, what: &str, remedy: &str) {
        let flaw = self.fatal(at, what, remedy);
        self.flaws.push(*flaw);
    }

    fn fatal(&self, at: Span, what: &str, remedy: &str) -> Fatal {
        Box::new(Flaw { at, key: self.path(), what: what.to_owned(), remedy: remedy.to_owned() })
    }

    fn span(&self, marker: &Marker) -> Span {
        Span { file: self.file, line: marker.line().max(1), column: marker.col() + 1 }
    }

    /// The key path of what is being read.
    fn path(&self) -> String {
        let mut path = String::new();
        for frame in &self.frames {
            match &frame.open {
                Open::List(items) => path.push_str(&format!("[{}]", items.len())),
                Open::Table { key: Some((key, _)), .. } => path.push_str(&dotted(&path, key)),
                Open::Table { .. } => {}
            }
        }
        path
    }
}

/// A key as it continues a path. Whatever is not a usual name is quoted.
pub(crate) fn dotted(path: &str, key: &str) -> String {
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || b"_-*/".contains(&byte);
    let key = if !key.is_empty() && key.bytes().all(usual) { key.to_owned() } else { quote(key) };
    if path.is_empty() { key } else { format!(".{key}") }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn flaws(text: &str) -> Vec<String> {
        let (_, flaws) = parse(0, text);
        flaws
            .iter()
            .map(|flaw| format!("{}:{}: {}: {}", flaw.at.line, flaw.at.column, flaw.key, flaw.what))
            .collect()
    }

    fn text(node: &Node) -> &str {
        let Content::Scalar(scalar) = &node.content else { panic!("{node:?} is no scalar") };
        &scalar.text
    }

    #[test]
    fn knows_where_every_key_and_value_begins() {
        let (root, flaws) =
            parse(3, "version: 1\nlisteners:\n  - address: \"a:1\"\n    tls: { min: 'é', max: 2 }\n");
        assert!(flaws.is_empty());
        let root = root.unwrap();
        let listeners = root.entry("listeners").unwrap();
        assert_eq!(listeners.at, Span { file: 3, line: 2, column: 1 });
        let Content::List(items) = &listeners.value.content else { panic!() };
        assert_eq!(items[0].at, Span { file: 3, line: 3, column: 5 });
        assert_eq!(items[0].entry("address").unwrap().value.at, Span { file: 3, line: 3, column: 14 });
        let tls = &items[0].entry("tls").unwrap().value;
        assert_eq!(tls.at, Span { file: 3, line: 4, column: 10 });
        assert_eq!(tls.entry("max").unwrap().at, Span { file: 3, line: 4, column: 22 });
        assert_eq!(text(&tls.entry("max").unwrap().value), "2");
    }

    #[test]
    fn tells_nothing_from_text() {
        let (root, _) = parse(0, "a:\nb: ~\nc: \"\"\nd: 'null'\n");
        let root = root.unwrap();
        let null = |key: &str| root.entry(key).unwrap().value.is_null();
        assert_eq!([null("a"), null("b"), null("c"), null("d")], [true, true, false, false]);
    }

    #[test]
    fn refuses_what_is_exotic_with_its_place() {
        assert_eq!(flaws("a: 1\nb: 2\na: 3\n"), ["3:1: a: \"a\" is already written on line 1"]);
        assert_eq!(flaws("x:\n  a: 1\n  a: 3\n"), ["3:3: x.a: \"a\" is already written on line 2"]);
        assert_eq!(
            flaws("a: &x { b: 1 }\nc:\n  <<: *x\n"),
            ["3:3: c.\"<<\": merge keys have no meaning in a policy"]
        );
        assert_eq!(flaws("a: !!int 1\n"), ["1:4: a: tags have no meaning in a policy"]);
        assert_eq!(flaws("a: 1\n---\nb: 1\n"), ["2:1: : a second document begins here"]);
        assert_eq!(flaws("? [a]\n: 1\n"), ["1:3: : a key must be text"]);
        assert_eq!(flaws("a: &x [*x]\n"), ["1:8: a[0]: the alias stands inside of what it names"]);
        assert_eq!(flaws(""), ["1:1: : the file is empty"]);
        assert_eq!(flaws("# nothing\n"), ["1:1: : the file is empty"]);
    }

    #[test]
    fn says_what_to_do_with_a_bare_star() {
        let (_, flaws) = parse(0, "hosts: [*]\n");
        assert!(flaws[0].remedy.contains("in quotes"), "{flaws:?}");
        let (_, flaws) = parse(0, "hosts: [*.example.com]\n");
        assert!(flaws[0].remedy.contains("in quotes"), "{flaws:?}");
    }

    #[test]
    fn follows_aliases() {
        let (root, flaws) = parse(0, "a: &x [1, 2]\nb: *x\n");
        assert!(flaws.is_empty());
        let root = root.unwrap();
        let Content::List(items) = &root.entry("b").unwrap().value.content else { panic!() };
        assert_eq!(text(&items[1]), "2");
    }

    /// A very loose guard, for a machine that does much else: what grows faster than its input takes hours.
    fn quickly(what: &str, text: &str) -> Vec<String> {
        let begun = Instant::now();
        let flaws = flaws(text);
        assert!(begun.elapsed() < Duration::from_secs(60), "{what} took {:?}", begun.elapsed());
        flaws
    }

    #[test]
    fn an_alias_bomb_is_an_error_in_bounded_time() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..20 {
            let alias = format!("*a{}", level - 1);
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 5].join(", ")));
        }
        assert!(quickly("levels", &bomb)[0].contains("aliases stand for more than 50000 values"));
        let long = format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(1 << 20), ["*a"; 90].join(","));
        assert!(quickly("long text", &long)[0].contains("aliases stand for more than"));
        let many = format!("a: &a 1\nb: [{}]\n", ["*a"; 101].join(","));
        assert!(quickly("many", &many)[0].contains("more than 100 aliases"));
        let anchors: String = (0..200).map(|n| format!("k{n}: &a{n} 1\n")).collect();
        assert!(quickly("anchors", &anchors)[0].contains("more than 100 anchors"));
    }

    #[test]
    fn nesting_is_an_error_in_bounded_time() {
        for (what, piece) in [
            ("lists", "["),
            ("tables", "{"),
            ("keys", "{a: "),
            ("dashes", "- "),
            ("questions", "? "),
            ("anchors", "&a "),
        ] {
            let flaws = quickly(what, &piece.repeat(MAX_FILE / piece.len()));
            assert!(!flaws.is_empty(), "{what} are accepted");
        }
        let indented: String = (0..1000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
        assert!(quickly("indentation", &indented)[0].contains("nested more than 32 deep"));
    }

    #[test]
    fn long_files_take_time_in_proportion() {
        for (what, line) in
            [("list", "- a\n"), ("pairs", "- {a: b}\n"), ("colons", "- a:b:c\n"), ("quotes", "- 'a'\n")]
        {
            quickly(what, &line.repeat(MAX_FILE / line.len()));
        }
        quickly("one flow list", &format!("[{}]", "a: b, ".repeat(MAX_FILE / 7)));
        quickly("one long line", &"a".repeat(MAX_FILE));
        quickly("blank lines", &"\n".repeat(MAX_FILE));
        quickly("comments", &"#\n".repeat(MAX_FILE / 2));
    }
}
