//! An npm package's package.json: `license`, the old `licenses`, `author`.

use std::io::{self, Read};

use serde_json::Value;

use super::{Facts, Party, TEXT_LIMIT, bad, party};
use crate::attest::licence::Licence;
use crate::base::archive::decompress;

pub(super) fn read(tarball: impl Read + Send) -> io::Result<Facts> {
    let manifest = read_manifest(tarball)?;
    Ok(Facts { licence: licence(&manifest), supplier: None, author: author(&manifest["author"]), licence_of: None })
}

/// The last package.json at the top, as npm takes it.
fn read_manifest(tarball: impl Read + Send) -> io::Result<Value> {
    let mut archive = tar::Archive::new(decompress(tarball)?);
    let mut manifest = Value::Null;
    for entry in archive.entries()? {
        let entry = entry?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if path.split('/').filter(|part| *part != ".").skip(1).eq(["package.json"]) {
            let mut bytes = Vec::new();
            entry.take(TEXT_LIMIT).read_to_end(&mut bytes)?;
            let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
            manifest = serde_json::from_slice(text).map_err(io::Error::other)?;
        }
    }
    if manifest.is_object() { Ok(manifest) } else { Err(bad("it has no package.json")) }
}

fn licence(manifest: &Value) -> Licence {
    let name = |value: &Value| value.as_str().or_else(|| value["type"].as_str()).map(|text| text.trim().to_owned());
    let one = |name: String| Licence::of_expression(&name).unwrap_or_else(|| Licence::named(&name, ""));
    if let Some(name) = name(&manifest["license"]).filter(|name| !name.is_empty()) {
        return one(name);
    }
    // Before `license` there was a list, of which one could be chosen.
    let old = manifest["licenses"].as_array().or_else(|| manifest["license"].as_array());
    let names: Vec<Licence> = old.into_iter().flatten().filter_map(name).map(one).collect();
    if names.is_empty() { Licence::unknown("its package.json names no licence") } else { Licence::one_of(names) }
}

fn author(value: &Value) -> Option<Party> {
    match value {
        Value::String(text) => party(text),
        Value::Object(fields) => {
            let text = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default();
            party(&format!("{} <{}>", text("name"), text("email")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_way_to_name_a_licence_is_read() {
        let read = |manifest: Value| match licence(&manifest) {
            Licence::Stated { expression, .. } => expression,
            Licence::Unknown { why } => why,
        };
        assert_eq!(read(json!({ "license": "(MIT OR CC0-1.0)" })), "(MIT OR CC0-1.0)");
        assert_eq!(read(json!({ "license": { "type": "ISC", "url": "x" } })), "ISC");
        assert_eq!(read(json!({ "licenses": [{ "type": "MIT" }, { "type": "Apache-2.0" }] })), "MIT OR Apache-2.0");
        assert!(read(json!({ "license": "SEE LICENSE IN x.txt" })).starts_with("LicenseRef-SEE-LICENSE-IN-x-txt-"));
        assert!(read(json!({ "license": "UNLICENSED" })).starts_with("LicenseRef-UNLICENSED-"));
        assert!(read(json!({})).contains("names no licence"));
    }
}
