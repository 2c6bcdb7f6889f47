//! What a `.deb` says of itself, for a pin that no index lists any more (deb(5)). Its files are never looked at.

use std::io::{Read, Seek, SeekFrom};

use super::control::Stanza;
use super::error::AptError;
use crate::base::archive::{ar_entries, decompress};
use crate::lock::AptPin;
use crate::store::Store;

/// The most that a control file may have, in bytes.
const CONTROL_LIMIT: u64 = 4 << 20;

/// The stanza that an index would have for a pin, made of the control file in its `.deb`, which is in the store.
pub(super) fn read_stanza(pin: &AptPin, store: &Store) -> Result<String, AptError> {
    let bad = |why: String| AptError::BadIndex { path: pin.artifact.path.to_string(), why };
    let mut file = store.open_blob(&pin.artifact.sha256)?;
    let control = read_control(&mut file).map_err(|error| bad(error.to_string()))?;
    let control = control.trim_matches('\n');
    if control.contains("\n\n") {
        return Err(bad("its control file has not exactly one paragraph".into()));
    }
    let said = Stanza::parse(control);
    let is_pin = said.package() == pin.name.as_str()
        && said.version() == pin.version.as_str()
        && said.architecture() == pin.architecture;
    if !is_pin {
        return Err(bad(format!("it calls itself {} {} for {}", said.package(), said.version(), said.architecture())));
    }
    let artifact = &pin.artifact;
    Ok(format!("{control}\nFilename: {}\nSize: {}\nSHA256: {}\n\n", artifact.path, artifact.size, artifact.sha256))
}

fn read_control(file: &mut (impl Read + Seek + Send)) -> std::io::Result<String> {
    let missing = |what| std::io::Error::new(std::io::ErrorKind::InvalidData, what);
    let entries = ar_entries(file)?;
    let entry = entries.iter().find(|entry| entry.name.starts_with("control.tar"));
    let entry = entry.ok_or_else(|| missing("it has no part `control.tar`"))?;
    file.seek(SeekFrom::Start(entry.offset))?;
    let mut archive = tar::Archive::new(decompress(file.take(entry.size))?);
    for entry in archive.entries()? {
        let entry = entry?;
        if matches!(&*entry.path_bytes(), b"./control" | b"control") && entry.header().entry_type().is_file() {
            let mut text = String::new();
            entry.take(CONTROL_LIMIT).read_to_string(&mut text)?;
            return Ok(text);
        }
    }
    Err(missing("it has no control file"))
}
