//! YAML in the style of Go's encoder, which users of kubectl compare byte by byte: lists not indented, the same choice of quotes,
//! keys in its "natural" order, long lines folded at 80 columns.

use std::cmp::Ordering;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

const WIDTH: usize = 80;

/// One document, ending with a newline.
pub fn to_string(value: &Value) -> String {
    let mut out = Emitter { text: String::new(), column: 0 };
    match value {
        Value::Object(map) if !map.is_empty() => out.mapping(map, 0),
        Value::Array(list) if !list.is_empty() => out.sequence(list, 0),
        other => {
            out.scalar(other, 0);
            out.newline();
        }
    }
    out.text
}

struct Emitter {
    text: String,
    column: usize,
}

impl Emitter {
    fn put(&mut self, text: &str) {
        self.text.push_str(text);
        self.column += text.chars().count();
    }

    fn newline(&mut self) {
        self.text.push('\n');
        self.column = 0;
    }

    fn indent(&mut self, indent: usize) {
        self.put(&" ".repeat(indent));
    }

    fn mapping(&mut self, map: &serde_json::Map<String, Value>, indent: usize) {
        let mut entries: Vec<(&String, &Value)> = map.iter().collect();
        entries.sort_by(|a, b| natural(a.0, b.0));
        for (i, (key, value)) in entries.into_iter().enumerate() {
            // The first key of a mapping in a list stands behind the dash.
            if i > 0 || self.column == 0 {
                self.indent(indent);
            }
            self.key(key);
            match value {
                Value::Object(inner) if !inner.is_empty() => {
                    self.newline();
                    self.mapping(inner, indent + 2);
                }
                Value::Array(inner) if !inner.is_empty() => {
                    self.newline();
                    self.sequence(inner, indent);
                }
                scalar => {
                    self.put(" ");
                    self.scalar(scalar, indent);
                    self.newline();
                }
            }
        }
    }

    fn sequence(&mut self, list: &[Value], indent: usize) {
        for (i, value) in list.iter().enumerate() {
            if i > 0 || self.column == 0 {
                self.indent(indent);
            }
            self.put("- ");
            match value {
                Value::Object(inner) if !inner.is_empty() => self.mapping(inner, indent + 2),
                Value::Array(inner) if !inner.is_empty() => self.sequence(inner, indent + 2),
                scalar => {
                    self.scalar(scalar, indent);
                    self.newline();
                }
            }
        }
    }

    fn key(&mut self, key: &str) {
        let text = match style(key) {
            Style::Plain => key.to_owned(),
            Style::Single => format!("'{}'", key.replace('\'', "''")),
            Style::Double | Style::Literal => double_quoted(key),
        };
        self.put(&text);
        self.put(":");
    }

    fn scalar(&mut self, value: &Value, indent: usize) {
        match value {
            Value::Null => self.put("null"),
            Value::Bool(b) => self.put(if *b { "true" } else { "false" }),
            Value::Number(n) => self.put(&n.to_string()),
            Value::Object(_) => self.put("{}"),
            Value::Array(_) => self.put("[]"),
            Value::String(text) => match style(text) {
                Style::Plain => self.folded(text, indent + 2, false),
                Style::Single => {
                    self.put("'");
                    self.folded(&text.replace('\'', "''"), indent + 2, true);
                    self.put("'");
                }
                Style::Double => self.double(text, indent + 2),
                Style::Literal => self.literal(text, indent + 2),
            },
        }
    }

    /// Text that may break at single spaces beyond the width.
    fn folded(&mut self, text: &str, indent: usize, inner_only: bool) {
        let chars: Vec<char> = text.chars().collect();
        let mut after_space = false;
        for (i, c) in chars.iter().enumerate() {
            let next_is_space = chars.get(i + 1) == Some(&' ');
            let inside = !inner_only || (i > 0 && i + 1 < chars.len());
            if *c == ' ' && !after_space && self.column > WIDTH && inside && !next_is_space {
                self.newline();
                self.indent(indent);
            } else {
                self.text.push(*c);
                self.column += 1;
            }
            after_space = *c == ' ';
        }
    }

    fn double(&mut self, text: &str, indent: usize) {
        let chars: Vec<char> = text.chars().collect();
        let mut after_space = false;
        self.put("\"");
        for (i, c) in chars.iter().enumerate() {
            if *c == ' ' && !after_space && self.column > WIDTH && i > 0 && i + 1 < chars.len() {
                self.newline();
                self.indent(indent);
                if chars.get(i + 1) == Some(&' ') {
                    self.put("\\");
                }
            } else {
                self.put(&escaped(*c));
            }
            after_space = *c == ' ';
        }
        self.put("\"");
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.put("|");
        if text.starts_with([' ', '\n']) {
            self.put("2");
        }
        if !text.ends_with('\n') {
            self.put("-");
        } else if text == "\n" || text.ends_with("\n\n") {
            self.put("+");
        }
        let body = text.strip_suffix('\n').unwrap_or(text);
        for line in body.split('\n') {
            self.newline();
            if !line.is_empty() {
                self.indent(indent);
                self.put(line);
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

fn printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
        && c != '\u{feff}'
        || c == '\u{85}'
}

fn style(text: &str) -> Style {
    let multiline = text.contains('\n');
    let (plain_allowed, single_allowed, block_allowed) = allowed(text);
    if multiline {
        return if block_allowed { Style::Literal } else { Style::Double };
    }
    if resolves_to_other(text) {
        return Style::Double;
    }
    match (plain_allowed, single_allowed) {
        (true, _) => Style::Plain,
        (false, true) => Style::Single,
        (false, false) => Style::Double,
    }
}

/// Whether the text may be written plain, in single quotes, as a block.
fn allowed(text: &str) -> (bool, bool, bool) {
    let chars: Vec<char> = text.chars().collect();
    let (mut indicator, mut special, mut space_break, mut break_space) =
        (text.starts_with("---") || text.starts_with("..."), false, false, false);
    for (i, c) in chars.iter().enumerate() {
        let blank_before = i > 0 && matches!(chars[i - 1], ' ' | '\t' | '\n');
        let blank_after = chars.get(i + 1).is_none_or(|n| matches!(n, ' ' | '\t' | '\n'));
        indicator |= match c {
            '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`'
                if i == 0 =>
            {
                true
            }
            '?' | '-' if i == 0 => blank_after,
            ':' => blank_after,
            '#' => blank_before,
            _ => false,
        };
        special |= !printable(*c);
        space_break |= *c == ' ' && chars.get(i + 1) == Some(&'\n');
        break_space |= *c == '\n' && chars.get(i + 1) == Some(&' ');
    }
    let (leading, trailing) = (text.starts_with(' '), text.ends_with(' '));
    let nothing_but_double = special || space_break;
    let plain = !(indicator || nothing_but_double || break_space || leading || trailing || text.contains('\n'));
    (plain, !(nothing_but_double || break_space), !(nothing_but_double || trailing))
}

/// Whether the text, written plain, would be read as something else than text (YAML 1.1 rules).
fn resolves_to_other(text: &str) -> bool {
    static NUMBER: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(
            r"^([-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?|[-+]?0x[0-9a-fA-F_]+|[-+]?0b[01_]+|[-+]?0o[0-7_]+|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)$",
        )
        .ok()
    });
    static TIME: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"^\d{4}-\d{1,2}-\d{1,2}([Tt ]\d{1,2}:\d{1,2}:\d{1,2}(\.\d+)?(Z|\s*[-+]\d{1,2}:\d{2})?)?$").ok()
    });
    match text {
        "" | "~" | "null" | "Null" | "NULL" | "<<" => true,
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => true,
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => true,
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf"
        | "-.INF" => true,
        _ if text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) => {
            [&*NUMBER, &*TIME].into_iter().flatten().any(|r| r.is_match(text))
        }
        _ => false,
    }
}

fn escaped(c: char) -> String {
    match c {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\n' => "\\n".to_owned(),
        '\t' => "\\t".to_owned(),
        '\r' => "\\r".to_owned(),
        '\0' => "\\0".to_owned(),
        '\u{7}' => "\\a".to_owned(),
        '\u{8}' => "\\b".to_owned(),
        '\u{b}' => "\\v".to_owned(),
        '\u{c}' => "\\f".to_owned(),
        '\u{1b}' => "\\e".to_owned(),
        '\u{85}' => "\\N".to_owned(),
        '\u{a0}' => "\\_".to_owned(),
        '\u{2028}' => "\\L".to_owned(),
        '\u{2029}' => "\\P".to_owned(),
        c if printable(c) => c.to_string(),
        c if (c as u32) < 0x100 => format!("\\x{:02X}", c as u32),
        c if (c as u32) < 0x10000 => format!("\\u{:04X}", c as u32),
        c => format!("\\U{:08X}", c as u32),
    }
}

fn double_quoted(text: &str) -> String {
    format!("\"{}\"", text.chars().map(escaped).collect::<String>())
}

/// The encoder's order of keys: runs of digits by value, letters after other characters.
fn natural(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(i) = a.iter().zip(&b).position(|(x, y)| x != y) else {
        return a.len().cmp(&b.len());
    };
    let (x, y) = (a[i], b[i]);
    let after_digit = i > 0 && a[i - 1].is_numeric();
    match (x.is_alphabetic(), y.is_alphabetic()) {
        (true, true) => return x.cmp(&y),
        (true, false) => return if after_digit { Ordering::Less } else { Ordering::Greater },
        (false, true) => return if after_digit { Ordering::Greater } else { Ordering::Less },
        (false, false) => {}
    }
    let run = |s: &[char]| s[i..].iter().take_while(|c| c.is_ascii_digit()).collect::<String>();
    let (run_a, run_b) = (run(&a), run(&b));
    let mut lead = "";
    if (x == '0' || y == '0') && a[..i].iter().rev().take_while(|c| c.is_numeric()).any(|c| *c != '0') {
        lead = "1";
    }
    let value = |r: &str| format!("{lead}{r}").parse::<u64>().unwrap_or(0);
    value(&run_a).cmp(&value(&run_b)).then(run_a.len().cmp(&run_b.len())).then(x.cmp(&y))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use serde_json::json;

    #[test]
    fn documents_look_like_upstreams() {
        let value = json!({
            "apiVersion": "v1", "kind": "X", "empty": {}, "none": [], "null": null,
            "metadata": {"creationTimestamp": "2024-01-02T03:04:05Z", "labels": {"a10": "1", "a9": "x", "app.kubernetes.io/name": "true", "app": "y"}},
            "list": [{"name": "a", "ports": [80, "80", "http"]}, "plain", ["x", ["y"]], {"z": {}}],
            "text": "line one\nline two\n", "chomped": "a\nb", "tab": "a\tb", "quote": "it's: here", "hash": "a # b", "time": "12:30", "trail": "a ",
            "url": "http://x/y?z=1", "dash": "- x", "star": "*", "colon": "x:", "float": 0.5,
            "long": "Back-off restarting failed container=web pod=web-5d4f8c7b9-abcde_default(0123456789) and so on and on and on without end"
        });
        expect![[r#"
            apiVersion: v1
            chomped: |-
              a
              b
            colon: 'x:'
            dash: '- x'
            empty: {}
            float: 0.5
            hash: 'a # b'
            kind: X
            list:
            - name: a
              ports:
              - 80
              - "80"
              - http
            - plain
            - - x
              - - "y"
            - z: {}
            long: Back-off restarting failed container=web pod=web-5d4f8c7b9-abcde_default(0123456789)
              and so on and on and on without end
            metadata:
              creationTimestamp: "2024-01-02T03:04:05Z"
              labels:
                a9: x
                a10: "1"
                app: "y"
                app.kubernetes.io/name: "true"
            none: []
            "null": null
            quote: 'it''s: here'
            star: '*'
            tab: "a\tb"
            text: |
              line one
              line two
            time: "12:30"
            trail: 'a '
            url: http://x/y?z=1
        "#]]
        .assert_eq(&to_string(&value));
    }

    #[test]
    fn what_is_written_reads_back() {
        for text in [
            "",
            " x",
            "x\n\n",
            "\n",
            "  a\nb",
            "a \nb",
            "'",
            "\"",
            "\u{1}",
            "ü",
            "0x1f",
            "1e3",
            "-",
            "?",
            "{}",
            "%x",
            "a: b",
            "null",
            "2024-01-02",
        ] {
            let yaml = to_string(&json!({"k": [text], text: 1}));
            let back: Value = serde_yaml::from_str(&yaml).unwrap_or_else(|e| panic!("{text:?} {yaml} {e}"));
            assert_eq!(back["k"][0], text, "{yaml}");
        }
    }
}
