//! What an output with `aggregate` computes of rows: its SQL, planned into windows, keys and measures.
//!
//! Owns what `group_by` and `measures` may hold (docs/reference/expressions.md, "Aggregates"), and which columns the table
//! gets. Guarantees what [`super`] does for each expression, and that a row which the `FILTER` of a measure leaves out
//! can't fail in it. It deliberately computes no window: it gives [`super::window`] what that needs of rows.

mod call;
mod gap;
pub(super) mod meaning;
mod measure;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::{
    DataType, Field, FieldRef, Int64Type, Schema, SchemaRef, TimestampMicrosecondType,
};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion_sql::sqlparser::ast::{Ident, SelectItem, Spanned};

#[cfg(test)]
pub(super) use self::call::AGGREGATES;
use self::gap::Gap;
use self::measure::Planned;
use super::deduplication::Distinct;
use super::error::{NAME, SYNTAX, TYPE};
use super::expression::{Expression, Planner, refused, type_name};
use super::projection::{self, Projection};
use super::resolve::{Scope, Unseen};
use super::window::{
    self, Aligned, Argument, BOUNDS, Kind, Lateness, Micros, WindowError, WindowPlan,
};
use super::{Clause, Refusal, TransformError, names, parse};
use crate::config::{self, MetadataColumn};
use crate::schema::timestamp_type;

/// A planned `aggregate`, with the `where` before it and the `select` behind it.
pub struct Aggregation {
    /// `None`: every row.
    filter: Option<Expression>,
    /// The column with event times.
    time: usize,
    /// Where duplicates are dropped before.
    distinct: Option<Distinct>,
    /// Where rows have gaps of their own.
    gap: Option<Gap>,
    /// Each of one column.
    keys: Vec<Projection>,
    measures: Vec<Planned>,
    windows: Arc<WindowPlan>,
    /// Where the columns, as they are written, are among those of `windows`.
    order: Vec<usize>,
    /// What `select` sees: those columns, and that of the epoch if it is wanted.
    results: SchemaRef,
    /// `None`: every column as it is.
    projection: Option<Projection>,
    schema: SchemaRef,
    meaning: BTreeMap<String, String>,
}

impl Aggregation {
    /// `rows`: the columns of a chunk that the output sees. `deduplicate`: the step before. `filter`: the text of `where`, which
    /// comes first; `select` is over the results.
    pub fn new(
        rows: &SchemaRef,
        aggregate: &config::Aggregate,
        deduplicate: Option<&config::Deduplicate>,
        filter: Option<&str>,
        select: Option<&str>,
    ) -> Result<Self, TransformError> {
        Self::refusing(rows, aggregate, deduplicate, filter, select)
            .map_err(|refusal| TransformError::Refused(Box::new(refusal)))
    }

    fn refusing(
        rows: &SchemaRef,
        aggregate: &config::Aggregate,
        deduplicate: Option<&config::Deduplicate>,
        filter: Option<&str>,
        select: Option<&str>,
    ) -> Result<Self, Refusal> {
        let time = event_time(rows, &aggregate.watermark.column)?;
        let measures = aggregate.measures.iter().map(|measure| measure.name.clone());
        let own = BOUNDS.map(str::to_owned).into_iter().chain(aggregate.epoch_column.clone());
        let results: Vec<_> = own.chain(measures).collect();
        let why = " in the record: it is a result of the aggregation, which comes later";
        let unseen = Unseen { names: &results, why };
        let planner = super::planner(&Clause::Window, rows)?;
        let filter =
            filter.map(|text| super::filter_of(&planner, rows, unseen, text)).transpose()?;
        let sight = Sight { planner: &planner, rows, unseen };
        let distinct = deduplicate.map(|of| Distinct::new(&sight, of)).transpose()?;
        let gap = match &aggregate.window {
            config::Window::Session { gap: config::Gap::OfRecord { seconds } } => {
                Some(Gap::new(&sight, seconds)?)
            }
            _ => None,
        };
        let keys = aggregate.group_by.iter().enumerate();
        let keys = keys.map(|(index, text)| key(&sight, &Clause::GroupBy(index), text));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        // State doesn't depend on the order in which measures are written: some tools sort it.
        let mut sorted: Vec<_> = aggregate.measures.iter().collect();
        sorted.sort_by_key(|spec| &spec.name);
        let measures = sorted.iter().map(|spec| Planned::new(&sight, spec));
        let measures = measures.collect::<Result<Vec<_>, _>>()?;
        refuse_names(&keys, aggregate)?;

        let mut meaning = meaning::of(aggregate, gap.as_ref(), &keys, &measures);
        meaning.extend(distinct.iter().flat_map(Distinct::meaning));
        let keys: Vec<_> = keys.into_iter().map(|key| key.column).collect();
        let windows = Arc::new(windows(aggregate, distinct.as_ref(), &keys, &measures)?);
        let names = rows.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
        let why = " in the results: add it to `group_by`, or make a measure of it";
        let unseen = Unseen { names: &names, why };
        let (order, results) = as_written(windows.schema(), aggregate);
        let projection =
            select.map(|text| super::projection(&results, unseen, text)).transpose()?;
        if let (config::Emit::Changes { .. }, Some(projection)) = (aggregate.emit, &projection) {
            refuse_lost_ends(&windows, &results, projection)?;
        }
        let schema = Arc::clone(projection.as_ref().map_or(&results, Projection::schema));
        Ok(Self {
            filter,
            time,
            distinct,
            gap,
            keys,
            measures,
            windows,
            order,
            results,
            projection,
            schema,
            meaning,
        })
    }

    /// The table's columns: those of `select`, if there is one.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub fn windows(&self) -> &Arc<WindowPlan> {
        &self.windows
    }

    /// Which rows `where` keeps, without nulls; `None`: all. NULL counts as false.
    pub fn kept(&self, rows: &RecordBatch) -> Result<Option<BooleanArray>, TransformError> {
        self.filter.as_ref().map_or(Ok(None), |filter| super::kept(filter, rows))
    }

    /// The event time of each row in microseconds; null where there is none.
    pub fn event_times(&self, rows: &RecordBatch) -> Result<Int64Array, TransformError> {
        let times = rows.column(self.time).as_primitive::<TimestampMicrosecondType>();
        Ok(times.reinterpret_cast::<Int64Type>())
    }

    /// How long a session goes on after each of the rows that are kept, in microseconds; `None`: rows don't say.
    pub fn gaps(
        &self,
        rows: &RecordBatch,
        kept: Option<&BooleanArray>,
    ) -> Result<Option<Int64Array>, TransformError> {
        self.gap.as_ref().map(|gap| gap.micros(rows, kept)).transpose()
    }

    /// What rows are told apart by, if duplicates are dropped before they count.
    pub fn distinct(&self, counted: &RecordBatch) -> Result<Vec<ArrayRef>, TransformError> {
        let columns = self.distinct.as_ref().map(|distinct| distinct.columns(counted));
        Ok(columns.transpose()?.unwrap_or_default())
    }

    /// The columns of `group_by`. Give it rows that count: an expression may have no value for others.
    pub fn keys(&self, counted: &RecordBatch) -> Result<Vec<ArrayRef>, TransformError> {
        let columns = self.keys.iter().map(|key| key.columns(counted));
        Ok(columns.collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// One per measure, of rows that count.
    pub fn arguments(&self, counted: &RecordBatch) -> Result<Vec<Argument>, TransformError> {
        self.measures.iter().map(|measure| measure.argument(counted)).collect()
    }

    /// Rows of windows as the table has them. `epoch`: the one that writes them.
    pub fn select(&self, results: &RecordBatch, epoch: u64) -> Result<RecordBatch, TransformError> {
        let columns = self.order.iter().map(|column| Arc::clone(results.column(*column)));
        let mut columns: Vec<ArrayRef> = columns.collect();
        if columns.len() < self.results.fields().len() {
            let epoch =
                i64::try_from(epoch).expect("an epoch is a commit, of which there are fewer");
            columns.push(Arc::new(Int64Array::from_value(epoch, results.num_rows())));
        }
        let size = RecordBatchOptions::new().with_row_count(Some(results.num_rows()));
        let results = RecordBatch::try_new_with_options(Arc::clone(&self.results), columns, &size);
        let results = results.expect("they are the columns of windows");
        match &self.projection {
            None => Ok(results),
            Some(list) => list.select(&results),
        }
    }

    /// What gives stored state its meaning, part by part: state can't be read with another.
    pub fn meaning(&self) -> BTreeMap<String, String> {
        self.meaning.clone()
    }
}

/// The columns of windows with the measures in the order in which they are written, and that of the epoch; and where each of
/// those of windows is.
fn as_written(windows: &SchemaRef, aggregate: &config::Aggregate) -> (Vec<usize>, SchemaRef) {
    let before = windows.fields().len() - aggregate.measures.len();
    let measures = aggregate.measures.iter();
    let place = |measure: &config::MeasureSpec| {
        windows.index_of(&measure.name).expect("each measure is a column")
    };
    let order: Vec<usize> = (0..before).chain(measures.map(place)).collect();
    let mut results: Vec<FieldRef> =
        order.iter().map(|column| Arc::clone(&windows.fields()[*column])).collect();
    let epoch = aggregate.epoch_column.iter();
    results.extend(epoch.map(|name| Arc::new(Field::new(name, DataType::Int64, false))));
    (order, Arc::new(Schema::new(results)))
}

/// What expressions over a record are planned with.
pub(super) struct Sight<'a> {
    pub(super) planner: &'a Planner,
    pub(super) rows: &'a SchemaRef,
    pub(super) unseen: Unseen<'a>,
}

impl<'a> Sight<'a> {
    pub(super) fn scope(&self, clause: &'a Clause) -> Scope<'a> {
        Scope { clause, columns: self.rows.fields(), unseen: self.unseen }
    }
}

/// An item of `group_by`.
struct Key {
    column: Projection,
    /// Without its name.
    text: String,
}

impl Key {
    fn field(&self) -> &FieldRef {
        field(&self.column)
    }
}

fn field(key: &Projection) -> &FieldRef {
    &key.schema().fields()[0]
}

/// Finds the column with event times.
pub(super) fn event_time(rows: &SchemaRef, column: &str) -> Result<usize, Refusal> {
    let clause = &Clause::Watermark;
    let scope = Scope { clause, columns: rows.fields(), unseen: Unseen::NONE };
    let index = scope.column(&Ident::new(column)).map_err(|refusal| {
        let metadata = MetadataColumn::Timestamp;
        if !names::same(column, metadata.column()) {
            return refusal;
        }
        let word = metadata.word();
        let message = format!("no column `{column}`; add `{word}` to `metadata_columns`");
        Refusal { message, ..refusal }
    })?;
    let found = rows.field(index).data_type();
    if found == &timestamp_type() {
        return Ok(index);
    }
    let message = format!(
        "`{column}` is {}, and an event time is an instant; declare the column as TIMESTAMP, with its format in `timestamps`",
        type_name(found)
    );
    Err(refused(clause, TYPE, message))
}

fn key(sight: &Sight<'_>, clause: &Clause, text: &str) -> Result<Key, Refusal> {
    let scope = sight.scope(clause);
    let item = parse::select_item(clause, text)?;
    let text = match &item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => expr.to_string(),
        SelectItem::Wildcard(_) => {
            let message = "`*`: name each column that rows are grouped by".into();
            return Err(scope.refuse(SYNTAX, item.span(), message));
        }
        // The projection has a word for these.
        _ => String::new(),
    };
    let span = item.span();
    let column = Projection::new(sight.planner, sight.rows, scope, &[item])?;
    let key = Key { column, text };
    let field = key.field();
    if field.data_type().is_nested() {
        let message = format!(
            "`{}` is {}, and rows can't be grouped by nested columns; take a field or an element of it",
            field.name(),
            type_name(field.data_type())
        );
        return Err(scope.refuse(TYPE, span, message));
    }
    Ok(key)
}

/// Refuses names of results that can't be columns of one table.
fn refuse_names(keys: &[Key], aggregate: &config::Aggregate) -> Result<(), Refusal> {
    let keys = keys.iter().map(|key| key.field().name().as_str()).enumerate();
    let keys = keys.map(|(index, name)| (Clause::GroupBy(index), name, "another `AS name`"));
    let measures = aggregate.measures.iter().map(|measure| measure.name.as_str());
    let measures = measures.map(|name| (Clause::Measure(name.into()), name, "another name"));
    let epoch = aggregate.epoch_column.iter().map(|name| (Clause::Epoch, &**name, "another name"));
    let mut taken: Vec<&str> = BOUNDS.to_vec();
    for (clause, name, instead) in keys.chain(measures).chain(epoch) {
        let is_measure = matches!(clause, Clause::Measure(_) | Clause::Epoch);
        let why = match taken.iter().find(|twin| names::same(twin, name)) {
            Some(twin) if BOUNDS.contains(twin) => Some(format!("windows have a column `{twin}`")),
            Some(twin) if *twin == name => Some(format!("`{name}` comes twice")),
            Some(twin) => Some(format!(
                "`{twin}` and `{name}` are the same name to Delta Lake, which ignores case"
            )),
            // Those of keys have been looked at: they may be metadata columns.
            None if is_measure => projection::unfit(name, ""),
            None => None,
        };
        if let Some(why) = why {
            return Err(refused(&clause, NAME, format!("{why}; use {instead}")));
        }
        taken.push(name);
    }
    Ok(())
}

/// Rows of open windows are found by their ends when they are replaced.
fn refuse_lost_ends(
    windows: &WindowPlan,
    results: &SchemaRef,
    projection: &Projection,
) -> Result<(), Refusal> {
    let Some(column) = windows.end_column() else { return Ok(()) };
    if projection.keeps(results, column) {
        return Ok(());
    }
    let message = format!(
        "with `emit: changes` the table needs the column `{column}` as it is: rows of open windows are found by it; add it to the list"
    );
    Err(refused(&Clause::Select, NAME, message))
}

fn windows(
    aggregate: &config::Aggregate,
    distinct: Option<&Distinct>,
    keys: &[Projection],
    measures: &[Planned],
) -> Result<WindowPlan, Refusal> {
    let refuse = |error: WindowError| refused(&Clause::Window, error.code(), error.to_string());
    // Whole days of UTC are all of one length.
    let zone = |zone: Option<chrono_tz::Tz>| zone.filter(|zone| *zone != chrono_tz::UTC);
    let kind = match aggregate.window {
        config::Window::Tumbling { size, offset, timezone } => {
            let size = micros(size);
            Aligned::new(size, size, micros(offset), zone(timezone)).map(Kind::Aligned)
        }
        config::Window::Sliding { size, slide, offset, timezone } => {
            Aligned::new(micros(size), micros(slide), micros(offset), zone(timezone))
                .map(Kind::Aligned)
        }
        config::Window::Session { ref gap } => Ok(Kind::Session(match gap {
            config::Gap::Fixed(gap) => window::Gap::Fixed(micros(*gap)),
            config::Gap::OfRecord { .. } => window::Gap::OfRow,
        })),
        config::Window::None => Ok(Kind::Unbounded),
    };
    let watermark = &aggregate.watermark;
    // Windows that take late rows close so much later; until then the table has what they come to.
    let allowed = match aggregate.late_rows {
        config::LateRows::Update { allowed_lateness } => allowed_lateness,
        config::LateRows::Drop | config::LateRows::DeadLetter => std::time::Duration::ZERO,
    };
    let lateness = Lateness {
        delay: micros(watermark.delay.saturating_add(allowed)),
        max_future: watermark.max_future.map(micros),
    };
    let keys = keys.iter().map(|key| Arc::clone(field(key))).collect();
    let measures = measures.iter().map(|planned| planned.measure.clone()).collect();
    let plan = kind.and_then(|kind| WindowPlan::new(kind, lateness, keys, measures));
    let plan = plan.and_then(|plan| match distinct {
        Some(distinct) => plan.of_distinct(distinct.within, distinct.first),
        None => Ok(plan),
    });
    plan.map_err(refuse)
}

/// Whoever plans windows refuses what is too long.
pub(super) fn micros(length: std::time::Duration) -> Micros {
    Micros::try_from(length.as_micros()).unwrap_or(Micros::MAX)
}
