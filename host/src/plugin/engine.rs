//! The configured engine, and the clock tick behind the deadlines of calls.

use std::time::Duration;

use wasmtime::Config;

use crate::env;
use crate::{Error, Result};

/// How often the engine's epoch advances; the resolution of deadlines.
const TICK: Duration = Duration::from_millis(5);

/// The stack of a plugin. One for all, because it belongs to the engine.
const STACK_BYTES: usize = 512 * 1024;

/// Compiles and runs components under the rules of the sandbox.
#[derive(Clone)]
pub struct Engine(wasmtime::Engine);

impl Engine {
    /// An engine whose epoch advances on a thread of its own as long as the
    /// engine exists.
    ///
    /// # Errors
    /// Unavailable if the machine cannot run it, or has no thread for the tick.
    pub fn new() -> Result<Self> {
        let engine = wasmtime::Engine::new(&rules())
            .map_err(|error| Error::unavailable("this machine cannot run WebAssembly").because(error))?;
        let ticked = engine.weak();
        let ticker = env::thread("weir-tick", move || {
            while let Some(engine) = ticked.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(TICK);
            }
        })?;
        // The thread ends by itself when the last clone of the engine is gone.
        drop(ticker);
        Ok(Self(engine))
    }

    /// The engine of wasmtime.
    pub(super) fn inner(&self) -> &wasmtime::Engine {
        &self.0
    }

    /// How many ticks a deadline is, rounded up, plus the tick under way.
    pub(super) fn ticks(deadline: Duration) -> u64 {
        u64::try_from(deadline.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX / 2).saturating_add(1)
    }
}

/// The rules of the sandbox; compiled code is of the rules that it was compiled under.
pub(super) fn rules() -> Config {
    let mut config = Config::new();
    config
        // Calls are synchronous; a call costs a third without it.
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(STACK_BYTES)
        .cranelift_nan_canonicalization(true)
        .wasm_backtrace_max_frames(std::num::NonZero::new(20))
        .wasm_memory64(false)
        .wasm_threads(false)
        .wasm_gc(false)
        .wasm_exceptions(false)
        .wasm_relaxed_simd(false)
        .wasm_component_model(true);
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadline_rounds_up_to_ticks() {
        assert_eq!(Engine::ticks(Duration::from_millis(500)), 101);
        assert_eq!(Engine::ticks(Duration::from_millis(1)), 2);
        assert_eq!(Engine::ticks(Duration::ZERO), 1);
    }
}
