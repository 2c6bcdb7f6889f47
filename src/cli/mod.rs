//! The command line: parse, run one verb, write its answer to stdout and talk to stderr, end with its exit code.
//!
//! The only part that knows the terminal and the process's environment.

mod args;
mod attest;
mod audit;
mod diff;
mod failure;
mod update;
mod verify;
mod why;

use std::io::{ErrorKind, IsTerminal, Write, stderr, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

pub use args::Arguments;
use args::{
    BuildArguments, Command, ContextArguments, DiffArguments, EngineName, Format, GlobalArguments, InitArguments,
    StoreCommand, When,
};
use failure::Colour;

use crate::base::environment::{Environment, enter_directory};
use crate::base::explain::{Explain, Kind};
use crate::base::fs::{FsError, write_atomically};
use crate::base::http::HttpOptions;
use crate::base::process::{clear_personality, end_all};
use crate::base::progress::{Progress, ProgressMode};
use crate::base::sandbox::HELPER;
use crate::engine::{self, EngineChoice};
use crate::ops::{
    self, BuildOptions, GcOptions, ImageOutput, InitOptions, Loading, OpsError, Paths, Recording, Repair, Reuse,
    Session, SessionOptions, Steps, WantDigest,
};
use crate::report;

/// Runs the program with the process's arguments and environment.
pub fn main() -> ExitCode {
    if let Some(code) = run_helper() {
        return code;
    }
    let arguments = Arguments::parse();
    let environment = Environment::of_process();
    start_log(&arguments.global);
    clear_personality();
    watch_interrupts();
    let colour = colour(arguments.global.color, &environment);
    match run(&arguments, environment) {
        Ok(Answer { text, code }) => match write_answer(&text) {
            Ok(()) => ExitCode::from(code),
            Err(error) => fail(&error, colour),
        },
        Err(error) => fail(&error, colour),
    }
}

/// The built-in engine starts this program again for what happens in its rooms: no command of the user's, so it is not
/// among the arguments.
fn run_helper() -> Option<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    let is_helper = words.next()? == HELPER;
    is_helper.then(|| engine::helper_main(&words.filter_map(|word| word.into_string().ok()).collect::<Vec<_>>()))
}

/// Writes to standard output. A reader that has seen enough (`oclock list | head`) is no failure.
fn write_answer(text: &str) -> Result<(), FsError> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(FsError::new("write to", "standard output")(error)),
        _ => Ok(()),
    }
}

fn fail(error: &dyn Explain, colour: Colour) -> ExitCode {
    stderr().lock().write_all(failure::draw(error, colour).as_bytes()).ok();
    ExitCode::from(error.kind().exit_code())
}

/// What goes to stdout, and the exit code.
struct Answer {
    text: String,
    code: u8,
}

impl Answer {
    fn yes(text: String) -> Self {
        Self { text, code: 0 }
    }

    fn no(text: String) -> Self {
        Self { text, code: Kind::No.exit_code() }
    }
}

fn run(arguments: &Arguments, environment: Environment) -> Result<Answer, OpsError> {
    let global = &arguments.global;
    check_format(global.format, &arguments.command)?;
    if let Some(directory) = &global.directory {
        enter_directory(directory)?;
    }
    if let Command::Init(init) = &arguments.command {
        return run_init(global.format, init);
    }
    if let Command::Diff(DiffArguments { textconv: Some(file), .. }) = &arguments.command {
        return diff::run_textconv(file);
    }
    let session = open(global, environment)?;
    match &arguments.command {
        Command::Init(init) => run_init(global.format, init),
        Command::Update(update) => update::run(&session, global.format, update),
        Command::Build(build) => run_build(&session, global.format, build),
        Command::Audit(arguments) => audit::run(&session, global.format, arguments),
        Command::Diff(arguments) => diff::run_diff(&session, global.format, arguments),
        Command::List => {
            let outcome = ops::list(&session)?;
            Ok(Answer::yes(written(global.format, &outcome, report::list_lines)))
        }
        Command::Why(what) => why::run(&session, global.format, what),
        Command::Render(platform) => Ok(Answer::yes(ops::render(&session, platform.platform)?)),
        Command::Context(context) => run_context(&session, global.format, context),
        Command::Info => {
            let outcome = ops::info(&session)?;
            Ok(Answer::yes(written(global.format, &outcome, report::info_lines)))
        }
        Command::Fetch => {
            let outcome = ops::fetch(&session)?;
            Ok(Answer::yes(written(global.format, &outcome, report::fetch_lines)))
        }
        Command::Sbom(sbom) => attest::run_sbom(&session, global.format, sbom),
        Command::Provenance(provenance) => attest::run_provenance(&session, global.format, provenance),
        Command::Verify(verify) => verify::run(&session, global.format, verify),
        Command::Store(store) => run_store(&session, global.format, store),
    }
}

/// Refuses a format that the command does not have.
fn check_format(format: Format, command: &Command) -> Result<(), OpsError> {
    let offered = command.formats();
    if offered.contains(&format) {
        return Ok(());
    }
    Err(OpsError::Format { asked: format.name(), offered: offered.iter().map(|format| format.name()).collect() })
}

fn run_init(format: Format, init: &InitArguments) -> Result<Answer, OpsError> {
    let options = InitOptions { directory: init.into.clone(), from: init.from.clone() };
    let outcome = ops::init(&options)?;
    let text = written(format, &outcome, report::init_lines);
    if outcome.is_whole() { Ok(Answer::yes(text)) } else { Ok(Answer::no(text)) }
}

fn run_build(session: &Session, format: Format, build: &BuildArguments) -> Result<Answer, OpsError> {
    let outputs = build.output.iter().map(|text| ImageOutput::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let loading = match (build.no_load, build.tag.is_empty()) {
        (true, _) => Loading::Nothing,
        (false, false) => Loading::Tags(build.tag.clone()),
        (false, true) if outputs.is_empty() => Loading::Manifest,
        (false, true) => Loading::Nothing,
    };
    let wants_digest = build.digest_file.is_some() || format == Format::Json;
    let options = BuildOptions {
        platform: build.platform.platform,
        engine: engine_choice(build.engine),
        loading,
        outputs,
        recording: if build.record { Recording::Write } else { Recording::Compare },
        reuse: if build.no_reuse { Reuse::Refused } else { Reuse::Allowed },
        digest: if wants_digest { WantDigest::Yes } else { WantDigest::IfNeeded },
        steps: build.steps.map_or(Steps::All, Steps::First),
        limit: Duration::from_secs(build.limit),
        memory: build.memory.map(|mebibytes| mebibytes.saturating_mul(1024 * 1024)),
    };
    if build.all_platforms {
        let outcome = ops::build_all(session, &options)?;
        return Ok(Answer::yes(written(format, &outcome, report::build_all_lines)));
    }
    let outcome = ops::build(session, &options)?;
    if let (Some(file), Some(digest)) = (&build.digest_file, &outcome.digest) {
        write_atomically(file, format!("{}\n", digest.prefixed()).as_bytes())?;
    }
    Ok(Answer::yes(written(format, &outcome, report::build_lines)))
}

fn run_context(session: &Session, format: Format, context: &ContextArguments) -> Result<Answer, OpsError> {
    let outcome = ops::context(session, context.platform.platform, context.to.as_deref())?;
    Ok(Answer::yes(written(format, &outcome, report::context_lines)))
}

fn run_store(session: &Session, format: Format, command: &StoreCommand) -> Result<Answer, OpsError> {
    match command {
        StoreCommand::Path => Ok(Answer::yes(written(format, &ops::store_path(session), report::path_lines))),
        StoreCommand::Size => Ok(Answer::yes(written(format, &ops::store_size(session)?, report::size_lines))),
        StoreCommand::Verify(verify) => {
            let repair = if verify.repair { Repair::Remove } else { Repair::Report };
            let outcome = ops::store_verify(session, repair)?;
            let whole = outcome.damaged.is_empty() || outcome.removed;
            let code = if whole { 0 } else { Kind::Distrust.exit_code() };
            Ok(Answer { text: written(format, &outcome, report::verify_lines), code })
        }
        StoreCommand::Gc(gc) => {
            let options = GcOptions { most: gc.max_size, older: gc.older_than };
            Ok(Answer::yes(written(format, &ops::store_gc(session, options)?, report::gc_lines)))
        }
    }
}

fn written<T: serde::Serialize>(format: Format, outcome: &T, human: impl Fn(&T) -> String) -> String {
    match format {
        // Others were refused before the command ran, where it has none of its own for them.
        Format::Human | Format::Markdown | Format::Sarif => human(outcome),
        Format::Json => report::json(outcome) + "\n",
    }
}

fn open(global: &GlobalArguments, environment: Environment) -> Result<Session, OpsError> {
    let options = SessionOptions {
        paths: Paths::new(Path::new("."), &global.manifest, &global.lockfile),
        store: global.store.clone(),
        ledger: global.ledger.clone(),
        http: HttpOptions {
            concurrency: global.jobs,
            offline: global.offline,
            tries: global.retries + 1,
            patience: Duration::from_secs(global.timeout),
            ..HttpOptions::default()
        },
    };
    Session::open(options, environment, Progress::new(progress_mode(global)))
}

fn engine_choice(name: EngineName) -> EngineChoice {
    match name {
        EngineName::Auto => EngineChoice::Auto,
        EngineName::Native => EngineChoice::Native,
        EngineName::Buildah => EngineChoice::Buildah,
        EngineName::BuildahOci => EngineChoice::BuildahOci,
        EngineName::BuildahChroot => EngineChoice::BuildahChroot,
        EngineName::Docker => EngineChoice::Docker,
        EngineName::DockerClassic => EngineChoice::DockerClassic,
        EngineName::DockerBuildkit => EngineChoice::DockerBuildkit,
    }
}

fn progress_mode(global: &GlobalArguments) -> ProgressMode {
    match global.progress {
        _ if global.quiet => ProgressMode::Hidden,
        When::Always => ProgressMode::Bars,
        When::Never => ProgressMode::Hidden,
        When::Auto if stderr().is_terminal() => ProgressMode::Bars,
        When::Auto => ProgressMode::Lines,
    }
}

fn colour(when: When, environment: &Environment) -> Colour {
    let allowed = environment.variable("NO_COLOR").is_none() && environment.variable("TERM") != Some("dumb");
    match when {
        When::Always => Colour::On,
        When::Auto if allowed && stderr().is_terminal() => Colour::On,
        When::Auto | When::Never => Colour::Off,
    }
}

fn start_log(global: &GlobalArguments) {
    let level = match global.verbose {
        0 => return,
        1 => "oclock=debug",
        _ => "oclock=trace",
    };
    tracing_subscriber::fmt().with_env_filter(level).with_writer(stderr).without_time().with_target(false).init();
}

/// On ^C or SIGTERM: end what oclock started, then leave. Files are replaced atomically, so nothing is half-written;
/// scratch directories are left for the next run, which makes its own.
fn watch_interrupts() {
    std::thread::spawn(|| {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            let Ok(mut end) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else { return };
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = end.recv() => {}
            }
        });
        end_all();
        stderr().lock().write_all(b"error: interrupted; nothing was left half-written\n").ok();
        std::process::exit(i32::from(Kind::Interrupted.exit_code()));
    });
}
