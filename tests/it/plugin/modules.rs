//! Core modules byte by byte: no compiler makes what these tests need.

/// Unsigned LEB128.
fn number(mut n: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let low = u8::try_from(n & 0x7f).unwrap();
        n >>= 7;
        out.push(if n > 0 { low | 0x80 } else { low });
        if n == 0 {
            return out;
        }
    }
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&number(bytes.len()), bytes].concat()
}

fn section(id: u8, entries: &[Vec<u8>]) -> Vec<u8> {
    [vec![id], sized(&[number(entries.len()), entries.concat()].concat())].concat()
}

fn import(module: &str, name: &str, of_type: u8) -> Vec<u8> {
    [sized(module.as_bytes()), sized(name.as_bytes()), vec![0, of_type]].concat()
}

fn export(name: &str, kind: u8, index: u8) -> Vec<u8> {
    [sized(name.as_bytes()), vec![kind, index]].concat()
}

fn module(sections: &[Vec<u8>]) -> Vec<u8> {
    [&b"\0asm\x01\0\0\0"[..], &sections.concat()].concat()
}

const I32: u8 = 0x7f;
const END: u8 = 0x0b;
const CALL: u8 = 0x10;
const DROP: u8 = 0x1a;

fn constant(n: u8) -> [u8; 2] {
    assert!(n < 64, "one byte of signed LEB128");
    [0x41, n]
}

/// A program of WASI preview 1 that prints a line and, if it is to, exits with a code.
pub fn program(says: &str, exit: Option<u8>) -> Vec<u8> {
    let line = format!("{says}\n");
    // At 0 one buffer: where the text lies, and how long it is. It lies at 16.
    let data = [&[16, 0, 0, 0][..], &[u8::try_from(line.len()).unwrap(), 0, 0, 0], &[0; 8], line.as_bytes()].concat();
    let print = [&constant(1)[..], &constant(0), &constant(1), &constant(8), &[CALL, 0, DROP]].concat();
    let exit = exit.map(|code| [&constant(code)[..], &[CALL, 1]].concat()).unwrap_or_default();
    let body = sized(&[&[0][..], &print, &exit, &[END]].concat());
    module(&[
        section(1, &[vec![0x60, 4, I32, I32, I32, I32, 1, I32], vec![0x60, 1, I32, 0], vec![0x60, 0, 0]]),
        section(2, &[import("wasi_snapshot_preview1", "fd_write", 0), import("wasi_snapshot_preview1", "proc_exit", 1)]),
        section(3, &[vec![2]]),
        section(5, &[vec![0, 1]]),
        section(7, &[export("memory", 2, 0), export("_start", 0, 2)]),
        section(10, &[body]),
        section(11, &[[&[0][..], &constant(0), &[END], &sized(&data)].concat()]),
    ])
}

/// A core module that asks for something that no adapter knows.
pub fn stranger() -> Vec<u8> {
    module(&[section(1, &[vec![0x60, 0, 0]]), section(2, &[import("env", "secret_door", 0)])])
}

/// Keeps a compiler busy: one function in which so many locals live across so many branches.
pub fn bomb(locals: usize, branches: usize) -> Vec<u8> {
    let mut code = [number(1), number(locals), vec![I32]].concat();
    for _ in 0..branches {
        // if (local 0) { each local = each other local + 1 }
        code.extend([&[0x20, 0, 0x04, 0x40][..]].concat());
        for n in 0..locals {
            let other = number((n * 7 + 1) % locals);
            code.extend([&[0x20][..], &other, &constant(1), &[0x6a, 0x21], &number(n)].concat());
        }
        code.push(END);
    }
    code.push(END);
    module(&[
        section(1, &[vec![0x60, 0, 0]]),
        section(3, &[vec![0]]),
        section(5, &[vec![0, 1]]),
        section(7, &[export("memory", 2, 0), export("_start", 0, 0)]),
        section(10, &[sized(&code)]),
    ])
}

/// Makes its table longer, 32 elements at a time, and never ends.
pub fn table_bomb() -> Vec<u8> {
    // loop { drop(table.grow(null, 32)); again }
    let body = [&[0, 0x03, 0x40, 0xd0, 0x70][..], &constant(32), &[0xfc, 0x0f, 0, DROP, 0x0c, 0, END, END]].concat();
    module(&[
        section(1, &[vec![0x60, 0, 0]]),
        section(3, &[vec![0]]),
        section(4, &[vec![0x70, 0, 1]]),
        section(5, &[vec![0, 1]]),
        section(7, &[export("memory", 2, 0), export("_start", 0, 0)]),
        section(10, &[sized(&body)]),
    ])
}
