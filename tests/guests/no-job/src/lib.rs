//! Exports something else than a job: it must be refused when it is pushed, with words that say what is missing.

wit_bindgen::generate!({
    inline: "
        package example:other@1.0.0;
        interface greeter { greet: func(name: string) -> string; }
        world other { export greeter; }
    ",
});

struct Greeter;

impl exports::example::other::greeter::Guest for Greeter {
    fn greet(name: String) -> String {
        format!("hello {name}")
    }
}

#[cfg(target_family = "wasm")]
export!(Greeter);
#[cfg(not(target_family = "wasm"))]
const _: fn(String) -> String = <Greeter as exports::example::other::greeter::Guest>::greet;
