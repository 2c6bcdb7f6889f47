//! A finding as a value.

/// How grave a finding is; the words are those of SARIF 2.1.0 (§3.27.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Worth knowing.
    Note,
    /// Worth a look.
    Warning,
    /// The answer is no.
    Error,
}

/// What is looked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name in reports and waivers: `secret-private-key`. Lower-case words with hyphens, never renamed.
    pub id: &'static str,
    /// How grave its findings are where they do not say otherwise.
    pub level: Level,
    /// What it finds, as a noun: `a private key`.
    pub title: &'static str,
    /// Why it matters and what to do, in one or two sentences.
    pub help: &'static str,
}

/// Something that a rule found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// How grave this one is.
    pub level: Level,
    /// What it is about, as waivers name it: `pip:requests`, `context/config.json`.
    pub subject: String,
    /// One line that makes sense alone; nothing secret in it.
    pub message: String,
    /// Where in a file of the project it is.
    pub place: Option<FindingPlace>,
    /// Aligned, copyable lines.
    pub evidence: Vec<String>,
    /// The waiver that excuses it.
    pub excuse: Option<Excuse>,
}

/// A place in a file, for people and for annotations of a pull request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct FindingPlace {
    /// The file, relative to the project.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
}

/// Why a finding does not count.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Excuse {
    /// The waiver's reason.
    pub reason: String,
    /// Until when it holds, in seconds since 1970.
    pub expires: i64,
}

impl Finding {
    /// A finding as grave as its rule, without place and evidence.
    pub fn new(rule: &'static Rule, subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            rule,
            level: rule.level,
            subject: subject.into(),
            message: message.into(),
            place: None,
            evidence: Vec::new(),
            excuse: None,
        }
    }

    /// Whether it makes the answer no.
    pub fn counts(&self) -> bool {
        self.level == Level::Error && self.excuse.is_none()
    }

    /// Gravest first, excused ones last, then by rule, subject and place: the same findings always read the same.
    pub fn sort(findings: &mut [Self]) {
        findings.sort_by(|a, b| {
            let key = |finding: &Self| {
                (finding.excuse.is_some(), std::cmp::Reverse(finding.level), finding.rule.id, finding.subject.clone())
            };
            key(a).cmp(&key(b)).then_with(|| (&a.place, &a.message).cmp(&(&b.place, &b.message)))
        });
    }
}

impl serde::Serialize for Finding {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut fields = serializer.serialize_struct("Finding", 7)?;
        fields.serialize_field("rule", self.rule.id)?;
        fields.serialize_field("level", &self.level)?;
        fields.serialize_field("subject", &self.subject)?;
        fields.serialize_field("message", &self.message)?;
        fields.serialize_field("place", &self.place)?;
        fields.serialize_field("evidence", &self.evidence)?;
        fields.serialize_field("excuse", &self.excuse)?;
        fields.end()
    }
}
