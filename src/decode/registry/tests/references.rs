use super::*;

/// Path → answer; anything else is missing.
async fn serve(replies: Vec<(&'static str, server::Reply)>) -> Server {
    Server::start(move |path, _| {
        let found = replies.iter().find(|(known, _)| *known == path);
        found.map_or_else(|| missing(40401), |(_, reply)| reply.clone())
    })
    .await
}

#[tokio::test]
async fn a_diamond_is_one_schema_reached_by_two_ways() {
    let server = serve(vec![
        ("/schemas/ids/1", version(1, &[("left", "l", 1), ("right", "r", 1)])),
        ("/subjects/l/versions/1", version(2, &[("base", "b", 3)])),
        ("/subjects/r/versions/1", version(3, &[("base", "b", 3)])),
        ("/subjects/b/versions/3", version(4, &[])),
    ])
    .await;
    let client = server.client();
    let schema = client.schema_by_id(1).await.expect("it is complete");
    let [left, right] = schema.references.as_slice() else { panic!("two references") };
    assert_eq!((left.name.as_str(), right.name.as_str()), ("left", "right"));
    let base = |of: &Reference| Arc::clone(&of.schema.references[0].schema);
    assert!(Arc::ptr_eq(&base(left), &base(right)));
    assert_eq!(base(left).text, "text 4");
    assert_eq!(server.asked().len(), 4);
    client.schema_by_id(4).await.expect("it came as a reference");
    assert_eq!(server.asked().len(), 4);
}

#[tokio::test]
async fn circles_are_refused() {
    let server = serve(vec![
        ("/schemas/ids/1", version(1, &[("a", "a", 1)])),
        ("/subjects/a/versions/1", version(2, &[("b", "b", 1)])),
        ("/subjects/b/versions/1", version(3, &[("a", "a", 1)])),
    ])
    .await;
    let error = server.client().schema_by_id(1).await.expect_err("a circle");
    check(
        &error,
        "SL3210",
        DATA,
        "schema id 1: its references lead in a circle, by version 1 of `a`",
    );
}

#[tokio::test]
async fn depth_is_bounded() {
    let server = Server::start(|path, count| {
        assert!(count < 100, "{path}");
        let next = format!("s{count}");
        version(u32::try_from(count).expect("it is small") + 1, &[("n", next.as_str(), 1)])
    })
    .await;
    let error = server.client().schema_by_id(1).await.expect_err("no end");
    check(&error, "SL3210", DATA, "nested deeper than 32");
}

#[tokio::test]
async fn the_number_of_references_is_bounded() {
    let server = Server::start(|path, _| match path.strip_prefix("/subjects/s/versions/") {
        Some(number) => version(number.parse().expect("a number"), &[]),
        None => {
            let to: Vec<_> = (2..=1_100).map(|number| ("n", "s", number)).collect();
            version(1, &to)
        }
    })
    .await;
    let limits = Limits { answer_bytes: 1 << 20, ..Limits::default() };
    let client = Client::with_limits(&server.spec(), limits).expect("a client");
    let error = client.schema_by_id(1).await.expect_err("too many");
    check(&error, "SL3210", DATA, "more than 1000 schemas");
}

#[tokio::test]
async fn a_reference_that_stays_missing_is_told_and_one_out_of_reach_is_waited_for() {
    let server = Server::start(|path, _| match path {
        "/schemas/ids/1" => version(1, &[("a", "a", 1)]),
        "/schemas/ids/2" => version(2, &[("b", "b", 1)]),
        "/subjects/a/versions/1" => missing(40402),
        _ => (503, String::new()),
    })
    .await;
    let client = server.client();
    let error = client.schema_by_id(1).await.expect_err("it is missing");
    check(&error, "SL3210", DATA, "schema id 1: it refers to version 1 of `a`");
    let error = client.schema_by_id(2).await.expect_err("the registry is down");
    check(&error, "SL3206", RETRY, "503");
}

#[tokio::test]
async fn the_text_of_all_is_bounded() {
    let part = "x".repeat(9 << 20);
    let server = Server::start(move |path, _| match path {
        "/schemas/ids/1" => {
            version(1, &[("a", "a", 1), ("b", "b", 1), ("c", "c", 1), ("d", "d", 1)])
        }
        _ => {
            let id = u32::from(path.as_bytes()["/subjects/".len()]);
            ok(json!({"id": id, "schema": part}))
        }
    })
    .await;
    let client = Client::new(&server.spec()).expect("a client");
    let error = client.schema_by_id(1).await.expect_err("36 MiB");
    check(&error, "SL3210", DATA, "larger than 33554432 bytes");
}
