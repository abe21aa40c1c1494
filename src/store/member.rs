//! People and programs that may do things: members, their sessions, tokens. Only hashes are stored.

use std::collections::BTreeMap;

use super::sql::{Row, Sql, args};
use super::tx::Tx;
use crate::clock::Timestamp;
use crate::domain::member::Role;
use crate::error::{Error, Result};
use crate::id::Id;

/// Somebody with a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    /// `Id(0)`: the whole server.
    pub tenant: Id,
    pub role: Role,
    pub password_hash: Option<String>,
}

/// A bearer token, without the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub id: Id,
    pub name: String,
    /// `Id(0)`: the whole server.
    pub tenant: Id,
    pub role: Role,
    pub created_at: Timestamp,
    pub created_by: String,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    /// To the minute.
    pub used_at: Option<Timestamp>,
}

static MEMBER: Sql = Sql::new("SELECT name, tenant, role, password_hash FROM member WHERE name = $1 ORDER BY tenant LIMIT 1");
static ANY_MEMBER: Sql = Sql::new("SELECT name FROM member WHERE password_hash IS NOT NULL LIMIT 1");
static PUT_MEMBER: Sql = Sql::new(
    "INSERT INTO member (name, tenant, role, password_hash, created_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name, tenant) DO UPDATE SET \
     role = excluded.role, password_hash = excluded.password_hash",
);
static MEMBERS: Sql = Sql::new("SELECT name, tenant, role, password_hash FROM member ORDER BY name, tenant");
static PASSWORD: Sql = Sql::new("UPDATE member SET password_hash = $1 WHERE name = $2");
static END_SESSIONS: Sql = Sql::new("DELETE FROM session WHERE member = $1");
static PUT_SESSION: Sql = Sql::new("INSERT INTO session (hash, member, created_at, expires_at) VALUES ($1, $2, $3, $4)");
static SESSION: Sql = Sql::new(
    "SELECT m.name, m.tenant, m.role, m.password_hash FROM session s JOIN member m ON m.name = s.member WHERE s.hash = $1 AND s.expires_at > $2 LIMIT 1",
);
static END_SESSION: Sql = Sql::new("DELETE FROM session WHERE hash = $1");
static PUT_TOKEN: Sql = Sql::new(
    "INSERT INTO token (id, name, tenant, role, hash, created_at, created_by, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
);
static TOKEN: Sql = Sql::new(
    "SELECT id, name, tenant, role, created_at, created_by, expires_at, revoked_at, used_at FROM token WHERE hash = $1 AND revoked_at IS NULL \
     AND (expires_at IS NULL OR expires_at > $2)",
);
static TOKENS: Sql =
    Sql::new("SELECT id, name, tenant, role, created_at, created_by, expires_at, revoked_at, used_at FROM token ORDER BY id");
static TOKENS_OF: Sql = Sql::new(
    "SELECT id, name, tenant, role, created_at, created_by, expires_at, revoked_at, used_at FROM token WHERE tenant = $1 ORDER BY id",
);
static USED: Sql = Sql::new("UPDATE token SET used_at = v.column2 FROM (VALUES {2}) v WHERE token.id = v.column1");
static REVOKE: Sql = Sql::new("UPDATE token SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL");
static REVOKE_OF: Sql = Sql::new("UPDATE token SET revoked_at = $1 WHERE tenant = $2 AND id = $3 AND revoked_at IS NULL");

impl Tx {
    pub async fn member(&mut self, name: &str) -> Result<Option<Member>> {
        self.row(&MEMBER, args![name]).await?.as_ref().map(member).transpose()
    }

    pub async fn members(&mut self) -> Result<Vec<Member>> {
        self.rows(&MEMBERS, args![]).await?.iter().map(member).collect()
    }

    /// Gives a member another password and ends all that was opened with the old one.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn set_password(&mut self, name: &str, hash: String) -> Result<()> {
        if self.exec(&PASSWORD, args![Some(hash), name]).await? == 0 {
            return Err(Error::not_found(format!("member {name}")));
        }
        self.exec(&END_SESSIONS, args![name]).await?;
        Ok(())
    }

    /// Whether anybody can log in yet.
    pub async fn has_members(&mut self) -> Result<bool> {
        Ok(self.row(&ANY_MEMBER, args![]).await?.is_some())
    }

    pub async fn put_member(&mut self, m: &Member, now: Timestamp) -> Result<()> {
        self.exec(&PUT_MEMBER, args![&m.name, m.tenant, m.role.word(), m.password_hash.clone(), now]).await?;
        Ok(())
    }

    pub async fn put_session(&mut self, hash: &str, member: &str, now: Timestamp, expires_at: Timestamp) -> Result<()> {
        self.exec(&PUT_SESSION, args![hash, member, now, expires_at]).await?;
        Ok(())
    }

    /// Who has this session, if it stands.
    pub async fn session(&mut self, hash: &str, now: Timestamp) -> Result<Option<Member>> {
        self.row(&SESSION, args![hash, now]).await?.as_ref().map(member).transpose()
    }

    pub async fn end_session(&mut self, hash: &str) -> Result<()> {
        self.exec(&END_SESSION, args![hash]).await?;
        Ok(())
    }

    pub async fn put_token(&mut self, t: &Token, hash: &str) -> Result<()> {
        let args = args![t.id, &t.name, t.tenant, t.role.word(), hash, t.created_at, &t.created_by, t.expires_at];
        self.exec(&PUT_TOKEN, args).await?;
        Ok(())
    }

    /// The token with this hash, if it stands.
    pub async fn token(&mut self, hash: &str, now: Timestamp) -> Result<Option<Token>> {
        self.row(&TOKEN, args![hash, now]).await?.as_ref().map(token).transpose()
    }

    /// Those of one tenant, or all.
    pub async fn tokens(&mut self, tenant: Option<Id>) -> Result<Vec<Token>> {
        let rows = match tenant {
            Some(tenant) => self.rows(&TOKENS_OF, args![tenant]).await?,
            None => self.rows(&TOKENS, args![]).await?,
        };
        rows.iter().map(token).collect()
    }

    /// When tokens were used last.
    pub async fn tokens_used(&mut self, used: &BTreeMap<Id, Timestamp>) -> Result<()> {
        self.exec_keys(&USED, &used.iter().map(|(id, at)| args![*id, *at]).collect::<Vec<_>>()).await?;
        Ok(())
    }

    /// One of this tenant's, or any.
    ///
    /// # Errors
    /// `NotFound`, also when it was revoked before.
    pub async fn revoke_token(&mut self, tenant: Option<Id>, id: Id, now: Timestamp) -> Result<()> {
        let revoked = match tenant {
            Some(tenant) => self.exec(&REVOKE_OF, args![now, tenant, id]).await?,
            None => self.exec(&REVOKE, args![now, id]).await?,
        };
        match revoked {
            // Nobody may have it in memory any more.
            1 => {
                self.redefine();
                Ok(())
            }
            _ => Err(Error::not_found(format!("token {id}"))),
        }
    }
}

fn role(row: &Row) -> Result<Role> {
    let word = row.text("role")?;
    Role::parse(&word).ok_or_else(|| Error::Internal(anyhow::anyhow!("column role: {word:?} is no role")))
}

fn member(row: &Row) -> Result<Member> {
    Ok(Member {
        name: row.text("name")?,
        tenant: row.id("tenant")?,
        role: role(row)?,
        password_hash: row.opt_text("password_hash")?,
    })
}

fn token(row: &Row) -> Result<Token> {
    Ok(Token {
        id: row.id("id")?,
        name: row.text("name")?,
        tenant: row.id("tenant")?,
        role: role(row)?,
        created_at: row.time("created_at")?,
        created_by: row.text("created_by")?,
        expires_at: row.opt_time("expires_at")?,
        revoked_at: row.opt_time("revoked_at")?,
        used_at: row.opt_time("used_at")?,
    })
}
