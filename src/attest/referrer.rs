//! A document about an image as an OCI artifact that refers to it (OCI image specification 1.1, "Guidelines for artifact
//! usage"): a manifest of its own with the image as its subject, so that the image keeps its digest.

use serde_json::{Value, json};

use super::moment;
use crate::model::Sha256;

/// The media type of the manifest.
pub(super) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an index.
pub(super) const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// The config that says nothing.
pub(super) const EMPTY: &[u8] = b"{}";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";

/// A document that is to be attached.
#[derive(Clone, Debug)]
pub struct Referrer<'a> {
    /// What it is: the artifact type, and the media type of its only layer.
    pub media_type: &'a str,
    /// The predicate type, where it is a statement.
    pub predicate_type: Option<&'a str>,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// The image's manifest digest.
    pub subject: Sha256,
    /// The image's epoch, which stands for the time of making.
    pub epoch: i64,
}

/// The image that a place has.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub media_type: String,
    pub size: u64,
}

impl Referrer<'_> {
    /// The manifest's bytes for the image as it is there.
    pub(super) fn manifest(&self, subject: &Subject) -> Vec<u8> {
        json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": self.media_type,
            "config": descriptor(EMPTY_TYPE, &Sha256::of(EMPTY), EMPTY.len() as u64),
            "layers": [descriptor(self.media_type, &Sha256::of(self.bytes), self.bytes.len() as u64)],
            "subject": descriptor(&subject.media_type, &self.subject, subject.size),
            "annotations": self.annotations(),
        })
        .to_string()
        .into_bytes()
    }

    /// Its entry in an index.
    pub(super) fn entry(&self, manifest: &[u8]) -> Value {
        let mut entry = descriptor(MANIFEST_TYPE, &Sha256::of(manifest), manifest.len() as u64);
        entry["artifactType"] = self.media_type.into();
        entry["annotations"] = self.annotations();
        entry
    }

    fn annotations(&self) -> Value {
        let mut annotations = json!({ "org.opencontainers.image.created": moment(self.epoch) });
        if let Some(predicate_type) = self.predicate_type {
            annotations["in-toto.io/predicate-type"] = predicate_type.into();
        }
        annotations
    }
}

fn descriptor(media_type: &str, digest: &Sha256, size: u64) -> Value {
    json!({ "mediaType": media_type, "digest": digest.prefixed(), "size": size })
}
