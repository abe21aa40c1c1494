//! A plain program: repeats its arguments and its input, and exits as the input says. With `{"exit": n}` it exits with `n`,
//! with `{"stderr": "…"}` it complains, with `{"env": "NAME"}` it prints that variable.

use std::io::Read;

use serde_json::Value;

fn main() {
    let mut input = String::new();
    if let Err(error) = std::io::stdin().read_to_string(&mut input) {
        eprintln!("stdin: {error}");
        std::process::exit(2);
    }
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    println!("arguments: {}", arguments.join(" "));
    println!("input: {}", input.trim());
    let json: Value = serde_json::from_str(&input).unwrap_or_default();
    if let Some(name) = json["env"].as_str() {
        println!("{name}={}", std::env::var(name).unwrap_or_default());
    }
    if let Some(complaint) = json["stderr"].as_str() {
        eprintln!("{complaint}");
    }
    if let Some(code) = json["exit"].as_i64() {
        std::process::exit(i32::try_from(code).unwrap_or(1));
    }
}
