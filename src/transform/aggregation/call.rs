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
    pub(super) filter: Option<Expr>,
}

/// The first name is the one that messages and stored meanings use.
pub(in crate::transform) const AGGREGATES: [(Function, &[&str]); 13] = [
    (Function::Count, &["count"]),
    (Function::Sum, &["sum"]),
    (Function::Avg, &["avg", "mean"]),
    (Function::Min, &["min"]),
    (Function::Max, &["max"]),
    (Function::BoolAnd, &["bool_and", "every"]),
    (Function::BoolOr, &["bool_or", "some"]),
    (Function::First, &["first", "first_value"]),
    (Function::Last, &["last", "last_value"]),
    (Function::VarPop, &["var_pop"]),
    (Function::VarSamp, &["var_samp", "variance", "var"]),
    (Function::StddevPop, &["stddev_pop"]),
    (Function::StddevSamp, &["stddev_samp", "stddev"]),
];

/// Aggregates of others, with what to do instead.
const OTHERS: [(&[&str], &str); 5] = [
    (
        &["any_value", "arbitrary"],
        "its result would depend on how batches were cut; use `first`, `last`, `min` or `max`",
    ),
    (&["count_if", "countif"], "use `count(*) FILTER (WHERE …)`"),
    (&["approx_count_distinct", "approx_distinct", "approx_median", "approx_percentile"], LATER),
    (&["approx_percentile_cont", "percentile", "percentile_cont", "median"], LATER),
    (&["top_k", "approx_top_k", "array_agg", "collect_list", "collect_set"], LATER),
];

const LATER: &str = "it comes with a later version";

impl Call {
    pub(super) fn read(scope: Scope<'_>, expr: Expr) -> Result<Self, Refusal> {
        let span = expr.span();
        match expr {
            Expr::Nested(inner) => Self::read(scope, *inner),
            Expr::Function(call) => match named(&call) {
                Some((function, name)) => Self::of(scope, function, name, call),
                None => Err(no_aggregate(scope, &call)),
            },
            other => Err(scope.refuse(NO_MEASURE, span, no_call(&other))),
        }
    }

    fn of(
        scope: Scope<'_>,
        function: Function,
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
        let argument = match <[FunctionArg; 1]>::try_from(list.args) {
            Ok([FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))]) => Some(expr),
            Ok([FunctionArg::Unnamed(FunctionArgExpr::Wildcard)])
                if function == Function::Count =>
            {
                None
            }
            Ok(_) => return Err(scope.refuse(TYPE, span, format!("`{name}` takes a value"))),
            Err(args) => {
                let wanted = if function == Function::Count { " or `*`" } else { "" };
                let found = args.len();
                let message = format!("`{name}` takes one value{wanted}; here are {found}");
                return Err(scope.refuse(TYPE, span, message));
            }
        };
        Ok(Self { function, name, argument, filter: call.filter.map(|filter| *filter) })
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.argument {
            Some(argument) => write!(f, "{}({argument})", self.name)?,
            None => write!(f, "{}(*)", self.name)?,
        }
        self.filter.as_ref().map_or(Ok(()), |filter| write!(f, " FILTER (WHERE {filter})"))
    }
}

fn named(call: &SqlCall) -> Option<(Function, &'static str)> {
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
    if distinct && name == "count" {
        return Some((NO_MEASURE, format!("`count(DISTINCT …)`: {LATER}")));
    }
    if distinct {
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
