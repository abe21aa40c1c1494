//! A connection for a driver that opens its own: a socket in a folder that nobody else may enter, and behind it the connection
//! to the address that was checked. The driver gets so many bytes and no more: what a server says has no end of its own.

use std::fs::{DirBuilder, remove_dir_all};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::net::{TcpStream, UnixListener};
use tokio::task::JoinSet;

const GOODBYE: Duration = Duration::from_secs(1);

/// Takes one connection, and carries until either side or the relay is gone.
pub struct Relay {
    folder: Folder,
    is_over: Arc<AtomicBool>,
    carries: JoinSet<()>,
}

impl Relay {
    /// `name`: of the socket in its folder. `most`: bytes that the driver may be told.
    ///
    /// # Errors
    /// When there can be no socket.
    pub fn to(stream: TcpStream, name: &str, most: u64) -> io::Result<Self> {
        let folder = Folder::new()?;
        let listener = UnixListener::bind(folder.0.join(name))?;
        let mut stream = Bounded::new(stream, most);
        let (is_over, mut carries) = (Arc::clone(&stream.is_over), JoinSet::new());
        carries.spawn(async move {
            let Ok((mut driver, _)) = listener.accept().await else { return };
            drop(listener);
            // How it ends, the driver sees.
            let _ = copy_bidirectional(&mut driver, &mut stream).await;
        });
        Ok(Self { folder, is_over, carries })
    }

    /// Where the socket lies.
    pub fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// Waits a moment until the driver's goodbye has gone through: servers log a connection that only breaks off.
    pub async fn end(mut self) {
        let _ = tokio::time::timeout(GOODBYE, self.carries.join_next()).await;
    }

    /// Whether there was more than the driver may be told, and it was cut off.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }
}

/// Of this process alone, and gone with the relay.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("windlass-{:016x}", rand::random::<u64>()));
        // It fails where something of that name is.
        DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = remove_dir_all(&self.0);
    }
}

/// A connection that breaks off when more comes from it than so many bytes.
pub struct Bounded<S> {
    inner: S,
    most: u64,
    left: u64,
    is_over: Arc<AtomicBool>,
}

impl<S> Bounded<S> {
    pub fn new(inner: S, most: u64) -> Self {
        Self { inner, most, left: most, is_over: Arc::default() }
    }
}

/// What is said of a connection that broke off so.
pub fn too_much(most: u64) -> String {
    format!("it answered more than {most} bytes")
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.left == 0 {
            self.is_over.store(true, Relaxed);
            return Poll::Ready(Err(io::Error::other(too_much(self.most))));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let came = buf.filled().len() - before;
        self.left = self.left.saturating_sub(came as u64);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, UnixStream};

    use super::*;

    #[tokio::test]
    async fn a_driver_is_told_so_much_and_no_more() {
        for (says, is_over) in [(1_000, false), (100_000, true)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut server, _) = listener.accept().await.unwrap();
            let relay = Relay::to(stream, "socket", 10_000).unwrap();
            let mut driver = UnixStream::connect(relay.folder().join("socket")).await.unwrap();
            driver.write_all(b"how much?").await.unwrap();
            let mut asked = [0; 9];
            server.read_exact(&mut asked).await.unwrap();
            assert_eq!(&asked, b"how much?");
            tokio::spawn(async move {
                let _ = server.write_all(&vec![7; says]).await;
            });
            let mut told = Vec::new();
            driver.read_to_end(&mut told).await.unwrap();
            assert!(told.len() <= says && told.len() < 20_000, "{}", told.len());
            assert_eq!((relay.is_over(), told.len() == says), (is_over, !is_over));
            let folder = relay.folder().to_owned();
            drop(relay);
            assert!(!folder.exists());
        }
    }
}
