//! One wheel (PEP 427): checked as an archive, held against its own RECORD and its pin, and laid out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::str::FromStr;

use uv_normalize::PackageName;
use uv_pep440::Version;
use zip::ZipArchive;

use super::PipAssembleError;
use super::environment::Layout;
use super::record::{self, Row};
use super::scripts;
use super::tree::{Executable, Placed, Tree, hostile};
use crate::lock::PipPin;
use crate::model::Sha256;
use crate::store::Store;

/// The largest file of metadata (METADATA, RECORD, WHEEL, entry_points.txt) accepted, in bytes.
const TEXT_LIMIT: u64 = 64 << 20;
/// The largest script whose first line is rewritten, in bytes.
const SCRIPT_LIMIT: u64 = 64 << 20;
/// The bits of a mode that say what a file is, and the two kinds that may be in a wheel.
const KIND: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;

/// What a wheel says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WheelFacts {
    /// The tags of its WHEEL file, one by one.
    pub tags: Vec<String>,
    /// What it requires (PEP 508), as its METADATA has it.
    pub requires: Vec<String>,
}

/// An open wheel whose archive, names and metadata are in order.
pub(super) struct Wheel<'a> {
    pin: &'a PipPin,
    archive: ZipArchive<File>,
    /// The files by name: index, size and whether they are executable.
    files: BTreeMap<String, Entry>,
    /// `name-version.dist-info`.
    info: String,
    /// The rows of RECORD by path.
    record: BTreeMap<String, Row>,
    entry_points: Vec<scripts::EntryPoint>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) index: usize,
    pub(super) size: u64,
    pub(super) executable: Executable,
}

impl<'a> Wheel<'a> {
    /// Opens the wheel of a pin and checks all that can be checked without unpacking it.
    pub(super) fn open(pin: &'a PipPin, store: &Store) -> Result<Self, PipAssembleError> {
        let file = store.open_blob(pin.wheel_sha256())?;
        let bad = |why: &str| hostile(pin.wheel_file(), why, "");
        let mut archive = ZipArchive::new(file).map_err(|error| bad(&format!("it is no zip archive: {error}")))?;
        if archive.has_duplicate_names() {
            return Err(bad("it holds two files of one name"));
        }
        if archive.has_overlapping_entries().map_err(|error| bad(&error.to_string()))? {
            return Err(bad("two of its files share bytes of the archive"));
        }
        let files = list(&mut archive, pin.wheel_file())?;
        let mut wheel = Self {
            info: info_directory(&files, pin)?,
            pin,
            archive,
            files,
            record: BTreeMap::new(),
            entry_points: Vec::new(),
        };
        wheel.check_wheel()?;
        wheel.check_metadata()?;
        wheel.read_record()?;
        Ok(wheel)
    }

    fn name(&self) -> &'a str {
        self.pin.wheel_file()
    }

    fn bad(&self, why: &str, file: &str) -> PipAssembleError {
        hostile(self.name(), why, file)
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, PipAssembleError> {
        let path = format!("{}/{name}", self.info);
        let Some(entry) = self.files.get(&path).copied() else { return Ok(None) };
        let bytes = self.bytes(&path, entry, TEXT_LIMIT)?;
        String::from_utf8(bytes).map(Some).map_err(|_| self.bad("it is not UTF-8", &path))
    }

    fn required_text(&mut self, name: &str) -> Result<String, PipAssembleError> {
        self.text(name)?.ok_or_else(|| self.bad(&format!("it has no {name}"), &self.info))
    }

    fn bytes(&mut self, path: &str, entry: Entry, limit: u64) -> Result<Vec<u8>, PipAssembleError> {
        let name = self.name();
        if entry.size > limit {
            return Err(self.bad("the file is too large for what it is", path));
        }
        let broken =
            |error: &dyn std::fmt::Display| hostile(name, &format!("a file cannot be unpacked: {error}"), path);
        let file = self.archive.by_index(entry.index).map_err(|error| broken(&error))?;
        let mut bytes = Vec::with_capacity(entry.size as usize);
        file.take(entry.size + 1).read_to_end(&mut bytes).map_err(|error| broken(&error))?;
        if bytes.len() as u64 == entry.size {
            Ok(bytes)
        } else {
            Err(self.bad("a file has another size than listed", path))
        }
    }

    fn check_wheel(&mut self) -> Result<(), PipAssembleError> {
        let text = self.required_text("WHEEL")?;
        let version = header(&text, "Wheel-Version").unwrap_or_default();
        if version.split('.').next() == Some("1") {
            return Ok(());
        }
        let why = format!("its wheel format `{version}` is not known");
        Err(PipAssembleError::Unsupported { wheel: self.name().to_owned(), why })
    }

    /// The METADATA must speak of what was locked.
    fn check_metadata(&mut self) -> Result<(), PipAssembleError> {
        let text = self.required_text("METADATA")?;
        let name = header(&text, "Name").and_then(|name| PackageName::from_str(name).ok());
        let version = header(&text, "Version").and_then(|version| Version::from_str(version).ok());
        let pin = self.pin;
        if name.is_none_or(|name| name.as_ref() != pin.name.as_str()) {
            return Err(self.bad(&format!("its METADATA names another project than `{}`", pin.name), &self.info));
        }
        if version.is_none() || version != Version::from_str(pin.version.as_str()).ok() {
            return Err(self.bad(&format!("its METADATA names another version than `{}`", pin.version), &self.info));
        }
        Ok(())
    }

    fn read_record(&mut self) -> Result<(), PipAssembleError> {
        let text = self.required_text("RECORD")?;
        let rows = record::parse(&text).ok_or_else(|| self.bad("its RECORD is no table", &self.info))?;
        for row in rows {
            self.record.insert(row.path.clone(), row);
        }
        Ok(())
    }

    /// Holds every file against RECORD, byte by byte, and gives what the wheel says of itself.
    pub(super) fn verify(mut self) -> Result<WheelFacts, PipAssembleError> {
        let own = ["RECORD", "RECORD.jws", "RECORD.p7s"].map(|name| format!("{}/{name}", self.info));
        let files: Vec<(String, Entry)> = self.files.iter().map(|(path, entry)| (path.clone(), *entry)).collect();
        for (path, entry) in files.iter().filter(|(path, _)| !own.contains(path)) {
            let digest = self.recorded(path, *entry)?.1;
            let broken = |error: &dyn std::fmt::Display| {
                hostile(self.pin.wheel_file(), &format!("a file cannot be unpacked: {error}"), path)
            };
            let mut file = self.archive.by_index(entry.index).map_err(|error| broken(&error))?;
            let (found, _) = Sha256::of_reader(&mut file).map_err(|error| broken(&error))?;
            drop(file);
            if found != digest {
                return Err(self.bad("a file has other bytes than its RECORD says", path));
            }
        }
        let headers = |text: &str, name: &str| headers(text, name).map(str::to_owned).collect();
        let (wheel, metadata) = (self.required_text("WHEEL")?, self.required_text("METADATA")?);
        Ok(WheelFacts { tags: headers(&wheel, "Tag"), requires: headers(&metadata, "Requires-Dist") })
    }

    /// A file's row of RECORD, with its digest.
    fn recorded(&self, path: &str, entry: Entry) -> Result<(Row, Sha256), PipAssembleError> {
        let row = self.record.get(path).cloned().ok_or_else(|| self.bad("its RECORD does not list a file", path))?;
        let digest = row.sha256().ok_or_else(|| self.bad("its RECORD has no sha256 for a file", path))?;
        if !row.size.is_empty() && row.size.trim() != entry.size.to_string() {
            return Err(self.bad("a file has another size than its RECORD says", path));
        }
        Ok((row, digest))
    }

    /// Lays the wheel out: its files in the order of where they go, then what pip would generate. Returns how many files it
    /// has there; those that another wheel has brought before are among them.
    pub(super) fn install<W: Write>(
        mut self,
        layout: &Layout,
        asked: bool,
        tree: &mut Tree<'_, W>,
    ) -> Result<usize, PipAssembleError> {
        if let Some(text) = self.text("entry_points.txt")? {
            self.entry_points = scripts::parse(&text, &layout.version)
                .map_err(|line| self.bad("an entry point makes no sense", &line))?;
        }
        let mut rows = Vec::new();
        for (place, (path, entry)) in self.places(layout)? {
            let row = self.install_file(&path, entry, &place, layout, tree)?;
            rows.push(Row { path: record_path(&place, layout), ..row });
        }
        self.generate(layout, asked, rows, tree)
    }

    /// Where each file goes. Left out are those that are written anew, and signatures of the old RECORD.
    fn places(&self, layout: &Layout) -> Result<BTreeMap<String, (String, Entry)>, PipAssembleError> {
        let mut places = BTreeMap::new();
        let own: BTreeSet<String> = ["RECORD", "RECORD.jws", "RECORD.p7s", "INSTALLER", "REQUESTED"]
            .iter()
            .map(|name| format!("{}/{name}", self.info))
            .collect();
        for (path, entry) in self.files.iter().filter(|(path, _)| !own.contains(*path)) {
            let place = match path.split_once('/') {
                Some((first, rest)) if first.ends_with(".data") => {
                    let inside = rest.split_once('/').and_then(|(key, rest)| {
                        Some(format!("{}/{rest}", layout.scheme(key, self.pin.name.as_str())?))
                    });
                    inside.ok_or_else(|| self.bad("a file goes to no place that is known", path))?
                }
                _ => format!("{}/{path}", layout.site_packages),
            };
            if self.is_wrapper(&place, layout) {
                continue;
            }
            if places.insert(place, (path.clone(), *entry)).is_some() {
                return Err(self.bad("two of its files go to one place", path));
            }
        }
        Ok(places)
    }

    /// Whether a script is one that an entry point makes anyway.
    fn is_wrapper(&self, place: &str, layout: &Layout) -> bool {
        let Some(name) = place.strip_prefix(&layout.bin).and_then(|rest| rest.strip_prefix('/')) else { return false };
        let stem = [".exe", "-script.py", ".pya"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        self.entry_points.iter().any(|entry| entry.name == stem)
    }

    fn install_file<W: Write>(
        &mut self,
        path: &str,
        entry: Entry,
        place: &str,
        layout: &Layout,
        tree: &mut Tree<'_, W>,
    ) -> Result<Row, PipAssembleError> {
        let name = self.name();
        let (row, digest) = self.recorded(path, entry)?;
        let is_script = place.strip_prefix(&layout.bin).is_some_and(|rest| rest.starts_with('/'));
        let executable = if is_script { Executable::Yes } else { entry.executable };
        if is_script && self.has_placeholder(entry)? {
            let original = self.bytes(path, entry, SCRIPT_LIMIT)?;
            if Sha256::of(&original) != digest {
                return Err(self.bad("a file has other bytes than its RECORD says", path));
            }
            let script = scripts::point_at(&layout.python, &original);
            tree.script(place, &script, name)?;
            return Ok(Row::of(row.path, &script));
        }
        if let Some(Placed::File(known, _)) = tree.placed(place)
            && known == digest
        {
            return Ok(row);
        }
        let mut file = self
            .archive
            .by_index(entry.index)
            .map_err(|error| hostile(name, &format!("a file cannot be unpacked: {error}"), path))?;
        tree.file(place, executable, digest, entry.size, &mut file, name)?;
        Ok(row)
    }

    fn has_placeholder(&mut self, entry: Entry) -> Result<bool, PipAssembleError> {
        let name = self.name();
        let mut start = Vec::new();
        let broken = |why: String| hostile(name, &why, "");
        let file = self.archive.by_index(entry.index).map_err(|error| broken(error.to_string()))?;
        file.take(scripts::PLACEHOLDER_LENGTH as u64)
            .read_to_end(&mut start)
            .map_err(|error| broken(error.to_string()))?;
        Ok(scripts::has_placeholder(&start))
    }

    /// Writes what is not in the wheel: scripts of entry points, INSTALLER, REQUESTED and the new RECORD.
    fn generate<W: Write>(
        self,
        layout: &Layout,
        asked: bool,
        mut rows: Vec<Row>,
        tree: &mut Tree<'_, W>,
    ) -> Result<usize, PipAssembleError> {
        let name = self.name();
        for entry in &self.entry_points {
            let place = format!("{}/{}", layout.bin, entry.name);
            let script = entry.render(&layout.python);
            tree.script(&place, &script, name)?;
            rows.push(Row::of(record_path(&place, layout), &script));
        }
        let info = format!("{}/{}", layout.site_packages, self.info);
        let installer: &[u8] = b"oclock\n";
        let generated = [("INSTALLER", installer)].into_iter().chain(asked.then_some(("REQUESTED", &b""[..])));
        for (file, content) in generated {
            let place = format!("{info}/{file}");
            tree.small_file(&place, content, name)?;
            rows.push(Row::of(record_path(&place, layout), content));
        }
        let place = format!("{info}/RECORD");
        rows.push(Row { path: record_path(&place, layout), hash: String::new(), size: String::new() });
        let count = rows.len();
        tree.small_file(&place, record::render(rows).as_bytes(), name)?;
        Ok(count)
    }
}

/// The files of an archive by name, each a plain file at a plain relative path.
pub(super) fn list(archive: &mut ZipArchive<File>, wheel: &str) -> Result<BTreeMap<String, Entry>, PipAssembleError> {
    let bad = |why: &str, file: &str| hostile(wheel, why, file);
    let mut files = BTreeMap::new();
    for index in 0..archive.len() {
        let file = archive.by_index(index).map_err(|error| bad(&format!("a file cannot be unpacked: {error}"), ""))?;
        let name = file.name().map_err(|error| bad(&error.to_string(), ""))?.into_owned();
        let plain = name.strip_suffix('/').unwrap_or(&name);
        if plain.split('/').any(|part| matches!(part, "" | "." | ".."))
            || plain.contains('\\')
            || plain.chars().any(char::is_control)
        {
            return Err(bad("a file's name leaves its directory", &name));
        }
        let mode = file.unix_mode().unwrap_or(0);
        if name.ends_with('/') {
            continue;
        }
        if !matches!(mode & KIND, 0 | REGULAR) {
            return Err(bad("it holds something else than files", &name));
        }
        let runs = mode & KIND == REGULAR && mode & 0o111 != 0;
        let executable = if runs { Executable::Yes } else { Executable::No };
        files.insert(name, Entry { index, size: file.size(), executable });
    }
    Ok(files)
}

/// The one `.dist-info` directory, which must be the pin's.
fn info_directory(files: &BTreeMap<String, Entry>, pin: &PipPin) -> Result<String, PipAssembleError> {
    let bad = |why: &str, file: &str| hostile(pin.wheel_file(), why, file);
    let found: BTreeSet<&str> = files
        .keys()
        .filter_map(|path| Some(path.split_once('/')?.0))
        .filter(|first| first.ends_with(".dist-info"))
        .collect();
    let mut found = found.into_iter();
    let (Some(info), None) = (found.next(), found.next()) else {
        return Err(bad("it must have exactly one .dist-info directory", ""));
    };
    let stem = info.strip_suffix(".dist-info").unwrap_or(info);
    let name = stem.rsplit_once('-').map_or(stem, |(name, _)| name);
    match PackageName::from_str(name) {
        Ok(name) if name.as_ref() == pin.name.as_str() => Ok(info.to_owned()),
        _ => Err(bad("its .dist-info directory names another project", info)),
    }
}

/// The first header of this name, in a block of `Name: value` lines.
fn header<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    headers(text, name).next()
}

/// All headers of this name.
fn headers<'t>(text: &'t str, name: &str) -> impl Iterator<Item = &'t str> {
    text.lines().take_while(|line| !line.trim_end().is_empty()).filter_map(move |line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// A place as RECORD names it: relative to site-packages.
fn record_path(place: &str, layout: &Layout) -> String {
    let below = |base: &str| place.strip_prefix(base).and_then(|rest| rest.strip_prefix('/'));
    match (below(&layout.site_packages), below(&layout.root)) {
        (Some(rest), _) => rest.to_owned(),
        (None, Some(rest)) => format!("../../../{rest}"),
        (None, None) => place.to_owned(),
    }
}
