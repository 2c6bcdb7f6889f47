//! Looking through bytes: keywords first, all at once; a pattern only where one of its keywords is.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::{LazyLock, OnceLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use regex::bytes::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use super::SecretsError;
use super::judge::judge;
use super::patterns::{Behind, PATTERNS, Pattern, Test};
use crate::base::text::grouped;
use crate::model::{Hasher, Sha256};

/// How much is looked through at once.
const STEP: usize = 1 << 20;
/// How much before a keyword is seen: one byte decides whether it starts a token.
const BACK: usize = 64;
/// How far a secret may reach from its keyword; an RSA key of 16,384 bits in base64 twice has 17 kB.
const AHEAD: usize = 24 * 1024;
/// Raised when the same bytes and patterns would give other hits.
const SCAN_VERSION: &str = "1";

/// A secret in a file, told without telling it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hit {
    /// The rule's name.
    pub(super) rule: String,
    /// The digest of its plainest form, to know it again elsewhere.
    pub(super) digest: Sha256,
    /// The line from 1, in text.
    pub(super) line: usize,
    /// `line 3`, or `byte 4096` in what is no text.
    pub(super) place: String,
    /// The start that all such tokens have, and the length.
    pub(super) shown: String,
}

/// All patterns, ready to look.
pub(super) struct Scanner {
    keywords: AhoCorasick,
    /// The pattern of each keyword.
    owners: Vec<usize>,
    /// Compiled when one of their keywords is met: all of them take longer than a small project is read.
    patterns: Vec<OnceLock<Regex>>,
}

/// A hit with the place of its secret, in bytes from the start.
struct Found {
    hit: Hit,
    start: u64,
    end: u64,
    vagueness: u8,
}

/// The part of the bytes that is at hand.
struct Window<'a> {
    bytes: &'a [u8],
    /// Where it starts in the whole.
    offset: u64,
    /// The line of its first byte.
    line: usize,
    is_text: bool,
}

/// A digest of all patterns and of how they are looked for.
pub(super) fn patterns_digest() -> Sha256 {
    static DIGEST: LazyLock<Sha256> = LazyLock::new(|| {
        let mut hasher = Hasher::default();
        hasher.field(SCAN_VERSION);
        for pattern in PATTERNS {
            hasher.field(pattern.rule.id);
            hasher.field(pattern.keywords.join(" "));
            hasher.field(pattern.pattern);
            hasher.field(format!("{:?} {:?} {}", pattern.behind, pattern.test, pattern.shown));
        }
        hasher.finish()
    });
    *DIGEST
}

impl Scanner {
    pub(super) fn new() -> Result<Self, SecretsError> {
        let words =
            PATTERNS.iter().enumerate().flat_map(|(owner, one)| one.keywords.iter().map(move |word| (owner, *word)));
        let (owners, words): (Vec<usize>, Vec<&str>) = words.unzip();
        let keywords =
            AhoCorasick::builder().ascii_case_insensitive(true).kind(Some(AhoCorasickKind::DFA)).build(words);
        Ok(Self {
            keywords: keywords.map_err(|error| SecretsError::Patterns { what: error.to_string() })?,
            owners,
            patterns: PATTERNS.iter().map(|_| OnceLock::new()).collect(),
        })
    }

    /// Every secret in what the reader yields, once each, in order. Holds little more than a step of it at any time.
    pub(super) fn scan(&self, reader: &mut dyn Read) -> io::Result<Vec<Hit>> {
        let mut found = Vec::new();
        let mut buffer = Vec::new();
        let (mut offset, mut line, mut from) = (0_u64, 1_usize, 0_usize);
        let mut is_text = true;
        loop {
            let wanted = (from + STEP + AHEAD).saturating_sub(buffer.len());
            let more = (&mut *reader).take(wanted as u64).read_to_end(&mut buffer)?;
            let is_end = more < wanted;
            let to = if is_end { buffer.len() } else { buffer.len() - AHEAD };
            if offset == 0 && from == 0 {
                is_text = memchr::memchr(0, &buffer[..buffer.len().min(8192)]).is_none();
            }
            self.look(&Window { bytes: &buffer, offset, line, is_text }, from, to, &mut found)?;
            if is_end {
                return Ok(told(found));
            }
            let gone = to.saturating_sub(BACK);
            line += memchr::memchr_iter(b'\n', &buffer[..gone]).count();
            buffer.drain(..gone);
            offset += gone as u64;
            from = to - gone;
        }
    }

    /// Looks at the keywords that start between `from` and `to`.
    fn look(&self, window: &Window<'_>, from: usize, to: usize, found: &mut Vec<Found>) -> io::Result<()> {
        for word in self.keywords.find_overlapping_iter(&window.bytes[from..]) {
            let at = from + word.start();
            if at >= to {
                // Matches come in the order of their ends, and keywords are short: those behind are for the next step.
                if at > to + BACK {
                    break;
                }
                continue;
            }
            let number = self.owners[word.pattern().as_usize()];
            if may_stand_behind(PATTERNS[number].behind, &window.bytes[..at]) {
                found.extend(examine(&PATTERNS[number], self.compiled(number)?, window, at));
            }
        }
        Ok(())
    }

    fn compiled(&self, number: usize) -> io::Result<&Regex> {
        if let Some(compiled) = self.patterns[number].get() {
            return Ok(compiled);
        }
        let text = format!(r"\A(?:{})", PATTERNS[number].pattern);
        let compiled = RegexBuilder::new(&text).unicode(false).build().map_err(io::Error::other)?;
        Ok(self.patterns[number].get_or_init(|| compiled))
    }
}

/// What a pattern finds at one of its keywords.
fn examine(pattern: &Pattern, compiled: &Regex, window: &Window<'_>, at: usize) -> Option<Found> {
    let end = window.bytes.len().min(at + AHEAD);
    let groups = compiled.captures(&window.bytes[at..end])?;
    let secret = groups.iter().skip(1).flatten().next()?;
    let plain = judge(pattern.test, groups.get(0)?.as_bytes(), secret.as_bytes())?;
    let start = at + secret.start();
    let line = window.line + memchr::memchr_iter(b'\n', &window.bytes[..start]).count();
    let offset = window.offset + start as u64;
    let place = if window.is_text { format!("line {line}") } else { format!("byte {offset}") };
    let prefix = String::from_utf8_lossy(&plain[..pattern.shown.min(plain.len() / 2)]).into_owned();
    let shown = format!("{prefix}… ({} characters)", grouped(plain.len() as u64));
    let hit = Hit { rule: pattern.rule.id.to_owned(), digest: Sha256::of(&plain), line, place, shown };
    let end = offset + secret.as_bytes().len() as u64;
    Some(Found { hit, start: offset, end, vagueness: vagueness(pattern) })
}

/// Whether a keyword counts after these bytes. An escape in a string of a program (`\n`) ends what is before it.
fn may_stand_behind(behind: Behind, before: &[u8]) -> bool {
    match (behind, before) {
        (Behind::Anything, _) | (_, [] | [.., b'\\', b'n' | b'r' | b't']) => true,
        (Behind::Boundary, [.., last]) => !last.is_ascii_alphanumeric() && !b"_-+/".contains(last),
        (Behind::LineOrColon, [.., last]) => b"\r\n:".contains(last),
    }
}

/// Where several rules find the same, the one that knows it best speaks. Leaves out repetitions.
fn told(found: Vec<Found>) -> Vec<Hit> {
    let spans: Vec<(u64, u64, u8)> = found.iter().map(|one| (one.start, one.end, one.vagueness)).collect();
    let is_said = |one: &Found| {
        let better = |(start, end, vagueness): &(u64, u64, u8)| {
            *vagueness < one.vagueness && one.start < *end && *start < one.end
        };
        one.vagueness > 0 && spans.iter().any(better)
    };
    let mut seen = BTreeSet::new();
    let kept = found.iter().filter(|one| !is_said(one)).map(|one| one.hit.clone());
    kept.filter(|hit| seen.insert((hit.rule.clone(), hit.digest))).collect()
}

/// How little a rule knows of what it finds: the form of a token, where it stands, or what it is called.
fn vagueness(pattern: &Pattern) -> u8 {
    match pattern.test {
        Test::Random(_) | Test::KeyBody | Test::EncodedKey | Test::Login | Test::Jwt => 0,
        Test::Chosen => 1,
        Test::Assigned => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: impl AsRef<[u8]>) -> Vec<Hit> {
        Scanner::new().unwrap().scan(&mut text.as_ref()).unwrap()
    }

    fn rules(text: impl AsRef<[u8]>) -> Vec<String> {
        scan(text).into_iter().map(|hit| hit.rule).collect()
    }

    #[test]
    fn every_rule_finds_its_samples_and_spares_the_others() {
        let mut wrong = Vec::new();
        for pattern in PATTERNS {
            assert!(!pattern.found.is_empty() && !pattern.spared.is_empty(), "{}", pattern.rule.id);
            for sample in pattern.found {
                let found = rules(sample.replace('·', ""));
                if found != [pattern.rule.id] {
                    wrong.push(format!("{}: {sample} gives {found:?}", pattern.rule.id));
                }
            }
            for sample in pattern.spared {
                let found = rules(sample);
                if !found.is_empty() {
                    wrong.push(format!("{}: {sample} gives {found:?}", pattern.rule.id));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn rules_have_one_name_each_and_no_secret_in_it() {
        let names: BTreeSet<&str> = PATTERNS.iter().map(|pattern| pattern.rule.id).collect();
        assert_eq!(names.len(), PATTERNS.len());
        assert!(names.iter().all(|name| name.starts_with("secret-")));
        assert_eq!(rules(include_bytes!("patterns.rs")), [""; 0], "the samples are broken by `·`");
    }

    #[test]
    fn a_secret_is_found_wherever_a_window_ends() {
        let secret = PATTERNS[0].found[0].replace('·', "");
        for start in
            [STEP - 40, STEP - 1, STEP, STEP + 1, STEP + AHEAD - 1, STEP + AHEAD, 2 * STEP - BACK, 2 * STEP + 7]
        {
            let mut text = vec![b'\n'; start];
            text.extend(secret.bytes());
            text.extend(vec![b' '; STEP]);
            let hits = scan(&text);
            assert_eq!(hits.len(), 1, "{start}");
            assert_eq!(hits[0].line, start + 1, "{start}");
        }
    }

    #[test]
    fn the_secret_itself_is_never_told() {
        let hits = scan("a\nid: AKIA".to_owned() + "Q3EGZ7WXTN5VJ2LM\n");
        assert_eq!(hits[0].shown, "AKIA… (20 characters)");
        assert_eq!((hits[0].line, hits[0].place.as_str()), (2, "line 2"));
        for pattern in PATTERNS {
            for sample in pattern.found {
                for hit in scan(sample.replace('·', "")) {
                    let shown = hit.shown.split('…').next().unwrap().len();
                    assert!(shown <= pattern.shown, "{hit:?}");
                }
            }
        }
    }

    #[test]
    fn a_key_is_the_same_one_in_another_spelling() {
        let plain = PATTERNS[0].found[0].replace('·', "");
        let written = format!("key = \"{}\"", plain.replace('\n', "\\n"));
        let joined = plain.trim_end().lines().map(|line| format!("'{line}\\n' +\n  ")).collect::<String>();
        let encoded = PATTERNS[1].found[0].replace('·', "");
        let digests: BTreeSet<Sha256> =
            [plain, written, joined, encoded].iter().map(|text| scan(text)[0].digest).collect();
        assert_eq!(digests.len(), 1);
    }

    #[test]
    fn bytes_that_are_no_text_are_looked_through_as_well() {
        let text = [b"\0\x01\xff".to_vec(), ("AKIA".to_owned() + "Q3EGZ7WXTN5VJ2LM\0").into_bytes()].concat();
        assert_eq!(scan(text)[0].place, "byte 3");
    }
}
