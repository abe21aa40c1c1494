//! Counts what a guest writes into its scratch folder. wasmtime's file system has no quota: the calls that can make a file
//! longer or a name more stand here a second time, ask the budget first, and then do what they did.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorFlags, ErrorCode, HostDescriptor, OpenFlags, PathFlags};
use wasmtime_wasi::p2::{DynOutputStream, FsResult, OutputStream, Pollable, StreamError, StreamResult};

use crate::plugin::instance::Guest;
use crate::plugin::scratch::{Budget, PAGE, page_end};

/// As this version of wasmtime calls it. Under another name these would be added beside the others and count nothing: the
/// hostile guest of `tests/it/plugin/scratch.rs` would get through.
pub(super) const INTERFACE: &str = "wasi:filesystem/types@0.2.12";

pub(super) type Fd = Resource<Descriptor>;
pub(super) type Told<T> = wasmtime::Result<(Result<T, ErrorCode>,)>;

/// Puts the counting calls over wasmtime's.
pub fn count(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    names(linker)?;
    bytes(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Calls that make a name.
fn names(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut files = linker.instance(INTERFACE)?;
    files.func_wrap_async(
        "[method]descriptor.open-at",
        |mut store, (fd, follow, path, open, flags): (Fd, PathFlags, String, OpenFlags, DescriptorFlags)| {
            Box::new(async move {
                let guest: &mut Guest = store.data_mut();
                if open.contains(OpenFlags::CREATE) && !guest.may_write(PAGE) {
                    return full();
                }
                told(guest.filesystem().open_at(fd, follow, path, open, flags).await)
            })
        },
    )?;
    files.func_wrap_async("[method]descriptor.create-directory-at", |mut store, (fd, path): (Fd, String)| {
        Box::new(async move {
            let guest: &mut Guest = store.data_mut();
            if !guest.may_write(PAGE) {
                return full();
            }
            told(guest.filesystem().create_directory_at(fd, path).await)
        })
    })?;
    files.func_wrap_async("[method]descriptor.symlink-at", |mut store, (fd, old, new): (Fd, String, String)| {
        Box::new(async move {
            let guest: &mut Guest = store.data_mut();
            if !guest.may_write(PAGE) {
                return full();
            }
            told(guest.filesystem().symlink_at(fd, old, new).await)
        })
    })?;
    files.func_wrap_async(
        "[method]descriptor.link-at",
        |mut store, (fd, follow, old, folder, new): (Fd, PathFlags, String, Fd, String)| {
            Box::new(async move {
                let guest: &mut Guest = store.data_mut();
                if !guest.may_write(PAGE) {
                    return full();
                }
                told(guest.filesystem().link_at(fd, follow, old, folder, new).await)
            })
        },
    )
}

/// Calls that make a file longer.
fn bytes(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut files = linker.instance(INTERFACE)?;
    files.func_wrap_async("[method]descriptor.set-size", |mut store, (fd, size): (Fd, u64)| {
        Box::new(async move {
            let guest: &mut Guest = store.data_mut();
            let stands = match guest.filesystem().stat(Resource::new_borrow(fd.rep())).await {
                Ok(stat) => stat.size,
                Err(wrong) => return told(Err(wrong)),
            };
            // A hole takes no room yet, and is counted as if it did.
            if size > stands && !guest.may_write(page_end(size) - page_end(stands)) {
                return full();
            }
            told(guest.filesystem().set_size(fd, size).await)
        })
    })?;
    files.func_wrap_async("[method]descriptor.write", |mut store, (fd, bytes, at): (Fd, Vec<u8>, u64)| {
        Box::new(async move {
            let guest: &mut Guest = store.data_mut();
            let pages = page_end(at.saturating_add(bytes.len() as u64)) - at / PAGE * PAGE;
            if !guest.may_write(pages) {
                return full();
            }
            told(guest.filesystem().write(fd, bytes, at).await)
        })
    })?;
    files.func_wrap("[method]descriptor.write-via-stream", |mut store, (fd, at): (Fd, u64)| {
        let guest: &mut Guest = store.data_mut();
        let made = guest.filesystem().write_via_stream(fd, at);
        told(counted(guest, made, at))
    })?;
    files.func_wrap("[method]descriptor.append-via-stream", |mut store, (fd,): (Fd,)| {
        let guest: &mut Guest = store.data_mut();
        let made = guest.filesystem().append_via_stream(fd);
        told(counted(guest, made, 0))
    })
}

fn full<T>() -> Told<T> {
    Ok((Err(ErrorCode::InsufficientSpace),))
}

pub(super) fn told<T>(done: FsResult<T>) -> Told<T> {
    match done {
        Ok(value) => Ok((Ok(value),)),
        Err(wrong) => Ok((Err(wrong.downcast()?),)),
    }
}

/// The stream in a counting one. `at` is where it begins to write; for one that appends, any end of a page does: what it
/// writes is in one piece.
fn counted(guest: &mut Guest, made: FsResult<Resource<DynOutputStream>>, at: u64) -> FsResult<Resource<DynOutputStream>> {
    let made = made?;
    let Some(budget) = guest.scratch.clone() else { return Ok(made) };
    let table = guest.table();
    let inner = table.delete(made)?;
    let stream: DynOutputStream = Box::new(Counted { inner, budget, at, paid: at / PAGE * PAGE });
    Ok(table.push(stream)?)
}

struct Counted {
    inner: DynOutputStream,
    budget: Arc<Budget>,
    /// Where the next byte goes.
    at: u64,
    /// Up to here it has been counted.
    paid: u64,
}

impl Counted {
    fn pay(&mut self, bytes: usize) -> StreamResult<()> {
        let end = self.at.saturating_add(bytes as u64);
        let upto = page_end(end).max(self.paid);
        if !self.budget.take(upto - self.paid) {
            let full = std::io::Error::from(rustix::io::Errno::NOSPC);
            return Err(StreamError::LastOperationFailed(full.into()));
        }
        (self.at, self.paid) = (end, upto);
        Ok(())
    }
}

#[async_trait]
impl Pollable for Counted {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

#[async_trait]
impl OutputStream for Counted {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.pay(bytes.len())?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.inner.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.inner.check_write()
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.pay(bytes.len())?;
        self.inner.blocking_write_and_flush(bytes).await
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}
