//! Who an index says published a file, held against the certificate that signed for it: the rules of `pypi-attestations`,
//! the index's own program.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;
use sigstore_verify::crypto::{CertificateInfo, SubjectAltName};

use super::{Answer, SignatureState, answer};

const KINDS: &[&str] = &["GitHub", "GitLab", "Google", "CircleCI"];

/// A trusted publisher.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind")]
pub(super) enum Publisher {
    GitHub { repository: String, workflow: String },
    GitLab { repository: String, workflow_filepath: String },
    Google { email: String },
    CircleCI { project_id: String, pipeline_definition_id: String, vcs_origin: Option<String>, vcs_ref: Option<String> },
}

impl Publisher {
    /// Reads what an index says.
    ///
    /// # Errors
    /// When nobody is named, or somebody of a kind that is not known.
    pub(super) fn read(named: Option<&Value>) -> Result<Self, Answer> {
        let kind = named.and_then(|named| named.get("kind")).and_then(Value::as_str);
        let (Some(named), Some(kind)) = (named, kind) else {
            return Err(answer(SignatureState::ServedNotChecked, "the index names no publisher to compare with"));
        };
        if !KINDS.contains(&kind) {
            let why = format!("the index names a publisher of the kind `{kind}`, which is not known here");
            return Err(answer(SignatureState::ServedNotChecked, why));
        }
        Self::deserialize(named)
            .map_err(|error| answer(SignatureState::Bad, format!("the publisher cannot be read: {error}")))
    }

    /// Holds the publisher against a certificate.
    ///
    /// # Errors
    /// What the certificate says otherwise.
    pub(super) fn check(&self, certificate: &CertificateInfo) -> Result<(), String> {
        let claims = &certificate.ci_claims;
        match self {
            Self::GitHub { repository, workflow } => {
                issued_by(certificate, "https://token.actions.githubusercontent.com")?;
                let home = format!("https://github.com/{repository}");
                same("repository", claims.source_repository_uri.as_deref(), &home)?;
                run_from(certificate, &format!("{home}/.github/workflows/{workflow}"))
            }
            Self::GitLab { repository, workflow_filepath } => {
                issued_by(certificate, "https://gitlab.com")?;
                let home = format!("https://gitlab.com/{repository}");
                same("repository", claims.source_repository_uri.as_deref(), &home)?;
                run_from(certificate, &format!("{home}//{workflow_filepath}"))
            }
            Self::Google { email } => {
                issued_by(certificate, "https://accounts.google.com")?;
                let found = match &certificate.identity {
                    Some(SubjectAltName::Email(found)) => Some(found.as_str()),
                    _ => None,
                };
                same("account", found, email)
            }
            Self::CircleCI { project_id, pipeline_definition_id, vcs_origin, vcs_ref } => {
                issued_by(certificate, "https://oidc.circleci.com")?;
                let pipeline = format!(
                    "https://circleci.com/api/v2/projects/{project_id}/pipeline-definitions/{pipeline_definition_id}"
                );
                same("pipeline", claims.build_signer_uri.as_deref(), &pipeline)?;
                if let Some(origin) = vcs_origin {
                    same("repository", claims.source_repository_uri.as_deref(), origin)?;
                }
                if let Some(reference) = vcs_ref {
                    same("ref", claims.source_repository_ref.as_deref(), reference)?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GitHub { repository, workflow } => write!(f, "GitHub {repository} {workflow}"),
            Self::GitLab { repository, workflow_filepath } => write!(f, "GitLab {repository} {workflow_filepath}"),
            Self::Google { email } => write!(f, "Google {email}"),
            Self::CircleCI { project_id, .. } => write!(f, "CircleCI {project_id}"),
        }
    }
}

fn issued_by(certificate: &CertificateInfo, expected: &str) -> Result<(), String> {
    same("issuer", certificate.issuer.as_deref(), expected)
}

/// A publisher knows its workflow and not the commit or ref, which the certificate has in the same text.
fn run_from(certificate: &CertificateInfo, workflow: &str) -> Result<(), String> {
    let claims = &certificate.ci_claims;
    let found = claims.build_config_uri.as_deref();
    let at = [&claims.source_repository_digest, &claims.source_repository_ref];
    match at.into_iter().flatten().any(|at| found == Some(format!("{workflow}@{at}").as_str())) {
        true => Ok(()),
        false => Err(format!("its certificate has the workflow {}, not {workflow}", found.unwrap_or("of nobody"))),
    }
}

fn same(what: &str, found: Option<&str>, expected: &str) -> Result<(), String> {
    match found {
        Some(found) if found == expected => Ok(()),
        Some(found) => Err(format!("its certificate has the {what} {found}, not {expected}")),
        None => Err(format!("its certificate has no {what}, where {expected} is expected")),
    }
}
