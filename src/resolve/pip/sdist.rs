//! Source distributions (PEP 517, 625) as far as they are read without being built: single files at their top.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path};

use toml::{Table, Value};
use zip::ZipArchive;

use crate::base::archive::decompress;
use crate::base::untar::{TarKind, stream_tar};

/// The largest file that is read.
const FILE_LIMIT: u64 = 16 << 20;
/// What builds a project that does not say what does (PEP 517, "Source trees").
const LEGACY_BACKEND: &str = "setuptools.build_meta:__legacy__";

/// How a source distribution is built: `[build-system]` of its pyproject.toml (PEP 517, 518).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildSystem {
    /// The requirements (PEP 508) that must be there.
    pub requires: Vec<String>,
    /// The backend, as `module:object`.
    pub backend: String,
    /// Directories in it that the backend is looked for in, relative.
    pub backend_path: Vec<String>,
}

/// Reads how a source distribution is built; where it says nothing, setuptools does it.
///
/// # Errors
/// When the archive cannot be read, or its pyproject.toml makes no sense.
pub fn build_system(archive: File, filename: &str) -> Result<BuildSystem, String> {
    let text = source_file(archive, filename, "pyproject.toml")?.unwrap_or_default();
    let text = String::from_utf8(text).map_err(|_| "its pyproject.toml is not UTF-8".to_owned())?;
    parse_build_system(&text).map_err(|why| format!("its pyproject.toml cannot be used: {why}"))
}

fn parse_build_system(text: &str) -> Result<BuildSystem, String> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
    let legacy = LEGACY_BACKEND.to_owned();
    let Some(system) = table.get("build-system") else {
        return Ok(BuildSystem { requires: vec!["setuptools".into()], backend: legacy, backend_path: Vec::new() });
    };
    let system = system.as_table().ok_or("`build-system` is no table")?;
    let requires = system.get("requires").ok_or("`build-system.requires` is missing")?;
    let backend = match system.get("build-backend") {
        None => legacy,
        Some(backend) => backend.as_str().ok_or("`build-backend` is no text")?.to_owned(),
    };
    let backend_path = system.get("backend-path").map_or(Ok(Vec::new()), |paths| texts(paths, "backend-path"))?;
    if !backend_path.iter().all(|path| is_inside(path)) {
        return Err("`backend-path` leaves the source".to_owned());
    }
    Ok(BuildSystem { requires: texts(requires, "requires")?, backend, backend_path })
}

fn texts(value: &Value, key: &str) -> Result<Vec<String>, String> {
    let items = value.as_array().ok_or_else(|| format!("`{key}` is no list"))?;
    let text = |item: &Value| {
        item.as_str().map(str::to_owned).ok_or_else(|| format!("`{key}` holds something else than texts"))
    };
    items.iter().map(text).collect()
}

fn is_inside(path: &str) -> bool {
    Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// Reads one file of the directory that a source distribution consists of; nothing when it has no such file.
///
/// # Errors
/// When the archive cannot be read, or the file is too large.
pub fn source_file(archive: File, filename: &str, name: &str) -> Result<Option<Vec<u8>>, String> {
    let broken = |error: &dyn std::fmt::Display| format!("it cannot be unpacked: {error}");
    let found = if filename.ends_with(".zip") { in_zip(archive, name) } else { in_tar(archive, name) };
    match found.map_err(|error| broken(&error))? {
        Some(text) if text.len() as u64 > FILE_LIMIT => Err(format!("its {name} is too large")),
        found => Ok(found),
    }
}

/// Whether a path is that of a file of the top directory.
fn is_it(path: &Path, name: &str) -> bool {
    let mut parts = path.components();
    parts.next().is_some() && parts.as_path() == Path::new(name)
}

fn in_tar(archive: File, name: &str) -> io::Result<Option<Vec<u8>>> {
    let mut found = None;
    stream_tar(decompress(archive)?, |entry, content| {
        if is_it(&entry.path, name) && matches!(entry.kind, TarKind::File { .. }) {
            let mut text = Vec::new();
            content.take(FILE_LIMIT + 1).read_to_end(&mut text)?;
            found = Some(text);
        }
        Ok(())
    })?;
    Ok(found)
}

fn in_zip(archive: File, name: &str) -> io::Result<Option<Vec<u8>>> {
    let mut archive = ZipArchive::new(archive)?;
    for index in 0..archive.len() {
        let file = archive.by_index(index)?;
        let path = file.name().map_err(io::Error::other)?.into_owned();
        if is_it(Path::new(&path), name) && file.is_file() {
            let mut text = Vec::new();
            file.take(FILE_LIMIT + 1).read_to_end(&mut text)?;
            return Ok(Some(text));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;

    use super::*;
    use crate::base::tar::{TarMeta, TarWriter};

    fn system(text: &str) -> Result<BuildSystem, String> {
        parse_build_system(text)
    }

    #[test]
    fn what_is_left_out_is_what_the_standard_says() {
        let legacy = system("[project]\nname = \"a\"\n").unwrap();
        assert_eq!((legacy.requires, legacy.backend.as_str()), (vec!["setuptools".to_owned()], LEGACY_BACKEND));
        let named = system("[build-system]\nrequires = [\"x\"]\n").unwrap();
        assert_eq!((named.requires, named.backend.as_str()), (vec!["x".to_owned()], LEGACY_BACKEND));
        let own = "[build-system]\nrequires = []\nbuild-backend = \"b:c\"\nbackend-path = [\".\", \"in\"]\n";
        assert_eq!(system(own).unwrap().backend_path, [".", "in"]);
        for (text, words) in [
            ("[build-system]\n", "is missing"),
            ("build-system = 1", "is no table"),
            ("[build-system]\nrequires = \"x\"", "is no list"),
            ("[build-system]\nrequires = [1]", "something else than texts"),
            ("[build-system]\nrequires = []\nbackend-path = [\"../x\"]", "leaves the source"),
            ("[build-system", ""),
        ] {
            assert!(system(text).unwrap_err().contains(words), "{text}");
        }
    }

    fn tarball(files: &[(&str, &str)]) -> File {
        let mut tar = TarWriter::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()), 0);
        for (path, text) in files {
            tar.file(Path::new(path), &TarMeta::root(0o644), text.len() as u64, &mut text.as_bytes()).unwrap();
        }
        on_disk(&tar.finish().unwrap().finish().unwrap())
    }

    fn on_disk(bytes: &[u8]) -> File {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file.reopen().unwrap()
    }

    #[test]
    fn only_files_at_the_top_are_read() {
        let files = [("a-1/deep/PKG-INFO", "deep"), ("a-1/PKG-INFO", "top"), ("PKG-INFO", "outside")];
        let read = |name| source_file(tarball(&files), "a-1.tar.gz", name).unwrap();
        assert_eq!(read("PKG-INFO"), Some(b"top".to_vec()));
        assert_eq!(read("setup.py"), None);
        assert_eq!(build_system(tarball(&files), "a-1.tar.gz").unwrap().requires, ["setuptools"]);
        let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        zip.start_file("a-1/PKG-INFO", zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(b"zipped").unwrap();
        let zip = zip.finish().unwrap().into_inner();
        assert_eq!(source_file(on_disk(&zip), "a-1.zip", "PKG-INFO").unwrap(), Some(b"zipped".to_vec()));
        assert!(source_file(on_disk(b"no archive"), "a-1.zip", "PKG-INFO").is_err());
        assert!(source_file(on_disk(b"no archive"), "a-1.tar.gz", "PKG-INFO").is_err());
    }
}
