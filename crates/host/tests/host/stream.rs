//! A command's output counts as whole only if the command says so.

use std::ffi::OsString;
use std::io::Read;
use std::sync::{Arc, Mutex};

use host::stream::CommandStream;

type Lines = Arc<Mutex<Vec<String>>>;

fn start(arguments: &[&str]) -> (CommandStream, Lines) {
    let lines = Lines::default();
    let seen = lines.clone();
    let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    let environment = [("LIFEBOAT_TEST_WORD".into(), "given".into())];
    let on_message = move |line: &[u8]| seen.lock().unwrap().push(String::from_utf8_lossy(line).into_owned());
    (CommandStream::start(&arguments, &environment, on_message).unwrap(), lines)
}

fn shell(script: &str) -> (CommandStream, Lines) {
    start(&["/bin/sh", "-c", script])
}

#[test]
fn output_of_a_good_command_is_read_to_its_end() {
    let (mut stream, lines) =
        shell("printf 'one\\ntwo '; echo \"$LIFEBOAT_TEST_WORD\"; echo note >&2; printf rest >&2");
    let mut output = String::new();
    stream.read_to_string(&mut output).unwrap();
    assert_eq!(output, "one\ntwo given\n");
    assert_eq!(*lines.lock().unwrap(), ["note", "rest"]);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the end stays the end");
}

#[test]
fn a_failed_command_never_ends_well() {
    for script in ["printf all; exit 3", "printf all; kill -9 $$"] {
        let (mut stream, _) = shell(script);
        let mut output = Vec::new();
        let error = stream.read_to_end(&mut output).unwrap_err();
        assert_eq!(output, b"all");
        assert!(error.to_string().starts_with("the command failed: "), "{error}");
        assert!(stream.read(&mut [0]).is_err(), "the failure stays a failure");
    }
}

#[test]
fn arguments_are_never_interpreted() {
    let (mut stream, _) = start(&["/bin/echo", "$HOME; *", "`id`"]);
    let mut output = String::new();
    stream.read_to_string(&mut output).unwrap();
    assert_eq!(output, "$HOME; * `id`\n");
    assert!(CommandStream::start(&[], &[], |_| ()).is_err());
    assert!(CommandStream::start(&["/nonexistent/program".into()], &[], |_| ()).is_err());
}

#[test]
fn dropping_the_stream_kills_what_the_command_started() {
    let (mut stream, _) = shell("sleep 600 & echo $!; wait");
    let mut number = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        number.push(byte[0]);
    }
    let number: i32 = String::from_utf8(number).unwrap().parse().unwrap();
    let sleeper = rustix::process::Pid::from_raw(number).unwrap();
    let watched = rustix::process::pidfd_open(sleeper, rustix::process::PidfdFlags::empty()).unwrap();
    drop(stream);
    let mut waiting = [rustix::event::PollFd::new(&watched, rustix::event::PollFlags::IN)];
    let limit = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut waiting, Some(&limit)).unwrap(), 1, "the sleeper must be gone");
}

#[test]
fn a_background_process_that_keeps_the_error_output_does_not_hold_the_end() {
    let (mut stream, lines) = shell("echo early >&2; sleep 600 >/dev/null & echo $!");
    let mut output = String::new();
    stream.read_to_string(&mut output).unwrap();
    assert_eq!(*lines.lock().unwrap(), ["early"]);
    let sleeper = rustix::process::Pid::from_raw(output.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(sleeper, rustix::process::Signal::KILL).unwrap();
}
