//! The third stage: makes the room around itself, gives up what it may do, and becomes the command.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use rustix::fs::Mode;

use super::protocol::{Inside, Reason, RunOrder, could_not, read_order};
use super::{limits, loopback, privileges, view};

pub(super) const STAGE: &str = "step";

pub(super) fn main() -> ExitCode {
    let Ok(mut channel) = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from) else {
        return ExitCode::from(70);
    };
    let order = read_order::<Inside>(&mut channel).map_err(could_not("read the order"));
    let result = match order {
        Ok(Inside { order: Some(order), is_watched, .. }) => become_command(&order, is_watched),
        Ok(Inside { order: None, layers, .. }) => view::probe(layers.as_ref()),
        Err(reason) => Err(reason),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            channel.write_all(&serde_json::to_vec(&reason).unwrap_or_else(|_| b"null".to_vec())).ok();
            ExitCode::FAILURE
        }
    }
}

/// Returns only when it fails.
fn become_command(order: &RunOrder, is_watched: bool) -> Result<(), Reason> {
    let Some((program, arguments)) = order.words.split_first() else {
        return Err(Reason { what: "start the command".into(), why: "it is empty".into() });
    };
    view::enter(&order.root, order.layers.as_ref())?;
    rustix::system::sethostname(order.hostname.as_bytes()).map_err(could_not("set the host name"))?;
    rustix::system::setdomainname(b"").map_err(could_not("set the domain name"))?;
    loopback::bring_up().map_err(could_not("bring the loopback up"))?;
    // Without a terminal nothing can be asked and nothing typed into one.
    rustix::process::setsid().map_err(could_not("start a session"))?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    limits::apply(&order.limits, is_watched).map_err(could_not("limit the step"))?;
    let user = privileges::User::find(order.user.as_deref())?;
    std::env::set_current_dir(&order.directory).map_err(could_not(format!("enter `{}`", order.directory)))?;
    privileges::give_up(&user)?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("HOME", &user.home);
    command.envs(order.variables.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null());
    Err(could_not(format!("start `{program}`"))(command.exec()))
}
