//! Conditions over the columns of two sides: `l.x` and `r.y` name a side's column.

use arrow::datatypes::{Field, Schema};
use sqlparser::{
    parser::{Parser, ParserError},
    tokenizer::{Token, TokenWithSpan, Word},
};

use super::{Expressions, Result, bind_predicate, parse};
use crate::expr::Predicate;

/// The condition that `text` says over the columns of `left`, then those of `right`. `l.x` is the
/// left side's `x`, `r.x` the right one's; a name that only one side has may stand alone.
///
/// # Errors
/// The first thing that is wrong; an expression of another type than bool is.
pub fn join_condition(text: &str, left: &Schema, right: &Schema) -> Result<Predicate> {
    let schema = both(left, right);
    let named = |side: &str, name: &str| {
        let (own, before) = if side == "l" { (left, 0) } else { (right, left.fields().len()) };
        own.index_of(name).ok().map(|index| schema.field(before + index).name().clone())
    };
    let sql = parse(text, |parser| {
        let mut tokens = Vec::new();
        while let Some(token) = parser.next_token_no_skip() {
            if !matches!(token.token, Token::Whitespace(_)) {
                tokens.push(token.clone());
            }
        }
        let tokens = with_names(tokens, &named);
        let mut renamed = Parser::new(&Expressions).with_tokens_with_locations(tokens);
        let sql = renamed.parse_expr()?;
        let next = renamed.peek_token();
        if next.token == Token::EOF {
            return Ok(sql);
        }
        let (found, at) = (&next.token, next.span.start);
        let (line, column) = (at.line, at.column);
        let message =
            format!("Expected: the end, found: {found} at Line: {line}, Column: {column}");
        Err(ParserError::ParserError(message))
    })?;
    bind_predicate(&sql, text, &schema)
}

/// The columns of both sides; a name that both have is `l.name` and `r.name`.
fn both(left: &Schema, right: &Schema) -> Schema {
    let field = |side: &str, field: &Field, other: &Schema| {
        let name = field.name();
        let is_shared = other.index_of(name).is_ok();
        let name = if is_shared { format!("{side}.{name}") } else { name.clone() };
        field.clone().with_name(name)
    };
    let of_left = left.fields().iter().map(|column| field("l", column, right));
    let of_right = right.fields().iter().map(|column| field("r", column, left));
    Schema::new(of_left.chain(of_right).collect::<Vec<_>>())
}

/// The tokens with one word in the place of each `l.x` and `r.x` for which there is a name.
fn with_names(
    tokens: Vec<TokenWithSpan>,
    named: &impl Fn(&str, &str) -> Option<String>,
) -> Vec<TokenWithSpan> {
    let mut renamed: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for token in tokens {
        let found = match (&renamed[..], &token.token) {
            ([before @ .., side, dot], Token::Word(word))
                if dot.token == Token::Period
                    && before.last().is_none_or(|other| other.token != Token::Period) =>
            {
                match &side.token {
                    Token::Word(Word { value: side, quote_style: None, .. })
                        if side == "l" || side == "r" =>
                    {
                        named(side, &word.value)
                    }
                    _ => None,
                }
            }
            _ => None,
        };
        match found {
            Some(name) => {
                renamed.pop();
                if let Some(side) = renamed.last_mut() {
                    side.token = Token::make_word(&name, Some('"'));
                    side.span.end = token.span.end;
                }
            }
            None => renamed.push(token),
        }
    }
    renamed
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};

    use super::join_condition;
    use crate::expr::parse::ParseErrorKind;

    fn schema(names: &[&str]) -> Schema {
        let field = |name: &&str| Field::new(*name, DataType::Int64, true);
        Schema::new(names.iter().map(field).collect::<Vec<_>>())
    }

    fn shown(text: &str) -> Result<String, (ParseErrorKind, usize, String)> {
        let (left, right) = (schema(&["k", "x", "odd name"]), schema(&["k", "y"]));
        let condition = join_condition(text, &left, &right);
        condition
            .map(|condition| {
                let read: Vec<_> = (0..5).filter(|index| condition.0.reads(*index)).collect();
                format!("{} of {read:?}", condition.0)
            })
            .map_err(|refusal| (refusal.kind, refusal.offset, refusal.message))
    }

    #[test]
    fn a_side_names_its_column_and_a_name_of_one_side_stands_alone() {
        assert!(shown("l.k < r.k").unwrap().ends_with(" of [0, 3]"));
        assert!(shown("l.x < r.y").unwrap().ends_with(" of [1, 4]"));
        assert!(shown("x < y and l . \"odd name\" > 0").unwrap().ends_with(" of [1, 2, 4]"));
    }

    #[test]
    fn what_both_sides_have_wants_a_side() {
        let (kind, offset, message) = shown("x > 0 and k = 1").unwrap_err();
        assert_eq!((kind, offset), (ParseErrorKind::UnknownColumn, 10));
        assert_eq!(message, "no column `k`; there are l.k, x, odd name, r.k, y");
    }

    #[test]
    fn errors_point_into_the_text_as_it_stands() {
        let (kind, offset, _) = shown("l.k < r.k and l.z = 1").unwrap_err();
        assert_eq!((kind, offset), (ParseErrorKind::UnknownColumn, 14));
        let (kind, offset, message) = shown("l.k = r.k r.y").unwrap_err();
        assert_eq!((kind, offset), (ParseErrorKind::Syntax, 10));
        assert!(message.starts_with("expected the end"), "{message}");
    }
}
