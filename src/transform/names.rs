//! Names as Delta Lake compares them: without regard to case; and the nearest one to a misspelt one.

/// The index of the column or field that `name` means: one of exactly that spelling, else one that differs by case.
pub(super) fn position<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<usize> {
    let mut other_case = None;
    for (index, candidate) in known.enumerate() {
        if candidate == name {
            return Some(index);
        }
        if other_case.is_none() && same(candidate, name) {
            other_case = Some(index);
        }
    }
    other_case
}

/// Whether two names are the same to Delta Lake.
pub(super) fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || a.to_lowercase() == b.to_lowercase()
}

/// `; did you mean `amount`?`, or nothing where no name is near.
pub(super) fn did_you_mean<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> String {
    let name = name.to_lowercase();
    // A third of the letters may be wrong, as in the configuration's own hints.
    let limit = (name.chars().count() / 3).max(1);
    known
        .map(|known| (strsim::damerau_levenshtein(&name, &known.to_lowercase()), known))
        .min()
        .filter(|(distance, _)| *distance <= limit && *distance < name.chars().count())
        .map(|(_, known)| format!("; did you mean `{known}`?"))
        .unwrap_or_default()
}
