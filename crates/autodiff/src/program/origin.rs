//! `Origin`: the source line that a node was traced at; it belongs to no comparison and no file.

use core::fmt;
use core::hash::{Hash, Hasher};
use std::panic::Location;

/// The source line, where it is known.
#[derive(Clone, Copy, Default)]
pub struct Origin(pub(crate) Option<&'static Location<'static>>);

impl Origin {
    /// ` at file:line:column`, or nothing.
    pub fn text(self) -> String {
        self.0.map_or_else(String::new, |at| format!(" at {at}"))
    }
}

impl PartialEq for Origin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Origin {}

impl Hash for Origin {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().trim_start())
    }
}
