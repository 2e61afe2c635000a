//! Component → native code.
//!
//! The time and memory that compiling takes are outside of what wasmtime promises
//! for untrusted code, so it happens in a process of its own with limits on both:
//! this program, started with [`COMMAND`]. Only programs that have no such command,
//! such as tests, compile in their own process.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use wasmtime::component::Component;

use super::engine::{Engine, rules};
use super::library::ComponentSource;
use crate::env::Stopwatch;
use crate::{Error, ErrorKind, Result};

/// The command of this program that compiles.
pub const COMMAND: &str = "compile-component";

/// CPU time, over all its threads, that compiling one component may take. A Python
/// runtime takes ten seconds.
const MAX_CPU_SECONDS: u64 = 120;
/// Time that may pass meanwhile; more, because machines are busy.
const MAX_TIME: Duration = Duration::from_mins(10);
/// Memory that it may take.
const MAX_MEMORY_BYTES: u64 = 4 << 30;
/// Of what the process says about a component, so many bytes are told.
const MAX_MESSAGE_BYTES: usize = 2000;
/// How often the process is asked whether it is done.
const POLL: Duration = Duration::from_millis(2);

/// Where components are compiled.
#[derive(Debug, Clone)]
pub enum Compiler {
    /// In this process, without limits.
    Here,
    /// In a process of its own: this program, which has [`COMMAND`].
    Program(PathBuf),
}

impl Compiler {
    /// In this program, if there is one that has [`COMMAND`]; otherwise here.
    pub fn new(program: Option<PathBuf>) -> Self {
        program.map_or(Self::Here, Self::Program)
    }

    pub(super) fn compile(&self, engine: &Engine, source: &ComponentSource, component: &Bytes) -> Result<Component> {
        let unusable = || Error::config(format!("{source} is not a usable WebAssembly component"));
        match self {
            Self::Here => {
                Component::new(engine.inner(), component).map_err(|error| unusable().because(in_a_line(&error)))
            }
            Self::Program(program) => {
                let code = run(program, component.clone())?.map_err(|reason| unusable().because(reason))?;
                // SAFETY: it is what this same program serialized for the same engine.
                let loaded = unsafe { Component::deserialize(engine.inner(), &code) };
                loaded.map_err(|error| Error::bug("what was compiled cannot be loaded").because(in_a_line(&error)))
            }
        }
    }
}

/// What is wrong, without the shape that it has for a terminal.
fn in_a_line(error: &wasmtime::Error) -> String {
    format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Compile in a process of its own; fails with what is wrong with the component.
fn run(program: &Path, component: Bytes) -> Result<std::result::Result<Vec<u8>, String>> {
    let unheard = |error| Error::unavailable("cannot compile a plugin in a process of its own").because(error);
    let mut command = Command::new(program);
    command.arg(COMMAND).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(unheard)?;
    let (Some(mut stdin), Some(mut stdout), Some(mut stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(Error::bug("a process without its pipes"));
    };
    let (status, code, message) = std::thread::scope(|scope| {
        // A process that dies early does not read to the end; its status says why.
        scope.spawn(move || drop(stdin.write_all(&component)));
        let code = scope.spawn(move || {
            let mut code = Vec::new();
            stdout.read_to_end(&mut code).map(|_| code)
        });
        let message = scope.spawn(move || {
            let mut message = Vec::new();
            stderr.read_to_end(&mut message).map(|_| message)
        });
        let status = wait(&mut child);
        (status, code.join(), message.join())
    });
    let status = status.map_err(unheard)?;
    let panicked = || Error::bug("reading from a process panicked");
    let code = code.map_err(|_| panicked())?.map_err(unheard)?;
    let message = message.map_err(|_| panicked())?.map_err(unheard)?;
    if status.is_some_and(|status| status.success()) {
        return Ok(Ok(code));
    }
    let message = String::from_utf8_lossy(&message);
    let message = message.trim().trim_start_matches("error: ");
    let message = message[..message.floor_char_boundary(MAX_MESSAGE_BYTES)].to_owned();
    match status.and_then(|status| status.code()) {
        Some(code) if code == i32::from(ErrorKind::Config.exit_code()) => Ok(Err(message)),
        Some(_) => Err(unheard(std::io::Error::other(message))),
        // A signal ended it, or we did.
        None => Ok(Err(format!(
            "compiling it takes more than the {MAX_CPU_SECONDS} s of CPU time or {} MiB of memory allowed",
            MAX_MEMORY_BYTES >> 20
        ))),
    }
}

/// None if it took too long, and was ended.
fn wait(child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
    let watch = Stopwatch::start();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if watch.elapsed() > MAX_TIME {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

/// The work of [`COMMAND`]: a component from `from`, its native code to `to`. Limits
/// this process first.
///
/// # Errors
/// Config with what is wrong with the component; Unavailable if it cannot be read,
/// or its code not be written.
pub fn compile_here(mut from: impl std::io::Read, mut to: impl std::io::Write) -> Result<()> {
    limit_this_process();
    let unheard = |error| Error::unavailable("cannot speak with the process that asks").because(error);
    let mut component = Vec::new();
    from.read_to_end(&mut component).map_err(unheard)?;
    let engine = wasmtime::Engine::new(&rules())
        .map_err(|error| Error::unavailable("this machine cannot run WebAssembly").because(error))?;
    let code = engine.precompile_component(&component).map_err(|error| Error::config(in_a_line(&error)))?;
    to.write_all(&code).and_then(|()| to.flush()).map_err(unheard)
}

#[cfg(unix)]
fn limit_this_process() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let limits = [(Resource::Cpu, MAX_CPU_SECONDS), (Resource::As, MAX_MEMORY_BYTES), (Resource::Core, 0)];
    for (resource, most) in limits {
        // A stricter limit of the user's own stays.
        let _ = setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    }
    // Nobody else ends it when the host is killed.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
}

#[cfg(not(unix))]
fn limit_this_process() {}
