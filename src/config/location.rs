//! Where a table is: a path or a store's URL, and when two of them are the same table.

use std::path::{Component, Path, PathBuf};

use url::Url;

use super::spec::TableLocation;

/// Why a location can't be used: what is wrong, and what to do.
pub(super) type Refusal = (String, String);

const SCHEMES: &str = "use a path, s3://, s3a://, az://, abfss:// or gs://";

/// Reads a path (relative to `current_dir`) or a URL.
pub(super) fn read(text: &str, current_dir: &Path) -> Result<TableLocation, Refusal> {
    if text.trim().is_empty() {
        return Err(("is empty".to_owned(), SCHEMES.to_owned()));
    }
    let url = match text.split_once("://") {
        None if text.contains(":/") => {
            return Err(("is neither a path nor a URL".to_owned(), SCHEMES.to_owned()));
        }
        None => of_path(Path::new(text), current_dir)?,
        Some((scheme, _)) => of_url(scheme, text)?,
    };
    Ok(TableLocation { url: with_slash(url), as_written: text.to_owned() })
}

fn of_path(path: &Path, current_dir: &Path) -> Result<Url, Refusal> {
    let mut absolute = PathBuf::new();
    for part in current_dir.join(path).components() {
        match part {
            Component::ParentDir => {
                absolute.pop();
            }
            Component::CurDir => {}
            part => absolute.push(part),
        }
    }
    let refusal = || ("is not a path that a URL can hold".to_owned(), SCHEMES.to_owned());
    Url::from_directory_path(&absolute).map_err(|()| refusal())
}

fn of_url(scheme: &str, text: &str) -> Result<Url, Refusal> {
    if !matches!(scheme, "file" | "s3" | "s3a" | "az" | "abfss" | "gs") {
        let what = format!("`{scheme}://` is not a store that sluice knows");
        let hint = match scheme {
            "abfs" => "write `abfss://`",
            "gcs" => "write `gs://`",
            "s3n" => "write `s3a://` or `s3://`",
            _ => SCHEMES,
        };
        return Err((what, hint.to_owned()));
    }
    let url =
        Url::parse(text).map_err(|error| (format!("is not a URL: {error}"), String::new()))?;
    if url.password().is_some() || (scheme != "abfss" && !url.username().is_empty()) {
        let what = "holds credentials".to_owned();
        return Err((what, "put them under `storage`, as `${env:..}` or `${file:..}`".to_owned()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(("holds `?` or `#`".to_owned(), "write it without".to_owned()));
    }
    if scheme == "file" {
        let refusal = || ("is not a local path".to_owned(), "write `file:///path`".to_owned());
        let path = url.to_file_path().map_err(|()| refusal())?;
        return of_path(&path, Path::new("/"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(("names no bucket".to_owned(), format!("write `{scheme}://bucket/path`")));
    }
    if scheme == "abfss" && url.username().is_empty() {
        let hint = "write `abfss://container@account.dfs.core.windows.net/path`".to_owned();
        return Err(("names no container".to_owned(), hint));
    }
    Ok(url)
}

fn with_slash(mut url: Url) -> Url {
    let trimmed = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{trimmed}/"));
    url
}

/// The same text for two locations of the same table: `s3a://` is `s3://`, host names have no case.
pub(super) fn identity(location: &TableLocation) -> String {
    let text = location.url.as_str();
    match text.split_once("://") {
        Some(("s3a", rest)) => format!("s3://{rest}"),
        _ => text.to_owned(),
    }
}

/// Whether one table's folder would be inside the other's.
pub(super) fn is_inside(inner: &TableLocation, outer: &TableLocation) -> bool {
    let (inner, outer) = (identity(inner), identity(outer));
    inner != outer && inner.starts_with(&outer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> String {
        match read(text, Path::new("/data/lake")) {
            Ok(location) => location.url.to_string(),
            Err((what, hint)) => format!("{what}; {hint}"),
        }
    }

    #[test]
    fn locations_end_in_a_slash() {
        assert_eq!(url("orders"), "file:///data/lake/orders/");
        assert_eq!(url("./orders/"), "file:///data/lake/orders/");
        assert_eq!(url("../x/./orders"), "file:///data/x/orders/");
        assert_eq!(url("/abs/a b%"), "file:///abs/a%20b%25/");
        assert_eq!(url("file:///abs/orders"), "file:///abs/orders/");
        assert_eq!(url("s3://Lake/orders//"), "s3://Lake/orders/");
        assert_eq!(url("s3a://lake"), "s3a://lake/");
        assert_eq!(url("az://container/orders"), "az://container/orders/");
        assert_eq!(
            url("abfss://c@account.dfs.core.windows.net/orders"),
            "abfss://c@account.dfs.core.windows.net/orders/"
        );
    }

    #[test]
    fn what_is_no_location_is_refused() {
        for (text, what) in [
            ("", "is empty"),
            ("hdfs://namenode/orders", "`hdfs://` is not a store that sluice knows"),
            ("s3:/lake/orders", "is neither a path nor a URL"),
            ("s3:///orders", "names no bucket"),
            ("s3://key:secret@lake/orders", "holds credentials"),
            ("s3://lake/orders?x=1", "holds `?` or `#`"),
            ("abfss://account.dfs.core.windows.net/orders", "names no container"),
            ("abfs://c@account/orders", "write `abfss://`"),
        ] {
            let refusal = url(text);
            assert!(refusal.contains(what), "{text}: {refusal}");
        }
    }

    #[test]
    fn one_table_under_two_names_is_one_table() {
        let at = |text| read(text, Path::new("/data/lake")).expect("a location");
        assert_eq!(identity(&at("s3a://lake/orders")), identity(&at("s3://lake/orders/")));
        assert_eq!(identity(&at("orders")), identity(&at("/data/lake/./orders")));
        assert_ne!(identity(&at("s3://lake/orders")), identity(&at("s3://lake/order")));
        assert!(is_inside(&at("s3://lake/orders/eu"), &at("s3a://lake/orders")));
        assert!(!is_inside(&at("s3://lake/orders_eu"), &at("s3://lake/orders")));
    }
}
