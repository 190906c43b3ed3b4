//! A table of known keys, decoded and described by the same calls.

use std::cell::RefCell;

use serde_json::{Map, Value, json};

use crate::problem::{Place, quote};
use crate::read::{Aim, Path, Reader, describe, did_you_mean, members};
use crate::tree::{self, Content, Entry, Node, Span};

/// A table while it is read. Each call names a key, says in a sentence what it is for, and how its value is read.
pub(crate) struct Table<'a> {
    reader: &'a Reader<'a>,
    asked: RefCell<Vec<&'static str>>,
    /// Keys of `defaults` that do not count here.
    hidden: RefCell<Vec<&'static str>>,
}

impl<'a> Table<'a> {
    pub(crate) fn new(reader: &'a Reader<'a>) -> Self {
        reader.describe_with(|schema| {
            schema
                .extend(members(json!({"type": "object", "properties": {}, "additionalProperties": false})));
        });
        Self { reader, asked: RefCell::default(), hidden: RefCell::default() }
    }

    /// A key that must be there.
    pub(crate) fn required<T>(
        &self,
        key: &'static str,
        doc: &'static str,
        read: impl Fn(&Reader<'_>) -> Option<T>,
    ) -> Option<T> {
        self.describe_key(key, doc, None, true, &read);
        let Aim::Decode { node, .. } = self.reader.aim else { return None };
        if let Some(found) = self.found(key) {
            return self.read(key, found, &read);
        }
        let place = self.reader.loading.place(node.at, self.reader.path.below(key));
        let remedy = format!("add \"{key}: …\", {}", lower_first(doc));
        self.reader.loading.report(place.problem(format!("the key {} is missing", quote(key)), remedy));
        None
    }

    /// A key that may be missing. `None` when it is wrong, `Some(None)` when it is missing.
    pub(crate) fn optional<T>(
        &self,
        key: &'static str,
        doc: &'static str,
        read: impl Fn(&Reader<'_>) -> Option<T>,
    ) -> Option<Option<T>> {
        self.describe_key(key, doc, None, false, &read);
        if !self.decoding() {
            return None;
        }
        match self.found(key) {
            Some(found) => self.read(key, found, &read).map(Some),
            None => Some(None),
        }
    }

    /// A key with a default, written as the operator would write it and read by the same function.
    pub(crate) fn or<T>(
        &self,
        key: &'static str,
        doc: &'static str,
        default: &str,
        read: impl Fn(&Reader<'_>) -> Option<T>,
    ) -> Option<T> {
        self.describe_key(key, doc, Some(default), false, &read);
        let Aim::Decode { node, .. } = self.reader.aim else { return None };
        if let Some(found) = self.found(key) {
            return self.read(key, found, &read);
        }
        let default = default_node(node.at, default);
        let path = Path::Key(self.reader.path, key);
        self.reader.below(&path, &default, None).read(&read)
    }

    /// Keys of `defaults` of which this table has one make the others there not count: they are alternatives.
    pub(crate) fn alternatives(&self, keys: &[&'static str]) {
        let Aim::Decode { node, .. } = self.reader.aim else { return };
        if keys.iter().any(|key| node.entry(key).is_some()) {
            self.hidden.borrow_mut().extend(keys);
        }
    }

    /// The value of a key as it stands, without reading it.
    pub(crate) fn node(&self, key: &str) -> Option<&'a Node> {
        self.found(key).map(|(entry, _)| &entry.value)
    }

    /// Whether the key is there, right or wrong.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.found(key).is_some()
    }

    /// Where the value of a key is; the table itself when it is missing; `None` when describing.
    pub(crate) fn place(&self, key: &str) -> Option<Place> {
        let at = self.node(key).map_or_else(|| self.reader.span(), |node| Some(node.at))?;
        Some(self.reader.loading.place(at, self.reader.path.below(key)))
    }

    /// Where a value deep inside is, as in `["auth", "roles"]`; as deep as is written.
    pub(crate) fn place_in(&self, keys: &[&str]) -> Option<Place> {
        let mut at = self.reader.span()?;
        let mut path = match self.reader.path {
            Path::Root => String::new(),
            path => path.to_string(),
        };
        let mut layers = match self.reader.aim {
            Aim::Decode { node, under } => [Some(node), under],
            Aim::Describe(_) => return None,
        };
        for key in keys {
            layers = layers.map(|layer| layer.and_then(|node| node.entry(key)).map(|entry| &entry.value));
            if let Some(node) = layers[0].or(layers[1]) {
                at = node.at;
            }
            path.push_str(&tree::dotted(&path, key));
        }
        Some(self.reader.loading.place(at, path))
    }

    /// Reports something wrong with the value of a key.
    pub(crate) fn problem(&self, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        if let Some(place) = self.place(key) {
            self.reader.loading.report(place.problem(what, remedy));
        }
    }

    /// Reports something doubtful about the value of a key.
    pub(crate) fn warn(&self, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        if let Some(place) = self.place(key) {
            self.reader.loading.warn(place.problem(what, remedy));
        }
    }

    fn decoding(&self) -> bool {
        matches!(self.reader.aim, Aim::Decode { .. })
    }

    /// The entry of a key, and what lies under it when both are tables.
    fn found(&self, key: &str) -> Option<(&'a Entry, Option<&'a Node>)> {
        let Aim::Decode { node, under } = self.reader.aim else { return None };
        let hidden = self.hidden.borrow().contains(&key);
        let under = under.filter(|_| !hidden).and_then(|under| under.entry(key));
        let Some(entry) = node.entry(key) else { return under.map(|entry| (entry, None)) };
        let is_table = |node: &Node| matches!(node.content, Content::Table(_));
        let under = under.map(|under| &under.value).filter(|under| is_table(under) && is_table(&entry.value));
        Some((entry, under))
    }

    fn read<T>(
        &self,
        key: &'static str,
        (entry, under): (&Entry, Option<&Node>),
        read: impl Fn(&Reader<'_>) -> Option<T>,
    ) -> Option<T> {
        if key.starts_with("insecure_") {
            self.warn(key, "this key weakens what the gateway protects", "take it away where you can");
        }
        let path = Path::Key(self.reader.path, key);
        self.reader.below(&path, &entry.value, under).read(read)
    }

    fn describe_key<T>(
        &self,
        key: &'static str,
        doc: &'static str,
        default: Option<&str>,
        required: bool,
        read: impl Fn(&Reader<'_>) -> Option<T>,
    ) {
        self.asked.borrow_mut().push(key);
        self.reader.describe_with(|schema| {
            let mut property = describe(self.reader.loading, read);
            property.insert("description".into(), json!(doc));
            if let Some(default) = default {
                property.insert("default".into(), to_json(&default_node(NOWHERE, default)));
            }
            if let Some(Value::Object(properties)) = schema.get_mut("properties") {
                properties.insert(key.into(), Value::Object(property));
            }
            if required && let Value::Array(keys) = schema.entry("required").or_insert_with(|| json!([])) {
                keys.push(json!(key));
            }
        });
    }

    fn refuse_unknown(&self, entries: &[Entry], asked: &[&str]) {
        let loading = self.reader.loading;
        for entry in entries {
            if loading.is_full() {
                return;
            }
            if !asked.contains(&entry.key.as_str()) {
                let place = loading.place(entry.at, self.reader.path.below(&entry.key));
                let what = format!("the key {} is not known here", quote(&entry.key));
                loading.report(place.problem(what, did_you_mean(&entry.key, asked)));
            }
        }
    }
}

impl Drop for Table<'_> {
    fn drop(&mut self) {
        if let Aim::Decode { node: Node { content: Content::Table(entries), .. }, .. } = self.reader.aim {
            self.refuse_unknown(entries, &self.asked.borrow());
        }
    }
}

const NOWHERE: Span = Span { file: 0, line: 0, column: 0 };

/// A default as a value of the policy: lists and tables as YAML, anything else as plain text.
fn default_node(at: Span, text: &str) -> Node {
    match text.starts_with(['[', '{']).then(|| tree::parse(at.file, text)) {
        Some((Some(mut node), _)) => {
            move_to(&mut node, at);
            node
        }
        _ => Node::plain(at, text),
    }
}

fn move_to(node: &mut Node, at: Span) {
    node.at = at;
    match &mut node.content {
        Content::Scalar(_) => {}
        Content::List(items) => items.iter_mut().for_each(|item| move_to(item, at)),
        Content::Table(entries) => entries.iter_mut().for_each(|entry| {
            entry.at = at;
            move_to(&mut entry.value, at);
        }),
    }
}

/// By YAML's core rules for plain text.
fn to_json(node: &Node) -> Value {
    match &node.content {
        Content::Scalar(scalar) if !scalar.plain => json!(scalar.text),
        Content::Scalar(scalar) => match scalar.text.as_str() {
            "true" => json!(true),
            "false" => json!(false),
            text => text.parse::<u64>().map_or_else(|_| json!(text), |number| json!(number)),
        },
        Content::List(items) => items.iter().map(to_json).collect(),
        Content::Table(entries) => entries
            .iter()
            .map(|entry| (entry.key.clone(), to_json(&entry.value)))
            .collect::<Map<_, _>>()
            .into(),
    }
}

/// A sentence as it goes on after a comma.
fn lower_first(doc: &str) -> String {
    let doc = doc.trim_end_matches('.');
    let mut letters = doc.chars();
    match (letters.next(), doc.chars().nth(1)) {
        (Some(first), Some(second)) if second.is_lowercase() => first.to_lowercase().chain(letters).collect(),
        _ => doc.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Environment;
    use crate::loading::Loading;
    use crate::scalar::{boolean, line};

    fn sample(r: &Reader<'_>) -> Option<(String, bool)> {
        let t = r.table()?;
        let name = t.or("name", "What it is called.", "nobody", line);
        let insecure = t.or("insecure_mode", "Lets everything pass.", "false", boolean);
        Some((name?, insecure?))
    }

    /// What is read, and what is told.
    fn read(text: &str) -> (Option<(String, bool)>, Vec<String>) {
        let environment = Environment::empty();
        let loading = Loading::new(&environment, false);
        let (node, _) = tree::parse(0, text);
        let node = node.unwrap();
        let value =
            Reader { loading: &loading, path: &Path::Root, aim: Aim::Decode { node: &node, under: None } }
                .read(sample);
        let gathered = loading.finish();
        let told = gathered.problems.iter().chain(&gathered.warnings).map(|problem| problem.what.clone());
        (value, told.collect())
    }

    #[test]
    fn a_missing_key_has_the_default_of_the_schema() {
        assert_eq!(read("{}"), (Some(("nobody".into(), false)), vec![]));
        let environment = Environment::empty();
        let schema = describe(&Loading::new(&environment, false), sample);
        assert_eq!(schema["properties"]["name"]["default"], "nobody");
        assert_eq!(schema["properties"]["insecure_mode"]["default"], false);
    }

    #[test]
    fn a_key_that_weakens_is_warned_of() {
        let (value, told) = read("insecure_mode: true");
        assert_eq!(value, Some(("nobody".into(), true)));
        assert_eq!(told, ["this key weakens what the gateway protects"]);
    }

    #[test]
    fn a_key_that_is_never_asked_for_is_refused() {
        assert_eq!(read("{ nmae: x }").1, ["the key \"nmae\" is not known here"]);
    }
}
