//! Tokens of a label selector.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    End,
    Identifier,
    OpenParen,
    CloseParen,
    Comma,
    Equals,
    DoubleEquals,
    NotEquals,
    DoesNotExist,
    GreaterThan,
    LessThan,
    In,
    NotIn,
    Error,
}

/// All tokens of a text with their literals.
pub(super) fn scan(text: &str) -> Vec<(Token, &str)> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        let length = if rest.starts_with(is_special) {
            special_length(rest)
        } else {
            rest.find(|c| is_special(c) || is_space(c)).unwrap_or(rest.len())
        };
        let (literal, after) = rest.split_at(length);
        tokens.push((classify(literal), literal));
        rest = after.trim_start_matches(is_space);
    }
    tokens
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_special(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

/// The longest run of special characters from the start whose end is a token.
fn special_length(text: &str) -> usize {
    let run = text.find(|c| !is_special(c)).unwrap_or(text.len());
    (1..=run.min(2)).rev().find(|n| classify(&text[..*n]) != Token::Error).unwrap_or(run)
}

fn classify(literal: &str) -> Token {
    match literal {
        "(" => Token::OpenParen,
        ")" => Token::CloseParen,
        "," => Token::Comma,
        "=" => Token::Equals,
        "==" => Token::DoubleEquals,
        "!=" => Token::NotEquals,
        "!" => Token::DoesNotExist,
        ">" => Token::GreaterThan,
        "<" => Token::LessThan,
        "in" => Token::In,
        "notin" => Token::NotIn,
        _ if literal.starts_with(is_special) => Token::Error,
        _ => Token::Identifier,
    }
}
