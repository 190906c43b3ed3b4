//! Values out of the tree, and the schema out of the same functions.
//!
//! A *reading function* has the shape `fn(&Reader) -> Option<T>`. It runs in two ways. *Decoding*, it takes what is
//! written, reports every problem it finds, and answers `None` when there was one. *Describing*, there is nothing
//! written: the same calls leave the JSON Schema of what would be accepted, and every one of them answers `None`.
//! Hence the one rule for such a function: make all calls first, and look into their answers with `?` afterwards.

use std::cell::RefCell;
use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::loading::Loading;
use crate::problem::{Place, quote};
use crate::suggest::nearest;
use crate::table::Table;
use crate::tree::{Content, Node, Span, dotted};

/// One value of the policy, or the description of one.
pub(crate) struct Reader<'a> {
    pub(crate) loading: &'a Loading<'a>,
    pub(crate) path: &'a Path<'a>,
    pub(crate) aim: Aim<'a>,
}

/// What a reader is there for.
#[derive(Clone, Copy)]
pub(crate) enum Aim<'a> {
    /// To take what is written.
    Decode {
        node: &'a Node,
        /// The value of the site's `defaults` under it, when both are tables.
        under: Option<&'a Node>,
    },
    /// To leave a schema.
    Describe(&'a RefCell<Map<String, Value>>),
}

/// Where a value is, as a chain up to the root.
pub(crate) enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

/// The three shapes that a value can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Text,
    List,
    Table,
}

/// A scalar with its variables filled in.
pub(crate) struct Written {
    /// What it says. Not to be shown when it holds a variable: show [`Written::quoted`].
    pub(crate) text: String,
    /// Without quotes, or out of a variable: it may be a number or a truth value.
    pub(crate) plain: bool,
    /// Whether a part of it came from the environment.
    pub(crate) variable: bool,
    quoted: String,
}

impl Written {
    /// As it stands in the file, in quotes; never a value of the environment.
    pub(crate) fn quoted(&self) -> &str {
        &self.quoted
    }
}

/// A reading function as a value.
pub(crate) type Reading<'f, T> = &'f dyn Fn(&Reader<'_>) -> Option<T>;

/// The schema that a reading function leaves.
pub(crate) fn describe<T>(
    loading: &Loading<'_>,
    read: impl Fn(&Reader<'_>) -> Option<T>,
) -> Map<String, Value> {
    let schema = RefCell::new(Map::new());
    read(&Reader { loading, path: &Path::Root, aim: Aim::Describe(&schema) });
    schema.into_inner()
}

impl<'a> Reader<'a> {
    /// A table. Keys that are never asked for are refused when it is dropped.
    pub(crate) fn table(&'a self) -> Option<Table<'a>> {
        if let Aim::Decode { node, .. } = self.aim
            && !matches!(node.content, Content::Table(_))
        {
            self.refuse_shape(&[Shape::Table]);
            return None;
        }
        Some(Table::new(self))
    }

    /// A list; wrong items do not hide each other.
    pub(crate) fn list<T>(&self, read: impl Fn(&Reader<'_>) -> Option<T>) -> Option<Vec<T>> {
        let node = match self.aim {
            Aim::Decode { node, .. } => node,
            Aim::Describe(schema) => {
                let items = describe(self.loading, &read);
                schema.borrow_mut().extend(members(json!({"type": "array", "items": items})));
                return None;
            }
        };
        let Content::List(items) = &node.content else {
            self.refuse_shape(&[Shape::List]);
            return None;
        };
        let mut values = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = Path::Item(self.path, index);
            values.extend(self.below(&path, item, None).read(&read));
        }
        (values.len() == items.len()).then_some(values)
    }

    /// A list that is not empty.
    pub(crate) fn some<T>(&self, read: impl Fn(&Reader<'_>) -> Option<T>) -> Option<Vec<T>> {
        let values = self.list(read);
        self.describe_with(|schema| schema.insert("minItems".into(), json!(1)));
        let values = values?;
        if values.is_empty() {
            self.problem("the list is empty", "write at least one item");
            return None;
        }
        Some(values)
    }

    /// One value, or a list of them that is not empty.
    pub(crate) fn one_or_some<T>(&self, read: impl Fn(&Reader<'_>) -> Option<T>) -> Option<Vec<T>> {
        self.shapes(&[(Shape::Text, &|r| Some(vec![read(r)?])), (Shape::List, &|r| r.some(&read))])
    }

    /// A table whose keys are names that the operator chooses.
    pub(crate) fn names<T>(&self, read: impl Fn(&str, &Reader<'_>) -> Option<T>) -> Option<Vec<(String, T)>> {
        let (node, under) = match self.aim {
            Aim::Decode { node, under } => (node, under),
            Aim::Describe(schema) => {
                let value = describe(self.loading, |r| read("", r));
                schema.borrow_mut().extend(members(json!({"type": "object", "additionalProperties": value})));
                return None;
            }
        };
        let Content::Table(entries) = &node.content else {
            self.refuse_shape(&[Shape::Table]);
            return None;
        };
        let inherited = match under.map(|under| &under.content) {
            Some(Content::Table(under)) => {
                let own: HashSet<_> = entries.iter().map(|entry| entry.key.to_ascii_lowercase()).collect();
                under.iter().filter(|entry| !own.contains(&entry.key.to_ascii_lowercase())).collect()
            }
            _ => Vec::new(),
        };
        let mut values = Vec::with_capacity(entries.len() + inherited.len());
        let mut whole = true;
        for entry in entries.iter().chain(inherited) {
            let path = Path::Key(self.path, &entry.key);
            let under = under.and_then(|under| under.entry(&entry.key)).map(|entry| &entry.value);
            let value = self.below(&path, &entry.value, under).read(|r| read(&entry.key, r));
            match value {
                Some(value) => values.push((entry.key.clone(), value)),
                None => whole = false,
            }
        }
        whole.then_some(values)
    }

    /// A value that may have several shapes, each with a function of its own.
    pub(crate) fn shapes<T>(&self, choices: &[(Shape, Reading<'_, T>)]) -> Option<T> {
        match self.aim {
            Aim::Decode { node, .. } => {
                let shape = shape(node);
                let Some((_, read)) = choices.iter().find(|(known, _)| *known == shape) else {
                    self.refuse_shape(&choices.iter().map(|(known, _)| *known).collect::<Vec<_>>());
                    return None;
                };
                read(self)
            }
            Aim::Describe(schema) => {
                let any: Vec<_> = choices.iter().map(|(_, read)| describe(self.loading, read)).collect();
                schema.borrow_mut().insert("anyOf".into(), json!(any));
                None
            }
        }
    }

    /// A table with exactly one of these keys, as in `{cookie: name}`. Each has a sentence for the schema.
    pub(crate) fn variant<T>(&self, choices: &[(&'static str, &'static str, Reading<'_, T>)]) -> Option<T> {
        let Aim::Decode { node, .. } = self.aim else {
            let one: Vec<_> = choices
                .iter()
                .map(|(key, doc, read)| {
                    describe(self.loading, |r| {
                        let table = r.table()?;
                        table.required(key, doc, read)
                    })
                })
                .collect();
            self.describe_with(|schema| schema.insert("anyOf".into(), json!(one)));
            return None;
        };
        let Content::Table(entries) = &node.content else {
            self.refuse_shape(&[Shape::Table]);
            return None;
        };
        let keys: Vec<_> = choices.iter().map(|(key, ..)| *key).collect();
        let [entry] = entries.as_slice() else {
            self.problem(format!("there are {} keys where one belongs", entries.len()), one_of(&keys));
            return None;
        };
        let Some((key, _, read)) = choices.iter().find(|(key, ..)| *key == entry.key) else {
            let place = self.loading.place(entry.at, self.path.below(&entry.key));
            let remedy = did_you_mean(&entry.key, &keys);
            self.loading
                .report(place.problem(format!("the key {} is not known here", quote(&entry.key)), remedy));
            return None;
        };
        let path = Path::Key(self.path, key);
        self.below(&path, &entry.value, None).read(read)
    }

    /// Text as it is written, with its variables filled in.
    pub(crate) fn scalar(&self) -> Option<Written> {
        let Aim::Decode { node, .. } = self.aim else { return None };
        let Content::Scalar(scalar) = &node.content else {
            self.refuse_shape(&[Shape::Text]);
            return None;
        };
        if node.is_null() {
            self.problem("nothing is written here", "write a value, or take the key away");
            return None;
        }
        match self.loading.environment.expand(&scalar.text) {
            Ok(expanded) => Some(Written {
                text: expanded.text,
                plain: scalar.plain || expanded.variable,
                variable: expanded.variable,
                quoted: quote(&scalar.text),
            }),
            Err(unexpanded) => {
                self.problem(unexpanded.what, unexpanded.remedy);
                None
            }
        }
    }

    /// Runs a reading function, unless so much was read or is wrong that nothing more is.
    pub(crate) fn read<T>(&self, read: impl Fn(&Reader<'_>) -> Option<T>) -> Option<T> {
        if self.loading.is_full() {
            return None;
        }
        if !self.loading.count_read() {
            self.problem_at_root(
                "the policy is too large once defaults are merged into routes",
                "make fewer routes",
            );
            return None;
        }
        read(self)
    }

    /// A reader for a value inside of this one.
    pub(crate) fn below<'b>(&self, path: &'b Path<'b>, node: &'b Node, under: Option<&'b Node>) -> Reader<'b>
    where
        'a: 'b,
    {
        Reader { loading: self.loading, path, aim: Aim::Decode { node, under } }
    }

    /// Adds to the schema, when describing.
    pub(crate) fn describe_with<R>(&self, add: impl FnOnce(&mut Map<String, Value>) -> R) {
        if let Aim::Describe(schema) = self.aim {
            add(&mut schema.borrow_mut());
        }
    }

    /// The same value with that of `defaults` under it.
    pub(crate) fn over<'b>(&self, under: Option<&'b Node>) -> Reader<'b>
    where
        'a: 'b,
    {
        let aim = match self.aim {
            Aim::Decode { node, .. } => Aim::Decode { node, under },
            Aim::Describe(schema) => Aim::Describe(schema),
        };
        Reader { loading: self.loading, path: self.path, aim }
    }

    /// Whether the key is there, right or wrong, here or in the `defaults` under this table.
    pub(crate) fn has(&self, key: &str) -> bool {
        match self.aim {
            Aim::Decode { node, under } => {
                node.entry(key).is_some() || under.is_some_and(|under| under.entry(key).is_some())
            }
            Aim::Describe(_) => false,
        }
    }

    /// Whether a single value is written.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self.aim, Aim::Decode { node: Node { content: Content::Scalar(_), .. }, .. })
    }

    /// Whether nothing is written.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.aim, Aim::Decode { node, .. } if node.is_null())
    }

    /// Where the value begins; `None` when describing.
    pub(crate) fn span(&self) -> Option<Span> {
        match self.aim {
            Aim::Decode { node, .. } => Some(node.at),
            Aim::Describe(_) => None,
        }
    }

    /// Where the value is; `None` when describing.
    pub(crate) fn place(&self) -> Option<Place> {
        Some(self.loading.place(self.span()?, self.path.to_string()))
    }

    /// Reports something wrong with the value.
    pub(crate) fn problem(&self, what: impl Into<String>, remedy: impl Into<String>) {
        if let Some(place) = self.place() {
            self.loading.report(place.problem(what, remedy));
        }
    }

    /// Reports something doubtful about the value.
    pub(crate) fn warn(&self, what: impl Into<String>, remedy: impl Into<String>) {
        if let Some(place) = self.place() {
            self.loading.warn(place.problem(what, remedy));
        }
    }

    /// Remembers where the value is, for problems found after the load.
    pub(crate) fn remember(&self) {
        if let Some(place) = self.place() {
            self.loading.remember(place);
        }
    }

    fn problem_at_root(&self, what: &str, remedy: &str) {
        let at = Span { file: 0, line: 1, column: 1 };
        self.loading.report(self.loading.place(at, Path::Root.to_string()).problem(what, remedy));
    }

    fn refuse_shape(&self, wanted: &[Shape]) {
        let Aim::Decode { node, .. } = self.aim else { return };
        if node.is_null() {
            self.problem("nothing is written here", "write a value, or take the key away");
            return;
        }
        let wanted: Vec<_> = wanted
            .iter()
            .map(|shape| match shape {
                Shape::Text => "a single value",
                Shape::List => "a list, as in [a, b]",
                Shape::Table => "keys and values, as in {key: value}",
            })
            .collect();
        let what = match shape(node) {
            Shape::Text => "a single value stands here",
            Shape::List => "a list stands here",
            Shape::Table => "keys and values stand here",
        };
        self.problem(what, format!("write {}", wanted.join(" or ")));
    }
}

impl Path<'_> {
    /// The path of a key in a table here.
    pub(crate) fn below(&self, key: &str) -> String {
        Path::Key(self, key).to_string()
    }

    /// The nearest key above.
    pub(crate) fn last_key(&self) -> &str {
        match self {
            Path::Root => "",
            Path::Key(_, key) => key,
            Path::Item(above, _) => above.last_key(),
        }
    }

    fn write(&self, text: &mut String) {
        match self {
            Path::Root => {}
            Path::Key(above, key) => {
                above.write(text);
                text.push_str(&dotted(text, key));
            }
            Path::Item(above, index) => {
                above.write(text);
                text.push_str(&format!("[{index}]"));
            }
        }
    }
}

/// As in `sites[0].routes[2]`; `policy` for the root.
impl std::fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        self.write(&mut text);
        f.write_str(if text.is_empty() { "policy" } else { &text })
    }
}

/// `write "x"` when one of them was meant, else what there is.
pub(crate) fn did_you_mean(word: &str, known: &[&str]) -> String {
    nearest(word, known.iter().copied().take(1000))
        .map_or_else(|| one_of(known), |meant| format!("did you mean {}?", quote(meant)))
}

/// `write one of …`, at most thirty of them.
fn one_of(known: &[&str]) -> String {
    match known {
        [] => "take it away".into(),
        [one] => format!("write {}", quote(one)),
        many if many.len() <= 30 => format!("write one of {}", many.join(", ")),
        many => format!("write one of {}, …", many[..30].join(", ")),
    }
}

/// The members of a JSON object that was written as a literal.
pub(crate) fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn shape(node: &Node) -> Shape {
    match node.content {
        Content::Scalar(_) => Shape::Text,
        Content::List(_) => Shape::List,
        Content::Table(_) => Shape::Table,
    }
}
