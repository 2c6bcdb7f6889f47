//! A project or an image that holds a secret is refused, unless a waiver excuses it.

use super::base::inherited_config;
use super::build::Prepared;
use super::error::OpsError;
use super::session::Session;
use crate::assemble::apt::package_contents;
use crate::assemble::{AssembleError, Context, Project};
use crate::audit::secrets::{ContainerfileTexts, ImageRequest, Secrets, check_image, check_project, secret_rules};
use crate::audit::{Finding, UNUSED_WAIVER, Waived, apply_waivers};
use crate::base::clock::now;
use crate::base::explain::{Explain, Kind};
use crate::base::text::count;
use crate::image::{self, SealedImage};
use crate::lock::BasePin;
use crate::model::Platform;
use crate::template::Rendered;

/// Why the answer is no: what was found, and when.
#[derive(Debug)]
pub struct SecretsFound {
    /// The findings that count.
    pub findings: Vec<Finding>,
    /// What was looked at.
    pub stage: SecretsStage,
}

/// When secrets were looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretsStage {
    /// In the project, before anything was fetched.
    Project,
    /// In the sealed image.
    Image,
}

impl std::fmt::Display for SecretsFound {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.findings[..] {
            [only] => formatter.write_str(&only.message),
            several => write!(formatter, "{} against this image", count(several.len(), "finding")),
        }
    }
}

impl std::error::Error for SecretsFound {}

impl Explain for SecretsFound {
    fn kind(&self) -> Kind {
        Kind::No
    }

    fn evidence(&self) -> Vec<String> {
        let place = |finding: &Finding| match &finding.place {
            Some(place) => format!("{}:{}", place.file, place.line),
            None => finding.subject.clone(),
        };
        let places: Vec<String> = self.findings.iter().map(place).collect();
        let width = places.iter().map(|place| place.chars().count()).max().unwrap_or(0);
        let rules = self.findings.iter().map(|finding| finding.rule.id.len()).max().unwrap_or(0);
        let line = |(finding, place): (&Finding, &String)| {
            let what = match finding.evidence.first() {
                Some(evidence) => evidence.clone(),
                None => format!("for `{}`", finding.subject),
            };
            format!("{place:width$}  {:rules$}  {what}", finding.rule.id)
        };
        self.findings.iter().zip(&places).map(line).collect()
    }

    fn notes(&self) -> Vec<String> {
        let done = match self.stage {
            SecretsStage::Project => "nothing was fetched or built",
            SecretsStage::Image => {
                "the image was not loaded, written out or recorded; its layers are in the store of this machine"
            }
        };
        vec![
            done.to_owned(),
            "docs/security.md says what counts as a secret, and what to do about a false alarm".to_owned(),
        ]
    }

    fn hints(&self) -> Vec<String> {
        let (waivers, secrets): (Vec<&Finding>, Vec<&Finding>) =
            self.findings.iter().partition(|finding| finding.rule.id.starts_with("waiver-"));
        let mut hints = Vec::new();
        if !secrets.is_empty() {
            hints
                .push("take it out, and give it when the container starts: as a variable or a mounted file".to_owned());
        }
        if let Some(place) = waivers.first().and_then(|finding| finding.place.as_ref()) {
            hints.push(format!("take the waiver at {}:{} out, or correct it", place.file, place.line));
        }
        hints
    }
}

/// What is found in the project's files and the Containerfile, excused or not.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn secrets_of(
    session: &Session,
    rendered: &Rendered,
    base: &BasePin,
    platform: Platform,
    project: &Project,
) -> Result<Secrets, OpsError> {
    let config = image::config_of(&rendered.text)?;
    let inherited = inherited_config(session, base, platform)?;
    let texts = ContainerfileTexts {
        template: &rendered.template,
        rendered: &rendered.text,
        config: &config,
        inherited: inherited.as_ref(),
    };
    Ok(check_project(project, &texts, &session.store)?)
}

/// Looks for secrets in the project's files and the Containerfile.
///
/// # Errors
/// When one is there that no waiver excuses, or a file cannot be read.
pub(super) fn refuse_in_project(
    session: &Session,
    prepared: &Prepared,
    project: &Project,
) -> Result<Secrets, OpsError> {
    let secrets = secrets_of(session, &prepared.rendered, &prepared.lock.base, prepared.platform, project)?;
    // A waiver that excuses nothing here may do so in the image.
    let judged = judged(session, prepared, secrets.findings.clone());
    refuse(judged.into_iter().filter(|finding| finding.rule != &UNUSED_WAIVER), SecretsStage::Project)?;
    Ok(secrets)
}

/// Looks for secrets in the image's config and layers; layers that are known are not read again.
///
/// # Errors
/// When one is there that no waiver excuses and no locked package ships, or a waiver is over or excuses nothing.
pub(super) fn refuse_in_image(
    session: &Session,
    prepared: &Prepared,
    context: &Context,
    project: &Secrets,
    image: &SealedImage,
) -> Result<(), OpsError> {
    let mut public = context.package_tars();
    let (store, progress) = (&session.store, &session.progress);
    let mut found = check_image(&ImageRequest { image, public: &public, project, store, progress })?;
    let is_on_image = matches!(prepared.lock.base, BasePin::Image { .. });
    if is_on_image && found.findings.iter().any(Finding::counts) {
        // On a base image packages are unpacked inside, so that the context holds them as they are packed.
        let pins = prepared.lock.apt.iter().filter(|pin| pin.platform == prepared.platform).collect::<Vec<_>>();
        public.extend(package_contents(&pins, store).map_err(AssembleError::from)?);
        found = check_image(&ImageRequest { image, public: &public, project, store, progress })?;
    }
    let all = project.findings.iter().cloned().chain(found.findings).collect();
    refuse(judged(session, prepared, all), SecretsStage::Image)
}

fn judged(session: &Session, prepared: &Prepared, mut findings: Vec<Finding>) -> Vec<Finding> {
    let rules = secret_rules();
    let manifest = session.paths.manifest.display().to_string();
    let waivers = &prepared.manifest.policy.waivers;
    apply_waivers(&mut findings, &Waived { waivers, rules: &rules, manifest: &manifest, now: now() });
    findings
}

fn refuse(findings: impl IntoIterator<Item = Finding>, stage: SecretsStage) -> Result<(), OpsError> {
    let mut counting = Vec::new();
    for finding in findings {
        match finding.counts() {
            true => counting.push(finding),
            false => tracing::debug!(rule = finding.rule.id, "{}", finding.message),
        }
    }
    if counting.is_empty() { Ok(()) } else { Err(Box::new(SecretsFound { findings: counting, stage }).into()) }
}
