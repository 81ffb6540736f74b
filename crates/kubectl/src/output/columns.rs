//! `-o custom-columns=NAME:.path,…`.

use serde_json::Value;

use super::jsonpath::Template;
use super::plain;

/// Columns with their paths.
pub struct Columns(Vec<(String, Template)>);

impl Columns {
    /// Reads `NAME:.path,NAME:.path`.
    pub fn parse(spec: &str) -> Result<Self, String> {
        if spec.is_empty() {
            return Err("custom-columns format specified but no custom columns given".to_owned());
        }
        let columns = spec.split(',').map(|part| match part.split_once(':') {
            Some((name, path)) => Ok((name.to_owned(), Template::relaxed(path)?)),
            None => Err(format!("unexpected custom-columns spec: {part}, expected <header>:<json-path-expr>")),
        });
        Ok(Self(columns.collect::<Result<_, String>>()?))
    }

    /// Reads a file with a line of names above a line of paths.
    pub fn parse_file(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        let (names, paths) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let (names, paths): (Vec<_>, Vec<_>) = (names.split_whitespace().collect(), paths.split_whitespace().collect());
        if names.len() != paths.len() {
            return Err(format!(
                "number of headers ({}) and field specifications ({}) don't match",
                names.len(),
                paths.len()
            ));
        }
        let columns = names.into_iter().zip(paths).map(|(n, p)| Ok((n.to_owned(), Template::relaxed(p)?)));
        Ok(Self(columns.collect::<Result<_, String>>()?))
    }

    /// The names.
    pub fn header(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }

    /// The row of an object.
    pub fn row(&self, object: &Value) -> Vec<String> {
        self.0
            .iter()
            .map(|(_, path)| {
                let found: Vec<String> = path.first_values(object).into_iter().map(cell).collect();
                if found.is_empty() { "<none>".to_owned() } else { found.join(",") }
            })
            .collect()
    }
}

/// A value as Go prints it.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "<none>".to_owned(),
        Value::Array(list) => format!("[{}]", list.iter().map(cell).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let pairs: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", cell(v))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => plain(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows() {
        let columns = Columns::parse("NAME:.metadata.name,IMAGES:.spec.c[*].image,X:.x,M:.m").unwrap();
        let object =
            json!({"metadata": {"name": "a"}, "spec": {"c": [{"image": "i"}, {"image": "j"}]}, "m": {"k": [1, 2]}});
        assert_eq!(columns.header(), ["NAME", "IMAGES", "X", "M"]);
        assert_eq!(columns.row(&object), ["a", "i,j", "<none>", "map[k:[1 2]]"]);
        assert!(Columns::parse("NAME").is_err());
        assert_eq!(Columns::parse_file("A B\n.x .y\n").unwrap().header(), ["A", "B"]);
    }
}
