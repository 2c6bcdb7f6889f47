//! A bill as SPDX 2.3 JSON.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::bill::{Base, Bill, Component};
use super::facts::Party;
use super::licence::{CustomLicence, Licence};
use super::{DocumentType, moment};
use crate::model::Sha256;

/// SPDX as JSON.
pub const SPDX: DocumentType =
    DocumentType { media_type: "application/spdx+json", predicate_type: "https://spdx.dev/Document" };

const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const IMAGE: &str = "SPDXRef-image";
const BASE: &str = "SPDXRef-base";
const NO_ASSERTION: &str = "NOASSERTION";
/// Words in the name of a group.
const GROUPS: &[&str] = &["team", "maintainers", "developers", "group", "packagers", "debian", "list", "project"];

/// Writes the bill. Its namespace is made of the lockfile's digest.
pub fn render_spdx(bill: &Bill) -> Value {
    let mut packages = vec![image(bill)];
    packages.extend(base(bill));
    packages.extend(bill.components.iter().map(package));
    let mut document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": DOCUMENT,
        "name": bill.name,
        "documentNamespace": format!("https://oclock.invalid/spdx/{}/{}", bill.lockfile, bill.platform),
        "creationInfo": {
            "created": moment(bill.epoch),
            "creators": [concat!("Tool: oclock-", env!("CARGO_PKG_VERSION"))],
            "licenseListVersion": list_version(),
        },
        "packages": packages,
        "relationships": relationships(bill),
    });
    let custom = custom_licences(bill);
    if !custom.is_empty() {
        document["hasExtractedLicensingInfos"] = custom
            .iter()
            .map(|(id, licence)| json!({ "licenseId": id, "name": licence.name, "extractedText": licence.text }))
            .collect();
    }
    document
}

/// `3.29` of `3.29.0`.
fn list_version() -> String {
    spdx::license_version().split('.').take(2).collect::<Vec<_>>().join(".")
}

fn custom_licences(bill: &Bill) -> BTreeMap<&str, &CustomLicence> {
    let licences = bill.components.iter().filter_map(|component| match &component.licence {
        Licence::Stated { custom, .. } => Some(custom),
        Licence::Unknown { .. } => None,
    });
    licences.flatten().map(|(id, licence)| (id.as_str(), licence)).collect()
}

/// The fields of every package that say what is not known.
fn plain(id: &str, name: &str, version: &str) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("SPDXID".into(), id.into());
    fields.insert("name".into(), name.into());
    fields.insert("versionInfo".into(), version.into());
    fields.insert("downloadLocation".into(), NO_ASSERTION.into());
    fields.insert("filesAnalyzed".into(), false.into());
    fields.insert("licenseConcluded".into(), NO_ASSERTION.into());
    fields.insert("licenseDeclared".into(), NO_ASSERTION.into());
    fields.insert("copyrightText".into(), NO_ASSERTION.into());
    fields
}

fn image(bill: &Bill) -> Value {
    let version = bill.image.map_or_else(|| bill.lockfile.prefixed(), |image| image.digest.prefixed());
    let mut fields = plain(IMAGE, &bill.name, &version);
    fields.insert("primaryPackagePurpose".into(), "CONTAINER".into());
    let mut said = format!("lockfile {}, platform {}", bill.lockfile.prefixed(), bill.platform);
    if let Some(image) = bill.image {
        fields.insert("checksums".into(), json!([checksum("SHA256", &image.digest.to_string())]));
        said.push_str(&format!(", image ID {}, context {}", image.id.prefixed(), image.context.prefixed()));
    }
    fields.insert("sourceInfo".into(), said.into());
    if let Some(purl) = bill.purl() {
        fields.insert("externalRefs".into(), json!([purl_reference(&purl)]));
    }
    Value::Object(fields)
}

fn base(bill: &Bill) -> Vec<Value> {
    match &bill.base {
        Base::Debian { suite } => {
            let mut fields = plain(BASE, "debian", suite);
            fields.insert("primaryPackagePurpose".into(), "OPERATING_SYSTEM".into());
            vec![Value::Object(fields)]
        }
        Base::Image { name, purl, manifest } => {
            let mut fields = plain(BASE, name, &manifest.digest.prefixed());
            fields.insert("primaryPackagePurpose".into(), "CONTAINER".into());
            fields.insert("checksums".into(), json!([checksum("SHA256", &manifest.digest.to_string())]));
            fields.insert("externalRefs".into(), json!([purl_reference(purl)]));
            let layers = manifest.layers.iter().enumerate().map(|(index, layer)| {
                let mut fields =
                    plain(&layer_id(index), &format!("layer {} of {name}", index + 1), &layer.digest.prefixed());
                fields.insert("primaryPackagePurpose".into(), "ARCHIVE".into());
                fields.insert("checksums".into(), json!([checksum("SHA256", &layer.digest.to_string())]));
                fields.insert(
                    "sourceInfo".into(),
                    format!("diff_id {}, {} bytes", layer.diff_id.prefixed(), layer.size).into(),
                );
                Value::Object(fields)
            });
            std::iter::once(Value::Object(fields)).chain(layers).collect()
        }
    }
}

fn layer_id(index: usize) -> String {
    format!("{BASE}-layer-{}", index + 1)
}

fn package(component: &Component) -> Value {
    let mut fields = plain(&id(component), &component.name, &component.version);
    fields.insert("packageFileName".into(), component.artifact.path.file_name().into());
    let supplier = component.supplier.as_ref().map_or_else(|| NO_ASSERTION.to_owned(), actor);
    fields.insert("supplier".into(), supplier.into());
    if let Some(author) = &component.author {
        fields.insert("originator".into(), actor(author).into());
    }
    fields.insert("primaryPackagePurpose".into(), "LIBRARY".into());
    let artifact = &component.artifact;
    let sha512 = artifact.sha512.map(|digest| checksum("SHA512", &digest.to_string()));
    let checksums: Vec<Value> =
        std::iter::once(checksum("SHA256", &artifact.sha256.to_string())).chain(sha512).collect();
    fields.insert("checksums".into(), checksums.into());
    match &component.licence {
        Licence::Stated { expression, .. } => fields.insert("licenseDeclared".into(), expression.clone().into()),
        Licence::Unknown { why } => fields.insert("licenseComments".into(), why.clone().into()),
    };
    let said: Vec<String> = component
        .properties
        .iter()
        .map(|(name, value)| format!("{} {value}", name.strip_prefix("oclock:").unwrap_or(name)))
        .collect();
    fields.insert("sourceInfo".into(), said.join(", ").into());
    fields.insert("externalRefs".into(), json!([purl_reference(&component.purl)]));
    Value::Object(fields)
}

/// `SPDXRef-npm-lodash-6a33f0c1aa00`: letters, digits, dots and hyphens; the digest keeps versions apart.
fn id(component: &Component) -> String {
    let name: String =
        component.name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    format!("SPDXRef-{}-{}-{}", component.ecosystem, name.trim_matches('-'), short(&component.artifact.sha256))
}

fn short(digest: &Sha256) -> String {
    digest.to_string().chars().take(12).collect()
}

fn checksum(algorithm: &str, value: &str) -> Value {
    json!({ "algorithm": algorithm, "checksumValue": value })
}

fn purl_reference(purl: &str) -> Value {
    json!({ "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl })
}

/// `Organization: A Team (a@b.invalid)` or `Person: …`: SPDX wants one of the two said.
fn actor(party: &Party) -> String {
    let lower = party.name.to_lowercase();
    let is_group = lower.split(|c: char| !c.is_alphanumeric()).any(|word| GROUPS.contains(&word));
    let kind = if is_group { "Organization" } else { "Person" };
    // Parentheses set the address off, so a name must not have any.
    let name = party.name.replace(['(', ')'], "");
    match &party.email {
        Some(email) => format!("{kind}: {} ({email})", name.trim()),
        None => format!("{kind}: {}", name.trim()),
    }
}

fn relationships(bill: &Bill) -> Value {
    let relation = |from: &str, kind: &str, to: &str| json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to });
    let mut all = vec![relation(DOCUMENT, "DESCRIBES", IMAGE)];
    match &bill.base {
        Base::Debian { .. } => all.push(relation(IMAGE, "DEPENDS_ON", BASE)),
        Base::Image { manifest, .. } => {
            all.push(relation(IMAGE, "DESCENDANT_OF", BASE));
            all.extend((0..manifest.layers.len()).map(|index| relation(BASE, "CONTAINS", &layer_id(index))));
        }
    }
    all.extend(bill.components.iter().map(|component| relation(IMAGE, "CONTAINS", &id(component))));
    all.extend(bill.required.iter().map(|index| relation(IMAGE, "DEPENDS_ON", &id(&bill.components[*index]))));
    for component in &bill.components {
        let from = id(component);
        all.extend(component.requires.iter().map(|to| relation(&from, "DEPENDS_ON", &id(&bill.components[*to]))));
    }
    all.into()
}
