//! Reading tar archives that lie in a file: headers only, with the place of each content, so that nothing large is held.
//!
//! Understands POSIX ustar and pax, and GNU's long names and binary numbers. Pax records are split by their own length and
//! never at newlines: the value of `security.capability` is binary and may hold one.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

use super::tar::{Special, TarMeta};

const BLOCK: u64 = 512;
/// Extended headers larger than this are refused: names and attributes never are.
const EXTENDED_MAX: u64 = 16 * 1024 * 1024;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TarKind {
    /// A directory.
    Directory,
    /// A regular file: its content is `size` bytes at `offset` of the archive's file.
    File {
        /// Where the content starts, from the start of the file that holds the archive.
        offset: u64,
        /// Its length in bytes.
        size: u64,
    },
    /// A symbolic link to this text.
    Symlink(OsString),
    /// A hard link to this entry, which came before.
    HardLink(PathBuf),
    /// A device or FIFO.
    Special(Special),
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TarEntry {
    /// Relative, without `.` and `..`; empty for the root itself.
    pub path: PathBuf,
    /// What it is.
    pub kind: TarKind,
    /// Owner, mode and extended attributes.
    pub meta: TarMeta,
    /// Seconds since 1970.
    pub mtime: i64,
}

/// Bytes of a file from `offset` on, `size` of them. Several may read one file at the same time.
#[derive(Debug)]
pub struct FileRange<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
}

impl<'a> FileRange<'a> {
    /// Reads `size` bytes of `file` from `offset` on.
    pub fn new(file: &'a File, offset: u64, size: u64) -> Self {
        Self { file, offset, left: size }
    }
}

impl Read for FileRange<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let length = self.file.read_at(&mut buffer[..most], self.offset)?;
        if length == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += length as u64;
        self.left -= length as u64;
        Ok(length)
    }
}

/// Calls `each` with every entry of the archive that lies in `file` from `start` on.
///
/// # Errors
/// The file's, those of `each`, or when the bytes are no tar, a path leaves the root, or a form is not understood.
pub fn read_tar(file: &File, start: u64, mut each: impl FnMut(TarEntry) -> io::Result<()>) -> io::Result<()> {
    let mut at = start;
    let mut pending = Extended::default();
    loop {
        let mut header = [0; BLOCK as usize];
        match file.read_exact_at(&mut header, at) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && at > start => return Ok(()),
            other => other?,
        }
        if header.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        check_sum(&header)?;
        let header = HeaderFields(&header);
        let size = pending.size.unwrap_or(header.number(124, 12)?);
        at += BLOCK;
        match header.0[156] {
            b'x' => pending.read_pax(&extended(file, at, size)?)?,
            b'g' => {}
            b'L' => pending.path = Some(until_nul(&extended(file, at, size)?).to_vec()),
            b'K' => pending.link = Some(until_nul(&extended(file, at, size)?).to_vec()),
            kind => {
                let entry = header.entry(kind, at, size, std::mem::take(&mut pending))?;
                let holds = matches!(entry.kind, TarKind::File { .. });
                each(entry)?;
                if !holds {
                    continue;
                }
            }
        }
        at += size.div_ceil(BLOCK) * BLOCK;
    }
}

/// The same for an archive that comes as a stream: `each` is given every entry and a reader of its content. The offsets of
/// files mean nothing then. What follows the archive's end is left in the stream.
///
/// # Errors
/// As [`read_tar`].
pub fn stream_tar(
    mut reader: impl Read,
    mut each: impl FnMut(TarEntry, &mut dyn Read) -> io::Result<()>,
) -> io::Result<()> {
    let mut pending = Extended::default();
    let mut is_start = true;
    loop {
        let mut header = [0; BLOCK as usize];
        let length = read_full(&mut reader, &mut header)?;
        if (length == 0 && !is_start) || (length == header.len() && header.iter().all(|byte| *byte == 0)) {
            return Ok(());
        }
        if length < header.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        is_start = false;
        check_sum(&header)?;
        let header = HeaderFields(&header);
        let size = pending.size.unwrap_or(header.number(124, 12)?);
        let padding = size.div_ceil(BLOCK) * BLOCK - size;
        match header.0[156] {
            b'x' => pending.read_pax(&take(&mut reader, size, padding)?)?,
            b'g' => skip(&mut reader, size + padding)?,
            b'L' => pending.path = Some(until_nul(&take(&mut reader, size, padding)?).to_vec()),
            b'K' => pending.link = Some(until_nul(&take(&mut reader, size, padding)?).to_vec()),
            kind => {
                let entry = header.entry(kind, 0, size, std::mem::take(&mut pending))?;
                if !matches!(entry.kind, TarKind::File { .. }) {
                    each(entry, &mut io::empty())?;
                    continue;
                }
                let mut content = reader.by_ref().take(size);
                each(entry, &mut content)?;
                let left = content.limit();
                skip(&mut reader, left + padding)?;
            }
        }
    }
}

/// Reads until the buffer is full or the stream ends.
fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match reader.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

fn take(reader: &mut impl Read, size: u64, padding: u64) -> io::Result<Vec<u8>> {
    if size > EXTENDED_MAX {
        return Err(bad("an extended header that is too large"));
    }
    let mut bytes = vec![0; usize::try_from(size).map_err(|_| bad("an extended header that is too large"))?];
    reader.read_exact(&mut bytes)?;
    skip(reader, padding)?;
    Ok(bytes)
}

fn skip(reader: &mut impl Read, size: u64) -> io::Result<()> {
    match io::copy(&mut reader.by_ref().take(size), &mut io::sink())? {
        skipped if skipped == size => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// What extended headers say of the entry that follows them.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<i64>,
    xattrs: std::collections::BTreeMap<String, Vec<u8>>,
}

impl Extended {
    fn read_pax(&mut self, mut records: &[u8]) -> io::Result<()> {
        while !records.is_empty() {
            let space = records.iter().position(|byte| *byte == b' ').ok_or_else(|| bad("a cut pax record"))?;
            let length: usize = text(&records[..space])?.parse().map_err(|_| bad("a pax record without length"))?;
            let record = records.get(space + 1..length).and_then(|record| record.strip_suffix(b"\n"));
            let record = record.ok_or_else(|| bad("a cut pax record"))?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(|| bad("a pax record without `=`"))?;
            self.set(text(&record[..equals])?, &record[equals + 1..])?;
            records = &records[length..];
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: &[u8]) -> io::Result<()> {
        let number = || text(value)?.parse::<u64>().map_err(|_| bad("a pax number that is none"));
        match key {
            "path" => self.path = Some(value.to_vec()),
            "linkpath" => self.link = Some(value.to_vec()),
            "size" => self.size = Some(number()?),
            "uid" => self.uid = Some(number()?),
            "gid" => self.gid = Some(number()?),
            "mtime" => {
                let seconds = text(value)?.split('.').next().unwrap_or_default();
                self.mtime = Some(seconds.parse().map_err(|_| bad("a pax time that is none"))?);
            }
            key if key.starts_with("GNU.sparse.") => return Err(bad("a sparse file, which is not understood")),
            key => {
                if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                    self.xattrs.insert(name.to_owned(), value.to_vec());
                }
            }
        }
        Ok(())
    }
}

struct HeaderFields<'a>(&'a [u8; BLOCK as usize]);

impl HeaderFields<'_> {
    fn field(&self, start: usize, length: usize) -> &[u8] {
        until_nul(&self.0[start..start + length])
    }

    /// Octal digits, or GNU's binary form when the first bit is set.
    fn number(&self, start: usize, length: usize) -> io::Result<u64> {
        let field = &self.0[start..start + length];
        if field[0] & 0x80 != 0 {
            let (head, tail) = field.split_at(length - 8);
            let overflows = head[0] != 0x80 || head[1..].iter().any(|byte| *byte != 0);
            let tail: [u8; 8] = tail.try_into().map_err(|_| bad("a number of a wrong length"))?;
            return if overflows { Err(bad("a number that is too large")) } else { Ok(u64::from_be_bytes(tail)) };
        }
        let digits = text(until_nul(field))?.trim();
        if digits.is_empty() {
            return Ok(0);
        }
        u64::from_str_radix(digits, 8).map_err(|_| bad("a number that is none"))
    }

    fn path(&self) -> Vec<u8> {
        let name = self.field(0, 100);
        let is_posix = &self.0[257..263] == b"ustar\0";
        match self.field(345, 155) {
            prefix if is_posix && !prefix.is_empty() => [prefix, b"/", name].concat(),
            _ => name.to_vec(),
        }
    }

    fn entry(&self, kind: u8, offset: u64, size: u64, extended: Extended) -> io::Result<TarEntry> {
        let path = normalize(extended.path.unwrap_or_else(|| self.path()))?;
        let link = extended.link.unwrap_or_else(|| self.field(157, 100).to_vec());
        let numbers = || -> io::Result<(u32, u32)> {
            let number = |start| u32::try_from(self.number(start, 8)?).map_err(|_| bad("a device number"));
            Ok((number(329)?, number(337)?))
        };
        let kind = match kind {
            b'0' | 0 | b'7' => TarKind::File { offset, size },
            b'1' => TarKind::HardLink(normalize(link)?),
            b'2' => TarKind::Symlink(OsString::from_vec(link)),
            b'3' => numbers().map(|(major, minor)| TarKind::Special(Special::CharacterDevice(major, minor)))?,
            b'4' => numbers().map(|(major, minor)| TarKind::Special(Special::BlockDevice(major, minor)))?,
            b'5' => TarKind::Directory,
            b'6' => TarKind::Special(Special::Fifo),
            other => return Err(bad(&format!("an entry of type `{}`", other.escape_ascii()))),
        };
        let meta = TarMeta {
            mode: u32::try_from(self.number(100, 8)? & 0o7777).unwrap_or_default(),
            uid: extended.uid.map_or_else(|| self.number(108, 8), Ok)?,
            gid: extended.gid.map_or_else(|| self.number(116, 8), Ok)?,
            xattrs: extended.xattrs,
        };
        let mtime = extended.mtime.map_or_else(|| self.number(136, 12).map(u64::cast_signed), Ok)?;
        Ok(TarEntry { path, kind, meta, mtime })
    }
}

fn extended(file: &File, at: u64, size: u64) -> io::Result<Vec<u8>> {
    if size > EXTENDED_MAX {
        return Err(bad("an extended header that is too large"));
    }
    let mut bytes = vec![0; usize::try_from(size).map_err(|_| bad("an extended header that is too large"))?];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

fn check_sum(header: &[u8; BLOCK as usize]) -> io::Result<()> {
    let sum: u64 = header
        .iter()
        .enumerate()
        .map(|(place, byte)| if (148..156).contains(&place) { 32 } else { u64::from(*byte) })
        .sum();
    if HeaderFields(header).number(148, 8)? == sum { Ok(()) } else { Err(bad("a header whose sum is wrong")) }
}

fn normalize(path: Vec<u8>) -> io::Result<PathBuf> {
    let path = PathBuf::from(OsString::from_vec(path));
    clean_path(&path).ok_or_else(|| bad(&format!("a path that leaves the root: `{}`", path.display())))
}

/// The path without a leading slash and `.` parts; nothing when it has a `..` part.
pub fn clean_path(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => clean.push(part),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(clean)
}

fn until_nul(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|byte| *byte == 0).unwrap_or(field.len())]
}

fn text(bytes: &[u8]) -> io::Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| bad("a field that is no text"))
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the tar archive has {what}"))
}

#[cfg(test)]
mod tests {
    use super::super::tar::TarWriter;
    use super::*;
    use std::ffi::OsStr;
    use std::io::Write;

    /// The entries as both readers give them, which must be alike.
    fn entries(bytes: &[u8]) -> io::Result<Vec<TarEntry>> {
        let mut file = tempfile::tempfile()?;
        file.write_all(bytes)?;
        let mut entries = Vec::new();
        let mut contents = Vec::new();
        let placed = read_tar(&file, 0, |mut entry| {
            if let TarKind::File { offset, size } = &mut entry.kind {
                let mut content = Vec::new();
                FileRange::new(&file, *offset, *size).read_to_end(&mut content)?;
                contents.push(content);
                *offset = 0;
            }
            entries.push(entry);
            Ok(())
        });
        let (mut streamed, mut read) = (Vec::new(), Vec::new());
        let result = stream_tar(bytes, |entry, reader| {
            if let TarKind::File { .. } = entry.kind {
                let mut content = Vec::new();
                reader.read_to_end(&mut content)?;
                read.push(content);
            }
            streamed.push(entry);
            Ok(())
        });
        assert_eq!(placed.is_ok(), result.is_ok(), "{placed:?} {result:?}");
        placed?;
        assert_eq!((&entries, &contents), (&streamed, &read));
        Ok(entries)
    }

    #[test]
    fn a_binary_attribute_with_a_newline_is_read_whole() {
        let mut meta = TarMeta { mode: 0o4755, uid: 3_000_000, gid: 7, ..TarMeta::default() };
        meta.xattrs.insert("security.capability".into(), b"\x01\n12 path=evil\n\x00".to_vec());
        let long = "a/".repeat(70) + "é";
        let mut writer = TarWriter::new(Vec::new(), 5);
        writer.directory(Path::new("."), &TarMeta::root(0o755)).unwrap();
        writer.file(Path::new(&long), &meta, 3, &mut &b"abc"[..]).unwrap();
        writer.hard_link(Path::new("h"), &meta, Path::new(&long)).unwrap();
        writer.symlink(Path::new("s"), &TarMeta::root(0o777), OsStr::new("../x")).unwrap();
        writer.special(Path::new("c"), &TarMeta::root(0o600), Special::CharacterDevice(1, 3)).unwrap();
        let read = entries(&writer.finish().unwrap()).unwrap();
        assert_eq!(read[0].path, Path::new(""));
        assert_eq!((&read[1].path, &read[1].meta, read[1].mtime), (&PathBuf::from(&long), &meta, 5));
        assert!(matches!(read[1].kind, TarKind::File { size: 3, .. }));
        assert_eq!(read[2].kind, TarKind::HardLink(long.into()));
        assert_eq!(read[3].kind, TarKind::Symlink("../x".into()));
        assert_eq!(read[4].kind, TarKind::Special(Special::CharacterDevice(1, 3)));
    }

    #[test]
    fn content_that_nobody_reads_is_skipped_and_a_cut_stream_is_an_error() {
        let mut writer = TarWriter::new(Vec::new(), 5);
        writer.file(Path::new("a"), &TarMeta::root(0o644), 700, &mut &[b'x'; 700][..]).unwrap();
        writer.file(Path::new("b"), &TarMeta::root(0o644), 1, &mut &b"y"[..]).unwrap();
        let bytes = writer.finish().unwrap();
        let names = |bytes: &[u8]| {
            let mut names = Vec::new();
            stream_tar(bytes, |entry, _| {
                names.push(entry.path);
                Ok(())
            })
            .map(|()| names)
        };
        assert_eq!(names(&bytes).unwrap(), [Path::new("a"), Path::new("b")]);
        for length in [0, 100, 512, 800, 512 + 1024 + 100, 512 + 1024 + 512 + 100] {
            assert!(names(&bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn gnu_long_names_are_read() {
        let mut builder = ::tar::Builder::new(Vec::new());
        let long = "n".repeat(150);
        let mut header = ::tar::Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o600);
        header.set_cksum();
        builder.append_data(&mut header, &long, &b"x"[..]).unwrap();
        let read = entries(&builder.into_inner().unwrap()).unwrap();
        assert_eq!(read[0].path, Path::new(&long));
    }

    #[test]
    fn what_is_no_tar_or_leaves_the_root_is_an_error() {
        assert!(entries(&[1; 1024]).is_err());
        assert!(entries(b"short").is_err());
        let mut writer = TarWriter::new(Vec::new(), 0);
        writer.file(Path::new("a/../../b"), &TarMeta::root(0o644), 0, &mut io::empty()).unwrap();
        assert!(entries(&writer.finish().unwrap()).is_err());
    }
}
