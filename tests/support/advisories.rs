//! Advisories made up for tests, in the form of the OSV schema, as files, archives and answers of a server.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

use std::io::{Cursor, Write};

use serde_json::{Value, json};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::project::Project;

/// A moment some days ago, as advisories write it.
pub fn days_ago(days: i64) -> String {
    let moment = jiff::Timestamp::now().as_second() - days * 86_400;
    jiff::Timestamp::from_second(moment).unwrap().to_string()
}

/// Says that a package is affected from the start, and in which version it is fixed.
pub fn advisory(id: &str, scope: &str, name: &str, fixed: Option<&str>) -> Value {
    let mut events = vec![json!({ "introduced": "0" })];
    events.extend(fixed.map(|version| json!({ "fixed": version })));
    let package = json!({ "ecosystem": scope, "name": name });
    json!({
        "id": id,
        "modified": days_ago(1),
        "summary": format!("{name} gives too much away"),
        "affected": [{ "package": package, "ranges": [{ "type": "ECOSYSTEM", "events": events }] }],
    })
}

/// One advisory for each ecosystem, about packages that no test pins.
pub fn harmless() -> Vec<Value> {
    ["npm", "PyPI", "Debian:13"]
        .iter()
        .map(|scope| advisory(&format!("NONE-{}", scope.replace(':', "-")), scope, "somebody-elses", Some("1.0.0")))
        .collect()
}

/// Writes advisories below `advisories/` of a project.
pub fn write(project: &Project, advisories: &[Value]) {
    for advisory in advisories {
        project.write(&format!("advisories/{}.json", advisory["id"].as_str().unwrap()), advisory.to_string());
    }
}

/// The same as an archive.
pub fn archive(advisories: &[Value]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for advisory in advisories {
        zip.start_file(format!("{}.json", advisory["id"].as_str().unwrap()), SimpleFileOptions::default()).unwrap();
        zip.write_all(advisory.to_string().as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}
