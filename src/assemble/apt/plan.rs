//! What the script `configure` is to do, in order: preinsts, configuring what they need, packages left to dpkg.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::deb::Deb;

/// The packages of a set and who provides what.
struct Closures<'a> {
    debs: &'a [Deb],
    by_name: BTreeMap<&'a str, usize>,
    providers: BTreeMap<String, Vec<usize>>,
}

impl<'a> Closures<'a> {
    fn new(debs: &'a [Deb]) -> Self {
        let by_name = debs.iter().enumerate().map(|(index, deb)| (deb.name.as_str(), index)).collect();
        let mut providers: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, deb) in debs.iter().enumerate() {
            for relation in deb.control.relations("Provides").into_iter().flatten() {
                providers.entry(relation.name).or_default().push(index);
            }
        }
        Self { debs, by_name, providers }
    }

    /// The packages that fulfil a field of `index`, the first alternative that is there in each group.
    fn direct(&self, index: usize, field: &str) -> Vec<usize> {
        let groups = self.debs[index].control.relations(field);
        let find = |name: &str| {
            self.by_name.get(name).copied().or_else(|| self.providers.get(name).and_then(|all| all.first().copied()))
        };
        groups.iter().filter_map(|group| group.iter().find_map(|relation| find(&relation.name))).collect()
    }

    /// These packages and all that they depend on, within the set.
    fn closure(&self, start: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
        let mut waiting: Vec<usize> = start.into_iter().collect();
        let mut closure = BTreeSet::new();
        while let Some(index) = waiting.pop() {
            if closure.insert(index) {
                waiting.extend(["Pre-Depends", "Depends"].iter().flat_map(|field| self.direct(index, field)));
            }
        }
        closure
    }
}

/// The packages marked `Essential: yes` and all that they depend on, by index.
pub(super) fn essential_closure(debs: &[Deb]) -> BTreeSet<usize> {
    let is_essential = |index: &usize| debs[*index].control.get("Essential") == Some("yes");
    Closures::new(debs).closure((0..debs.len()).filter(is_essential))
}

struct Writer<'a> {
    closures: Closures<'a>,
    deferred: &'a BTreeMap<usize, String>,
    visited: BTreeSet<usize>,
    configured: BTreeSet<usize>,
    text: String,
}

/// Writes the plan. `debs` are in the order of unpacking; `deferred` has the file names of those that dpkg unpacks itself.
///
/// The `essential` packages, none of which is deferred, come first and whole, because every script may rely on them (Debian Policy 3.8). After that a
/// preinst may rely on the package's `Pre-Depends` being configured (Policy 7.2), and on no more.
pub(super) fn render_plan(debs: &[Deb], deferred: &BTreeMap<usize, String>, essential: &BTreeSet<usize>) -> String {
    let mut writer = Writer {
        closures: Closures::new(debs),
        deferred,
        visited: essential.clone(),
        configured: BTreeSet::new(),
        text: String::new(),
    };
    for &index in essential {
        writer.preinst(index);
    }
    writer.configure(essential);
    let (last, first): (Vec<usize>, Vec<usize>) = (0..debs.len()).partition(|index| deferred.contains_key(index));
    for index in first.into_iter().filter(|index| debs[*index].files.contains_key("preinst")).chain(last) {
        writer.visit(index);
    }
    writer.text
}

/// Makes one action of those that unpack one file after the other, with the files' whole paths.
pub(super) fn join_unpacking(plan: &str, directory: &str) -> String {
    let mut joined = String::new();
    let mut is_unpacking = false;
    for line in plan.lines() {
        let file = line.strip_prefix("unpack ");
        match (file, is_unpacking) {
            (Some(file), true) => joined.push_str(&format!(" {directory}/{file}")),
            (Some(file), false) => joined.push_str(&format!("\nunpack {directory}/{file}")),
            (None, _) => joined.push_str(&format!("\n{line}")),
        }
        is_unpacking = file.is_some();
    }
    let joined = joined.trim_start();
    if joined.is_empty() { String::new() } else { format!("{joined}\n") }
}

impl Writer<'_> {
    fn visit(&mut self, index: usize) {
        if !self.visited.insert(index) {
            return;
        }
        let mut needed = self.closures.closure(self.closures.direct(index, "Pre-Depends"));
        needed.remove(&index);
        for &other in &needed {
            if !self.configured.contains(&other) {
                self.visit(other);
            }
        }
        self.configure(&needed);
        match self.deferred.get(&index) {
            Some(file) => {
                writeln!(self.text, "unpack {file}").ok();
            }
            None => self.preinst(index),
        }
    }

    fn configure(&mut self, packages: &BTreeSet<usize>) {
        let new: Vec<String> = packages
            .iter()
            .filter(|index| !self.configured.contains(index))
            .map(|index| self.closures.debs[*index].id())
            .collect();
        if !new.is_empty() {
            writeln!(self.text, "configure {}", new.join(" ")).ok();
        }
        self.configured.extend(packages);
    }

    fn preinst(&mut self, index: usize) {
        let deb = &self.closures.debs[index];
        if deb.files.contains_key("preinst") {
            let files: Vec<&str> = deb.files.keys().map(String::as_str).filter(|name| *name != "control").collect();
            writeln!(self.text, "preinst {} {} {} {}", deb.id(), deb.name, deb.architecture, files.join(",")).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::join_unpacking;

    #[test]
    fn what_is_unpacked_in_a_row_is_one_action() {
        let plan = "unpack a.deb\nunpack b.deb\nconfigure x\nunpack c.deb\n";
        assert_eq!(join_unpacking(plan, "/d"), "unpack /d/a.deb /d/b.deb\nconfigure x\nunpack /d/c.deb\n");
        assert_eq!(join_unpacking("", "/d"), "");
    }

    #[test]
    fn the_script_has_the_line_that_bases_change() {
        use super::super::{CONFIGURE, UNPACK_ONE};
        assert_eq!(CONFIGURE.matches(UNPACK_ONE).count(), 1);
    }
}
