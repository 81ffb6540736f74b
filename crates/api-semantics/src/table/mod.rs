//! Tables: what `kubectl get` shows. Columns and simple cells come from `columns.txt`; cells that need thought are
//! functions in `cells`. Kinds without an entry show their name and creation time.

mod cells;
mod custom;
mod json_path;
mod network;
mod pod;
mod text;
mod workload;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use jiff::Timestamp;
use serde_json::{Value, json};

pub use custom::CustomColumns;
pub use text::{age, human_duration};

const TABLE: &str = include_str!("columns.txt");

/// One column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: String,
    pub format: String,
    pub description: String,
    /// Above 0: shown by `-o wide` only.
    pub priority: i64,
    cell: Cell,
}

/// How a cell is made from an object.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Cell {
    Text { path: String, default: String },
    Scalar { path: String, default: String },
    Number { path: String, default: Option<String> },
    Bool { path: String, default: bool },
    Title { path: String, default: String },
    Count(Vec<String>),
    Join { path: String, key: Option<String>, default: String },
    Labels(String),
    Ratio(String, String),
    Age,
    Since { path: String, default: String },
    Function(cells::CellFn),
    Fixed(String),
}

impl Column {
    fn definition(&self) -> Value {
        json!({
            "name": self.name,
            "type": self.kind,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        })
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub cells: Vec<Value>,
    pub conditions: Vec<Value>,
}

/// The columns of a kind.
pub fn columns(kind: &str) -> &'static [Column] {
    let table = table();
    table.get(kind).unwrap_or_else(|| &table[""])
}

/// The columns as `Table.columnDefinitions`.
pub fn column_definitions(kind: &str) -> Value {
    Value::Array(columns(kind).iter().map(Column::definition).collect())
}

/// An object's row.
pub fn row(kind: &str, object: &Value, now: Timestamp) -> Row {
    let cells = columns(kind).iter().map(|c| cell(&c.cell, object, now)).collect();
    let conditions = if kind == "Pod" { pod::row_conditions(object) } else { Vec::new() };
    Row { cells, conditions }
}

fn cell(cell: &Cell, object: &Value, now: Timestamp) -> Value {
    let at = |path: &str| text::at(object, path);
    match cell {
        Cell::Text { path, default } => match at(path).as_str() {
            None | Some("") => Value::from(default.as_str()),
            Some(text) => Value::from(text),
        },
        Cell::Scalar { path, default } => Value::from(text::scalar(at(path)).unwrap_or_else(|| default.clone())),
        Cell::Number { path, default } => match (at(path).as_i64(), default) {
            (Some(n), _) => Value::from(n),
            (None, Some(default)) => Value::from(default.as_str()),
            (None, None) => Value::from(0),
        },
        Cell::Bool { path, default } => Value::Bool(at(path).as_bool().unwrap_or(*default)),
        Cell::Title { path, default } => Value::from(match at(path).as_bool() {
            Some(true) => "True",
            Some(false) => "False",
            None => default,
        }),
        Cell::Count(paths) => Value::from(paths.iter().map(|p| text::count(at(p))).sum::<usize>()),
        Cell::Join { path, key, default } => {
            let items: Vec<&str> = text::list(at(path))
                .filter_map(|item| key.as_ref().map_or(item, |k| &item[k.as_str()]).as_str())
                .collect();
            Value::from(if items.is_empty() { default.clone() } else { items.join(",") })
        }
        Cell::Labels(path) => Value::from(text::labels(at(path))),
        Cell::Ratio(part, whole) => {
            Value::from(format!("{}/{}", at(part).as_i64().unwrap_or(0), at(whole).as_i64().unwrap_or(0)))
        }
        Cell::Age => Value::from(age(at(".metadata.creationTimestamp"), now)),
        Cell::Since { path, default } => match at(path) {
            Value::Null => Value::from(default.as_str()),
            time => Value::from(age(time, now)),
        },
        Cell::Function(f) => (f.0)(object, now),
        Cell::Fixed(text) => Value::from(text.as_str()),
    }
}

// === the table ===

// The table is part of the program: a line that cannot be read is a bug, and panics on first use.
fn table() -> &'static BTreeMap<String, Vec<Column>> {
    static COLUMNS: OnceLock<BTreeMap<String, Vec<Column>>> = OnceLock::new();
    COLUMNS.get_or_init(|| {
        let mut table: BTreeMap<String, Vec<Column>> = BTreeMap::new();
        let mut shared: BTreeMap<&str, &str> = BTreeMap::new();
        let mut kind = "";
        for line in TABLE.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
            if let Some(header) = line.strip_prefix('[') {
                kind = header.trim_end_matches(']');
            } else if line.starts_with('@') {
                let (name, text) = line.split_once(' ').unwrap_or((line, ""));
                shared.insert(name, text);
            } else {
                table.entry(kind.to_owned()).or_default().push(column(line, &shared));
            }
        }
        table
    })
}

fn column(line: &str, shared: &BTreeMap<&str, &str>) -> Column {
    let parts: Vec<&str> = line.splitn(5, " | ").collect();
    let [name, ty, priority, cell, description] = parts[..] else { panic!("short line: {line}") };
    let (ty, format) = ty.split_once(' ').unwrap_or((ty, ""));
    let description = shared.get(description).copied().unwrap_or(description);
    Column {
        name: name.to_owned(),
        kind: ty.to_owned(),
        format: format.to_owned(),
        description: description.replace("\\n", "\n").replace("\\\\", "\\"),
        priority: priority.parse().unwrap_or_else(|_| panic!("no priority: {line}")),
        cell: read_cell(cell),
    }
}

fn read_cell(text: &str) -> Cell {
    let words: Vec<&str> = text.split(' ').collect();
    let owned = |word: &str| word.to_owned();
    let rest = |from: usize| words.get(from..).unwrap_or_default().join(" ");
    match words[..] {
        ["age"] => Cell::Age,
        ["fn", name] => Cell::Function(cells::find(name).unwrap_or_else(|| panic!("no cell function {name}"))),
        ["text", path, ..] => Cell::Scalar { path: owned(path), default: rest(2) },
        ["int", path] => Cell::Number { path: owned(path), default: None },
        ["number", path, ..] => Cell::Number { path: owned(path), default: Some(rest(2)) },
        ["bool", path, ..] => Cell::Bool { path: owned(path), default: words.get(2) == Some(&"true") },
        ["title", path, ..] => Cell::Title { path: owned(path), default: rest(2) },
        ["count", ..] => Cell::Count(words[1..].iter().map(|w| owned(w)).collect()),
        ["join", path, key, ..] if !key.starts_with('<') => {
            Cell::Join { path: owned(path), key: Some(owned(key)), default: rest(3) }
        }
        ["join", path, ..] => Cell::Join { path: owned(path), key: None, default: rest(2) },
        ["labels", path] => Cell::Labels(owned(path)),
        ["ratio", part, whole] => Cell::Ratio(owned(part), owned(whole)),
        ["since", path, ..] => Cell::Since { path: owned(path), default: rest(2) },
        [path, ..] if path.starts_with('.') => Cell::Text { path: owned(path), default: rest(1) },
        _ => Cell::Fixed(text.to_owned()),
    }
}

#[cfg(test)]
mod tests;
