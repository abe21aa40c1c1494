//! Reads TOML so that everything wrong with it is found in one go, each problem with its file, line and dotted key.
//!
//! serde stops at the first error. Here what it stopped at is noted and taken out of a copy, and the rest is read again.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;
use toml::de::{DeTable, DeValue};

use super::words;
use crate::error::Problem;

/// More problems than this say nothing more about a file.
const LIMIT: usize = 50;

/// A TOML text as a tree of JSON, with the line of each of its keys.
pub struct Document {
    pub(super) file: String,
    pub(super) value: Value,
    /// By dotted path, as in `job[0].retry.attempts`.
    lines: BTreeMap<String, usize>,
    /// What stands against it as TOML; without one, the tree is whole.
    syntax: Vec<Problem>,
}

/// What came of reading a document as a type.
pub struct Read<T> {
    /// As much as could be read: what was refused is missing from it. `None` when the type cannot be without something.
    pub value: Option<T>,
    pub problems: Vec<Problem>,
    /// Paths at which something that belongs there is missing from `value`, or has a default instead of what was written.
    broken: Vec<String>,
    /// For lists that lost elements: the places that the rest had.
    places: BTreeMap<String, Vec<usize>>,
}

impl<T> Read<T> {
    /// Whether everything at this path is as it was written, unknown keys apart.
    pub fn is_whole(&self, path: &str) -> bool {
        !self.broken.iter().any(|broken| is_within(broken, path))
    }

    /// Where the `n`th element of a list stood in the file.
    pub fn place(&self, list: &str, n: usize) -> usize {
        self.places.get(list).and_then(|places| places.get(n)).copied().unwrap_or(n)
    }
}

impl Document {
    /// Never fails: what is wrong with the text comes out of [`Document::read`].
    pub fn parse(file: &str, text: &str) -> Self {
        let starts: Vec<usize> = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let line = |at: usize| starts.partition_point(|start| *start <= at);
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut document = Self { file: file.to_owned(), value: Value::Null, lines: BTreeMap::new(), syntax: Vec::new() };
        for error in errors {
            let at = error.span().map(|span| line(span.start));
            let named = error
                .span()
                .and_then(|span| text.get(span))
                .filter(|_| error.message().contains("duplicate"))
                .unwrap_or_default();
            // What follows in the same line is mostly a consequence of the first.
            if document.syntax.last().is_none_or(|last| last.line != at) {
                let message = format!("this is no TOML: {}", error.message());
                document.syntax.push(Problem { file: Some(file.to_owned()), line: at, ..Problem::new(named, message) });
            }
        }
        document.value = Value::Object(document.table(table.get_ref(), "", &line));
        document
    }

    /// Of a file in another notation, without its lines.
    pub fn of_tree(file: &str, value: Value) -> Self {
        Self { file: file.to_owned(), value, ..Self::empty() }
    }

    /// An empty one, of no file.
    pub(super) fn empty() -> Self {
        Self { file: String::new(), value: Value::Object(Map::new()), lines: BTreeMap::new(), syntax: Vec::new() }
    }

    fn table(&mut self, table: &DeTable<'_>, path: &str, line: &impl Fn(usize) -> usize) -> Map<String, Value> {
        let mut map = Map::new();
        for (key, value) in table {
            let path = join(path, key.get_ref());
            self.lines.insert(path.clone(), line(key.span().start));
            map.insert(key.get_ref().to_string(), self.tree(value.get_ref(), &path, line));
        }
        map
    }

    fn tree(&mut self, value: &DeValue<'_>, path: &str, line: &impl Fn(usize) -> usize) -> Value {
        match value {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Boolean(yes) => Value::Bool(*yes),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => number.into(),
                Err(_) => self.no_number(path, &number.to_string(), "a whole number has at most 64 bits"),
            },
            DeValue::Float(number) => match number.as_str().parse().ok().and_then(serde_json::Number::from_f64) {
                Some(number) => Value::Number(number),
                None => self.no_number(path, number.as_str(), "JSON, in which it is kept, has no such number"),
            },
            // JSON has no dates; plugins read them as RFC 3339 text.
            DeValue::Datetime(at) => Value::String(at.to_string()),
            DeValue::Array(elements) => {
                let mut list = Vec::new();
                for (n, element) in elements.iter().enumerate() {
                    let path = format!("{path}[{n}]");
                    self.lines.insert(path.clone(), line(element.span().start));
                    list.push(self.tree(element.get_ref(), &path, line));
                }
                Value::Array(list)
            }
            DeValue::Table(table) => Value::Object(self.table(table, path, line)),
        }
    }

    fn no_number(&mut self, path: &str, written: &str, why: &str) -> Value {
        let problem = self.placed(Problem::new(path, format!("{written} is not possible: {why}")));
        self.syntax.push(problem);
        Value::Null
    }

    /// The problem with its file, and the line of its field or of what that lies in.
    pub fn placed(&self, mut problem: Problem) -> Problem {
        problem.line = Some(self.line(&problem.field));
        problem.file = Some(self.file.clone());
        problem
    }

    /// The line of a key, or of what it lies in. A file as a whole begins in line 1.
    pub(super) fn line(&self, mut path: &str) -> usize {
        loop {
            if let Some(line) = self.lines.get(path) {
                return *line;
            }
            let Some(end) = path.rfind(['.', '[']) else { return 1 };
            path = &path[..end];
        }
    }

    /// The keys that are written, by dotted path.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.lines.keys().map(String::as_str)
    }

    /// Reads it as `T`; problems have their file and line, in the order of the lines.
    pub fn read<T: DeserializeOwned>(&self) -> Read<T> {
        let mut read = Read { value: None, problems: self.syntax.clone(), broken: Vec::new(), places: BTreeMap::new() };
        if !self.syntax.is_empty() {
            return read;
        }
        let mut rest = self.value.clone();
        while read.problems.len() < LIMIT {
            match serde_path_to_error::deserialize::<_, T>(&rest) {
                Ok(value) => {
                    read.value = Some(value);
                    break;
                }
                Err(wrong) => {
                    let segments: Vec<Step> = wrong.path().iter().filter_map(Step::of).collect();
                    if !self.take_out(&mut rest, segments, &wrong.inner().to_string(), &mut read) {
                        break;
                    }
                }
            }
        }
        read.problems.sort_by_key(|problem| problem.line);
        read
    }

    /// Notes what serde stopped at, and takes it out. `false`: nothing can be taken out.
    fn take_out<T>(&self, rest: &mut Value, mut steps: Vec<Step>, message: &str, read: &mut Read<T>) -> bool {
        let written = written_path(&steps, &read.places);
        if let Some(key) = words::missing(message) {
            let of = join(&written, key);
            // One that was refused is missing from the copy alone.
            if !read.broken.iter().any(|broken| is_within(broken, &of)) {
                read.problems.push(self.placed(Problem::new(of, "is missing")));
            }
            read.broken.push(written);
            // What lacks something goes as a whole, if it is one of a list.
            while matches!(steps.last(), Some(Step::Key(_))) {
                steps.pop();
            }
        } else {
            read.problems.push(self.placed(Problem::new(written.clone(), words::plain(message))));
            if !words::is_unknown_key(message) {
                read.broken.push(written);
            }
        }
        let Some(last) = steps.pop() else { return false };
        let list = written_path(&steps, &read.places);
        let Some(parent) = steps.iter().try_fold(rest, |value, step| step.into(value)) else { return false };
        match (last, parent) {
            (Step::Key(key), Value::Object(map)) => map.shift_remove(&key).is_some(),
            (Step::Index(n), Value::Array(elements)) if n < elements.len() => {
                let all = (0..elements.len()).collect();
                elements.remove(n);
                read.places.entry(list).or_insert(all).remove(n);
                true
            }
            _ => false,
        }
    }
}

/// One step of a path in the tree.
enum Step {
    Key(String),
    Index(usize),
}

impl Step {
    fn of(segment: &Segment) -> Option<Self> {
        match segment {
            Segment::Seq { index } => Some(Self::Index(*index)),
            Segment::Map { key } => Some(Self::Key(key.clone())),
            // Enums are words here, with nothing inside.
            Segment::Enum { .. } | Segment::Unknown => None,
        }
    }

    fn into<'a>(&self, value: &'a mut Value) -> Option<&'a mut Value> {
        match self {
            Self::Key(key) => value.get_mut(key),
            Self::Index(n) => value.get_mut(n),
        }
    }
}

/// The path as the file has it: lists that lost elements count as before.
fn written_path(steps: &[Step], places: &BTreeMap<String, Vec<usize>>) -> String {
    steps.iter().fold(String::new(), |path, step| match step {
        Step::Key(key) => join(&path, key),
        Step::Index(n) => {
            let n = places.get(&path).and_then(|places| places.get(*n)).unwrap_or(n);
            format!("{path}[{n}]")
        }
    })
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Whether `path` is `above` or lies in it.
pub(super) fn is_within(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || above.is_empty() || rest.starts_with(['.', '[']))
}
