//! Secrets in the project: its own files, and what the Containerfile says.

use std::fs::File;
use std::io::{self, Read};

use super::scan::{Scanner, patterns_digest};
use super::{Secrets, SecretsError};
use crate::assemble::{Project, ProjectFile};
use crate::audit::FindingPlace;
use crate::base::fs::FsError;
use crate::image::ImageConfig;
use crate::model::{Hasher, Sha256};
use crate::store::Store;
use crate::template::TEMPLATE_FILE;

const MEMO: &str = "project-secrets";

/// What an image is told by its Containerfile.
#[derive(Clone, Copy, Debug)]
pub struct ContainerfileTexts<'a> {
    /// Containerfile.in as it is written.
    pub template: &'a str,
    /// The Containerfile that it becomes.
    pub rendered: &'a str,
    /// What the image will say of itself: variables put together, labels, commands.
    pub config: &'a ImageConfig,
    /// What of it the base image says: that is public.
    pub inherited: Option<&'a ImageConfig>,
}

/// Looks for secrets in the project's files and its Containerfile. The subjects are `context/PATH` and `Containerfile.in`.
/// That there are none is kept in the store, for the same files and texts.
///
/// # Errors
/// When a file cannot be read, or is not the one that was read before.
pub fn check_project(
    project: &Project,
    texts: &ContainerfileTexts<'_>,
    store: &Store,
) -> Result<Secrets, SecretsError> {
    let question = question(project, texts);
    if store.memo(MEMO, &question).is_some() {
        return Ok(Secrets::default());
    }
    let secrets = look(project, texts)?;
    if secrets == Secrets::default() {
        store.set_memo(MEMO, &question, b"none")?;
    }
    Ok(secrets)
}

/// All that decides what is found.
fn question(project: &Project, texts: &ContainerfileTexts<'_>) -> Sha256 {
    let mut question = Hasher::default();
    question.field(patterns_digest().as_bytes());
    question.field(texts.template);
    question.field(texts.rendered);
    let inherited = texts.inherited.map(config_lines).unwrap_or_default();
    for lines in [inherited, config_lines(texts.config)] {
        question.field(lines.len().to_string());
        for (name, line) in lines {
            question.field(name);
            question.field(line);
        }
    }
    for (path, file) in &project.files {
        if let ProjectFile::Regular { digest, .. } = file {
            question.field(path);
            question.field(digest.as_bytes());
        }
    }
    question.finish()
}

fn look(project: &Project, texts: &ContainerfileTexts<'_>) -> Result<Secrets, SecretsError> {
    let scanner = Scanner::new()?;
    let mut secrets = Secrets::default();
    containerfile(&scanner, texts, &mut secrets)?;
    for (path, file) in &project.files {
        let ProjectFile::Regular { location, digest, .. } = file else { continue };
        let fail = || FsError::new("read", location);
        let mut reader = Hashing { file: File::open(location).map_err(fail())?, hasher: Hasher::default() };
        let hits = scanner.scan(&mut reader).map_err(fail())?;
        if reader.hasher.finish() != *digest {
            return Err(SecretsError::Changed { path: location.clone() });
        }
        let subject = format!("context/{path}");
        secrets.tell(&subject, &hits, |hit| Some(FindingPlace { file: subject.clone(), line: hit.line }));
    }
    Ok(secrets)
}

/// Reads and hashes what it reads: what was looked through is what the context's digest stands for.
struct Hashing {
    file: File,
    hasher: Hasher,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        Ok(length)
    }
}

fn containerfile(scanner: &Scanner, texts: &ContainerfileTexts<'_>, secrets: &mut Secrets) -> Result<(), SecretsError> {
    let scan = |mut text: &[u8]| scanner.scan(&mut text).map_err(FsError::new("read", TEMPLATE_FILE));
    let place = |file: &str, line| Some(FindingPlace { file: file.to_owned(), line });
    for (_, line) in texts.inherited.map(config_lines).unwrap_or_default() {
        secrets.known.extend(scan(line.as_bytes())?.iter().map(|hit| hit.digest));
    }
    let hits = scan(texts.template.as_bytes())?;
    secrets.tell(TEMPLATE_FILE, &hits, |hit| place(TEMPLATE_FILE, hit.line));
    // What is new: a value that the template put together, or that the instructions did: `ENV A=x B=${A}y`.
    let is_new = |secrets: &Secrets, digest: &Sha256| !secrets.known.contains(digest);
    let mut hits = scan(texts.rendered.as_bytes())?;
    hits.retain(|hit| is_new(secrets, &hit.digest));
    secrets.tell(TEMPLATE_FILE, &hits, |hit| place(&format!("{TEMPLATE_FILE} (rendered)"), hit.line));
    for (name, line) in config_lines(texts.config) {
        let mut hits = scan(line.as_bytes())?;
        hits.retain(|hit| is_new(secrets, &hit.digest));
        let named = texts.template.lines().position(|text| text.contains(&name)).map(|index| index + 1);
        secrets.tell(TEMPLATE_FILE, &hits, |_| named.and_then(|line| place(TEMPLATE_FILE, line)));
    }
    Ok(())
}

/// What the config says, one line each, with a word by which its instruction is found.
fn config_lines(config: &ImageConfig) -> Vec<(String, String)> {
    let name = |line: &str| line.split('=').next().unwrap_or_default().to_owned();
    let variables = config.env.iter().map(|line| (name(line), line.clone()));
    let labels = config.labels.iter().map(|(name, value)| (name.clone(), format!("{name}={value}")));
    let check = config.healthcheck.iter().map(|check| ("HEALTHCHECK", check.test.join(" ")));
    let commands = [("ENTRYPOINT", config.entrypoint.join(" ")), ("CMD", config.cmd.join(" "))];
    let commands = commands.into_iter().chain(check).map(|(name, line)| (name.to_owned(), line));
    variables.chain(labels).chain(commands).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_there_is_none_counts_for_the_same_files_and_texts_alone() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        let key = "AKIA".to_owned() + "Q3EGZ7WXTN5VJ2LM";
        let location = directory.path().join("file");
        let found = |content: &str, template: &str, variable: &str| {
            std::fs::write(&location, content).unwrap();
            let digest = Sha256::of(content);
            let file = ProjectFile::Regular { location: location.clone(), mode: 0o644, digest, size: 0 };
            let project = Project { files: [("file".to_owned(), file)].into(), roots: Vec::new() };
            let config = ImageConfig { env: vec![format!("A={variable}")], ..ImageConfig::default() };
            let texts = ContainerfileTexts { template, rendered: template, config: &config, inherited: None };
            check_project(&project, &texts, &store).unwrap().findings.len()
        };
        for _ in 0..2 {
            assert_eq!(found("none", "FROM scratch", "b"), 0);
            assert_eq!(found(&key, "FROM scratch", "b"), 1);
            assert_eq!(found("none", &format!("FROM scratch\n# {key}"), "b"), 1);
            assert_eq!(found("none", "FROM scratch", &key), 1);
        }
    }
}
