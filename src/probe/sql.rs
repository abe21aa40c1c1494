//! One number of a database over the network: PostgreSQL, MySQL or MariaDB, in a session that only reads and under the
//! server's own time limit.

use std::net::SocketAddr;

use sqlx::mysql::{MySqlConnectOptions, MySqlRow, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgRow, PgSslMode};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Column, ColumnIndex, ConnectOptions, Connection, Row, TypeInfo, ValueRef, raw_sql};

use super::{Fault, MOST, STATEMENT, TIME_LIMIT, number};
use crate::domain::backlog::Measurement;
use crate::domain::origin::Scheme;
use crate::domain::probe::{Address, Ssl};
use crate::egress::{Egress, Relay, too_much};

/// Over a connection of the egress: the drivers would make their own, and take whatever a server says for as long as it says it.
pub async fn measure(
    egress: &Egress,
    at: &Address,
    secret: Option<&str>,
    query: &str,
    address: SocketAddr,
) -> Result<Measurement, Fault> {
    let (stream, _) = egress.connect(&at.origin, &[address], TIME_LIMIT).await?;
    // As PostgreSQL's driver calls it, which is told the folder alone.
    let name = format!(".s.PGSQL.{}", at.origin.port);
    let relay = Relay::to(stream, &name, MOST as u64).map_err(|wrong| {
        let folder = std::env::temp_dir();
        Fault::unasked(format!("no socket can be made in {}: {wrong}; set TMPDIR to a short, writable folder", folder.display()))
    })?;
    let roots = egress.extra_roots();
    let found = match at.origin.scheme {
        Scheme::Mysql => {
            let options = of_mysql_url(at, secret, roots).socket(relay.folder().join(name));
            mysql(options, query).await
        }
        _ => postgres(of_postgres_url(at, secret, roots)?.socket(relay.folder()), query).await,
    };
    match found {
        Ok(found) => {
            relay.end().await;
            Ok(found)
        }
        Err(_) if relay.is_over() => Err(Fault::answered(too_much(MOST as u64))),
        Err(fault) => Err(fault),
    }
}

/// As part of a statement of ours it can be nothing but a query, and more rows than one are seen without reading them all.
pub fn wrapped(query: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!("SELECT * FROM (\n{query}\n) AS probe LIMIT 2"))
}

/// What the certificate must be of, where it must be the host's.
fn host(at: &Address) -> &str {
    at.origin.host.trim_matches(['[', ']'])
}

fn of_postgres_url(at: &Address, secret: Option<&str>, roots: &[u8]) -> Result<PgConnectOptions, Fault> {
    let options = PgConnectOptions::new_without_pgpass();
    if let Some(name) = inherited(&options) {
        return Err(Fault::unasked(format!(
            "the server's own {name} would go with it: start windlass without it; what is for its own database may stand in database_url"
        )));
    }
    Ok(options
        .host(host(at))
        .port(at.origin.port)
        .username(at.user.as_deref().unwrap_or_default())
        // Also without one: it must not be the server's own, of its environment. The same for authorities.
        .password(secret.unwrap_or_default())
        .ssl_root_cert_from_pem(roots.to_vec())
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
        .disable_statement_logging())
}

/// What the driver has read from the server's environment and nothing can take out again.
fn inherited(options: &PgConnectOptions) -> Option<&'static str> {
    let url = options.clone().host("localhost").username("nobody").to_url_lossy();
    let has = |key: &str| url.query_pairs().any(|(found, _)| found == key);
    match (has("sslcert"), has("sslkey"), options.get_options()) {
        (true, ..) => Some("PGSSLCERT"),
        (_, true, _) => Some("PGSSLKEY"),
        (.., Some(_)) => Some("PGOPTIONS"),
        (.., None) => None,
    }
}

async fn postgres(options: PgConnectOptions, query: &str) -> Result<Measurement, Fault> {
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

fn of_mysql_url(at: &Address, secret: Option<&str>, roots: &[u8]) -> MySqlConnectOptions {
    MySqlConnectOptions::new()
        .host(host(at))
        .username(at.user.as_deref().unwrap_or_default())
        .password(secret.unwrap_or_default())
        .ssl_ca_from_pem(roots.to_vec())
        .database(&at.path)
        .ssl_mode(match at.ssl {
            Ssl::Prefer => MySqlSslMode::Preferred,
            Ssl::Disable => MySqlSslMode::Disabled,
            Ssl::Require => MySqlSslMode::Required,
            Ssl::VerifyFull => MySqlSslMode::VerifyIdentity,
        })
        .statement_cache_capacity(0)
        .disable_statement_logging()
}

async fn mysql(options: MySqlConnectOptions, query: &str) -> Result<Measurement, Fault> {
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

/// What an error of the driver says about the target: that there is a connection, the relay knows.
fn fault(wrong: sqlx::Error) -> Fault {
    match &wrong {
        sqlx::Error::Database(told) => Fault::answered(told.message()),
        _ => Fault::failing(wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by hand here: a test cannot set its environment.
    #[test]
    fn what_the_servers_environment_has_for_its_own_database_goes_to_no_other() {
        let bare = PgConnectOptions::new_without_pgpass;
        assert_eq!(inherited(&bare()), None, "of the machine that tests");
        assert_eq!(inherited(&bare().ssl_client_cert("/etc/own.crt")), Some("PGSSLCERT"));
        assert_eq!(inherited(&bare().ssl_client_key("/etc/own.key")), Some("PGSSLKEY"));
        assert_eq!(inherited(&bare().options([("role", "own")])), Some("PGOPTIONS"));
    }
}
