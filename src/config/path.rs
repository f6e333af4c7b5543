//! Where a value stands in the configuration: `outputs.orders.partition_by[0]`.

use std::fmt;

/// Keys and list positions from the root. Ordered as the tree is walked.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Step {
    Key(String),
    Index(usize),
}

impl Path {
    pub(super) fn root() -> Self {
        Self::default()
    }

    /// The path of these keys, none of them a list position.
    pub(super) fn of<S: AsRef<str>>(keys: impl IntoIterator<Item = S>) -> Self {
        Self(keys.into_iter().map(|key| Step::Key(key.as_ref().to_owned())).collect())
    }

    /// Splits at dots: for paths written in the code, whose keys hold none.
    pub(super) fn parse(dotted: &str) -> Self {
        Self::of(dotted.split('.'))
    }

    pub(super) fn key(&self, key: &str) -> Self {
        self.then(Step::Key(key.to_owned()))
    }

    pub(super) fn index(&self, index: usize) -> Self {
        self.then(Step::Index(index))
    }

    /// `None` at the root.
    pub(super) fn parent(&self) -> Option<Self> {
        let (_, parent) = self.0.split_last()?;
        Some(Self(parent.to_vec()))
    }

    pub(super) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The last key, when the path ends in one.
    pub(super) fn last_key(&self) -> Option<&str> {
        match self.0.last() {
            Some(Step::Key(key)) => Some(key),
            _ => None,
        }
    }

    pub(super) fn starts_with(&self, prefix: &Self) -> bool {
        self.0.starts_with(&prefix.0)
    }

    /// Whether the keys are these, where `*` stands for any one key.
    pub(super) fn matches(&self, pattern: &str) -> bool {
        let mut pattern = pattern.split('.');
        let fits = self.0.iter().all(|step| match (step, pattern.next()) {
            (Step::Key(key), Some(wanted)) => wanted == "*" || wanted == key,
            _ => false,
        });
        fits && pattern.next().is_none()
    }

    fn then(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if position == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Path;

    #[test]
    fn a_path_prints_as_it_is_written_after_set() {
        let path = Path::parse("source.topics").index(1);
        assert_eq!(path.to_string(), "source.topics[1]");
        assert_eq!(Path::root().key("a.b").to_string(), "a.b");
    }

    #[test]
    fn a_star_stands_for_exactly_one_key() {
        let path = Path::parse("outputs.orders.where");
        assert!(path.matches("outputs.*.where"));
        assert!(!path.matches("outputs.*"));
        assert!(!path.matches("outputs.*.where.more"));
        assert!(!path.index(0).matches("outputs.*.where.*"));
    }
}
