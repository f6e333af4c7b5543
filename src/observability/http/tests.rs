use std::net::Ipv4Addr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::*;
use crate::observability::{LagDetail, State};
use crate::offsets::TopicPartition;

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

struct Running {
    addr: SocketAddr,
    status: Status,
    stop: oneshot::Sender<()>,
    server: tokio::task::JoinHandle<()>,
}

async fn start() -> Running {
    let status = Status::new("orders", [("raw", "./lake/orders")]);
    let metrics = Metrics::new("orders", LagDetail::PerPartition);
    let server = HttpServer::bind(ANY_PORT).await.expect("a free port");
    let addr = server.local_addr();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async move {
        let _ = stopped.await;
    };
    let server = tokio::spawn(server.serve(status.clone(), metrics, shutdown));
    Running { addr, status, stop, server }
}

/// Status code, headers and body of one request.
async fn request(addr: SocketAddr, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(addr).await.expect("the server listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the request is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("the answer is text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
    (code, head.to_lowercase(), body.to_owned())
}

async fn check(addr: SocketAddr, path: &str, code: u16, body: &str) {
    let (actual, _, text) = request(addr, path).await;
    assert_eq!((actual, text.trim_end()), (code, body), "{path}");
}

#[tokio::test]
async fn probes_follow_the_state() {
    let running = start().await;
    check(running.addr, "/healthz", 200, "alive").await;
    check(running.addr, "/readyz", 503, "starting").await;
    running.status.enter(State::Running);
    check(running.addr, "/readyz", 200, "ready").await;
    running.status.loop_returns_within(Some(Duration::ZERO));
    check(running.addr, "/healthz", 503, "the loop is overdue").await;
    running.status.enter(State::Stopping);
    check(running.addr, "/readyz", 503, "stopping").await;
}

#[tokio::test]
async fn status_is_json_with_what_each_output_has_done() {
    let running = start().await;
    running.status.enter(State::Running);
    running.status.recovered("raw", 812, &[(TopicPartition::new("orders", 0), 40)]);
    running.status.end("raw", &[(TopicPartition::new("orders", 0), 100, 1.5)]);
    let (code, head, body) = request(running.addr, "/status").await;
    assert_eq!(code, 200);
    assert!(head.contains("content-type: application/json"), "{head}");
    let status: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(status["connector"], "orders");
    assert_eq!(status["state"], "running");
    assert_eq!(status["outputs"]["raw"]["table_version"], 812);
    assert_eq!(status["outputs"]["raw"]["lag_records"], 60);
    assert_eq!(status["outputs"]["raw"]["partitions"][0]["end"], 100);
}

#[tokio::test]
async fn metrics_and_page_have_their_types() {
    let running = start().await;
    let (code, head, body) = request(running.addr, "/metrics").await;
    assert_eq!(code, 200);
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("sluice_build_info{"), "{body}");
    let (code, head, body) = request(running.addr, "/").await;
    assert_eq!(code, 200);
    assert!(head.contains("text/html") && head.contains("default-src 'none'"), "{head}");
    assert!(body.contains("orders"), "{body}");
    assert_eq!(request(running.addr, "/nothing").await.0, 404);
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let first = HttpServer::bind(ANY_PORT).await.expect("a free port");
    let error = HttpServer::bind(first.local_addr()).await.expect_err("the port is taken");
    assert_eq!(error.disposition(), Disposition::Stop(Exit::Configuration));
    let message = error.to_string();
    assert!(message.contains(&first.local_addr().to_string()), "{message}");
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_shutdown() {
    let running = start().await;
    let _idle = TcpStream::connect(running.addr).await.expect("the server listens");
    check(running.addr, "/healthz", 200, "alive").await;
    running.stop.send(()).expect("the server runs");
    let deadline = DRAIN + Duration::from_secs(20);
    tokio::time::timeout(deadline, running.server).await.expect("it stops").expect("without panic");
}
