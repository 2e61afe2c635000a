//! The contract as Rust: what `wit-bindgen` makes of `wit/`.
//!
//! Each role is a world of its own, without the `plugin` interface, so that one
//! component can export any set of roles; `wit-component` joins the worlds that
//! [`export!`](crate::export) names. The types are generated once, in `types`,
//! and shared. Off WebAssembly the imports are stubs that must not be called.
#![allow(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::undocumented_unsafe_blocks,
    missing_docs,
    unreachable_pub,
    reason = "generated code"
)]

pub mod types {
    wit_bindgen::generate!({
        inline: "package weir:sdk-types; world types {
            import weir:plugin/host@0.1.0;
            import weir:plugin/columns@0.1.0;
            import weir:plugin/messages@0.1.0;
        }",
        path: "../../wit/0.1.0",
        generate_all,
        generate_unused_types: true,
    });
}

pub mod plugin {
    wit_bindgen::generate!({
        inline: "package weir:sdk-plugin; world plugin-role { export weir:plugin/plugin@0.1.0; }",
        path: "../../wit/0.1.0",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_plugin_role",
    });
}

pub mod parser {
    wit_bindgen::generate!({
        inline: "package weir:sdk-parser; world parser-role { export weir:plugin/parser@0.1.0; }",
        path: "../../wit/0.1.0",
        with: {
            "weir:plugin/columns@0.1.0": crate::bindings::types::weir::plugin::columns,
            "weir:plugin/messages@0.1.0": crate::bindings::types::weir::plugin::messages,
        },
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_parser_role",
    });
}

pub mod inference {
    wit_bindgen::generate!({
        inline: "package weir:sdk-inference; world inference-role { export weir:plugin/inference@0.1.0; }",
        path: "../../wit/0.1.0",
        with: {
            "weir:plugin/columns@0.1.0": crate::bindings::types::weir::plugin::columns,
            "weir:plugin/messages@0.1.0": crate::bindings::types::weir::plugin::messages,
        },
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_inference_role",
    });
}

pub mod transform {
    wit_bindgen::generate!({
        inline: "package weir:sdk-transform; world transform-role { export weir:plugin/transform@0.1.0; }",
        path: "../../wit/0.1.0",
        with: { "weir:plugin/columns@0.1.0": crate::bindings::types::weir::plugin::columns },
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_transform_role",
    });
}

pub mod aggregator {
    wit_bindgen::generate!({
        inline: "package weir:sdk-aggregator; world aggregator-role { export weir:plugin/aggregator@0.1.0; }",
        path: "../../wit/0.1.0",
        with: { "weir:plugin/columns@0.1.0": crate::bindings::types::weir::plugin::columns },
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_aggregator_role",
    });
}

pub mod rule {
    wit_bindgen::generate!({
        inline: "package weir:sdk-rule; world rule-role { export weir:plugin/rule@0.1.0; }",
        path: "../../wit/0.1.0",
        with: { "weir:plugin/columns@0.1.0": crate::bindings::types::weir::plugin::columns },
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_rule_role",
    });
}
