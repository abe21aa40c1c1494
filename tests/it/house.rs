//! The rules of the house that no compiler knows, as tests: who may know whom, where each technology lives, how long a file
//! may be, which proofs exist. CONTRIBUTING.md says why; a rule changes here and there together.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room and the rooms it may name. A new room is entered here first.
const ROOMS: &[(&str, &[&str])] = &[
    ("error", BASE),
    ("id", BASE),
    ("clock", BASE),
    ("span", BASE),
    ("config", BASE),
    ("vault", BASE),
    ("domain", BASE),
    ("egress", &["domain"]),
    ("objects", BASE),
    ("store", &["domain"]),
    ("plugin", &["domain", "egress"]),
    ("probe", &["domain", "egress"]),
    ("sink", &["domain", "egress"]),
    ("trace", &["domain"]),
    ("runner", &["domain", "egress", "objects", "store", "plugin", "probe", "sink", "trace"]),
    ("app", &["domain", "egress", "objects", "store", "plugin", "runner"]),
    // Pages read the store; to change anything, or to touch a run, they go through app.
    ("web", &["domain", "store", "app"]),
    // `serve` is where the parts are put together.
    ("cli", &["domain", "egress", "objects", "store", "plugin", "runner", "app", "web"]),
];
const BASE: &[&str] = &["error", "id", "clock", "span", "config", "vault"];

/// A technology, and the only rooms that may name it.
const TECHNOLOGIES: &[(&str, &[&str])] = &[
    // Its own database, and those of tenants that are measured.
    ("sqlx::", &["store", "probe"]),
    ("redis::", &["probe"]),
    ("lapin::", &["probe"]),
    ("async_nats::", &["probe"]),
    ("wasmtime", &["plugin"]),
    ("object_store::", &["objects"]),
    ("opentelemetry", &["trace"]),
    ("lettre::", &["sink"]),
    ("axum::", &["web"]),
    ("askama::", &["web"]),
    ("println!", &["cli", "main"]),
    ("eprintln!", &["cli", "main"]),
];

const LONGEST_FILE: usize = 400;

/// The scenarios of docs/scenarios.md: a family and how many it has.
const SCENARIOS: &[(char, usize)] = &[('T', 14), ('W', 16), ('C', 15), ('V', 13), ('A', 15)];

#[test]
fn rooms_know_only_the_rooms_below_them() {
    let mut wrong = Vec::new();
    for file in sources("src") {
        let room = room_of(&file.path);
        if room == "lib" || room == "main" {
            continue;
        }
        let Some((_, below)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            wrong.push(format!("{}: the room `{room}` is not in ROOMS", file.path.display()));
            continue;
        };
        for (line, named) in rooms_named(&code_of(&file.text)) {
            if named != room && !BASE.contains(&named.as_str()) && !below.contains(&named.as_str()) {
                wrong.push(format!("{}:{line}: `{room}` must not name `crate::{named}`", file.path.display()));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn each_technology_stays_in_its_room() {
    let mut wrong = Vec::new();
    for file in sources("src") {
        let (room, code) = (room_of(&file.path), code_of(&file.text));
        for (word, rooms) in TECHNOLOGIES {
            if rooms.contains(&room.as_str()) {
                continue;
            }
            for (number, _) in code.lines().enumerate().filter(|(_, line)| has_word(line, word)) {
                wrong.push(format!("{}:{}: `{word}` belongs in {rooms:?}", file.path.display(), number + 1));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn files_are_short_or_say_why_not() {
    let mut wrong = Vec::new();
    for file in sources("src").into_iter().chain(sources("tests")).chain(sources("plugins")) {
        let lines = file.text.lines().count();
        let excused = file.text.lines().take(5).any(|line| line.strip_prefix("// long: ").is_some_and(|why| why.len() > 10));
        if lines > LONGEST_FILE && !excused {
            wrong.push(format!(
                "{}: {lines} lines; split it by duty, or give a reason in its first lines: `// long: …`",
                file.path.display()
            ));
        }
    }
    assert_none(&wrong);
}

#[test]
fn the_product_does_not_reach_into_its_tests() {
    let mut wrong = Vec::new();
    for file in sources("src") {
        let product = file.text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in product.lines().enumerate() {
            if !line.trim_start().starts_with("//") && (line.contains("#[path") || line.contains("tests/")) {
                wrong.push(format!("{}:{}: {}", file.path.display(), number + 1, line.trim()));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn both_databases_have_the_same_migrations() {
    let names = |database: &str| -> BTreeSet<String> {
        let Ok(folder) = fs::read_dir(root().join("migrations").join(database)) else { return BTreeSet::new() };
        folder.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
    };
    let (sqlite, postgres) = (names("sqlite"), names("postgres"));
    assert!(!sqlite.is_empty(), "migrations/sqlite is empty");
    if root().join("migrations/postgres").exists() {
        assert_eq!(sqlite, postgres);
    }
}

#[test]
fn the_document_of_the_store_has_every_table() {
    let document = fs::read_to_string(root().join("docs/store.md")).unwrap();
    let heads = document.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split(" | ").next()?.to_owned()));
    let named: BTreeSet<String> =
        heads.flat_map(|head| head.split(['`', ',', ' ']).map(str::to_owned).collect::<Vec<_>>()).collect();
    let mut there = BTreeSet::new();
    for file in files(&root().join("migrations/sqlite"), "sql") {
        for line in fs::read_to_string(file).unwrap().lines() {
            let words: Vec<&str> = line.trim_end_matches(';').split_whitespace().collect();
            match words[..] {
                ["CREATE", "TABLE", name, ..] => {
                    there.insert(name.to_owned());
                }
                ["DROP", "TABLE", name] => {
                    there.remove(name);
                }
                ["ALTER", "TABLE", old, "RENAME", "TO", new] => {
                    there.remove(old);
                    there.insert(new.to_owned());
                }
                _ => {}
            }
        }
    }
    assert!(there.len() > 40, "{there:?}");
    assert_none(&there.difference(&named).map(|table| format!("docs/store.md lacks the table {table}")).collect::<Vec<_>>());
}

#[test]
fn every_scenario_is_proven_or_says_why_not() {
    let table = fs::read_to_string(root().join("docs/scenarios.md")).expect("docs/scenarios.md");
    let tests: Vec<String> =
        ["src", "tests", "plugins"].iter().flat_map(|folder| sources(folder)).map(|file| file.text).collect();
    let mut wrong = Vec::new();
    for (family, count) in SCENARIOS {
        for number in 1..=*count {
            let id = format!("{family}{number}");
            let rows: Vec<&str> = table.lines().filter(|line| line.starts_with(&format!("| {id} |"))).collect();
            match rows.as_slice() {
                [row] => wrong.extend(scenario_fault(row, &tests).map(|fault| format!("{id}: {fault}"))),
                rows => wrong.push(format!("{id}: {} rows in docs/scenarios.md", rows.len())),
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn links_in_the_documents_lead_somewhere() {
    let mut wrong = Vec::new();
    for path in files(&root(), "md") {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            let outside = target.contains("://") || target.starts_with("mailto:");
            if !target.is_empty() && !outside && !path.with_file_name(target).exists() {
                wrong.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn the_rules_can_fail() {
    let code =
        code_of("use crate::{store::Tx, web, error::{A, B}}; // crate::cli\nlet s = \"crate::app\"; crate::runner::x('\"');");
    let named: Vec<String> = rooms_named(&code).into_iter().map(|(line, room)| format!("{line} {room}")).collect();
    assert_eq!(named, ["1 store", "1 web", "1 error", "2 runner"]);
    assert_eq!(code_of("a /* b /* c */ d */ r#\"e\" f\"# 'g' &'h i").split_whitespace().collect::<Vec<_>>(), ["a", "&'h", "i"]);

    assert!(has_word("wasmtime_wasi::p2", "wasmtime") && !has_word("my_wasmtime", "wasmtime"));

    let tests = ["#[tokio::test]\nasync fn shown() {}\n#[test]\n#[ignore]\nfn skipped() {}\nfn helper() {}".to_string()];
    let fault = |place: &str| scenario_fault(&format!("| X1 | what | {place} |"), &tests);
    assert_eq!(fault("test: `shown`"), None);
    assert_eq!(fault("later: many nodes"), None);
    for bad in ["", "later:", "test:", "test: `skipped`", "test: `helper`", "test: `shown`, `absent`"] {
        assert!(fault(bad).is_some(), "{bad:?} must be refused");
    }
}

struct Source {
    path: PathBuf,
    text: String,
}

/// The Rust files under a folder, with paths from the root.
fn sources(folder: &str) -> Vec<Source> {
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Source { path: path.strip_prefix(root()).unwrap_or(&path).to_path_buf(), text }
    };
    files(&root().join(folder), "rs").into_iter().map(read).collect()
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())) {
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() && name != "target" && name != ".git" {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn root() -> PathBuf {
    option_env!("CARGO_MANIFEST_DIR").unwrap_or(".").into()
}

fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// src/store/run.rs is in `store`, src/error.rs is `error`.
fn room_of(path: &Path) -> String {
    let first = path.components().nth(1).map(|part| part.as_os_str().to_string_lossy().into_owned()).unwrap_or_default();
    first.trim_end_matches(".rs").to_string()
}

/// The rooms that `crate::…` paths name, with their lines; groups in braces name several.
fn rooms_named(code: &str) -> Vec<(usize, String)> {
    let mut named = Vec::new();
    for (at, word) in code.match_indices("crate::") {
        let (line, rest) = (code[..at].lines().count().max(1), &code[at + word.len()..]);
        let items = if rest.starts_with('{') { group_items(rest) } else { vec![rest] };
        for item in items {
            let name: String = item.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            // The two that lib.rs may lend to everybody.
            let room = if name == "Error" || name == "Result" { "error".into() } else { name };
            if !room.is_empty() {
                named.push((line, room));
            }
        }
    }
    named
}

/// `{a::b, c::{d, e}}…` → `a::b`, `c::{d, e}`
fn group_items(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut items) = (0, 1, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && c == ',') {
            items.push(&text[start..at]);
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    items
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// The text without comments, strings and characters; lines stay where they are.
fn code_of(text: &str) -> String {
    let (mut code, mut rest) = (String::new(), text);
    while let Some(c) = rest.chars().next() {
        let length = skipped(rest, code.chars().last());
        if length == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            code.extend(rest[..length].chars().filter(|c| *c == '\n'));
            code.push(' ');
            rest = &rest[length..];
        }
    }
    code
}

/// How many bytes of a comment, string or character stand here; 0 where code does.
fn skipped(text: &str, before: Option<char>) -> usize {
    let until = |from: usize, end: &str| text[from..].find(end).map_or(text.len(), |at| from + at + end.len());
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        let (mut depth, mut at) = (1, 2);
        while depth > 0 && at < text.len() {
            let (opens, closes) = (text.as_bytes()[at..].starts_with(b"/*"), text.as_bytes()[at..].starts_with(b"*/"));
            depth = depth + usize::from(opens) - usize::from(closes);
            at += if opens || closes { 2 } else { 1 };
        }
        return at;
    }
    if text.starts_with('"') {
        let mut escaped = false;
        let end = text.bytes().skip(1).position(|b| {
            let ends = b == b'"' && !escaped;
            escaped = b == b'\\' && !escaped;
            ends
        });
        return end.map_or(text.len(), |at| at + 2);
    }
    let raw = text.strip_prefix('r').filter(|_| !before.is_some_and(|c| c.is_alphanumeric() && c != 'b' || c == '_'));
    if let Some(raw) = raw {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            return until(hashes + 2, &format!("\"{}", "#".repeat(hashes)));
        }
    }
    if let Some(quoted) = text.strip_prefix('\'') {
        let mut chars = quoted.chars();
        match (chars.next(), chars.next()) {
            (Some('\\'), Some(c)) => return until(2 + c.len_utf8(), "'"),
            (Some(c), Some('\'')) => return c.len_utf8() + 2,
            _ => {}
        }
    }
    0
}

/// What is wrong with the last column of a scenario's row: it names tests that exist and run, or says where they will come.
fn scenario_fault(row: &str, tests: &[String]) -> Option<String> {
    let place = row.trim_end().trim_end_matches('|').rsplit('|').next().unwrap_or_default().trim();
    if let Some(names) = place.strip_prefix("test:") {
        let names: Vec<&str> = names.split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            return Some("names no test".into());
        }
        return names.into_iter().find(|name| !runs(name, tests)).map(|name| format!("no test `{name}` runs"));
    }
    let reason = ["later:", "not shown:"].iter().find_map(|word| place.strip_prefix(word)).unwrap_or_default();
    reason.trim().is_empty().then(|| format!("`{place}` is neither `test: …` nor a reason (`later: …`, `not shown: …`)"))
}

/// A function of that name under a test attribute, and not ignored; or in the list of the tests of processes.
fn runs(name: &str, tests: &[String]) -> bool {
    tests.iter().any(|text| {
        if text.contains("pub const ALL: &[(&str, Test)]") && text.contains(&format!("fn {name}(")) {
            let list = text.split("pub const ALL").nth(1).and_then(|rest| rest.split("];").next());
            return list.is_some_and(|list| list.contains(name));
        }
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        lines.iter().enumerate().filter(|(_, line)| line.contains(&format!("fn {name}("))).any(|(at, _)| {
            let mut attributes = lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
            let (mut test, mut ignored) = (false, false);
            attributes.by_ref().for_each(|line| {
                test |= line.starts_with("#[test") || line.contains("::test");
                ignored |= line.starts_with("#[ignore");
            });
            test && !ignored
        })
    })
}
