//! The HTTP server: probes, metrics, status. It reads memory only: a probe asks neither Kafka nor the store, so
//! a slow broker never restarts a pod.
//!
//! There is no authentication: bind it to an address that only the cluster reaches. It shows offsets, table
//! paths and error messages, never secrets or payloads, and changes nothing.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::metrics::Metrics;
use super::page;
use super::status::Status;
use super::view::StatusView;
use crate::disposition::{Disposition, Exit};

/// How long open requests may hold the process up after the shutdown signal.
const DRAIN: Duration = Duration::from_secs(1);

const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The page loads nothing and runs nothing.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error(
        "http.listen: {addr}: {source}; choose a free address, or leave `http` out for no server"
    )]
    Bind { addr: SocketAddr, source: std::io::Error },
}

impl HttpError {
    pub fn code(&self) -> &'static str {
        match self {
            Self::Bind { .. } => "SL5901",
        }
    }

    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Bind { .. } => Disposition::Stop(Exit::Configuration),
        }
    }
}

/// A bound socket; requests wait until [`HttpServer::serve`].
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    addr: SocketAddr,
}

impl HttpServer {
    /// Binding is apart from serving, so that a taken port is found before Kafka is asked for anything.
    pub async fn bind(addr: SocketAddr) -> Result<Self, HttpError> {
        let failed = |source| HttpError::Bind { addr, source };
        let listener = TcpListener::bind(addr).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, addr })
    }

    /// The address that was bound: its port is real where 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Answers until `shutdown` resolves, and a moment longer for requests under way.
    pub async fn serve(
        self,
        status: Status,
        metrics: Metrics,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) {
        let (stopping, stopped) = tokio::sync::oneshot::channel();
        let signal = async move {
            shutdown.await;
            let _ = stopping.send(());
        };
        let server =
            axum::serve(self.listener, routes(status, metrics)).with_graceful_shutdown(signal);
        let drained = async move {
            let _ = stopped.await;
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            _ = server.into_future() => {}
            () = drained => {}
        }
    }
}

fn routes(status: Status, metrics: Metrics) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/status", get(status_json))
        .with_state(status)
        .route("/metrics", get(render_metrics).with_state(metrics))
}

async fn healthz(Shared(status): Shared<Status>) -> Response {
    probe(status.snapshot().is_alive(Instant::now()), "alive", "the loop is overdue")
}

async fn readyz(Shared(status): Shared<Status>) -> Response {
    let snapshot = status.snapshot();
    probe(snapshot.is_ready(), "ready", snapshot.state.as_str())
}

fn probe(ok: bool, yes: &'static str, no: &'static str) -> Response {
    let (code, text) =
        if ok { (StatusCode::OK, yes) } else { (StatusCode::SERVICE_UNAVAILABLE, no) };
    (code, format!("{text}\n")).into_response()
}

async fn status_json(Shared(status): Shared<Status>) -> Response {
    let json = serde_json::to_string_pretty(&StatusView::from(&*status.snapshot()))
        .expect("a status is plain data with string keys");
    ([(header::CONTENT_TYPE, "application/json")], json).into_response()
}

async fn render_metrics(Shared(metrics): Shared<Metrics>) -> Response {
    ([(header::CONTENT_TYPE, PROMETHEUS_TEXT)], metrics.render()).into_response()
}

async fn index(Shared(status): Shared<Status>) -> Response {
    let headers = [(header::CONTENT_SECURITY_POLICY, CONTENT_POLICY)];
    (headers, Html(page::html(&status.snapshot()))).into_response()
}

#[cfg(test)]
#[path = "http/tests.rs"]
mod tests;
