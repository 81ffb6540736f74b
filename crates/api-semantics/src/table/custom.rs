//! Tables of custom resources, from a CRD's `additionalPrinterColumns`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::json_path::JsonPath;
use super::{Column, Row, age, columns};

/// The columns of one version of a custom resource.
#[derive(Clone, Debug)]
pub struct CustomColumns {
    columns: Vec<(Column, Option<JsonPath>)>,
}

impl CustomColumns {
    /// Reads `spec.versions[].additionalPrinterColumns`; without any there is the age. Columns whose path cannot be
    /// read stay empty.
    pub fn new(list: &Value) -> Self {
        let age = json!([{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]);
        let list = if list.as_array().is_none_or(Vec::is_empty) { &age } else { list };
        CustomColumns { columns: list.as_array().into_iter().flatten().map(custom_column).collect() }
    }

    /// `Table.columnDefinitions`.
    pub fn definitions(&self) -> Value {
        let name = columns("").iter().take(1);
        Value::Array(name.chain(self.columns.iter().map(|(c, _)| c)).map(Column::definition).collect())
    }

    /// An object's row.
    pub fn row(&self, object: &Value, now: Timestamp) -> Row {
        let mut cells = vec![object["metadata"]["name"].clone()];
        cells.extend(self.columns.iter().map(|(column, path)| {
            let found = path.as_ref().and_then(|p| p.find(object).first().copied());
            found.map_or(Value::Null, |value| cell(&column.kind, value, now))
        }));
        Row { cells, conditions: Vec::new() }
    }
}

fn custom_column(column: &Value) -> (Column, Option<JsonPath>) {
    let text = |name: &str| column[name].as_str().unwrap_or_default().to_owned();
    let path = text("jsonPath");
    let description = match text("description") {
        description if description.is_empty() => {
            format!("Custom resource definition column (in JSONPath format): {path}")
        }
        description => description,
    };
    let made = Column {
        name: text("name"),
        kind: text("type"),
        format: text("format"),
        description,
        priority: column["priority"].as_i64().unwrap_or(0),
        cell: super::Cell::Fixed(String::new()),
    };
    (made, JsonPath::parse(&path))
}

fn cell(kind: &str, value: &Value, now: Timestamp) -> Value {
    match (kind, value) {
        ("integer", Value::Number(n)) => n.as_i64().or(n.as_f64().map(|f| f as i64)).map_or(Value::Null, Value::from),
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(text)) if api_types::time::parse(text).is_err() => Value::from("<invalid>"),
        ("date", Value::String(_)) => Value::from(age(value, now)),
        ("string", Value::String(_)) => value.clone(),
        ("string", Value::Null) => Value::from(""),
        ("string", other) => Value::from(other.to_string()),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn custom_columns() {
        let now = "2026-01-02T00:00:00Z".parse().expect("time");
        let columns = CustomColumns::new(&json!([
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
            {"name": "Ready", "type": "string", "jsonPath": ".status.ready", "priority": 1},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]));
        let object =
            json!({"metadata": {"name": "w", "creationTimestamp": "2026-01-01T23:59:00Z"}, "spec": {"size": 3}});
        assert_eq!(columns.row(&object, now).cells, [json!("w"), json!(3), Value::Null, json!("60s")]);
        assert_eq!(columns.definitions()[2]["priority"], 1);
        assert_eq!(CustomColumns::new(&Value::Null).definitions()[1]["name"], "Age");
    }
}
