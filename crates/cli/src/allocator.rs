//! Keeps the memory allocator from holding many times what the program asked for.
//!
//! glibc gives every thread that meets another one in the allocator a heap of its own, up to eight for each
//! processor, and memory freed in one is not used by the others. The stages of a backup hand buffers from
//! thread to thread, so the heaps filled one after the other: with one for each processor (two at least) the
//! first backup of the Linux source on two processors takes 110 MiB in place of 131 at its peak, and 6 % less
//! time. (`mallopt(3)`, `M_ARENA_MAX`.)
//!
//! It also takes what was once freed as a sign that such sizes come from a heap from then on, up to 32 MiB: whole
//! packs, whose holes stay. With a fixed bound they are mapped and given back at once, and the same backup
//! over S3 takes 137 MiB in place of 170 (`M_MMAP_THRESHOLD`).

/// Longer allocations are mapped: packs on their way to a distant place, not the blocks of which they are made,
/// whose pages would be cleared again each time.
#[cfg(target_env = "gnu")]
const MAPPED_FROM_BYTES: libc::c_int = 4 << 20;

/// To be called before the first thread begins.
#[cfg(target_env = "gnu")]
pub(crate) fn settle() {
    let heaps = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 16));
    // SAFETY: mallopt only sets numbers, and no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, heaps as libc::c_int);
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM_BYTES);
    }
}

/// Other C libraries have one heap.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn settle() {}
