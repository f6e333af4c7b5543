//! What an output with `deduplicate` computes of rows: its SQL, planned into keys, and the rows that the table has of them.
//!
//! Rows are told apart by what `keys` give of a record, whether or not `select` shows it. Guarantees what [`super`] does for
//! each expression. It deliberately drops no row: it gives [`super::window`] what that needs of rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use datafusion_sql::sqlparser::ast::Spanned;

use super::aggregation::{Sight, event_time, meaning, micros};
use super::error::{RESULT_TYPE, TYPE};
use super::expression::{Expression, refused, type_name};
use super::resolve::Unseen;
use super::window::{First, Lateness, Micros, WindowPlan};
use super::{Clause, Plan, Refusal, TransformError, parse};
use crate::config::{self, DuplicateOrder};
use crate::schema::ddl;

/// A planned `deduplicate`, with the `where` before it and the `select` of the rows that stay.
pub struct Deduplication {
    rows: Plan,
    /// The column with event times.
    time: usize,
    distinct: Distinct,
    windows: Arc<WindowPlan>,
    meaning: BTreeMap<String, String>,
}

impl Deduplication {
    /// `rows`: the columns of a chunk that the output sees.
    pub fn new(
        rows: &SchemaRef,
        deduplicate: &config::Deduplicate,
        filter: Option<&str>,
        select: Option<&str>,
    ) -> Result<Self, TransformError> {
        Self::refusing(rows, deduplicate, filter, select)
            .map_err(|refusal| TransformError::Refused(Box::new(refusal)))
    }

    fn refusing(
        rows: &SchemaRef,
        deduplicate: &config::Deduplicate,
        filter: Option<&str>,
        select: Option<&str>,
    ) -> Result<Self, Refusal> {
        let time = event_time(rows, &deduplicate.watermark.column)?;
        let planner = super::planner(&Clause::Window, rows)?;
        let sight = Sight { planner: &planner, rows, unseen: Unseen::NONE };
        let distinct = Distinct::new(&sight, deduplicate)?;
        let plan = Plan::refusing(rows, select, filter)?;
        let watermark = &deduplicate.watermark;
        let lateness = Lateness {
            delay: micros(watermark.delay),
            max_future: watermark.max_future.map(micros),
        };
        let keys = distinct.keys.iter().map(Key::field).collect();
        let by = (distinct.within, distinct.first);
        let windows = WindowPlan::deduplicating(by, lateness, keys, plan.schema());
        let windows =
            windows.map_err(|error| refused(&Clause::Window, error.code(), error.to_string()))?;
        let meaning = meaning_of(deduplicate, &distinct, plan.schema());
        Ok(Self { rows: plan, time, distinct, windows: Arc::new(windows), meaning })
    }

    /// The table's columns.
    pub fn schema(&self) -> &SchemaRef {
        self.rows.schema()
    }

    pub fn windows(&self) -> &Arc<WindowPlan> {
        &self.windows
    }

    /// Which rows `where` keeps, without nulls; `None`: all. NULL counts as false.
    pub fn kept(&self, rows: &RecordBatch) -> Result<Option<BooleanArray>, TransformError> {
        self.rows.filter(rows)
    }

    /// The event time of each row in microseconds; null where there is none.
    pub fn event_times(&self, rows: &RecordBatch) -> Result<Int64Array, TransformError> {
        let times = rows.column(self.time).as_primitive::<TimestampMicrosecondType>();
        Ok(times.reinterpret_cast::<Int64Type>())
    }

    /// What rows are told apart by. Give it rows that count: an expression may have no value for others.
    pub fn distinct(&self, counted: &RecordBatch) -> Result<Vec<ArrayRef>, TransformError> {
        self.distinct.columns(counted)
    }

    /// Rows as the table has them. The same holds.
    pub fn select(&self, counted: &RecordBatch) -> Result<RecordBatch, TransformError> {
        self.rows.select(counted)
    }

    /// What gives stored state its meaning, part by part: state can't be read with another.
    pub fn meaning(&self) -> BTreeMap<String, String> {
        self.meaning.clone()
    }
}

/// Which rows are duplicates of each other.
pub(super) struct Distinct {
    keys: Vec<Key>,
    pub(super) within: Micros,
    pub(super) first: First,
    meaning: BTreeMap<String, String>,
}

impl Distinct {
    pub(super) fn new(
        sight: &Sight<'_>,
        deduplicate: &config::Deduplicate,
    ) -> Result<Self, Refusal> {
        let config::Deduplicate { keys, within, order, .. } = deduplicate;
        let keys = keys.iter().enumerate();
        let keys = keys.map(|(index, text)| Key::new(sight, index, text));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let each =
            keys.iter().map(|key| format!("{} {}", key.text, ddl::format_type(&key.data_type)));
        let meaning = BTreeMap::from([
            ("deduplicate.keys".to_owned(), each.collect::<Vec<_>>().join(", ")),
            ("deduplicate.within".to_owned(), meaning::long(*within)),
            ("deduplicate.order".to_owned(), order.word().to_owned()),
        ]);
        Ok(Self { keys, within: micros(*within), first: (*order).into(), meaning })
    }

    /// What rows are told apart by.
    pub(super) fn columns(&self, counted: &RecordBatch) -> Result<Vec<ArrayRef>, TransformError> {
        self.keys.iter().map(|key| key.expression.evaluate(counted)).collect()
    }

    /// What gives the state of deduplication its meaning.
    pub(super) fn meaning(&self) -> BTreeMap<String, String> {
        self.meaning.clone()
    }
}

impl From<DuplicateOrder> for First {
    fn from(order: DuplicateOrder) -> Self {
        match order {
            DuplicateOrder::Arrival => Self::ByArrival,
            DuplicateOrder::EventTime => Self::ByEventTime,
        }
    }
}

/// An item of `keys`.
struct Key {
    expression: Expression,
    text: String,
    data_type: DataType,
}

impl Key {
    fn new(sight: &Sight<'_>, index: usize, text: &str) -> Result<Self, Refusal> {
        let clause = &Clause::Key(index);
        let scope = sight.scope(clause);
        let expr = parse::expression(clause, text)?;
        let (span, text) = (Spanned::span(&expr), expr.to_string());
        let expression = Expression::planned(sight.planner, sight.rows, scope, expr, text.clone())?;
        let data_type = match expression.result() {
            Ok(field) => field.data_type().clone(),
            Err(why) => return Err(scope.refuse(RESULT_TYPE, span, format!("`{text}` {why}"))),
        };
        if data_type.is_nested() {
            let message = format!(
                "`{text}` is {}, and rows can't be told apart by nested columns; take a field or an element of it",
                type_name(&data_type)
            );
            return Err(scope.refuse(TYPE, span, message));
        }
        Ok(Self { expression, text, data_type })
    }

    fn field(&self) -> FieldRef {
        Arc::new(Field::new(&self.text, self.data_type.clone(), true))
    }
}

/// As for windows: neither `where` nor the delay is part of it.
fn meaning_of(
    deduplicate: &config::Deduplicate,
    distinct: &Distinct,
    columns: &SchemaRef,
) -> BTreeMap<String, String> {
    let mut parts = distinct.meaning();
    parts.insert("state".to_owned(), meaning::STATE_FORM.to_string());
    let column = deduplicate.watermark.column.to_lowercase();
    parts.insert("watermark.column".to_owned(), column);
    if distinct.first == First::ByEventTime {
        // Rows wait as the table is to have them.
        let columns = columns.fields().iter();
        let columns = columns
            .map(|column| format!("{} {}", column.name(), ddl::format_type(column.data_type())));
        parts.insert("columns".to_owned(), columns.collect::<Vec<_>>().join(", "));
    }
    parts
}
