//! Numbers: thousands commas, quiet zeros, capped counts.

use std::fmt;

use askama::filters::HtmlSafe;

/// 1234567 → "1,234,567"
pub fn commas(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// [`commas`] for templates.
#[derive(Debug, Clone, Copy)]
pub struct Commas(pub u64);

impl fmt::Display for Commas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&commas(self.0))
    }
}

impl HtmlSafe for Commas {}

/// [`plural`] for templates.
pub struct Plural(pub u64, pub &'static str, pub &'static str);

impl fmt::Display for Plural {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(plural(self.0, self.1, self.2))
    }
}

impl HtmlSafe for Plural {}

/// A number in a table: a zero is quiet, so that those that matter stand out.
#[derive(Debug, Clone, Copy)]
pub struct Num(pub u64);

impl fmt::Display for Num {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { f.write_str("<span class=\"z\">0</span>") } else { f.write_str(&commas(self.0)) }
    }
}

impl HtmlSafe for Num {}

/// A count that was not counted beyond a cap: "10,000+".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capped {
    pub n: u64,
    pub more: bool,
}

impl Capped {
    /// `n` of a count that stopped at `cap`.
    pub fn at(n: u64, cap: u64) -> Self {
        Self { n: n.min(cap), more: n >= cap }
    }

    pub fn is_zero(&self) -> bool {
        self.n == 0
    }
}

impl fmt::Display for Capped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&commas(self.n))?;
        if self.more { f.write_str("+") } else { Ok(()) }
    }
}

impl HtmlSafe for Capped {}

/// A rate a minute: whole above one, one place below.
#[derive(Debug, Clone, Copy)]
pub struct Rate(pub Option<f64>);

impl fmt::Display for Rate {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded and not negative")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("<span class=\"z\">–</span>"),
            Some(rate) if rate < 0.05 => f.write_str("<span class=\"z\">0</span>"),
            Some(rate) if rate < 0.95 => write!(f, "{rate:.1}"),
            Some(rate) => f.write_str(&commas(rate.round() as u64)),
        }
    }
}

impl HtmlSafe for Rate {}

/// "18,204 bytes" is hard to compare: "17.8 KiB".
#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
pub fn bytes(n: u64) -> String {
    match n {
        0..1024 => format!("{n} B"),
        1024..1_048_576 => format!("{:.1} KiB", n as f64 / 1024.0),
        _ => format!("{:.2} MiB", n as f64 / 1_048_576.0),
    }
}

/// "run" or "runs".
pub fn plural(n: u64, one: &'static str, many: &'static str) -> &'static str {
    if n == 1 { one } else { many }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_have_commas() {
        for (n, text) in [(0, "0"), (7, "7"), (999, "999"), (1_000, "1,000"), (58_176, "58,176"), (1_234_567, "1,234,567")] {
            assert_eq!(commas(n), text);
        }
        assert_eq!(Capped::at(10_000, 10_000).to_string(), "10,000+");
        assert_eq!(Capped::at(9_999, 10_000).to_string(), "9,999");
    }

    #[test]
    fn small_rates_keep_a_place() {
        let said = [None, Some(0.0), Some(0.1), Some(2.0), Some(1310.4)].map(|rate| Rate(rate).to_string());
        assert_eq!(said, ["<span class=\"z\">–</span>", "<span class=\"z\">0</span>", "0.1", "2", "1,310"]);
    }
}
