//! Leaves come back as they were, have one encoding only, and bear hostile bytes.

use super::*;
use crate::tree::key::PathKey;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn time() -> impl Strategy<Value = Timestamp> {
    (prop_oneof![any::<i64>(), 1_700_000_000i64..1_700_000_010], 0u32..1_000_000_000)
        .prop_map(|(secs, nanos)| Timestamp { secs, nanos })
}

fn class() -> impl Strategy<Value = Class> {
    (0u8..8, 0u16..0o10000, any::<u32>(), 0u32..3, proptest::option::of(any::<[u8; 24]>())).prop_map(
        |(kind, mode, uid, mount, blob)| Class {
            kind: Kind::from_u8(kind).unwrap(),
            mode,
            owner: Owner { uid, gid: 5, user: b"me".as_slice().into(), group: Box::default() },
            flags: mount * 16,
            project: 0,
            mount,
            xattrs: blob.map_or(Xattrs::None, |b| Xattrs::Blob(BlobId(b))),
        },
    )
}

fn content() -> impl Strategy<Value = Content> {
    let extent = prop_oneof![
        (any::<[u8; 24]>(), 1u32..1000).prop_map(|(id, len_bytes)| Extent::Data {
            id: BlobId(id),
            len_bytes,
            repeat: 1
        }),
        (1u64..1 << 40).prop_map(|len_bytes| Extent::Hole { len_bytes }),
    ];
    prop_oneof![
        Just(Content::None),
        any::<[u8; 24]>().prop_map(|id| Content::Whole(BlobId(id))),
        proptest::collection::vec(extent, 1..EXTENTS_INLINE_MAX).prop_map(Content::Extents),
        (any::<[u8; 24]>(), 0u8..3).prop_map(|(id, level)| Content::ExtentTree { id: BlobId(id), level }),
    ]
}

prop_compose! {
    fn entry()(
        class in class(), mtime in time(), ctime in proptest::option::of(time()), inode: u64, size_bytes: u64,
        link_group: Option<[u8; 8]>, rdev: u64, target in proptest::collection::vec(any::<u8>(), 0..9),
        content in content(), marks in 0u8..16,
    ) -> Entry {
        let is_file = class.kind == Kind::File;
        let is_device = matches!(class.kind, Kind::CharDevice | Kind::BlockDevice);
        let has_target = matches!(class.kind, Kind::Symlink | Kind::Fault);
        Entry {
            mtime,
            ctime: ctime.unwrap_or(mtime),
            inode,
            size_bytes: if is_file { size_bytes } else { 0 },
            link_group,
            rdev: if is_device { rdev } else { 0 },
            target: if has_target { target.into() } else { Box::default() },
            content: if is_file { content } else { Content::None },
            marks: Marks(marks),
            class: Arc::new(class),
        }
    }
}

fn entries() -> impl Strategy<Value = BTreeMap<Vec<u8>, Entry>> {
    let key = proptest::collection::vec(proptest::collection::vec(1u8..4, 1..4), 1..4)
        .prop_map(|components| PathKey::of(&components));
    proptest::collection::btree_map(key, entry(), 1..60)
}

fn encode(map: &BTreeMap<Vec<u8>, Entry>) -> Vec<u8> {
    let mut encoder = LeafEncoder::default();
    map.iter().for_each(|(key, entry)| encoder.push(key, entry));
    encoder.finish()
}

proptest! {
    #[test]
    fn leaves_round_trip(map in entries()) {
        let leaf = Leaf::decode(&encode(&map)).unwrap();
        let back: BTreeMap<_, _> = (0..leaf.len()).map(|i| (leaf.key(i).to_vec(), leaf.entries[i].clone())).collect();
        prop_assert_eq!(&back, &map);
        for (i, key) in map.keys().enumerate() {
            prop_assert_eq!(leaf.lower_bound(key), i);
        }
    }

    #[test]
    fn what_decodes_has_this_encoding_only(map in entries(), at: proptest::sample::Index, value: u8) {
        let mut bytes = encode(&map);
        let i = at.index(bytes.len());
        bytes[i] = value;
        if let Ok(leaf) = Leaf::decode(&bytes) {
            let again = (0..leaf.len()).map(|i| (leaf.key(i).to_vec(), leaf.entries[i].clone())).collect();
            prop_assert_eq!(encode(&again), bytes);
        }
    }

    #[test]
    fn truncated_leaves_are_refused(map in entries()) {
        let bytes = encode(&map);
        for cut in 0..bytes.len() {
            prop_assert!(Leaf::decode(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn hostile_leaves_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 1..300)) {
        bytes[0] = TYPE;
        let _ignored = Leaf::decode(&bytes);
    }
}
