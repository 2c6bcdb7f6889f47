//! The files of packages as archives of the store, for those who ask what packages ship.

use std::io;

use super::deb::{find_parts, part};
use super::error::AptAssembleError;
use crate::base::archive::decompress;
use crate::lock::AptPin;
use crate::model::{Hasher, Sha256};
use crate::store::Store;

const MEMO: &str = "deb-contents";

/// Puts each package's files into the store as an uncompressed tar, and gives the tars' digests.
///
/// # Errors
/// When a package is missing, damaged, or no Debian package.
pub fn package_contents(pins: &[&AptPin], store: &Store) -> Result<Vec<Sha256>, AptAssembleError> {
    pins.iter().map(|pin| contents(pin, store)).collect()
}

fn contents(pin: &AptPin, store: &Store) -> Result<Sha256, AptAssembleError> {
    let mut question = Hasher::default();
    question.field(pin.artifact.sha256.as_bytes());
    let question = question.finish();
    let kept = store.memo(MEMO, &question).and_then(|answer| Sha256::parse(std::str::from_utf8(&answer).ok()?).ok());
    if let Some(kept) = kept.filter(|digest| store.contains(digest)) {
        return Ok(kept);
    }
    let invalid =
        |why: String| AptAssembleError::Invalid { package: pin.name.clone(), version: pin.version.clone(), why };
    let failed = |source| AptAssembleError::Store {
        package: pin.name.clone(),
        version: pin.version.clone(),
        source: Box::new(source),
    };
    let mut file = store.open_blob(&pin.artifact.sha256).map_err(failed)?;
    let (_, data) = find_parts(&mut file).map_err(invalid)?;
    let mut plain = decompress(part(&mut file, &data).map_err(invalid)?).map_err(|error| invalid(error.to_string()))?;
    let mut writer = store.create_blob().map_err(failed)?;
    io::copy(&mut plain, &mut writer).map_err(|source| AptAssembleError::Write { source })?;
    let (digest, _) = writer.commit(None).map_err(failed)?;
    store.set_memo(MEMO, &question, digest.to_string().as_bytes()).map_err(failed)?;
    Ok(digest)
}
