//! kubectl's JSONPath templates: text with `{…}` blocks of paths, quoted text, `range` and `end`.

use serde_json::Value;

use super::plain;

/// A parsed template.
#[derive(Debug, Clone, PartialEq)]
pub struct Template(Vec<Node>);

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Text(String),
    Path(Vec<Step>),
    Range(Vec<Step>, Vec<Node>),
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    /// `[start:end:step]`; an index is a slice of one.
    Slice(Option<i64>, Option<i64>, i64, bool),
    Wildcard,
    Recursive,
    /// `['a','b']`, `[0,2]`.
    Union(Vec<Step>),
    Filter(Operand, Option<(Operator, Operand)>),
    /// `$`: back to the whole input.
    Root,
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Path(Vec<Step>),
    Literal(Value),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, String> {
        let chars: Vec<char> = text.chars().collect();
        let mut parser = Parser { chars, at: 0 };
        let (nodes, ended) = parser.nodes(false)?;
        if ended { Err("not in range, nothing to end".to_owned()) } else { Ok(Self(nodes)) }
    }

    /// Reads a path written loosely, as `--sort-by` and custom columns allow: `x.y`, `.x.y`, `{.x.y}`.
    pub fn relaxed(text: &str) -> Result<Self, String> {
        let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        if inner.contains(['{', '}']) && text != inner && !inner.contains('?') {
            return Err("unexpected path string, expected a 'name1.name2' or '.name1.name2' or '{name1.name2}' or '{.name1.name2}'".to_owned());
        }
        let inner = inner.trim();
        let dotted = if inner.starts_with(['.', '[', '$', '@']) { inner.to_owned() } else { format!(".{inner}") };
        Self::parse(&format!("{{{dotted}}}"))
    }

    /// The text that it makes of a value.
    pub fn render(&self, root: &Value) -> String {
        let mut out = String::new();
        render(&self.0, root, root, &mut out);
        out
    }

    /// The values that its paths find, one list per path.
    pub fn values<'a>(&self, root: &'a Value) -> Vec<Vec<&'a Value>> {
        self.0
            .iter()
            .filter_map(|node| match node {
                Node::Path(steps) => Some(evaluate(steps, root, root)),
                _ => None,
            })
            .collect()
    }

    /// The values that its first path finds.
    pub fn first_values<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        self.values(root).into_iter().next().unwrap_or_default()
    }
}

fn render(nodes: &[Node], root: &Value, current: &Value, out: &mut String) {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Path(steps) => {
                let found: Vec<String> = evaluate(steps, root, current).into_iter().map(as_text).collect();
                out.push_str(&found.join(" "));
            }
            Node::Range(steps, body) => {
                for item in evaluate(steps, root, current) {
                    render(body, root, item, out);
                }
            }
        }
    }
}

fn as_text(value: &Value) -> String {
    match value {
        Value::Object(_) | Value::Array(_) => super::compact_json(value),
        other => plain(other),
    }
}

fn evaluate<'a>(steps: &[Step], root: &'a Value, current: &'a Value) -> Vec<&'a Value> {
    let mut found = vec![current];
    for step in steps {
        found = found.into_iter().flat_map(|value| apply(step, root, value)).collect();
    }
    found
}

fn apply<'a>(step: &Step, root: &'a Value, value: &'a Value) -> Vec<&'a Value> {
    match step {
        Step::Root => vec![root],
        Step::Field(name) => match value {
            Value::Object(map) => map.get(name).into_iter().collect(),
            _ => Vec::new(),
        },
        Step::Wildcard => match value {
            Value::Array(list) => list.iter().collect(),
            Value::Object(map) => map.values().collect(),
            _ => Vec::new(),
        },
        Step::Recursive => {
            let mut all = Vec::new();
            descend(value, &mut all);
            all
        }
        Step::Slice(start, end, step, index) => slice(value, *start, *end, *step, *index),
        Step::Union(steps) => steps.iter().flat_map(|s| apply(s, root, value)).collect(),
        Step::Filter(left, condition) => {
            let items: Vec<&Value> = match value {
                Value::Array(list) => list.iter().collect(),
                Value::Object(_) => vec![value],
                _ => Vec::new(),
            };
            items.into_iter().filter(|item| holds(left, condition.as_ref(), root, item)).collect()
        }
    }
}

fn descend<'a>(value: &'a Value, all: &mut Vec<&'a Value>) {
    all.push(value);
    match value {
        Value::Array(list) => list.iter().for_each(|v| descend(v, all)),
        Value::Object(map) => map.values().for_each(|v| descend(v, all)),
        _ => {}
    }
}

fn slice(value: &Value, start: Option<i64>, end: Option<i64>, step: i64, index: bool) -> Vec<&Value> {
    let Value::Array(list) = value else { return Vec::new() };
    let len = list.len() as i64;
    let position = |at: i64| if at < 0 { at + len } else { at };
    if index {
        let at = position(start.unwrap_or(0));
        return usize::try_from(at).ok().and_then(|at| list.get(at)).into_iter().collect();
    }
    let (from, to) = (position(start.unwrap_or(0)).clamp(0, len), position(end.unwrap_or(len)).clamp(0, len));
    if from >= to || step <= 0 {
        return Vec::new();
    }
    list[from as usize..to as usize].iter().step_by(step as usize).collect()
}

fn holds(left: &Operand, condition: Option<&(Operator, Operand)>, root: &Value, item: &Value) -> bool {
    let value = |operand: &Operand| match operand {
        Operand::Literal(value) => Some(value.clone()),
        Operand::Path(steps) => evaluate(steps, root, item).first().map(|v| (*v).clone()),
    };
    let Some((operator, right)) = condition else { return value(left).is_some() };
    let (Some(left), Some(right)) = (value(left), value(right)) else { return false };
    let order = match (left.as_f64(), right.as_f64()) {
        (Some(a), Some(b)) => a.partial_cmp(&b),
        _ => Some(plain(&left).cmp(&plain(&right))),
    };
    let Some(order) = order else { return false };
    match operator {
        Operator::Equal => order.is_eq(),
        Operator::NotEqual => order.is_ne(),
        Operator::Less => order.is_lt(),
        Operator::LessEqual => order.is_le(),
        Operator::Greater => order.is_gt(),
        Operator::GreaterEqual => order.is_ge(),
    }
}

struct Parser {
    chars: Vec<char>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        self.at += usize::from(found);
        found
    }

    fn spaces(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn starts_with(&self, word: &str) -> bool {
        word.chars().enumerate().all(|(i, c)| self.chars.get(self.at + i) == Some(&c))
    }

    /// Nodes up to `{end}` (then true) or the end of the text.
    fn nodes(&mut self, in_range: bool) -> Result<(Vec<Node>, bool), String> {
        let mut nodes = Vec::new();
        let mut text = String::new();
        while let Some(c) = self.peek() {
            self.at += 1;
            if c != '{' {
                text.push(c);
                continue;
            }
            if !text.is_empty() {
                nodes.push(Node::Text(std::mem::take(&mut text)));
            }
            if self.block(&mut nodes)? {
                return Ok((nodes, true));
            }
        }
        if in_range {
            return Err("unclosed range: {end} is missing".to_owned());
        }
        if !text.is_empty() {
            nodes.push(Node::Text(text));
        }
        Ok((nodes, false))
    }

    /// The inside of one `{…}`; true when it was `{end}`.
    fn block(&mut self, nodes: &mut Vec<Node>) -> Result<bool, String> {
        loop {
            self.spaces();
            match self.peek() {
                None => return Err("unclosed action".to_owned()),
                Some('}') => {
                    self.at += 1;
                    return Ok(false);
                }
                Some('"' | '\'') => {
                    let text = self.quoted()?;
                    nodes.push(Node::Text(text));
                }
                Some(_) if self.starts_with("range") => {
                    self.at += "range".len();
                    self.spaces();
                    let steps = self.path(&['}'])?;
                    self.spaces();
                    if !self.eat('}') {
                        return Err("unclosed action".to_owned());
                    }
                    let (body, _) = self.nodes(true)?;
                    nodes.push(Node::Range(steps, body));
                    return Ok(false);
                }
                Some(_) if self.starts_with("end") => {
                    self.at += "end".len();
                    self.spaces();
                    return if self.eat('}') { Ok(true) } else { Err("unclosed action".to_owned()) };
                }
                Some(_) => {
                    let before = self.at;
                    let steps = self.path(&['}'])?;
                    if self.at == before {
                        return Err(format!("unrecognized character in action: {:?}", self.peek().unwrap_or_default()));
                    }
                    nodes.push(Node::Path(steps));
                }
            }
        }
    }

    fn quoted(&mut self) -> Result<String, String> {
        let quote = self.peek().unwrap_or('"');
        self.at += 1;
        let mut text = String::new();
        while let Some(c) = self.peek() {
            self.at += 1;
            match c {
                c if c == quote => return Ok(text),
                '\\' => {
                    let escaped = self.peek().ok_or("unterminated quoted string")?;
                    self.at += 1;
                    text.push(match escaped {
                        'n' => '\n',
                        't' => '\t',
                        'r' => '\r',
                        other => other,
                    });
                }
                c => text.push(c),
            }
        }
        Err("unterminated quoted string".to_owned())
    }

    /// A path, up to whitespace, one of `stop`, or an operator.
    fn path(&mut self, stop: &[char]) -> Result<Vec<Step>, String> {
        let mut steps = Vec::new();
        while let Some(c) = self.peek() {
            if c.is_whitespace() || stop.contains(&c) || matches!(c, '=' | '!' | '<' | '>' | ')') {
                break;
            }
            match c {
                '$' => {
                    self.at += 1;
                    steps.push(Step::Root);
                }
                '@' => self.at += 1,
                '.' if self.starts_with("..") => {
                    self.at += 2;
                    steps.push(Step::Recursive);
                    if self.peek().is_some_and(|c| c != '[' && c != '.') {
                        steps.push(self.field()?);
                    }
                }
                '.' => {
                    self.at += 1;
                    // `{.}` is the value itself.
                    if self.peek().is_some_and(|c| !stop.contains(&c) && !c.is_whitespace() && c != '[') {
                        steps.push(self.field()?);
                    }
                }
                '[' => {
                    self.at += 1;
                    steps.push(self.bracket()?);
                }
                _ => steps.push(self.field()?),
            }
        }
        Ok(steps)
    }

    fn field(&mut self) -> Result<Step, String> {
        let mut name = String::new();
        while let Some(c) = self.peek() {
            match c {
                '\\' => {
                    self.at += 1;
                    name.extend(self.peek());
                    self.at += 1;
                }
                '.' | '[' | ']' | '}' | '{' | '=' | '!' | '<' | '>' | '(' | ')' | ',' => break,
                c if c.is_whitespace() => break,
                c => {
                    name.push(c);
                    self.at += 1;
                }
            }
        }
        match name.as_str() {
            "" => Err(format!("unrecognized character in action: {:?}", self.peek().unwrap_or_default())),
            "*" => Ok(Step::Wildcard),
            _ => Ok(Step::Field(name)),
        }
    }

    /// What follows `[`.
    fn bracket(&mut self) -> Result<Step, String> {
        self.spaces();
        if self.starts_with("?(") {
            self.at += 2;
            return self.filter();
        }
        let mut parts = Vec::new();
        loop {
            self.spaces();
            let part = match self.peek() {
                Some('\'' | '"') => Step::Field(self.quoted()?),
                Some('*') => {
                    self.at += 1;
                    Step::Wildcard
                }
                _ => self.range()?,
            };
            parts.push(part);
            self.spaces();
            if self.eat(']') {
                break;
            }
            if !self.eat(',') {
                return Err("unterminated array".to_owned());
            }
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Step::Union(parts) })
    }

    fn range(&mut self) -> Result<Step, String> {
        let mut text = String::new();
        while let Some(c) = self.peek().filter(|c| !matches!(c, ']' | ',')) {
            text.push(c);
            self.at += 1;
        }
        let invalid = || format!("invalid array index {text}");
        let number = |part: &str| match part.trim() {
            "" => Ok(None),
            digits => digits.parse().map(Some).map_err(|_| invalid()),
        };
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            [one] => Ok(Step::Slice(Some(number(one)?.ok_or_else(invalid)?), None, 1, true)),
            [from, to] => Ok(Step::Slice(number(from)?, number(to)?, 1, false)),
            [from, to, step] => Ok(Step::Slice(number(from)?, number(to)?, number(step)?.unwrap_or(1), false)),
            _ => Err(invalid()),
        }
    }

    fn filter(&mut self) -> Result<Step, String> {
        let left = self.operand()?;
        self.spaces();
        let operators = [
            ("==", Operator::Equal),
            ("!=", Operator::NotEqual),
            ("<=", Operator::LessEqual),
            (">=", Operator::GreaterEqual),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        let mut condition = None;
        if let Some((word, operator)) = operators.iter().find(|(word, _)| self.starts_with(word)) {
            self.at += word.len();
            condition = Some((*operator, self.operand()?));
        }
        self.spaces();
        if self.eat(')') && self.eat(']') {
            Ok(Step::Filter(left, condition))
        } else {
            Err("unterminated filter".to_owned())
        }
    }

    fn operand(&mut self) -> Result<Operand, String> {
        self.spaces();
        match self.peek() {
            Some('"' | '\'') => Ok(Operand::Literal(Value::String(self.quoted()?))),
            Some('@' | '.' | '$' | '[') => Ok(Operand::Path(self.path(&[')'])?)),
            _ => {
                let mut word = String::new();
                while let Some(c) =
                    self.peek().filter(|c| !c.is_whitespace() && !matches!(c, ')' | '=' | '!' | '<' | '>'))
                {
                    word.push(c);
                    self.at += 1;
                }
                serde_json::from_str(&word).map(Operand::Literal).map_err(|_| format!("unrecognized identifier {word}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn templates() {
        let value = json!({
            "kind": "List", "items": [
                {"metadata": {"name": "a", "labels": {"x.y/z": "1"}}, "n": 1, "c": [{"type": "Ready", "status": "True"}, {"type": "B", "status": "False"}]},
                {"metadata": {"name": "b"}, "n": 2, "c": []}, {"metadata": {"name": "c"}, "n": 3}]
        });
        for (template, want) in [
            ("{.kind}", "List"),
            ("{$.kind} x", "List x"),
            ("{.items[*].metadata.name}", "a b c"),
            ("{.items[0].metadata.name}{.items[-1].metadata.name}", "ac"),
            ("{.items[0:2].n}", "1 2"),
            ("{.items[::2].n}", "1 3"),
            ("{range .items[*]}{.metadata.name}{\"\\t\"}{.n}{\"\\n\"}{end}", "a\t1\nb\t2\nc\t3\n"),
            ("{.items[?(@.n>1)].metadata.name}", "b c"),
            ("{.items[0].c[?(@.type==\"Ready\")].status}", "True"),
            ("{.items[?(@.metadata.labels)].n}", "1"),
            ("{.items[0].metadata.labels.x\\.y/z}", "1"),
            ("{.items[0].metadata.labels['x.y/z']}", "1"),
            ("{.items[0]['n','metadata']['name']}", "a"),
            ("{.items[0,2].n}", "1 3"),
            ("{..name}", "a b c"),
            ("{.items[0].metadata}", r#"{"labels":{"x.y/z":"1"},"name":"a"}"#),
            ("{.missing.x}", ""),
            ("{range .items[0:1]}{range .c[*]}{.type},{end}{end}", "Ready,B,"),
        ] {
            let parsed = Template::parse(template).unwrap_or_else(|e| panic!("{template}: {e}"));
            assert_eq!(parsed.render(&value), want, "{template}");
        }
        for bad in ["{.a", "{range .a}", "{end}", "{.a[}", "{.a[x]}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
        for relaxed in ["kind", ".kind", "{.kind}", "{kind}"] {
            assert_eq!(Template::relaxed(relaxed).unwrap().render(&value), "List");
        }
    }
}
