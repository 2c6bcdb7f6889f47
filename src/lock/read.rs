//! A lockfile's text → its value. Strict: what [`render_lockfile`](super::render_lockfile) would not write is refused.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::document::{Document, Table, Value};
use crate::base::explain::Excerpt;
use crate::model::{
    Artifact, ArtifactPath, ImageReference, PackageName, PackageVersion, Platform, Sha256, Sha512, SourceName,
    ValueError, check_image_path,
};

use super::error::LockError;
use super::model::*;
use super::write::render_lockfile;

const TOP: &[&str] = &[
    "version",
    "epoch",
    "platforms",
    "fingerprints",
    "seal",
    "base",
    "image",
    "archive",
    "apt",
    "npm",
    "pip",
    "pip-build",
];
const FINGERPRINTS: &[&str] = &["image", "apt", "npm", "pip"];
const SEAL: &[&str] = &["rules", "encoder"];
const BASE_DEBIAN: &[&str] = &["debian"];
const BASE_IMAGE: &[&str] = &["image", "index", "source", "manifests"];
const MANIFESTS: &[&str] = &["digest", "size", "config", "layers"];
const LAYER: &[&str] = &["digest", "size", "diff-id"];
const IMAGE: &[&str] = &["id", "digest", "context"];
const ARCHIVE: &[&str] = &["source", "suite", "date", "snapshot", "path", "size", "sha256", "keys", "indexes"];
const INDEX: &[&str] = &["path", "size", "sha256"];
const APT: &[&str] = &[
    "name",
    "version",
    "source-version",
    "path",
    "size",
    "sha256",
    "platform",
    "architecture",
    "source",
    "suite",
    "source-package",
    "required-by",
];
const NPM: &[&str] = &[
    "name",
    "version",
    "published",
    "path",
    "size",
    "sha256",
    "sha512",
    "scripts",
    "platform",
    "source",
    "places",
    "required-by",
];
const SCRIPTS: &[&str] = &["install", "postinstall", "preinstall"];
const PIP: &[&str] =
    &["name", "version", "published", "path", "size", "sha256", "wheel", "tags", "platform", "source", "required-by"];
const PIP_BUILD: &[&str] =
    &["for", "name", "version", "published", "path", "size", "sha256", "tags", "platform", "source", "required-by"];
const WHEEL: &[&str] = &["file", "size", "sha256"];

/// Reads a lockfile; `file` is what complaints call it.
///
/// # Errors
/// The first thing that is wrong, with its line: syntax, an unknown, missing or invalid field, pins that contradict each
/// other, or any other form than the canonical one.
pub fn parse_lockfile(text: &str, file: &str) -> Result<Lockfile, LockError> {
    refuse_merge_marks(text, file)?;
    let document = Document::parse(text, file)?;
    refuse_other_version(&document)?;
    let mut reader = Reader { document: &document, offsets: Offsets::default() };
    let lock = reader.lockfile(&document.root(TOP)?)?;
    super::check::check_whole(&lock).map_err(|(subject, reason)| reader.inconsistent(subject, reason))?;
    refuse_other_form(text, &render_lockfile(&lock), file)?;
    Ok(lock)
}

fn refuse_merge_marks(text: &str, file: &str) -> Result<(), LockError> {
    let is_mark = |line: &str| line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ");
    match text
        .split_inclusive('\n')
        .scan(0, |end, line| Some((std::mem::replace(end, *end + line.len()), line)))
        .find(|(_, line)| is_mark(line))
    {
        None => Ok(()),
        Some((offset, _)) => Err(LockError::Merge { excerpt: Box::new(Excerpt::at(file, text, offset, "")) }),
    }
}

/// A file of another format may have other fields, so that its version is judged before them.
fn refuse_other_version(document: &Document<'_>) -> Result<(), LockError> {
    let version = document.free_root().require("version")?;
    match version.unsigned::<u64>()? {
        found if found == u64::from(FORMAT_VERSION) => Ok(()),
        found => Err(LockError::Version { found, excerpt: document.excerpt(version.offset(), "") }),
    }
}

fn refuse_other_form(text: &str, canonical: &str, file: &str) -> Result<(), LockError> {
    if text == canonical {
        return Ok(());
    }
    let mut offset = 0;
    let (mut found, mut expected) = (text.split_inclusive('\n'), canonical.split_inclusive('\n'));
    loop {
        let (line, wanted) = (found.next(), expected.next());
        if line == wanted && line.is_some() {
            offset += line.map_or(0, str::len);
            continue;
        }
        let visible = |line: &str| line.trim_end_matches('\n').to_owned();
        let label = match (line, wanted) {
            (Some(line), Some(wanted)) if visible(line) == visible(wanted) => "the newline is missing",
            _ => "this line",
        };
        return Err(LockError::NotCanonical {
            expected: wanted.map(visible),
            excerpt: Box::new(Excerpt::at(file, text, offset, label)),
        });
    }
}

/// Where the tables of pins start, in bytes, for complaints about pins that do not fit together.
#[derive(Debug, Default)]
struct Offsets {
    archives: Vec<usize>,
    apt: Vec<usize>,
    npm: Vec<usize>,
    pip: Vec<usize>,
    pip_builds: Vec<usize>,
}

struct Reader<'a> {
    document: &'a Document<'a>,
    offsets: Offsets,
}

impl<'a> Reader<'a> {
    fn lockfile(&mut self, root: &Table<'a>) -> Result<Lockfile, LockError> {
        let (mut archives, mut apt, mut npm, mut pip) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut pip_builds = Vec::new();
        let tables = [("archive", ARCHIVE), ("apt", APT), ("npm", NPM), ("pip", PIP), ("pip-build", PIP_BUILD)];
        for (key, known) in tables {
            for item in root.get(key).map_or(Ok(Vec::new()), |value| value.list())? {
                let table = item.table(known)?;
                match key {
                    "archive" => archives.push((table.offset(), archive(&table)?)),
                    "apt" => apt.push((table.offset(), apt_pin(&table)?)),
                    "npm" => npm.push((table.offset(), npm_pin(&table)?)),
                    "pip" => pip.push((table.offset(), pip_pin(&table)?)),
                    _ => pip_builds.push((table.offset(), pip_build_pin(&table)?)),
                }
            }
        }
        let images = root.get("image").map_or(Ok(BTreeMap::new()), |value| images(&value))?;
        let lock = Lockfile {
            epoch: root.require("epoch")?.timestamp()?,
            platforms: texts(root, "platforms", Platform::parse)?,
            fingerprints: fingerprints(&root.require("fingerprints")?.table(FINGERPRINTS)?)?,
            seal: seal(&root.require("seal")?.table(SEAL)?)?,
            base: base(&root.require("base")?)?,
            archives: unzip(archives, &mut self.offsets.archives),
            apt: unzip(apt, &mut self.offsets.apt),
            npm: unzip(npm, &mut self.offsets.npm),
            pip: unzip(pip, &mut self.offsets.pip),
            pip_builds: unzip(pip_builds, &mut self.offsets.pip_builds),
            images,
        };
        Ok(lock)
    }

    fn inconsistent(&self, subject: super::check::Subject, reason: String) -> LockError {
        use super::check::Subject;
        let offset = match subject {
            Subject::Whole => Some(&0),
            Subject::Archive(index) => self.offsets.archives.get(index),
            Subject::Apt(index) => self.offsets.apt.get(index),
            Subject::Npm(index) => self.offsets.npm.get(index),
            Subject::Pip(index) => self.offsets.pip.get(index),
            Subject::PipBuild(index) => self.offsets.pip_builds.get(index),
        };
        let excerpt = self.document.excerpt(offset.copied().unwrap_or(0), reason.clone());
        LockError::Inconsistent { reason, excerpt }
    }
}

fn unzip<T>(items: Vec<(usize, T)>, offsets: &mut Vec<usize>) -> Vec<T> {
    let (places, values) = items.into_iter().unzip();
    *offsets = places;
    values
}

fn fingerprints(table: &Table<'_>) -> Result<Fingerprints, LockError> {
    Ok(Fingerprints {
        image: sha256(table, "image")?,
        apt: sha256(table, "apt")?,
        npm: sha256(table, "npm")?,
        pip: sha256(table, "pip")?,
    })
}

fn seal(table: &Table<'_>) -> Result<SealPin, LockError> {
    Ok(SealPin { rules: sha256(table, "rules")?, encoder: word(table, "encoder")? })
}

fn base(value: &Value<'_>) -> Result<BasePin, LockError> {
    if value.free_table()?.get("debian").is_some() {
        return Ok(BasePin::Debian { suite: suite(&value.table(BASE_DEBIAN)?, "debian")? });
    }
    let table = value.table(BASE_IMAGE)?;
    let mut manifests = BTreeMap::new();
    for entry in table.require("manifests")?.free_table()?.entries() {
        let platform = Platform::parse(entry.key()).map_err(|error| entry.invalid_key(error))?;
        manifests.insert(platform, base_manifest(&entry.table(MANIFESTS)?)?);
    }
    Ok(BasePin::Image {
        reference: table.require("image")?.parse(ImageReference::parse)?,
        source: table.require("source")?.parse(SourceName::parse)?,
        index: sha256(&table, "index")?,
        manifests,
    })
}

fn base_manifest(table: &Table<'_>) -> Result<BaseManifest, LockError> {
    let mut layers = Vec::new();
    for item in table.require("layers")?.list()? {
        let layer = item.table(LAYER)?;
        layers.push(BaseLayer {
            digest: sha256(&layer, "digest")?,
            size: size(&layer)?,
            diff_id: sha256(&layer, "diff-id")?,
        });
    }
    Ok(BaseManifest { digest: sha256(table, "digest")?, size: size(table)?, config: sha256(table, "config")?, layers })
}

fn images(value: &Value<'_>) -> Result<BTreeMap<Platform, ImagePin>, LockError> {
    let mut images = BTreeMap::new();
    for entry in value.free_table()?.entries() {
        let platform = Platform::parse(entry.key()).map_err(|error| entry.invalid_key(error))?;
        let table = entry.table(IMAGE)?;
        let [id, digest, context] = ["id", "digest", "context"].map(|key| sha256(&table, key));
        images.insert(platform, ImagePin { id: id?, digest: digest?, context: context? });
    }
    Ok(images)
}

fn archive(table: &Table<'_>) -> Result<ArchivePin, LockError> {
    let mut indexes = Vec::new();
    for item in table.require("indexes")?.list()? {
        let index = item.table(INDEX)?;
        indexes.push(artifact(&index, table.require("source")?.parse(SourceName::parse)?)?);
    }
    Ok(ArchivePin {
        source: table.require("source")?.parse(SourceName::parse)?,
        suite: suite(table, "suite")?,
        date: table.require("date")?.timestamp()?,
        snapshot: moment(table, "snapshot")?,
        keys: texts(table, "keys", parse_key)?,
        in_release: artifact(table, table.require("source")?.parse(SourceName::parse)?)?,
        indexes,
    })
}

fn apt_pin(table: &Table<'_>) -> Result<AptPin, LockError> {
    Ok(AptPin {
        name: name(table, "name")?,
        version: version(table, "version")?,
        platform: platform(table)?,
        architecture: table.require("architecture")?.parse(parse_architecture)?,
        suite: suite(table, "suite")?,
        source_package: name(table, "source-package")?,
        source_version: version(table, "source-version")?,
        artifact: artifact(table, table.require("source")?.parse(SourceName::parse)?)?,
        required_by: texts(table, "required-by", parse_requirer)?,
    })
}

fn npm_pin(table: &Table<'_>) -> Result<NpmPin, LockError> {
    let mut scripts = BTreeMap::new();
    if let Some(value) = table.get("scripts") {
        for entry in value.table(SCRIPTS)?.entries() {
            scripts.insert(entry.key().to_owned(), entry.parse(Sha256::parse)?);
        }
    }
    Ok(NpmPin {
        name: name(table, "name")?,
        version: version(table, "version")?,
        published: moment(table, "published")?,
        platform: platform(table)?,
        places: texts(table, "places", |text| check_image_path(text).map(|()| text.to_owned()))?,
        artifact: artifact(table, table.require("source")?.parse(SourceName::parse)?)?,
        scripts,
        required_by: texts(table, "required-by", parse_requirer)?,
    })
}

fn pip_pin(table: &Table<'_>) -> Result<PipPin, LockError> {
    Ok(PipPin {
        name: name(table, "name")?,
        version: version(table, "version")?,
        published: moment(table, "published")?,
        platform: platform(table)?,
        tags: word(table, "tags")?,
        artifact: artifact(table, table.require("source")?.parse(SourceName::parse)?)?,
        built: table.get("wheel").map(|value| built_wheel(&value.table(WHEEL)?)).transpose()?,
        required_by: texts(table, "required-by", parse_requirer)?,
    })
}

fn built_wheel(table: &Table<'_>) -> Result<BuiltWheel, LockError> {
    Ok(BuiltWheel { file: word(table, "file")?, size: size(table)?, sha256: sha256(table, "sha256")? })
}

fn pip_build_pin(table: &Table<'_>) -> Result<PipBuildPin, LockError> {
    Ok(PipBuildPin { builds: name(table, "for")?, wheel: pip_pin(table)? })
}

fn artifact(table: &Table<'_>, source: SourceName) -> Result<Artifact, LockError> {
    Ok(Artifact {
        source,
        path: table.require("path")?.parse(ArtifactPath::parse)?,
        size: size(table)?,
        sha256: sha256(table, "sha256")?,
        sha512: table.get("sha512").map(|value| value.parse(Sha512::parse)).transpose()?,
    })
}

fn moment(table: &Table<'_>, key: &str) -> Result<Option<i64>, LockError> {
    Ok(table.get(key).map(|value| value.timestamp()).transpose()?)
}

fn size(table: &Table<'_>) -> Result<u64, LockError> {
    Ok(table.require("size")?.unsigned()?)
}

fn sha256(table: &Table<'_>, key: &str) -> Result<Sha256, LockError> {
    Ok(table.require(key)?.parse(Sha256::parse)?)
}

fn name(table: &Table<'_>, key: &str) -> Result<PackageName, LockError> {
    Ok(table.require(key)?.parse(PackageName::parse)?)
}

fn version(table: &Table<'_>, key: &str) -> Result<PackageVersion, LockError> {
    Ok(table.require(key)?.parse(PackageVersion::parse)?)
}

fn platform(table: &Table<'_>) -> Result<Platform, LockError> {
    Ok(table.require("platform")?.parse(Platform::parse)?)
}

fn suite(table: &Table<'_>, key: &str) -> Result<String, LockError> {
    Ok(table.require(key)?.parse(crate::manifest::parse_suite)?)
}

fn word(table: &Table<'_>, key: &str) -> Result<String, LockError> {
    Ok(table.require(key)?.parse(parse_word)?)
}

fn texts<T>(table: &Table<'_>, key: &str, parse: impl Fn(&str) -> Result<T, ValueError>) -> Result<Vec<T>, LockError> {
    let mut texts = Vec::new();
    for item in table.require(key)?.list()? {
        texts.push(item.parse(&parse)?);
    }
    Ok(texts)
}

pub(super) fn parse_word(text: &str) -> Result<String, ValueError> {
    if text.is_empty() || text.len() > 256 || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b)) {
        return Err(ValueError::new("word", text, "it may hold letters, digits and `. _ + -`"));
    }
    Ok(text.to_owned())
}

/// Accepts the fingerprint of an OpenPGP key: 20 or 32 bytes in upper-case hexadecimal.
pub(super) fn parse_key(text: &str) -> Result<String, ValueError> {
    if !matches!(text.len(), 40 | 64) || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F')) {
        return Err(ValueError::new("key fingerprint", text, "it must be 40 or 64 upper-case hexadecimal digits"));
    }
    Ok(text.to_owned())
}

pub(super) fn parse_architecture(text: &str) -> Result<String, ValueError> {
    match text {
        "amd64" | "arm64" | "all" => Ok(text.to_owned()),
        _ => Err(ValueError::new("architecture", text, "`amd64`, `arm64` and `all` are known")),
    }
}

/// Accepts a name of a package or a place in the image.
pub(super) fn parse_requirer(text: &str) -> Result<String, ValueError> {
    match text.starts_with('/') {
        true => check_image_path(text)?,
        false => PackageName::parse(text).map(|_| ())?,
    }
    Ok(text.to_owned())
}

/// The names of install scripts that npm runs.
pub(super) fn script_names() -> BTreeSet<&'static str> {
    SCRIPTS.iter().copied().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::explain::{Explain, Kind};
    use crate::lock::{check_lockfile, sample};

    proptest! {
        #[test]
        fn reading_what_was_written_gives_the_same(lock in sample::any_lock()) {
            prop_assert_eq!(check_lockfile(&lock), Ok(()));
            let text = render_lockfile(&lock);
            prop_assert!(text.is_ascii() && text.ends_with('\n') && !text.ends_with("\n\n"));
            let read = parse_lockfile(&text, "lockfile.toml").unwrap();
            prop_assert_eq!(&read, &lock);
            prop_assert_eq!(render_lockfile(&read), text);
        }

        #[test]
        fn no_edit_of_one_byte_goes_unnoticed(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let text = render_lockfile(&sample::lock());
            let mut bytes = text.clone().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(edited) = String::from_utf8(bytes) && let Ok(read) = parse_lockfile(&edited, "lockfile.toml") {
                // What still reads is another lock, or the same text.
                prop_assert_eq!(read == sample::lock(), edited == text);
                prop_assert_eq!(render_lockfile(&read), edited);
            }
        }
    }

    #[test]
    fn a_bump_is_a_short_diff() {
        let before = sample::lock();
        let mut after = before.clone();
        after.apt[0] = sample::apt_pin("git", "1:2.47.4-0+deb13u1", &["manifest"]);
        let (before, after) = (render_lockfile(&before), render_lockfile(&after));
        let changed: Vec<usize> =
            before.lines().zip(after.lines()).enumerate().filter(|(_, (a, b))| a != b).map(|(n, _)| n).collect();
        assert!(changed.len() <= 5 && changed[changed.len() - 1] - changed[0] < 6, "{changed:?}");
    }

    fn complaint(edit: impl Fn(&str) -> String) -> (LockError, Excerpt) {
        let text = render_lockfile(&sample::lock());
        let edited = edit(&text);
        assert_ne!(text, edited, "the edit changed nothing");
        let error = parse_lockfile(&edited, "lockfile.toml").unwrap_err();
        assert_eq!(error.kind(), Kind::Asked);
        let excerpt = error.excerpt().unwrap();
        (error, excerpt)
    }

    #[test]
    fn another_form_is_refused_with_the_line() {
        type Edit = fn(&str) -> String;
        let length = render_lockfile(&sample::lock()).lines().count();
        let edits: [(Edit, usize); 7] = [
            (|text| text.replace("version = 1\n", "version  = 1\n"), 2),
            (|text| text.replace("version = 1\n", "# a comment \u{e4}\nversion = 1\n"), 2),
            (|text| text.trim_end().to_owned(), length),
            (|text| format!("{text}\n"), length + 1),
            (|text| text.replace('\n', "\r\n"), 1),
            (|text| text.replace("epoch = 2026-11-20T00:00:00Z", "epoch = 2026-11-20T01:00:00+01:00"), 3),
            (|text| text.replace("platforms = [\"linux/amd64\"]", "platforms = ['linux/amd64']"), 4),
        ];
        for (edit, line) in edits {
            let (error, excerpt) = complaint(edit);
            assert!(matches!(error, LockError::NotCanonical { .. }), "{error:?}");
            assert_eq!(excerpt.line, line, "{excerpt:?}");
        }
    }

    #[test]
    fn each_wrong_field_is_named() {
        type Edit = fn(&str) -> String;
        let edits: [(Edit, &str); 12] = [
            (|text| text.replace("name = \"git\"\n", "name = \"git\"\nnote = \"x\"\n"), "unknown key `apt.note`"),
            (|text| text.replacen("tags = \"py3-none-any\"\n", "", 1), "`pip.tags` is missing"),
            (|text| text.replacen("name = \"git\"\n", "name = \"git\"\nname = \"git\"\n", 1), "is not valid TOML"),
            (|text| text.replacen("sha256 = \"", "sha256 = \"A", 1), "`archive.sha256` has an invalid value"),
            (|text| text.replacen("path = \"pool", "path = \"../pool", 1), "`apt.path` has an invalid value"),
            (|text| text.replace("version = 1\n", "version = 2\n"), "has format version 2"),
            (|text| text.replace("epoch = 2026-11-20", "epoch = 1926-11-20"), "`epoch` is out of range"),
            (
                |text| {
                    text.replace(
                        "suite = \"trixie\"\nsource-package = \"git\"",
                        "suite = \"sid\"\nsource-package = \"git\"",
                    )
                },
                "no signed archive vouches for git",
            ),
            (|text| text.replace("name = \"nodejs\"", "name = \"aaa\""), "the pins are not sorted"),
            (
                |text| text.replace("opencode-ai\"]\nrequired", "opencode-ai/\"]\nrequired"),
                "`npm.places` has an invalid value",
            ),
            (|text| text.replace("architecture = \"amd64\"", "architecture = \"arm64\""), "is built for arm64"),
            (|text| format!("<<<<<<< ours\n{text}"), "holds an unfinished merge"),
        ];
        for (edit, words) in edits {
            let (error, _) = complaint(edit);
            assert!(error.to_string().contains(words), "{words}: {error}");
        }
    }

    #[test]
    fn two_packages_cannot_be_laid_into_one_place() {
        let mut lock = sample::lock();
        lock.npm[2].places = lock.npm[1].places.clone();
        assert!(check_lockfile(&lock).unwrap_err().contains("two packages"));
    }

    #[test]
    fn what_is_built_and_what_builds_it_belong_together() {
        let whole = sample::building_lock();
        assert_eq!(check_lockfile(&whole), Ok(()));
        type Edit = fn(&mut Lockfile);
        let edits: [(Edit, &str); 9] = [
            (|lock| lock.pip[2].built = None, "is no wheel's name"),
            (|lock| lock.pip[2].artifact.path = "redis/redis-6.5.0.tar.gz".parse().unwrap(), "is one of version 6.5.0"),
            (
                |lock| lock.pip[2].artifact.path = "redis/redis-6.4.0.tar.bz2".parse().unwrap(),
                "a kind that is not built",
            ),
            (
                |lock| lock.pip[2].artifact.path = "redis/rodis-6.4.0.tar.gz".parse().unwrap(),
                "is no source distribution's name",
            ),
            (|lock| lock.pip[2].tags = "cp313-cp313-any".into(), "has other tags"),
            (|lock| lock.pip[2].built.as_mut().unwrap().size = u64::MAX, "the wheel's size is out of range"),
            (|lock| lock.pip_builds[0].builds = sample::name("openai"), "is there to build openai, which is not built"),
            (|lock| lock.pip_builds[0].wheel.required_by = vec!["manifest".into()], "nothing else can ask for that"),
            (|lock| lock.pip_builds[0].wheel = lock.pip[2].clone(), "would have to be built itself"),
        ];
        for (edit, words) in edits {
            let mut lock = whole.clone();
            edit(&mut lock);
            let reason = check_lockfile(&lock).unwrap_err();
            assert!(reason.contains(words), "{words}: {reason}");
        }
    }

    #[test]
    fn ten_thousand_pins_are_read_and_written_as_they_are() {
        let mut lock = sample::lock();
        let name = |index: usize| format!("p{index:05}");
        lock.npm.extend((0..10_000).map(|index| {
            sample::npm_pin(&name(index), "1.0.0", &[&format!("/x/node_modules/{}", name(index))], &["manifest"])
        }));
        let text = render_lockfile(&lock);
        let read = parse_lockfile(&text, "lockfile.toml").unwrap();
        assert_eq!(read.npm.len(), lock.npm.len());
        assert_eq!(render_lockfile(&read), text);
    }
}
