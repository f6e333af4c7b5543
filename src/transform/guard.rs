//! `AND` and `OR` whose right side can fail: it is asked only where the left side leaves the answer open.
//!
//! DataFusion asks the right side for every row, or for some, or for none, by how the left side's answers are spread
//! over a batch. Whether `b <> 0 AND a / b > 1` fails on a record would depend on the records beside it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::compute::{and_kleene, not, or_kleene, prep_null_mask_filter};
use arrow::datatypes::{DataType, FieldRef, Schema};
use arrow::record_batch::RecordBatch;
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{DFSchema, Result, internal_err};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_physical_expr::expressions::BinaryExpr as PhysicalBinaryExpr;
use datafusion_physical_expr::{PhysicalExpr, ScalarFunctionExpr};

/// Marks the right sides that can fail, before `simplifier` sees `expr`: its rules for AND and OR leave alone what is
/// volatile, as a mark says it is. Else `(a AND f) OR (b AND f)` would become `f AND (a OR b)`.
pub(super) fn mark(expr: Expr, schema: &DFSchema, simplifier: &ExprSimplifier) -> Result<Expr> {
    let rewritten = expr.transform_up(|expr| match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right })
            if can_fail(&right, schema, simplifier)? =>
        {
            let mark = Arc::new(ScalarUDF::new_from_impl(Mark::new()));
            let right = Expr::ScalarFunction(ScalarFunction::new_udf(mark, vec![*right]));
            Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(left, op, Box::new(right)))))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(rewritten.data)
}

/// Guards the right sides that are marked.
pub(super) fn guard(expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
    let rewritten = expr.transform_up(|expr| {
        let guarded = expr.downcast_ref::<PhysicalBinaryExpr>().and_then(Guarded::of);
        Ok(match guarded {
            Some(guarded) => Transformed::yes(Arc::new(guarded) as Arc<dyn PhysicalExpr>),
            None => Transformed::no(expr),
        })
    })?;
    Ok(rewritten.data)
}

/// Whether there may be a record that `expr` has no value for. When in doubt, there may.
fn can_fail(expr: &Expr, schema: &DFSchema, simplifier: &ExprSimplifier) -> Result<bool> {
    let mut can = false;
    expr.apply(|part| {
        if is_constant(part)? && matches!(simplifier.simplify(part.clone())?, Expr::Literal(..)) {
            return Ok(TreeNodeRecursion::Jump);
        }
        can = step_can_fail(part, schema)?;
        Ok(if can { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(can)
}

fn is_constant(expr: &Expr) -> Result<bool> {
    let varies = expr.exists(|part| {
        Ok(matches!(part, Expr::Column(_) | Expr::Lambda(_) | Expr::LambdaVariable(_)))
    })?;
    Ok(!varies)
}

/// Whether `expr` can fail on values that its operands give.
fn step_can_fail(expr: &Expr, schema: &DFSchema) -> Result<bool> {
    Ok(match expr {
        Expr::Column(_)
        | Expr::Literal(..)
        | Expr::Not(_)
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNotFalse(_)
        | Expr::IsNotUnknown(_)
        | Expr::Between(_)
        | Expr::InList(_)
        | Expr::Case(_)
        | Expr::TryCast(_)
        | Expr::Alias(_) => false,
        Expr::Like(like) => !matches!(*like.pattern, Expr::Literal(..)),
        Expr::BinaryExpr(BinaryExpr { op, .. }) => !is_comparison(*op),
        Expr::Cast(cast) => !always_casts(&cast.expr.get_type(schema)?, cast.field.data_type()),
        Expr::ScalarFunction(call) => call.func.name() != "get_field",
        _ => true,
    })
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{And, Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq, Or};
    matches!(op, And | Or | Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

fn always_casts(from: &DataType, to: &DataType) -> bool {
    use DataType::{Float32, Float64, Int8, Int16, Int32, Int64, Utf8};
    let rank = |data_type: &DataType| {
        [Int8, Int16, Int32, Int64, Float32, Float64].iter().position(|known| known == data_type)
    };
    match (rank(from), rank(to)) {
        (Some(from), Some(to)) => from <= to,
        (Some(_), None) => *to == Utf8,
        _ => from == to,
    }
}

/// Around a right side that can fail: what it is given, and nothing else.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Mark {
    signature: Signature,
}

impl Mark {
    fn new() -> Self {
        Self { signature: Signature::any(1, Volatility::Volatile) }
    }
}

impl ScalarUDFImpl for Mark {
    fn name(&self) -> &str {
        "if_open"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        Ok(args[0].clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::clone(&args.arg_fields[0]))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(args.args[0].clone())
    }
}

/// `left AND right`, `left OR right`.
#[derive(Debug, Eq)]
struct Guarded {
    left: Arc<dyn PhysicalExpr>,
    is_and: bool,
    right: Arc<dyn PhysicalExpr>,
}

// Not derived: a derived one moves the pointers out.
impl PartialEq for Guarded {
    fn eq(&self, other: &Self) -> bool {
        self.is_and == other.is_and && *self.left == *other.left && *self.right == *other.right
    }
}

impl Hash for Guarded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.is_and.hash(state);
        self.left.hash(state);
        self.right.hash(state);
    }
}

impl Guarded {
    fn of(expr: &PhysicalBinaryExpr) -> Option<Self> {
        let is_and = match expr.op() {
            Operator::And => true,
            Operator::Or => false,
            _ => return None,
        };
        is_marked(expr.right()).then(|| Self {
            left: Arc::clone(expr.left()),
            is_and,
            right: Arc::clone(expr.right()),
        })
    }
}

/// Whether there is a mark in `expr`: negations may have been pushed around it.
fn is_marked(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let function = expr.downcast_ref::<ScalarFunctionExpr>();
    function.is_some_and(|function| function.fun().inner().is::<Mark>())
        || expr.children().into_iter().any(is_marked)
}

impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = if self.is_and { "AND" } else { "OR" };
        write!(f, "({} {op} {})", self.left, self.right)
    }
}

impl PhysicalExpr for Guarded {
    fn data_type(&self, _schema: &Schema) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        Ok(self.left.nullable(schema)? || self.right.nullable(schema)?)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let rows = batch.num_rows();
        let left = self.left.evaluate(batch)?.into_array(rows)?;
        let left = left.as_boolean();
        // Closed: false for AND, true for OR. NULL leaves it open: NULL AND false is false.
        let closed: BooleanArray = if self.is_and { not(left)? } else { left.clone() };
        let open = match closed.null_count() {
            0 => not(&closed)?,
            _ => not(&prep_null_mask_filter(&closed))?,
        };
        let right = self.right.evaluate_selection(batch, &open)?.into_array(rows)?;
        // What was not asked for is NULL, which changes no closed answer.
        let both = match self.is_and {
            true => and_kleene(left, right.as_boolean())?,
            false => or_kleene(left, right.as_boolean())?,
        };
        Ok(ColumnarValue::Array(Arc::new(both)))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.left, &self.right]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let Ok([left, right]) = <[_; 2]>::try_from(children) else {
            return internal_err!("AND and OR have two sides");
        };
        Ok(Arc::new(Self { left, is_and: self.is_and, right }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
