//! What DataFusion's planner asks for: functions, type names, and how fields, elements and map values are reached.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{DFSchema, Result, ScalarValue, TableReference, plan_err};
use datafusion_expr::planner::{
    ContextProvider, ExprPlanner, PlannerResult, RawFieldAccessExpr, TypePlanner,
};
use datafusion_expr::{
    AggregateUDF, Expr, ExprSchemable, GetFieldAccess, HigherOrderUDF, ScalarUDF, TableSource,
    WindowUDF, lit,
};
use datafusion_functions::core::planner::CoreFunctionPlanner;
use datafusion_functions::datetime::planner::DatetimeFunctionPlanner;
use datafusion_functions::expr_fn::get_field;
use datafusion_functions::unicode::planner::UnicodeFunctionPlanner;
use datafusion_functions_nested::expr_fn::{array_element, array_slice, map_extract};
use datafusion_functions_nested::planner::NestedFunctionPlanner;
use datafusion_sql::sqlparser::ast::DataType as SqlType;

use super::functions::{FUNCTIONS, SETTINGS};
use super::names;
use crate::schema::ddl::{self, DdlError};

/// No tables, no variables, no aggregates.
pub(super) struct Context {
    planners: Vec<Arc<dyn ExprPlanner>>,
}

impl Context {
    pub(super) fn new() -> Self {
        Self {
            planners: vec![
                Arc::new(Access),
                Arc::new(NestedFunctionPlanner),
                Arc::new(CoreFunctionPlanner::default()),
                Arc::new(DatetimeFunctionPlanner),
                Arc::new(UnicodeFunctionPlanner),
            ],
        }
    }
}

impl ContextProvider for Context {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        plan_err!("there is no table `{name}`")
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(Types))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        FUNCTIONS.scalar(name)
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        FUNCTIONS.higher_order(name)
    }

    fn get_aggregate_meta(&self, _name: &str) -> Option<Arc<AggregateUDF>> {
        None
    }

    fn get_window_meta(&self, _name: &str) -> Option<Arc<WindowUDF>> {
        None
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &SETTINGS
    }

    fn udf_names(&self) -> Vec<String> {
        FUNCTIONS.usable().into_iter().map(str::to_owned).collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Types by the names that schemas use: `CAST(x AS TIMESTAMP)` is an instant, as `x TIMESTAMP` is.
#[derive(Debug)]
struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>> {
        let text = sql_type.to_string();
        match ddl::parse(&format!("x {text}")) {
            // `x INT NOT NULL, y INT` can't come out of a type's text.
            Ok(schema) => {
                let data_type = schema.arrow().field(0).data_type().clone();
                Ok(Some(Arc::new(Field::new("", data_type, true))))
            }
            Err(DdlError { message, .. })
                if message.contains("is not a type") || message.starts_with("DECIMAL") =>
            {
                plan_err!("{message}")
            }
            Err(_) => plan_err!(
                "`{text}` is not a type; types are those of schemas: TIMESTAMP, DECIMAL(18,4), ARRAY<STRING>"
            ),
        }
    }
}

/// `a.b`, `a['b']`, `a[1]`, `a[1:2]`, by the type of `a`.
#[derive(Debug)]
struct Access;

impl ExprPlanner for Access {
    fn plan_field_access(
        &self,
        access: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let RawFieldAccessExpr { expr, field_access } = access;
        let data_type = expr.get_type(schema)?;
        let planned = match (&data_type, field_access) {
            (DataType::Struct(fields), GetFieldAccess::NamedStructField { name }) => {
                let names = || fields.iter().map(|field| field.name().as_str());
                let name = name.try_as_str().flatten().unwrap_or_default();
                match names::position(name, names()) {
                    Some(index) => get_field(expr, fields[index].name().as_str()),
                    None => {
                        let hint = names::did_you_mean(name, names());
                        return plan_err!("`{}` has no field `{name}`{hint}", shown(&expr));
                    }
                }
            }
            (DataType::Map(..), GetFieldAccess::NamedStructField { name }) => {
                map_value(expr, lit(name))
            }
            (DataType::Map(..), GetFieldAccess::ListIndex { key }) => map_value(expr, *key),
            (list, GetFieldAccess::ListIndex { key }) if is_list(list) => array_element(expr, *key),
            (list, GetFieldAccess::ListRange { start, stop, stride }) if is_list(list) => {
                array_slice(expr, *start, *stop, Some(*stride))
            }
            (list, GetFieldAccess::NamedStructField { name }) if is_list(list) => {
                let name = name.try_as_str().flatten().unwrap_or_default();
                return plan_err!(
                    "`{}` is an ARRAY, which has no field `{name}`: take an element, `[1]`, first",
                    shown(&expr)
                );
            }
            (DataType::Struct(_), _) => {
                return plan_err!("`{}` is a STRUCT: take a field, `.name`", shown(&expr));
            }
            _ => {
                let name = ddl::format_type(&data_type);
                return plan_err!(
                    "`{}` is {name}, which has no fields and no elements",
                    shown(&expr)
                );
            }
        };
        Ok(PlannerResult::Planned(planned))
    }
}

/// An expression as it may have been written.
fn shown(expr: &Expr) -> String {
    match expr {
        Expr::Column(column) => column.name.clone(),
        Expr::ScalarFunction(call) if call.func.name() == "get_field" => match &call.args[..] {
            [base, Expr::Literal(field, _)] => format!("{}.{field}", shown(base)),
            _ => expr.to_string(),
        },
        _ => expr.to_string(),
    }
}

/// The value of a key, NULL where the map has none. Keys are compared exactly.
fn map_value(map: Expr, key: Expr) -> Expr {
    match key {
        Expr::Literal(key, _) if !key.is_null() => get_field(map, key),
        Expr::Literal(..) => lit(ScalarValue::Null),
        key => array_element(map_extract(map, key), lit(1_i64)),
    }
}

fn is_list(data_type: &DataType) -> bool {
    matches!(data_type, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..))
}
