//! Each kind of bad record: its code and its sentence, to the letter.

use super::*;

/// The code and reason that a value is refused with.
fn refusal(spec: &Decode, value: &[u8]) -> Option<(String, String)> {
    let mut decoder = decoder(spec);
    decoder.push(&message(0, value)).expect("no policy `fail`");
    let chunk = decoder.finish(1);
    assert_eq!(chunk.fates.records(), 1);
    let bad = decoder.take_first_bad()?;
    let letters = chunk.dead_letters.expect("a bad record is a dead letter");
    let text = |name: &str| {
        letters.column_by_name(name).expect(name).as_string::<i32>().value(0).to_owned()
    };
    assert_eq!((text("reason_code").as_str(), text("reason")), (bad.code, bad.reason.clone()));
    Some((bad.code.to_owned(), bad.reason))
}

fn check_refused(spec: &Decode, cases: &[(&[u8], &str, &str)]) {
    for (value, code, reason) in cases {
        let expected = Some(((*code).to_owned(), (*reason).to_owned()));
        assert_eq!(refusal(spec, value), expected, "{}", value.escape_ascii());
    }
}

#[test]
fn what_is_no_json_object_is_refused() {
    let deep = |levels: usize| format!("{{\"x\":{}", "[".repeat(levels)).into_bytes();
    let deep_known = format!("{{\"s\":{{\"x\":{}", "{\"y\":".repeat(64)).into_bytes();
    let spec = spec("a INT, t STRING, s STRUCT<b: INT>");
    let cases: &[(&[u8], &str, &str)] = &[
        (b"", "SL3001", "byte 0: the value is empty (a tombstone would be null)"),
        (b" \n ", "SL3001", "byte 3: the value is empty (a tombstone would be null)"),
        (b"[1]", "SL3002", "byte 0: the value is an array, not an object"),
        (b"\"{}\"", "SL3002", "byte 0: the value is a string, not an object"),
        (b"null", "SL3002", "byte 0: the value is null, not an object"),
        (b"17", "SL3002", "byte 0: the value is a number, not an object"),
        (b"true", "SL3002", "byte 0: the value is a boolean, not an object"),
        (
            b"\x00\x00\x00\x00\x01\x02",
            "SL3003",
            "byte 0 is 0x00 (schema registry's wire format): use Avro (`format: avro`, with Debezium `encoding: avro`), \
             or `framing: confluent` if JSON follows",
        ),
        (b"\xEF\xBB\xBF{}", "SL3004", "byte 0: a byte order mark, which JSON does not allow"),
        (b"<xml/>", "SL3005", "byte 0: 0x3C where a value should be"),
        (b"{a:1}", "SL3005", "byte 1: 0x61 where a field name in quotes should be"),
        (b"{'a':1}", "SL3005", "byte 1: 0x27 where a field name in quotes should be"),
        (b"{\"a\":1,}", "SL3005", "byte 7: 0x7D where a field name in quotes should be"),
        (b"{\"a\" 1}", "SL3005", "byte 5: 0x31 where a colon should be"),
        (b"{\"a\":}", "SL3005", "`a`, byte 5: 0x7D where a value should be"),
        (b"{\"a\":1;\"t\":2}", "SL3005", "byte 6: 0x3B where a comma or `}` should be"),
        (b"{\"x\":[1,]}", "SL3005", "byte 8: 0x5D where a value should be"),
        (b"{\"x\":[1}", "SL3005", "byte 7: 0x7D where a comma or `]` should be"),
        (b"{\"x\":{1}}", "SL3005", "byte 6: 0x31 where a field name should be"),
        (b"{\"x\":nul}", "SL3005", "byte 8: 0x7D where `true`, `false` or `null` should be"),
        (b"{\"a\":nan}", "SL3005", "`a`, byte 6: 0x61 where `true`, `false` or `null` should be"),
        (b"{\"a\":1/**/}", "SL3005", "byte 6: 0x2F where a comma or `}` should be"),
        (b"{\"a\":\xA01}", "SL3005", "`a`, byte 5: 0xA0 where a value should be"),
        (b"{", "SL3006", "byte 1: the value ends too early"),
        (b"{\"a\"", "SL3006", "byte 4: the value ends too early"),
        (b"{\"a\":", "SL3006", "`a`, byte 5: the value ends too early"),
        (b"{\"a\":1", "SL3006", "byte 6: the value ends too early"),
        (b"{\"a\":-", "SL3006", "`a`, byte 6: the value ends too early"),
        (b"{\"t\":\"abc", "SL3006", "`t`, byte 9: the value ends too early"),
        (b"{\"t\":\"abc\\", "SL3006", "`t`, byte 10: the value ends too early"),
        (b"{\"t\":\"\\u12", "SL3006", "`t`, byte 10: the value ends too early"),
        (b"{\"x\":tru", "SL3006", "byte 8: the value ends too early"),
        (b"{}{}", "SL3007", "byte 2: 0x7B after the end of the object"),
        (b"{} \x00", "SL3007", "byte 3: 0x00 after the end of the object"),
        (b"{\"t\":\"ab\xFFc\"}", "SL3008", "`t`, byte 8: text that is not UTF-8"),
        (b"{\"t\":\"\xED\xA0\x80\"}", "SL3008", "`t`, byte 6: text that is not UTF-8"),
        (b"{\"t\":\"\xC3\"}", "SL3008", "`t`, byte 6: text that is not UTF-8"),
        (
            b"{\"x\":\"long enough for a word \xC0\x80\"}",
            "SL3008",
            "byte 29: text that is not UTF-8",
        ),
        (b"{\"n\xFF\":1}", "SL3008", "byte 3: text that is not UTF-8"),
        (
            b"{\"t\":\"a\nb\"}",
            "SL3009",
            "`t`, byte 7: control character 0x0A in a string must be escaped",
        ),
        (
            b"{\"x\":\"0123456789\x00\"}",
            "SL3009",
            "byte 16: control character 0x00 in a string must be escaped",
        ),
        (b"{\"t\":\"\\x41\"}", "SL3010", "`t`, byte 7: 0x78 is no escape that JSON has"),
        (b"{\"t\":\"\\u00g0\"}", "SL3010", "`t`, byte 10: 0x67 is no escape that JSON has"),
        (b"{\"t\":\"\\ud83d\"}", "SL3011", "`t`, byte 6: half of a surrogate pair stands alone"),
        (b"{\"t\":\"\\ude00\"}", "SL3011", "`t`, byte 6: half of a surrogate pair stands alone"),
        (
            b"{\"t\":\"\\ud83d\\u0041\"}",
            "SL3011",
            "`t`, byte 6: half of a surrogate pair stands alone",
        ),
        (b"{\"x\":\"\\ud83dx\"}", "SL3011", "byte 6: half of a surrogate pair stands alone"),
        (b"{\"a\":01}", "SL3012", "`a`, byte 6: not a JSON number: a leading zero"),
        (b"{\"a\":-x}", "SL3012", "`a`, byte 6: not a JSON number: no digit after the minus sign"),
        (b"{\"x\":1.}", "SL3012", "byte 7: not a JSON number: no digit after the point"),
        (b"{\"x\":1e}", "SL3012", "byte 7: not a JSON number: no digit in the exponent"),
        (b"{\"a\":+1}", "SL3012", "`a`, byte 5: not a JSON number: a plus sign before it"),
        (b"{\"a\":.5}", "SL3012", "`a`, byte 5: not a JSON number: no digit before the point"),
        (b"{\"a\":NaN}", "SL3013", "`a`, byte 5: NaN and Infinity are not JSON"),
        (b"{\"x\":Infinity}", "SL3013", "byte 5: NaN and Infinity are not JSON"),
        (b"{\"a\":-Infinity}", "SL3013", "`a`, byte 5: NaN and Infinity are not JSON"),
        (&deep(64), "SL3014", "byte 68: nested deeper than 64 levels"),
        (&deep(100_000), "SL3014", "byte 68: nested deeper than 64 levels"),
        (&deep_known, "SL3014", "`s`, byte 320: nested deeper than 64 levels"),
    ];
    check_refused(&spec, cases);
}

#[test]
fn what_does_not_fit_its_column_is_refused() {
    let mut spec = spec(
        "a INT, b TINYINT, c SMALLINT, d BIGINT, e FLOAT, f DOUBLE, g DECIMAL(6,2), h BOOLEAN, i DATE,
         j TIMESTAMP, k TIMESTAMP_NTZ, l BINARY, m MAP<STRING, INT>, n ARRAY<STRUCT<x: INT NOT NULL, y: ARRAY<DATE>>>,
         o STRING, p TIMESTAMP, q STRUCT<r: STRUCT<s: TINYINT>>",
    );
    json(&mut spec).timestamps = BTreeMap::from([("P".to_owned(), TimestampFormat::EpochMillis)]);
    json(&mut spec).timezone = chrono_tz::Europe::Berlin;
    let cases: &[(&[u8], &str, &str)] = &[
        (br#"{"a":1,"a":1}"#, "SL3015", "`a`, byte 7: the field stands there twice"),
        (br#"{"a":null,"\u0061":1}"#, "SL3015", "`a`, byte 10: the field stands there twice"),
        (
            br#"{"m":{"k":1,"\u006b":1}}"#,
            "SL3016",
            "`m`, byte 5: a key of the map stands there twice",
        ),
        (
            br#"{"n":[{"x":1},{}]}"#,
            "SL3017",
            "`n[1].x`, byte 15: the field is missing, and the column is NOT NULL",
        ),
        (br#"{"n":[{"x":null}]}"#, "SL3018", "`n[0].x`, byte 11: null, and the column is NOT NULL"),
        (br#"{"a":"1"}"#, "SL3020", "`a`, byte 5: a string, and the column is INT"),
        (br#"{"g":"1.5"}"#, "SL3020", "`g`, byte 5: a string, and the column is DECIMAL(6,2)"),
        (br#"{"f":true}"#, "SL3020", "`f`, byte 5: a boolean, and the column is DOUBLE"),
        (br#"{"h":1}"#, "SL3020", "`h`, byte 5: a number, and the column is BOOLEAN"),
        (br#"{"h":"true"}"#, "SL3020", "`h`, byte 5: a string, and the column is BOOLEAN"),
        (br#"{"o":1}"#, "SL3020", "`o`, byte 5: a number, and the column is STRING"),
        (br#"{"o":{}}"#, "SL3020", "`o`, byte 5: an object, and the column is STRING"),
        (br#"{"j":1700000000}"#, "SL3020", "`j`, byte 5: a number, and the column is TIMESTAMP"),
        (
            br#"{"p":"2024-01-01T00:00:00Z"}"#,
            "SL3020",
            "`p`, byte 5: a string, and the column is TIMESTAMP",
        ),
        (br#"{"i":1}"#, "SL3020", "`i`, byte 5: a number, and the column is DATE"),
        (br#"{"l":[1]}"#, "SL3020", "`l`, byte 5: an array, and the column is BINARY"),
        (br#"{"m":[]}"#, "SL3020", "`m`, byte 5: an array, and the column is MAP<STRING, INT>"),
        (br#"{"m":{"k":[]}}"#, "SL3020", "`m[0]`, byte 10: an array, and the column is INT"),
        (
            br#"{"q":{"r":{"s":[]}}}"#,
            "SL3020",
            "`q.r.s`, byte 15: an array, and the column is TINYINT",
        ),
        (
            br#"{"q":1}"#,
            "SL3020",
            "`q`, byte 5: a number, and the column is STRUCT<r: STRUCT<s: TINYINT>>",
        ),
        (
            br#"{"a":1.0}"#,
            "SL3021",
            "`a`, byte 5: a fraction or an exponent, and the column is INT",
        ),
        (
            br#"{"d":1e3}"#,
            "SL3021",
            "`d`, byte 5: a fraction or an exponent, and the column is BIGINT",
        ),
        (br#"{"b":128}"#, "SL3022", "`b`, byte 5: the number is outside the range of TINYINT"),
        (br#"{"c":-32769}"#, "SL3022", "`c`, byte 5: the number is outside the range of SMALLINT"),
        (br#"{"a":2147483648}"#, "SL3022", "`a`, byte 5: the number is outside the range of INT"),
        (
            br#"{"d":9223372036854775808}"#,
            "SL3022",
            "`d`, byte 5: the number is outside the range of BIGINT",
        ),
        (br#"{"e":1e39}"#, "SL3023", "`e`, byte 5: the number is larger than FLOAT can hold"),
        (br#"{"f":-1e309}"#, "SL3023", "`f`, byte 5: the number is larger than DOUBLE can hold"),
        (
            br#"{"g":10000}"#,
            "SL3024",
            "`g`, byte 5: the number has more digits before the point than DECIMAL(6,2) can hold",
        ),
        (
            br#"{"g":0.001}"#,
            "SL3025",
            "`g`, byte 5: the number has more digits after the point than DECIMAL(6,2) can hold",
        ),
        (br#"{"i":"2024-1-1"}"#, "SL3026", "`i`, byte 5: not a date of the form YYYY-MM-DD"),
        (
            br#"{"n":[{"x":1,"y":["2024"]}]}"#,
            "SL3026",
            "`n[0].y[0]`, byte 18: not a date of the form YYYY-MM-DD",
        ),
        (
            br#"{"j":"yesterday"}"#,
            "SL3027",
            "`j`, byte 5: not a timestamp of the form YYYY-MM-DDTHH:MM:SS[.ffffff][zone]",
        ),
        (br#"{"i":"2023-02-29"}"#, "SL3028", "`i`, byte 5: no such day or time of day"),
        (br#"{"j":"2024-02-29T24:00:00Z"}"#, "SL3028", "`j`, byte 5: no such day or time of day"),
        (
            br#"{"k":"2024-02-29T12:00:00Z"}"#,
            "SL3029",
            "`k`, byte 5: a time zone, and the column is TIMESTAMP_NTZ",
        ),
        (
            br#"{"j":"2024-03-31T02:30:00"}"#,
            "SL3030",
            "`j`, byte 5: a local time that clocks in Europe/Berlin skipped",
        ),
        (br#"{"p":1e30}"#, "SL3031", "`p`, byte 5: outside the years 0001 to 9999"),
        (
            br#"{"j":"2024-02-29T12:00:00.0000001Z"}"#,
            "SL3032",
            "`j`, byte 5: digits beyond microseconds, which TIMESTAMP would lose",
        ),
        (
            br#"{"p":0.0001}"#,
            "SL3032",
            "`p`, byte 5: digits beyond microseconds, which TIMESTAMP would lose",
        ),
        (
            br#"{"l":"YQ"}"#,
            "SL3033",
            "`l`, byte 5: not base64 with its padding (RFC 4648 section 4)",
        ),
        (
            br#"{"l":"Y-=="}"#,
            "SL3033",
            "`l`, byte 5: not base64 with its padding (RFC 4648 section 4)",
        ),
        (
            br#"{"l":"YR=="}"#,
            "SL3033",
            "`l`, byte 5: not base64 with its padding (RFC 4648 section 4)",
        ),
        (
            b"{\"l\":\"YQ==\\n\"}",
            "SL3033",
            "`l`, byte 5: not base64 with its padding (RFC 4648 section 4)",
        ),
    ];
    check_refused(&spec, cases);
}

#[test]
fn unknown_fields_are_ignored_or_refused_as_declared() {
    let mut spec = spec("a INT, s STRUCT<b: INT>");
    let values = [r#"{"A":1,"x":{"a":[1,{}]},"a":2}"#, r#"{"s":{"c":"\ud83d\ude00","b":3}}"#];
    let rows = chunk(&spec, &values).rows;
    assert_eq!(
        rows.column(0).as_primitive::<Int32Type>().iter().collect::<Vec<_>>(),
        [Some(2), None]
    );
    json(&mut spec).unknown_fields = UnknownFields::Fail;
    let reason = "a field that the schema does not declare (`unknown_fields: fail`)";
    check_refused(
        &spec,
        &[
            (br#"{"A":1}"#, "SL3019", &format!("byte 1: {reason}")),
            (br#"{"a":1,"s":{"c":1}}"#, "SL3019", &format!("`s`, byte 12: {reason}")),
        ],
    );
}

#[test]
fn many_keys_of_a_map_are_compared_without_quadratic_work() {
    let spec = spec("m MAP<STRING, INT>");
    let object = |keys: &mut dyn Iterator<Item = usize>| {
        let entries: Vec<String> = keys.map(|key| format!("\"{key}\":1")).collect();
        format!("{{\"m\":{{{}}}}}", entries.join(","))
    };
    assert_eq!(refusal(&spec, object(&mut (0..100_000)).as_bytes()), None);
    let twins = object(&mut (0..100_000).chain([77_777]));
    assert_eq!(refusal(&spec, twins.as_bytes()).map(|(code, _)| code).as_deref(), Some("SL3016"));
}
