use std::path::PathBuf;

use serde_json::json;
use url::Url;

use super::*;
use crate::config::{RegistryAuth, Secret};
use crate::disposition::{Disposition, Exit};
use server::{Server, avro, client, missing, nowhere, ok, registry, version};

mod references;
pub(in crate::decode) mod server;

#[track_caller]
fn check(error: &RegistryError, code: &str, disposition: Disposition, words: &str) {
    assert_eq!((error.code(), error.disposition()), (code, disposition), "{error}");
    let text = error.to_string();
    assert!(text.contains(words), "{text}\nsays nothing of\n{words}");
}

const RETRY: Disposition = Disposition::Retry;
const CONFIGURATION: Disposition = Disposition::Stop(Exit::Configuration);
const DATA: Disposition = Disposition::Stop(Exit::DataRefused);

#[tokio::test]
async fn a_schema_is_asked_for_once() {
    let server = Server::start(|_, _| avro(r#""string""#)).await;
    let client = server.client();
    let schema = client.schema_by_id(7).await.expect("it is there");
    let text = r#""string""#.to_owned();
    let expected = RegisteredSchema { id: 7, kind: SchemaKind::Avro, text, references: vec![] };
    assert_eq!(*schema, expected);
    let again = client.clone().schema_by_id(7).await.expect("it is known");
    assert!(Arc::ptr_eq(&schema, &again));
    assert_eq!(server.paths(), ["/schemas/ids/7"]);
}

#[tokio::test]
async fn what_is_known_needs_no_registry() {
    let server = Server::start(|_, _| avro(r#""string""#)).await;
    let client = server.client();
    client.schema_by_id(7).await.expect("it is there");
    drop(server);
    client.schema_by_id(7).await.expect("it is known");
    let error = client.schema_by_id(8).await.expect_err("nobody answers");
    assert_eq!(error.disposition(), RETRY);
}

#[tokio::test]
async fn the_three_kinds_are_told_apart() {
    let server = Server::start(|path, _| match path {
        "/schemas/ids/1" => ok(json!({"schema": "{}", "schemaType": "JSON"})),
        "/schemas/ids/2" => ok(json!({"schema": "syntax", "schemaType": "PROTOBUF"})),
        "/schemas/ids/3" => ok(json!({"schema": "{}", "schemaType": "AVRO", "references": null})),
        _ => ok(json!({"schema": "{}", "schemaType": "THRIFT"})),
    })
    .await;
    let client = server.client();
    let kind = async |id| client.schema_by_id(id).await.map(|schema| schema.kind);
    assert_eq!(kind(1).await, Ok(SchemaKind::Json));
    assert_eq!(kind(2).await, Ok(SchemaKind::Protobuf));
    assert_eq!(kind(3).await, Ok(SchemaKind::Avro));
    check(&kind(4).await.expect_err("nobody knows it"), "SL3210", DATA, "neither AVRO nor JSON");
}

#[tokio::test]
async fn the_newest_of_a_subject_is_asked_each_time_and_known_by_its_id() {
    let server = Server::start(|_, count| version(if count == 0 { 4 } else { 5 }, &[])).await;
    let client = server.client();
    let first = client.latest("orders-value").await.expect("an answer").expect("it is there");
    let second = client.latest("orders-value").await.expect("an answer").expect("it is there");
    assert_eq!((first.id, second.id), (4, 5));
    client.schema_by_id(4).await.expect("it is known");
    assert_eq!(server.paths(), ["/subjects/orders-value/versions/latest"; 2]);
}

#[tokio::test]
async fn a_subject_that_is_missing_is_no_error_and_not_waited_for() {
    for code in [40401, 40402] {
        let server = Server::start(move |_, _| missing(code)).await;
        assert_eq!(server.client().latest("orders-value").await, Ok(None));
        assert_eq!(server.asked().len(), 1);
    }
}

#[tokio::test]
async fn subjects_are_encoded_and_base_paths_kept() {
    let server = Server::start(|_, _| version(1, &[])).await;
    for base in ["/apis/ccompat/v7", "/apis/ccompat/v7/"] {
        let client = client(&registry([server.url.join(base).expect("a path")]));
        client.latest(":.eu:a/b c%2F?#ü").await.expect("an answer");
    }
    let encoded = "/apis/ccompat/v7/subjects/%3A.eu%3Aa%2Fb%20c%252F%3F%23%C3%BC/versions/latest";
    assert_eq!(server.paths(), [encoded; 2]);
}

#[tokio::test]
async fn a_subject_of_dots_never_becomes_another_path() {
    let server = Server::start(|_, _| version(1, &[])).await;
    for subject in ["", ".", ".."] {
        assert_eq!(server.client().latest(subject).await, Ok(None));
    }
    assert_eq!(server.paths(), [""; 0]);
}

#[tokio::test]
async fn credentials_go_with_every_question() {
    let server = Server::start(|_, _| avro("{}")).await;
    let secret = |text: &str| Secret::new(text);
    let basic = RegistryAuth::Basic { username: secret("reader"), password: secret("p:ä") };
    for (auth, header) in [
        (RegistryAuth::None, None),
        (basic, Some("Basic cmVhZGVyOnA6w6Q=")),
        (RegistryAuth::Bearer(secret("a.b.c")), Some("Bearer a.b.c")),
    ] {
        let client = client(&Registry { auth, ..server.spec() });
        assert!(!format!("{client:?}").contains("a.b.c"), "a secret is printed");
        client.schema_by_id(1).await.expect("an answer");
        let asked = server.asked();
        assert_eq!(asked.last().expect("a question").authorization.as_deref(), header);
    }
}

#[test]
fn a_token_that_no_header_can_hold_is_refused() {
    let auth = RegistryAuth::Bearer(Secret::new("secret\n"));
    let url: Url = "http://127.0.0.1:1".parse().expect("a URL");
    let error = Client::new(&Registry { auth, ..registry([url]) }).expect_err("a line end");
    check(&error, "SL3203", CONFIGURATION, "the token holds characters");
    assert!(!error.to_string().contains("secret"));
}

#[test]
fn urls_with_credentials_or_of_another_kind_are_refused() {
    let refused = |url: &str| {
        let url: Url = url.parse().expect("a URL");
        Client::new(&registry([url])).expect_err("it can't be used")
    };
    let error = refused("https://user:secret@registry:8081/base");
    check(&error, "SL3201", CONFIGURATION, "https://registry:8081/base holds credentials");
    assert!(!error.to_string().contains("secret"));
    check(&refused("ftp://registry/"), "SL3201", CONFIGURATION, "http://");
    check(&refused("registry:8081"), "SL3201", CONFIGURATION, "http://");
}

#[test]
fn a_file_without_certificates_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("it can be written");
        path
    };
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for path in [PathBuf::from("/nowhere/ca.pem"), file("a", "no PEM"), file("b", broken)] {
        let url: Url = "https://127.0.0.1:1".parse().expect("a URL");
        let spec = Registry { ca_file: Some(path.clone()), ..registry([url]) };
        match Client::new(&spec).expect_err("no certificate") {
            // rustls looks into certificates when the client is made, not before.
            RegistryError::Client { .. } => assert!(path.ends_with("b")),
            error => check(&error, "SL3202", CONFIGURATION, &path.display().to_string()),
        }
    }
}

#[tokio::test]
async fn passing_answers_are_tried_again() {
    for status in [429, 500, 502, 503, 504, 408] {
        let server = Server::start(move |_, count| match count {
            0 | 1 => (status, "<html>later</html>".into()),
            _ => avro("{}"),
        })
        .await;
        server.client().schema_by_id(1).await.expect("the third answer");
        assert_eq!(server.asked().len(), 3, "{status}");
    }
}

#[tokio::test]
async fn an_outage_longer_than_a_call_is_for_the_session_to_wait_for() {
    let body = json!({"error_code": 50001, "message": "store\ndown"}).to_string();
    let server = Server::start(move |_, _| (500, body.clone())).await;
    let client = server.client();
    let error = client.schema_by_id(1).await.expect_err("it is down");
    check(&error, "SL3206", RETRY, "answers 500 Internal Server Error (store down)");
    let asked = server.asked().len();
    assert!((4..=40).contains(&asked), "{asked} questions in 400 ms");
    client.schema_by_id(1).await.expect_err("an outage doesn't make the id unknown");
    assert!(server.asked().len() > asked);
}

#[tokio::test]
async fn a_registry_that_asks_for_more_time_than_a_call_has_is_left_alone() {
    let later = |_: &str, _: usize| {
        ((429, String::new()), vec![("retry-after", "30".to_owned())], Duration::ZERO)
    };
    let server = Server::start_with(later).await;
    let error = server.client().schema_by_id(1).await.expect_err("it is busy");
    check(&error, "SL3206", RETRY, "429 Too Many Requests");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn rights_are_not_waited_for_and_the_message_says_what_to_set() {
    let spec = |server: &Server, auth| Registry { auth, ..server.spec() };
    let basic = RegistryAuth::Basic { username: "u".into_secret(), password: "hush".into_secret() };
    for (status, auth, words) in [
        (
            401,
            RegistryAuth::None,
            "401 Unauthorized: it wants to know who asks; set `registry.auth`",
        ),
        (401, basic.clone(), "401 Unauthorized: correct `registry.auth`"),
        (403, basic, "403 Forbidden: grant the user of `registry.auth` the right to read"),
    ] {
        let server = Server::start(move |_, _| (status, "<html>no</html>".into())).await;
        let client = client(&spec(&server, auth));
        let error = client.schema_by_id(1).await.expect_err("it is refused");
        check(&error, "SL3208", CONFIGURATION, words);
        assert!(error.to_string().contains(server.url.as_str()), "{error}");
        assert!(!error.to_string().contains("hush"));
        assert_eq!(server.asked().len(), 1);
    }
}

trait IntoSecret {
    fn into_secret(self) -> Secret;
}

impl IntoSecret for &str {
    fn into_secret(self) -> Secret {
        Secret::new(self)
    }
}

#[tokio::test]
async fn an_id_that_a_follower_learns_late_is_waited_for() {
    let server =
        Server::start(|_, count| if count < 2 { missing(40403) } else { avro("{}") }).await;
    server.client().schema_by_id(9).await.expect("the third answer");
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn an_unknown_id_is_asked_for_a_while_and_then_not_for_a_while() {
    let server = Server::start(|_, _| missing(40403)).await;
    let client = server.client();
    let error = client.schema_by_id(9).await.expect_err("nobody knows it");
    check(&error, "SL3209", DATA, "has no schema with id 9");
    let asked = server.asked().len();
    assert!((2..=20).contains(&asked), "{asked} questions in 150 ms");
    assert_eq!(client.schema_by_id(9).await, Err(error));
    assert_eq!(server.asked().len(), asked);
}

#[tokio::test]
async fn an_id_that_no_registry_can_give_is_not_asked_for() {
    let server =
        Server::start(|_, _| (404, r#"{"error_code": 404, "message": "HTTP 404"}"#.into())).await;
    for id in [1 << 31, u32::MAX] {
        let error = server.client().schema_by_id(id).await.expect_err("it can't exist");
        check(&error, "SL3209", DATA, &format!("has no schema with id {id}"));
    }
    assert_eq!(server.asked(), []);
}

#[tokio::test]
async fn a_404_that_is_not_the_registrys_makes_no_id_unknown() {
    let path = r#"{"error_code": 404, "message": "HTTP 404 Not Found"}"#;
    for body in ["<html>404</html>", r#"{"status": 404, "error": "Not Found"}"#, path] {
        let server = Server::start(move |_, _| (404, body.into())).await;
        let client = server.client();
        let error = client.schema_by_id(9).await.expect_err("it is no registry");
        check(&error, "SL3207", RETRY, "is its base path missing?");
        let error = client.latest("orders-value").await.expect_err("it is no registry");
        check(&error, "SL3207", RETRY, "correct `registry.url`");
    }
}

#[tokio::test]
async fn slow_answers_are_given_up_and_tried_again() {
    let slow_once = |_: &str, count: usize| {
        let delay = Duration::from_secs(if count == 0 { 30 } else { 0 });
        (avro("{}"), Vec::new(), delay)
    };
    let server = Server::start_with(slow_once).await;
    let limits = Limits { request: Duration::from_millis(100), ..Limits::default() };
    let client = Client::with_limits(&server.spec(), limits).expect("a client");
    client.schema_by_id(1).await.expect("the second answer");

    let slow = |_: &str, _: usize| (avro("{}"), Vec::new(), Duration::from_secs(30));
    let server = Server::start_with(slow).await;
    let error = server.client().schema_by_id(1).await.expect_err("it hangs");
    check(&error, "SL3205", RETRY, "no answer within 500ms");
}

#[tokio::test]
async fn answers_that_are_no_schema_are_told_without_their_content() {
    for (body, words) in [
        ("<html>log in, s3cret</html>", "no JSON (line 1, column 1)"),
        (r#"{"schema": "s3cret"#, "no JSON"),
        (r#"{"schema": 7, "s3cret": 1}"#, "JSON of another shape"),
        (r#"["s3cret"]"#, "JSON of another shape"),
        (r#"{"schema": "{}", "references": [{"name": "s3cret"}]}"#, "JSON of another shape"),
        ("", "no JSON"),
    ] {
        let server = Server::start(move |_, _| (200, body.into())).await;
        let error = server.client().schema_by_id(1).await.expect_err("it is no schema");
        check(&error, "SL3207", RETRY, words);
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
    let server = Server::start(|_, _| avro("{}")).await;
    let error = server.client().latest("orders-value").await.expect_err("it has no id");
    check(&error, "SL3207", RETRY, "no id");
}

#[tokio::test]
async fn answers_are_bounded() {
    let server = Server::start(|_, _| avro(&"x".repeat(5_000))).await;
    let error = server.client().schema_by_id(1).await.expect_err("it is too large");
    check(&error, "SL3207", RETRY, "more than 4000 bytes");
}

#[tokio::test]
async fn the_url_that_answered_last_is_asked_first() {
    let second = Server::start(|_, _| avro("{}")).await;
    let first = nowhere().await;
    let third = Server::start(|_, _| avro("{}")).await;
    let client = client(&registry([first, second.url.clone(), third.url.clone()]));
    for id in 1..=3 {
        client.schema_by_id(id).await.expect("the second answers");
    }
    assert_eq!((second.asked().len(), third.asked().len()), (3, 0));
    drop(second);
    client.schema_by_id(4).await.expect("the third answers");
    client.schema_by_id(5).await.expect("the third answers");
    assert_eq!(third.asked().len(), 2);
}

#[tokio::test]
async fn an_id_is_unknown_when_no_url_has_it() {
    let behind = Server::start(|_, _| missing(40403)).await;
    let ahead = Server::start(|_, _| avro("{}")).await;
    let client = client(&registry([behind.url.clone(), ahead.url.clone()]));
    client.schema_by_id(1).await.expect("the second has it");
    assert_eq!((behind.asked().len(), ahead.asked().len()), (1, 1));
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_told() {
    let url = nowhere().await;
    let error = client(&registry([url.clone()])).schema_by_id(1).await.expect_err("nobody");
    check(&error, "SL3205", RETRY, "Connection refused");
    assert!(error.to_string().contains(url.as_str()) && error.to_string().contains("running"));
}

#[tokio::test]
async fn https_where_no_tls_is_spoken_is_told() {
    let server = Server::start(|_, _| avro("{}")).await;
    let url = server.url.as_str().replace("http:", "https:").parse().expect("a URL");
    let error = client(&registry([url])).schema_by_id(1).await.expect_err("no TLS");
    check(&error, "SL3205", RETRY, "does `registry.url` begin with http://?");
}

#[tokio::test]
async fn redirects_are_followed_at_the_same_address_only() {
    let elsewhere = Server::start(|_, _| avro("{}")).await;
    let (own, foreign) = ("/moved/schemas/ids/1".to_owned(), elsewhere.url.join("/x?t=s3cret"));
    let foreign = foreign.expect("a path").to_string();
    let server = Server::start_with(move |path, _| {
        let to = |place: &str| ((307, String::new()), vec![("location", place.to_owned())]);
        let (reply, headers) = match path {
            "/schemas/ids/1" => to(&own),
            "/schemas/ids/2" => to(&foreign),
            "/schemas/ids/3" => to("/schemas/ids/3"),
            _ => (avro("{}"), Vec::new()),
        };
        (reply, headers, Duration::ZERO)
    })
    .await;
    let auth = RegistryAuth::Bearer(Secret::new("token"));
    let client = client(&Registry { auth, ..server.spec() });
    client.schema_by_id(1).await.expect("the same address");
    let bearers = server.asked().into_iter().filter(|asked| asked.authorization.is_some());
    assert_eq!(bearers.count(), 2);
    let error = client.schema_by_id(2).await.expect_err("another address");
    check(&error, "SL3207", RETRY, "redirects to http://127.0.0.1");
    assert!(!error.to_string().contains("s3cret"));
    assert_eq!(elsewhere.asked(), []);
    let error = client.schema_by_id(3).await.expect_err("a loop");
    check(&error, "SL3207", RETRY, "redirects to");
}

#[test]
fn subjects_follow_the_strategy() {
    let named = SubjectNames::Named("all".into());
    for (names, value, key) in [
        (SubjectNames::TopicName, Some("orders-value"), Some("orders-key")),
        (SubjectNames::RecordName, None, None),
        (SubjectNames::TopicRecordName, None, None),
        (named, Some("all"), Some("all")),
    ] {
        let subject = |is_key| subject_of(&names, "orders", is_key);
        assert_eq!((subject(false).as_deref(), subject(true).as_deref()), (value, key));
    }
}
