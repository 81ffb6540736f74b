//! `-o`: which form objects are printed in.

use serde_json::{Value, json};

use super::columns::Columns;
use super::jsonpath::Template;
use crate::cli::flags::Parsed;
use crate::error::{Error, Result};
use crate::fail;

const FORMATS: &str = "custom-columns,custom-columns-file,go-template,go-template-file,json,jsonpath,jsonpath-as-json,jsonpath-file,name,template,templatefile,wide,yaml";

/// A form in which objects are printed.
pub enum Format {
    /// A sentence or a table.
    Human,
    /// A table with more columns.
    Wide,
    /// YAML.
    Yaml,
    /// JSON.
    Json,
    /// `kind.group/name`.
    Name,
    /// A JSONPath template.
    JsonPath(Template),
    /// The values of a JSONPath as a JSON list.
    JsonPathAsJson(Template),
    /// Columns of the user's choice, with a header or not.
    Columns(Columns),
}

impl Format {
    /// Reads `--output` and `--template`.
    pub fn of(flags: &Parsed) -> Result<Self> {
        Self::parse(flags.text("output"), flags.text("template"))
    }

    /// Reads the value of `--output`; some forms take their template from `template`.
    pub fn parse(output: &str, template: &str) -> Result<Self> {
        let (kind, argument) = match output.split_once('=') {
            Some((kind, argument)) => (kind, argument),
            None => (output, template),
        };
        let file = |path: &str| {
            std::fs::read_to_string(path).map_err(|e| Error::Plain(format!("error reading --template {path}, {e}")))
        };
        let path =
            |text: &str| Template::parse(text).map_err(|e| Error::Plain(format!("error parsing jsonpath {text}, {e}")));
        let columns = |c: std::result::Result<Columns, String>| c.map(Format::Columns).map_err(Error::Plain);
        Ok(match kind {
            "" => Format::Human,
            "wide" => Format::Wide,
            "yaml" => Format::Yaml,
            "json" => Format::Json,
            "name" => Format::Name,
            "jsonpath" | "jsonpath-as-json" | "jsonpath-file" | "go-template" | "go-template-file" | "template"
            | "templatefile"
                if argument.is_empty() =>
            {
                fail!("template format specified but no template given")
            }
            "jsonpath" => Format::JsonPath(path(argument)?),
            "jsonpath-as-json" => Format::JsonPathAsJson(path(argument)?),
            "jsonpath-file" => Format::JsonPath(path(&file(argument)?)?),
            "custom-columns" => columns(Columns::parse(argument))?,
            "custom-columns-file" => columns(Columns::parse_file(&file(argument)?))?,
            "go-template" | "go-template-file" | "template" | "templatefile" => {
                fail!("Go templates are not supported by this kubectl: use -o jsonpath or -o custom-columns")
            }
            _ => fail!(
                "unable to match a printer suitable for the output format {output:?}, allowed formats are: {FORMATS}"
            ),
        })
    }

    /// Whether people, not programs, are to read it.
    pub fn is_human(&self) -> bool {
        matches!(self, Format::Human | Format::Wide)
    }

    /// The text of one object. Human forms have none of their own: commands say their sentence.
    pub fn object(&self, value: &Value, name: &str) -> String {
        match self {
            Format::Human | Format::Wide => String::new(),
            Format::Yaml => super::yaml::to_string(value),
            Format::Json => super::json(value),
            Format::Name => format!("{name}\n"),
            Format::JsonPath(template) => template.render(value),
            Format::JsonPathAsJson(template) => {
                let found: Vec<&Value> = template.values(value).into_iter().flatten().collect();
                super::json(&json!(found))
            }
            Format::Columns(columns) => super::tabs::table(&[columns.header(), columns.row(value)]),
        }
    }
}

/// The object without `managedFields`, unless they were asked for.
pub fn without_managed_fields(mut value: Value, flags: &Parsed) -> Value {
    if !flags.bool("show-managed-fields") {
        strip(&mut value);
        for item in value.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
            strip(item);
        }
    }
    value
}

fn strip(value: &mut Value) {
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        let value = json!({"metadata": {"name": "a"}});
        for (output, want) in [
            ("name", "pod/a\n"),
            ("jsonpath={.metadata.name}", "a"),
            ("jsonpath-as-json={.metadata.name}", "[\n    \"a\"\n]\n"),
            ("custom-columns=N:.metadata.name", "N\na\n"),
            ("yaml", "metadata:\n  name: a\n"),
        ] {
            assert_eq!(Format::parse(output, "").unwrap().object(&value, "pod/a"), want, "{output}");
        }
        for bad in ["foo", "jsonpath", "jsonpath={.a", "custom-columns", "go-template={{.x}}"] {
            assert!(Format::parse(bad, "").is_err(), "{bad}");
        }
    }
}
