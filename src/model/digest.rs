//! Digests of bytes. One length per algorithm, lower-case hexadecimal, no abbreviation when read.

use std::fmt;
use std::io::{self, Read};

use sha2::Digest as _;

use super::{ValueError, text_value};

macro_rules! digest {
    ($name:ident, $bytes:literal, $hasher:ty, $label:literal) => {
        #[doc = concat!("A ", $label, " digest, ", stringify!($bytes), " bytes.")]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// Hashes bytes.
            pub fn of(bytes: impl AsRef<[u8]>) -> Self {
                Self(<$hasher>::digest(bytes.as_ref()).into())
            }

            /// Takes the raw digest.
            pub fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// The raw digest.
            pub fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }

            #[doc = concat!("Reads ", stringify!($bytes), " bytes of lower-case hexadecimal.")]
            ///
            /// # Errors
            /// When the length or a character is wrong.
            pub fn parse(text: &str) -> Result<Self, ValueError> {
                let error = |why: &str| ValueError::new(concat!($label, " digest"), text, why);
                if text.len() != 2 * $bytes {
                    return Err(error(concat!("it must have 2 × ", stringify!($bytes), " hexadecimal digits")));
                }
                if !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
                    return Err(error("it must be lower-case hexadecimal"));
                }
                let mut bytes = [0; $bytes];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| error("it must be hexadecimal"))?;
                Ok(Self(bytes))
            }

            /// The first twelve digits, for people.
            pub fn short(&self) -> String {
                hex::encode(&self.0[..6])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{self}")
            }
        }

        text_value!($name);
    };
}

digest!(Sha256, 32, sha2::Sha256, "sha256");
digest!(Sha512, 64, sha2::Sha512, "sha512");

impl Sha256 {
    /// `sha256:` and the hexadecimal digits, as container tools write it.
    pub fn prefixed(&self) -> String {
        format!("sha256:{self}")
    }

    /// Reads the form with `sha256:` in front.
    ///
    /// # Errors
    /// When the prefix is missing or the rest is no digest.
    pub fn parse_prefixed(text: &str) -> Result<Self, ValueError> {
        let digits = text.strip_prefix("sha256:");
        Self::parse(digits.ok_or_else(|| ValueError::new("sha256 digest", text, "it must start with `sha256:`"))?)
    }

    /// Hashes all that a reader yields; returns the digest and the number of bytes.
    ///
    /// # Errors
    /// The reader's.
    pub fn of_reader(reader: &mut impl Read) -> io::Result<(Self, u64)> {
        let mut hasher = Hasher::default();
        let size = crate::base::fs::copy_with(reader, &mut io::sink(), |piece| hasher.update(piece))?;
        Ok((hasher.finish(), size))
    }
}

/// A sha256 that is fed piece by piece.
#[derive(Clone, Default)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Adds a text with its length in front, so that neighbouring fields cannot run into each other.
    pub fn field(&mut self, text: impl AsRef<[u8]>) {
        let bytes = text.as_ref();
        self.update(&(bytes.len() as u64).to_be_bytes());
        self.update(bytes);
    }

    /// The digest of all that was added.
    pub fn finish(self) -> Sha256 {
        Sha256(self.0.finalize().into())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Hasher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_only_in_its_one_form() {
        let digest = Sha256::of(b"");
        assert_eq!(digest.to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(Sha256::parse(&digest.to_string()), Ok(digest));
        assert_eq!(Sha256::parse_prefixed(&digest.prefixed()), Ok(digest));
        for wrong in [digest.to_string().to_uppercase(), digest.short(), digest.prefixed()] {
            assert!(Sha256::parse(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let hash = |fields: &[&str]| {
            let mut hasher = Hasher::default();
            fields.iter().for_each(|field| hasher.field(field));
            hasher.finish()
        };
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
    }
}
