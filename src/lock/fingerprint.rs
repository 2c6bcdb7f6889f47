//! The identity of each section of a manifest: equal when the sections ask for the same, whatever their formatting and
//! order.

use std::collections::BTreeMap;

use crate::manifest::{
    AptSection, BaseRequest, ImageSection, Manifest, NpmOverride, NpmSection, PipBuild, PipSection, Recommends,
    parse_pip_requirement,
};
use crate::model::{Hasher, LayerCompression, Sha256};

use super::model::Fingerprints;

/// The fingerprints of what a manifest asks for. Names, tags, sources and policy are not part of them: they do not say
/// which pins answer.
pub fn fingerprints(manifest: &Manifest) -> Fingerprints {
    Fingerprints {
        image: image(&manifest.image),
        apt: apt(&manifest.apt),
        npm: npm(&manifest.npm),
        pip: pip(&manifest.pip),
    }
}

fn image(section: &ImageSection) -> Sha256 {
    let mut question = Question::about("image");
    match &section.base {
        BaseRequest::Debian { suite } => question.values("debian", [suite]),
        BaseRequest::Image(reference) => question.values("base", [reference]),
    }
    question.values("platforms", &section.platforms);
    question.values("epoch", section.epoch);
    // What older manifests could not say does not change their fingerprint.
    if section.compression != LayerCompression::default() {
        question.values("compression", [section.compression]);
    }
    question.answer()
}

fn apt(section: &AptSection) -> Sha256 {
    let mut question = Question::about("apt");
    question.values("packages", section.packages.iter().map(|text| text.trim()));
    question.values(
        "recommends",
        [match section.recommends {
            Recommends::Ignore => "ignore",
            Recommends::Follow => "follow",
        }],
    );
    question.values("suite", &section.suite);
    question.answer()
}

fn npm(section: &NpmSection) -> Sha256 {
    let mut question = Question::about("npm");
    question.values("prefix", [&section.prefix]);
    question.values("packages", asked(&section.packages));
    for (directory, packages) in &section.projects {
        question.values("project", [directory]);
        question.values("packages", asked(packages));
    }
    let overrides = override_lines(&section.overrides, "");
    if !overrides.is_empty() {
        question.values("overrides", overrides.iter().enumerate().map(|(at, line)| format!("{at:06} {line}")));
    }
    question.values("omit", &section.omit);
    question.values("scripts", &section.scripts);
    question.values("node", &section.node);
    question.answer()
}

fn asked(packages: &BTreeMap<String, String>) -> impl Iterator<Item = String> {
    packages.iter().map(|(name, range)| format!("{name}={}", range.split_whitespace().collect::<Vec<_>>().join(" ")))
}

/// One line for each override, with the packages that it is below; their order counts.
fn override_lines(overrides: &[NpmOverride], above: &str) -> Vec<String> {
    let lines = overrides.iter().flat_map(|entry| {
        let here = format!("{above}{}", entry.key);
        let own = entry.wanted.iter().map(|wanted| format!("{here}={wanted}")).collect::<Vec<_>>();
        [vec![here.clone()], own, override_lines(&entry.below, &format!("{here} > "))].concat()
    });
    lines.collect()
}

fn pip(section: &PipSection) -> Sha256 {
    let mut question = Question::about("pip");
    question.values("path", [&section.path]);
    question.values("packages", section.packages.iter().map(|text| plain_pip(text)));
    question.values("constraints", section.constraints.iter().map(|text| plain_pip(text)));
    if !section.overrides.is_empty() {
        question.values("overrides", section.overrides.iter().map(|text| plain_pip(text)));
    }
    match &section.build {
        PipBuild::Nothing => {}
        PipBuild::Everything => question.values("build everything", [""]),
        PipBuild::Only(names) => question.values("build", names),
    }
    question.values("python", &section.python);
    question.answer()
}

/// A requirement without the freedom of spelling that PEP 508 gives.
fn plain_pip(text: &str) -> String {
    parse_pip_requirement(text).map_or_else(|_| text.trim().to_owned(), |requirement| requirement.to_string())
}

/// Named sets of values, hashed without regard to the order within a set.
struct Question(Hasher);

impl Question {
    fn about(section: &str) -> Self {
        let mut hasher = Hasher::default();
        hasher.field("oclock fingerprint 1");
        hasher.field(section);
        Self(hasher)
    }

    fn values<T: ToString>(&mut self, name: &str, values: impl IntoIterator<Item = T>) {
        let mut values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
        values.sort();
        self.0.field(name);
        self.0.field(values.len().to_string());
        values.iter().for_each(|value| self.0.field(value));
    }

    fn answer(self) -> Sha256 {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::sample;
    use crate::manifest::parse_manifest;

    fn of(text: &str) -> Fingerprints {
        fingerprints(&parse_manifest(text, "oclock.toml").unwrap())
    }

    #[test]
    fn formatting_and_order_do_not_matter() {
        let text = sample::manifest_text();
        let other = text
            .replace(r#"["git", "nodejs=20.*"]"#, "[\n  # sorted otherwise\n  'nodejs=20.*',\n  'git',\n]")
            .replace("graphiti-core[falkordb]>=0.31", "Graphiti_Core[FalkorDB] >= 0.31")
            .replace("opencode-server", "another-name");
        assert_ne!(text, other);
        assert_eq!(of(text), of(&other));
    }

    #[test]
    fn each_section_has_its_own() {
        let text = sample::manifest_text();
        let before = of(text);
        let after = of(&text.replace("nodejs=20.*", "nodejs=22.*"));
        assert_ne!(before.apt, after.apt);
        assert_eq!(Fingerprints { apt: before.apt, ..after }, before);
        assert_ne!(of(&text.replace("^1.18", "^1.19")).npm, before.npm);
        assert_ne!(of(&text.replace("openai<3", "openai<4")).pip, before.pip);
        assert_ne!(of(&text.replace("trixie", "forky")).image, before.image);
        assert_ne!(of(&format!("{text}path = \"/venv\"\n")).pip, before.pip);
        assert_ne!(of(&format!("{text}overrides = [\"idna<3\"]\n")).pip, before.pip);
        assert_eq!(of(&format!("{text}overrides = []\n")), before);
        assert_eq!(of(&format!("{text}build = false\n")), before);
        assert_ne!(of(&format!("{text}build = true\n")).pip, before.pip);
        assert_ne!(of(&format!("{text}build = [\"redis\"]\n")).pip, of(&format!("{text}build = true\n")).pip);
        let overridden = |lines: &str| of(&format!("{text}[npm.overrides]\n{lines}")).npm;
        assert_ne!(overridden("a = \"1\"\nb = \"2\"\n"), before.npm);
        assert_ne!(overridden("a = \"1\"\nb = \"2\"\n"), overridden("b = \"2\"\na = \"1\"\n"), "the first counts");
        assert_ne!(overridden("a = { b = \"2\" }\n"), overridden("a = \"1\"\nb = \"2\"\n"));
        assert_eq!(overridden(""), before.npm);
    }
}
