//! "Did you mean": the nearest of the words that would have been right.

/// The word of `known` that `given` is most likely a slip of, if there is one.
pub(super) fn nearest<'k>(given: &str, known: &[&'k str]) -> Option<&'k str> {
    if given.len() > 64 {
        return None;
    }
    let simple = |word: &str| word.to_ascii_lowercase().replace(['_', '.'], "-");
    let given = simple(given);
    let allowed = (given.chars().count() / 3).clamp(1, 3);
    known
        .iter()
        .map(|word| (distance(&given, &simple(word)), *word))
        .filter(|(distance, word)| *distance <= allowed && *distance < word.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Insertions, removals, replacements and swaps of neighbours that turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let mut best = (last[j] + usize::from(from != to)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *from == b[j - 1] && a[i - 1] == *to {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_understood_and_strangers_are_not() {
        let known = ["env", "kind", "bytes", "on-calendar", "daemon-reload"];
        assert_eq!(nearest("byte", &known), Some("bytes"));
        assert_eq!(nearest("on_calendar", &known), Some("on-calendar"));
        assert_eq!(nearest("OnCalendar", &known), Some("on-calendar"));
        assert_eq!(nearest("kidn", &known), Some("kind"));
        assert_eq!(nearest("password", &known), None);
        assert_eq!(nearest("", &known), None);
    }
}
