//! Statements, arguments and rows, the same for every database.
//!
//! A statement is written once with `$1`, `$2` …; `{5}` stands for as many rows of five parameters as are sent. Rows go
//! out in chunks of powers of two up to 512: few texts are prepared, and no batch takes many statements. SQLite gets `?` instead of `$n` in such
//! statements: it looks names up one by one, which made 512 rows 19 times slower. Hence the rule: where `{n}` stands,
//! every parameter is used once and in order. PostgreSQL gets the numbers counted on.

use std::sync::OnceLock;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, Row as _};

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::Id;

/// Rows a statement takes at once, largest first. A statement costs two turns of a thread whatever is in it: with 512, 64, 8 and 1
/// a commit of 100 ends took twice as many.
pub const CHUNKS: [usize; 10] = [512, 256, 128, 64, 32, 16, 8, 4, 2, 1];

/// Which database a statement is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
}

/// One statement. Held in a `static`, so that its texts live as long as the statement cache.
pub struct Sql {
    pub text: &'static str,
    /// By database, then by chunk.
    sized: [[OnceLock<String>; CHUNKS.len()]; 2],
}

impl Sql {
    pub const fn new(text: &'static str) -> Self {
        Self { text, sized: [const { [const { OnceLock::new() }; CHUNKS.len()] }; 2] }
    }

    /// The text for `rows` rows, one of [`CHUNKS`].
    pub fn for_rows(&'static self, rows: usize, dialect: Dialect) -> &'static str {
        match CHUNKS.iter().position(|chunk| *chunk == rows) {
            Some(n) => self.sized[dialect as usize][n].get_or_init(|| expand(self.text, rows, dialect)),
            None => self.text,
        }
    }
}

pub(super) fn expand(text: &str, rows: usize, dialect: Dialect) -> String {
    let mut parameters = 0;
    let mut parameter = || {
        parameters += 1;
        match dialect {
            Dialect::Sqlite => "?".to_owned(),
            Dialect::Postgres => format!("${parameters}"),
        }
    };
    let mut out = String::with_capacity(text.len() + rows * 32);
    let mut rest = text;
    while let Some(at) = rest.find(['$', '{']) {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        let digits = tail.bytes().take_while(u8::is_ascii_digit).count();
        let number: usize = tail[..digits].parse().unwrap_or(0);
        if rest.as_bytes()[at] == b'$' {
            out.push_str(&parameter());
            rest = &tail[digits..];
        } else {
            let mut row = || format!("({})", (0..number).map(|_| parameter()).collect::<Vec<_>>().join(", "));
            out.push_str(&(0..rows).map(|_| row()).collect::<Vec<_>>().join(", "));
            rest = tail[digits..].strip_prefix('}').unwrap_or(&tail[digits..]);
        }
    }
    out.push_str(rest);
    out
}

/// Splits `n` rows into chunk sizes.
pub fn chunks(mut n: usize) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let size = CHUNKS.into_iter().find(|chunk| *chunk <= n)?;
        n -= size;
        Some(size)
    })
}

/// One argument. A NULL is typed as its column: PostgreSQL wants it so.
#[derive(Debug, Clone, PartialEq)]
pub enum Arg {
    Int(i64),
    OptInt(Option<i64>),
    Text(String),
    OptText(Option<String>),
    Bytes(Vec<u8>),
}

macro_rules! arg_from {
    ($($from:ty => |$value:ident| $to:expr),* $(,)?) => {
        $(impl From<$from> for Arg { fn from($value: $from) -> Self { $to } })*
    };
}

arg_from! {
    i64 => |v| Self::Int(v),
    u64 => |v| Self::Int(v.cast_signed()),
    u32 => |v| Self::Int(i64::from(v)),
    i32 => |v| Self::Int(i64::from(v)),
    usize => |v| Self::Int(v as i64),
    bool => |v| Self::Int(i64::from(v)),
    Id => |v| Self::Int(v.0),
    Timestamp => |v| Self::Int(v.0),
    Option<i64> => |v| Self::OptInt(v),
    Option<u64> => |v| Self::OptInt(v.map(u64::cast_signed)),
    Option<Id> => |v| Self::OptInt(v.map(|v| v.0)),
    Option<Timestamp> => |v| Self::OptInt(v.map(|v| v.0)),
    &str => |v| Self::Text(v.to_owned()),
    String => |v| Self::Text(v),
    &String => |v| Self::Text(v.clone()),
    Option<String> => |v| Self::OptText(v),
    Option<&str> => |v| Self::OptText(v.map(str::to_owned)),
    Vec<u8> => |v| Self::Bytes(v),
}

/// Arguments in order: `args![tenant, id, now]`.
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::store::sql::Arg::from($value)),*] };
}
pub(crate) use args;

macro_rules! encode {
    ($args:expr, $out:ident, $text:ident => $clean:expr) => {{
        $out.reserve($args.len(), 0);
        for arg in $args {
            match arg {
                Arg::Int(v) => $out.add(v),
                Arg::OptInt(v) => $out.add(v),
                Arg::Text($text) => $out.add($clean),
                Arg::OptText(v) => $out.add(v.map(|$text| $clean)),
                Arg::Bytes(v) => $out.add(v),
            }
            .map_err(|wrong| Error::Internal(anyhow::anyhow!("argument: {wrong}")))?;
        }
        Ok($out)
    }};
}

pub(super) fn sqlite_arguments(args: Vec<Arg>) -> Result<SqliteArguments> {
    let mut out = SqliteArguments::default();
    encode!(args, out, text => text)
}

/// PostgreSQL's text has no NUL: what a guest or a target wrote must not make its run's end impossible to record.
pub(super) fn postgres_arguments(args: Vec<Arg>) -> Result<PgArguments> {
    let mut out = PgArguments::default();
    encode!(args, out, text => if text.contains('\0') { text.replace('\0', "\u{FFFD}") } else { text })
}

/// One row of an answer. A column that is not of the type asked for names itself in the error.
pub enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

macro_rules! get {
    ($row:expr, $column:expr) => {
        match $row {
            Self::Sqlite(row) => row.try_get($column),
            Self::Postgres(row) => row.try_get($column),
        }
        .map_err(|wrong| bad($column, &wrong))
    };
}

impl Row {
    pub fn int(&self, column: &str) -> Result<i64> {
        get!(self, column)
    }

    pub fn opt_int(&self, column: &str) -> Result<Option<i64>> {
        get!(self, column)
    }

    pub fn text(&self, column: &str) -> Result<String> {
        get!(self, column)
    }

    pub fn opt_text(&self, column: &str) -> Result<Option<String>> {
        get!(self, column)
    }

    pub fn bytes(&self, column: &str) -> Result<Vec<u8>> {
        get!(self, column)
    }

    pub fn id(&self, column: &str) -> Result<Id> {
        self.int(column).map(Id)
    }

    pub fn time(&self, column: &str) -> Result<Timestamp> {
        self.int(column).map(Timestamp)
    }

    pub fn opt_time(&self, column: &str) -> Result<Option<Timestamp>> {
        Ok(self.opt_int(column)?.map(Timestamp))
    }

    /// A number that is never negative.
    pub fn count(&self, column: &str) -> Result<u64> {
        // One row that should not be must not take a page down.
        Ok(self.int(column)?.max(0).cast_unsigned())
    }

    pub fn opt_count(&self, column: &str) -> Result<Option<u64>> {
        Ok(self.opt_int(column)?.map(|value| value.max(0).cast_unsigned()))
    }

    pub fn small(&self, column: &str) -> Result<u32> {
        let value = self.int(column)?;
        u32::try_from(value).map_err(|_| bad(column, &format!("{value} is no 32-bit count")))
    }

    /// A column that holds JSON of a known shape.
    pub fn json<T: serde::de::DeserializeOwned>(&self, column: &str) -> Result<T> {
        serde_json::from_str(&self.text(column)?).map_err(|wrong| bad(column, &wrong))
    }
}

fn bad(column: &str, wrong: &dyn std::fmt::Display) -> Error {
    Error::Internal(anyhow::anyhow!("column {column}: {wrong}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_repeated_and_names_become_question_marks() {
        assert_eq!(
            expand("INSERT INTO t (a, b) VALUES {2}", 3, Dialect::Sqlite),
            "INSERT INTO t (a, b) VALUES (?, ?), (?, ?), (?, ?)"
        );
        let text = "SELECT $1 WHERE (a) IN (VALUES {1}) AND b = $2";
        assert_eq!(expand(text, 1, Dialect::Sqlite), "SELECT ? WHERE (a) IN (VALUES (?)) AND b = ?");
        assert_eq!(expand(text, 2, Dialect::Postgres), "SELECT $1 WHERE (a) IN (VALUES ($2), ($3)) AND b = $4");
    }

    #[test]
    fn any_number_of_rows_splits_into_chunks() {
        for n in [0, 1, 7, 8, 9, 63, 64, 511, 512, 1_500] {
            assert_eq!(chunks(n).sum::<usize>(), n);
        }
        assert_eq!(chunks(585).collect::<Vec<_>>(), [512, 64, 8, 1]);
    }
}
