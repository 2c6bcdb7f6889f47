//! Ways to change a lockfile or a manifest: classes that someone with bad intent would try, and changes at random.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

/// A way to change a text; none where it does not apply to an ecosystem.
pub struct Class {
    pub name: &'static str,
    pub change: fn(&str, &str) -> Option<String>,
    /// Whether the pins that are left are another, but true, set: their bytes are verified like any others.
    pub moves_packages: bool,
}

const fn class(name: &'static str, change: fn(&str, &str) -> Option<String>) -> Class {
    Class { name, change, moves_packages: false }
}

const fn moving(name: &'static str, change: fn(&str, &str) -> Option<String>) -> Class {
    Class { name, change, moves_packages: true }
}

/// The pin that is changed, and another one of its ecosystem.
fn target(ecosystem: &str) -> (&'static str, &'static str) {
    match ecosystem {
        "apt" => ("hello", "libhello"),
        "npm" => ("shout", "pad-left"),
        "pip" => ("sums", "numbers"),
        _ => ("", ""),
    }
}

/// Where a pin's table is; of the base its manifest's.
fn range(lock: &str, ecosystem: &str, name: &str) -> std::ops::Range<usize> {
    let head = match ecosystem {
        "base" => "[base.manifests.".to_owned(),
        _ => format!("[[{ecosystem}]]\nname = \"{name}\"\n"),
    };
    let start = lock.find(&head).unwrap();
    let end = lock[start + 1..].find("\n[").map_or(lock.len(), |end| start + 1 + end);
    start..end
}

fn table<'a>(lock: &'a str, ecosystem: &str, name: &str) -> &'a str {
    &lock[range(lock, ecosystem, name)]
}

fn with_table(lock: &str, ecosystem: &str, edit: impl Fn(&str) -> String) -> Option<String> {
    let range = range(lock, ecosystem, target(ecosystem).0);
    Some(format!("{}{}{}", &lock[..range.start], edit(&lock[range.clone()]), &lock[range.end..]))
}

/// The name of the field that has a pin's digest.
fn digest_key(ecosystem: &str) -> &'static str {
    if ecosystem == "base" { "digest" } else { "sha256" }
}

fn line<'a>(table: &'a str, key: &str) -> Option<&'a str> {
    table.lines().find(|line| line.starts_with(&format!("{key} = ")))
}

/// Changes one line of the pin.
fn with_line(lock: &str, ecosystem: &str, key: &str, edit: impl Fn(&str) -> String) -> Option<String> {
    line(table(lock, ecosystem, target(ecosystem).0), key)?;
    with_table(lock, ecosystem, |table| {
        let old = line(table, key).unwrap();
        table.replacen(old, &edit(old), 1)
    })
}

fn with_value(lock: &str, ecosystem: &str, key: &str, value: &str) -> Option<String> {
    with_line(lock, ecosystem, key, |_| format!("{key} = {value}"))
}

/// The text inside a line's quotes, changed.
fn requoted(line: &str, edit: impl Fn(&str) -> String) -> String {
    let (key, value) = line.split_once(" = ").unwrap();
    format!("{key} = \"{}\"", edit(value.trim_matches('"')))
}

fn bumped(lock: &str, ecosystem: &str) -> Option<String> {
    let old = line(table(lock, ecosystem, target(ecosystem).0), "version")?;
    let old = old.split('"').nth(1)?.to_owned();
    let new = format!("{old}9");
    with_table(lock, ecosystem, |table| table.replace(&old, &new))
}

fn packages(ecosystem: &str) -> Option<()> {
    (ecosystem != "base").then_some(())
}

/// Flips the last digit of the first digest in a text.
fn flipped(text: &str) -> String {
    let at = text.rfind(|c: char| c.is_ascii_hexdigit()).unwrap();
    let new = if &text[at..=at] == "0" { "1" } else { "0" };
    format!("{}{new}{}", &text[..at], &text[at + 1..])
}

pub const CLASSES: &[Class] = &[
    class("digest: one digit", |lock, eco| with_line(lock, eco, digest_key(eco), flipped)),
    class("digest: of another artifact", |lock, eco| {
        packages(eco)?;
        let other = table(lock, eco, target(eco).1);
        let (digest, size) = (line(other, "sha256")?.to_owned(), line(other, "size")?.to_owned());
        let changed = with_line(lock, eco, "sha256", |_| digest.clone())?;
        with_line(&changed, eco, "size", |_| size.clone())
    }),
    class("digest: of another ecosystem", |lock, eco| {
        packages(eco)?;
        let from = if eco == "npm" { "pip" } else { "npm" };
        let other = table(lock, from, target(from).0);
        let (digest, size) = (line(other, "sha256")?.to_owned(), line(other, "size")?.to_owned());
        let changed = with_line(lock, eco, "sha256", |_| digest.clone())?;
        with_line(&changed, eco, "size", |_| size.clone())
    }),
    class("digest: shortened", |lock, eco| {
        with_line(lock, eco, digest_key(eco), |line| requoted(line, |text| text[..40].to_owned()))
    }),
    class("digest: upper case", |lock, eco| {
        with_line(lock, eco, digest_key(eco), |line| requoted(line, str::to_uppercase))
    }),
    class("digest: empty", |lock, eco| with_value(lock, eco, digest_key(eco), "\"\"")),
    class("digest: weak algorithm", |lock, eco| {
        with_line(lock, eco, digest_key(eco), |line| line.replacen(digest_key(eco), "md5", 1))
    }),
    class("digest: left out", |lock, eco| {
        let key = digest_key(eco);
        with_table(lock, eco, |table| table.replacen(&format!("{}\n", line(table, key).unwrap()), "", 1))
    }),
    class("second digest: one digit", |lock, eco| match eco {
        "npm" => with_line(lock, eco, "sha512", flipped),
        "base" => with_line(lock, eco, "config", flipped),
        _ => None,
    }),
    class("size: one more", |lock, eco| {
        with_line(lock, eco, "size", |line| {
            let (_, size) = line.split_once(" = ").unwrap();
            format!("size = {}", size.parse::<u64>().unwrap() + 1)
        })
    }),
    class("size: none", |lock, eco| with_value(lock, eco, "size", "0")),
    class("size: huge", |lock, eco| with_value(lock, eco, "size", "9223372036854775807")),
    class("size: negative", |lock, eco| with_value(lock, eco, "size", "-1")),
    class("version: changed", |lock, eco| {
        packages(eco)?;
        with_line(lock, eco, "version", |line| requoted(line, |text| format!("{text}9")))
    }),
    class("version: changed everywhere", |lock, eco| {
        packages(eco)?;
        bumped(lock, eco)
    }),
    class("version: an instruction", |lock, eco| {
        let key = if eco == "base" { "digest" } else { "version" };
        with_line(lock, eco, key, |line| requoted(line, |text| format!("{text}\\nRUN evil")))
    }),
    class("name: changed", |lock, eco| match eco {
        "base" => Some(lock.replacen("image = \"tool:1\"", "image = \"tool:2\"", 1)),
        _ => with_line(lock, eco, "name", |line| requoted(line, |text| format!("{text}x"))),
    }),
    class("name: of a neighbour", |lock, eco| match eco {
        "base" => Some(lock.replacen("image = \"tool:1\"", "image = \"other:1\"", 1)),
        _ => with_value(lock, eco, "name", &format!("\"{}\"", target(eco).1)),
    }),
    class("name: right-to-left mark", |lock, eco| match eco {
        "base" => Some(lock.replacen("image = \"tool:1\"", "image = \"tool\u{202e}:1\"", 1)),
        _ => with_line(lock, eco, "name", |line| requoted(line, |text| format!("{text}\u{202e}"))),
    }),
    class("name: look-alike letter", |lock, eco| match eco {
        "base" => Some(lock.replacen("image = \"tool:1\"", "image = \"t\u{43e}ol:1\"", 1)),
        _ => with_line(lock, eco, "name", |line| requoted(line, |text| text.replacen(['o', 'u', 'e'], "\u{43e}", 1))),
    }),
    class("name: escape sequence", |lock, eco| match eco {
        "base" => Some(lock.replacen("image = \"tool:1\"", "image = \"tool\\u001b[2J:1\"", 1)),
        _ => with_line(lock, eco, "name", |line| requoted(line, |text| format!("{text}\\u001b[2J"))),
    }),
    class("path: elsewhere", |lock, eco| match eco {
        "base" => Some(lock.replacen("image = \"tool:1\"", "image = \"evil/tool:1\"", 1)),
        _ => with_line(lock, eco, "path", |line| requoted(line, |text| format!("evil/{text}"))),
    }),
    class("path: of a neighbour", |lock, eco| {
        packages(eco)?;
        let path = line(table(lock, eco, target(eco).1), "path")?.to_owned();
        with_line(lock, eco, "path", |_| path.clone())
    }),
    class("path: a host", |lock, eco| match eco {
        "base" => Some(lock.replacen("image = \"tool:1\"", "image = \"evil.invalid/tool:1\"", 1)),
        _ => with_line(lock, eco, "path", |line| requoted(line, |text| format!("https://evil.invalid/{text}"))),
    }),
    class("path: upwards", |lock, eco| match eco {
        "base" => Some(lock.replacen("image = \"tool:1\"", "image = \"../tool:1\"", 1)),
        _ => with_line(lock, eco, "path", |line| requoted(line, |text| format!("../{text}"))),
    }),
    class("path: a query", |lock, eco| match eco {
        "base" => Some(lock.replacen("image = \"tool:1\"", "image = \"tool?x:1\"", 1)),
        _ => with_line(lock, eco, "path", |line| requoted(line, |text| format!("{text}?token=x#y"))),
    }),
    class("source: another protocol", |lock, eco| match eco {
        "base" => Some(lock.replacen("source = \"registry\"", "source = \"npm\"", 1)),
        "npm" => with_value(lock, eco, "source", "\"pypi\""),
        _ => with_value(lock, eco, "source", "\"npm\""),
    }),
    class("source: unknown", |lock, eco| match eco {
        "base" => Some(lock.replacen("source = \"registry\"", "source = \"evil\"", 1)),
        _ => with_value(lock, eco, "source", "\"evil\""),
    }),
    class("source: unknown, everywhere", |lock, eco| {
        let name = match eco {
            "apt" => "debian",
            "npm" => "npm",
            "pip" => "pypi",
            _ => return None,
        };
        // Kept sorted: what comes behind `debian-security` would stand in another order.
        let new = if eco == "apt" { "debiaa" } else { "evil" };
        Some(lock.replace(&format!("source = \"{name}\"\n"), &format!("source = \"{new}\"\n")))
    }),
    class("source: a URL", |lock, eco| match eco {
        "base" => Some(lock.replacen("source = \"registry\"", "source = \"https://evil.invalid\"", 1)),
        _ => with_value(lock, eco, "source", "\"https://evil.invalid\""),
    }),
    class("platform: another", |lock, eco| match eco {
        "base" => Some(lock.replacen("[base.manifests.\"linux/amd64\"]", "[base.manifests.\"linux/arm64\"]", 1)),
        _ => with_value(lock, eco, "platform", "\"linux/arm64\""),
    }),
    class("platform: another, everywhere", |lock, _| Some(lock.replace("linux/amd64", "linux/arm64"))),
    moving("pin: taken out", |lock, eco| match eco {
        "base" => with_table(lock, eco, |_| String::new()),
        _ => {
            let range = range(lock, eco, target(eco).1);
            Some(format!("{}{}", &lock[..range.start], lock[range.end..].trim_start_matches('\n')))
        }
    }),
    moving("pin: taken out with its own", |lock, eco| {
        packages(eco)?;
        let range = range(lock, eco, target(eco).0);
        Some(format!("{}{}", &lock[..range.start], lock[range.end..].trim_start_matches('\n')))
    }),
    class("pin: there twice", |lock, eco| {
        let own = table(lock, eco, target(eco).0).to_owned();
        with_table(lock, eco, |table| format!("{table}\n{own}"))
    }),
    class("pin: slipped in", |lock, eco| {
        packages(eco)?;
        let own = table(lock, eco, target(eco).0);
        let (name, _) = target(eco);
        let new = own.replace(name, &format!("{name}y"));
        with_table(lock, eco, |table| format!("{table}\n{new}"))
    }),
    class("pins: their artifacts swapped", |lock, eco| {
        packages(eco)?;
        let (one, other) = target(eco);
        let (own, others) = (table(lock, eco, one).to_owned(), table(lock, eco, other).to_owned());
        let mut changed = lock.to_owned();
        for key in ["size", "sha256"] {
            let (a, b) = (line(&own, key)?, line(&others, key)?);
            changed = changed.replace(a, "\u{1}").replace(b, a).replace('\u{1}', b);
        }
        Some(changed)
    }),
    class("required-by: someone else", |lock, eco| match eco {
        "npm" => with_value(
            lock,
            eco,
            "required-by",
            "[\n  \"/usr/local/lib/node_modules/shout/node_modules/pad-left\",\n  \"manifest\",\n]",
        ),
        "apt" => with_value(lock, eco, "required-by", "[\n  \"manifest\",\n  \"python3\",\n]"),
        "pip" => with_value(lock, eco, "required-by", "[\n  \"manifest\",\n  \"numbers\",\n]"),
        _ => None,
    }),
    class("required-by: nobody", |lock, eco| {
        packages(eco)?;
        with_value(lock, eco, "required-by", "[]")
    }),
    class("form: unknown field", |lock, eco| {
        with_table(lock, eco, |table| format!("{}\nnote = \"x\"\n", table.trim_end()))
    }),
    class("form: field twice", |lock, eco| with_line(lock, eco, "size", |line| format!("{line}\n{line}"))),
    class("form: other order", |lock, eco| {
        with_table(lock, eco, |table| {
            let size = format!("{}\n", line(table, "size").unwrap());
            let rest = table.replacen(&size, "", 1);
            let (head, rest) = rest.split_once('\n').unwrap();
            format!("{head}\n{size}{rest}")
        })
    }),
    class("form: a comment", |lock, eco| with_line(lock, eco, "size", |line| format!("{line} # looked at"))),
    class("form: a value of another type", |lock, eco| {
        with_line(lock, eco, "size", |line| line.replacen("= ", "= \"", 1) + "\"")
    }),
    class("form: line ends of Windows", |lock, eco| with_line(lock, eco, "size", |line| format!("{line}\r"))),
    class("form: escaped letters", |lock, eco| {
        with_line(lock, eco, digest_key(eco), |line| {
            requoted(line, |text| format!("\\u{:04x}{}", text.as_bytes()[0], &text[1..]))
        })
    }),
    class("form: dotted key", |lock, eco| with_line(lock, eco, "size", |line| format!("{line}\nx.y = 1"))),
    class("form: cut off", |lock, eco| {
        let range = range(lock, eco, target(eco).0);
        Some(lock[..range.end - 20].to_owned())
    }),
    class("own: moved or retagged", |lock, eco| match eco {
        "apt" => with_value(lock, eco, "suite", "\"trixie-security\""),
        "npm" => with_value(lock, eco, "places", "[\"/etc/cron.d/shout\"]"),
        "pip" => with_value(lock, eco, "tags", "\"py2-none-any\""),
        _ => with_line(lock, eco, "layers", |line| {
            let (head, size) = line.split_once("size = ").unwrap();
            format!("{head}size = 1{size}")
        }),
    }),
    class("own: another origin", |lock, eco| match eco {
        "apt" => with_line(lock, eco, "source-package", |line| requoted(line, |text| format!("{text}x"))),
        "npm" => with_line(lock, eco, "platform", |line| {
            format!("scripts = {{ postinstall = \"{}\" }}\n{line}", "0".repeat(64))
        }),
        "base" => with_line(lock, eco, "layers", |line| {
            let (head, tail) = line.rsplit_once("diff-id = \"").unwrap();
            format!("{head}diff-id = \"{}{}", "0".repeat(8), &tail[8..])
        }),
        _ => None,
    }),
    class("own: laid elsewhere", |lock, eco| match eco {
        "apt" => with_value(lock, eco, "architecture", "\"all\""),
        "npm" => with_value(lock, eco, "places", "[\"/usr/local/lib/node_modules/shout/node_modules/shout\"]"),
        "base" => with_value(lock, eco, "layers", "[]"),
        _ => None,
    }),
    class("archive: older", |lock, eco| {
        (eco == "apt").then(|| lock.replacen("date = 2024-03-01", "date = 2023-03-01", 1))
    }),
    class("archive: another key", |lock, eco| {
        let at = lock.find("keys = [\"")? + 9;
        (eco == "apt").then(|| format!("{}0{}", &lock[..at], &lock[at + 1..]))
    }),
    class("archive: another InRelease", |lock, eco| {
        let at = lock.find("[[archive]]")?;
        let at = at + lock[at..].find("sha256 = \"")? + 10;
        let digit = if &lock[at..=at] == "0" { "1" } else { "0" };
        (eco == "apt").then(|| format!("{}{digit}{}", &lock[..at], &lock[at + 1..]))
    }),
    class("archive: taken out", |lock, eco| {
        let start = lock.find("[[archive]]")?;
        let end = start + 1 + lock[start + 1..].find("\n[[")?;
        (eco == "apt").then(|| format!("{}{}", &lock[..start], &lock[end + 1..]))
    }),
    class("head: another format", |lock, _| Some(lock.replacen("version = 1\n", "version = 2\n", 1))),
    class("head: another time", |lock, _| {
        let epoch = lock.lines().find(|line| line.starts_with("epoch = "))?;
        Some(lock.replacen(epoch, "epoch = 2001-01-01T00:00:00Z", 1))
    }),
    class("head: another fingerprint", |lock, eco| {
        let key = if eco == "base" { "image" } else { eco };
        let at = lock.find("[fingerprints]")?;
        let at = at + lock[at..].find(&format!("\n{key} = \""))? + key.len() + 5;
        let digit = if &lock[at..=at] == "0" { "1" } else { "0" };
        Some(format!("{}{digit}{}", &lock[..at], &lock[at + 1..]))
    }),
    class("head: other scrub rules", |lock, _| {
        let at = lock.find("rules = \"")? + 9;
        let digit = if &lock[at..=at] == "0" { "1" } else { "0" };
        Some(format!("{}{digit}{}", &lock[..at], &lock[at + 1..]))
    }),
    class("head: unfinished merge", |lock, _| Some(format!("<<<<<<< ours\n{lock}"))),
];

pub const MANIFEST_CLASSES: &[Class] = &[
    class("apt: one more", |text, _| Some(text.replacen("\"hello\"", "\"hello\", \"evil\"", 1))),
    class("apt: one less", |text, _| Some(text.replacen("\"hello\", ", "", 1))),
    class("apt: another version", |text, _| Some(text.replacen("\"hello\"", "\"hello=3.*\"", 1))),
    class("apt: recommends", |text, _| Some(text.replacen("[apt]\n", "[apt]\nrecommends = true\n", 1))),
    class("image: another suite", |text, _| Some(text.replacen("trixie", "forky", 1))),
    class("image: another base", |text, _| Some(text.replacen("{ debian = \"trixie\" }", "\"evil:1\"", 1))),
    class("image: another time", |text, _| Some(text.replacen("[apt]", "epoch = 2001-01-01T00:00:00Z\n\n[apt]", 1))),
    class("image: another platform", |text, _| {
        Some(text.replacen("[apt]", "platforms = [\"linux/arm64\"]\n\n[apt]", 1))
    }),
    class("npm: another range", |text, _| Some(text.replacen("^2.0", "^3.0", 1))),
    class("npm: an alias", |text, _| Some(text.replacen("\"^2.0\"", "\"npm:evil@^2.0\"", 1))),
    class("npm: another prefix", |text, _| {
        Some(text.replacen("[npm.packages]", "[npm]\nprefix = \"/opt\"\n\n[npm.packages]", 1))
    }),
    class("npm: scripts approved", |text, _| {
        Some(text.replacen("[npm.packages]", "[npm]\nscripts = [\"shout\"]\n\n[npm.packages]", 1))
    }),
    class("pip: another range", |text, _| Some(text.replacen("sums>=3", "sums>=4", 1))),
    class("pip: another path", |text, _| Some(text.replacen("[pip]\n", "[pip]\npath = \"/usr/bin\"\n", 1))),
    class("pip: a URL", |text, _| Some(text.replacen("sums>=3", "sums @ https://evil.invalid/sums.whl", 1))),
    class("source: bound elsewhere", |text, _| {
        let source = "[sources.evil]\nkind = \"npm\"\nurl = \"https://evil.invalid/\"\npackages = [\"shout\"]\n";
        Some(format!("{text}\n{source}"))
    }),
    class("form: unknown key", |text, _| Some(text.replacen("[apt]\n", "[apt]\ntrusted = true\n", 1))),
    class("form: unknown section", |text, _| Some(format!("{text}\n[hooks]\nrun = \"evil\"\n"))),
];

/// Numbers that look random and are the same for a seed (SplitMix64).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end.max(1) as u64) as usize
    }
}

/// A text changed somewhere at random, and how; none where the dice chose what cannot be done.
pub fn mutate(text: &str, dice: &mut Dice) -> Option<(String, String)> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let joined = |lines: &[&str]| lines.concat();
    let (one, other) = (dice.below(lines.len()), dice.below(lines.len()));
    let named = |what: &str, at: usize| format!("{what} line {}: {}", at + 1, lines[at].trim_end());
    match dice.below(9) {
        0 => {
            let at = dice.below(text.len());
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] ^= 1 << dice.below(8);
            let changed = String::from_utf8(bytes).ok()?;
            let line = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
            let now = changed.lines().nth(line).unwrap_or_default();
            Some((format!("{}, now {now}", named("a bit of", line)), changed))
        }
        1 => {
            let at = dice.below(text.len());
            let replacement = b"0123456789abcdefghijklmnopqrstuvwxyzAZ._-/\"=[]{} \n"[dice.below(50)];
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] = replacement;
            Some((format!("byte {at} as {:?}", char::from(replacement)), String::from_utf8(bytes).ok()?))
        }
        2 => {
            let mut left = lines.clone();
            left.remove(one);
            Some((named("without", one), joined(&left)))
        }
        3 => {
            let mut twice = lines.clone();
            twice.insert(other, lines[one]);
            Some((named("again", one), joined(&twice)))
        }
        4 => {
            let mut swapped = lines.clone();
            swapped.swap(one, other);
            Some((named("swapped", one), joined(&swapped)))
        }
        5 => {
            // The value of one field for the same field elsewhere.
            let key = lines[one].split(" = ").next()?;
            let others: Vec<usize> =
                (0..lines.len()).filter(|at| lines[*at].starts_with(&format!("{key} = "))).collect();
            let from = *others.get(dice.below(others.len()))?;
            let mut copied = lines.clone();
            copied[one] = lines[from];
            Some((format!("{}, now {}", named("another value in", one), lines[from]), joined(&copied)))
        }
        6 => {
            // A whole table left out, or put elsewhere.
            let mut tables: Vec<&str> = text.split_inclusive("\n\n").collect();
            let (from, to) = (dice.below(tables.len()), dice.below(tables.len()));
            let table = tables.remove(from);
            if dice.below(2) == 0 {
                tables.insert(to.min(tables.len()), table);
            }
            Some((format!("table {from} moved: {}", table.lines().next()?), tables.concat()))
        }
        7 => {
            let digits: Vec<usize> =
                text.char_indices().filter(|(_, c)| c.is_ascii_digit()).map(|(at, _)| at).collect();
            let at = digits[dice.below(digits.len())];
            let digit = char::from(b'0' + dice.below(10) as u8);
            Some((format!("digit {at} as {digit}"), format!("{}{digit}{}", &text[..at], &text[at + 1..])))
        }
        _ => {
            let (start, length) = (dice.below(text.len()), 1 + dice.below(40));
            let end = (start + length).min(text.len());
            let left_out = text.get(start..end)?;
            Some((format!("without {left_out:?}"), format!("{}{}", &text[..start], &text[end..])))
        }
    }
}
