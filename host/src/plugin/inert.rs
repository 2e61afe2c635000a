//! The inert WASI of the grant `wasi`: what language runtimes ask for while they
//! start, and nothing that reaches the world.
//!
//! There is no environment, no argument, no file and no socket. The clocks show the
//! clock of the epoch, randomness is the same for every call of an epoch, and what is
//! written to standard output and error goes to the log of the plugin. What is not
//! here traps with its name. The interfaces are those of WASI 0.2
//! (<https://github.com/WebAssembly/WASI/tree/main/wasip2>).
//!
//! Our own rather than `wasmtime-wasi`: that crate links the real files and sockets
//! and then closes them off, and brings about seventy crates and the async machinery
//! of wasmtime for it; here the way to the world does not exist.
//!
//! All resources have one type for the host. The component's own types keep them
//! apart, and whatever the component declares beyond these is stubbed likewise.

use wasmtime::component::{
    Component, ComponentNamedList, ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType,
};
use wasmtime::{Error, Result, StoreContextMut};

use super::bindings::weir::plugin::host::{Host as _, Level};
use super::sandbox::{MAX_LOG_LINE_BYTES, State};

/// What the imports of WASI begin with.
const PREFIX: &str = "wasi:";
/// Random bytes that one call gives, at most.
const MAX_RANDOM_BYTES: u64 = 1 << 20;
/// Bytes that a stream takes at once.
const STREAM_BYTES: u64 = 64 << 10;
/// Nanoseconds in a microsecond.
const NANOS: u64 = 1000;
/// The increment of SplitMix64 (Steele, Lea, Flood, 2014).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Whether an import is one of WASI.
pub(super) fn is_wasi(import: &str) -> bool {
    import.starts_with(PREFIX)
}

/// A resource of any kind; what it stands for is its number.
type Handle = Resource<()>;

const STDIN: u32 = 0;
const STDOUT: u32 = 1;
const STDERR: u32 = 2;
const POLLABLE: u32 = 3;

/// What an instance keeps of its WASI.
#[derive(Debug, Default)]
pub(super) struct Inert {
    random: u64,
    /// What was written behind the last line end, of output and error.
    unfinished: [Vec<u8>; 2],
}

impl Inert {
    /// A call begins: randomness starts anew, so that a call that is repeated on
    /// another instance gives the same.
    pub(super) fn begin(&mut self, now_us: i64) {
        self.random = now_us.cast_unsigned();
    }

    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(GOLDEN);
        let word = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn random_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        if len > MAX_RANDOM_BYTES {
            return Err(Error::msg(format!("it wants {len} random bytes at once, {MAX_RANDOM_BYTES} are allowed")));
        }
        Ok((0..len).map(|_| self.random().to_le_bytes()[0]).collect())
    }

    /// Take bytes of a stream; the lines that they end.
    fn lines(&mut self, stream: usize, bytes: &[u8], max_line_bytes: usize) -> Vec<String> {
        let unfinished = &mut self.unfinished[stream];
        let mut lines = Vec::new();
        for byte in bytes {
            if *byte == b'\n' || unfinished.len() >= max_line_bytes {
                lines.push(String::from_utf8_lossy(unfinished).into_owned());
                unfinished.clear();
            }
            if *byte != b'\n' {
                unfinished.push(*byte);
            }
        }
        lines
    }
}

/// How a stream fails.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    LastOperationFailed(Handle),
    #[component(name = "closed")]
    Closed,
}

/// A time of the wall clock.
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

type Written = (std::result::Result<(), StreamError>,);

/// Link what a component imports of WASI.
///
/// # Errors
/// What the linker says.
pub(super) fn link(linker: &mut Linker<State>, component: &Component, imports: &[String]) -> Result<()> {
    for import in imports.iter().filter(|import| is_wasi(import)) {
        let interface = import.split_once('@').map_or(import.as_str(), |(interface, _)| interface);
        let mut offered = Offered(linker.instance(import)?);
        match interface.strip_prefix(PREFIX).unwrap_or_default() {
            "cli/environment" => environment(&mut offered)?,
            "cli/exit" => exit(&mut offered)?,
            "cli/stdin" => offered.function("get-stdin", |_, ()| Ok((Handle::new_own(STDIN),)))?,
            "cli/stdout" => offered.function("get-stdout", |_, ()| Ok((Handle::new_own(STDOUT),)))?,
            "cli/stderr" => offered.function("get-stderr", |_, ()| Ok((Handle::new_own(STDERR),)))?,
            "cli/terminal-stdin" => offered.function("get-terminal-stdin", |_, ()| Ok((None::<Handle>,)))?,
            "cli/terminal-stdout" => offered.function("get-terminal-stdout", |_, ()| Ok((None::<Handle>,)))?,
            "cli/terminal-stderr" => offered.function("get-terminal-stderr", |_, ()| Ok((None::<Handle>,)))?,
            "clocks/monotonic-clock" => monotonic_clock(&mut offered)?,
            "clocks/wall-clock" => wall_clock(&mut offered)?,
            "filesystem/preopens" => {
                offered.function("get-directories", |_, ()| Ok((Vec::<(Handle, String)>::new(),)))?;
            }
            "io/poll" => poll(&mut offered)?,
            "io/streams" => streams(&mut offered)?,
            "random/random" | "random/insecure" | "random/insecure-seed" => random(&mut offered)?,
            // What follows stubs the others.
            _ => {}
        }
    }
    linker.define_unknown_imports_as_traps(component)
}

/// Why a call of something that is not here trapped, in words for plugin authors;
/// other causes stay as they are.
pub(super) fn explained(cause: &str) -> String {
    let called = cause.strip_prefix("unknown import: `").and_then(|rest| rest.split_once('`'));
    match called {
        Some((name, _)) => format!("it called {name}, which the grant \"wasi\" does not give"),
        None => cause.to_owned(),
    }
}

/// The interface that is being linked.
struct Offered<'a>(LinkerInstance<'a, State>);

impl Offered<'_> {
    fn function<P, R>(
        &mut self,
        name: &str,
        function: impl Fn(&mut State, P) -> Result<R> + Send + Sync + 'static,
    ) -> Result<()>
    where
        P: ComponentNamedList + Lift + 'static,
        R: ComponentNamedList + Lower + 'static,
    {
        self.0.func_wrap(name, move |mut store: StoreContextMut<'_, State>, parameters: P| {
            function(store.data_mut(), parameters)
        })
    }

    fn resource(&mut self, name: &str) -> Result<()> {
        self.0.resource(name, ResourceType::host::<()>(), |_, _| Ok(()))
    }
}

fn environment(offered: &mut Offered<'_>) -> Result<()> {
    offered.function("get-environment", |_, ()| Ok((Vec::<(String, String)>::new(),)))?;
    offered.function("get-arguments", |_, ()| Ok((Vec::<String>::new(),)))?;
    offered.function("initial-cwd", |_, ()| Ok((None::<String>,)))
}

fn exit(offered: &mut Offered<'_>) -> Result<()> {
    offered.function("exit", |_, (status,): (std::result::Result<(), ()>,)| -> Result<()> {
        let how = if status.is_ok() { "without a failure" } else { "with a failure" };
        Err(Error::msg(format!("it called exit, {how}")))
    })
}

fn monotonic_clock(offered: &mut Offered<'_>) -> Result<()> {
    let now = |state: &mut State, ()| Ok((u64::try_from(state.now_us()).unwrap_or(0).saturating_mul(NANOS),));
    offered.function("now", now)?;
    offered.function("resolution", |_, ()| Ok((NANOS,)))?;
    for name in ["subscribe-instant", "subscribe-duration"] {
        offered.function(name, |_, (_when,): (u64,)| Ok((Handle::new_own(POLLABLE),)))?;
    }
    Ok(())
}

fn wall_clock(offered: &mut Offered<'_>) -> Result<()> {
    let datetime = |us: u64| Datetime {
        seconds: us / 1_000_000,
        nanoseconds: u32::try_from(us % 1_000_000 * NANOS).unwrap_or_default(),
    };
    offered.function("now", move |state, ()| Ok((datetime(u64::try_from(state.now_us()).unwrap_or(0)),)))?;
    offered.function("resolution", move |_, ()| Ok((datetime(1),)))
}

/// Nothing is ever waited for: everything is ready.
fn poll(offered: &mut Offered<'_>) -> Result<()> {
    offered.resource("pollable")?;
    offered.function("[method]pollable.ready", |_, (_one,): (Handle,)| Ok((true,)))?;
    offered.function("[method]pollable.block", |_, (_one,): (Handle,)| Ok(()))?;
    offered.function("poll", |_, (all,): (Vec<Handle>,)| {
        let ready = (0..all.len()).map(|index| u32::try_from(index).unwrap_or(u32::MAX));
        Ok((ready.collect::<Vec<u32>>(),))
    })
}

/// Input is at its end; output goes to the log.
fn streams(offered: &mut Offered<'_>) -> Result<()> {
    offered.resource("input-stream")?;
    offered.resource("output-stream")?;
    for name in ["[method]input-stream.read", "[method]input-stream.blocking-read"] {
        offered.function(name, |_, (_stream, _len): (Handle, u64)| {
            Ok((Err::<Vec<u8>, StreamError>(StreamError::Closed),))
        })?;
    }
    for name in ["[method]input-stream.subscribe", "[method]output-stream.subscribe"] {
        offered.function(name, |_, (_stream,): (Handle,)| Ok((Handle::new_own(POLLABLE),)))?;
    }
    offered.function("[method]output-stream.check-write", |_, (_stream,): (Handle,)| {
        Ok((Ok::<u64, StreamError>(STREAM_BYTES),))
    })?;
    for name in ["[method]output-stream.write", "[method]output-stream.blocking-write-and-flush"] {
        offered.function(name, |state, (stream, bytes): (Handle, Vec<u8>)| -> Result<Written> {
            state.write(stream.rep() == STDERR, &bytes);
            Ok((Ok(()),))
        })?;
    }
    for name in ["[method]output-stream.flush", "[method]output-stream.blocking-flush"] {
        offered.function(name, |_, (_stream,): (Handle,)| -> Result<Written> { Ok((Ok(()),)) })?;
    }
    Ok(())
}

fn random(offered: &mut Offered<'_>) -> Result<()> {
    for name in ["get-random-bytes", "get-insecure-random-bytes"] {
        offered.function(name, |state, (len,): (u64,)| Ok((state.inert().random_bytes(len)?,)))?;
    }
    for name in ["get-random-u64", "get-insecure-random-u64"] {
        offered.function(name, |state, ()| Ok((state.inert().random(),)))?;
    }
    for name in ["insecure-seed", "get-insecure-seed"] {
        offered.function(name, |state, ()| Ok(((state.inert().random(), state.inert().random()),)))?;
    }
    Ok(())
}

impl State {
    /// Bytes that the plugin has written to standard output or error: each line is a
    /// line of its log, an error the last words before a trap.
    fn write(&mut self, is_error: bool, bytes: &[u8]) {
        for line in self.inert().lines(usize::from(is_error), bytes, MAX_LOG_LINE_BYTES) {
            let level = if is_error { Level::Error } else { Level::Info };
            self.log(level, line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn randomness_starts_anew_with_every_call() {
        let (mut one, mut other) = (Inert::default(), Inert::default());
        one.begin(7);
        let first = (one.random(), one.random_bytes(3).unwrap());
        assert_ne!(first.0, one.random());
        one.begin(7);
        other.begin(7);
        assert_eq!((one.random(), one.random_bytes(3).unwrap()), first);
        assert_eq!(other.random(), first.0);
        assert!(one.random_bytes(MAX_RANDOM_BYTES + 1).is_err());
    }

    #[test]
    fn what_is_not_there_is_named() {
        let cause = "unknown import: `wasi:sockets/tcp@0.2.0#start` has not been defined";
        assert_eq!(explained(cause), "it called wasi:sockets/tcp@0.2.0#start, which the grant \"wasi\" does not give");
        assert_eq!(explained("unreachable"), "unreachable");
    }

    #[test]
    fn lines_are_put_together_and_cut() {
        let mut inert = Inert::default();
        assert_eq!(inert.lines(0, b"one\ntw", 10), ["one"]);
        assert_eq!(inert.lines(1, b"other\n", 10), ["other"]);
        assert_eq!(inert.lines(0, b"o\n\n", 10), ["two", ""]);
        assert_eq!(inert.lines(0, b"0123456789abc", 10), ["0123456789"]);
    }
}
