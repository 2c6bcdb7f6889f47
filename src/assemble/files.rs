//! The project's own files: every one below `context/`, with the modes that the image will see, whatever the host's are.

use std::collections::BTreeMap;
use std::fs::{File, FileType};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use crate::base::explain::{Explain, Kind};
use crate::base::fs::{FsError, sorted_entries};
use crate::base::text::{nearest, sanitize};
use crate::model::Sha256;
use crate::template::Copy;

/// Why the project's files cannot go into an image.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A COPY names something that `context/` does not have.
    #[error("`Containerfile.in` copies `{path}`, which `{}` does not have", directory.display())]
    Absent {
        /// The path in the instruction.
        path: String,
        /// The context directory.
        directory: PathBuf,
        /// A name nearby that is there.
        nearest: Option<String>,
    },
    /// A link that leads out of `context/`.
    #[error("the link `{path}` leads out of the context")]
    Escapes {
        /// The link.
        path: String,
        /// What it says.
        target: String,
    },
    /// A socket, device or pipe.
    #[error("`{path}` is a {kind}, which no image can hold")]
    Special {
        /// The file.
        path: String,
        /// `socket`, `device` or `pipe`.
        kind: &'static str,
    },
    /// A name that is not UTF-8 or has control characters.
    #[error("`{path}` may not be in the context")]
    Reserved {
        /// The file.
        path: String,
        /// Why.
        why: &'static str,
    },
    /// A file that cannot be read.
    #[error(transparent)]
    Fs(#[from] FsError),
}

impl Explain for FilesError {
    fn kind(&self) -> Kind {
        match self {
            Self::Fs(error) => error.kind(),
            _ => Kind::Asked,
        }
    }

    fn notes(&self) -> Vec<String> {
        match self {
            Self::Escapes { target, .. } => vec![format!("it points to `{}`", sanitize(target))],
            Self::Reserved { why, .. } => vec![(*why).to_owned()],
            _ => Vec::new(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Absent { nearest: Some(name), .. } => vec![format!("did you mean `{name}`?")],
            Self::Absent { path, directory, .. } => {
                vec![format!("make `{}`, or take the COPY out", directory.join(path).display())]
            }
            Self::Escapes { .. } => vec!["copy the file itself into the context".to_owned()],
            Self::Special { .. } | Self::Reserved { .. } => vec!["remove it, or move it out of the context".to_owned()],
            Self::Fs(error) => error.hints(),
        }
    }
}

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

/// Reads the context directory: path below it → entry, sorted.
///
/// # Errors
/// See [`FilesError`]; everything is looked at before anything is built.
pub fn read_project(directory: &Path) -> Result<BTreeMap<String, ProjectFile>, FilesError> {
    let mut files = BTreeMap::new();
    if directory.is_dir() {
        read_below(directory, "", &mut files)?;
    }
    Ok(files)
}

fn read_below(directory: &Path, prefix: &str, files: &mut BTreeMap<String, ProjectFile>) -> Result<(), FilesError> {
    for entry in sorted_entries(directory)? {
        let name = entry.file_name();
        let path = format!("{prefix}{}", sanitize(&name.to_string_lossy()));
        let refused = |why| FilesError::Reserved { path: path.clone(), why };
        match name.to_str() {
            None => return Err(refused("its name is not UTF-8, and engines disagree on such names")),
            Some(text) if sanitize(text) != text => return Err(refused("its name has control characters")),
            Some(_) => {}
        }
        let location = entry.path();
        let kind = entry.file_type().map_err(FsError::new("look at", &location))?;
        let file = read_entry(&location, &path, kind)?;
        let is_directory = file == ProjectFile::Directory;
        files.insert(path.clone(), file);
        if is_directory {
            read_below(&location, &format!("{path}/"), files)?;
        }
    }
    Ok(())
}

fn read_entry(location: &Path, path: &str, kind: FileType) -> Result<ProjectFile, FilesError> {
    if kind.is_dir() {
        return Ok(ProjectFile::Directory);
    }
    if kind.is_symlink() {
        let target = std::fs::read_link(location).map_err(FsError::new("read the link", location))?;
        let target = target.to_string_lossy().into_owned();
        if !stays_inside(path, &target) {
            return Err(FilesError::Escapes { path: path.to_owned(), target });
        }
        return Ok(ProjectFile::Link(target));
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
    let (digest, size) = Sha256::of_reader(&mut file).map_err(fail())?;
    let executable = file.metadata().map_err(fail())?.permissions().mode() & 0o100 != 0;
    Ok(ProjectFile::Regular {
        location: location.to_owned(),
        mode: if executable { 0o755 } else { 0o644 },
        digest,
        size,
    })
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

/// The paths in the image that the template's COPY instructions fill, sorted: what belongs to the layer of files.
///
/// # Errors
/// When a COPY names what the context does not have.
pub fn plan_copies(
    copies: &[Copy],
    files: &BTreeMap<String, ProjectFile>,
    directory: &Path,
) -> Result<Vec<String>, FilesError> {
    let mut targets = Vec::new();
    for copy in copies {
        let into_directory = copy.destination.ends_with('/') || copy.sources.len() > 1;
        for source in &copy.sources {
            let base = copy.destination.trim_end_matches('/');
            match files.get(source.as_str()) {
                None if source.is_empty() || source == "." => targets.extend(below("", files, base)),
                None => return Err(absent(source, files, directory)),
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
    Ok(targets)
}

fn below(prefix: &str, files: &BTreeMap<String, ProjectFile>, base: &str) -> Vec<String> {
    files
        .iter()
        .filter(|(_, file)| **file != ProjectFile::Directory)
        .filter_map(|(path, _)| path.strip_prefix(prefix))
        .map(|rest| format!("{base}/{rest}"))
        .collect()
}

fn absent(source: &str, files: &BTreeMap<String, ProjectFile>, directory: &Path) -> FilesError {
    FilesError::Absent {
        path: source.to_owned(),
        directory: directory.to_owned(),
        nearest: nearest(source, files.keys().map(String::as_str)).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

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
            let files = read_project(directory.path()).unwrap();
            assert!(matches!(files["config.json"], ProjectFile::Regular { mode, .. } if mode == image), "{host:o}");
        }
    }

    #[test]
    fn what_cannot_be_in_an_image_is_named() {
        let directory = context();
        symlink("../../etc/passwd", directory.path().join("plugin/out")).unwrap();
        assert!(
            matches!(read_project(directory.path()), Err(FilesError::Escapes { path, .. }) if path == "plugin/out")
        );
        fs::remove_file(directory.path().join("plugin/out")).unwrap();
        symlink("../config.json", directory.path().join("plugin/in")).unwrap();
        assert!(read_project(directory.path()).is_ok());
        let socket = directory.path().join("s");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(matches!(read_project(directory.path()), Err(FilesError::Special { kind: "socket", .. })));
    }

    #[test]
    fn copies_are_planned_file_by_file() {
        let directory = context();
        let files = read_project(directory.path()).unwrap();
        let copy = |sources: &[&str], destination: &str| Copy {
            sources: sources.iter().map(|source| (*source).to_owned()).collect(),
            destination: destination.to_owned(),
        };
        let copies = [
            copy(&["plugin"], "/root/.opencode/plugin/"),
            copy(&["config.json"], "/root/c.json"),
            copy(&["config.json"], "/etc/"),
        ];
        let targets = plan_copies(&copies, &files, directory.path()).unwrap();
        assert_eq!(targets, ["/etc/config.json", "/root/.opencode/plugin/a.ts", "/root/c.json"]);
        let error = plan_copies(&[copy(&["plugins"], "/x/")], &files, directory.path()).unwrap_err();
        assert_eq!(error.hints(), ["did you mean `plugin`?"]);
    }
}
