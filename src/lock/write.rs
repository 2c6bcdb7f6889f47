//! A lockfile's value → its one canonical text.

use std::fmt::{Display, Write as _};

use crate::model::Artifact;

use super::model::*;

/// The first line of every lockfile.
pub(super) const HEADER: &str = "# Written by oclock: change oclock.toml and run `oclock update`, or review it.\n";

/// Writes a lockfile: version first, fixed order of tables and fields, ASCII, one pin per table, a newline at the end.
pub fn render_lockfile(lock: &Lockfile) -> String {
    let mut writer = Writer { text: HEADER.to_owned() };
    writer.number("version", u64::from(FORMAT_VERSION));
    writer.moment("epoch", lock.epoch);
    writer.list("platforms", &lock.platforms);

    writer.table("fingerprints");
    writer.string("image", lock.fingerprints.image);
    writer.string("apt", lock.fingerprints.apt);
    writer.string("npm", lock.fingerprints.npm);
    writer.string("pip", lock.fingerprints.pip);

    writer.table("seal");
    writer.string("rules", lock.seal.rules);
    writer.string("encoder", &lock.seal.encoder);

    writer.base(&lock.base);
    for (platform, image) in &lock.images {
        writer.table(&format!("image.{}", quoted(platform)));
        writer.string("id", image.id);
        writer.string("digest", image.digest);
        writer.string("context", image.context);
    }
    lock.archives.iter().for_each(|archive| writer.archive(archive));
    lock.apt.iter().for_each(|pin| writer.apt(pin));
    lock.npm.iter().for_each(|pin| writer.npm(pin));
    for pin in &lock.pip {
        writer.pin_table("pip");
        writer.pip(pin);
    }
    for pin in &lock.pip_builds {
        writer.pin_table("pip-build");
        writer.string("for", &pin.builds);
        writer.pip(&pin.wheel);
    }
    writer.text
}

struct Writer {
    text: String,
}

impl Writer {
    fn base(&mut self, base: &BasePin) {
        self.table("base");
        match base {
            BasePin::Debian { suite } => self.string("debian", suite),
            BasePin::Image { reference, source, index, manifests } => {
                self.string("image", reference);
                self.string("index", index);
                self.string("source", source);
                for (platform, manifest) in manifests {
                    self.table(&format!("base.manifests.{}", quoted(platform)));
                    self.string("digest", manifest.digest);
                    self.number("size", manifest.size);
                    self.string("config", manifest.config);
                    let layers = manifest.layers.iter().map(|layer| {
                        let (digest, diff_id) = (quoted(layer.digest), quoted(layer.diff_id));
                        format!("{{ digest = {digest}, size = {}, diff-id = {diff_id} }}", layer.size)
                    });
                    self.lines("layers", layers);
                }
            }
        }
    }

    fn archive(&mut self, pin: &ArchivePin) {
        self.pin_table("archive");
        self.string("source", &pin.source);
        self.string("suite", &pin.suite);
        self.moment("date", pin.date);
        if let Some(snapshot) = pin.snapshot {
            self.moment("snapshot", snapshot);
        }
        self.string("path", &pin.in_release.path);
        self.number("size", pin.in_release.size);
        self.string("sha256", pin.in_release.sha256);
        self.list("keys", &pin.keys);
        let indexes = pin.indexes.iter().map(|index| {
            let (path, sha256) = (quoted(&index.path), quoted(index.sha256));
            format!("{{ path = {path}, size = {}, sha256 = {sha256} }}", index.size)
        });
        self.lines("indexes", indexes);
    }

    fn apt(&mut self, pin: &AptPin) {
        self.pin_table("apt");
        self.string("name", &pin.name);
        self.string("version", &pin.version);
        self.string("source-version", &pin.source_version);
        self.artifact(&pin.artifact);
        self.string("platform", pin.platform);
        self.string("architecture", &pin.architecture);
        self.string("source", &pin.artifact.source);
        self.string("suite", &pin.suite);
        self.string("source-package", &pin.source_package);
        self.list("required-by", &pin.required_by);
    }

    fn npm(&mut self, pin: &NpmPin) {
        self.pin_table("npm");
        self.string("name", &pin.name);
        self.string("version", &pin.version);
        self.published(pin.published);
        self.artifact(&pin.artifact);
        if !pin.scripts.is_empty() {
            let scripts: Vec<String> =
                pin.scripts.iter().map(|(name, hash)| format!("{name} = {}", quoted(hash))).collect();
            self.raw("scripts", &format!("{{ {} }}", scripts.join(", ")));
        }
        self.string("platform", pin.platform);
        self.string("source", &pin.artifact.source);
        self.list("places", &pin.places);
        self.list("required-by", &pin.required_by);
    }

    fn pip(&mut self, pin: &PipPin) {
        self.string("name", &pin.name);
        self.string("version", &pin.version);
        self.published(pin.published);
        self.artifact(&pin.artifact);
        if let Some(BuiltWheel { file, size, sha256 }) = &pin.built {
            let (file, sha256) = (quoted(file), quoted(sha256));
            self.raw("wheel", &format!("{{ file = {file}, size = {size}, sha256 = {sha256} }}"));
        }
        self.string("tags", &pin.tags);
        self.string("platform", pin.platform);
        self.string("source", &pin.artifact.source);
        self.list("required-by", &pin.required_by);
    }

    fn published(&mut self, moment: Option<i64>) {
        if let Some(moment) = moment {
            self.moment("published", moment);
        }
    }

    /// What changes together when a pin moves, side by side.
    fn artifact(&mut self, artifact: &Artifact) {
        self.string("path", &artifact.path);
        self.number("size", artifact.size);
        self.string("sha256", artifact.sha256);
        if let Some(sha512) = artifact.sha512 {
            self.string("sha512", sha512);
        }
    }

    fn table(&mut self, name: &str) {
        let _ = write!(self.text, "\n[{name}]\n");
    }

    fn pin_table(&mut self, name: &str) {
        let _ = write!(self.text, "\n[[{name}]]\n");
    }

    fn string(&mut self, key: &str, value: impl Display) {
        let _ = write!(self.text, "{key} = \"");
        let _ = write!(Escaped(&mut self.text), "{value}");
        self.text.push_str("\"\n");
    }

    fn number(&mut self, key: &str, value: u64) {
        let _ = writeln!(self.text, "{key} = {value}");
    }

    fn moment(&mut self, key: &str, seconds: i64) {
        self.raw(key, &render_moment(seconds));
    }

    fn list(&mut self, key: &str, values: &[impl Display]) {
        self.lines(key, values.iter().map(quoted));
    }

    /// A list on one line when it has at most one item, else one line an item.
    fn lines(&mut self, key: &str, values: impl ExactSizeIterator<Item = String>) {
        let (open, close) = if values.len() > 1 { ("[\n  ", ",\n]") } else { ("[", "]") };
        let joined = values.collect::<Vec<_>>().join(",\n  ");
        let _ = writeln!(self.text, "{key} = {open}{joined}{close}");
    }

    fn raw(&mut self, key: &str, value: &str) {
        let _ = writeln!(self.text, "{key} = {value}");
    }
}

/// Seconds since 1970 as a TOML date-time in UTC. One that is out of its range (years 0 to 9999) is written as a number,
/// which no reader takes.
fn render_moment(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |moment| moment.to_string())
}

/// A TOML basic string in ASCII.
fn quoted(value: impl Display) -> String {
    let mut text = "\"".to_owned();
    let _ = write!(Escaped(&mut text), "{value}");
    text.push('"');
    text
}

/// Writes text as the inside of a TOML basic string in ASCII.
struct Escaped<'a>(&'a mut String);

impl std::fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
        if text.bytes().all(is_plain) {
            self.0.push_str(text);
            return Ok(());
        }
        for character in text.chars() {
            match character {
                '"' | '\\' => self.0.extend(['\\', character]),
                ' '..='~' => self.0.push(character),
                other => write!(self.0, "\\U{:08X}", u32::from(other))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::lock::sample;

    /// Set `OCLOCK_BLESS` to write the example anew.
    #[test]
    fn the_example_in_the_documentation_is_what_is_written() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/lockfile.md");
        let page = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = page.split_once("```toml\n").unwrap();
        let (example, after) = rest.split_once("```\n").unwrap();
        let written = render_lockfile(&sample::lock());
        if std::env::var_os("OCLOCK_BLESS").is_some() {
            std::fs::write(&path, format!("{before}```toml\n{written}```\n{after}")).unwrap();
        } else {
            assert_eq!(example, written);
        }
    }

    #[test]
    fn nothing_can_leave_its_string() {
        let mut lock = sample::lock();
        lock.seal.encoder = "a\"\n[x] \\ \u{e4}\u{202e}".into();
        let text = render_lockfile(&lock);
        assert!(text.contains(r#"encoder = "a\"\U0000000A[x] \\ \U000000E4\U0000202E""#), "{text}");
    }
}
