//! The surroundings of a rebuild, and how they differ from round to round: whatever an image must not depend on.

use std::path::{Path, PathBuf};

use crate::base::environment::Environment;
use crate::base::process::Invocation;
use crate::engine::containerfile::DEFAULT_PATH;
use crate::engine::{self, EngineChoice};
use crate::model::ValueError;

/// Something that is varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variation {
    /// oclock's clock; inside the engine time goes on by itself.
    Time,
    /// The file mode creation mask.
    Umask,
    /// The machine's name.
    Hostname,
    /// Where the project is.
    Directory,
    /// The order in which the project's files were made.
    Order,
    /// How many cores may be used.
    Cores,
    /// The engine, of all that can be used.
    Engine,
    /// LANG and LC_ALL.
    Locale,
    /// TZ.
    Timezone,
    /// Variables that programs which take part in a build are known to listen to.
    Environment,
    /// HOME.
    Home,
    /// Directories on the PATH before all others.
    Path,
    /// Whether the kernel puts programs at random addresses.
    Aslr,
    /// What the kernel says that it and the machine are called.
    Kernel,
}

impl Variation {
    /// Every one with its name.
    pub const ALL: [(&'static str, Self); 14] = [
        ("time", Self::Time),
        ("umask", Self::Umask),
        ("hostname", Self::Hostname),
        ("directory", Self::Directory),
        ("order", Self::Order),
        ("cores", Self::Cores),
        ("engine", Self::Engine),
        ("locale", Self::Locale),
        ("timezone", Self::Timezone),
        ("environment", Self::Environment),
        ("home", Self::Home),
        ("path", Self::Path),
        ("aslr", Self::Aslr),
        ("kernel", Self::Kernel),
    ];

    /// Reads a list such as `time,umask`, `all` or `none`.
    ///
    /// # Errors
    /// When a name is not known.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, ValueError> {
        match text {
            "all" => return Ok(Self::ALL.map(|(_, variation)| variation).to_vec()),
            "none" => return Ok(Vec::new()),
            _ => {}
        }
        let one = |name: &str| {
            let known = Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, variation)| *variation);
            let names = Self::ALL.map(|(name, _)| name).join(", ");
            known.ok_or_else(|| ValueError::new("variation", name, format!("known are {names}, `all` and `none`")))
        };
        text.split(',').map(one).collect()
    }

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, variation)| *variation == self).map_or("", |(name, _)| name)
    }
}

/// The variables of [`Variation::Environment`].
const VARIABLES: [(&str, &str); 10] = [
    ("DEBIAN_FRONTEND", "readline"),
    ("GZIP", "-9"),
    ("NODE_ENV", "production"),
    ("PIP_NO_COMPILE", "1"),
    ("PYTHONDONTWRITEBYTECODE", "1"),
    ("PYTHONHASHSEED", "7"),
    ("PYTHONOPTIMIZE", "2"),
    ("SOURCE_DATE_EPOCH", "1"),
    ("TAR_OPTIONS", "--sort=none --owner=daemon"),
    ("npm_config_umask", "0077"),
];

/// What this host can vary.
#[derive(Debug)]
pub(super) struct Surroundings {
    vary: Vec<Variation>,
    /// What was asked for and cannot be varied here, and why.
    cannot: Vec<(Variation, &'static str)>,
    engines: Vec<&'static str>,
    /// The PATH here.
    search: String,
}

/// One round.
#[derive(Debug)]
pub(super) struct Round {
    number: u32,
    varied: Vec<Variation>,
    cannot: Vec<(Variation, &'static str)>,
    search: String,
    /// The engine's name on the command line.
    pub engine: String,
    /// Whether the project's files are made in the other order.
    pub is_reversed: bool,
}

/// The engines as the command line names them.
const ENGINES: [(&str, EngineChoice); 5] = [
    ("buildah-oci", EngineChoice::BuildahOci),
    ("buildah-chroot", EngineChoice::BuildahChroot),
    ("docker-classic", EngineChoice::DockerClassic),
    ("docker-buildkit", EngineChoice::DockerBuildkit),
    ("native", EngineChoice::Native),
];

impl Surroundings {
    /// Looks at what can be varied on this host.
    pub fn of_host(environment: &Environment, asked: &[Variation]) -> Self {
        let works = |words: &[&str]| Invocation::new(words[0]).args(&words[1..]).run().is_ok();
        let usable = ENGINES.iter().filter(|(_, choice)| engine::find(*choice, environment).is_ok());
        let engines: Vec<&str> = usable.map(|(name, _)| *name).collect();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let search = environment.variable("PATH").unwrap_or(DEFAULT_PATH).to_owned();
        let mut surroundings = Self { vary: Vec::new(), cannot: Vec::new(), engines, search };
        for variation in asked {
            let obstacle = match variation {
                Variation::Time if !works(&["faketime", "-f", "+1d", "true"]) => Some("faketime is not there"),
                Variation::Hostname if !works(&["unshare", "--uts", "true"]) => Some("unshare may not be used"),
                Variation::Cores if cores < 2 => Some("there is one core"),
                Variation::Cores if !works(&["taskset", "-c", "0", "true"]) => Some("taskset is not there"),
                Variation::Aslr if !works(&["setarch", "--addr-no-randomize", "true"]) => {
                    Some("setarch may not be used")
                }
                Variation::Kernel if !works(&["setarch", "linux32", "true"]) => Some("setarch may not be used"),
                Variation::Engine if surroundings.engines.len() < 2 => Some("there is no second engine"),
                _ => None,
            };
            match obstacle {
                Some(why) => surroundings.cannot.push((*variation, why)),
                None => surroundings.vary.push(*variation),
            }
        }
        surroundings
    }

    /// The first round is as the user's own; every other one differs in all that is varied.
    pub fn round(&self, number: u32) -> Round {
        let varied = if number == 0 { Vec::new() } else { self.vary.clone() };
        let index = if self.vary.contains(&Variation::Engine) { number as usize } else { 0 };
        let engine = match self.engines.len() {
            0 => "auto".to_owned(),
            length => self.engines[index % length].to_owned(),
        };
        let is_reversed = varied.contains(&Variation::Order);
        let search = self.search.clone();
        Round { number, varied, cannot: self.cannot.clone(), search, engine, is_reversed }
    }
}

impl Round {
    fn is(&self, variation: Variation) -> bool {
        self.varied.contains(&variation)
    }

    /// What differs in this round, for people.
    pub fn said(&self) -> String {
        let names: Vec<&str> = self.varied.iter().map(|variation| variation.name()).collect();
        let mut said = match names.len() {
            0 => "as it is here".to_owned(),
            _ => format!("other {}", names.join(", ")),
        };
        for (variation, why) in self.cannot.iter().filter(|_| self.number > 0) {
            said.push_str(&format!("; same {} ({why})", variation.name()));
        }
        said
    }

    /// Where the project is in this round, below its scratch directory.
    pub fn directory(&self, scratch: &Path) -> PathBuf {
        match self.is(Variation::Directory) {
            true => scratch.join(format!("elsewhere/with a space/{}", self.number)),
            false => scratch.join("project"),
        }
    }

    /// A command line in these surroundings; `scratch` has room for what it leaves in its home.
    pub fn invocation(&self, program: &Path, words: &[String], scratch: &Path) -> Invocation {
        let mut line: Vec<String> = Vec::new();
        let mut wrap = |varies: bool, words: &[&str]| {
            if varies {
                line.extend(words.iter().map(|word| (*word).to_owned()));
            }
        };
        wrap(
            self.is(Variation::Hostname),
            &["unshare", "--uts", "sh", "-c", "hostname elsewhere && exec \"$@\"", "sh"],
        );
        wrap(self.is(Variation::Umask), &["sh", "-c", "umask 0077 && exec \"$@\"", "sh"]);
        wrap(self.is(Variation::Cores), &["taskset", "-c", "0"]);
        wrap(self.is(Variation::Aslr), &["setarch", "--addr-no-randomize"]);
        wrap(self.is(Variation::Kernel), &["setarch", "linux32", "--uname-2.6"]);
        wrap(self.is(Variation::Time), &["faketime", "--exclude-monotonic", "-f", "+400d"]);
        line.push(program.display().to_string());
        line.extend(words.iter().cloned());
        let mut invocation = Invocation::new(&line[0]).args(&line[1..]);
        if self.is(Variation::Locale) {
            invocation = invocation.env("LANG", "tr_TR.UTF-8").env("LC_ALL", "tr_TR.UTF-8");
        }
        if self.is(Variation::Timezone) {
            invocation = invocation.env("TZ", "Pacific/Chatham");
        }
        if self.is(Variation::Home) {
            invocation = invocation.env("HOME", scratch.join("home"));
        }
        if self.is(Variation::Path) {
            invocation = invocation.env("PATH", format!("/nonexistent/bin:{}", self.search));
        }
        if self.is(Variation::Environment) {
            invocation = VARIABLES.iter().fold(invocation, |invocation, (name, value)| invocation.env(name, value));
        }
        invocation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variations_are_named() {
        assert_eq!(Variation::parse_list("time,cores"), Ok(vec![Variation::Time, Variation::Cores]));
        assert_eq!(Variation::parse_list("all").map(|all| all.len()), Ok(14));
        assert_eq!(Variation::parse_list("none"), Ok(Vec::new()));
        assert!(Variation::parse_list("weather").unwrap_err().to_string().contains("aslr, kernel, `all` and `none`"));
    }

    #[test]
    fn the_first_round_is_as_it_is_here() {
        let surroundings = Surroundings {
            vary: vec![Variation::Umask, Variation::Cores],
            cannot: Vec::new(),
            engines: vec!["auto"],
            search: "/bin".into(),
        };
        let words = ["build".to_owned()];
        let line = |number| surroundings.round(number).invocation(Path::new("/o"), &words, Path::new("/s")).display();
        assert_eq!(line(0), "/o build");
        assert_eq!(line(1), "sh -c umask 0077 && exec \"$@\" sh taskset -c 0 /o build");
    }
}
