//! The shipped `video-transcode` on films that Debian's ffmpeg makes, in a real server; ffprobe and ffmpeg judge what comes out.
//! docs/scenarios.md, V11.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod film;
#[path = "../harness/mod.rs"]
mod harness;
mod scene;
mod shelf;

use std::time::Duration;

use serde_json::{Value, json};

use film::Film;
use harness::wait;
use scene::Scene;

/// What `-af` makes of whatever sounds: two channels that have nothing in common.
const STEREO_NOISE: &str = "aformat=channel_layouts=stereo,aeval=random(0)-0.5|random(1)-0.5:c=same";
/// Below this a picture would not be the same one any more; scaled and at the presets' rates they have 38 to 42.
const ALIKE_DB: f64 = 33.0;

#[test]
fn v11_a_film_gets_each_derivative_it_fills_smallest_first() {
    let scene = Scene::start();
    let film = scene.film("film.mp4", &["-t", "1", "-c:v", "libx264"], "640x360", "25");
    let run = scene.run(&film, &json!({}));
    assert_eq!(run["state"], "succeeded", "{run}");
    let made = ["160p.mp4", "240p.mp4", "320p.mp4", "360p.mp4"];
    let items = scene.items(&run);
    let told: Vec<_> = items.iter().map(|item| (item["name"].as_str().unwrap(), item["state"].as_str().unwrap())).collect();
    assert_eq!(told, made.map(|key| (key, "done")));
    assert_eq!(
        scene.shelf.put(),
        made.map(|key| format!("/made/film.{key}")),
        "the smallest first, and none larger than the source"
    );

    let run = scene.run(&film, &json!({ "presets": ["1080p.mp4", "480p.mp4", "240p.mp4"] }));
    let items = scene.items(&run);
    assert_eq!((items.len(), &items[0]["name"]), (1, &json!("240p.mp4")), "{items:?}");

    let small = scene.film("small.mp4", &["-t", "0.2", "-c:v", "libx264"], "128x72", "25");
    let run = scene.run(&small, &json!({}));
    assert_eq!(run["state"], "succeeded", "{run}");
    assert!(run["summary"].as_str().unwrap().contains("every preset is larger than the source, 128×72"), "{run}");
}

/// What a derivative must have in common with its source: every frame at its time, every packet of sound, and the look.
fn is_the_same_film(scene: &Scene, source: &Film, key: &str, size: (u64, u64)) {
    let made = scene.made(source, key);
    let (before, after) = (source.video(), made.video());
    let about = format!("{} as {key}", source.name());
    assert_eq!(
        (&after["codec_name"], &after["width"], &after["height"]),
        (&json!("h264"), &json!(size.0), &json!(size.1)),
        "{about}"
    );
    assert_eq!(made.frames(), source.frames(), "{about}: frames and their times");
    assert_eq!(made.turned(), source.turned(), "{about}");
    assert_eq!(made.sound(), source.sound(), "{about}: packets of sound");
    assert_eq!(after["sample_aspect_ratio"], before["sample_aspect_ratio"], "{about}");
    let db = made.psnr(source, size);
    println!("{about}: {db:.1} dB, {} bytes", made.bytes());
    assert!(db > ALIKE_DB, "{about}: {db} dB");
}

#[test]
fn a_derivative_shows_what_its_source_shows_and_when() {
    let scene = Scene::start();
    let high = ["-t", "2", "-c:v", "libx264", "-profile:v", "high", "-bf", "3", "-c:a", "aac", "-shortest"];
    let films = [
        // B-frames, CABAC, the 8×8 transform, sound, and a rate that is no whole number.
        (scene.film("high.mp4", &high, "640x360", "30000/1001"), "240p.mp4", (426, 240)),
        (
            scene.film("baseline.mp4", &["-t", "1", "-c:v", "libx264", "-profile:v", "baseline"], "640x480", "25"),
            "320p.mp4",
            (426, 320),
        ),
        (scene.film("odd.mp4", &["-t", "1", "-c:v", "libx264", "-slices", "3"], "330x246", "24"), "160p.mp4", (214, 160)),
        // A frame is shown for one, two or three times as long.
        (
            scene.film(
                "uneven.mp4",
                &["-t", "3", "-vf", "select=mod(n\\,7)*mod(n\\,5)", "-vsync", "vfr", "-c:v", "libx264"],
                "426x240",
                "25",
            ),
            "240p.mp4",
            (426, 240),
        ),
        // The index behind the media, the pixels not square.
        (
            scene.film("wide.mp4", &["-t", "1", "-vf", "setsar=4/3", "-movflags", "0", "-c:v", "libx264"], "480x360", "50"),
            "160p.mp4",
            (214, 160),
        ),
    ];
    for (film, key, size) in &films {
        let run = scene.run(film, &json!({ "presets": [key] }));
        assert_eq!(run["state"], "succeeded", "{}: {run}", film.name());
        is_the_same_film(&scene, film, key, *size);
    }
    let turned = scene.turned("turned.mp4", &films[0].0);
    let run = scene.run(&turned, &json!({ "presets": ["240p.mp4"] }));
    assert_eq!(run["state"], "succeeded", "{run}");
    assert!(turned.turned().is_some());
    is_the_same_film(&scene, &turned, "240p.mp4", (240, 136));
}

#[test]
fn what_cannot_be_transcoded_is_said_and_not_tried_again() {
    let scene = Scene::start();
    let whole = scene.film("whole.mp4", &["-t", "1", "-c:v", "libx264", "-movflags", "faststart"], "320x180", "25");
    let cut = scene.cut("cut.mp4", &whole);
    let behind = scene.film("behind.mp4", &["-t", "1", "-c:v", "libx264"], "320x180", "25");
    let odd = |name: &str, options: &[&str]| {
        let film = scene.film(name, &[&["-t", "0.5"], options].concat(), "320x180", "25");
        film.name().to_owned()
    };
    let films = [
        (cut.name().to_owned(), "the source is truncated: frame "),
        (scene.cut("headless.mp4", &behind).name().to_owned(), "the source is truncated: its box \"mdat\""),
        (odd("film.webm", &["-c:v", "libvpx"]), "it is WebM or Matroska"),
        (odd("mpeg4.mp4", &["-c:v", "mpeg4"]), "MPEG-4 Visual (mp4v); only H.264"),
        (odd("ten.mp4", &["-c:v", "libx264", "-pix_fmt", "yuv420p10le"]), "bit depth > 8"),
        (odd("pieces.mp4", &["-c:v", "libx264", "-movflags", "frag_keyframe+empty_moov"]), "a fragmented MP4"),
        ("nothing.mp4".to_owned(), "HTTP 404"),
    ];
    for (name, says) in films {
        let run = scene.run_named(&name, &json!({}));
        assert_eq!((&run["state"], &run["attempt"]), (&json!("dead"), &json!(1)), "{name}: {run}");
        let items: Vec<_> = scene.items(&run).iter().filter_map(|item| item["message"].as_str().map(str::to_owned)).collect();
        let told = format!("{} {}", run["error"].as_str().unwrap_or_default(), items.join(" "));
        assert!(told.contains(says), "{name}: {told}");
    }
    assert!(scene.shelf.put().is_empty());
}

#[test]
fn what_is_made_is_not_made_again_and_a_cancel_is_heard() {
    let scene = Scene::start();
    let film = scene.film("film.mp4", &["-t", "1", "-c:v", "libx264"], "640x360", "25");
    scene.shelf.refuse_once("/made/film.240p.mp4");
    let run = scene.run(&film, &json!({ "presets": ["160p.mp4", "240p.mp4"] }));
    assert_eq!((&run["state"], &run["attempt"]), (&json!("succeeded"), &json!(2)), "{run}");
    assert_eq!(scene.shelf.put(), ["/made/film.160p.mp4", "/made/film.240p.mp4"]);

    let long = scene.film("long.mp4", &["-t", "60", "-c:v", "libx264", "-preset", "ultrafast"], "640x360", "25");
    let id = scene.begin(long.name(), &json!({ "presets": ["160p.mp4", "360p.mp4"] }));
    wait("it is on its way", Duration::from_secs(60), || {
        let run = scene.told(&id);
        run["progress"]["done"].as_u64().filter(|done| *done >= 8)
    });
    let told = scene.server.cli(&["run", "cancel", &id]);
    assert_eq!(told.code, 0, "{told:?}");
    let run: Value =
        wait("it is cancelled", Duration::from_secs(30), || Some(scene.told(&id)).filter(|run| run["state"] == "cancelled"));
    assert!(run["items"]["done"].as_u64().unwrap() < 2, "{run}");
}

#[test]
fn a_derivative_is_left_behind_with_its_run_where_that_is_asked_for() {
    let scene = Scene::start();
    let film = scene.film("film.mp4", &["-t", "0.5", "-c:v", "libx264"], "320x180", "25");
    let run = scene.run(&film, &json!({ "presets": ["160p.mp4"], "artifacts": true }));
    assert_eq!(run["state"], "succeeded", "{run}");
    let id = run["id"].as_str().unwrap();
    let list = scene.server.api_get(&format!("tenants/video/runs/{id}/artifacts"));
    let one = &list["items"][0];
    assert_eq!(
        (&one["name"], &one["media_type"], list["items"].as_array().unwrap().len()),
        (&json!("film.160p.mp4"), &json!("video/mp4"), 1)
    );
    let saved = scene.saved(&run, "film.160p.mp4");
    assert_eq!(std::fs::read(&saved.0).unwrap(), std::fs::read(&scene.made(&film, "160p.mp4").0).unwrap(), "the same as was put");

    let run = scene.run(&film, &json!({ "presets": ["160p.mp4"], "max_bytes": 2_000 }));
    assert_eq!(run["state"], "dead", "{run}");
    assert!(scene.items(&run)[0]["message"].as_str().unwrap().contains("max_bytes is 2000"), "{run}");
}

#[test]
fn a_film_that_another_run_has_left_is_transcoded_and_asks_nobody() {
    let scene = Scene::start_with(
        r#"
[[job]]
name = "again"
plugin = "video-transcode@1"
max_live = 0
config = { artifacts = true, presets = ["160p.mp4"], source = { artifact = { name = "film.240p.mp4" } } }
triggers = [{ after = { job = "transcode" } }]
[job.grant]
artifacts = { read = ["transcode"] }
"#,
    );
    let film = scene.film("film.mp4", &["-t", "1", "-c:v", "libx264", "-bf", "2", "-c:a", "aac", "-shortest"], "426x240", "25");
    let first = scene.run(&film, &json!({ "presets": ["240p.mp4"], "artifacts": true }));
    assert_eq!(first["state"], "succeeded", "{first}");
    let run = wait("the run that follows has ended", Duration::from_secs(120), || {
        let list = scene.server.json(&["run", "list", "--job", "video/again"]);
        Some(list["items"][0].clone()).filter(|run| run["ended_at"].is_string())
    });
    let run = scene.told(&format!("video/{}", run["id"].as_str().unwrap()));
    assert_eq!(run["state"], "succeeded", "{run}");
    let made = scene.saved(&run, "film.240p.160p.mp4");
    assert_eq!((made.video()["height"].as_u64(), made.frames(), made.sound()), (Some(160), film.frames(), film.sound()));

    let gone = json!({ "source": { "artifact": { "run": first["id"], "name": "film.720p.mp4" } } });
    let run = scene.run_job("again", &gone.to_string());
    assert_eq!((&run["state"], &run["attempt"]), (&json!("dead"), &json!(1)), "{run}");
    assert!(run["error"].as_str().unwrap().contains("has left the artifact \"film.720p.mp4\""), "{run}");
}

#[test]
fn a_derivative_may_be_larger_than_the_memory_that_makes_it() {
    let job = |name: &str, grant: &str| {
        format!(
            r#"
[[job]]
name = "{name}"
plugin = "video-transcode@1"
time_limit = "5m"
config = {{ target = "SHELF/made/{{{{name}}}}.{{{{preset}}}}", artifacts = true, presets = ["160p.mp4"], max_bytes = 60000000 }}
[job.grant]
http = [{{ host = "SHELF", methods = ["GET", "PUT"] }}]
limits = {{ request_bytes = "64 MiB" }}
{grant}
"#
        )
    };
    let memory = 32;
    let jobs = [job("long", &format!("memory = \"{memory} MiB\"\nscratch = \"64 MiB\"")), job("tight", "scratch = \"64 KiB\"")];
    let scene = Scene::start_with(&jobs.concat());
    // Noise needs all the bits that it may have.
    let noise = ["-t", "8", "-c:v", "libx264", "-af", STEREO_NOISE, "-c:a", "aac", "-b:a", "512k"];
    let short = scene.film("short.mp4", &noise, "320x180", "1/4");
    let long = scene.looped("long.mp4", &short, 170);
    let run = scene.run_job("long", &scene.input(long.name(), &json!({})));
    assert_eq!(run["state"], "succeeded", "{run} {:?}", scene.items(&run));
    let made = scene.made(&long, "160p.mp4");
    assert!(made.bytes() > memory << 20, "{} bytes", made.bytes());
    assert_eq!((made.frames(), made.sound()), (long.frames(), long.sound()));
    let left = scene.saved(&run, "long.160p.mp4");
    assert!(std::fs::read(&left.0).unwrap() == std::fs::read(&made.0).unwrap(), "the same as was put");

    let run = scene.run_job("tight", &scene.input(short.name(), &json!({})));
    assert_eq!(run["state"], "dead", "{run}");
    let items = scene.items(&run);
    assert!(items[0]["message"].as_str().unwrap().contains("the scratch folder takes no more"), "{items:?}");
}
