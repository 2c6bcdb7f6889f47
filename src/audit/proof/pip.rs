//! A wheel against its pin: project and version in its METADATA, its tags, and every file against its RECORD.

use std::collections::BTreeSet;

use super::TAGS;
use super::artifacts::{Facts, Flaw, Looked, label, subject};
use crate::assemble::pip::{PipAssembleError, verify_wheel};
use crate::audit::finding::Finding;
use crate::base::explain::Explain;
use crate::lock::PipPin;
use crate::manifest::parse_pip_release;
use crate::resolve::pip::source_file;
use crate::store::Store;

pub(super) fn look(pin: &PipPin, store: &Store) -> Result<Looked, Flaw> {
    if pin.built.is_some() {
        look_at_source(pin, store)?;
    }
    let facts = verify_wheel(pin, store).map_err(flaw)?;
    let requires: Vec<_> = facts.requires.iter().filter_map(|text| parse_pip_release(text).ok()).collect();
    let unconditional = requires.iter().filter(|requirement| requirement.marker.contents().is_none());
    let facts_of = Facts {
        needs: unconditional.map(|requirement| vec![requirement.name.to_string()]).collect(),
        mentions: requires.iter().map(|requirement| requirement.name.to_string()).collect(),
        provides: Vec::new(),
    };
    let (named, said) = (expand(&pin.tags), facts.tags.iter().cloned().collect::<BTreeSet<String>>());
    if said.is_empty() || named == said {
        return Ok((facts_of, Vec::new()));
    }
    let view = pin.view();
    let list = |tags: &BTreeSet<String>| tags.iter().take(6).cloned().collect::<Vec<_>>().join(" ");
    let evidence = vec![format!("   named  {}", list(&named)), format!("   holds  {}", list(&said))];
    let message = format!("`{}` has other tags in its WHEEL file than in its name", label(&view));
    Ok((facts_of, vec![Finding { evidence, ..Finding::new(&TAGS, subject(&view), message) }]))
}

/// A source distribution against its pin: project and version in its PKG-INFO, where it has one.
fn look_at_source(pin: &PipPin, store: &Store) -> Result<(), Flaw> {
    let archive = store.open_blob(&pin.artifact.sha256).map_err(Flaw::of_store)?;
    let text = source_file(archive, pin.artifact.path.file_name(), "PKG-INFO");
    let Some(text) = text.map_err(|why| Flaw::content(&why))? else { return Ok(()) };
    let text = String::from_utf8_lossy(&text);
    let field = |name: &str| {
        let mut fields = text.lines().take_while(|line| !line.is_empty());
        fields.find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::trim)
    };
    let project = |name: &str| name.parse::<uv_normalize::PackageName>().ok();
    let version = |text: &str| text.parse::<uv_pep440::Version>().ok();
    if let Some(found) = field("Name").filter(|found| project(found) != project(pin.name.as_str())) {
        return Err(Flaw::identity("project", pin.name.as_str(), found));
    }
    match field("Version").filter(|found| version(found) != version(pin.version.as_str())) {
        Some(found) => Err(Flaw::identity("version", pin.version.as_str(), found)),
        None => Ok(()),
    }
}

/// A compressed set of tags, one by one (the platform compatibility tags of PEP 425).
fn expand(tags: &str) -> BTreeSet<String> {
    let parts: Vec<Vec<&str>> = tags.split('-').map(|part| part.split('.').collect()).collect();
    let [pythons, abis, platforms] = &parts[..] else { return BTreeSet::from([tags.to_owned()]) };
    let mut expanded = BTreeSet::new();
    for python in pythons {
        for abi in abis {
            expanded.extend(platforms.iter().map(|platform| format!("{python}-{abi}-{platform}")));
        }
    }
    expanded
}

fn flaw(error: PipAssembleError) -> Flaw {
    match error {
        PipAssembleError::Store(error) => Flaw::of_store(error),
        PipAssembleError::Hostile { ref why, .. } if why.starts_with("its METADATA names another") => {
            let what = if why.contains("another project") { "project" } else { "version" };
            Flaw::Broken(&super::IDENTITY, format!("is not what its pin says: its {what} differs"), vec![why.clone()])
        }
        other => {
            let evidence = other.evidence().join(", ");
            let why = if evidence.is_empty() { other.to_string() } else { format!("{other} ({evidence})") };
            Flaw::content(&format!("is not to be trusted: {why}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_tags_are_expanded() {
        let tags = expand("py2.py3-none-any");
        assert_eq!(tags.into_iter().collect::<Vec<_>>(), ["py2-none-any", "py3-none-any"]);
        assert_eq!(expand("cp313-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64").len(), 2);
    }
}
