//! The projection list: `*` and what it leaves out or replaces, columns, named expressions.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion_sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, Ident, IdentWithAlias, ObjectName, RenameSelectItem, SelectItem,
    SelectItemQualifiedWildcardKind, Spanned, WildcardAdditionalOptions,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::error::{NAME, NOT_FOR_A_RECORD, RESULT_TYPE, Refusal, SYNTAX, TransformError};
use super::expression::{Expression, Planner};
use super::names;
use super::resolve::Scope;
use crate::config::MetadataColumn;
use crate::schema;

/// Where a result column comes from.
enum Source {
    /// A column of the rows, as it is.
    Column(usize),
    Expression(Expression),
}

/// The planned list.
pub(super) struct Projection {
    schema: SchemaRef,
    sources: Vec<Source>,
}

impl Projection {
    pub(super) fn new(
        planner: &Planner,
        rows: &SchemaRef,
        scope: Scope<'_>,
        items: &[SelectItem],
    ) -> Result<Self, Refusal> {
        let mut list = List { planner, rows, scope, fields: Vec::new(), sources: Vec::new() };
        for item in items {
            list.item(item)?;
        }
        Ok(Self { schema: Schema::new(list.fields).into(), sources: list.sources })
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Whether a column of the rows is there as it is, under its own name.
    pub(super) fn keeps(&self, rows: &Schema, column: &str) -> bool {
        let mut columns = self.schema.fields().iter().zip(&self.sources);
        columns.any(|(field, source)| {
            matches!(source, Source::Column(index) if rows.field(*index).name() == column)
                && field.name() == column
        })
    }

    /// In the order of the schema.
    pub(super) fn columns(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>, TransformError> {
        let columns = self.sources.iter().map(|source| match source {
            Source::Column(index) => Ok(Arc::clone(rows.column(*index))),
            Source::Expression(expression) => expression.evaluate(rows),
        });
        columns.collect()
    }

    pub(super) fn select(&self, rows: &RecordBatch) -> Result<RecordBatch, TransformError> {
        let size = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let schema = Arc::clone(&self.schema);
        let selected = RecordBatch::try_new_with_options(schema, self.columns(rows)?, &size);
        Ok(selected.expect("the results are of the types and lengths that were planned"))
    }
}

/// The list while it is planned.
struct List<'a> {
    planner: &'a Planner,
    rows: &'a SchemaRef,
    scope: Scope<'a>,
    fields: Vec<FieldRef>,
    sources: Vec<Source>,
}

/// What `*` gives instead of a column.
#[derive(Clone, Copy)]
enum Instead<'a> {
    Nothing,
    Expression(&'a Expr),
    Name(&'a Ident),
}

impl List<'_> {
    fn item(&mut self, item: &SelectItem) -> Result<(), Refusal> {
        match item {
            SelectItem::Wildcard(options) => self.wildcard(options),
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => {
                let index = self.scope.column(name)?;
                self.column(index, None)
            }
            SelectItem::ExprWithAlias { expr: Expr::Identifier(name), alias } => {
                let index = self.scope.column(name)?;
                self.column(index, Some(alias))
            }
            SelectItem::ExprWithAlias { expr, alias } => self.expression(expr, alias),
            SelectItem::UnnamedExpr(expr) => {
                let message = format!("`{expr}` needs a name: `{expr} AS {}`", suggestion(expr));
                Err(self.scope.refuse(NAME, expr.span(), message))
            }
            SelectItem::ExprWithAliases { expr, .. } => {
                let message =
                    format!("`{expr}` has one value and takes one name: `{expr} AS name`");
                Err(self.scope.refuse(NAME, expr.span(), message))
            }
            SelectItem::QualifiedWildcard(kind, _) => {
                let (what, span) = match kind {
                    SelectItemQualifiedWildcardKind::ObjectName(name) => {
                        (name.to_string(), name.span())
                    }
                    SelectItemQualifiedWildcardKind::Expr(expr) => (expr.to_string(), expr.span()),
                };
                let message = format!(
                    "`{what}.*`: there are no tables to name, and a STRUCT's fields are named one by one; all columns are `*`"
                );
                Err(self.scope.refuse(NOT_FOR_A_RECORD, span, message))
            }
        }
    }

    fn wildcard(&mut self, options: &WildcardAdditionalOptions) -> Result<(), Refusal> {
        let mut instead = vec![None; self.rows.fields().len()];
        let mut put = |list: &Self, name: &Ident, change| {
            let index = list.scope.column(name)?;
            match instead[index].replace(change) {
                None => Ok(()),
                Some(_) => {
                    let message = format!("`{}` comes twice", name.value);
                    Err(list.scope.refuse(NAME, name.span, message))
                }
            }
        };
        for name in self.left_out(options)? {
            put(self, &name, Instead::Nothing)?;
        }
        for element in options.opt_replace.iter().flat_map(|replace| &replace.items) {
            put(self, &element.column_name, Instead::Expression(&element.expr))?;
        }
        let renamed: &[IdentWithAlias] = match &options.opt_rename {
            Some(RenameSelectItem::Single(one)) => std::slice::from_ref(one),
            Some(RenameSelectItem::Multiple(several)) => several,
            None => &[],
        };
        for IdentWithAlias { ident, alias } in renamed {
            put(self, ident, Instead::Name(alias))?;
        }
        for (index, instead) in instead.into_iter().enumerate() {
            match instead {
                None => self.column(index, None)?,
                Some(Instead::Nothing) => {}
                Some(Instead::Name(name)) => self.column(index, Some(name))?,
                Some(Instead::Expression(expr)) => {
                    let name = self.rows.field(index).name().clone();
                    self.expression(expr, &Ident::new(name))?;
                }
            }
        }
        Ok(())
    }

    /// The names of EXCEPT or EXCLUDE.
    fn left_out(&self, options: &WildcardAdditionalOptions) -> Result<Vec<Ident>, Refusal> {
        let mut names = Vec::new();
        if let Some(except) = &options.opt_except {
            names.push(except.first_element.clone());
            names.extend(except.additional_elements.iter().cloned());
        }
        let excluded: &[ObjectName] = match &options.opt_exclude {
            Some(ExcludeSelectItem::Single(one)) => std::slice::from_ref(one),
            Some(ExcludeSelectItem::Multiple(several)) => several,
            None => &[],
        };
        for name in excluded {
            match name.0.as_slice() {
                [part] if part.as_ident().is_some() => names.extend(part.as_ident().cloned()),
                _ => {
                    let message = format!("`{name}`: only whole columns can be left out");
                    return Err(self.scope.refuse(SYNTAX, name.span(), message));
                }
            }
        }
        Ok(names)
    }

    fn column(&mut self, index: usize, alias: Option<&Ident>) -> Result<(), Refusal> {
        let field = &self.rows.fields()[index];
        let (field, span) = match alias {
            Some(alias) if alias.value != *field.name() => {
                self.fits_a_result(alias, field.name())?;
                (field.as_ref().clone().with_name(&alias.value).into(), alias.span)
            }
            _ => (FieldRef::clone(field), alias.map_or(Span::empty(), |alias| alias.span)),
        };
        self.push(field, Source::Column(index), span)
    }

    fn expression(&mut self, expr: &Expr, alias: &Ident) -> Result<(), Refusal> {
        self.fits_a_result(alias, "")?;
        let text = format!("{expr} AS {}", alias.value);
        let planned = Expression::planned(self.planner, self.rows, self.scope, expr.clone(), text)?;
        let field = match planned.result() {
            Ok(field) => field.clone().with_name(&alias.value),
            Err(why) => {
                let message = format!("`{}` {why}", alias.value);
                return Err(self.scope.refuse(RESULT_TYPE, expr.span(), message));
            }
        };
        self.push(Field::into(field), Source::Expression(planned), alias.span)
    }

    /// Whether a result can be called so; `own` is the name of the column that it is.
    fn fits_a_result(&self, alias: &Ident, own: &str) -> Result<(), Refusal> {
        match unfit(&alias.value, own) {
            None => Ok(()),
            Some(why) => {
                let message = format!("{why}; use another `AS name`");
                Err(self.scope.refuse(NAME, alias.span, message))
            }
        }
    }

    fn push(&mut self, field: FieldRef, source: Source, span: Span) -> Result<(), Refusal> {
        let name = field.name();
        if let Some(twin) = self.fields.iter().find(|twin| names::same(twin.name(), name)) {
            let message = match twin.name() == name {
                true => {
                    format!("`{name}` comes twice; use another `AS name`, or `* EXCEPT ({name})`")
                }
                false => format!(
                    "`{}` and `{name}` are the same name to Delta Lake, which ignores case; use another `AS name`",
                    twin.name()
                ),
            };
            return Err(self.scope.refuse(NAME, span, message));
        }
        self.fields.push(field);
        self.sources.push(source);
        Ok(())
    }
}

/// Why a result can't be called so; `own` is the name of the column that it is.
pub(super) fn unfit(name: &str, own: &str) -> Option<String> {
    let lower = name.to_lowercase();
    if name.is_empty() {
        return Some("a column's name can't be empty".into());
    }
    if let Some(c) = schema::unfit_in_name(name) {
        let name = name.escape_debug();
        return Some(format!("the name `{name}` holds {c:?}, which readers refuse"));
    }
    if MetadataColumn::ALL.iter().any(|taken| taken.column() == lower) && !names::same(name, own) {
        return Some(format!("`{name}` is the name of a metadata column"));
    }
    if matches!(lower.as_str(), "_metadata" | "_change_type") || lower.starts_with("_commit_") {
        return Some(format!("`{name}` is a name that Spark and Delta use themselves"));
    }
    None
}

/// A name for an expression without one: the last field of a path, else `name`.
fn suggestion(expr: &Expr) -> String {
    match expr {
        Expr::CompoundIdentifier(path) => path.last().map(ToString::to_string),
        Expr::Cast { expr, .. } => match expr.as_ref() {
            Expr::Identifier(name) => Some(name.to_string()),
            _ => None,
        },
        _ => None,
    }
    .unwrap_or_else(|| "name".into())
}
