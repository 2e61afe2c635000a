//! The macros that turn types into the exports of a component.

/// Export a type in one or several roles:
/// `export!(Type: parser)`, `export!(Type: parser, transform)`.
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

/// Export a type as a transform; the same as `export!(Type: transform)`.
#[macro_export]
macro_rules! export_transform {
    ($plugin:ty) => {
        $crate::export!($plugin: transform);
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
}
