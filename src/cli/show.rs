//! What people read: aligned tables, relative times.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use serde::Serialize;

use super::stop::Done;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::domain::health::words;

/// One line, or several, to stdout, made harmless.
pub fn say(text: impl Display) -> Done {
    say_raw(harmless(&text.to_string()))
}

/// The server's answer, for programs.
pub fn say_json(value: &impl Serialize) -> Done {
    say_raw(serde_json::to_string_pretty(value)?)
}

/// As it is: JSON, which escapes by itself, and what a shell takes.
pub fn say_raw(text: impl Display) -> Done {
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(())
}

/// Texts come from guests and targets: what would steer a terminal, or turn the order of letters round, is shown
/// instead of sent. Line ends and tabs stay.
pub fn harmless(text: &str) -> Cow<'_, str> {
    let harms = |letter: char| {
        (letter.is_control() && !matches!(letter, '\n' | '\t'))
            || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(harms) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if harms(letter) { shown.extend(letter.escape_unicode()) } else { shown.push(letter) }
    }
    Cow::Owned(shown)
}

/// A line that the next one writes over; nothing where nobody looks.
pub fn passing(text: &str) {
    let mut err = std::io::stderr().lock();
    if err.is_terminal() {
        // Progress that cannot be shown is no reason to stop.
        let _ = write!(err, "\r\x1b[K{}", harmless(text));
        let _ = err.flush();
    }
}

pub fn now() -> Timestamp {
    SystemClock.now()
}

/// "4 s ago", "in 12 min".
pub fn when(at: Timestamp, now: Timestamp) -> String {
    let whole = |span: Duration| words(Duration::from_secs(span.as_secs()));
    if at > now { format!("in {}", whole(at.since(now))) } else { format!("{} ago", whole(now.since(at))) }
}

pub fn when_some(at: Option<Timestamp>, now: Timestamp) -> String {
    at.map_or_else(|| "-".into(), |at| when(at, now))
}

/// "12 s", of milliseconds.
pub fn span(ms: u64) -> String {
    words(if ms < 1_000 { Duration::from_millis(ms) } else { Duration::from_secs(ms / 1_000) })
}

pub fn or_dash<T: Display>(value: Option<T>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

/// One line of at most so many letters.
pub fn short(text: &str, letters: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= letters && line.len() == text.len() {
        return line.to_owned();
    }
    let head: String = line.chars().take(letters.saturating_sub(1)).collect();
    format!("{head}…")
}

/// Columns as wide as their widest cell; a head that begins with `>` aligns to the right.
pub struct Table {
    heads: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(heads: &[&'static str]) -> Self {
        Self { heads: heads.to_vec(), rows: Vec::new() }
    }

    /// Harmless before widths are counted.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| harmless(cell).into_owned()).collect());
    }

    /// Says it, or that there is nothing.
    pub fn print(self, nothing: &str) -> Done {
        if self.rows.is_empty() { say(nothing) } else { say(self.text()) }
    }

    fn text(&self) -> String {
        let heads: Vec<String> = self.heads.iter().map(|head| head.trim_start_matches('>').to_uppercase()).collect();
        let lines = || std::iter::once(&heads).chain(&self.rows);
        let width = |n: usize| lines().filter_map(|row| row.get(n)).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..heads.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).zip(&self.heads).map(|((cell, width), head)| {
                if head.starts_with('>') { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        lines().map(line).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other_and_numbers_to_the_right() {
        let mut table = Table::new(&["name", ">jobs", "why"]);
        table.row(vec!["alpha".into(), "7".into(), "größer".into()]);
        table.row(vec!["b".into(), "1200".into(), String::new()]);
        assert_eq!(table.text(), "NAME   JOBS  WHY\nalpha     7  größer\nb      1200");
    }

    #[test]
    fn what_would_steer_a_terminal_is_shown() {
        assert_eq!(harmless("größer\t1\n2"), "größer\t1\n2");
        assert_eq!(harmless("\u{1b}[2Jgone\r\u{9b}1m"), "\\u{1b}[2Jgone\\u{d}\\u{9b}1m");
        assert_eq!(harmless("abc\u{202e}fed\u{2066}"), "abc\\u{202e}fed\\u{2066}");
    }

    #[test]
    fn times_are_relative_and_long_texts_are_cut() {
        let now = Timestamp(100_000);
        assert_eq!(when(Timestamp(95_500), now), "4 s ago");
        assert_eq!(when(Timestamp(160_000), now), "in 1 min");
        assert_eq!(short("one two", 20), "one two");
        assert_eq!(short("one two\nthree", 20), "one two…");
        assert_eq!(short("one two", 4), "one…");
    }
}
