//! The contract as Rust, made from `plugins/wit` at compile time: one world with all that this version offers and asks
//! for. Which of the exports a guest has is found by `inspect`; the indices are used one by one.

#![allow(clippy::all, clippy::pedantic, reason = "generated")]

wasmtime::component::bindgen!({
    path: "plugins/wit",
    inline: "
        package windlass:host@1.0.0;
        world room {
            import windlass:plugin/log@1.0.0;
            import windlass:plugin/progress@1.0.0;
            import windlass:plugin/control@1.0.0;
            import windlass:plugin/items@1.0.0;
            import windlass:plugin/state@1.0.0;
            import windlass:plugin/sign@1.0.0;
            import windlass:plugin/secrets@1.0.0;
            import windlass:plugin/artifacts@1.0.0;
            import windlass:plugin/artifact-source@1.0.0;
            import windlass:plugin/fetch@1.0.0;
            export windlass:plugin/job@1.0.0;
            export windlass:plugin/backlog@1.0.0;
            export windlass:plugin/config@1.0.0;
            export windlass:plugin/describe@1.0.0;
            export windlass:plugin/finish@1.0.0;
        }
    ",
    world: "windlass:host/room",
    imports: {
        "windlass:plugin/fetch.fetch": async,
        "windlass:plugin/items.declare": async,
        "windlass:plugin/items.next": async,
        "windlass:plugin/items.finish": async,
        "windlass:plugin/state.get": async,
        "windlass:plugin/state.set": async,
        "windlass:plugin/state.delete": async,
        "windlass:plugin/state.keys": async,
        "windlass:plugin/artifacts.create": async | trappable,
        "windlass:plugin/artifacts.[method]artifact.write": async | trappable,
        "windlass:plugin/artifacts.[method]artifact.finish": async | trappable,
        "windlass:plugin/artifacts.[drop]artifact": async | trappable,
        "windlass:plugin/artifact-source.open": async | trappable,
        "windlass:plugin/artifact-source.[method]source.length": trappable,
        "windlass:plugin/artifact-source.[method]source.media-type": trappable,
        "windlass:plugin/artifact-source.[method]source.read-at": async | trappable,
    },
    with: {
        "windlass:plugin/artifacts.artifact": super::host::artifacts::Open,
        "windlass:plugin/artifact-source.source": super::host::artifact_source::Left,
    },
    exports: { default: async },
});
