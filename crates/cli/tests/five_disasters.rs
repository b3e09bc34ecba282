//! The demonstration in `docs/guide/five-disasters.sh` runs with this program and brings everything back.
//!
//! What is shown there and how it is compared stands in the script; here only that it ends well, and that it would not
//! with a program that restores nothing.

use std::path::Path;
use std::process::{Command, Output};

fn demonstrate(program: &str) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/five-disasters.sh");
    Command::new("sh").arg(script).env("LIFEBOAT", program).output().unwrap()
}

#[test]
fn everything_comes_back() {
    let shown = demonstrate(env!("CARGO_BIN_EXE_lifeboat"));
    let out = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.status.success(), "{out}\n{}", String::from_utf8_lossy(&shown.stderr));
    assert!(out.ends_with("Everything came back.\n"), "{out}");
    assert_eq!(out.matches("identical").count(), 7, "{out}");
}

#[test]
fn a_program_that_restores_nothing_does_not_pass() {
    assert_eq!(demonstrate("true").status.code(), Some(1));
}
