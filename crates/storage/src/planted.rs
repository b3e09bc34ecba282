//! Bugs that are there on purpose, one at a time, to prove that the simulation would find them.
//!
//! Without the cargo feature `planted`, which nothing but the testkit asks for, [`is`] is `false` for every
//! name and the program contains none of this.

/// Whether the bug of this name is to be there.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub const fn is(_name: &str) -> bool {
    false
}

#[cfg(feature = "planted")]
pub use chosen::{MARKER, choose, is};

#[cfg(feature = "planted")]
mod chosen {
    use std::sync::{PoisonError, RwLock};

    /// Found in every program that was built with planted bugs, and in no other.
    #[used]
    pub static MARKER: [u8; 30] = *b"lifeboat with planted bugs in!";

    static CHOSEN: RwLock<Option<String>> = RwLock::new(None);

    /// Plants a bug for the whole process, or none.
    pub fn choose(name: Option<&str>) {
        *CHOSEN.write().unwrap_or_else(PoisonError::into_inner) = name.map(str::to_owned);
    }

    /// Whether the bug of this name is to be there.
    pub fn is(name: &str) -> bool {
        CHOSEN.read().unwrap_or_else(PoisonError::into_inner).as_deref() == Some(name)
    }
}
