//! The dpkg database of packages that were unpacked and not configured (dpkg, doc/spec and lib/dpkg).

use std::collections::BTreeMap;

use super::deb::Deb;
use super::error::AptAssembleError;
use super::tree::Tree;

/// Interests in triggers, gathered over packages in the order of unpacking.
#[derive(Debug, Default)]
struct Triggers {
    /// The file `triggers/File`: a path and a package in each line.
    files: String,
    /// The files `triggers/NAME`: a package in each line.
    named: BTreeMap<String, String>,
}

/// Puts the database of `unpacked` (packages with their index in the tree) into the tree.
pub(super) fn put_database(tree: &mut Tree, unpacked: &[(&Deb, usize)]) -> Result<(), AptAssembleError> {
    for part in ["", "/info", "/updates", "/triggers", "/alternatives", "/parts"] {
        tree.ensure_directory(&format!("var/lib/dpkg{part}"), 0o755);
    }
    let mut stanzas = BTreeMap::new();
    for &(deb, index) in unpacked {
        let known = tree.package(index);
        let stanza = deb.control.render_status("install ok unpacked", &known.conffiles);
        let mut list = known.list.join(&b'\n');
        list.push(b'\n');
        stanzas.insert((deb.name.as_str(), deb.architecture.as_str()), stanza);
        let sums = known.md5sums.clone();
        let id = deb.id();
        tree.put_file(&format!("var/lib/dpkg/info/{id}.list"), 0o644, list);
        if let Some(sums) = sums {
            tree.put_file(&format!("var/lib/dpkg/info/{id}.md5sums"), 0o644, sums);
        }
        for (name, file) in deb.files.iter().filter(|(name, _)| *name != "control") {
            tree.put_file(&format!("var/lib/dpkg/info/{id}.{name}"), file.mode & 0o777, file.bytes.clone());
        }
    }
    let stanzas: String = stanzas.into_values().map(|stanza| stanza + "\n").collect();
    tree.put_file("var/lib/dpkg/status", 0o644, stanzas.into_bytes());
    tree.put_file("var/lib/dpkg/info/format", 0o644, b"1\n".to_vec());
    put_triggers(tree, unpacked)
}

fn put_triggers(tree: &mut Tree, unpacked: &[(&Deb, usize)]) -> Result<(), AptAssembleError> {
    let mut triggers = Triggers::default();
    for (deb, _) in unpacked {
        triggers.add(deb)?;
    }
    let Triggers { files, named } = triggers;
    if !files.is_empty() {
        tree.put_file("var/lib/dpkg/triggers/File", 0o644, files.into_bytes());
    }
    for (name, packages) in named {
        tree.put_file(&format!("var/lib/dpkg/triggers/{name}"), 0o644, packages.into_bytes());
    }
    // Only what is installed can be triggered; on an empty root nothing is.
    tree.put_file("var/lib/dpkg/triggers/Unincorp", 0o644, Vec::new());
    Ok(())
}

impl Triggers {
    /// Reads the control file `triggers` (deb-triggers(5)).
    fn add(&mut self, deb: &Deb) -> Result<(), AptAssembleError> {
        let Some(file) = deb.files.get("triggers") else { return Ok(()) };
        let text = String::from_utf8_lossy(&file.bytes);
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let unknown = || AptAssembleError::Unsupported {
                package: deb.name.clone(),
                why: format!("its control file `triggers` has the line `{}`", crate::base::text::sanitize(line)),
            };
            let (directive, name) = line.split_once(|c: char| c.is_ascii_whitespace()).ok_or_else(unknown)?;
            let name = name.trim();
            if !is_trigger_name(name) {
                return Err(unknown());
            }
            let noawait = directive.ends_with("-noawait");
            match directive {
                "interest" | "interest-await" | "interest-noawait" => self.add_interest(name, deb, noawait),
                "activate" | "activate-await" | "activate-noawait" => {}
                _ => return Err(unknown()),
            }
        }
        Ok(())
    }

    fn add_interest(&mut self, name: &str, deb: &Deb, noawait: bool) {
        let id = deb.id();
        let option = if noawait { "/noawait" } else { "" };
        if name.starts_with('/') {
            self.files.push_str(&format!("{name} {id}{option}\n"));
        } else {
            self.named.entry(name.to_owned()).or_default().push_str(&format!("{id}{option}\n"));
        }
    }
}

/// An absolute path, or a name that is a file name below `triggers/` (dpkg, lib/dpkg/triglib.c).
fn is_trigger_name(name: &str) -> bool {
    let printable = name.bytes().all(|byte| byte.is_ascii_graphic());
    let plain = || {
        name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-+.".contains(&byte))
            && !matches!(name, "File" | "Unincorp" | "Lock")
    };
    printable && (name.starts_with('/') || plain())
}
