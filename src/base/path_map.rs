//! A map by path in the order of `Path`, whose components come one by one, at the cost of comparing bytes: roots of an image
//! are asked for paths millions of times.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Values by path, in the order of their components. Paths are as [`untar`](super::untar) gives them: one slash between names,
/// none at the ends, and no `.` or `..`.
#[derive(Clone, Debug)]
pub struct PathMap<V, P: AsRef<Path> = PathBuf>(BTreeMap<Key<P>, V>);

#[derive(Clone, Debug)]
struct Key<P>(P);

/// What keys are compared by, owned or not.
trait Bytes {
    fn bytes(&self) -> &[u8];
}

impl<P: AsRef<Path>> Bytes for Key<P> {
    fn bytes(&self) -> &[u8] {
        self.0.as_ref().as_os_str().as_bytes()
    }
}

impl<'a, P: AsRef<Path> + 'a> Borrow<dyn Bytes + 'a> for Key<P> {
    fn borrow(&self) -> &(dyn Bytes + 'a) {
        self
    }
}

impl Ord for dyn Bytes + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self.bytes(), other.bytes())
    }
}

impl PartialOrd for dyn Bytes + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Bytes + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for dyn Bytes + '_ {}

impl<P: AsRef<Path>> Ord for Key<P> {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self.bytes(), other.bytes())
    }
}

impl<P: AsRef<Path>> PartialOrd for Key<P> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<P: AsRef<Path>> PartialEq for Key<P> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl<P: AsRef<Path>> Eq for Key<P> {}

/// A slash ends a name, so it comes before every byte that goes on with one.
fn compare(one: &[u8], other: &[u8]) -> Ordering {
    match one.iter().zip(other).find(|(one, other)| one != other) {
        None => one.len().cmp(&other.len()),
        Some((b'/', _)) => Ordering::Less,
        Some((_, b'/')) => Ordering::Greater,
        Some((one, other)) => one.cmp(other),
    }
}

impl<V, P: AsRef<Path>> Default for PathMap<V, P> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<V, P: AsRef<Path>> PathMap<V, P> {
    /// What is kept for a path.
    pub fn get(&self, path: &Path) -> Option<&V> {
        self.0.get(&Key(path) as &dyn Bytes)
    }

    /// Whether something is kept for a path.
    pub fn contains(&self, path: &Path) -> bool {
        self.get(path).is_some()
    }

    /// Keeps a value, and gives the one that it takes the place of.
    pub fn insert(&mut self, path: P, value: V) -> Option<V> {
        self.0.insert(Key(path), value)
    }

    /// Takes a value out.
    pub fn remove(&mut self, path: &Path) -> Option<V> {
        self.0.remove(&Key(path) as &dyn Bytes)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&P, &V)> {
        self.0.iter().map(|(key, value)| (&key.0, value))
    }

    /// All that come after a path: those below it first.
    pub fn after<'a>(&'a self, path: &Path) -> impl Iterator<Item = (&'a P, &'a V)> + use<'a, V, P> {
        let start = Key(path);
        let range = (Bound::Excluded(&start as &dyn Bytes), Bound::Unbounded);
        self.0.range::<dyn Bytes, _>(range).map(|(key, value)| (&key.0, value))
    }
}

impl<V, P: AsRef<Path>> Extend<(P, V)> for PathMap<V, P> {
    fn extend<T: IntoIterator<Item = (P, V)>>(&mut self, items: T) {
        self.0.extend(items.into_iter().map(|(path, value)| (Key(path), value)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_order_is_that_of_paths(one in "[-a/\u{1}~]{0,8}", other in "[-a/\u{1}~]{0,8}") {
            let plain = |text: &str| text.split('/').filter(|name| !name.is_empty()).collect::<Vec<_>>().join("/");
            let (one, other) = (plain(&one), plain(&other));
            prop_assert_eq!(compare(one.as_bytes(), other.as_bytes()), Path::new(&one).cmp(Path::new(&other)));
        }
    }

    #[test]
    fn what_comes_after_a_path_is_below_it_first() {
        let mut map = PathMap::default();
        map.extend(["a", "a-b", "a/b", "a/b/c", "b"].map(|path| (PathBuf::from(path), ())));
        let after =
            |path: &str| map.after(Path::new(path)).map(|(path, ())| path.display().to_string()).collect::<Vec<_>>();
        assert_eq!(after("a"), ["a/b", "a/b/c", "a-b", "b"]);
        assert_eq!(after(""), ["a", "a/b", "a/b/c", "a-b", "b"]);
    }
}
