//! Private keys as cosign keeps them: JSON in PEM, encrypted with a password (go-securesystemslib, `encrypted`): scrypt makes
//! a key of the password, NaCl's secretbox opens the rest.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::Aead;
use crypto_secretbox::{KeyInit, Nonce, XSalsa20Poly1305};
use serde::Deserialize;

/// The most memory that a key may cost, in bytes: four times what cosign writes.
const MOST_MEMORY: u64 = 256 << 20;
/// The most passes over it; cosign writes 1.
const MOST_PASSES: u32 = 4;
const KEY_BYTES: usize = 32;

/// A password. It is never shown.
pub struct Password(Vec<u8>);

impl Password {
    /// Takes these bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }
}

/// Why a key was not opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unopened {
    /// It is not in this form.
    Form,
    /// It asks for another way to make a key, or another cipher.
    Method,
    /// It asks for more work than is done.
    Cost,
    /// The password is another, or the file is damaged: the cipher does not tell.
    Password,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Encrypted {
    kdf: Derivation,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Derivation {
    name: String,
    params: Parameters,
    salt: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    #[serde(rename = "N")]
    cost: u64,
    r: u32,
    p: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cipher {
    name: String,
    nonce: String,
}

/// The key inside, PKCS#8 in DER.
pub(super) fn open(pem: &str, password: &Password) -> Result<Vec<u8>, Unopened> {
    let body: String = pem.trim().lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
    let decode = |text: &str| STANDARD.decode(text).map_err(|_| Unopened::Form);
    let found: Encrypted = serde_json::from_slice(&decode(&body)?).map_err(|_| Unopened::Form)?;
    if found.kdf.name != "scrypt" || found.cipher.name != "nacl/secretbox" {
        return Err(Unopened::Method);
    }
    let nonce: [u8; 24] = decode(&found.cipher.nonce)?.try_into().map_err(|_| Unopened::Form)?;
    let (salt, ciphertext) = (decode(&found.kdf.salt)?, decode(&found.ciphertext)?);
    let mut key = [0; KEY_BYTES];
    scrypt::scrypt(&password.0, &salt, &parameters(&found.kdf.params)?, &mut key).map_err(|_| Unopened::Form)?;
    XSalsa20Poly1305::new(&key.into())
        .decrypt(&Nonce::from(nonce), ciphertext.as_slice())
        .map_err(|_| Unopened::Password)
}

fn parameters(asked: &Parameters) -> Result<scrypt::Params, Unopened> {
    let Parameters { cost, r, p } = *asked;
    if !cost.is_power_of_two() || cost < 2 || r == 0 || p == 0 {
        return Err(Unopened::Form);
    }
    let memory = cost.checked_mul(128).and_then(|bytes| bytes.checked_mul(r.into()));
    if memory.is_none_or(|memory| memory > MOST_MEMORY) || p > MOST_PASSES {
        return Err(Unopened::Cost);
    }
    let log = u8::try_from(cost.trailing_zeros()).map_err(|_| Unopened::Cost)?;
    scrypt::Params::new(log, r, p, KEY_BYTES).map_err(|_| Unopened::Form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_is_bounded() {
        let judge = |cost, r, p| parameters(&Parameters { cost, r, p }).map(|_| ());
        for (cost, r, p) in [(32_768, 8, 1), (65_536, 8, 1), (1 << 18, 8, 4), (2, 1, 1)] {
            assert_eq!(judge(cost, r, p), Ok(()), "{cost} {r} {p}");
        }
        for (cost, r, p) in [(1 << 19, 8, 1), (65_536, 64, 1), (65_536, 8, 5), (1 << 63, 8, 1), (2, u32::MAX, 1)] {
            assert_eq!(judge(cost, r, p), Err(Unopened::Cost), "{cost} {r} {p}");
        }
        for (cost, r, p) in [(0, 8, 1), (1, 8, 1), (65_537, 8, 1), (65_536, 0, 1), (65_536, 8, 0)] {
            assert_eq!(judge(cost, r, p), Err(Unopened::Form), "{cost} {r} {p}");
        }
    }

    #[test]
    fn what_is_not_of_this_form_is_refused() {
        let pem = |text: &str| {
            let label = "ENCRYPTED SIGSTORE PRIVATE KEY";
            format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(text))
        };
        let open = |text: &str| super::open(&pem(text), &Password::new("a"));
        let text = r#"{"kdf":{"name":"scrypt","params":{"N":2,"r":1,"p":1},"salt":""},"cipher":{"name":"nacl/secretbox","nonce":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},"ciphertext":""}"#;
        assert_eq!(open(text), Err(Unopened::Password));
        assert_eq!(open(&text.replace("AAAA\"", "\"")), Err(Unopened::Form));
        assert_eq!(open(&text.replace("scrypt", "pbkdf2")), Err(Unopened::Method));
        assert_eq!(open(&text.replace("nacl/secretbox", "none")), Err(Unopened::Method));
        assert_eq!(open(&text.replace("\"N\":2", "\"N\":4294967296")), Err(Unopened::Cost));
        assert_eq!(open(&text.replace("{\"kdf", "{\"more\":1,\"kdf")), Err(Unopened::Form));
        assert_eq!(open("{}"), Err(Unopened::Form));
        assert_eq!(super::open("", &Password::new("a")), Err(Unopened::Form));
    }
}
