//! One number of a database over the network: PostgreSQL, MySQL or MariaDB, in a session that only reads and under the
//! server's own time limit.

use std::net::SocketAddr;

use sqlx::mysql::{MySqlConnectOptions, MySqlRow, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgRow, PgSslMode};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Column, ColumnIndex, ConnectOptions, Connection, Row, TypeInfo, ValueRef, raw_sql};

use super::{Fault, STATEMENT, number};
use crate::domain::backlog::Measurement;
use crate::domain::origin::Scheme;
use crate::domain::probe::{Address, Ssl};
use crate::egress::Egress;

pub async fn measure(
    egress: &Egress,
    at: &Address,
    secret: Option<&str>,
    query: &str,
    address: SocketAddr,
) -> Result<Measurement, Fault> {
    match at.origin.scheme {
        Scheme::Mysql => mysql(egress, at, secret, query, address).await,
        _ => postgres(egress, at, secret, query, address).await,
    }
}

/// As part of a statement of ours it can be nothing but a query, and more rows than one are seen without reading them all.
pub fn wrapped(query: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!("SELECT * FROM (\n{query}\n) AS probe LIMIT 2"))
}

/// Where a certificate must be the host's, the name is what is connected to (ADR 22); else the checked address.
fn host(at: &Address, address: SocketAddr) -> String {
    if at.ssl == Ssl::VerifyFull { at.origin.host.clone() } else { address.ip().to_string() }
}

async fn postgres(
    egress: &Egress,
    at: &Address,
    secret: Option<&str>,
    query: &str,
    address: SocketAddr,
) -> Result<Measurement, Fault> {
    let mut options = PgConnectOptions::new_without_pgpass()
        .host(&host(at, address))
        .port(at.origin.port)
        .username(at.user.as_deref().unwrap_or_default())
        // Also without one: it must not be the server's own, of its environment.
        .password(secret.unwrap_or_default())
        .database(&at.path)
        .ssl_mode(match at.ssl {
            Ssl::Prefer => PgSslMode::Prefer,
            Ssl::Disable => PgSslMode::Disable,
            Ssl::Require => PgSslMode::Require,
            Ssl::VerifyFull => PgSslMode::VerifyFull,
        })
        .application_name("windlass")
        .extra_float_digits(None)
        .statement_cache_capacity(0)
        .disable_statement_logging();
    if !egress.extra_roots().is_empty() {
        options = options.ssl_root_cert_from_pem(egress.extra_roots().to_vec());
    }
    let mut connection = options.connect().await.map_err(fault)?;
    // In a transaction that is undone: behind a pooler, too, the session stays as it was.
    let begin = format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {}", STATEMENT.as_millis());
    raw_sql(AssertSqlSafe(begin)).execute(&mut connection).await.map_err(fault)?;
    let rows = sqlx::query(wrapped(query)).persistent(false).fetch_all(&mut connection).await.map_err(fault)?;
    let found = only(&rows, of_postgres);
    // It ends with the connection in any case.
    let _ = raw_sql("ROLLBACK").execute(&mut connection).await;
    let _ = connection.close().await;
    found.map_err(Fault::answered)
}

async fn mysql(
    egress: &Egress,
    at: &Address,
    secret: Option<&str>,
    query: &str,
    address: SocketAddr,
) -> Result<Measurement, Fault> {
    let mut options = MySqlConnectOptions::new()
        .host(&host(at, address))
        .port(at.origin.port)
        .username(at.user.as_deref().unwrap_or_default())
        .password(secret.unwrap_or_default())
        .database(&at.path)
        .ssl_mode(match at.ssl {
            Ssl::Prefer => MySqlSslMode::Preferred,
            Ssl::Disable => MySqlSslMode::Disabled,
            Ssl::Require => MySqlSslMode::Required,
            Ssl::VerifyFull => MySqlSslMode::VerifyIdentity,
        })
        .statement_cache_capacity(0)
        .disable_statement_logging();
    if !egress.extra_roots().is_empty() {
        options = options.ssl_ca_from_pem(egress.extra_roots().to_vec());
    }
    let mut connection = options.connect().await.map_err(fault)?;
    // MariaDB counts seconds, MySQL milliseconds, each under a name that the other does not know.
    let limits = [
        format!("SET SESSION max_statement_time = {}", STATEMENT.as_secs()),
        format!("SET SESSION max_execution_time = {}", STATEMENT.as_millis()),
    ];
    for limit in limits {
        let _ = raw_sql(AssertSqlSafe(limit)).execute(&mut connection).await;
    }
    raw_sql("START TRANSACTION READ ONLY").execute(&mut connection).await.map_err(fault)?;
    let rows = sqlx::query(wrapped(query)).persistent(false).fetch_all(&mut connection).await.map_err(fault)?;
    let found = only(&rows, of_mysql);
    let _ = connection.close().await;
    found.map_err(Fault::answered)
}

/// The one row: a number, and the age of the oldest piece in seconds where there is a second column. `value`: of a row, at a
/// column that is not NULL.
pub fn only<R: Row>(rows: &[R], value: impl Fn(&R, usize) -> Option<f64>) -> Result<Measurement, String>
where
    usize: ColumnIndex<R>,
{
    let row = match rows {
        [row] => row,
        [] => return Err("the query found no row; a probe needs one".into()),
        _ => return Err("the query found more rows than one; a probe needs one".into()),
    };
    let at = |at: usize| {
        let (column, cell) = (row.column(at).name(), row.try_get_raw(at).map_err(|wrong| wrong.to_string())?);
        // SQLite's driver would read it as zero.
        if cell.is_null() {
            return Err(format!("the query's column {column} is NULL, which is no number"));
        }
        let kind = cell.type_info().name().to_owned();
        value(row, at).ok_or_else(|| match kind.as_str() {
            "NUMERIC" | "DECIMAL" => {
                format!("the query's column {column} is {kind}; write CAST(… AS BIGINT) around it, in MySQL AS SIGNED")
            }
            _ => format!("the query's column {column} is {kind}, which is no number"),
        })
    };
    match row.len() {
        1 => number::measurement(at(0)?, None),
        2 => number::measurement(at(0)?, Some(at(1)?)),
        columns => Err(format!(
            "the query has {columns} columns; a probe needs one, and may have a second with the age of the oldest in seconds"
        )),
    }
}

/// The first of these types that the value has, as a float.
macro_rules! number {
    ($row:expr, $at:expr, $($integer:ty),* ; $($float:ty),*) => {{
        $(if let Ok(found) = $row.try_get::<$integer, _>($at) {
            return Some(found as f64);
        })*
        $(if let Ok(found) = $row.try_get::<$float, _>($at) {
            return Some(f64::from(found));
        })*
        None
    }};
}

fn of_postgres(row: &PgRow, at: usize) -> Option<f64> {
    number!(row, at, i64; i32, i16, f64, f32)
}

fn of_mysql(row: &MySqlRow, at: usize) -> Option<f64> {
    number!(row, at, i64, u64; f64)
}

pub fn of_sqlite(row: &SqliteRow, at: usize) -> Option<f64> {
    number!(row, at, i64; f64)
}

fn no_connection(io: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut};
    matches!(io.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable | TimedOut)
}

/// What an error of the driver says about the target.
fn fault(wrong: sqlx::Error) -> Fault {
    match &wrong {
        // No connection is true for whoever asks; one that broke, or a certificate that was not wanted, is this tenant's own.
        sqlx::Error::Io(io) if no_connection(io) => Fault::unreachable(wrong),
        sqlx::Error::Database(told) => Fault::answered(told.message()),
        _ => Fault::failing(wrong),
    }
}
