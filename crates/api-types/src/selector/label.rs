//! Label selectors: the string form of queries and the object form of specs (`matchLabels`, `matchExpressions`).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::SelectorError;
use super::lexer::{Token, scan};
use crate::names;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operator {
    In,
    NotIn,
    Equals,
    DoubleEquals,
    NotEquals,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    pub values: BTreeSet<String>,
}

/// All requirements must hold. The empty selector selects everything; [`LabelSelector::nothing`] nothing.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl LabelSelector {
    pub fn everything() -> Self {
        LabelSelector::default()
    }

    pub fn nothing() -> Self {
        LabelSelector { nothing: true, ..LabelSelector::default() }
    }

    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// A set of labels that must all be equal (`spec.selector` of services and replication controllers).
    pub fn from_set<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let requirements = labels
            .into_iter()
            .map(|(key, value)| Requirement {
                key: key.to_owned(),
                operator: Operator::Equals,
                values: BTreeSet::from([value.to_owned()]),
            })
            .collect();
        LabelSelector { requirements, nothing: false }.sorted()
    }

    /// The object form. An absent selector (null) selects nothing, an empty one everything.
    pub fn from_object(selector: &Value) -> Result<Self, SelectorError> {
        let Some(object) = selector.as_object() else {
            return Ok(LabelSelector::nothing());
        };
        let mut requirements = Vec::new();
        for (key, value) in object.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_str().unwrap_or_default().to_owned();
            requirements.push(Requirement::new(key, Operator::In, vec![value], "")?);
        }
        for expression in object.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            requirements.push(expression_requirement(expression)?);
        }
        Ok(LabelSelector { requirements, nothing: false }.sorted())
    }

    /// Whether labels (the JSON object of `metadata.labels`, or none) match.
    pub fn matches(&self, labels: Option<&Map<String, Value>>) -> bool {
        self.matches_by(|key| labels.and_then(|l| l.get(key)).and_then(Value::as_str))
    }

    /// Whether labels match that are looked up by key.
    pub fn matches_by<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(label(&r.key)))
    }

    fn sorted(mut self) -> Self {
        self.requirements.sort_by(|a, b| a.key.cmp(&b.key));
        self
    }
}

fn expression_requirement(expression: &Value) -> Result<Requirement, SelectorError> {
    let text = |name: &str| expression.get(name).and_then(Value::as_str).unwrap_or_default();
    let operator = match text("operator") {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        other => return Err(SelectorError(format!("{other:?} is not a valid label selector operator"))),
    };
    let values = expression
        .get("values")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|v| v.as_str().map(str::to_owned))
        .collect();
    Requirement::new(text("key"), operator, values, "")
}

impl Requirement {
    /// A checked requirement. `path` is what error texts start with (upstream's field path).
    fn new(key: &str, operator: Operator, values: Vec<String>, path: &str) -> Result<Self, SelectorError> {
        let at = |field: String| if path.is_empty() { field } else { format!("{path}.{field}") };
        let mut errors = Vec::new();
        if let Some(error) = names::qualified_name(key).into_iter().reduce(|a, b| format!("{a}; {b}")) {
            errors.push(format!("{}: Invalid value: {key:?}: {error}", at("key".to_owned())));
        }
        let shown = format!("[{}]", values.iter().map(|v| format!("{v:?}")).collect::<Vec<_>>().join(","));
        let wrong = match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                Some("for 'in', 'notin' operators, values set can't be empty")
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                Some("values set must be empty for exists and does not exist")
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
                Some("exact-match compatibility requires one single value")
            }
            Operator::GreaterThan | Operator::LessThan if values.len() != 1 => {
                Some("for 'Gt', 'Lt' operators, exactly one value is required")
            }
            _ => None,
        };
        if let Some(wrong) = wrong {
            errors.push(format!("{}: Invalid value: {shown}: {wrong}", at("values".to_owned())));
        }
        for (index, value) in values.iter().enumerate() {
            if matches!(operator, Operator::GreaterThan | Operator::LessThan) && value.parse::<i64>().is_err() {
                let field = at(format!("values[{index}]"));
                let wrong = "for 'Gt', 'Lt' operators, the value must be an integer";
                errors.push(format!("{field}: Invalid value: {value:?}: {wrong}"));
            }
            if let Some(error) = names::label_value(value).into_iter().reduce(|a, b| format!("{a}; {b}")) {
                errors.push(format!("{}: Invalid value: {value:?}: {error}", at(format!("values[{index}][{key}]"))));
            }
        }
        match errors.len() {
            0 => Ok(Requirement { key: key.to_owned(), operator, values: values.into_iter().collect() }),
            1 => Err(SelectorError(errors.swap_remove(0))),
            _ => Err(SelectorError(format!("[{}]", errors.join(", ")))),
        }
    }

    /// Whether a label's value (none: the label is absent) satisfies the requirement.
    pub fn matches(&self, value: Option<&str>) -> bool {
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => value.is_some_and(|v| self.values.contains(v)),
            Operator::NotIn | Operator::NotEquals => value.is_none_or(|v| !self.values.contains(v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => self.compare(value).is_some_and(|(label, bound)| label > bound),
            Operator::LessThan => self.compare(value).is_some_and(|(label, bound)| label < bound),
        }
    }

    fn compare(&self, value: Option<&str>) -> Option<(i64, i64)> {
        Some((value?.parse().ok()?, self.values.first()?.parse().ok()?))
    }
}

// === impl FromStr ===

impl FromStr for LabelSelector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let mut parser = Parser { tokens: scan(text), at: 0 };
        let requirements = parser.all()?;
        Ok(LabelSelector { requirements, nothing: false }.sorted())
    }
}

struct Parser<'a> {
    tokens: Vec<(Token, &'a str)>,
    at: usize,
}

impl<'a> Parser<'a> {
    /// The next token; where keywords are no keywords, they are identifiers.
    fn peek(&self, values: bool) -> (Token, &'a str) {
        match self.tokens.get(self.at) {
            None => (Token::End, ""),
            Some((Token::In | Token::NotIn, literal)) if values => (Token::Identifier, literal),
            Some(found) => *found,
        }
    }

    fn next(&mut self, values: bool) -> (Token, &'a str) {
        let found = self.peek(values);
        self.at += 1;
        found
    }

    fn all(&mut self) -> Result<Vec<Requirement>, SelectorError> {
        let mut requirements = Vec::new();
        loop {
            match self.peek(true) {
                (Token::Identifier | Token::DoesNotExist, _) => {
                    let requirement = self.requirement();
                    requirements
                        .push(requirement.map_err(|e| SelectorError(format!("unable to parse requirement: {e}")))?);
                    match self.next(true) {
                        (Token::End, _) => return Ok(requirements),
                        (Token::Comma, _) => {
                            let (token, literal) = self.peek(true);
                            if !matches!(token, Token::Identifier | Token::DoesNotExist) {
                                return expected(literal, "identifier after ','");
                            }
                        }
                        (_, literal) => return expected(literal, "',' or 'end of string'"),
                    }
                }
                (Token::End, _) => return Ok(requirements),
                (_, literal) => return expected(literal, "!, identifier, or 'end of string'"),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let (mut token, mut literal) = self.next(true);
        let negated = token == Token::DoesNotExist;
        if negated {
            (token, literal) = self.next(true);
        }
        if token != Token::Identifier {
            return expected(literal, "identifier");
        }
        if let Some(error) = names::qualified_name(literal).into_iter().reduce(|a, b| format!("{a}; {b}")) {
            return Err(SelectorError(format!("<nil>: Invalid value: {literal:?}: {error}")));
        }
        if negated {
            return Requirement::new(literal, Operator::DoesNotExist, Vec::new(), "");
        }
        if matches!(self.peek(true).0, Token::End | Token::Comma) {
            return Requirement::new(literal, Operator::Exists, Vec::new(), "");
        }
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => self.value_list()?,
            _ => vec![self.exact_value()?],
        };
        Requirement::new(literal, operator, values, "")
    }

    fn operator(&mut self) -> Result<Operator, SelectorError> {
        match self.next(false) {
            (Token::In, _) => Ok(Operator::In),
            (Token::NotIn, _) => Ok(Operator::NotIn),
            (Token::Equals, _) => Ok(Operator::Equals),
            (Token::DoubleEquals, _) => Ok(Operator::DoubleEquals),
            (Token::NotEquals, _) => Ok(Operator::NotEquals),
            (Token::GreaterThan, _) => Ok(Operator::GreaterThan),
            (Token::LessThan, _) => Ok(Operator::LessThan),
            (_, literal) => expected(literal, "in, notin, =, ==, !=, gt, lt"),
        }
    }

    fn exact_value(&mut self) -> Result<String, SelectorError> {
        if matches!(self.peek(true).0, Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.next(true) {
            (Token::Identifier, literal) => Ok(literal.to_owned()),
            (_, literal) => expected(literal, "identifier"),
        }
    }

    fn value_list(&mut self) -> Result<Vec<String>, SelectorError> {
        let (token, literal) = self.next(true);
        if token != Token::OpenParen {
            return Err(SelectorError(format!("found '{literal}' expected: '('")));
        }
        let mut values = Vec::new();
        match self.peek(true) {
            (Token::Identifier | Token::Comma, _) => {}
            (Token::CloseParen, _) => {
                self.at += 1;
                return Ok(values);
            }
            (_, literal) => return expected(literal, "',', ')' or identifier"),
        }
        loop {
            match self.next(true) {
                (Token::Identifier, literal) => {
                    values.push(literal.to_owned());
                    match self.next(true) {
                        (Token::Comma, _) if self.peek(true).0 == Token::CloseParen => values.push(String::new()),
                        (Token::Comma, _) => continue,
                        (Token::CloseParen, _) => return Ok(values),
                        (_, literal) => return expected(literal, "',' or ')'"),
                    }
                }
                (Token::Comma, _) => values.push(String::new()),
                (Token::CloseParen, _) => return Ok(values),
                (_, literal) => return expected(literal, "identifier"),
            }
        }
    }
}

fn expected<T>(found: &str, wanted: &str) -> Result<T, SelectorError> {
    Err(SelectorError(format!("found '{found}', expected: {wanted}")))
}

// === impl Display ===

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        let key = &self.key;
        match self.operator {
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(text: &str) -> LabelSelector {
        text.parse().expect(text)
    }

    #[test]
    fn parses_prints_and_matches() {
        let labels = json!({"app": "web", "n": "5"});
        let labels = labels.as_object();
        for (text, printed, matched) in [
            ("", "", true),
            ("app=web", "app=web", true),
            ("app == web , n", "app==web,n", true),
            ("app!=web", "app!=web", false),
            ("x!=y", "x!=y", true),
            ("app in (a, web)", "app in (a,web)", true),
            ("app notin (web)", "app notin (web)", false),
            ("!x,n>4,n<6", "n>4,n<6,!x", true),
            ("x=", "x=", false),
            ("in in (in)", "in in (in)", false),
            ("x in (,a)", "x in (,a)", false),
        ] {
            let selector = parse(text);
            assert_eq!(selector.matches(labels), matched, "{text}");
            if !printed.contains('>') {
                assert_eq!(selector.to_string(), printed);
            }
        }
    }

    #[test]
    fn errors_are_those_of_upstream() {
        let error = |text: &str| text.parse::<LabelSelector>().expect_err(text).0;
        assert_eq!(error("a == b,,"), "found ',', expected: identifier after ','");
        assert_eq!(error("a=b)"), "found ')', expected: ',' or 'end of string'");
        assert_eq!(error("=b"), "found '=', expected: !, identifier, or 'end of string'");
        assert_eq!(error("a in b"), "unable to parse requirement: found 'b' expected: '('");
        assert!(error("a@=b").starts_with("unable to parse requirement: <nil>: Invalid value: \"a@\": name part must"));
        assert!(
            error("a=b@")
                .starts_with("unable to parse requirement: values[0][a]: Invalid value: \"b@\": a valid label")
        );
    }

    #[test]
    fn object_form() {
        let selector = LabelSelector::from_object(&json!({"matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["db"]}]}))
        .expect("valid");
        assert!(selector.matches(json!({"app": "web"}).as_object()));
        assert!(!selector.matches(json!({"app": "web", "tier": "db"}).as_object()));
        assert!(!LabelSelector::from_object(&Value::Null).expect("valid").matches(None));
        assert!(LabelSelector::from_object(&json!({})).expect("valid").matches(None));
        assert_eq!(
            LabelSelector::from_object(&json!({"matchExpressions": [{"key": "a", "operator": "X"}]}))
                .expect_err("bad")
                .0,
            "\"X\" is not a valid label selector operator"
        );
    }
}
