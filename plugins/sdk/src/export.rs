//! The macros that turn types into the exports of a component.

/// Export a type in one or several roles:
/// `export!(Type: parser)`, `export!(Type: parser, transform)`. The roles are
/// `parser`, `inference`, `transform`, `aggregator` and `rule`.
///
/// The type implements [`Plugin`](crate::Plugin) and the trait of each role.
/// Call it once in a crate. It expands to nothing but type checks off
/// WebAssembly.
#[macro_export]
macro_rules! export {
    ($plugin:ty: $($role:ident),+ $(,)?) => {
        $crate::__export_role!(plugin $plugin);
        $($crate::__export_role!($role $plugin);)+
    };
}

/// Export a type as a parser; the same as `export!(Type: parser)`.
#[macro_export]
macro_rules! export_parser {
    ($plugin:ty) => {
        $crate::export!($plugin: parser);
    };
}

/// Export a type as a parser that also infers schemas; the same as
/// `export!(Type: parser, inference)`.
#[macro_export]
macro_rules! export_inferring_parser {
    ($plugin:ty) => {
        $crate::export!($plugin: parser, inference);
    };
}

/// Export a type as a transform; the same as `export!(Type: transform)`.
#[macro_export]
macro_rules! export_transform {
    ($plugin:ty) => {
        $crate::export!($plugin: transform);
    };
}

/// Export a type as an aggregator; the same as `export!(Type: aggregator)`.
#[macro_export]
macro_rules! export_aggregator {
    ($plugin:ty) => {
        $crate::export!($plugin: aggregator);
    };
}

/// Export a type as a rule; the same as `export!(Type: rule)`.
#[macro_export]
macro_rules! export_rule {
    ($plugin:ty) => {
        $crate::export!($plugin: rule);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_role {
    (plugin $plugin:ty) => {
        const _: () = {
            use $crate::bindings::plugin as bindings;

            struct Role;

            impl bindings::exports::weir::plugin::plugin::Guest for Role {
                fn describe() -> $crate::Manifest {
                    $crate::host::log_panics();
                    <$plugin as $crate::Plugin>::manifest()
                }
            }

            #[cfg(target_arch = "wasm32")]
            bindings::export_plugin_role! {Role with_types_in bindings}
            // Without exports the compiler would call the plugin dead code.
            #[cfg(not(target_arch = "wasm32"))]
            const _: () = {
                let _ = <Role as bindings::exports::weir::plugin::plugin::Guest>::describe;
            };
        };
    };
    (parser $plugin:ty) => {
        const _: () = {
            use $crate::bindings::parser as bindings;

            struct Role;

            ::std::thread_local! {
                static INSTANCE: $crate::__shell::Instance<$plugin> = const { ::std::cell::RefCell::new(None) };
            }

            impl bindings::exports::weir::plugin::parser::Guest for Role {
                fn configure(
                    config: ::std::string::String,
                    stored: ::std::option::Option<$crate::Schema>,
                ) -> ::std::result::Result<$crate::ParserInfo, ::std::vec::Vec<$crate::Problem>> {
                    $crate::__shell::configure(&INSTANCE, || <$plugin as $crate::Parser>::configure(&config, stored))
                }

                fn parse(chunk: $crate::Messages) -> ::std::result::Result<$crate::Parsed, $crate::Error> {
                    $crate::__shell::call(&INSTANCE, |plugin| $crate::Parser::parse(plugin, chunk))
                }
            }

            #[cfg(target_arch = "wasm32")]
            bindings::export_parser_role! {Role with_types_in bindings}
            // Without exports the compiler would call the plugin dead code.
            #[cfg(not(target_arch = "wasm32"))]
            const _: () = {
                let _ = <Role as bindings::exports::weir::plugin::parser::Guest>::configure;
                let _ = <Role as bindings::exports::weir::plugin::parser::Guest>::parse;
            };
        };
    };
    (inference $plugin:ty) => {
        const _: () = {
            use $crate::bindings::inference as bindings;

            struct Role;

            impl bindings::exports::weir::plugin::inference::Guest for Role {
                fn infer(
                    config: ::std::string::String,
                    sample: $crate::Messages,
                ) -> ::std::result::Result<$crate::Schema, ::std::vec::Vec<$crate::Problem>> {
                    $crate::host::log_panics();
                    <$plugin as $crate::Inference>::infer(&config, &sample)
                }
            }

            #[cfg(target_arch = "wasm32")]
            bindings::export_inference_role! {Role with_types_in bindings}
            // Without exports the compiler would call the plugin dead code.
            #[cfg(not(target_arch = "wasm32"))]
            const _: () = {
                let _ = <Role as bindings::exports::weir::plugin::inference::Guest>::infer;
            };
        };
    };
    (transform $plugin:ty) => {
        const _: () = {
            use $crate::bindings::transform as bindings;

            struct Role;

            ::std::thread_local! {
                static INSTANCE: $crate::__shell::Instance<$plugin> = const { ::std::cell::RefCell::new(None) };
            }

            impl bindings::exports::weir::plugin::transform::Guest for Role {
                fn configure(
                    config: ::std::string::String,
                    input: $crate::Schema,
                ) -> ::std::result::Result<$crate::TransformInfo, ::std::vec::Vec<$crate::Problem>> {
                    $crate::__shell::configure(&INSTANCE, || <$plugin as $crate::Transform>::configure(&config, input))
                }

                fn apply(rows: $crate::Batch) -> ::std::result::Result<$crate::Transformed, $crate::Error> {
                    $crate::__shell::call(&INSTANCE, |plugin| $crate::Transform::apply(plugin, rows))
                }
            }

            #[cfg(target_arch = "wasm32")]
            bindings::export_transform_role! {Role with_types_in bindings}
            // Without exports the compiler would call the plugin dead code.
            #[cfg(not(target_arch = "wasm32"))]
            const _: () = {
                let _ = <Role as bindings::exports::weir::plugin::transform::Guest>::configure;
                let _ = <Role as bindings::exports::weir::plugin::transform::Guest>::apply;
            };
        };
    };
    (aggregator $plugin:ty) => {
        const _: () = {
            use $crate::bindings::aggregator as bindings;

            struct Role;

            ::std::thread_local! {
                static INSTANCE: $crate::__shell::Instance<$plugin> = const { ::std::cell::RefCell::new(None) };
            }

            impl bindings::exports::weir::plugin::aggregator::Guest for Role {
                fn configure(
                    config: ::std::string::String,
                    input: $crate::Schema,
                ) -> ::std::result::Result<$crate::AggregatorInfo, ::std::vec::Vec<$crate::Problem>> {
                    $crate::__shell::configure(&INSTANCE, || <$plugin as $crate::Aggregator>::configure(&config, input))
                }

                fn update(
                    groups: ::std::vec::Vec<u32>,
                    rows: $crate::Batch,
                ) -> ::std::result::Result<(), $crate::Error> {
                    $crate::__shell::call(&INSTANCE, |plugin| $crate::Aggregator::update(plugin, &groups, &rows))
                }

                fn merge(
                    into: ::std::vec::Vec<u32>,
                    sources: ::std::vec::Vec<u32>,
                ) -> ::std::result::Result<(), $crate::Error> {
                    $crate::__shell::call(&INSTANCE, |plugin| $crate::Aggregator::merge(plugin, &into, &sources))
                }

                fn evaluate(groups: ::std::vec::Vec<u32>) -> ::std::result::Result<$crate::Batch, $crate::Error> {
                    $crate::__shell::call(&INSTANCE, |plugin| $crate::Aggregator::evaluate(plugin, &groups))
                }

                fn release(groups: ::std::vec::Vec<u32>) {
                    // Before `configure` there is nothing to forget.
                    let _ = $crate::__shell::call(&INSTANCE, |plugin| {
                        $crate::Aggregator::release(plugin, &groups);
                        ::std::result::Result::Ok(())
                    });
                }

                fn snapshot(groups: ::std::vec::Vec<u32>) -> ::std::result::Result<$crate::VarBytes, $crate::Error> {
                    $crate::__shell::call(&INSTANCE, |plugin| $crate::Aggregator::snapshot(plugin, &groups))
                }

                fn restore(
                    groups: ::std::vec::Vec<u32>,
                    states: $crate::VarBytes,
                    state_version: u32,
                ) -> ::std::result::Result<(), $crate::Error> {
                    $crate::__shell::call(&INSTANCE, |plugin| {
                        $crate::Aggregator::restore(plugin, &groups, &states, state_version)
                    })
                }
            }

            #[cfg(target_arch = "wasm32")]
            bindings::export_aggregator_role! {Role with_types_in bindings}
            // Without exports the compiler would call the plugin dead code.
            #[cfg(not(target_arch = "wasm32"))]
            const _: () = {
                let _ = <Role as bindings::exports::weir::plugin::aggregator::Guest>::configure;
                let _ = <Role as bindings::exports::weir::plugin::aggregator::Guest>::update;
                let _ = <Role as bindings::exports::weir::plugin::aggregator::Guest>::merge;
                let _ = <Role as bindings::exports::weir::plugin::aggregator::Guest>::evaluate;
                let _ = <Role as bindings::exports::weir::plugin::aggregator::Guest>::release;
                let _ = <Role as bindings::exports::weir::plugin::aggregator::Guest>::snapshot;
                let _ = <Role as bindings::exports::weir::plugin::aggregator::Guest>::restore;
            };
        };
    };
    (rule $plugin:ty) => {
        const _: () = {
            use $crate::bindings::rule as bindings;

            struct Role;

            ::std::thread_local! {
                static INSTANCE: $crate::__shell::Instance<$plugin> = const { ::std::cell::RefCell::new(None) };
            }

            impl bindings::exports::weir::plugin::rule::Guest for Role {
                fn configure(
                    config: ::std::string::String,
                    input: $crate::Schema,
                ) -> ::std::result::Result<$crate::RuleInfo, ::std::vec::Vec<$crate::Problem>> {
                    $crate::__shell::configure(&INSTANCE, || <$plugin as $crate::Rule>::configure(&config, input))
                }

                fn evaluate(
                    groups: ::std::vec::Vec<u32>,
                    rows: $crate::Batch,
                ) -> ::std::result::Result<$crate::Alerts, $crate::Error> {
                    $crate::__shell::call(&INSTANCE, |plugin| $crate::Rule::evaluate(plugin, &groups, &rows))
                }

                fn release(groups: ::std::vec::Vec<u32>) {
                    // Before `configure` there is nothing to forget.
                    let _ = $crate::__shell::call(&INSTANCE, |plugin| {
                        $crate::Rule::release(plugin, &groups);
                        ::std::result::Result::Ok(())
                    });
                }

                fn snapshot(groups: ::std::vec::Vec<u32>) -> ::std::result::Result<$crate::VarBytes, $crate::Error> {
                    $crate::__shell::call(&INSTANCE, |plugin| $crate::Rule::snapshot(plugin, &groups))
                }

                fn restore(
                    groups: ::std::vec::Vec<u32>,
                    states: $crate::VarBytes,
                    state_version: u32,
                ) -> ::std::result::Result<(), $crate::Error> {
                    $crate::__shell::call(&INSTANCE, |plugin| {
                        $crate::Rule::restore(plugin, &groups, &states, state_version)
                    })
                }
            }

            #[cfg(target_arch = "wasm32")]
            bindings::export_rule_role! {Role with_types_in bindings}
            // Without exports the compiler would call the plugin dead code.
            #[cfg(not(target_arch = "wasm32"))]
            const _: () = {
                let _ = <Role as bindings::exports::weir::plugin::rule::Guest>::configure;
                let _ = <Role as bindings::exports::weir::plugin::rule::Guest>::evaluate;
                let _ = <Role as bindings::exports::weir::plugin::rule::Guest>::release;
                let _ = <Role as bindings::exports::weir::plugin::rule::Guest>::snapshot;
                let _ = <Role as bindings::exports::weir::plugin::rule::Guest>::restore;
            };
        };
    };
}
