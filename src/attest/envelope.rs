//! A signed statement: the Dead Simple Signing Envelope, protocol and JSON form 1.0.0.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::{Deserialize, Serialize};

use super::error::AttestError;
use super::key::{PublicKey, SigningKey};

/// The payload type of in-toto statements.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// An envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// What the payload is.
    pub payload_type: String,
    /// The payload in base64.
    pub payload: String,
    /// The signatures.
    pub signatures: Vec<EnvelopeSignature>,
}

/// One signature of an envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvelopeSignature {
    /// A name for the key. Empty, as cosign has it: whoever verifies says which key it must be.
    #[serde(default)]
    pub keyid: String,
    /// The signature in base64.
    pub sig: String,
}

/// Signs a statement.
pub fn seal_envelope(payload: &[u8], key: &SigningKey) -> Envelope {
    let signature = key.sign(&authenticated(IN_TOTO, payload));
    Envelope {
        payload_type: IN_TOTO.to_owned(),
        payload: STANDARD.encode(payload),
        signatures: vec![EnvelopeSignature { keyid: String::new(), sig: STANDARD.encode(signature) }],
    }
}

/// The payload of an envelope that the key has signed. `path` is its name in messages.
///
/// # Errors
/// When it is no envelope of an in-toto statement, or no signature is the key's.
pub fn open_envelope(bytes: &[u8], key: &PublicKey, path: &Path) -> Result<Vec<u8>, AttestError> {
    let fail = |why: String| AttestError::Envelope { path: path.to_owned(), why };
    let envelope: Envelope = serde_json::from_slice(bytes).map_err(|error| fail(error.to_string()))?;
    if envelope.payload_type != IN_TOTO {
        return Err(fail(format!("its payload is `{}`", crate::base::text::sanitize(&envelope.payload_type))));
    }
    let payload = decode(&envelope.payload).ok_or_else(|| fail("its payload is not base64".to_owned()))?;
    let text = authenticated(&envelope.payload_type, &payload);
    let is_signed =
        |signature: &EnvelopeSignature| decode(&signature.sig).is_some_and(|sig| key.has_signed(&text, &sig));
    match envelope.signatures.iter().any(is_signed) {
        true => Ok(payload),
        false => Err(AttestError::Unsigned { path: path.to_owned(), key: key.fingerprint() }),
    }
}

/// Both alphabets of base64 are allowed.
fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

/// What is signed: the type and the payload with their lengths (PAE).
fn authenticated(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_that_of_the_protocol() {
        // The example of the protocol's own text.
        let text = authenticated("http://example.com/HelloWorld", b"hello world");
        assert_eq!(text, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }
}
