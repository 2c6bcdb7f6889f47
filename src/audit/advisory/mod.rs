//! Advisories: what OSV data says, which pins it concerns, and what could not be judged.
//!
//! The data comes from places that the user names (directories, zip archives, URLs), in the OSV schema. Whether a version
//! is affected is worked out as the schema's evaluation algorithm says. Whatever could not be had or understood makes pins
//! "not audited" and never "not affected". It knows no waivers and no report.

mod data;
mod evaluate;
mod fetch;
mod group;
mod index;
mod judge;
mod order;
mod record;

pub use data::{DataError, DataPlace};
pub use evaluate::{Verdict, evaluate_record};
pub use fetch::{DataSet, open_data};
pub use index::Index;
pub use judge::{ADVISORY, AdvisoryRequest, EcosystemState, Judged, PinState, State, Unfixed, judge};
pub use record::{Package, RecordError};
