//! The chains from requirements to pins, for people.

use std::collections::BTreeSet;

use super::pin_name;
use crate::base::text::sanitize;
use crate::ops::{AskedBy, Chain, Link, WhyOutcome};

/// Each pin on a line of its own, below it one line a chain.
pub fn why_lines(outcome: &WhyOutcome) -> String {
    let platforms: BTreeSet<_> = outcome.pins.iter().map(|explained| explained.platform).collect();
    let mut text = String::new();
    for explained in &outcome.pins {
        let Link { ecosystem, name, version, builds } = &explained.pin;
        let name = pin_name(*ecosystem, name, builds.as_deref());
        let place = if platforms.len() > 1 { format!("  ({})", explained.platform) } else { String::new() };
        text.push_str(&format!("{name} {version}{place}\n"));
        let starts: Vec<String> = explained.chains.iter().map(|chain| start(&chain.asked)).collect();
        let width = starts.iter().map(|start| start.chars().count()).max().unwrap_or(0);
        for (start, chain) in starts.iter().zip(&explained.chains) {
            text.push_str(&format!("  {start:width$}  {}\n", links(chain)));
        }
        if explained.chains.is_empty() {
            text.push_str("  nothing in the lockfile asks for it\n");
        }
    }
    text
}

fn start(asked: &AskedBy) -> String {
    match asked {
        AskedBy::Essential => "the essential set".to_owned(),
        AskedBy::Manifest { file, line: None, .. } => sanitize(file),
        AskedBy::Manifest { file, line: Some(line), requirement } => {
            format!("{}:{line}  {}", sanitize(file), sanitize(requirement.as_deref().unwrap_or_default()))
        }
    }
}

fn links(chain: &Chain) -> String {
    let links = chain.links.iter().map(|link| format!("> {} {}", link.name, link.version));
    links.collect::<Vec<_>>().join(" ")
}
