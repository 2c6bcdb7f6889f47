//! The image's config: what the Containerfile says of running it, and its canonical JSON.
//!
//! Keys stand in alphabetical order, what is empty is left out, and nothing tells the builder, its time or its machine.
//! Source: Docker Image Specification v1.2, "Image JSON Description"; its durations are in nanoseconds.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::SealError;
use super::seal::SealedLayer;
use crate::engine::containerfile::{
    CommandForm, ContainerfileError, DEFAULT_PATH, HealthcheckStep, Instruction, Variables, parse_containerfile,
};
use crate::model::{Architecture, Platform};

/// What is wrong with a Containerfile.
pub type ConfigError = ContainerfileError;

/// What a runtime is told. Field names are the config's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// CMD.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// ENTRYPOINT.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// ENV: `NAME=value`, in the order in which they were first set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// EXPOSE: `4096/tcp`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// HEALTHCHECK.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// LABEL.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// SHELL, when the user set one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
    /// STOPSIGNAL.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// USER.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// VOLUME.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Empty>,
    /// WORKDIR.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
}

/// What stands in the history before a layer's origin.
pub(super) const CREATED_BY: &str = "oclock build # ";

/// The value `{}`, which the config has where a set is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// HEALTHCHECK: durations in nanoseconds, 0 for the runtime's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// Time between two checks.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: u64,
    /// How many failures in a row make it unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: u64,
    /// Time between two checks while starting.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: u64,
    /// Time to start in which failures do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: u64,
    /// `["CMD", …]`, `["CMD-SHELL", line]` or `["NONE"]`.
    pub test: Vec<String>,
    /// The longest that a check may take.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Serialize)]
struct ConfigFile<'a> {
    architecture: &'static str,
    config: &'a ImageConfig,
    created: &'a str,
    history: Vec<History<'a>>,
    os: &'static str,
    rootfs: RootFs,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum History<'a> {
    Own {
        comment: &'static str,
        created: &'a str,
        created_by: String,
    },
    /// Of the base image, as it stands there.
    Inherited(&'a Value),
}

#[derive(Serialize)]
struct RootFs {
    diff_ids: Vec<String>,
    r#type: &'static str,
}

impl ImageConfig {
    /// The canonical JSON, whose sha256 is the image ID.
    pub(super) fn render(
        &self,
        platform: Platform,
        epoch: i64,
        inherited: &[Value],
        layers: &[SealedLayer],
    ) -> Result<Vec<u8>, SealError> {
        let created = timestamp(epoch);
        let own = |layer: &SealedLayer| History::Own {
            comment: "oclock",
            created: &created,
            created_by: format!("{CREATED_BY}{}", layer.origin),
        };
        // The entries that stand for layers must be as many as these.
        let from_base = layers.iter().filter(|layer| layer.blob.is_some()).count();
        let is_empty = |entry: &&Value| entry.get("empty_layer").and_then(Value::as_bool) == Some(true);
        let fits = inherited.iter().filter(|entry| !is_empty(entry)).count() == from_base;
        let inherited = inherited.iter().filter(|_| fits).map(History::Inherited);
        let history = inherited.chain(layers.iter().skip(if fits { from_base } else { 0 }).map(own)).collect();
        let file = ConfigFile {
            architecture: platform.architecture.as_str(),
            config: self,
            created: &created,
            history,
            os: platform.os(),
            rootfs: RootFs {
                diff_ids: layers.iter().map(|layer| layer.diff_id.prefixed()).collect(),
                r#type: "layers",
            },
            variant: match platform.architecture {
                Architecture::Amd64 => None,
                Architecture::Arm64 => Some("v8"),
            },
        };
        serde_json::to_vec(&file).map_err(|source| SealError::Json { what: "config", source })
    }

    fn apply(&mut self, instruction: &Instruction, variables: &mut Variables) {
        match instruction {
            Instruction::Env(pairs) => pairs.iter().for_each(|(name, value)| variables.set(name, value)),
            Instruction::WorkingDirectory(path) => self.working_dir.clone_from(path),
            Instruction::User(user) => self.user.clone_from(user),
            Instruction::Shell(words) => self.shell.clone_from(words),
            Instruction::Command(command) => self.cmd = self.words(command),
            Instruction::Entrypoint(command) => self.entrypoint = self.words(command),
            Instruction::Expose(ports) => self.exposed_ports.extend(ports.iter().map(|port| (port.clone(), Empty {}))),
            Instruction::Volume(paths) => self.volumes.extend(paths.iter().map(|path| (path.clone(), Empty {}))),
            Instruction::Label(pairs) => self.labels.extend(pairs.iter().cloned()),
            Instruction::StopSignal(signal) => self.stop_signal.clone_from(signal),
            Instruction::Healthcheck(step) => self.healthcheck = Some(healthcheck(step.as_ref())),
            Instruction::Copy(_) | Instruction::Run(_) | Instruction::OwnShell(_) => {}
        }
    }

    /// A command as words; a line is given to the shell that holds at this place.
    fn words(&self, command: &CommandForm) -> Vec<String> {
        match command {
            CommandForm::Exec(words) => words.clone(),
            CommandForm::Shell(line) if self.shell.is_empty() => vec!["/bin/sh".into(), "-c".into(), line.clone()],
            CommandForm::Shell(line) => self.shell.iter().chain([line]).cloned().collect(),
        }
    }
}

/// Reads what a rendered Containerfile says of running the image.
///
/// # Errors
/// When it has a mistake or something that is refused: names it and its line.
pub fn config_of(containerfile: &str) -> Result<ImageConfig, ConfigError> {
    config_on(containerfile, ImageConfig::default())
}

/// The same on a base image, whose config holds where the Containerfile says nothing else, as behind a FROM: what is set
/// is replaced, variables, labels, ports and volumes are added, and an ENTRYPOINT drops the base's CMD.
///
/// # Errors
/// As [`config_of`].
pub fn config_on(containerfile: &str, base: ImageConfig) -> Result<ImageConfig, ConfigError> {
    let file = parse_containerfile(containerfile)?;
    let mut config = base;
    let mut variables = Variables::default();
    for (name, value) in config.env.iter().filter_map(|pair| pair.split_once('=')) {
        variables.set(name, value);
    }
    if variables.get("PATH").is_none() {
        variables.set("PATH", DEFAULT_PATH);
    }
    let mut has_command = false;
    for instruction in &file.instructions {
        has_command |= matches!(instruction, Instruction::Command(_));
        if matches!(instruction, Instruction::Entrypoint(_)) && !has_command {
            config.cmd.clear();
        }
        config.apply(instruction, &mut variables);
    }
    config.env = variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    Ok(config)
}

/// Reads what a base image's config tells a runtime; fields that this program does not know are not inherited.
///
/// # Errors
/// When a field has another form than Docker and OCI give it.
pub fn inherited_config(runtime: &Value) -> Result<ImageConfig, SealError> {
    if runtime.is_null() {
        return Ok(ImageConfig::default());
    }
    serde_json::from_value(runtime.clone()).map_err(|source| SealError::Base { source })
}

fn healthcheck(step: Option<&HealthcheckStep>) -> Healthcheck {
    let Some(step) = step else {
        return Healthcheck { test: vec!["NONE".into()], ..Healthcheck::default() };
    };
    let nanoseconds = |duration: Option<Duration>| {
        duration.map_or(0, |duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    };
    Healthcheck {
        interval: nanoseconds(step.interval),
        retries: step.retries.unwrap_or(0).into(),
        start_interval: nanoseconds(step.start_interval),
        start_period: nanoseconds(step.start_period),
        test: match &step.command {
            CommandForm::Exec(words) => std::iter::once("CMD".to_owned()).chain(words.iter().cloned()).collect(),
            CommandForm::Shell(line) => vec!["CMD-SHELL".into(), line.clone()],
        },
        timeout: nanoseconds(step.timeout),
    }
}

/// RFC 3339 in UTC: `2025-10-09T08:53:20Z`.
fn timestamp(epoch: i64) -> String {
    jiff::Timestamp::from_second(epoch).map_or_else(|_| "1970-01-01T00:00:00Z".to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Sha256;

    const FILE: &str = r#"FROM scratch
# oclock: shell
SHELL ["/bin/sh", "/.oclock/step"]
ADD apt.tar /
ENV FALKORDB_HOST=localhost PATH=/opt/venv/bin:$PATH
ENV FALKORDB_HOST=other
RUN echo
EXPOSE 4096
LABEL b=2 a="one two"
VOLUME /data
WORKDIR /srv
WORKDIR app
USER svc:svc
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=40s --retries=3 \
    CMD curl -f http://localhost:4096/config || exit 1
ENTRYPOINT ["ddtrace-run", "opencode"]
CMD serve now
"#;

    #[test]
    fn the_config_is_what_docker_writes() {
        let config = config_of(FILE).unwrap();
        assert_eq!(config.env, [&format!("PATH=/opt/venv/bin:{DEFAULT_PATH}"), "FALKORDB_HOST=other"]);
        let layer = SealedLayer { origin: "system".into(), diff_id: Sha256::of(""), size: 0, blob: None };
        let json = config.render(Platform::LINUX_AMD64, 1_760_000_000, &[], &[layer]).unwrap();
        let json = String::from_utf8(json).unwrap();
        let expected = format!(
            concat!(
                r#"{{"architecture":"amd64","config":{{"Cmd":["/bin/sh","-c","serve now"],"Entrypoint":["ddtrace-run","opencode"],"#,
                r#""Env":["PATH=/opt/venv/bin:{path}","FALKORDB_HOST=other"],"ExposedPorts":{{"4096/tcp":{{}}}},"#,
                r#""Healthcheck":{{"Interval":30000000000,"Retries":3,"StartPeriod":40000000000,"#,
                r#""Test":["CMD-SHELL","curl -f http://localhost:4096/config || exit 1"],"Timeout":10000000000}},"#,
                r#""Labels":{{"a":"one two","b":"2"}},"StopSignal":"SIGTERM","User":"svc:svc","Volumes":{{"/data":{{}}}},"#,
                r#""WorkingDir":"/srv/app"}},"created":"2025-10-09T08:53:20Z","#,
                r#""history":[{{"comment":"oclock","created":"2025-10-09T08:53:20Z","created_by":"oclock build # system"}}],"#,
                r#""os":"linux","rootfs":{{"diff_ids":["sha256:{empty}"],"type":"layers"}}}}"#
            ),
            path = DEFAULT_PATH,
            empty = Sha256::of(""),
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn a_shell_of_the_user_holds_from_its_place_on() {
        let config =
            config_of("FROM scratch\nENTRYPOINT a\nSHELL [\"/bin/bash\", \"-c\"]\nCMD b c\nHEALTHCHECK NONE\n")
                .unwrap();
        assert_eq!(config.entrypoint, ["/bin/sh", "-c", "a"]);
        assert_eq!(config.cmd, ["/bin/bash", "-c", "b c"]);
        assert_eq!(config.shell, ["/bin/bash", "-c"]);
        assert_eq!(config.healthcheck.unwrap().test, ["NONE"]);
    }

    #[test]
    fn a_base_holds_where_nothing_else_is_said() {
        let base = serde_json::json!({ "Env": ["PATH=/base", "NODE_VERSION=20"], "Entrypoint": ["entry"], "Cmd": ["node"],
            "User": "node", "WorkingDir": "/home/node", "Labels": { "a": "base", "b": "base" },
            "ExposedPorts": { "80/tcp": {} }, "StopSignal": "SIGINT", "Unknown": 1 });
        let base = inherited_config(&base).unwrap();
        let same = config_on("FROM scratch\n", base.clone()).unwrap();
        assert_eq!(same, base);
        let text = "FROM scratch\nENV A=1 PATH=/own:$PATH\nEXPOSE 81\nLABEL a=own\nENTRYPOINT [\"own\"]\n";
        let text = text.replacen("ENV", "ENV PATH=\"/base\"\nENV", 1);
        let config = config_on(&text, base.clone()).unwrap();
        assert_eq!(config.env, ["PATH=/own:/base", "NODE_VERSION=20", "A=1"]);
        assert_eq!((config.entrypoint, config.cmd), (vec!["own".to_owned()], vec![]));
        assert_eq!(config.exposed_ports.len(), 2);
        assert_eq!(config.labels["a"], "own");
        assert_eq!((config.labels["b"].as_str(), config.user.as_str()), ("base", "node"));
        let config = config_on("FROM scratch\nCMD [\"x\"]\nENTRYPOINT [\"own\"]\n", base).unwrap();
        assert_eq!(config.cmd, ["x"]);
        assert!(inherited_config(&serde_json::json!({ "Env": 1 })).is_err());
    }
}
