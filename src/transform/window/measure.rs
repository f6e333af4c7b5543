//! Measures: which accumulator computes one, of which types it takes values, keeps states and gives results.
//!
//! A state is a few columns, and merging two states is what their accumulator does with them. Of float sums, sketches and
//! lists with a limit it is one BINARY column.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, Fields, Schema};
use arrow::error::ArrowError;
use datafusion_common::DataFusionError;
use datafusion_expr::{AggregateUDF, GroupsAccumulator};
use datafusion_functions_aggregate::bool_and_or::{bool_and_udaf, bool_or_udaf};
use datafusion_functions_aggregate::count::count_udaf;
use datafusion_functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion_physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion_physical_expr::expressions::Column;

use super::distinct::Distinct;
use super::distinct_values::DistinctValues;
use super::error::WindowError;
use super::exact::{Exact, Outcome};
use super::first_last::FirstLast;
use super::list::List;
use super::moments::{Moments, Over};
use super::percentile::Percentile;
use super::ranked::{self, Ranked};
use super::sketch::{self, Sketches};
use super::{codec, extreme};
use crate::schema::{ddl, list_type};

/// What a measure computes of its argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    Count,
    CountDistinct,
    Sum,
    Avg,
    Min,
    Max,
    BoolAnd,
    BoolOr,
    First,
    Last,
    VarPop,
    VarSamp,
    StddevPop,
    StddevSamp,
    ApproxCountDistinct,
    /// The share of values that are not above the result, in millionths.
    ApproxPercentile(u32),
    /// The first values by the one order, so many at most.
    ArrayAgg(u32),
    /// Of a struct: its first field where the second is smallest. With a number, an array of so many.
    MinBy(Option<u32>),
    MaxBy(Option<u32>),
}

/// A measure of windows: one column of the table.
#[derive(Debug, Clone)]
pub struct Measure {
    name: String,
    /// What its argument is cast to; `None`: there is none, rows are counted.
    input: Option<DataType>,
    result: DataType,
    states: Vec<DataType>,
    by: By,
}

/// Who computes it.
#[derive(Debug, Clone)]
enum By {
    DataFusion(Box<AggregateFunctionExpr>),
    Exact(Outcome),
    Moments(Moments),
    SmallestFloat,
    LargestFloat,
    First,
    Last,
    Distinct,
    DistinctValues,
    Percentile(u32),
    List(u32),
    Ranked { limit: Option<u32>, largest: bool },
}

impl Measure {
    /// `argument` is the type of the expression in parentheses; `None`: `count(*)`.
    pub fn new(
        name: &str,
        function: Function,
        argument: Option<&DataType>,
    ) -> Result<Self, WindowError> {
        let refused = || {
            let argument = argument.map_or_else(|| "*".to_owned(), ddl::format_type);
            let message = format!("`{name}`: there is no {function:?} of {argument}");
            WindowError::Refused(message)
        };
        let Some(argument) = argument else {
            let counts = Self::by(name, &count_udaf(), &DataType::Int64)?;
            let rows = Self { input: None, ..counts };
            return if function == Function::Count { Ok(rows) } else { Err(refused()) };
        };
        Self::of(name, function, argument)?.ok_or_else(refused)
    }

    /// `None`: the function takes no such argument.
    fn of(
        name: &str,
        function: Function,
        argument: &DataType,
    ) -> Result<Option<Self>, WindowError> {
        use DataType::{Boolean, Decimal128, Float64, Int64};
        let float = argument.is_floating();
        let measure = |by, input: &DataType, result: &DataType, states| {
            let (name, input, result) = (name.to_owned(), Some(input.clone()), result.clone());
            Ok(Self { name, input, result, states, by })
        };
        let exact = |outcome, input: &DataType, result: &DataType| {
            measure(By::Exact(outcome), input, result, Exact::state_types())
        };
        let moments =
            |moments| measure(By::Moments(moments), &Float64, &Float64, sketch::state_types());
        let datafusion = |udaf: Arc<AggregateUDF>, input: &DataType| Self::by(name, &udaf, input);
        let planned = match (function, argument) {
            (Function::Count, _) => datafusion(count_udaf(), argument),
            (Function::Sum, _) if argument.is_signed_integer() => {
                exact(Outcome::Sum, &Int64, &Int64)
            }
            (Function::Sum, Decimal128(precision, scale)) => {
                let (precision, scale) = ((precision + 10).min(DECIMAL128_MAX_PRECISION), *scale);
                let result = Decimal128(precision, scale);
                exact(Outcome::DecimalSum { precision, scale }, argument, &result)
            }
            (Function::Sum, _) if float => moments(Moments::Sum),
            (Function::Avg, _) if argument.is_signed_integer() => {
                exact(Outcome::Average, &Int64, &Float64)
            }
            (Function::Avg, Decimal128(precision, scale)) => {
                let most = DECIMAL128_MAX_PRECISION;
                let wider = (scale + 4).min(most as i8);
                let digits = (wider - scale) as u8;
                let (precision, scale) = ((precision + 4).min(most), wider);
                let outcome = Outcome::DecimalAverage { precision, scale, digits };
                exact(outcome, argument, &Decimal128(precision, scale))
            }
            (Function::Avg, _) if float => moments(Moments::Average),
            (Function::Min, _) if float => {
                measure(By::SmallestFloat, &Float64, argument, vec![Float64])
            }
            (Function::Max, _) if float => {
                measure(By::LargestFloat, &Float64, argument, vec![Float64])
            }
            (Function::Min | Function::BoolAnd, Boolean) => datafusion(bool_and_udaf(), argument),
            (Function::Max | Function::BoolOr, Boolean) => datafusion(bool_or_udaf(), argument),
            (Function::Min, _) if codec::encodes(argument) => datafusion(min_udaf(), argument),
            (Function::Max, _) if codec::encodes(argument) => datafusion(max_udaf(), argument),
            (Function::First, _) if codec::encodes(argument) => {
                measure(By::First, argument, argument, FirstLast::state_types(argument))
            }
            (Function::Last, _) if codec::encodes(argument) => {
                measure(By::Last, argument, argument, FirstLast::state_types(argument))
            }
            (Function::CountDistinct, _) if codec::encodes(argument) => {
                measure(By::DistinctValues, &compared(argument), &Int64, sketch::state_types())
            }
            (Function::ApproxCountDistinct, _) if codec::encodes(argument) => {
                measure(By::Distinct, &compared(argument), &Int64, sketch::state_types())
            }
            (Function::ApproxPercentile(millionths), _) if is_number(argument) => {
                measure(By::Percentile(millionths), &Float64, &Float64, sketch::state_types())
            }
            (Function::ArrayAgg(limit), _) if codec::encodes(argument) => {
                let list = list_type(argument.clone());
                measure(By::List(limit), argument, &list, sketch::state_types())
            }
            (Function::MinBy(limit) | Function::MaxBy(limit), DataType::Struct(pair)) => {
                let largest = matches!(function, Function::MaxBy(_));
                let Some((input, result)) = ranked_types(pair, limit.is_some()) else {
                    return Ok(None);
                };
                let by = By::Ranked { limit, largest };
                measure(by, &input, &result, sketch::state_types())
            }
            (Function::VarPop, _) if is_number(argument) => {
                moments(Moments::Variance(Over::Population))
            }
            (Function::VarSamp, _) if is_number(argument) => {
                moments(Moments::Variance(Over::Sample))
            }
            (Function::StddevPop, _) if is_number(argument) => {
                moments(Moments::Deviation(Over::Population))
            }
            (Function::StddevSamp, _) if is_number(argument) => {
                moments(Moments::Deviation(Over::Sample))
            }
            _ => return Ok(None),
        };
        planned.map(Some)
    }

    fn by(name: &str, udaf: &Arc<AggregateUDF>, input: &DataType) -> Result<Self, WindowError> {
        let schema = Schema::new(vec![Field::new("x", input.clone(), true)]);
        let column = Arc::new(Column::new("x", 0));
        let expr = AggregateExprBuilder::new(Arc::clone(udaf), vec![column])
            .schema(Arc::new(schema))
            .alias(name)
            .build()
            .map_err(|error| broken(&error))?;
        let states = expr.state_fields().map_err(|error| broken(&error))?;
        Ok(Self {
            name: name.to_owned(),
            input: Some(input.clone()),
            result: expr.field().data_type().clone(),
            states: states.iter().map(|field| field.data_type().clone()).collect(),
            by: By::DataFusion(Box::new(expr)),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The column of the table. Without a value a measure is NULL, but for counts.
    pub fn result(&self) -> &DataType {
        &self.result
    }

    /// The columns that its state is kept in, and what they are of where their types don't say it.
    pub fn stored(&self) -> String {
        let states: Vec<_> = self.states.iter().map(ddl::format_type).collect();
        match (&self.by, &self.input) {
            (By::Distinct | By::DistinctValues | By::Ranked { .. }, Some(of)) => {
                format!("{} of {}", states.join(", "), ddl::format_type(of))
            }
            _ => states.join(", "),
        }
    }

    pub(super) fn states(&self) -> &[DataType] {
        &self.states
    }

    /// Whether rows have to be given an [`Order`](super::first_last::Order).
    pub(super) fn is_ordered(&self) -> bool {
        matches!(self.by, By::First | By::Last | By::List(_) | By::Ranked { .. })
    }

    /// The type of the values that the accumulator takes; `None`: it counts rows.
    pub(super) fn takes(&self) -> Option<&DataType> {
        self.input.as_ref()
    }

    /// The argument as the accumulator takes it. No cast that is planned can fail or make a NULL.
    pub(super) fn input(&self, argument: &ArrayRef) -> Result<ArrayRef, WindowError> {
        cast(argument, self.input.as_ref().unwrap_or(argument.data_type()))
    }

    /// The accumulator's results as the table has them.
    pub(super) fn output(&self, results: &ArrayRef) -> Result<ArrayRef, WindowError> {
        cast(results, &self.result)
    }

    pub(super) fn accumulator(&self) -> Result<Box<dyn GroupsAccumulator>, WindowError> {
        Ok(match &self.by {
            By::DataFusion(expr) => {
                expr.create_groups_accumulator().map_err(|error| broken(&error))?
            }
            By::Exact(outcome) => Box::new(Exact::new(*outcome)),
            By::Moments(moments) => Box::new(Sketches::new(*moments)),
            By::SmallestFloat => extreme::smallest(),
            By::LargestFloat => extreme::largest(),
            By::First => Box::new(FirstLast::first(self.result.clone())),
            By::Last => Box::new(FirstLast::last(self.result.clone())),
            By::Distinct => Box::new(Sketches::new(Distinct)),
            By::DistinctValues => Box::new(Sketches::new(DistinctValues)),
            By::Percentile(millionths) => {
                Box::new(Sketches::new(Percentile { millionths: *millionths }))
            }
            By::List(limit) => {
                let DataType::List(element) = &self.result else {
                    unreachable!("a list is planned to be one")
                };
                Box::new(Sketches::new(List { limit: *limit, element: Arc::clone(element) }))
            }
            By::Ranked { limit, largest } => {
                let (limit, largest) = (*limit, *largest);
                let ranked = match &self.result {
                    DataType::List(element) if limit.is_some() => {
                        let (value, element) = (element.data_type().clone(), Arc::clone(element));
                        Ranked { limit, largest, value, element: Some(element) }
                    }
                    value => Ranked { limit, largest, value: value.clone(), element: None },
                };
                Box::new(Sketches::new(ranked))
            }
        })
    }
}

/// Integers and floats of other widths are the same values.
fn compared(argument: &DataType) -> DataType {
    match argument {
        argument if argument.is_signed_integer() => DataType::Int64,
        argument if argument.is_floating() => DataType::Float64,
        argument => argument.clone(),
    }
}

/// What a struct of value and rank is cast to, and the result; `None`: there is no such.
fn ranked_types(pair: &Fields, array: bool) -> Option<(DataType, DataType)> {
    let [value, rank] = &**pair else { return None };
    let by = compared(rank.data_type());
    if !codec::encodes(value.data_type()) || !ranked::ranks_by(&by) {
        return None;
    }
    let rank = Arc::new(rank.as_ref().clone().with_data_type(by));
    let input = DataType::Struct(Fields::from(vec![Arc::clone(value), rank]));
    let value = value.data_type().clone();
    Some((input, if array { list_type(value) } else { value }))
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_signed_integer()
        || data_type.is_floating()
        || matches!(data_type, DataType::Decimal128(..))
}

fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, WindowError> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, to, &strict)
        .map_err(|error| WindowError::Accumulator(error.to_string()))
}

/// What an accumulator says of itself; it holds no values.
pub(super) fn broken(error: &DataFusionError) -> WindowError {
    match error.find_root() {
        DataFusionError::ArrowError(error, _)
            if matches!(error.as_ref(), ArrowError::OffsetOverflowError(_)) =>
        {
            WindowError::TooLarge
        }
        _ => WindowError::Accumulator(error.strip_backtrace()),
    }
}
