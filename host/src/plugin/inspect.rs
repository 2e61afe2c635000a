//! What a component is, whether or not it will be accepted.

use super::inert::is_wasi;
use super::library::{form_of, roles};
use super::{ComponentSource, Grants, Library, Limits, Plugin, Role};
use crate::model::Digest;
use crate::{Error, Result};

/// What the bytes of a component are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A component.
    Component,
    /// A core module that describes one, which weir encodes.
    CoreModule,
}

/// What a component is, and whether it will be accepted.
pub struct Inspection {
    /// The digest of its bytes.
    pub digest: Digest,
    /// How many bytes it has.
    pub size_bytes: usize,
    /// What they are.
    pub form: Form,
    /// The interfaces that it imports.
    pub imports: Vec<String>,
    /// What it can do.
    pub roles: Vec<Role>,
    /// What it must be granted.
    pub needs: Grants,
    /// The plugin, or why it will not be accepted with these grants either.
    pub accepted: Result<Plugin>,
}

impl Library {
    /// Look at a component. Compiles it unless that was done before.
    ///
    /// # Errors
    /// Config if it cannot be read, or is no WebAssembly that could be a plugin.
    pub fn inspect(&self, source: &ComponentSource, limits: &Limits) -> Result<Inspection> {
        let bytes = source.read()?;
        let (digest, size_bytes, form) = (Digest::of(&bytes), bytes.len(), form_of(&bytes));
        let component = self.component(source, digest, &bytes)?;
        let imports = self.imports(&component);
        let needs = Grants { wasi: imports.iter().any(|import| is_wasi(import)) };
        let mut accepted = self.load(source, Some(digest), &Limits { grants: needs, ..*limits });
        let roles = roles(self.engine(), &component);
        if accepted.is_ok() && roles.is_empty() {
            accepted = Err(Error::config(format!("{source} plays no role: export one of the worlds of the contract")));
        }
        Ok(Inspection { digest, size_bytes, form, imports, roles, needs, accepted })
    }
}
