//! SQL text → syntax trees, by a dialect of our own: no statements, only what an expression or a projection list needs.

use std::any::TypeId;

use datafusion_sql::sqlparser::ast::{Expr, SelectItem};
use datafusion_sql::sqlparser::dialect::{Dialect, GenericDialect};
use datafusion_sql::sqlparser::parser::{Parser, ParserError};
use datafusion_sql::sqlparser::tokenizer::{Location, Token};

use super::error::{Clause, Place, Refusal, SYNTAX};

/// The items of a projection list.
pub(super) fn select_items(clause: &Clause, text: &str) -> Result<Vec<SelectItem>, Refusal> {
    parse(clause, text, |parser| parser.parse_projection())
}

/// One item of a projection list.
pub(super) fn select_item(clause: &Clause, text: &str) -> Result<SelectItem, Refusal> {
    parse(clause, text, |parser| parser.parse_select_item())
}

/// One expression.
pub(super) fn expression(clause: &Clause, text: &str) -> Result<Expr, Refusal> {
    parse(clause, text, |parser| parser.parse_expr())
}

fn parse<T>(
    clause: &Clause,
    text: &str,
    read: impl Fn(&mut Parser<'_>) -> Result<T, ParserError>,
) -> Result<T, Refusal> {
    let refuse = |error| refusal(clause, error);
    let mut parser = Parser::new(&Sql).try_with_sql(text).map_err(refuse)?;
    let read = read(&mut parser).map_err(refuse)?;
    let rest = parser.peek_token();
    if rest.token != Token::EOF {
        let wanted = match clause {
            Clause::Select => "a comma or the end",
            _ => "the end",
        };
        let message = format!("expected {wanted}, found `{}`", rest.token);
        let (clause, place) = (clause.clone(), place(rest.span.start));
        return Err(Refusal { clause, code: SYNTAX, place, message });
    }
    Ok(read)
}

/// `None` for what has no place in the text.
pub(super) fn place(at: Location) -> Option<Place> {
    (at.line > 0).then_some(Place { line: at.line, column: at.column })
}

fn refusal(clause: &Clause, error: ParserError) -> Refusal {
    let text = match error {
        ParserError::ParserError(text) | ParserError::TokenizerError(text) => text,
        ParserError::RecursionLimitExceeded => "expressions nest too deep".into(),
    };
    let (message, place) = split_place(&text);
    let message = message.replace("Expected: ", "expected ").replace("found: EOF", "found the end");
    let message = message.replace("found: ", "found ");
    Refusal { clause: clause.clone(), code: SYNTAX, place, message }
}

/// The parser ends its messages with ` at Line: 1, Column: 5`.
fn split_place(text: &str) -> (&str, Option<Place>) {
    let found = text.rsplit_once(" at Line: ").and_then(|(message, at)| {
        let (line, column) = at.split_once(", Column: ")?;
        Some((message, Place { line: line.parse().ok()?, column: column.parse().ok()? }))
    });
    match found {
        Some((message, place)) => (message.trim_end_matches(','), Some(place)),
        None => (text, None),
    }
}

/// Names in double or back quotes, texts in single ones, `x -> …` for lambdas.
#[derive(Debug)]
struct Sql;

impl Dialect for Sql {
    /// Where the parser asks which dialect it is: the permissive one.
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }

    fn is_delimited_identifier_start(&self, c: char) -> bool {
        matches!(c, '"' | '`')
    }

    fn is_identifier_start(&self, c: char) -> bool {
        c.is_alphabetic() || c == '_'
    }

    fn is_identifier_part(&self, c: char) -> bool {
        c.is_alphanumeric() || matches!(c, '_' | '$')
    }

    fn supports_lambda_functions(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_dictionary_syntax(&self) -> bool {
        true
    }

    fn support_map_literal_syntax(&self) -> bool {
        true
    }

    fn supports_struct_literal(&self) -> bool {
        true
    }

    fn supports_array_typedef_with_brackets(&self) -> bool {
        true
    }

    fn supports_select_wildcard_except(&self) -> bool {
        true
    }

    fn supports_select_wildcard_exclude(&self) -> bool {
        true
    }

    fn supports_select_wildcard_replace(&self) -> bool {
        true
    }

    fn supports_select_wildcard_rename(&self) -> bool {
        true
    }

    fn supports_string_escape_constant(&self) -> bool {
        true
    }

    fn supports_unicode_string_literal(&self) -> bool {
        true
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        true
    }

    fn allow_extract_custom(&self) -> bool {
        true
    }

    fn allow_extract_single_quotes(&self) -> bool {
        true
    }

    fn supports_extract_comma_syntax(&self) -> bool {
        true
    }

    fn supports_interval_options(&self) -> bool {
        true
    }

    fn supports_numeric_literal_underscores(&self) -> bool {
        true
    }
}
