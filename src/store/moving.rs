//! Copies a whole SQLite database into an empty PostgreSQL, in one transaction, and proves the counts.

use sqlx::postgres::PgArguments;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, Executor, PgConnection, Row, SqliteConnection};

use super::sql::{Dialect, expand};
use super::tx::failed;
use super::{Database, postgres, sqlite};
use crate::error::{Error, Result};

/// Rows of one statement.
const ROWS: usize = 500;

/// A table that was copied.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Copied {
    pub table: String,
    /// Read from the one, and counted in the other.
    pub rows: u64,
}

#[derive(Debug)]
struct Column {
    name: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Number,
    Text,
    Bytes,
}

/// Copies everything; `tell` hears of each table when it is done.
///
/// # Errors
/// `Conflict` when there is something in the target already, or a count differs: then nothing has been copied.
pub async fn copy(from: &Database, to: &Database, mut tell: impl FnMut(&Copied)) -> Result<Vec<Copied>> {
    let (Database::Sqlite(path), Database::Postgres(options)) = (from, to) else {
        return Err(Error::invalid(
            "--from, --to",
            "from SQLite to PostgreSQL is what can be copied: --from sqlite:FILE --to postgres://…",
        ));
    };
    if !path.exists() {
        return Err(Error::not_found(format!("the database {}", path.display())));
    }
    // Brings an older file up to date: both have the same tables then.
    let mut source = sqlite::open(path).await?;
    postgres::prepare(options).await?;
    let mut target = postgres::writer(options).await?;
    control(&mut target, "BEGIN").await?;
    let tables = tables(&mut source).await?;
    for (table, _) in &tables {
        if count_target(&mut target, table).await? > 0 {
            return Err(Error::Conflict(format!(
                "{} is not empty (there are rows in {table}); copy into a fresh database",
                to.name()
            )));
        }
    }
    let mut copied = Vec::with_capacity(tables.len());
    for (table, columns) in tables {
        let read = copy_table(&mut source, &mut target, &table, &columns).await?;
        let counted = count_target(&mut target, &table).await?;
        if counted != read {
            return Err(Error::Conflict(format!("{table}: {read} rows were read and {counted} are there; nothing was copied")));
        }
        let done = Copied { table, rows: read };
        tell(&done);
        copied.push(done);
    }
    control(&mut target, "COMMIT").await?;
    Ok(copied)
}

async fn control(target: &mut PgConnection, word: &'static str) -> Result<()> {
    target.execute(AssertSqlSafe(word)).await.map(drop).map_err(|wrong| failed(word, wrong))
}

/// Our tables with their columns. Names come from the migrations, never from outside.
async fn tables(source: &mut SqliteConnection) -> Result<Vec<(String, Vec<Column>)>> {
    let sql = "SELECT m.name AS \"table\", c.name AS \"column\", upper(c.type) AS type FROM sqlite_master m JOIN pragma_table_info(m.name) c \
               WHERE m.type = 'table' AND m.name NOT LIKE '\\_sqlx%' ESCAPE '\\' AND m.name NOT LIKE 'sqlite%' ORDER BY m.name, c.cid";
    let rows = sqlx::query(sql).fetch_all(source).await.map_err(|wrong| failed(sql, wrong))?;
    let mut tables: Vec<(String, Vec<Column>)> = Vec::new();
    for row in rows {
        let text = |column| row.try_get::<String, _>(column).map_err(|wrong| failed(sql, wrong));
        let kind = match text("type")?.as_str() {
            "TEXT" => Kind::Text,
            "BLOB" => Kind::Bytes,
            _ => Kind::Number,
        };
        let (table, column) = (text("table")?, Column { name: text("column")?, kind });
        match tables.last_mut().filter(|(name, _)| *name == table) {
            Some((_, columns)) => columns.push(column),
            None => tables.push((table, vec![column])),
        }
    }
    Ok(tables)
}

async fn count_target(target: &mut PgConnection, table: &str) -> Result<u64> {
    let sql = format!("SELECT count(*) FROM \"{table}\"");
    let n: i64 = sqlx::query_scalar(AssertSqlSafe(sql.clone())).fetch_one(target).await.map_err(|wrong| failed(&sql, wrong))?;
    Ok(n.max(0).cast_unsigned())
}

/// In the order of the primary key, a page after the other: a table may be larger than memory.
async fn copy_table(source: &mut SqliteConnection, target: &mut PgConnection, table: &str, columns: &[Column]) -> Result<u64> {
    let names = columns.iter().map(|column| format!("\"{}\"", column.name)).collect::<Vec<_>>().join(", ");
    let keys = keys(source, table).await?;
    let order = keys.iter().map(|key| format!("\"{key}\"")).collect::<Vec<_>>().join(", ");
    let insert = format!("INSERT INTO \"{table}\" ({names}) VALUES {{{}}}", columns.len());
    let mut last: Option<SqliteRow> = None;
    let mut copied = 0;
    loop {
        let places = vec!["?"; keys.len()].join(", ");
        let after = if last.is_some() { format!("WHERE ({order}) > ({places})") } else { String::new() };
        let select = format!("SELECT {names} FROM \"{table}\" {after} ORDER BY {order} LIMIT {ROWS}");
        let mut args = SqliteArguments::default();
        if let Some(last) = &last {
            for key in &keys {
                let column = columns.iter().find(|column| column.name == *key);
                bind_sqlite(&mut args, last, key, column.map_or(Kind::Number, |column| column.kind))?;
            }
        }
        let rows = sqlx::query_with(AssertSqlSafe(select.clone()), args)
            .fetch_all(&mut *source)
            .await
            .map_err(|wrong| failed(&select, wrong))?;
        if rows.is_empty() {
            return Ok(copied);
        }
        let mut args = PgArguments::default();
        for row in &rows {
            for column in columns {
                bind_postgres(&mut args, row, column)?;
            }
        }
        let text = expand(&insert, rows.len(), Dialect::Postgres);
        let done = sqlx::query_with(AssertSqlSafe(text), args).persistent(false).execute(&mut *target).await;
        copied += done.map_err(|wrong| failed(&insert, wrong))?.rows_affected();
        last = rows.into_iter().next_back();
    }
}

/// Columns of the primary key, in its order.
async fn keys(source: &mut SqliteConnection, table: &str) -> Result<Vec<String>> {
    let sql = "SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk";
    sqlx::query_scalar(sql).bind(table.to_owned()).fetch_all(source).await.map_err(|wrong| failed(sql, wrong))
}

fn bind_sqlite(args: &mut SqliteArguments, row: &SqliteRow, column: &str, kind: Kind) -> Result<()> {
    match kind {
        Kind::Number => args.add(row.try_get::<Option<i64>, _>(column).map_err(|wrong| failed(column, wrong))?),
        Kind::Text => args.add(row.try_get::<Option<String>, _>(column).map_err(|wrong| failed(column, wrong))?),
        Kind::Bytes => args.add(row.try_get::<Option<Vec<u8>>, _>(column).map_err(|wrong| failed(column, wrong))?),
    }
    .map_err(|wrong| Error::Internal(anyhow::anyhow!("{column}: {wrong}")))
}

fn bind_postgres(args: &mut PgArguments, row: &SqliteRow, column: &Column) -> Result<()> {
    let name = column.name.as_str();
    match column.kind {
        Kind::Number => args.add(row.try_get::<Option<i64>, _>(name).map_err(|wrong| failed(name, wrong))?),
        // PostgreSQL's text has no NUL.
        Kind::Text => args.add(
            row.try_get::<Option<String>, _>(name)
                .map_err(|wrong| failed(name, wrong))?
                .map(|text| text.replace('\0', "\u{FFFD}")),
        ),
        Kind::Bytes => args.add(row.try_get::<Option<Vec<u8>>, _>(name).map_err(|wrong| failed(name, wrong))?),
    }
    .map_err(|wrong| Error::Internal(anyhow::anyhow!("{name}: {wrong}")))
}
