//! ECDSA keys over P-256, as `cosign` and `openssl` make them: signing with a PKCS#8 key or with one that cosign encrypted,
//! verifying with a public one.

use std::path::Path;

use p256::ecdsa::signature::{Signer, Verifier};
use p256::ecdsa::{DerSignature, SigningKey as P256SigningKey, VerifyingKey};
use p256::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePublicKey};

use super::cosign::{self, Password, Unopened};
use super::error::AttestError;
use crate::base::fs;
use crate::model::Sha256;

const MAKE: &str = "make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`";
const MAKE_PUBLIC: &str = "make it with `openssl pkey -in KEY -pubout`";
const SAY: &str = "set COSIGN_PASSWORD, or name a file that holds it with `--password-file`";
const NEW: &str = "make one with `cosign generate-key-pair`";
const OPEN: &str = "write it without a password: `openssl pkcs8 -in KEY`";

/// A private key. Its bytes are never shown.
pub struct SigningKey(P256SigningKey);

/// A public key.
#[derive(Clone, Debug)]
pub struct PublicKey(VerifyingKey);

impl SigningKey {
    /// Reads a PEM file with a PKCS#8 key that has no password, or with one that cosign encrypted with this password.
    ///
    /// # Errors
    /// When it cannot be read, is of another kind, or the password is another.
    pub fn read(path: &Path, password: Option<&Password>) -> Result<Self, AttestError> {
        let text = fs::read_text(path)?;
        let fail = |why, hint| AttestError::Key { path: path.to_owned(), why, hint };
        match label(&text) {
            Some("PRIVATE KEY") => P256SigningKey::from_pkcs8_pem(&text)
                .map(Self)
                .map_err(|_| fail("it is no ECDSA key over the curve P-256", MAKE)),
            Some("EC PRIVATE KEY") => Err(fail(
                "it is not in the form PKCS#8",
                "write it in that form: `openssl pkcs8 -topk8 -nocrypt -in KEY`",
            )),
            Some("ENCRYPTED PRIVATE KEY") => Err(fail("it is encrypted", OPEN)),
            Some("ENCRYPTED SIGSTORE PRIVATE KEY" | "ENCRYPTED COSIGN PRIVATE KEY") => {
                let password = password.ok_or_else(|| fail("it is encrypted, and no password is given", SAY))?;
                let key = cosign::open(&text, password).map_err(|why| match why {
                    Unopened::Form => fail("it is damaged", NEW),
                    Unopened::Method => fail("it is encrypted in a way that is not known", NEW),
                    Unopened::Cost => fail("opening it would take more than 256 MiB or 4 passes", NEW),
                    Unopened::Password => fail("the password is not the one it was encrypted with", SAY),
                })?;
                P256SigningKey::from_pkcs8_der(&key)
                    .map(Self)
                    .map_err(|_| fail("it is no ECDSA key over the curve P-256", NEW))
            }
            Some("PUBLIC KEY") => Err(fail("it is a public key", "name the private key to sign")),
            _ => Err(fail("it is no key in PEM form", MAKE)),
        }
    }

    /// The signature of a text in DER form: always the same for the same key and text (RFC 6979).
    pub(super) fn sign(&self, text: &[u8]) -> Vec<u8> {
        let signature: DerSignature = self.0.sign(text);
        signature.as_bytes().to_vec()
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(*self.0.verifying_key())
    }
}

impl PublicKey {
    /// Reads a PEM file with a public key.
    ///
    /// # Errors
    /// When it cannot be read or is of another kind.
    pub fn read(path: &Path) -> Result<Self, AttestError> {
        let text = fs::read_text(path)?;
        let fail = |why, hint| AttestError::Key { path: path.to_owned(), why, hint };
        match label(&text) {
            Some("PUBLIC KEY") => VerifyingKey::from_public_key_pem(&text)
                .map(Self)
                .map_err(|_| fail("it is no ECDSA key over the curve P-256", MAKE_PUBLIC)),
            Some(private) if private.ends_with("PRIVATE KEY") => {
                Err(fail("it is a private key, and the public one is enough", MAKE_PUBLIC))
            }
            _ => Err(fail("it is no public key in PEM form", MAKE_PUBLIC)),
        }
    }

    pub(super) fn has_signed(&self, text: &[u8], signature: &[u8]) -> bool {
        DerSignature::from_bytes(signature).is_ok_and(|signature| self.0.verify(text, &signature).is_ok())
    }

    /// sha256 of its DER form.
    pub fn fingerprint(&self) -> Sha256 {
        self.0.to_public_key_der().map_or_else(|_| Sha256::of(b""), |der| Sha256::of(der.as_bytes()))
    }
}

/// What a PEM text says it is (RFC 7468), when it is one such text.
fn label(text: &str) -> Option<&str> {
    let label = text.trim().strip_prefix("-----BEGIN ")?.split_once("-----")?.0;
    text.trim().ends_with(&format!("-----END {label}-----")).then_some(label)
}
