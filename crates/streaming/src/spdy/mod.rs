//! A SPDY/3.1 connection over any byte stream: open streams, accept streams, read and write them.
//!
//! Two tasks serve a connection: one writes frames in the order they were queued, one reads frames and hands each stream its bytes.
//! A stream nobody reads stops the connection's reading when its queue is full: backpressure is TCP's, as in the implementation that
//! the rest of the field uses (it neither sends nor heeds window updates). Dropping the [`Connection`] ends both tasks.

pub mod frame;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::upgrade::Io;
use frame::{Decoder, Encoder, Frame, FrameError, Headers};

/// Frames of one stream that wait to be read before the connection stops reading.
const STREAM_QUEUE: usize = 64;
const WRITE_QUEUE: usize = 64;
/// How long the other side has to accept a stream (upstream's value).
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest payload put into one data frame.
const MAX_DATA: usize = 64 << 10;

/// What goes wrong on a SPDY connection.
#[derive(Debug, thiserror::Error)]
pub enum SpdyError {
    /// The connection has ended.
    #[error("the SPDY connection is closed")]
    Closed,
    /// The other side refused the stream.
    #[error("the stream was reset")]
    Reset,
    /// The other side did not accept the stream in time.
    #[error("timed out waiting for the stream to be accepted")]
    Timeout,
    /// Frames could not be encoded or decoded.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The byte stream failed.
    #[error("SPDY connection failed")]
    Io(#[from] std::io::Error),
}

/// Which side of the connection this is: it decides the numbers of the streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Opened the connection; odd stream numbers.
    Client,
    /// Accepted the connection; even stream numbers.
    Server,
}

struct Entry {
    bytes: mpsc::Sender<Bytes>,
    accepted: Option<oneshot::Sender<()>>,
}

#[derive(Default)]
struct Table {
    streams: HashMap<u32, Entry>,
    closed: bool,
}

struct Shared {
    table: Mutex<Table>,
    frames: mpsc::Sender<Frame>,
    next_id: tokio::sync::Mutex<u32>,
    last_accepted: AtomicU32,
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, id: u32, accepted: Option<oneshot::Sender<()>>) -> Result<mpsc::Receiver<Bytes>, SpdyError> {
        let (sender, receiver) = mpsc::channel(STREAM_QUEUE);
        let mut table = self.table();
        if table.closed {
            return Err(SpdyError::Closed);
        }
        table.streams.insert(id, Entry { bytes: sender, accepted });
        Ok(receiver)
    }

    fn close(&self) {
        let mut table = self.table();
        table.closed = true;
        table.streams.clear();
    }
}

/// A SPDY connection.
pub struct Connection {
    shared: Arc<Shared>,
    incoming: mpsc::Receiver<Stream>,
    written: oneshot::Receiver<()>,
    tasks: JoinSet<()>,
}

/// One stream of a connection.
pub struct Stream {
    /// The headers it was opened with.
    pub headers: Headers,
    /// What the other side sends; ends when it has closed its direction, or reset the stream, or the connection has ended.
    pub reader: mpsc::Receiver<Bytes>,
    /// This side's direction.
    pub writer: StreamWriter,
}

/// The writing direction of a stream. Cloning shares the direction; closing any clone closes it.
#[derive(Clone)]
pub struct StreamWriter {
    id: u32,
    frames: mpsc::Sender<Frame>,
    finished: Arc<AtomicBool>,
}

impl StreamWriter {
    /// Queues bytes; waits while the connection is congested.
    pub async fn write(&self, mut data: Bytes) -> Result<(), SpdyError> {
        while !data.is_empty() {
            let part = data.split_to(data.len().min(MAX_DATA));
            if self.finished.load(Ordering::Acquire) {
                return Err(SpdyError::Closed);
            }
            self.frames
                .send(Frame::Data { id: self.id, fin: false, data: part })
                .await
                .map_err(|_| SpdyError::Closed)?;
        }
        Ok(())
    }

    /// Ends this direction; the other side reads an end of file. Doing it twice is harmless.
    pub async fn close(&self) -> Result<(), SpdyError> {
        if self.finished.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.frames
            .send(Frame::Data { id: self.id, fin: true, data: Bytes::new() })
            .await
            .map_err(|_| SpdyError::Closed)
    }

    /// Ends the stream in both directions, abnormally.
    pub async fn reset(&self) -> Result<(), SpdyError> {
        const CANCEL: u32 = 5;
        self.finished.store(true, Ordering::Release);
        self.frames.send(Frame::Reset { id: self.id, status: CANCEL }).await.map_err(|_| SpdyError::Closed)
    }
}

/// Opens streams; cheap to clone.
#[derive(Clone)]
pub struct Opener {
    shared: Arc<Shared>,
}

impl Opener {
    /// Opens a stream and waits until the other side has accepted it.
    pub async fn open(&self, headers: Headers) -> Result<Stream, SpdyError> {
        let (accepted, reply) = oneshot::channel();
        let (id, reader) = {
            // Held across the send, so that numbers go out in rising order.
            let mut next = self.shared.next_id.lock().await;
            let id = *next;
            *next += 2;
            let reader = self.shared.register(id, Some(accepted))?;
            let frame = Frame::SynStream { id, fin: false, headers: headers.clone() };
            self.shared.frames.send(frame).await.map_err(|_| SpdyError::Closed)?;
            (id, reader)
        };
        match tokio::time::timeout(REPLY_TIMEOUT, reply).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => {
                return Err(if self.shared.table().closed { SpdyError::Closed } else { SpdyError::Reset });
            }
            Err(_) => return Err(SpdyError::Timeout),
        }
        let writer = StreamWriter { id, frames: self.shared.frames.clone(), finished: Arc::default() };
        Ok(Stream { headers, reader, writer })
    }
}

impl Connection {
    /// Starts SPDY on a connection that has been upgraded to it.
    pub fn start(io: impl Io + 'static, side: Side) -> Result<Self, SpdyError> {
        let (read, write) = tokio::io::split(io);
        let (frames, queue) = mpsc::channel(WRITE_QUEUE);
        let (streams, incoming) = mpsc::channel(STREAM_QUEUE);
        let first = if side == Side::Client { 1 } else { 2 };
        let shared = Arc::new(Shared {
            table: Mutex::default(),
            frames,
            next_id: tokio::sync::Mutex::new(first),
            last_accepted: AtomicU32::new(0),
        });
        let encoder = Encoder::new()?;
        let mut tasks = JoinSet::new();
        let (done, written) = oneshot::channel();
        tasks.spawn(async move {
            if let Err(error) = write_frames(write, queue, encoder).await {
                tracing::debug!(%error, "SPDY writer ended");
            }
            drop(done);
        });
        let reader = Arc::clone(&shared);
        tasks.spawn(async move {
            if let Err(error) = read_frames(read, &reader, streams).await {
                tracing::debug!(%error, "SPDY reader ended");
            }
            reader.close();
        });
        Ok(Self { shared, incoming, written, tasks })
    }

    /// A handle that opens streams.
    pub fn opener(&self) -> Opener {
        Opener { shared: Arc::clone(&self.shared) }
    }

    /// Opens a stream and waits until the other side has accepted it.
    pub async fn open(&self, headers: Headers) -> Result<Stream, SpdyError> {
        self.opener().open(headers).await
    }

    /// The next stream that the other side opens; `None` when the connection has ended.
    pub async fn accept(&mut self) -> Option<Stream> {
        self.incoming.recv().await
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.shared.table().closed
    }

    /// Says goodbye, lets queued frames out, and ends the connection.
    pub async fn close(mut self) {
        let last_id = self.shared.last_accepted.load(Ordering::Acquire);
        // When the connection is gone already there is nobody to say goodbye to.
        let said = self.shared.frames.send(Frame::GoAway { last_id, status: 0 }).await.is_ok();
        if said && tokio::time::timeout(Duration::from_secs(5), &mut self.written).await.is_err() {
            tracing::debug!("SPDY connection closed with frames unsent");
        }
        self.tasks.shutdown().await;
        self.shared.close();
    }
}

async fn write_frames<T: Io>(
    mut io: WriteHalf<T>,
    mut queue: mpsc::Receiver<Frame>,
    mut encoder: Encoder,
) -> Result<(), SpdyError> {
    let mut buffer = BytesMut::with_capacity(16 << 10);
    let mut goodbye = false;
    while !goodbye && let Some(mut frame) = queue.recv().await {
        loop {
            // Only `close` says goodbye, after everything else was queued.
            goodbye = matches!(frame, Frame::GoAway { .. });
            encoder.encode(&frame, &mut buffer)?;
            if goodbye || buffer.len() >= MAX_DATA {
                break;
            }
            match queue.try_recv() {
                Ok(next) => frame = next,
                Err(_) => break,
            }
        }
        io.write_all(&buffer).await?;
        io.flush().await?;
        buffer.clear();
    }
    Ok(io.shutdown().await?)
}

async fn read_frames<T: Io>(
    mut io: ReadHalf<T>,
    shared: &Shared,
    incoming: mpsc::Sender<Stream>,
) -> Result<(), SpdyError> {
    let mut decoder = Decoder::default();
    let mut buffer = BytesMut::with_capacity(32 << 10);
    loop {
        while let Some(frame) = decoder.decode(&mut buffer)? {
            dispatch(frame, shared, &incoming).await?;
        }
        buffer.reserve(16 << 10);
        if io.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

async fn dispatch(frame: Frame, shared: &Shared, incoming: &mpsc::Sender<Stream>) -> Result<(), SpdyError> {
    match frame {
        Frame::SynStream { id, fin, headers } => {
            let reader = shared.register(id, None)?;
            shared.last_accepted.store(id, Ordering::Release);
            if fin {
                shared.table().streams.remove(&id);
            }
            shared
                .frames
                .send(Frame::SynReply { id, fin: false, headers: Headers::new() })
                .await
                .map_err(|_| SpdyError::Closed)?;
            let writer = StreamWriter { id, frames: shared.frames.clone(), finished: Arc::default() };
            // A side that accepts no streams has dropped the receiver: the stream is refused.
            if incoming.send(Stream { headers, reader, writer: writer.clone() }).await.is_err() {
                shared.table().streams.remove(&id);
                writer.reset().await?;
            }
        }
        Frame::SynReply { id, fin, .. } => {
            let accepted = shared.table().streams.get_mut(&id).and_then(|entry| entry.accepted.take());
            if let Some(accepted) = accepted {
                // The opener may have given up; then nobody listens.
                let _gone = accepted.send(());
            }
            if fin {
                shared.table().streams.remove(&id);
            }
        }
        Frame::Data { id, fin, data } => deliver(shared, id, fin, data).await,
        Frame::Reset { id, .. } => {
            shared.table().streams.remove(&id);
        }
        Frame::Headers { id, fin: true, .. } => {
            shared.table().streams.remove(&id);
        }
        Frame::Ping(id) if id % 2 != *shared.next_id.lock().await % 2 => {
            shared.frames.send(Frame::Ping(id)).await.map_err(|_| SpdyError::Closed)?;
        }
        // GOAWAY: the other side closes when the open streams have ended; we notice by the end of the connection.
        Frame::Ping(_) | Frame::Headers { .. } | Frame::GoAway { .. } | Frame::Ignored => {}
    }
    Ok(())
}

async fn deliver(shared: &Shared, id: u32, fin: bool, data: Bytes) {
    let sender = shared.table().streams.get(&id).map(|entry| entry.bytes.clone());
    // A stream that nobody reads any more (dropped receiver) swallows its bytes.
    if let Some(sender) = sender
        && !data.is_empty()
        && sender.send(data).await.is_err()
    {
        tracing::trace!(id, "bytes for a stream that is no longer read");
    }
    if fin {
        shared.table().streams.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(kind: &str) -> Headers {
        [("streamtype".to_owned(), kind.to_owned())].into()
    }

    async fn read_all(mut reader: mpsc::Receiver<Bytes>) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(bytes) = reader.recv().await {
            all.extend_from_slice(&bytes);
        }
        all
    }

    #[tokio::test]
    async fn streams_echo_and_half_close() {
        let (a, b) = tokio::io::duplex(1000);
        let client = Connection::start(a, Side::Client).unwrap();
        let mut server = Connection::start(b, Side::Server).unwrap();
        let payload = vec![7u8; 300_000];
        let echo = async {
            let mut stream = server.accept().await.unwrap();
            assert_eq!(stream.headers, headers("data"));
            while let Some(bytes) = stream.reader.recv().await {
                stream.writer.write(bytes).await.unwrap();
            }
            stream.writer.write(Bytes::from_static(b"end")).await.unwrap();
            stream.writer.close().await.unwrap();
        };
        let send = async {
            let stream = client.open(headers("data")).await.unwrap();
            let (all, ()) = tokio::join!(read_all(stream.reader), async {
                stream.writer.write(Bytes::from(payload.clone())).await.unwrap();
                stream.writer.close().await.unwrap();
            });
            assert_eq!(all.len(), payload.len() + 3);
            assert!(all.ends_with(b"end"));
        };
        tokio::join!(echo, send);
        client.close().await;
        assert!(server.accept().await.is_none());
        assert!(server.is_closed());
    }

    #[tokio::test]
    async fn refused_and_lost_streams_are_errors() {
        let (a, b) = tokio::io::duplex(1000);
        let client = Connection::start(a, Side::Client).unwrap();
        let mut server = Connection::start(b, Side::Server).unwrap();
        let stream = client.open(headers("x")).await.unwrap();
        server.accept().await.unwrap().writer.reset().await.unwrap();
        assert_eq!(read_all(stream.reader).await, b"");
        drop(server);
        assert!(matches!(client.open(headers("y")).await, Err(SpdyError::Closed)));
    }

    #[tokio::test]
    async fn close_lets_queued_frames_out() {
        let (a, b) = tokio::io::duplex(64);
        let client = Connection::start(a, Side::Client).unwrap();
        let mut server = Connection::start(b, Side::Server).unwrap();
        let (opened, accepted) = tokio::join!(client.open(headers("x")), server.accept());
        let (stream, accepted) = (opened.unwrap(), accepted.unwrap());
        let finish = async {
            stream.writer.write(Bytes::from(vec![1; 5000])).await.unwrap();
            stream.writer.close().await.unwrap();
            client.close().await;
        };
        let (all, ()) = tokio::join!(read_all(accepted.reader), finish);
        assert_eq!(all.len(), 5000);
    }
}
