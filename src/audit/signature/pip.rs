//! Python: attestations (PEP 740), to which a project's page links as `provenance`.
//!
//! Each must be signed and logged as Sigstore does it, be of the locked file and hash, and come from the publisher that the
//! index names. The worst answer about one of them is the answer.

use std::collections::BTreeSet;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use uv_distribution_filename::WheelFilename;

use super::publisher::Publisher;
use super::sigstore::{Signed, SigstoreRoot};
use super::{Answer, SignatureState, answer};
use crate::base::http::{HttpClient, Request};
use crate::lock::PinView;
use crate::model::Sha256;
use crate::source::{Source, names};

/// The largest page that is read; the largest seen has 21 MB.
const LARGEST_PAGE: u64 = 128 << 20;
const STATEMENT: &str = "https://in-toto.io/Statement/v1";

#[derive(Deserialize)]
struct Page {
    files: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    filename: String,
    provenance: Option<String>,
}

#[derive(Deserialize)]
struct Provenance {
    attestation_bundles: Vec<Bundle>,
}

#[derive(Deserialize)]
struct Bundle {
    publisher: Option<Value>,
    attestations: Vec<Attestation>,
}

#[derive(Deserialize)]
struct Attestation {
    version: u64,
    verification_material: Material,
    envelope: Envelope,
}

#[derive(Deserialize)]
struct Material {
    certificate: String,
    transparency_entries: Vec<Value>,
}

#[derive(Deserialize)]
struct Envelope {
    statement: String,
    signature: String,
}

/// An in-toto statement as far as it names what it is about.
#[derive(Deserialize)]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate: String,
}

#[derive(Deserialize)]
struct Subject {
    name: String,
    digest: Digest,
}

#[derive(Deserialize)]
struct Digest {
    sha256: String,
}

/// Judges the attestations that an index serves for a pin.
pub(super) async fn judge(pin: PinView<'_>, source: &Source, http: &HttpClient, root: &SigstoreRoot) -> Answer {
    match ask(pin, source, http, root).await {
        Ok(answer) => answer,
        Err(why) => answer(SignatureState::NotAudited, why),
    }
}

async fn ask(pin: PinView<'_>, source: &Source, http: &HttpClient, root: &SigstoreRoot) -> Result<Answer, String> {
    if source.name.as_str() == names::URL {
        return Ok(answer(SignatureState::NotServed, "it is asked for by URL, and no index attests it"));
    }
    let project = pin.artifact.path.as_str().split('/').next().unwrap_or_default();
    let page_url = source.url.join(&format!("./{project}/")).map_err(|error| error.to_string())?;
    let request = Request::get(page_url)
        .accept("application/vnd.pypi.simple.v1+json")
        .authorization(source.authorization.as_deref())
        .limit(LARGEST_PAGE);
    let page = http.fetch(request).await.map_err(|error| error.to_string())?;
    let files: Page =
        serde_json::from_slice(&page.body).map_err(|error| format!("its page cannot be read: {error}"))?;
    let Some(file) = files.files.into_iter().find(|file| file.filename == pin.artifact.path.file_name()) else {
        return Err("the index does not list this file any more".to_owned());
    };
    let Some(link) = file.provenance else {
        return Ok(answer(SignatureState::NotServed, "no attestation is served"));
    };
    let url = page.url.join(&link).map_err(|error| error.to_string())?;
    let own = source.authorization.as_deref().filter(|_| url.origin() == source.url.origin());
    let request = Request::get(url).accept("application/vnd.pypi.integrity.v1+json").authorization(own);
    let served = http.fetch(request).await.map_err(|error| error.to_string())?;
    Ok(judge_attestations(&served.body, pin.artifact.path.file_name(), &pin.artifact.sha256, root))
}

/// Judges what an index serves about a file: a state and the reason, or who attested it.
pub fn judge_attestations(served: &[u8], file: &str, sha256: &Sha256, root: &SigstoreRoot) -> Answer {
    let served: Provenance = match serde_json::from_slice(served) {
        Ok(served) => served,
        Err(error) => return answer(SignatureState::NotAudited, format!("its attestations cannot be read: {error}")),
    };
    let mut publishers = BTreeSet::new();
    let mut worst: Option<Answer> = None;
    for bundle in &served.attestation_bundles {
        let publisher = Publisher::read(bundle.publisher.as_ref());
        publishers.extend(publisher.as_ref().ok().map(ToString::to_string));
        for attestation in &bundle.attestations {
            let judged = judge_one(attestation, &publisher, file, sha256, root);
            let (state, why) = match judged {
                Ok(()) => answer(SignatureState::Verified, ""),
                Err(answer) => answer,
            };
            if worst.as_ref().is_none_or(|(before, _)| rank(state) < rank(*before)) {
                worst = Some((state, why));
            }
        }
    }
    match worst {
        None => answer(SignatureState::NotServed, "a list of attestations is served, and is empty"),
        Some((SignatureState::Verified, _)) => {
            let publishers: Vec<String> = publishers.into_iter().collect();
            answer(SignatureState::Verified, format!("attested by {}", publishers.join(" and ")))
        }
        Some(worst) => worst,
    }
}

fn rank(state: SignatureState) -> u8 {
    match state {
        SignatureState::Bad => 0,
        SignatureState::UnknownKey | SignatureState::ExpiredKey => 1,
        SignatureState::Verified => 3,
        _ => 2,
    }
}

fn judge_one(
    attestation: &Attestation,
    publisher: &Result<Publisher, Answer>,
    file: &str,
    sha256: &Sha256,
    root: &SigstoreRoot,
) -> Result<(), Answer> {
    let Attestation { version, verification_material: material, envelope } = attestation;
    if *version != 1 {
        let why = format!("its attestation has the version {version}, which is not known here");
        return Err(answer(SignatureState::ServedNotChecked, why));
    }
    let statement = STANDARD.decode(&envelope.statement).ok();
    let Some(statement) = statement.and_then(|text| serde_json::from_slice::<Statement>(&text).ok()) else {
        return Err(answer(SignatureState::Bad, "its attestation holds no statement about a file"));
    };
    if !is_about(&statement, file, sha256) {
        return Err(answer(SignatureState::Bad, "its attestation is of another file than the locked one"));
    }
    let signed = Signed {
        certificate: &material.certificate,
        entries: &material.transparency_entries,
        statement: &envelope.statement,
        signature: &envelope.signature,
    };
    let certificate = root.verify(&signed, sha256)?;
    if !is_known(&statement.predicate) {
        let why = format!("its attestation is of the kind {}, which is not known here", statement.predicate);
        return Err(answer(SignatureState::ServedNotChecked, why));
    }
    let publisher = publisher.as_ref().map_err(Clone::clone)?;
    publisher
        .check(&certificate)
        .map_err(|why| answer(SignatureState::Bad, format!("it is not by {publisher}, whom the index names: {why}")))
}

/// Whether a statement is about this file alone.
fn is_about(statement: &Statement, file: &str, sha256: &Sha256) -> bool {
    let [subject] = &statement.subject[..] else { return false };
    statement.kind == STATEMENT && is_same_file(&subject.name, file) && subject.digest.sha256 == sha256.to_string()
}

/// Whether two names are of the same file: an index may write the tags of a wheel in another order than its publisher.
fn is_same_file(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    let (Ok(one), Ok(other)) = (WheelFilename::from_str(one), WheelFilename::from_str(other)) else { return false };
    let tags = |wheel: &WheelFilename| {
        let tags = wheel.python_tags().iter().map(ToString::to_string);
        let tags = tags.chain(wheel.abi_tags().iter().map(ToString::to_string));
        tags.chain(wheel.platform_tags().iter().map(ToString::to_string)).collect::<BTreeSet<String>>()
    };
    (&one.name, &one.version, one.build_tag()) == (&other.name, &other.version, other.build_tag())
        && tags(&one) == tags(&other)
}

/// Whether an attestation is of a kind that indexes take: SLSA provenance, or a publish attestation, which is named by a page
/// of the index's own documentation.
fn is_known(predicate: &str) -> bool {
    let own = predicate.strip_prefix("https://docs.").and_then(|rest| rest.strip_suffix("/attestations/publish/v1"));
    predicate == "https://slsa.dev/provenance/v1" || own.is_some_and(|host| !host.is_empty() && !host.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_attestations_and_names_of_files() {
        let (slsa, own) =
            ("https://slsa.dev/provenance/v1", "https://docs.index.example.invalid/attestations/publish/v1");
        assert!(is_known(slsa) && is_known(own));
        for other in ["", "https://slsa.dev/provenance/v0.2", "https://docs./attestations/publish/v1", "publish"] {
            assert!(!is_known(other), "{other}");
        }
        let wheel = |tags: &str| format!("spt3g-1.0-cp310-cp310-{tags}.whl");
        assert!(is_same_file(
            &wheel("manylinux_2_17_x86_64.manylinux2014_x86_64"),
            &wheel("manylinux2014_x86_64.manylinux_2_17_x86_64")
        ));
        assert!(!is_same_file(&wheel("manylinux_2_17_x86_64"), &wheel("manylinux2014_x86_64.manylinux_2_17_x86_64")));
        assert!(!is_same_file("a-1-py3-none-any.whl", "b-1-py3-none-any.whl"));
    }
}
