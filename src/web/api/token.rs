//! Tokens: issued, listed, revoked.

use std::collections::HashMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::extract::{At, Body, Caller};
use super::read;
use super::shape::{List, NewTokenJson, TokenJson};
use crate::app::App;
use crate::domain::member::Role;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::store::member::Token;

/// Beyond it a span is a slip of the pen, or meant to run over the end of time.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

pub async fn list(State(app): State<App>, Caller(who): Caller) -> Result<Json<List<TokenJson>>> {
    let tokens = app.list_tokens(&who).await?;
    let tenants = app.store.read().await?.tenants().await?;
    let names: HashMap<Id, String> = tenants.into_iter().map(|tenant| (tenant.id, tenant.name)).collect();
    let shape = |token: Token| {
        let tenant =
            (token.tenant != Id(0)).then(|| names.get(&token.tenant).cloned().unwrap_or_else(|| token.tenant.to_string()));
        shape(token, tenant)
    };
    Ok(Json(List::whole(tokens.into_iter().map(shape).collect())))
}

pub async fn issue(
    State(app): State<App>,
    Caller(who): Caller,
    Body(new): Body<NewTokenJson>,
) -> Result<(StatusCode, Json<TokenJson>)> {
    if let Some(tenant) = &new.tenant {
        read::within(&app, &who, tenant).await?;
    }
    let role = Role::parse(&new.role)
        .ok_or_else(|| Error::invalid("role", format!("{:?} is no role; there are viewer, operator, admin", new.role)))?;
    let length = new.name.chars().count();
    if !(1..=63).contains(&length) || new.name.chars().any(char::is_control) {
        return Err(Error::invalid("name", "1 to 63 characters without control characters, to know it by"));
    }
    let lasts = new.lasts_ms.map(Duration::from_millis);
    if lasts.is_some_and(|lasts| lasts.is_zero() || lasts > LONGEST) {
        return Err(Error::invalid("lasts_ms", format!("1 ms to 10 years ({} ms), or none for ever", LONGEST.as_millis())));
    }
    let (token, secret) = app.issue_token(&new.name, role, new.tenant.as_deref(), lasts, &who).await?;
    Ok((StatusCode::CREATED, Json(TokenJson { token: Some(secret), ..shape(token, new.tenant) })))
}

pub async fn revoke(State(app): State<App>, Caller(who): Caller, At(id): At<Id>) -> Result<StatusCode> {
    app.revoke_token(id, &who).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn shape(token: Token, tenant: Option<String>) -> TokenJson {
    TokenJson {
        id: token.id,
        name: token.name,
        tenant,
        role: token.role.word().to_owned(),
        created_at: token.created_at,
        created_by: token.created_by,
        expires_at: token.expires_at,
        revoked_at: token.revoked_at,
        used_at: token.used_at,
        token: None,
    }
}
