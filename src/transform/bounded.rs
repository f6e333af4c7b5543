//! Functions whose result is as large as an argument says: that argument must stand in the expression, and be small.
//!
//! Else a record could ask for any amount of memory.

use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{Result, plan_err};
use datafusion_expr::Expr;
use datafusion_optimizer::simplify_expressions::ExprSimplifier;

/// Characters or elements: a chunk of results of a text this long is 80 MB.
const MOST: i64 = 10_000;

/// Refuses results of unknown or great length in `expr`, whose operands have been coerced.
pub(super) fn check(expr: &Expr, simplifier: &ExprSimplifier) -> Result<()> {
    expr.apply(|part| {
        if let Expr::ScalarFunction(call) = part {
            let name = call.func.name();
            for index in sizes(name, call.args.len()) {
                if !is_small(&call.args[index], simplifier)? {
                    return plan_err!(
                        "`{name}`: the length must be a number in the expression, of {MOST} at most; else a record could ask for any amount of memory"
                    );
                }
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// The arguments of a function that say how large its result is.
fn sizes(function: &str, arguments: usize) -> std::ops::Range<usize> {
    let range = match function {
        "repeat" | "lpad" | "rpad" | "array_repeat" | "array_resize" => 1..2,
        "range" | "generate_series" => 0..2,
        _ => 0..0,
    };
    range.start.min(arguments)..range.end.min(arguments)
}

fn is_small(size: &Expr, simplifier: &ExprSimplifier) -> Result<bool> {
    let Expr::Literal(size, _) = simplifier.simplify(size.clone())? else { return Ok(false) };
    Ok(size.is_null() || {
        let whole = size.cast_to(&arrow::datatypes::DataType::Int64);
        matches!(
            whole,
            Ok(datafusion_common::ScalarValue::Int64(Some(size))) if (-MOST..=MOST).contains(&size)
        )
    })
}
