//! The corpora of the fuzz targets for inputs that are no part of the format, replayed.

#[allow(unreachable_pub, reason = "the fuzzer needs them so")]
#[path = "../../../fuzz/src/inputs.rs"]
mod inputs;
#[path = "../../../fuzz/replay.rs"]
mod replay;

/// Every target and its function.
const TARGETS: [(&str, replay::Target); 14] = [
    ("amounts", inputs::amounts),
    ("kept", inputs::kept),
    ("knownhosts", inputs::knownhosts),
    ("listed", inputs::listed),
    ("patterns", inputs::patterns),
    ("places", inputs::places),
    ("policy", inputs::policy),
    ("schedule", inputs::schedule),
    ("sftp", inputs::sftp),
    ("sources", inputs::sources),
    ("sshconfig", inputs::sshconfig),
    ("token", inputs::token),
    ("toml", inputs::toml),
    ("words", inputs::words),
];

#[test]
fn every_outside_input_is_replayed_and_keeps_its_bounds() {
    replay::all("inputs", &TARGETS);
}
