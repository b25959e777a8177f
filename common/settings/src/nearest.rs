//! The known name that a mistyped one was probably meant to be.

/// Edits beyond which a suggestion would only mislead.
const MAX_EDITS: usize = 4;

/// The candidate with the fewest edits to `name`, if that is few enough for the name's length.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let close = |candidate: &&str| {
        let edits = distance(name, candidate);
        let part = candidate.starts_with(name) || name.starts_with(*candidate);
        (edits <= MAX_EDITS.min(1 + name.chars().count() / 3) || part).then_some(edits)
    };
    candidates.into_iter().filter_map(|c| close(&c).map(|edits| (edits, c))).min().map(|(_, c)| c)
}

/// Levenshtein distance, by characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_nonsense_has_none() {
        let keys = ["ingestion_rate_mb", "ingestion_burst_size_mb", "listen", "limits"];
        assert_eq!(nearest("ingestion_rate", keys), Some("ingestion_rate_mb"));
        assert_eq!(nearest("lisen", keys), Some("listen"));
        assert_eq!(nearest("limit", keys), Some("limits"));
        assert_eq!(nearest("colour", keys), None);
        assert_eq!((distance("", "abc"), distance("kitten", "sitting")), (3, 3));
    }
}
