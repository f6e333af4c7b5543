//! The measures of many groups at once: a temporary accumulator per measure.
//!
//! DataFusion's accumulators give up all their groups at once and can't be looked into. So they live for one batch: its
//! rows go in, then the stored states of the groups that it touched, and what comes out is stored again. The same holds for
//! windows that close: their states go in, and results come out.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, BooleanArray, Int64Array};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion_common::DataFusionError;
use datafusion_expr::{EmitTo, GroupsAccumulator};

use super::error::WindowError;
use super::first_last::Order;
use super::measure::{Measure, broken};
use crate::chunk::SourcePartition;
use crate::schema::ddl;

/// The argument of a measure, for the rows of a chunk that count.
#[derive(Debug, Clone)]
pub struct Argument {
    /// `None`: `count(*)`.
    pub values: Option<ArrayRef>,
    /// `filter (where …)`; NULL counts as false.
    pub filter: Option<BooleanArray>,
}

/// Accumulators of all measures, with the same groups.
pub(super) struct Aggregates {
    measures: Arc<[Measure]>,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
}

/// Which partition rows are from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sources<'a> {
    One(&'a SourcePartition),
    /// Of each row, as [`first_last::source`](super::first_last::source) writes it.
    Each(&'a BinaryArray),
}

/// The rows that an accumulator is to take.
pub(super) struct Rows<'a> {
    pub(super) sources: Sources<'a>,
    pub(super) times: &'a Int64Array,
    pub(super) offsets: &'a Int64Array,
    /// One per measure.
    pub(super) arguments: &'a [Argument],
}

impl Aggregates {
    pub(super) fn new(measures: &Arc<[Measure]>) -> Result<Self, WindowError> {
        let accumulators = measures.iter().map(Measure::accumulator);
        let accumulators = accumulators.collect::<Result<_, _>>()?;
        Ok(Self { measures: Arc::clone(measures), accumulators })
    }

    /// Adds rows; `groups` says of each to which of `total` groups. Each group has had a row by then: where nothing is
    /// null, accumulators take that for granted.
    pub(super) fn add(
        &mut self,
        rows: &Rows<'_>,
        groups: &[usize],
        total: usize,
    ) -> Result<(), WindowError> {
        let ordered = self.measures.iter().any(Measure::is_ordered);
        let order = ordered.then(|| Order::new(rows.sources, rows.times, rows.offsets));
        let each = self.accumulators.iter_mut().zip(&*self.measures).zip(rows.arguments);
        for ((accumulator, measure), argument) in each {
            let values = match &argument.values {
                // Rows are counted by any column without nulls.
                None => Arc::new(rows.times.clone()) as ArrayRef,
                Some(values) => measure.input(values)?,
            };
            let values = match &order {
                Some(order) if measure.is_ordered() => order.with(values),
                _ => vec![values],
            };
            accumulator
                .update_batch(&values, groups, argument.filter.as_ref(), total)
                .map_err(|error| broken(&error))?;
        }
        Ok(())
    }

    /// Adds states as [`drain`](Self::drain) gives them; the same holds for groups.
    pub(super) fn merge(
        &mut self,
        mut states: &[ArrayRef],
        groups: &[usize],
        total: usize,
    ) -> Result<(), WindowError> {
        for (accumulator, measure) in self.accumulators.iter_mut().zip(&*self.measures) {
            let (own, rest) = states.split_at(measure.states().len());
            accumulator.merge_batch(own, groups, total).map_err(|error| broken(&error))?;
            states = rest;
        }
        Ok(())
    }

    /// The states of all groups, a few columns per measure; nothing is left.
    pub(super) fn drain(&mut self) -> Result<Vec<ArrayRef>, WindowError> {
        let mut states = Vec::new();
        for (accumulator, measure) in self.accumulators.iter_mut().zip(&*self.measures) {
            let state = accumulator.state(EmitTo::All);
            states.extend(state.map_err(|error| failed(measure, &error))?);
        }
        Ok(states)
    }

    /// The results of all groups, a column per measure; nothing is left.
    pub(super) fn results(mut self) -> Result<Vec<ArrayRef>, WindowError> {
        let each = self.accumulators.iter_mut().zip(&*self.measures);
        let results = each.map(|(accumulator, measure)| {
            let results = accumulator.evaluate(EmitTo::All);
            measure.output(&results.map_err(|error| failed(measure, &error))?)
        });
        results.collect()
    }
}

/// The types of what [`Aggregates::drain`] gives.
pub(super) fn state_types(measures: &[Measure]) -> Vec<DataType> {
    measures.iter().flat_map(Measure::states).cloned().collect()
}

fn failed(measure: &Measure, error: &DataFusionError) -> WindowError {
    match error.find_root() {
        DataFusionError::ArrowError(root, _)
            if matches!(root.as_ref(), ArrowError::ArithmeticOverflow(_)) =>
        {
            let data_type = ddl::format_type(measure.result());
            WindowError::Overflow { measure: measure.name().to_owned(), data_type }
        }
        DataFusionError::ResourcesExhausted(what) => {
            WindowError::TooMany { measure: measure.name().to_owned(), what: what.clone() }
        }
        _ => broken(error),
    }
}
