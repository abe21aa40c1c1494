//! Machine code from a module: what the compiler's process does ([`super::compiler`] starts it). Nothing of the module
//! runs here.

use std::borrow::Cow;

use wasi_preview1_component_adapter_provider as adapter;
use wasmtime::Module;
use wit_component::ComponentEncoder;

use super::engine;
use super::inspect::{self, Kind};

/// Compiled code for the engines of this binary, of a component or of a core module of WASI preview 1; `fuel`: for those that
/// count what is executed.
///
/// # Errors
/// Why the module is refused, on one line and with what to do.
pub fn compile(bytes: &[u8], fuel: bool) -> Result<Vec<u8>, String> {
    let engine = engine::compiling(fuel).map_err(|wrong| inspect::one_line(&format!("no compiler: {wrong:#}")))?;
    let component = match inspect::kind(bytes)? {
        Kind::Component => Cow::Borrowed(bytes),
        Kind::Core => {
            // The adapter takes a module for sound: it is told first what is not.
            Module::validate(&engine, bytes).map_err(|wrong| inspect::unreadable(&wrong))?;
            Cow::Owned(adapt(bytes)?)
        }
    };
    engine.precompile_component(&component).map_err(|wrong| inspect::unreadable(&wrong))
}

/// A component of a core module: a program with `_start`, or a plugin whose tool left the contract in it.
fn adapt(module: &[u8]) -> Result<Vec<u8>, String> {
    let is_program = module.windows(START.len()).any(|bytes| bytes == START);
    let kind = if is_program {
        adapter::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER
    } else {
        adapter::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER
    };
    let encode = || {
        ComponentEncoder::default()
            .validate(true)
            .module(module)?
            .adapter(adapter::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, kind)?
            .encode()
    };
    encode().map_err(|wrong| {
        inspect::one_line(&format!(
            "this core module does not become a component ({wrong:#}): build it as a program for wasm32-wasip1, or as a component \
             for wasm32-wasip2"
        ))
    })
}

/// The name of a program's entry, with its length before it, as an export has it.
const START: &[u8] = b"\x06_start";
