//! A wheel in its one form: whoever built it, on whatever day, the same files give the same bytes.
//!
//! Its files sorted by name, uncompressed, with the earliest time that the format has and one of two modes; RECORD written
//! anew from what is there. Directories and signatures of the old RECORD are left out.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

use zip::ZipArchive;

use super::PipAssembleError;
use super::record::{self, Row};
use super::tree::{Executable, hostile};
use super::wheel::list;
use crate::base::zip::{ZipFile, write_zip};
use crate::model::Sha256;

/// The most that all files of a wheel may have together, in bytes.
const CONTENT_LIMIT: u64 = 2 << 30;

/// A wheel in its one form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalWheel {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The digest of each file in it; of RECORD, which follows from the others, there is none.
    pub files: BTreeMap<String, Sha256>,
}

/// Writes a wheel anew; `name` is its file name.
///
/// # Errors
/// When it is no wheel, or larger than a wheel may be.
pub fn canonical_wheel(wheel: File, name: &str) -> Result<CanonicalWheel, PipAssembleError> {
    let bad = |why: &str, file: &str| hostile(name, why, file);
    let broken = |error: &dyn std::fmt::Display, file: &str| bad(&format!("a file cannot be unpacked: {error}"), file);
    let mut archive = ZipArchive::new(wheel).map_err(|error| bad(&format!("it is no zip archive: {error}"), ""))?;
    let entries = list(&mut archive, name)?;
    let mut record = entries.keys().filter(|path| path.ends_with(".dist-info/RECORD"));
    let (Some(record), None) = (record.next().cloned(), record.next()) else {
        return Err(bad("it must have exactly one RECORD", ""));
    };
    let total: u64 = entries.values().map(|entry| entry.size).sum();
    if total > CONTENT_LIMIT {
        return Err(bad("it holds more than 2 GiB", ""));
    }
    let own = [record.clone(), format!("{record}.jws"), format!("{record}.p7s")];
    let (mut files, mut digests, mut rows) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for (path, entry) in entries.into_iter().filter(|(path, _)| !own.contains(path)) {
        let mut content = Vec::new();
        let file = archive.by_index(entry.index).map_err(|error| broken(&error, &path))?;
        file.take(entry.size + 1).read_to_end(&mut content).map_err(|error| broken(&error, &path))?;
        rows.push(Row::of(path.clone(), &content));
        digests.insert(path.clone(), Sha256::of(&content));
        let mode = if entry.executable == Executable::Yes { 0o755 } else { 0o644 };
        files.insert(path, ZipFile { mode, content });
    }
    rows.push(Row { path: record.clone(), hash: String::new(), size: String::new() });
    files.insert(record, ZipFile { mode: 0o644, content: record::render(rows).into_bytes() });
    let bytes = write_zip(&files).map_err(|error| bad(&error.to_string(), ""))?;
    Ok(CanonicalWheel { bytes, files: digests })
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use zip::write::SimpleFileOptions;

    use super::*;

    /// A wheel of these files, with a time, a compression and an order of its own.
    fn wheel(files: &[(&str, &str, u32)], year: u16) -> File {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let time = zip::DateTime::from_date_and_time(year, 2, 3, 4, 5, 6).unwrap();
        for (path, text, mode) in files {
            let options = SimpleFileOptions::default().last_modified_time(time).unix_permissions(*mode);
            zip.start_file(*path, options).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&zip.finish().unwrap().into_inner()).unwrap();
        file.reopen().unwrap()
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let files = [("a/x.py", "x", 0o644), ("a/run", "#!", 0o755), ("a-1.dist-info/RECORD", "nonsense", 0o600)];
        let one = canonical_wheel(wheel(&files, 2001), "a.whl").unwrap();
        let mut turned = files;
        turned.reverse();
        turned[2].2 = 0o600;
        assert_eq!(canonical_wheel(wheel(&turned, 2026), "a.whl").unwrap(), one);
        assert_eq!(one.files.keys().collect::<Vec<_>>(), ["a/run", "a/x.py"]);
        let mut disk = tempfile::tempfile().unwrap();
        disk.write_all(&one.bytes).unwrap();
        assert_eq!(canonical_wheel(disk, "a.whl").unwrap(), one, "once is enough");
        let mut other = files;
        other[0].1 = "y";
        assert_ne!(canonical_wheel(wheel(&other, 2001), "a.whl").unwrap().bytes, one.bytes);
        let mut other = files;
        other[0].2 = 0o755;
        assert_ne!(canonical_wheel(wheel(&other, 2001), "a.whl").unwrap().bytes, one.bytes);
    }

    #[test]
    fn what_is_no_wheel_is_refused() {
        for files in [&[("a/x.py", "x", 0o644)][..], &[("../x", "x", 0o644), ("a-1.dist-info/RECORD", "", 0o644)]] {
            assert!(canonical_wheel(wheel(files, 2001), "a.whl").is_err(), "{files:?}");
        }
    }
}
