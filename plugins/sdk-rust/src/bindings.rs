//! What `wit-bindgen` makes of the contract: one module a world, because a guest exports only the worlds it names. Every
//! world shares the types and imports of `job`.
#![allow(missing_docs, clippy::all)]

pub mod job {
    wit_bindgen::generate!({
        path: "../wit",
        world: "job-plugin",
        pub_export_macro: true,
        export_macro_name: "export_job",
        default_bindings_module: "windlass_plugin::bindings::job",
    });
}

pub mod backlog {
    wit_bindgen::generate!({
        path: "../wit",
        world: "backlog-plugin",
        pub_export_macro: true,
        export_macro_name: "export_backlog",
        default_bindings_module: "windlass_plugin::bindings::backlog",
        with: { "windlass:plugin/types@1.0.0": super::job::windlass::plugin::types },
    });
}

pub mod config {
    wit_bindgen::generate!({
        path: "../wit",
        world: "config-plugin",
        pub_export_macro: true,
        export_macro_name: "export_config",
        default_bindings_module: "windlass_plugin::bindings::config",
    });
}

pub mod describe {
    wit_bindgen::generate!({
        path: "../wit",
        world: "describe-plugin",
        pub_export_macro: true,
        export_macro_name: "export_describe",
        default_bindings_module: "windlass_plugin::bindings::describe",
    });
}

pub mod finish {
    wit_bindgen::generate!({
        path: "../wit",
        world: "finish-plugin",
        pub_export_macro: true,
        export_macro_name: "export_finish",
        default_bindings_module: "windlass_plugin::bindings::finish",
        with: { "windlass:plugin/types@1.0.0": super::job::windlass::plugin::types },
    });
}
