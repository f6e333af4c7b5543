use super::*;
use proptest::prelude::*;

fn column(text: &str) -> Field {
    parse(text).expect("a valid definition").arrow().field(0).clone()
}

#[test]
fn each_type_and_alias_is_read() {
    let cases = [
        ("STRING", DataType::Utf8),
        ("string", DataType::Utf8),
        ("BINARY", DataType::Binary),
        ("Boolean", DataType::Boolean),
        ("BYTE", DataType::Int8),
        ("TINYINT", DataType::Int8),
        ("SHORT", DataType::Int16),
        ("SMALLINT", DataType::Int16),
        ("INT", DataType::Int32),
        ("INTEGER", DataType::Int32),
        ("LONG", DataType::Int64),
        ("BIGINT", DataType::Int64),
        ("FLOAT", DataType::Float32),
        ("REAL", DataType::Float32),
        ("DOUBLE", DataType::Float64),
        ("DATE", DataType::Date32),
        ("TIMESTAMP", crate::schema::timestamp_type()),
        ("TIMESTAMP_LTZ", crate::schema::timestamp_type()),
        ("TIMESTAMP_NTZ", DataType::Timestamp(TimeUnit::Microsecond, None)),
        ("DECIMAL", DataType::Decimal128(10, 0)),
        ("DEC(5)", DataType::Decimal128(5, 0)),
        ("NUMERIC( 38 , 38 )", DataType::Decimal128(38, 38)),
        ("ARRAY<INT>", list_type(DataType::Int32)),
        ("MAP<STRING,ARRAY<INT>>", map_type(DataType::Utf8, list_type(DataType::Int32))),
        ("STRUCT<a: INT>", DataType::Struct(vec![Field::new("a", DataType::Int32, true)].into())),
        ("struct<a INT>", DataType::Struct(vec![Field::new("a", DataType::Int32, true)].into())),
    ];
    for (text, expected) in cases {
        assert_eq!(column(&format!("c {text}")).data_type(), &expected, "{text}");
    }
}

#[test]
fn nullability_comments_and_spelling_are_kept() {
    let schema = parse(
        "orderId STRING NOT NULL, `größe.x` INT COMMENT 'it''s \\'so\\' \\\\ \\n' NOT NULL,
         s STRUCT<`a-b`: INT NOT NULL COMMENT \"inner\", c: STRING> ",
    )
    .expect("valid");
    let fields = schema.arrow().fields();
    assert_eq!(fields[0].name(), "orderId");
    assert!(!fields[0].is_nullable() && !fields[1].is_nullable() && fields[2].is_nullable());
    assert_eq!(fields[1].name(), "größe.x");
    assert_eq!(fields[1].metadata()[COMMENT], "it's 'so' \\ \n");
    let DataType::Struct(inner) = fields[2].data_type() else { panic!("not a struct") };
    assert_eq!((inner[0].name().as_str(), inner[0].is_nullable()), ("a-b", false));
    assert_eq!(inner[0].metadata()[COMMENT], "inner");
}

#[test]
fn what_cannot_be_read_is_refused_with_its_place() {
    let cases = [
        (
            "",
            0,
            "expected a column name (other names than letters, digits and `_` go in back quotes), found the end",
        ),
        ("a", 1, "expected the type of `a`, found the end"),
        (
            "a INT,",
            6,
            "expected a column name (other names than letters, digits and `_` go in back quotes), found the end",
        ),
        ("a INT b INT", 6, "expected a comma, `NOT NULL` or `COMMENT`, found `b`"),
        ("a INT) ", 5, "expected a comma or the end, found `)`"),
        ("a INT NOT", 9, "expected `NULL` after `NOT`, found the end"),
        ("a INT NOT NULL NOT NULL", 15, "expected a comma, `NOT NULL` or `COMMENT`, found `NOT`"),
        ("a INT COMMENT x", 14, "expected text in quotes after `COMMENT`, found `x`"),
        ("a INT COMMENT 'x", 14, "a quote is not closed"),
        ("`a INT", 0, "a back quote is not closed"),
        ("`` INT", 0, "a column name is empty"),
        ("größe INT", 2, "expected the type of `gr`, found `ö`"),
        ("a VARCHAR(10)", 2, "`VARCHAR` is not a type; use STRING"),
        ("a char(3)", 2, "`char` is not a type; use STRING"),
        ("a INT64", 2, "`INT64` is not a type; use BIGINT"),
        ("a TIMESTMAP", 2, "`TIMESTMAP` is not a type; did you mean TIMESTAMP?"),
        ("a GEOMETRY", 2, "`GEOMETRY` is not a type"),
        ("a DECIMAL(39,1)", 10, "DECIMAL(39,1): the precision must be 1 to 38"),
        ("a DECIMAL(0)", 10, "DECIMAL(0,0): the precision must be 1 to 38"),
        ("a DECIMAL(4,5)", 10, "DECIMAL(4,5): the scale can't be larger than the precision"),
        ("a DECIMAL(4,-1)", 12, "expected the scale of the DECIMAL, found `-`"),
        ("a DECIMAL(x)", 10, "expected the precision of the DECIMAL, found `x`"),
        ("a ARRAY", 7, "expected `<`, found the end"),
        ("a ARRAY<INT", 11, "expected `>`, found the end"),
        ("a MAP<INT>", 9, "expected `,`, found `>`"),
        ("a STRUCT<>", 10, "a STRUCT without fields can't be stored in Parquet"),
        (
            "a INT, b INT, A STRING",
            14,
            "`a` and `A` are the same name to Delta Lake, which ignores case; rename one",
        ),
        (
            "s STRUCT<a: INT, a: INT>",
            17,
            "`a` and `a` are the same name to Delta Lake, which ignores case; rename one",
        ),
        (
            "`a b` INT",
            0,
            "the name `a b` holds ' ', which Parquet readers refuse; rename the column",
        ),
        (
            "s STRUCT<`x\ny`: INT>",
            9,
            "the name `x\\ny` holds '\\n', which Parquet readers refuse; rename the column",
        ),
    ];
    for (text, position, message) in cases {
        let expected = DdlError { position, message: message.into() };
        assert_eq!(parse(text).expect_err(text), expected, "{text}");
    }
}

#[test]
fn nesting_is_bounded() {
    let nested =
        |depth: usize| format!("a {}INT{}", "ARRAY<".repeat(depth - 1), ">".repeat(depth - 1));
    assert!(parse(&nested(MAX_DEPTH)).is_ok());
    let error = parse(&nested(MAX_DEPTH + 1)).expect_err("too deep");
    assert_eq!(error.message, "types nest deeper than 32");
    assert!(parse(&nested(100_000)).is_err());
}

fn any_type() -> impl Strategy<Value = DataType> + Clone {
    let leaf = prop_oneof![
        Just(DataType::Utf8),
        Just(DataType::Binary),
        Just(DataType::Int8),
        Just(DataType::Float32),
        Just(crate::schema::timestamp_type()),
        Just(DataType::Timestamp(TimeUnit::Microsecond, None)),
        (1u8..=38).prop_flat_map(
            |p| (Just(p), 0..=p.cast_signed()).prop_map(|(p, s)| DataType::Decimal128(p, s))
        ),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(list_type),
            (inner.clone(), inner.clone()).prop_map(|(k, v)| map_type(k, v)),
            any_fields(inner).prop_map(|f| DataType::Struct(f.into())),
        ]
    })
}

fn any_fields(types: impl Strategy<Value = DataType> + Clone) -> impl Strategy<Value = Vec<Field>> {
    let field =
        ("[a-z0-9_`'.-]{1,4}", types, any::<bool>(), proptest::option::of("[a-z'\\\\\"\n`é]{0,5}"));
    proptest::collection::vec(field, 1..4).prop_map(|fields| {
        let numbered = fields.into_iter().enumerate();
        numbered
            .map(|(i, (name, data_type, nullable, comment))| {
                let comment = comment.map(|c| (COMMENT.to_owned(), c));
                Field::new(format!("{name}{i}"), data_type, nullable)
                    .with_metadata(comment.into_iter().collect())
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn format_and_parse_are_inverse(fields in any_fields(any_type())) {
        let schema = TableSchema::new(fields);
        let text = format(&schema);
        prop_assert_eq!(parse(&text), Ok(schema), "{}", text);
    }

    #[test]
    fn any_text_is_answered_without_a_panic(text in "[ -~é`'\\\\<>(),:]{0,60}") {
        if let Ok(schema) = parse(&text) {
            prop_assert_eq!(parse(&format(&schema)), Ok(schema));
        }
    }
}
