//! `kubectl explain`, from the server's OpenAPI v3 documents.

use serde_json::Value;

use crate::cli::context::Context;
use crate::error::{Error, Result};
use crate::{fail, out};

/// Text is wrapped to this many columns behind its indent.
const WIDTH: usize = 80;

/// Runs the command.
pub async fn run(cx: &Context) -> Result<()> {
    let [path] = cx.args() else {
        if cx.args().is_empty() {
            fail!(
                "You must specify the type of resource to explain. Use \"kubectl api-resources\" for a complete list of supported resources."
            );
        }
        fail!("We accept only this format: explain RESOURCE");
    };
    match cx.flags.text("output") {
        "" | "plaintext" | "plaintext-openapiv2" => {}
        other => fail!("unknown output format {other:?}: only plaintext is supported by this kubectl"),
    }
    // The resource may carry a group (`deployments.apps.spec`): the longest beginning that is one wins.
    let words: Vec<&str> = path.split('.').collect();
    let mut found = None;
    for count in (1..=words.len()).rev() {
        if let Some(resource) = cx.discovery().await?.find(&words[..count].join(".")) {
            let named = count == 1 || resource.group == words[1..count].join(".") || resource.version == words[1];
            if named {
                found = Some((resource.clone(), words[count..].to_vec()));
                break;
            }
        }
    }
    let (mut resource, fields) = match found {
        Some(found) => found,
        None => match cx.find_resource(words[0]).await? {
            Some(resource) => (resource, words[1..].to_vec()),
            None => {
                return Err(Error::Verbatim(format!("the server doesn't have a resource type {:?}", words[0])));
            }
        },
    };
    if let Some(wanted) = cx.flags.opt("api-version") {
        let (group, version) = wanted.split_once('/').unwrap_or(("", wanted));
        let discovery = cx.discovery().await?;
        let other =
            discovery.resources.iter().find(|r| r.name == resource.name && r.group == group && r.version == version);
        resource = other.cloned().ok_or_else(|| {
            Error::Plain(format!("couldn't find resource for \"{group}/{version}, Resource={}\"", resource.name))
        })?;
    }
    let root = if resource.group.is_empty() {
        format!("/openapi/v3/api/{}", resource.version)
    } else {
        format!("/openapi/v3/apis/{}/{}", resource.group, resource.version)
    };
    let document = cx.client()?.get(&root).await?;
    let schemas = Schemas(&document);
    let Some(schema) = schemas.of_kind(&resource.group, &resource.version, &resource.kind) else {
        fail!("GVK {}/{}, Kind={} not found in OpenAPI schema", resource.group, resource.version, resource.kind);
    };
    let mut text = String::new();
    if !resource.group.is_empty() {
        text.push_str(&format!("GROUP:      {}\n", resource.group));
    }
    text.push_str(&format!("KIND:       {}\nVERSION:    {}\n\n", resource.kind, resource.version));
    out(&text);
    out(&explain(&schemas, schema, &fields, cx.flags.bool("recursive"))?);
    Ok(())
}

/// The schemas of a document.
struct Schemas<'a>(&'a Value);

impl<'a> Schemas<'a> {
    fn of_kind(&self, group: &str, version: &str, kind: &str) -> Option<&'a Value> {
        let all = self.0["components"]["schemas"].as_object()?;
        all.values().find(|s| {
            let kinds = s["x-kubernetes-group-version-kind"].as_array();
            kinds.into_iter().flatten().any(|k| k["group"] == group && k["version"] == version && k["kind"] == kind)
        })
    }

    /// The schema that a reference leads to, and its short name.
    fn resolve(&self, schema: &'a Value) -> (&'a Value, Option<String>) {
        let reference = schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str());
        let Some(name) = reference.and_then(|r| r.rsplit('/').next()) else { return (schema, None) };
        (&self.0["components"]["schemas"][name], Some(name.rsplit('.').next().unwrap_or(name).to_owned()))
    }

    /// A type as it is shown: `string`, `[]Container`, `map[string]string`.
    fn type_name(&self, schema: &'a Value) -> String {
        let (resolved, name) = self.resolve(schema);
        if resolved["items"].is_object() {
            return format!("[]{}", self.type_name(&resolved["items"]));
        }
        if resolved["additionalProperties"].is_object() {
            return format!("map[string]{}", self.type_name(&resolved["additionalProperties"]));
        }
        match (resolved["type"].as_str(), name) {
            (Some(scalar), _) if scalar != "object" => scalar.to_owned(),
            (_, Some(name)) => name,
            _ => "Object".to_owned(),
        }
    }

    /// Through lists and maps to the schema of what they hold.
    fn element(&self, schema: &'a Value) -> &'a Value {
        let (resolved, _) = self.resolve(schema);
        if resolved["items"].is_object() {
            return self.element(&resolved["items"]);
        }
        if resolved["additionalProperties"].is_object() && !resolved["properties"].is_object() {
            return self.element(&resolved["additionalProperties"]);
        }
        resolved
    }
}

fn explain(schemas: &Schemas<'_>, root: &Value, fields: &[&str], recursive: bool) -> Result<String> {
    let mut text = String::new();
    let mut field_schema: Option<&Value> = None;
    let mut current = root;
    for name in fields {
        let parent = schemas.element(current);
        let next = parent["properties"].get(*name);
        let Some(next) = next else { fail!("field {name:?} does not exist") };
        field_schema = Some(next);
        current = next;
    }
    let element = schemas.element(current);
    if let (Some(schema), Some(name)) = (field_schema, fields.last()) {
        text.push_str(&format!("FIELD: {name} <{}>\n", schemas.type_name(schema)));
        text.push_str(&enumeration(schemas.resolve(schema).0, 0));
        text.push_str("\n\n");
    }
    text.push_str("DESCRIPTION:\n");
    let own = field_schema.and_then(|s| s["description"].as_str()).filter(|d| !d.is_empty());
    let of_type = element["description"].as_str().filter(|d| !d.is_empty() && Some(*d) != own);
    let described = field_schema.is_none() || element["properties"].is_object() || own.is_none();
    match (own, of_type.filter(|_| described)) {
        (None, None) => text.push_str("    <empty>\n"),
        (own, of_type) => {
            for description in [own, of_type].into_iter().flatten() {
                text.push_str(&wrapped(description, 4));
            }
            text.push_str("    \n");
        }
    }
    if element["properties"].is_object() {
        text.push_str("FIELDS:\n");
        text.push_str(&listed(schemas, element, 1, recursive, &mut Vec::new()));
    }
    text.push('\n');
    Ok(text)
}

/// `ENUM:` with the allowed values.
fn enumeration(schema: &Value, level: usize) -> String {
    let Some(values) = schema["enum"].as_array() else { return String::new() };
    let pad = "  ".repeat(level);
    let mut text = format!("{pad}ENUM:\n");
    for value in values {
        text.push_str(&format!(
            "{pad}    {}\n",
            value
                .as_str()
                .map_or_else(|| value.to_string(), |s| if s.is_empty() { "\"\"".to_owned() } else { s.to_owned() })
        ));
    }
    text
}

fn listed(schemas: &Schemas<'_>, schema: &Value, level: usize, recursive: bool, above: &mut Vec<String>) -> String {
    let mut text = String::new();
    let pad = "  ".repeat(level);
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let mark = if required.contains(&name.as_str()) { " -required-" } else { "" };
        let type_name = schemas.type_name(field);
        text.push_str(&format!("{pad}{name}\t<{type_name}>{mark}\n"));
        text.push_str(&enumeration(schemas.resolve(field).0, level));
        if !recursive {
            let description = field["description"]
                .as_str()
                .filter(|d| !d.is_empty())
                .or_else(|| schemas.resolve(field).0["description"].as_str());
            text.push_str(&wrapped(description.filter(|d| !d.is_empty()).unwrap_or("<no description>"), 2 * level + 2));
            text.push('\n');
            continue;
        }
        let element = schemas.element(field);
        let short = type_name.trim_start_matches("[]").trim_start_matches("map[string]").to_owned();
        // Types that hold themselves (JSON schemas) are followed once.
        if element["properties"].is_object() && !above.contains(&short) {
            above.push(short);
            text.push_str(&listed(schemas, element, level + 1, true, above));
            above.pop();
        }
    }
    text
}

/// Paragraphs wrapped and indented; lists and blank lines stay as they are.
fn wrapped(text: &str, indent: usize) -> String {
    let mut out = String::new();
    for paragraph in text.split('\n') {
        let own = paragraph.len() - paragraph.trim_start_matches(' ').len();
        let pad = " ".repeat(indent + own);
        let mut line = String::new();
        for word in paragraph.split(' ').filter(|w| !w.is_empty()) {
            if !line.is_empty() && pad.len() + line.chars().count() + 1 + word.chars().count() > WIDTH {
                out.push_str(&format!("{pad}{line}\n"));
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        out.push_str(&format!("{pad}{line}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document() -> Value {
        json!({"components": {"schemas": {
            "io.x.Thing": {"description": "A thing.", "type": "object", "x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": "Thing"}],
                "properties": {
                    "kind": {"type": "string", "description": "Its kind."},
                    "spec": {"allOf": [{"$ref": "#/components/schemas/io.x.ThingSpec"}], "description": "What is wanted."}
                }},
            "io.x.ThingSpec": {"description": "ThingSpec is a spec.", "type": "object", "required": ["parts"], "properties": {
                "parts": {"type": "array", "items": {"$ref": "#/components/schemas/io.x.Part"}, "description": "Its parts."},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}}
            }},
            "io.x.Part": {"type": "object", "properties": {"size": {"type": "integer", "enum": [1, 2]}}}
        }}})
    }

    #[test]
    fn things_are_explained() {
        let document = document();
        let schemas = Schemas(&document);
        let root = schemas.of_kind("", "v1", "Thing").unwrap();
        let text = explain(&schemas, root, &["spec"], false).unwrap();
        assert_eq!(
            text,
            "FIELD: spec <ThingSpec>\n\n\nDESCRIPTION:\n    What is wanted.\n    ThingSpec is a spec.\n    \nFIELDS:\n  labels\t<map[string]string>\n    <no description>\n\n  parts\t<[]Part> -required-\n    Its parts.\n\n\n"
        );
        let all = explain(&schemas, root, &[], true).unwrap();
        assert!(all.contains("FIELDS:\n  kind\t<string>\n  spec\t<ThingSpec>\n    labels\t<map[string]string>\n    parts\t<[]Part> -required-\n      size\t<integer>\n"), "{all}");
        assert_eq!(
            explain(&schemas, root, &["nope"], false).unwrap_err().report().0,
            "error: field \"nope\" does not exist"
        );
    }
}
