//! Sets of extended attributes: names and values, sorted by name.

use crate::error::FormatResult;
use crate::limits::{XATTRS_BYTES_MAX, XATTRS_MAX};
use crate::wire::{Reader, Write};

const TYPE: u8 = 5;
/// Linux: 255 bytes; other systems allow more.
const NAME_BYTES_MAX: usize = 4096;

/// A set of extended attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XattrSet {
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl XattrSet {
    /// Makes a set; `None` when it exceeds the format's limits or a name occurs twice.
    pub fn new(mut pairs: Vec<(Vec<u8>, Vec<u8>)>) -> Option<Self> {
        pairs.sort();
        let unique = pairs.windows(2).all(|w| w[0].0 != w[1].0);
        let short = pairs.iter().all(|(name, _)| name.len() <= NAME_BYTES_MAX);
        let few = pairs.len() <= XATTRS_MAX;
        let set = XattrSet { pairs };
        (unique && short && few && set.encode().len() <= XATTRS_BYTES_MAX).then_some(set)
    }

    /// Names and values in name order.
    pub fn pairs(&self) -> &[(Vec<u8>, Vec<u8>)] {
        &self.pairs
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![TYPE];
        out.put_varint(self.pairs.len() as u64);
        for (name, value) in &self.pairs {
            out.put_bytes(name);
            out.put_bytes(value);
        }
        out
    }

    /// Reads a set.
    pub fn decode(bytes: &[u8]) -> FormatResult<Self> {
        let mut r = Reader::new(bytes, "attribute set");
        if bytes.len() > XATTRS_BYTES_MAX || r.u8()? != TYPE {
            return Err(r.error("it does not begin as one"));
        }
        let n = r.count(XATTRS_MAX, 2)?;
        let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = Vec::with_capacity(n);
        for _ in 0..n {
            let name = r.bytes(NAME_BYTES_MAX)?.to_vec();
            if pairs.last().is_some_and(|(last, _)| *last >= name) {
                return Err(r.error("its names are not in order"));
            }
            pairs.push((name, r.bytes(XATTRS_BYTES_MAX)?.to_vec()));
        }
        r.end()?;
        Ok(XattrSet { pairs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sets_round_trip(pairs in proptest::collection::btree_map(
            proptest::collection::vec(any::<u8>(), 0..20), proptest::collection::vec(any::<u8>(), 0..50), 0..8,
        )) {
            let set = XattrSet::new(pairs.into_iter().collect()).unwrap();
            let bytes = set.encode();
            prop_assert_eq!(XattrSet::decode(&bytes).unwrap(), set);
            for cut in 0..bytes.len() {
                prop_assert!(XattrSet::decode(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn what_decodes_encodes_to_the_same(bytes in proptest::collection::vec(0u8..6, 0..40)) {
            if let Ok(set) = XattrSet::decode(&bytes) {
                prop_assert_eq!(set.encode(), bytes);
            }
        }
    }
}
