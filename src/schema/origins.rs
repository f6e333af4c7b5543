//! Where columns' types come from, in words, for messages: `schema id 7`.

use std::collections::BTreeMap;

/// What is said of a column holds for the fields in it, too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    everywhere: Option<String>,
    /// By dotted path.
    columns: BTreeMap<String, String>,
}

impl Origins {
    /// Nothing is said: the types are the configuration's own.
    pub const NONE: &Self = &Self { everywhere: None, columns: BTreeMap::new() };

    /// All columns come from one place.
    pub fn of_all(origin: impl Into<String>) -> Self {
        Self { everywhere: Some(origin.into()), columns: BTreeMap::new() }
    }

    /// Says where a column, or a nested field by its dotted path, comes from.
    #[must_use]
    pub fn with(mut self, column: impl Into<String>, origin: impl Into<String>) -> Self {
        self.columns.insert(column.into(), origin.into());
        self
    }

    /// What is known of a column by its dotted path: its own origin, else that of the nearest column around it.
    pub fn of(&self, column: &str) -> Option<&str> {
        let mut path = column;
        loop {
            if let Some(origin) = self.columns.get(path) {
                return Some(origin);
            }
            match path.rsplit_once('.') {
                Some((parent, _)) => path = parent,
                None => return self.everywhere.as_deref(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_column_around_a_field_tells() {
        let origins =
            Origins::of_all("schema id 7").with("a", "select").with("a.b.c", "schema id 9");
        assert_eq!(origins.of("x"), Some("schema id 7"));
        assert_eq!(origins.of("a"), Some("select"));
        assert_eq!(origins.of("a.b"), Some("select"));
        assert_eq!(origins.of("a.b.c.element"), Some("schema id 9"));
        assert_eq!(Origins::NONE.of("a.b"), None);
    }
}
