//! Takes things of the host and never gives them back.

wit_bindgen::generate!({
    inline: "
        package hostile:handles;
        world clock { import wasi:clocks/monotonic-clock@0.2.0; }
        package wasi:io@0.2.0 {
            interface poll {
                resource pollable { ready: func() -> bool; block: func(); }
                poll: func(in: list<borrow<pollable>>) -> list<u32>;
            }
        }
        package wasi:clocks@0.2.0 {
            interface monotonic-clock {
                use wasi:io/poll@0.2.0.{pollable};
                type instant = u64;
                type duration = u64;
                now: func() -> instant;
                resolution: func() -> duration;
                subscribe-instant: func(when: instant) -> pollable;
                subscribe-duration: func(when: duration) -> pollable;
            }
        }
    ",
    world: "hostile:handles/clock",
    generate_all,
});

pub fn hoard(n: u64) -> u64 {
    let kept: Vec<_> = (0..n).map(|_| wasi::clocks::monotonic_clock::subscribe_duration(1)).collect();
    kept.len() as u64
}
