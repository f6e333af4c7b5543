//! Unions as columns, as Spark has them: null aside, the one type, or a STRUCT with a field for each type.

use arrow::datatypes::DataType;

use super::schema::Type;

/// What the column of a type holds, null aside.
pub(super) enum Shape<'a> {
    /// There is only null.
    Nothing,
    One(&'a Type),
    /// One of several: a STRUCT with a field for each.
    Members(Vec<&'a Type>),
}

impl Type {
    pub(super) fn is_nullable(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Union(branches) => branches.contains(&Self::Null),
            _ => false,
        }
    }

    /// The same, or null.
    pub(super) fn or_null(self) -> Self {
        match self {
            nullable if nullable.is_nullable() => nullable,
            Self::Union(mut branches) => {
                branches.insert(0, Self::Null);
                Self::Union(branches)
            }
            other => Self::Union(vec![Self::Null, other]),
        }
    }

    /// As Spark has it: a union of one type, of int and long, or of float and double is that type, or the wider one.
    pub(super) fn shape(&self) -> Shape<'_> {
        let Self::Union(branches) = self else {
            return if *self == Self::Null { Shape::Nothing } else { Shape::One(self) };
        };
        let others: Vec<&Type> = branches.iter().filter(|b| **b != Self::Null).collect();
        match others.as_slice() {
            [] => Shape::Nothing,
            [one] => Shape::One(one),
            [Self::Int, Self::Long] | [Self::Long, Self::Int] => Shape::One(&Self::Long),
            [Self::Float, Self::Double] | [Self::Double, Self::Float] => Shape::One(&Self::Double),
            _ => Shape::Members(others),
        }
    }
}

/// The field of a union's STRUCT that holds its `index`-th type, null not counted.
pub(super) fn member_name(index: usize) -> String {
    format!("member{index}")
}

/// Whether a declared STRUCT is a union's.
pub(super) fn has_members(data_type: &DataType) -> bool {
    let is_member = |name: &str| {
        name.strip_prefix("member").is_some_and(|n| n.parse().is_ok_and(|n| member_name(n) == name))
    };
    match data_type {
        DataType::Struct(fields) => fields.iter().all(|field| is_member(field.name())),
        _ => false,
    }
}
