//! `/`: what needs a person, and the tenants with their backlogs.

pub mod filter;
pub mod view;
