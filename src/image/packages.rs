//! What the databases in a root filesystem call its files: dpkg's lists, the RECORD of a Python distribution, the folders of
//! npm. Names and lines only; who reads them decides what they mean.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// dpkg's database.
pub(super) const DPKG: &str = "var/lib/dpkg";
/// Where dpkg keeps its files about each package.
pub(super) const DPKG_INFO: &str = "var/lib/dpkg/info";
const NODE_MODULES: &str = "node_modules";

/// `a/b.py` of `a/__pycache__/b.cpython-313.pyc` (PEP 3147).
pub fn python_source(path: &Path) -> Option<PathBuf> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".pyc")?.split('.').next()?;
    let folder = path.parent()?;
    (folder.file_name()? == "__pycache__").then(|| folder.with_file_name(format!("{stem}.py")))
}

/// The first field of a line of RECORD (a CSV file), unquoted.
pub(super) fn record_path(line: &[u8]) -> &[u8] {
    match line.strip_prefix(b"\"") {
        Some(quoted) => quoted.split(|byte| *byte == b'"').next().unwrap_or_default(),
        None => line.split(|byte| *byte == b',').next().unwrap_or_default(),
    }
}

/// A path relative to a directory, which may go upwards.
pub(super) fn joined(directory: &Path, relative: &[u8]) -> Option<PathBuf> {
    if relative.is_empty() {
        return None;
    }
    let mut path = directory.to_owned();
    for part in Path::new(OsStr::from_bytes(relative)).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::ParentDir => path.pop().then_some(())?,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => path = PathBuf::new(),
        }
    }
    Some(path)
}

/// The distribution whose RECORD this is, by its normalised name (PEP 503).
pub(super) fn distribution(record: &Path) -> Option<String> {
    let info = record.parent().filter(|_| record.file_name() == Some(OsStr::new("RECORD")))?;
    let (name, _version) = info.file_name()?.to_str()?.strip_suffix(".dist-info")?.split_once('-')?;
    Some(name.replace(['_', '.'], "-").to_lowercase())
}

/// The outermost package of a path below the first `node_modules` in it.
pub(super) fn outermost_npm_package(path: &Path) -> Option<String> {
    let mut parts = path.components().map(|part| part.as_os_str().to_str().unwrap_or_default());
    parts.find(|part| *part == NODE_MODULES)?;
    match (parts.next()?, parts.next()) {
        (scope, Some(name)) if scope.starts_with('@') => Some(format!("{scope}/{name}")),
        (name, _) if name.starts_with(['.', '@']) => None,
        (name, _) => Some(name.to_owned()),
    }
}

/// The package of one of dpkg's files in `info`: `libc6` of `libc6:amd64.list`.
pub(super) fn dpkg_info_package(file: &str) -> Option<&str> {
    let (name, _kind) = file.rsplit_once('.')?;
    name.split(':').next()
}

/// Each package of a dpkg status file with its source package.
pub(super) fn dpkg_sources(status: &str) -> impl Iterator<Item = (&str, &str)> {
    status.split("\n\n").filter_map(|paragraph| {
        let field = |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let package = field("Package:")?;
        let source = field("Source:").and_then(|source| source.split_whitespace().next());
        Some((package, source.unwrap_or(package)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_npm_is_of_the_package_that_brings_it() {
        let name = |path: &str| outermost_npm_package(Path::new(path));
        assert_eq!(name("usr/lib/node_modules/a/node_modules/@s/b/x.js").as_deref(), Some("a"));
        assert_eq!(name("usr/lib/node_modules/@s/b/node_modules/c").as_deref(), Some("@s/b"));
        assert_eq!(name("usr/lib/node_modules/a").as_deref(), Some("a"));
        for none in
            ["usr/lib/node_modules/.package-lock.json", "usr/lib/node_modules/.bin/x", "usr/lib/node_modules/@s"]
        {
            assert_eq!(name(none), None, "{none}");
        }
        assert_eq!(name("usr/lib/a"), None);
    }

    #[test]
    fn a_distribution_has_one_name() {
        let name = |path: &str| distribution(Path::new(path));
        assert_eq!(name("s/Zope.Interface_X-5.0.dist-info/RECORD").as_deref(), Some("zope-interface-x"));
        assert_eq!((name("s/a-1.dist-info/METADATA"), name("s/a/RECORD")), (None, None));
    }

    #[test]
    fn a_package_without_a_source_is_its_own() {
        let status = "Package: libc6\nSource: glibc (2.41-12)\nVersion: 2.41-12\n\nPackage: git\nStatus: x\n\nOdd: y\n";
        assert_eq!(dpkg_sources(status).collect::<Vec<_>>(), [("libc6", "glibc"), ("git", "git")]);
        assert_eq!(dpkg_info_package("libpython3.13-minimal:amd64.postinst"), Some("libpython3.13-minimal"));
        assert_eq!(dpkg_info_package("format"), None);
    }
}
