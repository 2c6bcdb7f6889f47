//! The project's own files: every one below `context/`, with the modes that the image will see, whatever the host's are.

mod error;

use std::collections::BTreeMap;
use std::fs::{File, FileType, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

pub use error::FilesError;

use crate::base::fs::{FsError, sorted_entries};
use crate::base::text::{nearest, sanitize};
use crate::model::Sha256;
use crate::template::Copy;

/// One entry of the context directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProjectFile {
    /// A directory, mode 0755.
    Directory,
    /// A regular file; mode 0755 where its owner may execute it and 0644 elsewhere.
    Regular {
        /// Where it is on this machine.
        location: PathBuf,
        /// 0o755 or 0o644.
        mode: u32,
        /// Its content's digest.
        digest: Sha256,
        /// Its size in bytes.
        size: u64,
    },
    /// A symbolic link that stays inside.
    Link(String),
}

/// The project's own files, found to be fit for an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Project {
    /// Path below `context/` → entry, sorted.
    pub files: BTreeMap<String, ProjectFile>,
    /// The paths in the image that COPY instructions fill, sorted: what belongs to the layer of files.
    pub roots: Vec<String>,
}

/// Reads the context directory and what the template's COPY instructions take from it.
///
/// # Errors
/// All that is wrong, at once (see [`FilesError`]): to be asked before anything is fetched or built.
pub fn read_project(directory: &Path, copies: &[Copy]) -> Result<Project, FilesError> {
    let mut reading = Reading::default();
    if directory.is_dir() {
        reading.read_below(directory, "");
    }
    let Reading { files, mut problems } = reading;
    let roots = plan_copies(copies, &files, directory, &mut problems);
    FilesError::of(problems)?;
    Ok(Project { files, roots })
}

/// What was read so far, and what was wrong with it. What is wrong has a place among the files, so that a COPY of it is not
/// said to lack it as well.
#[derive(Default)]
struct Reading {
    files: BTreeMap<String, ProjectFile>,
    problems: Vec<FilesError>,
}

impl Reading {
    fn read_below(&mut self, directory: &Path, prefix: &str) {
        let entries = match sorted_entries(directory) {
            Ok(entries) => entries,
            Err(error) => return self.problems.push(error.into()),
        };
        for entry in entries {
            let name = entry.file_name();
            let path = format!("{prefix}{}", sanitize(&name.to_string_lossy()));
            let location = entry.path();
            let kind = entry.file_type().map_err(FsError::new("look at", &location));
            let read = check_name(&path, name.to_str()).and_then(|()| read_entry(&location, &path, kind?));
            match read {
                Ok(ProjectFile::Directory) => {
                    self.files.insert(path.clone(), ProjectFile::Directory);
                    self.read_below(&location, &format!("{path}/"));
                }
                Ok(file) => drop(self.files.insert(path, file)),
                Err(problem) => {
                    self.files.insert(path, ProjectFile::Link(String::new()));
                    self.problems.push(problem);
                }
            }
        }
    }
}

fn check_name(path: &str, name: Option<&str>) -> Result<(), FilesError> {
    let why = match name {
        None => "its name is not UTF-8, and engines disagree on such names",
        Some(text) if sanitize(text) != text => "its name has control characters",
        Some(_) => return Ok(()),
    };
    Err(FilesError::Reserved { path: path.to_owned(), why })
}

fn read_entry(location: &Path, path: &str, kind: FileType) -> Result<ProjectFile, FilesError> {
    if kind.is_dir() {
        return Ok(ProjectFile::Directory);
    }
    if kind.is_symlink() {
        return read_link(location, path).map(ProjectFile::Link);
    }
    if !kind.is_file() {
        let kind = if kind.is_socket() {
            "socket"
        } else if kind.is_fifo() {
            "pipe"
        } else {
            "device"
        };
        return Err(FilesError::Special { path: path.to_owned(), kind });
    }
    let fail = || FsError::new("read", location);
    let mut file = File::open(location).map_err(fail())?;
    let before = file.metadata().map_err(fail())?;
    let (digest, size) = Sha256::of_reader(&mut file).map_err(fail())?;
    let after = file.metadata().map_err(fail())?;
    let identity = |meta: &Metadata| (meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
    if identity(&before) != identity(&after) || size != after.len() {
        return Err(FilesError::Changed { path: path.to_owned() });
    }
    let executable = after.permissions().mode() & 0o100 != 0;
    let mode = if executable { 0o755 } else { 0o644 };
    Ok(ProjectFile::Regular { location: location.to_owned(), mode, digest, size })
}

fn read_link(location: &Path, path: &str) -> Result<String, FilesError> {
    let target = std::fs::read_link(location).map_err(FsError::new("read the link", location))?;
    let Ok(target) = target.into_os_string().into_string() else {
        return Err(FilesError::Reserved { path: path.to_owned(), why: "what it links to is not UTF-8" });
    };
    if !stays_inside(path, &target) {
        return Err(FilesError::Escapes { path: path.to_owned(), target });
    }
    Ok(target)
}

fn stays_inside(link: &str, target: &str) -> bool {
    let mut depth = link.matches('/').count();
    for component in Path::new(target).components() {
        match component {
            Component::Prefix(_) | Component::RootDir => return false,
            Component::CurDir => {}
            Component::ParentDir if depth == 0 => return false,
            Component::ParentDir => depth -= 1,
            Component::Normal(_) => depth += 1,
        }
    }
    true
}

/// The paths in the image that the instructions fill, sorted.
fn plan_copies(
    copies: &[Copy],
    files: &BTreeMap<String, ProjectFile>,
    directory: &Path,
    problems: &mut Vec<FilesError>,
) -> Vec<String> {
    let mut targets = Vec::new();
    for copy in copies {
        let into_directory = copy.destination.ends_with('/') || copy.sources.len() > 1;
        for source in &copy.sources {
            let base = copy.destination.trim_end_matches('/');
            match files.get(source.as_str()) {
                None if source.is_empty() || source == "." => targets.extend(below("", files, base)),
                None => problems.push(absent(source, copy, files, directory)),
                Some(ProjectFile::Directory) => targets.extend(below(&format!("{source}/"), files, base)),
                Some(_) if into_directory => {
                    targets.push(format!("{base}/{}", source.rsplit('/').next().unwrap_or(source)))
                }
                Some(_) => targets.push(copy.destination.clone()),
            }
        }
    }
    targets.sort();
    targets.dedup();
    targets
}

fn below(prefix: &str, files: &BTreeMap<String, ProjectFile>, base: &str) -> Vec<String> {
    files
        .iter()
        .filter(|(_, file)| **file != ProjectFile::Directory)
        .filter_map(|(path, _)| path.strip_prefix(prefix))
        .map(|rest| format!("{base}/{rest}"))
        .collect()
}

fn absent(source: &str, copy: &Copy, files: &BTreeMap<String, ProjectFile>, directory: &Path) -> FilesError {
    FilesError::Absent {
        path: source.to_owned(),
        directory: directory.to_owned(),
        nearest: nearest(source, files.keys().map(String::as_str)).map(str::to_owned),
        excerpt: Box::new(copy.excerpt.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::explain::{Excerpt, Explain};
    use std::fs;
    use std::os::unix::fs::symlink;

    fn read(directory: &Path) -> Result<BTreeMap<String, ProjectFile>, FilesError> {
        read_project(directory, &[]).map(|project| project.files)
    }

    fn copy(sources: &[&str], destination: &str) -> Copy {
        Copy {
            sources: sources.iter().map(|source| (*source).to_owned()).collect(),
            destination: destination.to_owned(),
            excerpt: Excerpt::at("Containerfile.in", "FROM x\nCOPY y z\n", 7, ""),
        }
    }

    fn context() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("plugin")).unwrap();
        fs::write(directory.path().join("plugin/a.ts"), "a").unwrap();
        fs::write(directory.path().join("config.json"), "{}").unwrap();
        directory
    }

    #[test]
    fn modes_are_the_images_own() {
        let directory = context();
        let file = directory.path().join("config.json");
        for (host, image) in [(0o600, 0o644), (0o666, 0o644), (0o700, 0o755), (0o775, 0o755)] {
            fs::set_permissions(&file, fs::Permissions::from_mode(host)).unwrap();
            let files = read(directory.path()).unwrap();
            assert!(matches!(files["config.json"], ProjectFile::Regular { mode, .. } if mode == image), "{host:o}");
        }
    }

    #[test]
    fn what_cannot_be_in_an_image_is_named() {
        let directory = context();
        symlink("../../etc/passwd", directory.path().join("plugin/out")).unwrap();
        assert!(matches!(read(directory.path()), Err(FilesError::Escapes { path, .. }) if path == "plugin/out"));
        fs::remove_file(directory.path().join("plugin/out")).unwrap();
        symlink("../config.json", directory.path().join("plugin/in")).unwrap();
        assert!(read(directory.path()).is_ok());
        let socket = directory.path().join("s");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(matches!(read(directory.path()), Err(FilesError::Special { kind: "socket", .. })));
    }

    #[test]
    fn copies_are_planned_file_by_file() {
        let directory = context();
        let copies = [
            copy(&["plugin"], "/root/.opencode/plugin/"),
            copy(&["config.json"], "/root/c.json"),
            copy(&["config.json"], "/etc/"),
        ];
        let project = read_project(directory.path(), &copies).unwrap();
        assert_eq!(project.roots, ["/etc/config.json", "/root/.opencode/plugin/a.ts", "/root/c.json"]);
        let error = read_project(directory.path(), &[copy(&["plugins"], "/x/")]).unwrap_err();
        assert_eq!(error.hints(), ["did you mean `plugin`?"]);
        assert_eq!(error.excerpt().unwrap().line, 2);
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let directory = context();
        symlink("/etc/passwd", directory.path().join("plugin/out")).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(directory.path().join("s")).unwrap();
        let error = read_project(directory.path(), &[copy(&["s", "gone"], "/x/")]).unwrap_err();
        let lines = [
            "context/plugin/out  a link out of the context, to `/etc/passwd`".to_owned(),
            "context/s           a socket, which no image can hold".to_owned(),
            format!("Containerfile.in:2  copies `gone`, which `{}` does not have", directory.path().display()),
        ];
        assert_eq!(
            (error.to_string().as_str(), error.evidence()),
            ("3 things are wrong with the build context", lines.to_vec())
        );
    }
}
