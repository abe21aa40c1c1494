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
        let choices: Vec<String> = right.iter().map(|word| format!("{word:?}")).collect();
        return format!(
            "{written:?} is not possible{}; write {}",
            did_you_mean(&written, right.iter().copied()),
            choices.join(" or ")
        );
    }
    let typed = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    if let Some((found, expected)) = typed.and_then(|rest| rest.rsplit_once(", expected ")) {
        return format!("is the {}; write {}", found.replace('`', ""), what(expected));
    }
    message.to_owned()
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
