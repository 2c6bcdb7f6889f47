//! Findings as SARIF 2.1.0, for code scanning and annotations of pull requests.

use serde_json::{Value, json};

use crate::audit::{Finding, Level, Rule};

/// Findings as one SARIF log with one run, ending in a line feed. `rules` are those that were looked for, found or not.
pub fn findings_sarif(findings: &[Finding], rules: &[&'static Rule]) -> String {
    let mut rules: Vec<&Rule> = rules.to_vec();
    rules.extend(findings.iter().map(|finding| finding.rule));
    rules.sort_by_key(|rule| rule.id);
    rules.dedup_by_key(|rule| rule.id);
    let driver = json!({
        "name": "oclock",
        "version": env!("CARGO_PKG_VERSION"),
        "rules": rules.iter().map(|rule| described(rule)).collect::<Vec<_>>(),
    });
    let log = json!({
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": driver },
            "columnKind": "unicodeCodePoints",
            "results": findings.iter().map(result).collect::<Vec<_>>(),
        }],
    });
    format!("{log:#}\n")
}

fn described(rule: &Rule) -> Value {
    json!({
        "id": rule.id,
        "shortDescription": { "text": rule.title },
        "help": { "text": rule.help },
        "defaultConfiguration": { "level": rule.level },
    })
}

fn result(finding: &Finding) -> Value {
    let text = std::iter::once(&finding.message).chain(&finding.evidence).cloned().collect::<Vec<_>>().join("\n");
    let mut result = json!({
        "ruleId": finding.rule.id,
        "level": finding.level,
        "kind": if finding.level == Level::Note { "informational" } else { "fail" },
        "message": { "text": text },
        "partialFingerprints": { "subject/v1": format!("{} {}", finding.rule.id, finding.subject) },
    });
    if finding.level == Level::Note {
        // A result that is no failure has the level `none` (§3.27.10).
        result["level"] = json!("none");
    }
    if let Some(place) = &finding.place {
        result["locations"] = json!([{ "physicalLocation": {
            "artifactLocation": { "uri": place.file, "uriBaseId": "%SRCROOT%" },
            "region": { "startLine": place.line },
        } }]);
    }
    if let Some(excuse) = &finding.excuse {
        result["suppressions"] = json!([{ "kind": "external", "status": "accepted", "justification": excuse.reason }]);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Excuse, FindingPlace};

    static RULE: Rule = Rule { id: "test-rule", level: Level::Error, title: "a test", help: "none" };

    #[test]
    fn a_finding_has_its_rule_place_and_excuse() {
        let finding = Finding {
            place: Some(FindingPlace { file: "oclock.toml".into(), line: 7 }),
            excuse: Some(Excuse { reason: "known".into(), expires: 0 }),
            ..Finding::new(&RULE, "pip:a", "a is wrong")
        };
        let log: Value = serde_json::from_str(&findings_sarif(&[finding], &[])).unwrap();
        let run = &log["runs"][0];
        assert_eq!(run["tool"]["driver"]["rules"][0]["id"], "test-rule");
        let result = &run["results"][0];
        assert_eq!((&result["ruleId"], &result["level"]), (&json!("test-rule"), &json!("error")));
        assert_eq!(result["locations"][0]["physicalLocation"]["region"]["startLine"], 7);
        assert_eq!(result["suppressions"][0]["justification"], "known");
    }

    #[test]
    fn nothing_found_still_says_what_was_looked_for() {
        let log: Value = serde_json::from_str(&findings_sarif(&[], &[&RULE])).unwrap();
        assert_eq!(log["runs"][0]["results"], json!([]));
        assert_eq!(log["runs"][0]["tool"]["driver"]["rules"][0]["id"], "test-rule");
    }
}
