//! A registry on loopback that answers as a test wants it to: an image of a layout, and faults.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use oclock::model::Sha256;

use super::image_registry::blob;

/// What is asked: the path with its query, and the headers that matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub path: String,
    pub authorization: Option<String>,
    pub range: Option<String>,
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: &'static str,
    pub headers: Vec<String>,
    pub body: Vec<u8>,
    /// How much of the body is sent before the connection breaks.
    pub cut: Option<usize>,
}

impl Reply {
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: "200 OK", headers: Vec::new(), body: body.into(), cut: None }
    }

    pub fn status(status: &'static str) -> Self {
        Self { status, ..Self::ok("") }
    }

    pub fn header(mut self, line: impl Into<String>) -> Self {
        self.headers.push(line.into());
        self
    }
}

/// Serves until the process ends.
pub struct FakeRegistry {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl FakeRegistry {
    pub fn serve(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let registry = Self { url, asked: Arc::default() };
        let (asked, answer) = (registry.asked.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (asked, answer) = (asked.clone(), answer.clone());
                std::thread::spawn(move || serve_one(stream, &asked, &*answer));
            }
        });
        registry
    }

    pub fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn serve_one(mut stream: TcpStream, asked: &Mutex<Vec<Asked>>, answer: &dyn Fn(&Asked) -> Reply) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(path) = lines.next().and_then(|line| line.split(' ').nth(1).map(str::to_owned)) else { return };
    let mut question = Asked { path, ..Asked::default() };
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        let Some((name, value)) = line.split_once(": ") else { continue };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => question.authorization = Some(value.to_owned()),
            "range" => question.range = Some(value.to_owned()),
            _ => {}
        }
    }
    asked.lock().unwrap().push(question.clone());
    let reply = answer(&question);
    let headers: String = reply.headers.iter().map(|line| format!("{line}\r\n")).collect();
    let head = format!(
        "HTTP/1.1 {}\r\nContent-Length: {}\r\n{headers}Connection: close\r\n\r\n",
        reply.status,
        reply.body.len()
    );
    let body = &reply.body[..reply.cut.unwrap_or(reply.body.len())];
    stream.write_all(&[head.as_bytes(), body].concat()).ok();
}

/// What a registry answers that has the image of a layout under `node:20-slim`, and nothing else.
pub fn image_of(layout: &Path, index: Sha256) -> impl Fn(&str) -> Reply + Send + Sync + use<> {
    let layout: PathBuf = layout.to_owned();
    move |path| {
        let name = path.strip_prefix("/v2/node/manifests/").or_else(|| path.strip_prefix("/v2/node/blobs/"));
        let digest = match name {
            Some("20-slim") => Some(index),
            Some(name) => Sha256::parse_prefixed(name).ok(),
            None => None,
        };
        let bytes = digest.and_then(|digest| fs::read(blob(&layout, &digest)).ok());
        bytes.map_or_else(|| Reply::status("404 Not Found"), Reply::ok)
    }
}
