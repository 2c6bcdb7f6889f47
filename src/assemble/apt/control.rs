//! Control paragraphs (deb822) and what dpkg makes of them: fields, relations, the stanza of its status file.

use std::collections::BTreeSet;

use super::version;

/// One paragraph: its fields in the order written, each value with its continuation lines as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Paragraph {
    fields: Vec<(String, String)>,
}

/// One relation to a package: `libc6 (>= 2.38)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Relation {
    /// The package's name.
    pub name: String,
    /// Operator and version, when the relation has one.
    pub bound: Option<(String, String)>,
}

/// A configuration file that a package names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conffile {
    /// Absolute path.
    pub path: String,
    /// What dpkg is to think of it.
    pub state: ConffileState,
}

/// What dpkg is to think of a configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConffileState {
    /// Unpacked as `X.dpkg-new`, put into place by `--configure`.
    New,
    /// Another package has taken it over.
    Obsolete,
    /// Not shipped any more; removed when an older version is upgraded.
    RemoveOnUpgrade,
}

/// The order in which dpkg writes the fields it knows (dpkg, lib/dpkg/parse.c, `fieldinfos`); all others follow as they come.
const ORDER: &[&str] = &[
    "Package",
    "Essential",
    "Protected",
    "Status",
    "Priority",
    "Section",
    "Installed-Size",
    "Origin",
    "Maintainer",
    "Bugs",
    "Architecture",
    "Multi-Arch",
    "Source",
    "Version",
    "Config-Version",
    "Replaces",
    "Provides",
    "Depends",
    "Pre-Depends",
    "Recommends",
    "Suggests",
    "Breaks",
    "Conflicts",
    "Enhances",
    "Conffiles",
    "Description",
];

impl Paragraph {
    /// Reads all paragraphs of a text.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, String> {
        let mut paragraphs = Vec::new();
        let mut current = Self::default();
        let mut names = BTreeSet::new();
        for line in text.split('\n') {
            if line.trim_end().is_empty() {
                if !current.fields.is_empty() {
                    paragraphs.push(std::mem::take(&mut current));
                    names.clear();
                }
            } else if line.starts_with([' ', '\t']) {
                let (_, value) = current.fields.last_mut().ok_or("it starts with a continuation line")?;
                value.push('\n');
                value.push_str(line);
            } else {
                let (name, value) = line.split_once(':').ok_or_else(|| format!("`{line}` is no field"))?;
                if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err(format!("`{name}` is no name of a field"));
                }
                if !names.insert(name.to_ascii_lowercase()) {
                    return Err(format!("field `{name}` is there twice"));
                }
                // White space at the end of a value goes, but not that before a continuation line: so does dpkg.
                current.fields.push((name.to_owned(), value.trim_start().to_owned()));
            }
        }
        if !current.fields.is_empty() {
            paragraphs.push(current);
        }
        for (_, value) in paragraphs.iter_mut().flat_map(|paragraph| &mut paragraph.fields) {
            value.truncate(value.trim_end().len());
        }
        Ok(paragraphs)
    }

    /// A field's value; names are compared without regard to case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The relations of a field: a list of groups, each of which one alternative fulfils.
    pub fn relations(&self, field: &str) -> Vec<Vec<Relation>> {
        let groups = self.get(field).unwrap_or_default().split(',');
        groups.map(|group| group.split('|').filter_map(Relation::parse).collect()).collect()
    }

    /// The stanza of dpkg's status file: the fields in dpkg's order, `Status` and `Conffiles` given by the caller.
    pub fn render_status(&self, status: &str, conffiles: &[Conffile]) -> String {
        let conffiles: String = conffiles.iter().map(Conffile::render).collect();
        let field = |name: &str| match name {
            "Status" => Some(status),
            "Conffiles" => Some(conffiles.as_str()),
            "Config-Version" => None,
            name => self.get(name),
        };
        let known = ORDER.iter().filter_map(|name| Some((*name, field(name)?)));
        let is_known = |name: &str| ORDER.iter().any(|known| known.eq_ignore_ascii_case(name));
        let others = self.fields.iter().filter(|(name, _)| !is_known(name));
        known
            .chain(others.map(|(name, value)| (name.as_str(), value.as_str())))
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}:{}{value}\n", if value.starts_with('\n') { "" } else { " " }))
            .collect()
    }
}

impl Relation {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let end = text.find(|c: char| c.is_ascii_whitespace() || "([:<".contains(c)).unwrap_or(text.len());
        let name = text[..end].to_owned();
        let bound = text.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(bound, _)| {
            let bound = bound.trim();
            let split = bound.find(|c| !"<>=".contains(c)).unwrap_or(bound.len());
            (bound[..split].to_owned(), bound[split..].trim().to_owned())
        });
        (!name.is_empty()).then_some(Self { name, bound })
    }

    /// Whether a package of this name and version fulfils it.
    pub fn is_met_by(&self, name: &str, version: &str) -> bool {
        self.name == name
            && self.bound.as_ref().is_none_or(|(operator, bound)| version::satisfies(version, operator, bound))
    }
}

impl Conffile {
    /// Reads the control file `conffiles` (deb-conffiles(5)).
    pub fn parse_all(text: &str) -> Result<Vec<Self>, String> {
        let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
        lines
            .map(|line| {
                let (path, state) = match line.strip_prefix("remove-on-upgrade ") {
                    Some(path) => (path, ConffileState::RemoveOnUpgrade),
                    None => (line, ConffileState::New),
                };
                if !path.starts_with('/') {
                    return Err(format!("its conffile `{line}` is no absolute path"));
                }
                Ok(Self { path: path.to_owned(), state })
            })
            .collect()
    }

    fn render(&self) -> String {
        let state = match self.state {
            ConffileState::New => "",
            ConffileState::Obsolete => " obsolete",
            ConffileState::RemoveOnUpgrade => " remove-on-upgrade",
        };
        format!("\n {} newconffile{state}", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stanza_has_dpkgs_order() {
        let text = "package: a\nVersion: 1\nX-Own: x \nArchitecture: all\nDepends: b (>= 1), c | d\nDescription: one \n two\n .\n";
        let paragraph = &Paragraph::parse_all(text).unwrap()[0];
        let conffiles = Conffile::parse_all("/etc/a\nremove-on-upgrade /etc/b\n").unwrap();
        assert_eq!(
            paragraph.render_status("install ok unpacked", &conffiles),
            "Package: a\nStatus: install ok unpacked\nArchitecture: all\nVersion: 1\nDepends: b (>= 1), c | d\n\
             Conffiles:\n /etc/a newconffile\n /etc/b newconffile remove-on-upgrade\nDescription: one \n two\n .\nX-Own: x\n"
        );
    }

    #[test]
    fn relations_are_read() {
        let paragraph =
            &Paragraph::parse_all("Depends: a (>= 1:2.0~rc1), b:any | c(<<3) [amd64] <!nocheck>").unwrap()[0];
        let groups = paragraph.relations("depends");
        assert_eq!(groups[0][0].bound, Some((">=".into(), "1:2.0~rc1".into())));
        assert_eq!(groups[1][0], Relation { name: "b".into(), bound: None });
        assert!(groups[1][1].is_met_by("c", "2.9") && !groups[1][1].is_met_by("c", "3"));
    }

    #[test]
    fn broken_paragraphs_are_refused() {
        for text in [" continued", "no field", "A: 1\na: 2", ": x"] {
            assert!(Paragraph::parse_all(text).is_err(), "{text}");
        }
    }
}
