//! Which types may become which (Delta protocol, "Type Widening").

use arrow::datatypes::{DataType, TimeUnit};

/// Digits that Delta wants for the whole numbers of a decimal: Parquet readers convert INT32 to ten digits or more,
/// INT64 to twenty.
const INT_DIGITS: u8 = 10;
const LONG_DIGITS: u8 = 20;

/// Digits of the widest decimal.
const MAX_DIGITS: u8 = 38;

/// Whether a column of type `from` may become one of type `to`, a wider one. Every value stays what it is.
pub(in crate::sink) fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType::{Date32, Decimal128, Float32, Float64, Int8, Int16, Int32, Int64, Timestamp};
    match (from, to) {
        (Int8, Int16 | Int32 | Int64) | (Int16, Int32 | Int64) | (Int32, Int64) => true,
        (Float32 | Int8 | Int16 | Int32, Float64) => true,
        (Date32, Timestamp(TimeUnit::Microsecond, None)) => true,
        (from, Decimal128(_, _)) if from != to => {
            as_decimal(from).zip(as_decimal(to)).is_some_and(|(from, to)| to.holds(from))
        }
        _ => false,
    }
}

/// The narrowest type that both types are or may become; `None`: there is none.
pub(in crate::sink) fn common(one: &DataType, other: &DataType) -> Option<DataType> {
    use DataType::{Decimal128, Float32, Float64, Int8, Int16, Int32};
    if one == other || widens(one, other) {
        return Some(other.clone());
    }
    if widens(other, one) {
        return Some(one.clone());
    }
    match (one, other) {
        (Int8 | Int16 | Int32, Float32) | (Float32, Int8 | Int16 | Int32) => Some(Float64),
        (Decimal128(_, _), _) | (_, Decimal128(_, _)) => {
            as_decimal(one)?.union(as_decimal(other)?)?.data_type()
        }
        _ => None,
    }
}

/// The digits of a decimal before and behind the point.
#[derive(Debug, Clone, Copy)]
struct Digits {
    whole: u8,
    fraction: u8,
}

/// The decimal that a type is, or that a whole number becomes at the least.
fn as_decimal(data_type: &DataType) -> Option<Digits> {
    let whole = match data_type {
        DataType::Decimal128(precision, scale) => {
            let fraction = u8::try_from(*scale).ok()?;
            return Some(Digits { whole: precision.checked_sub(fraction)?, fraction });
        }
        DataType::Int8 | DataType::Int16 | DataType::Int32 => INT_DIGITS,
        DataType::Int64 => LONG_DIGITS,
        _ => return None,
    };
    Some(Digits { whole, fraction: 0 })
}

impl Digits {
    fn holds(self, other: Self) -> bool {
        self.whole >= other.whole && self.fraction >= other.fraction
    }

    fn union(self, other: Self) -> Option<Self> {
        let both = Self {
            whole: self.whole.max(other.whole),
            fraction: self.fraction.max(other.fraction),
        };
        (both.whole + both.fraction <= MAX_DIGITS).then_some(both)
    }

    fn data_type(self) -> Option<DataType> {
        let scale = i8::try_from(self.fraction).ok()?;
        Some(DataType::Decimal128(self.whole + self.fraction, scale))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::ddl;

    /// Every primitive type, and decimals with room for whole numbers of every size and without.
    const TYPES: &[&str] = &[
        "BOOLEAN",
        "TINYINT",
        "SMALLINT",
        "INT",
        "BIGINT",
        "FLOAT",
        "DOUBLE",
        "STRING",
        "BINARY",
        "DATE",
        "TIMESTAMP",
        "TIMESTAMP_NTZ",
        "DECIMAL(5,2)",
        "DECIMAL(7,2)",
        "DECIMAL(7,4)",
        "DECIMAL(9,4)",
        "DECIMAL(10,0)",
        "DECIMAL(12,2)",
        "DECIMAL(14,4)",
        "DECIMAL(20,0)",
        "DECIMAL(22,2)",
        "DECIMAL(24,4)",
        "DECIMAL(38,0)",
        "DECIMAL(38,18)",
        "DECIMAL(38,38)",
    ];

    fn parsed(name: &str) -> DataType {
        let schema = ddl::parse(&format!("x {name}")).expect("a type");
        schema.arrow().field(0).data_type().clone()
    }

    /// The wider types of each, as the protocol lists them; each type that is missing here has none in `TYPES`.
    const WIDER: &[(&str, &str)] = &[
        (
            "TINYINT",
            "SMALLINT INT BIGINT DOUBLE DECIMAL(10,0) DECIMAL(12,2) DECIMAL(14,4) DECIMAL(20,0) DECIMAL(22,2) \
             DECIMAL(24,4) DECIMAL(38,0) DECIMAL(38,18)",
        ),
        (
            "SMALLINT",
            "INT BIGINT DOUBLE DECIMAL(10,0) DECIMAL(12,2) DECIMAL(14,4) DECIMAL(20,0) DECIMAL(22,2) DECIMAL(24,4) \
             DECIMAL(38,0) DECIMAL(38,18)",
        ),
        (
            "INT",
            "BIGINT DOUBLE DECIMAL(10,0) DECIMAL(12,2) DECIMAL(14,4) DECIMAL(20,0) DECIMAL(22,2) DECIMAL(24,4) \
             DECIMAL(38,0) DECIMAL(38,18)",
        ),
        ("BIGINT", "DECIMAL(20,0) DECIMAL(22,2) DECIMAL(24,4) DECIMAL(38,0) DECIMAL(38,18)"),
        ("FLOAT", "DOUBLE"),
        ("DATE", "TIMESTAMP_NTZ"),
        (
            "DECIMAL(5,2)",
            "DECIMAL(7,2) DECIMAL(7,4) DECIMAL(9,4) DECIMAL(12,2) DECIMAL(14,4) DECIMAL(22,2) DECIMAL(24,4) \
             DECIMAL(38,18)",
        ),
        (
            "DECIMAL(7,2)",
            "DECIMAL(9,4) DECIMAL(12,2) DECIMAL(14,4) DECIMAL(22,2) DECIMAL(24,4) DECIMAL(38,18)",
        ),
        ("DECIMAL(7,4)", "DECIMAL(9,4) DECIMAL(14,4) DECIMAL(24,4) DECIMAL(38,18)"),
        ("DECIMAL(9,4)", "DECIMAL(14,4) DECIMAL(24,4) DECIMAL(38,18)"),
        (
            "DECIMAL(10,0)",
            "DECIMAL(12,2) DECIMAL(14,4) DECIMAL(20,0) DECIMAL(22,2) DECIMAL(24,4) DECIMAL(38,0) DECIMAL(38,18)",
        ),
        ("DECIMAL(12,2)", "DECIMAL(14,4) DECIMAL(22,2) DECIMAL(24,4) DECIMAL(38,18)"),
        ("DECIMAL(14,4)", "DECIMAL(24,4) DECIMAL(38,18)"),
        ("DECIMAL(20,0)", "DECIMAL(22,2) DECIMAL(24,4) DECIMAL(38,0) DECIMAL(38,18)"),
        ("DECIMAL(22,2)", "DECIMAL(24,4) DECIMAL(38,18)"),
        ("DECIMAL(24,4)", "DECIMAL(38,18)"),
    ];

    #[test]
    fn every_pair_of_types_widens_as_the_protocol_says() {
        for from in TYPES {
            let listed = WIDER.iter().find(|(name, _)| name == from);
            let wider: Vec<&str> =
                listed.map_or(Vec::new(), |(_, to)| to.split_whitespace().collect());
            let found: Vec<&str> =
                TYPES.iter().copied().filter(|to| widens(&parsed(from), &parsed(to))).collect();
            assert_eq!(found, wider, "{from}");
        }
    }

    #[test]
    fn the_common_type_is_the_narrowest_that_both_become() {
        for one in TYPES.iter().map(|name| parsed(name)) {
            for other in TYPES.iter().map(|name| parsed(name)) {
                let reaches = |from: &DataType, to: &DataType| from == to || widens(from, to);
                let found = common(&one, &other);
                assert_eq!(found, common(&other, &one), "{one} and {other}");
                if let Some(found) = &found {
                    assert!(
                        reaches(&one, found) && reaches(&other, found),
                        "{one}, {other}: {found}"
                    );
                }
                for bound in TYPES.iter().map(|name| parsed(name)) {
                    if reaches(&one, &bound) && reaches(&other, &bound) {
                        let found =
                            found.as_ref().unwrap_or_else(|| panic!("{one} and {other}: {bound}"));
                        assert!(reaches(found, &bound), "{one}, {other}: {found}, not {bound}");
                    }
                }
            }
        }
    }

    #[test]
    fn types_that_neither_holds_meet_in_a_third() {
        let check = |one: &str, other: &str, expected: Option<&str>| {
            assert_eq!(
                common(&parsed(one), &parsed(other)),
                expected.map(parsed),
                "{one}, {other}"
            );
        };
        check("INT", "FLOAT", Some("DOUBLE"));
        check("INT", "DECIMAL(5,2)", Some("DECIMAL(12,2)"));
        check("BIGINT", "DECIMAL(38,18)", Some("DECIMAL(38,18)"));
        check("BIGINT", "DECIMAL(30,19)", None);
        check("DECIMAL(10,2)", "DECIMAL(8,4)", Some("DECIMAL(12,4)"));
        check("DECIMAL(38,0)", "DECIMAL(1,1)", None);
        check("BIGINT", "DOUBLE", None);
        check("BIGINT", "FLOAT", None);
        check("DATE", "TIMESTAMP", None);
        check("INT", "STRING", None);
        check("DECIMAL(5,2)", "DOUBLE", None);
    }
}
