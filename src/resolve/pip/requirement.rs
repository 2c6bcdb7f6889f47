//! Requirements read and turned into the edges that the solver walks: markers judged, extras split off, constraints and
//! overrides applied.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use pubgrub::Ranges;
use uv_normalize::{ExtraName, PackageName};
use uv_pep440::{Version, VersionSpecifier};
use uv_pep508::{MarkerTree, VersionOrUrl};
use uv_pypi_types::VerbatimParsedUrl;

use super::PipError;
use super::catalogue::Catalogue;
use super::target::Target;
use crate::manifest::{PipSection, WheelUrl, parse_pip_requirement};

/// A requirement of PEP 508.
pub(super) type Requirement = uv_pep508::Requirement<VerbatimParsedUrl>;

/// A set of versions.
pub(super) type Versions = Ranges<Version>;

/// What the solver decides versions of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Node {
    /// The manifest.
    Root,
    /// A project without extras.
    Project(PackageName),
    /// What one extra adds; always of the project's version.
    Extra(PackageName, ExtraName),
}

impl Node {
    pub(super) fn name(&self) -> Option<&PackageName> {
        match self {
            Self::Root => None,
            Self::Project(name) | Self::Extra(name, _) => Some(name),
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => formatter.write_str("the manifest"),
            Self::Project(name) => write!(formatter, "{name}"),
            Self::Extra(name, extra) => write!(formatter, "{name}[{extra}]"),
        }
    }
}

/// What the manifest asks for.
#[derive(Debug)]
pub(super) struct Asked {
    /// Those whose markers hold for the target, in the order written.
    pub(super) requirements: Vec<Requirement>,
    /// The wheels that it names by URL: of each project no other version is asked for then.
    pub(super) wheels: BTreeMap<PackageName, WheelUrl>,
    constraints: BTreeMap<PackageName, Versions>,
    overrides: BTreeMap<PackageName, Vec<Requirement>>,
}

impl Asked {
    pub(super) fn parse(section: &PipSection, target: &Target) -> Result<Self, PipError> {
        let holds = |requirement: &Requirement| requirement.evaluate_markers(&target.markers, &[]);
        let requirements = section.packages.iter().map(|text| parse_asked(text)).collect::<Result<Vec<_>, _>>()?;
        let mut overrides = BTreeMap::<PackageName, Vec<Requirement>>::new();
        for text in &section.overrides {
            let requirement = parse(text)?;
            overrides.entry(requirement.name.clone()).or_default().push(requirement);
        }
        let mut constraints = BTreeMap::<PackageName, Versions>::new();
        for text in &section.constraints {
            let constraint = parse(text)?;
            if !constraint.extras.is_empty() {
                let why = "a constraint cannot have extras: it limits versions and installs nothing".to_owned();
                return Err(PipError::Requirement { text: text.clone(), why });
            }
            if holds(&constraint) {
                let limit = versions(&constraint).unwrap_or_else(Versions::full);
                constraints
                    .entry(constraint.name)
                    .and_modify(|known| *known = known.intersection(&limit))
                    .or_insert(limit);
            }
        }
        let mut asked = Self { requirements: Vec::new(), wheels: BTreeMap::new(), constraints, overrides };
        for (requirement, wheel) in &requirements {
            let (name, counts) =
                (&requirement.name, holds(requirement) && !asked.overrides.contains_key(&requirement.name));
            let Some(wheel) = wheel.as_ref().filter(|_| counts) else { continue };
            let before = asked.wheels.insert(name.clone(), wheel.clone());
            if before.is_some_and(|before| before != *wheel) {
                let why = format!("`{name}` is asked for from another URL too");
                return Err(PipError::Requirement { text: wheel.url.to_string(), why });
            }
        }
        let instead = requirements.iter().flat_map(|(requirement, _)| asked.instead_of(requirement).into_owned());
        asked.requirements = instead.filter(holds).collect();
        Ok(asked)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Refuses names that the index does not know, before anything is solved; starts fetching what will be needed.
    pub(super) async fn check_names(&self, catalogue: &Catalogue) -> Result<(), PipError> {
        for requirement in &self.requirements {
            catalogue.prefetch(&requirement.name, &self.limited(requirement));
        }
        for requirement in &self.requirements {
            let name = &requirement.name;
            if !catalogue.page(name).await?.known {
                let source_name = catalogue.source_of(name).name.clone();
                return Err(PipError::UnknownProject { name: name.to_string(), source_name });
            }
        }
        Ok(())
    }

    /// The edges from the manifest, in the order written.
    pub(super) fn edges(&self) -> Vec<(Node, Versions)> {
        self.requirements.iter().flat_map(|requirement| self.split(requirement)).collect()
    }

    /// The edges from a node to what its metadata requires: for a project what holds without extras, for an extra what it
    /// adds. A URL requirement among them is the error: it cannot be locked.
    pub(super) fn edges_of(
        &self,
        node: &Node,
        requires: &[Requirement],
        target: &Target,
    ) -> Result<Vec<(Node, Versions)>, String> {
        let mut edges = Vec::new();
        for requirement in self.active(node, requires, target) {
            if versions(&requirement).is_none() {
                return Err(format!("it requires `{}` from a URL, which cannot be locked", requirement.name));
            }
            edges.extend(self.split(&requirement).filter(|(to, _)| to != node));
        }
        Ok(edges)
    }

    /// The requirements of a project's metadata that hold for a node.
    pub(super) fn active(&self, node: &Node, requires: &[Requirement], target: &Target) -> Vec<Requirement> {
        let holds = |requirement: &Requirement| {
            let bare = requirement.evaluate_markers(&target.markers, &[]);
            match node {
                Node::Root | Node::Project(_) => bare,
                Node::Extra(_, extra) => {
                    !bare && requirement.evaluate_markers(&target.markers, std::slice::from_ref(extra))
                }
            }
        };
        let all = requires.iter().flat_map(|requirement| self.instead_of(requirement).into_owned());
        all.filter(holds).collect()
    }

    /// A requirement, or those that override it: also where its own marker does not hold, and below the same extra (behaviour
    /// of uv's `Overrides::apply`).
    fn instead_of<'a>(&self, requirement: &'a Requirement) -> Cow<'a, [Requirement]> {
        let Some(overrides) = self.overrides.get(&requirement.name) else {
            return Cow::Borrowed(std::slice::from_ref(requirement));
        };
        let Some(extra) = requirement.marker.top_level_extra() else { return Cow::Owned(overrides.clone()) };
        let below = overrides.iter().map(|instead| {
            let marker = MarkerTree::expression(extra.clone()).and(instead.marker);
            Requirement { marker, ..instead.clone() }
        });
        Cow::Owned(below.collect())
    }

    /// One requirement as edges: the project, then each extra, all with the same versions.
    fn split<'a>(&self, requirement: &'a Requirement) -> impl Iterator<Item = (Node, Versions)> + 'a {
        let limited = self.limited(requirement);
        let project = Node::Project(requirement.name.clone());
        let extras = requirement.extras.iter().map(|extra| Node::Extra(requirement.name.clone(), extra.clone()));
        std::iter::once(project).chain(extras).map(move |node| (node, limited.clone()))
    }

    fn limited(&self, requirement: &Requirement) -> Versions {
        let asked = versions(requirement).unwrap_or_else(Versions::full);
        match self.constraints.get(&requirement.name) {
            Some(limit) => asked.intersection(limit),
            None => asked,
        }
    }

    /// The extras that the manifest itself asks for.
    pub(super) fn extras(&self) -> BTreeSet<(&PackageName, &ExtraName)> {
        self.requirements
            .iter()
            .flat_map(|requirement| requirement.extras.iter().map(|extra| (&requirement.name, extra)))
            .collect()
    }
}

/// The versions that a requirement takes; nothing when it names a URL.
fn versions(requirement: &Requirement) -> Option<Versions> {
    match &requirement.version_or_url {
        None => Some(Versions::full()),
        Some(VersionOrUrl::VersionSpecifier(specifiers)) => Some(specifiers.clone().into()),
        Some(VersionOrUrl::Url(_)) => None,
    }
}

/// Reads a requirement of the manifest. One by URL asks for the version of the wheel that it names.
fn parse_asked(text: &str) -> Result<(Requirement, Option<WheelUrl>), PipError> {
    let mut requirement = read(text)?;
    if versions(&requirement).is_some() {
        return Ok((requirement, None));
    }
    let asked = parse_pip_requirement(text).map_err(|error| error.to_string());
    let wheel = asked.and_then(|asked| WheelUrl::of(&asked));
    let wheel = wheel.map_err(|why| PipError::Requirement { text: text.to_owned(), why })?;
    let exactly = wheel.as_ref().map(|wheel| VersionSpecifier::equals_version(wheel.version.clone()).into());
    requirement.version_or_url = exactly.map(VersionOrUrl::VersionSpecifier);
    Ok((requirement, wheel))
}

/// Reads a constraint or an override.
fn parse(text: &str) -> Result<Requirement, PipError> {
    let requirement = read(text)?;
    match versions(&requirement) {
        Some(_) => Ok(requirement),
        None => Err(PipError::Requirement {
            text: text.to_owned(),
            why: format!("`{}` is asked for from a URL, which `packages` alone may do", requirement.name),
        }),
    }
}

fn read(text: &str) -> Result<Requirement, PipError> {
    Requirement::from_str(text).map_err(|error| {
        let why = error.to_string().lines().next().unwrap_or_default().to_owned();
        PipError::Requirement { text: text.to_owned(), why }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Platform;
    use crate::resolve::pip::PipRequest;

    fn target() -> Target {
        let section = PipSection::default();
        let request = PipRequest {
            wished: &[],
            built: &BTreeMap::new(),
            platform: Platform::LINUX_AMD64,
            section: &section,
            python_version: "3.13.5",
            glibc: (2, 41),
            as_of: None,
            keep: None,
        };
        Target::new(&request).unwrap()
    }

    fn asked(packages: &[&str], constraints: &[&str]) -> Result<Asked, PipError> {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let section = PipSection { packages: own(packages), constraints: own(constraints), ..PipSection::default() };
        Asked::parse(&section, &target())
    }

    #[test]
    fn extras_become_nodes_and_constraints_limit_them() {
        let asked = asked(&["a[x]>=1", "b; sys_platform == 'win32'"], &["a<2", "c>9"]).unwrap();
        let edges: Vec<String> = asked.edges().iter().map(|(node, range)| format!("{node} {range}")).collect();
        assert_eq!(edges.len(), 2, "{edges:?}");
        assert!(edges[0].starts_with("a >=1, <2"), "{edges:?}");
        assert!(edges[1].starts_with("a[x] >=1, <2"), "{edges:?}");
    }

    #[test]
    fn an_override_stands_instead_of_all_others_and_below_their_extra() {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let section = PipSection {
            packages: own(&["a>=1", "b==1"]),
            constraints: own(&["c<9"]),
            overrides: own(&["b>=2", "c>=3", "d; sys_platform == 'win32'"]),
            ..PipSection::default()
        };
        let asked = Asked::parse(&section, &target()).unwrap();
        let show = |edges: Vec<(Node, Versions)>| {
            edges.iter().map(|(node, range)| format!("{node} {range}")).collect::<Vec<_>>()
        };
        assert_eq!(show(asked.edges()), ["a >=1", "b >=2"]);
        let requires: Vec<Requirement> = ["c<2; sys_platform == 'win32'", "d", "b<1; extra == 'x'", "e; extra == 'y'"]
            .map(|text| Requirement::from_str(text).unwrap())
            .into();
        let name = PackageName::from_str("a").unwrap();
        let of = |node: Node| show(asked.edges_of(&node, &requires, &target()).unwrap());
        assert_eq!(of(Node::Project(name.clone())), ["c >=3, <9"], "the marker of what is overridden does not count");
        assert_eq!(of(Node::Extra(name.clone(), ExtraName::from_str("x").unwrap())), ["b >=2"]);
        assert_eq!(of(Node::Extra(name, ExtraName::from_str("y").unwrap())), ["e *"]);
    }

    #[test]
    fn markers_see_the_target_alone() {
        let requires: Vec<Requirement> = [
            "new; python_full_version >= '3.13.5'",
            "old; python_full_version < '3.13.5'",
            "arm; platform_machine == 'aarch64'",
            "more; extra == 'x'",
            "url @ https://host.invalid/url.zip ; extra == 'y'",
        ]
        .map(|text| Requirement::from_str(text).unwrap())
        .into();
        let asked = asked(&[], &[]).unwrap();
        let name = PackageName::from_str("p").unwrap();
        let names = |node: &Node| {
            let edges = asked.edges_of(node, &requires, &target())?;
            Ok::<_, String>(edges.iter().map(|(node, _)| node.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(names(&Node::Project(name.clone())).unwrap(), ["new"]);
        assert_eq!(names(&Node::Extra(name.clone(), ExtraName::from_str("x").unwrap())).unwrap(), ["more"]);
        assert!(names(&Node::Extra(name, ExtraName::from_str("y").unwrap())).unwrap_err().contains("`url`"));
    }

    #[test]
    fn what_cannot_be_locked_is_refused() {
        for text in ["a @ https://host.invalid/a.whl", "git+https://host.invalid/a", "./a", "a >>> 1", ""] {
            assert!(matches!(asked(&[text], &[]), Err(PipError::Requirement { .. })), "{text}");
        }
        assert!(matches!(asked(&["a"], &["a[x]<2"]), Err(PipError::Requirement { .. })));
    }
}
