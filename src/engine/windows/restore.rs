//! State out of the objects that a table's last commit names.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use super::open::OpenWindows;
use crate::config::StateBackend;
use crate::engine::EngineError;
use crate::engine::table::Table;
use crate::sink::error::SinkError;
use crate::sink::progress::Owner;
use crate::sink::state::{StateStore, StateVersion};
use crate::sink::store::TableStore;
use crate::transform::window::{
    Restoring, State, Stored, Watermarks, WindowError, WindowPlan, Windows,
};

/// What an output goes on from.
pub(super) struct Restored {
    pub(super) windows: Windows,
    /// The objects that the next one stands on, oldest first.
    pub(super) chain: Vec<StateVersion>,
    /// The epoch that began with nothing.
    pub(super) begun: u64,
    /// `None`: closed windows only were written until now.
    pub(super) open: Option<OpenWindows>,
}

/// The windows as the table's last commit left them.
pub(super) async fn restore(
    plan: Arc<WindowPlan>,
    meaning: &BTreeMap<String, String>,
    backend: &StateBackend,
    table: &Table,
) -> Result<Restored, EngineError> {
    let begin = async |begun| {
        let state = empty(backend, &table.owner).await?;
        let windows = Windows::restored(plan.clone(), Watermarks::default(), state);
        Ok(Restored { windows, chain: Vec::new(), begun, open: Some(OpenWindows::default()) })
    };
    let Some(newest) = table.state() else { return begin(1).await };
    if newest.is_given_up() {
        return begin(newest.epoch() + 1).await;
    }
    let (name, states) = (table.store.table(), table.states());
    let head = Head::read(&states, name, newest).await?;
    refuse_other(name, &head.stored.meaning, meaning)?;
    let (chain, begun) = (head.chain(), head.stored.begun);
    let open = OpenWindows::read(&head.stored.rest);
    let watermarks = head.stored.watermarks.clone();
    let state = head.state(empty(backend, &table.owner).await?).await?;
    Ok(Restored { windows: Windows::restored(plan, watermarks, state), chain, begun, open })
}

/// Where an output's state is kept while it runs.
async fn empty(backend: &StateBackend, owner: &Owner) -> Result<State, EngineError> {
    let StateBackend::RocksDb { directory } = backend else { return Ok(State::default()) };
    let directory = directory.clone().unwrap_or_else(std::env::temp_dir);
    let own = directory.join("sluice").join(owner.connector()).join(owner.stream());
    let opened = tokio::task::spawn_blocking(move || State::on_disk(&own)).await;
    Ok(opened.map_err(|_| EngineError::ThreadGone("that opens state"))??)
}

/// The state of an output's windows, for people to look at.
pub struct Inspected {
    pub epoch: u64,
    pub meaning: BTreeMap<String, String>,
    pub watermarks: Watermarks,
    pub state: State,
    /// Objects that a start reads.
    pub objects: usize,
}

/// Reads the state that a table's commit names; `None`: it was given up.
///
/// # Errors
/// When objects are missing or damaged, or the store can't be reached.
pub async fn inspect(
    store: &TableStore,
    owner: &Owner,
    newest: StateVersion,
    backend: &StateBackend,
) -> Result<Option<Inspected>, EngineError> {
    if newest.is_given_up() {
        return Ok(None);
    }
    let states = StateStore::new(store, owner);
    let head = Head::read(&states, store.table(), newest).await?;
    let (epoch, objects) = (head.stored.epoch, head.chain().len());
    let (meaning, watermarks) = (head.stored.meaning.clone(), head.stored.watermarks.clone());
    let state = head.state(empty(backend, owner).await?).await?;
    Ok(Some(Inspected { epoch, meaning, watermarks, state, objects }))
}

/// The newest object of a table, and what it says of those before.
struct Head<'a> {
    states: &'a StateStore,
    table: &'a str,
    newest: StateVersion,
    object: bytes::Bytes,
    stored: Stored,
}

impl<'a> Head<'a> {
    async fn read(
        states: &'a StateStore,
        table: &'a str,
        newest: StateVersion,
    ) -> Result<Self, SinkError> {
        let object = states.read(newest).await?;
        let stored = Stored::decode(&object).ok_or_else(|| damaged(states, table, newest))?;
        Ok(Self { states, table, newest, object, stored })
    }

    /// All that the state is made of, oldest first.
    fn chain(&self) -> Vec<StateVersion> {
        let before = self.stored.before.iter().map(|version| StateVersion(*version));
        before.chain([self.newest]).collect()
    }

    /// Fills an empty state, an object at a time: together they are larger than it.
    async fn state(self, empty: State) -> Result<State, EngineError> {
        let Self { states, table, newest, object, stored } = self;
        let before: Vec<_> = stored.before.iter().map(|version| StateVersion(*version)).collect();
        let older = states.read_ahead(&before).zip(stream::iter(&before));
        let older = older.map(|(object, version)| Ok::<_, SinkError>((object?, *version)));
        let mut objects = std::pin::pin!(older.chain(stream::iter([Ok((object, newest))])));
        let mut restoring = Restoring::new(empty);
        while let Some((object, version)) = objects.try_next().await? {
            let added =
                tokio::task::spawn_blocking(move || restoring.add(&object).map(|()| restoring));
            let added = added.await.map_err(|_| EngineError::ThreadGone("that restores state"))?;
            restoring = added.map_err(|error| match error {
                WindowError::Corrupt => damaged(states, table, version).into(),
                error => EngineError::from(error),
            })?;
        }
        Ok(restoring.finish().ok_or_else(|| damaged(states, table, newest))?)
    }
}

fn damaged(states: &StateStore, table: &str, version: StateVersion) -> SinkError {
    SinkError::StateDamaged { table: table.to_owned(), path: states.path(version).to_string() }
}

/// Rows of open windows can't stay where nothing replaces them any more: each would be there twice once it is closed.
pub(super) fn refuse_open_rows(table: &str, open: Option<&OpenWindows>) -> Result<(), SinkError> {
    if open.is_none_or(|open| open.files().next().is_none()) {
        return Ok(());
    }
    let change = "`emit` was changes, now it is final, and rows of open windows are in the table";
    Err(SinkError::StateOther { table: table.to_owned(), changes: vec![change.to_owned()] })
}

/// State that was kept for something else must not go on as this.
fn refuse_other(
    table: &str,
    was: &BTreeMap<String, String>,
    is: &BTreeMap<String, String>,
) -> Result<(), SinkError> {
    let mut changes = Vec::new();
    for part in was.keys().chain(is.keys().filter(|part| !was.contains_key(*part))) {
        match (was.get(part), is.get(part)) {
            (Some(was), Some(is)) if was != is => {
                changes.push(format!("`{part}` was {was}, now it is {is}"));
            }
            (Some(was), None) => changes.push(format!("`{part}` was {was}, now it is gone")),
            (None, Some(is)) => changes.push(format!("`{part}` is new: {is}")),
            _ => {}
        }
    }
    match changes.is_empty() {
        true => Ok(()),
        false => Err(SinkError::StateOther { table: table.to_owned(), changes }),
    }
}
