//! Whether the connection costs by the byte, as NetworkManager tells it on the system bus.
//!
//! Asked through `busctl`, which comes with systemd, or else `nmcli`. Without either, or without
//! NetworkManager, it is not known.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a bus may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(20);
const BUSCTL: &[&str] = &[
    "busctl",
    "--system",
    "--timeout=2",
    "get-property",
    "org.freedesktop.NetworkManager",
    "/org/freedesktop/NetworkManager",
    "org.freedesktop.NetworkManager",
    "Metered",
];
const NMCLI: &[&str] = &["nmcli", "-t", "-f", "GENERAL.METERED", "dev", "show"];

/// What the connection costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metered {
    /// It costs by the byte, or NetworkManager thinks so.
    Yes,
    /// It does not.
    No,
    /// Nobody can tell.
    Unknown,
}

/// Asks NetworkManager.
pub fn metered() -> Metered {
    match answer(BUSCTL).map(|text| of_busctl(&text)) {
        Some(known @ (Metered::Yes | Metered::No)) => known,
        _ => answer(NMCLI).map_or(Metered::Unknown, |text| of_nmcli(&text)),
    }
}

/// `u 4`: NM_METERED_UNKNOWN, _YES, _NO, _GUESS_YES, _GUESS_NO.
fn of_busctl(text: &str) -> Metered {
    match text.trim() {
        "u 1" | "u 3" => Metered::Yes,
        "u 2" | "u 4" => Metered::No,
        _ => Metered::Unknown,
    }
}

/// `GENERAL.METERED:yes (guessed)`, a line for each device.
fn of_nmcli(text: &str) -> Metered {
    let answers = || text.lines().filter_map(|line| line.strip_prefix("GENERAL.METERED:"));
    if answers().any(|answer| answer.starts_with("yes")) {
        Metered::Yes
    } else if answers().any(|answer| answer.starts_with("no")) {
        Metered::No
    } else {
        Metered::Unknown
    }
}

/// What a command prints, if it ends well and soon.
fn answer(argv: &[&str]) -> Option<String> {
    let mut child = Command::new(argv[0])
        .args(&argv[1..])
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => break,
            Ok(None) if begun.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            _ => {
                child.kill().ok();
                child.wait().ok();
                return None;
            }
        }
    }
    let mut text = String::new();
    // What they answer is short; a pipe holds it until they end.
    child.stdout.take()?.take(4096).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_understood() {
        let busctl = ["u 0", "u 1\n", "u 2", "u 3", "u 4", "", "s \"x\""].map(of_busctl);
        use Metered::*;
        assert_eq!(busctl, [Unknown, Yes, No, Yes, No, Unknown, Unknown]);
        assert_eq!(of_nmcli("GENERAL.METERED:no (guessed)\n\nGENERAL.METERED:yes\n"), Yes);
        assert_eq!(of_nmcli("GENERAL.METERED:unknown\nGENERAL.METERED:no (guessed)\n"), No);
        assert_eq!(of_nmcli("GENERAL.METERED:unknown\n"), Unknown);
    }

    #[test]
    fn a_command_that_fails_or_is_absent_answers_nothing() {
        assert_eq!(answer(&["lifeboat-no-such-command"]), None);
        assert_eq!(answer(&["false"]), None);
        assert_eq!(answer(&["echo", "u 2"]).as_deref(), Some("u 2\n"));
    }
}
