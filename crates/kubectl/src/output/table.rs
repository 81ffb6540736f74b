//! Tables that the server made (`meta.k8s.io/v1 Table`) to rows of text.

use serde_json::Value;

use super::plain;

/// What to show of a table.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Columns of lower priority too.
    pub wide: bool,
    /// A first column with the namespace.
    pub with_namespace: bool,
    /// Names as `kind.group/name`; the prefix.
    pub kind: Option<String>,
    /// A last column with all labels.
    pub show_labels: bool,
    /// A column for each of these labels.
    pub label_columns: Vec<String>,
    /// A first column with the type of a watch event.
    pub event: Option<String>,
    /// No header line.
    pub no_headers: bool,
}

/// The header and the rows of a table.
pub fn rows(table: &Value, options: &Options) -> Vec<Vec<String>> {
    let empty = Vec::new();
    let columns = table["columnDefinitions"].as_array().unwrap_or(&empty);
    let shown: Vec<usize> =
        (0..columns.len()).filter(|i| options.wide || columns[*i]["priority"].as_i64().unwrap_or(0) == 0).collect();
    let mut rows = Vec::new();
    if !options.no_headers {
        rows.push(header(columns, &shown, options));
    }
    for row in table["rows"].as_array().unwrap_or(&empty) {
        rows.push(cells(row, &shown, columns, options));
    }
    rows
}

fn header(columns: &[Value], shown: &[usize], options: &Options) -> Vec<String> {
    let mut header = Vec::new();
    if options.event.is_some() {
        header.push("EVENT".to_owned());
    }
    if options.with_namespace {
        header.push("NAMESPACE".to_owned());
    }
    header.extend(shown.iter().map(|i| columns[*i]["name"].as_str().unwrap_or_default().to_uppercase()));
    header.extend(options.label_columns.iter().map(|l| l.rsplit('/').next().unwrap_or(l).to_uppercase()));
    if options.show_labels {
        header.push("LABELS".to_owned());
    }
    header
}

fn cells(row: &Value, shown: &[usize], columns: &[Value], options: &Options) -> Vec<String> {
    let metadata = &row["object"]["metadata"];
    let mut cells = Vec::new();
    cells.extend(options.event.clone());
    if options.with_namespace {
        cells.push(plain(&metadata["namespace"]));
    }
    for i in shown {
        let mut text = one_line(&plain(&row["cells"][*i]));
        if *i == 0
            && columns[*i]["format"] == "name"
            && let Some(kind) = &options.kind
        {
            text = format!("{kind}/{text}");
        }
        cells.push(text);
    }
    for label in &options.label_columns {
        cells.push(plain(&metadata["labels"][label]));
    }
    if options.show_labels {
        cells.push(labels(&metadata["labels"]));
    }
    cells
}

/// Text up to its first line break, with `...` for what was cut.
fn one_line(text: &str) -> String {
    match text.find(['\n', '\r', '\u{c}']) {
        Some(at) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

/// Labels as `a=b,c=d`, or `<none>`.
pub fn labels(labels: &Value) -> String {
    let pairs: Vec<String> =
        labels.as_object().into_iter().flatten().map(|(k, v)| format!("{k}={}", plain(v))).collect();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_as_asked() {
        let table = json!({
            "columnDefinitions": [{"name": "Name", "format": "name"}, {"name": "Ready"}, {"name": "IP", "priority": 1}],
            "rows": [{"cells": ["web", 3, "10.0.0.1"], "object": {"metadata": {"namespace": "ns", "labels": {"a": "b", "x/y": "z"}}}},
                     {"cells": ["multi\nline", null, "-"], "object": {"metadata": {"namespace": "ns"}}}]
        });
        let show = |options: Options| super::super::tabs::table(&rows(&table, &options));
        assert_eq!(show(Options::default()), "NAME       READY\nweb        3\nmulti...   \n");
        assert_eq!(
            show(Options {
                wide: true,
                with_namespace: true,
                no_headers: true,
                kind: Some("pod".into()),
                ..Options::default()
            }),
            "ns    pod/web        3     10.0.0.1\nns    pod/multi...         -\n"
        );
        assert_eq!(
            show(Options {
                show_labels: true,
                label_columns: vec!["x/y".into()],
                event: Some("ADDED".into()),
                ..Options::default()
            }),
            "EVENT   NAME       READY   Y     LABELS\nADDED   web        3       z     a=b,x/y=z\nADDED   multi...                 <none>\n"
        );
    }
}
