//! Members: listed, and given another password.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::extract::{At, Caller, Raw};
use super::shape::{List, MemberJson};
use crate::app::App;
use crate::error::{Error, Result};

pub async fn list(State(app): State<App>, Caller(who): Caller) -> Result<Json<List<MemberJson>>> {
    let shape = |member: crate::store::member::Member| MemberJson { name: member.name, role: member.role.word().to_owned() };
    Ok(Json(List::whole(app.list_members(&who).await?.into_iter().map(shape).collect())))
}

/// The body is the password, byte for byte.
pub async fn set_password(
    State(app): State<App>,
    Caller(who): Caller,
    At(name): At<String>,
    Raw(password): Raw,
) -> Result<StatusCode> {
    let password = std::str::from_utf8(&password).map_err(|_| Error::invalid("password", "it is no text in UTF-8"))?;
    app.reset_password(&name, password, &who).await?;
    Ok(StatusCode::NO_CONTENT)
}
