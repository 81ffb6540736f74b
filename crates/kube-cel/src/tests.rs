use std::sync::Arc;

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;

fn environment() -> Environment {
    let spec = Type::object("Spec", [("size", Type::Int), ("name", Type::String), ("tags", Type::list(Type::String))]);
    Environment::default()
        .variable(
            "self",
            Type::object(
                "Self",
                [("spec", spec), ("any", Type::Dyn), ("labels", Type::map(Type::String, Type::String))],
            ),
        )
        .variable("object", Type::Dyn)
        .variable("authorizer", Type::Opaque("kubernetes.authorization.Authorizer", Vec::new()))
        .constructors()
}

fn scope() -> [(&'static str, Value); 3] {
    let object = json!({"spec": {"size": 3, "name": "Hello", "tags": ["a", "b", "c"]}, "any": {"x": 1.5},
        "labels": {"app": "web", "tier": "db"}});
    [
        ("self", Value::from_json(&object)),
        ("object", Value::from_json(&object)),
        ("authorizer", AuthorizerValue::start()),
    ]
}

fn refused(source: &str, wanted: Expect) {
    wanted.assert_eq(&Expression::compile(source, &environment()).expect_err("refused").to_string());
}

fn run(source: &str) -> Result<Value, String> {
    let expression = Expression::compile(source, &environment()).map_err(|e| e.to_string())?;
    expression.evaluate(scope().as_slice()).0.map_err(|e| e.to_string())
}

fn holds(sources: &[&str]) {
    for source in sources {
        assert_eq!(run(source), Ok(Value::Bool(true)), "{source}");
    }
}

fn fails(source: &str, wanted: &str) {
    assert_eq!(run(source), Err(wanted.to_owned()), "{source}");
}

#[test]
fn mistakes_are_told_as_cel_go_tells_them() {
    refused(
        "a/b",
        expect![[r"
        ERROR: <input>:1:1: undeclared reference to 'a' (in container '')
         | a/b
         | ^
        ERROR: <input>:1:3: undeclared reference to 'b' (in container '')
         | a/b
         | ..^"]],
    );
    refused(
        "self.spec.nope < 1",
        expect![[r"
        ERROR: <input>:1:10: undefined field 'nope'
         | self.spec.nope < 1
         | .........^"]],
    );
    refused(
        "self.spec.size < 'a'",
        expect![[r"
        ERROR: <input>:1:16: found no matching overload for '_<_' applied to '(int, string)'
         | self.spec.size < 'a'
         | ...............^"]],
    );
    refused(
        "self.spec.size.find('a')",
        expect![[r"
        ERROR: <input>:1:20: found no matching overload for 'find' applied to 'int.(string)'
         | self.spec.size.find('a')
         | ...................^"]],
    );
    refused(
        "[1, 'a'].size() == 1",
        expect![[r"
        ERROR: <input>:1:5: expected type 'int' but found 'string'
         | [1, 'a'].size() == 1
         | ....^"]],
    );
    refused(
        "nope(1)",
        expect![[r"
        ERROR: <input>:1:5: undeclared reference to 'nope' (in container '')
         | nope(1)
         | ....^"]],
    );
    refused(
        "self.spec.size.all(x, x)",
        expect![[r"
        ERROR: <input>:1:10: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)
         | self.spec.size.all(x, x)
         | .........^"]],
    );
}

#[test]
fn texts_that_do_not_parse() {
    refused(
        "Invalid_Value!",
        expect![[r"
        ERROR: <input>:1:14: Syntax error: extraneous input '!' expecting <EOF>
         | Invalid_Value!
         | .............^"]],
    );
    refused(
        "a..b",
        expect![[r"
        ERROR: <input>:1:3: Syntax error: no viable alternative at input '..'
         | a..b
         | ..^"]],
    );
    refused(
        "",
        expect![
            "ERROR: <input>:1:0: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"
        ],
    );
}

#[test]
fn the_standard_library() {
    holds(&[
        "self.spec.size + 1 == 4 && 7 / 2 == 3 && 7 % 4 == 3 && -self.spec.size == -3",
        "self.spec.size < 3.5 && 2u <= 2 && double(self.spec.size) == 3.0",
        "self.spec.tags.all(t, t != 'z') && self.spec.tags.exists(t, t == 'b') && self.spec.tags.exists_one(t, t == 'c')",
        "self.spec.tags.map(t, t + '!').filter(t, t != 'a!') == ['b!', 'c!']",
        "'a' in self.spec.tags && 'app' in self.labels && self.labels['app'] == 'web' && self.labels.tier == 'db'",
        "has(self.spec.size) && !has(object.spec.nope)",
        "size(self.spec.name) == 5 && self.spec.name.startsWith('He') && self.spec.name.matches('^H.*o$')",
        "type(self.spec.size) == int && string(12) == '12' && int('12') == 12",
        "timestamp('2024-01-02T03:04:05Z').getFullYear() == 2024 && duration('90m').getHours() == 1",
        "timestamp('2024-01-02T03:04:05Z') + duration('1h') > timestamp('2024-01-02T03:30:00Z')",
        "{'a': 1}.a == 1 && [1, 2][1] == 2 && (true ? 'x' : 'y') == 'x'",
        "object.spec.size == 3 && dyn(1) != 'a'",
        "false || object.nope == 1 || true",
        "[0, 1].exists(i, 1 / i == 1)",
    ]);
    fails("object.spec.nope == 1", "no such key: nope");
    fails("self.spec.tags[7] == ''", "index out of bounds: 7");
    fails("1 / (self.spec.size - 3) == 1", "division by zero");
    fails("object.spec.size + 'a' == 'b'", "no such overload");
    fails("9223372036854775807 + self.spec.size == 0", "integer overflow");
}

#[test]
fn texts_lists_and_sets() {
    holds(&[
        "'abcabc'.indexOf('c') == 2 && 'abcabc'.lastIndexOf('b') == 4 && 'abcabc'.indexOf('a', 1) == 3",
        "'a,b,c'.split(',') == ['a', 'b', 'c'] && ['a', 'b'].join('-') == 'a-b' && 'abc'.charAt(1) == 'b'",
        "'Hello'.lowerAscii() == 'hello' && 'x'.upperAscii() == 'X' && ' a '.trim() == 'a' && 'aXbX'.replace('X', '-') == 'a-b-'",
        "'Hello'.substring(1, 3) == 'el' && '%s is %d and %.2f'.format(['x', 3, 1.5]) == 'x is 3 and 1.50'",
        "'ab12cd'.find('[0-9]+') == '12' && 'a1b2'.findAll('[0-9]') == ['1', '2']",
        "[3, 1, 2].min() == 1 && [3, 1].max() == 3 && [1, 2].sum() == 3 && [1, 2, 3].isSorted() && [5, 6].indexOf(6) == 1",
        "sets.contains([1, 2, 3], [2]) && sets.equivalent([1, 2], [2, 1, 1]) && sets.intersects([1], [1, 2])",
        "[1, 2].all(i, v, v == i + 1) && self.labels.exists(k, v, k == 'app' && v == 'web')",
        "[1, 2].transformList(i, v, v * 2) == [2, 4] && {'a': 1}.transformMap(k, v, v + 1) == {'a': 2}",
        "{'a': 'b'}.transformMapEntry(k, v, {v: k}) == {'b': 'a'}",
    ]);
}

#[test]
fn kubernetes_libraries() {
    holds(&[
        "url('https://a.b:80/c?x=1&x=2').getHostname() == 'a.b' && url('https://a.b:80/c').getPort() == '80'",
        "url('https://a.b/c?x=1&x=2').getQuery()['x'] == ['1', '2'] && !isURL('nope') && isURL('/a/b')",
        "ip('10.0.0.1').family() == 4 && isIP('::1') && !isIP('x') && ip.isCanonical('::1') && ip('127.0.0.1').isLoopback()",
        "cidr('10.0.0.0/8').containsIP('10.1.2.3') && cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')",
        "cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8') && cidr('10.0.0.0/8').prefixLength() == 8",
        "quantity('1Gi').isGreaterThan(quantity('1M')) && quantity('50k').asInteger() == 50000 && !isQuantity('x')",
        "quantity('1').add(quantity('500m')).compareTo(quantity('1500m')) == 0 && quantity('2').sub(1).sign() == 1",
        "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('v1.2', true).patch() == 0 && !isSemver('1.2')",
        "!format.dns1123Label().validate('my-name').hasValue() && format.named('uuid').value().validate('x').hasValue()",
        "jsonpatch.escapeKey('a/b~c') == 'a~1b~0c'",
        "object.?spec.?nope.orValue(7) == 7 && object.?spec.?size.hasValue() && self.labels[?'app'].orValue('') == 'web'",
        "optional.of(1).optMap(x, x + 1).value() == 2 && optional.none().orValue(3) == 3",
        "[?object.?nope, 1].size() == 1",
    ]);
}

#[test]
fn mutations_are_made() {
    let made = run("Object{spec: Object.spec{size: 4, ?name: optional.none()}}").expect("makes an object");
    assert_eq!(made.to_json(), Some(json!({"spec": {"size": 4}})));
    let made = run("[JSONPatch{op: 'add', path: '/a', value: 1}]").expect("makes a patch");
    assert_eq!(made.to_json(), Some(json!([{"op": "add", "path": "/a", "value": 1}])));
    refused(
        "JSONPatch{nope: 1}",
        expect![[r"
        ERROR: <input>:1:15: undefined field 'nope'
         | JSONPatch{nope: 1}
         | ..............^"]],
    );
}

#[test]
fn the_authorizer_is_asked_outside() {
    let source = "authorizer.group('apps').resource('deployments').namespace('x').check('get').allowed()";
    let expression = Expression::compile(source, &environment()).expect("compiles");
    let Err(EvalError::Unanswered(question)) = expression.evaluate(scope().as_slice()).0 else {
        panic!("the question has no answer yet");
    };
    assert_eq!((question.group.as_str(), question.verb.as_str(), question.namespace.as_str()), ("apps", "get", "x"));
    struct Answered;
    impl Scope for Answered {
        fn variable(&self, name: &str) -> Option<Result<Value, EvalError>> {
            scope().as_slice().variable(name)
        }
        fn answer(&self, _: &Check) -> Option<(bool, String)> {
            Some((true, "because".to_owned()))
        }
    }
    assert_eq!(expression.evaluate(&Answered).0, Ok(true.into()));
}

#[test]
fn costs_are_counted_and_limited() {
    let cost =
        |source: &str| Expression::compile(source, &environment()).expect("compiles").evaluate(scope().as_slice()).1;
    assert_eq!(cost("self.spec.size"), 3);
    assert_eq!(cost("self.spec.size < 3"), 4);
    assert_eq!(cost("self.spec.name == 'x'"), 4);
    assert_eq!(cost("[1, 2, 3].size() == 3"), 12);
    let numbers = (0..100).map(|i| i.to_string()).collect::<Vec<_>>().join(",");
    let endless = format!("[{numbers}].all(a, [{numbers}].all(b, [{numbers}].all(c, a + b + c >= 0)))");
    fails(&endless, "operation cancelled: actual cost limit exceeded");
}

#[test]
fn costs_are_estimated() {
    struct Bounded(u64);
    impl Sizes for Bounded {
        fn largest(&self, path: &[Arc<str>]) -> Option<u64> {
            match path.last()?.as_ref() {
                "tags" => Some(self.0),
                "@items" | "name" => Some(20),
                _ => Some(0),
            }
        }
    }
    let cost = |source: &str, tags: u64| {
        Expression::compile(source, &environment()).expect("compiles").estimate(&Bounded(tags))
    };
    assert_eq!(cost("self.spec.size < 9 || self.spec.name == 'blue'", 1), CostRange { min: 4, max: 8 });
    let small = cost("self.spec.tags.all(t, t != 'x')", 10);
    let large = cost("self.spec.tags.all(t, t != 'x')", 1000);
    assert!(small.max < 100 && large.max > 3000, "{small:?} {large:?}");
}
