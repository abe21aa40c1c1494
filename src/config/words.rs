//! serde's messages in the words of people who write configuration.

use crate::error::did_you_mean;

/// serde's names of types, and what to write.
const TYPES: [(&[&str], &str); 7] = [
    (&["u8", "u16", "u32", "u64", "usize"], "a whole number, 0 or more"),
    (&["i8", "i16", "i32", "i64"], "a whole number"),
    (&["f32", "f64"], "a number"),
    (&["a string", "a borrowed string", "string"], "text in quotes"),
    (&["a boolean"], "true or false"),
    (&["a sequence"], "a list in [ ]"),
    (&["a map"], "a table"),
];

/// The key that a "missing field" names.
pub(super) fn missing(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.split('`').next()
}

pub(super) fn is_unknown_key(message: &str) -> bool {
    message.starts_with("unknown field `")
}

/// What is wrong and what would be right.
pub(super) fn plain(message: &str) -> String {
    if let Some(rest) = message.strip_prefix("unknown field `") {
        let (written, right) = quoted(rest);
        return match right.as_slice() {
            [] => "there is no such key, and none can be here".into(),
            right => {
                format!("there is no such key{}; keys here: {}", did_you_mean(&written, right.iter().copied()), right.join(", "))
            }
        };
    }
    if let Some(rest) = message.strip_prefix("unknown variant `") {
        let (written, right) = quoted(rest);
        let right = offered(&right);
        let choices: Vec<String> = right.iter().map(|word| format!("{word:?}")).collect();
        return format!(
            "{written:?} is not possible{}; write {}",
            did_you_mean(&written, right.iter().copied()),
            choices.join(" or ")
        );
    }
    let typed = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    if let Some((found, expected)) = typed.and_then(|rest| rest.rsplit_once(", expected ")) {
        let found = found.replace('`', "");
        return match largest(expected).filter(|largest| number(&found).is_some_and(|number| number > *largest)) {
            Some(largest) => format!("is the {found}; write at most {largest}"),
            None => format!("is the {found}; write {}", what(expected)),
        };
    }
    message.to_owned()
}

/// The whole number that serde found.
fn number(found: &str) -> Option<i128> {
    found.strip_prefix("integer ")?.parse().ok()
}

/// Of serde's name of a type of whole numbers that a file can go beyond: TOML has 64 bits with a sign.
fn largest(expected: &str) -> Option<i128> {
    match expected {
        "u8" => Some(u8::MAX.into()),
        "u16" => Some(u16::MAX.into()),
        "u32" => Some(u32::MAX.into()),
        "i32" => Some(i32::MAX.into()),
        _ => None,
    }
}

/// serde lists a word's aliases with it: of those that differ by hyphen or underscore only, the first is the word.
fn offered<'a>(right: &[&'a str]) -> Vec<&'a str> {
    let same = |one: &str, other: &str| one.replace('_', "-") == other.replace('_', "-");
    let mut offered: Vec<&str> = Vec::new();
    for word in right {
        if !offered.iter().any(|before| same(before, word)) {
            offered.push(word);
        }
    }
    offered
}

/// Words between backticks: the first, and the others.
fn quoted(rest: &str) -> (String, Vec<&str>) {
    let mut words = rest.split('`').step_by(2);
    (words.next().unwrap_or_default().to_owned(), words.collect())
}

fn what(expected: &str) -> &str {
    if expected.starts_with("struct ") {
        return "a table";
    }
    TYPES.iter().find(|(names, _)| names.contains(&expected)).map_or(expected, |(_, what)| what)
}
