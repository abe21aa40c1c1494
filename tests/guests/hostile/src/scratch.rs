//! Fills its scratch folder in one of many ways, until it is refused.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::time::Duration;

use serde_json::json;
use windlass_plugin::{Output, progress};

use crate::Input;

static CHUNK: [u8; 64 * 1024] = [b's'; 64 * 1024];

/// The way is the input's `text`. Reports how many steps went well, then sleeps for `ms`, so that somebody can look at what
/// is there.
pub fn fill(input: &Input) -> Output {
    let way = input.text.as_deref().unwrap_or("big");
    let mut steps = 0;
    let wrong = loop {
        match step(way, steps) {
            Ok(()) => steps += 1,
            Err(wrong) => break wrong,
        }
    };
    progress::report(steps, None, &wrong.to_string());
    std::thread::sleep(Duration::from_millis(input.ms.unwrap_or(0)));
    Output::new(wrong.to_string()).data(json!({ "steps": steps, "kind": format!("{:?}", wrong.kind()) }))
}

/// Makes as many names as it may, and opens listings of them that it keeps, until it is refused.
pub fn listings() -> Output {
    let names = (0..).take_while(|n| File::create(format!("/scratch/{n:0200}")).is_ok()).count();
    let folders = wasip2::filesystem::preopens::get_directories();
    let Some((folder, _)) = folders.iter().find(|(_, path)| path == "/scratch") else { return Output::new("no folder") };
    let mut open = Vec::new();
    let refused = loop {
        match folder.read_directory() {
            Ok(listing) => open.push(listing),
            Err(wrong) => break wrong.name().to_owned(),
        }
    };
    let kept = open.len();
    open.truncate(kept / 2);
    let again = folder.read_directory().ok().map(|listing| std::iter::from_fn(|| listing.read_directory_entry().ok()?).count());
    Output::new("listed").data(json!({ "names": names, "open": kept, "refused": refused, "again": again }))
}

fn step(way: &str, n: u64) -> io::Result<()> {
    let open = || OpenOptions::new().create(true).write(true).truncate(false).open("/scratch/one");
    match way {
        "big" => at(&mut open()?, n * CHUNK.len() as u64, &CHUNK),
        "stream" => (0..1_000).try_for_each({
            let mut file = OpenOptions::new().create(true).append(true).open("/scratch/one")?;
            move |_| file.write_all(&CHUNK)
        }),
        "append" => OpenOptions::new().create(true).append(true).open("/scratch/one")?.write_all(&CHUNK),
        "truncate" => File::create("/scratch/one")?.write_all(&CHUNK),
        "hole" => at(&mut open()?, 1 << 40, b"x"),
        "holes" => at(&mut open()?, n * 1024 * 1024, b"x"),
        "grow" => open()?.set_len((n + 1) * 1024 * 1024 * 1024),
        "files" => File::create(format!("/scratch/{n}")).map(drop),
        "small" => fs::write(format!("/scratch/{n}"), "x"),
        "folders" => fs::create_dir(format!("/scratch/{n}")),
        "deep" => fs::create_dir(format!("/scratch{}", "/d".repeat(usize::try_from(n).unwrap_or(0) + 1))),
        "links" if n == 0 => fs::write("/scratch/one", "x"),
        "links" => fs::hard_link("/scratch/one", format!("/scratch/{n}")),
        "removed" => fs::write("/scratch/one", &CHUNK[..]).and_then(|()| fs::remove_file("/scratch/one")),
        "escape" => fs::write("/scratch/../../escaped", "x"),
        other => Err(io::Error::other(format!("no way is called {other}"))),
    }
}

fn at(file: &mut File, place: u64, bytes: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(place))?;
    file.write_all(bytes)
}
