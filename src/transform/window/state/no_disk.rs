//! In place of `disk.rs` where the program is built without RocksDB: there is none.

use std::path::Path;

use super::super::error::WindowError;
use super::super::watermark::Micros;

#[derive(Debug)]
pub(super) enum Disk {}

impl Disk {
    pub(super) fn create(_folder: &Path) -> Result<Self, WindowError> {
        let message = "this program was built without the feature `rocksdb`";
        Err(WindowError::Refused(message.to_owned()))
    }

    pub(super) fn get(&self, _entry: &[u8]) -> Result<Option<Vec<u8>>, WindowError> {
        match *self {}
    }

    pub(super) fn each(
        &self,
        _from: &[u8],
        _end: &[u8],
        _show: impl FnMut(&[u8], &[u8]) -> Result<(), WindowError>,
    ) -> Result<(), WindowError> {
        match *self {}
    }

    pub(super) fn change<'b>(
        &mut self,
        _entries: impl Iterator<Item = (&'b [u8], Option<&'b [u8]>)>,
    ) -> Result<(), WindowError> {
        match *self {}
    }

    pub(super) fn expire(&mut self, _until: Option<Micros>) -> Result<(), WindowError> {
        match *self {}
    }
}
