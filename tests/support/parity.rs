//! Agreement with a real tool on a corpus of requests: what differs is printed, and fails unless it is explained.
#![allow(dead_code, reason = "each program uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

use std::collections::BTreeMap;

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parity");
/// How many lines of one difference are printed.
const MOST_LINES: usize = 12;

/// Whether the whole corpus is asked for (`make parity`); a sample else.
pub fn is_whole() -> bool {
    std::env::var("OCLOCK_PARITY").is_ok_and(|value| value == "all")
}

/// The requests of a corpus, without comments.
pub fn lines(ecosystem: &str) -> Vec<String> {
    let text = std::fs::read_to_string(format!("{DIRECTORY}/{ecosystem}.txt")).unwrap();
    let only = std::env::var("OCLOCK_PARITY_ONLY").unwrap_or_default();
    let is_asked = |line: &&str| only.is_empty() || only.split(' ').any(|name| line.split('|').next() == Some(name));
    let requests = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    requests.filter(is_asked).map(str::to_owned).collect()
}

/// Counts answers of one ecosystem.
pub struct Tally {
    ecosystem: &'static str,
    things: &'static str,
    explained: BTreeMap<String, String>,
    total: usize,
    excused: usize,
    refused: usize,
    unexplained: Vec<String>,
}

impl Tally {
    /// `things` are what is compared: trees, closures, sets of pins.
    pub fn new(ecosystem: &'static str, things: &'static str) -> Self {
        let text = std::fs::read_to_string(format!("{DIRECTORY}/explained.txt")).unwrap();
        let own = text.lines().filter_map(|line| line.strip_prefix(ecosystem)?.strip_prefix(' ')?.split_once("  "));
        let explained = own.map(|(name, why)| (name.trim().to_owned(), why.trim().to_owned())).collect();
        Self { ecosystem, things, explained, total: 0, excused: 0, refused: 0, unexplained: Vec::new() }
    }

    /// Whether a difference of a request is explained.
    pub fn is_explained(&self, name: &str) -> bool {
        self.explained.contains_key(name)
    }

    /// Takes one answer: `differences` is empty where it is the real tool's.
    pub fn add(&mut self, name: &str, differences: &[String]) {
        self.total += 1;
        if differences.is_empty() {
            return;
        }
        println!("{} {name} differs:", self.ecosystem);
        differences.iter().take(MOST_LINES).for_each(|line| println!("    {line}"));
        if differences.len() > MOST_LINES {
            println!("    … and {} more", differences.len() - MOST_LINES);
        }
        match self.explained.get(name) {
            Some(why) => {
                println!("  explained: {why}");
                self.excused += 1;
            }
            None => self.unexplained.push(name.to_owned()),
        }
    }

    /// Notes that both refuse, which is the same answer, and why we do.
    pub fn add_refusal(&mut self, name: &str, why: &str) {
        self.refused += 1;
        println!("{} {name} is refused by both: {why}", self.ecosystem);
    }

    /// Prints the agreement.
    ///
    /// # Panics
    /// When something differs that is not explained, or nothing was asked at all.
    pub fn finish(self) {
        let same = self.total - self.excused - self.unexplained.len();
        let percent = 100.0 * same as f64 / self.total.max(1) as f64;
        println!(
            "{}: {same} of {} {} as the real tool has them ({percent:.1} %; {} refused by both), {} explained, {} not",
            self.ecosystem,
            self.total,
            self.things,
            self.refused,
            self.excused,
            self.unexplained.len()
        );
        assert!(self.total > 0, "nothing was asked");
        assert!(self.unexplained.is_empty(), "not explained: {}", self.unexplained.join(", "));
    }
}
