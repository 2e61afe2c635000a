//! From a reference to a checked component: bytes, digest, imports, roles.

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, HasSelf, InstancePre, Linker};

use super::bindings::EveryRole;
use super::cache::Cache;
use super::compile::Compiler;
use super::inspect::Form;
use super::sandbox::{Grants, Limits, Sandbox, State};
use super::{Engine, bindings, config_schema, inert};
use crate::model::{Digest, PluginIdentity};
use crate::{Error, Result};

/// A component larger than this is refused before it is compiled.
const MAX_COMPONENT_BYTES: u64 = 64 * 1024 * 1024;

/// A plugin that says more about itself is refused.
const MAX_DESCRIPTION_BYTES: usize = 256 * 1024;

/// The interfaces that a component may import.
const OFFERED: &[&str] = &["weir:plugin/host@0.1.0", "weir:plugin/columns@0.1.0", "weir:plugin/messages@0.1.0"];

/// The components that come with weir.
const BUILTIN: &[(&str, &[u8])] = &[
    ("consecutive", include_bytes!("../../../plugins/bundled/consecutive.wasm")),
    ("csv", include_bytes!("../../../plugins/bundled/csv.wasm")),
    ("identity", include_bytes!("../../../plugins/bundled/identity.wasm")),
    ("json", include_bytes!("../../../plugins/bundled/json.wasm")),
    ("statistics", include_bytes!("../../../plugins/bundled/statistics.wasm")),
    ("thresholds", include_bytes!("../../../plugins/bundled/thresholds.wasm")),
];

/// The names of the components that come with weir.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    BUILTIN.iter().map(|(name, _)| *name)
}

/// Where a component comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComponentSource {
    /// It comes with weir.
    Builtin(String),
    /// A file on the local disk: a component, or a core module that holds one.
    File(PathBuf),
    /// Bytes, named for messages.
    Bytes(String, Bytes),
}

/// What a plugin can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Turns messages into rows.
    Parser,
    /// Derives a schema from a sample.
    Inference,
    /// Turns rows into rows.
    Transform,
    /// Folds rows into groups.
    Aggregator,
    /// Raises alerts.
    Rule,
}

impl Role {
    const ALL: [Self; 5] = [Self::Parser, Self::Inference, Self::Transform, Self::Aggregator, Self::Rule];

    /// The name of the role's interface in the contract.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parser => "parser",
            Self::Inference => "inference",
            Self::Transform => "transform",
            Self::Aggregator => "aggregator",
            Self::Rule => "rule",
        }
    }

    fn interface(self) -> String {
        format!("weir:plugin/{}@0.1.0", self.name())
    }
}

/// What is wrong with a plugin's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Dotted path into the configuration, empty for all of it.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Loads components. One a process; clones share everything.
#[derive(Clone)]
pub struct Library {
    engine: Engine,
    linker: Arc<Linker<State>>,
    cache: Cache,
    compiler: Compiler,
}

impl Library {
    /// A library that keeps compiled components in this folder.
    ///
    /// # Errors
    /// As [`Engine::new`].
    pub fn new(engine: Engine, cache_folder: PathBuf, compiler: Compiler) -> Result<Self> {
        let mut linker = Linker::new(engine.inner());
        EveryRole::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)
            .map_err(|error| Error::bug("cannot link the plugin contract").because(error))?;
        Ok(Self { engine, linker: Arc::new(linker), cache: Cache::new(cache_folder), compiler })
    }

    /// Load, check and describe a plugin. Compiles it unless that was done
    /// before, which takes CPU time: call it off the async threads.
    ///
    /// # Errors
    /// Config if there is no such component, its digest is not the pinned one,
    /// it does not play the role, or imports more than the contract offers;
    /// Plugin if it fails to describe itself.
    pub fn load(&self, source: &ComponentSource, pinned: Option<Digest>, limits: &Limits) -> Result<Plugin> {
        let bytes = read(source)?;
        let digest = Digest::of(&bytes);
        refuse_another(source, digest, pinned)?;
        let component = self.component(source, digest, &bytes)?;
        let foreign = self.foreign_imports(source, &component, limits.grants)?;
        let roles = roles(&self.engine, &component);
        let pre = match foreign.as_slice() {
            [] => self.linker.instantiate_pre(&component),
            wasi => {
                let mut linker = (*self.linker).clone();
                inert::link(&mut linker, &component, wasi).and_then(|()| linker.instantiate_pre(&component))
            }
        };
        let pre = pre.map_err(|error| {
            Error::config(format!("{source} does not fit the plugin contract 0.1.0")).because(error)
        })?;
        let manifest = describe(source, &self.engine, &pre, limits)?;
        Ok(Plugin {
            source: source.clone(),
            engine: self.engine.clone(),
            bytes,
            digest,
            roles,
            needs: Grants { wasi: !foreign.is_empty() },
            pre,
            manifest: Arc::new(manifest),
        })
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The compiled component of these bytes.
    pub(super) fn component(&self, source: &ComponentSource, digest: Digest, bytes: &Bytes) -> Result<Component> {
        self.cache.get_or_compile(&self.engine, digest, || self.compile(source, bytes))
    }

    fn compile(&self, source: &ComponentSource, bytes: &Bytes) -> Result<Component> {
        if !is_webassembly(bytes) {
            return Err(Error::config(format!(
                "{source} is not a usable WebAssembly component: it is no WebAssembly at all"
            )));
        }
        self.compiler.compile(&self.engine, source, &encoded(source, bytes)?)
    }

    /// The interfaces that a component imports.
    pub(super) fn imports(&self, component: &Component) -> Vec<String> {
        let kind = component.component_type();
        kind.imports(self.engine.inner()).map(|(name, _)| name.to_owned()).collect()
    }

    /// What it imports beyond the contract, all of it granted.
    fn foreign_imports(&self, source: &ComponentSource, component: &Component, grants: Grants) -> Result<Vec<String>> {
        let imports = self.imports(component).into_iter();
        let foreign: Vec<String> = imports.filter(|name| !OFFERED.contains(&name.as_str())).collect();
        let (wasi, others): (Vec<String>, Vec<String>) = foreign.into_iter().partition(|name| inert::is_wasi(name));
        if !others.is_empty() {
            return Err(Error::config(format!(
                "{source} imports {}, which a plugin cannot have: build it for wasm32-unknown-unknown, or without what \
                 needs these imports",
                others.join(", ")
            )));
        }
        if !wasi.is_empty() && !grants.wasi {
            return Err(Error::config(format!(
                "{source} imports {}: it needs the grant \"wasi\", which gives language runtimes a WASI without files, \
                 environment and sockets (`grants = [\"wasi\"]` beside `plugin`), or its WASI imports stubbed out when \
                 it is built",
                wasi.join(", ")
            )));
        }
        Ok(wasi)
    }
}

/// A checked component, ready to be instantiated.
#[derive(Clone)]
pub struct Plugin {
    source: ComponentSource,
    engine: Engine,
    bytes: Bytes,
    digest: Digest,
    roles: Vec<Role>,
    needs: Grants,
    pre: InstancePre<State>,
    manifest: Arc<bindings::exports::weir::plugin::plugin::Manifest>,
}

impl Plugin {
    /// The name that it gives itself.
    pub fn name(&self) -> &str {
        &self.manifest.name
    }

    /// The version that it gives itself.
    pub fn version(&self) -> &str {
        &self.manifest.version
    }

    /// What it was granted because it imports it.
    pub fn needs(&self) -> Grants {
        self.needs
    }

    /// What it says it does.
    pub fn description(&self) -> &str {
        &self.manifest.description
    }

    /// The JSON Schema of its configuration, as it announces it.
    pub fn config_schema(&self) -> &str {
        &self.manifest.config_schema
    }

    /// The digest of the component.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The component, as it was read.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What it can do.
    pub fn roles(&self) -> &[Role] {
        &self.roles
    }

    /// Who it is, in a step of a pipeline.
    pub fn identity(&self, step: &str) -> PluginIdentity {
        PluginIdentity {
            step: step.to_owned(),
            name: self.manifest.name.clone(),
            version: self.manifest.version.clone(),
            sha256: self.digest,
        }
    }

    /// What is wrong with a configuration according to the schema that the
    /// plugin announces; empty if nothing is.
    ///
    /// # Errors
    /// Plugin if the announced schema is none.
    pub fn check_config(&self, config: &serde_json::Value) -> Result<Vec<ConfigProblem>> {
        let refused = |error: &dyn std::fmt::Display| {
            Error::plugin(format!("{} announces an unusable config schema: {error}", self.source))
        };
        let schema = serde_json::from_str(&self.manifest.config_schema).map_err(|error| refused(&error))?;
        let validator = jsonschema::validator_for(&schema).map_err(|error| refused(&error))?;
        let problems = validator.iter_errors(config).flat_map(|error| config_schema::problems(&error));
        Ok(problems.collect())
    }

    /// Fails unless the plugin plays this role.
    ///
    /// # Errors
    /// Config, naming the roles that it plays.
    pub fn require(&self, role: Role) -> Result<()> {
        if self.roles.contains(&role) {
            return Ok(());
        }
        let roles: Vec<_> = self.roles.iter().map(|role| role.name()).collect();
        let roles = if roles.is_empty() { "no role at all".to_owned() } else { roles.join(", ") };
        let article = if role == Role::Aggregator { "an" } else { "a" };
        Err(Error::config(format!("{} cannot be {article} {}: it exports {roles}", self.source, role.name())))
    }

    pub(super) fn pre(&self) -> &InstancePre<State> {
        &self.pre
    }

    /// A new instance under these limits.
    pub(super) fn start(&self, step: &str, limits: &Limits) -> std::result::Result<Sandbox, super::sandbox::Failure> {
        Sandbox::start(&self.engine, &self.pre, step, limits)
    }
}

impl ComponentSource {
    /// What a pipeline file calls it.
    pub fn name(&self) -> String {
        match self {
            Self::Builtin(name) => format!("builtin:{name}"),
            Self::File(path) => path.display().to_string(),
            Self::Bytes(name, _) => name.clone(),
        }
    }

    /// The component.
    ///
    /// # Errors
    /// Config if there is none, or it is too large.
    pub fn read(&self) -> Result<Bytes> {
        read(self)
    }
}

impl std::fmt::Display for ComponentSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "plugin {}", self.name())
    }
}

fn read(source: &ComponentSource) -> Result<Bytes> {
    match source {
        ComponentSource::Bytes(_, bytes) => {
            refuse_size(source, bytes.len() as u64)?;
            Ok(bytes.clone())
        }
        ComponentSource::Builtin(name) => {
            let known = || builtin_names().collect::<Vec<_>>().join(", ");
            let found = BUILTIN.iter().find(|(builtin, _)| builtin == name);
            let unknown =
                || Error::config(format!("there is no plugin builtin:{name}: the bundled ones are {}", known()));
            found.map(|(_, bytes)| Bytes::from_static(bytes)).ok_or_else(unknown)
        }
        ComponentSource::File(path) => {
            let failed = |error| Error::config(format!("cannot read the plugin {}", path.display())).because(error);
            // Reading from something else than a file may never end.
            if !std::fs::metadata(path).map_err(failed)?.is_file() {
                return Err(failed(std::io::Error::other("it is no file")));
            }
            let file = std::fs::File::open(path).map_err(failed)?;
            refuse_size(source, file.metadata().map_err(failed)?.len())?;
            let mut bytes = Vec::new();
            file.take(MAX_COMPONENT_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
            refuse_size(source, bytes.len() as u64)?;
            Ok(bytes.into())
        }
    }
}

/// Refuse a component with another digest than the one that is pinned.
///
/// # Errors
/// Config if it is another one.
pub fn refuse_another(source: &ComponentSource, digest: Digest, pinned: Option<Digest>) -> Result<()> {
    match pinned.filter(|pinned| *pinned != digest) {
        None => Ok(()),
        Some(pinned) => Err(Error::config(format!(
            "{source} has the digest {digest}, but {pinned} is pinned: restore the file or change `sha256`"
        ))),
    }
}

fn refuse_size(source: &ComponentSource, bytes: u64) -> Result<()> {
    if bytes <= MAX_COMPONENT_BYTES {
        return Ok(());
    }
    Err(Error::config(format!("the {source} has {bytes} bytes, more than the {MAX_COMPONENT_BYTES} allowed")))
}

/// What modules and components begin with (WebAssembly core specification, section
/// 5.5.16).
fn is_webassembly(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\0asm")
}

/// What these bytes are. Core modules and components differ in the layer field of
/// their preamble.
pub fn form_of(bytes: &[u8]) -> Form {
    if bytes.starts_with(b"\0asm\x01\0\0\0") { Form::CoreModule } else { Form::Component }
}

/// The component of these bytes, which a core module may describe. `source` names
/// them in messages.
///
/// # Errors
/// Config if the module describes none.
pub fn encoded(source: &ComponentSource, bytes: &Bytes) -> Result<Bytes> {
    match form_of(bytes) {
        Form::Component => Ok(bytes.clone()),
        Form::CoreModule => encode(source, bytes).map(Bytes::from),
    }
}

/// What the C library imports for calls of the system.
const WASI_OF_C: &str = "wasi_snapshot_preview1";

fn encode(source: &ComponentSource, module: &[u8]) -> Result<Vec<u8>> {
    wit_component::ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| {
            let why = format!("{error:#}");
            let hint = if why.contains(WASI_OF_C) {
                "calls what an operating system would have to answer, such as printf, files or the time, and a plugin \
                 has none: write to the log of the host instead (in C `weir_log`)"
            } else {
                "is a core module that does not describe a component: build it with wit-bindgen"
            };
            Error::config(format!("{source} {hint}")).because(error)
        })
}

pub(super) fn roles(engine: &Engine, component: &Component) -> Vec<Role> {
    let kind = component.component_type();
    let exports = |role: Role| {
        let interface = role.interface();
        kind.exports(engine.inner())
            .any(|(name, item)| name == interface && matches!(item.ty, ComponentItem::ComponentInstance(_)))
    };
    Role::ALL.into_iter().filter(|role| exports(*role)).collect()
}

fn describe(
    source: &ComponentSource,
    engine: &Engine,
    pre: &InstancePre<State>,
    limits: &Limits,
) -> Result<bindings::exports::weir::plugin::plugin::Manifest> {
    let indices = bindings::exports::weir::plugin::plugin::GuestIndices::new(pre)
        .map_err(|error| Error::config(format!("{source} does not export weir:plugin/plugin@0.1.0")).because(error))?;
    let failed = |failure| Error::plugin(format!("{source} fails to describe itself")).because(failure);
    let mut sandbox = Sandbox::start(engine, pre, "describe", limits).map_err(failed)?;
    let manifest =
        sandbox.call(|store, instance| indices.load(&mut *store, instance)?.call_describe(store)).map_err(failed)?;
    for (what, text) in [("name", &manifest.name), ("version", &manifest.version)] {
        let fits = |letter: char| letter.is_ascii_alphanumeric() || "-._+".contains(letter);
        if text.is_empty() || text.len() > 100 || !text.chars().all(fits) {
            return Err(Error::plugin(format!(
                "{source} gives itself an unusable {what}: expected 1 to 100 letters, digits, `-`, `.`, `_` or `+`"
            )));
        }
    }
    for (what, text) in [("description", &manifest.description), ("config schema", &manifest.config_schema)] {
        if text.len() > MAX_DESCRIPTION_BYTES {
            return Err(Error::plugin(format!(
                "{source} has a {what} of {} bytes, more than {MAX_DESCRIPTION_BYTES}",
                text.len()
            )));
        }
    }
    Ok(manifest)
}
