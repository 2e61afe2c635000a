//! Plugins: components in a sandbox.
