//! Opening a place that others must not wait for: after a while it counts as one that does not answer.
//!
//! A server that takes connections and never answers is waited for by each request, and by each of its repetitions. The
//! thread that waits is left to itself; it ends with the program.

use crate::display::safe;
use crate::failure::{Exit, Failure, Outcome};
use crate::open::{Opened, Opener, Place};
use crate::person::{Person, UnknownHost};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;
use zeroize::Zeroizing;

/// How often it is looked whether somebody is being asked, or wants it to end.
const LOOK: Duration = Duration::from_millis(50);

/// Tells that the person behind it is being asked: the time that takes is nobody's fault.
struct Asking {
    person: Arc<dyn Person>,
    asks: AtomicBool,
}

impl Asking {
    fn while_asking<T>(&self, ask: impl FnOnce(&dyn Person) -> T) -> T {
        self.asks.store(true, Ordering::Release);
        let answer = ask(&*self.person);
        self.asks.store(false, Ordering::Release);
        answer
    }
}

impl Person for Asking {
    fn message(&self, text: &str) {
        self.person.message(text);
    }

    fn info(&self, text: &str) {
        self.person.info(text);
    }

    fn warn(&self, text: &str) {
        self.person.warn(text);
    }

    fn detail(&self, text: &str) {
        self.person.detail(text);
    }

    fn password(&self, question: &str) -> Option<Outcome<Zeroizing<String>>> {
        self.while_asking(|person| person.password(question))
    }

    fn trusts(&self, host: &UnknownHost<'_>) -> bool {
        self.while_asking(|person| person.trusts(host))
    }

    fn cancelled(&self) -> bool {
        self.person.cancelled()
    }
}

/// Of several places, one that does not answer is tried for no longer than this: the others have it meanwhile, and it
/// gets it later.
const RETRY_OF_SEVERAL: Duration = Duration::from_secs(30);
/// And one that takes connections and says nothing, for no longer than this.
const OPEN_OF_SEVERAL: Duration = Duration::from_secs(45);

impl Opener {
    /// As [`Opener::open`]; where it is one of several places, no longer than the others can wait.
    ///
    /// # Errors
    /// As those of [`Opener::open_within`].
    pub fn open_among(&self, place: &Place, are_several: bool) -> Outcome<Opened> {
        if !are_several {
            return self.open(place);
        }
        let retry_for = self.retry_for.min(RETRY_OF_SEVERAL);
        Opener { retry_for, ..self.clone() }.open_within(place, OPEN_OF_SEVERAL)
    }

    /// As [`Opener::open`], for no longer than `limit`, questions to a person apart.
    ///
    /// # Errors
    /// It cannot be opened, or does not answer in time.
    pub fn open_within(&self, place: &Place, limit: Duration) -> Outcome<Opened> {
        let asking = Arc::new(Asking { person: self.person.clone(), asks: AtomicBool::new(false) });
        // Whatever finds the secret may ask for it, too.
        let unlock = {
            let (unlock, asking) = (place.unlock.clone(), asking.clone());
            Arc::new(move || asking.while_asking(|_| unlock()))
        };
        let opener = Opener { person: asking.clone(), ..self.clone() };
        let place = Place { unlock, ..place.clone() };
        let (shown, person) = (place.shown(), self.person.clone());
        let (sender, receiver) = channel();
        std::thread::spawn(move || sender.send(opener.open(&place)).ok());
        let mut waited = Duration::ZERO;
        loop {
            match receiver.recv_timeout(LOOK) {
                Ok(opened) => return opened,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::new(Exit::Failed, format!("cannot open {}", safe(&shown))));
                }
                Err(RecvTimeoutError::Timeout) if asking.asks.load(Ordering::Acquire) => {}
                Err(RecvTimeoutError::Timeout) => waited += LOOK,
            }
            if waited >= limit || person.cancelled() {
                let what = format!("{} does not answer within {} s", safe(&shown), waited.as_secs());
                return Err(Failure::new(Exit::Unreachable, what));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;
    use crate::folders::Folders;
    use crate::person::Nobody;
    use std::time::Instant;

    #[test]
    fn a_server_that_never_answers_is_left_behind() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().as_os_str().to_owned();
        let opener = Opener {
            environment: Environment::empty(),
            folders: Folders::of(&Environment::new(move |name| (name == "HOME").then(|| home.clone()))),
            cacert: None,
            keeps_cache: false,
            retry_for: Duration::from_secs(300),
            accept_rollback: false,
            user: "me".into(),
            person: Arc::new(Nobody),
        };
        let location = storage::Location::parse(&format!("sftp://me@127.0.0.1:{port}/backup")).unwrap();
        let start = Instant::now();
        let failure = opener.open_within(&Place::at(location), Duration::from_secs(1)).err().unwrap();
        assert!(start.elapsed() < Duration::from_secs(20));
        assert_eq!(failure.exit, Exit::Unreachable);
        assert!(failure.message().contains("does not answer within 1 s"), "{}", failure.message());
    }
}
