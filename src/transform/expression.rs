//! One expression: planned and typed once, then evaluated per batch.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, UInt64Array, new_empty_array};
use arrow::compute::{filter_record_batch, take, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{DFSchema, DataFusionError, Result as PlanResult, plan_err};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::expr::{Cast, TryCast};
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::simplify::SimplifyContext;
use datafusion_expr::{Expr, ExprSchemable};
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion_sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion_sql::sqlparser::ast::{Expr as SqlExpr, Spanned};

use super::context::Context;
use super::error::{Clause, Failure, Refusal, TYPE, TransformError};
use super::functions::SETTINGS;
use super::resolve::Scope;
use super::{arithmetic, bounded, delta_type, fields, guard};
use crate::schema::ddl;

/// What expressions are planned against.
pub(super) struct Planner {
    context: Context,
    schema: Arc<DFSchema>,
}

/// An expression, and whether it can be NULL.
struct Planned {
    physical: Arc<dyn PhysicalExpr>,
    nullable: bool,
}

/// A planned expression, whose results are of a type that Delta Lake has.
pub(super) struct Expression {
    physical: Arc<dyn PhysicalExpr>,
    result: Result<Field, String>,
    clause: Clause,
    /// For messages.
    text: String,
}

impl Planner {
    pub(super) fn new(rows: &SchemaRef) -> PlanResult<Self> {
        let schema = DFSchema::try_from(Arc::clone(rows))?;
        Ok(Self { context: Context::new(), schema: Arc::new(schema) })
    }

    /// Plans an expression whose names have been resolved.
    fn plan(&self, sql: SqlExpr) -> Result<Planned, String> {
        self.physical(sql).map_err(|error| message(&error))
    }

    fn physical(&self, sql: SqlExpr) -> PlanResult<Planned> {
        let options = ParserOptions::new()
            .with_enable_ident_normalization(false)
            .with_parse_float_as_decimal(true)
            .with_map_string_types_to_utf8view(false);
        let planner = SqlToRel::new_with_options(&self.context, options);
        let expr = planner.sql_to_expr(sql, &self.schema, &mut PlannerContext::new())?;

        let settings = Arc::clone(&SETTINGS);
        let context = SimplifyContext::builder()
            .with_schema(Arc::clone(&self.schema))
            .with_config_options(Arc::clone(&settings));
        let simplifier = ExprSimplifier::new(context.build());
        let expr = simplifier.coerce(expr, &self.schema)?;
        self.refuse_units(&expr)?;
        bounded::check(&expr, &simplifier)?;
        let expr = arithmetic::checked(expr, &self.schema)?;
        let expr = guard::mark(expr, &self.schema, &simplifier)?;
        let expr = simplifier.simplify(expr)?;
        // Once more: common factors of several sides have become a side.
        let expr = guard::mark(expr, &self.schema, &simplifier)?;
        let expr = fields::masked(expr, &self.schema)?;
        let nullable = expr.nullable(self.schema.as_ref())?;

        let mut properties = ExecutionProps::new();
        properties.config_options = Some(settings);
        let planning = PhysicalPlanningContext::default();
        let physical = create_physical_expr(&expr, &self.schema, &properties, &planning)?;
        Ok(Planned { physical: guard::guard(physical)?, nullable })
    }

    /// No number becomes a time, nor a time a number, by a cast: Spark counts seconds, Arrow the unit of the type.
    fn refuse_units(&self, expr: &Expr) -> PlanResult<()> {
        expr.apply(|part| {
            if let Expr::Cast(Cast { expr, field }) | Expr::TryCast(TryCast { expr, field }) = part {
                let (from, to) = (expr.get_type(&self.schema)?, field.data_type());
                if from.is_numeric() && is_time(to) {
                    return plan_err!(
                        "a number is cast to a time, and nothing says what it counts; use to_timestamp_seconds(…), to_timestamp_millis(…) or to_timestamp_micros(…)"
                    );
                }
                if is_time(&from) && to.is_numeric() {
                    return plan_err!(
                        "a time is cast to a number, and nothing says what to count; use to_unixtime(…) for seconds, date_part('epoch', …) for fractions of them"
                    );
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(())
    }
}

fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(..) | DataType::Duration(_))
        || matches!(data_type, DataType::Date32 | DataType::Date64)
}

impl Expression {
    /// Resolves and plans `expr`, which `text` shows in messages.
    pub(super) fn planned(
        planner: &Planner,
        rows: &Schema,
        scope: Scope<'_>,
        mut expr: SqlExpr,
        text: String,
    ) -> Result<Self, Refusal> {
        let span = expr.span();
        scope.resolve(&mut expr)?;
        let refuse = |message| scope.refuse(TYPE, span, message);
        let Planned { physical, nullable } = planner.plan(expr).map_err(refuse)?;
        let data_type = physical.data_type(rows).map_err(|error| refuse(error.to_string()))?;
        let result =
            delta_type::of(&data_type).map(|data_type| Field::new("", data_type, nullable));
        Ok(Self { physical, result, clause: scope.clause.clone(), text })
    }

    /// The type and nullability of results; else why Delta Lake can't store them.
    pub(super) fn result(&self) -> Result<&Field, &str> {
        self.result.as_ref().map_err(String::as_str)
    }

    /// The results for each row of `rows`. A failure names the first row that has none.
    pub(super) fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, TransformError> {
        // Some of Arrow's kernels look at all bytes of a buffer, at those of other rows too where `rows` is a slice:
        // only a copy says whether it is these rows that fail.
        let outcome = self.attempt(rows).or_else(|_| self.attempt(&head(rows, rows.num_rows())));
        outcome.map_err(|reason| TransformError::Failed(Box::new(self.failure(rows, reason))))
    }

    /// The results for the rows of `rows` that `kept`, without nulls, keeps: others can't fail, and what stands in their
    /// places means nothing.
    pub(super) fn evaluate_where(
        &self,
        rows: &RecordBatch,
        kept: &BooleanArray,
    ) -> Result<ArrayRef, TransformError> {
        // Most expressions have a value for each row, and then nothing needs to be copied.
        if let Ok(results) = self.attempt(rows) {
            return Ok(results);
        }
        let some = filter_record_batch(rows, kept).expect("a mask of the rows");
        let results = self.evaluate(&some).map_err(|mut error| {
            if let TransformError::Failed(failure) = &mut error {
                let mut places = kept.values().set_indices();
                failure.row = places.nth(failure.row).unwrap_or_default();
            }
            error
        })?;
        let mut next = 0..results.len() as u64;
        let places: UInt64Array =
            kept.values().iter().map(|kept| if kept { next.next() } else { None }).collect();
        Ok(take(&results, &places, None).expect("a place for each result"))
    }

    /// Looks for the first row that fails: the shortest run of rows from the beginning that does.
    fn failure(&self, rows: &RecordBatch, mut reason: &'static str) -> Failure {
        let (mut good, mut bad) = (0, rows.num_rows());
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            match self.attempt(&head(rows, middle)) {
                Ok(_) => good = middle,
                Err(first) => (bad, reason) = (middle, first),
            }
        }
        Failure { clause: self.clause.clone(), expression: self.text.clone(), row: good, reason }
    }

    fn attempt(&self, rows: &RecordBatch) -> Result<ArrayRef, &'static str> {
        let result = self.result().map_err(|_| UNSTORABLE)?;
        // Constants that fail would fail without a record to blame.
        if rows.num_rows() == 0 {
            return Ok(new_empty_array(result.data_type()));
        }
        // The functions are many and not ours: a panic in one must not be the end of the process.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let value = self.physical.evaluate(rows)?.into_array(rows.num_rows())?;
            Ok::<_, DataFusionError>(delta_type::convert(&value, result.data_type())?)
        }));
        let array = match outcome {
            Ok(Ok(array)) => array,
            Ok(Err(error)) => return Err(reason(&error)),
            Err(_panic) => return Err(PANIC),
        };
        if !result.is_nullable() && array.logical_null_count() > 0 {
            return Err(NULL);
        }
        Ok(array)
    }
}

/// A copy of the first rows.
fn head(rows: &RecordBatch, count: usize) -> RecordBatch {
    let first: UInt64Array = (0..count as u64).collect();
    take_record_batch(rows, &first).expect("the rows are there")
}

const UNSTORABLE: &str = "the result can't be stored";
const PANIC: &str = "a function broke down on this value: a bug in the function";
const NULL: &str = "the result is NULL where it can't be: a bug in a function";

/// Why an evaluation failed, without the value: errors of Arrow and DataFusion quote it.
fn reason(error: &DataFusionError) -> &'static str {
    match error.find_root() {
        DataFusionError::ArrowError(error, _) => match error.as_ref() {
            ArrowError::DivideByZero => "division by zero",
            ArrowError::ArithmeticOverflow(_) => "the result is too large for its type",
            ArrowError::CastError(_) | ArrowError::ParseError(_) => {
                "a value can't be read as, or doesn't fit, the type it is cast to; TRY_CAST gives NULL instead"
            }
            ArrowError::InvalidArgumentError(text) if text.contains("precision") => {
                "the result has more digits than its DECIMAL; CAST an operand AS a wider one"
            }
            ArrowError::InvalidArgumentError(text) if text.contains("UTF-8") => {
                "a BINARY is no text in UTF-8; TRY_CAST gives NULL instead"
            }
            ArrowError::OffsetOverflowError(_) => "the results of a batch are larger than 2 GiB",
            _ => OTHER,
        },
        _ => OTHER,
    }
}

const OTHER: &str = "a function can't take this value";

/// A planner's complaint in the words of schemas, without what only concerns DataFusion.
fn message(error: &DataFusionError) -> String {
    let text = match error.find_root() {
        DataFusionError::Plan(text) | DataFusionError::NotImplemented(text) => text.clone(),
        DataFusionError::Internal(text) | DataFusionError::Execution(text) => text.clone(),
        DataFusionError::ArrowError(error, _) => match error.as_ref() {
            ArrowError::CastError(text) | ArrowError::ParseError(text) => text.clone(),
            other => other.to_string(),
        },
        other => other.strip_backtrace(),
    };
    let first = text.split(DataFusionError::BACK_TRACE_SEP).next().unwrap_or_default();
    let first = first.lines().next().unwrap_or_default();
    let first = first.split(" (DataType: ").next().unwrap_or_default();
    let first = first.trim_end_matches("You might need to add explicit type casts.").trim_end();
    in_sql_words(first)
}

/// `Utf8` → `STRING`, and so on, where they stand as words.
fn in_sql_words(text: &str) -> String {
    const TYPES: [(&str, &str); 12] = [
        ("Timestamp(µs, \"UTC\")", "TIMESTAMP"),
        ("Timestamp(µs)", "TIMESTAMP_NTZ"),
        ("Utf8", "STRING"),
        ("Int8", "TINYINT"),
        ("Int16", "SMALLINT"),
        ("Int32", "INT"),
        ("Int64", "BIGINT"),
        ("Float32", "FLOAT"),
        ("Float64", "DOUBLE"),
        ("Date32", "DATE"),
        ("Boolean", "BOOLEAN"),
        ("Decimal128", "DECIMAL"),
    ];
    let mut text = text.to_owned();
    for (arrow, sql) in TYPES {
        let mut from = 0;
        while let Some(found) = text[from..].find(arrow).map(|at| from + at) {
            let end = found + arrow.len();
            let joined = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            if joined(text[..found].chars().next_back()) || joined(text[end..].chars().next()) {
                from = end;
            } else {
                text.replace_range(found..end, sql);
                from = found + sql.len();
            }
        }
    }
    text
}

/// A refusal of an expression's type.
pub(super) fn type_name(data_type: &DataType) -> String {
    ddl::format_type(data_type)
}

/// Where an expression stands.
pub(super) fn refused(clause: &Clause, code: &'static str, message: String) -> Refusal {
    Refusal { clause: clause.clone(), code, place: None, message }
}
