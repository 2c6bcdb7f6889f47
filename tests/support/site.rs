//! A site on loopback: paths and their bytes, which may change while it is served, and a note of what was asked for.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use url::Url;

type Files = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// An answer that does not end: its head, and a piece that is sent again and again with a pause between.
#[derive(Clone)]
pub struct Endless {
    pub head: String,
    pub piece: Vec<u8>,
    pub pause: Duration,
}

/// What the site calls its answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Naming {
    /// Nothing.
    #[default]
    None,
    /// By a tag, which changes with the bytes.
    Tags,
    /// By the time of the last change, which is always the same.
    OldTimes,
    /// By the time of the last change, which is just now.
    NewTimes,
    /// By a tag; but whatever is asked for unless it has one is said to be as before, under another tag.
    OtherTags,
    /// The same, without saying a tag.
    NoTags,
}

/// Serves until the process ends.
pub struct Site {
    pub url: Url,
    files: Files,
    /// Whole answers, status line and all, by path.
    answers: Files,
    endless: Arc<Mutex<BTreeMap<String, Endless>>>,
    asked: Arc<Mutex<Vec<String>>>,
    naming: Arc<Mutex<Naming>>,
    sent: Arc<Mutex<Vec<String>>>,
}

impl Site {
    pub fn serve() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let site = Self {
            url,
            files: Files::default(),
            answers: Files::default(),
            endless: Arc::default(),
            asked: Arc::default(),
            naming: Arc::default(),
            sent: Arc::default(),
        };
        let (files, answers, asked) = (site.files.clone(), site.answers.clone(), site.asked.clone());
        let endless = site.endless.clone();
        let names = (site.naming.clone(), site.sent.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (files, answers, asked) = (files.clone(), answers.clone(), asked.clone());
                let (endless, (naming, sent)) = (endless.clone(), names.clone());
                std::thread::spawn(move || answer(stream, &files, &answers, &endless, &asked, (&naming, &sent)));
            }
        });
        site
    }

    /// Puts a file at an absolute path, over what was there.
    pub fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.files.lock().unwrap().insert(path.to_owned(), bytes.into());
    }

    /// Answers a path with these bytes, status line and all.
    pub fn put_answer(&self, path: &str, answer: impl Into<Vec<u8>>) {
        self.answers.lock().unwrap().insert(path.to_owned(), answer.into());
    }

    /// Answers a path without an end.
    pub fn put_endless(&self, path: &str, endless: Endless) {
        self.endless.lock().unwrap().insert(path.to_owned(), endless);
    }

    /// The file at a path.
    pub fn file(&self, path: &str) -> Vec<u8> {
        self.files.lock().unwrap()[path].clone()
    }

    /// All paths that there are.
    pub fn paths(&self) -> Vec<String> {
        self.files.lock().unwrap().keys().cloned().collect()
    }

    /// Puts what is at one path at another one as well.
    pub fn copy(&self, from: &str, to: &str) {
        let mut files = self.files.lock().unwrap();
        let bytes = files[from].clone();
        files.insert(to.to_owned(), bytes);
    }

    /// Takes away the one file whose path contains `part`.
    pub fn remove(&self, part: &str) {
        let path = self.path_with(part);
        self.files.lock().unwrap().remove(&path);
    }

    /// Changes the one file whose path contains `part`.
    pub fn change(&self, part: &str, change: impl Fn(Vec<u8>) -> Vec<u8>) {
        let path = self.path_with(part);
        let mut files = self.files.lock().unwrap();
        let changed = change(files[&path].clone());
        files.insert(path, changed);
    }

    /// Calls its answers otherwise from now on.
    pub fn name_answers(&self, naming: Naming) {
        *self.naming.lock().unwrap() = naming;
    }

    /// What was sent as a whole since the last time.
    pub fn take_sent(&self) -> Vec<String> {
        std::mem::take(&mut self.sent.lock().unwrap())
    }

    /// What was asked for since the last time.
    pub fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    /// Whether a path was asked for since the last [`take_asked`](Self::take_asked).
    pub fn asked(&self, path: &str) -> bool {
        self.asked.lock().unwrap().iter().any(|asked| asked == path)
    }

    fn path_with(&self, part: &str) -> String {
        let files = self.files.lock().unwrap();
        if files.contains_key(part) {
            return part.to_owned();
        }
        let found: Vec<&String> = files.keys().filter(|path| path.contains(part)).collect();
        assert_eq!(found.len(), 1, "files with `{part}`: {found:?}");
        found[0].clone()
    }
}

fn answer(
    mut stream: TcpStream,
    files: &Files,
    answers: &Files,
    endless: &Mutex<BTreeMap<String, Endless>>,
    asked: &Mutex<Vec<String>>,
    (naming, sent): (&Mutex<Naming>, &Mutex<Vec<String>>),
) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(path) = lines.next().and_then(|line| line.split(' ').nth(1).map(str::to_owned)) else { return };
    let headers: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    let header = |name: &str| {
        let lines = headers.iter().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    };
    asked.lock().unwrap().push(path.clone());
    if let Some(answer) = answers.lock().unwrap().get(&path) {
        stream.write_all(answer).ok();
        return;
    }
    let endless = endless.lock().unwrap().get(&path).cloned();
    if let Some(Endless { head, piece, pause }) = endless {
        let mut sent = stream.write_all(head.as_bytes());
        while sent.is_ok() {
            sent = stream.write_all(&piece);
            std::thread::sleep(pause);
        }
        return;
    }
    let (status, body) = match files.lock().unwrap().get(&path) {
        Some(bytes) => ("200 OK", bytes.clone()),
        None => ("404 Not Found", Vec::new()),
    };
    let kind = match path.split('/').nth(1) {
        Some("simple") => "application/vnd.pypi.simple.v1+json",
        Some("npm") if !path.ends_with(".tgz") => "application/json",
        _ => "application/octet-stream",
    };
    let tag = format!("\"{}\"", oclock::model::Sha256::of(&body));
    let (old, new) = ("Fri, 01 Mar 2024 00:00:00 GMT", "Fri, 01 Mar 2024 00:10:00 GMT");
    let (known, since) = (header("if-none-match"), header("if-modified-since"));
    let (name, is_known) = match *naming.lock().unwrap() {
        Naming::None => (String::new(), known.is_some() || since.is_some()),
        Naming::Tags => (format!("ETag: {tag}\r\n"), known.as_ref() == Some(&tag)),
        Naming::OldTimes => (format!("Date: {new}\r\nLast-Modified: {old}\r\n"), since.as_deref() == Some(old)),
        Naming::NewTimes => (format!("Date: {old}\r\nLast-Modified: {old}\r\n"), since.is_some()),
        Naming::OtherTags if known.is_some() => ("ETag: \"other\"\r\n".to_owned(), true),
        Naming::NoTags if known.is_some() => (String::new(), true),
        Naming::OtherTags | Naming::NoTags => (format!("ETag: {tag}\r\n"), false),
    };
    if status == "200 OK" && is_known {
        stream.write_all(format!("HTTP/1.1 304 Not Modified\r\n{name}Connection: close\r\n\r\n").as_bytes()).ok();
        return;
    }
    sent.lock().unwrap().push(path.clone());
    let head = format!(
        "HTTP/1.1 {status}\r\n{name}Content-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body].concat()).ok();
}
