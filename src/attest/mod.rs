//! What can be said of an image to people who were not there: what is in it (a bill of materials) and how it came to be
//! (provenance), signed where asked, and attached to the image without changing it.
//!
//! Everything is a function of the lockfile and of bytes in the store: no clock, no randomness, so the same project says
//! the same on every machine. It must not know verbs, the terminal, or how an image is built.

mod bill;
mod cosign;
mod cyclonedx;
mod envelope;
mod error;
mod facts;
mod key;
mod layout;
mod licence;
mod provenance;
mod purl;
mod referrer;
mod registry;
mod spdx;

pub use self::spdx::{SPDX, render_spdx};
pub use bill::{Bill, BillRequest, Component, Detail};
pub use cosign::Password;
pub use cyclonedx::{CYCLONEDX, render_cyclonedx};
pub use envelope::{Envelope, IN_TOTO, open_envelope, seal_envelope};
pub use error::AttestError;
pub use key::{PublicKey, SigningKey};
pub use layout::attach_to_layout;
pub use licence::{CustomLicence, Licence};
pub use provenance::{PROVENANCE, ProvenanceRequest, render_provenance, render_statement};
pub use referrer::Referrer;
pub use registry::attach_to_registry;

/// A format with the names that others know it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DocumentType {
    /// Its media type.
    pub media_type: &'static str,
    /// Its predicate type in an in-toto statement.
    pub predicate_type: &'static str,
}

/// A moment as the documents have it: RFC 3339 in UTC and whole seconds.
fn moment(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| String::new(), |time| time.to_string())
}
