//! Executes windows: fetches each block once, writes what it holds, and then makes what has to come last.
//!
//! Blocks of files of this machine are read by the workers themselves; from elsewhere, fetchers keep several
//! requests for merged ranges in flight. Without threads the same happens on the caller's thread.

use super::Context;
use super::attributes::finish_folders;
use super::blocks::{make_others, write_block};
use super::fetch::{Fetch, Stored, fetch, plan_fetches};
use super::links::make_links;
use super::plan::Planner;
use super::tell::lock;
use super::window::{BlockRange, Window};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use repo::RepoResult;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// A window whose jobs are under way.
pub(super) struct Running {
    pub(super) window: Window,
    jobs: Mutex<usize>,
    all_done: Condvar,
}

/// Counts a job as under way until it is dropped, whatever happens to it.
pub(super) struct Ticket(pub(super) Arc<Running>);

impl Running {
    fn new(window: Window) -> Arc<Running> {
        Arc::new(Running { window, jobs: Mutex::new(0), all_done: Condvar::new() })
    }

    fn wait(&self) {
        let mut jobs = lock(&self.jobs);
        while *jobs > 0 {
            jobs = self.all_done.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Ticket {
    fn new(running: &Arc<Running>) -> Ticket {
        *lock(&running.jobs) += 1;
        Ticket(running.clone())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut jobs = lock(&self.0.jobs);
        *jobs -= 1;
        if *jobs == 0 {
            self.0.all_done.notify_all();
        }
    }
}

/// Work for a worker.
enum Job {
    /// Read a block and write what it holds.
    Block(Ticket, BlockRange),
    /// Write what fetched blocks hold.
    Stored(Stored),
    /// Make entries without contents.
    Others(Ticket, Range<u32>),
}

fn work(ctx: &Context<'_>, job: Job) {
    if ctx.tell.stopped() {
        return;
    }
    match job {
        Job::Block(ticket, range) => write_block(ctx, &ticket.0.window, range, None),
        Job::Others(ticket, range) => make_others(ctx, &ticket.0.window, range),
        Job::Stored(stored) => {
            for range in &stored.blocks {
                write_block(ctx, &stored.ticket.0.window, range.clone(), stored.bytes.as_ref());
            }
        }
    }
}

/// Executes the whole plan.
pub(super) fn execute(ctx: &Context<'_>, planner: &mut Planner<'_>) -> RepoResult<()> {
    if ctx.request.workers.0 == 0 {
        while let Some(window) = planner.next_window()? {
            execute_inline(ctx, window);
        }
        return Ok(());
    }
    std::thread::scope(|scope| {
        let (windows, planned) = bounded(0);
        let (fetches, to_fetch) = unbounded();
        let (jobs, to_do) = unbounded();
        // Fetched ranges wait for workers, not in memory.
        let (stored, to_write) = bounded(1);
        for _ in 0..ctx.request.workers.0 {
            let (to_do, to_write) = (to_do.clone(), to_write.clone());
            scope.spawn(move || worker(ctx, &to_do, &to_write));
        }
        let fetchers = if ctx.local { 0 } else { ctx.parallel_requests };
        for _ in 0..fetchers {
            let (to_fetch, stored): (Receiver<Fetch>, Sender<Job>) = (to_fetch.clone(), stored.clone());
            scope.spawn(move || {
                for wanted in &to_fetch {
                    if stored.send(Job::Stored(fetch(ctx, wanted))).is_err() {
                        return;
                    }
                }
            });
        }
        // Only the threads hold the queues: if all of them panic, nobody waits for what they would have done.
        drop((stored, to_fetch, to_do, to_write));
        let conductor = scope.spawn(move || conduct(ctx, &planned, &jobs, &fetches));
        let planned = send_windows(planner, &windows);
        drop(windows);
        if let Err(panic) = conductor.join() {
            std::panic::resume_unwind(panic);
        }
        planned
    })
}

fn send_windows(planner: &mut Planner<'_>, windows: &Sender<Window>) -> RepoResult<()> {
    while let Some(window) = planner.next_window()? {
        if windows.send(window).is_err() {
            break;
        }
    }
    Ok(())
}

/// Takes from both queues until both have ended.
fn worker(ctx: &Context<'_>, to_do: &Receiver<Job>, to_write: &Receiver<Job>) {
    let mut select = crossbeam_channel::Select::new();
    let first = select.recv(to_do);
    select.recv(to_write);
    let mut open = 2;
    while open > 0 {
        let ready = select.select();
        let index = ready.index();
        let queue = if index == first { to_do } else { to_write };
        match ready.recv(queue) {
            Ok(job) => work(ctx, job),
            Err(_) => {
                select.remove(index);
                open -= 1;
            }
        }
    }
}

/// Hands out windows and ends them: one is being ended while the next is being executed.
fn conduct(ctx: &Context<'_>, planned: &Receiver<Window>, jobs: &Sender<Job>, fetches: &Sender<Fetch>) {
    let mut before: Option<Arc<Running>> = None;
    for window in planned {
        let running = Running::new(window);
        hand_out(ctx, &running, jobs, fetches);
        if let Some(before) = before.replace(running) {
            before.wait();
            end_window(ctx, &before);
        }
    }
    if let Some(last) = before {
        last.wait();
        end_window(ctx, &last);
    }
}

fn hand_out(ctx: &Context<'_>, running: &Arc<Running>, jobs: &Sender<Job>, fetches: &Sender<Fetch>) {
    // Held until all are handed out, so that the window is not taken for done half-way.
    let all = Ticket::new(running);
    let closed = "the workers live as long as the conductor";
    if ctx.local {
        for range in running.window.blocks() {
            jobs.send(Job::Block(Ticket::new(running), range)).expect(closed);
        }
    } else {
        for wanted in plan_fetches(ctx, &running.window) {
            match wanted.range {
                Some(_) => fetches.send(Fetch { ticket: Ticket::new(running), wanted }).expect(closed),
                None => {
                    let stored = Stored { ticket: Ticket::new(running), bytes: None, blocks: wanted.blocks };
                    jobs.send(Job::Stored(stored)).expect(closed);
                }
            }
        }
    }
    for range in running.window.portions() {
        jobs.send(Job::Others(Ticket::new(running), range)).expect(closed);
    }
    drop(all);
}

/// Makes what has to come after everything else of the window.
fn end_window(ctx: &Context<'_>, running: &Running) {
    if !ctx.tell.stopped() {
        make_links(ctx, &running.window.links);
    }
    // Also after a stop: what was begun is left as it was meant to be, as far as it goes.
    if !ctx.request.dry_run {
        finish_folders(ctx, &running.window.finished);
    }
}

/// Does all of a window on this thread.
pub(super) fn execute_inline(ctx: &Context<'_>, window: Window) {
    let running = Running::new(window);
    for range in running.window.blocks() {
        work(ctx, Job::Block(Ticket::new(&running), range));
    }
    for range in running.window.portions() {
        work(ctx, Job::Others(Ticket::new(&running), range));
    }
    end_window(ctx, &running);
}
