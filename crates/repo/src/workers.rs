//! Work on threads whose results come back in the order it was given.
//!
//! With no threads the same work runs on the caller's thread at once ("inline"). Either way results are
//! taken in order, so what is written does not depend on how many threads there are. There is no bound
//! inside: the caller takes results when [`Ordered::outstanding`] says that enough is under way.

use crossbeam_channel::{Receiver, Sender, unbounded};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

/// How many threads a stage may use; 0 is inline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workers(pub usize);

type Handler<J, R> = Box<dyn FnMut(J) -> R + Send>;

enum Lane<J, R> {
    Inline {
        handler: Handler<J, R>,
        done: VecDeque<R>,
    },
    Threads {
        jobs: Option<Sender<(u64, J)>>,
        results: Receiver<(u64, Option<R>)>,
        handles: Vec<JoinHandle<()>>,
    },
}

/// A stage: jobs in, results out in the same order.
pub struct Ordered<J, R> {
    lane: Lane<J, R>,
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
            let (jobs, job_queue) = unbounded();
            let (result_queue, results) = unbounded();
            let spawn = |_| {
                let (handler, jobs, results) = (make(), job_queue.clone(), result_queue.clone());
                std::thread::Builder::new()
                    .name(name.to_string())
                    .spawn(move || work(handler, &jobs, &results))
                    .expect("the system gives a thread")
            };
            let handles = (0..workers.0).map(spawn).collect();
            Lane::Threads { jobs: Some(jobs), results, handles }
        };
        Ordered { lane, given: 0, taken: 0, early: BTreeMap::new() }
    }

    /// Gives a job.
    pub fn give(&mut self, job: J) {
        match &mut self.lane {
            Lane::Inline { handler, done } => done.push_back(handler(job)),
            Lane::Threads { jobs, .. } => {
                let queue = jobs.as_ref().expect("jobs are given before the stage is dropped");
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
            let Lane::Threads { results, .. } = &self.lane else { unreachable!("inline results are ready") };
            let (number, result) = results.recv().expect("workers answer every job");
            self.early.insert(number, result);
        }
    }

    /// The next result if it is there.
    pub fn try_take(&mut self) -> Option<R> {
        if let Lane::Threads { results, .. } = &self.lane {
            while let Ok((number, result)) = results.try_recv() {
                self.early.insert(number, result);
            }
        }
        self.ready()
    }

    fn ready(&mut self) -> Option<R> {
        let result = match &mut self.lane {
            Lane::Inline { done, .. } => done.pop_front()?,
            Lane::Threads { .. } => {
                // A worker that panicked answers with nothing: the panic goes on here.
                self.early.remove(&self.taken)?.expect("a worker panicked; its message is above")
            }
        };
        self.taken += 1;
        Some(result)
    }
}

fn work<J, R>(mut handler: Handler<J, R>, jobs: &Receiver<(u64, J)>, results: &Sender<(u64, Option<R>)>) {
    for (number, job) in jobs {
        let result = catch_unwind(AssertUnwindSafe(|| handler(job))).ok();
        let failed = result.is_none();
        if results.send((number, result)).is_err() || failed {
            return;
        }
    }
}

impl<J, R> Drop for Ordered<J, R> {
    fn drop(&mut self) {
        if let Lane::Threads { jobs, handles, .. } = &mut self.lane {
            jobs.take();
            for handle in handles.drain(..) {
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
}
