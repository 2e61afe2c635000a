//! What a plugin may ask of the host: a log, counters and the epoch's clock.
//!
//! Off WebAssembly there is no host: `log` and `count` do nothing and `now` is
//! the Unix epoch.

pub use crate::bindings::types::weir::plugin::host::Level;

/// Write a line to the host's log, which cuts long lines and bounds their number.
pub fn log(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::types::weir::plugin::host::log(level, message);
    #[cfg(not(target_arch = "wasm32"))]
    let _ = (level, message);
}

/// Add to a counter of the plugin. The host bounds how many names it may use.
pub fn count(name: &str, by: u64) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::types::weir::plugin::host::count(name, by);
    #[cfg(not(target_arch = "wasm32"))]
    let _ = (name, by);
}

/// The clock of the epoch, in microseconds since 1970-01-01T00:00:00Z: the same
/// for every call of an epoch, so that a replay gives the same rows.
#[must_use]
pub fn now() -> i64 {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::types::weir::plugin::host::now();
    #[cfg(not(target_arch = "wasm32"))]
    0
}

/// Send panics to the host's log, with the place where they happened; the trap
/// that follows carries no message of its own.
#[doc(hidden)]
pub fn log_panics() {
    #[cfg(target_arch = "wasm32")]
    {
        static INSTALLED: std::sync::Once = std::sync::Once::new();
        INSTALLED.call_once(|| {
            std::panic::set_hook(Box::new(|info| log(Level::Error, &info.to_string())));
        });
    }
}
