//! Whatever is pushed: compiled code, or a reason in one line, and never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|module: &[u8]| {
    if let Err(why) = windlass::plugin::compile::compile(module, false) {
        assert!(!why.is_empty() && !why.contains('\n'), "{why}");
    }
});
