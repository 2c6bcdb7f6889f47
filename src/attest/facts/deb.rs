//! A `.deb`'s maintainer and copyright file (deb(5)).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use super::copyright::licence_of;
use super::{Facts, TEXT_LIMIT, bad, party};
use crate::attest::licence::Licence;
use crate::base::archive::{ar_entries, decompress};

pub(super) fn read(mut file: File, package: &str) -> io::Result<Facts> {
    let control = read_control(part(&mut file, "control.tar")?)?;
    let field = |name: &str| {
        let mut lines = control.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    };
    let supplier = field("Maintainer").as_deref().and_then(party);
    let (licence, licence_of) = match find_copyright(part(&mut file, "data.tar")?, package)? {
        Copyright::File(text) => (licence_of(&text), None),
        Copyright::Of(other) => (
            Licence::unknown(&format!("its copyright file is that of `{other}`, which is not in the lock")),
            Some(other),
        ),
        Copyright::Missing => (Licence::unknown("it has no copyright file"), None),
    };
    Ok(Facts { licence, supplier, author: None, licence_of })
}

fn part<'a>(file: &'a mut File, name: &str) -> io::Result<impl Read + Send + use<'a>> {
    let entry = ar_entries(file)?.into_iter().find(|entry| entry.name.starts_with(name));
    let entry = entry.ok_or_else(|| bad(&format!("it has no part `{name}`")))?;
    file.seek(SeekFrom::Start(entry.offset))?;
    Ok(io::BufReader::with_capacity(128 << 10, file.take(entry.size)))
}

fn read_control(reader: impl Read + Send) -> io::Result<String> {
    let mut archive = tar::Archive::new(decompress(reader)?);
    for entry in archive.entries()? {
        let entry = entry?;
        if matches!(&*entry.path_bytes(), b"./control" | b"control") {
            return text(entry);
        }
    }
    Err(bad("it has no control file"))
}

fn text(entry: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    entry.take(TEXT_LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

enum Copyright {
    File(String),
    /// That of another package.
    Of(String),
    Missing,
}

/// The copyright file, or the package whose documentation this one's is a link to (Debian Policy, 12.5).
fn find_copyright(reader: impl Read + Send, package: &str) -> io::Result<Copyright> {
    let directory = format!("usr/share/doc/{package}");
    let path = format!("{directory}/copyright");
    let mut archive = tar::Archive::new(io::BufReader::with_capacity(128 << 10, decompress(reader)?));
    for entry in archive.entries()? {
        let entry = entry?;
        let found = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let found = found.strip_prefix("./").unwrap_or(&found).trim_end_matches('/');
        if found != path && found != directory {
            continue;
        }
        if entry.header().entry_type().is_symlink() {
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            let target = String::from_utf8_lossy(&target).into_owned();
            let target = target.strip_suffix("/copyright").unwrap_or(&target);
            let other = target.trim_end_matches('/').rsplit('/').next().unwrap_or(target);
            return Ok(Copyright::Of(other.to_owned()));
        }
        if found == path {
            return Ok(Copyright::File(text(entry)?));
        }
    }
    Ok(Copyright::Missing)
}
