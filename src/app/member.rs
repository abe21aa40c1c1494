//! Passwords, sessions and tokens.

use std::time::Duration;

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Argon2, PasswordHash};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngCore;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::{App, Who};
use crate::clock::Timestamp;
use crate::domain::member::Role;
use crate::error::{Error, Problem, Result};
use crate::id::Id;
use crate::store::Store;
use crate::store::member::{Member, Token};

/// How long a login lasts.
pub const SESSION: Duration = Duration::from_secs(30 * 24 * 3600);
/// Shortest password.
pub const PASSWORD_MIN: usize = 12;
/// Tokens begin so, that they are found when they leak.
const TOKEN_PREFIX: &str = "wl_";

impl App {
    /// Whether nobody can log in yet.
    pub async fn is_first_start(&self) -> Result<bool> {
        Ok(!self.store.read().await?.has_members().await?)
    }

    /// Makes the first operator: an admin of the whole server.
    ///
    /// # Errors
    /// `Conflict` when there is one; `Invalid` for too short a password.
    pub async fn set_first_password(&self, name: &str, password: &str) -> Result<()> {
        long_enough(password)?;
        // Names stand in the audit, in logs and on terminals.
        let plain = |letter: char| letter.is_alphanumeric() || "._-@".contains(letter);
        if !(1..=63).contains(&name.chars().count()) || !name.chars().all(plain) {
            return Err(Error::Invalid(vec![Problem::new("name", "1 to 63 letters, digits and . _ - @")]));
        }
        let hash = hash_password(password.to_owned()).await?;
        let now = self.now();
        let mut tx = self.store.begin().await?;
        if tx.has_members().await? {
            return Err(Error::Conflict("there is an operator already; log in".into()));
        }
        tx.put_member(&Member { name: name.to_owned(), tenant: Id(0), role: Role::Admin, password_hash: Some(hash) }, now)
            .await?;
        tx.audit(Id(0), name, "member.first", name, None, now).await?;
        tx.commit().await
    }

    /// Who can log in.
    ///
    /// # Errors
    /// `Forbidden`.
    pub async fn list_members(&self, who: &Who) -> Result<Vec<Member>> {
        who.may_all(Role::Admin, "listing members")?;
        self.store.read().await?.members().await
    }

    /// [`reset_password`] for who may.
    pub async fn reset_password(&self, name: &str, password: &str, who: &Who) -> Result<()> {
        who.may_all(Role::Admin, "another person's password")?;
        reset_password(&self.store, name, password, &who.name, self.now()).await
    }

    /// Answers the session's token, for the cookie.
    ///
    /// # Errors
    /// `Unauthorized`, the same for an unknown name and a wrong password.
    pub async fn log_in(&self, name: &str, password: &str) -> Result<String> {
        let member = self.store.read().await?.member(name).await?;
        let hash = member.as_ref().and_then(|member| member.password_hash.clone());
        if !verify_password(password.to_owned(), hash).await? {
            return Err(Error::Unauthorized("name or password is wrong".into()));
        }
        let (session, now) = (random_text(), self.now());
        let mut tx = self.store.begin().await?;
        tx.put_session(&hash_token(&session), name, now, now.plus(SESSION)).await?;
        tx.audit(Id(0), name, "member.login", name, None, now).await?;
        tx.commit().await?;
        Ok(session)
    }

    /// Who has this session.
    pub async fn who_in_session(&self, session: &str) -> Result<Option<Who>> {
        let member = self.store.read().await?.session(&hash_token(session), self.now()).await?;
        Ok(member.map(|m| Who { name: m.name, role: m.role, tenant: (m.tenant != Id(0)).then_some(m.tenant) }))
    }

    pub async fn log_out(&self, session: &str) -> Result<()> {
        let mut tx = self.store.begin().await?;
        tx.end_session(&hash_token(session)).await?;
        tx.commit().await
    }

    /// Makes a token; it is shown this once. `tenant` narrows it to one.
    pub async fn issue_token(
        &self,
        name: &str,
        role: Role,
        tenant: Option<&str>,
        lasts: Option<Duration>,
        who: &Who,
    ) -> Result<(Token, String)> {
        let (now, secret) = (self.now(), format!("{TOKEN_PREFIX}{}", random_text()));
        let mut tx = self.store.begin().await?;
        let tenant = match tenant {
            Some(name) => {
                let tenant = tx.need_tenant(name).await?.id;
                who.may(Role::Admin, tenant, "issuing a token")?;
                tenant
            }
            None => {
                who.may_all(Role::Admin, "a token for all tenants")?;
                Id(0)
            }
        };
        let token = Token {
            id: tx.new_id(),
            name: name.to_owned(),
            tenant,
            role,
            created_at: now,
            created_by: who.name.clone(),
            expires_at: lasts.map(|lasts| now.plus(lasts)),
            revoked_at: None,
            used_at: None,
        };
        tx.put_token(&token, &hash_token(&secret)).await?;
        tx.audit(tenant, &who.name, "token.issue", name, Some(role.word()), now).await?;
        tx.commit().await?;
        Ok((token, secret))
    }

    /// Who has this bearer token.
    ///
    /// # Errors
    /// `Unauthorized` when it is unknown, expired or revoked.
    pub async fn who_has_token(&self, token: &str) -> Result<Who> {
        let token = self.store.token(&hash_token(token), self.now()).await?;
        let token = token.ok_or_else(|| {
            Error::Unauthorized("the token is unknown, expired or revoked: windlass token issue makes one".into())
        })?;
        Ok(Who { name: token.name.clone(), role: token.role, tenant: (token.tenant != Id(0)).then_some(token.tenant) })
    }

    /// A tenant's admin sees the tenant's.
    pub async fn list_tokens(&self, who: &Who) -> Result<Vec<Token>> {
        who.has(Role::Admin, "listing tokens")?;
        self.store.read().await?.tokens(who.tenant).await
    }

    /// A tenant's admin may revoke the tenant's.
    ///
    /// # Errors
    /// `NotFound`, also for a token of somebody else.
    pub async fn revoke_token(&self, id: Id, who: &Who) -> Result<()> {
        who.has(Role::Admin, "revoking a token")?;
        let now: Timestamp = self.now();
        let mut tx = self.store.begin().await?;
        tx.revoke_token(who.tenant, id, now).await?;
        tx.audit(who.tenant.unwrap_or(Id(0)), &who.name, "token.revoke", &id.to_string(), None, now).await?;
        tx.commit().await
    }
}

/// Gives a member another password and logs him out everywhere. For whoever has the file, and for [`App::reset_password`].
///
/// # Errors
/// `NotFound`; `Invalid` for too short a password.
pub async fn reset_password(store: &Store, name: &str, password: &str, by: &str, now: Timestamp) -> Result<()> {
    long_enough(password)?;
    let hash = hash_password(password.to_owned()).await?;
    let mut tx = store.begin().await?;
    tx.set_password(name, hash).await?;
    tx.audit(Id(0), by, "member.password", name, None, now).await?;
    tx.commit().await
}

fn long_enough(password: &str) -> Result<()> {
    if password.chars().count() < PASSWORD_MIN {
        return Err(Error::Invalid(vec![Problem::new("password", format!("at least {PASSWORD_MIN} characters"))]));
    }
    Ok(())
}

/// 32 random bytes as text.
pub fn random_text() -> String {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token is random and long: one round of SHA-256 hides it well enough.
fn hash_token(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(token.as_bytes()))
}

async fn hash_password(password: String) -> Result<String> {
    blocking(move || {
        let hash = Argon2::default().hash_password(password.as_bytes());
        hash.map(|hash| hash.to_string()).map_err(|wrong| Error::Internal(anyhow::anyhow!("argon2: {wrong}")))
    })
    .await
}

/// Takes as long for a name that does not exist.
async fn verify_password(password: String, hash: Option<String>) -> Result<bool> {
    const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    blocking(move || {
        let text = hash.as_deref().unwrap_or(NOBODY);
        let parsed = PasswordHash::new(text).map_err(|wrong| Error::Internal(anyhow::anyhow!("password hash: {wrong}")))?;
        Ok(Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok() && hash.is_some())
    })
    .await
}

/// Passwords hashed at a time: each takes 19 MB and a core, and anybody may ask.
static HASHING: Semaphore = Semaphore::const_new(2);
/// Who may wait for a turn.
const WAITING: usize = 32;
static QUEUE: Semaphore = Semaphore::const_new(WAITING);

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let _place = QUEUE.try_acquire().map_err(|_| Error::Unavailable("too many log in at once; try again".into()))?;
    let turn = HASHING.acquire().await.map_err(|_| Error::Unavailable("the server is stopping".into()))?;
    let work = move || {
        // Held by the work, not by the request: one that goes away does not stop it.
        let _turn = turn;
        work()
    };
    tokio::task::spawn_blocking(work).await.map_err(|wrong| Error::Internal(anyhow::anyhow!("password work: {wrong}")))?
}
