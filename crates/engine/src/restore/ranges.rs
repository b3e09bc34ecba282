//! Parts of a snapshot's tree: half-open ranges of keys, in order.

/// Ranges of keys, sorted, none touching another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRanges(Vec<(Vec<u8>, Vec<u8>)>);

/// Where a key lies.
pub(super) enum Step<'r> {
    /// In a range.
    In,
    /// In none; the next one begins at this key.
    Later(&'r [u8]),
    /// Behind the last one.
    Never,
}

impl KeyRanges {
    /// Sorts ranges from a first key to the one behind the last, and joins those that meet.
    pub fn new(mut ranges: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        ranges.retain(|(from, to)| from < to);
        ranges.sort();
        let mut joined: Vec<(Vec<u8>, Vec<u8>)> = Vec::with_capacity(ranges.len());
        for (from, to) in ranges {
            match joined.last_mut() {
                Some((_, end)) if from <= *end => {
                    if to > *end {
                        *end = to;
                    }
                }
                _ => joined.push((from, to)),
            }
        }
        KeyRanges(joined)
    }

    /// The ranges: first key, and the one behind the last.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(from, to)| (&from[..], &to[..]))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where the first one begins.
    pub(super) fn first(&self) -> Option<&[u8]> {
        self.0.first().map(|(from, _)| &from[..])
    }

    /// Where a key lies; keys come in order, and `at` is the range they have reached.
    pub(super) fn next(&self, at: &mut usize, key: &[u8]) -> Step<'_> {
        while self.0.get(*at).is_some_and(|(_, to)| &to[..] <= key) {
            *at += 1;
        }
        match self.0.get(*at) {
            None => Step::Never,
            Some((from, _)) if key < &from[..] => Step::Later(from),
            Some(_) => Step::In,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined_and_followed() {
        let range = |from: &str, to: &str| (from.as_bytes().to_vec(), to.as_bytes().to_vec());
        let ranges = KeyRanges::new(vec![range("m", "p"), range("a", "c"), range("b", "d"), range("x", "x")]);
        assert_eq!(ranges, KeyRanges(vec![range("a", "d"), range("m", "p")]));
        let mut at = 0;
        assert!(matches!(ranges.next(&mut at, b"c"), Step::In));
        assert!(matches!(ranges.next(&mut at, b"d"), Step::Later(b"m")));
        assert!(matches!(ranges.next(&mut at, b"o"), Step::In));
        assert!(matches!(ranges.next(&mut at, b"p"), Step::Never));
    }
}
