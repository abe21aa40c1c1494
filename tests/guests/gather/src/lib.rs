//! Works on the items of its input, `{"names": […], "broken": "…"}`, one by one; `finish` tells the sums.

use serde::Deserialize;
use serde_json::json;
use windlass_plugin::items::{self, Item};
use windlass_plugin::{Failure, Output, Totals, Work};

#[derive(Deserialize)]
struct Input {
    names: Vec<String>,
    #[serde(default)]
    broken: String,
}

fn run(work: &Work) -> Result<Output, Failure> {
    let input: Input = work.input()?;
    items::declare(&input.names.iter().map(|name| Item::new(name, &json!({ "letters": name.len() }))).collect::<Vec<_>>())?;
    #[derive(Deserialize)]
    struct Piece {
        letters: usize,
    }
    let tally = items::each(|name, piece: Piece| {
        if name == input.broken {
            return Err(Failure::permanent("is broken"));
        }
        Ok(format!("{} letters", piece.letters))
    })?;
    Ok(Output::new(format!("{} done, {} failed here", tally.done, tally.failed)))
}

fn finish(_: &Work, totals: &Totals) -> Result<Output, Failure> {
    let Totals { done, failed, skipped } = totals;
    Ok(Output::new(format!("{done} done, {failed} failed, {skipped} skipped in all")).data(json!({ "done": done })))
}

windlass_plugin::job!(run);
windlass_plugin::finish!(finish);
