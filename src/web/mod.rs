//! Pages. The only room with axum and askama.

mod address;
pub(crate) mod assets;
mod dashboard;
mod fragment;
mod show;
