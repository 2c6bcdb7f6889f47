//! Requirements, each in its ecosystem's own language, taken apart.

use std::str::FromStr;

use deno_semver::VersionReq;
use percent_encoding::percent_decode_str;
use url::Url;
use uv_distribution_filename::WheelFilename;
use uv_pep440::Version;
use uv_pep508::{VerbatimUrl, VersionOrUrl};

use crate::model::{PackageName, PackageVersion, Sha256, ValueError};

/// A Debian requirement: `name`, `name=version` (in which `*` and `?` stand for other characters) or `name/suite`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AptRequirement {
    /// The package, which may be a virtual one.
    pub name: PackageName,
    /// Which of its versions.
    pub choice: AptChoice,
}

/// Which version of a Debian package is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AptChoice {
    /// The candidate, as apt would take it.
    Candidate,
    /// Exactly this version.
    Exactly(PackageVersion),
    /// A version like this pattern (`20.*`).
    Like(String),
    /// The version in this suite.
    FromSuite(String),
}

impl AptRequirement {
    /// Reads a requirement as apt-get's command line has it, without its suffix for removal; of those for an architecture, the
    /// ones that mean the image's own (`:any`, `:native`, `:all`).
    ///
    /// # Errors
    /// When a part of it is invalid.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let (name, choice) = match (text.split_once('='), text.split_once('/')) {
            (Some((name, version)), _) => (name, Self::parse_version(version)?),
            (None, Some((name, suite))) => (name, AptChoice::FromSuite(parse_suite(suite)?)),
            (None, None) => (text, AptChoice::Candidate),
        };
        let plain = [":any", ":native", ":all"].iter().find_map(|own| name.strip_suffix(own));
        Ok(Self { name: parse_debian_name(plain.unwrap_or(name))?, choice })
    }

    fn parse_version(text: &str) -> Result<AptChoice, ValueError> {
        if !text.contains(['*', '?']) {
            return PackageVersion::parse(text).map(AptChoice::Exactly);
        }
        PackageVersion::parse(&text.replace(['*', '?'], "0")).map(|_| AptChoice::Like(text.to_owned()))
    }

    /// Whether a version answers, as far as the version alone says; a suite is not judged.
    pub fn accepts(&self, version: &PackageVersion) -> bool {
        match &self.choice {
            AptChoice::Candidate | AptChoice::FromSuite(_) => true,
            AptChoice::Exactly(wanted) => wanted == version,
            AptChoice::Like(pattern) => is_like(pattern.as_bytes(), version.as_str().as_bytes()),
        }
    }
}

/// Whether a text is like a pattern, in which `*` stands for any characters and `?` for one (as in fnmatch(3)).
pub fn is_like(pattern: &[u8], text: &[u8]) -> bool {
    // Which beginnings of the text the pattern so far can stand for.
    let mut fits = vec![false; text.len() + 1];
    fits[0] = true;
    for byte in pattern {
        match byte {
            b'*' => (1..fits.len()).for_each(|end| fits[end] |= fits[end - 1]),
            _ => {
                for end in (1..fits.len()).rev() {
                    fits[end] = fits[end - 1] && (*byte == b'?' || *byte == text[end - 1]);
                }
                fits[0] = false;
            }
        }
    }
    fits[text.len()]
}

/// Accepts a Debian package's name (Debian policy 5.6.1).
fn parse_debian_name(text: &str) -> Result<PackageName, ValueError> {
    let error = |why: &str| Err(ValueError::new("Debian package name", text, why));
    if text.contains(':') {
        return error("the architecture is said by `[image] platforms`");
    }
    if text.ends_with('-') {
        return error("packages cannot be asked away");
    }
    if text.len() < 2
        || !text.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        || !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
    {
        return error("it must have at least two of lower-case letters, digits and `+ - .`");
    }
    PackageName::parse(text)
}

/// Accepts a Debian suite's name such as `trixie-security`.
///
/// # Errors
/// When it is empty or has another character.
pub fn parse_suite(text: &str) -> Result<String, ValueError> {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
    if text.is_empty() || text.starts_with(['-', '.']) || !text.bytes().all(inside) {
        return Err(ValueError::new("suite", text, "it may hold lower-case letters, digits, `-` and `.`"));
    }
    Ok(text.to_owned())
}

/// What is asked of an npm package: the folder's name stands beside it in the manifest.
#[derive(Clone, Debug)]
pub struct NpmRequirement {
    /// The package that is fetched; another one than the folder's name for an `npm:` alias.
    pub package: PackageName,
    /// A range, or a tag ([`VersionReq::tag`]).
    pub wanted: VersionReq,
}

impl NpmRequirement {
    /// Reads `^1.18`, `latest` or `npm:other@^2`; `folder` is the name it is asked under.
    ///
    /// # Errors
    /// When it is no range, tag or alias: URLs, paths and git repositories are refused.
    pub fn parse(folder: &str, text: &str) -> Result<Self, ValueError> {
        let folder = PackageName::parse(folder)?;
        match text.strip_prefix("npm:") {
            None => Ok(Self { package: folder, wanted: parse_npm_range(text)? }),
            Some(target) => {
                let (name, range) = match target.rfind('@') {
                    Some(at) if at > 0 => (&target[..at], &target[at + 1..]),
                    _ => (target, "*"),
                };
                Ok(Self { package: PackageName::parse(name)?, wanted: parse_npm_range(range)? })
            }
        }
    }

    /// Whether a version answers; a tag accepts every version, since what it named is known to the registry alone.
    pub fn accepts(&self, version: &PackageVersion) -> bool {
        match self.wanted.range() {
            None => true,
            Some(range) => {
                deno_semver::Version::parse_from_npm(version.as_str()).is_ok_and(|version| range.satisfies(&version))
            }
        }
    }
}

/// The package that a key of `[npm.overrides]` is about: `glob`, `@scope/name` or `glob@7`.
///
/// # Errors
/// When the name or the range is invalid.
pub fn parse_override_key(key: &str) -> Result<String, ValueError> {
    let (name, range) = split_override_key(key);
    PackageName::parse(name)?;
    match range.map(parse_npm_range).transpose()? {
        Some(range) if range.tag().is_some() => {
            Err(ValueError::new("override", key, "after `@` it takes a range, not a tag"))
        }
        _ => Ok(name.to_owned()),
    }
}

/// Accepts what an entry of `[npm.overrides]` asks for instead: as [`NpmRequirement::parse`], or `$NAME` for what the manifest
/// asks of NAME.
///
/// # Errors
/// When it is neither.
pub fn check_override_wish(name: &str, text: &str) -> Result<(), ValueError> {
    match text.strip_prefix('$') {
        Some(direct) => PackageName::parse(direct).map(|_| ()),
        None => NpmRequirement::parse(name, text).map(|_| ()),
    }
}

/// The name and the range of a key of `[npm.overrides]`.
pub fn split_override_key(key: &str) -> (&str, Option<&str>) {
    match key.char_indices().skip(1).find(|(_, character)| *character == '@') {
        Some((at, _)) => (&key[..at], Some(&key[at + 1..])),
        None => (key, None),
    }
}

fn parse_npm_range(text: &str) -> Result<VersionReq, ValueError> {
    let error = |why: &str| ValueError::new("npm version range", text, why);
    if text.trim().is_empty() {
        return Err(error("write `*` for any version or `latest` for the tag"));
    }
    let is_archive = [".tgz", ".tar.gz", ".tar"].iter().any(|end| text.ends_with(end));
    if text.contains([':', '/', '#', '@']) || text.starts_with('.') || is_archive {
        return Err(error("only ranges, tags and `npm:` aliases of the registry are taken, no URLs, paths or git"));
    }
    let range = VersionReq::parse_from_npm(text).map_err(|_| error("it is neither a range (`^1.2`) nor a tag"))?;
    match range.tag() {
        Some(tag) if !deno_semver::npm::is_valid_npm_tag(tag) => {
            Err(error("a tag may hold letters, digits, `- _ . ~`"))
        }
        _ => Ok(range),
    }
}

/// A Python requirement (PEP 508).
pub type PipRequirement = uv_pep508::Requirement<VerbatimUrl>;

/// Reads a Python requirement. One by URL is taken when it is a wheel's, with its hash: see [`WheelUrl`].
///
/// # Errors
/// When it is not PEP 508, or names another URL.
pub fn parse_pip_requirement(text: &str) -> Result<PipRequirement, ValueError> {
    let requirement = PipRequirement::from_str(text)
        .map_err(|error| ValueError::new("Python requirement (PEP 508)", text, error.message.to_string()))?;
    WheelUrl::of(&requirement).map_err(|why| ValueError::new("Python requirement", text, why))?;
    Ok(requirement)
}

/// A wheel that is asked for by its address: `name @ https://h.invalid/name-1.0-py3-none-any.whl#sha256=…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WheelUrl {
    /// The address without the hash.
    pub url: Url,
    /// The file's name.
    pub filename: String,
    /// The version in it.
    pub version: Version,
    /// What the file hashes to.
    pub sha256: Sha256,
}

impl WheelUrl {
    /// The wheel that a requirement names by its address; none when it names versions.
    ///
    /// # Errors
    /// Why the address is none that can be locked.
    pub fn of(requirement: &PipRequirement) -> Result<Option<Self>, String> {
        let Some(VersionOrUrl::Url(given)) = &requirement.version_or_url else { return Ok(None) };
        let mut url = Url::from(given.to_url());
        let is_fixed = !given.given().is_some_and(|text| text.contains('$'));
        let has_login = !url.username().is_empty() || url.password().is_some();
        if !matches!(url.scheme(), "https" | "http") || !is_fixed {
            return Err("by URL only a wheel is taken, at a fixed `https:` or `http:` address".to_owned());
        }
        if has_login {
            return Err(
                "credentials do not belong into a manifest: declare a source for them in `[sources]`".to_owned()
            );
        }
        let segment = url.path_segments().and_then(|mut path| path.next_back()).unwrap_or_default();
        let filename = percent_decode_str(segment).decode_utf8_lossy().into_owned();
        let wheel = WheelFilename::from_str(&filename)
            .map_err(|_| "by URL only a wheel is taken: name a `.whl` file, or an index's release".to_owned())?;
        if wheel.name != requirement.name {
            return Err(format!("the file at this address is a wheel of `{}`", wheel.name));
        }
        let mut marks = url.fragment().unwrap_or_default().split('&');
        let hash = marks.find_map(|mark| mark.strip_prefix("sha256=")).ok_or_else(|| {
            "what is at an address may change: add `#sha256=` and the wheel's sha256 to the URL".to_owned()
        })?;
        let sha256 = Sha256::parse(&hash.to_ascii_lowercase()).map_err(|error| error.to_string())?;
        url.set_fragment(None);
        Ok(Some(Self { url, filename, version: wheel.version, sha256 }))
    }
}

/// Reads a Python requirement that is not by URL.
///
/// # Errors
/// As [`parse_pip_requirement`], and when it names a URL.
pub fn parse_pip_release(text: &str) -> Result<PipRequirement, ValueError> {
    let requirement = parse_pip_requirement(text)?;
    match requirement.version_or_url {
        Some(VersionOrUrl::Url(_)) => {
            Err(ValueError::new("Python requirement", text, "by URL wheels are asked for in `[pip] packages` alone"))
        }
        _ => Ok(requirement),
    }
}

/// Reads a Python constraint: a requirement without extras and with a version.
///
/// # Errors
/// As [`parse_pip_release`], and when it has extras or no version.
pub fn parse_pip_constraint(text: &str) -> Result<PipRequirement, ValueError> {
    let constraint = parse_pip_release(text)?;
    if !constraint.extras.is_empty() {
        return Err(ValueError::new("constraint", text, "a constraint has no extras"));
    }
    match constraint.version_or_url {
        None => Err(ValueError::new("constraint", text, "it has no version, so it would constrain nothing")),
        Some(_) => Ok(constraint),
    }
}

/// Whether a requirement's version specifiers, or the version of the wheel that it names, hold for a version.
pub fn pip_accepts(requirement: &PipRequirement, version: &PackageVersion) -> bool {
    let accepts = |version: Version| match &requirement.version_or_url {
        None => true,
        Some(VersionOrUrl::Url(_)) => {
            WheelUrl::of(requirement).is_ok_and(|wheel| wheel.is_some_and(|wheel| wheel.version == version))
        }
        Some(VersionOrUrl::VersionSpecifier(specifiers)) => specifiers.contains(&version),
    };
    Version::from_str(version.as_str()).map_or(requirement.version_or_url.is_none(), accepts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> PackageVersion {
        PackageVersion::parse(text).unwrap()
    }

    #[test]
    fn apt_requirements_are_as_on_its_command_line() {
        let nodejs = AptRequirement::parse("nodejs=20.*").unwrap();
        assert!(nodejs.accepts(&version("20.19.2+dfsg-1")) && !nodejs.accepts(&version("2.0")));
        let inner = AptRequirement::parse("nodejs=20.*-?").unwrap();
        assert!(inner.accepts(&version("20.19.2+dfsg-1")) && !inner.accepts(&version("20.19.2+dfsg-12")));
        assert!(AptRequirement::parse("git=*").unwrap().accepts(&version("1")));
        let git = AptRequirement::parse("git=1:2.47.3-0+deb13u1").unwrap();
        assert!(git.accepts(&version("1:2.47.3-0+deb13u1")) && !git.accepts(&version("1:2.47.3")));
        assert_eq!(AptRequirement::parse("g++/trixie").unwrap().choice, AptChoice::FromSuite("trixie".into()));
        for own in ["python3:any", "python3:native=3.*", "python3:all/trixie"] {
            assert_eq!(AptRequirement::parse(own).unwrap().name.as_str(), "python3", "{own}");
        }
        for bad in ["", "g", "Git", "git=", "git:amd64", "git:any:any", "git-", "git = 1", "git/", "git>=1"] {
            assert!(AptRequirement::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn npm_requirements_are_ranges_tags_and_aliases() {
        let caret = NpmRequirement::parse("opencode-ai", "^1.18").unwrap();
        assert!(caret.accepts(&version("1.18.33")) && !caret.accepts(&version("2.0.0")));
        assert_eq!(NpmRequirement::parse("a", "latest").unwrap().wanted.tag(), Some("latest"));
        let alias = NpmRequirement::parse("mine", "npm:@scope/theirs@~2.1").unwrap();
        assert_eq!(alias.package.as_str(), "@scope/theirs");
        assert!(alias.accepts(&version("2.1.9")));
        assert!(NpmRequirement::parse("a", ">=1 <2 || 3.x").unwrap().accepts(&version("3.4.5")));
        let bad = [
            "",
            " ",
            "https://h.invalid/a.tgz",
            "git+ssh://h.invalid/a",
            "file:../a",
            "user/repo",
            "a-1.0.0.tgz",
            "..",
            "workspace:*",
            "npm:",
            "a b",
        ];
        for bad in bad {
            assert!(NpmRequirement::parse("a", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn by_url_a_wheel_is_taken_with_its_hash() {
        let hash = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855";
        let at = |file: &str| format!("a-b[x] @ https://h.invalid/{file} ; python_version > '3'");
        let text = at(&format!("s/a_b-1.0%2Bcpu-py3-none-any.whl?q=1#egg=a&sha256={hash}"));
        let requirement = parse_pip_requirement(&text).unwrap();
        let wheel = WheelUrl::of(&requirement).unwrap().unwrap();
        assert_eq!(wheel.url.as_str(), "https://h.invalid/s/a_b-1.0%2Bcpu-py3-none-any.whl?q=1");
        assert_eq!((wheel.filename.as_str(), wheel.sha256), ("a_b-1.0+cpu-py3-none-any.whl", Sha256::of("")));
        assert!(pip_accepts(&requirement, &version("1.0+cpu")) && !pip_accepts(&requirement, &version("1.0")));
        assert!(parse_pip_release(&text).is_err() && parse_pip_constraint(&text).is_err());
        let file = "a_b-1.0-py3-none-any.whl";
        for (text, why) in [
            (at(file), "add `#sha256="),
            (at(&format!("{file}#sha256=12")), "12"),
            (at(&format!("{file}#md5={hash}")), "add `#sha256="),
            (at(&format!("c-1.0-py3-none-any.whl#sha256={hash}")), "is a wheel of `c`"),
            (at(&format!("a_b-1.0.tar.gz#sha256={hash}")), "name a `.whl` file"),
            (at(&format!("${{HOME}}/{file}#sha256={hash}")), "at a fixed"),
            (format!("a-b @ file:///{file}#sha256={hash}"), "at a fixed"),
            (format!("a-b @ git+https://h.invalid/{file}#sha256={hash}"), "at a fixed"),
            (format!("a-b @ https://me:secret@h.invalid/{file}#sha256={hash}"), "credentials"),
        ] {
            let error = parse_pip_requirement(&text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn pip_requirements_are_pep_508() {
        let requirement = parse_pip_requirement("graphiti-core[falkordb]>=0.31").unwrap();
        assert!(pip_accepts(&requirement, &version("0.31.2")) && !pip_accepts(&requirement, &version("0.30")));
        assert!(parse_pip_requirement("a ; python_version < '3.14'").is_ok());
        for bad in ["", "a @ https://h.invalid/a.whl", "./a", "a>1>", "-r other.txt", "a b"] {
            assert!(parse_pip_requirement(bad).is_err(), "{bad}");
        }
        assert!(parse_pip_release("a>1").is_ok());
        assert!(parse_pip_constraint("openai<3").is_ok());
        for bad in ["openai", "a[b]<3"] {
            assert!(parse_pip_constraint(bad).is_err(), "{bad}");
        }
    }
}
