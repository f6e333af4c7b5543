use std::collections::BTreeMap;
use std::fs;

use futures::TryStreamExt;
use object_store::WriteMultipart;

use super::*;
use crate::disposition::{Disposition, Exit};
use crate::sink::testing::FaultyStore;

fn location(url: &str) -> TableLocation {
    TableLocation { url: Url::parse(url).expect("a URL"), as_written: url.to_owned() }
}

fn local(directory: &std::path::Path) -> TableStore {
    let url = Url::from_directory_path(directory).expect("an absolute path");
    TableStore::open(&location(url.as_str()), &Storage::default()).expect("a directory")
}

fn options(options: &[(&str, &str)]) -> Storage {
    Storage(
        options
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Secret::new(*value)))
            .collect::<BTreeMap<_, _>>(),
    )
}

#[test]
fn every_scheme_opens_its_store_without_a_request() {
    let s3_options =
        options(&[("aws_region", "eu-west-1"), ("AWS_ENDPOINT", "http://127.0.0.1:1")]);
    let azure_options = options(&[
        ("azure_storage_account_name", "lake"),
        ("azure_storage_account_key", "c2VjcmV0"),
    ]);
    for (url, storage) in [
        ("file:///tmp/not/there/", Storage::default()),
        ("memory:///orders/", Storage::default()),
        ("s3://lake/orders/", s3_options.clone()),
        ("s3a://lake/orders/", s3_options),
        ("az://lake/orders/", azure_options.clone()),
        ("abfss://lake@account.dfs.core.windows.net/orders/", azure_options),
        ("gs://lake/orders/", options(&[("google_skip_signature", "true")])),
    ] {
        let store =
            TableStore::open(&location(url), &storage).unwrap_or_else(|e| panic!("{url}: {e}"));
        assert_eq!(store.table(), url);
    }
    assert!(!std::path::Path::new("/tmp/not").exists(), "nothing is created");
}

#[test]
fn what_cannot_be_opened_is_refused_by_name() {
    let error = TableStore::open(&location("ftp://lake/orders/"), &Storage::default())
        .expect_err("no such store");
    assert!(error.to_string().contains("`ftp:`"), "{error}");
    let secret = options(&[("aws_regionn", "hunter2")]);
    let error =
        TableStore::open(&location("s3://lake/orders/"), &secret).expect_err("no such option");
    assert!(
        error.to_string().contains("`aws_regionn`") && !error.to_string().contains("hunter2"),
        "{error}"
    );
    assert_eq!(error.disposition(), Disposition::Stop(Exit::Configuration));
}

#[tokio::test]
async fn a_store_that_ignores_if_none_match_is_refused() {
    let store = TableStore::over(FaultyStore::unconditional(), "s3://clone/orders");
    let error =
        store.prove_conditional_puts().await.expect_err("the second put overwrote the first");
    assert!(matches!(error, SinkError::NotConditional { .. }), "{error}");
    assert_eq!(error.disposition(), Disposition::Stop(Exit::Configuration));
    assert_no_objects(&store).await;
}

#[tokio::test]
async fn the_probe_puts_twice_once_and_leaves_nothing() {
    let faults = FaultyStore::over(Arc::new(InMemory::new()));
    let store = TableStore::over(faults.clone(), "orders");
    store.prove_conditional_puts().await.expect("a proper store");
    store.clone().prove_conditional_puts().await.expect("proven before");
    assert_eq!(faults.counts().puts, 2);
    assert_no_objects(&store).await;
}

async fn assert_no_objects(store: &TableStore) {
    let left: Vec<_> = store.objects().list(None).try_collect().await.expect("listed");
    assert_eq!(left, []);
}

#[tokio::test]
async fn a_local_store_proves_itself_too() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = local(&directory.path().join("a table"));
    store.prove_conditional_puts().await.expect("hard links fail on a taken name");
    assert_eq!(fs::read_dir(directory.path().join("a table")).expect("made").count(), 0);
}

#[tokio::test]
async fn a_local_put_makes_its_directories_and_leaves_no_staged_file() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = local(&directory.path().join("100% säfe #1"));
    let path = Path::from("_delta_log/00000000000000000000.json");
    let put = store.put_new(&path, Bytes::from_static(b"one")).await.expect("free");
    let error = store.put_new(&path, Bytes::from_static(b"two")).await.expect_err("taken");
    assert!(matches!(error, Error::AlreadyExists { .. }), "{error}");
    let (bytes, read) = store.read(&path).await.expect("readable").expect("there");
    assert_eq!(&bytes[..], b"one");
    assert!(put.matches(&read));
    let log = directory.path().join("100% säfe #1/_delta_log");
    assert_eq!(fs::read_dir(log).expect("made").count(), 1);
}

#[tokio::test]
async fn a_local_upload_in_parts_is_whole_under_its_name() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = local(directory.path());
    let path = Path::from("day=2026-11-01/part.parquet");
    let mut upload =
        WriteMultipart::new(store.objects().put_multipart(&path).await.expect("begun"));
    upload.write(b"one");
    upload.write(b"two");
    upload.finish().await.expect("finished");
    assert_eq!(
        fs::read(directory.path().join("day=2026-11-01/part.parquet")).expect("there"),
        b"onetwo"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_local_puts_of_one_name_one_wins() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = local(directory.path());
    for version in 0..50 {
        let path = Path::from(format!("_delta_log/{version:020}.json"));
        let puts = (0..8_u8).map(|writer| {
            let (store, path) = (store.clone(), path.clone());
            tokio::spawn(async move {
                store.put_new(&path, vec![writer; 10].into()).await.map(|_| writer)
            })
        });
        let mut winners = Vec::new();
        for put in puts.collect::<Vec<_>>() {
            match put.await.expect("no panic") {
                Ok(writer) => winners.push(writer),
                Err(error) => assert!(matches!(error, Error::AlreadyExists { .. }), "{error}"),
            }
        }
        let (bytes, _) = store.read(&path).await.expect("readable").expect("there");
        assert_eq!(winners, [bytes[0]]);
    }
}

#[tokio::test]
async fn what_is_put_under_the_same_name_again_is_told_apart() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for store in [local(directory.path()), TableStore::over(Arc::new(InMemory::new()), "memory")] {
        let path = Path::from("one");
        let before = store.put_new(&path, Bytes::from_static(b"abc")).await.expect("free");
        let there = store.identity(&path).await.expect("readable").expect("there");
        assert!(before.matches(&there) && there.matches(&before));
        store.objects().put(&path, "xyz".into()).await.expect("overwritten");
        let after = store.identity(&path).await.expect("readable").expect("there");
        assert!(!before.matches(&after), "same size, another object");
        store.objects().delete(&path).await.expect("there");
        assert_eq!(store.identity(&path).await.expect("readable"), None);
    }
}
