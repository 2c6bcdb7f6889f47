//! Sigstore: whether a statement was signed by the holder of a certificate that a known authority gave out, and logged in
//! time. All of it offline, against a root of trust that is given.
//!
//! What the statement says, and whether the holder is the right one, is for others.

use serde_json::{Value, json};
use sigstore_verify::crypto::CertificateInfo;
use sigstore_verify::trust_root::{SIGSTORE_PRODUCTION_TRUSTED_ROOT, TrustedRoot};
use sigstore_verify::types::{Bundle, Sha256Hash};
use sigstore_verify::{CertificateError, Error, TransparencyLogError, VerificationPolicy, Verifier};

use super::{Answer, SignatureState, answer};
use crate::model::Sha256;

/// The form of bundle that has one certificate and asks for an inclusion proof.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// What the type of a root of trust starts with; its version follows.
const ROOT: &str = "application/vnd.dev.sigstore.trustedroot";
const IN_TOTO: &str = "application/vnd.in-toto+json";

/// Whom Sigstore's certificates and logs are believed for.
pub struct SigstoreRoot {
    root: TrustedRoot,
    verifier: Verifier,
}

impl SigstoreRoot {
    /// The public one, as this program was built with it.
    ///
    /// # Errors
    /// When it cannot be used, which a test rules out.
    pub fn built_in() -> Result<Self, String> {
        Self::parse(SIGSTORE_PRODUCTION_TRUSTED_ROOT)
    }

    /// Reads a `trusted_root.json`.
    ///
    /// # Errors
    /// When it is none, or a key or certificate in it cannot be used.
    pub fn parse(text: &str) -> Result<Self, String> {
        let root = TrustedRoot::from_json(text).map_err(|error| error.to_string())?;
        if !root.media_type.starts_with(ROOT) {
            return Err(format!("its type is `{}`", root.media_type));
        }
        if root.certificate_authorities.is_empty() || root.tlogs.is_empty() || root.ctlogs.is_empty() {
            return Err("it names no authority, no log, or no certificate log".to_owned());
        }
        let verifier = Verifier::new(&root).map_err(|error| error.to_string())?;
        Ok(Self { root, verifier })
    }

    /// Verifies the signature of a statement about a file, its certificate and its entries in the log; gives the certificate.
    ///
    /// # Errors
    /// The state that it is in otherwise, with the reason.
    pub(super) fn verify(&self, signed: &Signed<'_>, sha256: &Sha256) -> Result<CertificateInfo, Answer> {
        let bundle = signed.bundle()?;
        for entry in &bundle.verification_material.tlog_entries {
            // One proof is enough for the library.
            if entry.inclusion_proof.is_none() {
                return Err(bad("its entry in the transparency log has no inclusion proof"));
            }
            if !self.root.tlogs.iter().any(|log| log.log_id.key_id == entry.log_id.key_id) {
                let why = format!("its transparency log {} is not in the root of trust", entry.log_id.key_id);
                return Err(answer(SignatureState::UnknownKey, why));
            }
        }
        let digest = Sha256Hash::from_hex(&sha256.to_string()).map_err(|error| bad(error.to_string()))?;
        let verified = self.verifier.verify(digest, &bundle, &VerificationPolicy::any_identity()).map_err(judge)?;
        match verified.certificate() {
            Some(certificate)
                if verified.certificate_verified() && verified.sct_verified() && verified.tlog_verified() =>
            {
                Ok(certificate.clone())
            }
            _ => Err(bad("its certificate or its entry in the log was not verified")),
        }
    }
}

/// A statement with what is to prove it, as PEP 740 has it: certificate, statement and signature in base64.
pub(super) struct Signed<'a> {
    pub(super) certificate: &'a str,
    pub(super) entries: &'a [Value],
    pub(super) statement: &'a str,
    pub(super) signature: &'a str,
}

impl Signed<'_> {
    fn bundle(&self) -> Result<Bundle, Answer> {
        if self.entries.is_empty() {
            return Err(bad("it has no entry in a transparency log"));
        }
        let bundle = json!({
            "mediaType": BUNDLE,
            "verificationMaterial": { "certificate": { "rawBytes": self.certificate }, "tlogEntries": self.entries },
            "dsseEnvelope": { "payload": self.statement, "payloadType": IN_TOTO, "signatures": [{ "sig": self.signature }] },
        });
        Bundle::from_json(&bundle.to_string()).map_err(|error| bad(format!("it cannot be read: {error}")))
    }
}

fn bad(why: impl Into<String>) -> Answer {
    answer(SignatureState::Bad, why)
}

/// Which state an error is: that the root of trust does not know somebody is not yet a lie.
fn judge(error: Error) -> Answer {
    use SignatureState::{Bad, ExpiredKey, ServedNotChecked, UnknownKey};
    let state = match &error {
        Error::ArtifactMismatch(_) => return bad("its attestation is of another file than the locked one"),
        Error::Certificate(CertificateError::ChainInvalid(_)) => UnknownKey,
        Error::TransparencyLog(TransparencyLogError::UnknownLog { .. }) => UnknownKey,
        Error::Certificate(
            CertificateError::NoValidAuthority { .. }
            | CertificateError::Expired { .. }
            | CertificateError::NotYetValid { .. },
        ) => ExpiredKey,
        Error::UnsupportedBundle(_) | Error::UnsupportedArtifact(_) => ServedNotChecked,
        _ => Bad,
    };
    answer(state, format!("its attestation does not hold: {error}"))
}

#[cfg(test)]
mod tests {
    use super::{SIGSTORE_PRODUCTION_TRUSTED_ROOT, SigstoreRoot};

    #[test]
    fn the_built_in_root_can_be_used() {
        let root = SigstoreRoot::built_in().unwrap();
        assert!(!root.root.tlogs.is_empty() && !root.root.certificate_authorities.is_empty());
    }

    #[test]
    fn what_is_no_root_is_refused() {
        let empty = "{\"mediaType\":\"application/vnd.dev.sigstore.trustedroot+json;version=0.1\"}";
        for text in ["", "{}", "[]", empty, &SIGSTORE_PRODUCTION_TRUSTED_ROOT.replace("trustedroot", "bundle")] {
            assert!(SigstoreRoot::parse(text).is_err(), "{text}");
        }
    }
}
