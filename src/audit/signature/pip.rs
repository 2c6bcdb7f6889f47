//! Python: attestations (PEP 740), to which a project's page links as `provenance`.
//!
//! What an attestation says of the file is compared with the lock. Its certificate is not: the root it hangs on changes,
//! and can be had from the network alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::{Answer, SignatureState, answer};
use crate::base::http::{HttpClient, Request};
use crate::lock::PinView;
use crate::source::Source;

/// The largest page that is read; the largest seen has 21 MB.
const LARGEST_PAGE: u64 = 128 << 20;

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
    envelope: Envelope,
}

#[derive(Deserialize)]
struct Envelope {
    statement: String,
}

/// An in-toto statement as far as it names what it is about.
#[derive(Deserialize)]
struct Statement {
    subject: Vec<Subject>,
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
pub(super) async fn judge(pin: PinView<'_>, source: &Source, http: &HttpClient) -> Answer {
    match ask(pin, source, http).await {
        Ok(answer) => answer,
        Err(why) => answer(SignatureState::NotAudited, why),
    }
}

async fn ask(pin: PinView<'_>, source: &Source, http: &HttpClient) -> Result<Answer, String> {
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
    let served: Provenance =
        serde_json::from_slice(&served.body).map_err(|error| format!("its attestation cannot be read: {error}"))?;
    Ok(compare(&served, pin))
}

fn compare(served: &Provenance, pin: PinView<'_>) -> Answer {
    let (file, sha256) = (pin.artifact.path.file_name(), pin.artifact.sha256.to_string());
    let mut publishers = Vec::new();
    for bundle in &served.attestation_bundles {
        for attestation in &bundle.attestations {
            let statement = STANDARD.decode(&attestation.envelope.statement).ok();
            let statement = statement.and_then(|text| serde_json::from_slice::<Statement>(&text).ok());
            let subjects = statement.map(|statement| statement.subject).unwrap_or_default();
            if !subjects.iter().any(|subject| subject.name == file && subject.digest.sha256 == sha256) {
                return answer(SignatureState::Bad, "its attestation is of another file than the locked one");
            }
            let kind = bundle.publisher.as_ref().and_then(|publisher| publisher.get("kind")).and_then(Value::as_str);
            publishers.push(kind.unwrap_or("somebody").to_owned());
        }
    }
    match publishers.first() {
        None => answer(SignatureState::NotServed, "a list of attestations is served, and is empty"),
        Some(publisher) => answer(SignatureState::ServedNotChecked, format!("attested by {publisher}; not checked")),
    }
}
