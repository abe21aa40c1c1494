//! Pages. The only room with axum and askama.

pub mod show;
