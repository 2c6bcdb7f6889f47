//! Attaching to an image in an OCI layout (OCI image layout specification 1.1).

use std::path::Path;

use serde_json::Value;

use super::error::AttestError;
use super::referrer::{EMPTY, Referrer, Subject};
use crate::base::fs::{self, write_atomically};
use crate::base::text::sanitize;
use crate::model::Sha256;

/// Writes the document into a layout beside its image, and gives the digest of its manifest. Attaching the same twice
/// changes nothing.
///
/// # Errors
/// When the directory is no layout, does not have the image, has it damaged, or cannot be written.
pub fn attach_to_layout(referrer: &Referrer<'_>, directory: &Path) -> Result<Sha256, AttestError> {
    let place = directory.display().to_string();
    let fail = |why: &str| AttestError::Place { place: place.clone(), why: why.to_owned() };
    let path = directory.join("index.json");
    if !directory.join("oci-layout").is_file() || !path.is_file() {
        return Err(fail("it is no OCI layout"));
    }
    let text = fs::read_text(&path)?;
    let mut index: Value = serde_json::from_str(&text)
        .map_err(|error| fail(&format!("its index.json is wrong: {}", sanitize(&error.to_string()))))?;
    let Some(entries) = index["manifests"].as_array_mut() else { return Err(fail("its index.json has no manifests")) };
    let subject = find_subject(entries, referrer, directory)?;
    let manifest = referrer.manifest(&subject);
    let digest = Sha256::of(&manifest);
    for bytes in [EMPTY, referrer.bytes, &manifest] {
        let blob = blob_path(directory, &Sha256::of(bytes));
        if fs::read(&blob).ok().as_deref() != Some(bytes) {
            write_atomically(&blob, bytes)?;
        }
    }
    if !entries.iter().any(|entry| entry["digest"] == digest.prefixed().as_str()) {
        entries.push(referrer.entry(&manifest));
        write_atomically(&path, index.to_string().as_bytes())?;
    }
    Ok(digest)
}

/// The image as the layout has it: named by its index, and its bytes are those of its digest.
fn find_subject(entries: &[Value], referrer: &Referrer<'_>, directory: &Path) -> Result<Subject, AttestError> {
    let digest = referrer.subject;
    let entry = entries.iter().find(|entry| entry["digest"] == digest.prefixed().as_str());
    let place = directory.display().to_string();
    let Some(entry) = entry else { return Err(AttestError::NoImage { place, digest }) };
    let bytes = fs::read(&blob_path(directory, &digest))?;
    if Sha256::of(&bytes) != digest {
        return Err(AttestError::Place { place, why: "the image's manifest is damaged".to_owned() });
    }
    let media_type = entry["mediaType"].as_str().unwrap_or_default().to_owned();
    Ok(Subject { media_type, size: bytes.len() as u64 })
}

fn blob_path(directory: &Path, digest: &Sha256) -> std::path::PathBuf {
    directory.join("blobs/sha256").join(digest.to_string())
}
