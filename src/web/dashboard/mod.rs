//! One file or folder a page: its template, its plain data, its handler.

pub mod overview;
pub mod shell;
