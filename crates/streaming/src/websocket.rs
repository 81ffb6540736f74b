//! Channels over WebSocket messages, and byte streams over WebSocket messages.
//!
//! Each binary message starts with the number of its channel. `v5.channel.k8s.io` adds half-close: channel 255 followed by the
//! number of a channel says that nothing more will be sent on it. In `v4` a direction can only end with the connection.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use http::header::{
    HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
pub use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::upgrade::{BoxedIo, UpgradeError};

/// exec and attach with half-close.
pub const V5: &str = "v5.channel.k8s.io";
/// exec and attach without half-close.
pub const V4: &str = "v4.channel.k8s.io";
/// Port forwarding: a SPDY connection inside a WebSocket.
pub const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// The pseudo channel of v5 that announces the end of another channel.
const CLOSE_CHANNEL: u8 = 255;
const CHANNEL_QUEUE: usize = 64;
/// Messages are written in pieces of at most this size.
const MAX_PIECE: usize = 32 << 10;
/// Keeps idle sessions alive through load balancers.
const PING_PERIOD: Duration = Duration::from_secs(5);

/// A failure of a WebSocket connection.
#[derive(Debug, thiserror::Error)]
pub enum WebSocketError {
    /// The connection has ended.
    #[error("the WebSocket connection is closed")]
    Closed,
}

/// Whether the headers ask for a WebSocket.
pub fn is_request(headers: &HeaderMap) -> bool {
    crate::upgrade::requested_protocol(headers).as_deref() == Some("websocket")
}

/// The subprotocols that a client offers, in its order.
pub fn offered(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(|p| p.trim().to_owned())
        .collect()
}

/// Adds the headers of a WebSocket request; returns the key, for [`check_accept`].
pub fn request_headers(headers: &mut HeaderMap, protocols: &[&str]) -> Result<String, UpgradeError> {
    let key = generate_key();
    let value =
        |v: &str| HeaderValue::from_str(v).map_err(|_| UpgradeError::Protocol("bad WebSocket header".to_owned()));
    headers.insert(http::header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(http::header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(SEC_WEBSOCKET_KEY, value(&key)?);
    headers.insert(SEC_WEBSOCKET_PROTOCOL, value(&protocols.join(", "))?);
    Ok(key)
}

/// Checks the answer to a WebSocket request; returns the chosen subprotocol.
pub fn check_accept(headers: &HeaderMap, key: &str) -> Result<String, UpgradeError> {
    let accept = headers.get(SEC_WEBSOCKET_ACCEPT).and_then(|v| v.to_str().ok());
    if accept != Some(derive_accept_key(key.as_bytes()).as_str()) {
        return Err(UpgradeError::Protocol("the answer does not match the WebSocket key".to_owned()));
    }
    match headers.get(SEC_WEBSOCKET_PROTOCOL).and_then(|v| v.to_str().ok()) {
        Some(protocol) => Ok(protocol.to_owned()),
        None => Err(UpgradeError::Protocol("the server chose no subprotocol".to_owned())),
    }
}

/// The headers with which a server answers a WebSocket request, beside those of any upgrade.
pub fn accept_headers(request: &HeaderMap, protocol: &str) -> Result<HeaderMap, UpgradeError> {
    let Some(key) = request.get(SEC_WEBSOCKET_KEY) else {
        return Err(UpgradeError::Protocol("the WebSocket request has no key".to_owned()));
    };
    let value =
        |v: &str| HeaderValue::from_str(v).map_err(|_| UpgradeError::Protocol("bad WebSocket header".to_owned()));
    let mut headers = HeaderMap::new();
    headers.insert(SEC_WEBSOCKET_ACCEPT, value(&derive_accept_key(key.as_bytes()))?);
    headers.insert(SEC_WEBSOCKET_PROTOCOL, value(protocol)?);
    Ok(headers)
}

/// A close message. Upstream's clients take any but the normal code for a failure.
fn goodbye() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() }))
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default().max_message_size(Some(16 << 20)).read_buffer_size(32 << 10).write_buffer_size(0)
}

/// Writes messages of one channel.
#[derive(Clone)]
pub struct ChannelWriter {
    channel: u8,
    announce_ends: bool,
    messages: mpsc::Sender<Message>,
}

impl ChannelWriter {
    /// Queues bytes; waits while the connection is congested. Empty bytes are sent as an empty message.
    pub async fn write(&self, mut data: Bytes) -> Result<(), WebSocketError> {
        loop {
            let part = data.split_to(data.len().min(MAX_PIECE));
            let mut message = BytesMut::with_capacity(part.len() + 1);
            message.extend_from_slice(&[self.channel]);
            message.extend_from_slice(&part);
            self.messages.send(Message::Binary(message.freeze())).await.map_err(|_| WebSocketError::Closed)?;
            if data.is_empty() {
                return Ok(());
            }
        }
    }

    /// Ends the channel, where the protocol can say so.
    pub async fn close(&self) -> Result<(), WebSocketError> {
        if !self.announce_ends {
            return Ok(());
        }
        let message = Message::Binary(Bytes::copy_from_slice(&[CLOSE_CHANNEL, self.channel]));
        self.messages.send(message).await.map_err(|_| WebSocketError::Closed)
    }
}

/// A WebSocket connection with numbered channels. Dropping it ends the connection.
pub struct Channels {
    announce_ends: bool,
    messages: mpsc::Sender<Message>,
    readers: BTreeMap<u8, mpsc::Receiver<Bytes>>,
    written: oneshot::Receiver<()>,
    tasks: JoinSet<()>,
}

impl Channels {
    /// Starts the channel protocol (`v4` or `v5`) on an upgraded connection; `read` are the channels that will be read.
    pub async fn start(io: BoxedIo, role: Role, protocol: &str, read: &[u8]) -> Self {
        let socket = WebSocketStream::from_raw_socket(io, role, Some(config())).await;
        let (sink, source) = socket.split();
        let (messages, queue) = mpsc::channel(CHANNEL_QUEUE);
        let (mut senders, mut readers) = (BTreeMap::new(), BTreeMap::new());
        for &channel in read {
            let (sender, receiver) = mpsc::channel(CHANNEL_QUEUE);
            senders.insert(channel, sender);
            readers.insert(channel, receiver);
        }
        let half_close = protocol == V5;
        // Only clients announce the end of a channel: a server's CLOSE is an unknown channel to upstream's clients.
        let announce_ends = half_close && role == Role::Client;
        let (done, written) = oneshot::channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            if let Err(error) = write_messages(sink, queue, role == Role::Client).await {
                tracing::debug!(%error, "WebSocket writer ended");
            }
            drop(done);
        });
        tasks.spawn(async move {
            if let Err(error) = read_messages(source, senders, half_close).await {
                tracing::debug!(%error, "WebSocket reader ended");
            }
        });
        Self { announce_ends, messages, readers, written, tasks }
    }

    /// The reading side of a channel named at the start; it can be taken once.
    pub fn reader(&mut self, channel: u8) -> Option<mpsc::Receiver<Bytes>> {
        self.readers.remove(&channel)
    }

    /// The writing side of a channel.
    pub fn writer(&self, channel: u8) -> ChannelWriter {
        ChannelWriter { channel, announce_ends: self.announce_ends, messages: self.messages.clone() }
    }

    /// Sends what is queued and a close message, and ends the connection.
    pub async fn close(mut self) {
        if self.messages.send(goodbye()).await.is_ok()
            && tokio::time::timeout(Duration::from_secs(5), &mut self.written).await.is_err()
        {
            tracing::debug!("WebSocket closed with messages unsent");
        }
        self.tasks.shutdown().await;
    }
}

type Socket = WebSocketStream<BoxedIo>;
type WsError = tokio_tungstenite::tungstenite::Error;

async fn write_messages(
    mut sink: SplitSink<Socket, Message>,
    mut queue: mpsc::Receiver<Message>,
    ping: bool,
) -> Result<(), WsError> {
    let mut pings = tokio::time::interval_at(tokio::time::Instant::now() + PING_PERIOD, PING_PERIOD);
    loop {
        tokio::select! {
            message = queue.recv() => match message {
                Some(Message::Close(frame)) => {
                    sink.send(Message::Close(frame)).await?;
                    return sink.close().await;
                }
                Some(message) => sink.send(message).await?,
                None => return sink.close().await,
            },
            _ = pings.tick(), if ping => sink.send(Message::Ping(Bytes::new())).await?,
        }
    }
}

async fn read_messages(
    mut source: SplitStream<Socket>,
    mut channels: BTreeMap<u8, mpsc::Sender<Bytes>>,
    half_close: bool,
) -> Result<(), WsError> {
    while let Some(message) = source.next().await {
        let mut bytes = match message? {
            Message::Binary(bytes) => bytes,
            // Upstream's servers take text frames for binary ones.
            Message::Text(text) => Bytes::from(text),
            Message::Close(_) => return Ok(()),
            _ => continue,
        };
        if bytes.is_empty() {
            continue;
        }
        let channel = bytes.get_u8();
        if half_close && channel == CLOSE_CHANNEL {
            if let Some(ended) = bytes.first() {
                channels.remove(ended);
            }
        } else if let Some(sender) = channels.get(&channel)
            && !bytes.is_empty()
            && sender.send(bytes).await.is_err()
        {
            // Nobody reads this channel any more; the others go on.
            channels.remove(&channel);
        }
    }
    Ok(())
}

/// Carries a byte stream in the binary messages of a WebSocket until either side ends.
pub async fn pump(io: BoxedIo, role: Role, raw: impl crate::upgrade::Io) {
    let socket = WebSocketStream::from_raw_socket(io, role, Some(config())).await;
    let (mut sink, mut source) = socket.split();
    let (mut read, mut write) = tokio::io::split(raw);
    let out = async {
        let mut buffer = BytesMut::with_capacity(MAX_PIECE);
        let mut pings = tokio::time::interval_at(tokio::time::Instant::now() + PING_PERIOD, PING_PERIOD);
        loop {
            buffer.reserve(MAX_PIECE);
            tokio::select! {
                n = read.read_buf(&mut buffer) => match n {
                    Ok(n) if n > 0 => sink.send(Message::Binary(buffer.split().freeze())).await?,
                    _ => return sink.send(goodbye()).await,
                },
                _ = pings.tick(), if role == Role::Client => sink.send(Message::Ping(Bytes::new())).await?,
            }
        }
    };
    let into = async {
        while let Some(Ok(message)) = source.next().await {
            match message {
                Message::Binary(bytes) => write.write_all(&bytes).await?,
                Message::Close(_) => break,
                _ => {}
            }
        }
        write.shutdown().await
    };
    tokio::select! {
        ended = out => if let Err(error) = ended { tracing::debug!(%error, "WebSocket tunnel ended") },
        ended = into => if let Err(error) = ended { tracing::debug!(%error, "WebSocket tunnel ended") },
    }
}

/// The byte stream inside a WebSocket, as a client uses it; a task of `tasks` carries it.
pub fn byte_stream(io: BoxedIo, role: Role, tasks: &tokio_util::task::TaskTracker) -> DuplexStream {
    let (near, far) = tokio::io::duplex(64 << 10);
    tasks.spawn(pump(io, role, far));
    near
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pair(protocol: &str) -> (Channels, Channels) {
        let (a, b) = tokio::io::duplex(1 << 10);
        let client = Channels::start(Box::new(a), Role::Client, protocol, &[1]).await;
        let server = Channels::start(Box::new(b), Role::Server, protocol, &[0]).await;
        (client, server)
    }

    async fn read_all(mut reader: mpsc::Receiver<Bytes>) -> usize {
        let mut all = 0;
        while let Some(bytes) = reader.recv().await {
            all += bytes.len();
        }
        all
    }

    #[tokio::test]
    async fn v5_channels_half_close() {
        let (mut client, mut server) = pair(V5).await;
        let (stdin, mut stdout) = (client.writer(0), client.reader(1).unwrap());
        let (got_stdin, answer) = (server.reader(0).unwrap(), server.writer(1));
        let (read, (), total) = tokio::join!(
            read_all(got_stdin),
            async {
                stdin.write(Bytes::from(vec![1; 100_000])).await.unwrap();
                stdin.close().await.unwrap();
            },
            async {
                answer.write(Bytes::from_static(b"ok")).await.unwrap();
                // Says nothing: a server's direction ends with the connection.
                answer.close().await.unwrap();
                stdout.recv().await
            }
        );
        assert_eq!((read, total.as_deref()), (100_000, Some(&b"ok"[..])));
        server.close().await;
        assert_eq!(stdout.recv().await, None);
        client.close().await;
    }

    #[tokio::test]
    async fn v4_ends_with_the_connection() {
        let (mut client, server) = pair(V4).await;
        let stdout = client.reader(1).unwrap();
        let answer = server.writer(1);
        answer.write(Bytes::from_static(b"out")).await.unwrap();
        answer.close().await.unwrap();
        let (total, ()) = tokio::join!(read_all(stdout), server.close());
        assert_eq!(total, 3);
    }

    #[tokio::test]
    async fn bytes_pass_a_websocket() {
        let (a, b) = tokio::io::duplex(1 << 10);
        let tasks = tokio_util::task::TaskTracker::new();
        let mut near = byte_stream(Box::new(a), Role::Client, &tasks);
        let mut far = byte_stream(Box::new(b), Role::Server, &tasks);
        let mut got = vec![0; 50_000];
        let (sent, read) = tokio::join!(near.write_all(&[5; 50_000]), far.read_exact(&mut got));
        sent.unwrap();
        read.unwrap();
        assert!(got.iter().all(|b| *b == 5));
        drop(near);
        assert_eq!(far.read(&mut got).await.unwrap(), 0);
        tasks.close();
        tasks.wait().await;
    }

    #[test]
    fn handshake_agrees() {
        let mut request = HeaderMap::new();
        let key = request_headers(&mut request, &[V5, V4]).unwrap();
        assert!(is_request(&request));
        assert_eq!(offered(&request), [V5, V4]);
        let answer = accept_headers(&request, V4).unwrap();
        assert_eq!(check_accept(&answer, &key).unwrap(), V4);
        assert!(check_accept(&answer, "other").is_err());
    }
}
