//! Batches against a row at a time, and against a model of three-valued logic.

use proptest::prelude::*;

use super::*;

type Row = (Option<i64>, Option<i32>, Option<String>);

fn batch(values: &[Row]) -> RecordBatch {
    let texts: Vec<String> = values
        .iter()
        .map(|(a, b, s)| {
            let cell = |text: Option<String>| text.unwrap_or_else(|| "NULL".into());
            let (a, b) = (a.map(|a| a.to_string()), b.map(|b| b.to_string()));
            format!("{}|{}|{}", cell(a), cell(b), cell(s.clone()))
        })
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    rows("a BIGINT, b INT, s STRING", &texts)
}

fn values() -> impl Strategy<Value = Vec<Row>> {
    let small = prop_oneof![4 => -3..4_i64, 1 => Just(i64::MAX), 1 => Just(i64::MIN)];
    let row = (
        prop::option::weighted(0.8, small),
        prop::option::weighted(0.8, -2..3_i32),
        prop::option::weighted(0.8, "[0-9]{1,2}|x"),
    );
    prop::collection::vec(row, 1..40)
}

/// A condition, and what it is for a row by its model.
#[derive(Debug, Clone)]
enum Condition {
    AIsLess(i64),
    BIsZero,
    SIsNull,
    /// Fails where b is 0.
    Quotient(i64),
    /// Fails where the text is no number.
    Number(i64),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
}

/// The record fails.
#[derive(Debug, PartialEq)]
struct Fails;

impl Condition {
    fn sql(&self) -> String {
        match self {
            Self::AIsLess(n) => format!("a < {n}"),
            Self::BIsZero => "b = 0".into(),
            Self::SIsNull => "s IS NULL".into(),
            Self::Quotient(n) => format!("{n} / b > 1"),
            Self::Number(n) => format!("CAST(s AS INT) > {n}"),
            Self::Not(c) => format!("NOT ({})", c.sql()),
            Self::And(l, r) => format!("({}) AND ({})", l.sql(), r.sql()),
            Self::Or(l, r) => format!("({}) OR ({})", l.sql(), r.sql()),
        }
    }

    fn of(&self, row: &Row) -> Result<Option<bool>, Fails> {
        let (a, b, s) = row;
        Ok(match self {
            Self::AIsLess(n) => a.map(|a| a < *n),
            Self::BIsZero => b.map(|b| b == 0),
            Self::SIsNull => Some(s.is_none()),
            Self::Quotient(n) => match b {
                Some(0) => return Err(Fails),
                b => b.map(|b| n / i64::from(b) > 1),
            },
            Self::Number(n) => match s {
                Some(s) => Some(s.parse::<i64>().map_err(|_| Fails)? > *n),
                None => None,
            },
            Self::Not(c) => c.of(row)?.map(|answer| !answer),
            Self::And(l, r) => match l.of(row)? {
                Some(false) => Some(false),
                l => match (l, r.of(row)?) {
                    (_, Some(false)) => Some(false),
                    (Some(true), Some(true)) => Some(true),
                    _ => None,
                },
            },
            Self::Or(l, r) => match l.of(row)? {
                Some(true) => Some(true),
                l => match (l, r.of(row)?) {
                    (_, Some(true)) => Some(true),
                    (Some(false), Some(false)) => Some(false),
                    _ => None,
                },
            },
        })
    }
}

fn condition() -> impl Strategy<Value = Condition> {
    let leaf = prop_oneof![
        (-3..4_i64).prop_map(Condition::AIsLess),
        Just(Condition::BIsZero),
        Just(Condition::SIsNull),
        (-6..7_i64).prop_map(Condition::Quotient),
        (0..50_i64).prop_map(Condition::Number),
    ];
    leaf.prop_recursive(4, 12, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|c| Condition::Not(Box::new(c))),
            (inner.clone(), inner.clone())
                .prop_map(|(l, r)| Condition::And(Box::new(l), Box::new(r))),
            (inner.clone(), inner).prop_map(|(l, r)| Condition::Or(Box::new(l), Box::new(r))),
        ]
    })
}

/// The answers that are left when whatever fails might as well be true, false or NULL.
impl Condition {
    fn possible(&self, row: &Row) -> Vec<Option<bool>> {
        let mut answers = match self {
            Self::Not(c) => c.possible(row).into_iter().map(|c| c.map(|c| !c)).collect(),
            Self::And(l, r) => Self::pairs(l, r, row, |l, r| match (l, r) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            }),
            Self::Or(l, r) => Self::pairs(l, r, row, |l, r| match (l, r) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            }),
            leaf => match leaf.of(row) {
                Ok(answer) => vec![answer],
                Err(Fails) => vec![None, Some(false), Some(true)],
            },
        };
        answers.sort_unstable();
        answers.dedup();
        answers
    }

    fn pairs(
        left: &Self,
        right: &Self,
        row: &Row,
        both: impl Fn(Option<bool>, Option<bool>) -> Option<bool>,
    ) -> Vec<Option<bool>> {
        let rights = right.possible(row);
        let pair = |l| rights.iter().map(|&r| both(l, r)).collect::<Vec<_>>();
        left.possible(row).into_iter().flat_map(pair).collect()
    }
}

/// Per row whether it is kept, or the first row that fails.
fn kept(plan: &Plan, rows: &RecordBatch) -> Result<Vec<bool>, usize> {
    match plan.filter(rows) {
        Ok(Some(kept)) => Ok(kept.values().iter().collect()),
        Ok(None) => Ok(vec![true; rows.num_rows()]),
        Err(error) => Err(error.row().expect("a row")),
    }
}

proptest! {
    #[test]
    fn everything_selected_is_everything(values in values()) {
        let input = batch(&values);
        let plan = plan(&input, Some("*"), None).expect("a plan");
        prop_assert_eq!(plan.select(&input).expect("rows"), input);
    }

    #[test]
    fn a_filter_is_the_model_row_by_row(values in values(), condition in condition()) {
        let input = batch(&values);
        let plan = plan(&input, None, Some(&condition.sql())).expect("a plan");
        let mut alone = Vec::new();
        for (index, row) in values.iter().enumerate() {
            let found = kept(&plan, &input.slice(index, 1)).map(|kept| kept[0]);
            match (condition.of(row), found) {
                (Ok(model), found) => prop_assert_eq!(found, Ok(model == Some(true)), "{}", condition.sql()),
                // What fails may be left out where it changes nothing.
                (Err(Fails), Ok(kept)) => {
                    let possible = condition.possible(row);
                    prop_assert!(possible.iter().all(|c| (*c == Some(true)) == kept), "{}", condition.sql());
                }
                (Err(Fails), Err(_)) => {}
            }
            alone.push(found);
        }
        let together = alone.iter().enumerate().map(|(row, found)| found.map_err(|_| row)).collect();
        prop_assert_eq!(kept(&plan, &input), together, "{}", condition.sql());
    }

    #[test]
    fn a_batch_gives_what_its_rows_give_alone(values in values(), cut in 0..40_usize) {
        let input = batch(&values);
        let select = "a + b AS sum, a * 3 AS triple, CASE WHEN b <> 0 THEN a % b END AS rest, \
                      coalesce(TRY_CAST(s AS INT), -1) AS n, upper(s) || '!' AS t, -b AS negative";
        let plan = plan(&input, Some(select), None).expect("a plan");
        let row = |index: usize| plan.select(&input.slice(index, 1));
        match plan.select(&input) {
            Ok(all) => {
                for index in 0..input.num_rows() {
                    prop_assert_eq!(row(index).expect("a row"), all.slice(index, 1));
                }
                let cut = cut.min(input.num_rows());
                prop_assert_eq!(plan.select(&input.slice(0, cut)).expect("rows"), all.slice(0, cut));
            }
            // Columns are evaluated one after the other: the row is the first of the first column that fails.
            Err(error) => {
                let index = error.row().expect("a row");
                prop_assert!(row(index).is_err());
            }
        }
    }
}
