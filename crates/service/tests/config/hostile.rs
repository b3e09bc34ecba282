//! Texts that nobody would write: whatever stands there, it is understood or told, and quickly.

use super::{LEAST, told};
use service::config::load::understand;
use service::config::problem::SourceFile;
use std::path::Path;
use std::time::{Duration, Instant};

/// One text may take no longer.
const TIME_MAX: Duration = Duration::from_secs(5);

fn look(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let start = Instant::now();
    let file = SourceFile { path: "lifeboat.toml".into(), text };
    match understand(vec![file], Path::new("/home/me")) {
        Ok(loaded) => _ = loaded.config.to_toml(),
        Err(broken) => {
            assert!(!broken.problems.is_empty());
            told(&broken);
        }
    }
    assert!(start.elapsed() < TIME_MAX);
}

#[test]
fn every_beginning_and_every_changed_byte_of_a_file_is_answered() {
    let sample = include_bytes!("../../../../docs/reference/lifeboat.toml");
    (0..sample.len()).step_by(41).for_each(|len| look(&sample[..len]));
    for at in (0..sample.len()).step_by(31) {
        for byte in [b'"', b'[', 0xff] {
            let mut changed = sample.to_vec();
            changed[at] = byte;
            look(&changed);
        }
    }
    for at in (0..LEAST.len()).step_by(2) {
        let mut shorter = LEAST.as_bytes().to_vec();
        shorter.remove(at);
        look(&shorter);
    }
}

#[test]
fn what_is_shown_can_be_read_again_and_means_the_same() {
    let sample = include_str!("../../../../docs/reference/lifeboat.toml");
    let lines: Vec<&str> = sample.lines().collect();
    for gone in 0..lines.len() {
        let text: Vec<&str> =
            lines.iter().enumerate().filter(|(at, _)| *at != gone).map(|(_, line)| *line).collect();
        let file = |text: String| vec![SourceFile { path: "lifeboat.toml".into(), text }];
        if let Ok(loaded) = understand(file(text.join("\n")), Path::new("/")) {
            let shown = loaded.config.to_toml();
            let again =
                understand(file(shown.clone()), Path::new("/")).unwrap_or_else(|b| panic!("{}", told(&b)));
            assert_eq!(again.config.to_toml(), shown);
        }
    }
}
