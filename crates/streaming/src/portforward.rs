//! Port forwarding over SPDY: each forwarded connection is a pair of streams, one for data and one for the error that ends it.

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::spdy::frame::Headers;
use crate::spdy::{Connection, Opener, Side, SpdyError};
use crate::upgrade::{BoxedIo, Io};

/// The version of the stream protocol, in `X-Stream-Protocol-Version`.
pub const PROTOCOL: &str = "portforward.k8s.io";

/// What goes wrong with one forwarded connection.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The SPDY connection failed.
    #[error(transparent)]
    Spdy(#[from] SpdyError),
    /// The other side could not reach the port, in its words.
    #[error("{0}")]
    Remote(String),
}

/// Forwards connections to ports of one pod.
pub struct Forwarder {
    connection: Connection,
    opener: Opener,
    requests: AtomicU32,
}

impl Forwarder {
    /// Starts forwarding over a connection upgraded to SPDY (or the byte stream inside a WebSocket).
    pub fn start(io: impl Io + 'static) -> Result<Self, SpdyError> {
        let io: BoxedIo = Box::new(io);
        let connection = Connection::start(io, Side::Client)?;
        Ok(Self { opener: connection.opener(), connection, requests: AtomicU32::new(0) })
    }

    /// Whether the connection to the cluster has ended.
    pub fn is_closed(&self) -> bool {
        self.connection.is_closed()
    }

    /// Waits until the connection to the cluster has ended.
    pub async fn closed(&mut self) {
        // The other side opens no streams: the end of the queue is the end of the connection.
        while self.connection.accept().await.is_some() {}
    }

    /// Returns a future that carries `local` to `port` of the pod until either side has ended.
    pub fn carry<L: Io + 'static>(
        &self,
        local: L,
        port: u16,
    ) -> impl Future<Output = Result<(), ForwardError>> + Send + use<L> {
        let request = self.requests.fetch_add(1, Ordering::Relaxed);
        carry(self.opener.clone(), local, port, request)
    }
}

fn headers(kind: &str, port: u16, request: u32) -> Headers {
    [("streamtype", kind.to_owned()), ("port", port.to_string()), ("requestid", request.to_string())]
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v))
        .collect()
}

async fn carry(opener: Opener, local: impl Io, port: u16, request: u32) -> Result<(), ForwardError> {
    let mut error = opener.open(headers("error", port, request)).await?;
    error.writer.close().await?;
    let mut data = opener.open(headers("data", port, request)).await?;
    let (mut read, mut write) = tokio::io::split(local);
    let out = async {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(16 << 10);
            match read.read_buf(&mut buffer).await {
                Ok(n) if n > 0 => data.writer.write(buffer.split().freeze()).await?,
                _ => return data.writer.close().await,
            }
        }
    };
    let back = async {
        while let Some(bytes) = data.reader.recv().await {
            if write.write_all(&bytes).await.is_err() {
                return;
            }
        }
        // The local side may have closed first.
        let _closed = write.shutdown().await;
    };
    let said = async {
        let mut text = Vec::new();
        while let Some(bytes) = error.reader.recv().await {
            text.extend_from_slice(&bytes);
        }
        text
    };
    // The remote side decides the end: when it has no more to send, what the local side still sends has no reader.
    let text = tokio::select! {
        ((), text) = async { tokio::join!(back, said) } => text,
        Err(lost) = out => return Err(lost.into()),
    };
    let _reset = data.writer.close().await;
    if text.is_empty() { Ok(()) } else { Err(ForwardError::Remote(String::from_utf8_lossy(&text).into_owned())) }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[tokio::test]
    async fn connections_are_carried_and_errors_reported() {
        let (a, b) = tokio::io::duplex(256);
        let mut server = Connection::start(b, Side::Server).unwrap();
        let forwarder = Forwarder::start(a).unwrap();
        let (mut local, far) = tokio::io::duplex(256);
        let serve = async {
            let error = server.accept().await.unwrap();
            assert_eq!(error.headers, headers("error", 80, 0));
            let mut data = server.accept().await.unwrap();
            while let Some(bytes) = data.reader.recv().await {
                data.writer.write(bytes).await.unwrap();
            }
            data.writer.close().await.unwrap();
            error.writer.write(Bytes::from_static(b"it broke")).await.unwrap();
            error.writer.close().await.unwrap();
        };
        let talk = async {
            local.write_all(b"ping").await.unwrap();
            local.shutdown().await.unwrap();
            let mut all = Vec::new();
            local.read_to_end(&mut all).await.unwrap();
            all
        };
        let (result, (), all) = tokio::join!(forwarder.carry(far, 80), serve, talk);
        assert_eq!(all, b"ping");
        assert_eq!(result.unwrap_err().to_string(), "it broke");
    }
}
