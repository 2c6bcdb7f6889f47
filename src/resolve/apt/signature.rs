//! OpenPGP: a clear-signed text and the keys that may sign it (RFC 9580, section 7).
//!
//! rPGP does the arithmetic and has no policy; the policy is here. Only the text inside the one signed block is given out.
//! Knows nothing of archives.

use std::collections::BTreeSet;
use std::io::Cursor;

use pgp::composed::{CleartextSignedMessage, Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{RevocationCode, Signature, SignatureType, Subpacket, SubpacketData};
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, PublicParams, Tag, VerifyingKey};

use crate::base::explain::{Explain, Kind};
use crate::base::text::sanitize;

/// Debian's archive keys, as the package debian-archive-keyring of Debian 13 has them (see keys/README.md).
const BUNDLED: &[u8] = include_bytes!("keys/debian-archive-keyring.pgp");

/// The least length of an RSA key in bits.
const MINIMUM_RSA_BITS: u16 = 2048;

const MESSAGE: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const END: &str = "-----END PGP SIGNATURE-----";

/// A signed text that is not to be trusted, or keys that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// It is not exactly one clear-signed block.
    #[error("it is no clear-signed text: {why}")]
    Malformed {
        /// What is wrong.
        why: String,
    },
    /// A key of the keyring is named, and the signature is not that key's over this text.
    #[error("the signature of {key} does not verify: the text was changed or the signature is damaged")]
    Wrong {
        /// The key's fingerprint.
        key: String,
    },
    /// All good signatures are of a time that is still to come.
    #[error("it was signed at {made}, which is in the future")]
    Future {
        /// When the first of them was made, for people.
        made: String,
        /// The moment of asking, for people.
        now: String,
    },
    /// No signature counts.
    #[error("it has no signature that can be trusted")]
    Untrusted {
        /// One reason for each signature.
        reasons: Vec<String>,
    },
    /// The keyring holds no key.
    #[error("the keyring cannot be used: {why}")]
    Keyring {
        /// What is wrong.
        why: String,
    },
}

impl Explain for SignatureError {
    fn kind(&self) -> Kind {
        match self {
            Self::Keyring { .. } => Kind::Asked,
            Self::Malformed { .. } | Self::Wrong { .. } | Self::Untrusted { .. } | Self::Future { .. } => {
                Kind::Distrust
            }
        }
    }

    fn evidence(&self) -> Vec<String> {
        match self {
            Self::Untrusted { reasons } => reasons.clone(),
            Self::Future { made, now } => vec![format!("signed  {made}"), format!("   now  {now}")],
            _ => Vec::new(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Untrusted { .. } => {
                vec!["an archive with keys of its own needs `signed-by = \"FILE\"` in `[sources]`".into()]
            }
            Self::Future { .. } => vec!["set this machine's clock".into()],
            _ => Vec::new(),
        }
    }
}

/// Keys that may sign.
#[derive(Clone, Debug)]
pub struct Keyring {
    keys: Vec<SignedPublicKey>,
}

/// A text whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verified {
    /// The signed text alone, lines ended by `\n`.
    pub(super) text: String,
    /// The fingerprints of the primary keys whose signatures are good, sorted.
    pub(super) keys: Vec<String>,
    /// When the first of these signatures was made, in seconds since 1970.
    pub(super) made: i64,
}

impl Verified {
    /// Refuses a text that nobody had signed by `now` (seconds since 1970), but for `slack` seconds.
    pub(super) fn check_made(&self, now: i64, slack: i64) -> Result<(), SignatureError> {
        if self.made <= now.saturating_add(slack) {
            return Ok(());
        }
        Err(SignatureError::Future { made: super::release::show_time(self.made), now: super::release::show_time(now) })
    }
}

impl Keyring {
    /// Debian's own archive keys.
    ///
    /// # Errors
    /// Never in a build that passed its tests.
    pub fn bundled() -> Result<Self, SignatureError> {
        Self::parse(BUNDLED)
    }

    /// Reads public keys, binary or armoured. Keys of kinds that are not known are left out.
    ///
    /// # Errors
    /// When no key is left.
    pub fn parse(bytes: &[u8]) -> Result<Self, SignatureError> {
        let fail = |why: String| SignatureError::Keyring { why: sanitize(&why) };
        let keys: Vec<SignedPublicKey> = if bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
            let (keys, _) = SignedPublicKey::from_armor_many(Cursor::new(bytes)).map_err(|e| fail(e.to_string()))?;
            keys.filter_map(Result::ok).collect()
        } else {
            let keys = SignedPublicKey::from_bytes_many(Cursor::new(bytes)).map_err(|e| fail(e.to_string()))?;
            keys.filter_map(Result::ok).collect()
        };
        if keys.is_empty() {
            return Err(fail("it holds no OpenPGP key".to_owned()));
        }
        Ok(Self { keys })
    }

    /// Verifies a clear-signed text with the keys as they were at `as_of` (seconds since 1970).
    ///
    /// One good signature is enough, as archives are signed with old and new keys while they change; one that is of a
    /// known key and wrong is too much.
    pub(super) fn verify(&self, bytes: &[u8], as_of: i64) -> Result<Verified, SignatureError> {
        let malformed = |why: &str| SignatureError::Malformed { why: sanitize(why) };
        let text = std::str::from_utf8(bytes).map_err(|_| malformed("it is not UTF-8"))?;
        let named = check_frame(text).map_err(malformed)?;
        let (message, _) = CleartextSignedMessage::from_string(text).map_err(|error| malformed(&error.to_string()))?;
        let signed = message.signed_text();
        let mut keys = BTreeSet::new();
        let mut reasons = Vec::new();
        let mut made = i64::MAX;
        for signature in message.signatures() {
            let verdict = match check_digest(signature, &named) {
                Ok(()) => self.judge(signature, signed.as_bytes(), as_of)?,
                Err(reason) => Err(reason),
            };
            match verdict {
                Ok(key) => {
                    made = made.min(signature.created().map_or(i64::MAX, |time| i64::from(time.as_secs())));
                    keys.insert(key);
                }
                Err(reason) => reasons.push(reason),
            }
        }
        if keys.is_empty() {
            return Err(SignatureError::Untrusted { reasons });
        }
        Ok(Verified { text: signed.replace("\r\n", "\n"), keys: keys.into_iter().collect(), made })
    }

    /// The fingerprint of the key whose good signature it is, or why it does not count.
    fn judge(&self, signature: &Signature, text: &[u8], as_of: i64) -> Result<Result<String, String>, SignatureError> {
        if let Err(reason) = check_signature(signature, as_of) {
            return Ok(Err(reason));
        }
        for key in &self.keys {
            let name = fingerprint(&key.primary_key);
            if is_issuer(signature, &key.primary_key) {
                signature.verify(&key.primary_key, text).map_err(|_| SignatureError::Wrong { key: name.clone() })?;
                return Ok(check_primary(key, signature, as_of).map(|()| name));
            }
            if let Some(subkey) = key.public_subkeys.iter().find(|subkey| is_issuer(signature, &subkey.key)) {
                signature.verify(&subkey.key, text).map_err(|_| SignatureError::Wrong { key: name.clone() })?;
                let usable = check_primary_at(key, as_of).and_then(|()| check_subkey(key, subkey, signature, as_of));
                return Ok(usable.map(|()| name));
            }
        }
        Ok(Err(format!("signed by {}, which is not in the keyring", issuer(signature))))
    }
}

/// Refuses everything but one block from the first byte to the last. Gives the digests that its headers name.
fn check_frame(text: &str) -> Result<Vec<&str>, &'static str> {
    if text.contains(['\0', '\r']) {
        return Err("it holds NUL or carriage return characters");
    }
    let Some(rest) = text.strip_prefix(MESSAGE).and_then(|rest| rest.strip_prefix('\n')) else {
        return Err("it does not start with a signed block");
    };
    let (headers, rest) = rest.split_once("\n\n").ok_or("its block has no end of headers")?;
    let named: Option<Vec<&str>> = headers.split('\n').map(|line| line.strip_prefix("Hash: ")).collect();
    let named = named.ok_or("its block has headers other than `Hash`")?;
    let (body, rest) = rest.split_once(&format!("\n{SIGNATURE}\n")).ok_or("it has no signature")?;
    if body.split('\n').any(|line| line.starts_with('-') && !line.starts_with("- ")) {
        return Err("its text has lines that should be dash-escaped");
    }
    let (armour, rest) = rest.split_once(&format!("\n{END}")).ok_or("its signature has no end")?;
    if armour.contains("-----") || !rest.chars().all(|character| character == '\n') {
        return Err("there is something beside its one signed block");
    }
    Ok(named.into_iter().flat_map(|names| names.split(',')).map(str::trim).collect())
}

/// A signature's digest must be one that the block's headers name (RFC 9580, section 7.1): gpgv works out no other.
fn check_digest(signature: &Signature, named: &[&str]) -> Result<(), String> {
    let by = issuer(signature);
    match signature.hash_alg() {
        Some(hash) if !named.iter().any(|name| name.eq_ignore_ascii_case(&hash.to_string())) => {
            Err(format!("the signature of {by} uses the digest {hash}, which the block's headers do not name"))
        }
        _ => Ok(()),
    }
}

/// Whether it says something that must be understood and is not (RFC 9580, section 5.2.3.7). No notation is known here.
fn says_what_is_not_known(signature: &Signature) -> bool {
    use SubpacketData::{Experimental, Notation, Other};
    let is_unknown =
        |part: &Subpacket| part.is_critical && matches!(part.data, Notation(_) | Experimental(..) | Other(..));
    signature
        .config()
        .is_none_or(|config| config.hashed_subpackets().chain(config.unhashed_subpackets()).any(is_unknown))
}

/// What can be said of a signature without its key.
fn check_signature(signature: &Signature, as_of: i64) -> Result<(), String> {
    let by = issuer(signature);
    if !matches!(signature.typ(), Some(SignatureType::Text | SignatureType::Binary)) {
        return Err(format!("the signature of {by} is not one over a text"));
    }
    match signature.hash_alg() {
        Some(hash) if is_strong(hash) => {}
        Some(hash) => return Err(format!("the signature of {by} uses the weak digest {hash}")),
        None => return Err(format!("the signature of {by} has an unknown form")),
    }
    if says_what_is_not_known(signature) {
        return Err(format!("the signature of {by} has a critical part that is not known"));
    }
    let Some(created) = signature.created().map(|time| i64::from(time.as_secs())) else {
        return Err(format!("the signature of {by} does not say when it was made"));
    };
    match signature.signature_expiration_time().map(|length| i64::from(length.as_secs())) {
        Some(length) if length > 0 && created + length < as_of => Err(format!("the signature of {by} has expired")),
        _ => Ok(()),
    }
}

fn is_strong(hash: HashAlgorithm) -> bool {
    use HashAlgorithm::{Sha3_256, Sha3_512, Sha256, Sha384, Sha512};
    matches!(hash, Sha256 | Sha384 | Sha512 | Sha3_256 | Sha3_512)
}

fn is_issuer(signature: &Signature, key: &impl KeyDetails) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    match fingerprints.is_empty() {
        false => fingerprints.iter().any(|fingerprint| **fingerprint == key.fingerprint()),
        true => signature.issuer_key_id().iter().any(|id| **id == key.legacy_key_id()),
    }
}

fn issuer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint().first().map(|key| hex::encode_upper(key.as_bytes()));
    let id = || signature.issuer_key_id().first().map(|id| id.to_string().to_uppercase());
    fingerprint.or_else(id).map_or_else(|| "an unnamed key".to_owned(), |key| format!("key {key}"))
}

fn fingerprint(key: &impl KeyDetails) -> String {
    hex::encode_upper(key.fingerprint().as_bytes())
}

/// Whether the primary key may be used and may itself sign texts.
fn check_primary(key: &SignedPublicKey, signature: &Signature, as_of: i64) -> Result<(), String> {
    check_primary_at(key, as_of)?;
    check_age(&key.primary_key, signature)?;
    match self_signature(key, as_of) {
        Some(own) if says_flags(own) && !own.key_flags().sign() => {
            Err(format!("key {} may not sign texts", fingerprint(&key.primary_key)))
        }
        _ => Ok(()),
    }
}

/// Whether the primary key is strong, not revoked and not expired.
fn check_primary_at(key: &SignedPublicKey, as_of: i64) -> Result<(), String> {
    let primary = &key.primary_key;
    let name = fingerprint(primary);
    check_strength(primary)?;
    let is_revoked = key
        .details
        .revocation_signatures
        .iter()
        .any(|revocation| revocation.verify_key(primary).is_ok() && revokes(revocation, as_of));
    if is_revoked {
        return Err(format!("key {name} was revoked"));
    }
    let own = self_signature(key, as_of).ok_or_else(|| format!("key {name} has no valid signature of its own"))?;
    check_expiry(primary, own, as_of)
}

/// Whether a subkey belongs to its key, may sign, and is not revoked or expired.
fn check_subkey(
    key: &SignedPublicKey,
    subkey: &SignedPublicSubKey,
    signature: &Signature,
    as_of: i64,
) -> Result<(), String> {
    let name = fingerprint(&subkey.key);
    check_strength(&subkey.key)?;
    check_age(&subkey.key, signature)?;
    let bound = |own: &&Signature| own.verify_subkey_binding(&key.primary_key, &subkey.key).is_ok();
    let of_type = |kind| subkey.signatures.iter().filter(move |own| own.typ() == Some(kind)).filter(bound);
    if of_type(SignatureType::SubkeyRevocation).any(|revocation| revokes(revocation, as_of)) {
        return Err(format!("subkey {name} was revoked"));
    }
    let newest = of_type(SignatureType::SubkeyBinding)
        .filter(|own| own.hash_alg().is_some_and(is_strong) && !says_what_is_not_known(own))
        .max_by_key(|own| own.created());
    let binding = newest.ok_or_else(|| format!("subkey {name} is not bound to its key"))?;
    let answers = |back: &Signature| back.verify_primary_key_binding(&subkey.key, &key.primary_key).is_ok();
    if !binding.key_flags().sign() || !binding.embedded_signature().is_some_and(answers) {
        return Err(format!("subkey {name} may not sign texts"));
    }
    check_expiry(&subkey.key, binding, as_of)
}

/// The newest valid statement of the key about itself that was made by then, or the newest of all when none was.
fn self_signature(key: &SignedPublicKey, as_of: i64) -> Option<&Signature> {
    let primary = &key.primary_key;
    let direct = key.details.direct_signatures.iter().filter(|own| own.verify_key(primary).is_ok());
    let of_users = key.details.users.iter().flat_map(|user| {
        user.signatures.iter().filter(|own| {
            own.is_certification()
                && is_issuer(own, primary)
                && own.verify_certification(primary, Tag::UserId, &user.id).is_ok()
        })
    });
    let is_usable = |own: &&Signature| own.hash_alg().is_some_and(is_strong) && !says_what_is_not_known(own);
    let strong = direct.chain(of_users).filter(is_usable);
    let made = |own: &Signature| own.created().map_or(0, |time| i64::from(time.as_secs()));
    strong.max_by_key(|own| (made(own) <= as_of, made(own)))
}

fn says_flags(signature: &Signature) -> bool {
    let config = signature.config();
    config.is_some_and(|config| config.hashed_subpackets().any(|part| matches!(part.data, SubpacketData::KeyFlags(_))))
}

/// A key that was replaced or retired is good for what it signed before; any other revocation is for all time.
fn revokes(revocation: &Signature, as_of: i64) -> bool {
    match revocation.revocation_reason_code() {
        Some(RevocationCode::KeySuperseded | RevocationCode::KeyRetired) => {
            revocation.created().is_none_or(|time| i64::from(time.as_secs()) <= as_of)
        }
        _ => true,
    }
}

fn check_strength(key: &impl KeyDetails) -> Result<(), String> {
    let name = fingerprint(key);
    match key.public_params() {
        PublicParams::RSA(parameters) => {
            // An MPI starts with its length in bits (RFC 9580, section 3.2); the modulus is the first.
            let bytes = parameters.to_bytes().unwrap_or_default();
            let bits = bytes.first_chunk().map_or(0, |length| u16::from_be_bytes(*length));
            match bits {
                MINIMUM_RSA_BITS.. => Ok(()),
                _ => Err(format!("key {name} is RSA of only {bits} bits")),
            }
        }
        PublicParams::ECDSA(_) | PublicParams::EdDSALegacy(_) | PublicParams::Ed25519(_) | PublicParams::Ed448(_) => {
            Ok(())
        }
        _ => Err(format!("key {name} is of a kind that is not accepted ({:?})", key.algorithm())),
    }
}

fn check_age(key: &impl KeyDetails, signature: &Signature) -> Result<(), String> {
    match signature.created() {
        Some(made) if made >= key.created_at() => Ok(()),
        _ => Err(format!("key {} is younger than its signature", fingerprint(key))),
    }
}

fn check_expiry(key: &impl VerifyingKey, own: &Signature, as_of: i64) -> Result<(), String> {
    let created = i64::from(key.created_at().as_secs());
    let end = match own.key_expiration_time().map(|length| i64::from(length.as_secs())) {
        None | Some(0) => return Ok(()),
        Some(length) => created + length,
    };
    if end < as_of {
        return Err(format!("key {} expired at {}", fingerprint(key), super::release::show_time(end)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys and texts made by gpg (testdata/README.md): the keys in January 2024, the signatures on 2024-03-01.
    const KEYRING: &[u8] = include_bytes!("testdata/keyring.pgp");
    const GOOD: &str = include_str!("testdata/good.asc");
    const GOOD_KEY: &str = "BC63094518F5356DD17D4BF88B655B5F569D5665";
    const MARCH: i64 = 1_709_251_200;
    const NEXT_YEAR: i64 = 1_735_689_600;

    fn verify(text: &str) -> Result<Verified, SignatureError> {
        Keyring::parse(KEYRING).unwrap().verify(text.as_bytes(), MARCH)
    }

    fn reason(text: &str, as_of: i64) -> String {
        match Keyring::parse(KEYRING).unwrap().verify(text.as_bytes(), as_of) {
            Err(error @ SignatureError::Untrusted { .. }) => error.evidence().join("\n"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_the_signed_text_is_given_out() {
        let verified = verify(GOOD).unwrap();
        assert_eq!(verified.text, "Suite: test\n- dashed\ntrailing");
        assert_eq!(verified.keys, [GOOD_KEY]);
    }

    #[test]
    fn a_signing_subkey_counts_as_its_primary_key() {
        let verified = verify(include_str!("testdata/subkey.asc")).unwrap();
        assert_eq!(verified.keys, ["56EFCA07F30C5C23524C88594749C44BF0C95878"]);
    }

    #[test]
    fn one_good_signature_beside_an_unknown_one_is_enough() {
        assert_eq!(verify(include_str!("testdata/two.asc")).unwrap().keys, [GOOD_KEY]);
    }

    #[test]
    fn weak_unknown_expired_and_revoked_are_told_apart() {
        assert!(reason(include_str!("testdata/sha1.asc"), MARCH).contains("weak digest SHA1"));
        assert!(reason(include_str!("testdata/weak.asc"), MARCH).contains("RSA of only 1024 bits"));
        assert!(reason(include_str!("testdata/unknown.asc"), MARCH).contains("not in the keyring"));
        assert!(reason(include_str!("testdata/revoked.asc"), MARCH).contains("was revoked"));
        let expired = include_str!("testdata/expired.asc");
        assert!(verify(expired).is_ok(), "keys are judged as of the date given");
        assert!(reason(expired, NEXT_YEAR).contains("expired at 2024-06-01"));
    }

    #[test]
    fn changed_text_is_wrong_whatever_is_changed() {
        for (from, to) in [("Suite: test", "Suite: tesu"), ("- - dashed", "- - dashes"), ("Suite", "\nSuite")] {
            let changed = GOOD.replacen(from, to, 1);
            assert!(matches!(verify(&changed), Err(SignatureError::Wrong { .. })), "{from}");
        }
    }

    #[test]
    fn anything_but_one_whole_block_is_malformed() {
        let changed = [
            format!("Suite: other\n{GOOD}"),
            format!("{GOOD}Suite: other\n"),
            format!("{GOOD}{GOOD}"),
            GOOD.replace("- - dashed", "- dashed\n-dashed"),
            GOOD.replace("Hash: SHA256", "Hash: SHA256\nNote: x"),
            GOOD.replace("Suite", "Sui\0te"),
            GOOD.replace('\n', "\r\n"),
            GOOD.replace(SIGNATURE, ""),
            GOOD.replace(END, ""),
            GOOD.lines().skip(3).collect::<Vec<_>>().join("\n"),
            String::new(),
        ];
        for text in changed {
            assert!(matches!(verify(&text), Err(SignatureError::Malformed { .. })), "{text}");
        }
        let half = &GOOD[..GOOD.len() / 2];
        assert!(verify(half).is_err());
    }

    #[test]
    fn the_bundled_keyring_has_the_keys_of_debian_13() {
        let keyring = Keyring::bundled().unwrap();
        let names: Vec<String> = keyring.keys.iter().map(|key| fingerprint(&key.primary_key)).collect();
        for expected in [
            "04B54C3CDCA79751B16BC6B5225629DF75B188BD",
            "41587F7DB8C774BCCF131416762F67A0B2C39DE4",
            "B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8",
        ] {
            assert!(names.iter().any(|name| name == expected), "{expected}");
        }
        assert!(Keyring::parse(b"no keys").is_err());
    }
}
