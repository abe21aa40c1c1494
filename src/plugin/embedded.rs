//! The plugins that come with the binary; `build.rs` builds them and writes the list.

/// A plugin inside the binary.
pub struct Embedded {
    pub name: &'static str,
    /// The component.
    pub bytes: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
