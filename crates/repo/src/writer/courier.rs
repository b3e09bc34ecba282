//! A destination on a thread of its own, so that a slow, full, refusing or absent place holds up no other.
//!
//! Few packs wait for it, which bounds memory and makes everybody wait for a place that is a little slower. A
//! place for which the others *stand idle* is given up after a while ([`Courier::has_room`]): what it lacks comes
//! from a sibling afterwards. One that failed takes nothing more, and says why.

use super::destination::Destination;
use crate::error::RepoError;
use crossbeam_channel::{Sender, unbounded};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Packs that wait for one place beside those its uploading workers have.
const WAITING_MAX: usize = 1;
/// How often a waiting conductor looks whom it holds up.
const LOOK: Duration = Duration::from_millis(50);

type Job = super::fan::Work<()>;

#[derive(Default)]
struct Shared {
    failed: AtomicBool,
    why: Mutex<Option<RepoError>>,
    /// Jobs given and not done.
    waiting: Mutex<usize>,
    done: Condvar,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, usize> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, e: RepoError) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
        self.failed.store(true, Ordering::Release);
    }
}

/// A destination on a thread.
pub(super) struct Courier {
    jobs: Option<Sender<Job>>,
    shared: Arc<Shared>,
    indexed: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
    /// How long others stood idle for this one, of late.
    blame: Duration,
}

impl Courier {
    pub(super) fn start(mut destination: Destination) -> Self {
        let (jobs, queue) = unbounded::<Job>();
        let shared = Arc::new(Shared::default());
        let (told, indexed) = (shared.clone(), destination.indexed());
        let work = move || {
            for job in queue {
                if !told.failed.load(Ordering::Acquire)
                    && let Err(e) = job(&mut destination)
                {
                    told.fail(e);
                }
                *told.waiting() -= 1;
                told.done.notify_all();
            }
        };
        let thread = std::thread::Builder::new().name("courier".into()).spawn(work);
        let thread = Some(thread.expect("the system gives a thread"));
        Courier { jobs: Some(jobs), shared, indexed, thread, blame: Duration::ZERO }
    }

    /// The number of the newest pack whose blobs its index knows.
    pub(super) fn indexed(&self) -> u64 {
        self.indexed.load(Ordering::Acquire)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.shared.failed.load(Ordering::Acquire)
    }

    /// Why it failed; told once.
    pub(super) fn why(&self) -> Option<RepoError> {
        self.shared.why.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether it has nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        *self.shared.waiting() == 0
    }

    /// Gives a job, however many wait already.
    pub(super) fn give(&self, job: Job) {
        *self.shared.waiting() += 1;
        let given = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        if !given {
            *self.shared.waiting() -= 1;
        }
    }

    /// Waits for a while until another pack may be given; `None` while there is no room.
    pub(super) fn wait_for_room(&self) -> Option<()> {
        let waiting = self.shared.waiting();
        let full = |waiting: &mut usize| *waiting >= WAITING_MAX && !self.has_failed();
        let (waiting, _) =
            self.shared.done.wait_timeout_while(waiting, LOOK, full).unwrap_or_else(PoisonError::into_inner);
        (*waiting < WAITING_MAX || self.has_failed()).then_some(())
    }

    /// A pack was taken at once, or another look was in vain while `others_idle`. Says how long others stood
    /// idle for this one of late.
    pub(super) fn blame(&mut self, took_at_once: bool, others_idle: bool) -> Duration {
        match (took_at_once, others_idle) {
            (true, _) => self.blame = self.blame * 15 / 16,
            (false, true) => self.blame += LOOK,
            (false, false) => {}
        }
        self.blame
    }

    /// Takes no more. The thread ends when it is through with what it has; nobody waits for it: it may hang in a
    /// request for ever.
    pub(super) fn dismiss(&mut self) {
        self.jobs.take();
        self.thread.take();
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        self.jobs.take();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}
