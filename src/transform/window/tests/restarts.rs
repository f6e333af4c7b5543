//! Commits with their objects, and a restart from these after every other one.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::transform::window::*;

#[derive(Default)]
pub(super) struct Restarts<'a> {
    /// Where state is kept that isn't in memory.
    folder: Option<&'a Path>,
    objects: Vec<Vec<u8>>,
}

impl<'a> Restarts<'a> {
    #[cfg(feature = "rocksdb")]
    pub(super) fn on_disk(folder: &'a Path) -> Self {
        Self { folder: Some(folder), objects: Vec::new() }
    }

    pub(super) fn commit(&mut self, windows: &mut Windows, next: Next, decisions: &Decisions) {
        let epoch = self.objects.len() as u64 + 1;
        let before: Vec<_> = (1..epoch as i64).collect();
        let to_store = ToStore {
            epoch,
            begun: 1,
            meaning: &BTreeMap::new(),
            decisions,
            before: &before,
            rest: &Value::Null,
        };
        self.objects.push(windows.object(&next, to_store).expect("it is stored"));
        windows.commit(next).expect("a disk with room");
        if epoch.is_multiple_of(2) {
            *windows = self.restored(windows);
        }
    }

    fn restored(&self, windows: &Windows) -> Windows {
        let newest = self.objects.last().expect("one");
        let watermarks = Stored::decode(newest).expect("whole").watermarks;
        let empty = match self.folder {
            None => State::default(),
            Some(folder) => State::on_disk(folder).expect("it opens"),
        };
        let mut restoring = Restoring::new(empty);
        self.objects.iter().for_each(|object| restoring.add(object).expect("the next"));
        let state = restoring.finish().expect("a chain");
        assert_eq!(state.dump(), windows.state().dump());
        assert_eq!(state.bytes(), windows.state().bytes());
        Windows::restored(windows.plan().clone(), watermarks, state)
    }
}
