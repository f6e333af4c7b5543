//! Fields of structs: NULL where the struct is.
//!
//! DataFusion's `get_field` gives the column of the field as it is. Under a NULL struct that column may hold anything:
//! a `NOT NULL` field holds some value there.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::compute::{is_null, nullif};
use arrow::datatypes::{DataType, FieldRef};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, Result, internal_err};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

/// `expr`, simplified, with fields that are NULL where their struct is.
pub(super) fn masked(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let rewritten = expr.transform_up(|expr| match expr {
        Expr::ScalarFunction(call) if call.func.name() == "get_field" => {
            Ok(Transformed::yes(path(call, schema)?))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(rewritten.data)
}

/// `get_field(base, 'a', 'b')`, step by step.
fn path(call: ScalarFunction, schema: &DFSchema) -> Result<Expr> {
    let get_field = call.func;
    let mut steps = call.args.into_iter();
    let Some(mut at) = steps.next() else {
        return internal_err!("get_field has no arguments");
    };
    for step in steps {
        let index = match (at.get_type(schema)?, &step) {
            (DataType::Struct(fields), Expr::Literal(name, _)) => {
                name.try_as_str().flatten().and_then(|name| fields.find(name)).map(|(i, _)| i)
            }
            _ => None,
        };
        let (function, args) = match index {
            Some(index) => (Arc::new(ScalarUDF::new_from_impl(StructField::new(index))), vec![at]),
            None => (Arc::clone(&get_field), vec![at, step]),
        };
        at = Expr::ScalarFunction(ScalarFunction::new_udf(function, args));
    }
    Ok(at)
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct StructField {
    index: usize,
    signature: Signature,
}

impl StructField {
    fn new(index: usize) -> Self {
        Self { index, signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for StructField {
    fn name(&self) -> &str {
        "struct_field"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _args: &[DataType]) -> Result<DataType> {
        internal_err!("the field answers")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let parent = &args.arg_fields[0];
        match parent.data_type() {
            DataType::Struct(fields) => {
                let field = fields[self.index].as_ref().clone();
                let nullable = parent.is_nullable() || field.is_nullable();
                Ok(Arc::new(field.with_nullable(nullable)))
            }
            other => internal_err!("{other} has no fields"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let parent = args.args[0].to_array(args.number_rows)?;
        let field = parent.as_struct().column(self.index);
        Ok(ColumnarValue::Array(match parent.null_count() {
            0 => Arc::clone(field),
            _ => nullif(field, &is_null(&parent)?)?,
        }))
    }
}
