//! The ordered parallel walk: directories are listed by several threads and handed out in one fixed order.
//!
//! The order is that of a depth-first search in which the names of a directory compare as bytes: a
//! directory, then its subdirectories one after the other, each with everything below it. Threads work on
//! what is needed next, and stop reading ahead when enough is waiting. `inline` does the same work on the
//! caller's thread, only when asked for, with the same result.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use crate::directory::Directory;
use crate::lister::{Family, Lister, Outcome, Task};
use crate::listing::Listing;
use crate::order::{NONE, Of, Order, Place};
use crate::rules::Rules;
use crate::sources::{self, MissingSource};
use crate::stat::Stat;
use crate::view::Views;

/// How to walk.
#[derive(Clone, Debug)]
pub struct WalkOptions {
    /// Number of listing threads, at least one.
    pub threads: usize,
    /// Do everything on the caller's thread; `threads` then means nothing.
    pub inline: bool,
    /// Keep mount points as entries but do not enter them, unless they are a source themselves.
    pub one_file_system: bool,
    /// Number of entries that may wait to be taken before the threads pause.
    pub buffered_entries_max: usize,
    /// Memory of the listings that wait before the threads pause, in bytes.
    pub buffered_bytes_max: usize,
    /// Name what the rules leave out in each listing, instead of only counting it.
    pub report_excluded: bool,
    /// Number of directories that keep a descriptor open.
    pub open_directories_max: usize,
    /// Folders that are read elsewhere, as snapshots of file systems are.
    pub views: Option<Arc<Views>>,
}

impl Default for WalkOptions {
    fn default() -> WalkOptions {
        WalkOptions {
            threads: 2,
            inline: false,
            one_file_system: false,
            buffered_entries_max: 64 * 1024,
            buffered_bytes_max: 16 << 20,
            report_excluded: false,
            open_directories_max: 128,
            views: None,
        }
    }
}

/// A walk under way. Dropping it stops the threads.
pub struct Walk {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    inline: Option<Lister>,
    root: (Arc<Directory>, Stat),
    missing: Vec<MissingSource>,
}

/// Work to do or done for one place in the order.
enum Node {
    Listed { task: Option<Task>, done: VecDeque<Listing>, finished: bool },
    Family(Family),
}

struct Plan {
    order: Order<Node>,
    buffered_entries: usize,
    buffered_bytes: usize,
    /// The buffer was full and has not become half empty since: a pause long enough to be worth it.
    full: bool,
    stopping: bool,
    failed: bool,
    idle_threads: usize,
}

struct Shared {
    plan: Mutex<Plan>,
    work: Condvar,
    ready: Condvar,
    rules: Arc<Rules>,
    options: WalkOptions,
}

impl Walk {
    /// Starts to walk from `/` to the sources and through everything in them.
    ///
    /// `sources` must be absolute and without symbolic links except in the last component, see
    /// [`crate::sources::absolute`]. Those that do not exist are in [`Walk::missing`]; the caller decides what
    /// that means. Fails if `/` cannot be opened or a thread cannot be started.
    pub fn start(sources: &[PathBuf], rules: Arc<Rules>, options: WalkOptions) -> io::Result<Walk> {
        let root = Directory::root_with(options.open_directories_max, options.views.clone());
        root.open()?;
        let stat = *root.found().expect("an opened directory was looked at");
        let (wanted, missing) = sources::resolve(&root, sources);
        let first = Task::root(root.clone(), wanted);
        let shared = Arc::new(Shared::new(first, rules, options));
        let mut walk = Walk { shared, threads: Vec::new(), inline: None, root: (root, stat), missing };
        if walk.shared.options.inline {
            walk.inline = Some(walk.shared.lister());
        } else {
            walk.start_threads()?;
        }
        Ok(walk)
    }

    fn start_threads(&mut self) -> io::Result<()> {
        for i in 0..self.shared.options.threads.max(1) {
            let shared = self.shared.clone();
            let thread = std::thread::Builder::new().name(format!("walk-{i}"));
            self.threads.push(thread.spawn(move || shared.work_until_done())?);
        }
        Ok(())
    }

    /// Returns `/` and its metadata: the one directory that is in no listing.
    pub fn root(&self) -> (&Arc<Directory>, &Stat) {
        (&self.root.0, &self.root.1)
    }

    /// Returns the sources that do not exist or cannot be reached.
    pub fn missing(&self) -> &[MissingSource] {
        &self.missing
    }

    /// Returns the next listing in order, `None` after the last one. Waits for the threads if needed.
    ///
    /// # Panics
    /// If a listing thread panicked.
    #[expect(
        clippy::should_implement_trait,
        reason = "a lending iterator in spirit; errors are in the listing"
    )]
    pub fn next(&mut self) -> Option<Listing> {
        loop {
            let mut plan = self.shared.lock();
            let was_full = plan.full;
            let step = plan.take_ready();
            plan.update_full(&self.shared.options);
            // Threads that pause are woken when it is worth it, or when there is nothing to hand out.
            let wake = was_full && !plan.full || matches!(step, Ready::NotYet);
            if wake && plan.idle_threads > 0 {
                self.shared.work.notify_all();
            }
            match step {
                Ready::Listing(listing) => return Some(listing),
                Ready::End => return None,
                Ready::NotYet => match &mut self.inline {
                    Some(lister) => {
                        drop(plan);
                        self.shared.work_once(lister);
                    }
                    None => self.shared.wait_for_threads(plan),
                },
            }
        }
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        if let Ok(mut plan) = self.shared.plan.lock() {
            plan.stopping = true;
        }
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            // A panic was already reported by `next`, and a destructor must not add another one.
            let _ = thread.join();
        }
    }
}

enum Ready {
    Listing(Listing),
    NotYet,
    End,
}

impl Plan {
    fn take_ready(&mut self) -> Ready {
        loop {
            let head = self.order.first(Of::Output);
            if head == NONE {
                return Ready::End;
            }
            let Node::Listed { done, finished, .. } = self.order.get(head) else { return Ready::NotYet };
            let (listing, over) = (done.pop_front(), *finished && done.is_empty());
            if over {
                self.order.unlink(Of::Output, head);
                self.order.release(head);
            }
            if let Some(listing) = listing {
                self.buffered_entries -= listing.entries.len();
                self.buffered_bytes -= listing.memory_bytes();
                return Ready::Listing(listing);
            }
            if !over {
                return Ready::NotYet;
            }
        }
    }

    fn update_full(&mut self, options: &WalkOptions) {
        let above = |part: usize| {
            self.buffered_entries * part > options.buffered_entries_max
                || self.buffered_bytes * part > options.buffered_bytes_max
        };
        self.full = if self.full { above(2) } else { above(1) };
    }

    /// Takes the first piece of work in output order, if it may be done now.
    fn take_work(&mut self, options: &WalkOptions) -> Option<(Place, Task)> {
        self.update_full(options);
        let mut at = self.order.first(Of::Work);
        while at != NONE {
            // What the caller waits for is done even if the buffer is full, or nothing would ever move.
            let may_start = !self.full || at == self.order.first(Of::Output);
            match self.order.get(at) {
                Node::Listed { task: None, .. } => at = self.order.after(Of::Work, at),
                _ if !may_start => return None,
                Node::Listed { task, .. } => return task.take().map(|task| (at, task)),
                Node::Family(_) => return Some(self.take_child(at, options)),
            }
        }
        None
    }

    fn take_child(&mut self, family_place: Place, options: &WalkOptions) -> (Place, Task) {
        let Node::Family(family) = self.order.get(family_place) else { unreachable!("asked for a family") };
        let task = family.take(options.one_file_system).expect("an empty family is taken out at once");
        let over = family.is_empty();
        let node = Node::Listed { task: None, done: VecDeque::new(), finished: false };
        let place = self.order.insert_before(family_place, node);
        if over {
            self.order.unlink(Of::Output, family_place);
            self.order.unlink(Of::Work, family_place);
            self.order.release(family_place);
        }
        (place, task)
    }

    /// Files what a task gave and says whether the caller of `next` may be waiting for it.
    fn complete(&mut self, place: Place, outcome: Outcome) -> bool {
        self.buffered_entries += outcome.listing.entries.len();
        self.buffered_bytes += outcome.listing.memory_bytes();
        let Node::Listed { task, done, finished } = self.order.get(place) else {
            unreachable!("only listed places are worked on")
        };
        done.push_back(outcome.listing);
        *task = outcome.more;
        if task.is_none() {
            *finished = true;
            if let Some(family) = outcome.family {
                self.order.insert_after(place, Node::Family(family));
            }
            self.order.unlink(Of::Work, place);
        }
        place == self.order.first(Of::Output)
    }

    fn is_all_done(&self) -> bool {
        self.order.first(Of::Work) == NONE
    }
}

impl Shared {
    fn new(first: Task, rules: Arc<Rules>, options: WalkOptions) -> Shared {
        let node = Node::Listed { task: Some(first), done: VecDeque::new(), finished: false };
        let plan = Plan {
            order: Order::starting_with(node),
            buffered_entries: 0,
            buffered_bytes: 0,
            full: false,
            stopping: false,
            failed: false,
            idle_threads: 0,
        };
        Shared { plan: Mutex::new(plan), work: Condvar::new(), ready: Condvar::new(), rules, options }
    }

    fn lister(&self) -> Lister {
        Lister::new(self.rules.clone(), self.options.report_excluded)
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().expect("no thread panics while it holds the plan")
    }

    fn wait_for_threads(&self, plan: MutexGuard<'_, Plan>) {
        let plan = self.ready.wait(plan).expect("no thread panics while it holds the plan");
        assert!(!plan.failed, "a thread of the walk panicked");
    }

    /// Does one piece of work on the caller's thread.
    fn work_once(&self, lister: &mut Lister) {
        let work = self.lock().take_work(&self.options);
        let (place, task) = work.expect("what the caller waits for can always be done");
        let outcome = lister.list(task);
        self.lock().complete(place, outcome);
    }

    fn work_until_done(&self) {
        let alarm = Alarm(self);
        let mut lister = self.lister();
        let mut plan = self.lock();
        while !plan.stopping && !plan.is_all_done() {
            let Some((place, task)) = plan.take_work(&self.options) else {
                plan.idle_threads += 1;
                plan = self.work.wait(plan).expect("no thread panics while it holds the plan");
                plan.idle_threads -= 1;
                continue;
            };
            drop(plan);
            let outcome = lister.list(task);
            plan = self.lock();
            if plan.complete(place, outcome) {
                self.ready.notify_one();
            }
            if plan.idle_threads > 0 {
                self.work.notify_one();
            }
        }
        drop(plan);
        self.work.notify_all();
        drop(alarm);
    }
}

/// Tells the caller of `next` when a thread dies, who would otherwise wait forever.
struct Alarm<'a>(&'a Shared);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            if let Ok(mut plan) = self.0.plan.lock() {
                plan.failed = true;
            }
            self.0.ready.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does all the work that may be done now, as threads would, and returns how many directories that were.
    fn work_ahead(shared: &Shared, lister: &mut Lister) -> usize {
        let mut done = 0;
        while let Some((place, task)) = { shared.lock().take_work(&shared.options) } {
            let outcome = lister.list(task);
            shared.lock().complete(place, outcome);
            done += 1;
        }
        done
    }

    #[test]
    fn reading_ahead_stops_at_the_limit_and_goes_on_when_half_is_taken() {
        let top = tempfile::tempdir().unwrap();
        for i in 0..400 {
            let folder = top.path().join(format!("{:03}", i % 100)).join(format!("{i}"));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("file"), b"").unwrap();
        }
        let path = top.path().canonicalize().unwrap();
        let root = Directory::root(8);
        let (wanted, _) = sources::resolve(&root, &[path]);
        let options = WalkOptions { buffered_entries_max: 150, ..WalkOptions::default() };
        let shared = Shared::new(Task::root(root, wanted), Arc::default(), options);
        let mut lister = shared.lister();
        let (mut total, mut taken, mut bursts) = (0, 0, Vec::new());
        loop {
            let done = work_ahead(&shared, &mut lister);
            if done > 0 {
                bursts.push(done);
            }
            total += done;
            let mut plan = shared.lock();
            // One directory may go beyond the limit; the largest here has a hundred entries.
            assert!(plan.buffered_entries <= 150 + 100, "{}", plan.buffered_entries);
            match plan.take_ready() {
                Ready::Listing(_) => taken += 1,
                Ready::End => break,
                Ready::NotYet => panic!("what is needed next must always be done"),
            }
        }
        assert_eq!(taken, total);
        assert!(bursts.len() < total / 10, "pauses must be worth it: {bursts:?}");
        let plan = shared.lock();
        assert_eq!((plan.buffered_entries, plan.buffered_bytes), (0, 0));
    }
}
