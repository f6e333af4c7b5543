//! `${env:NAME}`, `${env:NAME:-default}` and `${file:/path}` in any value; `$$` is a dollar sign.
//!
//! What a reference stands for is not looked at again: a `$` in a password is a `$`.

use std::fs;
use std::path::Path as FilePath;

use serde_json::Value;
use thiserror::Error;

use super::Sources;
use super::path::Path;

/// A file of a secret holds a line or a certificate, not more.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Why a value can't be put together. Never holds what a reference stands for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Broken {
    #[error("`${{env:{0}}}` is not set")]
    Unset(String),
    #[error("`${{file:{file}}}` can't be read: {reason}")]
    File { file: String, reason: String },
    #[error("`${{{0}}}` is not a reference")]
    Unknown(String),
    #[error("`${{` is never closed")]
    Open,
}

impl Broken {
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::Unset(_) => "set the variable, or give a default: `${env:NAME:-default}`",
            Self::File { .. } => "check the path and its permissions",
            Self::Unknown(_) => {
                "write `${env:NAME}` or `${file:/path}`; `$${` is a dollar sign and a brace"
            }
            Self::Open => "add the `}`; `$${` is a dollar sign and a brace",
        }
    }

    /// Whether the reference is fine and only what it names isn't there.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Unset(_) | Self::File { .. })
    }
}

/// Hears of a text with references: where it is, as written, and as resolved.
pub(super) type Found<'a> = dyn FnMut(&Path, &str, Result<&str, Broken>) + 'a;

/// Resolves every text under `value`; tells `found` of each that held a reference or couldn't be resolved. What
/// can't be resolved becomes null.
pub(super) fn tree(value: &mut Value, path: &Path, sources: &Sources, found: &mut Found<'_>) {
    match value {
        Value::String(written) if written.contains('$') => match text(written, sources) {
            Ok((resolved, has_reference)) => {
                if has_reference {
                    found(path, written, Ok(&resolved));
                }
                *value = Value::String(resolved);
            }
            Err(broken) => {
                found(path, written, Err(broken));
                *value = Value::Null;
            }
        },
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                tree(item, &path.index(index), sources, found);
            }
        }
        Value::Object(map) => {
            for (key, value) in map {
                tree(value, &path.key(key), sources, found);
            }
        }
        _ => {}
    }
}

/// The text with its references resolved, and whether it held any.
fn text(written: &str, sources: &Sources) -> Result<(String, bool), Broken> {
    let mut resolved = String::with_capacity(written.len());
    let mut has_reference = false;
    let mut rest = written;
    while let Some(at) = rest.find('$') {
        resolved.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix('$') {
            resolved.push('$');
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix('{') {
            let (reference, tail) = tail.split_once('}').ok_or(Broken::Open)?;
            resolved.push_str(&resolve(reference, sources)?);
            has_reference = true;
            rest = tail;
        } else {
            resolved.push('$');
        }
    }
    resolved.push_str(rest);
    Ok((resolved, has_reference))
}

fn resolve(reference: &str, sources: &Sources) -> Result<String, Broken> {
    match reference.split_once(':') {
        Some(("env", name)) => variable(name, sources),
        Some(("file", file)) if !file.is_empty() => {
            let read = file_text(&sources.current_dir.join(file));
            read.map_err(|reason| Broken::File { file: file.to_owned(), reason })
        }
        _ => Err(Broken::Unknown(reference.to_owned())),
    }
}

/// As in a shell, an empty variable takes the default too.
fn variable(reference: &str, sources: &Sources) -> Result<String, Broken> {
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.is_empty() || !name.chars().all(is_name) {
        return Err(Broken::Unknown(format!("env:{reference}")));
    }
    let value =
        sources.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    match (value, default) {
        (Some(""), Some(default)) | (None, Some(default)) => Ok(default.to_owned()),
        (Some(value), _) => Ok(value.to_owned()),
        (None, None) => Err(Broken::Unset(name.to_owned())),
    }
}

/// The file's text without one newline at its end.
fn file_text(file: &FilePath) -> Result<String, String> {
    let size = fs::metadata(file).map_err(|error| plain(&error))?.len();
    if size > MAX_FILE_BYTES {
        return Err("it is larger than 1 MiB".to_owned());
    }
    let bytes = fs::read(file).map_err(|error| plain(&error))?;
    let mut text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

/// An operating system's reason without its number.
pub(super) fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.to_lowercase()
}
