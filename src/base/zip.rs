//! Zip archives whose bytes are a function of their files alone (PKWARE's APPNOTE 6.3.3): nothing is compressed, and the
//! times are the earliest that the format has. Written here and by no library, so that no other version of one gives other
//! bytes.

use std::collections::BTreeMap;
use std::io;

/// 1 January 1980, midnight, as MS-DOS has it: time, then date.
const EARLIEST: [u8; 4] = [0, 0, 0x21, 0];
/// Version 2.0 of the format; made on Unix.
const VERSION: u16 = 20;
const MADE_BY: u16 = 3 << 8 | VERSION;
/// Names are UTF-8.
const UTF8: u16 = 1 << 11;
const REGULAR: u32 = 0o100_000;

/// A file of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZipFile {
    /// Its permissions, such as 0o644.
    pub mode: u32,
    /// Its content.
    pub content: Vec<u8>,
}

/// Writes an archive of plain files, sorted by name.
///
/// # Errors
/// When there is more than the plain format holds: 65,535 files, names of so many bytes, or 4 GiB.
pub fn write_zip(files: &BTreeMap<String, ZipFile>) -> io::Result<Vec<u8>> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, file) in files {
        let offset = narrow::<u32>(bytes.len())?;
        let entry = entry(name, file)?;
        bytes.extend(b"PK\x03\x04");
        bytes.extend(&entry);
        bytes.extend(name.as_bytes());
        bytes.extend(&file.content);
        directory.extend(b"PK\x01\x02");
        directory.extend(MADE_BY.to_le_bytes());
        directory.extend(&entry);
        // No comment, on the first disk, nothing said of being text.
        directory.extend([0; 6]);
        directory.extend(((REGULAR | file.mode) << 16).to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (count, start, size) =
        (narrow::<u16>(files.len())?, narrow::<u32>(bytes.len())?, narrow::<u32>(directory.len())?);
    bytes.extend(directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend(count.to_le_bytes());
    bytes.extend(count.to_le_bytes());
    bytes.extend(size.to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes.extend([0; 2]);
    Ok(bytes)
}

/// What the two headers of a file have in common.
fn entry(name: &str, file: &ZipFile) -> io::Result<Vec<u8>> {
    let mut crc = flate2::Crc::new();
    crc.update(&file.content);
    let size = narrow::<u32>(file.content.len())?.to_le_bytes();
    let mut entry = Vec::new();
    for field in [VERSION, UTF8, 0] {
        entry.extend(field.to_le_bytes());
    }
    entry.extend(EARLIEST);
    entry.extend(crc.sum().to_le_bytes());
    entry.extend(size);
    entry.extend(size);
    entry.extend(narrow::<u16>(name.len())?.to_le_bytes());
    entry.extend([0; 2]);
    Ok(entry)
}

fn narrow<T: TryFrom<usize>>(number: usize) -> io::Result<T> {
    T::try_from(number).map_err(|_| io::Error::other("it has more than a plain zip archive holds"))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn others_read_what_is_written() {
        let file = |mode, text: &str| ZipFile { mode, content: text.into() };
        let files =
            BTreeMap::from([("b/\u{e4}.txt".to_owned(), file(0o644, "text")), ("a".to_owned(), file(0o755, ""))]);
        let bytes = write_zip(&files).unwrap();
        let mut archive = zip::ZipArchive::new(io::Cursor::new(&bytes)).unwrap();
        assert_eq!(archive.len(), 2);
        for (index, (name, wanted)) in files.iter().enumerate() {
            let mut found = archive.by_index(index).unwrap();
            assert_eq!(
                (found.name().unwrap().as_ref(), found.unix_mode()),
                (name.as_str(), Some(REGULAR | wanted.mode))
            );
            let time = found.last_modified().unwrap();
            assert_eq!((time.year(), time.month(), time.day(), time.hour()), (1980, 1, 1, 0));
            let mut content = Vec::new();
            found.read_to_end(&mut content).unwrap();
            assert_eq!(content, wanted.content);
        }
        let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&bytes));
        let frozen = "a24c9fdf1886be14d07c352120cd061122341b5e6b611fef577bae97eef82771";
        assert_eq!(digest, frozen, "the bytes are frozen: lockfiles hold their digests");
    }
}
