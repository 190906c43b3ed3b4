//! The word that was meant.

/// Letters of a word beyond which nobody guesses: it bounds the cost, which grows with the square.
const LONGEST: usize = 64;

/// The candidate nearest to `word`, when it is near enough to have been meant: at most one edit (a letter more, less,
/// other, or two swapped) for every three letters.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(LONGEST + 1).flat_map(char::to_lowercase).collect();
    if word.len() > LONGEST {
        return None;
    }
    let allowed = (word.len() / 3).max(1);
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let letters: Vec<char> =
                candidate.chars().take(LONGEST + 1).flat_map(char::to_lowercase).collect();
            if letters.len().abs_diff(word.len()) > allowed || letters.len() > LONGEST {
                return None;
            }
            let distance = distance(&word, &letters);
            // Two words of one letter each are never near: every one would be.
            (distance <= allowed && distance < letters.len().max(word.len())).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits between two words (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut least = (above[j] + usize::from(x != y)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = above;
        above = row;
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let keys = ["tls", "address", "redirect", "protocols", "proxy_protocol"];
        assert_eq!(nearest("tsl", keys), Some("tls"));
        assert_eq!(nearest("adress", keys), Some("address"));
        assert_eq!(nearest("Protocol", keys), Some("protocols"));
        assert_eq!(nearest("proxy-protocol", keys), Some("proxy_protocol"));
    }

    #[test]
    fn does_not_guess_wildly() {
        assert_eq!(nearest("banana", ["tls", "address"]), None);
        assert_eq!(nearest("x", ["y", "z"]), None);
        assert_eq!(nearest(&"a".repeat(100_000), ["aaaa"]), None);
    }
}
