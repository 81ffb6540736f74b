//! CEL expressions over JSON: validation rules of custom resources, and whatever else decides by expressions.
//!
//! The standard library with the string, list and math extensions is there; Kubernetes' own functions (`quantity`, `url`,
//! `ip`, ...) and timestamps are not: an expression that uses one fails when it is evaluated.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use cel::extensions::{lists, math, strings};
use cel::objects::{Key, Map};
use cel::{Context, Env};
use serde_json::Value;

/// Longer expressions are refused.
const MAX_LENGTH: usize = 64 * 1024;
/// Deeper nesting is refused: the parser recurses.
const MAX_NESTING: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CelError {
    #[error("expression is too long or too deeply nested")]
    TooComplex,
    #[error("{0}")]
    Compile(String),
    #[error("{0}")]
    Evaluate(String),
    #[error("expression must evaluate to {0}")]
    Type(&'static str),
}

/// A compiled expression.
#[derive(Clone)]
pub struct Expression {
    program: Arc<cel::Program>,
    source: String,
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.source)
    }
}

fn environment() -> &'static Arc<Env> {
    static ENVIRONMENT: OnceLock<Arc<Env>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let mut env = Env::stdlib().with_optional_support(true);
        for extension in [strings, lists, math] {
            env.add_extension(extension).expect("the library's own extensions do not overlap");
        }
        Arc::new(env)
    })
}

impl Expression {
    pub fn compile(source: &str) -> Result<Expression, CelError> {
        if source.len() > MAX_LENGTH || nesting(source) > MAX_NESTING {
            return Err(CelError::TooComplex);
        }
        let program = environment().compile(source).map_err(|e| CelError::Compile(e.to_string()))?;
        Ok(Expression { program: Arc::new(program), source: source.to_owned() })
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the expression mentions a variable.
    pub fn uses(&self, variable: &str) -> bool {
        self.program.references().has_variable(variable)
    }

    /// The value with these variables.
    fn evaluate(&self, variables: &[(&str, cel::Value)]) -> Result<cel::Value, CelError> {
        let mut context = Context::with_env(Arc::clone(environment()));
        for (name, value) in variables {
            context.add_variable_from_value(*name, value.clone());
        }
        self.program.execute(&context).map_err(|e| CelError::Evaluate(e.to_string()))
    }

    /// The truth of the expression.
    pub fn holds(&self, variables: &[(&str, cel::Value)]) -> Result<bool, CelError> {
        match self.evaluate(variables)? {
            cel::Value::Bool(truth) => Ok(truth),
            _ => Err(CelError::Type("a boolean")),
        }
    }

    /// The text that the expression makes.
    pub fn text(&self, variables: &[(&str, cel::Value)]) -> Result<String, CelError> {
        match self.evaluate(variables)? {
            cel::Value::String(text) => Ok(text.to_string()),
            _ => Err(CelError::Type("a string")),
        }
    }
}

/// The deepest nesting of brackets; those in strings count too, which errs on the safe side.
fn nesting(source: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// JSON as CEL sees it. `schema` (an OpenAPI schema, or null) tells numbers from integers and fields from map keys:
/// names of fields are escaped so that expressions can select them.
pub fn value(json: &Value, schema: &Value) -> cel::Value {
    match json {
        Value::Null => cel::Value::Null,
        Value::Bool(b) => cel::Value::Bool(*b),
        Value::Number(n) if schema["type"] == "number" => cel::Value::Float(n.as_f64().unwrap_or_default()),
        Value::Number(n) => n.as_i64().map_or(cel::Value::Float(n.as_f64().unwrap_or_default()), cel::Value::Int),
        Value::String(text) => cel::Value::String(Arc::new(text.clone())),
        Value::Array(items) => {
            cel::Value::List(Arc::new(items.iter().map(|item| value(item, &schema["items"])).collect()))
        }
        Value::Object(fields) => {
            let mut map: HashMap<Key, cel::Value> = HashMap::new();
            for (name, field) in fields {
                let property = schema["properties"].get(name);
                let key = if property.is_some() { escaped(name) } else { name.clone() };
                let schema = property.unwrap_or(&schema["additionalProperties"]);
                map.insert(Key::String(Arc::new(key)), value(field, schema));
            }
            cel::Value::Map(Map { map: Arc::new(map) })
        }
    }
}

/// A field's name as an identifier of CEL.
fn escaped(name: &str) -> String {
    const RESERVED: [&str; 21] = [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ];
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    name.replace("__", "__underscores__").replace('.', "__dot__").replace('-', "__dash__").replace('/', "__slash__")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn holds(source: &str, object: Value) -> Result<bool, CelError> {
        Expression::compile(source)?.holds(&[("self", value(&object, &Value::Null))])
    }

    #[test]
    fn expressions_decide() {
        let object = || json!({"a": 1, "b": [1, 2], "c": {"x-y": "z"}, "s": "Hello"});
        assert_eq!(holds("self.a < 2 && self.b.all(x, x > 0)", object()), Ok(true));
        assert_eq!(holds("has(self.d) || self.c['x-y'] == 'q'", object()), Ok(false));
        assert_eq!(holds("self.s.matches('^H') && self.s.lowerAscii() == 'hello'", object()), Ok(true));
        assert_eq!(holds("size(self.b) == 2 && self.b.exists(x, x == 2)", object()), Ok(true));
        assert_eq!(holds("self.a", object()), Err(CelError::Type("a boolean")));
        assert!(matches!(holds("self.a +", object()), Err(CelError::Compile(_))));
        assert!(matches!(holds("self.nope == 1", object()), Err(CelError::Evaluate(_))));
        assert_eq!(holds(&"(".repeat(1000), object()), Err(CelError::TooComplex));
    }

    #[test]
    fn field_names_are_escaped() {
        let schema = json!({"properties": {"namespace": {"type": "string"}, "a-b": {"type": "number"}}});
        let object = value(&json!({"namespace": "n", "a-b": 1}), &schema);
        let expression = Expression::compile("self.__namespace__ == 'n' && self.a__dash__b < 1.5").expect("compiles");
        assert_eq!(expression.holds(&[("self", object)]), Ok(true));
        assert!(expression.uses("self") && !expression.uses("oldSelf"));
    }
}
