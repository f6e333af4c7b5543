//! The pass over a syntax tree before it is planned: names become the columns' own spelling, and what has no place in
//! an expression over one record is refused where it stands.

use std::ops::ControlFlow;
use std::str::FromStr;

use arrow::array::timezone::Tz;
use arrow::datatypes::Fields;
use datafusion_sql::sqlparser::ast::{
    AccessExpr, CastKind, DataType as SqlType, ExactNumberInfo, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArguments, Ident, ObjectName, Query, Spanned, Value, ValueWithSpan,
    VisitMut, VisitorMut,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::error::{Clause, NOT_FOR_A_RECORD, Refusal, TYPE, UNKNOWN_COLUMN, UNKNOWN_FUNCTION};
use super::functions::{FUNCTIONS, Known};
use super::{names, parse};

/// What the names of an expression can mean.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) clause: &'a Clause,
    pub(super) columns: &'a Fields,
    pub(super) unseen: Unseen<'a>,
}

/// Names that mean something elsewhere: for messages.
#[derive(Clone, Copy)]
pub(super) struct Unseen<'a> {
    pub(super) names: &'a [String],
    /// Why they mean nothing here, and what to do.
    pub(super) why: &'static str,
}

impl Unseen<'_> {
    pub(super) const NONE: Self = Self { names: &[], why: "" };
}

impl Scope<'_> {
    /// Rewrites `expr` so that the planner finds every name as it is spelled.
    pub(super) fn resolve(&self, expr: &mut Expr) -> Result<(), Refusal> {
        let mut resolver = Resolver { scope: self, parameters: Vec::new() };
        match expr.visit(&mut resolver) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(refusal) => Err(*refusal),
        }
    }

    /// The column that a name means.
    pub(super) fn column(&self, name: &Ident) -> Result<usize, Refusal> {
        let known = || self.columns.iter().map(|field| field.name().as_str());
        if let Some(index) = names::position(&name.value, known()) {
            return Ok(index);
        }
        let mut message = format!("no column `{}`", name.value);
        let near = names::did_you_mean(&name.value, known());
        if self.unseen.names.iter().any(|unseen| names::same(unseen, &name.value)) {
            message.push_str(self.unseen.why);
        } else if !near.is_empty() {
            message.push_str(&near);
        } else if name.quote_style == Some('"') {
            message.push_str("; a text stands in single quotes");
        }
        Err(self.refuse(UNKNOWN_COLUMN, name.span, message))
    }

    pub(super) fn refuse(&self, code: &'static str, span: Span, message: String) -> Refusal {
        Refusal { clause: self.clause.clone(), code, place: parse::place(span.start), message }
    }
}

struct Resolver<'a> {
    scope: &'a Scope<'a>,
    /// Of the lambdas around, the innermost last.
    parameters: Vec<Vec<String>>,
}

type Flow = ControlFlow<Box<Refusal>>;

impl VisitorMut for Resolver<'_> {
    type Break = Box<Refusal>;

    fn pre_visit_query(&mut self, query: &mut Query) -> Flow {
        self.refuse(
            NOT_FOR_A_RECORD,
            query.span(),
            "a subquery: an expression sees one record and no tables".into(),
        )
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> Flow {
        let span = expr.span();
        match expr {
            Expr::Function(function) => return self.function(function),
            Expr::Lambda(lambda) => {
                // The planner makes parameters lower-case.
                let names = lambda.params.iter().map(|p| p.name.value.to_lowercase());
                self.parameters.push(names.collect());
            }
            // Names after a dot are fields, not columns.
            Expr::CompoundFieldAccess { access_chain, .. } => {
                for access in access_chain {
                    if let AccessExpr::Dot(field @ Expr::Identifier(_)) = access {
                        *field = text_of(field);
                    }
                }
            }
            Expr::Value(ValueWithSpan { value: Value::Placeholder(name), .. }) => {
                let message = format!("`{name}`: there are no parameters");
                return self.refuse(NOT_FOR_A_RECORD, span, message);
            }
            // A number with an exponent is a DOUBLE, others with a point are decimals, as in Spark.
            Expr::Value(ValueWithSpan { value: Value::Number(digits, _), .. })
                if digits.contains(['e', 'E']) =>
            {
                let digits = Value::SingleQuotedString(digits.clone());
                *expr = cast(value(digits, span), SqlType::Double(ExactNumberInfo::None));
            }
            Expr::AtTimeZone { time_zone, .. } => return self.time_zone(time_zone, span),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> Flow {
        match expr {
            Expr::Lambda(_) => {
                self.parameters.pop();
                ControlFlow::Continue(())
            }
            Expr::Identifier(name) => self.name(name),
            Expr::CompoundIdentifier(names) => {
                let mut names = std::mem::take(names).into_iter();
                let mut root = names.next().expect("a compound identifier has parts");
                self.name(&mut root)?;
                let fields = names.map(|name| {
                    let span = name.span;
                    AccessExpr::Dot(value(Value::SingleQuotedString(name.value), span))
                });
                *expr = Expr::CompoundFieldAccess {
                    access_chain: fields.collect(),
                    root: Box::new(Expr::Identifier(root)),
                };
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

impl Resolver<'_> {
    /// Gives a lambda's parameter or a column its own spelling.
    fn name(&self, name: &mut Ident) -> Flow {
        let parameters = || self.parameters.iter().rev().flatten().map(String::as_str);
        let spelling = match names::position(&name.value, parameters()) {
            Some(index) => {
                parameters().nth(index).expect("the position is one of theirs").to_owned()
            }
            None => match self.scope.column(name) {
                Ok(index) => self.scope.columns[index].name().clone(),
                Err(refusal) => return ControlFlow::Break(Box::new(refusal)),
            },
        };
        name.value = spelling;
        name.quote_style = Some('"');
        ControlFlow::Continue(())
    }

    fn function(&self, function: &mut Function) -> Flow {
        let name = function.name.to_string();
        let span = function.name.span();
        let refused = |message| self.refuse(NOT_FOR_A_RECORD, span, message);
        if function.over.is_some() {
            return refused(format!(
                "`{name}` OVER …: an expression sees one record, not a window of them"
            ));
        }
        match FUNCTIONS.known(&plain(&function.name)) {
            Known::Usable if function.filter.is_some() || !function.within_group.is_empty() => {
                refused(format!("`{name}` is no aggregate: leave FILTER and WITHIN GROUP out"))
            }
            Known::Usable if !matches!(function.args, FunctionArguments::List(_)) => {
                refused(format!("`{name}` needs its arguments in parentheses"))
            }
            Known::Usable => {
                if plain(&function.name) == "from_unixtime" {
                    in_utc(&mut function.args);
                }
                ControlFlow::Continue(())
            }
            Known::Volatile => {
                let time = ["now", "current", "today", "local"]
                    .iter()
                    .any(|word| plain(&function.name).starts_with(word));
                let instead = if time { "; a record's time is `kafka_timestamp`" } else { "" };
                refused(format!(
                    "`{name}` would make the table depend on when it was read{instead}"
                ))
            }
            Known::Aggregate => {
                let one = match plain(&function.name).as_str() {
                    "min" => "; the least of several columns is `least(a, b)`",
                    "max" => "; the greatest of several columns is `greatest(a, b)`",
                    _ => "",
                };
                refused(format!("`{name}` is an aggregate: an expression sees one record{one}"))
            }
            Known::Unnesting => {
                refused(format!("`{name}` makes several rows of one: a record is one row"))
            }
            Known::Unknown => {
                let near = names::did_you_mean(&name, FUNCTIONS.usable().into_iter());
                self.refuse(UNKNOWN_FUNCTION, span, format!("no function `{name}`{near}"))
            }
        }
    }

    fn time_zone(&self, zone: &Expr, span: Span) -> Flow {
        let Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(zone), .. }) = zone else {
            let message = "AT TIME ZONE takes a text: 'Europe/Berlin'".into();
            return self.refuse(TYPE, span, message);
        };
        match Tz::from_str(zone) {
            Ok(_) => ControlFlow::Continue(()),
            Err(_) => self.refuse(TYPE, span, format!("no time zone `{zone}`")),
        }
    }

    fn refuse(&self, code: &'static str, span: Span, message: String) -> Flow {
        ControlFlow::Break(Box::new(self.scope.refuse(code, span, message)))
    }
}

/// `from_unixtime(x)` gives a time without a zone; with one it is the instant that it counts.
fn in_utc(arguments: &mut FunctionArguments) {
    if let FunctionArguments::List(list) = arguments
        && list.args.len() == 1
    {
        let zone = value(Value::SingleQuotedString("UTC".into()), Span::empty());
        list.args.push(FunctionArg::Unnamed(FunctionArgExpr::Expr(zone)));
    }
}

/// A function's name as it is looked up.
pub(super) fn plain(name: &ObjectName) -> String {
    match name.0.as_slice() {
        [part] => {
            part.as_ident().map_or_else(|| name.to_string(), |ident| ident.value.to_lowercase())
        }
        _ => name.to_string(),
    }
}

fn text_of(field: &Expr) -> Expr {
    match field {
        Expr::Identifier(name) => value(Value::SingleQuotedString(name.value.clone()), name.span),
        other => other.clone(),
    }
}

fn value(value: Value, span: Span) -> Expr {
    Expr::Value(ValueWithSpan { value, span })
}

fn cast(expr: Expr, data_type: SqlType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}
