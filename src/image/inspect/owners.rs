//! Which package each path of an image is of, by what the image itself says: dpkg's database, the folders of npm, the
//! RECORD of each Python distribution.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::files::ImageFiles;
use crate::image::packages::{DPKG, DPKG_INFO, joined, python_source, record_path};

/// Where images without dpkg itself keep its database, one package a file.
const DPKG_PARTS: &str = "var/lib/dpkg/status.d";

/// Whether a file lists what a package owns, or names packages.
pub(super) fn is_document(path: &Path) -> bool {
    let name = path.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
    let parent = path.parent().unwrap_or(Path::new(""));
    (parent == Path::new(DPKG_INFO) && name.ends_with(b".list"))
        || parent == Path::new(DPKG_PARTS)
        || path == Path::new(DPKG).join("status")
        || (name == b"RECORD" && parent.extension() == Some(OsStr::new("dist-info")))
}

/// The packages that some paths of an image are of: `apt:git 1:2.47.3-0+deb13u1`, `npm:shout`, `pip:sums 3.1`.
#[derive(Debug, Default)]
pub struct Owners {
    owners: BTreeMap<PathBuf, String>,
}

impl Owners {
    /// Looks up the owners of the paths given.
    pub fn of<'a>(files: &ImageFiles, paths: impl Iterator<Item = &'a Path>) -> Self {
        let mut wanted: BTreeMap<PathBuf, BTreeSet<PathBuf>> = BTreeMap::new();
        for path in paths {
            for known_as in aliases(path) {
                wanted.entry(known_as).or_default().insert(path.to_owned());
            }
        }
        let mut owners = Self::default();
        owners.npm(&wanted);
        owners.pip(files, &wanted);
        owners.dpkg(files, &wanted);
        owners
    }

    /// The owner of a path, if it has one.
    pub fn get(&self, path: &Path) -> Option<&str> {
        self.owners.get(path).map(String::as_str)
    }

    fn set(&mut self, wanted: &BTreeMap<PathBuf, BTreeSet<PathBuf>>, listed: &Path, owner: &str) {
        for path in wanted.get(listed).into_iter().flatten() {
            self.owners.insert(path.clone(), owner.to_owned());
        }
    }

    fn npm(&mut self, wanted: &BTreeMap<PathBuf, BTreeSet<PathBuf>>) {
        for path in wanted.values().flatten() {
            if let Some(name) = npm_name(path) {
                self.owners.insert(path.clone(), format!("npm:{name}"));
            }
        }
    }

    fn pip(&mut self, files: &ImageFiles, wanted: &BTreeMap<PathBuf, BTreeSet<PathBuf>>) {
        for (path, text) in documents(files) {
            let (Some(info), Some("RECORD")) = (path.parent(), path.file_name().and_then(OsStr::to_str)) else {
                continue;
            };
            let named = info.file_name().and_then(OsStr::to_str).and_then(|name| name.strip_suffix(".dist-info"));
            let Some((name, version)) = named.and_then(|named| named.split_once('-')) else { continue };
            let owner = format!("pip:{} {version}", name.replace(['_', '.'], "-").to_lowercase());
            let site = info.parent().unwrap_or(Path::new(""));
            for line in text.split(|byte| *byte == b'\n') {
                if let Some(listed) = joined(site, record_path(line)) {
                    self.set(wanted, &listed, &owner);
                }
            }
        }
    }

    /// dpkg last: what it lists is its own, also below a folder of npm or Python.
    fn dpkg(&mut self, files: &ImageFiles, wanted: &BTreeMap<PathBuf, BTreeSet<PathBuf>>) {
        let versions = versions(files);
        for (path, text) in documents(files) {
            let parent = path.parent().unwrap_or(Path::new(""));
            let Some(file) = path.file_name().and_then(OsStr::to_str) else { continue };
            let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            let (name, listed): (&str, Vec<&[u8]>) = if parent == Path::new(DPKG_INFO) {
                (file.strip_suffix(".list").unwrap_or(file), lines.collect())
            } else if let (true, Some(name)) = (parent == Path::new(DPKG_PARTS), file.strip_suffix(".md5sums")) {
                (name, lines.filter_map(|line| line.get(34..)).collect())
            } else {
                continue;
            };
            let name = name.split(':').next().unwrap_or(name);
            let owner = match versions.get(name) {
                Some(version) => format!("apt:{name} {version}"),
                None => format!("apt:{name}"),
            };
            for listed in listed {
                let listed = Path::new(OsStr::from_bytes(listed));
                let listed = listed.strip_prefix("/").unwrap_or(listed);
                // Most directories are of many packages.
                if !files.paths.get(listed).is_some_and(|record| record.kind == super::RecordKind::Directory) {
                    self.set(wanted, listed, &owner);
                }
            }
            self.own_files(wanted, name, &owner);
        }
    }

    /// dpkg's own files about a package.
    fn own_files(&mut self, wanted: &BTreeMap<PathBuf, BTreeSet<PathBuf>>, name: &str, owner: &str) {
        let start = Path::new(DPKG_INFO).join(name);
        let of_it = |path: &Path| {
            let rest = path.as_os_str().as_bytes().strip_prefix(start.as_os_str().as_bytes());
            rest.is_some_and(|rest| rest.starts_with(b".") || rest.starts_with(b":"))
        };
        let paths: Vec<PathBuf> = wanted
            .range(start.clone()..)
            .map(|(path, _)| path)
            .take_while(|path| path.as_os_str().as_bytes().starts_with(start.as_os_str().as_bytes()))
            .filter(|path| of_it(path))
            .cloned()
            .collect();
        for path in paths {
            self.set(wanted, &path, owner);
        }
    }
}

fn documents(files: &ImageFiles) -> impl Iterator<Item = (&Path, &[u8])> {
    files.paths.iter().filter_map(|(path, record)| Some((path.as_path(), record.document.as_deref()?)))
}

/// What a database may call a path: the path itself, without `usr/` where `/bin` and `/lib` are links into it, and the
/// source of a byte-compiled Python file.
fn aliases(path: &Path) -> Vec<PathBuf> {
    let mut names = vec![path.to_owned()];
    names.extend(python_source(path));
    let merged = |path: &PathBuf| {
        let below = path.strip_prefix("usr").ok()?;
        let first = below.components().next()?.as_os_str().as_bytes();
        (first == b"bin" || first == b"sbin" || first.starts_with(b"lib")).then(|| below.to_owned())
    };
    let without_usr: Vec<PathBuf> = names.iter().filter_map(merged).collect();
    names.extend(without_usr);
    names
}

/// The innermost package of a path below `node_modules`.
fn npm_name(path: &Path) -> Option<String> {
    let parts: Vec<&str> = path.components().map(|part| part.as_os_str().to_str().unwrap_or_default()).collect();
    let last = parts.iter().rposition(|part| *part == "node_modules")?;
    match (parts.get(last + 1)?, parts.get(last + 2)) {
        (scope, Some(name)) if scope.starts_with('@') => Some(format!("{scope}/{name}")),
        (name, _) if name.starts_with(['.', '@']) => None,
        (name, _) => Some((*name).to_owned()),
    }
}

/// The versions of dpkg's packages.
fn versions(files: &ImageFiles) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    let is_status = |path: &Path| {
        path == Path::new(DPKG).join("status")
            || (path.parent() == Some(Path::new(DPKG_PARTS)) && path.extension() != Some(OsStr::new("md5sums")))
    };
    for (_, text) in documents(files).filter(|(path, _)| is_status(path)) {
        for paragraph in String::from_utf8_lossy(text).split("\n\n") {
            let field = |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            if let (Some(name), Some(version)) = (field("Package:"), field("Version:")) {
                versions.insert(name.to_owned(), version.to_owned());
            }
        }
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_paths() {
        let name = |path: &str| npm_name(Path::new(path));
        assert_eq!(name("usr/lib/node_modules/a/node_modules/@s/b/x.js").as_deref(), Some("@s/b"));
        assert_eq!(name("usr/lib/node_modules/a/x.js").as_deref(), Some("a"));
        assert_eq!(name("usr/lib/node_modules/.package-lock.json"), None);
        assert_eq!(name("usr/lib/node_modules/@s"), None);
        assert_eq!(name("usr/lib/a"), None);
    }

    #[test]
    fn a_path_may_be_known_otherwise() {
        let names = |path: &str| -> Vec<String> {
            aliases(Path::new(path)).iter().map(|path| path.display().to_string()).collect()
        };
        assert_eq!(names("usr/bin/ls"), ["usr/bin/ls", "bin/ls"]);
        assert_eq!(names("usr/share/x"), ["usr/share/x"]);
        assert_eq!(
            names("opt/v/__pycache__/a.cpython-313.opt-1.pyc"),
            ["opt/v/__pycache__/a.cpython-313.opt-1.pyc", "opt/v/a.py"]
        );
    }

    #[test]
    fn lines_of_record_lead_out_of_their_folder() {
        let at = |line: &str| joined(Path::new("opt/v/lib/site-packages"), record_path(line.as_bytes()));
        assert_eq!(at("../../bin/tool,sha256=x,1"), Some("opt/v/bin/tool".into()));
        assert_eq!(at("\"a, b.py\",,"), Some("opt/v/lib/site-packages/a, b.py".into()));
        assert_eq!(at(""), None);
        assert_eq!(at("../../../../../x,,"), None);
    }
}
