//! A registry in the test's process: answers what a closure says, and keeps what it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::AUTHORIZATION;
use axum::response::Response;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::config::RegistryAuth;

/// What a registry was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::decode) struct Asked {
    /// As it was sent: not decoded.
    pub path: String,
    pub authorization: Option<String>,
}

pub(in crate::decode) struct Server {
    pub url: Url,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

/// A status and a body.
pub(in crate::decode) type Reply = (u16, String);

impl Server {
    /// `reply` sees the path as it was sent and how many questions came before.
    pub(in crate::decode) async fn start(
        reply: impl Fn(&str, usize) -> Reply + Clone + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(move |path, count| (reply(path, count), Vec::new(), Duration::ZERO)).await
    }

    /// With headers, and a time until the answer.
    pub(super) async fn start_with<F>(reply: F) -> Self
    where
        F: Fn(&str, usize) -> (Reply, Vec<(&'static str, String)>, Duration)
            + Clone
            + Send
            + Sync
            + 'static,
    {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let seen = Arc::clone(&asked);
        let answer = move |request: Request| {
            let (seen, reply) = (Arc::clone(&seen), reply.clone());
            async move {
                let path = request.uri().path().to_owned();
                let authorization = request.headers().get(AUTHORIZATION);
                let authorization =
                    authorization.map(|value| value.to_str().expect("it is text").to_owned());
                let before = {
                    let mut seen = lock(&seen);
                    seen.push(Asked { path: path.clone(), authorization });
                    seen.len() - 1
                };
                let ((status, body), headers, delay) = reply(&path, before);
                tokio::time::sleep(delay).await;
                let mut answer = Response::builder().status(status);
                for (name, value) in headers {
                    answer = answer.header(name, value);
                }
                answer.body(Body::from(body)).expect("a valid answer")
            }
        };
        let app = Router::new().fallback(answer);
        let task = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("it serves until it is dropped");
        });
        let url = format!("http://127.0.0.1:{port}").parse().expect("a URL");
        Self { url, asked, task }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        lock(&self.asked).clone()
    }

    pub(in crate::decode) fn paths(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.path).collect()
    }

    pub(in crate::decode) fn spec(&self) -> Registry {
        registry([self.url.clone()])
    }

    pub(super) fn client(&self) -> Client {
        client(&self.spec())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(in crate::decode) fn registry(urls: impl IntoIterator<Item = Url>) -> Registry {
    Registry {
        urls: urls.into_iter().collect(),
        auth: RegistryAuth::None,
        ca_file: None,
        subjects: SubjectNames::TopicName,
    }
}

/// A client that gives up a hundred times sooner.
pub(super) fn client(spec: &Registry) -> Client {
    let limits = Limits {
        connect: Duration::from_millis(500),
        request: Duration::from_millis(500),
        retry_for: Duration::from_millis(400),
        arrival: Duration::from_millis(150),
        first_wait: Duration::from_millis(10),
        longest_wait: Duration::from_millis(40),
        answer_bytes: 4_000,
    };
    Client::with_limits(spec, limits).expect("a client")
}

/// An address where nobody listens: the port was free a moment ago.
pub(super) async fn nowhere() -> Url {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    format!("http://127.0.0.1:{port}").parse().expect("a URL")
}

pub(in crate::decode) fn ok(body: Value) -> Reply {
    (200, body.to_string())
}

pub(in crate::decode) fn missing(code: u32) -> Reply {
    (404, json!({"error_code": code, "message": "not found"}).to_string())
}

/// The answer for an id: an Avro schema without references.
pub(in crate::decode) fn avro(text: &str) -> Reply {
    ok(json!({"schema": text}))
}

/// The answer for a subject's version. `to`: name, subject and version of each reference.
pub(super) fn version(id: u32, to: &[(&str, &str, i64)]) -> Reply {
    let references: Vec<_> = to
        .iter()
        .map(|(name, subject, version)| json!({"name": name, "subject": subject, "version": version}))
        .collect();
    ok(
        json!({"subject": "s", "version": 1, "id": id, "schema": format!("text {id}"), "references": references}),
    )
}
