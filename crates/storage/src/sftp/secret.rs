//! A password or passphrase: wiped when dropped, never printed.

use zeroize::Zeroizing;

/// A password or passphrase. It has no `Debug` and no `Display`.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over; copies made before are the caller's to wipe.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}
