//! What can go wrong with a schema registry.

use thiserror::Error;

use crate::disposition::{Disposition, Exit};

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RegistryError {
    #[error("`registry.url`: {url} {reason}")]
    Url { url: String, reason: &'static str },
    #[error("`registry.ca_file`: {path}: {reason}")]
    CaFile { path: String, reason: String },
    #[error("`registry.auth`: the {what} holds characters that an HTTP header can't")]
    Auth { what: &'static str },
    #[error("no HTTP client for the schema registry: {reason}")]
    Client { reason: String },
    #[error("the schema registry at {url} can't be reached: {reason}{}", hint(reason))]
    Unreachable { url: String, reason: String },
    #[error("the schema registry at {url} answers {status}{}", told(message.as_deref()))]
    Status { url: String, status: String, message: Option<String> },
    /// Something answers, and not as a registry does.
    #[error("{url} does not answer as a schema registry does: {reason}; correct `registry.url`")]
    Answer { url: String, reason: String },
    #[error("the schema registry at {url} answers {status}{}: {todo}", told(message.as_deref()))]
    Refused { url: String, status: String, message: Option<String>, todo: &'static str },
    #[error("the schema registry at {url} has no schema with id {id}")]
    UnknownId { url: String, id: u32 },
    /// The registry has the schema, and it can't be used whatever is tried again.
    #[error("schema id {id}: {reason}")]
    Unusable { id: u32, reason: String },
}

impl RegistryError {
    pub fn code(&self) -> &'static str {
        match self {
            Self::Url { .. } => "SL3201",
            Self::CaFile { .. } => "SL3202",
            Self::Auth { .. } => "SL3203",
            Self::Client { .. } => "SL3204",
            Self::Unreachable { .. } => "SL3205",
            Self::Status { .. } => "SL3206",
            Self::Answer { .. } => "SL3207",
            Self::Refused { .. } => "SL3208",
            Self::UnknownId { .. } => "SL3209",
            Self::Unusable { .. } => "SL3210",
        }
    }

    /// Registries restart, certificates are renewed, proxies answer in their place meanwhile: all of that is waited
    /// for. Rights are not: somebody has to grant them. What is wrong with one schema is for the decoder to judge, which
    /// knows the record; left alone, it refuses the data.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Url { .. }
            | Self::CaFile { .. }
            | Self::Auth { .. }
            | Self::Client { .. }
            | Self::Refused { .. } => Disposition::Stop(Exit::Configuration),
            Self::Unreachable { .. } | Self::Status { .. } | Self::Answer { .. } => {
                Disposition::Retry
            }
            Self::UnknownId { .. } | Self::Unusable { .. } => Disposition::Stop(Exit::DataRefused),
        }
    }
}

/// The registry's own words, after its status.
fn told(message: Option<&str>) -> String {
    message.map(|message| format!(" ({message})")).unwrap_or_default()
}

/// What to do about the words of the network's layers, where they are known.
fn hint(reason: &str) -> &'static str {
    const HINTS: [(&str, &str); 5] = [
        (
            "UnknownIssuer",
            "; set `registry.ca_file` to the certificate of the authority that signed its own",
        ),
        ("NotValidForName", "; its certificate is for another name: correct `registry.url`"),
        ("InvalidContentType", "; no TLS there: does `registry.url` begin with http://?"),
        ("Connection refused", "; is the registry running, and is this its port?"),
        (
            "failed to lookup address",
            "; correct the name in `registry.url` or this machine's name service",
        ),
    ];
    HINTS.iter().find(|(words, _)| reason.contains(words)).map_or("", |(_, hint)| hint)
}
