//! What a selective update holds on to: pins that stay where they satisfy what needs them.

use std::collections::BTreeSet;

use crate::model::{PackageName, PackageVersion};

/// The pins of one ecosystem and platform before an update that shall move some of them.
///
/// They are preferences, not constraints: a pin that nothing holds together with moves too.
#[derive(Debug)]
pub struct Keep<'a, P> {
    /// All pins of the lock for the platform.
    pub pins: &'a [&'a P],
    /// Those that shall move, by name.
    pub moving: &'a BTreeSet<PackageName>,
    /// Those of them that no source has any more: they are not chosen again.
    pub gone: &'a BTreeSet<(PackageName, PackageVersion)>,
    /// The version that what moves shall have, where it is one package and one version is asked for.
    pub precise: Option<&'a PackageVersion>,
}

// Derived, they would ask the same of the pins.
impl<P> Copy for Keep<'_, P> {}

impl<P> Clone for Keep<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}
