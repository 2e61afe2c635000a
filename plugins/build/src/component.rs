//! Wraps core modules into components, and checks what they ask for.

use wit_component::{ComponentEncoder, DecodedWasm};

use crate::Result;

/// The only interface that a plugin may import functions from.
const HOST: &str = "weir:plugin/host@0.1.0";
/// Interfaces of types, which ask for nothing.
const TYPES: [&str; 2] = ["weir:plugin/columns@0.1.0", "weir:plugin/messages@0.1.0"];

/// A component, and the interfaces that it exports.
pub(crate) struct Component {
    pub(crate) bytes: Vec<u8>,
    pub(crate) roles: Vec<String>,
}

/// Wrap a core module; refuse one that imports anything beyond the contract.
pub(crate) fn wrap(module: &[u8]) -> Result<Component> {
    let bytes = ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| format!("cannot be wrapped: {error:#}"))?;
    let decoded = wit_component::decode(&bytes).map_err(|error| format!("cannot be decoded: {error:#}"))?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err("the wrapped module is no component".into());
    };
    let world = &resolve.worlds[world];
    for key in world.imports.keys() {
        let name = resolve.name_world_key(key);
        if name != HOST && !TYPES.contains(&name.as_str()) {
            return Err(format!("imports {name}; a plugin may import {HOST} and nothing else"));
        }
    }
    let roles = world.exports.keys().map(|key| resolve.name_world_key(key)).collect();
    Ok(Component { bytes, roles })
}
