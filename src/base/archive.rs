//! Archives as bytes: decompression by what the bytes say, and Debian's `ar`.

use std::io::{self, Read, Seek, SeekFrom};

/// How a stream is compressed, told by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// The .xz format 1.2.
    Xz,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// Looks at up to six first bytes.
    pub fn detect(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// Wraps a reader so that it yields the decompressed bytes, whatever the compression is.
///
/// # Errors
/// When the first bytes cannot be read or the decoder cannot be made.
pub fn decompress<'a>(mut reader: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut start = [0; 6];
    let mut length = 0;
    while length < start.len() {
        match reader.read(&mut start[length..])? {
            0 => break,
            more => length += more,
        }
    }
    let whole = io::Cursor::new(start[..length].to_vec()).chain(reader);
    Ok(match Compression::detect(&start[..length]) {
        Compression::None => Box::new(whole),
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        Compression::Xz => Box::new(liblzma::read::XzDecoder::new_multi_decoder(whole)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(whole)?),
    })
}

/// One member of an `ar` archive.
#[derive(Clone, Copy, Debug)]
pub struct ArMember<'a> {
    /// Its name without padding and trailing slash.
    pub name: &'a str,
    /// Its bytes.
    pub data: &'a [u8],
}

/// The members of an `ar` archive as `.deb` files use it (deb(5)): no long names.
///
/// # Errors
/// When the bytes are not such an archive.
pub fn ar_members(bytes: &[u8]) -> io::Result<Vec<ArMember<'_>>> {
    const HEADER: usize = 60;
    let bad = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut rest = bytes.strip_prefix(b"!<arch>\n").ok_or_else(|| bad("no `ar` archive"))?;
    let mut members = Vec::new();
    while !rest.is_empty() {
        let header = rest.get(..HEADER).ok_or_else(|| bad("a cut `ar` header"))?;
        let name = std::str::from_utf8(&header[..16]).map_err(|_| bad("an `ar` name that is not text"))?;
        let size = std::str::from_utf8(&header[48..58]).ok().and_then(|field| field.trim().parse::<usize>().ok());
        let size = size.ok_or_else(|| bad("an `ar` size that is not a number"))?;
        let data = rest.get(HEADER..HEADER + size).ok_or_else(|| bad("a cut `ar` member"))?;
        members.push(ArMember { name: name.trim_end().trim_end_matches('/'), data });
        let next = HEADER + size + size % 2;
        rest = rest.get(next.min(rest.len())..).unwrap_or_default();
    }
    Ok(members)
}

/// Where a member of an `ar` archive is in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArEntry {
    /// Its name without padding and trailing slash.
    pub name: String,
    /// Where its bytes start.
    pub offset: u64,
    /// How many they are.
    pub size: u64,
}

/// The same as [`ar_members`] for a file that is too large to be held: only the headers are read.
///
/// # Errors
/// When the file cannot be read or is not such an archive.
pub fn ar_entries(file: &mut (impl Read + Seek)) -> io::Result<Vec<ArEntry>> {
    const HEADER: u64 = 60;
    let bad = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let end = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    let mut magic = [0; 8];
    file.read_exact(&mut magic)?;
    if &magic != b"!<arch>\n" {
        return Err(bad("no `ar` archive"));
    }
    let mut entries = Vec::new();
    let mut at = magic.len() as u64;
    while at < end {
        let mut header = [0; HEADER as usize];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut header).map_err(|_| bad("a cut `ar` header"))?;
        let field = |range: std::ops::Range<usize>| std::str::from_utf8(&header[range]).map(str::trim_end);
        let name = field(0..16).map_err(|_| bad("an `ar` name that is not text"))?.trim_end_matches('/').to_owned();
        let size = field(48..58).ok().and_then(|text| text.parse::<u64>().ok());
        let size = size.ok_or_else(|| bad("an `ar` size that is not a number"))?;
        let offset = at + HEADER;
        if header[58..] != *b"`\n" || size > end - offset {
            return Err(bad("a cut `ar` member"));
        }
        entries.push(ArEntry { name, offset, size });
        at = offset + size + size % 2;
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn every_compression_is_told_by_its_bytes() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"text").unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(b"text").unwrap();
        let all = [
            b"text".to_vec(),
            gzip.finish().unwrap(),
            xz.finish().unwrap(),
            zstd::encode_all(&b"text"[..], 1).unwrap(),
        ];
        for bytes in all {
            let mut text = String::new();
            decompress(&bytes[..]).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "text");
        }
    }

    #[test]
    fn a_cut_ar_archive_is_an_error() {
        let whole = b"!<arch>\ndebian-binary   0           0     0     100644  4         `\n2.0\n";
        assert_eq!(ar_members(whole).unwrap()[0].data, b"2.0\n");
        let entry = ArEntry { name: "debian-binary".into(), offset: 68, size: 4 };
        assert_eq!(ar_entries(&mut io::Cursor::new(whole)).unwrap(), [entry]);
        for length in 9..whole.len() {
            assert!(ar_members(&whole[..length]).is_err(), "{length}");
            assert!(ar_entries(&mut io::Cursor::new(&whole[..length])).is_err(), "{length}");
        }
    }
}
