//! The text of a measure: one call of an aggregate function. Everything else is refused, with what to do instead.

use std::fmt;
use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    DuplicateTreatment, Expr, Function as SqlCall, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArguments, Spanned, visit_expressions,
};

use crate::transform::error::{NO_MEASURE, NOT_FOR_A_RECORD, SYNTAX, TYPE, UNKNOWN_FUNCTION};
use crate::transform::functions::{FUNCTIONS, Known};
use crate::transform::resolve::{Scope, plain};
use crate::transform::window::Function;
use crate::transform::{Refusal, names};

pub(super) struct Call {
    pub(super) function: Function,
    /// Its first name.
    pub(super) name: &'static str,
    /// `None`: `count(*)`.
    pub(super) argument: Option<Expr>,
    /// What values are ranked by.
    pub(super) rank: Option<Expr>,
    /// The number behind them, as written.
    number: Option<String>,
    pub(super) filter: Option<Expr>,
}

/// What a function takes.
#[derive(Clone, Copy)]
pub(in crate::transform) enum Takes {
    Value(Function),
    /// A value and a share of all, in millionths.
    Share(fn(u32) -> Function),
    /// A value and how many at most.
    Limit(fn(u32) -> Function),
    /// A value, what it is ranked by, and how many at most if it is to be an array.
    Ranked(fn(Option<u32>) -> Function),
}

use Takes::{Limit, Ranked, Share, Value};

/// The first name is the one that messages and stored meanings use.
pub(in crate::transform) const AGGREGATES: [(Takes, &[&str]); 18] = [
    (Value(Function::Count), &["count"]),
    (Value(Function::Sum), &["sum"]),
    (Value(Function::Avg), &["avg", "mean"]),
    (Value(Function::Min), &["min"]),
    (Value(Function::Max), &["max"]),
    (Value(Function::BoolAnd), &["bool_and", "every"]),
    (Value(Function::BoolOr), &["bool_or", "some"]),
    (Value(Function::First), &["first", "first_value"]),
    (Value(Function::Last), &["last", "last_value"]),
    (Value(Function::VarPop), &["var_pop"]),
    (Value(Function::VarSamp), &["var_samp", "variance", "var"]),
    (Value(Function::StddevPop), &["stddev_pop"]),
    (Value(Function::StddevSamp), &["stddev_samp", "stddev"]),
    (Value(Function::ApproxCountDistinct), &["approx_count_distinct", "approx_distinct"]),
    (Share(Function::ApproxPercentile), &["approx_percentile", "percentile_approx"]),
    (Limit(Function::ArrayAgg), &["array_agg"]),
    (Ranked(Function::MinBy), &["min_by", "arg_min"]),
    (Ranked(Function::MaxBy), &["max_by", "arg_max"]),
];

/// The most elements of an array: each epoch that a window gets a row in writes all of them.
const MOST_ELEMENTS: u32 = 1_000;

/// Aggregates of others, with what to do instead.
const OTHERS: [(&[&str], &str); 6] = [
    (
        &["any_value", "arbitrary"],
        "its result would depend on how batches were cut; use `first`, `last`, `min` or `max`",
    ),
    (&["count_if", "countif"], "use `count(*) FILTER (WHERE …)`"),
    (&["median", "approx_median"], "use `approx_percentile(…, 0.5)`"),
    (
        &["percentile", "percentile_cont", "percentile_disc", "approx_percentile_cont"],
        "use `approx_percentile(…, 0.95)`",
    ),
    (&["collect_list"], "use `array_agg(…, 100) FILTER (WHERE … IS NOT NULL)`"),
    (&["collect_set", "top_k", "approx_top_k"], LATER),
];

const LATER: &str = "it comes with a later version";

impl Call {
    pub(super) fn read(scope: Scope<'_>, expr: Expr) -> Result<Self, Refusal> {
        let span = expr.span();
        match expr {
            Expr::Nested(inner) => Self::read(scope, *inner),
            Expr::Function(call) => match named(&call) {
                Some((takes, name)) => Self::of(scope, takes, name, call),
                None => Err(no_aggregate(scope, &call)),
            },
            other => Err(scope.refuse(NO_MEASURE, span, no_call(&other))),
        }
    }

    fn of(
        scope: Scope<'_>,
        takes: Takes,
        name: &'static str,
        call: SqlCall,
    ) -> Result<Self, Refusal> {
        let span = call.name.span();
        if let Some((code, why)) = unfit(name, &call) {
            return Err(scope.refuse(code, span, why));
        }
        let FunctionArguments::List(list) = call.args else {
            let message = format!("`{name}` needs its argument in parentheses");
            return Err(scope.refuse(SYNTAX, span, message));
        };
        let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
        let filter = call.filter.map(|filter| *filter);
        let refuse = |message| Err(scope.refuse(TYPE, span, message));
        if let (Value(Function::Count), [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)], false) =
            (takes, list.args.as_slice(), distinct)
        {
            let function = Function::Count;
            return Ok(Self { function, name, argument: None, rank: None, number: None, filter });
        }
        let values: Option<Vec<&Expr>> = list.args.iter().map(value_of).collect();
        let (argument, rank, number) = match (takes, values.as_deref()) {
            (Value(_), Some([value])) => (*value, None, None),
            (Share(_) | Limit(_), Some([value, number])) => (*value, None, Some(*number)),
            (Ranked(_), Some([value, rank])) => (*value, Some(*rank), None),
            (Ranked(_), Some([value, rank, number])) => (*value, Some(*rank), Some(*number)),
            _ => return refuse(wanted(takes, name)),
        };
        let (argument, rank) = (Some(argument.clone()), rank.cloned());
        let number = number.map(ToString::to_string);
        let Some(function) = function(takes, distinct, number.as_deref()) else {
            let number = number.unwrap_or_default();
            return refuse(format!("{}; here is `{number}`", wanted(takes, name)));
        };
        Ok(Self { function, name, argument, rank, number, filter })
    }
}

/// `None`: the number is none that it takes.
fn function(takes: Takes, distinct: bool, number: Option<&str>) -> Option<Function> {
    match takes {
        Value(_) if distinct => Some(Function::CountDistinct),
        Value(function) => Some(function),
        Share(of) => number.and_then(millionths).map(of),
        Limit(of) => number.and_then(elements).map(of),
        Ranked(of) => match number {
            None => Some(of(None)),
            Some(number) => elements(number).map(|most| of(Some(most))),
        },
    }
}

/// What a function takes, for messages.
fn wanted(takes: Takes, name: &str) -> String {
    match takes {
        Value(Function::Count) => {
            format!("`{name}` takes one value, or `*`; `{name}(DISTINCT …)` takes one value")
        }
        Value(_) => format!("`{name}` takes one value"),
        Share(_) => format!(
            "`{name}` takes a value and a share of 0 to 1, with at most six digits behind the point: `{name}(…, 0.95)`"
        ),
        Limit(_) => format!(
            "`{name}` takes a value and how many it keeps, 1 to {MOST_ELEMENTS}: `{name}(…, 100)`"
        ),
        Ranked(_) => format!(
            "`{name}` takes a value and what it is ranked by: `{name}(x, y)`; for an array, also how many it keeps, 1 to {MOST_ELEMENTS}: `{name}(x, y, 10)`"
        ),
    }
}

fn value_of(argument: &FunctionArg) -> Option<&Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(value),
        _ => None,
    }
}

/// `None`: no number of elements that there can be.
fn elements(number: &str) -> Option<u32> {
    number.parse().ok().filter(|most| (1..=MOST_ELEMENTS).contains(most))
}

/// `0.95` → 950,000; `None`: no share.
fn millionths(share: &str) -> Option<u32> {
    let (whole, fraction) = share.split_once('.').unwrap_or((share, ""));
    let whole: u32 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let digits = format!("{fraction:0<6}");
    let fraction: u32 = (digits.len() == 6).then(|| digits.parse().ok()).flatten()?;
    whole.checked_mul(1_000_000)?.checked_add(fraction).filter(|share| *share <= 1_000_000)
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.argument, &self.number) {
            (Some(argument), number) if self.rank.is_some() || number.is_some() => {
                write!(f, "{}({argument}", self.name)?;
                self.rank.iter().try_for_each(|rank| write!(f, ", {rank}"))?;
                number.iter().try_for_each(|number| write!(f, ", {number}"))?;
                f.write_str(")")?;
            }
            (Some(argument), _) if self.function == Function::CountDistinct => {
                write!(f, "{}(DISTINCT {argument})", self.name)?;
            }
            (Some(argument), _) => write!(f, "{}({argument})", self.name)?,
            (None, _) => write!(f, "{}(*)", self.name)?,
        }
        self.filter.as_ref().map_or(Ok(()), |filter| write!(f, " FILTER (WHERE {filter})"))
    }
}

fn named(call: &SqlCall) -> Option<(Takes, &'static str)> {
    let wanted = plain(&call.name);
    let mut all = AGGREGATES.iter();
    all.find(|(_, names)| names.contains(&wanted.as_str())).map(|(found, names)| (*found, names[0]))
}

/// What a call of an aggregate function has that a measure can't have.
fn unfit(name: &str, call: &SqlCall) -> Option<(&'static str, String)> {
    let (mut distinct, mut clauses) = (false, [].as_slice());
    if let FunctionArguments::List(list) = &call.args {
        distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
        clauses = &list.clauses;
    }
    if call.over.is_some() {
        let message = format!("`{name}` OVER …: leave it out; the windows are those of `window`");
        return Some((NOT_FOR_A_RECORD, message));
    }
    if distinct && name != "count" {
        return Some((NO_MEASURE, format!("`{name}(DISTINCT …)`: leave DISTINCT out")));
    }
    let orders =
        |clause: &FunctionArgumentClause| matches!(clause, FunctionArgumentClause::OrderBy(_));
    if !call.within_group.is_empty() || clauses.iter().any(orders) {
        let message = "ORDER BY: leave it out; rows are in the order of event time, topic, partition and offset";
        return Some((NO_MEASURE, message.to_owned()));
    }
    if call.null_treatment.is_some() {
        let message = "IGNORE NULLS: use `FILTER (WHERE … IS NOT NULL)`; only `first` and `last` take NULL for a value";
        return Some((NO_MEASURE, message.to_owned()));
    }
    if let Some(clause) = clauses.first() {
        return Some((NO_MEASURE, format!("`{name}`: leave `{clause}` out")));
    }
    if call.parameters != FunctionArguments::None {
        return Some((SYNTAX, format!("`{name}` takes one list of arguments")));
    }
    None
}

/// Why a function can't be a measure.
fn no_aggregate(scope: Scope<'_>, call: &SqlCall) -> Refusal {
    let (name, span) = (plain(&call.name), call.name.span());
    let refuse = |code, message| scope.refuse(code, span, message);
    let others = OTHERS.iter().find(|(names, _)| names.contains(&name.as_str()));
    if let Some((_, instead)) = others {
        return refuse(NO_MEASURE, format!("`{name}`: {instead}"));
    }
    let known = || AGGREGATES.iter().flat_map(|(_, names)| names.iter().copied());
    match FUNCTIONS.known(&name) {
        Known::Aggregate => {
            let first = AGGREGATES.map(|(_, names)| names[0]).join(", ");
            refuse(NO_MEASURE, format!("there is no measure `{name}`; there are {first}"))
        }
        Known::Unknown => {
            let near = names::did_you_mean(&name, known());
            refuse(UNKNOWN_FUNCTION, format!("no aggregate function `{name}`{near}"))
        }
        Known::Usable | Known::Volatile | Known::Unnesting => {
            refuse(NO_MEASURE, no_call(&Expr::Function(call.clone())))
        }
    }
}

/// Why an expression can't be a measure.
fn no_call(expr: &Expr) -> String {
    let calls = visit_expressions(expr, |part| match part {
        Expr::Function(call) if named(call).is_some() => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    match calls {
        ControlFlow::Break(()) => {
            "a measure is one call of an aggregate function: make each call a measure, and compute with them in `select`"
        }
        ControlFlow::Continue(()) => {
            "a measure is a call of an aggregate function: `sum(…)`, `max(…)`, `last(…)`"
        }
    }
    .to_owned()
}
