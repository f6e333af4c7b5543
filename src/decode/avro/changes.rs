//! What is different between two lists of columns, for messages.

use arrow::datatypes::{DataType, Field, FieldRef, Fields};

use crate::schema::ddl::format_type;

/// Changes that are told in full; of more, the number.
const TOLD: usize = 5;

/// ``"`b` STRING is new, `a` INT becomes BIGINT"``.
pub(super) fn describe(before: &[Field], after: &[Field]) -> String {
    let fields = |fields: &[Field]| fields.iter().cloned().collect::<Fields>();
    let mut changes = Vec::new();
    compare("", &fields(before), &fields(after), &mut changes);
    let more = changes.len().saturating_sub(TOLD);
    changes.truncate(TOLD);
    if more > 0 {
        changes.push(format!("{more} changes more"));
    }
    match changes.is_empty() {
        true => "the columns are in another order".into(),
        false => changes.join(", "),
    }
}

fn compare(path: &str, before: &Fields, after: &Fields, changes: &mut Vec<String>) {
    for new in after {
        let path = format!("{path}{}", new.name());
        match before.iter().find(|old| old.name() == new.name()) {
            None => changes.push(format!("`{path}` {} is new", format_type(new.data_type()))),
            Some(old) => compare_field(&path, old, new, changes),
        }
    }
    for old in before.iter().filter(|old| !after.iter().any(|new| new.name() == old.name())) {
        changes.push(format!("`{path}{}` goes", old.name()));
    }
}

fn compare_field(path: &str, old: &Field, new: &Field, changes: &mut Vec<String>) {
    match (old.data_type(), new.data_type()) {
        (DataType::Struct(old), DataType::Struct(new)) => {
            compare(&format!("{path}."), old, new, changes);
        }
        (DataType::List(old), DataType::List(new)) => compare_inside(path, old, new, changes),
        (DataType::Map(old, _), DataType::Map(new, _)) => compare_inside(path, old, new, changes),
        (old, new) if old != new => {
            changes.push(format!("`{path}` {} becomes {}", format_type(old), format_type(new)));
        }
        _ => {}
    }
}

fn compare_inside(path: &str, old: &FieldRef, new: &FieldRef, changes: &mut Vec<String>) {
    compare_field(&format!("{path}.{}", new.name()), old, new, changes);
}
