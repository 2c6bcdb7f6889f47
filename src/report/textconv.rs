//! A lockfile with one line for each thing in it, for `git diff`: a bump is one line that went and one that came.

use crate::base::text::count;
use crate::lock::{ArchivePin, BasePin, BuiltWheel, Lockfile, PinView};
use crate::model::Artifact;

/// Everything that a lockfile says, in its order, one line each.
pub fn textconv_lines(lock: &Lockfile) -> String {
    let mut lines = vec![format!("epoch {}", moment(lock.epoch))];
    lines.extend(lock.platforms.iter().map(|platform| format!("platform {platform}")));
    let asked = &lock.fingerprints;
    for (section, digest) in [("image", asked.image), ("apt", asked.apt), ("npm", asked.npm), ("pip", asked.pip)] {
        lines.push(format!("fingerprint {section} {digest}"));
    }
    lines.push(format!("seal rules {}", lock.seal.rules));
    lines.push(format!("seal encoder {}", lock.seal.encoder));
    lines.extend(base(&lock.base));
    for (platform, image) in &lock.images {
        lines.push(format!("image {platform} id {}", image.id));
        lines.push(format!("image {platform} digest {}", image.digest));
        lines.push(format!("image {platform} context {}", image.context));
    }
    lines.extend(lock.archives.iter().flat_map(archive));
    for pin in &lock.apt {
        let details = format!("{} {} of {} {}", pin.architecture, pin.suite, pin.source_package, pin.source_version);
        lines.push(line(pin.view(), &details));
    }
    for pin in &lock.npm {
        let scripts: String = pin.scripts.iter().map(|(name, digest)| format!(" {name} {digest}")).collect();
        lines.push(line(pin.view(), &format!("in {}{scripts}", pin.places.join(" "))));
    }
    for pin in &lock.pip {
        let built = pin.built.as_ref().map(|BuiltWheel { file, size, sha256 }| {
            let size = count(usize::try_from(*size).unwrap_or(usize::MAX), "byte");
            format!(" built to {file} {size} sha256:{sha256}")
        });
        lines.push(line(pin.view(), &format!("{}{}", pin.tags, built.unwrap_or_default())));
    }
    for pin in &lock.pip_builds {
        lines.push(line(pin.view(), &format!("{} to build {}", pin.wheel.tags, pin.builds)));
    }
    lines.join("\n") + "\n"
}

fn line(pin: PinView<'_>, details: &str) -> String {
    let published = pin.published.map(|seconds| format!(" published {}", moment(seconds))).unwrap_or_default();
    format!(
        "{}:{} {} {} {} {details}{published} for {}",
        pin.ecosystem,
        pin.name,
        pin.version,
        pin.platform,
        file(pin.artifact),
        pin.required_by.join(" ")
    )
}

fn file(artifact: &Artifact) -> String {
    let sha512 = artifact.sha512.map(|digest| format!(" sha512:{digest}")).unwrap_or_default();
    let size = count(usize::try_from(artifact.size).unwrap_or(usize::MAX), "byte");
    format!("{} {} {size} sha256:{}{sha512}", artifact.source, artifact.path, artifact.sha256)
}

fn archive(pin: &ArchivePin) -> Vec<String> {
    let name = format!("archive {}/{}", pin.source, pin.suite);
    let mut lines = vec![format!("{name} {} {}", moment(pin.date), file(&pin.in_release))];
    lines.extend(pin.keys.iter().map(|key| format!("{name} signed by {key}")));
    lines.extend(pin.indexes.iter().map(|index| format!("{name} lists {}", file(index))));
    lines
}

fn base(pin: &BasePin) -> Vec<String> {
    match pin {
        BasePin::Debian { suite } => vec![format!("base debian {suite}")],
        BasePin::Image { reference, source, index, manifests } => {
            let mut lines = vec![format!("base {reference} {source} {}", index.prefixed())];
            for (platform, manifest) in manifests {
                lines.push(format!("base {platform} {} {} config {}", manifest.digest, manifest.size, manifest.config));
                let layers = manifest.layers.iter();
                lines.extend(
                    layers.map(|layer| {
                        format!("base {platform} layer {} {} {}", layer.digest, layer.size, layer.diff_id)
                    }),
                );
            }
            lines
        }
    }
}

fn moment(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |moment| moment.to_string())
}
