//! From text to a tree: the `cel` crate's parser with Kubernetes' macros, and errors in cel-go's form.

use std::sync::LazyLock;

use cel::Env;
use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedEntryExpr, IdedExpr, ListExpr, LiteralValue, MapEntryExpr,
    MapExpr, SourceInfo, operators,
};
use cel::parser::{Macro, MacroExprHelper, ParseError};

/// Longer expressions are refused.
const MAX_LENGTH: usize = 100_000;
/// Deeper nesting is refused: parser, checker and evaluator recurse.
const MAX_NESTING: usize = 100;

/// The variable that macros collect their result in.
pub(crate) const RESULT: &str = "@result";
/// Adds an entry to a map: what the macros that make maps expand to.
pub(crate) const MAP_INSERT: &str = "cel.@mapInsert";

/// One thing that is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Issue {
    /// From 1.
    pub(crate) line: usize,
    /// From 1; 0 when there is no character to point at.
    pub(crate) column: usize,
    pub(crate) message: String,
}

/// All issues as cel-go shows them: the message, the line, and a mark below the place.
pub(crate) fn render(source: &str, issues: &[Issue]) -> String {
    let one = |issue: &Issue| {
        let mut text = format!("ERROR: <input>:{}:{}: {}", issue.line, issue.column, issue.message);
        if let Some(line) = source.lines().nth(issue.line.wrapping_sub(1)) {
            text += &format!("\n | {line}\n | {}^", ".".repeat(issue.column.saturating_sub(1)));
        }
        text
    };
    issues.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// A parsed expression and where its parts are.
pub(crate) struct Parsed {
    pub(crate) root: IdedExpr,
    info: SourceInfo,
}

impl Parsed {
    /// An issue at the place of an expression.
    pub(crate) fn issue(&self, id: u64, message: String) -> Issue {
        let start = self.info.offset_for(id).map_or(0, |(start, _)| start as usize);
        let (mut line, mut column) = (1, 1);
        for character in self.info.source.chars().take(start) {
            column += 1;
            if character == '\n' {
                (line, column) = (line + 1, 1);
            }
        }
        Issue { line, column, message }
    }
}

pub(crate) fn parse(source: &str) -> Result<Parsed, Vec<Issue>> {
    let refuse = |message: &str| vec![Issue { line: 1, column: 1, message: message.to_owned() }];
    if source.chars().count() > MAX_LENGTH {
        return Err(refuse("expression code point size exceeds limit: size: too large, limit 100000"));
    }
    if nesting(source) > MAX_NESTING {
        return Err(refuse("expression recursion limit exceeded: 250"));
    }
    match environment().parser().parse_with_source_info(source) {
        Ok((root, info)) => Ok(Parsed { root, info }),
        Err(errors) => Err(errors.errors.into_iter().map(|e| issue(e, source.is_empty())).collect()),
    }
}

fn issue(error: ParseError, empty: bool) -> Issue {
    let number = |n: isize| usize::try_from(n).unwrap_or_default();
    let column = if empty { 0 } else { number(error.pos.1) };
    Issue { line: number(error.pos.0), column, message: error.msg }
}

/// The deepest nesting of brackets and operators of one sign; those in strings count too, which errs on the safe side.
fn nesting(source: &str) -> usize {
    let (mut depth, mut deepest, mut signs) = (0usize, 0, 0usize);
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        signs = if matches!(byte, b'!' | b'-') { signs + 1 } else { 0 };
        deepest = deepest.max(depth).max(signs);
    }
    deepest
}

fn environment() -> &'static Env {
    static ENVIRONMENT: LazyLock<Env> = LazyLock::new(|| {
        let mut env = Env::stdlib().with_optional_support(true);
        for found in two_variable_macros() {
            env.add_macro(found).expect("the macros have names of their own");
        }
        env
    });
    &ENVIRONMENT
}

/// `all`, `exists`, `existsOne`, `transformList`, `transformMap` and `transformMapEntry` with a key and a value.
fn two_variable_macros() -> Vec<Macro> {
    let mut macros = Vec::new();
    for (name, fold) in
        [("all", Fold::All), ("exists", Fold::Exists), ("existsOne", Fold::ExistsOne), ("exists_one", Fold::ExistsOne)]
    {
        macros.push(two_variables(name, 3, fold));
    }
    for (name, fold) in [("transformList", Fold::List), ("transformMap", Fold::Map), ("transformMapEntry", Fold::Entry)]
    {
        macros.push(two_variables(name, 3, fold));
        macros.push(two_variables(name, 4, fold));
    }
    macros
}

#[derive(Clone, Copy)]
enum Fold {
    All,
    Exists,
    ExistsOne,
    List,
    Map,
    Entry,
}

fn two_variables(name: &str, arguments: usize, fold: Fold) -> Macro {
    Macro::receiver(name, arguments, move |helper, target, args| {
        let Some(range) = target.take() else { return Ok(None) };
        let step = args.pop().unwrap_or_default();
        let filter = if args.len() > 2 { args.pop() } else { None };
        let value = variable(args.pop().unwrap_or_default(), helper)?;
        let key = variable(args.pop().unwrap_or_default(), helper)?;
        expand(helper, fold, range, (key, value), filter, step).map(Some)
    })
}

fn variable(expr: IdedExpr, helper: &MacroExprHelper<'_>) -> Result<String, ParseError> {
    match expr.expr {
        Expr::Ident(name) => Ok(name),
        _ => Err(helper.new_error(expr.id, "argument must be a simple name")),
    }
}

fn call(helper: &mut MacroExprHelper<'_>, name: &str, args: Vec<IdedExpr>) -> IdedExpr {
    helper.next_expr(Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args }))
}

fn expand(
    helper: &mut MacroExprHelper<'_>,
    fold: Fold,
    range: IdedExpr,
    (key, value): (String, String),
    filter: Option<IdedExpr>,
    step: IdedExpr,
) -> Result<IdedExpr, ParseError> {
    let bool_literal =
        |helper: &mut MacroExprHelper<'_>, b: bool| helper.next_expr(Expr::Literal(LiteralValue::Boolean(b.into())));
    let result = |helper: &mut MacroExprHelper<'_>| helper.next_expr(Expr::Ident(RESULT.to_owned()));
    let int = |helper: &mut MacroExprHelper<'_>, i: i64| helper.next_expr(Expr::Literal(LiteralValue::Int(i.into())));
    let init = match fold {
        Fold::All => bool_literal(helper, true),
        Fold::Exists => bool_literal(helper, false),
        Fold::ExistsOne => int(helper, 0),
        Fold::List => helper.next_expr(Expr::List(ListExpr::new(Vec::new()))),
        Fold::Map | Fold::Entry => helper.next_expr(Expr::Map(MapExpr::default())),
    };
    let condition = match fold {
        Fold::All => {
            let accumulated = result(helper);
            call(helper, operators::NOT_STRICTLY_FALSE, vec![accumulated])
        }
        Fold::Exists => {
            let accumulated = result(helper);
            let not = call(helper, operators::LOGICAL_NOT, vec![accumulated]);
            call(helper, operators::NOT_STRICTLY_FALSE, vec![not])
        }
        _ => bool_literal(helper, true),
    };
    let accumulated = result(helper);
    let mut next = match fold {
        Fold::All => call(helper, operators::LOGICAL_AND, vec![accumulated, step]),
        Fold::Exists => call(helper, operators::LOGICAL_OR, vec![accumulated, step]),
        Fold::ExistsOne => {
            let one = int(helper, 1);
            let more = call(helper, operators::ADD, vec![accumulated, one]);
            let same = result(helper);
            call(helper, operators::CONDITIONAL, vec![step, more, same])
        }
        Fold::List => {
            let one = helper.next_expr(Expr::List(ListExpr::new(vec![step])));
            call(helper, operators::ADD, vec![accumulated, one])
        }
        Fold::Map => {
            let at = helper.next_expr(Expr::Ident(key.clone()));
            call(helper, MAP_INSERT, vec![accumulated, at, step])
        }
        Fold::Entry => insert_entry(helper, accumulated, step)?,
    };
    if let Some(filter) = filter {
        let same = result(helper);
        next = call(helper, operators::CONDITIONAL, vec![filter, next, same]);
    }
    let mut end = result(helper);
    if matches!(fold, Fold::ExistsOne) {
        let one = int(helper, 1);
        end = call(helper, operators::EQUALS, vec![end, one]);
    }
    Ok(helper.next_expr(Expr::Comprehension(Box::new(ComprehensionExpr {
        iter_range: range,
        iter_var: key,
        iter_var2: Some(value),
        accu_var: RESULT.to_owned(),
        accu_init: init,
        loop_cond: condition,
        loop_step: next,
        result: end,
    }))))
}

/// `{k: v}` as the step of `transformMapEntry`: the entry goes into the result; another expression must make a map.
fn insert_entry(helper: &mut MacroExprHelper<'_>, into: IdedExpr, step: IdedExpr) -> Result<IdedExpr, ParseError> {
    let id = step.id;
    if let Expr::Map(mut map) = step.expr
        && map.entries.len() == 1
        && let Some(IdedEntryExpr { expr: EntryExpr::MapEntry(MapEntryExpr { key, value, optional: false }), .. }) =
            map.entries.pop()
    {
        return Ok(call(helper, MAP_INSERT, vec![into, key, value]));
    }
    Err(helper.new_error(id, "transformMapEntry() requires a map literal with one entry"))
}
