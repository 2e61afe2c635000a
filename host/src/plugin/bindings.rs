//! Bindings generated from the contract in `wit/`.
//!
//! One world holds every role, so that all roles share the types of columns;
//! what a component really exports is looked up role by role.

wasmtime::component::bindgen!({
    path: "../wit/0.1.0",
    world: "every-role",
    ownership: Borrowing { duplicate_if_necessary: true },
});
