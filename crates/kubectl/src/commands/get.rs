//! `kubectl get`.

use std::cmp::Ordering;

use http::Method;
use serde_json::{Value, json};

use crate::cli::context::Context;
use crate::client::{Lines, Query, TABLE, parse};
use crate::discovery::Resource;
use crate::error::{Error, Result};
use crate::output::jsonpath::Template;
use crate::output::printer::{Format, without_managed_fields};
use crate::output::{plain, table, tabs};
use crate::resource::select::{self, Wanted};
use crate::resource::{Info, files, list_as};
use crate::{fail, out, out_bytes};

/// What `get` was asked for.
struct Request<'a> {
    cx: &'a Context,
    format: Format,
    sort: Option<Template>,
}

/// One resource's part of the answer.
struct Part {
    resource: Resource,
    name: Option<String>,
    /// A table, a list or an object.
    answer: Value,
}

/// Runs the command.
pub async fn run(cx: &Context) -> Result<()> {
    if let Some(path) = cx.flags.opt("raw") {
        let body = cx.client()?.get_bytes(path, "*/*").await?;
        out_bytes(&body);
        return Ok(());
    }
    let format = Format::of(&cx.flags)?;
    let sort = match cx.flags.opt("sort-by") {
        Some(path) => Some(Template::relaxed(path).map_err(Error::Plain)?),
        None => None,
    };
    let request = Request { cx, format, sort };
    let wanted = request.wanted().await?;
    if cx.flags.bool("watch") || cx.flags.bool("watch-only") {
        return request.watch(wanted).await;
    }
    let (parts, errors) = request.fetch(wanted).await?;
    let printed = if request.format.is_human() {
        request.print_tables(parts)
    } else {
        request.print_objects(parts, !errors.is_empty())
    };
    printed?;
    Error::collect(errors)
}

impl Request<'_> {
    async fn wanted(&self) -> Result<Vec<(Wanted, Option<String>)>> {
        let cx = self.cx;
        if cx.flags.changed("filename") || cx.flags.opt("kustomize").is_some() {
            let infos = files::load(cx).await?;
            return Ok(infos
                .into_iter()
                .map(|i| (Wanted { resource: i.resource, name: Some(i.name) }, i.namespace))
                .collect());
        }
        if cx.args().is_empty() {
            return Err(Error::Verbatim(
                "You must specify the type of resource to get. Use \"kubectl api-resources\" for a complete list of supported resources.\n\nerror: Required resource not specified.\nUse \"kubectl explain <resource>\" for a detailed description of that resource (e.g. kubectl explain pods).\nSee 'kubectl get -h' for help and examples".to_owned(),
            ));
        }
        let all = select::wanted(cx, cx.args()).await?;
        let selective = cx.flags.opt("selector").is_some() || cx.flags.opt("field-selector").is_some();
        let mut wanted = Vec::new();
        for one in all {
            if one.name.is_some() && selective {
                fail!("name cannot be provided when a selector is specified");
            }
            if one.name.is_some() && cx.flags.bool("all-namespaces") && one.resource.namespaced {
                fail!("a resource cannot be retrieved by name across all namespaces");
            }
            let namespaced = one.resource.namespaced && !cx.flags.bool("all-namespaces");
            let namespace = if namespaced { Some(cx.namespace()?) } else { None };
            wanted.push((one, namespace));
        }
        Ok(wanted)
    }

    fn accept(&self) -> &'static str {
        if self.format.is_human() { TABLE } else { crate::client::JSON }
    }

    fn query(&self) -> Query {
        let query = select::selectors(self.cx);
        // Sorting looks into the objects behind the rows.
        if self.sort.is_some() && self.format.is_human() { query.with("includeObject", "Object") } else { query }
    }

    async fn fetch(&self, wanted: Vec<(Wanted, Option<String>)>) -> Result<(Vec<Part>, Vec<Error>)> {
        let (mut parts, mut errors) = (Vec::new(), Vec::new());
        for (wanted, namespace) in wanted {
            match self.fetch_one(&wanted, namespace.as_deref()).await {
                Ok(answer) => parts.push(Part { resource: wanted.resource, name: wanted.name, answer }),
                Err(e) if e.is_not_found() && self.cx.flags.bool("ignore-not-found") => {}
                Err(e @ Error::Status(_)) => errors.push(e),
                Err(other) => return Err(other),
            }
        }
        Ok((parts, errors))
    }

    async fn fetch_one(&self, wanted: &Wanted, namespace: Option<&str>) -> Result<Value> {
        let subresource = self.cx.flags.text("subresource");
        match &wanted.name {
            Some(name) => {
                let mut path = wanted.resource.object_path(namespace, name);
                if !subresource.is_empty() {
                    path = format!("{path}/{subresource}");
                }
                self.cx.client()?.get_as(&self.query().on(&path), self.accept()).await
            }
            None if !subresource.is_empty() => fail!("subresource can not be used when bulk resources are fetched"),
            None => {
                let chunk = if self.sort.is_some() { 0 } else { self.cx.flags.int("chunk-size") };
                list_as(self.cx, &wanted.resource, namespace, &self.query(), chunk, self.accept()).await
            }
        }
    }

    fn options(&self, resource: &Resource, several: bool) -> table::Options {
        let flags = &self.cx.flags;
        let kind = resource.object_name("").trim_end_matches('/').to_owned();
        table::Options {
            wide: matches!(self.format, Format::Wide),
            with_namespace: flags.bool("all-namespaces") && resource.namespaced,
            kind: (several || flags.bool("show-kind")).then_some(kind),
            show_labels: flags.bool("show-labels"),
            label_columns: flags.list("label-columns"),
            event: None,
            no_headers: flags.bool("no-headers"),
        }
    }

    fn print_tables(&self, parts: Vec<Part>) -> Result<()> {
        let mut groups: Vec<(Resource, Value)> = Vec::new();
        let mut kinds: Vec<(String, String)> = Vec::new();
        let namespaced = parts.iter().any(|p| p.resource.namespaced);
        for part in parts {
            let key = (part.resource.group.clone(), part.resource.name.clone());
            if !kinds.contains(&key) {
                kinds.push(key);
            }
            let table = as_table(&part.resource, part.answer);
            match groups.last_mut() {
                Some((resource, into)) if *resource == part.resource => append_rows(into, table),
                _ => groups.push((part.resource, table)),
            }
        }
        groups.retain(|(_, table)| table["rows"].as_array().is_some_and(|r| !r.is_empty()));
        if groups.is_empty() {
            if !self.cx.flags.bool("ignore-not-found") && !kinds.is_empty() {
                self.say_nothing_found(namespaced && kinds.len() == 1)?;
            }
            return Ok(());
        }
        let several = kinds.len() > 1;
        for (i, (resource, table)) in groups.iter_mut().enumerate() {
            if let Some(path) = &self.sort {
                sort_rows(table, path);
            }
            if i > 0 {
                out("\n");
            }
            out(&tabs::table(&table::rows(table, &self.options(resource, several))));
        }
        Ok(())
    }

    fn say_nothing_found(&self, namespaced: bool) -> Result<()> {
        if namespaced && !self.cx.flags.bool("all-namespaces") {
            eprintln!("No resources found in {} namespace.", self.cx.namespace()?);
        } else {
            eprintln!("No resources found");
        }
        Ok(())
    }

    fn print_objects(&self, parts: Vec<Part>, failed: bool) -> Result<()> {
        let single = parts.len() == 1 && parts[0].name.is_some() && !failed && self.cx.args().len() <= 2;
        if single {
            let part = &parts[0];
            let object = without_managed_fields(part.answer.clone(), &self.cx.flags);
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            out(&self
                .columns_or(&[(&part.resource, object.clone())])
                .unwrap_or_else(|| self.format.object(&object, &part.resource.object_name(name))));
            return Ok(());
        }
        let mut items: Vec<(&Resource, Value)> = Vec::new();
        for part in &parts {
            match &part.answer["items"] {
                Value::Array(list) if part.name.is_none() => {
                    items.extend(
                        list.iter().map(|item| (&part.resource, Info::of_item(&part.resource, item.clone()).object)),
                    );
                }
                _ => items.push((&part.resource, part.answer.clone())),
            }
        }
        if let Some(path) = &self.sort {
            items.sort_by(|a, b| {
                compare(path.first_values(&a.1).first().copied(), path.first_values(&b.1).first().copied())
            });
        }
        for (_, item) in &mut items {
            *item = without_managed_fields(item.take(), &self.cx.flags);
        }
        if failed && items.is_empty() || parts.is_empty() && self.cx.flags.bool("ignore-not-found") {
            return Ok(());
        }
        if let Some(text) = self.columns_or(&items) {
            out(&text);
        } else if matches!(self.format, Format::Name) {
            let names: String = items
                .iter()
                .map(|(r, v)| format!("{}\n", r.object_name(v["metadata"]["name"].as_str().unwrap_or_default())))
                .collect();
            out(&names);
        } else {
            let values: Vec<Value> = items.into_iter().map(|(_, v)| v).collect();
            let list =
                json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": values});
            out(&self.format.object(&list, ""));
        }
        Ok(())
    }

    fn columns_or(&self, items: &[(&Resource, Value)]) -> Option<String> {
        let Format::Columns(columns) = &self.format else { return None };
        let mut rows: Vec<Vec<String>> = Vec::new();
        if !self.cx.flags.bool("no-headers") {
            rows.push(columns.header());
        }
        rows.extend(items.iter().map(|(_, item)| columns.row(item)));
        Some(tabs::table(&rows))
    }

    async fn watch(&self, wanted: Vec<(Wanted, Option<String>)>) -> Result<()> {
        let [(wanted, namespace)] = wanted.as_slice() else {
            fail!("you may only watch a single resource or type of resource at a time");
        };
        let namespace = namespace.as_deref();
        let mut query = self.query();
        if let Some(name) = &wanted.name {
            query = query.with("fieldSelector", format!("metadata.name={name}"));
        }
        let first = list_as(self.cx, &wanted.resource, namespace, &query, 0, self.accept()).await?;
        let mut printer =
            WatchPrinter { request: self, resource: &wanted.resource, widths: Vec::new(), header_printed: false };
        if let (Some(name), true) = (&wanted.name, empty(&first)) {
            // Ask for the object itself, for the right error.
            self.fetch_one(wanted, namespace).await?;
            fail!("{} {name:?} not found", wanted.resource.qualified());
        }
        if !self.cx.flags.bool("watch-only") {
            printer.initial(&first);
        }
        let version = first["metadata"]["resourceVersion"].as_str().unwrap_or("0").to_owned();
        let path = query.with("watch", "true").with("resourceVersion", version).on(&wanted.resource.path(namespace));
        let response = self.cx.client()?.request(Method::GET, &path, self.accept(), None).await?;
        let mut lines = Lines::new(response);
        while let Some(line) = lines.next().await? {
            let mut event = parse(&line)?;
            match event["type"].as_str().unwrap_or_default() {
                "ERROR" => return Err(Error::Status(Box::new(event["object"].take()))),
                "BOOKMARK" => {}
                kind => printer.event(kind, &event["object"]),
            }
        }
        Ok(())
    }
}

fn empty(answer: &Value) -> bool {
    let key = if answer["kind"] == "Table" { "rows" } else { "items" };
    answer[key].as_array().is_none_or(Vec::is_empty)
}

struct WatchPrinter<'a> {
    request: &'a Request<'a>,
    resource: &'a Resource,
    widths: Vec<usize>,
    header_printed: bool,
}

impl WatchPrinter<'_> {
    fn initial(&mut self, list: &Value) {
        if self.request.format.is_human() {
            if !empty(list) {
                self.table("ADDED", list);
            }
            return;
        }
        for item in list["items"].as_array().into_iter().flatten() {
            let info = Info::of_item(self.resource, item.clone());
            self.object("ADDED", &info.object);
        }
    }

    fn event(&mut self, kind: &str, object: &Value) {
        if self.request.format.is_human() { self.table(kind, object) } else { self.object(kind, object) }
    }

    fn table(&mut self, kind: &str, table: &Value) {
        let mut options = self.request.options(self.resource, false);
        options.no_headers |= self.header_printed;
        if self.request.cx.flags.bool("output-watch-events") {
            options.event = Some(kind.to_owned());
        }
        let table = as_table(self.resource, table.clone());
        let table = if table["columnDefinitions"].as_array().is_none_or(Vec::is_empty) && self.header_printed {
            self.with_columns(table)
        } else {
            table
        };
        self.header_printed = true;
        out(&tabs::align(&table::rows(&table, &options), 6, 3, &mut self.widths));
    }

    /// Only the first table of a watch need carry its columns; without them all cells are shown.
    fn with_columns(&self, mut table: Value) -> Value {
        let cells = table["rows"][0]["cells"].as_array().map_or(0, Vec::len);
        table["columnDefinitions"] = Value::Array(vec![json!({"priority": 0}); cells]);
        table
    }

    fn object(&self, kind: &str, object: &Value) {
        let object = without_managed_fields(object.clone(), &self.request.cx.flags);
        let name = self.resource.object_name(object["metadata"]["name"].as_str().unwrap_or_default());
        let shown = if self.request.cx.flags.bool("output-watch-events") {
            json!({"type": kind, "object": object})
        } else {
            object
        };
        let text = self.request.format.object(&shown, &name);
        match self.request.format {
            Format::Yaml => out(&format!("---\n{text}")),
            _ => out(&text),
        }
    }
}

/// The server's table; or, from a server that makes none for this kind, one with names and ages.
fn as_table(resource: &Resource, answer: Value) -> Value {
    if answer["kind"] == "Table" {
        return answer;
    }
    let objects = match &answer["items"] {
        Value::Array(items) => items.clone(),
        _ => vec![answer],
    };
    let now = crate::duration::now();
    let rows: Vec<Value> = objects
        .into_iter()
        .map(|o| {
            let info = Info::of_item(resource, o);
            let age =
                crate::duration::since(info.object["metadata"]["creationTimestamp"].as_str().unwrap_or_default(), now);
            json!({"cells": [info.name, age], "object": info.object})
        })
        .collect();
    json!({"kind": "Table", "columnDefinitions": [{"name": "Name", "format": "name"}, {"name": "Age"}], "rows": rows})
}

fn append_rows(into: &mut Value, mut table: Value) {
    if let (Some(rows), Value::Array(more)) = (into["rows"].as_array_mut(), table["rows"].take()) {
        rows.extend(more);
    }
}

fn sort_rows(table: &mut Value, path: &Template) {
    if let Some(rows) = table["rows"].as_array_mut() {
        rows.sort_by(|a, b| {
            compare(path.first_values(&a["object"]).first().copied(), path.first_values(&b["object"]).first().copied())
        });
    }
}

/// Absent values first, numbers by size, text with its numbers by size.
fn compare(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, _) => Ordering::Less,
        (_, None) => Ordering::Greater,
        (Some(a), Some(b)) => match (a.as_f64(), b.as_f64()) {
            (Some(x), Some(y)) => x.partial_cmp(&y).unwrap_or(Ordering::Equal),
            _ => natural(&plain(a), &plain(b)),
        },
    }
}

fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
        let (da, db) = (digits(a), digits(b));
        if da > 0 && db > 0 {
            let (na, nb) = (a[..da].trim_start_matches('0'), b[..db].trim_start_matches('0'));
            let order = na.len().cmp(&nb.len()).then(na.cmp(nb));
            if order.is_ne() {
                return order;
            }
            (a, b) = (&a[da..], &b[db..]);
            continue;
        }
        match (a.chars().next(), b.chars().next()) {
            (Some(x), Some(y)) if x == y => (a, b) = (&a[x.len_utf8()..], &b[y.len_utf8()..]),
            (x, y) => return x.cmp(&y),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_sort_by_any_value() {
        let order = |a: Value, b: Value| compare(Some(&a), Some(&b));
        assert_eq!(order(json!(2), json!(10)), Ordering::Less);
        assert_eq!(order(json!("pod-2"), json!("pod-10")), Ordering::Less);
        assert_eq!(order(json!("b"), json!("a")), Ordering::Greater);
        assert_eq!(compare(None, Some(&json!(1))), Ordering::Less);
    }

    #[test]
    fn lists_without_a_table_show_names() {
        let table = as_table(&Resource::default(), json!({"items": [{"metadata": {"name": "a"}}]}));
        assert_eq!(tabs::table(&table::rows(&table, &table::Options::default())), "NAME   AGE\na      <unknown>\n");
    }
}
