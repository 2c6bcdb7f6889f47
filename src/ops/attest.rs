//! What `sbom` and `provenance` share: a document is printed, signed, attached, or compared with a signed one.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::OpsError;
use super::session::Session;
use crate::attest::{
    AttestError, DocumentType, IN_TOTO, Password, PublicKey, Referrer, SigningKey, attach_to_layout,
    attach_to_registry, open_envelope, render_statement, seal_envelope,
};
use crate::base::fs;
use crate::base::text::sanitize;
use crate::lock::ImagePin;
use crate::manifest::Manifest;
use crate::model::{ImageReference, Platform, Sha256};

/// The media type of a signed envelope.
const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
/// How many differences are named.
const NAMED: usize = 8;

/// What is done with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attesting {
    /// It is given out.
    Deliver {
        /// The key that signs it, if any.
        sign: Option<PathBuf>,
        /// The file with the password of the key; the variable COSIGN_PASSWORD when not given.
        password: Option<PathBuf>,
        /// Where it is attached, if anywhere; else it is printed.
        attach: Option<AttachTo>,
    },
    /// It is compared with a signed one.
    Verify {
        /// The public key that must have signed.
        key: PathBuf,
        /// The file with the envelope.
        envelope: PathBuf,
    },
}

/// Where an image is that a document is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttachTo {
    /// An OCI layout directory.
    OciLayout(PathBuf),
    /// A repository of a registry.
    Registry(ImageReference),
}

impl AttachTo {
    /// Reads `oci:DIR` or `registry:NAME`.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn parse(text: &str) -> Result<Self, OpsError> {
        let fail = |why: String| Err(AttestError::Place { place: text.to_owned(), why }.into());
        match text.split_once(':') {
            Some((_, "")) | None => fail("the places are `oci:DIR` and `registry:NAME`".to_owned()),
            Some(("oci", path)) => Ok(Self::OciLayout(path.into())),
            Some(("registry", name)) => match ImageReference::parse(name) {
                Ok(reference) => Ok(Self::Registry(reference)),
                Err(error) => fail(error.to_string()),
            },
            Some(_) => fail("the places are `oci:DIR` and `registry:NAME`".to_owned()),
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(untagged)]
pub enum AttestOutcome {
    /// The document, or the envelope with it.
    Document(Value),
    /// It was attached.
    Attached {
        /// The digest of its manifest.
        attached: Sha256,
    },
    /// The envelope is signed and says what this project says.
    Verified {
        /// The envelope.
        verified: PathBuf,
        /// The fingerprint of the key.
        key: Sha256,
    },
}

/// A document about the image of a platform.
pub(super) struct Said<'a> {
    pub manifest: &'a Manifest,
    pub platform: Platform,
    /// The recorded image, where there is one.
    pub image: Option<ImagePin>,
    pub epoch: i64,
    pub kind: DocumentType,
    /// The predicate of a statement.
    pub predicate: Value,
}

impl Said<'_> {
    fn recorded(&self) -> Result<ImagePin, AttestError> {
        self.image.ok_or(AttestError::NotRecorded { platform: self.platform })
    }

    fn statement(&self) -> Result<Value, AttestError> {
        let image = self.recorded()?;
        Ok(render_statement(&self.manifest.image.name, &image, self.kind.predicate_type, self.predicate.clone()))
    }

    /// The document by itself: a bill as it is, provenance as a statement.
    fn document(&self) -> Result<Value, AttestError> {
        if self.kind.media_type == IN_TOTO { self.statement() } else { Ok(self.predicate.clone()) }
    }
}

pub(super) fn attest(session: &Session, said: &Said<'_>, what: &Attesting) -> Result<AttestOutcome, OpsError> {
    match what {
        Attesting::Deliver { sign, password, attach } => {
            let (document, media_type) = match sign {
                Some(key) => {
                    let payload = said.statement()?.to_string();
                    let password = read_password(session, password.as_deref())?;
                    let envelope = seal_envelope(payload.as_bytes(), &SigningKey::read(key, password.as_ref())?);
                    (serde_json::to_value(envelope).unwrap_or_default(), ENVELOPE)
                }
                None => (said.document()?, said.kind.media_type),
            };
            match attach {
                None => Ok(AttestOutcome::Document(document)),
                Some(place) => attach_to(session, said, &document, media_type, place),
            }
        }
        Attesting::Verify { key, envelope } => {
            let key = PublicKey::read(key)?;
            let payload = open_envelope(&fs::read(envelope)?, &key, envelope)?;
            let found: Value = serde_json::from_slice(&payload)
                .map_err(|error| AttestError::Envelope { path: envelope.clone(), why: sanitize(&error.to_string()) })?;
            let mut differences = Vec::new();
            compare("", &said.statement()?, &found, &mut differences);
            match differences.is_empty() {
                true => Ok(AttestOutcome::Verified { verified: envelope.clone(), key: key.fingerprint() }),
                false => Err(AttestError::OtherStatement { path: envelope.clone(), differences }.into()),
            }
        }
    }
}

/// The password of a key, as cosign takes it; that of a file without the newline at its end.
fn read_password(session: &Session, file: Option<&Path>) -> Result<Option<Password>, OpsError> {
    let Some(file) = file else {
        // An empty one is one too.
        let mut variables = session.environment.variables();
        return Ok(variables.find(|(name, _)| *name == "COSIGN_PASSWORD").map(|(_, password)| Password::new(password)));
    };
    let mut bytes = fs::read(file)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Ok(Some(Password::new(bytes)))
}

fn attach_to(
    session: &Session,
    said: &Said<'_>,
    document: &Value,
    media_type: &str,
    place: &AttachTo,
) -> Result<AttestOutcome, OpsError> {
    let bytes = document.to_string();
    let is_statement = media_type == ENVELOPE || media_type == IN_TOTO;
    let referrer = Referrer {
        media_type,
        predicate_type: is_statement.then_some(said.kind.predicate_type),
        bytes: bytes.as_bytes(),
        subject: said.recorded()?.digest,
        epoch: said.epoch,
    };
    let attached = match place {
        AttachTo::OciLayout(directory) => attach_to_layout(&referrer, directory)?,
        AttachTo::Registry(reference) => {
            let source = session.sources(said.manifest)?.image(reference.registry.as_deref())?;
            session.block_on(attach_to_registry(&referrer, reference, &source, &session.http))?
        }
    };
    Ok(AttestOutcome::Attached { attached })
}

/// Names the places where two documents differ, deepest first, a few of them.
fn compare(place: &str, expected: &Value, found: &Value, differences: &mut Vec<String>) {
    if expected == found || differences.len() >= NAMED {
        return;
    }
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            let own = expected.keys().chain(found.keys().filter(|key| !expected.contains_key(*key)));
            for key in own {
                let value = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                let dot = if place.is_empty() { "" } else { "." };
                compare(&format!("{place}{dot}{key}"), &value(expected), &value(found), differences);
            }
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            for (index, (expected, found)) in expected.iter().zip(found).enumerate() {
                compare(&format!("{place}[{index}]"), expected, found, differences);
            }
        }
        (Value::Array(expected), Value::Array(found)) => {
            differences.push(format!("{}  signed: {} entries, here: {}", sanitize(place), found.len(), expected.len()));
        }
        _ => differences.push(format!("{}  signed: {}, here: {}", sanitize(place), shown(found), shown(expected))),
    }
}

fn shown(value: &Value) -> String {
    let text = sanitize(&value.to_string());
    if text.chars().count() <= 80 { text } else { text.chars().take(79).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn places_are_read() {
        assert_eq!(AttachTo::parse("oci:out/x").unwrap(), AttachTo::OciLayout("out/x".into()));
        assert!(matches!(AttachTo::parse("registry:host.invalid:5000/a/b").unwrap(), AttachTo::Registry(_)));
        for wrong in ["", "oci", "oci:", "registry:", "registry:A B", "dir:x"] {
            assert!(AttachTo::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn differences_are_named_by_their_place() {
        let mut differences = Vec::new();
        let (one, other) =
            (json!({ "a": [{ "b": 1 }, 2], "c": [1] }), json!({ "a": [{ "b": 2 }, 2], "c": [1, 2], "d": 1 }));
        compare("", &one, &other, &mut differences);
        assert_eq!(
            differences,
            ["a[0].b  signed: 2, here: 1", "c  signed: 2 entries, here: 1", "d  signed: 1, here: null"]
        );
    }
}
