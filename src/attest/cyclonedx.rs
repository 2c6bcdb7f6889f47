//! A bill as CycloneDX 1.6 JSON (ECMA-424).

use serde_json::{Map, Value, json};

use super::bill::{Base, Bill, Component};
use super::facts::Party;
use super::licence::Licence;
use super::{DocumentType, moment};
use crate::model::Hasher;

/// CycloneDX as JSON.
pub const CYCLONEDX: DocumentType =
    DocumentType { media_type: "application/vnd.cyclonedx+json", predicate_type: "https://cyclonedx.org/bom" };

/// The reference of the image in the document.
const IMAGE: &str = "image";
/// The reference of what the image stands on.
const BASE: &str = "base";

/// Writes the bill. Its serial number is a digest of what it is of.
pub fn render_cyclonedx(bill: &Bill) -> Value {
    let mut components: Vec<Value> = vec![base(bill)];
    components.extend(bill.components.iter().map(component));
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", serial_number(bill)),
        "version": 1,
        "metadata": {
            "timestamp": moment(bill.epoch),
            "tools": { "components": [{ "type": "application", "name": "oclock", "version": env!("CARGO_PKG_VERSION") }] },
            "component": image(bill),
        },
        "components": components,
        "dependencies": dependencies(bill),
    })
}

/// A UUID of version 8 (RFC 9562, section 5.8) made of a digest.
fn serial_number(bill: &Bill) -> String {
    let mut hasher = Hasher::default();
    hasher.field("cyclonedx 1.6");
    hasher.field(bill.lockfile.as_bytes());
    hasher.field(bill.platform.to_string());
    let digest = hasher.finish();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.as_bytes()[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex::encode(bytes);
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}

fn image(bill: &Bill) -> Value {
    let mut fields = Map::new();
    fields.insert("type".into(), "container".into());
    fields.insert("bom-ref".into(), IMAGE.into());
    fields.insert("name".into(), bill.name.clone().into());
    let mut properties =
        vec![("oclock:lockfile", bill.lockfile.prefixed()), ("oclock:platform", bill.platform.to_string())];
    if let Some(image) = bill.image {
        fields.insert("version".into(), image.digest.prefixed().into());
        fields.insert("hashes".into(), json!([hash("SHA-256", &image.digest.to_string())]));
        properties.push(("oclock:context", image.context.prefixed()));
        properties.push(("oclock:image-id", image.id.prefixed()));
    }
    if let Some(purl) = bill.purl() {
        fields.insert("purl".into(), purl.into());
    }
    properties.sort();
    fields.insert("properties".into(), properties.iter().map(|(name, value)| property(name, value)).collect());
    Value::Object(fields)
}

fn base(bill: &Bill) -> Value {
    match &bill.base {
        Base::Debian { suite } => {
            json!({ "type": "operating-system", "bom-ref": BASE, "name": "debian", "version": suite })
        }
        Base::Image { name, purl, manifest } => {
            let layers = manifest.layers.iter().enumerate().map(|(index, layer)| {
                json!({
                    "type": "file",
                    "bom-ref": format!("{BASE}-layer-{}", index + 1),
                    "name": layer.digest.prefixed(),
                    "hashes": [hash("SHA-256", &layer.digest.to_string())],
                    "properties": [
                        property("oclock:diff-id", &layer.diff_id.prefixed()),
                        property("oclock:size", &layer.size.to_string()),
                    ],
                })
            });
            json!({
                "type": "container",
                "bom-ref": BASE,
                "name": name,
                "version": manifest.digest.prefixed(),
                "hashes": [hash("SHA-256", &manifest.digest.to_string())],
                "purl": purl,
                "components": layers.collect::<Vec<_>>(),
            })
        }
    }
}

fn component(component: &Component) -> Value {
    let mut fields = Map::new();
    fields.insert("type".into(), "library".into());
    fields.insert("bom-ref".into(), component.purl.clone().into());
    if let Some(supplier) = &component.supplier {
        fields.insert("supplier".into(), organisation(supplier));
    }
    if let Some(author) = &component.author {
        fields.insert("authors".into(), json!([contact(author)]));
    }
    fields.insert("name".into(), component.name.clone().into());
    fields.insert("version".into(), component.version.clone().into());
    fields.insert("hashes".into(), hashes(component));
    let mut properties = component.properties.clone();
    match &component.licence {
        Licence::Stated { expression, .. } => {
            fields.insert("licenses".into(), json!([{ "expression": expression }]));
        }
        Licence::Unknown { why } => properties.push(("oclock:licence-unknown", why.clone())),
    }
    properties.sort();
    fields.insert("purl".into(), component.purl.clone().into());
    fields.insert("properties".into(), properties.iter().map(|(name, value)| property(name, value)).collect());
    Value::Object(fields)
}

fn hashes(component: &Component) -> Value {
    let artifact = &component.artifact;
    let sha512 = artifact.sha512.map(|digest| hash("SHA-512", &digest.to_string()));
    std::iter::once(hash("SHA-256", &artifact.sha256.to_string())).chain(sha512).collect()
}

fn hash(algorithm: &str, content: &str) -> Value {
    json!({ "alg": algorithm, "content": content })
}

fn property(name: &str, value: &str) -> Value {
    json!({ "name": name, "value": value })
}

fn organisation(party: &Party) -> Value {
    match &party.email {
        Some(email) => json!({ "name": party.name, "contact": [{ "email": email }] }),
        None => json!({ "name": party.name }),
    }
}

fn contact(party: &Party) -> Value {
    match &party.email {
        Some(email) => json!({ "name": party.name, "email": email }),
        None => json!({ "name": party.name }),
    }
}

/// Who requires whom: the image its base and what the manifest asks for, each package what the lock says.
fn dependencies(bill: &Bill) -> Value {
    let purl = |index: &usize| bill.components[*index].purl.clone();
    let mut of_image: Vec<String> = bill.required.iter().map(purl).collect();
    of_image.push(BASE.to_owned());
    of_image.sort();
    let packages = bill.components.iter().map(|component| {
        let mut requires: Vec<String> = component.requires.iter().map(purl).collect();
        requires.sort();
        json!({ "ref": component.purl, "dependsOn": requires })
    });
    [json!({ "ref": IMAGE, "dependsOn": of_image }), json!({ "ref": BASE })].into_iter().chain(packages).collect()
}
