//! `sbom` and `provenance`: their arguments as options, and their answers.

use super::args::{AttestArguments, BillForm, Format, ProvenanceArguments, SbomArguments};
use super::{Answer, written};
use crate::ops::{
    self, AttachTo, Attesting, BillFormat, BillSource, OpsError, ProvenanceOptions, SbomOptions, Session,
};
use crate::report;

pub(super) fn run_sbom(session: &Session, format: Format, sbom: &SbomArguments) -> Result<Answer, OpsError> {
    let options = SbomOptions {
        platform: sbom.platform.platform,
        format: match sbom.form {
            BillForm::Cyclonedx => BillFormat::CycloneDx,
            BillForm::Spdx => BillFormat::Spdx,
        },
        source: if sbom.lock_only { BillSource::LockAlone } else { BillSource::Store },
        attesting: attesting(&sbom.attest)?,
    };
    Ok(Answer::yes(written(format, &ops::sbom(session, &options)?, report::attest_lines)))
}

pub(super) fn run_provenance(
    session: &Session,
    format: Format,
    provenance: &ProvenanceArguments,
) -> Result<Answer, OpsError> {
    let options = ProvenanceOptions {
        platform: provenance.platform.platform,
        builder: provenance.builder_id.clone(),
        attesting: attesting(&provenance.attest)?,
    };
    Ok(Answer::yes(written(format, &ops::provenance(session, &options)?, report::attest_lines)))
}

fn attesting(arguments: &AttestArguments) -> Result<Attesting, OpsError> {
    match (&arguments.verify, &arguments.envelope) {
        (Some(key), Some(envelope)) => Ok(Attesting::Verify { key: key.clone(), envelope: envelope.clone() }),
        _ => Ok(Attesting::Deliver {
            sign: arguments.sign.clone(),
            password: arguments.password_file.clone(),
            attach: arguments.attach.as_deref().map(AttachTo::parse).transpose()?,
        }),
    }
}
