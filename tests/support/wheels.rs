//! Wheels made up for tests, and an index on loopback that serves them.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oclock::model::Sha256;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// A wheel under construction: its files, each with a mode.
#[derive(Clone)]
pub struct WheelBuilder {
    pub name: String,
    pub version: String,
    pub tags: String,
    pub metadata: Vec<String>,
    pub files: Vec<(String, Vec<u8>, u32)>,
    /// Rows put into RECORD instead of the true ones, by path; an empty one is left out.
    pub rows: BTreeMap<String, String>,
}

impl WheelBuilder {
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            tags: "py3-none-any".into(),
            metadata: Vec::new(),
            files: vec![(format!("{name}/__init__.py"), format!("# {name} {version}\n").into_bytes(), 0o100_644)],
            rows: BTreeMap::new(),
        }
    }

    pub fn tags(mut self, tags: &str) -> Self {
        self.tags = tags.into();
        self
    }

    /// Adds a line to METADATA.
    pub fn line(mut self, line: &str) -> Self {
        self.metadata.push(line.into());
        self
    }

    pub fn requires(self, requirement: &str) -> Self {
        self.line(&format!("Requires-Dist: {requirement}"))
    }

    pub fn file(mut self, path: &str, content: &str, mode: u32) -> Self {
        self.files.push((path.into(), content.into(), mode));
        self
    }

    pub fn row(mut self, path: &str, row: &str) -> Self {
        self.rows.insert(path.into(), row.into());
        self
    }

    pub fn file_name(&self) -> String {
        format!("{}-{}-{}.whl", self.name, self.version, self.tags)
    }

    pub fn metadata_text(&self) -> String {
        let mut lines =
            vec!["Metadata-Version: 2.1".into(), format!("Name: {}", self.name), format!("Version: {}", self.version)];
        lines.extend(self.metadata.clone());
        lines.join("\n") + "\n\nText: not a header\n"
    }

    pub fn build(&self) -> Vec<u8> {
        let info = format!("{}-{}.dist-info", self.name, self.version);
        let mut files = self.files.clone();
        for (name, text) in
            [("METADATA", self.metadata_text()), ("WHEEL", format!("Wheel-Version: 1.0\nTag: {}\n", self.tags))]
        {
            let path = format!("{info}/{name}");
            if !files.iter().any(|(known, ..)| *known == path) {
                files.push((path, text.into_bytes(), 0o100_644));
            }
        }
        let mut record = String::new();
        for (path, content, _) in &files {
            let hash = URL_SAFE_NO_PAD.encode(Sha256::of(content).as_bytes());
            let row = format!("{path},sha256={hash},{}", content.len());
            let row = self.rows.get(path).unwrap_or(&row);
            if !row.is_empty() {
                record += &format!("{row}\n");
            }
        }
        record += &format!("{info}/RECORD,,\n");
        files.push((format!("{info}/RECORD"), record.into_bytes(), 0o100_644));
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (path, content, mode) in files {
            let options = SimpleFileOptions::default().unix_permissions(mode & 0o7777);
            if mode & 0o170_000 == 0o120_000 {
                zip.add_symlink(path, String::from_utf8(content).unwrap(), options).unwrap();
            } else {
                zip.start_file(path, options).unwrap();
                zip.write_all(&content).unwrap();
            }
        }
        zip.finish().unwrap().into_inner()
    }
}

/// How the index behaves.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Manner {
    /// JSON with sizes, and ranges.
    #[default]
    Json,
    /// HTML without sizes, and no ranges.
    Html,
    /// JSON, metadata beside the wheels, and no wheels at all.
    MetadataOnly,
    /// The same, with metadata that is not what the page promises.
    WrongMetadata,
}

/// A simple index on loopback. It serves until the process ends.
pub struct Index {
    pub url: url::Url,
    pub requests: Arc<Mutex<Vec<String>>>,
}

struct Site {
    pages: BTreeMap<String, (String, Vec<u8>)>,
    ranges: bool,
}

/// A file on a page, with what the page says of it.
pub struct Listed {
    pub file_name: String,
    pub bytes: Vec<u8>,
    pub metadata: String,
    pub requires_python: Option<String>,
    pub yanked: bool,
}

impl Listed {
    pub fn wheel(wheel: &WheelBuilder) -> Self {
        let python = wheel.metadata.iter().find_map(|line| line.strip_prefix("Requires-Python: "));
        Self {
            file_name: wheel.file_name(),
            bytes: wheel.build(),
            metadata: wheel.metadata_text(),
            requires_python: python.map(str::to_owned),
            yanked: false,
        }
    }

    pub fn yanked(wheel: &WheelBuilder) -> Self {
        Self { yanked: true, ..Self::wheel(wheel) }
    }

    pub fn source(file_name: &str) -> Self {
        Self {
            file_name: file_name.into(),
            bytes: b"source".to_vec(),
            metadata: String::new(),
            requires_python: None,
            yanked: false,
        }
    }
}

impl Index {
    pub fn serve(manner: Manner, files: &[Listed]) -> Self {
        let mut pages = BTreeMap::new();
        let mut projects: BTreeMap<String, Vec<&Listed>> = BTreeMap::new();
        for file in files {
            let project = file.file_name.split('-').next().unwrap().replace('_', "-").to_lowercase();
            projects.entry(project).or_default().push(file);
            if matches!(manner, Manner::Json | Manner::Html) {
                pages.insert(format!("/files/{}", file.file_name), ("application/zip".into(), file.bytes.clone()));
            }
            let metadata = if manner == Manner::WrongMetadata { "Name: other\n" } else { &file.metadata };
            pages.insert(format!("/files/{}.metadata", file.file_name), ("text/plain".into(), metadata.into()));
        }
        for (project, files) in projects {
            let page = if manner == Manner::Html { html(&files) } else { json(&files, manner) };
            pages.insert(format!("/simple/{project}/"), page);
        }
        let site = Arc::new(Site { pages, ranges: manner == Manner::Json });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = url::Url::parse(&format!("http://{}/simple/", listener.local_addr().unwrap())).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (site, log) = (site.clone(), log.clone());
                std::thread::spawn(move || while answer(&stream, &site, &log).is_some() {});
            }
        });
        Self { url, requests }
    }

    /// How many requests were for files, not pages.
    pub fn file_requests(&self) -> usize {
        self.requests.lock().unwrap().iter().filter(|path| path.starts_with("/files/")).count()
    }
}

fn json(files: &[&Listed], manner: Manner) -> (String, Vec<u8>) {
    let files: Vec<_> = files
        .iter()
        .map(|file| {
            let mut entry = serde_json::json!({
                "filename": file.file_name,
                "url": format!("../../files/{}", file.file_name),
                "hashes": { "sha256": Sha256::of(&file.bytes).to_string() },
                "size": file.bytes.len(),
                "requires-python": file.requires_python,
                "yanked": if file.yanked { serde_json::json!("broken") } else { serde_json::json!(false) },
            });
            if manner != Manner::Json {
                entry["core-metadata"] = serde_json::json!({ "sha256": Sha256::of(&file.metadata).to_string() });
            }
            entry
        })
        .collect();
    let page = serde_json::json!({ "meta": { "api-version": "1.1" }, "files": files });
    ("application/vnd.pypi.simple.v1+json".into(), page.to_string().into_bytes())
}

fn html(files: &[&Listed]) -> (String, Vec<u8>) {
    let mut text = "<!DOCTYPE html><html><body>\n".to_owned();
    for file in files {
        let hash = Sha256::of(&file.bytes);
        let python = file.requires_python.as_deref().unwrap_or_default().replace('<', "&lt;").replace('>', "&gt;");
        let yanked = if file.yanked { " data-yanked" } else { "" };
        text += &format!(
            "<a href=\"../../files/{0}#sha256={hash}\" data-requires-python=\"{python}\"{yanked}>{0}</a><br/>\n",
            file.file_name
        );
    }
    ("text/html".into(), (text + "</body></html>").into_bytes())
}

fn answer(mut stream: &TcpStream, site: &Site, log: &Mutex<Vec<String>>) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let path = head.split(' ').nth(1)?;
    log.lock().unwrap().push(path.to_owned());
    let range =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    let (status, extra, kind, body) = match (site.pages.get(path), range) {
        (None, _) => ("404 Not Found", String::new(), "text/plain", &b""[..]),
        (Some((kind, body)), Some(range)) if site.ranges => {
            let (first, last) = range.split_once('-')?;
            let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?.min(body.len() - 1));
            let extra = format!("Content-Range: bytes {first}-{last}/{}\r\n", body.len());
            ("206 Partial Content", extra, kind.as_str(), &body[first..=last])
        }
        (Some((kind, body)), _) => ("200 OK", String::new(), kind.as_str(), &body[..]),
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{extra}Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body).ok()
}
