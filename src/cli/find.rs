//! The tables of a connector, by name: where each is and whose progress is in it.

use super::print;
use crate::config::{Connector, Output};
use crate::disposition::Exit;
use crate::engine::view::View;
use crate::sink::error::SinkError;
use crate::sink::progress::Owner;
use crate::sink::store::TableStore;

/// The name under which the dead-letter table is shown.
pub const DEAD_LETTERS: &str = "dead_letters";

/// A table that holds progress.
pub struct FoundTable {
    /// The output's name, or [`DEAD_LETTERS`].
    pub name: String,
    pub owner: Owner,
    pub store: TableStore,
}

impl FoundTable {
    /// The stream of late rows of an output, in the dead-letter table.
    pub fn is_late_rows(&self) -> bool {
        self.owner.is_late_rows()
    }

    pub fn is_dead_letters(&self) -> bool {
        self.name == DEAD_LETTERS
    }
}

/// The connector with one output for each table. Where a pattern of topics has a table for each, Kafka tells which.
pub async fn tables_known(spec: &Connector) -> Result<Connector, Exit> {
    if !spec.outputs.values().any(|output| output.table.is_per_topic()) {
        return Ok(spec.clone());
    }
    let view = View::of(&spec.source).await;
    let view = view.map_err(|error| print::failure(&error))?;
    Ok(spec.with_topics(&view.catalog.topics()))
}

/// The table of one output.
pub fn output(spec: &Connector, name: &str) -> Result<FoundTable, Exit> {
    let Some(output) = spec.outputs.get(name) else {
        let names: Vec<&str> = spec.outputs.keys().map(String::as_str).collect();
        print::note(format!("--output {name}: no such output; there is {}", names.join(", ")));
        return Err(Exit::Usage);
    };
    Ok(FoundTable {
        name: name.to_owned(),
        owner: Owner::output(&spec.name, &output.name),
        store: TableStore::open(&output.table, &output.storage).map_err(failure)?,
    })
}

/// The one output of a connector that has only one.
pub fn only_output(spec: &Connector) -> Result<FoundTable, Exit> {
    let names: Vec<&str> = spec.outputs.keys().map(String::as_str).collect();
    match names.as_slice() {
        [only] => output(spec, only),
        several => {
            print::note(format!("say which with --output: {}", several.join(", ")));
            Err(Exit::Usage)
        }
    }
}

/// The outputs wanted, all when none is named; then the dead letters.
pub fn tables(spec: &Connector, wanted: Option<&str>) -> Result<Vec<FoundTable>, Exit> {
    if let Some(name) = wanted.filter(|name| *name != DEAD_LETTERS) {
        return Ok(vec![output(spec, name)?]);
    }
    let mut tables = Vec::new();
    if wanted.is_none() {
        for name in spec.outputs.keys() {
            tables.push(output(spec, name)?);
        }
    }
    if let Some(letters) = &spec.dead_letters {
        tables.push(FoundTable {
            name: DEAD_LETTERS.to_owned(),
            owner: Owner::dead_letters(&spec.name),
            store: TableStore::open(&letters.table, &letters.storage).map_err(failure)?,
        });
    } else if wanted.is_some() {
        print::note(format!("--output {DEAD_LETTERS}: the configuration has no `dead_letters`"));
        return Err(Exit::Usage);
    }
    Ok(tables)
}

/// The streams of late rows in the dead-letter table, of the outputs that keep them.
pub fn late_rows(spec: &Connector, wanted: Option<&str>) -> Result<Vec<FoundTable>, Exit> {
    let Some(letters) = &spec.dead_letters else { return Ok(Vec::new()) };
    let keeping = spec.outputs.iter().filter(|(name, output)| {
        output.keeps_late_rows() && wanted.is_none_or(|wanted| wanted == **name)
    });
    let stream = |(_, output): (&String, &Output)| {
        let owner = Owner::late_rows(&spec.name, &output.name);
        let store = TableStore::open(&letters.table, &letters.storage).map_err(failure)?;
        Ok(FoundTable { name: owner.stream().to_owned(), owner, store })
    };
    keeping.map(stream).collect()
}

/// Prints what failed in a table, and gives the exit code.
pub fn failure(error: SinkError) -> Exit {
    print::failure(&error.into())
}
