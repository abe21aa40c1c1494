//! The statements of the store, each prepared on the database there is.

use std::path::Path;

use sqlx::postgres::PgTypeInfo;
use sqlx::postgres::types::Oid;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Executor, SqlSafeStr};
use windlass::store::Database;

use crate::database;
use crate::world::World;

/// One SQL text: every statement in src/store is prepared against the migrated schema.
#[tokio::test]
async fn every_statement_is_prepared() {
    let world = World::new().await;
    let mut prepared = 0;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for statement in text.split("Sql::new(").skip(1).filter_map(|rest| literal(rest.trim_start())) {
            if (statement.contains("FOR UPDATE") || statement.contains("pg_")) && !database::is_postgres() {
                continue;
            }
            let outcome = prepare(world.store.database(), &statement).await;
            assert!(outcome.is_ok(), "{}: {statement}\n{}", path.display(), outcome.err().unwrap());
            prepared += 1;
        }
    }
    assert!(prepared > 80, "only {prepared} statements were found: has the way they are written changed?");
}

async fn prepare(database: &Database, statement: &str) -> Result<(), sqlx::Error> {
    match database {
        Database::Sqlite(path) => {
            let mut conn = SqliteConnectOptions::new().filename(path).connect().await?;
            (&mut conn).prepare(sqlx::AssertSqlSafe(rows(statement)).into_sql_str()).await.map(drop)
        }
        Database::Postgres(options) => {
            let mut conn = options.connect().await?;
            // In a list of values nothing tells PostgreSQL the types; the arguments do. One typing must be right.
            let (sql, listed) = numbered(statement);
            let mut outcome = Ok(());
            for typing in 0..1_u32 << listed.len() {
                let known = statement.matches('$').count() + listed.len();
                let mut types = vec![PgTypeInfo::with_oid(Oid(0)); known.max(listed.iter().max().copied().unwrap_or(0))];
                for (bit, at) in listed.iter().enumerate() {
                    types[at - 1] = PgTypeInfo::with_name(if typing >> bit & 1 == 0 { "INT8" } else { "TEXT" });
                }
                let types = if listed.is_empty() { &[][..] } else { &types[..] };
                outcome = (&mut conn).prepare_with(sqlx::AssertSqlSafe(sql.clone()).into_sql_str(), types).await.map(drop);
                if outcome.is_ok() {
                    break;
                }
            }
            outcome
        }
    }
}

/// `{3}` with numbered parameters, and the numbers of those in lists; where they are what is inserted the columns tell the types.
fn numbered(sql: &str) -> (String, Vec<usize>) {
    if !sql.contains('{') {
        return (sql.to_owned(), Vec::new());
    }
    let (mut next, mut listed, mut out, mut rest) = (0, Vec::new(), String::new(), sql);
    while let Some(at) = rest.find(['$', '{']) {
        out.push_str(&rest[..at]);
        let digits: String = rest[at + 1..].chars().take_while(char::is_ascii_digit).collect();
        let is_list = rest.as_bytes()[at] == b'{';
        rest = &rest[at + 1 + digits.len() + usize::from(is_list)..];
        let n = if is_list { digits.parse().unwrap() } else { 1 };
        let names: Vec<String> = (next + 1..=next + n).map(|n| format!("${n}")).collect();
        if is_list && out.ends_with("(VALUES ") {
            listed.extend(next + 1..=next + n);
        }
        next += n;
        out.push_str(&if is_list { format!("({})", names.join(", ")) } else { names.join(", ") });
    }
    (out + rest, listed)
}

/// The Rust string literal at the beginning of `text`, if there is one.
fn literal(text: &str) -> Option<String> {
    let body = text.strip_prefix('"')?;
    let mut out = String::new();
    let mut letters = body.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return Some(out),
            '\\' if letters.peek() == Some(&'\n') => while letters.next_if(|c| c.is_whitespace()).is_some() {},
            '\\' => out.extend(letters.next()),
            _ => out.push(letter),
        }
    }
    None
}

/// `{3}` as one row of three parameters.
fn rows(sql: &str) -> String {
    let row = |n: usize| format!("({})", vec!["?"; n].join(", "));
    (1..=40).fold(sql.to_owned(), |sql, n| sql.replace(&format!("{{{n}}}"), &row(n)))
}
