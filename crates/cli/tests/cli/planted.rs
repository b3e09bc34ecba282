//! The bugs on purpose of the simulation are not in the program.

use crate::support::LIFEBOAT;
use std::path::Path;

#[test]
fn the_program_contains_no_bugs_on_purpose() {
    // In two parts, for this test is a program, too.
    let mark = ["lifeboat with ", "planted bugs in!"].concat();
    let program = std::fs::read(LIFEBOAT).unwrap();
    assert!(program.len() > 1 << 20);
    assert!(!program.windows(mark.len()).any(|window| window == mark.as_bytes()));
}

#[test]
fn only_the_testkit_can_ask_for_bugs_on_purpose() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut askers = Vec::new();
    for item in std::fs::read_dir(crates).unwrap().flatten() {
        let manifest = std::fs::read_to_string(item.path().join("Cargo.toml")).unwrap_or_default();
        assert!(
            !manifest.lines().any(|line| line.starts_with("default =") && line.contains("planted")),
            "{:?}",
            item.path()
        );
        if manifest.contains("planted") {
            askers.push(item.file_name().into_string().unwrap());
        }
    }
    askers.sort();
    assert_eq!(askers, ["engine", "repo", "storage", "testkit"]);
}
