//! Listings of folders. wasmtime reads all names of a folder into the host's memory when a guest opens it, and keeps them for as
//! long as the guest likes: here they are counted against the guest's memory.

use std::vec::IntoIter;

use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::filesystem::WasiFilesystemView;
use wasmtime_wasi::p2::FsResult;
use wasmtime_wasi::p2::bindings::filesystem::types::{DirectoryEntry, DirectoryEntryStream, ErrorCode, HostDescriptor};

use super::files::{Fd, INTERFACE, told};
use crate::plugin::instance::{Guest, Held};

/// Bytes of one name beside its letters.
const NAME: usize = 64;

/// A folder as it was when it was opened.
struct Listing {
    left: IntoIter<FsResult<DirectoryEntry>>,
    _held: Held,
}

/// Puts the counting calls over wasmtime's, with a stream of their own.
pub fn count(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut files = linker.instance(INTERFACE)?;
    files.resource("directory-entry-stream", ResourceType::host::<Listing>(), |mut store, rep| {
        store.data_mut().table().delete(Resource::<Listing>::new_own(rep))?;
        Ok(())
    })?;
    files.func_wrap_async("[method]descriptor.read-directory", |mut store, (fd,): (Fd,)| {
        Box::new(async move {
            let guest: &mut Guest = store.data_mut();
            let made = guest.filesystem().read_directory(fd).await;
            told(listing(guest, made))
        })
    })?;
    files.func_wrap("[method]directory-entry-stream.read-directory-entry", |mut store, (of,): (Resource<Listing>,)| {
        let listing = store.data_mut().table().get_mut(&of)?;
        told(listing.left.next().transpose())
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

fn listing(guest: &mut Guest, made: FsResult<Resource<DirectoryEntryStream>>) -> FsResult<Resource<Listing>> {
    let names: Vec<_> = guest.table().delete(made?)?.into_iter().collect();
    let bytes: usize = names.iter().flatten().map(|entry| NAME + entry.name.len()).sum();
    let held = guest.hold(bytes as u64, "the listing of a folder").ok_or(ErrorCode::InsufficientMemory)?;
    Ok(guest.table().push(Listing { left: names.into_iter(), _held: held })?)
}
