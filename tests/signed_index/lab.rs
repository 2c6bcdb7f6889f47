//! Keys of every kind made by GnuPG with its clock set, and texts signed with them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pgp::composed::{ArmorOptions, CleartextSignedMessage, Deserializable, SignedPublicKey, SignedSecretKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::ser::Serialize;
use pgp::types::{Password, SigningKey, Timestamp};

/// When the keys were made.
const MADE: &str = "20240101T000000";
/// When texts are signed: ten seconds after the archive's Date.
const SIGNED: &str = "20240301T000010";
pub const SIGNED_AT: u32 = 1_709_251_210;

/// A directory of keys, by name.
pub struct Lab {
    home: tempfile::TempDir,
    keys: BTreeMap<&'static str, String>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        Command::new("gpgconf").env("GNUPGHOME", self.home.path()).args(["--kill", "all"]).status().ok();
    }
}

impl Lab {
    /// Makes all keys.
    pub fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let mut lab = Self { home, keys: BTreeMap::new() };
        for (name, algorithm, usage, expiry) in [
            ("good", "ed25519", "sign", "0"),
            ("rsa", "rsa2048", "sign", "0"),
            ("p256", "nistp256", "sign", "0"),
            ("p384", "nistp384", "sign", "0"),
            ("weak", "rsa1024", "sign", "0"),
            ("dsa", "dsa2048", "sign", "0"),
            ("unknown", "ed25519", "sign", "0"),
            ("expired", "ed25519", "sign", "45d"),
            ("expires", "ed25519", "sign", "90d"),
            ("revoked", "ed25519", "sign", "0"),
            ("superseded", "ed25519", "sign", "0"),
            ("sub", "ed25519", "cert", "0"),
            ("subrevoked", "ed25519", "cert", "0"),
            ("subexpired", "ed25519", "cert", "0"),
            ("nocross", "ed25519", "cert", "0"),
            ("deadprimary", "ed25519", "cert", "45d"),
            ("encrypts", "rsa2048", "sign", "0"),
        ] {
            lab.make(name, algorithm, usage, expiry, MADE);
        }
        lab.make("young", "ed25519", "sign", "0", "20240301T120000");
        for (name, algorithm, usage, expiry) in [
            ("sub", "ed25519", "sign", "0"),
            ("subrevoked", "ed25519", "sign", "0"),
            ("subexpired", "ed25519", "sign", "45d"),
            ("nocross", "ed25519", "sign", "0"),
            ("deadprimary", "ed25519", "sign", "0"),
            ("encrypts", "rsa2048", "encr", "0"),
        ] {
            let key = lab.keys[name].clone();
            lab.gpg(MADE, &["--quick-add-key", &key, algorithm, usage, expiry], b"");
        }
        lab.revoke("revoked", "0");
        lab.revoke("superseded", "2");
        lab
    }

    fn make(&mut self, name: &'static str, algorithm: &str, usage: &str, expiry: &str, time: &str) {
        let user = format!("{name} <{name}@example.invalid>");
        self.gpg(time, &["--quick-generate-key", &user, algorithm, usage, expiry], b"");
        let listed = self.gpg(MADE, &["--with-colons", "--list-keys", &format!("={user}")], b"");
        let listed = String::from_utf8(listed).unwrap();
        let line = listed.lines().find_map(|line| line.strip_prefix("fpr:")).unwrap();
        self.keys.insert(name, line.trim_matches(':').to_owned());
    }

    /// Revokes a key for the reason of that number, a week after it was made.
    fn revoke(&self, name: &str, reason: &str) {
        let answers = format!("y\n{reason}\n\ny\n");
        let arguments = ["--command-fd", "0", "--status-fd", "2", "--armor", "--gen-revoke", &self.keys[name]];
        let certificate = self.talk("20240108T000000", &arguments, answers.as_bytes());
        self.gpg(SIGNED, &["--import"], &certificate);
    }

    /// Revokes the signing subkey of a key.
    fn revoke_subkey(&self, name: &str) {
        let arguments = ["--command-fd", "0", "--status-fd", "2", "--edit-key", &self.keys[name]];
        self.talk("20240108T000000", &arguments, b"key 1\nrevkey\ny\n0\n\ny\nsave\n");
    }

    /// gpg in batch mode with its clock standing at a time.
    pub fn gpg(&self, time: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        self.talk(time, &[&["--batch"], arguments].concat(), input)
    }

    fn talk(&self, time: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut command = Command::new("gpg");
        command.env("GNUPGHOME", self.home.path()).env("LC_ALL", "C").args(["--yes", "--no-tty", "--quiet"]);
        command.args(["--pinentry-mode", "loopback", "--passphrase", "", "--trust-model", "always"]);
        command.args(["--faked-system-time", &format!("{time}!")]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// One key, in a file of its own.
    pub fn key(&self, name: &str, path: &Path) -> PathBuf {
        fs::write(path, self.gpg(SIGNED, &["--export", &self.keys[name]], b"")).unwrap();
        path.to_owned()
    }

    /// All keys but `unknown`, in one file; `nocross` without the signature by which its subkey agrees.
    pub fn keyring(&self, path: &Path) -> PathBuf {
        self.revoke_subkey("subrevoked");
        let mut bytes = Vec::new();
        for (name, key) in self.keys.iter().filter(|(name, _)| **name != "unknown") {
            let exported = self.gpg(SIGNED, &["--export", key], b"");
            if *name == "nocross" {
                let (keys, _) = (SignedPublicKey::from_bytes_many(Cursor::new(&exported)).unwrap(), ());
                let mut key = keys.map(Result::unwrap).next().unwrap();
                let binding = &mut key.public_subkeys[0].signatures[0];
                let parts = &binding.config().unwrap().unhashed_subpackets;
                let at = parts.iter().position(|part| matches!(part.data, SubpacketData::EmbeddedSignature(_)));
                binding.unhashed_subpacket_remove(at.unwrap()).unwrap();
                bytes.extend(key.to_bytes().unwrap());
            } else {
                bytes.extend(exported);
            }
        }
        fs::write(path, bytes).unwrap();
        path.to_owned()
    }

    /// A text clear-signed by gpg with the named keys, each `name` or `name/DIGEST`; `options` go before.
    pub fn sign_with(&self, text: &[u8], keys: &[&str], time: &str, options: &[&str]) -> Vec<u8> {
        let mut arguments: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        for key in keys {
            let (name, digest) = key.split_once('/').unwrap_or((key, "SHA256"));
            arguments.extend([
                "--local-user".to_owned(),
                self.keys[name].clone(),
                "--digest-algo".to_owned(),
                digest.to_owned(),
            ]);
        }
        arguments.push("--clearsign".to_owned());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.gpg(time, &arguments, text)
    }

    pub fn sign(&self, text: &str, keys: &[&str]) -> String {
        String::from_utf8(self.sign_with(text.as_bytes(), keys, SIGNED, &[])).unwrap()
    }

    fn secret(&self, name: &str) -> SignedSecretKey {
        let bytes = self.gpg(SIGNED, &["--export-secret-keys", &self.keys[name]], b"");
        SignedSecretKey::from_bytes(Cursor::new(bytes)).unwrap()
    }

    /// Signed with a primary key, whatever it may be used for.
    pub fn sign_with_primary(&self, text: &str, name: &str) -> String {
        clear_signed(text, &self.secret(name).primary_key, SIGNED_AT, Placed::Hashed)
    }

    /// Signed with the first subkey, whatever it may be used for.
    pub fn sign_with_subkey(&self, text: &str, name: &str) -> String {
        clear_signed(text, &self.secret(name).secret_subkeys[0].key, SIGNED_AT, Placed::Hashed)
    }

    /// Signed with `good`, dated otherwise than gpg would.
    pub fn sign_dated(&self, text: &str, name: &str, time: u32) -> String {
        clear_signed(text, &self.secret(name).primary_key, time, Placed::Hashed)
    }

    /// Signed with `good`, its date where everybody can change it.
    pub fn sign_undated(&self, text: &str) -> String {
        clear_signed(text, &self.secret("good").primary_key, SIGNED_AT, Placed::Unhashed)
    }
}

/// Where a signature says when it was made.
#[derive(PartialEq, Eq)]
enum Placed {
    Hashed,
    Unhashed,
}

fn clear_signed(text: &str, key: &impl SigningKey, time: u32, placed: Placed) -> String {
    let mut config = SignatureConfig::v4(SignatureType::Text, key.algorithm(), HashAlgorithm::Sha256);
    let made = Subpacket::regular(SubpacketData::SignatureCreationTime(Timestamp::from_secs(time))).unwrap();
    config.hashed_subpackets = vec![Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint())).unwrap()];
    match placed {
        Placed::Hashed => config.hashed_subpackets.push(made),
        Placed::Unhashed => config.unhashed_subpackets.push(made),
    }
    let message = CleartextSignedMessage::new(text, config, key, &Password::empty()).unwrap();
    message.to_armored_string(ArmorOptions::default()).unwrap()
}
