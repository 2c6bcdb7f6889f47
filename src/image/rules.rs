//! The rules of sealing (`rules.toml`) as data: what is removed or forced before, and how files are shared out among layers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::SealError;
use super::split::SplitRules;
use super::tree::{Content, Entry, Node, Tree};
use crate::base::tar::TarMeta;
use crate::model::Sha256;

const TEXT: &str = include_str!("rules.toml");
const SHADOW: &str = "etc/shadow";
const SECONDS_A_DAY: i64 = 86_400;

/// The rules as they are written, for people.
pub fn rules_text() -> &'static str {
    TEXT
}

/// The digest of the rules, which stands in every lockfile.
pub fn rules_digest() -> Sha256 {
    Sha256::of(TEXT)
}

/// The rules, read.
#[derive(Debug)]
pub(super) struct Rules {
    rules: Vec<Rule>,
    /// How files are shared out among layers.
    pub(super) layers: SplitRules,
    /// What changes with nearly every Debian package.
    pub(super) state: Vec<Pattern>,
}

#[derive(Debug)]
struct Rule {
    action: Action,
    reason: String,
    #[cfg_attr(not(test), expect(dead_code, reason = "tested, not used"))]
    example: PathBuf,
    #[cfg_attr(not(test), expect(dead_code, reason = "tested, not used"))]
    spared: PathBuf,
}

#[derive(Debug)]
enum Action {
    Remove(Pattern),
    Force(PathBuf, Entry),
    Ensure(PathBuf, u32),
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesFile {
    remove: Vec<RuleText>,
    file: Vec<RuleText>,
    link: Vec<RuleText>,
    directory: Vec<RuleText>,
    ensure: Vec<RuleText>,
    layers: SplitRules,
    state: Vec<RuleText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    path: String,
    mode: Option<String>,
    content: Option<String>,
    target: Option<String>,
    reason: String,
    example: PathBuf,
    spared: PathBuf,
}

/// Something that the rules took out of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scrubbed {
    pub(super) path: PathBuf,
    pub(super) reason: String,
}

impl Rules {
    /// Reads the rules that are built in.
    pub(super) fn built_in() -> Result<Self, SealError> {
        Self::parse(TEXT)
    }

    pub(super) fn parse(text: &str) -> Result<Self, SealError> {
        let file: RulesFile = toml::from_str(text).map_err(|error| SealError::Rules { what: error.to_string() })?;
        let groups: [(Vec<RuleText>, Reader); 5] = [
            (file.remove, RuleText::remove),
            (file.file, RuleText::force_file),
            (file.link, RuleText::force_link),
            (file.directory, RuleText::force_directory),
            (file.ensure, RuleText::ensure),
        ];
        let mut rules = Vec::new();
        for (group, read) in groups {
            for rule in group {
                let wrong = || SealError::Rules { what: format!("the rule for `{}` is not whole", rule.path) };
                let action = read(&rule).ok_or_else(wrong)?;
                let RuleText { reason, example, spared, .. } = rule;
                rules.push(Rule { action, reason, example, spared });
            }
        }
        let mut state = Vec::new();
        for rule in file.state {
            let wrong = || SealError::Rules { what: format!("the rule for `{}` is not whole", rule.path) };
            let Some(Action::Remove(pattern)) = rule.remove() else { return Err(wrong()) };
            state.push(pattern);
        }
        Ok(Self { rules, layers: file.layers, state })
    }

    /// Applies the rules to a tree and says what they took out. What a rule is about stays in a base image as it is there:
    /// below the layers that are written, nothing of it can be taken out, and what engines made of it does not count.
    pub(super) fn apply(&self, tree: &mut Tree, base: Option<&Tree>) -> Vec<Scrubbed> {
        let mut scrubbed = Vec::new();
        let mut note = |path: &Path, reason: &str| {
            scrubbed.push(Scrubbed { path: path.to_owned(), reason: reason.to_owned() });
        };
        for rule in &self.rules {
            match &rule.action {
                Action::Remove(pattern) => {
                    for path in pattern.matches(tree) {
                        tree.remove(&path);
                        note(&path, &rule.reason);
                    }
                }
                Action::Force(path, entry) => {
                    if entry.is_directory() && tree.remove_below(path) > 0 {
                        note(path, &rule.reason);
                    }
                    tree.insert_with_parents(path, entry.clone());
                }
                Action::Ensure(path, mode) => {
                    if tree.get(path).is_none() {
                        tree.insert_with_parents(path, Entry::directory(*mode));
                    }
                }
            }
            if let Some(base) = base {
                rule.action.restore(tree, base);
            }
        }
        scrubbed
    }
}

impl Action {
    /// Puts back what the base has at the paths of the rule, where their directory is still there.
    fn restore(&self, tree: &mut Tree, base: &Tree) {
        let paths = match self {
            Self::Remove(pattern) => pattern.matches(base),
            Self::Force(path, _) => vec![path.clone()],
            Self::Ensure(..) => Vec::new(),
        };
        for path in paths.iter().filter(|path| base.get(path).is_some()) {
            let parent = path.parent().unwrap_or(Path::new(""));
            if !parent.as_os_str().is_empty() && !tree.get(parent).is_some_and(Entry::is_directory) {
                continue;
            }
            tree.remove(path);
            for (below, entry) in base.iter().filter(|(below, _)| below.starts_with(path)) {
                tree.insert(below.to_owned(), entry.clone());
            }
        }
    }
}

type Reader = fn(&RuleText) -> Option<Action>;

impl RuleText {
    fn remove(&self) -> Option<Action> {
        let bare = self.mode.is_none() && self.content.is_none() && self.target.is_none();
        bare.then(|| Action::Remove(Pattern::parse(&self.path)))
    }

    fn force_file(&self) -> Option<Action> {
        let content = self.content.as_ref().filter(|_| self.target.is_none())?;
        Some(self.force(Entry::file(self.mode()?, content.clone().into_bytes())))
    }

    fn force_link(&self) -> Option<Action> {
        let target = self.target.as_ref().filter(|_| self.content.is_none() && self.mode.is_none())?;
        Some(self.force(Entry { node: Node::Symlink(target.into()), meta: TarMeta::root(0o777) }))
    }

    fn force_directory(&self) -> Option<Action> {
        let bare = self.content.is_none() && self.target.is_none();
        Some(self.force(Entry::directory(self.mode().filter(|_| bare)?)))
    }

    fn ensure(&self) -> Option<Action> {
        let bare = self.content.is_none() && self.target.is_none();
        Some(Action::Ensure(PathBuf::from(&self.path), self.mode().filter(|_| bare)?))
    }

    fn force(&self, entry: Entry) -> Action {
        Action::Force(PathBuf::from(&self.path), entry)
    }

    fn mode(&self) -> Option<u32> {
        u32::from_str_radix(self.mode.as_ref()?, 8).ok()
    }
}

/// A path whose parts may hold `*`.
#[derive(Debug)]
pub(super) struct Pattern(Vec<String>);

impl Pattern {
    fn parse(text: &str) -> Self {
        Self(text.split('/').map(str::to_owned).collect())
    }

    /// The paths of the tree that the pattern names, found by walking down its parts.
    pub(super) fn matches(&self, tree: &Tree) -> Vec<PathBuf> {
        let mut found = vec![PathBuf::new()];
        for part in &self.0 {
            found = found.iter().flat_map(|parent| Self::step(tree, parent, part)).collect();
        }
        found
    }

    fn step(tree: &Tree, parent: &Path, part: &str) -> Vec<PathBuf> {
        if !part.contains('*') {
            let path = parent.join(part);
            return tree.get(&path).map(|_| path).into_iter().collect();
        }
        let is_match =
            |path: &&Path| path.file_name().is_some_and(|name| glob(part.as_bytes(), name.as_encoded_bytes()));
        tree.children(parent).filter(is_match).map(Path::to_owned).collect()
    }
}

/// Whether a name matches a pattern in which `*` stands for any bytes.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=name.len()).any(|skipped| glob(rest, &name[skipped..])),
        (Some((expected, rest)), Some((found, left))) if expected == found => glob(rest, left),
        _ => false,
    }
}

/// Rewrites the date of the last change of each password (shadow(5), field 3), which is the day of the build, but for the
/// lines that a base image has just like that.
pub(super) fn date_passwords(tree: &mut Tree, base: Option<&Tree>, epoch: i64) -> Result<(), SealError> {
    let path = Path::new(SHADOW);
    let fail = |source| SealError::Root { path: path.to_owned(), source };
    let Some(Entry { node: Node::File { size, content }, meta }) = tree.get(path).cloned() else { return Ok(()) };
    let mut text = Vec::new();
    content.with_reader(size, |reader| reader.read_to_end(&mut text)).map_err(fail)?;
    let known = base.map(|base| base.read_file(path)).transpose().map_err(fail)?.flatten().unwrap_or_default();
    let known: BTreeSet<&[u8]> = known.split_inclusive(|byte| *byte == b'\n').collect();
    let dated = date_lines(&text, &known, epoch / SECONDS_A_DAY);
    let node = Node::File { size: dated.len() as u64, content: Content::Bytes(dated) };
    tree.insert(path.to_owned(), Entry { node, meta });
    Ok(())
}

fn date_lines(text: &[u8], known: &BTreeSet<&[u8]>, day: i64) -> Vec<u8> {
    let mut dated = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if known.contains(line) {
            dated.extend_from_slice(line);
            continue;
        }
        let mut fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        let day = day.to_string();
        if fields.len() > 3 && !fields[2].is_empty() && fields[2].iter().all(u8::is_ascii_digit) {
            fields[2] = day.as_bytes();
        }
        dated.extend_from_slice(&fields.join(&b':'));
    }
    dated
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree_of(paths: &[&Path]) -> Tree {
        let mut tree = Tree::default();
        for path in paths {
            tree.insert_with_parents(path, Entry::file(0o600, b"content of a build".to_vec()));
        }
        tree
    }

    #[test]
    fn every_rule_takes_its_example_and_spares_its_neighbour() {
        let rules = Rules::built_in().unwrap();
        assert!(rules.rules.len() > 30);
        for rule in &rules.rules {
            let mut tree = match rule.action {
                Action::Ensure(..) => tree_of(&[&rule.spared]),
                _ => tree_of(&[&rule.example, &rule.spared]),
            };
            let alone = Rules {
                rules: vec![Rule {
                    reason: String::new(),
                    action: rule.action.copy(),
                    example: PathBuf::new(),
                    spared: PathBuf::new(),
                }],
                layers: rules.layers.clone(),
                state: Vec::new(),
            };
            alone.apply(&mut tree, None);
            let name = rule.example.display();
            assert!(tree.get(&rule.spared).is_some(), "the rule for {name} took {}", rule.spared.display());
            match &rule.action {
                Action::Remove(_) => assert!(tree.get(&rule.example).is_none(), "{name} stays"),
                Action::Force(path, _) if *path == rule.example => {
                    assert_ne!(tree.get(path).map(|entry| entry.meta.mode), Some(0o600), "{name} is not forced");
                }
                Action::Force(_, entry) => {
                    assert!(entry.is_directory() && tree.get(&rule.example).is_none(), "{name} stays");
                }
                Action::Ensure(path, mode) => {
                    let mut empty = Tree::default();
                    alone.apply(&mut empty, None);
                    assert_eq!(empty.get(path).map(|entry| entry.meta.mode), Some(*mode));
                }
            }
            assert!(!rule.reason.is_empty());
        }
    }

    impl Action {
        fn copy(&self) -> Self {
            match self {
                Self::Remove(pattern) => Self::Remove(Pattern(pattern.0.clone())),
                Self::Force(path, entry) => Self::Force(path.clone(), entry.clone()),
                Self::Ensure(path, mode) => Self::Ensure(path.clone(), *mode),
            }
        }
    }

    #[test]
    fn every_rule_of_state_has_its_example_and_spares_its_neighbour() {
        let file: RulesFile = toml::from_str(TEXT).unwrap();
        assert!(file.state.len() > 10);
        for rule in &file.state {
            let tree = tree_of(&[&rule.example, &rule.spared]);
            let found = Pattern::parse(&rule.path).matches(&tree);
            assert!(found.iter().any(|path| rule.example.starts_with(path)), "{}", rule.path);
            assert!(!found.iter().any(|path| rule.spared.starts_with(path)), "{}", rule.path);
            assert!(!rule.reason.is_empty());
        }
    }

    #[test]
    fn applying_twice_changes_nothing_more() {
        let rules = Rules::built_in().unwrap();
        let examples: Vec<&Path> = rules.rules.iter().map(|rule| rule.example.as_path()).collect();
        let mut tree = tree_of(&examples);
        assert!(!rules.apply(&mut tree, None).is_empty());
        let before: Vec<PathBuf> = tree.iter().map(|(path, _)| path.to_owned()).collect();
        assert_eq!(rules.apply(&mut tree, None), []);
        assert_eq!(tree.iter().map(|(path, _)| path.to_owned()).collect::<Vec<_>>(), before);
    }

    #[test]
    fn rules_are_read_strictly() {
        let rule = "[[remove]]\npath = \"a\"\nreason = \"r\"\nexample = \"a\"\nspared = \"b\"\n";
        let state = "[[state]]\npath = \"c\"\nreason = \"r\"\nexample = \"c\"\nspared = \"d\"\n";
        let layers =
            "[layers]\nmost = 9\nsplit-from = 1\nown-from = 2\n[layers.origins]\npip = { own = 1, groups = 2 }\n";
        let whole = format!("file = []\nlink = []\ndirectory = []\nensure = []\n{layers}{state}{rule}");
        assert!(Rules::parse(&whole).is_ok());
        assert!(Rules::parse(&format!("{whole}why = \"x\"\n")).is_err());
        assert!(Rules::parse(&format!("{whole}mode = \"644\"\n")).is_err());
        assert!(Rules::parse(rule).is_err());
        assert!(Rules::parse(&whole.replace("groups", "group")).is_err());
        assert!(Rules::parse(&whole.replace("most = 9", "")).is_err());
    }

    #[test]
    fn only_dates_of_passwords_change() {
        let text = b"root:*:20000:0:99999:7:::\nsvc:!:::::::\nlocked:!*:1:0:::::\nodd\n";
        let dated = date_lines(text, &BTreeSet::new(), 20_372);
        assert_eq!(dated, b"root:*:20372:0:99999:7:::\nsvc:!:::::::\nlocked:!*:20372:0:::::\nodd\n");
        assert_eq!(date_lines(&dated, &BTreeSet::new(), 20_372), dated);
    }

    #[test]
    fn passwords_of_the_base_keep_their_date() {
        let known = BTreeSet::from([&b"root:*:20000:0:99999:7:::\n"[..]]);
        let text = b"root:*:20000:0:99999:7:::\nnew:!:20000:0:99999:7:::\n";
        assert_eq!(date_lines(text, &known, 20_372), b"root:*:20000:0:99999:7:::\nnew:!:20372:0:99999:7:::\n");
    }

    #[test]
    fn what_a_base_has_where_rules_act_stays_its_own() {
        let file = |text: &str| Entry::file(0o644, text.into());
        let mut base = Tree::default();
        for path in ["etc/hosts", "var/log/dpkg.log", "root/.cache/pip/x", "dev/null", "var/lib/dpkg/status-old"] {
            base.insert_with_parents(Path::new(path), file("the base's"));
        }
        let mut tree = base.clone();
        for path in ["etc/hosts", "var/log/dpkg.log", "var/log/apt/history.log", "root/.cache/more", "dev/console"] {
            tree.insert_with_parents(Path::new(path), file("an engine's"));
        }
        tree.remove(Path::new("root/.cache/pip"));
        tree.remove(Path::new("var/lib"));
        Rules::built_in().unwrap().apply(&mut tree, Some(&base));
        for path in ["etc/hosts", "var/log/dpkg.log", "root/.cache/pip/x", "dev/null"] {
            assert_eq!(tree.read_file(Path::new(path)).unwrap().unwrap(), b"the base's", "{path}");
        }
        for path in ["var/log/apt/history.log", "root/.cache/more", "dev/console", "var/lib"] {
            assert!(tree.get(Path::new(path)).is_none(), "{path}");
        }
        assert!(tree.get(Path::new("etc/machine-id")).is_some());
    }
}
