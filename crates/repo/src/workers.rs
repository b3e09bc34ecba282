//! Work on threads whose results come back in the order it was given.
//!
//! With no threads the same work runs on the caller's thread at once ("inline"). Either way results are
//! taken in order, so what is written does not depend on how many threads there are. There is no bound
//! inside: the caller takes results when [`Ordered::outstanding`] says that enough is under way. A stage made
//! by [`Ordered::growing`] can change how many threads work while it runs.

use crossbeam_channel::{Receiver, Sender, unbounded};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// How many threads a stage may use; 0 is inline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workers(pub usize);

type Handler<J, R> = Box<dyn FnMut(J) -> R + Send>;
type Maker<J, R> = Box<dyn FnMut() -> Handler<J, R> + Send>;

/// How many of the threads of a stage may take jobs; the others wait until they may.
#[derive(Default)]
struct Admitted {
    threads: Mutex<usize>,
    changed: Condvar,
}

impl Admitted {
    fn set(&self, threads: usize) {
        *self.threads.lock().unwrap_or_else(PoisonError::into_inner) = threads;
        self.changed.notify_all();
    }

    fn wait_for(&self, number: usize) {
        let admitted = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self.changed.wait_while(admitted, |threads| number >= *threads);
        drop(wait.unwrap_or_else(PoisonError::into_inner));
    }
}

enum Lane<J, R> {
    Inline { handler: Handler<J, R>, done: VecDeque<R> },
    Threads(Threads<J, R>),
}

struct Threads<J, R> {
    name: String,
    jobs: Option<Sender<(u64, J)>>,
    job_queue: Receiver<(u64, J)>,
    results: Receiver<(u64, Option<R>)>,
    result_queue: Sender<(u64, Option<R>)>,
    admitted: Arc<Admitted>,
    handles: Vec<JoinHandle<()>>,
}

impl<J: Send + 'static, R: Send + 'static> Threads<J, R> {
    fn new(name: &str) -> Self {
        let (jobs, job_queue) = unbounded();
        let (result_queue, results) = unbounded();
        let (name, admitted) = (name.to_string(), Arc::default());
        Threads { name, jobs: Some(jobs), job_queue, results, result_queue, admitted, handles: Vec::new() }
    }

    /// Lets so many threads work; starts those that are missing.
    fn admit(&mut self, threads: usize, make: &mut dyn FnMut() -> Handler<J, R>) {
        while self.handles.len() < threads {
            let (handler, jobs, results) = (make(), self.job_queue.clone(), self.result_queue.clone());
            let (number, admitted) = (self.handles.len(), self.admitted.clone());
            let thread = std::thread::Builder::new()
                .name(self.name.clone())
                .spawn(move || work(handler, &jobs, &results, || admitted.wait_for(number)))
                .expect("the system gives a thread");
            self.handles.push(thread);
        }
        self.admitted.set(threads);
    }
}

/// A stage: jobs in, results out in the same order.
pub struct Ordered<J, R> {
    lane: Lane<J, R>,
    /// Makes the handlers of threads that are added later.
    maker: Option<Maker<J, R>>,
    given: u64,
    taken: u64,
    early: BTreeMap<u64, Option<R>>,
}

impl<J: Send + 'static, R: Send + 'static> Ordered<J, R> {
    /// A stage; `make` gives each thread a handler with state of its own.
    pub fn new(name: &str, workers: Workers, mut make: impl FnMut() -> Handler<J, R>) -> Self {
        let lane = if workers.0 == 0 {
            Lane::Inline { handler: make(), done: VecDeque::new() }
        } else {
            let mut threads = Threads::new(name);
            threads.admit(workers.0, &mut make);
            Lane::Threads(threads)
        };
        Ordered { lane, maker: None, given: 0, taken: 0, early: BTreeMap::new() }
    }

    /// A stage whose number of threads can be changed by [`Ordered::set_workers`].
    pub fn growing(
        name: &str,
        workers: Workers,
        mut make: impl FnMut() -> Handler<J, R> + Send + 'static,
    ) -> Self {
        let mut stage = Self::new(name, workers, &mut make);
        stage.maker = Some(Box::new(make));
        stage
    }

    /// Lets `workers` threads take the jobs from now on, at least one. Inline stays inline, and so does the
    /// number of a stage that does not grow.
    pub fn set_workers(&mut self, workers: usize) {
        if let (Lane::Threads(threads), Some(make)) = (&mut self.lane, &mut self.maker) {
            threads.admit(workers.max(1), make);
        }
    }

    /// Gives a job.
    pub fn give(&mut self, job: J) {
        match &mut self.lane {
            Lane::Inline { handler, done } => done.push_back(handler(job)),
            Lane::Threads(threads) => {
                let queue = threads.jobs.as_ref().expect("jobs are given before the stage is dropped");
                queue.send((self.given, job)).expect("workers live as long as the stage");
            }
        }
        self.given += 1;
    }

    /// Jobs whose results were not taken yet.
    pub fn outstanding(&self) -> usize {
        (self.given - self.taken) as usize
    }

    /// The next result, waiting for it; `None` when nothing is under way.
    pub fn take(&mut self) -> Option<R> {
        if self.outstanding() == 0 {
            return None;
        }
        loop {
            if let Some(result) = self.ready() {
                return Some(result);
            }
            let Lane::Threads(threads) = &self.lane else { unreachable!("inline results are ready") };
            let (number, result) = threads.results.recv().expect("workers answer every job");
            self.early.insert(number, result);
        }
    }

    /// The next result if it is there.
    pub fn try_take(&mut self) -> Option<R> {
        if let Lane::Threads(threads) = &self.lane {
            while let Ok((number, result)) = threads.results.try_recv() {
                self.early.insert(number, result);
            }
        }
        self.ready()
    }

    fn ready(&mut self) -> Option<R> {
        let result = match &mut self.lane {
            Lane::Inline { done, .. } => done.pop_front()?,
            Lane::Threads(_) => {
                // A worker that panicked answers with nothing: the panic goes on here.
                self.early.remove(&self.taken)?.expect("a worker panicked; its message is above")
            }
        };
        self.taken += 1;
        Some(result)
    }
}

fn work<J, R>(
    mut handler: Handler<J, R>,
    jobs: &Receiver<(u64, J)>,
    results: &Sender<(u64, Option<R>)>,
    wait_until_admitted: impl Fn(),
) {
    loop {
        wait_until_admitted();
        let Ok((number, job)) = jobs.recv() else { return };
        let result = catch_unwind(AssertUnwindSafe(|| handler(job))).ok();
        let failed = result.is_none();
        if results.send((number, result)).is_err() || failed {
            return;
        }
    }
}

impl<J, R> Drop for Ordered<J, R> {
    fn drop(&mut self) {
        if let Lane::Threads(threads) = &mut self.lane {
            threads.jobs.take();
            threads.admitted.set(usize::MAX);
            for handle in threads.handles.drain(..) {
                handle.join().ok();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_with_and_without_threads() {
        for workers in [0, 1, 4] {
            let mut stage = Ordered::new("test", Workers(workers), || Box::new(|n: u64| n * n));
            (0..500).for_each(|n| stage.give(n));
            let results: Vec<u64> = std::iter::from_fn(|| stage.take()).collect();
            assert_eq!(results, (0..500).map(|n| n * n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_number_of_threads_changes_while_the_stage_runs() {
        let mut stage = Ordered::growing("test", Workers(2), || Box::new(|n: u64| n + 1));
        let mut results = Vec::new();
        for n in 0..2000 {
            stage.give(n);
            if n % 100 == 0 {
                stage.set_workers([1, 7, 3, 12][(n / 100 % 4) as usize]);
            }
            results.extend(stage.try_take());
        }
        stage.set_workers(1);
        results.extend(std::iter::from_fn(|| stage.take()));
        assert_eq!(results, (1..=2000).collect::<Vec<_>>());
        let Lane::Threads(threads) = &stage.lane else { panic!("threads were asked for") };
        assert_eq!(threads.handles.len(), 12);
    }
}
