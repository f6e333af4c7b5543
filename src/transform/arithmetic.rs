//! Whole numbers that don't wrap: DataFusion's `+`, `-`, `*` and sign do, silently.
//!
//! They become functions of ours before constants are folded, for folding evaluates them too. Operations on other
//! types are checked by Arrow already.

use std::sync::Arc;

use arrow::array::{Datum, Scalar};
use arrow::compute::kernels::numeric;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, Result, ScalarValue, internal_err};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
};

/// `expr`, whose operands have been coerced, with checked arithmetic.
pub(super) fn checked(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let rewritten = expr.transform_up(|expr| match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if Checked::of(op).is_some()
                && is_whole(&left, schema)?
                && is_whole(&right, schema)? =>
        {
            Ok(Transformed::yes(call(op, *left, *right)))
        }
        Expr::Negative(operand) if is_whole(&operand, schema)? => {
            let zero = ScalarValue::new_zero(&operand.get_type(schema)?)?;
            Ok(Transformed::yes(call(Operator::Minus, lit(zero), *operand)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(rewritten.data)
}

fn is_whole(expr: &Expr, schema: &DFSchema) -> Result<bool> {
    Ok(expr.get_type(schema)?.is_integer())
}

fn call(op: Operator, left: Expr, right: Expr) -> Expr {
    let function = Checked::of(op).expect("the caller looked");
    let function = Arc::new(ScalarUDF::new_from_impl(function));
    Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![left, right]))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    op: Operator,
    signature: Signature,
}

impl Checked {
    fn of(op: Operator) -> Option<Self> {
        matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply)
            .then(|| Self { op, signature: Signature::any(2, Volatility::Immutable) })
    }

    fn apply(&self, left: &dyn Datum, right: &dyn Datum) -> Result<arrow::array::ArrayRef> {
        Ok(match self.op {
            Operator::Plus => numeric::add(left, right)?,
            Operator::Minus => numeric::sub(left, right)?,
            _ => numeric::mul(left, right)?,
        })
    }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        match self.op {
            Operator::Plus => "checked_add",
            Operator::Minus => "checked_subtract",
            _ => "checked_multiply",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, operands: &[DataType]) -> Result<DataType> {
        Ok(operands[0].clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), args.arg_fields[0].data_type().clone(), nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        use ColumnarValue::{Array, Scalar as One};
        let [left, right] = args.args.as_slice() else {
            return internal_err!("{} takes two operands", self.name());
        };
        Ok(match (left, right) {
            (Array(left), Array(right)) => Array(self.apply(left, right)?),
            (Array(left), One(right)) => Array(self.apply(left, &one(right)?)?),
            (One(left), Array(right)) => Array(self.apply(&one(left)?, right)?),
            (One(left), One(right)) => {
                let result = self.apply(&one(left)?, &one(right)?)?;
                One(ScalarValue::try_from_array(&result, 0)?)
            }
        })
    }
}

fn one(value: &ScalarValue) -> Result<Scalar<arrow::array::ArrayRef>> {
    value.to_scalar()
}
