//! Archives as bytes: decompression by what the bytes say, and Debian's `ar`.

use std::io::{self, Read};

/// How a stream is compressed, told by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        for length in 9..whole.len() {
            assert!(ar_members(&whole[..length]).is_err(), "{length}");
        }
    }
}
