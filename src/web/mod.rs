//! The only room with axum and askama.

pub mod api;
