//! Canonical tar streams: the same entries give the same bytes, whoever writes them and when.
//!
//! The dialect is frozen because digests depend on it: POSIX ustar headers (IEEE Std 1003.1-2017, pax) with numeric owners
//! and no names, one time for all entries, and a pax extended header only for what does not fit: paths and link targets over
//! 100 bytes, numbers that overflow their octal field, and `SCHILY.xattr.*`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ::tar::{EntryType, Header};

const BLOCK: usize = 512;
const OCTAL_8_MAX: u64 = 0o7_777_777;
const OCTAL_12_MAX: u64 = 0o77_777_777_777;

/// Owner, permissions and extended attributes of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TarMeta {
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u64,
    /// Numeric group.
    pub gid: u64,
    /// Extended attributes by full name, such as `security.capability`.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl TarMeta {
    /// Owned by root, without extended attributes.
    pub fn root(mode: u32) -> Self {
        Self { mode, ..Self::default() }
    }
}

/// A character device, block device or FIFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// Major and minor number.
    CharacterDevice(u32, u32),
    /// Major and minor number.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
}

/// Writes entries in the order given; the caller sorts.
#[derive(Debug)]
pub struct TarWriter<W: Write> {
    out: W,
    mtime: u64,
}

impl<W: Write> TarWriter<W> {
    /// Writes to `out`, giving every entry the time `epoch` (seconds since 1970, not negative).
    pub fn new(out: W, epoch: i64) -> Self {
        Self { out, mtime: u64::try_from(epoch).unwrap_or(0) }
    }

    /// Gives the entries that follow this time instead, in seconds since 1970; a negative one becomes 0.
    pub fn set_time(&mut self, seconds: i64) {
        self.mtime = u64::try_from(seconds).unwrap_or(0).min(OCTAL_12_MAX);
    }

    /// Writes a directory; the path has no slash at its end.
    ///
    /// # Errors
    /// The writer's.
    pub fn directory(&mut self, path: &Path, meta: &TarMeta) -> io::Result<()> {
        let mut name = path.as_os_str().as_bytes().to_vec();
        name.push(b'/');
        self.header(EntryType::Directory, &name, b"", 0, meta)
    }

    /// Writes a regular file of exactly `size` bytes.
    ///
    /// # Errors
    /// The reader's or the writer's, or when the reader yields another number of bytes.
    pub fn file(&mut self, path: &Path, meta: &TarMeta, size: u64, content: &mut dyn Read) -> io::Result<()> {
        self.header(EntryType::Regular, path.as_os_str().as_bytes(), b"", size, meta)?;
        let copied = io::copy(&mut content.take(size), &mut self.out)?;
        if copied != size || content.read(&mut [0])? != 0 {
            return Err(io::Error::other(format!("`{}` changed its size while it was read", path.display())));
        }
        self.pad(size)
    }

    /// Writes a symbolic link.
    ///
    /// # Errors
    /// The writer's.
    pub fn symlink(&mut self, path: &Path, meta: &TarMeta, target: &OsStr) -> io::Result<()> {
        let meta = TarMeta { mode: 0o777, ..meta.clone() };
        self.header(EntryType::Symlink, path.as_os_str().as_bytes(), target.as_bytes(), 0, &meta)
    }

    /// Writes a hard link to an entry written before.
    ///
    /// # Errors
    /// The writer's.
    pub fn hard_link(&mut self, path: &Path, meta: &TarMeta, target: &Path) -> io::Result<()> {
        self.header(EntryType::Link, path.as_os_str().as_bytes(), target.as_os_str().as_bytes(), 0, meta)
    }

    /// Writes a device or FIFO.
    ///
    /// # Errors
    /// The writer's.
    pub fn special(&mut self, path: &Path, meta: &TarMeta, special: Special) -> io::Result<()> {
        let (kind, numbers) = match special {
            Special::CharacterDevice(major, minor) => (EntryType::Char, Some((major, minor))),
            Special::BlockDevice(major, minor) => (EntryType::Block, Some((major, minor))),
            Special::Fifo => (EntryType::Fifo, None),
        };
        let mut header = self.new_header(kind, 0, meta);
        if let Some((major, minor)) = numbers {
            header.set_device_major(major)?;
            header.set_device_minor(minor)?;
        }
        self.finish_header(header, path.as_os_str().as_bytes(), b"", 0, meta)
    }

    /// Ends the archive with its two zero blocks and gives the writer back.
    ///
    /// # Errors
    /// The writer's.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn header(&mut self, kind: EntryType, name: &[u8], link: &[u8], size: u64, meta: &TarMeta) -> io::Result<()> {
        let header = self.new_header(kind, size, meta);
        self.finish_header(header, name, link, size, meta)
    }

    fn new_header(&self, kind: EntryType, size: u64, meta: &TarMeta) -> Header {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(meta.mode & 0o7777);
        header.set_uid(meta.uid.min(OCTAL_8_MAX));
        header.set_gid(meta.gid.min(OCTAL_8_MAX));
        header.set_mtime(self.mtime);
        header.set_size(size.min(OCTAL_12_MAX));
        header
    }

    fn finish_header(
        &mut self,
        mut header: Header,
        name: &[u8],
        link: &[u8],
        size: u64,
        meta: &TarMeta,
    ) -> io::Result<()> {
        let fields = header.as_old_mut();
        let mut records = Vec::new();
        if !fit(&mut fields.name, name) {
            record(&mut records, "path", name);
        }
        if !fit(&mut fields.linkname, link) {
            record(&mut records, "linkpath", link);
        }
        for (key, value, most) in
            [("uid", meta.uid, OCTAL_8_MAX), ("gid", meta.gid, OCTAL_8_MAX), ("size", size, OCTAL_12_MAX)]
        {
            if value > most {
                record(&mut records, key, value.to_string().as_bytes());
            }
        }
        for (key, value) in &meta.xattrs {
            record(&mut records, &format!("SCHILY.xattr.{key}"), value);
        }
        if !records.is_empty() {
            self.extended(&records)?;
        }
        header.set_cksum();
        self.out.write_all(header.as_bytes())
    }

    fn extended(&mut self, records: &[u8]) -> io::Result<()> {
        let mut header = self.new_header(EntryType::XHeader, records.len() as u64, &TarMeta::root(0o644));
        fit(&mut header.as_old_mut().name, b"@PaxHeader");
        header.set_cksum();
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(records)?;
        self.pad(records.len() as u64)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let over = (size % BLOCK as u64) as usize;
        if over > 0 {
            self.out.write_all(&[0; BLOCK][over..])?;
        }
        Ok(())
    }
}

/// Puts text into a fixed field when it fits; else fills the field with its start.
fn fit(field: &mut [u8], text: &[u8]) -> bool {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
    text.len() <= field.len()
}

/// Appends one pax record: its own length in decimal, a space, `key=value` and a newline.
fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let long = "d/".repeat(80) + "file";
        let mut meta = TarMeta { mode: 0o4755, uid: 3_000_000, gid: 42, ..TarMeta::default() };
        meta.xattrs.insert("security.capability".into(), vec![1, 0, 9, 255]);
        let mut writer = TarWriter::new(Vec::new(), 1_700_000_000);
        writer.directory(Path::new("d"), &TarMeta::root(0o755)).unwrap();
        writer.file(Path::new(&long), &meta, 3, &mut &b"abc"[..]).unwrap();
        writer.symlink(Path::new("s"), &TarMeta::root(0), OsStr::new("d")).unwrap();
        let bytes = writer.finish().unwrap();

        let mut archive = ::tar::Archive::new(&bytes[..]);
        let mut entries = archive.entries().unwrap();
        assert_eq!(entries.next().unwrap().unwrap().path().unwrap(), Path::new("d/"));
        let mut file = entries.next().unwrap().unwrap();
        assert_eq!(file.path().unwrap(), Path::new(&long));
        assert_eq!(
            (file.header().mode().unwrap(), file.header().mtime().unwrap(), file.size()),
            (0o4755, 1_700_000_000, 3)
        );
        let records: BTreeMap<_, _> = file
            .pax_extensions()
            .unwrap()
            .unwrap()
            .map(|r| r.map(|r| (r.key().unwrap().to_owned(), r.value_bytes().to_vec())).unwrap())
            .collect();
        assert_eq!(records["SCHILY.xattr.security.capability"], [1, 0, 9, 255]);
        assert_eq!(records["uid"], b"3000000");
        let link = entries.next().unwrap().unwrap();
        assert_eq!(link.link_name().unwrap().unwrap(), Path::new("d"));
        assert!(entries.next().is_none());
    }

    #[test]
    fn a_pax_record_counts_its_own_length() {
        for size in 0..200 {
            let mut records = Vec::new();
            record(&mut records, "path", &vec![b'x'; size]);
            let written: usize = std::str::from_utf8(&records).unwrap().split(' ').next().unwrap().parse().unwrap();
            assert_eq!(written, records.len());
        }
    }

    #[test]
    fn a_file_that_changes_its_size_is_an_error() {
        let mut writer = TarWriter::new(Vec::new(), 0);
        assert!(writer.file(Path::new("f"), &TarMeta::root(0o644), 2, &mut &b"abc"[..]).is_err());
        assert!(writer.file(Path::new("f"), &TarMeta::root(0o644), 4, &mut &b"abc"[..]).is_err());
    }
}
