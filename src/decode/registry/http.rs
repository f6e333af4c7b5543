//! One question to a registry: which of its URLs, how often, how long.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::RegistryError;
use crate::config::{Registry, RegistryAuth};

/// All that is not unreserved (RFC 3986): subjects may hold slashes, and registries take colons for contexts.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// As Confluent's clients ask.
const ACCEPTED: &str = "application/vnd.schemaregistry.v1+json, application/vnd.schemaregistry+json; q=0.9, application/json; q=0.8";

/// Redirects within a registry's own address; more is a loop.
const MAX_REDIRECTS: usize = 3;

/// Of a registry's own words in our messages, in characters.
const MAX_MESSAGE: usize = 200;

/// Times and sizes of a question.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// A registry that is there answers in milliseconds; this covers a handshake over a bad line.
    pub connect: Duration,
    /// An answer comes from the registry's memory. Ten seconds is a registry that hangs.
    pub request: Duration,
    /// How long a call goes on trying: a restart behind a load balancer. Longer ones are the session's to wait for.
    pub retry_for: Duration,
    /// How long something may be missing: a producer gets its id from the leader, and a follower learns of it a moment
    /// later.
    pub arrival: Duration,
    pub first_wait: Duration,
    pub longest_wait: Duration,
    /// A thousand times a large schema.
    pub answer_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            request: Duration::from_secs(10),
            retry_for: Duration::from_secs(5),
            arrival: Duration::from_millis(1500),
            first_wait: Duration::from_millis(100),
            longest_wait: Duration::from_secs(1),
            answer_bytes: 16 << 20,
        }
    }
}

/// What it means that something isn't there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    IsFinal,
    /// It must be there, for something names it: ask again for a while.
    MayCome,
}

#[derive(Debug)]
pub(super) struct Http {
    client: reqwest::Client,
    urls: Vec<Url>,
    /// The one that answered last.
    preferred: AtomicUsize,
    authorization: Option<HeaderValue>,
    limits: Limits,
}

/// Why a question got no answer.
enum Failure {
    /// Asking again changes nothing.
    Lasting(RegistryError),
    /// `after`: the registry asks not to be asked before.
    Passing { error: RegistryError, after: Duration },
}

/// A registry's answer to what it can't do.
#[derive(Deserialize)]
struct Problem {
    error_code: i64,
    message: Option<String>,
}

impl Problem {
    /// 40401 no such subject, 40402 no such version, 40403 no such schema. A bare 404 is of a path that the server
    /// doesn't know, by the registry's own framework or by a proxy: it says nothing of the schema.
    fn is_missing(&self) -> bool {
        self.error_code / 100 == 404
    }
}

impl Http {
    pub(super) fn new(spec: &Registry, limits: Limits) -> Result<Self, RegistryError> {
        for url in &spec.urls {
            check(url)?;
        }
        let mut client = reqwest::Client::builder()
            .user_agent(concat!("sluice/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(limits.connect)
            .timeout(limits.request)
            .redirect(within_the_address());
        for certificate in
            spec.ca_file.as_deref().map(certificates).transpose()?.unwrap_or_default()
        {
            client = client.add_root_certificate(certificate);
        }
        let client = client.build().map_err(|e| RegistryError::Client { reason: words(e) })?;
        let authorization = authorization(&spec.auth)?;
        let preferred = AtomicUsize::new(0);
        Ok(Self { client, urls: spec.urls.clone(), preferred, authorization, limits })
    }

    /// The address that answered last, for messages.
    pub(super) fn url(&self) -> String {
        self.urls
            .get(self.preferred.load(Ordering::Relaxed))
            .map(Url::to_string)
            .unwrap_or_default()
    }

    pub(super) fn not_a_registry(&self, reason: &str) -> RegistryError {
        RegistryError::Answer { url: self.url(), reason: reason.to_owned() }
    }

    /// What is at this path, each part of which is encoded; `None`: the registry says that there is nothing.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        missing: Missing,
    ) -> Result<Option<T>, RegistryError> {
        let begun = Instant::now();
        let mut wait = self.limits.first_wait;
        loop {
            let (outcome, allowed, after) = match self.ask_all(path, missing).await {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) if missing == Missing::IsFinal => return Ok(None),
                Ok(None) => (Ok(None), self.limits.arrival, Duration::ZERO),
                Err(Failure::Lasting(error)) => return Err(error),
                Err(Failure::Passing { error, after }) => {
                    (Err(error), self.limits.retry_for, after)
                }
            };
            let pause = (wait / 2 + (wait / 2).mul_f64(fastrand::f64())).max(after);
            if begun.elapsed() + pause > allowed {
                return outcome;
            }
            tokio::time::sleep(pause).await;
            wait = (wait * 2).min(self.limits.longest_wait);
        }
    }

    /// Each URL once, beginning with the one that answered last. That one of them denies it counts for more than that
    /// another doesn't answer.
    async fn ask_all<T: DeserializeOwned>(
        &self,
        path: &[&str],
        missing: Missing,
    ) -> Result<Option<T>, Failure> {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut denied = false;
        let mut failure = None;
        for turn in 0..self.urls.len() {
            let at = (first + turn) % self.urls.len();
            match self.ask(&self.urls[at], path).await {
                Ok(answer) => {
                    self.preferred.store(at, Ordering::Relaxed);
                    if answer.is_some() || missing == Missing::IsFinal {
                        return Ok(answer);
                    }
                    denied = true;
                }
                Err(lasting @ Failure::Lasting(_)) => return Err(lasting),
                Err(passing) => failure = failure.or(Some(passing)),
            }
        }
        match failure {
            Some(failure) if !denied => Err(failure),
            _ => Ok(None),
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        base: &Url,
        path: &[&str],
    ) -> Result<Option<T>, Failure> {
        let Some(url) = join(base, path) else {
            return Ok(None);
        };
        let mut request = self.client.get(url).header(ACCEPT, ACCEPTED);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let unreachable = |error: reqwest::Error| {
            passing(RegistryError::Unreachable {
                url: base.to_string(),
                reason: self.reason(error),
            })
        };
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let after = retry_after(&answer);
        let elsewhere = redirected(&answer);
        let body = self.body(answer).await.map_err(unreachable)?;
        let answer =
            |reason: String| passing(RegistryError::Answer { url: base.to_string(), reason });
        let Some(body) = body else {
            return Err(answer(format!("more than {} bytes", self.limits.answer_bytes)));
        };
        if status == StatusCode::OK {
            return serde_json::from_slice(&body).map(Some).map_err(|e| answer(not_json(&e)));
        }
        let problem = serde_json::from_slice::<Problem>(&body).ok();
        if status == StatusCode::NOT_FOUND && problem.as_ref().is_some_and(Problem::is_missing) {
            return Ok(None);
        }
        if let Some(elsewhere) = elsewhere {
            return Err(answer(format!("it redirects to {elsewhere}")));
        }
        if status == StatusCode::NOT_FOUND {
            return Err(answer("404, and no such path; is its base path missing?".into()));
        }
        let message = problem.and_then(|problem| problem.message).map(|message| shown(&message));
        let (url, status_text) = (base.to_string(), status.to_string());
        Err(match self.todo(status) {
            Some(todo) => {
                Failure::Lasting(RegistryError::Refused { url, status: status_text, message, todo })
            }
            None => Failure::Passing {
                error: RegistryError::Status { url, status: status_text, message },
                after,
            },
        })
    }

    /// The whole body; `None`: it is too large.
    async fn body(&self, mut answer: Response) -> Result<Option<Vec<u8>>, reqwest::Error> {
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if body.len() + chunk.len() > self.limits.answer_bytes {
                return Ok(None);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Some(body))
    }

    fn todo(&self, status: StatusCode) -> Option<&'static str> {
        match status {
            StatusCode::UNAUTHORIZED if self.authorization.is_none() => {
                Some("it wants to know who asks; set `registry.auth`")
            }
            StatusCode::UNAUTHORIZED => Some("correct `registry.auth`"),
            StatusCode::FORBIDDEN => {
                Some("grant the user of `registry.auth` the right to read subjects and schemas")
            }
            _ => None,
        }
    }

    fn reason(&self, error: reqwest::Error) -> String {
        let limit = if error.is_connect() { self.limits.connect } else { self.limits.request };
        if error.is_timeout() {
            return format!("no answer within {limit:?}");
        }
        words(error)
    }
}

fn passing(error: RegistryError) -> Failure {
    Failure::Passing { error, after: Duration::ZERO }
}

/// Credentials in a URL would end up in messages.
fn check(url: &Url) -> Result<(), RegistryError> {
    let reason = if !url.username().is_empty() || url.password().is_some() {
        "holds credentials; move them to `registry.auth`"
    } else if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        "is neither an http:// nor an https:// address"
    } else {
        return Ok(());
    };
    let mut url = url.clone();
    // Both fail where a URL can't have them, and then there is nothing to hide.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Err(RegistryError::Url { url: url.to_string(), reason })
}

/// The base's path goes on with these parts; `None`: a part of dots, which no subject's path can have.
fn join(base: &Url, path: &[&str]) -> Option<Url> {
    if path.iter().any(|part| matches!(*part, "" | "." | "..")) {
        return None;
    }
    let mut joined = base.path().trim_end_matches('/').to_owned();
    for part in path {
        joined.push('/');
        joined.extend(utf8_percent_encode(part, SEGMENT));
    }
    let mut url = base.clone();
    url.set_path(&joined);
    url.set_fragment(None);
    Some(url)
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, RegistryError> {
    let failed =
        |reason: String| RegistryError::CaFile { path: path.display().to_string(), reason };
    let pem = fs::read(path).map_err(|e| failed(e.to_string()))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if certificates.is_empty() => {
            Err(failed("there is no certificate in PEM form".into()))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(failed(words(error))),
    }
}

fn authorization(auth: &RegistryAuth) -> Result<Option<HeaderValue>, RegistryError> {
    let (text, what) = match auth {
        RegistryAuth::None => return Ok(None),
        RegistryAuth::Basic { username, password } => {
            let pair = format!("{}:{}", username.expose(), password.expose());
            (format!("Basic {}", STANDARD.encode(pair)), "password")
        }
        RegistryAuth::Bearer(token) => (format!("Bearer {}", token.expose()), "token"),
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| RegistryError::Auth { what })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// Credentials must not follow a redirect to whoever is named there.
fn within_the_address() -> Policy {
    Policy::custom(|attempt| {
        let same =
            attempt.previous().last().is_some_and(|from| from.origin() == attempt.url().origin());
        if same && attempt.previous().len() <= MAX_REDIRECTS {
            attempt.follow()
        } else {
            attempt.stop()
        }
    })
}

/// Where a redirect that was not followed leads: the address alone, for the rest may hold anything.
fn redirected(answer: &Response) -> Option<String> {
    let location = answer.headers().get(LOCATION).filter(|_| answer.status().is_redirection())?;
    let url = answer.url().join(location.to_str().ok()?).ok()?;
    Some(url.origin().ascii_serialization())
}

/// In its form of seconds; dates are for browsers.
fn retry_after(answer: &Response) -> Duration {
    let seconds =
        answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}

/// Not serde's own words, which may quote what they found.
fn not_json(error: &serde_json::Error) -> String {
    let what = if error.is_data() { "JSON of another shape" } else { "no JSON" };
    format!("{what} (line {}, column {})", error.line(), error.column())
}

/// An error's innermost words: the outer ones repeat the URL, or say that sending failed.
fn words(error: reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = &error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// One line, and not a long one.
fn shown(message: &str) -> String {
    message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_MESSAGE).collect()
}
