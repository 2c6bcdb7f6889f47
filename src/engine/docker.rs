//! docker, with BuildKit or with its classic builder, local or remote.
//!
//! BuildKit writes the result as one tar and makes no image. The classic builder makes one, which is read from the
//! daemon's overlay directories where they can be reached, else through `docker save`, and removed afterwards.
//! The client runs with a configuration of its own: the user's may hold proxies, which it would hand to every step.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;

use super::containerfile::{DEFAULT_PATH, parse_containerfile};
use super::{BuildRequest, BuiltRoot, Engine, EngineError, OnLine, RootLayer, Unusable, last_words};
use crate::base::archive::{Compression, decompress};
use crate::base::environment::Environment;
use crate::base::explain::Explain;
use crate::base::fs::{self, FsError};
use crate::base::process::{Cleanup, Invocation, ProcessError, is_executable};
use crate::base::untar::{FileRange, TarKind, clean_path, read_tar};
use crate::model::Sha256;

const NAME: &str = "docker";
/// Of the user's environment only what says where the daemon is.
const PASSED_ON: [&str; 6] =
    ["DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_API_VERSION", "SSH_AUTH_SOCK"];
/// The first client that has no BuildKit of its own and needs buildx.
const BUILDX_SINCE: u32 = 23;

const REMOVE_TRIES: u32 = 50;
const REMOVE_PAUSE: Duration = Duration::from_millis(200);

/// Which builders are acceptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Any,
    Classic,
    Buildkit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Builder {
    Classic,
    Buildkit,
}

/// docker as it was found.
#[derive(Debug)]
pub(super) struct Docker {
    program: PathBuf,
    builder: Builder,
    version: String,
    variables: BTreeMap<String, String>,
    configuration: Option<PathBuf>,
}

impl Docker {
    pub(super) fn find(wanted: Wanted, environment: &Environment) -> Result<Self, Vec<Unusable>> {
        let search = environment.variable("PATH").unwrap_or(DEFAULT_PATH);
        let programs: Vec<PathBuf> = std::env::split_paths(search)
            .map(|directory| directory.join(NAME))
            .filter(|path| is_executable(path))
            .collect();
        if programs.is_empty() {
            return Err(vec![Unusable::new(NAME, "it is not on the PATH")]);
        }
        let mut tried = Vec::new();
        let mut classic = None;
        for program in programs {
            let mut docker = Self::at(program, environment);
            match docker.ask(wanted) {
                Ok(Builder::Buildkit) => return Ok(docker),
                Ok(Builder::Classic) => classic = classic.or(Some(docker)),
                Err(why) => tried.push(Unusable::new(&docker.program.to_string_lossy(), why)),
            }
        }
        classic.ok_or(tried)
    }

    fn at(program: PathBuf, environment: &Environment) -> Self {
        let passed = PASSED_ON.iter().copied().chain(["PATH", "HOME"]);
        let variables =
            passed.filter_map(|name| Some((name.to_owned(), environment.variable(name)?.to_owned()))).collect();
        let configuration = environment.variable("DOCKER_CONFIG").map(PathBuf::from);
        let configuration = configuration.or_else(|| Some(environment.home()?.join(".docker")));
        Self { program, builder: Builder::Classic, version: String::new(), variables, configuration }
    }

    /// Asks client and daemon for their versions and chooses the builder.
    fn ask(&mut self, wanted: Wanted) -> Result<Builder, String> {
        let format = "{{.Client.Version}} {{.Server.Version}}";
        let answer = self.docker().args(["version", "--format", format]).run();
        let answer = answer.map_err(|error| last_words(&error))?.text();
        let (client, server) = answer.split_once(' ').unwrap_or((&answer, ""));
        if server.is_empty() {
            return Err("the daemon gave no version".into());
        }
        self.version = server.to_owned();
        let client_major: u32 = client.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
        let has_buildkit = || client_major < BUILDX_SINCE || self.docker().args(["buildx", "version"]).run().is_ok();
        self.builder = match wanted {
            Wanted::Classic => Builder::Classic,
            Wanted::Any | Wanted::Buildkit if has_buildkit() => Builder::Buildkit,
            Wanted::Any => Builder::Classic,
            Wanted::Buildkit => return Err(format!("client {client} needs the buildx plugin for BuildKit")),
        };
        Ok(self.builder)
    }

    /// The client with the user's configuration.
    fn docker(&self) -> Invocation {
        let mut invocation = Invocation::new(&self.program).without_environment();
        for (name, value) in &self.variables {
            invocation = invocation.env(name, value);
        }
        match &self.configuration {
            Some(path) => invocation.env("DOCKER_CONFIG", path),
            None => invocation,
        }
    }

    /// A configuration that has the user's contexts and plugins and nothing else.
    fn write_own_configuration(&self, directory: &Path) -> Result<(), EngineError> {
        fs::ensure_directory(directory)?;
        let Some(user) = &self.configuration else { return Ok(()) };
        for part in ["contexts", "cli-plugins"] {
            if user.join(part).exists() {
                fs::link_to(&user.join(part), &directory.join(part))?;
            }
        }
        let text = fs::read_text_if_present(&user.join("config.json"))?.unwrap_or_default();
        if let Some(context) =
            serde_json::from_str::<UserConfiguration>(&text).ok().and_then(|read| read.current_context)
        {
            let own = serde_json::json!({ "currentContext": context }).to_string();
            fs::write_stream(&directory.join("config.json"), &mut own.as_bytes())?;
        }
        Ok(())
    }

    fn build_invocation(&self, request: &BuildRequest<'_>, text: &str) -> Result<Invocation, EngineError> {
        let containerfile = request.scratch.join("docker-config/Containerfile");
        let configuration = request.scratch.join("docker-config");
        self.write_own_configuration(&configuration)?;
        fs::write_stream(&containerfile, &mut text.as_bytes())?;
        Ok(self
            .docker()
            .env("DOCKER_CONFIG", configuration)
            .env("BUILDX_NO_DEFAULT_ATTESTATIONS", "1")
            .env("DOCKER_BUILDKIT", if self.builder == Builder::Buildkit { "1" } else { "0" })
            .args(["build", "--network", "none", "--no-cache", "--file"])
            .arg(containerfile)
            .limit(request.limit))
    }

    fn build_with_buildkit(
        &self,
        request: &BuildRequest<'_>,
        text: &str,
        on_line: OnLine<'_>,
    ) -> Result<BuiltRoot, EngineError> {
        let path = request.scratch.join("root.tar");
        let leftover = path.clone();
        let cleanup = Cleanup::new(move || drop(fs::remove_file(&leftover)));
        let output = format!("type=tar,dest={}", path.display());
        let build = self.build_invocation(request, text)?.args(["--progress", "plain", "--output", &output]);
        build.arg(request.context).run_talking(on_line).map_err(failed("build"))?;
        Ok(BuiltRoot::kept_until_dropped(vec![RootLayer::Tar { path, offset: 0 }], vec![cleanup]))
    }

    fn build_classic(
        &self,
        request: &BuildRequest<'_>,
        text: &str,
        on_line: OnLine<'_>,
    ) -> Result<BuiltRoot, EngineError> {
        let last = Arc::new(Mutex::new(None));
        let cleanup = self.image_cleanup(Arc::clone(&last));
        let build = self.build_invocation(request, text)?.args(["--force-rm", "--rm"]).arg(request.context);
        let mut listen = |line: &str| {
            if let Some(id) = image_in(line) {
                *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(id.to_owned());
            }
            on_line(line);
        };
        build.run_talking(&mut listen).map_err(failed("build"))?;
        let id = last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let id = id.ok_or_else(|| answer("it named no image"))?;
        let mut cleanups = vec![cleanup];
        let layers = match self.overlay_layers(&id)? {
            Some(layers) => layers,
            None => self.saved_layers(&id, request, &mut cleanups)?,
        };
        Ok(BuiltRoot::kept_until_dropped(layers, cleanups))
    }

    /// Removes the image that was named last, and with it those it was made from.
    fn image_cleanup(&self, last: Arc<Mutex<Option<String>>>) -> Cleanup {
        let docker = self.docker();
        Cleanup::new(move || {
            if let Some(id) = last.lock().unwrap_or_else(PoisonError::into_inner).take() {
                remove_image(&docker, id);
            }
        })
    }

    /// The image's directories in the daemon's storage, when they can be read from here.
    fn overlay_layers(&self, id: &str) -> Result<Option<Vec<RootLayer>>, EngineError> {
        let inspect = self.docker().args(["image", "inspect", "--format", "{{json .GraphDriver}}", id]);
        let text = inspect.run().map_err(failed("describe the image"))?.text();
        let Ok(driver) = serde_json::from_str::<GraphDriver>(&text) else { return Ok(None) };
        let Some(upper) = driver.data.upper.filter(|_| driver.name == "overlay2") else { return Ok(None) };
        let lower = driver.data.lower.unwrap_or_default();
        let mut directories: Vec<PathBuf> =
            lower.split(':').filter(|path| !path.is_empty()).map(PathBuf::from).collect();
        directories.reverse();
        directories.push(upper);
        let readable = directories.iter().all(|path| std::fs::read_dir(path).is_ok());
        Ok(readable.then(|| directories.into_iter().map(RootLayer::Overlay).collect()))
    }

    fn saved_layers(
        &self,
        id: &str,
        request: &BuildRequest<'_>,
        cleanups: &mut Vec<Cleanup>,
    ) -> Result<Vec<RootLayer>, EngineError> {
        let archive = request.scratch.join("saved.tar");
        let leftover = archive.clone();
        cleanups.push(Cleanup::new(move || drop(fs::remove_file(&leftover))));
        let save = self.docker().args(["image", "save", "--output"]).arg(&archive).arg(id);
        save.limit(request.limit).run().map_err(failed("save the image"))?;
        SavedImage::open(&archive)?.layers(request.scratch, cleanups)
    }
}

impl Engine for Docker {
    fn name(&self) -> &str {
        NAME
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn flavour(&self) -> String {
        match self.builder {
            Builder::Classic => "classic".into(),
            Builder::Buildkit => "BuildKit".into(),
        }
    }

    fn build(&self, request: &BuildRequest<'_>, on_line: OnLine<'_>) -> Result<BuiltRoot, EngineError> {
        let file = parse_containerfile(&fs::read_text(&request.context.join("Containerfile"))?)?;
        if file.from != "scratch" {
            return Err(EngineError::NotScratch { from: file.from });
        }
        let configuration = request.scratch.join("docker-config");
        let _cleanup = Cleanup::new(move || drop(fs::remove_directory(&configuration)));
        match self.builder {
            Builder::Classic => self.build_classic(request, &file.agreed_text, on_line),
            Builder::Buildkit => self.build_with_buildkit(request, &file.agreed_text, on_line),
        }
    }

    fn load(&self, archive: &Path, tags: &[String]) -> Result<(), EngineError> {
        let load = self.docker().args(["image", "load", "--input"]).arg(archive);
        let text = load.run().map_err(failed("load the image"))?.text();
        let id = text.lines().find_map(|line| line.strip_prefix("Loaded image ID: "));
        let id = id.ok_or_else(|| answer("it named no image that was loaded"))?;
        for tag in tags {
            self.docker().args(["image", "tag", id, tag]).run().map_err(failed("tag the image"))?;
        }
        Ok(())
    }

    fn has_image(&self, id: &Sha256, tags: &[String]) -> bool {
        let id = id.prefixed();
        let inspect = self.docker().args(["image", "inspect", "--format", "{{.Id}}", &id]).args(tags);
        inspect.run().is_ok_and(|answer| answer.text().lines().all(|line| line == id))
    }
}

#[derive(Deserialize)]
struct UserConfiguration {
    #[serde(rename = "currentContext")]
    current_context: Option<String>,
}

#[derive(Deserialize)]
struct GraphDriver {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "Data")]
    data: GraphDriverData,
}

#[derive(Deserialize)]
struct GraphDriverData {
    #[serde(rename = "LowerDir")]
    lower: Option<String>,
    #[serde(rename = "UpperDir")]
    upper: Option<PathBuf>,
}

#[derive(Deserialize)]
struct SavedManifest {
    #[serde(rename = "Layers")]
    layers: Vec<PathBuf>,
}

/// What `docker save` wrote: an archive of archives.
struct SavedImage {
    path: PathBuf,
    file: File,
    members: BTreeMap<PathBuf, TarKind>,
}

impl SavedImage {
    fn open(path: &Path) -> Result<Self, EngineError> {
        let file = File::open(path).map_err(FsError::new("read", path))?;
        let mut members = BTreeMap::new();
        read_tar(&file, 0, |entry| {
            members.insert(entry.path, entry.kind);
            Ok(())
        })
        .map_err(FsError::new("read", path))?;
        Ok(Self { path: path.to_owned(), file, members })
    }

    /// Where a member's content is; layers that are there twice are links.
    fn content(&self, name: &Path) -> Result<(u64, u64), EngineError> {
        let mut name = name.to_owned();
        for _ in 0..8 {
            name = match self.members.get(&name) {
                Some(TarKind::File { offset, size }) => return Ok((*offset, *size)),
                Some(TarKind::HardLink(target)) => target.clone(),
                Some(TarKind::Symlink(target)) => {
                    let parent = name.parent().unwrap_or(Path::new(""));
                    resolve(parent, Path::new(target)).ok_or_else(|| answer("a link leaves the archive"))?
                }
                _ => break,
            };
        }
        Err(answer(&format!("the saved image has no `{}`", name.display())))
    }

    fn layers(&self, scratch: &Path, cleanups: &mut Vec<Cleanup>) -> Result<Vec<RootLayer>, EngineError> {
        let (offset, size) = self.content(Path::new("manifest.json"))?;
        let manifests: Vec<SavedManifest> = serde_json::from_reader(FileRange::new(&self.file, offset, size))
            .map_err(|error| answer(&error.to_string()))?;
        let [manifest] = &manifests[..] else { return Err(answer("the archive should hold one image")) };
        let mut layers = Vec::new();
        for (number, name) in manifest.layers.iter().enumerate() {
            let (offset, size) = self.content(name)?;
            layers.push(self.layer(offset, size, &scratch.join(format!("layer-{number}.tar")), cleanups)?);
        }
        Ok(layers)
    }

    /// The layer where it is, or decompressed into `unpacked`.
    fn layer(
        &self,
        offset: u64,
        size: u64,
        unpacked: &Path,
        cleanups: &mut Vec<Cleanup>,
    ) -> Result<RootLayer, EngineError> {
        let fail = || FsError::new("read", &self.path);
        let mut start = [0; 6];
        std::io::Read::read_exact(&mut FileRange::new(&self.file, offset, size), &mut start).map_err(fail())?;
        if Compression::detect(&start) == Compression::None {
            return Ok(RootLayer::Tar { path: self.path.clone(), offset });
        }
        let leftover = unpacked.to_owned();
        cleanups.push(Cleanup::new(move || drop(fs::remove_file(&leftover))));
        let mut reader = decompress(FileRange::new(&self.file, offset, size)).map_err(fail())?;
        fs::write_stream(unpacked, &mut reader)?;
        Ok(RootLayer::Tar { path: unpacked.to_owned(), offset: 0 })
    }
}

/// After an interrupt the daemon may still be at work: its container holds the image for a moment, or it has made one more,
/// which nobody has read the name of.
fn remove_image(docker: &Invocation, mut id: String) {
    for _ in 0..REMOVE_TRIES {
        match docker.clone().args(["image", "rm", "--force", &id]).run() {
            Err(error) if error.evidence().iter().any(|line| line.contains("conflict")) => {}
            _ => return,
        }
        match made_from(docker, &id) {
            Some(child) => id = child,
            None => std::thread::sleep(REMOVE_PAUSE),
        }
    }
}

/// An image that was made from this one by another step.
fn made_from(docker: &Invocation, id: &str) -> Option<String> {
    let since = format!("since={id}");
    let list = docker.clone().args(["image", "ls", "--all", "--quiet", "--no-trunc", "--filter", &since]);
    let newer = list.run().ok()?.text();
    let inspect = docker.clone().args(["image", "inspect", "--format", "{{.Id}} {{.Parent}}"]).args(newer.lines());
    let pairs = inspect.run().ok()?.text();
    let mut pairs = pairs.lines().filter_map(|line| line.split_once(' '));
    pairs.find(|(_, parent)| parent.trim_start_matches("sha256:").starts_with(id)).map(|(child, _)| child.to_owned())
}

fn resolve(parent: &Path, target: &Path) -> Option<PathBuf> {
    let mut path = parent.to_owned();
    for component in target.components() {
        match component {
            std::path::Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            other => path.push(other),
        }
    }
    clean_path(&path)
}

/// The image that a line of the classic builder names: ` ---> 5f351847dabe`.
fn image_in(line: &str) -> Option<&str> {
    let id = line.strip_prefix(" ---> ").or_else(|| line.strip_prefix("Successfully built "))?.trim();
    (id.len() >= 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

fn failed(action: &'static str) -> impl FnOnce(ProcessError) -> EngineError {
    move |source| EngineError::Failed { engine: NAME, action, source: Box::new(source) }
}

fn answer(what: &str) -> EngineError {
    EngineError::Answer { engine: NAME, what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_classic_builder_names_images() {
        assert_eq!(image_in(" ---> 5f351847dabe"), Some("5f351847dabe"));
        assert_eq!(image_in("Successfully built a094464d346e"), Some("a094464d346e"));
        assert_eq!(image_in(" ---> Running in 2a0f65256197"), None);
        assert_eq!(image_in(" ---> Using cache"), None);
    }

    /// What `docker save` writes: the old form with a repeated layer as a link, and a compressed layer.
    #[test]
    fn saved_layers_are_found_where_they_are() {
        use crate::base::tar::{TarMeta, TarWriter};
        use std::io::Write;
        let layer = |name: &str| {
            let mut writer = TarWriter::new(Vec::new(), 0);
            writer.file(Path::new(name), &TarMeta::root(0o644), 1, &mut &b"x"[..]).unwrap();
            writer.finish().unwrap()
        };
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&layer("two")).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("saved.tar");
        let mut writer = TarWriter::new(File::create(&path).unwrap(), 0);
        let meta = TarMeta::root(0o644);
        let manifest =
            br#"[{"Config":"c.json","RepoTags":null,"Layers":["a/layer.tar","b/layer.tar","blobs/sha256/c"]}]"#;
        for (name, bytes) in [("a/layer.tar", layer("one")), ("blobs/sha256/c", gzip.finish().unwrap())] {
            writer.file(Path::new(name), &meta, bytes.len() as u64, &mut &bytes[..]).unwrap();
        }
        writer.symlink(Path::new("b/layer.tar"), &meta, "../a/layer.tar".as_ref()).unwrap();
        writer.file(Path::new("manifest.json"), &meta, manifest.len() as u64, &mut &manifest[..]).unwrap();
        writer.finish().unwrap();

        let mut cleanups = Vec::new();
        let layers = SavedImage::open(&path).unwrap().layers(directory.path(), &mut cleanups).unwrap();
        let names: Vec<String> = layers
            .iter()
            .map(|layer| {
                let RootLayer::Tar { path, offset } = layer else { panic!() };
                let mut name = String::new();
                let read = |entry: crate::base::untar::TarEntry| {
                    name = entry.path.display().to_string();
                    Ok(())
                };
                read_tar(&File::open(path).unwrap(), *offset, read).unwrap();
                name
            })
            .collect();
        assert_eq!(names, ["one", "one", "two"]);
        drop(cleanups);
        assert!(!directory.path().join("layer-2.tar").exists());
    }

    #[test]
    fn links_stay_in_the_archive() {
        assert_eq!(resolve(Path::new("a"), Path::new("../b/layer.tar")), Some("b/layer.tar".into()));
        assert_eq!(resolve(Path::new("a"), Path::new("../../b")), None);
    }
}
