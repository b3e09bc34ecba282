//! SIGINT and SIGTERM: the first one asks the run to end soon and well, the second one ends it.

use crate::error::Exit;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the user wants to stop.
#[derive(Clone, Default)]
pub(crate) struct Cancel {
    interrupted: Arc<AtomicBool>,
    terminated: Arc<AtomicBool>,
}

impl Cancel {
    /// Begins to listen.
    pub(crate) fn listen() -> io::Result<Self> {
        let cancel = Cancel::default();
        for (signal, asked) in [(SIGINT, &cancel.interrupted), (SIGTERM, &cancel.terminated)] {
            // Registered first, so that it looks at the flag before the line below sets it.
            flag::register_conditional_default(signal, asked.clone())?;
            flag::register(signal, asked.clone())?;
        }
        Ok(cancel)
    }

    /// Whether a signal came.
    pub(crate) fn is_set(&self) -> bool {
        self.exit().is_some()
    }

    /// How the program ends because of it.
    pub(crate) fn exit(&self) -> Option<Exit> {
        if self.interrupted.load(Ordering::Relaxed) {
            Some(Exit::Interrupted)
        } else {
            self.terminated.load(Ordering::Relaxed).then_some(Exit::Terminated)
        }
    }
}
